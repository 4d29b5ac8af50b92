//! What is served against what it should be: RFC 4592's zone, nodes against the model's records, and every generated
//! answer against the same zone exported, read again and served from plain records.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

#[path = "served/numbers.rs"]
mod numbers;
mod support;

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use proptest::prelude::*;
use support::{any_holders, any_node, directory, name, rdatas, read, with_head};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{E164Number, Node, NodeParts, NumberBlock, NumberClaim, Serial, Target};
use tandem_zone::{BuildError, Change, ConflictKind, Holders, Lookup, Part, QueryName, RrType, Settings, Zones};

fn query(text: &str) -> QueryName {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    QueryName::parse(&wire).unwrap()
}

/// An outcome as something that can be compared between two versions.
fn outcome(zones: &Zones, name: &QueryName, kind: RrType) -> String {
    match zones.lookup(name, kind) {
        Lookup::NotOurs => "REFUSED".into(),
        Lookup::Records(zone, set) => format!("{} {:?} {} {:02x?}", zone.apex(), kind, set.ttl(), rdatas(&set)),
        Lookup::Cname(zone, set) => format!("{} CNAME {:02x?}", zone.apex(), rdatas(&set)),
        Lookup::NoData(zone) => format!("{} NODATA", zone.apex()),
        Lookup::NxDomain(zone) => format!("{} NXDOMAIN", zone.apex()),
        Lookup::Referral { zone, owner_len, .. } => format!("{} referral {owner_len}", zone.apex()),
        Lookup::Redirect { zone, owner_len, dname } => {
            format!("{} DNAME {owner_len} {} {:02x?}", zone.apex(), dname.ttl(), rdatas(&dname))
        }
    }
}

