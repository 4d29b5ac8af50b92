//! The part of [`Directory`] about who may have which number.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tandem_model::{DomainName, Node, NumberRange};
use tandem_zone::Conflict;
use tokio::sync::oneshot;

use super::{COMMIT_WAIT, Directory};
use crate::keep::Keep;
#[cfg(doc)]
use crate::number::CLAIM_LIFE;
use crate::number::{ClaimPolicy, Delegation, MAX_CLAIM_REASON, NumberEntry, NumberError, PendingClaim, Revoked};
use crate::token::Actor;
use crate::writer::Command;
use crate::writer::number::NumberCommand;

impl Directory {
    /// Sets what nodes' tokens may add from now on; [`ClaimPolicy::Approved`] when nothing is said.
    pub fn set_claim_policy(&self, policy: ClaimPolicy) {
        self.inner.numbers.set_policy(policy);
    }

    /// The numbers and blocks of `node` that `by` may not add to what is registered there. Says the same whether somebody
    /// else has them or nobody.
    #[must_use]
    pub fn unassigned(&self, node: &Node, registered: Option<&Node>, by: &Actor) -> Vec<Conflict> {
        self.inner.numbers.unassigned(node, registered, by)
    }

    /// Asks for a number or block in the name of `domain`; it waits for an admin, at most [`CLAIM_LIFE`]. The same claim again
    /// is the one that waits.
    ///
    /// The caller has seen that `by` may publish at `domain`.
    ///
    /// # Errors
    ///
    /// [`NumberError::Has`] when it is delegated to the domain, [`NumberError::Limit`] when too many claims wait,
    /// [`NumberError::Repeated`] when the answer of `keep` is there.
    pub async fn claim_number(
        &self,
        range: NumberRange,
        domain: DomainName,
        by: &Actor,
        keep: Option<Keep<PendingClaim>>,
    ) -> Result<PendingClaim, NumberError> {
        let by = by.clone();
        self.number(|answer| NumberCommand::Claim { range, domain, by, keep, answer }).await
    }

    /// Claims that wait, oldest first.
    #[must_use]
    pub fn number_claims(&self) -> Vec<PendingClaim> {
        self.inner.numbers.claims(self.now(), true)
    }

