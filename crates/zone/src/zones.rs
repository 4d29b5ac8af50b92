//! [`Zones`]: one version of everything served; how it is built and changed.
//!
//! A version holds each node once. A zone is a view: an ordinary one shows the nodes in it at their own names, the peers
//! zone shows all of them under its apex, the ENUM zone shows their numbers. So a change touches one packed value, the
//! names above it, and the serials of the zones that show it, whatever the number of nodes.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tandem_model::publish::{self, Places, RecordSetError};
use tandem_model::{DomainName, Node, Record, Serial};

use crate::above::{Above, change_count};
use crate::conflict::Conflict;
use crate::draft::Draft;
use crate::hamt::Hamt;
use crate::holders::Holders;
use crate::index::Index;
use crate::master::StaticZone;
use crate::name::{QueryName, hash_name};
use crate::numbers::{Claim, Numbers};
use crate::packed::PackedNode;
use crate::rrset::{RrType, Rrset, Source};

/// Which of the zones served are made from nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Every node appears under this zone: `example.org.peers.ostn.test`.
    pub peers_zone: Option<DomainName>,
    /// Every node's SRV records, and nothing else, appear under this zone, for resolvers that apply it to everybody's
    /// questions: `_sips._tcp.example.org.policy.ostn.test`.
    pub policy_zone: Option<DomainName>,
    /// Numbers appear under this zone: `1.0.1.0.5.5.5.1.e164.ostn.test`.
    pub number_zone: Option<DomainName>,
}

/// One immutable version of everything served. Cloning is cheap: versions share structure.
#[derive(Debug, Clone)]
pub struct Zones {
    settings: Arc<Settings>,
    zones: Arc<[Arc<Zone>]>,
    apexes: Arc<Apexes>,
    pub(crate) nodes: Hamt<PackedNode>,
    /// Names between a node and the apex of its own zone: empty non-terminals there.
    pub(crate) above: Hamt<Above>,
    /// All names above a node: empty non-terminals of the peers zone.
    pub(crate) above_peers: Hamt<Above>,
    pub(crate) numbers: Numbers,
    pub(crate) holders: Holders,
    pub(crate) changed: Changed,
}

/// In what a version differs from the one before it.
#[derive(Debug, Clone)]
pub(crate) enum Changed {
    /// In no more than this.
    Only {
        /// The nodes at these domains.
        nodes: Arc<[DomainName]>,
        /// These zones in more than nodes: no difference can be told for them.
        zones: Arc<[DomainName]>,
    },
    /// No difference can be told.
    All,
}

/// One zone in one version.
#[derive(Debug, Clone)]
pub struct Zone {
    pub(crate) statics: StaticZone,
    pub(crate) view: View,
    serial: Serial,
    /// The SOA's data with our serial.
    soa: Box<[u8]>,
    links_hold: bool,
}

/// Which nodes' records a zone shows, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The nodes in it, at their own names.
    Own,
    /// All nodes, under the apex.
    Peers,
    /// All nodes' SRV records, under the apex.
    Policy,
    /// The nodes' numbers.
    Numbers,
}

/// Which zone has which apex: the hash of the apex to the zone's index.
#[derive(Debug, Default)]
struct Apexes {
    /// Places are indices, counted from 1.
    by_hash: Index,
    /// How many labels apexes have, each number once, the most first.
    depths: Vec<usize>,
    /// The hashes of all names above an apex.
    above: HashSet<u64>,
}

/// One step from a version to the next.
#[derive(Debug, Clone)]
pub enum Change {
    /// Publishes a node, or replaces the one at its domain.
    Put(Box<Node>),
    /// Withdraws the node at this domain; nothing happens if there is none.
    Remove(DomainName),
}

impl Changed {
    /// How many nodes it is known to be.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Only { nodes, .. } => nodes.len(),
            Self::All => 0,
        }
    }

    /// In the nodes at `domains`.
    pub(crate) fn nodes(domains: impl IntoIterator<Item = DomainName>) -> Self {
        Self::Only { nodes: domains.into_iter().collect(), zones: Arc::default() }
    }
}

impl Change {
    /// The domain that it concerns.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        match self {
            Self::Put(node) => node.domain(),
            Self::Remove(domain) => domain,
        }
    }
}

