//! The wiring: zone files, store, DNS and API become one running [`Service`].
//!
//! Started in that order, stopped in the other: `/readyz` says 503, the API finishes its requests, DNS answers what it
//! owes, the store closes last.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tandem_api::{ApiConfig, ApiServer, CertificateError, Check, ProofRule, Readiness};
use tandem_dns::{Cookies, DnsServer};
use tandem_model::DomainName;
use tandem_probe::Trust;
use tandem_store::{Conditions, Directory, OpenError, ReloadError, ReloadReport};
use tandem_zone::Settings;
use tracing::info;

use crate::catalog;
use crate::config::{CertificateFiles, Config, Store};
use crate::cookie_secret::{self, CookieSecretError};
use crate::host_lookup::HostLookup;
use crate::mailer::Mailer;
use crate::metrics::{MetricsServer, Sources};
use crate::prober::{AuthoritiesError, NodeProber};
use crate::prover::ProverTask;
use crate::webhook::Webhooks;
use crate::zone_files::ConfiguredFiles;
use crate::zone_folder::{self, ZoneFolderError};

/// The file of the admin token in the data folder.
pub const ADMIN_TOKEN: &str = "admin.token";

/// A running directory: DNS and API over one store. Dropping it stops it; [`shutdown`](Self::shutdown) drains.
#[derive(Debug)]
pub struct Service {
    config: Config,
    directory: Directory,
    dns: Arc<DnsServer>,
    api: ApiServer,
    metrics: Option<MetricsServer>,
    readiness: Readiness,
    cookies: Cookies,
    webhooks: Webhooks,
    prober: Option<NodeProber>,
    prover: ProverTask,
    mailer: Mailer,
}

