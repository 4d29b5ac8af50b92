//! What moves a registration from one state to another: people's actions, renewals that come late, and time.

use tandem_model::DomainName;

use super::{ActRequest, LeaseChange, ResetRequest, Staged, Writer, chain, conflicts, storage};
use crate::backend::{Act, Backend, Step};
use crate::directory::{Effect, Receipt, Registered};
use crate::error::{ActError, DirectoryError, RenewError, ResetKeyError};
use crate::lease::{Due, JUMP_SECONDS, Lease, Move};
use crate::serial;
use crate::state::{NodeState, Standing, placeholder};
use std::sync::PoisonError;

/// Most registrations that one walk moves: what else waits has its turn in between.
const MAX_MOVES: usize = 256;
/// Most leases that one walk writes down.
const MAX_LEASES_WRITTEN: usize = 2_048;

impl Registered {
    /// Whether only time keeps it from being served.
    pub(crate) const fn lost_its_lease(&self) -> bool {
        matches!(self.standing.state, NodeState::Stale | NodeState::Withdrawn)
    }

    /// Of a tombstone nothing is left but the name and the key that it belongs to.
    pub(super) fn forget_signed(&mut self) {
        if let Some(identity) = &mut self.identity {
            identity.signed = Box::default();
        }
    }
}

impl<B: Backend + ?Sized> Writer<B> {
    /// Does what a person wants done.
    pub(super) fn act(&self, staged: &mut Staged, mut request: ActRequest) -> Result<Receipt, ActError> {
        let keep = request.keep.take();
        let receipt = self.lead(staged, request)?;
        // API-33: what changed nothing changes nothing the next time, either.
        if let Some(keep) = keep.filter(|_| receipt.effect != Effect::Unchanged) {
            staged.answers.push(keep.answer(&receipt, staged.time));
        }
        Ok(receipt)
    }

    fn lead(&self, staged: &mut Staged, request: ActRequest) -> Result<Receipt, ActError> {
        let ActRequest { domain, action, reason, must, by, keep: _ } = request;
        let current = self.current(staged, &domain)?.ok_or(ActError::NotFound)?;
        if !must.holds(Some(current.revision)) {
            return Err(ActError::Stale(Some(current.revision)));
        }
        let is_admin = by.is_admin();
        let to = action.lead(&current.standing, is_admin)?;
        let old = current.standing.state;
        let token = Some(by.token_id).filter(|id| !id.is_empty());
        let Some(to) = to else {
            let act = Act::Deregister { before: current.node.clone(), old, reason };
            staged.take(Some(&current), None, act, token, 0);
            let serial = serial::soa_serial(staged.serial);
            return Ok(Receipt { effect: Effect::Removed, serial, registered: current });
        };
        if to == old && (to == NodeState::Active || reason == current.standing.reason) {
            let serial = serial::soa_serial(current.revision);
            return Ok(Receipt { effect: Effect::Unchanged, serial, registered: current });
        }
        if to.is_shown() && !old.is_shown() {
            let conflicts = conflicts(&staged.zones, &staged.held, &current.node);
            if !conflicts.is_empty() {
                return Err(ActError::Conflicts(conflicts));
            }
        }
        let lease = self.leases.times.lease_of(&current.node);
        let mut lease_until = self.leases.until(&domain).unwrap_or(current.standing.lease_until);
        if to == NodeState::Active {
            // It could not renew in time what was not served, perhaps.
            let grace = lease.min(self.leases.times.grace_seconds);
            lease_until = lease_until.max(staged.time + u64::from(grace));
        }
        let standing = Standing {
            state: to,
            reason: if to == NodeState::Active { None } else { reason.clone() },
            since: staged.time,
            lease_until,
            lease_warned: current.standing.lease_warned,
            // What an admin did stays an admin's, also when a node goes one further.
            by_admin: to.is_held() && (is_admin || current.standing.by_admin && old.is_held()),
        };
        Ok(self.change_state(staged, &current, standing, token, reason, lease))
    }

