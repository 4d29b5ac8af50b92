//! [`Draft`]: the next version while it is being made.
//!
//! A draft is changed in place: it copies the path to an entry once, however many changes follow, and gives the zones
//! their serials and their SOA records at the end. So a thousand changes cost little more than their own entries.

use tandem_model::{DomainName, Node, Serial};

use crate::conflict::Conflict;
use crate::name::QueryName;
use crate::packed::PackedNode;
use crate::zones::{Change, Changed, Zones};

/// A version that nobody serves yet, and what it changes.
#[derive(Debug)]
pub struct Draft {
    zones: Zones,
    /// For each zone its serial, that of the last change that it shows.
    serials: Vec<Serial>,
    /// The zones that the last change touched, with the serials that they had before it.
    touched: Vec<(usize, Serial)>,
    /// Room to note zones in.
    marks: Vec<bool>,
    /// The domains that changed; `None` while loading, when all is new.
    changed: Option<Vec<DomainName>>,
}

/// A node as it is served, made ready on any thread.
#[derive(Debug)]
pub struct ReadyNode(PackedNode);

impl ReadyNode {
    pub(crate) fn into_packed(self) -> PackedNode {
        self.0
    }

    /// Takes what is served of a node that [`Zones::check`] has passed once.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        Self(PackedNode::pack(node))
    }
}

/// A place in a draft to come back to.
#[derive(Debug, Clone)]
pub struct Mark {
    serials: Vec<Serial>,
    changed: usize,
}

impl Draft {
    /// Begins with what `zones` has.
    #[must_use]
    pub fn new(zones: &Zones) -> Self {
        let serials: Vec<Serial> = zones.iter().map(crate::zones::Zone::serial).collect();
        let marks = vec![false; serials.len()];
        Self { zones: zones.clone(), serials, touched: Vec::new(), marks, changed: Some(Vec::new()) }
    }

    /// Begins with `zones`, to be filled by [`load`](Self::load): no difference will be told.
    #[must_use]
    pub fn loading(zones: Zones) -> Self {
        let mut draft = Self::new(&zones);
        // Nobody else may hold what it has, else all of it would be copied.
        drop(zones);
        draft.changed = None;
        draft
    }

    /// Publishes a node that was checked when it was registered; the zones keep their serials.
    pub fn load(&mut self, node: &ReadyNode) {
        self.zones.put(&node.0, &mut self.marks);
    }

    /// Makes one change; the zones that it touches get `serial`. A node must have passed [`Zones::check`] against
    /// [`zones`](Self::zones).
    pub fn change(&mut self, change: &Change, serial: Serial) {
        match change {
            Change::Put(node) => self.put(node, serial),
            Change::Remove(domain) => self.remove(domain, serial),
        }
    }

    /// Publishes a node, or replaces the one at its domain: [`Change::Put`] without a copy of the node.
    pub fn put(&mut self, node: &Node, serial: Serial) {
        self.put_packed(&PackedNode::pack(node), node.domain(), serial);
    }

    /// [`put`](Self::put) for a node that is checked now: what [`Zones::check`] finds keeps it out.
    ///
    /// # Errors
    ///
    /// Everything that stands in its way; nothing is changed then.
    pub fn check_and_put(&mut self, node: &Node, serial: Serial) -> Result<(), Vec<Conflict>> {
        self.check_and_put_ready(node, None, serial)
    }

    /// [`check_and_put`](Self::check_and_put) with what [`Zones::make_ready`] gave for the same node, of any version.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn check_and_put_ready(
        &mut self,
        node: &Node,
        ready: Option<ReadyNode>,
        serial: Serial,
    ) -> Result<(), Vec<Conflict>> {
        if self.zones.has_node(node.domain()) {
            let found = self.zones.check(node);
            if !found.is_empty() {
                return Err(found);
            }
            self.put(node, serial);
        } else {
            let packed = self.zones.pack_checked(node, ready, true)?;
            self.put_packed(&packed, node.domain(), serial);
        }
        Ok(())
    }

    /// Publishes the node at `domain` of another version, if it has one; the zones that show it get `serial`.
    pub fn adopt(&mut self, from: &Zones, domain: &DomainName, serial: Serial) {
        let name = QueryName::of(domain);
        let is_node = |node: &PackedNode| node.view().domain() == name.as_wire();
        if let Some(node) = from.nodes.get(name.key(), is_node) {
            self.put_packed(node, domain, serial);
        }
    }

    /// Withdraws the node at `domain`; nothing happens if there is none.
    pub fn remove(&mut self, domain: &DomainName, serial: Serial) {
        self.marks.fill(false);
        self.zones.remove(domain, &mut self.marks);
        self.took(domain, serial);
    }

    /// Remembers this place.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { serials: self.serials.clone(), changed: self.changed.as_ref().map_or(0, Vec::len) }
    }

    /// Says that the changes since `mark` have been undone by changes back: serials and changes are those of then.
    pub fn forget_since(&mut self, mark: Mark) {
        self.serials = mark.serials;
        if let Some(changed) = &mut self.changed {
            changed.truncate(mark.changed);
        }
    }

    /// What it has so far. The zones in it have the serials of the version that it began with.
    #[must_use]
    pub const fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The zones that the last change touched, with the serials that they had before it.
    pub fn touched(&self) -> impl Iterator<Item = (&DomainName, Serial)> {
        self.touched.iter().filter_map(|&(index, serial)| Some((self.zones.iter().nth(index)?.apex(), serial)))
    }

    /// The zones that get another serial than they had, with it.
    pub fn changed_zones(&self) -> impl Iterator<Item = (&DomainName, Serial)> {
        let zones = self.zones.iter().zip(&self.serials).filter(|(zone, serial)| zone.serial() != **serial);
        zones.map(|(zone, serial)| (zone.apex(), *serial))
    }

    /// The version.
    #[must_use]
    pub fn finish(mut self) -> Zones {
        self.zones.set_serials(|index, _| Some(self.serials[index]));
        self.zones.changed = self.changed.map_or(Changed::All, Changed::nodes);
        self.zones
    }

    fn put_packed(&mut self, node: &PackedNode, domain: &DomainName, serial: Serial) {
        self.marks.fill(false);
        self.zones.put(node, &mut self.marks);
        self.took(domain, serial);
    }

    fn took(&mut self, domain: &DomainName, serial: Serial) {
        self.touched.clear();
        for (index, _) in self.marks.iter().enumerate().filter(|(_, marked)| **marked) {
            self.touched.push((index, std::mem::replace(&mut self.serials[index], serial)));
        }
        if let Some(changed) = &mut self.changed {
            changed.push(domain.clone());
        }
    }
}