impl Service {
    /// Reads the zones, opens the store, and begins to answer; when this returns, both DNS and API do.
    ///
    /// Needs a multi-thread tokio runtime around it.
    ///
    /// # Errors
    ///
    /// [`StartError`] says which part did not start; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let opened = {
            let config = config.clone();
            blocking(move || open(&config)).await?
        };
        let Opened { directory, settings, cookies } = opened;
        let readiness = Readiness::new();
        readiness.set(Check::Zones, true);
        let mut dns_config = config.dns.to_server();
        dns_config.encrypted.certificate = dns_certificate(&config)?;
        dns_config.cookies = Some(cookies.clone());
        dns_config.queries_logged = NonZeroU32::new(config.log.queries);
        let dns = Arc::new(DnsServer::start(&dns_config, directory.live())?);
        readiness.set(Check::Dns, true);
        let hosts = Box::new(HostLookup::new(&config.name_servers));
        let prober = NodeProber::start(&directory, &config)?;
        let mut api_config = api_config(&config)?;
        api_config.probes = prober.as_ref().map(NodeProber::probes);
        let api = ApiServer::start(api_config, directory.clone(), readiness.clone(), hosts).await?;
        let metrics = match config.metrics {
            Some(listen) => {
                let probes = prober.as_ref().map(NodeProber::stats);
                let sources = Sources { dns: Arc::clone(&dns), directory: directory.clone(), probes };
                let started = MetricsServer::start(listen, sources).await;
                Some(started.map_err(|source| StartError::Metrics { address: listen, source })?)
            }
            None => None,
        };
        let webhooks = Webhooks::start(&directory, &config.webhooks);
        let prover = ProverTask::start(&directory, &config);
        let mailer = Mailer::start(&directory, config.mail.as_ref());
        let zone = |zone: &Option<DomainName>| zone.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let zones = directory.live().load();
        info!(
            zones = zones.iter().count(),
            nodes = zones.node_count(),
            peers_zone = zone(&settings.peers_zone),
            policy_zone = zone(&settings.policy_zone),
            number_zone = zone(&settings.number_zone),
            api = api.url(),
            "serving"
        );
        Ok(Self { config, directory, dns, api, metrics, readiness, cookies, webhooks, prober, prover, mailer })
    }

    /// Reads the zone files again and serves them: all of them or, on any error, the old ones.
    ///
    /// Which zones are made from nodes was decided at the start and stays.
    ///
    /// # Errors
    ///
    /// [`ZonesError`] says which file, zone or node stands in the way; nothing changed.
    pub async fn reload(&self) -> Result<ReloadReport, ZonesError> {
        let config = self.config.clone();
        let files = blocking(move || catalog::read_zones(&config)).await?;
        zone_folder::log_warnings(&files);
        Ok(self.directory.reload(zone_folder::zones(files)).await?)
    }

    /// Reads the API's certificate files again.
    ///
    /// # Errors
    ///
    /// What is wrong with the files; the old certificate stays in use.
    pub fn reload_certificates(&self) -> Result<(), CertificateError> {
        self.api.reload_certificates()
    }

    /// Reads the certificate files of DNS over TLS, HTTPS and QUIC again; connections that are open go on.
    ///
    /// # Errors
    ///
    /// What is wrong with the files; the old certificate stays in use.
    pub fn reload_dns_certificate(&self) -> Result<(), tandem_dns::CertificateError> {
        self.dns.reload_certificate()
    }

    /// Takes over the TSIG keys, transfer rules and secondaries of `config`, a newer reading of the settings; whether any of
    /// them differs. Other settings count from the next start.
    pub fn replace_transfers(&self, config: &Config) -> bool {
        self.dns.replace_transfers(config.dns.transfers.clone())
    }

    /// Reads the secrets of DNS cookies again; the next answer has a cookie made with the first of them.
    ///
    /// # Errors
    ///
    /// What is wrong with the file; the old secrets stay in use.
    pub async fn reload_cookie_secret(&self) -> Result<(), CookieSecretError> {
        let config = self.config.clone();
        self.cookies.replace(blocking(move || cookie_secret::load(&config)).await?);
        Ok(())
    }

    /// Stops: says so on `/readyz`, finishes what was accepted, closes the store. Bounded by the limits of the parts.
    pub async fn shutdown(self) {
        self.readiness.begin_shutdown();
        self.api.shutdown().await;
        if let Some(metrics) = self.metrics {
            metrics.shutdown().await;
        }
        drop(self.webhooks);
        drop((self.prober, self.prover, self.mailer));
        // The metrics had the only other handle; without the last one it could not be drained, only dropped.
        if let Some(dns) = Arc::into_inner(self.dns) {
            dns.shutdown().await;
        }
        self.directory.shutdown().await;
    }

    /// The DNS addresses as bound, in the order of the configuration.
    #[must_use]
    pub fn dns_addrs(&self) -> Vec<SocketAddr> {
        self.dns.local_addrs().to_vec()
    }

    /// The addresses of DNS over TLS as bound.
    #[must_use]
    pub fn dns_tls_addrs(&self) -> &[SocketAddr] {
        self.dns.tls_addrs()
    }

    /// The addresses of DNS over HTTPS as bound.
    #[must_use]
    pub fn dns_https_addrs(&self) -> &[SocketAddr] {
        self.dns.https_addrs()
    }

    /// The addresses of DNS over QUIC as bound.
    #[must_use]
    pub fn dns_quic_addrs(&self) -> &[SocketAddr] {
        self.dns.quic_addrs()
    }

    /// The API's URL with its real port: `http://127.0.0.1:5380`.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.api.url()
    }

    /// Where metrics are served: `http://127.0.0.1:9353/metrics`.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        self.metrics.as_ref().map(MetricsServer::url)
    }

    /// The store behind both.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where the admin token is.
    #[must_use]
    pub fn admin_token_file(&self) -> PathBuf {
        self.config.data_dir.join(ADMIN_TOKEN)
    }
}

/// The store, opened over the zones that were read.
struct Opened {
    directory: Directory,
    settings: Settings,
    cookies: Cookies,
}

fn open(config: &Config) -> Result<Opened, StartError> {
    let files = catalog::read_zones(config)?;
    zone_folder::log_warnings(&files);
    let settings = zone_folder::settings(config, &files);
    let statics = zone_folder::zones(files);
    make_data_dir(&config.data_dir).map_err(|source| StartError::DataDir { dir: config.data_dir.clone(), source })?;
    let directory = match config.store {
        Store::Embedded => {
            let key_reset_seconds = config.key_reset_seconds;
            let conditions = Conditions { leases: config.leases, key_reset_seconds, ..Conditions::default() };
            Directory::open_under(&config.data_dir, settings.clone(), statics, conditions)?
        }
    };
    directory.keep_journal(config.journal_days);
    directory.set_claim_policy(config.number_claims);
    if directory.ensure_admin_token(&config.data_dir)? {
        info!(file = %config.data_dir.join(ADMIN_TOKEN).display(), "an admin token was made");
    }
    let cookies = Cookies::new(cookie_secret::load_or_make(config)?);
    Ok(Opened { directory, settings, cookies })
}

