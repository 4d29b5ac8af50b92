//! TCP (RFC 7766): messages behind two octets of length, many on one connection, within limits of number and time.
//!
//! [`Service`] owns the tasks: one a listener, one a connection. Answers go out in the order of the questions.

mod room;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tandem_zone::Live;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::answer::Transport;
use crate::config::TcpLimits;
use crate::respond::respond;
use crate::stats::{Counters, TransportStats};
use crate::wire::MAX_MESSAGE;
use room::{Admission, Guest, Room};

/// Connections that the system keeps for us while we accept others.
const BACKLOG: i32 = 1024;

/// Pause after a failed accept that is not one client's fault (no descriptors left): without it, a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Octets of the length before a message (RFC 1035 4.2.2).
const LENGTH: usize = 2;

/// Octets read at first; a connection's buffer grows only when a message is longer.
const FIRST_BUFFER: usize = 2048;

/// Octets of answers after which they are written before more are made.
const WRITE_AT: usize = 32 * 1024;

/// What all connections share.
#[derive(Debug)]
struct Shared {
    live: Live,
    limits: TcpLimits,
    room: Arc<Room>,
    counters: Arc<Counters>,
    stop: watch::Receiver<bool>,
}

/// The TCP side of a server.
#[derive(Debug)]
pub(crate) struct Service {
    listeners: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    drain: Duration,
}

/// Longest wait, once told to stop, for a query that has arrived already.
const LAST_READ: Duration = Duration::from_millis(50);

/// A TCP listener bound to `address`.
///
/// # Errors
///
/// What the system says.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // For a restart while old connections are in TIME_WAIT; two listeners at a time it does not allow.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Service {
    /// Starts a task for each listener on `runtime`.
    ///
    /// # Errors
    ///
    /// What the system says when a listener is handed to the runtime.
    pub(crate) fn start(
        listeners: Vec<std::net::TcpListener>,
        limits: TcpLimits,
        live: Live,
        counters: Arc<Counters>,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let room = Room::new(limits.connections, limits.connections_per_network);
        let shared = Arc::new(Shared { live, limits, room, counters, stop: stopped });
        let _inside = runtime.enter();
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
        let listeners =
            listeners.into_iter().map(|listener| runtime.spawn(listen(listener, Arc::clone(&shared)))).collect();
        Ok(Self { listeners, stop, drain: limits.drain })
    }

    /// Accepts no more, lets connections write what they owe, and closes them; at most the drain limit long.
    pub(crate) async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let drained = async {
            for listener in &mut self.listeners {
                let _ = listener.await;
            }
        };
        if timeout(self.drain, drained).await.is_err() {
            debug!("some TCP clients did not read their answers in time");
            self.listeners.iter().for_each(JoinHandle::abort);
        }
    }
}

/// Tells the tasks to stop.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let admission = shared.room.admit(peer.ip());
                let crowded = !matches!(admission, Admission::Free(_));
                shared.counters.add(TransportStats { accepted: 1, crowded_out: crowded.into(), ..<_>::default() });
                if let Admission::Free(guest) | Admission::InsteadOf(guest) = admission {
                    connections.spawn(serve(stream, guest, Arc::clone(&shared)));
                }
            }
            // The client has gone again: nobody's fault.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                let closed_one = shared.room.dismiss_idlest();
                debug!(%error, closed_one, "accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends, is idle too long, has to make room, or the server stops.
async fn serve(mut stream: TcpStream, guest: Guest, shared: Arc<Shared>) {
    // Answers are written whole, so waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let mut stop = shared.stop.clone();
    let mut input = Input { buffer: Vec::with_capacity(FIRST_BUFFER), answered: 0 };
    let mut output = Vec::new();
    let mut deadline = Instant::now() + shared.limits.idle;
    loop {
        input.make_room();
        let read = tokio::select! {
            read = timeout_at(deadline, stream.read_buf(&mut input.buffer)) => read,
            () = guest.dismissed() => return,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match read {
            // The client may have closed its half only: what it asked is answered already.
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        }
        let idle_since = guest.busy();
        // Only a whole message earns more time (RFC 7766 6.2.3), so that a drip of octets does not hold a place.
        match answer_all(&mut stream, &mut input, &mut output, &shared).await {
            Ok(0) => guest.idle_as_before(idle_since),
            Ok(_) => {
                deadline = Instant::now() + shared.limits.idle;
                guest.idle();
            }
            Err(Gone) => return,
        }
    }
    // What came before the stop is still answered. A read that does not wait would miss what the runtime has not noticed.
    input.make_room();
    if let Ok(Ok(1..)) = timeout(LAST_READ, stream.read_buf(&mut input.buffer)).await {
        let _ = answer_all(&mut stream, &mut input, &mut output, &shared).await;
    }
    let _ = timeout(shared.limits.write, stream.shutdown()).await;
}

/// The client does not read, or has gone.
struct Gone;

/// Answers the whole messages in `input`; how many were answered.
async fn answer_all(
    stream: &mut TcpStream,
    input: &mut Input,
    output: &mut Vec<u8>,
    shared: &Shared,
) -> Result<usize, Gone> {
    let mut answered = 0;
    loop {
        let more = input.answer_some(output, shared, &mut answered);
        if !output.is_empty() {
            let written = timeout(shared.limits.write, stream.write_all(output)).await;
            output.clear();
            if !matches!(written, Ok(Ok(()))) {
                shared.counters.add(TransportStats { not_sent: 1, ..<_>::default() });
                return Err(Gone);
            }
        }
        if !more {
            output.shrink_to(WRITE_AT);
            return Ok(answered);
        }
    }
}

/// What a client has sent: the part in front is answered.
struct Input {
    buffer: Vec<u8>,
    answered: usize,
}

impl Input {
    /// Drops what is answered, and makes sure that the message that has begun will fit.
    fn make_room(&mut self) {
        self.buffer.drain(..self.answered);
        self.answered = 0;
        let wanted = self.buffer.first_chunk().map_or(LENGTH, |len| LENGTH + usize::from(u16::from_be_bytes(*len)));
        self.buffer.reserve(wanted.max(FIRST_BUFFER).saturating_sub(self.buffer.len()).max(1));
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
        SCRATCH.with_borrow_mut(|scratch| {
            while output.len() < WRITE_AT
                && let Some(message) = self.next()
            {
                let len = message.len();
                scratch[..len].copy_from_slice(message);
                self.answered += LENGTH + len;
                let reply = respond(&zones, Transport::Tcp, &mut scratch[..], len);
                counted.count(reply.as_ref());
                if let Some(reply) = reply {
                    output.extend(u16::try_from(reply.len).unwrap_or_default().to_be_bytes());
                    output.extend_from_slice(&scratch[..reply.len]);
                    *answered += 1;
                }
            }
        });
        shared.counters.add(counted);
        self.next().is_some()
    }
}

thread_local! {
    /// Where one answer is made: 64 KiB a thread, not a connection.
    static SCRATCH: std::cell::RefCell<Box<[u8; MAX_MESSAGE]>> = std::cell::RefCell::new(Box::new([0; MAX_MESSAGE]));
}
