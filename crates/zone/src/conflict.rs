//! What stands in the way of a node: the checks that need the zones and the other nodes.
//!
//! A name belongs to the deepest node at or above it, or to the master file. A node's records never replace a static
//! one, never lie below a cut, and never take a name from another node (threat 15).

use tandem_model::publish::RecordSetError;
use tandem_model::{DomainName, Node, NumberRange, Serial};

use crate::above::is_above_hash;
use crate::draft::{Draft, ReadyNode};
use crate::lookup::{Lookup, registered_name};
use crate::name::QueryName;
use crate::numbers::Claim;
use crate::packed::{HostView, NodeView, PackedNode, SERVICE};
use crate::rrset::{NodeAt, RrType};
use crate::zones::{View, Zone, Zones};

/// What stands in the way of a node, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Conflict {
    /// The part of the node document.
    pub part: Part,
    /// What is wrong and what to do.
    pub kind: ConflictKind,
}

/// A part of a node document; indices count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The domain itself.
    Domain,
    /// `targets[i].host`.
    TargetHost(usize),
    /// `numbers[i]`.
    Number(usize),
}

/// Why a node cannot be published in this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// A record of the master file stands where a node's would.
    #[error("the zone's master file has records at {0} already: choose another name, or have the admin remove them")]
    StaticName(DomainName),
    /// The name lies at or below a delegation of the zone.
    #[error("{0} is delegated to other name servers: publish in that zone")]
    Delegated(DomainName),
    /// The name lies below one with a DNAME record in the zone.
    #[error("{0} lies below a DNAME record of the zone, which leads elsewhere: publish there")]
    Redirected(DomainName),
    /// The domain's last label has a meaning of its own in a response policy zone.
    #[error("names under `{0}` are instructions to resolvers (response policy zones): choose another domain")]
    PolicyTrigger(String),
    /// A label that is kept for a later use of its form (RFC 5890 2.3.1); `xn--` is the one that has a use.
    #[error("the label `{0}` has hyphens in its third and fourth place, which only `xn--` may have: choose another")]
    ReservedLabel(String),
    /// The domain is, or lies below, the peers, policy, ENUM or catalog zone.
    #[error("{0} holds generated records only: choose a domain outside it")]
    GeneratedZone(DomainName),
    /// Neither a zone of ours holds the domain nor is there a peers zone.
    #[error("no zone served here holds this domain, and there is no peers zone for foreign domains")]
    NoZone,
    /// A host of the node lies in another zone than its domain.
    #[error("{0} lies in another zone than the node's domain: leave `addresses` out, and publish them there")]
    OtherZone(DomainName),
    /// A name of this node belongs to another node.
    #[error("{name} belongs to the node {node}: choose a name outside it")]
    OtherNode {
        /// The name.
        name: DomainName,
        /// The node that has it.
        node: DomainName,
    },
    /// A target in a zone of ours that is an alias (RFC 2782 "Target").
    #[error("{0} is an alias (CNAME or DNAME): a target must be the host's own name")]
    TargetIsAlias(DomainName),
    /// A target in a zone of ours without addresses, given or published.
    #[error("{0} has no address here: give `addresses` for it, or name a host that has some")]
    TargetWithoutAddress(DomainName),
    /// A number that another node has claimed.
    #[error("the number is claimed by the node {0}")]
    NumberTaken(DomainName),
    /// A block that overlaps a block or number of another node, or a number inside a foreign block.
    #[error("overlaps a number or block claimed by the node {0}")]
    NumberOverlap(DomainName),
    /// A number or block, or a part of the block, that is delegated to somebody else.
    #[error("{0} holds it, or a part of it: its holder can delegate it on")]
    NumberHeld(DomainName),
    /// A number or block that nobody has given to the node.
    #[error("this node does not have {0}: claim it, and ask the directory's admin to approve that")]
    NumberUnassigned(NumberRange),
    /// Numbers, but no ENUM zone.
    #[error("this directory has no ENUM zone: leave `numbers` out")]
    NoNumberZone,
    /// The records would not fit.
    #[error(transparent)]
    RecordSet(RecordSetError),
}

