//! TCP (RFC 7766): messages behind two octets of length, many on one connection, within limits of number and time.
//!
//! [`Service`] owns the tasks of all transports with connections: one a listener, one a connection. Its connections, be
//! they plain, DoT, DoH or DoQ, share one [`Room`]. DoT is this framing inside TLS, so [`connection::serve`] takes any stream.

mod connection;
pub(crate) mod room;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tandem_zone::{Live, Zones};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::answer::{Reply, Transport};
use crate::client::{Client, Policy};
use crate::config::TcpLimits;
use crate::respond::respond;
use crate::stats::{Counters, TransportStats};
use crate::transfer::Transfers;
use crate::wire::MAX_MESSAGE;
use crate::{client, https, padding, quic, tls};
use connection::serve;
use room::{Admission, Guest, Room};

/// Connections that the system keeps for us while we accept others.
const BACKLOG: i32 = 1024;

/// Pause after a failed accept that is not one client's fault (no descriptors left): without it, a busy loop.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What goes on inside the connections of a listener.
#[derive(Clone)]
pub(crate) enum Inside {
    /// DNS, in clear.
    Plain,
    /// DNS over TLS (RFC 7858).
    Tls(TlsAcceptor),
    /// DNS over HTTPS (RFC 8484).
    Https(TlsAcceptor),
}

impl Inside {
    /// The transport's name in the query log.
    const fn name(&self) -> &'static str {
        match self {
            Self::Plain => "tcp",
            Self::Tls(_) => "tls",
            Self::Https(_) => "https",
        }
    }
}

/// A bound listener, and what it is for.
pub(crate) struct Listener {
    pub(crate) socket: std::net::TcpListener,
    pub(crate) inside: Inside,
    pub(crate) counters: Arc<Counters>,
}

/// What the connections of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) live: Live,
    pub(crate) limits: TcpLimits,
    pub(crate) room: Arc<Room>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) transfers: Arc<Transfers>,
    policy: Arc<Policy>,
    /// The transport's name in the query log.
    name: &'static str,
    /// Nobody on the way can read the answers: they are padded for clients that ask for it (DNS-49).
    encrypted: bool,
}

/// The TCP side of a server.
#[derive(Debug)]
pub(crate) struct Service {
    listeners: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    drain: Duration,
}

