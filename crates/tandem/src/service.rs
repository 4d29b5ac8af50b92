//! The wiring: zone files, store, DNS and API become one running [`Service`].
//!
//! Started in that order, stopped in the other: `/readyz` says 503, the API finishes its requests, DNS answers what it
//! owes, the store closes last.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tandem_api::{ApiConfig, ApiServer, CertificateError, Check, Readiness};
use tandem_dns::DnsServer;
use tandem_model::DomainName;
use tandem_store::{Directory, OpenError, ReloadError, ReloadReport};
use tandem_zone::Settings;
use tracing::info;

use crate::config::{CertificateFiles, Config, Store};
use crate::host_lookup::HostLookup;
use crate::zone_folder::{self, ZoneFolderError};

/// The file of the admin token in the data folder.
pub const ADMIN_TOKEN: &str = "admin.token";

/// A running directory: DNS and API over one store. Dropping it stops it; [`shutdown`](Self::shutdown) drains.
#[derive(Debug)]
pub struct Service {
    config: Config,
    directory: Directory,
    dns: DnsServer,
    api: ApiServer,
    readiness: Readiness,
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
        let Opened { directory, settings } = opened;
        let readiness = Readiness::new();
        readiness.set(Check::Zones, true);
        let dns = DnsServer::start(&config.dns.to_server(), directory.live())?;
        readiness.set(Check::Dns, true);
        let hosts = Box::new(HostLookup::new(&config.name_servers));
        let api = ApiServer::start(api_config(&config), directory.clone(), readiness.clone(), hosts).await?;
        let zone = |zone: &Option<DomainName>| zone.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let zones = directory.live().load();
        info!(
            zones = zones.iter().count(),
            nodes = zones.node_count(),
            peers_zone = zone(&settings.peers_zone),
            number_zone = zone(&settings.number_zone),
            api = api.url(),
            "serving"
        );
        Ok(Self { config, directory, dns, api, readiness })
    }

    /// Reads the zone files again and serves them: all of them or, on any error, the old ones.
    ///
    /// Which zones are made from nodes was decided at the start and stays.
    ///
    /// # Errors
    ///
    /// [`ZonesError`] says which file, zone or node stands in the way; nothing changed.
    pub async fn reload(&self) -> Result<ReloadReport, ZonesError> {
        let folder = self.config.zones_dir.clone();
        let files = blocking(move || zone_folder::read(&folder)).await?;
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

    /// Stops: says so on `/readyz`, finishes what was accepted, closes the store. Bounded by the limits of the parts.
    pub async fn shutdown(self) {
        self.readiness.begin_shutdown();
        self.api.shutdown().await;
        self.dns.shutdown().await;
        self.directory.shutdown().await;
    }

    /// The DNS addresses as bound, in the order of the configuration.
    #[must_use]
    pub fn dns_addrs(&self) -> Vec<SocketAddr> {
        self.dns.local_addrs().to_vec()
    }

    /// The API's URL with its real port: `http://127.0.0.1:5380`.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.api.url()
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
}

fn open(config: &Config) -> Result<Opened, StartError> {
    let files = zone_folder::read(&config.zones_dir)?;
    zone_folder::log_warnings(&files);
    let settings = zone_folder::settings(config, &files);
    let statics = zone_folder::zones(files);
    make_data_dir(&config.data_dir).map_err(|source| StartError::DataDir { dir: config.data_dir.clone(), source })?;
    let directory = match config.store {
        Store::Embedded => Directory::open(&config.data_dir, settings.clone(), statics)?,
    };
    if directory.ensure_admin_token(&config.data_dir)? {
        info!(file = %config.data_dir.join(ADMIN_TOKEN).display(), "an admin token was made");
    }
    Ok(Opened { directory, settings })
}

fn api_config(config: &Config) -> ApiConfig {
    let api = &config.api;
    let files = |files: &CertificateFiles| tandem_api::CertificateFiles {
        chain: files.certificate.clone(),
        key: files.key.clone(),
    };
    ApiConfig {
        certificate: api.certificate.as_ref().map(files),
        names: api.names.clone(),
        public_url: api.public_url.clone(),
        ..ApiConfig::new(api.listen, &config.data_dir)
    }
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
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
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
