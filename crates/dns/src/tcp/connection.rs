//! One connection: messages behind two octets of length (RFC 7766 8), in clear or inside TLS.
//!
//! Answers go out as soon as they are made, in the order of the questions; none holds up another (DNS-61). A transfer is long:
//! it goes out chunk by chunk, and what the client asks meanwhile is answered between its messages (RFC 7766 7,
//! RFC 9103). One transfer is sent at a time, a few more wait; past that the connection reads no further, so its memory
//! is bounded.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::room::Guest;
use super::{LAST_READ, Shared, with_scratch};
use crate::answer::Transport;
use crate::full;
use crate::stats::TransportStats;
use crate::transfer::{self, BrokenOff, Chunks, Granted, TransferLimits};
use crate::wire::LENGTH;

/// Octets read at first; a connection's buffer grows only when a message is longer.
const FIRST_BUFFER: usize = 2048;

/// Octets of answers after which they are written before more are made.
const WRITE_AT: usize = 32 * 1024;

/// Transfers that wait behind the one that is sent; each holds a version. A secondary asks for a few zones at once.
const MAX_WAITING: usize = 16;

/// What happens next on a connection.
enum Event {
    /// So many octets came, or none will come any more.
    Read(io::Result<usize>),
    /// The transfer goes on, or is over.
    Chunk(Result<Option<Vec<u8>>, BrokenOff>),
    /// Nothing came for too long.
    Idle,
    /// The server stops.
    Stop,
    /// Another client needs the place.
    Dismissed,
}

/// The client does not read, or has gone, or must not take what it has for the whole.
struct Gone;

/// Serves one connection until it ends, is idle too long, has to make room, or the server stops.
///
/// `client` decides about transfers, and is kept no longer than the connection.
pub(super) async fn serve<S>(stream: S, client: IpAddr, guest: Guest, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stop = shared.stop.clone();
    let mut deadline = Instant::now() + shared.limits.idle;
    let limits = shared.transfers.limits;
    let input = Input { client, buffer: Vec::with_capacity(FIRST_BUFFER), answered: 0, waiting: VecDeque::new() };
    let mut connection = Connection { stream, input, output: Vec::new(), outgoing: None, is_open: true, shared };
    loop {
        connection.begin_transfer(&limits);
        let transfers = connection.outgoing.is_some();
        if !transfers && !connection.is_open {
            break;
        }
        connection.input.make_room();
        let reads = connection.is_open && connection.input.has_room();
        let event = tokio::select! {
            read = connection.stream.read_buf(&mut connection.input.buffer), if reads => Event::Read(read),
            chunk = next_chunk(&mut connection.outgoing), if transfers => Event::Chunk(chunk),
            () = sleep_until(deadline), if !transfers => Event::Idle,
            () = guest.dismissed(), if !transfers => Event::Dismissed,
            _ = stop.wait_for(|stop| *stop), if connection.is_open => Event::Stop,
        };
        let handled = match event {
            Event::Read(Ok(1..)) => {
                let idle_since = guest.busy();
                // Only a whole message earns more time (RFC 7766 6.2.3), so that a drip of octets does not hold a place.
                match connection.answer_all().await {
                    Ok(_) if connection.is_transferring() => Ok(()),
                    Ok(0) => {
                        guest.idle_as_before(idle_since);
                        Ok(())
                    }
                    Ok(_) => {
                        deadline = Instant::now() + connection.shared.limits.idle;
                        guest.idle();
                        Ok(())
                    }
                    Err(gone) => Err(gone),
                }
            }
            // The client may have closed its half only: what it asked is answered already, or being sent.
            Event::Read(Ok(0)) => {
                connection.is_open = false;
                Ok(())
            }
            Event::Chunk(Ok(Some(chunk))) => connection.write_chunk(&chunk, &limits).await,
            Event::Chunk(Ok(None)) => {
                connection.outgoing = None;
                connection.begin_transfer(&limits);
                // What waited for room behind the transfers.
                let answered = connection.answer_all().await;
                if !connection.is_transferring() {
                    deadline = Instant::now() + connection.shared.limits.idle;
                    guest.idle();
                }
                answered.map(drop)
            }
            Event::Idle => break,
            Event::Stop => connection.read_last().await,
            Event::Read(Err(_)) | Event::Chunk(Err(BrokenOff)) | Event::Dismissed => Err(Gone),
        };
        if let Err(Gone) = handled {
            return;
        }
    }
    // TLS says good-bye, so that nobody takes the end for a cut (RFC 8446 6.1).
    let _ = timeout(connection.shared.limits.write, connection.stream.shutdown()).await;
}

/// A transfer that is being sent, and when it has to be over.
struct Outgoing {
    chunks: Chunks,
    until: Instant,
}

async fn next_chunk(outgoing: &mut Option<Outgoing>) -> Result<Option<Vec<u8>>, BrokenOff> {
    let Some(Outgoing { chunks, until }) = outgoing else { return std::future::pending().await };
    timeout_at(*until, chunks.next()).await.unwrap_or(Err(BrokenOff))
}

