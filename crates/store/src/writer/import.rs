//! The writer's part of an import: a chunk is durable when it is acknowledged, and published when the import pauses.
//!
//! Nodes that are new, and those that are served as they were registered, go the short way, into one draft and one
//! commit. What has a state or a key that a registration must respect goes the way of a single one.

use std::collections::HashMap;
use std::sync::Arc;

use tandem_model::{DomainName, Node};
use tandem_zone::{Conflict, Draft};

use super::{RegisterRequest, Staged, Writer, storage};
use crate::backend::{Act, Backend, Batch, Step};
use crate::directory::{Effect, Precondition, Registered};
use crate::error::{DirectoryError, RegisterError};
use crate::import::{ImportNode, Imported};
use crate::serial::{soa_serial, whole};
use crate::state::{NodeState, Standing};
use crate::token::Actor;

type Outcome = Result<Effect, Vec<Conflict>>;

/// What a chunk leaves behind: its nodes and documents, which take as long to free as to make. Whoever gets the answer drops it,
/// so that the writer need not.
#[derive(Debug, Default)]
pub(crate) struct Spent(#[expect(dead_code, reason = "it is there to be dropped")] Vec<Step>);

/// Nodes of a chunk that become durable together.
#[derive(Default)]
struct Short {
    steps: Vec<Step>,
    /// Where in the steps the chunk itself brought a domain: it is not in the store yet. Made when somebody asks, for most
    /// chunks bring each domain once.
    brought: HashMap<DomainName, usize>,
    /// How many steps are in it.
    noted: usize,
    /// Those registered like this already: only their leases begin anew.
    renewed: Vec<DomainName>,
}

impl Short {
    /// The registration of `domain` that the chunk itself brought.
    fn brought(&mut self, domain: &DomainName) -> Option<&Registered> {
        for (at, step) in self.steps.iter().enumerate().skip(self.noted) {
            if let Act::Register { now, .. } = &step.act {
                self.brought.insert(now.node.domain().clone(), at);
            }
        }
        self.noted = self.steps.len();
        match &self.steps[*self.brought.get(domain)?].act {
            Act::Register { now, .. } => Some(now),
            _ => None,
        }
    }
}

impl<B: Backend + ?Sized> Writer<B> {
    /// Registers nodes; see [`Imported`]. `staged` has no changes but those of earlier chunks.
    pub(super) fn import(
        &mut self,
        mut staged: Staged,
        nodes: Vec<ImportNode>,
        by: &Actor,
    ) -> (Staged, Result<(Imported, Spent), DirectoryError>) {
        staged.time = (self.clock)();
        let mut outcomes = Vec::with_capacity(nodes.len());
        let result = self.import_all(&mut staged, nodes, by, &mut outcomes);
        let serial = soa_serial(self.serial);
        (staged, result.map(|spent| (Imported { serial, outcomes }, Spent(spent))))
    }

    fn import_all(
        &mut self,
        staged: &mut Staged,
        nodes: Vec<ImportNode>,
        by: &Actor,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<Vec<Step>, DirectoryError> {
        let mut spent = Vec::new();
        let mut short = Short::default();
        let mut draft = staged.imported.take().unwrap_or_else(|| Draft::new(&staged.zones));
        let mut mark = draft.mark();
        for node in nodes {
            match self.decide(staged, &mut draft, &mut short, node, by) {
                Ok(Ok(outcome)) => outcomes.push(outcome),
                Ok(Err(node)) => {
                    // What came before it is published first: the long way starts from there.
                    spent.extend(self.keep(staged, &mut draft, mark, std::mem::take(&mut short), by)?);
                    let waiting = std::mem::replace(staged, self.begin());
                    let _ = self.finish(Staged { imported: Some(draft), ..waiting });
                    *staged = self.begin();
                    outcomes.push(self.register_one(staged, node, by)?);
                    draft = Draft::new(&staged.zones);
                    mark = draft.mark();
                }
                Err(error) => {
                    undo(&mut draft, short.steps);
                    draft.forget_since(mark);
                    staged.imported = Some(draft);
                    return Err(error);
                }
            }
        }
        let kept = self.keep(staged, &mut draft, mark, short, by);
        staged.imported = Some(draft);
        spent.extend(kept?);
        Ok(spent)
    }

    /// Decides a node that may go the short way; gives it back if it may not.
    fn decide(
        &self,
        staged: &Staged,
        draft: &mut Draft,
        short: &mut Short,
        import: ImportNode,
        by: &Actor,
    ) -> Result<Result<Outcome, Node>, DirectoryError> {
        let ImportNode { node, document, ready } = import;
        let domain = node.domain();
        let there = if draft.zones().has_node(domain) || staged.held.has_node(domain) {
            match short.brought(domain) {
                Some(brought) => Some(brought.clone()),
                None => self.backend.node(domain).map_err(|error| storage(&Arc::new(error)))?,
            }
        } else {
            None
        };
        if there.as_ref().is_some_and(|there| there.standing.state != NodeState::Active || there.identity.is_some()) {
            return Ok(Err(node));
        }
        // Otherwise two versions of the node would have to be told apart here.
        if there.as_ref().is_some_and(|there| !there.node.found.is_empty()) {
            return Ok(Err(node));
        }
        if there.as_ref().is_some_and(|there| there.node == node) {
            // API-35: the same again has no second effect but on the lease.
            short.renewed.push(domain.clone());
            return Ok(Ok(Ok(Effect::Unchanged)));
        }
        let serial = self.serial + short.steps.len() as u64 + 1;
        let held = if staged.held.node_count() == 0 { Vec::new() } else { staged.held.collisions_of(&node) };
        if !held.is_empty() {
            return Ok(Ok(Err(held)));
        }
        if let Err(conflicts) = draft.check_and_put_ready(&node, ready, soa_serial(serial)) {
            return Ok(Ok(Err(conflicts)));
        }
        let lease_until = staged.time + u64::from(self.leases.times.lease_of(&node));
        let standing = match &there {
            Some(there) => Standing { lease_until, ..there.standing.clone() },
            None => Standing::begin(NodeState::Active, staged.time, lease_until),
        };
        let (effect, created) = match &there {
            Some(there) => (Effect::Replaced, there.created),
            None => (Effect::Created, staged.time),
        };
        let old = there.as_ref().map(|there| there.standing.state);
        let now = Registered { node, revision: serial, created, updated: staged.time, standing, identity: None };
        let act = Act::Register { before: there.map(|there| there.node), old, now, document: Some(document) };
        // Without the zones' serials: the history of differences after a restart ends at an import, which is more than
        // secondaries would want to hear piece by piece.
        short.steps.push(Step { serial, by: Some(by.token_id.clone()), act, zones: Vec::new() });
        Ok(Ok(Ok(effect)))
    }

    /// Makes a chunk's changes durable and gives them back, or takes them out of the draft.
    fn keep(
        &mut self,
        staged: &mut Staged,
        draft: &mut Draft,
        mark: tandem_zone::draft::Mark,
        short: Short,
        by: &Actor,
    ) -> Result<Vec<Step>, DirectoryError> {
        let mut kept = Vec::new();
        if let Some(last) = short.steps.last().map(|step| step.serial) {
            let touched = draft.changed_zones().map(|(apex, soa)| (apex.clone(), whole(soa, last))).collect();
            let batch = Batch {
                after: Some(self.serial),
                serial: last,
                time: staged.time,
                steps: short.steps,
                touched,
                answers: Vec::new(),
            };
            if let Err(error) = self.commit_batch(&batch) {
                undo(draft, batch.steps);
                draft.forget_since(mark);
                return Err(storage(&Arc::new(error)));
            }
            // One line for all: the journal has each.
            let count = batch.steps.len();
            tracing::info!(serial = last, kind = "import", count, by = by.token_id, "changed");
            for step in &batch.steps {
                if let Act::Register { now, .. } = &step.act {
                    let lease = self.leases.times.lease_of(&now.node);
                    self.leases.set(now.node.domain(), &now.standing, lease);
                    self.watched.set(now.node.domain(), Some(now));
                }
            }
            staged.serial = last;
            kept = batch.steps;
        }
        for domain in &short.renewed {
            self.leases.renew(domain, staged.time);
        }
        Ok(kept)
    }

    /// The long way: as if the node had come alone.
    fn register_one(&mut self, staged: &mut Staged, node: Node, by: &Actor) -> Result<Outcome, DirectoryError> {
        let (must, start) = (Precondition::None, NodeState::Active);
        let request = RegisterRequest { node, signature: None, start, must, by: by.clone() };
        let outcome = match self.register(staged, request) {
            Ok(receipt) => Ok(receipt.effect),
            Err(RegisterError::Conflicts(conflicts)) => Err(conflicts),
            Err(RegisterError::Directory(error)) => return Err(error),
            // No precondition was given, and only admins import: they need no key.
            Err(error @ (RegisterError::Stale(_) | RegisterError::Key(_))) => {
                return Err(DirectoryError::Storage(Box::new(error)));
            }
        };
        let decided = std::mem::replace(staged, self.begin());
        let finished = self.finish(decided);
        *staged = self.begin();
        finished.map_err(|error| storage(&error))?;
        Ok(outcome)
    }
}

/// Takes back what steps put into a draft, last first.
fn undo(draft: &mut Draft, steps: Vec<Step>) {
    for step in steps.into_iter().rev() {
        if let Act::Register { before, now, .. } = step.act {
            match before {
                Some(before) => draft.put(&before, soa_serial(step.serial)),
                None => draft.remove(now.node.domain(), soa_serial(step.serial)),
            }
        }
    }
}
