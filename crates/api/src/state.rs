//! What every handler shares.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use tandem_probe::Possession;
use tandem_store::Directory;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::feed::Feed;
use crate::host_check::{BoundedCheck, HostCheck};
use crate::idempotency::Running;
use crate::limit::{LimitConfig, Limiter};
use crate::probe::Probes;
use crate::proof_rule::ProofRule;
use crate::quota::Growing;
use crate::readiness::Readiness;
use crate::registration_mode::RegistrationMode;
use crate::zone_files::ZoneFiles;

/// Most zone exports at a time: each keeps a thread and one version of the zones for as long as its reader is slow.
const MAX_EXPORTS: usize = 2;
/// Longest wait for the answer to somebody else's same question; then the store hangs.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// What an [`Api`] is made from.
pub(crate) struct Parts {
    /// The registrations.
    pub(crate) directory: Directory,
    /// What those share who follow the changes.
    pub(crate) feed: Arc<Feed>,
    /// What the service says about itself.
    pub(crate) readiness: Readiness,
    /// For targets outside the zones served.
    pub(crate) hosts: Box<dyn HostCheck>,
    /// The master files, to be read again.
    pub(crate) zone_files: Option<Arc<dyn ZoneFiles>>,
    /// What looks at nodes, if anything does.
    pub(crate) probes: Option<Arc<dyn Probes>>,
    /// The URL of the listener.
    pub(crate) own_url: String,
    /// The URL that callers use, when it is configured.
    pub(crate) public_url: Option<String>,
    /// Who may ask how often.
    pub(crate) limits: LimitConfig,
    /// Who may have a token without an admin.
    pub(crate) registration: RegistrationMode,
    /// Who has to prove foreign domains.
    pub(crate) proofs: ProofRule,
    /// Judges client certificates, if they are asked for.
    pub(crate) possession: Option<Possession>,
}

/// The API's state.
#[derive(Debug)]
pub(crate) struct Api {
    /// The registrations.
    pub(crate) directory: Directory,
    /// What the service says about itself.
    pub(crate) readiness: Readiness,
    /// For targets outside the zones served.
    pub(crate) hosts: BoundedCheck,
    /// What those share who follow the changes.
    pub(crate) feed: Arc<Feed>,
    /// Permits for zone exports.
    pub(crate) exports: Arc<Semaphore>,
    /// The master files, to be read again.
    pub(crate) zone_files: Option<Arc<dyn ZoneFiles>>,
    /// What looks at nodes, if anything does.
    pub(crate) probes: Option<Arc<dyn Probes>>,
    /// Held by the one reload that runs.
    pub(crate) reloading: Mutex<()>,
    /// Who may ask how often.
    pub(crate) limits: Limiter,
    /// Who may have a token without an admin.
    pub(crate) registration: RegistrationMode,
    /// Who has to prove foreign domains.
    pub(crate) proofs: ProofRule,
    /// Judges client certificates, if they are asked for.
    pub(crate) possession: Option<Possession>,
    /// Idempotency keys whose requests are being answered.
    pub(crate) running: Running,
    /// Held by publications that take more of their token's share.
    pub(crate) growing: Growing,
    /// Held by the one import that runs.
    pub(crate) importing: Mutex<()>,
    /// Held by the one backup that is made, until it is sent.
    pub(crate) backing_up: Arc<Mutex<()>>,
    /// Whether requests come over TLS.
    pub(crate) secure: bool,
    /// The URL that callers use, when it is configured.
    public_url: Option<String>,
    /// The URL of the listener.
    own_url: String,
    probing: Mutex<()>,
}

impl Api {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { directory, feed, readiness, hosts, zone_files, probes, own_url, public_url, limits, .. } = parts;
        Self {
            directory,
            feed,
            readiness,
            hosts: BoundedCheck::new(hosts),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            zone_files,
            probes,
            reloading: Mutex::new(()),
            limits: Limiter::new(limits),
            registration: parts.registration,
            proofs: parts.proofs,
            possession: parts.possession,
            running: Running::default(),
            growing: Growing::default(),
            importing: Mutex::new(()),
            backing_up: Arc::new(Mutex::new(())),
            secure: own_url.starts_with("https:"),
            public_url,
            own_url,
            probing: Mutex::new(()),
        }
    }

    /// Scheme and authority for links: as configured, else as the caller wrote them, else the listener's own.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.public_url {
            return url.trim_end_matches('/').into();
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| {
            !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet))
        });
        match host {
            Some(host) => format!("{}://{host}", if self.secure { "https" } else { "http" }),
            None => self.own_url.clone(),
        }
    }

    /// Whether the store writes; the store itself knows for how long an answer holds. `/readyz` is open to everybody, so
    /// only one question at a time takes a place among the changes that wait.
    pub(crate) async fn is_writable(&self) -> bool {
        let Ok(_one) = timeout(PROBE_WAIT, self.probing.lock()).await else { return false };
        self.directory.is_writable().await
    }
}