/// A connection that is being served.
struct Connection<S> {
    stream: S,
    input: Input,
    output: Vec<u8>,
    outgoing: Option<Outgoing>,
    /// Whether more may come from the client.
    is_open: bool,
    shared: Arc<Shared>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Begins the next transfer, if one waits and none is being sent.
    fn begin_transfer(&mut self, limits: &TransferLimits) {
        if self.outgoing.is_none() {
            let next = self.input.waiting.pop_front();
            self.outgoing =
                next.map(|granted| Outgoing { chunks: granted.begin(), until: Instant::now() + limits.total });
        }
    }

    /// Whether a transfer is being sent, or waits.
    fn is_transferring(&self) -> bool {
        self.outgoing.is_some() || !self.input.waiting.is_empty()
    }

    /// Answers the whole messages that have come; how many were answered.
    async fn answer_all(&mut self) -> Result<usize, Gone> {
        let mut answered = 0;
        loop {
            let more = self.input.answer_some(&mut self.output, &self.shared, &mut answered);
            if !self.output.is_empty() {
                let written = timeout(self.shared.limits.write, write(&mut self.stream, &self.output)).await;
                self.output.clear();
                if !matches!(written, Ok(Ok(()))) {
                    self.shared.counters.add(TransportStats { not_sent: 1, ..<_>::default() });
                    return Err(Gone);
                }
            }
            if !more {
                self.output.shrink_to(WRITE_AT);
                return Ok(answered);
            }
        }
    }

    /// Writes a part of a transfer, as fast as the client reads.
    async fn write_chunk(&mut self, chunk: &[u8], limits: &TransferLimits) -> Result<(), Gone> {
        let total = self.outgoing.as_ref().map_or_else(Instant::now, |outgoing| outgoing.until);
        let until = total.min(Instant::now() + limits.read);
        let Ok(Ok(())) = timeout_at(until, write(&mut self.stream, chunk)).await else { return Err(Gone) };
        Ok(())
    }

    /// What came before the stop is still answered. A read that does not wait would miss what the runtime has not noticed.
    async fn read_last(&mut self) -> Result<(), Gone> {
        self.is_open = false;
        if self.input.has_room()
            && let Ok(Ok(1..)) = timeout(LAST_READ, self.stream.read_buf(&mut self.input.buffer)).await
        {
            self.answer_all().await?;
        }
        Ok(())
    }
}

/// Writes all of `octets`; TLS may have taken what the socket has not.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, octets: &[u8]) -> io::Result<()> {
    stream.write_all(octets).await?;
    stream.flush().await
}

/// What a client has sent: the part in front is answered.
struct Input {
    client: IpAddr,
    buffer: Vec<u8>,
    answered: usize,
    /// Transfers that it asked for and may have, in order.
    waiting: VecDeque<Granted>,
}

impl Input {
    /// Drops what is answered, and makes sure that the message that has begun will fit.
    fn make_room(&mut self) {
        self.buffer.drain(..self.answered);
        self.answered = 0;
        let wanted = self.buffer.first_chunk().map_or(LENGTH, |len| LENGTH + usize::from(u16::from_be_bytes(*len)));
        self.buffer.reserve(wanted.max(FIRST_BUFFER).saturating_sub(self.buffer.len()).max(1));
    }

    /// Whether whatever may be asked next can be taken.
    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    fn next(&self) -> Option<&[u8]> {
        let (len, rest) = self.buffer[self.answered..].split_first_chunk()?;
        rest.get(..usize::from(u16::from_be_bytes(*len)))
    }

    /// Answers messages into `output`, each behind its length (RFC 7766 8); whether there may be more.
    fn answer_some(&mut self, output: &mut Vec<u8>, shared: &Shared, answered: &mut usize) -> bool {
        if self.next().is_none() {
            return false;
        }
        let zones = shared.live.load();
        let mut counted = TransportStats::default();
        with_scratch(|scratch| {
            while output.len() < WRITE_AT
                && self.has_room()
                && let Some(message) = self.next()
            {
                let len = message.len();
                scratch[..len].copy_from_slice(message);
                self.answered += LENGTH + len;
                let reply = if transfer::is_wanted(&scratch[..len]) {
                    match full::transfer(
                        &zones,
                        &shared.transfers,
                        &shared.client(Transport::Tcp, self.client),
                        &mut scratch[..],
                        len,
                    ) {
                        Ok(granted) => {
                            if let Some(log) = &shared.policy.query_log {
                                log.note_transfer(shared.name, &scratch[..len]);
                            }
                            self.waiting.push_back(granted);
                            *answered += 1;
                            continue;
                        }
                        Err(reply) => {
                            if let Some(log) = &shared.policy.query_log {
                                log.note(shared.name, &scratch[..], Some(&reply));
                            }
                            Some(reply)
                        }
                    }
                } else {
                    shared.answer(&zones, Transport::Tcp, self.client, &mut scratch[..], len)
                };
                counted.count(reply.as_ref(), &scratch[..]);
                if let Some(reply) = reply {
                    output.extend(u16::try_from(reply.len).unwrap_or_default().to_be_bytes());
                    output.extend_from_slice(&scratch[..reply.len]);
                    *answered += 1;
                }
            }
        });
        shared.counters.add(counted);
        self.has_room() && self.next().is_some()
    }
}
