//! What every handler shares.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use tandem_store::Directory;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::host_check::{BoundedCheck, HostCheck};
use crate::readiness::Readiness;

/// Most zone exports at a time: each keeps a thread and one version of the zones for as long as its reader is slow.
const MAX_EXPORTS: usize = 2;
/// How long an answer of the store about being writable is believed: `/readyz` is open to everybody.
const WRITABLE_FOR: Duration = Duration::from_secs(1);

/// The API's state.
#[derive(Debug)]
pub(crate) struct Api {
    /// The registrations.
    pub(crate) directory: Directory,
    /// What the service says about itself.
    pub(crate) readiness: Readiness,
    /// For targets outside the zones served.
    pub(crate) hosts: BoundedCheck,
    /// Permits for zone exports.
    pub(crate) exports: std::sync::Arc<Semaphore>,
    /// Whether requests come over TLS.
    pub(crate) secure: bool,
    /// The URL that callers use, when it is configured.
    public_url: Option<String>,
    /// The URL of the listener.
    own_url: String,
    writable: Mutex<Option<(Instant, bool)>>,
}

impl Api {
    pub(crate) fn new(
        directory: Directory,
        readiness: Readiness,
        hosts: Box<dyn HostCheck>,
        own_url: String,
        public_url: Option<String>,
    ) -> Self {
        Self {
            directory,
            readiness,
            hosts: BoundedCheck::new(hosts),
            exports: std::sync::Arc::new(Semaphore::new(MAX_EXPORTS)),
            secure: own_url.starts_with("https:"),
            public_url,
            own_url,
            writable: Mutex::new(None),
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

    /// Whether the store writes, asked at most once in [`WRITABLE_FOR`].
    pub(crate) async fn is_writable(&self) -> bool {
        let mut known = self.writable.lock().await;
        let now = Instant::now();
        if let Some((asked, writable)) = *known
            && now.duration_since(asked) < WRITABLE_FOR
        {
            return writable;
        }
        let writable = self.directory.is_writable().await;
        *known = Some((now, writable));
        writable
    }
}