impl Zones {
    /// Whether the master file of the zone that holds `name` has records of this type there.
    #[must_use]
    pub fn has_static(&self, name: &DomainName, kind: RrType) -> bool {
        let name = QueryName::of(name);
        let there = self.zone_at(&name).and_then(|(zone, _)| zone.statics.statics.get(&name, 0));
        there.is_some_and(|there| there.set(kind).is_some())
    }

    /// Everything that stands in the way of publishing `node`, its numbers included; empty when nothing does.
    /// A node that is published already at the same domain never conflicts with itself.
    #[must_use]
    pub fn check(&self, node: &Node) -> Vec<Conflict> {
        if !self.has_node(node.domain()) {
            return self.pack_checked(node, None, true).err().unwrap_or_default();
        }
        let mut base = Draft::new(self);
        base.remove(node.domain(), Serial::new(0));
        base.zones().pack_checked(node, None, false).err().unwrap_or_default()
    }

    /// Packs a node that nothing stands in the way of; its domain is free in this version. `is_new` says whether nobody had
    /// it before.
    pub(crate) fn pack_checked(
        &self,
        node: &Node,
        ready: Option<ReadyNode>,
        is_new: bool,
    ) -> Result<PackedNode, Vec<Conflict>> {
        let mut found = Vec::new();
        // Only who comes new: what is registered already can be renewed.
        if let Some(label) = reserved_label(&QueryName::of(node.domain())).filter(|_| is_new) {
            found.push(Conflict { part: Part::Domain, kind: ConflictKind::ReservedLabel(label) });
        }
        if let Err(error) = self.check_records(node) {
            // What cannot be packed cannot be checked further.
            found.push(Conflict { part: Part::Domain, kind: ConflictKind::RecordSet(error) });
            return Err(found);
        }
        let packed = ready.map_or_else(|| PackedNode::pack(node), ReadyNode::into_packed);
        found.extend(self.check_packed(packed.view()));
        if found.is_empty() { Ok(packed) } else { Err(found) }
    }

    /// What is served of `node`, made ready on any thread; `None` if its records do not fit, which a check will tell.
    #[must_use]
    pub fn make_ready(&self, node: &Node) -> Option<ReadyNode> {
        self.check_records(node).ok().map(|()| ReadyNode::new(node))
    }

    /// [`check`](Self::check) for a node that is packed already; it may be in this version itself.
    fn check_packed(&self, node: NodeView<'_>) -> Vec<Conflict> {
        let mut found = self.collisions(node);
        self.check_targets(node, &mut |part, kind| found.push(Conflict { part, kind }));
        found
    }

    /// What would make the zones wrong: names that two sides have. A target that has lost its addresses is not part of
    /// it: then one node's withdrawal could keep everybody's zones from being loaded.
    #[must_use]
    pub fn collisions_of(&self, node: &Node) -> Vec<Conflict> {
        match self.check_records(node) {
            Ok(()) => self.collisions(PackedNode::pack(node).view()),
            Err(error) => vec![Conflict { part: Part::Domain, kind: ConflictKind::RecordSet(error) }],
        }
    }

    pub(crate) fn collisions(&self, node: NodeView<'_>) -> Vec<Conflict> {
        let mut found = Vec::new();
        let name = QueryName::parse(node.domain()).expect("packed from a DomainName");
        let domain = || registered_name(node.domain());
        let zone = self.zone_at(&name);
        let mut refuse = |part, kind| found.push(Conflict { part, kind });
        // `8.0.0.0.127.rpz-client-ip` in a policy zone would take every name from every client.
        let last = name.label(name.label_count() - 1);
        if last.starts_with(b"rpz-") {
            refuse(Part::Domain, ConflictKind::PolicyTrigger(String::from_utf8_lossy(last).into_owned()));
        }
        match zone {
            Some((zone, _)) if zone.view != View::Own || !zone.statics.takes_nodes => {
                refuse(Part::Domain, ConflictKind::GeneratedZone(domain()))
            }
            None if self.peers_apex().is_none() => refuse(Part::Domain, ConflictKind::NoZone),
            Some((zone, apex)) if is_delegated(zone, &name, apex) => {
                refuse(Part::Domain, ConflictKind::Delegated(domain()));
            }
            Some((zone, apex)) if is_redirected(zone, &name, apex) => {
                refuse(Part::Domain, ConflictKind::Redirected(domain()));
            }
            _ => {
                self.check_ancestors(node, &name, &mut refuse);
                let made = [self.peers_apex(), self.policy_apex()].into_iter().flatten();
                let made = made.filter_map(|apex| self.zone(apex));
                for zone in zone.map(|(zone, _)| zone).into_iter().chain(made) {
                    if let Some(at) = self.node_in(zone, node) {
                        self.check_names(zone, &at, &mut refuse);
                    }
                }
            }
        }
        self.check_numbers(node, &mut refuse);
        found
    }

