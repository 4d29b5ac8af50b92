//! What a node operator registers: one SIP domain, where it is served, and its numbers.
//!
//! A [`Node`] holds only what has been parsed and is in range by itself. What depends on the zones served, or on other
//! nodes, is checked in `tandem-zone` when it is laid over them.

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::found::{Found, Probe};
use crate::name::DomainName;
pub use crate::network::{InvalidNetwork, Network};
use crate::number::{E164Number, NumberBlock};
use crate::uri::{Host, SipUri};

/// Most targets of one node: their SRV answer must fit 512 octets without EDNS (facts: sofia-sip, baresip).
pub const MAX_TARGETS: usize = 8;
/// Most addresses of one target.
pub const MAX_ADDRESSES: usize = 8;
/// Most number claims in one node document.
pub const MAX_NUMBERS: usize = 100;
/// Most key pins: two roll-overs at a time.
pub const MAX_KEYS: usize = 4;
/// Most networks that calls may come from.
pub const MAX_SOURCES: usize = 16;
/// Longest contact, in octets.
pub const MAX_CONTACT: usize = 254;
/// Seconds that records live when the node says nothing: a move is seen within a minute.
pub const DEFAULT_TTL: u32 = 60;
/// Shortest and longest time to live that a node may ask for, in seconds.
pub const TTL_RANGE: std::ops::RangeInclusive<u32> = 1..=86_400;
/// Shortest and longest lease that a node may ask for, in seconds.
pub const LEASE_RANGE: std::ops::RangeInclusive<u32> = 60..=2_592_000;

/// One SIP server domain as its operator registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    domain: DomainName,
    targets: Vec<Target>,
    /// Numbers and blocks that ENUM maps to this domain.
    pub numbers: Vec<NumberClaim>,
    /// Seconds that the node's records live; within [`TTL_RANGE`].
    pub ttl: u32,
    /// Public keys that the node's certificates carry.
    pub keys: Vec<KeyPin>,
    /// Networks that the node's calls come from.
    pub sources: Vec<Network>,
    /// How to reach the operator; never public.
    pub contact: Option<Box<str>>,
    /// The lease asked for, in seconds; within [`LEASE_RANGE`].
    pub lease_seconds: Option<u32>,
    /// How the node wants to be looked at; `None`: not at all.
    pub probe: Option<Probe>,
    /// What was found by looking; the directory's, never the node's own word.
    pub found: Found,
}

/// One host and port that serves the domain: one SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host's name, never an address (RFC 2782 "Target").
    pub host: DomainName,
    /// Where it listens for SIP over TLS.
    pub port: NonZeroU16,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among targets of one priority.
    pub weight: u16,
    /// The host's addresses, for hosts at or below the node's own domain; empty when others publish them.
    pub addresses: Vec<IpAddr>,
}

/// A number or a block of numbers that the node answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberClaim {
    /// One number, and the URI that it maps to when that is not `sip:<number>@<domain>`.
    Number {
        /// The number.
        number: E164Number,
        /// A `sip:` or `sips:` URI at the node's own domain.
        uri: Option<SipUri>,
    },
    /// All numbers below a prefix; each maps to `sip:<number>@<domain>`.
    Block(NumberBlock),
}

/// A pinned public key: SHA-256 over the SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyPin {
    /// Whose key it is.
    pub holder: KeyHolder,
    /// SHA-256 of the SubjectPublicKeyInfo in DER.
    pub sha256: [u8; 32],
}

/// Whose key a pin names: it decides the TLSA certificate usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyHolder {
    /// The node's certificate itself: TLSA usage 3 (DANE-EE).
    Node,
    /// The node's own CA: TLSA usage 2 (DANE-TA).
    Authority,
}

impl KeyHolder {
    /// The TLSA certificate usage (RFC 6698 2.1.1).
    #[must_use]
    pub const fn tlsa_usage(self) -> u8 {
        match self {
            Self::Node => 3,
            Self::Authority => 2,
        }
    }
}

