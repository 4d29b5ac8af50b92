//! [`ApiServer`]: the listener, its tasks and their end.
//!
//! Bind first, so that failure reaches the caller; report the real address; dropping stops, `shutdown()` drains.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tandem_model::DomainName;
use tandem_probe::{Possession, Trust};
use tandem_store::Directory;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::connection::{self, drained};
use crate::feed::Feed;
use crate::host_check::HostCheck;
use crate::limit::LimitConfig;
use crate::probe::Probes;
use crate::proof_rule::ProofRule;
use crate::readiness::Readiness;
use crate::registration_mode::RegistrationMode;
use crate::room::Room;
use crate::router::router;
use crate::seldom::Seldom;
use crate::source::Source;
use crate::state::{Api, Parts};
use crate::tls::{Certificate, CertificateError, CertificateFiles, self_signed};
use crate::zone_files::ZoneFiles;

/// Most connections at a time, unless configured; the one that is idle longest makes room for the next.
const MAX_CONNECTIONS: usize = 2048;
/// Most of them from one client network (IPv4 /24, IPv6 /48), unless configured: nobody alone keeps all others out.
const MAX_PER_NETWORK: usize = 128;
/// Longest wait for answers in progress at shutdown: leaves DNS and the store their part of the 30 seconds that the whole
/// may take (API-82).
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Pause after the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how the API listens.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key. Without them a loopback address is served by plain HTTP, every other one by HTTPS with
    /// a certificate made at first start.
    pub certificate: Option<CertificateFiles>,
    /// Host names for a certificate made at first start.
    pub names: Vec<DomainName>,
    /// Where `api.crt` and `api.key` made at first start are kept.
    pub data_dir: PathBuf,
    /// `https://directory.ostn.test`: what links begin with when callers come through a proxy.
    pub public_url: Option<String>,
    /// The master files, to be read again on demand.
    pub zone_files: Option<Arc<dyn ZoneFiles>>,
    /// What looks at nodes, if anything does.
    pub probes: Option<Arc<dyn Probes>>,
    /// Most connections at a time. Three quarters of them may follow the changes: others must get through.
    pub connections: usize,
    /// Most of them from one client network (IPv4 /24, IPv6 /48).
    pub connections_per_network: usize,
    /// Who may ask how often, and have how much.
    pub limits: LimitConfig,
    /// Who may have a token without an admin.
    pub registration: RegistrationMode,
    /// Who has to prove foreign domains.
    pub proofs: ProofRule,
    /// Asks clients for certificates, which need not have any, and judges them by these authorities (API-65).
    pub client_trust: Option<Trust>,
}

impl ApiConfig {
    /// Listens on `listen`, keeps a certificate in `data_dir`, and leaves everything else out.
    #[must_use]
    pub fn new(listen: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            certificate: None,
            names: Vec::new(),
            data_dir: data_dir.into(),
            public_url: None,
            zone_files: None,
            probes: None,
            connections: MAX_CONNECTIONS,
            connections_per_network: MAX_PER_NETWORK,
            limits: LimitConfig::default(),
            registration: RegistrationMode::Closed,
            proofs: ProofRule::default(),
            client_trust: None,
        }
    }
}

/// Why the API did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("the API cannot listen on {address}: choose another address or port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("the API has no usable certificate")]
    Certificate(#[from] CertificateError),
}

/// The running API. Dropping it cuts every connection; [`shutdown`](Self::shutdown) lets answers finish.
pub struct ApiServer {
    local_addr: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    readiness: Readiness,
    draining: watch::Sender<bool>,
    accepting: JoinHandle<JoinSet<()>>,
    feed: Arc<Feed>,
    /// Reads the journal for those who follow the changes.
    feeding: JoinHandle<()>,
}