    /// Delegates what a claim asks for, by an admin. With `over_holder` also out of a block that another domain holds.
    ///
    /// # Errors
    ///
    /// [`NumberError::Unknown`]; others as [`delegate_number`](Self::delegate_number).
    pub async fn approve_number(
        &self,
        id: &str,
        over_holder: bool,
        by: &Actor,
        keep: Option<Keep<Delegation>>,
    ) -> Result<Delegation, NumberError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.number(|answer| NumberCommand::Approve { id, over_holder, by, keep, answer }).await
    }

    /// Ends a claim: refused by an admin, or withdrawn by who may publish at its domain.
    ///
    /// # Errors
    ///
    /// [`NumberError::Unknown`] when there is none that `by` may see, [`NumberError::Limit`] for a reason too long.
    pub async fn reject_number(
        &self,
        id: &str,
        reason: Option<Box<str>>,
        by: &Actor,
        keep: Option<Keep<PendingClaim>>,
    ) -> Result<PendingClaim, NumberError> {
        let is_long = |reason: &str| reason.len() > MAX_CLAIM_REASON || reason.chars().any(char::is_control);
        if reason.as_deref().is_some_and(|reason| reason.is_empty() || is_long(reason)) {
            return Err(NumberError::Limit("a reason has 1 to 200 octets and no control characters"));
        }
        let (id, by) = (id.to_owned(), by.clone());
        self.number(|answer| NumberCommand::Reject { id, reason, by, keep, answer }).await
    }

    /// Delegates a number or block to `domain` and the names below it: by an admin, or by whoever may publish at the domain
    /// that holds the shortest block around it (the longest match counts). With `over_holder` an admin takes it out of a
    /// foreign block.
    ///
    /// # Errors
    ///
    /// [`NumberError::Taken`], [`NumberError::Held`], [`NumberError::Overlap`]: somebody else has it, what is around it, or a
    /// part of it; [`NumberError::NotHolder`] and nothing more to those who hold nothing around it.
    pub async fn delegate_number(
        &self,
        range: NumberRange,
        domain: DomainName,
        over_holder: bool,
        by: &Actor,
        keep: Option<Keep<Delegation>>,
    ) -> Result<Delegation, NumberError> {
        let by = by.clone();
        self.number(|answer| NumberCommand::Delegate { range, domain, over_holder, by, keep, answer }).await
    }

    /// Ends the delegation of `range`, by an admin, its giver or its holder, and takes what stood on it out of the nodes'
    /// registrations; an admin also takes a number out that was never delegated. DNS shows it when this returns.
    ///
    /// # Errors
    ///
    /// [`NumberError::Unknown`] when there is none that `by` may end, [`NumberError::InUse`] while a part is delegated on.
    pub async fn revoke_number(&self, range: NumberRange, by: &Actor) -> Result<Revoked, NumberError> {
        let by = by.clone();
        self.number(|answer| NumberCommand::Revoke { range, by, answer }).await
    }

    /// What is delegated or published, behind `after` in the order of [`NumberRange`], at most `limit`.
    #[must_use]
    pub fn numbers(&self, after: Option<NumberRange>, limit: usize) -> Vec<NumberEntry> {
        let mut found: BTreeMap<NumberRange, NumberEntry> = BTreeMap::new();
        for delegation in self.inner.numbers.delegations(after, limit, |_| true) {
            let entry = NumberEntry { range: delegation.range, node: None, delegation: Some(delegation) };
            found.insert(entry.range, entry);
        }
        let held = self.inner.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        for zones in [&*self.live.load(), &held] {
            let mut left = limit;
            zones.visit_claims(after, None, |range, node| {
                let entry = found.entry(range).or_insert(NumberEntry { range, delegation: None, node: None });
                entry.node = Some(node);
                left -= 1;
                left > 0
            });
        }
        found.into_values().take(limit).map(|entry| self.whole(entry)).collect()
    }

    /// What is delegated to or by domains that `covers` takes, with the node that has published exactly that.
    #[must_use]
    pub fn numbers_delegated(&self, covers: impl Fn(&DomainName) -> bool) -> Vec<NumberEntry> {
        let is_theirs = |given: &Delegation| covers(&given.domain) || given.from.as_ref().is_some_and(&covers);
        let found = self.inner.numbers.delegations(None, usize::MAX, is_theirs).into_iter();
        let entry = |given: Delegation| NumberEntry { range: given.range, node: None, delegation: Some(given) };
        found.map(|given| self.whole(entry(given))).collect()
    }

    /// Who has `range`: the longest delegation at or around it, and the longest number or block published there.
    #[must_use]
    pub fn number_holder(&self, range: NumberRange) -> (Option<Delegation>, Option<(NumberRange, DomainName)>) {
        let given = self.inner.numbers.holders().of(range).and_then(|(at, _)| self.inner.numbers.find(&at));
        let held = self.inner.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let live = self.live.load();
        let zones = [&*live, &held];
        let exact = zones.iter().find_map(|zones| zones.claimant(range)).map(|node| (range, node));
        let around = || zones.iter().filter_map(|zones| zones.claimant_around(range)).max_by_key(|(at, _)| *at);
        (given, exact.or_else(around))
    }

    /// An entry with what its two sources say of exactly this number.
    fn whole(&self, entry: NumberEntry) -> NumberEntry {
        let NumberEntry { range, delegation, node } = entry;
        let held = || self.inner.held.read().unwrap_or_else(PoisonError::into_inner).claimant(range);
        NumberEntry {
            range,
            delegation: delegation.or_else(|| self.inner.numbers.find(&range)),
            node: node.or_else(|| self.live.load().claimant(range)).or_else(held),
        }
    }

    async fn number<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, NumberError>>) -> NumberCommand,
    ) -> Result<T, NumberError> {
        self.inner.ask(COMMIT_WAIT, |answer| Command::Number(command(answer))).await
    }
}
