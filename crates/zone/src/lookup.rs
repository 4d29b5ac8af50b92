//! What a question finds (RFC 1034 4.3.2, 4592, 8020, 2308).
//!
//! The way of a look-up: the zone by longest apex; cuts from the apex down, then a DNAME above the name; the master file's own name; the deepest node
//! at or above the name, and what that node has there; empty non-terminals; the wildcard at the closest encloser.

use tandem_model::DomainName;

use crate::above::is_above;
use crate::conflict::ends_with_labels;
use crate::name::QueryName;
use crate::packed::{NodeView, SERVICE, TCP};
use crate::rrset::{NodeAt, RrType, Rrset, Source};
use crate::statics::StaticName;
use crate::zones::{View, Zone, Zones};

/// The outcome of one lookup of one name and type: each variant is one kind of response.
///
/// A lookup does not follow a CNAME or DNAME: the caller does, up to its limit, and keeps the rcode of the last (DNS-25).
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'z> {
    /// No zone of ours holds the name: REFUSED (DNS-6).
    NotOurs,
    /// The records asked for; the owner is QNAME, also when a wildcard made them.
    Records(&'z Zone, Rrset<'z>),
    /// An alias stands there: one CNAME record, whose data is the name to go on with.
    Cname(&'z Zone, Rrset<'z>),
    /// The name exists, the type does not (DNS-21); SOA with negative TTL goes to authority.
    NoData(&'z Zone),
    /// Nothing exists at or below the name (DNS-22).
    NxDomain(&'z Zone),
    /// The name is at or below a cut (DNS-27): NS records for authority, AA=0, glue by [`Zones::glue`].
    Referral {
        /// The parent's zone.
        zone: &'z Zone,
        /// Octets of the delegated name, counted from QNAME's end: the owner is QNAME's last `owner_len` octets.
        owner_len: usize,
        /// The NS RRset.
        ns: Rrset<'z>,
    },
    /// The name is below one with a DNAME record (DNS-26): it and the CNAME that [`Rrset::redirected`] makes of it.
    Redirect {
        /// The zone of the DNAME.
        zone: &'z Zone,
        /// Octets of the DNAME's owner, counted from QNAME's end, as in a referral.
        owner_len: usize,
        /// The DNAME RRset: one record.
        dname: Rrset<'z>,
    },
}

/// What exists at a name: its sets, if any; an empty non-terminal has none.
#[derive(Debug, Clone, Copy)]
enum Here<'z> {
    Static(StaticName<'z>),
    Node(NodeAt<'z>, Place<'z>),
    Number(Rrset<'z>),
    Empty,
}

/// What a node has at a name of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'z> {
    /// The domain: NAPTR, and addresses if it is a host too.
    Domain { v4: &'z [u8], v6: &'z [u8] },
    /// `_sips._tcp`: SRV.
    Service,
    /// A host below the domain: A, AAAA.
    Host { v4: &'z [u8], v6: &'z [u8] },
    /// `_port._tcp.<host>`: TLSA.
    Tlsa,
    /// A name between others.
    Empty,
}

impl Zones {
    /// Looks `name` up. Costs one to a few hash probes; takes no lock and allocates nothing.
    #[must_use]
    pub fn lookup(&self, name: &QueryName, kind: RrType) -> Lookup<'_> {
        let Some((zone, apex)) = self.zone_at(name) else { return Lookup::NotOurs };
        if kind == RrType::DS
            && apex == 0
            && let Some(answer) = self.parent_side(name)
        {
            return answer;
        }
        if let Some(referral) = cut_above(zone, name, apex, kind) {
            return referral;
        }
        if let Some((index, dname)) = zone.statics.statics.redirect(name, apex) {
            return Lookup::Redirect { zone, owner_len: name.suffix(index).len(), dname };
        }
        if kind == RrType::SOA && apex == 0 {
            return Lookup::Records(zone, zone.soa());
        }
        let mut exists = false;
        let mut alias = None;
        for here in self.here(zone, name, apex).into_iter().flatten() {
            exists = true;
            if let Some(set) = here.set(kind) {
                return Lookup::Records(zone, set);
            }
            alias = alias.or_else(|| here.set(RrType::CNAME));
        }
        if let Some(alias) = alias {
            return Lookup::Cname(zone, alias);
        }
        if exists {
            return Lookup::NoData(zone);
        }
        match self.wildcard(zone, name, apex) {
            None => Lookup::NxDomain(zone),
            Some(here) => match (here.set(kind), here.set(RrType::CNAME)) {
                (Some(set), _) => Lookup::Records(zone, set),
                (None, Some(alias)) => Lookup::Cname(zone, alias),
                (None, None) => Lookup::NoData(zone),
            },
        }
    }

    /// Shows `visit` all RRsets at `name`, for ANY (DNS-13). The outcome tells NOERROR from the rest when there is none.
    pub fn lookup_any<'z>(&'z self, name: &QueryName, visit: &mut dyn FnMut(Rrset<'z>)) -> Lookup<'z> {
        // A type that nothing has: what is left is the kind of outcome.
        let outcome = self.lookup(name, RrType::ANY);
        let (Lookup::NoData(zone) | Lookup::Cname(zone, _)) = outcome else { return outcome };
        let Some((_, apex)) = self.zone_at(name) else { return outcome };
        let here = self.here(zone, name, apex);
        let exists = here.iter().any(Option::is_some);
        let wildcard = if exists { None } else { self.wildcard(zone, name, apex) };
        for here in here.into_iter().flatten().chain(wildcard) {
            // The zone's own SOA record counts, not the file's.
            here.visit_sets(&mut |set| {
                if apex != 0 || set.kind != RrType::SOA {
                    visit(set)
                }
            });
        }
        if apex == 0 {
            visit(zone.soa());
        }
        outcome
    }

    /// DS at the apex of a zone of ours belongs to the zone above, if we serve that too and it delegates (DNS-28).
    fn parent_side(&self, name: &QueryName) -> Option<Lookup<'_>> {
        let (parent, apex) = self.zone_above(name, 1)?;
        if let Some(referral) = cut_above(parent, name, apex, RrType::DS) {
            return Some(referral);
        }
        let cut = parent.statics.statics.cut(name, 0)?;
        Some(cut.set(RrType::DS).map_or(Lookup::NoData(parent), |set| Lookup::Records(parent, set)))
    }

    /// The A and AAAA sets of a host, found together.
    pub(crate) fn addresses_of(&self, name: &QueryName) -> [Option<Rrset<'_>>; 2] {
        let Some((zone, apex)) = self.zone_at(name) else { return [None, None] };
        if cut_above(zone, name, apex, RrType::A).is_some() || zone.statics.statics.redirect(name, apex).is_some() {
            return [None, None];
        }
        let here = self.here(zone, name, apex);
        let exists = here.iter().any(Option::is_some);
        let wildcard = if exists { None } else { self.wildcard(zone, name, apex) };
        let found = |kind| here.iter().flatten().chain(&wildcard).find_map(|here| here.set(kind));
        [found(RrType::A), found(RrType::AAAA)]
    }

    /// What exists at exactly `name`: at most something static and something of a node.
    fn here<'z>(&'z self, zone: &'z Zone, name: &QueryName, apex: usize) -> [Option<Here<'z>>; 2] {
        let fixed = zone.statics.statics.get(name, 0).map(Here::Static);
        // No node has anything where the master file has a record, except at the apex (`Zones::check`).
        if apex > 0 && matches!(fixed, Some(Here::Static(there)) if !there.is_empty()) {
            return [fixed, None];
        }
        let made = match zone.view {
            View::Own => self.own_here(name, apex),
            View::Peers | View::Policy => self.peers_here(zone, &name.relative(apex)),
            View::Numbers => self.number_here(zone, name, apex),
        };
        [fixed, made]
    }

    fn own_here<'z>(&'z self, name: &QueryName, apex: usize) -> Option<Here<'z>> {
        if self.has_no_nodes() {
            return None;
        }
        for index in 0..=apex {
            if let Some(node) = self.node_at(name, index) {
                let at = NodeAt { node, suffix: ROOT, host_suffix: ROOT, service_only: false };
                if let Some(place) = at.place(name.prefix(index), at.shows_hosts()) {
                    return Some(Here::Node(at, place));
                }
                break;
            }
        }
        (apex > 0 && is_above(&self.above, name, 0)).then_some(Here::Empty)
    }

    /// `name` is what stands in front of the apex of the peers or policy zone.
    fn peers_here<'z>(&'z self, zone: &'z Zone, name: &QueryName) -> Option<Here<'z>> {
        for index in 0..name.label_count() {
            if let Some(node) = self.node_at(name, index) {
                let at = self.under_apex(zone, node, self.is_own(name, index));
                if let Some(place) = at.place(name.prefix(index), at.shows_hosts()) {
                    return Some(Here::Node(at, place));
                }
                break;
            }
        }
        (name.label_count() > 0 && is_above(&self.above_peers, name, 0)).then_some(Here::Empty)
    }

    fn number_here<'z>(&'z self, zone: &'z Zone, name: &QueryName, apex: usize) -> Option<Here<'z>> {
        if apex == 0 {
            return None;
        }
        let mut digits = [0; MAX_NUMBER_LABELS];
        let (digits, deeper) = digits_of(name, apex, &mut digits);
        let found = self.numbers.find(digits, deeper);
        if found.exists {
            return Some(found.number.map_or(Here::Empty, |claim| Here::Number(claim.rrset())));
        }
        let block = found.block?;
        // The block's wildcard stands at the closest encloser: what lies below the asterisk itself does not exist.
        let below_closest = apex - found.closest;
        if below_closest >= 2 && name.label(below_closest - 1) == b"*" {
            return None;
        }
        // Where the master file has the name, or one above it in the block, that is there or the closest encloser, and the
        // block's wildcard stands for neither (RFC 4592 2.2.1, 3.3.1).
        let statics = &zone.statics.statics;
        if statics.has_names() && (0..below_closest).any(|index| statics.get(name, index).is_some()) {
            return None;
        }
        Some(Here::Number(block.rrset()))
    }

    /// Whether suffix `index` of `name` lies in a zone that shows nodes at their own names.
    fn is_own(&self, name: &QueryName, index: usize) -> bool {
        self.zone_at(&name.relative_suffix(index)).is_some_and(|(zone, _)| zone.view == View::Own)
    }

    /// `node` as the peers or policy zone shows it. Hosts of foreign nodes are found below the peers zone, in both.
    fn under_apex<'z>(&'z self, zone: &'z Zone, node: NodeView<'z>, own: bool) -> NodeAt<'z> {
        let hosts = self.peers_apex().filter(|_| !own);
        NodeAt {
            node,
            suffix: zone.apex().as_wire(),
            host_suffix: hosts.map_or(ROOT, DomainName::as_wire),
            service_only: zone.view == View::Policy,
        }
    }

    /// `node` as `zone` shows it; `None` if it does not.
    pub(crate) fn node_in<'z>(&'z self, zone: &'z Zone, node: NodeView<'z>) -> Option<NodeAt<'z>> {
        let name = QueryName::parse(node.domain()).expect("packed from a DomainName");
        match zone.view {
            View::Own => {
                let here = self.zone_at(&name).is_some_and(|(holder, _)| holder.apex() == zone.apex());
                here.then_some(NodeAt { node, suffix: ROOT, host_suffix: ROOT, service_only: false })
            }
            View::Peers | View::Policy => Some(self.under_apex(zone, node, self.is_own(&name, 0))),
            View::Numbers => None,
        }
    }

    /// The wildcard of the master file that stands for `name`, which does not exist (RFC 4592 3.3.1, DNS-24).
    fn wildcard<'z>(&'z self, zone: &'z Zone, name: &QueryName, apex: usize) -> Option<Here<'z>> {
        if !zone.statics.statics.has_wildcard() {
            return None;
        }
        // The closest encloser: the longest ancestor that exists; the apex always does.
        let closest = (1..=apex).find(|&index| {
            index == apex || self.here(zone, &name.relative_suffix(index), apex - index).iter().any(Option::is_some)
        })?;
        zone.statics.statics.wildcard(name, closest).map(Here::Static)
    }

    /// The node whose domain is suffix `index` of `name`. Domains are host names: an underscore ends the matter early.
    pub(crate) fn node_at(&self, name: &QueryName, index: usize) -> Option<NodeView<'_>> {
        if self.has_no_nodes() || index == name.label_count() || name.label(index).starts_with(b"_") {
            return None;
        }
        let suffix = name.suffix(index);
        self.nodes.get(name.hash(index), |node| node.view().domain() == suffix).map(|node| node.view())
    }
}

