//! Who holds which numbers and blocks besides what nodes have claimed: the rule that claims are checked by.
//!
//! The longest delegation at or around a number says whose it is, and the longest block that a node has claimed around it
//! counts like one. So a number inside a foreign block needs that a delegation of its own leads to its node, and a block is
//! never laid over foreign numbers that have none (ENUM-77).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tandem_model::number::{Digits, MAX_DIGITS};
use tandem_model::{DomainName, NumberRange};

use crate::lookup::registered_name;
use crate::zones::Zones;

/// Delegations of numbers and blocks to domains; each holds for the domain and the names below it.
///
/// No part of a version: it is asked only when a node is checked, and every version shares one. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct Holders(Arc<RwLock<BTreeMap<NumberRange, DomainName>>>);

impl Holders {
    /// Delegates `range` to `domain`, instead of to whom it was before.
    pub fn set(&self, range: NumberRange, domain: DomainName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(range, domain);
    }

    /// Takes a delegation back.
    pub fn remove(&self, range: &NumberRange) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(range);
    }

    /// The longest delegation at or around `range`, and the domain that holds it.
    #[must_use]
    pub fn of(&self, range: NumberRange) -> Option<(NumberRange, DomainName)> {
        let holders = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if holders.is_empty() {
            return None;
        }
        range.and_around().find_map(|range| holders.get(&range).map(|domain| (range, domain.clone())))
    }

    /// The first delegation inside the block `outer`, and not the block itself, whose domain `wants` takes.
    #[must_use]
    pub fn first_inside(&self, outer: NumberRange, wants: impl Fn(&DomainName) -> bool) -> Option<NumberRange> {
        if !outer.is_block() {
            return None;
        }
        let holders = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let behind = holders.range((std::ops::Bound::Excluded(outer), std::ops::Bound::Included(last_inside(outer))));
        behind.filter(|(_, domain)| wants(domain)).map(|(range, _)| *range).next()
    }

    /// Whether a claim of `range` by a node at `domain` may stand inside the foreign block `outer`: a delegation not shorter
    /// than that leads to the node.
    pub(crate) fn lets_into(&self, outer: NumberRange, range: NumberRange, domain: &DomainName) -> bool {
        self.of(range).is_some_and(|(found, holder)| outer.contains(&found) && domain.is_at_or_below(&holder))
    }
}

impl Zones {
    /// The same version, and those made from it, with nodes checked against these delegations of numbers.
    #[must_use]
    pub fn with_holders(mut self, holders: Holders) -> Self {
        self.holders = holders;
        self
    }

    /// Who holds which numbers besides what nodes have claimed.
    #[must_use]
    pub const fn holders(&self) -> &Holders {
        &self.holders
    }

    /// The node that has claimed exactly this number or block.
    #[must_use]
    pub fn claimant(&self, range: NumberRange) -> Option<DomainName> {
        let claim = self.numbers.exact(range.digits().as_slice(), range.is_block())?;
        Some(registered_name(claim.node().domain()))
    }

    /// The longest block that a node has claimed around `range`, and the node.
    #[must_use]
    pub fn claimant_around(&self, range: NumberRange) -> Option<(NumberRange, DomainName)> {
        let claim = self.numbers.around(range.digits().as_slice())?;
        Some((claim.range(), registered_name(claim.node().domain())))
    }

    /// Hands what nodes have claimed to `visit`, with the node's domain, in the order of [`NumberRange`]: behind `after`, and
    /// when `inside` is given in that, itself included. Ends when `visit` returns `false`.
    pub fn visit_claims(
        &self,
        after: Option<NumberRange>,
        inside: Option<NumberRange>,
        mut visit: impl FnMut(NumberRange, DomainName) -> bool,
    ) {
        let after = after.as_ref().map(|after| (after.digits().as_slice(), after.is_block()));
        let prefix = inside.as_ref().map_or(&[][..], |inside| inside.digits().as_slice());
        self.numbers.first_behind(prefix, after, &mut |claim| {
            let range = claim.range();
            let wanted = inside.is_none_or(|inside| inside.contains(&range));
            // What is found ends the search.
            wanted && !visit(range, registered_name(claim.node().domain()))
        });
    }
}

/// The greatest range that lies in `outer`.
fn last_inside(outer: NumberRange) -> NumberRange {
    let mut values = [9; MAX_DIGITS];
    let digits = outer.digits().as_slice();
    values[..digits.len()].copy_from_slice(digits);
    NumberRange::new(Digits::new(&values).expect("15 digits"), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enum_77_the_longest_delegation_counts() {
        let range = |text: &str| text.parse::<NumberRange>().unwrap();
        let name = |text: &str| DomainName::parse(text).unwrap();
        let holders = Holders::default();
        assert_eq!(holders.of(range("+1555")), None);
        holders.set(range("+1555*"), name("a.test"));
        holders.set(range("+155502*"), name("b.test"));
        holders.set(range("+15550207"), name("c.test"));
        for (asked, found) in [
            ("+155501", Some(("+1555*", "a.test"))),
            ("+1555", None),
            ("+155502", Some(("+1555*", "a.test"))),
            ("+15550201", Some(("+155502*", "b.test"))),
            ("+15550207", Some(("+15550207", "c.test"))),
            ("+15550207*", Some(("+155502*", "b.test"))),
            ("+1", None),
        ] {
            let expected = found.map(|(at, domain)| (range(at), name(domain)));
            assert_eq!(holders.of(range(asked)), expected, "{asked}");
        }
        let inside = |outer: &str, not: &str| holders.first_inside(range(outer), |domain| *domain != name(not));
        assert_eq!(inside("+1555*", "a.test"), Some(range("+155502*")));
        assert_eq!(inside("+1555*", "b.test"), Some(range("+15550207")));
        assert_eq!(inside("+155502*", "c.test"), None, "the block itself is not inside");
        assert_eq!(inside("+156*", "c.test"), None);
        assert_eq!(inside("+1555", "x.test"), None);
        assert!(holders.lets_into(range("+1555*"), range("+15550207"), &name("x.c.test")));
        assert!(!holders.lets_into(range("+1555*"), range("+15550207"), &name("b.test")));
        assert!(!holders.lets_into(range("+155502*"), range("+155503"), &name("a.test")), "the delegation is shorter");
        holders.remove(&range("+15550207"));
        assert_eq!(holders.of(range("+15550207")), Some((range("+155502*"), name("b.test"))));
    }
}
