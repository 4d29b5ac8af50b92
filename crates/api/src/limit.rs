//! How often who may ask (API-30, API-31; threat 18): by token, by domain, by source network, and tighter for guesses.
//!
//! A token bucket for each, in one table of a fixed size. It holds no token, domain or address, only hashes under a salt
//! that nobody knows and that is drawn anew every [`SALT_LIFE`]. Accounts with the same hash share a bucket, which is only
//! stricter; when a set is full, the account that was quiet longest goes, and starts anew when it comes back.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tandem_model::{DomainName, Network};

use crate::problem::Problem;
use crate::source::Source;

/// How long a salt is used: hashes mean nothing after that, and everybody starts anew.
const SALT_LIFE: Duration = Duration::from_secs(3600);
/// Sets of accounts in the table: a power of two, so that bits of the hash choose.
const SETS: usize = 4096;
/// Accounts in a set: 256 KiB in all.
const WAYS: usize = 4;
const MINUTE: u32 = 60;
const HOUR: u32 = 3600;

/// Limits of the API; 0 is none. Admin tokens have none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitConfig {
    /// Requests a minute with one token.
    pub token_per_minute: u32,
    /// Changes a minute of one domain.
    pub domain_per_minute: u32,
    /// Requests a minute from one source network (IPv4 /24, IPv6 /56).
    pub source_per_minute: u32,
    /// Wrong tokens and invitation codes a minute from one source network.
    pub failures_per_minute: u32,
    /// Registrations an hour that one source network may ask for.
    pub registrations_per_hour: u32,
    /// Looks an hour that may be asked for at the proof of one domain by one key.
    pub looks_per_hour: u32,
    /// Numbers a minute that one token may look up.
    pub number_lookups_per_minute: u32,
    /// Source networks that are not limited.
    pub source_exempt: Vec<Network>,
    /// Nodes that may be registered at the names of one token for it to register another.
    pub nodes_per_token: u32,
    /// Targets of all these nodes together.
    pub targets_per_token: u32,
    /// Numbers and blocks of all these nodes together.
    pub numbers_per_token: u32,
}

/// Nobody outside comes from loopback, and a proxy in front makes everybody come from there.
const EXEMPT: [&str; 2] = ["127.0.0.0/8", "::1"];

impl Default for LimitConfig {
    /// Far above what honest nodes do: those publish at boot, renew every few minutes, and try again after failures.
    fn default() -> Self {
        Self {
            token_per_minute: 600,
            domain_per_minute: 120,
            source_per_minute: 1200,
            failures_per_minute: 30,
            registrations_per_hour: 20,
            looks_per_hour: 12,
            number_lookups_per_minute: 60,
            source_exempt: EXEMPT.iter().filter_map(|text| Network::parse(text).ok()).collect(),
            nodes_per_token: 100,
            targets_per_token: 200,
            numbers_per_token: 1000,
        }
    }
}

/// The limit that a request broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// So many in the window.
    pub(crate) limit: u32,
    /// Seconds.
    pub(crate) window: u32,
    /// Seconds after which one more is allowed: at least 1.
    pub(crate) retry_after: u32,
}

/// What is counted; each kind has its own accounts.
#[derive(Debug, Clone, Copy, Hash)]
enum Kind {
    Token,
    Domain,
    Source,
    Failure,
    Registration,
    Look,
    Number,
}

/// Counts requests.
#[derive(Debug)]
pub(crate) struct Limiter {
    config: LimitConfig,
    start: Instant,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    salt: RandomState,
    drawn_at: Duration,
    sets: Box<[[Account; WAYS]]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// The salted hash; 0 in a place that is free.
    tag: u64,
    /// When all that was taken will have been paid for, in microseconds since the start (a leaky bucket).
    paid_at: u64,
}

impl Limiter {
    pub(crate) fn new(config: LimitConfig) -> Self {
        let sets = vec![[Account::default(); WAYS]; SETS].into_boxed_slice();
        let table = Table { salt: RandomState::new(), drawn_at: Duration::ZERO, sets };
        Self { config, start: Instant::now(), table: Mutex::new(table) }
    }

    /// The settings.
    pub(crate) const fn config(&self) -> &LimitConfig {
        &self.config
    }

    /// Counts a request with a token.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn token(&self, id: &str) -> Result<(), Problem> {
        self.count(Kind::Token, &id, self.config.token_per_minute, MINUTE)
    }

    /// Counts a change of a domain.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn domain(&self, domain: &DomainName) -> Result<(), Problem> {
        self.count(Kind::Domain, &domain.as_wire(), self.config.domain_per_minute, MINUTE)
    }

    /// Counts a request from a network.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn source(&self, source: Option<Source>) -> Result<(), Problem> {
        self.of_source(Kind::Source, source, self.config.source_per_minute, MINUTE)
    }

    /// Counts a wrong token or code from a network. Whoever has a right one is never held up by neighbours' guesses.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn failure(&self, source: Option<Source>) -> Result<(), Problem> {
        self.of_source(Kind::Failure, source, self.config.failures_per_minute, MINUTE)
    }

    /// Counts an application for a token from a network.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn registration(&self, source: Option<Source>) -> Result<(), Problem> {
        self.of_source(Kind::Registration, source, self.config.registrations_per_hour, HOUR)
    }

    /// Counts a look at a domain that somebody asks for: each costs questions to other people's servers (API-31, API-66).
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn look(&self, domain: &DomainName, key: &str) -> Result<(), Problem> {
        self.count(Kind::Look, &(domain.as_wire(), key), self.config.looks_per_hour, HOUR)
    }

    /// Counts a look-up of a number: whoever may see numbers has no need to go through all of them.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn number(&self, token: &str) -> Result<(), Problem> {
        self.count(Kind::Number, &token, self.config.number_lookups_per_minute, MINUTE)
    }

    fn of_source(&self, kind: Kind, source: Option<Source>, limit: u32, window: u32) -> Result<(), Problem> {
        let Some(source) = source.filter(|source| !self.is_exempt(source.address())) else { return Ok(()) };
        self.count(kind, &source.network(), limit, window)
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.config.source_exempt.iter().any(|network| network.contains(address))
    }

    fn count(&self, kind: Kind, account: &impl std::hash::Hash, limit: u32, window: u32) -> Result<(), Problem> {
        if limit == 0 {
            return Ok(());
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.charge(&(kind, account), limit, window, self.start.elapsed()).map_err(Problem::too_many)
    }
}

