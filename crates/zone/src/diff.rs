//! What differs between two versions of a zone: the content of an incremental transfer (RFC 1995).
//!
//! The nodes that changed are known, so the cost is that of the change: their records in both versions are compared. A
//! number also changes names beside it, because a block's wildcard has a copy at every name that exists inside it.

use std::collections::{BTreeMap, BTreeSet};

use tandem_model::DomainName;

use crate::name::QueryName;
use crate::numbers::Numbers;
use crate::rrset::{RrType, Rrset};
use crate::walk::wildcard_owner;
use crate::zones::{View, Zone, Zones};

/// One record that came or went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordChange {
    /// The owner in uncompressed wire form.
    pub owner: Box<[u8]>,
    /// The type.
    pub kind: RrType,
    /// Seconds.
    pub ttl: u32,
    /// The data, names uncompressed.
    pub rdata: Box<[u8]>,
}

/// What leads from one version of a zone to another; the SOA is not part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Records that are no longer there.
    pub removed: Vec<RecordChange>,
    /// Records that are new.
    pub added: Vec<RecordChange>,
}

impl Difference {
    /// What leads from `old` to `new` in the zone at `apex`, when only the nodes at `changed` differ.
    ///
    /// `None` when the two have other static records there, when one has no such zone, or when there is more than `most`
    /// records to say: then the whole zone is the better answer.
    #[must_use]
    pub fn between(
        old: &Zones,
        new: &Zones,
        apex: &DomainName,
        changed: &BTreeSet<DomainName>,
        most: usize,
    ) -> Option<Self> {
        let (old_zone, new_zone) = (old.zone(apex)?, new.zone(apex)?);
        if old_zone.statics().digest() != new_zone.statics().digest() || old_zone.view != new_zone.view {
            return None;
        }
        let mut before = Records::new(most);
        let mut after = Records::new(most);
        if old_zone.view == View::Numbers {
            let names = number_names(old, new, changed, most)?;
            for digits in &names {
                before.number(old, old_zone, digits)?;
                after.number(new, new_zone, digits)?;
            }
        } else {
            for domain in changed {
                before.node(old, old_zone, domain)?;
                after.node(new, new_zone, domain)?;
            }
        }
        let (before, after) = (before.records, after.records);
        let only =
            |one: &BTreeSet<RecordChange>, other: &BTreeSet<RecordChange>| one.difference(other).cloned().collect();
        Some(Self { removed: only(&before, &after), added: only(&after, &before) })
    }
}

/// Records being collected, up to a limit.
struct Records {
    records: BTreeSet<RecordChange>,
    most: usize,
}

impl Records {
    const fn new(most: usize) -> Self {
        Self { records: BTreeSet::new(), most }
    }

    fn node(&mut self, zones: &Zones, zone: &Zone, domain: &DomainName) -> Option<()> {
        let Some(node) = zones.node_at(&QueryName::of(domain), 0) else { return Some(()) };
        let Some(at) = zones.node_in(zone, node) else { return Some(()) };
        at.visit_sets(|owner, set| self.add(owner, &set).ok_or(std::fmt::Error)).ok()
    }

    fn number(&mut self, zones: &Zones, zone: &Zone, digits: &[u8]) -> Option<()> {
        let found = zones.numbers.find(digits, false);
        if !found.exists {
            return Some(());
        }
        let owner = wildcard_owner(digits, zone);
        if let Some(number) = found.number {
            self.add(&owner[2..], &number.rrset())?;
        }
        if let Some(block) = zones.numbers.find(digits, true).block {
            self.add(&owner, &block.rrset())?;
        }
        Some(())
    }

    fn add(&mut self, owner: &[u8], set: &Rrset<'_>) -> Option<()> {
        for data in set.rdatas() {
            let mut rdata = Vec::new();
            data.write(&mut rdata);
            let change = RecordChange { owner: owner.into(), kind: set.kind(), ttl: set.ttl(), rdata: rdata.into() };
            self.records.insert(change);
        }
        (self.records.len() <= self.most).then_some(())
    }
}

/// The names whose records may differ when the claims of these nodes changed; `None` if there are more than `most`.
fn number_names(old: &Zones, new: &Zones, changed: &BTreeSet<DomainName>, most: usize) -> Option<BTreeSet<Vec<u8>>> {
    // Claims by digits: whether one of them is a block.
    let mut claims: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    for domain in changed {
        let name = QueryName::of(domain);
        for node in [old, new].into_iter().filter_map(|zones| zones.node_at(&name, 0)) {
            for claim in node.claims() {
                *claims.entry(claim.digits.to_vec()).or_default() |= claim.block;
            }
        }
    }
    let mut names = BTreeSet::new();
    for (digits, block) in claims {
        names.extend((1..=digits.len()).map(|len| digits[..len].to_vec()));
        if block {
            for numbers in [&old.numbers, &new.numbers] {
                names_below(numbers, &digits, &mut names, most)?;
            }
        }
        if names.len() > most {
            return None;
        }
    }
    Some(names)
}

/// Adds the names that exist at or below `prefix`: a block's change shows at each of them.
fn names_below(numbers: &Numbers, prefix: &[u8], names: &mut BTreeSet<Vec<u8>>, most: usize) -> Option<()> {
    numbers.visit_below(prefix, &mut |digits, _, _| {
        if names.len() <= most {
            names.insert(digits.to_vec());
        }
    });
    (names.len() <= most).then_some(())
}