impl ApiServer {
    /// Binds, and serves until dropped or shut down.
    ///
    /// # Errors
    ///
    /// [`StartError`]: the address or the certificate; the admin has to change one.
    pub async fn start(
        config: ApiConfig,
        directory: Directory,
        readiness: Readiness,
        host_check: Box<dyn HostCheck>,
    ) -> Result<Self, StartError> {
        let room = Room::new(config.connections, config.connections_per_network);
        let listeners = config.connections / 4 * 3;
        let ApiConfig { listen, certificate, names, data_dir, public_url, zone_files, probes, .. } = config;
        let files = match certificate {
            Some(files) => Some(files),
            // API-6: tokens never cross a network in clear.
            None if listen.ip().is_loopback() => None,
            None => Some(self_signed(&data_dir, &[listen.ip()], &names)?),
        };
        let certificate = files.map(Certificate::load).transpose()?;
        let tls = match &certificate {
            Some(certificate) => Some(connection::acceptor(certificate.server_config(config.client_trust.is_some())?)),
            None => None,
        };
        let bind = |source| StartError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        let own_url = url(local_addr, certificate.is_some());
        let (draining, signal) = watch::channel(false);
        let feed = Arc::new(Feed::new(directory.clone(), listeners, signal.clone()));
        let feeding = tokio::spawn({
            let feed = Arc::clone(&feed);
            async move { feed.run().await }
        });
        let api = Arc::new(Api::new(Parts {
            directory,
            feed: Arc::clone(&feed),
            readiness: readiness.clone(),
            hosts: host_check,
            zone_files,
            probes,
            own_url,
            public_url,
            limits: config.limits,
            registration: config.registration,
            proofs: config.proofs,
            possession: config.client_trust.map(Possession::new),
        }));
        let accepting = tokio::spawn(accept(listener, tls, router(&api), room, signal));
        Ok(Self { local_addr, certificate, readiness, draining, accepting, feed, feeding })
    }

    /// The address that is really listened on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many follow the changes now.
    #[must_use]
    pub fn listener_count(&self) -> usize {
        self.feed.listener_count()
    }

    /// The base URL of the listener: `http://127.0.0.1:5380`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.local_addr, self.certificate.is_some())
    }

    /// Reads the certificate files again; handshakes from now on use the new ones. Does nothing on plain HTTP.
    ///
    /// # Errors
    ///
    /// [`CertificateError`]: the old certificate stays in use.
    pub fn reload_certificates(&self) -> Result<(), CertificateError> {
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload())
    }

    /// Stops listening, lets answers in progress finish for at most 20 seconds, then cuts what is left.
    pub async fn shutdown(mut self) {
        self.readiness.begin_shutdown();
        self.draining.send_replace(true);
        let Ok(mut connections) = (&mut self.accepting).await else {
            return;
        };
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(DRAIN_LIMIT, all).await.is_err() {
            tracing::warn!(cut = connections.len(), "connections did not end in time");
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // The set of connections lives in this task: aborting it aborts them.
        self.accepting.abort();
        self.feeding.abort();
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("url", &self.url()).finish_non_exhaustive()
    }
}

fn url(address: SocketAddr, secure: bool) -> String {
    format!("{}://{address}", if secure { "https" } else { "http" })
}

/// Takes connections until `draining` turns true; gives back those that are still open.
async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    room: Arc<Room>,
    mut draining: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let (mut refused, mut failed) = (Seldom::default(), Seldom::default());
    let signal = draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = drained(&mut draining) => return connections,
            // Ended connections are taken out as they end, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => match room.admit(peer.ip()) {
                Some((place, notice)) => {
                    let serve = connection::serve(
                        socket,
                        Source::new(peer.ip()),
                        tls.clone(),
                        router.clone(),
                        place,
                        signal.clone(),
                    );
                    connections.spawn(connection::unless_given(notice, serve));
                }
                None => {
                    if let Some(times) = refused.count(Instant::now()) {
                        tracing::warn!(times, "connections were refused: all, or all of one network, are in use");
                    }
                }
            },
            // The caller gave up before we looked: nothing to do with the next one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(times) = failed.count(Instant::now()) {
                    tracing::warn!(times, %error, "connections could not be taken");
                }
                // Most often no descriptors are left.
                room.free_one();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