impl Zones {
    /// A version with these static zones and no nodes; every zone begins at `serial`.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: two files for one zone, or a peers, policy or ENUM zone without a master file.
    pub fn new(settings: Settings, statics: Vec<StaticZone>, serial: Serial) -> Result<Self, BuildError> {
        let mut zones = Vec::with_capacity(statics.len());
        for statics in statics {
            let view = if settings.peers_zone.as_ref() == Some(statics.apex()) {
                View::Peers
            } else if settings.policy_zone.as_ref() == Some(statics.apex()) {
                View::Policy
            } else if settings.number_zone.as_ref() == Some(statics.apex()) {
                View::Numbers
            } else {
                View::Own
            };
            zones.push(Zone::new(statics, view, serial));
        }
        zones.sort_by(|a, b| a.apex().cmp(b.apex()));
        find_overlaps(&mut zones);
        let zones: Vec<Arc<Zone>> = zones.into_iter().map(Arc::new).collect();
        if let Some(pair) = zones.windows(2).find(|pair| pair[0].apex() == pair[1].apex()) {
            return Err(BuildError::Twice(pair[0].apex().clone()));
        }
        for apex in settings.peers_zone.iter().chain(&settings.policy_zone).chain(&settings.number_zone) {
            if zones.iter().all(|zone| zone.apex() != apex) {
                return Err(BuildError::Missing(apex.clone()));
            }
        }
        let mut apexes = Apexes::default();
        let mut places = Vec::with_capacity(zones.len());
        for (zone, place) in zones.iter().zip(1..) {
            let name = QueryName::of(zone.apex());
            places.push((name.hash(0), place));
            apexes.depths.push(name.label_count());
            apexes.above.extend((1..name.label_count()).map(|above| name.hash(above)));
        }
        apexes.depths.sort_unstable_by(|a, b| b.cmp(a));
        apexes.depths.dedup();
        apexes.by_hash = Index::new(&places);
        let new = Self {
            settings: Arc::new(settings),
            zones: zones.into(),
            apexes: Arc::new(apexes),
            nodes: Hamt::default(),
            above: Hamt::default(),
            above_peers: Hamt::default(),
            numbers: Numbers::default(),
            holders: Holders::default(),
            changed: Changed::All,
        };
        let redirected = new.iter().find_map(|zone| new.redirected_by(zone));
        match redirected {
            None => Ok(new),
            Some(error) => Err(error),
        }
    }

    /// The next version: `changes` in order, the zones they touch at `serial`. Each node must have passed
    /// [`check`](Self::check) against the version with all earlier changes.
    #[must_use]
    pub fn with(&self, changes: &[Change], serial: Serial) -> Self {
        let mut draft = Draft::new(self);
        changes.iter().for_each(|change| draft.change(change, serial));
        draft.finish()
    }

    /// The same version, made in several steps from the one that is published: those changed the nodes at `domains`.
    #[must_use]
    pub fn after_changes_of(self, domains: impl IntoIterator<Item = DomainName>) -> Self {
        Self { changed: Changed::nodes(domains), ..self }
    }

    /// The next version with other static zones; zones whose records differ, and new ones, get `serial`.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the static zones do not fit together, or now collide with a node; nothing changes then.
    pub fn with_statics(&self, statics: Vec<StaticZone>, serial: Serial) -> Result<Self, BuildError> {
        let mut next = Self::new(Settings::clone(&self.settings), statics, serial)?.with_holders(self.holders.clone());
        // A file that vanished by mistake must not turn its nodes into foreign ones.
        let abandoned = |zone: &&Arc<Zone>| {
            zone.view == View::Own
                && next.zone(zone.apex()).is_none()
                && self.nodes.iter().any(|node| self.holds(zone, node))
        };
        if let Some(zone) = self.zones.iter().find(abandoned) {
            return Err(BuildError::Abandoned(zone.apex().clone()));
        }
        let mut touched = vec![false; next.zones.len()];
        for node in self.nodes.iter() {
            next.put(node, &mut touched);
        }
        for node in next.nodes.iter() {
            if let Some(conflict) = next.collisions(node.view()).into_iter().next() {
                let domain = crate::lookup::registered_name(node.view().domain());
                return Err(BuildError::Node { domain, conflict: Box::new(conflict) });
            }
        }
        next.set_serials(|_, zone| {
            let before = self.zone(zone.apex())?;
            (before.statics.digest() == zone.statics.digest() && before.view == zone.view).then_some(before.serial)
        });
        Ok(next)
    }

