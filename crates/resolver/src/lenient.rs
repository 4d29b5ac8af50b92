//! Sockets for the DNS library that hand it messages which it can read.
//!
//! It refuses a whole message for one NAPTR record whose flags are not all letters and digits, and with it the good records
//! beside. RFC 3403 4.1 knows no such flags and RFC 3403 5 leaves what they mean to the application: a record with flags
//! that it does not know is none of its own. So such octets become [`UNKNOWN`], and model's machines pass the record over
//! like any other with flags that they do not know (LOC-28, ENUM-23). Nothing else changes, and no length does.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

/// The flag that stands for those that are no letter or digit: no application of NAPTR has it.
const UNKNOWN: u8 = b'X';
/// NAPTR's type number (RFC 3403 4).
const NAPTR: u16 = 35;
/// Octets of a message's header.
const HEADER: usize = 12;
/// Octets before the length of a message on a stream (RFC 1035 4.2.2).
const LENGTH: usize = 2;

/// Tokio's sockets with [`tame`] behind them.
#[derive(Clone, Default)]
pub(crate) struct Lenient(TokioRuntimeProvider);

impl RuntimeProvider for Lenient {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Datagrams;
    type Tcp = AsyncIoTokioAsStd<Frames>;

    fn create_handle(&self) -> TokioHandle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let connecting = self.0.connect_tcp(server, local, limit);
        Box::pin(async move { Ok(AsyncIoTokioAsStd(Frames::new(connecting.await?.0))) })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Datagrams>>>> {
        let binding = self.0.bind_udp(local, server);
        Box::pin(async move { Ok(Datagrams(binding.await?)) })
    }
}

/// A UDP socket: a message is a datagram.
pub(crate) struct Datagrams(UdpSocket);

impl DnsUdpSocket for Datagrams {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, octets: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let (len, from) = ready!(DnsUdpSocket::poll_recv_from(&self.0, cx, octets))?;
        let _ = tame(&mut octets[..len]);
        Poll::Ready(Ok((len, from)))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, octets: &[u8], to: SocketAddr) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.0, cx, octets, to)
    }
}

/// A TCP connection, read a message at a time.
pub(crate) struct Frames {
    stream: TcpStream,
    /// The message that arrives, with its length before it: 65,537 octets at most.
    frame: Vec<u8>,
    /// How much of it was handed on; none before it is whole.
    given: usize,
}

impl Frames {
    const fn new(stream: TcpStream) -> Self {
        Self { stream, frame: Vec::new(), given: 0 }
    }
}

impl AsyncRead for Frames {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, frame, given } = self.get_mut();
        loop {
            let have = frame.len();
            let whole = match frame.first_chunk::<LENGTH>() {
                Some(length) => LENGTH + usize::from(u16::from_be_bytes(*length)),
                None => LENGTH,
            };
            if have == whole {
                if *given == 0 {
                    let _ = tame(&mut frame[LENGTH..]);
                }
                let end = have.min(*given + into.remaining());
                into.put_slice(&frame[*given..end]);
                *given = end;
                if end == have {
                    frame.clear();
                    *given = 0;
                }
                return Poll::Ready(Ok(()));
            }
            frame.resize(whole, 0);
            let mut part = ReadBuf::new(&mut frame[have..]);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut part);
            let more = part.filled().len();
            frame.truncate(have + more);
            ready!(polled)?;
            if more == 0 {
                // The end of the stream; a message that is not whole is none.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Frames {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Makes the flags of NAPTR records readable, as far as the message can be followed; the library says what is wrong with the
/// rest. Goes through the message once, and allocates nothing.
fn tame(message: &mut [u8]) -> Option<()> {
    let number = |message: &[u8], at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let questions = number(message, 4)?;
    let records = [6, 8, 10].into_iter().try_fold(0, |sum, at| Some(sum + u32::from(number(message, at)?)))?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = after_name(message, at)? + 4;
    }
    for _ in 0..records {
        at = after_name(message, at)?;
        let (kind, len) = (number(message, at)?, number(message, at + 8)?);
        let end = at + 10 + usize::from(len);
        let data = message.get_mut(at + 10..end)?;
        if kind == NAPTR
            && let Some(flags) = data.get(4).copied()
        {
            let flags = data.get_mut(5..5 + usize::from(flags))?;
            flags.iter_mut().filter(|flag| !flag.is_ascii_alphanumeric()).for_each(|flag| *flag = UNKNOWN);
        }
        at = end;
    }
    Some(())
}

/// Where the name at `at` ends (RFC 1035 4.1.4).
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xC0.. => return Some(at + 2),
            len @ 1..=63 => at += 1 + usize::from(len),
            64..=0xBF => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with two NAPTR records at `a.`, of which the first has these flags.
    fn message(flags: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 1, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0, 1, b'a', 0, 0, 35, 0, 1];
        for flags in [flags, b"s"] {
            message.extend([0xC0, 12, 0, 35, 0, 1, 0, 0, 0, 60, 0, u8::try_from(8 + flags.len()).unwrap()]);
            message.extend([0, 1, 0, 2, u8::try_from(flags.len()).unwrap()]);
            message.extend(flags);
            message.extend([0, 0, 0]);
        }
        message
    }

    #[test]
    fn only_odd_flags_change_loc_28() {
        for (flags, expected) in
            [(&b"?"[..], &b"X"[..]), (b"s ", b"sX"), (b"\xff\0!", b"XXX"), (b"S", b"S"), (b"", b"")]
        {
            let mut tamed = message(flags);
            assert_eq!(tame(&mut tamed), Some(()));
            assert_eq!(tamed, message(expected), "{flags:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets(
            mut octets in prop::collection::vec(any::<u8>(), 0..200),
            flags in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let len = octets.len();
            let _ = tame(&mut octets);
            prop_assert_eq!(octets.len(), len);
            let whole = message(&flags);
            for end in 0..whole.len() {
                let _ = tame(&mut whole[..end].to_vec());
            }
            let mut tamed = whole;
            let _ = tame(&mut tamed);
            let read = hickory_resolver::proto::op::Message::from_vec(&tamed);
            prop_assert_eq!(read.unwrap().answers.len(), 2);
        }
    }
}
