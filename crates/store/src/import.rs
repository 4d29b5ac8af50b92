//! Many registrations at a time: one commit for a whole chunk of them.
//!
//! Each node is decided by itself, as if it had come alone; one that does not fit is left out, with the reasons.

use tandem_model::{DomainName, Node, Serial};
use tandem_zone::{Conflict, Draft, ReadyNode, Zones};

use crate::directory::{Effect, Registered};
use crate::document;
use crate::error::DirectoryError;
use crate::state::NodeState;

/// Most nodes in one chunk: few enough that a single change that arrives meanwhile waits some 30 ms.
pub const MAX_IMPORT: usize = 2048;

/// A node to import, with all made ready that needs no look at what else is registered: that is work for other threads
/// than the one that decides.
#[derive(Debug)]
pub struct ImportNode {
    pub(crate) node: Node,
    /// As it is kept.
    pub(crate) document: String,
    /// As it is served; `None` when its records do not fit.
    pub(crate) ready: Option<ReadyNode>,
}

impl ImportNode {
    /// Makes `node` ready for a directory that serves `zones`.
    #[must_use]
    pub fn new(node: Node, zones: &Zones) -> Self {
        let (document, ready) = (document::write(&node), zones.make_ready(&node));
        Self { node, document, ready }
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }
}

/// What became of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The zone serial that contains the whole chunk; of the version that was there before if nothing changed.
    pub serial: Serial,
    /// For each node, in order: what it did, or what stands in its way.
    pub outcomes: Vec<Result<Effect, Vec<Conflict>>>,
}

/// An import that is only looked at: every chunk is decided on top of those before it, and nothing is kept.
#[derive(Debug)]
pub struct ImportRehearsal {
    draft: Draft,
    /// The nodes that no zone shows.
    held: Zones,
}

impl ImportRehearsal {
    /// Begins with what is registered now.
    pub(crate) fn new(zones: &Zones, held: Zones) -> Self {
        Self { draft: Draft::new(zones), held }
    }

    /// What would become of each node; `current` finds the registration of a domain that has one.
    pub(crate) fn take(
        &mut self,
        nodes: &[ImportNode],
        mut current: impl FnMut(&DomainName) -> Result<Option<Registered>, DirectoryError>,
    ) -> Result<Vec<Result<Effect, Vec<Conflict>>>, DirectoryError> {
        // The serials of a version that nobody will see do not matter.
        let serial = Serial::new(0);
        let mut outcomes = Vec::with_capacity(nodes.len());
        for ImportNode { node, .. } in nodes {
            let is_shown = self.draft.zones().has_node(node.domain());
            let is_there = is_shown || self.held.has_node(node.domain());
            let there = if is_there { current(node.domain())? } else { None };
            let there = there.filter(|there| there.standing.state != NodeState::Tombstone);
            let is_same = |there: &Registered| there.node.says(node) && there.standing.state == NodeState::Active;
            outcomes.push(if there.as_ref().is_some_and(is_same) {
                Ok(Effect::Unchanged)
            } else {
                let found = super::writer::conflicts(self.draft.zones(), &self.held, node);
                if found.is_empty() {
                    self.draft.put(node, serial);
                    // One that an earlier line brought is in no store.
                    Ok(if there.is_some() || is_shown { Effect::Replaced } else { Effect::Created })
                } else {
                    Err(found)
                }
            });
        }
        Ok(outcomes)
    }
}
