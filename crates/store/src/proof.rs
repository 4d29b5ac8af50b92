//! Proofs that a domain is its registrant's (API-60 to API-69): what is kept of them, their states, and the table in memory.
//!
//! ```text
//!            ┌──────────── a check succeeds ────────────┐
//! pending ───┴──▶ valid ──▶ expired, revoked            │
//!    └──▶ invalid ──────────────┴──── begun again ──▶ (where it was)
//! ```
//!
//! A proof says that the owner of a domain named a key. Who looks at the domain, and when, is not known here: the prover
//! tells the outcome of each look ([`ProofOutcome`]), and [`Proof::after`] says what follows from it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tandem_model::DomainName;

use crate::error::DirectoryError;

/// Most proofs kept; past it those that proved nothing make room, oldest first.
pub const MAX_PROOFS: usize = 20_000;
/// Seconds that the token of a challenge is good for (API-60): a week.
pub const CHALLENGE_LIFE: u64 = 7 * 86_400;
/// Seconds that a proof holds after it was seen (API-68): 90 days.
pub const PROOF_LIFE: u64 = 90 * 86_400;
/// Longest account of a failure that is kept, in octets.
pub const MAX_FAILURE: usize = 300;

/// How a domain is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProofMethod {
    /// A TXT record that stays (API-62, API-63).
    Dns,
    /// A certificate shown at a SIPS target of the domain (API-64).
    Tls,
    /// The client certificate of a call to the API (API-65).
    Mtls,
}

impl ProofMethod {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dns, Self::Tls, Self::Mtls];

    /// As it is kept and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Mtls => "mtls",
        }
    }

    /// The method with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == word)
    }
}

/// Where a proof is in its life (API-68).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofState {
    /// Nobody has seen it yet.
    Pending,
    /// The domain's owner named the key.
    Valid,
    /// It was looked for often enough, or something else was found.
    Invalid,
    /// It was valid, and was not seen again in time.
    Expired,
    /// An admin took it back.
    Revoked,
}

impl ProofState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Valid, Self::Invalid, Self::Expired, Self::Revoked];

    /// As it is kept and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether it once held, and does no more: what rests on it has a time to be proved again.
    #[must_use]
    pub const fn has_lapsed(self) -> bool {
        match self {
            Self::Expired | Self::Revoked => true,
            Self::Pending | Self::Valid | Self::Invalid => false,
        }
    }
}

/// What a proof is filed under: domain, key and method. Attempts of others, with their own keys, stand beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProofId {
    /// The domain that is proved; what is below it is covered.
    pub domain: DomainName,
    /// The thumbprint (RFC 7638) of the key that the domain's owner names.
    pub key: Box<str>,
    /// How.
    pub method: ProofMethod,
}

/// A proof, or an attempt at one.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whose and how.
    pub id: ProofId,
    /// Where it is.
    pub state: ProofState,
    /// The token of its challenge: what an answer, or a claim, must carry (API-60).
    pub token: Box<str>,
    /// Seconds since 1970 when its challenge was made.
    pub begun: u64,
    /// Seconds since 1970 when it came to its state.
    pub since: u64,
    /// Seconds since 1970 when it was seen last.
    pub seen: Option<u64>,
    /// Seconds since 1970 until when it holds, or held.
    pub valid_until: Option<u64>,
    /// How many warnings were given that it ends.
    pub warnings: u8,
    /// What stood in the way at last.
    pub failure: Option<Box<str>>,
}

/// Without the token, which is for whoever proves (API-84).
impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

/// What came of looking at a proof, or of letting time pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofOutcome {
    /// It was seen, and holds until then (seconds since 1970).
    Seen {
        /// The end.
        valid_until: u64,
    },
    /// It was looked for often enough.
    Failed(Box<str>),
    /// It ends soon, and was not seen again: a warning.
    Lapsing(Box<str>),
    /// Its time is over.
    Expired,
    /// An admin takes it back.
    Revoked(Option<Box<str>>),
    /// Nothing rests on it any more.
    Forgotten,
}

