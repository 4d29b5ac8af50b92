//! A SIP redirect server (RFC 3261 8.3): to any request for a member it answers where to go, 302, and forwards nothing.
//!
//! It keeps no state for a request that can be answered at once, so that a retransmission gets the same answer (8.2.7); a
//! request that waits for name servers is remembered until it is answered. Reading order: `request` (what came), `decide`
//! (what it means), `response` (what goes back), `core` (both together), `udp` and `stream` (how it comes and goes).

mod core;
mod decide;
#[cfg(any(test, feature = "fuzzing"))]
pub mod harness;
mod header;
mod request;
mod response;
mod stream;
mod tls;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use self::core::Core;
use crate::config::SipConfig;
use crate::route::Routes;
use crate::status::Board;

/// Why it does not start: where it was to listen, and what the system says.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) place: String,
    pub(crate) source: io::Error,
}

/// Starts it at every address of `config`.
pub(crate) async fn start(
    config: &SipConfig,
    routes: Routes,
    board: &Board,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failed> {
    let core = Arc::new(Core::new(routes));
    let failed = |address: SocketAddr| move |source| Failed { place: address.to_string(), source };
    for &address in &config.udp {
        let socket = UdpSocket::bind(address).await.map_err(failed(address))?;
        board.listens("sip-udp", socket.local_addr().map_err(failed(address))?);
        tasks.spawn(udp::serve(socket, Arc::clone(&core)));
    }
    for &address in &config.tcp {
        let listener = TcpListener::bind(address).await.map_err(failed(address))?;
        board.listens("sip-tcp", listener.local_addr().map_err(failed(address))?);
        tasks.spawn(stream::serve(listener, None, Arc::clone(&core)));
    }
    if let (false, Some(chain), Some(key)) = (config.tls.is_empty(), &config.certificate, &config.key) {
        let place = |source| Failed { place: format!("TLS with {} and {}", chain.display(), key.display()), source };
        let certificate = tls::Certificate::load(chain.clone(), key.clone()).map_err(place)?;
        let acceptor = certificate.acceptor().map_err(place)?;
        tasks.spawn(certificate.follow());
        for &address in &config.tls {
            let listener = TcpListener::bind(address).await.map_err(failed(address))?;
            board.listens("sip-tls", listener.local_addr().map_err(failed(address))?);
            tasks.spawn(stream::serve(listener, Some(acceptor.clone()), Arc::clone(&core)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
