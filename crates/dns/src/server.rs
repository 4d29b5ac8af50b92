//! [`DnsServer`]: binds everything first, then serves until it is shut down or dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use socket2::Socket;
use tandem_zone::Live;
use tokio::runtime::Handle;
use tracing::info;

use crate::config::Config;
use crate::stats::{Counters, Stats};
use crate::{tcp, udp};

/// Tries to find a port that is free for UDP and TCP both, when any will do.
const PORT_TRIES: usize = 32;

/// A running DNS server. Dropping it stops it; [`shutdown`](Self::shutdown) answers what it owes first.
#[derive(Debug)]
pub struct DnsServer {
    addresses: Vec<SocketAddr>,
    udp_threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    tcp: Option<tcp::Service>,
    udp_counters: Vec<Arc<Counters>>,
    tcp_counters: Arc<Counters>,
}

/// The sockets of one address.
struct Bound {
    address: SocketAddr,
    udp: Vec<Socket>,
    tcp: TcpListener,
}

impl DnsServer {
    /// Binds all addresses of `config`, then begins to answer from `live`: what is published there is in the next answer.
    ///
    /// Needs a tokio runtime around it, for TCP; UDP has threads of its own.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running or bound then.
    pub fn start(config: &Config, live: &Live) -> Result<Self, StartError> {
        if config.addresses.is_empty() {
            return Err(StartError::NoAddress);
        }
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let threads = match config.udp_threads {
            Some(threads) => threads.get(),
            None => thread::available_parallelism().map_or(1, usize::from),
        };
        let bound =
            config.addresses.iter().map(|address| bind(*address, threads)).collect::<Result<Vec<_>, StartError>>()?;
        let mut server = Self {
            addresses: bound.iter().map(|bound| bound.address).collect(),
            udp_threads: Vec::new(),
            stop: Arc::default(),
            tcp: None,
            udp_counters: Vec::new(),
            tcp_counters: Arc::default(),
        };
        let mut listeners = Vec::new();
        for Bound { udp, tcp, .. } in bound {
            listeners.push(tcp);
            for socket in udp {
                server.start_udp(socket, config, live).map_err(StartError::System)?;
            }
        }
        let counters = Arc::clone(&server.tcp_counters);
        let tcp = tcp::Service::start(listeners, config.tcp, live.clone(), counters, &runtime);
        server.tcp = Some(tcp.map_err(StartError::System)?);
        info!(addresses = ?server.addresses, udp_threads = server.udp_threads.len(), "DNS is served");
        Ok(server)
    }

    /// Stops accepting, answers what has arrived, closes all sockets. Takes as long as the slowest TCP client, at most
    /// the configured drain limit, and a fifth of a second for UDP.
    pub async fn shutdown(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(tcp) = self.tcp.take() {
            tcp.shutdown().await;
        }
        let threads = std::mem::take(&mut self.udp_threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = joined.await;
    }

    /// The addresses as bound, in the order of the configuration, with real ports.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was answered since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for counters in &self.udp_counters {
            counters.add_to(&mut stats.udp);
        }
        self.tcp_counters.add_to(&mut stats.tcp);
        stats
    }

    fn start_udp(&mut self, socket: Socket, config: &Config, live: &Live) -> io::Result<()> {
        let counters = Arc::<Counters>::default();
        let worker = udp::Worker {
            socket,
            reader: live.reader(),
            limit: config.udp_limit.octets(),
            counters: Arc::clone(&counters),
            stop: Arc::clone(&self.stop),
        };
        let name = format!("dns-udp-{}", self.udp_threads.len());
        self.udp_threads.push(thread::Builder::new().name(name).spawn(move || worker.run())?);
        self.udp_counters.push(counters);
        Ok(())
    }
}

/// Threads and tasks see it soon and end by themselves.
impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Binds one address for both transports; with port 0, one that is free for both.
fn bind(address: SocketAddr, threads: usize) -> Result<Bound, StartError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_once(address, threads) {
            Err(StartError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            result => return result,
        }
    }
}

fn bind_once(address: SocketAddr, threads: usize) -> Result<Bound, StartError> {
    let failed = |transport, address| move |source| StartError::Bind { address, transport, source };
    // Not shared: another server that shares its port would take half of our queries, and nobody would be told.
    let alone = udp::bind(address, false).map_err(failed("UDP", address))?;
    let local = alone.local_addr().map_err(StartError::System)?;
    let address = local.as_socket().ok_or_else(|| StartError::System(io::ErrorKind::Unsupported.into()))?;
    let tcp = tcp::bind(address).map_err(failed("TCP", address))?;
    drop(alone);
    let udp =
        (0..threads).map(|_| udp::bind(address, true).map_err(failed("UDP", address))).collect::<Result<_, _>>()?;
    Ok(Bound { address, udp, tcp })
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration names no address: name one.
    #[error("no address to serve DNS on")]
    NoAddress,
    /// An address cannot be had: taken by another process, not of this machine, or a port below 1024 without privilege.
    #[error("cannot listen on {address} ({transport})")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system gave no thread or socket: a limit of the process, most likely.
    #[error("the system refused a thread or a socket")]
    System(#[source] io::Error),
    /// Called outside a tokio runtime: a fault of the program.
    #[error("no tokio runtime to serve TCP in")]
    NoRuntime,
}
