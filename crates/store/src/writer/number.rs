//! The writer's part in numbers: claims, delegations, and what a revocation takes out of registrations.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tandem_model::{DomainName, Node, NumberClaim, NumberRange};
use tandem_zone::{Change, Conflict, Zones};

use super::{Answer, Staged, WHILE_HELD, Writer, storage};
use crate::backend::{Act, Backend, Step, StoredAnswer};
use crate::directory::Registered;
use crate::error::DirectoryError;
use crate::keep::Keep;
use crate::number::{Delegation, MAX_CLAIMS, MAX_CLAIMS_EACH, MAX_DELEGATIONS, NumberError, PendingClaim, Revoked};
use crate::state::Standing;
use crate::token::{self, Actor};

/// Most claims that have become idle that leave with one change: it is one commit.
const MAX_ENDED: usize = 256;

/// What the writer is asked to do with numbers.
#[derive(Debug)]
pub(crate) enum NumberCommand {
    /// Ask for a number.
    Claim {
        range: NumberRange,
        domain: DomainName,
        by: Actor,
        keep: Option<Keep<PendingClaim>>,
        answer: Answer<PendingClaim, NumberError>,
    },
    /// Give what a claim asks for; with `over_holder` also out of a foreign block.
    Approve {
        id: String,
        over_holder: bool,
        by: Actor,
        keep: Option<Keep<Delegation>>,
        answer: Answer<Delegation, NumberError>,
    },
    /// End a claim: refused, or withdrawn.
    Reject {
        id: String,
        reason: Option<Box<str>>,
        by: Actor,
        keep: Option<Keep<PendingClaim>>,
        answer: Answer<PendingClaim, NumberError>,
    },
    /// Give a number to a domain.
    Delegate {
        range: NumberRange,
        domain: DomainName,
        over_holder: bool,
        by: Actor,
        keep: Option<Keep<Delegation>>,
        answer: Answer<Delegation, NumberError>,
    },
    /// Take a number away.
    Revoke { range: NumberRange, by: Actor, answer: Answer<Revoked, NumberError> },
}