    /// Brings back a node that lost its lease and renews it now.
    pub(super) fn give_back(&self, staged: &mut Staged, domain: &DomainName, by: String) -> Result<Lease, RenewError> {
        let current = self.current(staged, domain)?.ok_or(RenewError::NotFound)?;
        let seconds = self.leases.times.lease_of(&current.node);
        let until = staged.time + u64::from(seconds);
        let lease = Lease { state: NodeState::Active, seconds, until };
        match current.standing.state {
            NodeState::Tombstone => return Err(RenewError::NotFound),
            NodeState::Stale => {}
            NodeState::Withdrawn => {
                let conflicts = conflicts(&staged.zones, &staged.held, &current.node);
                if !conflicts.is_empty() {
                    return Err(RenewError::Conflicts(conflicts));
                }
            }
            // Somebody was faster; it is in the table by now, or will be with this batch.
            state @ (NodeState::Pending
            | NodeState::Active
            | NodeState::Draining
            | NodeState::Suspended
            | NodeState::Compromised) => {
                staged.leases.push(LeaseChange::Renew(domain.clone()));
                return Ok(Lease { state, ..lease });
            }
        }
        let standing = Standing::begin(NodeState::Active, staged.time, until);
        self.change_state(staged, &current, standing, Some(by), None, seconds);
        Ok(lease)
    }

    /// Removes a node that has a key: its document is forgotten, the name stays held with its key.
    pub(super) fn bury(&self, staged: &mut Staged, current: Registered, by: String) -> Receipt {
        let mut from = current.clone();
        from.node = placeholder(current.node.domain().clone());
        from.forget_signed();
        let standing = Standing::begin(NodeState::Tombstone, staged.time, staged.time);
        let revision = staged.serial + 1;
        let now = Registered { revision, updated: staged.time, standing, ..from };
        let lease = self.leases.times.lease_of(&current.node);
        let act = Act::ChangeState { old: current.standing.state, now: now.clone(), reason: None };
        staged.take(Some(&current), Some(&now), act, Some(by), lease);
        Receipt { effect: Effect::Removed, serial: serial::soa_serial(revision), registered: current }
    }

    /// Lets another key follow, from a while after now on.
    pub(super) fn reset_key(&self, staged: &mut Staged, request: ResetRequest) -> Result<Receipt, ResetKeyError> {
        let ResetRequest { domain, reason, must, by } = request;
        let (domain, must) = (&domain, &must);
        let current = self.current(staged, domain)?.ok_or(ResetKeyError::NotFound)?;
        if !must.holds(Some(current.revision)) {
            return Err(ResetKeyError::Stale(Some(current.revision)));
        }
        let mut identity = current.identity.clone().ok_or(ResetKeyError::NotFound)?;
        if identity.reset_at.is_some() {
            // Asking again makes it no later, nor sooner.
            let serial = serial::soa_serial(current.revision);
            return Ok(Receipt { effect: Effect::Unchanged, serial, registered: current });
        }
        identity.reset_at = Some(staged.time + u64::from(self.key_reset_seconds));
        let revision = staged.serial + 1;
        let lease_until = self.leases.until(domain).unwrap_or(current.standing.lease_until);
        let standing = Standing { lease_until, ..current.standing };
        let now = Registered { revision, updated: staged.time, standing, identity: Some(identity), ..current };
        // Neither DNS nor the lease has anything to do with it.
        staged.serial = revision;
        staged.nodes.insert(domain.clone(), Some(now.clone()));
        staged.steps.push(Step {
            serial: revision,
            by: Some(by),
            act: Act::ResetKey { now: now.clone(), reason },
            zones: vec![],
        });
        Ok(Receipt { effect: Effect::Moved, serial: serial::soa_serial(revision), registered: now })
    }

    /// Stages the change of a state; the document stays.
    fn change_state(
        &self,
        staged: &mut Staged,
        current: &Registered,
        standing: Standing,
        by: Option<String>,
        reason: Option<Box<str>>,
        lease: u32,
    ) -> Receipt {
        let old = current.standing.state;
        let revision = staged.serial + 1;
        let registered = Registered { revision, updated: staged.time, standing, ..current.clone() };
        let act = Act::ChangeState { old, now: registered.clone(), reason };
        staged.take(Some(current), Some(&registered), act, by, lease);
        Receipt { effect: Effect::Moved, serial: serial::soa_serial(revision), registered }
    }

    /// Looks at the clocks, moves what is due, writes down what was renewed. Whether there is more to do at once.
    pub(super) fn walk(&mut self) -> Result<bool, DirectoryError> {
        let now = self.look_at_the_clocks();
        let due = self.leases.take_due(now, MAX_MOVES);
        let more = due.len() == MAX_MOVES;
        if !due.is_empty() {
            let mut staged = self.begin();
            for (index, one) in due.iter().enumerate() {
                staged.due.push(*one);
                if let Err(error) = self.expire(&mut staged, one) {
                    // Nothing is lost: those after it are due with the next walk, too.
                    due[index..].iter().for_each(|due| self.leases.undo(due));
                    staged.due.pop();
                    let _ = self.finish(staged);
                    return Err(error);
                }
            }
            self.finish(staged).map_err(|error| storage(&error))?;
        }
        let written = self.write_leases(MAX_LEASES_WRITTEN);
        Ok(more || written == MAX_LEASES_WRITTEN)
    }