/// The root in wire form: no suffix.
pub(crate) const ROOT: &[u8] = &[0];
/// Labels of a question in the ENUM zone that are read as digits; E.164 numbers have at most 15.
pub(crate) const MAX_NUMBER_LABELS: usize = 16;

/// The digits in front of the apex, first digit first, and whether other labels follow.
pub(crate) fn digits_of<'d>(
    name: &QueryName,
    apex: usize,
    digits: &'d mut [u8; MAX_NUMBER_LABELS],
) -> (&'d [u8], bool) {
    let mut count = 0;
    while count < apex && count < MAX_NUMBER_LABELS {
        let &[digit @ b'0'..=b'9'] = name.label(apex - 1 - count) else { break };
        digits[count] = digit - b'0';
        count += 1;
    }
    (&digits[..count], count < apex)
}

/// The cut at or above `name`, nearest the apex (RFC 1034 4.3.2 3b). DS belongs to the parent's side (DNS-28).
#[inline]
fn cut_above<'z>(zone: &'z Zone, name: &QueryName, apex: usize, kind: RrType) -> Option<Lookup<'z>> {
    if !zone.statics.statics.has_cuts() {
        return None;
    }
    (0..apex).rev().find_map(|index| {
        let there = zone.statics.statics.cut(name, index)?;
        if index == 0 && kind == RrType::DS {
            return None;
        }
        let ns = there.set(RrType::NS)?;
        Some(Lookup::Referral { zone, owner_len: name.suffix(index).len(), ns })
    })
}

