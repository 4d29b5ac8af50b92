//! Every record of a zone, set by set: what transfers and exports send.

use crate::lookup::registered_name;
use crate::packed::PackedNode;
use crate::records::sort_key;
use crate::rrset::{RrType, Rrset};

use crate::zones::{View, Zone, Zones};

impl Zones {
    /// Visits every RRset of `zone` once, except SOA: static ones (glue and occluded ones too, DNS-29), the nodes', the
    /// numbers'. In no order; holds nothing but its place. `visit` gets the owner in uncompressed wire form, in the
    /// file's case; it returns `false` to stop.
    pub fn walk<'z>(&'z self, zone: &'z Zone, mut visit: impl FnMut(&[u8], Rrset<'z>) -> bool) {
        let _ = self.walk_nodes(zone, self.nodes.iter(), &mut visit);
    }

    /// [`walk`](Self::walk) with static names, nodes and numbers in canonical order each, so that two exports can be
    /// compared line by line. Holds a list of the nodes.
    pub(crate) fn walk_sorted<'z>(&'z self, zone: &'z Zone, mut visit: impl FnMut(&[u8], Rrset<'z>) -> bool) {
        let mut nodes: Vec<&PackedNode> = self.nodes.iter().collect();
        nodes.sort_by_cached_key(|node| sort_key(node.view().domain()));
        let _ = self.walk_nodes(zone, nodes.into_iter(), &mut visit);
    }

    fn walk_nodes<'z>(
        &'z self,
        zone: &'z Zone,
        nodes: impl Iterator<Item = &'z PackedNode>,
        visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool,
    ) -> Option<()> {
        for name in zone.statics.statics.iter() {
            for set in name.sets().filter(|set| set.kind() != RrType::SOA) {
                visit(name.owner, set).then_some(())?;
            }
        }
        if zone.view == View::Numbers {
            return self.walk_numbers(zone, visit);
        }
        for node in nodes {
            if let Some(at) = self.node_in(zone, node.view()) {
                at.visit_sets(|owner, set| if visit(owner, set) { Ok(()) } else { Err(std::fmt::Error) }).ok()?;
            }
        }
        Some(())
    }

    /// Numbers, and blocks as wildcards with the copies that they need beside numbers (ENUM-80, ENUM-81).
    fn walk_numbers<'z>(&'z self, zone: &'z Zone, visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool) -> Option<()> {
        let mut more = true;
        self.numbers.visit(&mut |digits, number, block| {
            let owner = wildcard_owner(digits, zone);
            for (owner, claim) in [(&owner[2..], number), (&owner[..], block)] {
                if let (true, Some(claim)) = (more, claim) {
                    more = visit(owner, claim.rrset());
                }
            }
        });
        more.then_some(())
    }
}

/// The wildcard below the name of `digits` in wire form; without its first two octets, that name itself.
pub(crate) fn wildcard_owner(digits: &[u8], zone: &Zone) -> Vec<u8> {
    let mut owner = b"\x01*".to_vec();
    for digit in digits.iter().rev() {
        owner.extend([1, b'0' + digit]);
    }
    owner.extend(zone.apex().as_wire());
    owner
}

impl Zones {
    /// The domains of all nodes, in no order.
    pub fn domains(&self) -> impl Iterator<Item = tandem_model::DomainName> {
        self.nodes.iter().map(|node| registered_name(node.view().domain()))
    }
}