    /// Stages what time does to one registration.
    fn expire(&self, staged: &mut Staged, due: &Due) -> Result<(), DirectoryError> {
        let domain = staged.zones.domain_with_key(due.key).or_else(|| staged.held.domain_with_key(due.key));
        let current = match &domain {
            Some(domain) => self.current(staged, domain)?,
            None => None,
        };
        let Some(current) = current else {
            // Cannot be: leases and registrations come and go together.
            tracing::error!("a lease without a registration");
            self.leases.remove_key(due.key);
            return Ok(());
        };
        let old = current.standing.state;
        let reason = |text: &str| Some(text.into());
        match due.lead {
            // Renewed since it was found due, perhaps.
            Move::Warn if self.leases.is_warned(due.key) => self.announce(staged, current),
            Move::Warn => {}
            Move::Forget => {
                let why = reason(if old == NodeState::Pending { "not approved in time" } else { "not renewed" });
                let act = Act::Deregister { before: current.node.clone(), old, reason: why };
                staged.take(Some(&current), None, act, None, 0);
            }
            Move::To(state) => {
                let lease = self.leases.times.lease_of(&current.node);
                let standing = Standing {
                    reason: reason("the lease ended"),
                    lease_until: due.lease_end().unwrap_or(current.standing.lease_until).min(staged.time),
                    ..Standing::begin(state, staged.time, 0)
                };
                let mut from = current.clone();
                if state == NodeState::Tombstone {
                    from.node = placeholder(current.node.domain().clone());
                    from.forget_signed();
                }
                let why = standing.reason.clone();
                let revision = staged.serial + 1;
                let now = Registered { revision, updated: staged.time, standing, ..from };
                let act = Act::ChangeState { old, now: now.clone(), reason: why };
                staged.take(Some(&current), Some(&now), act, None, lease);
            }
        }
        Ok(())
    }

    /// Stages the word that a lease ends soon: neither DNS nor the document has anything to do with it.
    fn announce(&self, staged: &mut Staged, current: Registered) {
        let domain = current.node.domain().clone();
        let lease_until = self.leases.until(&domain).unwrap_or(current.standing.lease_until);
        let standing = Standing { lease_until, lease_warned: staged.time, ..current.standing };
        let now = Registered { standing, ..current };
        let reason = format!("the lease ends in {}", in_words(lease_until.saturating_sub(staged.time))).into();
        staged.serial += 1;
        staged.nodes.insert(domain, Some(now.clone()));
        let act = Act::LeaseEnding { now, reason };
        staged.steps.push(Step { serial: staged.serial, by: None, act, zones: Vec::new() });
    }

    /// The time; tells the leases when it jumped.
    fn look_at_the_clocks(&mut self) -> u64 {
        let (now, monotonic) = ((self.clock)(), (self.monotonic)());
        let (then, monotonic_then) = self.seen;
        self.seen = (now, monotonic);
        let expected = then + monotonic.saturating_sub(monotonic_then);
        if now > expected + JUMP_SECONDS {
            tracing::warn!(seconds = now - expected, "the clock jumped forward: every lease gets a grace");
            self.leases.jumped_forward(now);
        } else if now + JUMP_SECONDS < expected {
            tracing::warn!(seconds = expected - now, "the clock jumped back: leases are cut to their length");
            self.leases.jumped_back(now);
        }
        now
    }

    /// Writes down at most `limit` leases that were renewed; how many. What fails is tried again later: renewals go on
    /// while the disk is full.
    pub(super) fn write_leases(&self, limit: usize) -> usize {
        let taken = self.leases.take_unwritten(limit);
        if taken.is_empty() {
            return 0;
        }
        let zones = self.live.load();
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let named = |(key, until): &(u64, u64)| {
            Some((zones.domain_with_key(*key).or_else(|| held.domain_with_key(*key))?, *until))
        };
        let leases: Vec<_> = taken.iter().filter_map(named).collect();
        if let Err(error) = self.backend.renew(&leases) {
            tracing::error!(error = %chain(&error), leases = leases.len(), "renewals were not written down");
            self.health.learn(false);
            self.leases.keep_unwritten(taken.iter().map(|(key, _)| *key));
            return 0;
        }
        leases.len()
    }
}

/// A time that is left, as people say it: never more than there is.
fn in_words(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} hours", seconds / 3_600),
        _ => format!("{} minutes", seconds / 60),
    }
}
