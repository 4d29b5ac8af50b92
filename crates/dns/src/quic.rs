//! DNS over QUIC (RFC 9250; DNS-66): one query a stream, behind two octets of length, with ID 0, ended by FIN.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::config::TcpLimits;
use crate::scan::has_option;
use crate::stats::{Counters, TransportStats};
use crate::tcp::room::{Admission, Guest};
use crate::tcp::{LAST_READ, Shared};
use crate::visit::{Farewell, Visit};
use crate::wire::{LENGTH, MAX_MESSAGE, u16_at};

/// The protocol's name in the handshake.
pub(crate) const ALPN: [&[u8]; 1] = [b"doq"];

/// Queries in progress on one connection.
const MAX_STREAMS: u32 = 100;

/// Octets of queries on the way, a stream: a longest message.
const STREAM_WINDOW: u32 = 1 << 17;

/// Octets of queries on the way, a connection.
const CONNECTION_WINDOW: u32 = 1 << 18;

/// Octets of answers that a client may leave unread on a connection.
const SEND_WINDOW: u64 = 1 << 18;

/// Handshakes in progress on one endpoint; more are refused.
const MAX_HANDSHAKES: usize = 256;

/// Octets that handshakes in progress may have sent ahead, each.
const HANDSHAKE_BUFFER: u64 = 16 * 1024;

/// Connections from which on, or when places are few, a client has to show first that it receives at its address (RFC 9000 8.1.2).
pub(crate) const RETRY_FROM: usize = 64;

/// Longest wait, at the end, for the last packets to go out.
const FAREWELL: Duration = Duration::from_millis(500);

/// The option for TCP's idle limit (RFC 7828): not for QUIC, which has its own.
const KEEPALIVE_CODE: u16 = 11;

/// DOQ_NO_ERROR (RFC 9250 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);

/// DOQ_PROTOCOL_ERROR: what the client sent is not DoQ.
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

/// DOQ_EXCESSIVE_LOAD: the connection has to make room.
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Where DoQ is never served, so that it is not taken for plain DNS (RFC 9250 4.1.1).
pub(crate) const FORBIDDEN_PORT: u16 = 53;

/// A UDP socket bound to `address`.
///
/// # Errors
///
/// What the system says.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A bound socket, and how to serve on it.
pub(crate) struct Listener {
    pub(crate) socket: UdpSocket,
    pub(crate) config: ServerConfig,
    pub(crate) counters: Arc<Counters>,
}

impl Listener {
    /// Hands the socket to the runtime around us.
    pub(crate) fn open(self) -> io::Result<(Endpoint, Arc<Counters>)> {
        let Self { socket, config, counters } = self;
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?;
        Ok((endpoint, counters))
    }
}

/// QUIC with `tls` inside, within `limits`.
///
/// # Errors
///
/// `tls` is not for QUIC.
pub(crate) fn server_config(tls: rustls::ServerConfig, limits: &TcpLimits) -> Result<ServerConfig, rustls::Error> {
    let tls =
        QuicServerConfig::try_from(tls).map_err(|error| rustls::Error::General(format!("not for QUIC: {error}")))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        // RFC 9250 4.3.3: there are no streams of one direction.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    // Longer than ours, so that ours decides: it asks for whole queries. A limit of years is none.
    transport.max_idle_timeout((limits.idle + limits.handshake).try_into().ok());
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(MAX_HANDSHAKES)
        .incoming_buffer_size(HANDSHAKE_BUFFER)
        .incoming_buffer_size_total(HANDSHAKE_BUFFER * MAX_HANDSHAKES as u64);
    Ok(config)
}

/// Takes connections until the server stops, then lets them end.
pub(crate) async fn listen(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let Some(incoming) = incoming else { break };
        let client = incoming.remote_address().ip();
        // A forged address must not cost a client its place.
        let is_tested = connections.len() >= RETRY_FROM || shared.room.is_crowded(client);
        if is_tested && !incoming.remote_address_validated() {
            // Fails only for an address that is validated.
            let _ = incoming.retry();
            continue;
        }
        let admission = shared.room.admit(client);
        let crowded = !matches!(admission, Admission::Free(_));
        shared.counters.add(TransportStats { accepted: 1, crowded_out: crowded.into(), ..<_>::default() });
        match admission {
            Admission::Free(guest) | Admission::InsteadOf(guest) => {
                connections.spawn(connect(incoming, guest, Arc::clone(&shared)));
            }
            Admission::Full => incoming.refuse(),
        }
    }
    endpoint.set_server_config(None);
    while connections.join_next().await.is_some() {}
    endpoint.close(NO_ERROR, b"");
    let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
}