    /// No node above has a host at or below this domain.
    fn check_ancestors(&self, node: NodeView<'_>, name: &QueryName, refuse: &mut impl FnMut(Part, ConflictKind)) {
        for index in 1..name.label_count() {
            let Some(above) = self.node_at(name, index) else { continue };
            let ours = name.prefix(index);
            let holds = |host: HostView<'_>| host.own && ends_with_labels(host.name, ours);
            if above.hosts().any(holds) {
                let kind = ConflictKind::OtherNode {
                    name: registered_name(node.domain()),
                    node: registered_name(above.domain()),
                };
                refuse(Part::Domain, kind);
            }
        }
    }

    /// No owner name that the node makes in `zone` is static, delegated, in another zone, or another node's.
    fn check_names(&self, zone: &Zone, at: &NodeAt<'_>, refuse: &mut impl FnMut(Part, ConflictKind)) {
        let node = at.node;
        let domain = at.owner(&[]);
        if self.is_untouched(zone, node, &domain) {
            return;
        }
        let mut kinds = vec![RrType::NAPTR];
        if at.shows_hosts() && node.hosts().any(|host| host.own && host.name.is_empty()) {
            kinds.extend([RrType::A, RrType::AAAA]);
        }
        let domain = (!at.service_only).then_some((domain, &kinds[..]));
        for (owner, kinds) in domain.into_iter().chain([(at.owner(SERVICE), &[RrType::SRV][..])]) {
            if let Some(kind) = self.owner_conflict(zone, &owner, kinds) {
                refuse(Part::Domain, kind);
            }
        }
        if !at.shows_hosts() {
            return;
        }
        let domain_labels = crate::name::labels_of(node.domain()).count();
        for index in 0..node.target_count() {
            let (host_index, &[high, low, ..]) = node.target(index);
            let Some(host) = node.hosts().nth(host_index).filter(|host| host.own) else { continue };
            let addresses = at.owner(host.name);
            // At the domain itself the types have been compared above.
            let found = if host.name.is_empty() {
                None
            } else {
                self.owner_conflict(zone, &addresses, &[RrType::A, RrType::AAAA])
                    .or_else(|| self.other_node(&below(node.domain(), host.name), domain_labels))
            };
            let keys = || {
                let port = format!("_{}", u16::from_be_bytes([high, low]));
                let owner = registered_name(addresses.as_wire()).prefixed(&[&port, "_tcp"]).ok()?;
                self.owner_conflict(zone, &QueryName::of(&owner), &[RrType::TLSA])
            };
            if let Some(kind) = found.or_else(|| if node.key_count() > 0 { keys() } else { None }) {
                refuse(Part::TargetHost(index), kind);
            }
        }
    }

    /// Whether `zone` has nothing at or below `domain`, where it shows `node`: no static record, no delegation or DNAME, no other
    /// zone's apex and no other node. Then no name of the node can be taken. Most nodes are so.
    fn is_untouched(&self, zone: &Zone, node: NodeView<'_>, domain: &QueryName) -> bool {
        let Some((_, apex)) = self.zone_at(domain).filter(|(holder, _)| holder.apex() == zone.apex()) else {
            return false;
        };
        // A static name that exists below would make this one exist too (RFC 4592 2.2.2).
        zone.statics.statics.get(domain, 0).is_none()
            && !is_delegated(zone, domain, apex)
            && !is_redirected(zone, domain, apex)
            && !self.has_apex_below(domain)
            && !is_above_hash(&self.above_peers, node.domain())
    }

