//! The settings of probes: `[probes]`, as it is typed and as it counts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tandem_probe::{AddressRule, PROBE_TIMEOUT};
use toml::Spanned;

use super::spec::{Faults, to_count};

/// Longest interval, in seconds: a day.
const MAX_INTERVAL: u64 = 86_400;
/// Longest time of one probe, in seconds.
const MAX_TIMEOUT: u64 = 60;
/// Most probes at a time: each takes a file descriptor.
const MAX_PARALLEL: u64 = 1_000;
/// Longest overlap of an old key and a new one, in seconds: 30 days.
const MAX_OVERLAP: u64 = 2_592_000;

/// `[probes]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbeSpec {
    enabled: Option<bool>,
    interval_seconds: Option<Spanned<u64>>,
    timeout_seconds: Option<Spanned<u64>>,
    parallel: Option<Spanned<u64>>,
    failures: Option<Spanned<u64>>,
    hold_percent: Option<Spanned<u64>>,
    key_overlap_seconds: Option<Spanned<u64>>,
    authorities: Option<PathBuf>,
    own_addresses: Option<Vec<Spanned<String>>>,
    allow_loopback_for_tests: Option<bool>,
}

/// How nodes are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Whether they are.
    pub enabled: bool,
    /// Time between two looks at a target that is well.
    pub interval: Duration,
    /// Longest time of one look at one address.
    pub timeout: Duration,
    /// Most targets looked at at a time.
    pub parallel: usize,
    /// Looks in a row that must fail before a target is demoted.
    pub failures: u32,
    /// Share of the targets that were well, in percent, above which failures seem to be our own.
    pub hold_percent: u8,
    /// Seconds that a key is published, beyond two times the node's TTL, after no target shows it any more.
    pub key_overlap_seconds: u32,
    /// Certificates of the authorities that are trusted (PEM); none: those of the system.
    pub authorities: Option<PathBuf>,
    /// Addresses at which the directory is reached, besides those of its interfaces.
    pub own_addresses: Vec<IpAddr>,
    /// Whether loopback addresses are looked at.
    pub allow_loopback_for_tests: bool,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: Duration::from_secs(300),
            timeout: PROBE_TIMEOUT,
            parallel: 32,
            failures: 3,
            hold_percent: 50,
            key_overlap_seconds: 86_400,
            authorities: None,
            own_addresses: Vec::new(),
            allow_loopback_for_tests: false,
        }
    }
}

impl ProbeConfig {
    /// Which addresses may be connected to.
    #[must_use]
    pub fn address_rule(&self) -> AddressRule {
        let rule = AddressRule::global(self.own_addresses.iter().copied());
        if self.allow_loopback_for_tests { rule.with_loopback() } else { rule }
    }
}

/// Lays `spec` over `config`; paths count from `folder`.
pub(super) fn check_into(spec: ProbeSpec, folder: &Path, config: &mut ProbeConfig, faults: &mut Faults) {
    let seconds = |least, most| move |n| to_count::<u64>(n, least, most).map(Duration::from_secs);
    config.enabled = spec.enabled.unwrap_or(config.enabled);
    faults.set(spec.interval_seconds, seconds(1, MAX_INTERVAL), &mut config.interval);
    faults.set(spec.timeout_seconds, seconds(1, MAX_TIMEOUT), &mut config.timeout);
    faults.set(spec.parallel, |n| to_count(n, 1, MAX_PARALLEL), &mut config.parallel);
    // One failure says nothing.
    faults.set(spec.failures, |n| to_count(n, 2, 20), &mut config.failures);
    faults.set(spec.hold_percent, |n| to_count(n, 1, 90), &mut config.hold_percent);
    faults.set(spec.key_overlap_seconds, |n| to_count(n, 0, MAX_OVERLAP), &mut config.key_overlap_seconds);
    if let Some(file) = spec.authorities.filter(|file| !file.as_os_str().is_empty()) {
        config.authorities = Some(folder.join(file));
    }
    if let Some(list) = faults.list(spec.own_addresses, |text| parse_address(&text)) {
        config.own_addresses = list;
    }
    config.allow_loopback_for_tests = spec.allow_loopback_for_tests.unwrap_or(config.allow_loopback_for_tests);
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address: write 192.0.2.1 or 2001:db8::1"))
}
