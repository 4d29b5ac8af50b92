//! Additional data found by a master file's links is that which look-ups would find, where other zones, nodes, cuts and
//! wildcards have a say, too.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use tandem_model::{DomainName, Node, NodeParts, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Lookup, QueryName, RrType, Settings, Zones};

const HEAD: &str = "$TTL 60\n@ SOA ns.test. h.test. 1 2 3 4 5\n@ NS ns.test.\n";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn zones(files: &[(&str, &str)]) -> Zones {
    let read = |(apex, text): &(&str, &str)| {
        let text = format!("{HEAD}{text}");
        StaticZone::read(&name(apex), apex, text.as_bytes(), &mut |_| Err(String::new())).unwrap()
    };
    Zones::new(Settings::default(), files.iter().map(read).collect(), Serial::new(1)).unwrap()
}

/// The additional data of `owner`'s SRV set: owners, types and the last octet of the first record.
fn further(zones: &Zones, owner: &str) -> Vec<(String, RrType, u8)> {
    let owner = QueryName::of(&name(owner));
    let Lookup::Records(zone, set) = zones.lookup(&owner, RrType::SRV) else { panic!("no SRV at {owner:?}") };
    let mut seen = Vec::new();
    zones.additional(zone, &set, |owner, set| {
        let mut data = Vec::new();
        set.rdatas().next().unwrap().write(&mut data);
        seen.push((format!("{:?}", QueryName::parse(owner.name).unwrap()), set.kind(), *data.last().unwrap()));
        true
    });
    seen
}

fn a(owner: &str, last: u8) -> (String, RrType, u8) {
    (format!("QueryName({owner}.)"), RrType::A, last)
}

#[test]
fn targets_of_all_kinds() {
    let zones = zones(&[
        (
            "a.test",
            "_s._tcp SRV 1 0 5 Host\n_s._tcp SRV 2 0 5 alias\n_s._tcp SRV 3 0 5 none\n_s._tcp SRV 4 0 5 h.b.test.\n\
             _s._tcp SRV 5 0 6 host\n_s._tcp SRV 6 0 5 @\nhost A 192.0.2.1\n_5._tcp.host TLSA 3 1 1 07\n\
             alias CNAME host\nx.none TXT x\n@ A 192.0.2.6\n",
        ),
        ("b.test", "h A 192.0.2.2\n"),
    ]);
    let tlsa = ("QueryName(_5._tcp.host.a.test.)".to_owned(), RrType::TLSA, 7);
    let expected = [a("host.a.test", 1), a("h.b.test", 2), a("a.test", 6), tlsa];
    assert_eq!(further(&zones, "_s._tcp.a.test"), expected, "each host once, in the order of the file");
}

#[test]
fn a_zone_below_hides_names_of_the_file_above() {
    let below = ("c.a.test", "h A 192.0.2.2\n");
    let records = "_s._tcp SRV 1 0 5 h.c\n_s._tcp SRV 2 0 5 i.c\n";
    // Whether the zone above has the name or not: what counts is the zone below.
    for stale in ["", "h.c A 192.0.2.1\n", "h.c A 192.0.2.1\ni.c A 192.0.2.1\n"] {
        let zones = zones(&[("a.test", &format!("{records}{stale}")), below]);
        assert_eq!(further(&zones, "_s._tcp.a.test"), [a("h.c.a.test", 2)], "{stale:?}");
    }
    let delegated = zones(&[("a.test", &format!("{records}c NS ns.c\nns.c A 192.0.2.1\n")), below]);
    assert_eq!(further(&delegated, "_s._tcp.a.test"), [a("h.c.a.test", 2)]);
    let elsewhere = zones(&[("a.test", &format!("{records}c NS h.c\nh.c A 192.0.2.1\n"))]);
    assert_eq!(further(&elsewhere, "_s._tcp.a.test"), [], "glue is no answer");
}

#[test]
fn wildcards_stand_for_targets() {
    let zones = zones(&[("a.test", "_s._tcp SRV 1 0 5 any\n_s._tcp SRV 2 0 5 x.there\n* A 192.0.2.9\nthere TXT x\n")]);
    assert_eq!(further(&zones, "_s._tcp.a.test"), [a("any.a.test", 9)]);
}

#[test]
fn a_node_may_be_what_a_record_leads_to() {
    let before = zones(&[("a.test", "_s._tcp SRV 1 0 5 sip.n\n_s._tcp SRV 2 0 5 host\nhost A 192.0.2.1\n")]);
    assert_eq!(further(&before, "_s._tcp.a.test"), [a("host.a.test", 1)]);
    let target = Target {
        host: name("sip.n.a.test"),
        port: 5061.try_into().unwrap(),
        priority: 0,
        weight: 0,
        addresses: vec!["192.0.2.3".parse().unwrap()],
    };
    let node = Node::new(NodeParts::new(name("n.a.test"), vec![target])).unwrap();
    let after = before.with(&[Change::Put(Box::new(node))], Serial::new(2));
    assert_eq!(further(&after, "_s._tcp.a.test"), [a("sip.n.a.test", 3), a("host.a.test", 1)]);
}
