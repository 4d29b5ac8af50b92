//! [`DnsServer`]: binds everything first, then serves until it is shut down or dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use socket2::Socket;
use tandem_zone::Live;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tracing::info;

use crate::client::Policy;
use crate::config::Config;
use crate::notify::{self, Notifier};
use crate::stats::{Counters, Stats};
use crate::tcp::Inside;
use crate::tls::{Certificate, CertificateError};
use crate::transfer::{TransferConfig, Transfers, system_clock};
use crate::{https, quic, tcp, tls, udp};

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
    encrypted: Encrypted,
    transfers: Arc<Transfers>,
    notifier: Option<AbortHandle>,
    policy: Arc<Policy>,
}

/// The encrypted transports.
#[derive(Debug, Default)]
struct Encrypted {
    certificate: Option<Arc<Certificate>>,
    tls: Group,
    https: Group,
    quic: Group,
}

/// The listeners of one encrypted transport.
#[derive(Debug, Default)]
struct Group {
    addresses: Vec<SocketAddr>,
    counters: Arc<Counters>,
}

/// The sockets of one address.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) udp: Vec<Socket>,
    pub(crate) tcp: TcpListener,
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
        let mut encrypted = Encrypted::default();
        let (streams, endpoints) = encrypted.bind(config)?;
        let mut server = Self {
            addresses: bound.iter().map(|bound| bound.address).collect(),
            udp_threads: Vec::new(),
            stop: Arc::default(),
            tcp: None,
            udp_counters: Vec::new(),
            tcp_counters: Arc::default(),
            encrypted,
            transfers: Transfers::new(config.transfers.clone(), live.clone(), system_clock),
            notifier: None,
            policy: Arc::new(Policy::new(config)),
        };
        let mut listeners = streams;
        for Bound { udp, tcp: socket, .. } in bound {
            let counters = Arc::clone(&server.tcp_counters);
            listeners.push(tcp::Listener { socket, inside: Inside::Plain, counters });
            for socket in udp {
                server.start_udp(socket, config, live).map_err(StartError::System)?;
            }
        }
        let tcp =
            tcp::Service::start(listeners, endpoints, config.tcp, live, &server.transfers, &server.policy, &runtime);
        server.tcp = Some(tcp.map_err(StartError::System)?);
        // Without secondaries it sleeps until there are some.
        let notifier = Notifier {
            transfers: Arc::clone(&server.transfers),
            addresses: server.addresses.clone(),
            live: live.clone(),
        };
        server.notifier = Some(runtime.spawn(notify::run(notifier)).abort_handle());
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

    /// The addresses of DNS over TLS, as bound.
    #[must_use]
    pub fn tls_addrs(&self) -> &[SocketAddr] {
        &self.encrypted.tls.addresses
    }

    /// The addresses of DNS over HTTPS, as bound.
    #[must_use]
    pub fn https_addrs(&self) -> &[SocketAddr] {
        &self.encrypted.https.addresses
    }

    /// The addresses of DNS over QUIC, as bound.
    #[must_use]
    pub fn quic_addrs(&self) -> &[SocketAddr] {
        &self.encrypted.quic.addresses
    }

    /// Reads the certificate files again: handshakes from now on use the new ones, connections that are open go on.
    /// Does nothing without encrypted transports.
    ///
    /// # Errors
    ///
    /// [`CertificateError`]: the old certificate stays in use.
    pub fn reload_certificate(&self) -> Result<(), CertificateError> {
        self.encrypted.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload())
    }

    /// Takes over the keys, transfer rules and secondaries of `config`; whether any of them differs. Transfers that have begun go
    /// on; secondaries are told of every zone again. The limits stay as they were at the start.
    pub fn replace_transfers(&self, config: TransferConfig) -> bool {
        self.transfers.replace(config)
    }

    /// What was answered since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for counters in &self.udp_counters {
            counters.add_to(&mut stats.udp);
        }
        self.tcp_counters.add_to(&mut stats.tcp);
        self.encrypted.tls.counters.add_to(&mut stats.tls);
        self.encrypted.https.counters.add_to(&mut stats.https);
        self.encrypted.quic.counters.add_to(&mut stats.quic);
        stats.transfers = self.transfers.stats();
        stats
    }

    fn start_udp(&mut self, socket: Socket, config: &Config, live: &Live) -> io::Result<()> {
        let counters = Arc::<Counters>::default();
        let worker = udp::Worker {
            socket,
            reader: live.reader(),
            limit: config.udp_limit.octets(),
            counters: Arc::clone(&counters),
            transfers: Arc::clone(&self.transfers),
            policy: Arc::clone(&self.policy),
            rate_limit: config.rate_limit.clone(),
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
        if let Some(notifier) = &self.notifier {
            notifier.abort();
        }
    }
}

