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
    /// A number of a member that must not be called leads to that member, so that nobody else answers for it meanwhile.
    pub(super) fn find(&self, number: &E164Number, members: &MemberMap) -> Option<SipUri> {
        let digits = number.digits().as_slice();
        let exact = std::iter::once((*number.digits(), false));
        // A block's numbers are longer than its digits.
        let blocks = (1..digits.len()).rev().filter_map(|len| Some((Digits::new(&digits[..len]).ok()?, true)));
        exact.chain(blocks).find_map(|key| {
            let claimants = || self.claims.get(&key).into_iter().flatten().filter_map(|domain| members.get(domain));
            let served = claimants().find_map(|member| uri(member, number, &key));
            served.or_else(|| claimants().find_map(|member| withheld(member, number, &key)))
        })
    }
}

/// The member that has a number, or the longest block that holds it, whether or not it may be called. Looks at all of them:
/// for people who ask why; calls have the index.
pub(crate) fn holder(number: &E164Number, members: &MemberMap) -> Option<DomainName> {
    let digits = number.digits().as_slice();
    let holds = |(claimed, is_block): &(Digits, IsBlock)| match is_block {
        true => claimed.as_slice().len() < digits.len() && digits.starts_with(claimed.as_slice()),
        false => claimed.as_slice() == digits,
    };
    let closest = |member: &Member| {
        let held = keys(member).filter(holds).map(|(claimed, is_block)| (!is_block, claimed.as_slice().len())).max()?;
        Some((held, member.state.is_served()))
    };
    let held = members.iter().filter_map(|member| Some((closest(member)?, &member.domain)));
    held.max_by(|(one, a), (other, b)| one.cmp(other).then(b.cmp(a))).map(|(_, domain)| domain.clone())
}

fn keys(member: &Member) -> impl Iterator<Item = (Digits, IsBlock)> + '_ {
    let claims = member.node.as_deref().map_or(&*member.withheld, |node| node.numbers.as_slice());
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
    at_domain(number, node.domain())
}

/// The number at the domain of a member that had it while it was served, and is not served now.
fn withheld(member: &Member, number: &E164Number, wanted: &(Digits, IsBlock)) -> Option<SipUri> {
    let is_withheld = !member.state.is_served() && member.withheld.iter().any(|claim| key(claim) == *wanted);
    is_withheld.then(|| at_domain(number, &member.domain))?
}

/// As the number's NAPTR record has it where no URI is given (ENUM-71).
fn at_domain(number: &E164Number, domain: &DomainName) -> Option<SipUri> {
    SipUri::parse(&format!("sip:{number}@{domain}")).ok()
}