    /// Why `owner` cannot get records of these types in `zone` from a node.
    fn owner_conflict(&self, zone: &Zone, owner: &QueryName, kinds: &[RrType]) -> Option<ConflictKind> {
        let shown = || registered_name(owner.as_wire());
        let Some((_, apex)) = self.zone_at(owner).filter(|(holder, _)| holder.apex() == zone.apex()) else {
            return Some(ConflictKind::OtherZone(shown()));
        };
        if is_delegated(zone, owner, apex) {
            return Some(ConflictKind::Delegated(shown()));
        }
        if is_redirected(zone, owner, apex) {
            return Some(ConflictKind::Redirected(shown()));
        }
        let there = zone.statics.statics.get(owner, 0)?;
        // SOA and NS stand at the apex; a node may join them with the types that it makes.
        let taken = if apex == 0 {
            there.set(RrType::CNAME).is_some() || kinds.iter().any(|kind| there.set(*kind).is_some())
        } else {
            !there.is_empty()
        };
        taken.then(|| ConflictKind::StaticName(shown()))
    }

    /// Another node at `host` or between it and the node's domain, which has `domain_labels`.
    fn other_node(&self, host: &QueryName, domain_labels: usize) -> Option<ConflictKind> {
        (0..host.label_count() - domain_labels).find_map(|index| {
            let other = self.node_at(host, index)?;
            let name = registered_name(host.as_wire());
            Some(ConflictKind::OtherNode { name, node: registered_name(other.domain()) })
        })
    }

    /// Targets without addresses of their own: in a zone of ours they must have some.
    fn check_targets(&self, node: NodeView<'_>, refuse: &mut impl FnMut(Part, ConflictKind)) {
        for index in 0..node.target_count() {
            let (host_index, _) = node.target(index);
            let Some(host) = node.hosts().nth(host_index).filter(|host| !host.own) else { continue };
            let name = QueryName::parse(host.name).expect("packed from a DomainName");
            let outcomes = [RrType::A, RrType::AAAA].map(|kind| self.lookup(&name, kind));
            let shown = || registered_name(host.name);
            // Its own addresses, when this version has the node already, would be gone with it.
            let is_own = outcomes.iter().any(|outcome| matches!(outcome, Lookup::Records(_, set) if set.is_of(node)));
            if outcomes.iter().any(|outcome| matches!(outcome, Lookup::Cname(..) | Lookup::Redirect { .. })) {
                refuse(Part::TargetHost(index), ConflictKind::TargetIsAlias(shown()));
            } else if is_own || outcomes.iter().all(|o| matches!(o, Lookup::NoData(_) | Lookup::NxDomain(_))) {
                refuse(Part::TargetHost(index), ConflictKind::TargetWithoutAddress(shown()));
            }
        }
    }

    fn check_numbers(&self, node: NodeView<'_>, refuse: &mut impl FnMut(Part, ConflictKind)) {
        let zone = self.iter().find(|zone| zone.view == View::Numbers);
        for (index, claim) in node.claims().enumerate() {
            let Some(zone) = zone else {
                refuse(Part::Number(index), ConflictKind::NoNumberZone);
                continue;
            };
            let digits = claim.to_digits();
            let owner = digits.owner_name(zone.apex()).map(|name| QueryName::of(&name));
            // For a block its prefix has to be ours, and the wildcard below it free.
            let found = owner.ok().and_then(|owner| {
                let holder = self.owner_conflict(zone, &owner, &[RrType::NAPTR]);
                let wildcard = || is_static(zone, &below(owner.as_wire(), b"\x01*"));
                // What a block gives stands below its prefix: a DNAME there hands it over (ENUM-84).
                let handed_over = || {
                    let below = below(owner.as_wire(), b"\x01*");
                    let (_, apex) = self.zone_at(&below)?;
                    is_redirected(zone, &below, apex)
                        .then(|| ConflictKind::Redirected(registered_name(owner.as_wire())))
                };
                match holder {
                    Some(ConflictKind::StaticName(_)) if claim.block => handed_over(),
                    None if claim.block && wildcard() => {
                        Some(ConflictKind::StaticName(registered_name(owner.as_wire())))
                    }
                    other => other,
                }
            });
            if let Some(kind) = found {
                refuse(Part::Number(index), kind);
            }
            if let Some(kind) = self.number_conflict(node.domain(), NumberRange::new(digits, claim.block)) {
                refuse(Part::Number(index), kind);
            }
        }
    }

