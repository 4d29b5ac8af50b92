//! What known SIP software and resolvers do with a node's records that their standards do not say: the quirk lint.
//!
//! Every rule has an id; docs/quirks.md is the table with the software and where it was seen. What breaks calls is refused
//! where nodes and records are made ([`Quirk::behind_node`], [`Quirk::behind_records`]); the rest is a warning ([`lint`]).

use std::collections::HashMap;
use std::net::IpAddr;

use crate::name::DomainName;
use crate::node::{InvalidNode, Node};
use crate::publish::{RecordSetError, SIPS_TCP};

/// Above this many seconds a move to another address takes long to be seen.
pub const LONG_TTL: u32 = 3600;
/// The port of plain SIP (RFC 3261 19.1.2).
pub const PLAIN_PORT: u16 = 5060;
/// The labels of plain SIP's services (RFC 3263 4.1): no node has them.
pub const PLAIN_SERVICES: [[&str; 2]; 2] = [["_sip", "_udp"], ["_sip", "_tcp"]];

/// What becomes of a record set with a quirk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Calls fail: it is not published.
    Refuse,
    /// It works with some programs only, or not as it is meant.
    Warn,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// An answer above 512 octets.
    LargeAnswer,
    /// More targets than fit an answer.
    ManyTargets,
    /// A number's URI with a port, parameters or another host.
    NumberUri,
    /// A foreign domain whose own zone does not lead here.
    ForeignDomain,
    /// The domain itself is a target.
    DomainIsTarget,
    /// The zone has an address at the domain, and the node does not.
    AddressAtDomain,
    /// The zone has SRV records of plain SIP for the domain.
    PlainService,
    /// An address that is not called from everywhere.
    LocalAddress,
    /// Records that are kept for long.
    LongTtl,
    /// Weights that share calls unevenly.
    Weights,
    /// A host that somebody else keeps.
    ForeignHost,
    /// TLS on the port of plain SIP.
    PlainPort,
    /// A NAPTR record of plain SIP in a master file.
    PlainNaptr,
    /// A NAPTR record in RFC 2916's order in a master file.
    OldEnum,
}

impl Quirk {
    /// All of them, by id.
    pub const ALL: [Self; 14] = [
        Self::LargeAnswer,
        Self::ManyTargets,
        Self::NumberUri,
        Self::ForeignDomain,
        Self::DomainIsTarget,
        Self::AddressAtDomain,
        Self::PlainService,
        Self::LocalAddress,
        Self::LongTtl,
        Self::Weights,
        Self::ForeignHost,
        Self::PlainPort,
        Self::PlainNaptr,
        Self::OldEnum,
    ];

    /// The rule's id; never used for another rule.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::LargeAnswer => "QUIRK-01",
            Self::ManyTargets => "QUIRK-02",
            Self::NumberUri => "QUIRK-03",
            Self::ForeignDomain => "QUIRK-04",
            Self::DomainIsTarget => "QUIRK-05",
            Self::AddressAtDomain => "QUIRK-06",
            Self::PlainService => "QUIRK-07",
            Self::LocalAddress => "QUIRK-08",
            Self::LongTtl => "QUIRK-09",
            Self::Weights => "QUIRK-10",
            Self::ForeignHost => "QUIRK-11",
            Self::PlainPort => "QUIRK-12",
            Self::PlainNaptr => "QUIRK-13",
            Self::OldEnum => "QUIRK-14",
        }
    }

    /// What becomes of records with it.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::LargeAnswer | Self::ManyTargets | Self::NumberUri => Severity::Refuse,
            Self::ForeignDomain
            | Self::DomainIsTarget
            | Self::AddressAtDomain
            | Self::PlainService
            | Self::LocalAddress
            | Self::LongTtl
            | Self::Weights
            | Self::ForeignHost
            | Self::PlainPort
            | Self::PlainNaptr
            | Self::OldEnum => Severity::Warn,
        }
    }

    /// The quirk because of which a node is refused, if it is one.
    #[must_use]
    pub const fn behind_node(error: &InvalidNode) -> Option<Self> {
        match error {
            InvalidNode::TooMany { what, .. } if matches!(what.as_bytes(), b"targets") => Some(Self::ManyTargets),
            InvalidNode::NumberUri(_) => Some(Self::NumberUri),
            _ => None,
        }
    }

    /// The quirk because of which a node's records are refused, if it is one.
    #[must_use]
    pub const fn behind_records(error: &RecordSetError) -> Option<Self> {
        match error {
            RecordSetError::TooLarge { .. } => Some(Self::LargeAnswer),
            RecordSetError::Name(_) | RecordSetError::LongRegexp { .. } => None,
        }
    }
}

