//! The time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970 UTC; 0 on a machine whose clock is before that.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970 UTC.
pub(crate) fn now() -> u64 {
    since_1970().as_secs()
}

/// A number below `end` (which is not 0), good enough to spread agents over time.
pub(crate) fn spread(end: u64) -> u64 {
    // Without random numbers all come at the same moment: no harm but to the directory's evenness.
    getrandom::u64().unwrap_or_default() % end
}

/// A time of the API (RFC 3339) in seconds since 1970.
pub(crate) fn parse(text: &str) -> Option<u64> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp()).ok()
}

/// Seconds since 1970 as people read them (RFC 3339, UTC).
pub(crate) fn text(seconds: u64) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}
