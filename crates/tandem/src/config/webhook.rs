//! The settings of webhooks: `[[webhook]]`, as it is typed and as it counts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tandem_model::locate::is_public;
use toml::Spanned;

use super::spec::Faults;
use super::transfer::read_secret;

/// Most webhooks: each has a task and reads the journal for itself.
const MAX_WEBHOOKS: usize = 8;

/// Where changes are sent.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookSpec {
    url: Spanned<String>,
    secret_file: Spanned<PathBuf>,
    ca: Option<Spanned<PathBuf>>,
    #[serde(default)]
    private: bool,
}

/// Where changes are sent, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `https:`; `http:` only to a loopback address.
    pub url: String,
    /// What the calls are signed with.
    pub secret: Vec<u8>,
    /// The authorities that may sign its server's certificate, as DER; empty: those of the system.
    pub authorities: Vec<Vec<u8>>,
    /// Whether it may lead to private and loopback addresses.
    pub private: bool,
}

impl WebhookConfig {
    /// The host and port, for the log: the rest of the URL may hold a secret.
    pub(crate) fn host(&self) -> &str {
        authority(&self.url).map_or("", |(_, authority)| authority)
    }
}

/// Without the secret, and without what the URL may hold of one.
impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("host", &self.host()).field("private", &self.private).finish()
    }
}

/// Checks the list into `config`; paths count from `folder`.
pub(super) fn check_into(specs: Vec<WebhookSpec>, folder: &Path, config: &mut Vec<WebhookConfig>, faults: &mut Faults) {
    for spec in specs {
        if config.len() == MAX_WEBHOOKS {
            faults.add(Some(spec.url.span()), format!("at most {MAX_WEBHOOKS} webhooks"));
            return;
        }
        let private = spec.private;
        let url = faults.check(Some(spec.url), |url| parse_url(url, private));
        let make = "make one with `openssl rand -base64 32`";
        let secret = faults.check(Some(spec.secret_file), |file| read_secret(&folder.join(file), make));
        let authorities = match spec.ca {
            Some(file) => faults.check(Some(file), |file| read_authorities(&folder.join(file))),
            None => Some(Vec::new()),
        };
        if let (Some(url), Some(secret), Some(authorities)) = (url, secret, authorities) {
            config.push(WebhookConfig { url, secret, authorities, private });
        }
    }
}

/// The certificates in a PEM file.
fn read_authorities(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("the authorities in {} cannot be used: {why}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if found.is_empty() {
        return Err(wrong(&"there is no certificate in it (PEM)"));
    }
    // Here, so that a file of something else is told at the start, not by calls that fail.
    let mut roots = RootCertStore::empty();
    found.iter().try_for_each(|one| roots.add(one.clone())).map_err(|error| wrong(&error))?;
    Ok(found.iter().map(|one| one.as_ref().to_vec()).collect())
}

/// The scheme, and host and port.
fn authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, rest.split(['/', '?', '#']).next().unwrap_or_default()))
}

fn parse_url(url: String, private: bool) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("`{url}` is no URL for a webhook: {why}"));
    let Some((scheme, authority)) = authority(&url).filter(|(_, authority)| !authority.is_empty()) else {
        return wrong("write https://hooks.example/path");
    };
    if authority.contains('@') || url.contains([' ', '#']) || !url.is_ascii() {
        return wrong("leave out user, password, fragment and spaces");
    }
    let host = match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address: Option<IpAddr> = host.parse().ok();
    match scheme {
        "https" => {}
        "http" if private && address.is_some_and(|address| address.is_loopback()) => {}
        "http" => return wrong("only https is sent over a network; http needs a loopback address and private = true"),
        _ => return wrong("write https://hooks.example/path"),
    }
    if !private && address.is_some_and(|address| !is_public(address)) {
        return wrong("the address is private: set private = true if that is meant");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, private, good) in [
            ("https://hooks.example/x?y=1", false, true),
            ("https://hooks.example:8443", false, true),
            ("http://hooks.example/", true, false),
            ("http://127.0.0.1:8080/", true, true),
            ("http://[::1]:8080/", true, true),
            ("http://127.0.0.1:8080/", false, false),
            ("https://10.0.0.1/", false, false),
            ("https://10.0.0.1/", true, true),
            ("https://[fe80::1]/", false, false),
            ("https://user:pw@hooks.example/", false, false),
            ("ftp://hooks.example/", false, false),
            ("https:///x", false, false),
            ("hooks.example", false, false),
        ] {
            assert_eq!(parse_url(url.into(), private).is_ok(), good, "{url} {private}");
        }
    }

    #[test]
    fn authorities_that_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(read_authorities(&file).unwrap_err().contains("ca.pem"), "there is none");
        std::fs::write(&file, "nothing").unwrap();
        assert!(read_authorities(&file).unwrap_err().contains("no certificate"));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(read_authorities(&file).is_err(), "no certificate inside");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let config = WebhookConfig {
            url: "https://h.example/token123".into(),
            secret: b"hush".to_vec(),
            authorities: Vec::new(),
            private: false,
        };
        assert_eq!(format!("{config:?}"), "WebhookConfig { host: \"h.example\", private: false }");
    }
}