/// The handshake, then the connection.
async fn connect(incoming: Incoming, guest: Guest, shared: Arc<Shared>) {
    let _open = shared.counters.open();
    let mut stop = shared.stop.clone();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return debug!(reason = reason(&error), "QUIC connection not accepted"),
    };
    let connected = tokio::select! {
        connected = timeout(shared.limits.handshake, connecting) => connected,
        () = guest.dismissed() => return,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match connected {
        Ok(Ok(connection)) => serve(connection, guest, shared).await,
        Ok(Err(error)) => debug!(reason = reason(&error), "QUIC handshake failed"),
        Err(_) => debug!("QUIC handshake too slow"),
    }
}

/// What a stream brought is not DoQ: fatal for the connection (RFC 9250 4.3.3).
struct NotDoq;

/// Serves one connection until it ends, is idle too long, has to make room, or the server stops.
async fn serve(connection: Connection, guest: Guest, shared: Arc<Shared>) {
    let visit = Visit::new(shared, connection.remote_address().ip(), guest);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    streams.spawn(exchange(send, receive, Arc::clone(&visit)));
                }
                Err(error) => return debug!(reason = reason(&error), "QUIC connection ended"),
            },
            Some(ended) = streams.join_next() => if let Ok(Err(NotDoq)) = ended {
                return connection.close(PROTOCOL_ERROR, b"");
            },
            farewell = visit.over() => return connection.close(match farewell {
                Farewell::Idle => NO_ERROR,
                Farewell::Crowded => EXCESSIVE_LOAD,
            }, b""),
            () = visit.stopped() => break,
        }
    }
    // What came before the stop is still answered, and the client has it before the connection closes.
    let owed = async {
        while let Ok(Ok((send, receive))) = timeout(LAST_READ, connection.accept_bi()).await {
            streams.spawn(exchange(send, receive, Arc::clone(&visit)));
        }
        while streams.join_next().await.is_some() {}
    };
    let _ = timeout(visit.shared.limits.drain, owed).await;
    connection.close(NO_ERROR, b"");
}

/// One query and its answer.
async fn exchange(mut send: SendStream, receive: RecvStream, visit: Arc<Visit>) -> Result<(), NotDoq> {
    let ended = answer(&mut send, receive, &visit).await;
    if ended.is_err() {
        // Dropped, it would end like an answer. Fails if the connection is gone.
        let _ = send.reset(PROTOCOL_ERROR);
    }
    ended
}

/// Reads the query from `receive` and writes its answer to `send`.
async fn answer(send: &mut SendStream, mut receive: RecvStream, visit: &Visit) -> Result<(), NotDoq> {
    let query = match receive.read_to_end(LENGTH + MAX_MESSAGE).await {
        Ok(octets) => octets,
        // More than one message.
        Err(ReadToEndError::TooLong) => return Err(NotDoq),
        Err(ReadToEndError::Read(_)) => {
            // RFC 9250 4.3.1: what the client resets is reset by us, too. Fails if the connection is gone.
            let _ = send.reset(NO_ERROR);
            return Ok(());
        }
    };
    let framed = |answer: &[u8]| [&u16::try_from(answer.len()).unwrap_or_default().to_be_bytes()[..], answer].concat();
    let answer = visit.answer(message(&query).ok_or(NotDoq)?, framed).ok_or(NotDoq)?;
    let sent = timeout(visit.shared.limits.write, async {
        send.write_all(&answer).await.ok()?;
        send.finish().ok()?;
        // `Ok(None)`: the client has all of it.
        send.stopped().await.ok()
    });
    if !matches!(sent.await, Ok(Some(_))) {
        visit.shared.counters.add(TransportStats { not_sent: 1, ..<_>::default() });
        let _ = send.reset(EXCESSIVE_LOAD);
    }
    Ok(())
}

/// The one message that `octets` are, if they are one with ID 0 (RFC 9250 4.2, 4.2.1) that does not ask for the keepalive of
/// TCP (RFC 9250 5.5.2).
fn message(octets: &[u8]) -> Option<&[u8]> {
    let (len, message) = octets.split_first_chunk::<LENGTH>()?;
    let whole = message.len() == usize::from(u16::from_be_bytes(*len));
    (whole && u16_at(message, 0) == Some(0) && !has_option(message, KEEPALIVE_CODE)).then_some(message)
}

/// Why a connection ended, in words of ours: quinn's may name the client.
const fn reason(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::VersionMismatch => "no common version",
        ConnectionError::TransportError(_) => "QUIC or TLS was broken",
        ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) => "closed by the client",
        ConnectionError::Reset => "reset by the client",
        ConnectionError::TimedOut => "timed out",
        ConnectionError::LocallyClosed => "closed here",
        ConnectionError::CidsExhausted => "no connection ids left",
    }
}
