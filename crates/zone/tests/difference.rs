//! Differences between versions: applied to the old records they give the new ones, whatever was published between.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::{any_holders, any_node, directory, name, rdatas, read, with_head};
use tandem_model::publish::RECORDS_VERSION;
use tandem_model::{DomainName, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::{Change, Draft, Live, Settings, Zones};

type Line = (Vec<u8>, u16, u32, Vec<u8>);

/// Every record of a zone but its SOA; no record comes twice.
fn records(zones: &Zones, apex: &DomainName) -> BTreeSet<Line> {
    let mut all = BTreeSet::new();
    zones.walk(zones.zone(apex).unwrap(), |owner, set| {
        for rdata in rdatas(&set) {
            assert!(all.insert((owner.to_vec(), set.kind().0, set.ttl(), rdata)), "twice: {owner:?}");
        }
        true
    });
    all
}

fn line(change: &tandem_zone::RecordChange) -> Line {
    (change.owner.to_vec(), change.kind.0, change.ttl, change.rdata.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn every_old_version_leads_to_the_new_one(
        steps in prop::collection::vec(prop::collection::vec((any_node(), prop::bool::weighted(0.75)), 1..4), 1..8),
        holders in any_holders(),
    ) {
        let live = Live::new(directory().with_holders(holders));
        let mut versions = vec![live.load()];
        for (index, batch) in steps.into_iter().enumerate() {
            let mut zones = (*live.load()).clone();
            let mut changes = Vec::new();
            let serial = Serial::new(8 + u32::try_from(index).unwrap());
            for (node, put) in batch {
                let change = if put {
                    if !zones.check(&node).is_empty() {
                        continue;
                    }
                    Change::Put(Box::new(node))
                } else {
                    Change::Remove(node.domain().clone())
                };
                zones = zones.with(std::slice::from_ref(&change), serial);
                changes.push(change);
            }
            live.publish(live.load().with(&changes, serial));
            versions.push(live.load());
        }
        for (at, now) in versions.iter().enumerate() {
            for apex in ["ostn.test", "ostel.me", "peers.ostn.test", "policy.ostn.test", "e164.ostn.test"].map(name) {
                let target = records(now, &apex);
                for old in &versions[..at] {
                    let from = old.zone(&apex).unwrap().serial();
                    let (soa, _, difference) = live.difference(now, &apex, from, 10_000).unwrap();
                    prop_assert_eq!(&soa[soa.len() - 20..soa.len() - 16], &from.value().to_be_bytes()[..]);
                    let mut patched = records(old, &apex);
                    for gone in &difference.removed {
                        prop_assert!(patched.remove(&line(gone)), "{} {:?}", apex, gone);
                    }
                    for new in &difference.added {
                        prop_assert!(patched.insert(line(new)), "{} {:?}", apex, new);
                    }
                    prop_assert_eq!(&patched, &target, "{}", apex);
                }
            }
        }
    }
}

/// A node whose domain is its one host.
fn node(host: &str) -> Node {
    let target = Target {
        host: name(host),
        port: 5061.try_into().unwrap(),
        priority: 1,
        weight: 1,
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    Node::new(NodeParts::new(name(host), vec![target])).unwrap()
}

#[test]
fn no_difference_where_none_can_be_told() {
    let live = Live::new(directory());
    let apex = name("ostn.test");
    let now = live.load();
    assert!(live.difference(&now, &apex, Serial::new(6), 10).is_none(), "never served");
    assert!(live.difference(&now, &name("other.test"), Serial::new(7), 10).is_none(), "no such zone");
    let put = |live: &Live, host: &str, serial: u32| {
        live.publish(live.load().with(&[Change::Put(Box::new(node(host)))], Serial::new(serial)));
    };
    put(&live, "a.ostn.test", 8);
    let middle = live.load();
    put(&live, "b.ostn.test", 9);
    let last = live.load();
    let size = |now: &Arc<Zones>, from: u32, most: usize| {
        live.difference(now, &apex, Serial::new(from), most).map(|(_, _, d)| d.added.len())
    };
    assert_eq!((size(&last, 7, 100), size(&last, 8, 100), size(&middle, 7, 100)), (Some(6), Some(3), Some(3)));
    assert_eq!(size(&last, 7, 5), None, "more than may be said");
    assert_eq!(size(&middle, 9, 100), None, "from the future");
    let ostn = read("ostn.test", &with_head("new A 192.0.2.1\n")).unwrap();
    let others = ["ostel.me", "peers.ostn.test", "policy.ostn.test", "e164.ostn.test"]
        .map(|apex| read(apex, &with_head("")).unwrap());
    live.publish(last.with_statics([ostn].into_iter().chain(others).collect(), Serial::new(10)).unwrap());
    assert_eq!(size(&live.load(), 9, 100), None, "other static records");
    put(&live, "c.ostn.test", 11);
    assert_eq!(size(&live.load(), 10, 100), Some(3), "and on from there");
}

/// Changes that become durable together become one version: its difference has all of them.
#[test]
fn a_draft_tells_every_change() {
    let live = Live::new(directory());
    let before = live.load();
    let mut draft = Draft::new(&before);
    for (serial, host) in [(8, "a.ostn.test"), (9, "b.ostn.test"), (10, "a.example")] {
        draft.check_and_put(&node(host), Serial::new(serial)).unwrap();
    }
    draft.check_and_put(&node("x.a.ostn.test"), Serial::new(11)).unwrap();
    assert!(draft.check_and_put(&node("ns1.ostn.test"), Serial::new(12)).is_err(), "static");
    draft.remove(&name("x.a.ostn.test"), Serial::new(11));
    live.publish(draft.finish());
    let now = live.load();
    let serial = |apex: &str| now.zone(&name(apex)).unwrap().serial().value();
    assert_eq!((serial("ostn.test"), serial("peers.ostn.test"), serial("ostel.me")), (11, 11, 7));
    let count = |apex: &str| live.difference(&now, &name(apex), Serial::new(7), 100).unwrap().2.added.len();
    assert_eq!((count("ostn.test"), count("peers.ostn.test")), (6, 7));
}

#[test]
fn waiting_for_a_version() {
    let live = Live::new(
        Zones::new(Settings::default(), vec![read("a.test", &with_head("")).unwrap()], Serial::new(1)).unwrap(),
    );
    assert_eq!(live.wait_for_change(0, Duration::from_millis(1)), 0);
    let other = live.clone();
    let waiter = std::thread::spawn(move || other.wait_for_change(0, Duration::from_secs(20)));
    live.publish(live.load().with(&[], Serial::new(2)));
    assert_eq!((waiter.join().unwrap(), live.version_count()), (1, 1));
}

/// A node with everything that a node can have.
fn full_node(domain: &str, number: &str) -> Node {
    let target = |host: &str, priority, addresses: &[&str]| Target {
        host: name(host),
        port: 5061.try_into().unwrap(),
        priority,
        weight: 7,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let own = format!("sip.{domain}");
    let targets = vec![target(&own, 1, &["192.0.2.1", "2001:db8::1"]), target("other.example", 2, &[])];
    let mut parts = NodeParts::new(name(domain), targets);
    parts.keys = vec![tandem_model::node::KeyPin { holder: tandem_model::node::KeyHolder::Node, sha256: [7; 32] }];
    parts.numbers = vec![
        NumberClaim::Number { number: format!("{number}1").parse().unwrap(), uri: None },
        NumberClaim::Block(format!("{number}2").parse().unwrap()),
    ];
    Node::new(parts).unwrap()
}

/// What nodes make, in a text: it changes together with the version of the records, and never alone.
#[test]
fn records_change_with_their_version_only() {
    let mut zones = directory();
    for (domain, number) in [("a.ostn.test", "+155501"), ("b.example", "+155502")] {
        let node = full_node(domain, number);
        assert_eq!(zones.check(&node), []);
        zones = zones.with(&[Change::Put(Box::new(node))], Serial::new(8));
    }
    let mut text = String::new();
    zones.iter().for_each(|zone| zones.print(zone, &mut text).unwrap());
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("a.ostn") || line.contains("b.example")).collect();
    // FNV-1a: short, and the same everywhere.
    let digest = lines
        .join("\n")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(
        (RECORDS_VERSION, digest),
        (0, 0x2677_98bd_e4d5_25eb),
        "nodes make other records than before: raise RECORDS_VERSION, then write both numbers here\n{}",
        lines.join("\n")
    );
}