impl Node {
    /// Puts a node together, and checks what concerns several of its parts.
    ///
    /// # Errors
    ///
    /// Every rule that is broken, each with the part it concerns; nothing is kept of such a node.
    pub fn new(parts: NodeParts) -> Result<Self, Vec<InvalidNode>> {
        let mut errors = Vec::new();
        if parts.targets.is_empty() {
            errors.push(InvalidNode::NoTarget);
        }
        check_limit(&mut errors, "targets", parts.targets.len(), MAX_TARGETS);
        check_limit(&mut errors, "numbers", parts.numbers.len(), MAX_NUMBERS);
        check_limit(&mut errors, "keys", parts.keys.len(), MAX_KEYS);
        check_limit(&mut errors, "sources", parts.sources.len(), MAX_SOURCES);
        if !parts.domain.is_host() {
            errors.push(InvalidNode::DomainNotHost);
        }
        for (index, target) in parts.targets.iter().enumerate() {
            if !target.host.is_host() {
                errors.push(InvalidNode::TargetNotHost(index));
            }
            if target.addresses.len() > MAX_ADDRESSES {
                errors.push(InvalidNode::TooManyAddresses(index));
            }
            if !target.addresses.is_empty() && !target.host.is_at_or_below(&parts.domain) {
                errors.push(InvalidNode::ForeignAddresses(index));
            }
            for (at, address) in target.addresses.iter().enumerate() {
                if !is_usable(*address) {
                    errors.push(InvalidNode::UnusableAddress(index, at));
                }
                if target.addresses[..at].contains(address) {
                    errors.push(InvalidNode::AddressTwice(index, at));
                }
            }
            for earlier in &parts.targets[..index] {
                if earlier.host == target.host && earlier.port == target.port {
                    errors.push(InvalidNode::TargetTwice(index));
                } else if earlier.host == target.host && earlier.addresses != target.addresses {
                    errors.push(InvalidNode::AddressesDiffer(index));
                }
            }
        }
        for (index, claim) in parts.numbers.iter().enumerate() {
            check_claim(&mut errors, &parts, index, claim);
        }
        // DNS-11: the same key twice would be the same TLSA record twice.
        errors.extend(repeated(&parts.keys).map(InvalidNode::KeyTwice));
        errors.extend(repeated(&parts.sources).map(InvalidNode::SourceTwice));
        if !TTL_RANGE.contains(&parts.ttl.unwrap_or(DEFAULT_TTL)) {
            errors.push(InvalidNode::Ttl);
        }
        if parts.lease_seconds.is_some_and(|lease| !LEASE_RANGE.contains(&lease)) {
            errors.push(InvalidNode::Lease);
        }
        if parts
            .contact
            .as_ref()
            .is_some_and(|c| c.is_empty() || c.len() > MAX_CONTACT || c.chars().any(char::is_control))
        {
            errors.push(InvalidNode::Contact);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            domain: parts.domain,
            targets: parts.targets,
            numbers: parts.numbers,
            ttl: parts.ttl.unwrap_or(DEFAULT_TTL),
            keys: parts.keys,
            sources: parts.sources,
            contact: parts.contact,
            lease_seconds: parts.lease_seconds,
            probe: parts.probe,
            found: Found::default(),
        })
    }

    /// The SIP domain: the part after `@`, and the name its certificates carry.
    #[must_use]
    pub const fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// 1 to [`MAX_TARGETS`] targets, in the order given.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

/// The parts of a [`Node`], each valid by itself.
#[derive(Debug, Clone)]
pub struct NodeParts {
    /// See [`Node::domain`].
    pub domain: DomainName,
    /// See [`Node::targets`].
    pub targets: Vec<Target>,
    /// See [`Node::numbers`].
    pub numbers: Vec<NumberClaim>,
    /// Seconds; [`DEFAULT_TTL`] when not given.
    pub ttl: Option<u32>,
    /// See [`Node::keys`].
    pub keys: Vec<KeyPin>,
    /// See [`Node::sources`].
    pub sources: Vec<Network>,
    /// See [`Node::contact`].
    pub contact: Option<Box<str>>,
    /// See [`Node::lease_seconds`].
    pub lease_seconds: Option<u32>,
    /// See [`Node::probe`].
    pub probe: Option<Probe>,
}

