//! A DNS overlay for one host: questions about members are answered from their own documents, all others are forwarded as
//! they are.
//!
//! A SIP server that asks an [`Overlay`] finds every member by RFC 3263 and 6116, without a directory and without the member's
//! public records. What is laid over the DNS is as little as that needs ([`Zones::held_by_nodes`]): NAPTR at a member's
//! domain and numbers, SRV at `_sips._tcp`, the addresses and TLSA records of hosts whose addresses its document gives. All
//! else of the domain (MX, the website, SOA, …) is as in public DNS. A member that must not be called has no such records.
//!
//! One question: `udp` or `tcp` receives it, `local` decides and answers for members, `forward` asks upstreams. It is no
//! recursive resolver, and keeps no cache: the upstream does. It is for programs on this host, not for validating
//! resolvers: a member's records come without signatures, and are believed for the document's (decisions 38).
//!
//! ```no_run
//! # use std::borrow::Cow;
//! # use tandem_dns::overlay::{BlockReason, LiveMembers, News, Overlay, OverlayError, Roster, Settings};
//! # async fn run(node: tandem_model::Node) -> Result<(), OverlayError> {
//! let settings = Settings::new(vec!["127.0.0.1:5353".parse().expect("an address")]);
//! let mut roster = Roster::new(settings.suffixes.clone());
//! let members = LiveMembers::new(roster.update([(node.domain(), News::Member(Cow::Borrowed(&node)))]));
//! let overlay = Overlay::start(settings, &members)?;
//! // Later, whenever members have come, changed or gone:
//! members.publish(roster.update([(node.domain(), News::Blocked(BlockReason::Compromised))]));
//! overlay.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Zones::held_by_nodes`]: tandem_zone::Zones::held_by_nodes

mod forward;
mod local;
mod members;
mod message;
mod roster;
mod settings;
mod stats;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task;
use tokio::time::timeout;
use tracing::info;

use crate::server::{Bound, StartError, bind};
use crate::tcp::room::Room;
use forward::Forwarder;
pub use members::{BlockReason, Blocked, LiveMembers, Members};
pub use roster::{News, Roster};
pub use settings::{Settings, UpstreamError};
use stats::Counters;
pub use stats::{Stats, StatsReader};

/// A running overlay. Dropping it stops it; [`shutdown`](Self::shutdown) answers what it owes first.
#[derive(Debug)]
pub struct Overlay {
    addresses: Vec<SocketAddr>,
    upstreams: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    listeners: Vec<task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
}

/// What all threads and tasks share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    members: LiveMembers,
    forwarder: Forwarder,
    counters: Arc<Counters>,
    stop: AtomicBool,
}

impl Overlay {
    /// Binds all addresses, then begins to answer from `members`: what is published there is in the next answer.
    ///
    /// Needs a tokio runtime around it, for TCP and for what is forwarded; UDP has threads of its own.
    ///
    /// # Errors
    ///
    /// [`OverlayError`]; nothing is left running or bound then.
    pub fn start(settings: Settings, members: &LiveMembers) -> Result<Self, OverlayError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        if settings.listen.is_empty() {
            return Err(StartError::NoAddress.into());
        }
        for address in &settings.listen {
            check_address(&settings, *address)?;
        }
        let threads = settings.udp_threads.get();
        let bound = settings.listen.iter().map(|address| bind(*address, threads));
        let bound = bound.collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<SocketAddr> = bound.iter().map(|bound| bound.address).collect();
        let upstreams = settings.find_upstreams(&addresses)?;
        let counters = Arc::<Counters>::default();
        let forwarder = Forwarder::new(&upstreams, settings.outstanding, settings.timeout, Arc::clone(&counters));
        let shared =
            Arc::new(Shared { settings, members: members.clone(), forwarder, counters, stop: AtomicBool::new(false) });
        let (stop, _) = watch::channel(false);
        let mut overlay = Self { addresses, upstreams, threads: Vec::new(), listeners: Vec::new(), stop, shared };
        overlay.serve(bound, &runtime).map_err(StartError::System)?;
        info!(addresses = ?overlay.addresses, upstreams = ?overlay.upstreams, "the DNS overlay answers");
        Ok(overlay)
    }

    /// Stops accepting, answers what has arrived, closes all sockets. Takes as long as the slowest upstream or client, at most
    /// the drain limit of TCP, and a fifth of a second for UDP.
    pub async fn shutdown(mut self) {
        self.halt();
        let drain = self.shared.settings.tcp.drain;
        // Threads first: after them nothing more is forwarded for UDP.
        let threads = std::mem::take(&mut self.threads);
        let _ = task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        let listeners = std::mem::take(&mut self.listeners);
        let aborts: Vec<_> = listeners.iter().map(task::JoinHandle::abort_handle).collect();
        let ended = async {
            for listener in listeners {
                let _ = listener.await;
            }
            self.shared.forwarder.wait_for_all().await;
        };
        if timeout(drain, ended).await.is_err() {
            aborts.iter().for_each(task::AbortHandle::abort);
        }
    }

    /// The addresses as bound, in the order of the settings, with real ports.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Who is asked what members do not answer.
    #[must_use]
    pub fn upstreams(&self) -> &[SocketAddr] {
        &self.upstreams
    }

    /// What was done since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.load()
    }

    /// The same, for others to read whenever they are asked.
    #[must_use]
    pub fn stats_reader(&self) -> StatsReader {
        StatsReader(Arc::clone(&self.shared.counters))
    }

    fn serve(&mut self, bound: Vec<Bound>, runtime: &Handle) -> std::io::Result<()> {
        let tcp = self.shared.settings.tcp;
        let room = Room::new(tcp.connections, tcp.connections_per_network);
        let _inside = runtime.enter();
        for Bound { udp, tcp, .. } in bound {
            let listener = TcpListener::from_std(tcp)?;
            let listen = tcp::listen(listener, Arc::clone(&room), Arc::clone(&self.shared), self.stop.subscribe());
            self.listeners.push(runtime.spawn(listen));
            for socket in udp {
                let worker = udp::Worker {
                    socket: Arc::new(socket),
                    reader: self.shared.members.reader(),
                    shared: Arc::clone(&self.shared),
                    runtime: runtime.clone(),
                };
                let name = format!("overlay-udp-{}", self.threads.len());
                self.threads.push(thread::Builder::new().name(name).spawn(move || worker.run())?);
            }
        }
        Ok(())
    }

    fn halt(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.stop.send(true);
    }
}

/// Threads and tasks see it soon and end by themselves.
impl Drop for Overlay {
    fn drop(&mut self) {
        self.halt();
    }
}

/// An overlay answers to those it is for, and from the address that was asked.
fn check_address(settings: &Settings, address: SocketAddr) -> Result<(), OverlayError> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Err(OverlayError::Unspecified(address)),
        IpAddr::V6(ip) if ip.is_unspecified() => Err(OverlayError::Unspecified(address)),
        ip if !ip.is_loopback() && settings.clients.is_empty() => Err(OverlayError::ForNobody(address)),
        _ => Ok(()),
    }
}

/// Why an overlay did not start.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A socket, a thread or the runtime cannot be had.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is nobody to forward to.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The address stands for all of this host's: name those that clients ask.
    #[error("the overlay cannot listen on {0}: name the addresses that its clients ask, such as 127.0.0.1")]
    Unspecified(SocketAddr),
    /// Others than this host's programs could ask there, and nobody of them may: name the networks that may.
    #[error("nobody may ask the overlay on {0}: name the networks of its clients")]
    ForNobody(SocketAddr),
}