/// The certificate of the encrypted transports, if there are any: their own, else the API's, which is made if need be.
fn dns_certificate(config: &Config) -> Result<Option<tandem_dns::CertificateFiles>, CertificateError> {
    let dns = &config.dns;
    let listeners: Vec<&SocketAddr> = dns.tls_listen.iter().chain(&dns.https_listen).chain(&dns.quic_listen).collect();
    if listeners.is_empty() {
        return Ok(None);
    }
    if let Some(CertificateFiles { certificate, key }) = dns.tls.as_ref().or(config.api.certificate.as_ref()) {
        return Ok(Some(tandem_dns::CertificateFiles { chain: certificate.clone(), key: key.clone() }));
    }
    let addresses: Vec<_> = listeners.into_iter().chain([&config.api.listen]).map(SocketAddr::ip).collect();
    let made = tandem_api::self_signed(&config.data_dir, &addresses, &config.api.names)?;
    Ok(Some(tandem_dns::CertificateFiles { chain: made.chain, key: made.key }))
}

/// Whom to believe about client certificates, if they are asked for.
fn client_trust(config: &Config) -> Result<Option<Trust>, StartError> {
    let proofs = &config.proofs;
    if !proofs.client_certificates || proofs.rule == ProofRule::Off {
        return Ok(None);
    }
    let authorities = match &proofs.ca_file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            read.map_err(|source| StartError::Authorities { file: file.clone(), source: Box::new(source) })?
        }
    };
    let (trust, unreadable) = Trust::new(authorities);
    if unreadable > 0 {
        tracing::warn!(unreadable, "authorities for client certificates were left out");
    }
    Ok(Some(trust))
}

fn api_config(config: &Config) -> Result<ApiConfig, StartError> {
    let api = &config.api;
    let files = |files: &CertificateFiles| tandem_api::CertificateFiles {
        chain: files.certificate.clone(),
        key: files.key.clone(),
    };
    Ok(ApiConfig {
        certificate: api.certificate.as_ref().map(files),
        names: api.names.clone(),
        public_url: api.public_url.clone(),
        zone_files: Some(Arc::new(ConfiguredFiles(config.clone()))),
        connections: api.connections,
        connections_per_network: api.connections_per_network,
        limits: config.limits.clone(),
        registration: config.registration,
        proofs: config.proofs.rule,
        client_trust: client_trust(config)?,
        ..ApiConfig::new(api.listen, &config.data_dir)
    })
}

/// Makes the data folder for its owner alone: tokens and keys are in it. One that exists stays as it is.
fn make_data_dir(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Runs what waits for the disk where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being torn down: nobody waits for this any more.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The zone files: the admin corrects them.
    #[error(transparent)]
    ZoneFiles(#[from] ZoneFolderError),
    /// The data folder: choose another, or change its owner.
    #[error(
        "the data folder {dir} cannot be made: choose another with --data-dir, or give this user the right to write there"
    )]
    DataDir {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The store did not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// DNS did not start: most often the port is taken.
    #[error("DNS did not start: choose another address with --dns")]
    Dns(#[from] tandem_dns::StartError),
    /// The secrets of DNS cookies: the admin corrects or provides the file.
    #[error(transparent)]
    CookieSecret(#[from] CookieSecretError),
    /// The certificate of DNS over TLS, HTTPS and QUIC could not be made.
    #[error("DNS over TLS, HTTPS or QUIC has no certificate")]
    Certificate(#[from] CertificateError),
    /// The authorities for client certificates cannot be read.
    #[error("{file} (proofs.ca_file) cannot be read as certificates in PEM")]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The metrics' address cannot be had.
    #[error("metrics cannot listen on {address}: choose another address in metrics.listen")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The authorities that probes trust.
    #[error(transparent)]
    Probes(#[from] AuthoritiesError),
    /// The API did not start.
    #[error(transparent)]
    Api(#[from] tandem_api::StartError),
}

/// Why other zones are not served; the old ones are.
#[derive(Debug, thiserror::Error)]
pub enum ZonesError {
    /// The files are not right.
    #[error(transparent)]
    Files(#[from] ZoneFolderError),
    /// They do not fit together, or not with the nodes.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}