/// A part of a node; indices count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The domain.
    Domain,
    /// The TTL.
    Ttl,
    /// `targets[i].host`.
    Host(usize),
    /// `targets[i].port`.
    Port(usize),
    /// `targets[i].weight`.
    Weight(usize),
    /// `targets[i].addresses[j]`.
    Address(usize, usize),
}

/// A quirk that a node trips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub quirk: Quirk,
    /// Where.
    pub place: Place,
    /// What it is, and what to do.
    pub text: String,
}

/// What is known of the zones around a node.
pub trait Surroundings {
    /// The zone below which every node stands.
    fn peers_zone(&self) -> Option<&DomainName>;
    /// Whether a zone served here holds the name.
    fn is_served(&self, name: &DomainName) -> bool;
    /// Whether a master file has SRV records at this name.
    fn has_srv(&self, name: &DomainName) -> bool;
    /// Whether a master file has an address at this name.
    fn has_address(&self, name: &DomainName) -> bool;
}

/// Every quirk that `node` trips and is not refused for, in the order of its parts.
#[must_use]
pub fn lint(node: &Node, around: &impl Surroundings) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut warn = |quirk, place, text| found.push(Finding { quirk, place, text });
    let domain = node.domain();
    let is_target = node.targets().iter().position(|target| target.host == *domain);
    if around.is_served(domain) {
        if is_target.is_none() && around.has_address(domain) {
            let text = format!(
                "{domain} has an address of its own in the zone: programs that do not look for `_sips._tcp` call that, in \
                 clear; have it removed unless it is needed"
            );
            warn(Quirk::AddressAtDomain, Place::Domain, text);
        }
        for labels in PLAIN_SERVICES {
            if let Ok(name) = domain.prefixed(&labels)
                && around.has_srv(&name)
            {
                let text = format!(
                    "the zone has SRV records at {name}: programs that prefer UDP or TCP follow them and call in clear; \
                     have them removed"
                );
                warn(Quirk::PlainService, Place::Domain, text);
            }
        }
    } else if let Some(peers) = around.peers_zone() {
        let service = SIPS_TCP.join(".");
        let text = format!(
            "{domain} is in no zone served here: to be found by everybody, its owner adds one record: {service}.{domain}. \
             CNAME {service}.{domain}.{peers}."
        );
        warn(Quirk::ForeignDomain, Place::Domain, text);
    }
    let mut weights: HashMap<u16, u16> = HashMap::new();
    for (index, target) in node.targets().iter().enumerate() {
        if is_target == Some(index) {
            let text = format!(
                "{domain} is a target itself: programs that do not look for `_sips._tcp` find its address and call it in \
                 clear; name a host below it, such as sip.{domain}"
            );
            warn(Quirk::DomainIsTarget, Place::Host(index), text);
        }
        if target.addresses.is_empty() && !around.is_served(&target.host) {
            let text = format!("{} is in no zone served here: its owner has to keep its addresses", target.host);
            warn(Quirk::ForeignHost, Place::Host(index), text);
        }
        if target.port.get() == PLAIN_PORT {
            let text = format!(
                "{PLAIN_PORT} is the port of SIP without TLS: programs and firewalls take it for that; listen on 5061"
            );
            warn(Quirk::PlainPort, Place::Port(index), text);
        }
        let first = *weights.entry(target.priority).or_insert(target.weight);
        if first != target.weight {
            let text =
                "programs that do not weigh SRV records (Kamailio as it comes) send everything to the first of one \
                        priority; use priorities, or equal weights"
                    .to_owned();
            warn(Quirk::Weights, Place::Weight(index), text);
        }
        for (at, address) in target.addresses.iter().enumerate() {
            if let Some(kind) = not_global(*address) {
                let text = format!("{address} is {kind}: only callers in the same network reach it");
                warn(Quirk::LocalAddress, Place::Address(index, at), text);
            }
        }
    }
    if node.ttl > LONG_TTL {
        let text = format!("a change of address may take {} seconds to be seen", node.ttl);
        warn(Quirk::LongTtl, Place::Ttl, text);
    }
    found
}

