//! Which domains offered SIP over TLS: one that does not any more is noticed, and not followed into plaintext (LOC-89). NAPTR
//! records that vanish are noticed also where SRV records still offer it: others may be led astray.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use tandem_model::DomainName;
use tandem_model::locate::Located;

use crate::bounded::Bounded;

/// Most domains that are remembered.
const MAX_DOMAINS: usize = 65_536;
/// How long: whoever means to give TLS up can wait that long, an attacker hardly can.
const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The memory.
#[derive(Debug)]
pub(crate) struct SipsMemory {
    seen: Bounded<Seen>,
    hasher: RandomState,
}

/// An offer.
#[derive(Debug)]
struct Seen {
    domain: DomainName,
    since: Instant,
    /// Whether NAPTR records made it; otherwise SRV records alone.
    by_naptr: bool,
}

impl SipsMemory {
    pub(crate) fn new() -> Self {
        Self { seen: Bounded::new(MAX_DOMAINS, usize::MAX), hasher: RandomState::new() }
    }

    /// Takes a result in. Whether the domain offered SIPS before and its records now say that it does not, or NAPTR did and
    /// does not any more, which is told once. Only NAPTR and SRV count: an answer that failed or a transport that the caller
    /// chose says nothing.
    pub(crate) fn vanished(&mut self, domain: &DomainName, located: &Located, now: Instant) -> bool {
        let by_srv = match &located.outcome {
            Ok(hops) => hops.iter().any(|hop| hop.service.is_secure() && hop.srv_target.is_some()),
            Err(_) => false,
        };
        let key = self.hasher.hash_one(domain);
        let holds = |seen: &&mut Seen| seen.domain == *domain && now.saturating_duration_since(seen.since) < MEMORY;
        let before = self.seen.get(key).filter(holds).map(|seen| seen.by_naptr);
        let by_naptr = located.naptr_offered_sips == Some(true);
        let denied = located.naptr_offered_sips == Some(false) && located.ttl != Some(0);
        if by_srv || by_naptr {
            let by_naptr = by_naptr || !denied && before == Some(true);
            let seen = Seen { domain: domain.clone(), since: now, by_naptr };
            self.seen.put(key, seen, domain.as_wire().len(), |_| ());
        }
        denied && before.is_some_and(|by_naptr| by_naptr || !by_srv)
    }
}
