//! What a node says of itself: registrations that come, are replaced, and are withdrawn.

use tandem_model::DomainName;

use super::{LeaseChange, RegisterRequest, Staged, Writer};
use crate::backend::{Act, Backend};
use crate::directory::{Effect, Precondition, Receipt, Registered};
use crate::error::{DeregisterError, RegisterError};
use crate::identity::Claim;
use crate::serial;
use crate::state::{NodeState, Standing};
use crate::token::Actor;

impl<B: Backend + ?Sized> Writer<B> {
    /// Registers a node, or replaces what is registered.
    pub(super) fn register(&self, staged: &mut Staged, request: RegisterRequest) -> Result<Receipt, RegisterError> {
        let RegisterRequest { mut node, signature, start, must, by } = request;
        let there = self.current(staged, node.domain())?;
        // Of a tombstone nothing is left but the name.
        let current = there.as_ref().filter(|there| there.standing.state != NodeState::Tombstone);
        node.found = current.map(|current| node.inherits(&current.node)).unwrap_or_default();
        let revision = current.map(|current| current.revision);
        if !must.holds(revision) {
            return Err(RegisterError::Stale(revision));
        }
        // The name remembers its key, whatever became of the registration.
        let held = there.as_ref().and_then(|there| there.identity.as_deref());
        let claim = Claim { signature: signature.as_ref(), by_admin: by.is_admin(), now: staged.time };
        let identity = claim.follow(held)?;
        let is_same_key = identity.as_ref() == held;
        let lease = self.leases.times.lease_of(&node);
        let until = staged.time + u64::from(lease);
        let standing = match current {
            // What was put somewhere by hand, or waits, stays there too.
            Some(current) if !current.lost_its_lease() => Standing { lease_until: until, ..current.standing.clone() },
            Some(_) => Standing::begin(NodeState::Active, staged.time, until),
            // Whoever had an approved node here, and withdrew it, is not known to be the one who asks now.
            None => Standing::begin(start, staged.time, until),
        };
        let is_same = |c: &&Registered| c.node == node && c.standing.state == standing.state && is_same_key;
        if let Some(current) = current.filter(is_same) {
            // API-35: the same again has no second effect but on the lease.
            staged.leases.push(LeaseChange::Renew(node.domain().clone()));
            let serial = serial::soa_serial(current.revision);
            let registered = Registered { standing, ..current.clone() };
            return Ok(Receipt { effect: Effect::Unchanged, serial, registered });
        }
        let (effect, created) = current.map_or((Effect::Created, staged.time), |c| (Effect::Replaced, c.created));
        let conflicts = self.objections(staged, &node, current, &by);
        if !conflicts.is_empty() {
            return Err(RegisterError::Conflicts(conflicts));
        }
        let identity = identity.map(Box::new);
        let registered =
            Registered { node, revision: staged.serial + 1, created, updated: staged.time, standing, identity };
        let act = Act::Register {
            before: current.map(|current| current.node.clone()),
            old: there.as_ref().map(|there| there.standing.state),
            now: registered.clone(),
            document: None,
        };
        staged.take(there.as_ref(), Some(&registered), act, Some(by.token_id), lease);
        Ok(Receipt { effect, serial: serial::soa_serial(registered.revision), registered })
    }

    /// Withdraws a registration.
    pub(super) fn deregister(
        &self,
        staged: &mut Staged,
        domain: &DomainName,
        must: &Precondition,
        by: &Actor,
    ) -> Result<Receipt, DeregisterError> {
        // API-17, API-T10: that nothing is there wins over the precondition. A tombstone is the admins' business.
        let is_for = |there: &Registered| by.is_admin() || there.standing.state != NodeState::Tombstone;
        let current = self.current(staged, domain)?.filter(is_for).ok_or(DeregisterError::NotFound)?;
        if !must.holds(Some(current.revision)) {
            return Err(DeregisterError::Stale(Some(current.revision)));
        }
        let standing = &current.standing;
        if standing.by_admin && standing.state.is_held() && !by.is_admin() {
            // Otherwise it would be registered anew, and so restored.
            return Err(DeregisterError::Held(standing.state));
        }
        if current.identity.is_some() && !by.is_admin() && standing.state != NodeState::Tombstone {
            // Who has only the token must not get rid of the key by removing the node.
            return Ok(self.bury(staged, current, by.token_id.clone()));
        }
        let act = Act::Deregister { before: current.node.clone(), old: standing.state, reason: None };
        staged.take(Some(&current), None, act, Some(by.token_id.clone()), 0);
        Ok(Receipt { effect: Effect::Removed, serial: serial::soa_serial(staged.serial), registered: current })
    }
}