impl<'z> NodeAt<'z> {
    /// Whether the zone shows the node's hosts: its own zone does, the peers zone for foreign nodes.
    pub(crate) fn shows_hosts(&self) -> bool {
        self.suffix == self.host_suffix
    }

    /// What the node has at `labels` in front of its domain; hosts only where this zone shows them.
    pub(crate) fn place(&self, labels: &[u8], hosts: bool) -> Option<Place<'z>> {
        let mut place = match labels {
            [] if self.service_only => Some(Place::Empty),
            [] => Some(Place::Domain { v4: &[], v6: &[] }),
            labels if labels == SERVICE => Some(Place::Service),
            labels if labels == TCP => Some(Place::Empty),
            _ => None,
        };
        if !hosts {
            return place;
        }
        for (index, host) in self.node.hosts().enumerate().filter(|(_, host)| host.own) {
            if host.name == labels {
                let (v4, v6) = (host.v4, host.v6);
                return Some(if labels.is_empty() { Place::Domain { v4, v6 } } else { Place::Host { v4, v6 } });
            }
            if ends_with_labels(host.name, labels) {
                place = place.or(Some(Place::Empty));
            } else if self.node.key_count() > 0
                && ends_with_labels(labels, host.name)
                && let Some(found) = self.tlsa_place(&labels[..labels.len() - host.name.len()], index)
                && !matches!(place, Some(Place::Service))
            {
                return Some(found);
            }
        }
        place
    }

    /// What `labels` in front of a host's name are: `_tcp` leads to its TLSA sets, `_5061._tcp` is one.
    fn tlsa_place(&self, labels: &[u8], host: usize) -> Option<Place<'z>> {
        if labels == TCP {
            return Some(Place::Empty);
        }
        let port = labels.strip_suffix(TCP).and_then(|rest| rest.get(1..)).and_then(port_of)?;
        let serves = (0..self.node.target_count()).any(|index| {
            let (at, &[high, low, ..]) = self.node.target(index);
            at == host && u16::from_be_bytes([high, low]) == port
        });
        serves.then_some(Place::Tlsa)
    }

    pub(crate) fn naptr(&self) -> Rrset<'z> {
        Rrset { kind: RrType::NAPTR, ttl: self.node.ttl(), source: Source::Naptr(*self) }
    }

    pub(crate) fn srv(&self) -> Rrset<'z> {
        Rrset { kind: RrType::SRV, ttl: self.node.ttl(), source: Source::Srv(*self) }
    }

    pub(crate) fn tlsa(&self) -> Option<Rrset<'z>> {
        let source = Source::Tlsa(self.node);
        (self.node.key_count() > 0).then(|| Rrset { kind: RrType::TLSA, ttl: self.node.ttl(), source })
    }

    /// The address set of one family, if it has any.
    pub(crate) fn addresses(&self, kind: RrType, v4: &'z [u8], v6: &'z [u8]) -> Option<Rrset<'z>> {
        let (octets, size) = match kind {
            RrType::A => (v4, 4),
            RrType::AAAA => (v6, 16),
            _ => return None,
        };
        let source = Source::Addresses { octets, size };
        (!octets.is_empty()).then(|| Rrset { kind, ttl: self.node.ttl(), source })
    }
}