fn target(host: &str, addresses: &[&str]) -> Target {
    Target {
        host: name(host),
        port: NonZeroU16::new(5061).unwrap(),
        priority: 10,
        weight: 0,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

fn node(domain: &str, targets: Vec<Target>) -> Node {
    Node::new(NodeParts::new(name(domain), targets)).unwrap()
}

fn simple(domain: &str) -> Node {
    node(domain, vec![target(&format!("sip.{domain}"), &["192.0.2.7"])])
}

fn numbered(domain: &str, claims: &[&str]) -> Node {
    let mut parts = NodeParts::new(name(domain), vec![target(domain, &["192.0.2.7"])]);
    parts.numbers = claims
        .iter()
        .map(|text| match text.strip_suffix('*') {
            Some(block) => NumberClaim::Block(NumberBlock::parse(block).unwrap()),
            None => NumberClaim::Number { number: E164Number::parse(text).unwrap(), uri: None },
        })
        .collect();
    Node::new(parts).unwrap()
}

fn published(nodes: Vec<Node>) -> Zones {
    let mut zones = directory();
    for node in nodes {
        assert_eq!(zones.check(&node), [], "{}", node.domain());
        let serial = Serial::new(zones.zone(&name("peers.ostn.test")).unwrap().serial().value() + 1);
        zones = zones.with(&[Change::Put(Box::new(node))], serial);
    }
    zones
}

fn export(zones: &Zones, apex: &str) -> String {
    let mut text = String::new();
    zones.print(zones.zone(&name(apex)).unwrap(), &mut text).unwrap();
    text
}

/// The same zones, every record of them static: read from the export of each.
fn reread(zones: &Zones) -> Zones {
    let statics =
        zones.iter().map(|zone| read(&zone.apex().to_string(), &export(zones, &zone.apex().to_string())).unwrap());
    Zones::new(Settings::default(), statics.collect(), Serial::new(1)).unwrap()
}

#[test]
fn rfc_4592_example() {
    let text = include_str!("data/rfc4592.zone");
    let zones = Zones::new(Settings::default(), vec![read("example", text).unwrap()], Serial::new(1)).unwrap();
    let (a, txt, mx, srv) = (RrType::A, RrType::TXT, RrType::MX, RrType::SRV);
    for (id, asked, kind, found) in [
        ("DNS-T30", "host3.example", mx, "records"),
        ("DNS-T30", "foo.bar.example", txt, "records"),
        ("DNS-T31", "host3.example", a, "NODATA"),
        ("DNS-T32", "host1.example", mx, "NODATA"),
        ("DNS-T32", "sub.*.example", mx, "NODATA"),
        ("DNS-T32", "_telnet._tcp.host1.example", srv, "NXDOMAIN"),
        ("DNS-T32", "ghost.*.example", mx, "NXDOMAIN"),
        ("DNS-T33", "host.subdel.example", a, "referral"),
        ("DNS-24", "*.example", txt, "records"),
        ("DNS-21", "_tcp.host1.example", a, "NODATA"),
        ("DNS-20", "example.org", a, "REFUSED"),
    ] {
        let text = outcome(&zones, &query(asked), kind);
        let short = ["NODATA", "NXDOMAIN", "referral", "REFUSED"].into_iter().find(|word| text.contains(word));
        assert_eq!(short.unwrap_or("records"), found, "{id} {asked}: {text}");
    }
}

#[test]
fn referral_glue_and_ds() {
    let zones = directory();
    let Lookup::Referral { zone, owner_len, ns } = zones.lookup(&query("a.sub.ostn.test"), RrType::A) else {
        panic!("DNS-27")
    };
    assert_eq!(owner_len, b"\x03sub\x04ostn\x04test\x00".len());
    let mut glue = Vec::new();
    zones.glue(zone, &ns, |owner, set| {
        glue.push((owner.to_vec(), set.kind()));
        true
    });
    assert_eq!(glue, [(b"\x02ns\x03sub\x04ostn\x04test\x00".to_vec(), RrType::A)]);
    assert_eq!(outcome(&zones, &query("sub.ostn.test"), RrType::DS), "ostn.test NODATA", "DNS-28");
    let parent = "ostn.test NODATA";
    assert_eq!(outcome(&zones, &query("peers.ostn.test"), RrType::DS), parent, "DNS-28: the parent's side, served too");
    assert_eq!(outcome(&zones, &query("ostn.test"), RrType::DS), parent, "no parent here");
    assert_eq!(outcome(&zones, &query("ns.sub.ostn.test"), RrType::A), "ostn.test referral 15", "DNS-29");
}

#[test]
fn negative_ttl_is_the_lesser() {
    for (soa_ttl, minimum, ttl) in [(3600, 300, 300), (60, 300, 60)] {
        let text = format!("@ {soa_ttl} SOA ns1 h 1 2 3 4 {minimum}\n@ NS ns1\nns1 A 192.0.2.1\n");
        let zones = Zones::new(Settings::default(), vec![read("node.test", &text).unwrap()], Serial::new(1)).unwrap();
        let Lookup::NxDomain(zone) = zones.lookup(&query("nope.node.test"), RrType::A) else { panic!("DNS-T35") };
        assert_eq!(zone.negative_soa().ttl(), ttl, "DNS-T35");
        assert_eq!(zone.soa().ttl(), soa_ttl);
    }
}

#[test]
fn serials_follow_what_a_change_touches() {
    let before = directory();
    let after = before.with(&[Change::Put(Box::new(simple("debug.ostel.me")))], Serial::new(8));
    let serials = |zones: &Zones| zones.iter().map(|z| (z.apex().to_string(), z.serial().value())).collect::<Vec<_>>();
    assert_eq!(
        serials(&after),
        [("ostel.me", 8), ("ostn.test", 7), ("e164.ostn.test", 7), ("peers.ostn.test", 8), ("policy.ostn.test", 8)]
            .map(|(apex, serial)| (apex.to_owned(), serial))
    );
    let Lookup::Records(_, soa) = after.lookup(&query("ostel.me"), RrType::SOA) else { panic!("SOA") };
    let rdata = rdatas(&soa).pop_first().unwrap();
    assert_eq!(rdata[rdata.len() - 20..rdata.len() - 16], 8_u32.to_be_bytes());
    assert_eq!(before.node_count(), 0, "DNS-79: the old version is as it was");
    assert_eq!(outcome(&before, &query("debug.ostel.me"), RrType::NAPTR), "ostel.me NXDOMAIN");
    let gone = after.with(&[Change::Remove(name("debug.ostel.me"))], Serial::new(9));
    assert_eq!(outcome(&gone, &query("debug.ostel.me"), RrType::NAPTR), "ostel.me NXDOMAIN");
    assert_eq!(serials(&gone)[3].1, 9);
}

#[test]
fn what_stands_in_the_way() {
    let mut zones = published(vec![
        simple("debug.ostel.me"),
        numbered("numbers.ostn.test", &["+15550101", "+155502*"]),
        node("up.ostn.test", vec![target("a.b.up.ostn.test", &["192.0.2.1"])]),
    ]);
    let reason = |zones: &Zones, node: &Node| match &zones.check(node)[..] {
        [conflict] => (conflict.part, conflict.kind.clone()),
        other => panic!("{}: {other:?}", node.domain()),
    };
    let static_name = |text: &str| ConflictKind::StaticName(name(text));
    for (node, part, kind) in [
        (simple("www.ostn.test"), Part::Domain, static_name("www.ostn.test")),
        (simple("mail.ostel.me"), Part::Domain, static_name("mail.ostel.me")),
        (
            node("ostel.me", vec![target("mail.ostel.me", &["192.0.2.1"])]),
            Part::TargetHost(0),
            static_name("mail.ostel.me"),
        ),
        (simple("sub.ostn.test"), Part::Domain, ConflictKind::Delegated(name("sub.ostn.test"))),
        (simple("x.sub.ostn.test"), Part::Domain, ConflictKind::Delegated(name("x.sub.ostn.test"))),
        (simple("8.0.0.0.127.rpz-client-ip"), Part::Domain, ConflictKind::PolicyTrigger("rpz-client-ip".into())),
        (simple("ab--cd.ostn.test"), Part::Domain, ConflictKind::ReservedLabel("ab--cd".into())),
        (simple("a.12--3.x.example.org"), Part::Domain, ConflictKind::ReservedLabel("12--3".into())),
        (simple("x.policy.ostn.test"), Part::Domain, ConflictKind::GeneratedZone(name("x.policy.ostn.test"))),
        (simple("x.peers.ostn.test"), Part::Domain, ConflictKind::GeneratedZone(name("x.peers.ostn.test"))),
        (
            node("ostn.test", vec![target("h.e164.ostn.test", &["192.0.2.1"])]),
            Part::TargetHost(0),
            ConflictKind::OtherZone(name("h.e164.ostn.test")),
        ),
        (
            simple("b.up.ostn.test"),
            Part::Domain,
            ConflictKind::OtherNode { name: name("b.up.ostn.test"), node: name("up.ostn.test") },
        ),
        (
            node("ostel.me", vec![target("x.debug.ostel.me", &["192.0.2.1"])]),
            Part::TargetHost(0),
            ConflictKind::OtherNode { name: name("x.debug.ostel.me"), node: name("debug.ostel.me") },
        ),
        (
            node("n.ostel.me", vec![target("www.ostn.test", &[])]),
            Part::TargetHost(0),
            ConflictKind::TargetIsAlias(name("www.ostn.test")),
        ),
        (
            node("n.ostel.me", vec![target("nobody.ostn.test", &[])]),
            Part::TargetHost(0),
            ConflictKind::TargetWithoutAddress(name("nobody.ostn.test")),
        ),
        (
            node("debug.ostel.me", vec![target("sip.debug.ostel.me", &[])]),
            Part::TargetHost(0),
            ConflictKind::TargetWithoutAddress(name("sip.debug.ostel.me")),
        ),
        (numbered("n.ostel.me", &["+15550101"]), Part::Number(0), ConflictKind::NumberTaken(name("numbers.ostn.test"))),
        (
            numbered("n.ostel.me", &["+15550102", "+15550299"]),
            Part::Number(1),
            ConflictKind::NumberOverlap(name("numbers.ostn.test")),
        ),
        (numbered("n.ostel.me", &["+1555*"]), Part::Number(0), ConflictKind::NumberOverlap(name("numbers.ostn.test"))),
        (
            numbered("n.ostel.me", &["+1555020*"]),
            Part::Number(0),
            ConflictKind::NumberOverlap(name("numbers.ostn.test")),
        ),
        (numbered("n.ostel.me", &["+999"]), Part::Number(0), static_name("9.9.9.e164.ostn.test")),
    ] {
        assert_eq!(reason(&zones, &node), (part, kind), "{}", node.domain());
    }
    // What is there already may be replaced; hosts of others that have addresses may be named.
    for fine in [
        simple("debug.ostel.me"),
        numbered("numbers.ostn.test", &["+15550101", "+1555*"]),
        node("n.ostel.me", vec![target("sip.debug.ostel.me", &[]), target("ns1.ostn.test", &[])]),
        simple("ostel.me"),
        simple("example.org"),
        simple("y.static.ostn.test"),
        simple("xn--bcher-kva.ostn.test"),
        simple("a--b.abc--d.ostn.test"),
        // RFC 5890 2.3.1 is about who comes new; hosts have their names already.
        node("n2.ostel.me", vec![target("r1---sn.example.org", &[])]),
        simple("static.ostn.test"),
    ] {
        assert_eq!(zones.check(&fine), [], "{}", fine.domain());
        zones = zones.with(&[Change::Put(Box::new(fine))], Serial::new(20));
    }
}

#[test]
fn generated_zones_may_have_static_names_but_not_a_nodes() {
    let statics = |peers: &str, numbers: &str, more: Option<&str>| {
        let texts = [
            ("ostn.test", ""),
            ("ostel.me", ""),
            ("peers.ostn.test", peers),
            ("policy.ostn.test", ""),
            ("e164.ostn.test", numbers),
        ];
        let zones = texts.into_iter().chain(more.map(|apex| (apex, "")));
        zones.map(|(apex, text)| read(apex, &with_head(text)).unwrap()).collect::<Vec<_>>()
    };
    let settings = directory().settings().clone();
    let peers = "example.org CNAME x.example.\n_sips._tcp.example.net SRV 1 1 5061 x.example.\nexample.com NS ns.example.\n\
                 sip.example.edu A 192.0.2.66\n";
    let zones = Zones::new(settings, statics(peers, "4.4 NS ns.uk.example.\n", None), Serial::new(1)).unwrap();
    let under = |text: &str| name(&format!("{text}.peers.ostn.test"));
    for (domain, part, kind) in [
        ("example.org", Part::Domain, ConflictKind::StaticName(under("example.org"))),
        ("example.net", Part::Domain, ConflictKind::StaticName(under("_sips._tcp.example.net"))),
        ("example.com", Part::Domain, ConflictKind::Delegated(under("example.com"))),
        ("example.edu", Part::TargetHost(0), ConflictKind::StaticName(under("sip.example.edu"))),
    ] {
        let found = zones.check(&simple(domain));
        assert!(found.iter().any(|c| c.part == part && c.kind == kind), "{domain}: {found:?}");
    }
    let number = name("8.4.1.0.6.4.9.7.0.2.4.4.e164.ostn.test");
    let found = zones.check(&numbered("a.ostn.test", &["+442079460148"]));
    assert_eq!((found[0].part, &found[0].kind), (Part::Number(0), &ConflictKind::Delegated(number)));
    // A zone that would hide what nodes have there is refused.
    let served = published(vec![simple("example.org"), numbered("a.ostn.test", &["+15550101"])]);
    for inside in ["example.org.peers.ostn.test", "5.5.5.1.e164.ostn.test"] {
        let error = served.with_statics(statics("", "", Some(inside)), Serial::new(90)).unwrap_err();
        assert!(matches!(error, BuildError::Node { .. }), "{inside}: {error}");
    }
}

#[test]
fn a_withdrawn_host_does_not_stop_a_reload() {
    let mut zones = published(vec![simple("s.evil.ostn.test")]);
    let user = node("evil.ostn.test", vec![target("sip.s.evil.ostn.test", &[])]);
    assert_eq!(zones.check(&user), []);
    zones = zones.with(&[Change::Put(Box::new(user)), Change::Remove(name("s.evil.ostn.test"))], Serial::new(30));
    let statics: Vec<_> = zones.iter().map(|zone| zone.statics().clone()).collect();
    assert_eq!(zones.with_statics(statics.clone(), Serial::new(31)).unwrap().node_count(), 1);
    // But the zone of a node must stay.
    let without = statics.into_iter().filter(|zone| *zone.apex() != name("ostn.test")).collect();
    assert_eq!(zones.with_statics(without, Serial::new(31)).unwrap_err(), BuildError::Abandoned(name("ostn.test")));
}

#[test]
fn static_zones_that_do_not_fit() {
    let zones = published(vec![simple("debug.ostel.me")]);
    let statics = |ostel: &str| {
        vec![
            read("ostn.test", &with_head("ns1 A 192.0.2.53\n")).unwrap(),
            read("ostel.me", &with_head(ostel)).unwrap(),
            read("peers.ostn.test", &with_head("")).unwrap(),
            read("policy.ostn.test", &with_head("")).unwrap(),
            read("e164.ostn.test", &with_head("")).unwrap(),
        ]
    };
    let error = zones.with_statics(statics("debug A 192.0.2.1\n"), Serial::new(9)).unwrap_err();
    assert!(matches!(error, BuildError::Node { domain, .. } if domain == name("debug.ostel.me")));
    let mut missing = statics("");
    missing.pop();
    assert_eq!(zones.with_statics(missing, Serial::new(9)).unwrap_err(), BuildError::Missing(name("e164.ostn.test")));
    let mut twice = statics("");
    twice.push(read("ostel.me", &with_head("")).unwrap());
    assert_eq!(zones.with_statics(twice, Serial::new(9)).unwrap_err(), BuildError::Twice(name("ostel.me")));
    let next = zones.with_statics(statics("other A 192.0.2.1\n"), Serial::new(9)).unwrap();
    assert!(outcome(&next, &query("_sips._tcp.debug.ostel.me"), RrType::SRV).starts_with("ostel.me"));
    assert_eq!(next.zone(&name("peers.ostn.test")).unwrap().serial().value(), 8, "unchanged zones keep their serial");
    assert_eq!(next.zone(&name("ostel.me")).unwrap().serial().value(), 9);
}

#[test]
fn a_naptr_answer_brings_the_chain_along() {
    let mut parts = NodeParts::new(
        name("debug.ostel.me"),
        vec![target("sip.debug.ostel.me", &["192.0.2.7", "2001:db8::7"]), target("ns1.ostn.test", &[])],
    );
    parts.keys.push(KeyPin { holder: KeyHolder::Node, sha256: [9; 32] });
    let zones = published(vec![Node::new(parts).unwrap()]);
    let chain = |zones: &Zones| {
        let Lookup::Records(zone, naptr) = zones.lookup(&query("debug.ostel.me"), RrType::NAPTR) else {
            panic!("NAPTR")
        };
        let mut seen = Vec::new();
        zones.additional(zone, &naptr, |owner, set| {
            seen.push((format!("{:?}", QueryName::parse(owner.name).unwrap()), set.kind(), rdatas(&set)));
            true
        });
        seen
    };
    let seen = chain(&zones);
    let shown: Vec<_> = seen.iter().map(|(owner, kind, _)| (owner.as_str(), *kind)).collect();
    assert_eq!(
        shown,
        [
            ("QueryName(_sips._tcp.debug.ostel.me.)", RrType::SRV),
            ("QueryName(sip.debug.ostel.me.)", RrType::A),
            ("QueryName(sip.debug.ostel.me.)", RrType::AAAA),
            ("QueryName(ns1.ostn.test.)", RrType::A),
            ("QueryName(_5061._tcp.sip.debug.ostel.me.)", RrType::TLSA),
        ]
    );
    assert_eq!(chain(&reread(&zones)), seen, "static records bring the same");
}

/// Decisions 10: the policy zone has SRV records alone, so that a resolver that applies it hides nothing of a domain.
#[test]
fn policy_zone_has_services_only() {
    let own = node("ostel.me", vec![target("ostel.me", &["192.0.2.1"])]);
    let zones = published(vec![own, node("example.org", vec![target("sip.example.org", &["192.0.2.2"])])]);
    let text = export(&zones, "policy.ostn.test");
    let made: Vec<&str> = text.lines().filter(|line| !line.contains(" SOA ") && !line.contains(" NS ")).collect();
    assert_eq!(
        made,
        [
            "_sips._tcp.ostel.me.policy.ostn.test. 60 IN SRV 10 0 5061 ostel.me.",
            "_sips._tcp.example.org.policy.ostn.test. 60 IN SRV 10 0 5061 sip.example.org.peers.ostn.test.",
        ]
    );
    let policy = |text: &str, kind| outcome(&zones, &query(&format!("{text}.policy.ostn.test")), kind);
    assert_eq!(policy("example.org", RrType::NAPTR), "policy.ostn.test NODATA");
    assert_eq!(policy("sip.example.org", RrType::A), "policy.ostn.test NXDOMAIN");
}

fn any_question() -> impl Strategy<Value = (String, RrType)> {
    let labels = vec![
        "_sips", "_tcp", "_5061", "_5060", "sip", "a", "b", "x", "y", "sip2", "*", "zz", "org", "example", "0", "1",
        "2", "wild",
    ];
    let apexes = vec![
        "ostn.test",
        "a.ostn.test",
        "ostel.me",
        "n.ostel.me",
        "peers.ostn.test",
        "a.ostn.test.peers.ostn.test",
        "example.org.peers.ostn.test",
        "ostel.me.peers.ostn.test",
        "example.org.policy.ostn.test",
        "e164.ostn.test",
        "sub.ostn.test",
        "test",
    ];
    let kinds =
        vec![RrType::A, RrType::AAAA, RrType::NAPTR, RrType::SRV, RrType::TLSA, RrType::NS, RrType::TXT, RrType::CNAME];
    (
        prop::collection::vec(prop::sample::select(labels), 0..4),
        prop::sample::select(apexes),
        prop::sample::select(kinds),
    )
        .prop_map(|(labels, apex, kind)| (labels.into_iter().chain([apex]).collect::<Vec<_>>().join("."), kind))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nodes_answer_as_their_export_does(
        steps in prop::collection::vec((any_node(), prop::bool::weighted(0.8)), 1..10),
        questions in prop::collection::vec(any_question(), 200),
        holders in any_holders(),
    ) {
        let mut zones = directory().with_holders(holders);
        let mut nodes = std::collections::BTreeMap::new();
        for (index, (node, put)) in steps.into_iter().enumerate() {
            let serial = Serial::new(8 + u32::try_from(index).unwrap());
            if !put {
                nodes.remove(node.domain());
                zones = zones.with(&[Change::Remove(node.domain().clone())], serial);
            } else if zones.check(&node).is_empty() {
                zones = zones.with(&[Change::Put(Box::new(node.clone()))], serial);
                nodes.insert(node.domain().clone(), node);
            }
        }
        prop_assert_eq!(zones.node_count(), nodes.len());
        // The export holds exactly the model's records (wildcard copies beside numbers aside) and loads again.
        let plain = reread(&zones);
        let exported: String = zones.iter().map(|zone| export(&zones, &zone.apex().to_string())).collect();
        for record in nodes.values().flat_map(|node| zones.records(node).unwrap()) {
            let Ok(owner) = QueryName::parse(record.owner.name.as_wire()).ok_or(()) else { unreachable!() };
            if !record.owner.wildcard {
                let kind = match record.data.type_name() {
                    "A" => RrType::A, "AAAA" => RrType::AAAA, "SRV" => RrType::SRV, "TLSA" => RrType::TLSA, _ => RrType::NAPTR,
                };
                prop_assert!(matches!(zones.lookup(&owner, kind), Lookup::Records(..)), "{} not served", record);
            }
            prop_assert!(exported.to_lowercase().contains(&format!("{record}\n").to_lowercase()), "{} not in\n{}", record, exported);
        }
        let domains: Vec<String> = nodes.keys().map(ToString::to_string).collect();
        let below = ["", "_tcp.", "_sips._tcp.", "sip.", "b.", "a.b.", "_5061._tcp.", "_5061._tcp.sip.", "_tcp.sip.", "zz."];
        let extra = domains.iter().flat_map(|d| below.iter().flat_map(move |b| [format!("{b}{d}"), format!("{b}{d}.peers.ostn.test"), format!("{b}{d}.policy.ostn.test")]));
        let kinds = [RrType::A, RrType::AAAA, RrType::NAPTR, RrType::SRV, RrType::TLSA];
        // Every number of up to five digits that the claims above could concern, and names beside them.
        let numbers = (1..=5_u32).flat_map(|len| (0..2_u32.pow(len)).map(move |value| {
            (0..len).map(|at| (value / 2_u32.pow(at) % 2).to_string()).collect::<Vec<_>>().join(".")
        }));
        let numbers = numbers.flat_map(|digits| ["", "x.", "*.", "x.*."].map(|front| (format!("{front}{digits}.e164.ostn.test"), RrType::NAPTR)));
        let extra = extra.flat_map(|text| kinds.map(|kind| (text.clone(), kind)));
        for (text, kind) in questions.into_iter().chain(extra).chain(numbers) {
            let asked = query(&text);
            prop_assert_eq!(outcome(&zones, &asked, kind), outcome(&plain, &asked, kind), "{} {:?}", text, kind);
            let sets = |zones: &Zones| {
                let mut sets = BTreeSet::new();
                zones.lookup_any(&asked, &mut |set| {
                    if set.kind() != RrType::SOA {
                        sets.insert((set.kind(), rdatas(&set)));
                    }
                });
                sets
            };
            prop_assert_eq!(sets(&zones), sets(&plain), "ANY {}", text);
        }
    }
}

/// A catalog's records mean something to secondaries: no node lays its names over them.
#[test]
fn a_zone_that_takes_no_nodes() {
    let statics = |closed: bool| {
        let catalog = read("cat.ostn.test", &with_head("version TXT 2\n")).unwrap();
        let catalog = if closed { catalog.without_nodes() } else { catalog };
        vec![read("ostn.test", &with_head("")).unwrap(), catalog]
    };
    let zones = |closed| Zones::new(Settings::default(), statics(closed), Serial::new(1)).unwrap();
    for domain in ["cat.ostn.test", "zones.cat.ostn.test", "a.version.cat.ostn.test"] {
        assert_eq!(zones(false).check(&simple(domain)), []);
        let conflicts = zones(true).check(&simple(domain));
        let kind = ConflictKind::GeneratedZone(name(domain));
        assert!(conflicts.len() == 1 && conflicts[0].kind == kind, "{domain}: {conflicts:?}");
        let before = zones(false).with(&[Change::Put(Box::new(simple(domain)))], Serial::new(2));
        assert!(matches!(before.with_statics(statics(true), Serial::new(3)), Err(BuildError::Node { .. })), "{domain}");
    }
    assert_eq!(zones(true).check(&simple("acat.ostn.test")), []);
    // A host of a node in the zone above is no way in, either.
    let host = node("ostn.test", vec![target("zones.cat.ostn.test", &["192.0.2.7"])]);
    let other_zone = ConflictKind::OtherZone(name("zones.cat.ostn.test"));
    assert!(zones(true).check(&host).iter().any(|conflict| conflict.kind == other_zone));
}