    /// A version with these static zones and the nodes of this one, whether they fit or not: for nodes that no zone shows.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the static zones do not fit together.
    pub fn moved_to(&self, statics: Vec<StaticZone>, serial: Serial) -> Result<Self, BuildError> {
        let mut next = Self::new(Settings::clone(&self.settings), statics, serial)?.with_holders(self.holders.clone());
        let mut touched = vec![false; next.zones.len()];
        for node in self.nodes.iter() {
            next.put(node, &mut touched);
        }
        Ok(next)
    }

    /// A version with the static zones of this one and no nodes.
    #[must_use]
    pub fn without_nodes(&self) -> Self {
        Self {
            nodes: Hamt::default(),
            above: Hamt::default(),
            above_peers: Hamt::default(),
            numbers: Numbers::default(),
            changed: Changed::All,
            ..self.clone()
        }
    }

    /// The domain of the node whose name has this [`QueryName::key`].
    #[must_use]
    pub fn domain_with_key(&self, key: u64) -> Option<DomainName> {
        self.nodes.get(key, |_| true).map(|node| crate::lookup::registered_name(node.view().domain()))
    }

    /// Sets each zone's serial as a store remembers it; `serial_of` gives none for a zone it has not seen.
    #[must_use]
    pub fn with_serials(&self, serial_of: impl Fn(&DomainName) -> Option<Serial>) -> Self {
        let mut next = self.clone();
        next.set_serials(|_, zone| serial_of(zone.apex()));
        next.changed = Changed::All;
        next
    }

    /// The records that `node` makes, or would make, in the zones of this version.
    ///
    /// # Errors
    ///
    /// [`RecordSetError`], as [`check`](Self::check) reports it too.
    pub fn records(&self, node: &Node) -> Result<Vec<Record>, RecordSetError> {
        publish::records(node, &self.places(node))
    }

    /// Whether [`records`](Self::records) would give them, without making them.
    pub(crate) fn check_records(&self, node: &Node) -> Result<(), RecordSetError> {
        publish::check(node, &self.places(node))
    }