/// What kind of address it is, if it cannot be called from everywhere (RFC 1918, 4193, 4291, 6598).
fn not_global(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64) => {
            Some("a private address")
        }
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unique_local() => Some("a private address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{NodeParts, Target};

    /// `test` is served, with what is listed in its master file; everything else is foreign.
    struct Zone(Vec<(&'static str, &'static str)>);

    impl Zone {
        fn has(&self, kind: &str, name: &DomainName) -> bool {
            self.0.iter().any(|(known, owner)| *known == kind && *owner == name.to_string())
        }
    }

    impl Surroundings for Zone {
        fn peers_zone(&self) -> Option<&DomainName> {
            static PEERS: std::sync::LazyLock<DomainName> =
                std::sync::LazyLock::new(|| DomainName::parse("peers.test").unwrap());
            Some(&PEERS)
        }

        fn is_served(&self, name: &DomainName) -> bool {
            name.is_at_or_below(&DomainName::parse("test").unwrap())
        }

        fn has_srv(&self, name: &DomainName) -> bool {
            self.has("SRV", name)
        }

        fn has_address(&self, name: &DomainName) -> bool {
            self.has("A", name)
        }
    }

    fn target(host: &str, priority: u16, weight: u16, address: Option<&str>) -> Target {
        Target {
            host: DomainName::parse(host).unwrap(),
            port: 5061.try_into().unwrap(),
            priority,
            weight,
            addresses: address.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn found(domain: &str, targets: Vec<Target>, zone: &Zone) -> Vec<(&'static str, Place)> {
        let node = Node::new(NodeParts::new(DomainName::parse(domain).unwrap(), targets)).unwrap();
        lint(&node, zone).into_iter().map(|finding| (finding.quirk.id(), finding.place)).collect()
    }

    #[test]
    fn each_quirk_is_found_where_it_is() {
        let plain = || target("sip.a.test", 10, 0, Some("203.0.113.7"));
        let none = Zone(Vec::new());
        assert_eq!(found("a.test", vec![plain()], &none), []);
        assert_eq!(
            found("a.example", vec![target("s.a.example", 1, 0, Some("203.0.113.7"))], &none),
            [("QUIRK-04", Place::Domain)]
        );
        assert_eq!(
            found("a.test", vec![target("a.test", 10, 0, Some("203.0.113.7"))], &none),
            [("QUIRK-05", Place::Host(0))]
        );
        let zone = Zone(vec![("A", "a.test"), ("SRV", "_sip._udp.a.test"), ("SRV", "_sip._tcp.a.test")]);
        assert_eq!(
            found("a.test", vec![plain()], &zone),
            [("QUIRK-06", Place::Domain), ("QUIRK-07", Place::Domain), ("QUIRK-07", Place::Domain)]
        );
        assert_eq!(
            found("b.test", vec![target("sip.b.test", 1, 1, Some("10.0.0.1"))], &zone),
            [("QUIRK-08", Place::Address(0, 0))]
        );
        let weighed = vec![plain(), target("b.a.test", 10, 5, Some("203.0.113.8"))];
        assert_eq!(found("a.test", weighed, &none), [("QUIRK-10", Place::Weight(1))]);
        let apart = vec![plain(), target("b.a.test", 20, 5, Some("203.0.113.8"))];
        assert_eq!(found("a.test", apart, &none), [], "other priorities");
        assert_eq!(found("a.test", vec![target("sip.b.example", 1, 0, None)], &none), [("QUIRK-11", Place::Host(0))]);
        let port = Target { port: PLAIN_PORT.try_into().unwrap(), ..plain() };
        assert_eq!(found("a.test", vec![port], &none), [("QUIRK-12", Place::Port(0))]);
        let mut parts = NodeParts::new(DomainName::parse("a.test").unwrap(), vec![plain()]);
        parts.ttl = Some(LONG_TTL + 1);
        let slow = lint(&Node::new(parts).unwrap(), &none);
        assert_eq!((slow.len(), slow[0].quirk, slow[0].place), (1, Quirk::LongTtl, Place::Ttl));
    }

    #[test]
    fn ids_are_in_order_and_their_own() {
        for (index, quirk) in Quirk::ALL.into_iter().enumerate() {
            assert_eq!(quirk.id(), format!("QUIRK-{:02}", index + 1));
        }
    }

    #[test]
    fn what_breaks_calls_is_refused() {
        let many = (0..9).map(|n| target(&format!("s{n}.a.test"), 1, 0, Some("203.0.113.7"))).collect();
        let errors = Node::new(NodeParts::new(DomainName::parse("a.test").unwrap(), many)).unwrap_err();
        assert_eq!(errors.iter().find_map(Quirk::behind_node), Some(Quirk::ManyTargets));
        let refused = [Quirk::LargeAnswer, Quirk::ManyTargets, Quirk::NumberUri];
        for quirk in Quirk::ALL {
            assert_eq!(quirk.severity() == Severity::Refuse, refused.contains(&quirk), "{}", quirk.id());
        }
    }

    #[test]
    fn addresses() {
        for (address, kind) in [
            ("203.0.113.7", None),
            ("100.128.0.1", None),
            ("2001:db8::7", None),
            ("10.0.0.1", Some("a private address")),
            ("100.64.0.1", Some("a private address")),
            ("fd00::1", Some("a private address")),
            ("127.0.0.2", Some("a loopback address")),
            ("::1", Some("a loopback address")),
            ("169.254.1.1", Some("a link-local address")),
            ("fe80::1", Some("a link-local address")),
        ] {
            assert_eq!(not_global(address.parse().unwrap()), kind, "{address}");
        }
    }
}
