//! Who may have which number: delegations, claims that wait for an admin, and the rule for what a node's token may add.
//!
//! A token is for names, and proves nothing about numbers (ENUM-77). So a number comes to a node by a delegation to its
//! domain: by an admin, or by whoever holds a block around it. What a registration has already it keeps.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tandem_model::{DomainName, Node, NumberRange};
use tandem_zone::{Conflict, ConflictKind, Holders, Part};

use crate::token::Actor;

/// Most delegations at a time: all of them are held in memory.
pub const MAX_DELEGATIONS: usize = 100_000;
/// Most claims that wait at a time.
pub const MAX_CLAIMS: usize = 10_000;
/// Most claims of one domain that wait at a time.
pub const MAX_CLAIMS_EACH: usize = 100;
/// Seconds that a claim waits for an admin; then it is forgotten, and whoever still wants the number asks again.
pub const CLAIM_LIFE: u64 = 30 * 86_400;
/// Longest reason of a refusal, in octets.
pub const MAX_CLAIM_REASON: usize = 200;

/// What a node's token may add to a registration (setting `numbers.claims`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClaimPolicy {
    /// Only what is delegated to the node's domain.
    #[default]
    Approved,
    /// Also what nobody has.
    Free,
}

/// A number or block that belongs to a domain and the names below it, until it is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// What.
    pub range: NumberRange,
    /// Whose nodes may publish it.
    pub domain: DomainName,
    /// Who held the block around it, and gave it; `None`: an admin.
    pub from: Option<DomainName>,
    /// Seconds since 1970.
    pub created: u64,
    /// The id of the token that made it.
    pub by: Option<String>,
}

/// A number or block that a domain asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingClaim {
    /// Public id.
    pub id: String,
    /// What.
    pub range: NumberRange,
    /// Who asks.
    pub domain: DomainName,
    /// Seconds since 1970.
    pub created: u64,
    /// The id of the token that asked.
    pub by: String,
}

impl PendingClaim {
    /// Until when it waits, in seconds since 1970.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.created.saturating_add(CLAIM_LIFE)
    }
}

/// A number or block that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberEntry {
    /// What.
    pub range: NumberRange,
    /// The delegation of exactly this.
    pub delegation: Option<Delegation>,
    /// The node that has published exactly this.
    pub node: Option<DomainName>,
}

/// What a revocation took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// What.
    pub range: NumberRange,
    /// Who had it.
    pub domain: DomainName,
    /// The nodes whose registrations lost numbers, in canonical order.
    pub nodes: Vec<DomainName>,
}