/// Longest wait, once told to stop, for a query that has arrived already.
pub(crate) const LAST_READ: Duration = Duration::from_millis(50);

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
    /// Starts a task for each listener on `runtime`: `listeners` for TCP and what runs over it, `quic` for DoQ.
    ///
    /// # Errors
    ///
    /// What the system says when a listener is handed to the runtime.
    pub(crate) fn start(
        listeners: Vec<Listener>,
        quic: Vec<quic::Listener>,
        limits: TcpLimits,
        live: &Live,
        transfers: &Arc<Transfers>,
        policy: &Arc<Policy>,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        // One for all transports: descriptors and memory are one supply, too.
        let room = Room::new(limits.connections, limits.connections_per_network);
        let share = |counters, name| {
            let (live, room, stop) = (live.clone(), Arc::clone(&room), stopped.clone());
            let (transfers, policy) = (Arc::clone(transfers), Arc::clone(policy));
            let encrypted = name != Inside::Plain.name();
            Arc::new(Shared { live, limits, room, counters, stop, transfers, policy, name, encrypted })
        };
        let _inside = runtime.enter();
        // All are handed over before any begins: on an error nothing runs.
        let listeners = listeners
            .into_iter()
            .map(|Listener { socket, inside, counters }| Ok((TcpListener::from_std(socket)?, inside, counters)))
            .collect::<io::Result<Vec<_>>>()?;
        let endpoints = quic.into_iter().map(quic::Listener::open).collect::<io::Result<Vec<_>>>()?;
        let streams = listeners.into_iter().map(|(listener, inside, counters)| {
            let name = inside.name();
            runtime.spawn(listen(listener, inside, share(counters, name)))
        });
        let endpoints = endpoints
            .into_iter()
            .map(|(endpoint, counters)| runtime.spawn(quic::listen(endpoint, share(counters, "quic"))));
        let listeners = streams.chain(endpoints).collect();
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

impl Shared {
    /// Answers the message from `client` in the first `len` octets of `buffer` there.
    pub(crate) fn answer(
        &self,
        zones: &Zones,
        transport: Transport,
        client: IpAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Reply> {
        let reply = self.answer_padded(zones, transport, client, buffer, len);
        if let Some(log) = &self.policy.query_log {
            log.note(self.name, buffer, reply.as_ref());
        }
        reply
    }

    fn answer_padded(
        &self,
        zones: &Zones,
        transport: Transport,
        client: IpAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Reply> {
        let padded = self.encrypted && padding::is_wanted(&buffer[..len]);
        let mut reply = respond(zones, &self.transfers, &self.client(transport, client), buffer, len)?;
        if padded {
            reply.len = padding::pad(buffer, reply.len);
        }
        Some(reply)
    }

    /// A message from `address`, as the answer sees it.
    fn client(&self, transport: Transport, address: IpAddr) -> Client<'_> {
        self.policy.client(transport, address, client::now())
    }
}

/// Lends the scratch buffer of this thread: 64 KiB a thread, not a connection.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut [u8; MAX_MESSAGE]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}

async fn listen(listener: TcpListener, inside: Inside, shared: Arc<Shared>) {
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
                    connections.spawn(connect(stream, inside.clone(), guest, Arc::clone(&shared)));
                }
            }
            // The client has gone again: nobody's fault.
            Err(error) if is_of_one_client(&error) => {}
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

/// Whether accepting failed because of the client that it was for: the next one is another matter. Linux passes on what
/// the network said about the new connection (accept(2)).
pub(crate) fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [
        Kind::ConnectionAborted,
        Kind::ConnectionReset,
        Kind::Interrupted,
        Kind::NetworkDown,
        Kind::NetworkUnreachable,
        Kind::HostUnreachable,
        Kind::TimedOut,
        Kind::PermissionDenied,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| code == libc::EPROTO)
}

/// Serves one connection, whatever goes on inside.
async fn connect(stream: TcpStream, inside: Inside, guest: Guest, shared: Arc<Shared>) {
    // Answers are written whole, so waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let _open = shared.counters.open();
    let Ok(client) = stream.peer_addr().map(|peer| peer.ip()) else { return };
    match inside {
        Inside::Plain => serve(stream, client, guest, shared).await,
        // In boxes, so that a plain connection does not take the room that TLS and HTTP need.
        Inside::Tls(acceptor) => {
            if let Some(stream) = Box::pin(tls::accept(&acceptor, stream, &guest, &shared)).await {
                Box::pin(serve(stream, client, guest, shared)).await;
            }
        }
        Inside::Https(acceptor) => {
            if let Some(stream) = Box::pin(tls::accept(&acceptor, stream, &guest, &shared)).await {
                Box::pin(https::serve(stream, client, guest, shared)).await;
            }
        }
    }
}

thread_local! {
    /// Where one answer is made.
    static SCRATCH: std::cell::RefCell<Box<[u8; MAX_MESSAGE]>> = std::cell::RefCell::new(Box::new([0; MAX_MESSAGE]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_went_again_costs_no_pause_threat_6() {
        let of_one_client = |code| is_of_one_client(&io::Error::from_raw_os_error(code));
        for code in
            [libc::ECONNABORTED, libc::ECONNRESET, libc::EPROTO, libc::ENETDOWN, libc::EHOSTUNREACH, libc::EPERM]
        {
            assert!(of_one_client(code), "{code}: the next one is accepted at once");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EBADF, libc::EINVAL] {
            assert!(!of_one_client(code), "{code}: without a pause a busy loop");
        }
    }
}