impl Proof {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: u64) -> bool {
        self.state == ProofState::Valid && self.valid_until.is_some_and(|until| now < until)
    }

    /// Whether its challenge may still be answered at `now`.
    #[must_use]
    pub fn is_open(&self, now: u64) -> bool {
        now < self.begun.saturating_add(CHALLENGE_LIFE)
    }

    /// What it is after `outcome`; `None` when that means nothing in its state, as when somebody was faster.
    #[must_use]
    pub fn after(&self, outcome: &ProofOutcome, now: u64) -> Option<Self> {
        use ProofState::{Expired, Invalid, Pending, Revoked, Valid};
        let moved = |state| Self { state, since: now, ..self.clone() };
        match (outcome, self.state) {
            // What an admin took back needs a challenge made since.
            (ProofOutcome::Seen { .. }, Revoked) if self.begun <= self.since => None,
            (ProofOutcome::Seen { valid_until }, Pending | Valid | Invalid | Expired | Revoked) => {
                let state = if self.state == Valid { self.clone() } else { moved(Valid) };
                let valid_until = Some(*valid_until);
                Some(Self { seen: Some(now), valid_until, warnings: 0, failure: None, ..state })
            }
            (ProofOutcome::Failed(why), Pending) => Some(Self { failure: Some(why.clone()), ..moved(Invalid) }),
            (ProofOutcome::Lapsing(why), Valid) => {
                let warnings = self.warnings.saturating_add(1);
                Some(Self { warnings, failure: Some(why.clone()), ..self.clone() })
            }
            (ProofOutcome::Expired, Valid) if !self.holds(now) => Some(moved(Expired)),
            (ProofOutcome::Revoked(why), Pending | Valid | Invalid | Expired) => {
                let valid_until = self.valid_until.map(|until| until.min(now));
                Some(Self { failure: why.clone(), valid_until, ..moved(Revoked) })
            }
            (ProofOutcome::Failed(_), Valid | Invalid | Expired | Revoked)
            | (ProofOutcome::Lapsing(_), Pending | Invalid | Expired | Revoked)
            | (ProofOutcome::Expired, Pending | Valid | Invalid | Expired | Revoked)
            | (ProofOutcome::Revoked(_), Revoked)
            | (ProofOutcome::Forgotten, Pending | Valid | Invalid | Expired | Revoked) => None,
        }
    }
}

/// How far looking has come; only in memory: after a start everything that waits is looked at anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProofProgress {
    /// Looks in a row that found nothing.
    pub tries: u32,
    /// Seconds since 1970 of the next look; `None`: as soon as there is a turn.
    pub next: Option<u64>,
    /// What the last of them met.
    pub failure: Option<Box<str>>,
}

/// What the journal says of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofEvent {
    /// A challenge was made.
    Begun,
    /// It was seen.
    Seen,
    /// It was not, often enough.
    Failed,
    /// A warning: it ends soon.
    Lapsing,
    /// Its time is over.
    Expired,
    /// An admin took it back.
    Revoked,
}

impl Proof {
    /// What the journal says beside the domain: method, key, and what stood in the way.
    #[must_use]
    pub fn account(&self) -> String {
        let why = self.failure.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}, key {}{why}", self.id.method.as_str(), self.id.key)
    }
}

/// Why a proof is not begun or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// There is none.
    #[error("nothing of the kind was begun")]
    Unknown,
    /// As many as there can be, and all of them hold.
    #[error("no more proofs can be kept")]
    Full,
    /// The store failed; nothing changed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// All proofs in memory; the writer keeps it equal to the backend's table.
#[derive(Debug, Default)]
pub(crate) struct Proofs(RwLock<Table>);

/// A domain and a key.
type Owner = (DomainName, Box<str>);

#[derive(Debug, Default)]
struct Table {
    /// By domain and key, so that a name is found with a look for each of the names above it.
    by_owner: HashMap<Owner, Vec<(Proof, ProofProgress)>>,
    len: usize,
}

impl Proofs {
    /// With these.
    pub(crate) fn new(proofs: Vec<Proof>) -> Self {
        let all = Self::default();
        proofs.into_iter().for_each(|proof| all.put(proof));
        all
    }

    /// Keeps a proof; what is known of looking stays if its challenge is the same and its state, too.
    pub(crate) fn put(&self, proof: Proof) {
        let mut table = self.write();
        let Table { by_owner, len } = &mut *table;
        let there = by_owner.entry((proof.id.domain.clone(), proof.id.key.clone())).or_default();
        match there.iter_mut().find(|(known, _)| known.id.method == proof.id.method) {
            Some((known, progress)) => {
                if known.state != proof.state || known.token != proof.token || known.seen != proof.seen {
                    *progress = ProofProgress::default();
                }
                *known = proof;
            }
            None => {
                there.push((proof, ProofProgress::default()));
                *len += 1;
            }
        }
    }

    /// Forgets one.
    pub(crate) fn remove(&self, id: &ProofId) {
        let mut table = self.write();
        let owner = (id.domain.clone(), id.key.clone());
        let Some(there) = table.by_owner.get_mut(&owner) else { return };
        let before = there.len();
        there.retain(|(known, _)| known.id.method != id.method);
        let (gone, is_empty) = (before - there.len(), there.is_empty());
        table.len -= gone;
        if is_empty {
            table.by_owner.remove(&owner);
        }
    }

    /// One of them.
    pub(crate) fn find(&self, id: &ProofId) -> Option<Proof> {
        self.of(&id.domain, &id.key).into_iter().map(|(proof, _)| proof).find(|proof| proof.id.method == id.method)
    }

    /// Those of one domain and key, with how far looking has come.
    pub(crate) fn of(&self, domain: &DomainName, key: &str) -> Vec<(Proof, ProofProgress)> {
        let mut found = self.read().by_owner.get(&(domain.clone(), key.into())).cloned().unwrap_or_default();
        found.sort_by_key(|(proof, _)| proof.id.method);
        found
    }

