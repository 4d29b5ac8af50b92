//! What nodes hold at any name is what the zones made from them serve there, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test: what fails here is what is tested")]

#[expect(dead_code, reason = "what makes random holders is for other tests")]
mod support;

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use proptest::prelude::*;
use support::{any_node, directory, name, rdatas};
use tandem_model::{E164Number, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::{Change, Held, Lookup, QueryName, RrType, Settings, Suffixes, Zones};

const KINDS: [RrType; 5] = [RrType::NAPTR, RrType::SRV, RrType::A, RrType::AAAA, RrType::TLSA];

fn suffixes() -> Suffixes {
    Suffixes { peers: Some(name("peers.ostn.test")), numbers: vec![name("e164.example.org"), name("e164.ostn.test")] }
}

/// A domain at one host with an IPv4 address, and a number.
fn fixed_node(domain: &str, number: &str) -> Node {
    let target = Target {
        host: name(&format!("sip.{domain}")),
        port: NonZeroU16::new(5061).unwrap(),
        priority: 0,
        weight: 0,
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    let mut parts = NodeParts::new(name(domain), vec![target]);
    parts.ttl = Some(77);
    parts.numbers = vec![NumberClaim::Number { number: E164Number::parse(number).unwrap(), uri: None }];
    Node::new(parts).unwrap()
}

/// The same nodes where no zone is.
fn bare(nodes: &[Node]) -> Zones {
    let changes: Vec<Change> = nodes.iter().map(|node| Change::Put(Box::new(node.clone()))).collect();
    Zones::new(Settings::default(), Vec::new(), Serial::new(1)).unwrap().with(&changes, Serial::new(2))
}

fn held(zones: &Zones, owner: &str, kind: RrType) -> String {
    match zones.held_by_nodes(&QueryName::of(&name(owner)), kind, &suffixes()) {
        Held::Records(set) => format!("{}×{}", set.ttl(), rdatas(&set).len()),
        Held::NoData => "no data".to_owned(),
        Held::Nothing => "nothing".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_same_as_in_zones_dns_120(mut nodes in prop::collection::vec(any_node(), 1..6)) {
        let mut zones = directory();
        nodes.retain(|node| {
            let fits = zones.check(node).is_empty();
            if fits {
                zones = zones.with(&[Change::Put(Box::new(node.clone()))], Serial::new(8));
            }
            fits
        });
        // One domain twice: the last counts.
        let last: Vec<Node> =
            nodes.iter().enumerate().filter(|(at, node)| nodes[at + 1..].iter().all(|later| later.domain() != node.domain()))
                .map(|(_, node)| node.clone()).collect();
        let bare = bare(&nodes);
        let suffixes = suffixes();
        let policy = name("policy.ostn.test");
        for node in &last {
            for record in zones.records(node).unwrap() {
                // The policy zone is for resolvers that apply it, and hosts are at their own names here.
                // No other claim begins with a 7: there the block's wildcard stands.
                let digit: &[&str] = if record.owner.wildcard { &["7"] } else { &[] };
                let owner = record.owner.name.prefixed(digit).unwrap();
                if owner.is_at_or_below(&policy) {
                    continue;
                }
                let question = QueryName::of(&owner);
                for kind in KINDS {
                    let served = match zones.lookup(&question, kind) {
                        Lookup::Records(_, set) => Some((set.ttl(), rdatas(&set))),
                        _ => None,
                    };
                    let found = match bare.held_by_nodes(&question, kind, &suffixes) {
                        Held::Records(set) => Some((set.ttl(), rdatas(&set))),
                        Held::NoData | Held::Nothing => None,
                    };
                    let in_peers = owner.is_at_or_below(&name("peers.ostn.test"));
                    if in_peers {
                        // There, targets of foreign nodes are named below the apex by the zone, and plainly here.
                        let count = |found: &Option<(u32, BTreeSet<Vec<u8>>)>| found.as_ref().map(|(ttl, set)| (*ttl, set.len()));
                        if matches!(kind, RrType::NAPTR | RrType::SRV) {
                            prop_assert_eq!(count(&found), count(&served), "{} {:?}", owner, kind);
                        }
                    } else {
                        prop_assert_eq!(found, served, "{} {:?}", owner, kind);
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_members_is_nobodys_dns_121() {
    let node = fixed_node("a.example", "+4420");
    let zones = bare(&[node]);
    for (owner, kind, expected) in [
        ("a.example", RrType::NAPTR, "77×1"),
        ("a.example", RrType::A, "nothing"),
        ("a.example", RrType::MX, "nothing"),
        ("a.example", RrType::SOA, "nothing"),
        ("a.example", RrType::ANY, "nothing"),
        ("_tcp.a.example", RrType::SRV, "nothing"),
        ("_sips._tcp.a.example", RrType::SRV, "77×1"),
        ("x._sips._tcp.a.example", RrType::SRV, "nothing"),
        ("_sip._tcp.a.example", RrType::SRV, "nothing"),
        ("sip.a.example", RrType::A, "77×1"),
        ("sip.a.example", RrType::AAAA, "no data"),
        ("sip.a.example", RrType::TLSA, "nothing"),
        ("example", RrType::NAPTR, "nothing"),
        ("b.example", RrType::NAPTR, "nothing"),
        ("www.a.example", RrType::A, "nothing"),
        ("a.example.peers.ostn.test", RrType::NAPTR, "77×1"),
        ("_sips._tcp.a.example.peers.ostn.test", RrType::SRV, "77×1"),
        ("sip.a.example.peers.ostn.test", RrType::A, "nothing"),
        ("peers.ostn.test", RrType::NAPTR, "nothing"),
        ("0.2.4.4.e164.ostn.test", RrType::NAPTR, "77×1"),
        ("0.2.4.4.e164.example.org", RrType::NAPTR, "77×1"),
        ("0.2.4.4.e164.ostn.test", RrType::A, "nothing"),
        ("0.2.4.4.e164.arpa", RrType::NAPTR, "nothing"),
        ("2.4.4.e164.ostn.test", RrType::NAPTR, "nothing"),
        ("1.0.2.4.4.e164.ostn.test", RrType::NAPTR, "nothing"),
        ("a.0.2.4.4.e164.ostn.test", RrType::NAPTR, "nothing"),
        ("e164.ostn.test", RrType::NAPTR, "nothing"),
    ] {
        assert_eq!(held(&zones, owner, kind), expected, "{owner} {kind:?}");
    }
}

/// The domain that the suffixes lie in may be a member's, too.
#[test]
fn suffixes_come_before_the_domains_around_them_dns_120() {
    let zones = bare(&[fixed_node("ostn.test", "+4420"), fixed_node("a.example", "+4421")]);
    for (owner, kind) in [
        ("ostn.test", RrType::NAPTR),
        ("_sips._tcp.ostn.test", RrType::SRV),
        ("a.example.peers.ostn.test", RrType::NAPTR),
        ("1.2.4.4.e164.ostn.test", RrType::NAPTR),
    ] {
        assert_eq!(held(&zones, owner, kind), "77×1", "{owner}");
    }
}