/// Why a number was not claimed, given or taken away.
#[derive(Debug, thiserror::Error)]
pub enum NumberError {
    /// It would break a limit: this one.
    #[error("{0}")]
    Limit(&'static str),
    /// There is no such claim, delegation or number, or the caller may not see it.
    #[error("there is no such claim or delegation")]
    Unknown,
    /// The domain has it already.
    #[error("{0} has it already")]
    Has(DomainName),
    /// It belongs to another domain: that must give it up first.
    #[error("it belongs to {0}: revoke it there first")]
    Taken(DomainName),
    /// It lies in a block of another domain, whose holder has not agreed.
    #[error("it lies in a block of {0}: its holder can delegate it, or an admin over the holder's head")]
    Held(DomainName),
    /// A node of another domain has a number inside the block, without a delegation of its own.
    #[error("a number or block of {0} lies inside: delegate that first")]
    Overlap(DomainName),
    /// Only a part of a block that the caller's domains hold can be delegated by them.
    #[error("only a part of a block that one's own domain holds can be delegated")]
    NotHolder,
    /// The same request was answered meanwhile: the answer kept for it is the one to give.
    #[error("the same request was made before")]
    Repeated,
    /// What was delegated on must be revoked first.
    #[error("{0} was delegated on from it: revoke that first")]
    InUse(NumberRange),
    /// The store failed; nothing changed.
    #[error(transparent)]
    Directory(#[from] crate::DirectoryError),
}

/// All delegations and waiting claims in memory; the writer keeps it equal to the backend's tables.
#[derive(Debug, Default)]
pub(crate) struct NumberBook {
    free: AtomicBool,
    holders: Holders,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    delegations: BTreeMap<NumberRange, Delegation>,
    claims: BTreeMap<String, PendingClaim>,
}

impl NumberBook {
    /// With what a store holds; `holders` is what nodes are checked by, and kept equal.
    pub(crate) fn new(holders: Holders, delegations: Vec<Delegation>, claims: Vec<PendingClaim>) -> Self {
        let book = Self { holders, ..Self::default() };
        delegations.into_iter().for_each(|delegation| book.delegate(delegation));
        claims.into_iter().for_each(|claim| book.claim(claim));
        book
    }

    pub(crate) fn set_policy(&self, policy: ClaimPolicy) {
        self.free.store(policy == ClaimPolicy::Free, Ordering::Relaxed);
    }

    pub(crate) const fn holders(&self) -> &Holders {
        &self.holders
    }

    pub(crate) fn delegate(&self, delegation: Delegation) {
        self.holders.set(delegation.range, delegation.domain.clone());
        self.write().delegations.insert(delegation.range, delegation);
    }

    pub(crate) fn revoke(&self, range: &NumberRange) {
        self.holders.remove(range);
        self.write().delegations.remove(range);
    }

    pub(crate) fn claim(&self, claim: PendingClaim) {
        self.write().claims.insert(claim.id.clone(), claim);
    }

    pub(crate) fn drop_claim(&self, id: &str) {
        self.write().claims.remove(id);
    }

    pub(crate) fn find(&self, range: &NumberRange) -> Option<Delegation> {
        self.read().delegations.get(range).cloned()
    }

    /// The claim of this id, if it waits at `now`.
    pub(crate) fn find_claim(&self, id: &str, now: u64) -> Option<PendingClaim> {
        self.read().claims.get(id).filter(|claim| now < claim.expires()).cloned()
    }

    pub(crate) fn delegation_count(&self) -> usize {
        self.read().delegations.len()
    }

    /// The first delegation inside `outer` that its holder at `domain` gave.
    pub(crate) fn first_given(&self, outer: NumberRange, domain: &DomainName) -> Option<NumberRange> {
        let table = self.read();
        let behind = table.delegations.range((Bound::Excluded(outer), Bound::Unbounded));
        let mut inside = behind.take_while(|(range, _)| range.digits().starts_with(outer.digits()));
        let given = |delegation: &Delegation| delegation.from.as_ref().is_some_and(|from| from.is_at_or_below(domain));
        inside.find(|(range, delegation)| outer.is_around(range) && given(delegation)).map(|(range, _)| *range)
    }

    /// Claims that wait at `now`, or those that have waited too long; oldest first.
    pub(crate) fn claims(&self, now: u64, waiting: bool) -> Vec<PendingClaim> {
        let table = self.read();
        let mut claims: Vec<_> =
            table.claims.values().filter(|claim| (now < claim.expires()) == waiting).cloned().collect();
        drop(table);
        claims.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        claims
    }

    /// Delegations behind `after` in the order of [`NumberRange`] that `wanted` takes, at most `limit`.
    pub(crate) fn delegations(
        &self,
        after: Option<NumberRange>,
        limit: usize,
        wanted: impl Fn(&Delegation) -> bool,
    ) -> Vec<Delegation> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.read();
        let found = table.delegations.range((from, Bound::Unbounded)).map(|(_, delegation)| delegation);
        found.filter(|delegation| wanted(delegation)).take(limit).cloned().collect()
    }

    /// The numbers and blocks of `node` that `by` may not add to what is registered. Says the same whether somebody else has
    /// them or nobody (API-23).
    pub(crate) fn unassigned(&self, node: &Node, registered: Option<&Node>, by: &Actor) -> Vec<Conflict> {
        if by.is_admin() || node.numbers.is_empty() {
            return Vec::new();
        }
        let is_free = self.free.load(Ordering::Relaxed);
        let has = registered.map_or(&[][..], |registered| &registered.numbers);
        let is_given = |range| {
            has.iter().any(|own| own.range() == range)
                || self.holders.of(range).is_some_and(|(_, holder)| node.domain().is_at_or_below(&holder))
        };
        let fault = |range: NumberRange| {
            if is_given(range) {
                None
            } else if is_free {
                // Who holds a block knows what was given of it; nobody else lays one over what is somebody's.
                let inside = self.holders.first_inside(range, |holder| !node.domain().is_at_or_below(holder))?;
                Some(ConflictKind::NumberHeld(self.holders.of(inside)?.1))
            } else {
                Some(ConflictKind::NumberUnassigned(range))
            }
        };
        let ranges = node.numbers.iter().map(tandem_model::NumberClaim::range).enumerate();
        ranges.filter_map(|(index, range)| Some(Conflict { part: Part::Number(index), kind: fault(range)? })).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