    fn places(&self, node: &Node) -> Places<'_> {
        Places {
            own_zone: self.zone_of(node.domain()).is_some_and(|zone| zone.view == View::Own),
            peers_zone: self.settings.peers_zone.as_ref(),
            policy_zone: self.settings.policy_zone.as_ref(),
            number_zone: self.settings.number_zone.as_ref(),
        }
    }

    /// Whether a node is published at `domain`.
    #[must_use]
    pub fn has_node(&self, domain: &DomainName) -> bool {
        let is_node = |node: &PackedNode| node.view().domain() == domain.as_wire();
        self.nodes.get(hash_name(domain.as_wire()), is_node).is_some()
    }

    /// Why `zone` cannot be there: a DNAME of the zone above leads its names elsewhere (RFC 6672 2.4).
    fn redirected_by(&self, zone: &Zone) -> Option<BuildError> {
        let apex = QueryName::of(zone.apex());
        let (above, labels) = self.zone_above(&apex, 1)?;
        let (index, _) = above.statics.statics.redirect(&apex, labels)?;
        let owner = crate::lookup::registered_name(apex.suffix(index));
        Some(BuildError::Redirected { zone: zone.apex().clone(), owner })
    }

    /// The zones, by apex in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().map(AsRef::as_ref)
    }

    /// The zone with this apex.
    #[must_use]
    pub fn zone(&self, apex: &DomainName) -> Option<&Zone> {
        self.zone_of(apex).filter(|zone| zone.apex() == apex)
    }

    /// The zone that holds `name`: the longest matching apex (DNS-20).
    #[must_use]
    pub fn zone_of(&self, name: &DomainName) -> Option<&Zone> {
        self.zone_at(&QueryName::of(name)).map(|(zone, _)| zone)
    }

    /// What was given to [`new`](Self::new).
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many nodes are published.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Writes the zone as a master file that other servers load: SOA first, static records, then the nodes'.
    ///
    /// # Errors
    ///
    /// What `out` reports.
    pub fn print(&self, zone: &Zone, out: &mut dyn fmt::Write) -> fmt::Result {
        crate::print::zone(self, zone, out)
    }

    /// The zone of `name`, and how many of its labels are in front of the apex.
    pub(crate) fn zone_at(&self, name: &QueryName) -> Option<(&Zone, usize)> {
        self.zone_above(name, 0)
    }

    /// The zone of `name` among those whose apex is at or above its suffix `from`.
    pub(crate) fn zone_above(&self, name: &QueryName, from: usize) -> Option<(&Zone, usize)> {
        let labels = name.label_count();
        self.apexes.depths.iter().find_map(|depth| {
            let index = labels.checked_sub(*depth).filter(|index| *index >= from)?;
            self.apexes.by_hash.find(name.hash(index), |place| {
                let zone = &*self.zones[place as usize - 1];
                (zone.apex().as_wire() == name.suffix(index)).then_some((zone, index))
            })
        })
    }

    /// Whether no node is published.
    pub(crate) const fn has_no_nodes(&self) -> bool {
        self.nodes.len() == 0
    }

    /// Whether a zone's apex may lie below `name`.
    pub(crate) fn has_apex_below(&self, name: &QueryName) -> bool {
        self.apexes.above.contains(&name.hash(0))
    }

    /// The peers zone's apex in wire form, if there is one.
    pub(crate) fn peers_apex(&self) -> Option<&DomainName> {
        self.settings.peers_zone.as_ref()
    }

    /// The policy zone's apex, if there is one.
    pub(crate) fn policy_apex(&self) -> Option<&DomainName> {
        self.settings.policy_zone.as_ref()
    }

    pub(crate) fn put(&mut self, node: &PackedNode, touched: &mut [bool]) {
        let name = QueryName::parse(node.view().domain()).expect("packed from a DomainName");
        let before = self.nodes.insert_hashed(name.hash(0), node.clone());
        if let Some(before) = &before {
            self.remove_numbers(before);
            self.touch(before, &name, touched);
        } else {
            self.count_above(&name, true);
        }
        Claim::all_of(node).for_each(|claim| self.numbers.insert(claim));
        self.touch(node, &name, touched);
    }

    pub(crate) fn remove(&mut self, domain: &DomainName, touched: &mut [bool]) {
        let name = QueryName::of(domain);
        let removed = self.nodes.remove(name.hash(0), |node| node.view().domain() == name.as_wire());
        if let Some(node) = removed {
            self.count_above(&name, false);
            self.remove_numbers(&node);
            self.touch(&node, &name, touched);
        }
    }

    fn remove_numbers(&mut self, node: &PackedNode) {
        for view in node.view().claims() {
            self.numbers.remove(&view);
        }
    }

    /// Counts the node at `name` in, or out, at every name above it.
    fn count_above(&mut self, name: &QueryName, add: bool) {
        let own_until = match self.zone_at(name) {
            Some((zone, apex)) if zone.view == View::Own => apex,
            _ => 0,
        };
        for index in 1..name.label_count() {
            change_count(&mut self.above_peers, name, index, add);
            if index < own_until {
                change_count(&mut self.above, name, index, add);
            }
        }
    }

    /// Whether `node` lies in `zone`.
    fn holds(&self, zone: &Zone, node: &PackedNode) -> bool {
        let name = QueryName::parse(node.view().domain()).expect("packed from a DomainName");
        self.zone_at(&name).is_some_and(|(holder, _)| holder.apex() == zone.apex())
    }

    /// Marks the zones that show `node`, whose domain is `name`.
    fn touch(&self, node: &PackedNode, name: &QueryName, touched: &mut [bool]) {
        let own = self.zone_at(name).map(|(zone, _)| std::ptr::from_ref(zone));
        for (index, zone) in self.zones.iter().enumerate() {
            touched[index] |= match zone.view {
                View::Own => own == Some(std::ptr::from_ref(&**zone)),
                View::Peers | View::Policy => true,
                View::Numbers => node.view().claims().next().is_some(),
            };
        }
    }

    pub(crate) fn set_serials(&mut self, serial_of: impl Fn(usize, &Zone) -> Option<Serial>) {
        let zones = self.zones.iter().enumerate().map(|(index, zone)| match serial_of(index, zone) {
            Some(serial) if serial != zone.serial => Arc::new(zone.at_serial(serial)),
            _ => Arc::clone(zone),
        });
        self.zones = zones.collect();
    }
}