/// `_5061` without its length octet: the port, written without leading zeros.
fn port_of(label: &[u8]) -> Option<u16> {
    let digits = label.strip_prefix(b"_").filter(|digits| !digits.starts_with(b"0"))?;
    std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|o| o.is_ascii_digit()))?.parse().ok()
}

impl<'z> Here<'z> {
    fn set(&self, kind: RrType) -> Option<Rrset<'z>> {
        match *self {
            Self::Static(name) => name.set(kind),
            Self::Number(set) => (set.kind == kind).then_some(set),
            Self::Empty | Self::Node(_, Place::Empty) => None,
            Self::Node(at, place) => match (place, kind) {
                (Place::Domain { .. }, RrType::NAPTR) => Some(at.naptr()),
                (Place::Domain { v4, v6 } | Place::Host { v4, v6 }, _) => at.addresses(kind, v4, v6),
                (Place::Service, RrType::SRV) => Some(at.srv()),
                (Place::Tlsa, RrType::TLSA) => at.tlsa(),
                (Place::Service | Place::Tlsa | Place::Empty, _) => None,
            },
        }
    }

    fn visit_sets(&self, visit: &mut dyn FnMut(Rrset<'z>)) {
        match *self {
            Self::Static(name) => name.sets().for_each(visit),
            Self::Number(set) => visit(set),
            Self::Empty => {}
            Self::Node(..) => {
                let kinds = [RrType::NAPTR, RrType::SRV, RrType::A, RrType::AAAA, RrType::TLSA];
                kinds.into_iter().filter_map(|kind| self.set(kind)).for_each(visit);
            }
        }
    }
}

impl crate::numbers::Claim {
    /// The NAPTR set of a number, or of any number in a block.
    pub(crate) fn rrset(&self) -> Rrset<'_> {
        let (node, claim) = (self.node(), self.claim());
        Rrset { kind: RrType::NAPTR, ttl: node.ttl(), source: Source::Claim { node, claim } }
    }
}

impl Rrset<'_> {
    /// Whether these are addresses that `node` itself gives.
    pub(crate) fn is_of(&self, node: NodeView<'_>) -> bool {
        match self.source {
            Source::Addresses { octets, .. } => node
                .hosts()
                .any(|host| host.own && [host.v4, host.v6].iter().any(|a| std::ptr::eq(a.as_ptr(), octets.as_ptr()))),
            _ => false,
        }
    }
}

/// A registered name that is held in wire form.
pub(crate) fn registered_name(wire: &[u8]) -> DomainName {
    DomainName::from_wire(wire).expect("made from DomainNames")
}