impl Table {
    /// Takes one of `limit` in `window` seconds from the bucket of `key`; `now` is the time since the start.
    fn charge(&mut self, key: &impl std::hash::Hash, limit: u32, window: u32, now: Duration) -> Result<(), TooMany> {
        if now.saturating_sub(self.drawn_at) >= SALT_LIFE {
            (self.salt, self.drawn_at) = (RandomState::new(), now);
            self.sets.fill([Account::default(); WAYS]);
        }
        let tag = self.salt.hash_one(key).max(1);
        let set = &mut self.sets[tag as usize % SETS];
        let place = set.iter().position(|account| account.tag == tag);
        let place = place.or_else(|| (0..WAYS).min_by_key(|way| set[*way].paid_at)).unwrap_or(0);
        let account = &mut set[place];
        if account.tag != tag {
            *account = Account { tag, paid_at: 0 };
        }
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let window_micros = u64::from(window) * 1_000_000;
        let paid_at = account.paid_at.max(now) + window_micros / u64::from(limit);
        match paid_at.checked_sub(now + window_micros) {
            None | Some(0) => {
                account.paid_at = paid_at;
                Ok(())
            }
            Some(wait) => {
                let retry_after = u32::try_from(wait.div_ceil(1_000_000)).unwrap_or(window);
                Err(TooMany { limit, window, retry_after })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            salt: RandomState::new(),
            drawn_at: Duration::ZERO,
            sets: vec![[Account::default(); WAYS]; SETS].into_boxed_slice(),
        }
    }

    /// Milliseconds of a test's clock.
    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn api_t19_the_101st_waits() {
        let mut table = table();
        for n in 0..100 {
            assert_eq!(table.charge(&"a", 100, 60, at(n)), Ok(()), "{n}");
        }
        let refused = table.charge(&"a", 100, 60, at(100)).unwrap_err();
        assert_eq!((refused.limit, refused.window, refused.retry_after), (100, 60, 1));
        assert_eq!(table.charge(&"b", 100, 60, at(100)), Ok(()), "somebody else");
        assert_eq!(table.charge(&"a", 100, 60, at(100 + 1000)), Ok(()), "after Retry-After");
        assert!(table.charge(&"a", 100, 60, at(100 + 1000)).is_err(), "one came back, no more");
        // Rest gives all of them back.
        let again = (0..200).filter(|_| table.charge(&"a", 100, 60, at(70_000)).is_ok()).count();
        assert_eq!(again, 100);
    }

    #[test]
    fn a_long_wait_is_told_as_it_is() {
        let mut table = table();
        assert_eq!(table.charge(&1, 1, HOUR, at(0)), Ok(()));
        assert_eq!(table.charge(&1, 1, HOUR, at(0)).unwrap_err().retry_after, HOUR);
        assert_eq!(table.charge(&1, 1, HOUR, at(1_800_500)).unwrap_err().retry_after, 1800);
    }

    #[test]
    fn the_table_does_not_grow_and_forgets_the_quiet_first() {
        let mut table = table();
        while table.charge(&"mine", 3, 60, at(0)).is_ok() {}
        for other in 0..100_000 {
            table.charge(&other, 3, 60, at(0)).unwrap();
        }
        assert_eq!(table.sets.len() * WAYS, 16_384);
        assert!(table.charge(&"mine", 3, 60, at(1)).is_err(), "who asks most is forgotten last");
        assert_eq!(table.charge(&"mine", 3, 60, SALT_LIFE), Ok(()), "a new salt");
    }

    #[test]
    fn who_is_limited() {
        let limiter = Limiter::new(LimitConfig { source_per_minute: 1, token_per_minute: 0, ..LimitConfig::default() });
        let source = |text: &str| Some(Source::new(text.parse().unwrap()));
        assert!(limiter.source(source("192.0.2.1")).is_ok());
        assert!(limiter.source(source("192.0.2.2")).is_err(), "one network");
        assert!(limiter.source(source("2001:db8::1")).is_ok());
        for _ in 0..9 {
            assert!(limiter.source(source("127.0.0.1")).is_ok() && limiter.source(source("::1")).is_ok(), "exempt");
            assert!(limiter.source(None).is_ok() && limiter.token("t").is_ok(), "0 is no limit");
        }
    }

    #[test]
    fn an_honest_node_with_two_families_never_hits_a_limit() {
        // It publishes at boot, twice because the first answer was lost, reads what is there, then renews every 30 s by
        // whichever family answers first, for an hour, with three tries each as after failures.
        let config = LimitConfig::default();
        let mut table = table();
        for (second, family) in (0..3600).step_by(30).zip([4_u8, 6].into_iter().cycle()) {
            for attempt in 0..3 {
                let now = Duration::from_secs(second) + at(attempt);
                table.charge(&("source", family), config.source_per_minute, MINUTE, now).unwrap();
                table.charge(&"token", config.token_per_minute, MINUTE, now).unwrap();
                table.charge(&"domain", config.domain_per_minute, MINUTE, now).unwrap();
            }
        }
    }
}