impl Encrypted {
    /// Loads the certificate and binds what `config` names, if it names anything.
    fn bind(&mut self, config: &Config) -> Result<(Vec<tcp::Listener>, Vec<quic::Listener>), StartError> {
        let wanted = &config.encrypted;
        let (mut streams, mut endpoints) = (Vec::new(), Vec::new());
        if wanted.is_empty() {
            return Ok((streams, endpoints));
        }
        let certificate = Certificate::load(wanted.certificate.clone().ok_or(StartError::NoCertificate)?)?;
        let acceptor = |alpn: &[&[u8]]| {
            let config = certificate.server_config(alpn, false).map_err(StartError::Tls)?;
            Ok::<_, StartError>(TlsAcceptor::from(Arc::new(config)))
        };
        for (addresses, inside, group, transport) in [
            (&wanted.tls, Inside::Tls(acceptor(&tls::ALPN)?), &mut self.tls, "DNS over TLS"),
            (&wanted.https, Inside::Https(acceptor(&https::ALPN)?), &mut self.https, "DNS over HTTPS"),
        ] {
            for &address in addresses {
                let socket = tcp::bind(address).map_err(|source| StartError::Bind { address, transport, source })?;
                group.addresses.push(socket.local_addr().map_err(StartError::System)?);
                streams.push(tcp::Listener { socket, inside: inside.clone(), counters: Arc::clone(&group.counters) });
            }
        }
        let server_config = certificate.server_config(&quic::ALPN, true).map_err(StartError::Tls)?;
        let server_config = quic::server_config(server_config, &config.tcp).map_err(StartError::Tls)?;
        for &address in &wanted.quic {
            if address.port() == quic::FORBIDDEN_PORT {
                return Err(StartError::QuicPort { address });
            }
            let failed = |source| StartError::Bind { address, transport: "DNS over QUIC", source };
            let socket = quic::bind(address).map_err(failed)?;
            self.quic.addresses.push(socket.local_addr().map_err(StartError::System)?);
            let (config, counters) = (server_config.clone(), Arc::clone(&self.quic.counters));
            endpoints.push(quic::Listener { socket, config, counters });
        }
        self.certificate = Some(certificate);
        Ok((streams, endpoints))
    }
}

/// Binds one address for both transports; with port 0, one that is free for both.
pub(crate) fn bind(address: SocketAddr, threads: usize) -> Result<Bound, StartError> {
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
        /// `UDP`, `TCP`, `DNS over TLS`, …
        transport: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// DNS over QUIC is never served on port 53 (DNS-66, RFC 9250 4.1.1): choose another, commonly 853.
    #[error("DNS over QUIC cannot be served on port 53 ({address})")]
    QuicPort {
        /// The address.
        address: SocketAddr,
    },
    /// Encrypted transports are to be served, and no certificate is named.
    #[error("no certificate for the encrypted transports")]
    NoCertificate,
    /// The certificate files: the operator corrects them.
    #[error("the encrypted transports have no usable certificate")]
    Certificate(#[from] CertificateError),
    /// The TLS library refused its settings: a fault of the program.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The system gave no thread or socket: a limit of the process, most likely.
    #[error("the system refused a thread or a socket")]
    System(#[source] io::Error),
    /// Called outside a tokio runtime: a fault of the program.
    #[error("no tokio runtime to serve TCP in")]
    NoRuntime,
}
