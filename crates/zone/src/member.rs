//! What the nodes of a version hold at any name of the DNS, whatever zones are served: for a resolver that lays the members'
//! records over everybody else's.
//!
//! [`Zones::lookup`] answers for zones, and says what does not exist in them. Here nothing is said but what a node's
//! document holds: the names around it belong to the rest of the DNS. A version without zones is enough for it.

use tandem_model::DomainName;

use crate::additional::Owner;
use crate::lookup::{MAX_NUMBER_LABELS, Place, ROOT, digits_of};
use crate::name::QueryName;
use crate::packed::NodeView;
use crate::rrset::{NodeAt, RrType, Rrset};
use crate::zones::Zones;

/// Where nodes and numbers are found beside the nodes' own names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suffixes {
    /// Every node's NAPTR and SRV records are here, too: `_sips._tcp.example.org.peers.ostn.test`.
    pub peers: Option<DomainName>,
    /// Numbers are below each of these: `1.0.1.0.5.5.5.1.e164.ostn.test`.
    pub numbers: Vec<DomainName>,
}

/// What the nodes hold for one name and type.
#[derive(Debug, Clone, Copy)]
pub enum Held<'z> {
    /// These records.
    Records(Rrset<'z>),
    /// A host whose addresses its node gives, none of them of this family: there are no others (NODATA).
    NoData,
    /// Nothing: the question is for the rest of the DNS.
    Nothing,
}

impl Zones {
    /// What a node holds for `kind` at `name`: NAPTR at its domain and its numbers, SRV at `_sips._tcp`, and of its hosts with
    /// addresses A, AAAA and TLSA. A node's addresses of a host are all that the host has.
    ///
    /// Costs one hash probe for each label of the name, or one walk over digits; takes no lock and allocates nothing.
    #[must_use]
    pub fn held_by_nodes<'z>(&'z self, name: &QueryName, kind: RrType, suffixes: &'z Suffixes) -> Held<'z> {
        if self.has_no_nodes() || !matches!(kind, RrType::NAPTR | RrType::SRV | RrType::A | RrType::AAAA | RrType::TLSA)
        {
            return Held::Nothing;
        }
        // Suffixes first: a node may well have the domain that they are in.
        if let Some(apex) = suffixes.numbers.iter().find_map(|suffix| index_of(name, suffix)) {
            let set = self.number_at(name, apex).filter(|_| kind == RrType::NAPTR);
            return set.map_or(Held::Nothing, Held::Records);
        }
        if let Some(peers) = &suffixes.peers
            && let Some(apex) = index_of(name, peers)
        {
            let inner = name.relative(apex);
            let Some((node, index)) = self.deepest_node(&inner) else { return Held::Nothing };
            // Hosts stay at their own names, where a node's records are found as well.
            let at = NodeAt { node, suffix: peers.as_wire(), host_suffix: ROOT, service_only: false };
            return at.held(inner.prefix(index), kind);
        }
        let Some((node, index)) = self.deepest_node(name) else { return Held::Nothing };
        NodeAt { node, suffix: ROOT, host_suffix: ROOT, service_only: false }.held(name.prefix(index), kind)
    }

    /// Visits what should follow `rrset`, which [`held_by_nodes`](Self::held_by_nodes) gave, as additional data, best first.
    ///
    /// `visit` returns `false` to stop. Nothing is visited twice.
    pub fn additional_of_nodes<'z>(&'z self, rrset: &Rrset<'z>, mut visit: impl FnMut(Owner<'_>, Rrset<'z>) -> bool) {
        // Nothing stops a visit but the visitor: whether it went on does not matter here.
        let _ = self.node_chain(rrset, &mut visit);
    }

    /// The deepest node at or above `name`, and how many labels stand in front of its domain.
    fn deepest_node(&self, name: &QueryName) -> Option<(NodeView<'_>, usize)> {
        (0..name.label_count()).find_map(|index| self.node_at(name, index).map(|node| (node, index)))
    }

    /// The number, or number in a block, whose digits are the first `apex` labels of `name`.
    fn number_at(&self, name: &QueryName, apex: usize) -> Option<Rrset<'_>> {
        let mut digits = [0; MAX_NUMBER_LABELS];
        let (digits, false) = digits_of(name, apex, &mut digits) else { return None };
        let found = self.numbers.find(digits, false);
        // A name above numbers is none itself, also inside a block: the wildcard stands for what does not exist (ENUM-81).
        let claim = if found.exists { found.number } else { found.block };
        claim.map(crate::numbers::Claim::rrset)
    }
}

impl<'z> NodeAt<'z> {
    /// What the node has of `kind` at `labels` in front of its domain.
    fn held(&self, labels: &[u8], kind: RrType) -> Held<'z> {
        let Some(place) = self.place(labels, self.shows_hosts()) else { return Held::Nothing };
        let set = match (place, kind) {
            (Place::Domain { .. }, RrType::NAPTR) => Some(self.naptr()),
            (Place::Service, RrType::SRV) => Some(self.srv()),
            (Place::Tlsa, RrType::TLSA) => self.tlsa(),
            (Place::Domain { v4, v6 } | Place::Host { v4, v6 }, RrType::A | RrType::AAAA) => {
                let set = self.addresses(kind, v4, v6);
                if set.is_none() && !(v4.is_empty() && v6.is_empty()) {
                    return Held::NoData;
                }
                set
            }
            _ => None,
        };
        set.map_or(Held::Nothing, Held::Records)
    }
}

/// How many labels of `name` stand in front of `suffix`, if it ends with that.
fn index_of(name: &QueryName, suffix: &DomainName) -> Option<usize> {
    let index = name.label_count().checked_sub(suffix.label_count())?;
    (name.suffix(index) == suffix.as_wire()).then_some(index)
}
