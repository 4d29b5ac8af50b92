//! Which member has a number: numbers and blocks of all members, kept in step with the snapshots.

use std::collections::HashMap;

use tandem_model::node::NumberClaim;
use tandem_model::number::Digits;
use tandem_model::{DomainName, E164Number, SipUri};

use crate::map::MemberMap;
use crate::member::Member;

/// Members by the numbers that they claim. It only leads to members; what they claim now is read from themselves, so that
/// an index that is a moment late gives no number to who has lost it.
#[derive(Debug, Default)]
pub(super) struct NumberIndex {
    /// Domains that claim a number or a block with these digits; more than one while a number changes hands.
    claims: HashMap<(Digits, IsBlock), Vec<DomainName>>,
    /// What it was made from.
    seen: MemberMap,
}

type IsBlock = bool;

impl NumberIndex {
    /// Brings it to `members`; costs what differs.
    pub(super) fn update(&mut self, members: &MemberMap) {
        for domain in members.difference(&self.seen) {
            for key in self.seen.get(&domain).into_iter().flat_map(|member| keys(member)) {
                if let Some(domains) = self.claims.get_mut(&key) {
                    domains.retain(|other| *other != domain);
                    if domains.is_empty() {
                        self.claims.remove(&key);
                    }
                }
            }
            for key in members.get(&domain).into_iter().flat_map(|member| keys(member)) {
                let domains = self.claims.entry(key).or_default();
                // In one order everywhere, whoever came first.
                if let Err(at) = domains.binary_search(&domain) {
                    domains.insert(at, domain.clone());
                }
            }
        }
        self.seen = members.clone();
    }

    /// The URI of a number that a member claims: the number itself first, then the longest block that holds it (ENUM-80).
    pub(super) fn find(&self, number: &E164Number, members: &MemberMap) -> Option<SipUri> {
        let digits = number.digits().as_slice();
        let exact = std::iter::once((*number.digits(), false));
        // A block's numbers are longer than its digits.
        let blocks = (1..digits.len()).rev().filter_map(|len| Some((Digits::new(&digits[..len]).ok()?, true)));
        exact.chain(blocks).find_map(|key| {
            let domains = self.claims.get(&key)?;
            domains.iter().find_map(|domain| uri(members.get(domain)?, number, &key))
        })
    }
}

fn keys(member: &Member) -> impl Iterator<Item = (Digits, IsBlock)> + '_ {
    let claims = member.node.as_deref().map(|node| node.numbers.as_slice()).unwrap_or_default();
    claims.iter().map(key)
}

fn key(claim: &NumberClaim) -> (Digits, IsBlock) {
    match claim {
        NumberClaim::Number { number, .. } => (*number.digits(), false),
        NumberClaim::Block(block) => (*block.digits(), true),
    }
}

/// What the member maps the number to, if it still claims it and may be called.
fn uri(member: &Member, number: &E164Number, wanted: &(Digits, IsBlock)) -> Option<SipUri> {
    let node = member.node.as_deref().filter(|_| member.state.is_served())?;
    let claim = node.numbers.iter().find(|claim| key(claim) == *wanted)?;
    if let NumberClaim::Number { uri: Some(uri), .. } = claim {
        return Some(uri.clone());
    }
    // As its NAPTR record has it (ENUM-71).
    SipUri::parse(&format!("sip:{number}@{}", node.domain())).ok()
}
