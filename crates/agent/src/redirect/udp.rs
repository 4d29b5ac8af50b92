//! SIP over UDP: one datagram, one message (RFC 3261 18.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_probe::sip::{MAX_MESSAGE, Message};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::core::{Core, Framed, Next};
use super::request::Envelope;

/// Octets that an answer may have more than its request: what copies cannot add is a tag, an address and a Contact. Whoever
/// forges the address of another so makes us send that one hardly more than he sends himself.
const MAX_GROWTH: usize = 512;
/// Pause after the system could not receive.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// The port of a sender that names none (RFC 3261 18.2.2).
const DEFAULT_PORT: u16 = 5060;

/// Answers on `socket` as long as the task lives.
pub(super) async fn serve(socket: UdpSocket, core: Arc<Core>) {
    let socket = Arc::new(socket);
    let mut octets = vec![0; MAX_MESSAGE];
    // Bounded by what may wait; they belong to this task and end with it.
    let mut waiting = JoinSet::new();
    loop {
        while waiting.try_join_next().is_some() {}
        let Ok((len, source)) = socket.recv_from(&mut octets).await else {
            // What the network says of an answer of before concerns nobody; what stays wrong must not cost all the time.
            sleep(ERROR_PAUSE).await;
            continue;
        };
        let datagram = &octets[..len];
        let Some(framed) = Framed::datagram(datagram) else { continue };
        let to = destination(framed.message(), source);
        match core.take(&framed, source) {
            Next::Nothing => {}
            Next::Answer(answer) => send(&socket, &answer, len, to).await,
            Next::Wait(answer) => {
                let socket = Arc::clone(&socket);
                waiting.spawn(async move { send(&socket, &answer.answer().await, len, to).await });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &str, asked: usize, to: SocketAddr) {
    if answer.len() <= asked + MAX_GROWTH {
        // What is lost is asked for again.
        let _ = socket.send_to(answer.as_bytes(), to).await;
    }
}

/// Where an answer goes: to the address that the request came from, always; to the port that it came from if that is wanted
/// (RFC 3581 4), else to the one that Via names. `maddr` is not followed: it would send answers to third parties.
pub(super) fn destination(message: &Message, source: SocketAddr) -> SocketAddr {
    match Envelope::read(message, source).map(|envelope| envelope.via) {
        Some(via) if !via.wants_port() => SocketAddr::new(source.ip(), via.port.unwrap_or(DEFAULT_PORT)),
        Some(_) | None => source,
    }
}