    /// All of them, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<(Proof, ProofProgress)> {
        let mut all: Vec<_> = self.read().by_owner.values().flatten().cloned().collect();
        all.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        all
    }

    /// Whether `key` is proved at `now` for `name`, or for one above it (API-69).
    pub(crate) fn covers(&self, name: &DomainName, key: &str, now: u64) -> bool {
        let table = self.read();
        let mut above = Some(name.clone());
        while let Some(domain) = above {
            let parent = domain.parent();
            if let Some(found) = table.by_owner.get(&(domain, key.into()))
                && found.iter().any(|(proof, _)| proof.holds(now))
            {
                return true;
            }
            above = parent;
        }
        false
    }

    /// Notes how far looking has come; nothing if the proof has changed since it was `seen_as`.
    pub(crate) fn note(&self, seen_as: &Proof, progress: ProofProgress) {
        let mut table = self.write();
        let owner = (seen_as.id.domain.clone(), seen_as.id.key.clone());
        let found = table.by_owner.get_mut(&owner).into_iter().flatten().find(|(known, _)| known == seen_as);
        if let Some((_, place)) = found {
            *place = progress;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().len
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn proof(domain: &str, state: ProofState) -> Proof {
        let id = ProofId { domain: domain.parse().unwrap(), key: "k".into(), method: ProofMethod::Dns };
        let valid_until = (state != ProofState::Pending).then_some(NOW + 10);
        let (token, since) = ("t".into(), NOW - 1);
        Proof { id, state, token, begun: since, since, seen: None, valid_until, warnings: 1, failure: None }
    }

    /// API-68: which state follows from which outcome; all others mean nothing.
    #[test]
    fn states_api_68() {
        use ProofState::{Expired, Invalid, Pending, Revoked, Valid};
        let seen = ProofOutcome::Seen { valid_until: NOW + 90 };
        let failed = ProofOutcome::Failed("no".into());
        let lapsing = ProofOutcome::Lapsing("soon".into());
        let revoked = ProofOutcome::Revoked(None);
        for (from, outcome, now, to) in [
            (Pending, &seen, NOW, Some(Valid)),
            (Valid, &seen, NOW, Some(Valid)),
            (Invalid, &seen, NOW, Some(Valid)),
            (Expired, &seen, NOW, Some(Valid)),
            (Revoked, &seen, NOW, None),
            (Pending, &failed, NOW, Some(Invalid)),
            (Valid, &failed, NOW, None),
            (Expired, &failed, NOW, None),
            (Valid, &lapsing, NOW, Some(Valid)),
            (Pending, &lapsing, NOW, None),
            (Valid, &ProofOutcome::Expired, NOW + 9, None),
            (Valid, &ProofOutcome::Expired, NOW + 10, Some(Expired)),
            (Pending, &ProofOutcome::Expired, NOW + 10, None),
            (Valid, &revoked, NOW, Some(Revoked)),
            (Expired, &revoked, NOW, Some(Revoked)),
            (Revoked, &revoked, NOW, None),
            (Valid, &ProofOutcome::Forgotten, NOW, None),
        ] {
            let after = proof("a.test", from).after(outcome, now);
            assert_eq!(after.as_ref().map(|after| after.state), to, "{from:?} {outcome:?}");
            if let Some(after) = after {
                assert_eq!(after.since, if from == Valid && to == Some(Valid) { NOW - 1 } else { now });
            }
        }
        let warned = proof("a.test", Valid).after(&lapsing, NOW).unwrap();
        assert_eq!((warned.warnings, warned.failure.as_deref()), (2, Some("soon")));
        let again = warned.after(&seen, NOW).unwrap();
        assert_eq!((again.warnings, again.failure, again.valid_until), (0, None, Some(NOW + 90)));
    }

    #[test]
    fn a_proof_covers_what_is_below_api_69() {
        let all = Proofs::new(vec![proof("example.org", ProofState::Valid), proof("pending.org", ProofState::Pending)]);
        for (name, key, now, covered) in [
            ("example.org", "k", NOW, true),
            ("sip.example.org", "k", NOW, true),
            ("org", "k", NOW, false),
            ("notexample.org", "k", NOW, false),
            ("example.org", "other", NOW, false),
            ("example.org", "k", NOW + 10, false),
            ("pending.org", "k", NOW, false),
        ] {
            assert_eq!(all.covers(&name.parse().unwrap(), key, now), covered, "{name} {key} {now}");
        }
    }

    #[test]
    fn progress_is_of_one_challenge() {
        let first = proof("a.test", ProofState::Pending);
        let all = Proofs::new(vec![first.clone()]);
        let tried = ProofProgress { tries: 3, next: Some(NOW), failure: None };
        all.note(&first, tried.clone());
        assert_eq!(all.all()[0].1, tried);
        all.put(first.clone());
        assert_eq!(all.all()[0].1, tried, "the same again");
        let second = Proof { token: "u".into(), ..first.clone() };
        all.put(second);
        assert_eq!((all.len(), all.all()[0].1.clone()), (1, ProofProgress::default()));
        all.note(&first, tried);
        assert_eq!(all.all()[0].1, ProofProgress::default(), "a look at an old challenge says nothing of the new one");
        all.remove(&first.id);
        assert_eq!((all.len(), all.all().len()), (0, 0));
    }
}
