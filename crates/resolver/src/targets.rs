//! How servers behaved lately: who failed waits, and one call at a time finds out whether it is well again.
//!
//! RFC 3263 4.3 and RFC 3261 21.5.4 (LOC-81, LOC-83). A server that asked for no calls until a moment gets none until
//! then. One that could not be reached goes to the end of the list, so that it is still tried when all else fails.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tandem_model::locate::{NextHop, Service};

use crate::bounded::Bounded;

/// Most servers whose failures are remembered.
const MAX_TARGETS: usize = 16_384;
/// Wait after the first failure; it doubles with each that follows.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait after failures.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Longest Retry-After that is believed: a server must not be lost for good by one header.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How long one call has a server to itself while it finds out: SIP's timers B and F (RFC 3261 17).
pub(crate) const PROBE_TIME: Duration = Duration::from_secs(32);

/// What came of trying a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// It answered: any final response but 503, or a provisional one (LOC-81). All is well.
    Answered,
    /// No connection, an ICMP error, or the connection broke.
    Unreachable,
    /// TLS failed, or the certificate does not fit (CERT-20).
    Untrusted,
    /// Timer B or F fired without any response.
    NoResponse,
    /// 503. With Retry-After it gets no calls for that long (LOC-83); without, it counts as a failure.
    Unavailable {
        /// The header's value.
        retry_after: Option<Duration>,
    },
}

/// The memory of servers.
#[derive(Debug)]
pub(crate) struct Targets {
    known: Mutex<Bounded<Target>>,
    /// How many of them wait: while none does, nobody takes the lock.
    waiting: AtomicUsize,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Target {
    at: (SocketAddr, Service),
    /// `None`: it is well.
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    failures: u32,
    until: Instant,
    /// It asked for silence itself.
    told: bool,
    /// Until when the one call that finds out has it to itself.
    probed_until: Option<Instant>,
}

/// What may be done with a server now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Well,
    /// Last in the list.
    Doubtful,
    /// Not at all, until then.
    Silent(Instant),
}

impl Targets {
    pub(crate) fn new() -> Self {
        let known = Mutex::new(Bounded::new(MAX_TARGETS, usize::MAX));
        Self { known, waiting: AtomicUsize::new(0), hasher: RandomState::new() }
    }