impl NodeParts {
    /// The least that a node must say: its domain and where it is served.
    #[must_use]
    pub const fn new(domain: DomainName, targets: Vec<Target>) -> Self {
        Self {
            domain,
            targets,
            numbers: Vec::new(),
            ttl: None,
            keys: Vec::new(),
            sources: Vec::new(),
            contact: None,
            lease_seconds: None,
            probe: None,
        }
    }
}

/// Where something stands that stood before.
fn repeated<T: PartialEq>(items: &[T]) -> impl Iterator<Item = usize> {
    items.iter().enumerate().filter(|(index, item)| items[..*index].contains(item)).map(|(index, _)| index)
}

fn check_limit(errors: &mut Vec<InvalidNode>, what: &'static str, found: usize, limit: usize) {
    if found > limit {
        errors.push(InvalidNode::TooMany { what, limit, found });
    }
}

fn check_claim(errors: &mut Vec<InvalidNode>, parts: &NodeParts, index: usize, claim: &NumberClaim) {
    let earlier = &parts.numbers[..index];
    match claim {
        NumberClaim::Number { number, uri } => {
            if let Some(uri) = uri {
                // ENUM-75: the URI's host is a domain that the node controls. Parameters would reach every caller.
                let plain = uri.user().is_some_and(|user| user.bytes().all(is_plain_user))
                    && uri.port().is_none()
                    && !uri.has_password()
                    && !uri.has_parameters();
                if uri.host() != &Host::Name(parts.domain.clone()) || !plain {
                    errors.push(InvalidNode::NumberUri(index));
                }
            }
            if earlier.iter().any(|e| matches!(e, NumberClaim::Number { number: n, .. } if n == number)) {
                errors.push(InvalidNode::NumberTwice(index));
            }
        }
        NumberClaim::Block(block) => {
            if earlier.iter().any(|e| matches!(e, NumberClaim::Block(b) if b.overlaps(block))) {
                errors.push(InvalidNode::BlocksOverlap(index));
            }
        }
    }
}

/// Octets that stand for themselves in a SIP user part and in a NAPTR regexp's replacement (ENUM-71).
const fn is_plain_user(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(octet, b'-' | b'_' | b'.' | b'~' | b'*' | b'\'' | b'(' | b')' | b'+' | b'=' | b'&' | b'%')
}

/// Addresses that no call can ever reach: unspecified, multicast, broadcast, IPv4 dressed as IPv6.
/// Private and loopback ones may be right inside a company's own federation.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()),
    }
}

