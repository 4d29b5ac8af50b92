//! Webhooks: what happens to nodes, sent to addresses that the admin chose, signed, tried again for a while.
//!
//! Each has a task of its own with its own place in the journal, so that one that does not answer holds up no other and no
//! writer. The name is looked up here, and what is connected to is an address that was looked at: no webhook leads to a
//! private network unless its setting says so, whatever its name resolves to later.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tandem_model::locate::is_public;
use tandem_store::Directory;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, warn};
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::config::WebhookConfig;
use crate::contact;
use crate::service::blocking;

/// The field that proves who sent it: `t=1767225600,v1=<hex of HMAC-SHA-256 over "1767225600." and the body>`.
const SIGNATURE: &str = "tandem-signature";
/// Most changes in one call.
const MAX_CHANGES: usize = 64;
/// Longest time of one call, from the look-up to the end of the answer.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How often one call is tried; with the pauses between, for about half an hour.
const MAX_TRIES: u32 = 12;
/// Pause after the first failure; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The running webhooks; dropping stops them.
#[derive(Debug)]
pub(crate) struct Webhooks(Vec<JoinHandle<()>>);

impl Webhooks {
    /// Sends what happens from now on.
    pub(crate) fn start(directory: &Directory, webhooks: &[WebhookConfig]) -> Self {
        let start = |webhook: &WebhookConfig| {
            let hook = Hook { agent: agent(webhook), directory: directory.clone(), config: webhook.clone() };
            tokio::spawn(hook.run())
        };
        Self(webhooks.iter().map(start).collect())
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// One of them.
struct Hook {
    agent: Agent,
    directory: Directory,
    config: WebhookConfig,
}

impl Hook {
    async fn run(self) {
        let mut changes = self.directory.changes();
        let mut place = *changes.borrow_and_update();
        let hook = Arc::new(self);
        loop {
            if changes.changed().await.is_err() {
                return;
            }
            let last = *changes.borrow_and_update();
            while place < last {
                let entries = match hook.directory.journal(place, MAX_CHANGES).await {
                    Ok(entries) => entries,
                    Err(error) => {
                        warn!(%error, "the journal could not be read for a webhook");
                        sleep(LONGEST_PAUSE).await;
                        continue;
                    }
                };
                place = entries.last().map_or(last, |entry| entry.serial);
                let mut told = Vec::with_capacity(entries.len());
                for entry in entries {
                    let contact = contact::of(&hook.directory, &entry).await;
                    told.push((entry, contact));
                }
                if let Some(body) = tandem_api::webhook_body(&told) {
                    hook.deliver(body).await;
                }
            }
        }
    }

    /// Sends until it is taken, or was tried often enough.
    async fn deliver(self: &Arc<Self>, body: Vec<u8>) {
        let body = Arc::new(body);
        let mut pause = FIRST_PAUSE;
        for tried in 1..=MAX_TRIES {
            let (hook, body) = (Arc::clone(self), Arc::clone(&body));
            let Err(reason) = blocking(move || hook.send(&body)).await else { return };
            // Neither the address nor the answer: both may hold a secret.
            debug!(webhook = self.config.host(), tried, reason, "a webhook was not taken");
            if tried < MAX_TRIES {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        warn!(webhook = self.config.host(), tries = MAX_TRIES, "a webhook was given up; later changes are sent");
    }

    fn send(&self, body: &[u8]) -> Result<(), String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = self
            .agent
            .post(&self.config.url)
            .header("content-type", "application/json")
            .header(SIGNATURE, signature(&self.config.secret, now, body));
        match request.send(body) {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What proves that the holder of `secret` sent `body` at `time`, in seconds since 1970.
fn signature(secret: &[u8], time: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length (RFC 2104 3)");
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("t={time},v1={hex}")
}

fn agent(webhook: &WebhookConfig) -> Agent {
    let roots: Vec<_> = if webhook.authorities.is_empty() {
        let native = rustls_native_certs::load_native_certs();
        native.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
    } else {
        webhook.authorities.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
    };
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::from(roots))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        // A redirect would lead past the look at the address.
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(CALL_LIMIT))
        .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Guarded { private: webhook.private })
}

/// Looks names up, and leaves out where a webhook must not lead.
#[derive(Debug)]
struct Guarded {
    private: bool,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or(ureq::Error::HostNotFound)?;
        let name = DefaultResolver::host_and_port(scheme, authority).ok_or(ureq::Error::HostNotFound)?;
        let mut allowed = self.empty();
        let found = name.to_socket_addrs().map_err(ureq::Error::Io)?;
        for address in found.filter(|address| self.private || is_public(address.ip())).take(MAX_ADDRESSES) {
            allowed.push(address);
        }
        if allowed.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(allowed) }
    }
}

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        // echo -n '1767225600.{}' | openssl dgst -sha256 -hmac secret
        let expected = "t=1767225600,v1=fa7eaa06bf97d7815f3f456e97cde70c9e50cb005f01660c8d10b10c21964887";
        assert_eq!(signature(b"secret", 1_767_225_600, b"{}"), expected);
    }

    #[test]
    fn addresses_are_looked_at() {
        let config = Agent::config_builder().build();
        let resolve = |private: bool, uri: &str| {
            let timeout = NextTimeout::default();
            Guarded { private }.resolve(&uri.parse().unwrap(), &config, timeout)
        };
        for uri in [
            "http://127.0.0.1:1/",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://169.254.169.254/",
            "https://localhost/",
        ] {
            assert!(resolve(false, uri).is_err(), "{uri}");
        }
        assert!(resolve(true, "http://127.0.0.1:1/").is_ok());
        assert!(resolve(false, "https://8.8.8.8/").is_ok());
    }
}
