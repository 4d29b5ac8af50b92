//! The settings of who may register, how often and how much: `[registration]`, `[numbers]`
//! and `[limits]`.

use serde::{Deserialize, Serialize};
use tandem_api::{LimitConfig, RegistrationMode};
use tandem_model::Network;
use tandem_store::ClaimPolicy;
use toml::Spanned;

use super::spec::{Faults, to_count};

/// The highest rate that may be asked for; above it 0, no limit, says the same.
const MAX_RATE: u64 = 1_000_000;
/// The largest share that may be asked for.
const MAX_SHARE: u64 = 1_000_000;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistrationSpec {
    mode: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NumberSpec {
    claims: Option<Spanned<String>>,
}

impl NumberSpec {
    /// Lays what is given over `policy`.
    pub(super) fn check_into(self, policy: &mut ClaimPolicy, faults: &mut Faults) {
        faults.set(self.claims, |text| parse_claims(&text), policy);
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitSpec {
    token_per_minute: Option<Spanned<u64>>,
    domain_per_minute: Option<Spanned<u64>>,
    source_per_minute: Option<Spanned<u64>>,
    failures_per_minute: Option<Spanned<u64>>,
    registrations_per_hour: Option<Spanned<u64>>,
    looks_per_hour: Option<Spanned<u64>>,
    number_lookups_per_minute: Option<Spanned<u64>>,
    source_exempt: Option<Vec<Spanned<String>>>,
    nodes_per_token: Option<Spanned<u64>>,
    targets_per_token: Option<Spanned<u64>>,
    numbers_per_token: Option<Spanned<u64>>,
}

impl RegistrationSpec {
    /// Lays what is given over `mode`.
    pub(super) fn check_into(self, mode: &mut RegistrationMode, faults: &mut Faults) {
        faults.set(self.mode, |text| parse_mode(&text), mode);
    }
}

impl LimitSpec {
    /// Lays what is given over `limits`.
    pub(super) fn check_into(self, limits: &mut LimitConfig, faults: &mut Faults) {
        for (given, most, place) in [
            (self.token_per_minute, MAX_RATE, &mut limits.token_per_minute),
            (self.domain_per_minute, MAX_RATE, &mut limits.domain_per_minute),
            (self.source_per_minute, MAX_RATE, &mut limits.source_per_minute),
            (self.failures_per_minute, MAX_RATE, &mut limits.failures_per_minute),
            (self.registrations_per_hour, MAX_RATE, &mut limits.registrations_per_hour),
            (self.looks_per_hour, MAX_RATE, &mut limits.looks_per_hour),
            (self.number_lookups_per_minute, MAX_RATE, &mut limits.number_lookups_per_minute),
            (self.nodes_per_token, MAX_SHARE, &mut limits.nodes_per_token),
            (self.targets_per_token, MAX_SHARE, &mut limits.targets_per_token),
            (self.numbers_per_token, MAX_SHARE, &mut limits.numbers_per_token),
        ] {
            faults.set(given, |n| to_count(n, 0, most), place);
        }
        if let Some(networks) = faults.list(self.source_exempt, |text| parse_network(&text)) {
            limits.source_exempt = networks;
        }
    }
}

fn parse_mode(text: &str) -> Result<RegistrationMode, String> {
    match text {
        "closed" => Ok(RegistrationMode::Closed),
        "moderated" => Ok(RegistrationMode::Moderated),
        "open" => Ok(RegistrationMode::Open),
        other => Err(format!("the mode `{other}` is not known: write `closed`, `moderated` or `open`")),
    }
}

fn parse_claims(text: &str) -> Result<ClaimPolicy, String> {
    match text {
        "approved" => Ok(ClaimPolicy::Approved),
        "free" => Ok(ClaimPolicy::Free),
        other => Err(format!("the rule `{other}` for claims is not known: write `approved` or `free`")),
    }
}

fn parse_network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|error| format!("`{text}` is no network: {error}"))
}