    /// Whether nobody waits, so that no list changes.
    pub(crate) fn all_well(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    pub(crate) fn report(&self, hop: &NextHop, report: Report, now: Instant) {
        if report == Report::Answered && self.all_well() {
            return;
        }
        let at = (hop.address, hop.service);
        let key = self.hasher.hash_one(at);
        let mut known = self.lock();
        let before = known.get(key).filter(|target| target.at == at).and_then(|target| target.trouble);
        let trouble = match report {
            Report::Answered => None,
            Report::Unavailable { retry_after: Some(wait) } => {
                let until = now + wait.min(MAX_RETRY_AFTER);
                Some(Trouble { failures: 0, until, told: true, probed_until: None })
            }
            Report::Unreachable
            | Report::Untrusted
            | Report::NoResponse
            | Report::Unavailable { retry_after: None } => {
                let failures = before.map_or(0, |trouble| trouble.failures);
                let wait = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(MAX_WAIT);
                let until = before.filter(|trouble| trouble.told).map_or(now, |trouble| trouble.until).max(now + wait);
                let told = before.is_some_and(|trouble| trouble.told && trouble.until > now);
                Some(Trouble { failures: failures.saturating_add(1), until, told, probed_until: None })
            }
        };
        match (before, trouble) {
            (None, Some(_)) => _ = self.waiting.fetch_add(1, Ordering::Release),
            (Some(_), None) => _ = self.waiting.fetch_sub(1, Ordering::Release),
            (None, None) => return,
            (Some(_), Some(_)) => {}
        }
        known.put(key, Target { at, trouble }, 0, |evicted| {
            if evicted.trouble.is_some() {
                self.waiting.fetch_sub(1, Ordering::Release);
            }
        });
    }

    /// Where a server stands. Once its wait is over, the first who asks gets it as if it were well and finds out; it is
    /// doubtful for all others until that call's report, or until it is late.
    pub(crate) fn standing(&self, hop: &NextHop, now: Instant) -> Standing {
        let at = (hop.address, hop.service);
        let mut known = self.lock();
        let Some(trouble) = known
            .get(self.hasher.hash_one(at))
            .filter(|target| target.at == at)
            .and_then(|target| target.trouble.as_mut())
        else {
            return Standing::Well;
        };
        if now < trouble.until {
            return if trouble.told { Standing::Silent(trouble.until) } else { Standing::Doubtful };
        }
        match trouble.probed_until {
            Some(until) if now < until => Standing::Doubtful,
            _ => {
                trouble.probed_until = Some(now + PROBE_TIME);
                Standing::Well
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bounded<Target>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::locate::HopDnssec;

    use super::*;

    fn hop(last: u8) -> NextHop {
        NextHop {
            service: Service::Tls,
            address: ([203, 0, 113, last], 5061).into(),
            tls_name: None,
            srv_target: None,
            canonical: None,
            rank: None,
            dnssec: HopDnssec::default(),
            ttl: None,
        }
    }

    #[test]
    fn loc_81_failures() {
        let (targets, start, hop) = (Targets::new(), Instant::now(), hop(1));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(targets.all_well());
        targets.report(&hop, Report::Answered, at(0));
        assert!(targets.all_well(), "nothing is kept of the well");
        for (report, wait) in [
            (Report::Unreachable, 5),
            (Report::NoResponse, 10),
            (Report::Untrusted, 20),
            (Report::Unavailable { retry_after: None }, 40),
        ] {
            targets.report(&hop, report, at(0));
            assert_eq!(targets.standing(&hop, at(wait - 1)), Standing::Doubtful, "{report:?}");
        }
        assert_eq!(targets.standing(&hop, at(40)), Standing::Well, "one call finds out");
        assert_eq!(targets.standing(&hop, at(40)), Standing::Doubtful, "the others wait for it");
        assert_eq!(targets.standing(&hop, at(71)), Standing::Doubtful);
        assert_eq!(targets.standing(&hop, at(72)), Standing::Well, "its report never came: the next one");
        targets.report(&hop, Report::Answered, at(73));
        assert_eq!((targets.standing(&hop, at(73)), targets.all_well()), (Standing::Well, true));
        for _ in 0..40 {
            targets.report(&hop, Report::Unreachable, at(100));
        }
        assert_eq!(targets.standing(&hop, at(399)), Standing::Doubtful);
        assert_eq!(targets.standing(&hop, at(400)), Standing::Well, "never longer than five minutes");
    }

    #[test]
    fn loc_83_retry_after() {
        let (targets, start, hop) = (Targets::new(), Instant::now(), hop(1));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let unavailable = |seconds| Report::Unavailable { retry_after: Some(Duration::from_secs(seconds)) };
        targets.report(&hop, unavailable(120), at(0));
        assert_eq!(targets.standing(&hop, at(119)), Standing::Silent(at(120)));
        targets.report(&hop, Report::Unreachable, at(10));
        assert_eq!(targets.standing(&hop, at(119)), Standing::Silent(at(120)), "a failure does not shorten it");
        assert_eq!(targets.standing(&hop, at(120)), Standing::Well);
        targets.report(&hop, unavailable(1_000_000), at(200));
        assert_eq!(targets.standing(&hop, at(200 + 3600)), Standing::Well, "nobody is lost for good");
        let of_case = NextHop { address: ([203, 0, 113, 2], 5061).into(), ..hop };
        targets.report(&of_case, unavailable(60), at(0));
        assert_eq!(targets.standing(&of_case, at(59)), Standing::Silent(at(60)), "LOC-T90");
        assert_eq!(targets.standing(&of_case, at(60)), Standing::Well, "LOC-T90");
    }

    #[test]
    fn bounded() {
        let (targets, now) = (Targets::new(), Instant::now());
        for number in 0..u32::try_from(MAX_TARGETS + 1000).unwrap() {
            let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
            let hop = NextHop { address: (address, 5061).into(), ..hop(1) };
            targets.report(&hop, Report::Unreachable, now);
        }
        assert_eq!((targets.lock().len(), targets.waiting.load(Ordering::Relaxed)), (MAX_TARGETS, MAX_TARGETS));
    }
}
