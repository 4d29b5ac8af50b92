//! The settings of leases: how long a registration stays in each state that time ends.

use serde::{Deserialize, Serialize};
use tandem_model::node::LEASE_RANGE;
use tandem_store::LeaseTimes;
use toml::Spanned;

use super::spec::{Faults, to_count};

/// Longest time in one state that may be asked for, in seconds: a year.
const MAX_TIME: u64 = 31_536_000;
/// Longest grace, in seconds: a day.
const MAX_GRACE: u64 = 86_400;

/// `[leases]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LeaseSpec {
    default_seconds: Option<Spanned<u64>>,
    stale_seconds: Option<Spanned<u64>>,
    withdrawn_seconds: Option<Spanned<u64>>,
    tombstone_seconds: Option<Spanned<u64>>,
    grace_seconds: Option<Spanned<u64>>,
}

/// Lays `spec` over `times`.
pub(super) fn check_into(spec: LeaseSpec, times: &mut LeaseTimes, faults: &mut Faults) {
    let (least, most) = (u64::from(*LEASE_RANGE.start()), u64::from(*LEASE_RANGE.end()));
    faults.set(spec.default_seconds, |n| to_count(n, least, most), &mut times.default_seconds);
    // Shorter ones would be over before anybody could do something.
    faults.set(spec.stale_seconds, |n| to_count(n, least, MAX_TIME), &mut times.stale_seconds);
    faults.set(spec.withdrawn_seconds, |n| to_count(n, least, MAX_TIME), &mut times.withdrawn_seconds);
    faults.set(spec.tombstone_seconds, |n| to_count(n, least, MAX_TIME), &mut times.tombstone_seconds);
    faults.set(spec.grace_seconds, |n| to_count(n, 1, MAX_GRACE), &mut times.grace_seconds);
}
