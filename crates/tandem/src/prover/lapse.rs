//! What becomes of nodes whose proof has ended: first they cannot be changed (the API sees to that), then they are demoted,
//! then they leave the zones; and back, once the domain is proved again (API-68).
//!
//! It is done by the admins' own actions, so that names and numbers stay held, leases go on, and no token undoes it. What was
//! done is known by its reason: what an admin did for another one is left alone.

use tandem_api::ProofRule;
use tandem_model::DomainName;
use tandem_store::{Action, Actor, NodeIdentity, NodeState, Precondition, Proof, ProofOutcome, ReadError, Registered};
use tracing::{info, warn};

use super::Prover;
use super::schedule::{DEMOTE_AFTER, WITHDRAW_AFTER};

/// Why a node is demoted or taken out.
pub(super) const REASON: &str = "the proof of the domain has ended";
/// Registrations that are read at a time.
const PAGE: usize = 200;

impl Prover {
    /// Does to the nodes of every proof that has ended what is due, and brings back those that are proved again.
    pub(super) async fn follow_ended(&self) {
        let now = self.directory.now();
        for (proof, _) in self.directory.proofs() {
            if !proof.state.has_lapsed() {
                continue;
            }
            let action = match now.saturating_sub(proof.since) {
                age if age >= WITHDRAW_AFTER => Action::Suspend,
                age if age >= DEMOTE_AFTER => Action::Drain,
                _ => continue,
            };
            if let Err(error) = self.move_nodes(&proof, action).await {
                warn!(domain = %proof.id.domain, %error, "the nodes of an ended proof could not be read");
            }
        }
        self.give_back().await;
    }

    /// Brings back every node that was moved for want of a proof and needs none now, or has one.
    pub(super) async fn give_back(&self) {
        for state in [NodeState::Draining, NodeState::Suspended] {
            let mut after = None;
            loop {
                let page = match self.directory.list_in(Some(state), after.as_ref(), PAGE).await {
                    Ok(page) => page,
                    Err(error) => {
                        warn!(%error, "nodes without proof could not be read");
                        return;
                    }
                };
                let is_last = page.len() < PAGE;
                after = page.last().map(|last| last.node.domain().clone());
                for there in page {
                    if was_moved(&there) && !self.lacks_proof(&there) {
                        self.act(&there, Action::Restore, None).await;
                    }
                }
                if is_last {
                    break;
                }
            }
        }
    }

    /// What `outcome`, which time has for a proof, comes to. Nobody is told of the end of a proof by a key that was replaced: it
    /// is forgotten when that would first be due.
    pub(super) async fn judge(&self, proof: &Proof, outcome: ProofOutcome) -> ProofOutcome {
        if !matches!(outcome, ProofOutcome::Lapsing(_) | ProofOutcome::Expired) {
            return outcome;
        }
        match self.is_replaced(proof).await {
            Ok(true) => ProofOutcome::Forgotten,
            Ok(false) => outcome,
            Err(error) => {
                warn!(domain = %proof.id.domain, %error, "the nodes of a proof could not be read");
                outcome
            }
        }
    }

    /// Whether the node at the proof's domain has another key by now, does not name this one as its next, and no node below
    /// has this one.
    async fn is_replaced(&self, proof: &Proof) -> Result<bool, ReadError> {
        let (top, key) = (&proof.id.domain, &proof.id.key);
        let identity = self.directory.node(top).await?.and_then(|there| there.identity);
        let has_another = |identity: &NodeIdentity| identity.thumbprint != *key && identity.next.as_ref() != Some(key);
        if !identity.as_deref().is_some_and(has_another) {
            return Ok(false);
        }
        let mut after = top.clone();
        loop {
            let page = self.below(top, &after).await?;
            let Some(last) = page.last() else { return Ok(true) };
            if page.iter().filter_map(|there| there.identity.as_deref()).any(|identity| !has_another(identity)) {
                return Ok(false);
            }
            after = last.node.domain().clone();
        }
    }

    /// The next nodes below `top`, behind `after`; none at the end.
    async fn below(&self, top: &DomainName, after: &DomainName) -> Result<Vec<Registered>, ReadError> {
        let mut page = self.directory.list(Some(after), PAGE).await?;
        // In canonical order names below stand right behind.
        page.retain(|there| there.node.domain().is_below(top));
        Ok(page)
    }

    async fn move_nodes(&self, proof: &Proof, action: Action) -> Result<(), ReadError> {
        let top = &proof.id.domain;
        let mut page: Vec<Registered> = self.directory.node(top).await?.into_iter().collect();
        let mut after = top.clone();
        loop {
            for there in &page {
                let is_its = there.identity.as_ref().is_some_and(|identity| identity.thumbprint == proof.id.key);
                if is_its && is_to_move(there, action) && self.lacks_proof(there) {
                    self.act(there, action, Some(REASON)).await;
                }
            }
            page = self.below(top, &after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.node.domain().clone();
        }
    }

    /// Whether a node needs a proof, and has none that holds.
    fn lacks_proof(&self, there: &Registered) -> bool {
        let domain = there.node.domain();
        let key = there.identity.as_ref().map(|identity| &identity.thumbprint);
        self.needs_proof(domain) && !key.is_some_and(|key| self.directory.is_proved(domain, key))
    }

    fn needs_proof(&self, domain: &DomainName) -> bool {
        let must = match self.rule {
            ProofRule::Off => false,
            ProofRule::Strangers => !self.directory.is_vouched_for(domain),
            ProofRule::Everybody => true,
        };
        must && self.directory.live().load().zone_of(domain).is_none()
    }

    async fn act(&self, there: &Registered, action: Action, reason: Option<&str>) {
        let domain = there.node.domain();
        // Only if nobody else did something to it meanwhile.
        let must = Precondition::Revision(vec![there.revision]);
        match self.directory.act(domain, action, reason.map(Into::into), must, &Actor::directory()).await {
            Ok(_) => info!(%domain, action = action.as_str(), rule = "API-68", "moved by its proof"),
            Err(error) => warn!(%domain, action = action.as_str(), %error, "a node was not moved; it is tried again"),
        }
    }
}

fn was_moved(there: &Registered) -> bool {
    there.standing.by_admin && there.standing.reason.as_deref() == Some(REASON)
}

fn is_to_move(there: &Registered, action: Action) -> bool {
    match there.standing.state {
        NodeState::Active | NodeState::Stale => true,
        // What its operator drained is demoted already.
        NodeState::Draining => action == Action::Suspend && (was_moved(there) || !there.standing.by_admin),
        NodeState::Withdrawn => action == Action::Suspend,
        NodeState::Pending | NodeState::Tombstone | NodeState::Suspended | NodeState::Compromised => false,
    }
}