    /// Whose `range` is, if it is not for a node at `domain` (wire form) to claim.
    fn number_conflict(&self, domain: &[u8], range: NumberRange) -> Option<ConflictKind> {
        let digits = range.digits().as_slice();
        let is_foreign = |claim: &&Claim| claim.node().domain() != domain;
        let holder = |claim: &Claim| registered_name(claim.node().domain());
        if let Some(theirs) = self.numbers.exact(digits, range.is_block()).filter(is_foreign) {
            let kind = if range.is_block() { ConflictKind::NumberOverlap } else { ConflictKind::NumberTaken };
            return Some(kind(holder(theirs)));
        }
        let ours = registered_name(domain);
        let held = self.holders.of(range);
        let is_ours = |holder: &DomainName| ours.is_at_or_below(holder);
        match (self.numbers.around(digits), &held) {
            // A number inside a foreign block needs its holder (ENUM-77).
            (Some(theirs), _) if is_foreign(&theirs) => {
                if !self.holders.lets_into(theirs.range(), range, &ours) {
                    return Some(ConflictKind::NumberOverlap(holder(theirs)));
                }
            }
            // Inside a block of its own, unless a longer delegation leads elsewhere.
            (Some(around), Some((at, domain))) if !is_ours(domain) && around.range().contains(at) => {
                return Some(ConflictKind::NumberHeld(domain.clone()));
            }
            (None, Some((_, domain))) if !is_ours(domain) => return Some(ConflictKind::NumberHeld(domain.clone())),
            (Some(_) | None, _) => {}
        }
        if !range.is_block() {
            return None;
        }
        let mut in_the_way = |claim: &Claim| {
            let theirs = registered_name(claim.node().domain());
            range.is_around(&claim.range())
                && claim.node().domain() != domain
                && !self.holders.lets_into(range, claim.range(), &theirs)
        };
        let theirs = self.numbers.first_behind(digits, None, &mut in_the_way)?;
        Some(ConflictKind::NumberOverlap(holder(theirs)))
    }
}

/// The first label of `name` that is reserved: "R-LDH" and not an A-label (RFC 5890 2.3.1). A-labels were checked when the
/// name was read.
fn reserved_label(name: &QueryName) -> Option<String> {
    let is_reserved = |label: &&[u8]| label.get(2..4) == Some(b"--") && !label.starts_with(b"xn--");
    let label = (0..name.label_count()).map(|index| name.label(index)).find(is_reserved)?;
    Some(String::from_utf8_lossy(label).into_owned())
}

/// Whether a name at or above `name` is delegated by its zone.
fn is_delegated(zone: &Zone, name: &QueryName, apex: usize) -> bool {
    (0..apex).any(|index| zone.statics.statics.cut(name, index).is_some())
}

/// Whether a name above `name` has a DNAME record: nothing may exist below it (RFC 6672 2.4).
fn is_redirected(zone: &Zone, name: &QueryName, apex: usize) -> bool {
    zone.statics.statics.redirect(name, apex).is_some()
}

/// Whether the master file has records at this name.
fn is_static(zone: &Zone, name: &QueryName) -> bool {
    zone.statics.statics.get(name, 0).is_some_and(|there| !there.is_empty())
}

/// `labels` (wire form, no root) in front of a name.
pub(crate) fn below(name: &[u8], labels: &[u8]) -> QueryName {
    let mut wire = labels.to_vec();
    wire.extend(name);
    QueryName::parse(&wire).expect("publish::records has refused names over 255 octets")
}

/// Whether the labels of `name` end with those of `suffix`; both without root.
pub(crate) fn ends_with_labels(name: &[u8], suffix: &[u8]) -> bool {
    let Some(at) = name.len().checked_sub(suffix.len()) else { return false };
    let mut pos = 0;
    while pos < at {
        pos += usize::from(name[pos]) + 1;
    }
    pos == at && name[at..] == *suffix
}
