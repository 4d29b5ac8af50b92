//! The versions before the current one, made again after a restart from the steps that led to it, newest first.
//!
//! A step is undone only if it leads to exactly what was served before it: whatever does not fit ends the history there,
//! because a wrong difference would stay in a secondary until its next whole transfer.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tandem_model::{DomainName, Node, Serial};

use crate::live::Live;
use crate::name::QueryName;
use crate::packed::PackedNode;
use crate::zones::{Changed, View, Zone, Zones};

/// A step that changed one node.
#[derive(Debug, Clone, Copy)]
pub struct PastStep<'a> {
    /// Its serial.
    pub serial: Serial,
    /// The node's domain.
    pub domain: &'a DomainName,
    /// The node before the step.
    pub before: Option<&'a Node>,
    /// The node after it.
    pub after: Option<&'a Node>,
    /// The zones that the step gave a new serial, and the serial that each had before.
    pub serials: &'a [(DomainName, Serial)],
}

/// A version and those before it, as far as they are known; becomes a [`Live`].
#[derive(Debug)]
pub struct History {
    /// Versions that are finished, oldest first; the last is the current one.
    later: VecDeque<Zones>,
    /// The oldest version so far.
    oldest: Zones,
    /// The zones that changed otherwise in the step to the oldest version.
    otherwise: BTreeSet<DomainName>,
    /// The zones whose history has ended.
    ended: BTreeSet<DomainName>,
}

impl History {
    /// Begins at `current`, with nothing before it.
    #[must_use]
    pub const fn new(current: Zones) -> Self {
        Self { later: VecDeque::new(), oldest: current, otherwise: BTreeSet::new(), ended: BTreeSet::new() }
    }

    /// Goes one step back; whether there may be more. `false` ends the history: `step` did not lead to the oldest version
    /// known, or did not touch the zones that it says, or the history of every zone has ended.
    ///
    /// Costs as much as the change did: tens of microseconds.
    pub fn undo(&mut self, step: &PastStep<'_>) -> bool {
        let Some(older) = self.older(step) else { return false };
        let mut newer = std::mem::replace(&mut self.oldest, older);
        newer.changed = Changed::Only {
            nodes: [step.domain.clone()].into(),
            zones: std::mem::take(&mut self.otherwise).into_iter().collect(),
        };
        self.later.push_front(newer);
        true
    }

    /// Says that in the step before, the zone at `apex` came, went, or changed otherwise. What it showed earlier is not known
    /// any more, nor what those zones did whose records depend on where nodes are: the zone around it, and those that show
    /// foreign nodes. Their histories end there, those of other zones go on.
    pub fn zone_changed(&mut self, apex: &DomainName) {
        let around = self.oldest.iter().filter(|zone| apex.is_below(zone.apex()));
        let around = around.max_by_key(|zone| zone.apex().label_count()).map(Zone::apex);
        let foreign = self.oldest.iter().filter(|zone| matches!(zone.view, View::Peers | View::Policy)).map(Zone::apex);
        let ended: Vec<DomainName> = foreign.chain(around).chain([apex]).cloned().collect();
        self.otherwise.extend(ended.iter().cloned());
        self.ended.extend(ended);
    }

    /// How many versions there are before the current one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.later.len()
    }

    /// Whether the current version is the only one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.later.is_empty()
    }

    /// What is served from now on.
    #[must_use]
    pub fn into_live(self) -> Live {
        let Self { mut later, mut oldest, .. } = self;
        oldest.changed = Changed::All;
        let Some(current) = later.pop_back() else { return Live::new(oldest) };
        Live::with_past(current, std::iter::once(oldest).chain(later).map(Arc::new).collect())
    }

    /// The version before the oldest.
    fn older(&self, step: &PastStep<'_>) -> Option<Zones> {
        let newer = &self.oldest;
        if newer.iter().all(|zone| self.ended.contains(zone.apex())) {
            return None;
        }
        let name = QueryName::of(step.domain);
        let there = newer.nodes.get(name.hash(0), |node| node.view().domain() == name.as_wire());
        if there != step.after.map(PackedNode::pack).as_ref() {
            return None;
        }
        let mut older = newer.clone();
        let mut touched = vec![false; newer.iter().count()];
        match step.before {
            Some(node) if node.domain() == step.domain => older.put(&PackedNode::pack(node), &mut touched),
            Some(_) => return None,
            None => older.remove(step.domain, &mut touched),
        }
        let before = |apex: &DomainName| step.serials.iter().find(|(zone, _)| zone == apex).map(|(_, serial)| *serial);
        // A zone that it touched has its serial now, else there is a step between that we do not know.
        let fits = newer.iter().zip(&touched).all(|(zone, touched)| {
            let is_its_step = !*touched || zone.serial() == step.serial;
            self.ended.contains(zone.apex()) || (is_its_step && *touched == before(zone.apex()).is_some())
        });
        if !fits {
            return None;
        }
        older.set_serials(|_, zone| before(zone.apex()));
        Some(older)
    }
}