impl<B: Backend + ?Sized> Writer<B> {
    /// Does what is asked and answers. Nothing must be staged.
    pub(super) fn number(&mut self, command: NumberCommand) {
        // Whoever has gone got no promise.
        match command {
            NumberCommand::Claim { range, domain, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.claim_number(range, domain, by, keep));
            }
            NumberCommand::Approve { id, over_holder, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.approve_number(&id, over_holder, &by, keep));
            }
            NumberCommand::Reject { id, reason, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.reject_number(&id, reason, by, keep));
            }
            NumberCommand::Delegate { range, domain, over_holder, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.delegate_number(range, domain, over_holder, &by, keep));
            }
            NumberCommand::Revoke { range, by, answer } if !answer.is_closed() => {
                let _ = answer.send(self.revoke_number(range, &by));
            }
            NumberCommand::Claim { .. }
            | NumberCommand::Approve { .. }
            | NumberCommand::Reject { .. }
            | NumberCommand::Delegate { .. }
            | NumberCommand::Revoke { .. } => {}
        }
    }

    /// Everything that stands in the way of what `by` registers in the place of `current`.
    pub(super) fn objections(
        &self,
        staged: &Staged,
        node: &Node,
        current: Option<&Registered>,
        by: &Actor,
    ) -> Vec<Conflict> {
        // The caller has looked before, but a delegation may have ended since.
        let unassigned = self.numbers.unassigned(node, current.map(|current| &current.node), by);
        if unassigned.is_empty() { conflicts(&staged.zones, &staged.held, node) } else { unassigned }
    }

    /// Takes a claim down without a look at who has the number: that is not the claimant's to know.
    fn claim_number(
        &mut self,
        range: NumberRange,
        domain: DomainName,
        by: Actor,
        keep: Option<Keep<PendingClaim>>,
    ) -> Result<PendingClaim, NumberError> {
        let now = (self.clock)();
        self.demand_new(keep.as_ref(), now)?;
        let claims = self.numbers.claims(now, true);
        if let Some(same) = claims.iter().find(|claim| claim.range == range && claim.domain == domain) {
            return Ok(same.clone());
        }
        let held = self.numbers.holders().of(range);
        if held.is_some_and(|(_, holder)| domain.is_at_or_below(&holder)) {
            return Err(NumberError::Has(domain));
        }
        if claims.iter().filter(|claim| claim.domain == domain).count() >= MAX_CLAIMS_EACH {
            return Err(NumberError::Limit("at most 100 claims of one domain wait at a time"));
        }
        if claims.len() >= MAX_CLAIMS {
            return Err(NumberError::Limit("at most 10000 claims wait at a time: try again later"));
        }
        let id = token::random_id().map_err(|error| DirectoryError::Storage(error.to_string().into()))?;
        let claim = PendingClaim { id, range, domain, created: now, by: by.token_id.clone() };
        // As with tokens: a new one takes those along whose time is over.
        let expired = self.numbers.claims(now, false);
        let ended = expired.iter().take(MAX_ENDED).map(|claim| {
            let said = format!("{}: nobody decided within 30 days", claim.range).into();
            (Act::RejectNumber { claim: claim.clone(), said }, None)
        });
        let deeds = ended.chain([(Act::ClaimNumber(claim.clone()), Some(by.token_id))]).collect();
        self.commit_numbers(deeds, keep.map(|keep| keep.answer(&claim, now)))?;
        expired.iter().take(MAX_ENDED).for_each(|claim| self.numbers.drop_claim(&claim.id));
        self.numbers.claim(claim.clone());
        Ok(claim)
    }

    fn approve_number(
        &mut self,
        id: &str,
        over_holder: bool,
        by: &Actor,
        keep: Option<Keep<Delegation>>,
    ) -> Result<Delegation, NumberError> {
        let now = (self.clock)();
        self.demand_new(keep.as_ref(), now)?;
        let claim = self.numbers.find_claim(id, now).ok_or(NumberError::Unknown)?;
        let delegation = self.decide_delegation(claim.range, claim.domain.clone(), over_holder, by)?;
        let act = Act::ApproveNumber { claim: claim.clone(), delegation: delegation.clone() };
        let mut covered = self.covered_claims(&delegation, now);
        covered.retain(|other| other.id != claim.id);
        self.keep_delegation(act, &delegation, &covered, by, keep.map(|keep| keep.answer(&delegation, now)))?;
        self.numbers.drop_claim(&claim.id);
        Ok(delegation)
    }

    fn reject_number(
        &mut self,
        id: &str,
        reason: Option<Box<str>>,
        by: Actor,
        keep: Option<Keep<PendingClaim>>,
    ) -> Result<PendingClaim, NumberError> {
        let now = (self.clock)();
        self.demand_new(keep.as_ref(), now)?;
        let claim = self.numbers.find_claim(id, now).filter(|claim| by.scope.covers(&claim.domain));
        let claim = claim.ok_or(NumberError::Unknown)?;
        let range = claim.range;
        let said = reason.map_or_else(|| range.to_string(), |reason| format!("{range}: {reason}"));
        let act = Act::RejectNumber { claim: claim.clone(), said: said.into() };
        self.commit_numbers(vec![(act, Some(by.token_id))], keep.map(|keep| keep.answer(&claim, now)))?;
        self.numbers.drop_claim(&claim.id);
        Ok(claim)
    }

    fn delegate_number(
        &mut self,
        range: NumberRange,
        domain: DomainName,
        over_holder: bool,
        by: &Actor,
        keep: Option<Keep<Delegation>>,
    ) -> Result<Delegation, NumberError> {
        let now = (self.clock)();
        self.demand_new(keep.as_ref(), now)?;
        if let Some(same) = self.numbers.find(&range).filter(|same| same.domain == domain) {
            let is_seen = by.is_admin() || same.from.as_ref().is_some_and(|from| by.scope.covers(from));
            return if is_seen { Ok(same) } else { Err(NumberError::NotHolder) };
        }
        let delegation = self.decide_delegation(range, domain, over_holder, by)?;
        let act = Act::DelegateNumber(delegation.clone());
        let covered = self.covered_claims(&delegation, now);
        self.keep_delegation(act, &delegation, &covered, by, keep.map(|keep| keep.answer(&delegation, now)))?;
        Ok(delegation)
    }

    /// At most [`MAX_ENDED`] of the claims whose wish a new delegation fulfils: their domain could not make them again.
    fn covered_claims(&self, new: &Delegation, now: u64) -> Vec<PendingClaim> {
        let is_covered = |claim: &PendingClaim| {
            // The longest delegation counts, whosever it is.
            let inner = || self.numbers.holders().of(claim.range).filter(|(at, _)| new.range.is_around(at));
            claim.domain.is_at_or_below(&new.domain)
                && (claim.range == new.range || new.range.is_around(&claim.range))
                && inner().is_none()
        };
        let mut covered = self.numbers.claims(now, true);
        covered.retain(is_covered);
        covered.truncate(MAX_ENDED);
        covered
    }

    /// Makes a delegation durable with the end of the claims that it covers, and then known.
    fn keep_delegation(
        &mut self,
        act: Act,
        delegation: &Delegation,
        covered: &[PendingClaim],
        by: &Actor,
        answer: Option<StoredAnswer>,
    ) -> Result<(), DirectoryError> {
        let ended = covered.iter().map(|claim| {
            let said = format!("{}: delegated as {}", claim.range, delegation.range).into();
            Act::RejectNumber { claim: claim.clone(), said }
        });
        let deeds = [act].into_iter().chain(ended).map(|act| (act, Some(by.token_id.clone()))).collect();
        self.commit_numbers(deeds, answer)?;
        covered.iter().for_each(|claim| self.numbers.drop_claim(&claim.id));
        self.numbers.delegate(delegation.clone());
        Ok(())
    }

    /// Whether `by` may give `range` to `domain`, and in whose name (ENUM-77).
    fn decide_delegation(
        &self,
        range: NumberRange,
        domain: DomainName,
        over_holder: bool,
        by: &Actor,
    ) -> Result<Delegation, NumberError> {
        let live = self.live.load();
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let zones = [&*live, &*held];
        let around = self.around(range, zones);
        let from = if by.is_admin() {
            None
        } else {
            // First of all: nobody else learns anything about a number.
            let ours = around.as_ref().filter(|(at, holder)| at.is_around(&range) && by.scope.covers(holder));
            Some(ours.ok_or(NumberError::NotHolder)?.1.clone())
        };
        if let Some(there) = self.numbers.find(&range) {
            return Err(if there.domain == domain {
                NumberError::Has(domain)
            } else {
                NumberError::Taken(there.domain)
            });
        }
        let is_other = |node: &DomainName| !node.is_at_or_below(&domain);
        if let Some(node) = zones.iter().find_map(|zones| zones.claimant(range)).filter(is_other) {
            return Err(NumberError::Taken(node));
        }
        if from.is_none()
            && !over_holder
            && let Some((_, holder)) = around.filter(|(_, holder)| is_other(holder) && !holder.is_at_or_below(&domain))
        {
            return Err(NumberError::Held(holder));
        }
        // Each keeps what it has by the longest match; but who gives a block should know.
        let mut inside = None;
        if from.is_none() && !over_holder {
            let foreign = self.numbers.holders().first_inside(range, is_other);
            inside = foreign.and_then(|at| self.numbers.find(&at)).map(|given| given.domain);
        }
        for zones in zones.iter().filter(|_| range.is_block()) {
            if inside.is_some() {
                break;
            }
            zones.visit_claims(None, Some(range), |claimed, node| {
                let given = || self.numbers.holders().of(claimed).is_some_and(|(at, _)| range.contains(&at));
                if range.is_around(&claimed) && is_other(&node) && !given() {
                    inside = Some(node);
                }
                inside.is_none()
            });
        }
        if let Some(node) = inside {
            return Err(NumberError::Overlap(node));
        }
        if self.numbers.delegation_count() >= MAX_DELEGATIONS {
            return Err(NumberError::Limit("at most 100000 delegations: revoke those not needed"));
        }
        Ok(Delegation { range, domain, from, created: (self.clock)(), by: Some(by.token_id.clone()) })
    }

    /// Who has the longest delegation or claimed block around `range`, or `range` itself; a delegation before a claim.
    fn around(&self, range: NumberRange, zones: [&Zones; 2]) -> Option<(NumberRange, DomainName)> {
        let given = self.numbers.holders().of(range);
        let claimed = zones.into_iter().flat_map(|zones| {
            zones.claimant(range).map(|node| (range, node)).into_iter().chain(zones.claimant_around(range))
        });
        let length = |(at, _): &(NumberRange, DomainName)| (*at == range, at.digits().as_slice().len());
        // The last of equals wins.
        claimed.chain(given).max_by_key(length)
    }

    /// Ends a delegation, and takes what stood on it out of the registrations; or takes one claimed number out.
    fn revoke_number(&mut self, range: NumberRange, by: &Actor) -> Result<Revoked, NumberError> {
        let mut staged = self.begin();
        let there = self.numbers.find(&range);
        let domain = match &there {
            Some(there) => {
                let gave_it = there.from.as_ref().is_some_and(|from| by.scope.covers(from));
                if !gave_it && !by.scope.covers(&there.domain) {
                    return Err(NumberError::Unknown);
                }
                there.domain.clone()
            }
            None => {
                let node = staged.zones.claimant(range).or_else(|| staged.held.claimant(range));
                node.filter(|_| by.is_admin()).ok_or(NumberError::Unknown)?
            }
        };
        if let Some(inner) = there.as_ref().and_then(|_| self.numbers.first_given(range, &domain)) {
            return Err(NumberError::InUse(inner));
        }
        self.numbers.holders().remove(&range);
        let result = self.stage_revocation(&mut staged, range, &domain, there.is_some(), by);
        let result = result.and_then(|nodes| {
            self.finish(staged).map_err(|error| storage(&error))?;
            Ok(nodes)
        });
        match (result, there) {
            (Ok(nodes), _) => {
                self.numbers.revoke(&range);
                Ok(Revoked { range, domain, nodes })
            }
            (Err(error), there) => {
                if let Some(there) = there {
                    self.numbers.delegate(there);
                }
                Err(error.into())
            }
        }
    }

    /// Stages the end of a delegation and the registrations without what stood on it. The holders know of the end already.
    fn stage_revocation(
        &self,
        staged: &mut Staged,
        range: NumberRange,
        domain: &DomainName,
        was_delegated: bool,
        by: &Actor,
    ) -> Result<Vec<DomainName>, DirectoryError> {
        let mut losses: BTreeMap<DomainName, Vec<NumberRange>> = BTreeMap::new();
        for zones in [&staged.zones, &staged.held] {
            zones.visit_claims(None, Some(range), |claimed, node| {
                let has_other =
                    || self.numbers.holders().of(claimed).is_some_and(|(_, holder)| node.is_at_or_below(&holder));
                let is_lost = if was_delegated { !has_other() } else { claimed == range };
                if is_lost && node.is_at_or_below(domain) {
                    losses.entry(node).or_default().push(claimed);
                }
                true
            });
        }
        staged.serial += 1;
        let act = Act::RevokeNumber { range, domain: domain.clone() };
        staged.steps.push(Step { serial: staged.serial, by: Some(by.token_id.clone()), act, zones: Vec::new() });
        let mut nodes = Vec::with_capacity(losses.len());
        for (node, lost) in losses {
            let Some(current) = self.current(staged, &node)? else { continue };
            let is_lost = |claim: &NumberClaim| lost.contains(&claim.range());
            let mut now = current.clone();
            now.node.numbers.retain(|claim| !is_lost(claim));
            now.revision = staged.serial + 1;
            now.updated = staged.time;
            let lease_until = self.leases.until(&node).unwrap_or(current.standing.lease_until);
            now.standing = Standing { lease_until, ..current.standing.clone() };
            // It is not what the key signed.
            now.forget_signed();
            let lease = self.leases.times.lease_of(&current.node);
            let act = Act::Register {
                before: Some(current.node.clone()),
                old: Some(current.standing.state),
                now: now.clone(),
                document: None,
            };
            staged.take(Some(&current), Some(&now), act, Some(by.token_id.clone()), lease);
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// Makes acts durable together, with the answer to keep.
    fn commit_numbers(
        &mut self,
        deeds: Vec<(Act, Option<String>)>,
        answer: Option<StoredAnswer>,
    ) -> Result<(), DirectoryError> {
        let steps = self.steps(deeds);
        let serial = steps.last().map_or(self.serial, |step| step.serial);
        let answers = answer.into_iter().collect();
        self.commit(serial, (self.clock)(), steps, Vec::new(), answers).map_err(|error| storage(&Arc::new(error)))
    }

    fn demand_new<T>(&self, keep: Option<&Keep<T>>, now: u64) -> Result<(), NumberError> {
        if self.is_answered(keep, now)? { Err(NumberError::Repeated) } else { Ok(()) }
    }
}

/// Everything that stands in the way of registering `node`: what is served, and what is held for nodes that no zone shows.
pub(crate) fn conflicts(zones: &Zones, held: &Zones, node: &Node) -> Vec<Conflict> {
    let found = zones.check(node);
    if !found.is_empty() || held.node_count() == 0 {
        return found;
    }
    // Without itself, which would stand before others.
    held.with(&[Change::Remove(node.domain().clone())], WHILE_HELD).collisions_of(node)
}