/// Marks the zones that have another below them without delegating it: their links may lead to names of that one. No link
/// leads below a cut. `zones` are in canonical order, so those below one follow it.
fn find_overlaps(zones: &mut [Zone]) {
    let mut name = QueryName::default();
    for at in 0..zones.len() {
        let (zone, rest) = zones[at..].split_first_mut().expect("`at` is below the length");
        let apex = zone.apex().as_wire();
        let mut is_delegated = |below: &Zone| {
            let is_name = name.read(below.apex().as_wire());
            let depth = name.label_count().saturating_sub(zone.apex().label_count());
            is_name && (0..depth).any(|index| zone.statics.statics.cut(&name, index).is_some())
        };
        let holds = rest.iter().take_while(|zone| zone.apex().as_wire().ends_with(apex)).all(&mut is_delegated);
        zone.links_hold = holds;
    }
}

impl Zone {
    fn new(statics: StaticZone, view: View, serial: Serial) -> Self {
        let mut zone = Self { soa: statics.soa.clone(), statics, view, serial, links_hold: true };
        zone.write_serial();
        zone
    }

    fn at_serial(&self, serial: Serial) -> Self {
        let mut zone = Self { serial, ..self.clone() };
        zone.write_serial();
        zone
    }

    /// SERIAL is the first of the SOA's five closing numbers (RFC 1035 3.3.13).
    fn write_serial(&mut self) {
        let at = self.soa.len() - 20;
        self.soa[at..at + 4].copy_from_slice(&self.serial.value().to_be_bytes());
    }

    /// The zone's name.
    #[must_use]
    pub const fn apex(&self) -> &DomainName {
        self.statics.apex()
    }

    /// The zone's version.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// Whether what a record's link says of a name in this zone is so: no other zone has that name.
    pub(crate) const fn links_hold(&self) -> bool {
        self.links_hold
    }

    /// What the zone was read from.
    #[must_use]
    pub const fn statics(&self) -> &StaticZone {
        &self.statics
    }

    /// The SOA as an answer carries it.
    #[must_use]
    pub fn soa(&self) -> Rrset<'_> {
        Rrset { kind: RrType::SOA, ttl: self.statics.soa_ttl, source: Source::One(&self.soa) }
    }

    /// The SOA as a negative answer carries it: TTL = min(SOA TTL, MINIMUM) (DNS-23).
    #[must_use]
    pub fn negative_soa(&self) -> Rrset<'_> {
        let minimum = self.soa.last_chunk().map_or(0, |octets| u32::from_be_bytes(*octets));
        Rrset { ttl: self.statics.soa_ttl.min(minimum), ..self.soa() }
    }
}

/// Why static zones do not make a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Two master files have the same zone.
    #[error("two master files have the zone {0}: remove one")]
    Twice(DomainName),
    /// The master file of a zone is gone, but nodes are registered in it.
    #[error(
        "the master file of {0} is gone, but nodes are registered in that zone: put it back, or remove the nodes first"
    )]
    Abandoned(DomainName),
    /// A zone named in the settings has no master file.
    #[error("no master file for {0}: add one with its SOA and NS records, or take it out of the settings")]
    Missing(DomainName),
    /// A zone lies below a DNAME record of the zone above it.
    #[error("the zone {zone} lies below the DNAME record at {owner}: nobody would find it; remove one of the two")]
    Redirected {
        /// The zone below.
        zone: DomainName,
        /// Where the DNAME is.
        owner: DomainName,
    },
    /// A node that is published already does not fit the new static records.
    #[error("the node {domain} does not fit: {conflict}")]
    Node {
        /// The node.
        domain: DomainName,
        /// Why.
        #[source]
        conflict: Box<Conflict>,
    },
}
