//! The settings of who a domain belongs to: `[proofs]` and `[keys]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tandem_api::ProofRule;
use tandem_store::identity::KEY_RESET_SECONDS;
use toml::Spanned;

use super::spec::{Faults, to_count};

/// Least time between the reset of a key and another's first signature, in seconds: an hour in which somebody can notice.
const MIN_RESET_DELAY: u64 = 3600;
/// Longest of these times, in seconds: 90 days.
const MAX_RESET_DELAY: u64 = 7_776_000;

/// Proofs of foreign domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofConfig {
    /// Who has to prove.
    pub rule: ProofRule,
    /// Whether the API asks clients for certificates.
    pub client_certificates: bool,
    /// Authorities for these (PEM); `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Addresses at which this directory is reached from outside: never connected to.
    pub own_addresses: Vec<IpAddr>,
    /// Whether domains may be served from loopback addresses: tests and demonstrations alone.
    pub allow_loopback: bool,
    /// The port at which the servers of domains are asked: 53 but in tests.
    pub authority_port: u16,
}

impl Default for ProofConfig {
    fn default() -> Self {
        Self {
            rule: ProofRule::Strangers,
            client_certificates: false,
            ca_file: None,
            own_addresses: Vec::new(),
            allow_loopback: false,
            authority_port: 53,
        }
    }
}

/// `[proofs]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProofSpec {
    required: Option<Spanned<String>>,
    client_certificates: Option<bool>,
    ca_file: Option<PathBuf>,
    own_addresses: Option<Vec<Spanned<String>>>,
    allow_loopback: Option<bool>,
    authority_port: Option<Spanned<u64>>,
}

/// `[keys]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeySpec {
    reset_delay_seconds: Option<Spanned<u64>>,
}

impl ProofSpec {
    /// Lays what is given over `config`; paths count from `folder`.
    pub(super) fn check_into(self, folder: &Path, config: &mut ProofConfig, faults: &mut Faults) {
        faults.set(self.required, |text| parse_rule(&text), &mut config.rule);
        config.client_certificates = self.client_certificates.unwrap_or(config.client_certificates);
        if let Some(file) = self.ca_file.filter(|file| !file.as_os_str().is_empty()) {
            config.ca_file = Some(folder.join(file));
        }
        let address = |text: String| text.parse().map_err(|_| format!("`{text}` is no address: write 192.0.2.1"));
        if let Some(list) = faults.list(self.own_addresses, address) {
            config.own_addresses = list;
        }
        config.allow_loopback = self.allow_loopback.unwrap_or(config.allow_loopback);
        faults.set(self.authority_port, |n| to_count(n, 1, 65_535), &mut config.authority_port);
    }
}

impl KeySpec {
    /// Lays what is given over `seconds`.
    pub(super) fn check_into(self, seconds: &mut u32, faults: &mut Faults) {
        faults.set(self.reset_delay_seconds, |n| to_count(n, MIN_RESET_DELAY, MAX_RESET_DELAY), seconds);
    }
}

/// The time between the reset of a key and another's first signature, unless set.
pub(super) const DEFAULT_RESET_DELAY: u32 = KEY_RESET_SECONDS;

fn parse_rule(text: &str) -> Result<ProofRule, String> {
    match text {
        "strangers" => Ok(ProofRule::Strangers),
        "everybody" => Ok(ProofRule::Everybody),
        "off" => Ok(ProofRule::Off),
        other => Err(format!("`{other}` is not known here: write `strangers`, `everybody` or `off`")),
    }
}