/// A rule that a node's parts break together; indices count from 0 in the list they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNode {
    /// No target.
    #[error("a node must have at least one target")]
    NoTarget,
    /// More of something than fits.
    #[error("at most {limit} {what}; found {found}")]
    TooMany {
        /// The member.
        what: &'static str,
        /// How many may be there.
        limit: usize,
        /// How many are there.
        found: usize,
    },
    /// A domain with an underscore label.
    #[error("a node's domain must not have labels with an underscore")]
    DomainNotHost,
    /// A target host with an underscore label.
    #[error("a target must be a host name: letters, digits and hyphens only")]
    TargetNotHost(usize),
    /// More than [`MAX_ADDRESSES`].
    #[error("at most {MAX_ADDRESSES} addresses for one target")]
    TooManyAddresses(usize),
    /// Addresses for a host of somebody else.
    #[error(
        "addresses may be given only for hosts at or below the node's own domain; leave them out, the host's own zone publishes them"
    )]
    ForeignAddresses(usize),
    /// `0.0.0.0`, multicast and the like.
    #[error("an unspecified, multicast, broadcast or IPv4-mapped address cannot be called")]
    UnusableAddress(usize, usize),
    /// One address twice at a target.
    #[error("the same address is given twice")]
    AddressTwice(usize, usize),
    /// One host and port twice.
    #[error("the same host and port are given twice")]
    TargetTwice(usize),
    /// Two targets at one host with other addresses.
    #[error("targets at the same host must give the same addresses")]
    AddressesDiffer(usize),
    /// A number's URI at another domain, or with more than a plain user.
    #[error(
        "a number's uri must be sip:user@<the node's domain> or sips:…, with a plain user, no port and no parameters"
    )]
    NumberUri(usize),
    /// One number twice.
    #[error("the same number is given twice")]
    NumberTwice(usize),
    /// Two blocks of which one begins with the other.
    #[error("this block overlaps another block of the same node")]
    BlocksOverlap(usize),
    /// One key twice.
    #[error("the same key is given twice")]
    KeyTwice(usize),
    /// One network twice.
    #[error("the same network is given twice")]
    SourceTwice(usize),
    /// Outside [`TTL_RANGE`].
    #[error("ttl must be {} to {} seconds", TTL_RANGE.start(), TTL_RANGE.end())]
    Ttl,
    /// Outside [`LEASE_RANGE`].
    #[error("lease_seconds must be {} to {} seconds", LEASE_RANGE.start(), LEASE_RANGE.end())]
    Lease,
    /// Empty, too long, or with control characters.
    #[error("contact must have 1 to {MAX_CONTACT} octets and no control characters")]
    Contact,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn target(host: &str, port: u16, addresses: &[&str]) -> Target {
        Target {
            host: name(host),
            port: NonZeroU16::new(port).unwrap(),
            priority: 10,
            weight: 0,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn number(uri: Option<&str>) -> NumberClaim {
        NumberClaim::Number {
            number: E164Number::parse("+15550101").unwrap(),
            uri: uri.map(|uri| uri.parse().unwrap()),
        }
    }

    fn block(text: &str) -> NumberClaim {
        NumberClaim::Block(NumberBlock::parse(text).unwrap())
    }

    /// A valid node's parts.
    fn parts() -> NodeParts {
        NodeParts::new(name("a.test"), vec![target("sip.a.test", 5061, &["192.0.2.1", "2001:db8::1"])])
    }

    type Change = fn(&mut NodeParts);

    #[test]
    fn what_a_node_must_not_be() {
        let cases: &[(&str, Change, InvalidNode)] = &[
            ("no target", |p| p.targets.clear(), InvalidNode::NoTarget),
            (
                "nine targets",
                |p| p.targets = (0..9).map(|i| target(&format!("h{i}.a.test"), 5061, &["192.0.2.1"])).collect(),
                InvalidNode::TooMany { what: "targets", limit: 8, found: 9 },
            ),
            (
                "underscore domain",
                |p| *p = NodeParts::new(name("_a.test"), vec![target("b.test", 1, &[])]),
                InvalidNode::DomainNotHost,
            ),
            ("underscore host", |p| p.targets[0].host = name("_sip.a.test"), InvalidNode::TargetNotHost(0)),
            ("host of another", |p| p.targets[0].host = name("sip.b.test"), InvalidNode::ForeignAddresses(0)),
            (
                "multicast",
                |p| p.targets[0].addresses[1] = "ff02::1".parse().unwrap(),
                InvalidNode::UnusableAddress(0, 1),
            ),
            (
                "unspecified",
                |p| p.targets[0].addresses[0] = "0.0.0.0".parse().unwrap(),
                InvalidNode::UnusableAddress(0, 0),
            ),
            (
                "mapped",
                |p| p.targets[0].addresses[0] = "::ffff:1.2.3.4".parse().unwrap(),
                InvalidNode::UnusableAddress(0, 0),
            ),
            (
                "address twice",
                |p| p.targets[0].addresses[1] = "192.0.2.1".parse().unwrap(),
                InvalidNode::AddressTwice(0, 1),
            ),
            ("target twice", |p| p.targets.push(p.targets[0].clone()), InvalidNode::TargetTwice(1)),
            ("addresses differ", |p| p.targets.push(target("sip.a.test", 5081, &[])), InvalidNode::AddressesDiffer(1)),
            ("ttl", |p| p.ttl = Some(0), InvalidNode::Ttl),
            ("lease", |p| p.lease_seconds = Some(1), InvalidNode::Lease),
            ("contact", |p| p.contact = Some("a\nb".into()), InvalidNode::Contact),
            ("uri of another", |p| p.numbers = vec![number(Some("sip:alice@b.test"))], InvalidNode::NumberUri(0)),
            ("uri without user", |p| p.numbers = vec![number(Some("sip:a.test"))], InvalidNode::NumberUri(0)),
            ("uri with port", |p| p.numbers = vec![number(Some("sip:alice@a.test:5070"))], InvalidNode::NumberUri(0)),
            (
                "uri with password",
                |p| p.numbers = vec![number(Some("sip:alice:secret@a.test"))],
                InvalidNode::NumberUri(0),
            ),
            (
                "uri with parameter",
                |p| p.numbers = vec![number(Some("sip:alice@a.test;transport=udp"))],
                InvalidNode::NumberUri(0),
            ),
            ("regexp delimiter", |p| p.numbers = vec![number(Some("sip:a!b@a.test"))], InvalidNode::NumberUri(0)),
            (
                "key twice",
                |p| p.keys = [KeyPin { holder: KeyHolder::Node, sha256: [1; 32] }; 2].into(),
                InvalidNode::KeyTwice(1),
            ),
            (
                "source twice",
                |p| p.sources = ["192.0.2.1", "192.0.2.1/32"].map(|text| Network::parse(text).unwrap()).into(),
                InvalidNode::SourceTwice(1),
            ),
            ("number twice", |p| p.numbers = vec![number(None), number(None)], InvalidNode::NumberTwice(1)),
            ("blocks", |p| p.numbers = vec![block("+1555"), block("+15550")], InvalidNode::BlocksOverlap(1)),
        ];
        for (case, change, expected) in cases {
            let mut parts = parts();
            change(&mut parts);
            assert_eq!(Node::new(parts), Err(vec![*expected]), "{case}");
        }
    }

    #[test]
    fn all_faults_at_once_and_defaults() {
        let mut wrong = parts();
        wrong.ttl = Some(u32::MAX);
        wrong.targets[0].host = name("sip.b.test");
        assert_eq!(Node::new(wrong).unwrap_err(), [InvalidNode::ForeignAddresses(0), InvalidNode::Ttl]);
        let mut fine = parts();
        fine.numbers = vec![number(Some("sips:alice@a.test")), block("+15550")];
        fine.targets.push(target("sip.a.test", 5081, &["192.0.2.1", "2001:db8::1"]));
        fine.targets.push(target("sip.provider.test", 5061, &[]));
        let node = Node::new(fine).unwrap();
        assert_eq!((node.ttl, node.targets().len()), (DEFAULT_TTL, 3));
    }

    #[test]
    fn networks() {
        for (text, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(Network::parse(text).unwrap().to_string(), shown);
        }
        for (text, why) in [
            ("192.0.2.1/24", InvalidNetwork::HostBits),
            ("2001:db8::1/64", InvalidNetwork::HostBits),
            ("192.0.2.0/33", InvalidNetwork::Length),
            ("192.0.2.0/", InvalidNetwork::Length),
            ("example.org/24", InvalidNetwork::Syntax),
        ] {
            assert_eq!(Network::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn networks_hold_addresses() {
        for (network, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
        ] {
            let holds = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(holds, inside, "{network} {address}");
        }
    }
}
