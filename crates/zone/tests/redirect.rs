//! DNAME records beside nodes and numbers: what is below one is not a node's, and answers lead away (DNS-26, ENUM-84).

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

#[expect(dead_code, reason = "what makes random nodes is for other tests")]
mod support;

use std::num::NonZeroU16;

use support::{directory, name, read, with_head};
use tandem_model::{E164Number, Node, NodeParts, NumberBlock, NumberClaim, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::verify::{Severity, verify_at};
use tandem_zone::{BuildError, Change, ConflictKind, Lookup, Part, QueryName, RrType, Settings, Zones};

fn parts(domain: &str, host: &str, addresses: &[&str]) -> NodeParts {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let port = NonZeroU16::new(5061).unwrap();
    let target = Target { host: name(host), port, priority: 10, weight: 0, addresses };
    NodeParts::new(name(domain), vec![target])
}

fn node(domain: &str, host: &str, addresses: &[&str]) -> Node {
    Node::new(parts(domain, host, addresses)).unwrap()
}

fn numbered(domain: &str, claim: &str) -> Node {
    let mut parts = parts(domain, domain, &["192.0.2.7"]);
    parts.numbers = vec![match claim.strip_suffix('*') {
        Some(block) => NumberClaim::Block(NumberBlock::parse(block).unwrap()),
        None => NumberClaim::Number { number: E164Number::parse(claim).unwrap(), uri: None },
    }];
    Node::new(parts).unwrap()
}

fn statics(own: &str, peers: &str, numbers: &str) -> Vec<StaticZone> {
    [
        ("ostn.test", own),
        ("ostel.me", ""),
        ("peers.ostn.test", peers),
        ("policy.ostn.test", ""),
        ("e164.ostn.test", numbers),
    ]
    .map(|(apex, text)| read(apex, &with_head(text)).unwrap())
    .to_vec()
}

fn zones(own: &str, peers: &str, numbers: &str) -> Result<Zones, BuildError> {
    Zones::new(directory().settings().clone(), statics(own, peers, numbers), Serial::new(1))
}

fn found<'z>(zones: &'z Zones, text: &str, kind: RrType) -> Lookup<'z> {
    zones.lookup(&QueryName::of(&name(text)), kind)
}

/// The name of a number in the ENUM zone.
fn number_name(digits: &str) -> String {
    let labels: String = digits.trim_start_matches('+').chars().rev().flat_map(|digit| [digit, '.']).collect();
    format!("{labels}e164.ostn.test")
}

#[test]
fn nodes_below_a_dname_are_refused() {
    let zones = zones("gone DNAME elsewhere.example.\n", "org DNAME elsewhere.example.\n", "").unwrap();
    let redirected = |text: &str| ConflictKind::Redirected(name(text));
    for (node, part, kind) in [
        (node("a.gone.ostn.test", "a.gone.ostn.test", &["192.0.2.1"]), Part::Domain, redirected("a.gone.ostn.test")),
        (node("a.b.gone.ostn.test", "h.example", &[]), Part::Domain, redirected("a.b.gone.ostn.test")),
        // The owner of the DNAME has a name of its own, but SRV records would lie below it.
        (node("gone.ostn.test", "h.example", &[]), Part::Domain, redirected("_sips._tcp.gone.ostn.test")),
        (node("example.org", "sip.example.net", &[]), Part::Domain, redirected("example.org.peers.ostn.test")),
        // RFC 2782 "Target": a name below a DNAME is an alias.
        (
            node("b.ostn.test", "sip.gone.ostn.test", &[]),
            Part::TargetHost(0),
            ConflictKind::TargetIsAlias(name("sip.gone.ostn.test")),
        ),
    ] {
        let conflicts = zones.check(&node);
        assert!(conflicts.iter().any(|c| c.part == part && c.kind == kind), "{}: {conflicts:?}", node.domain());
    }
    let beside = node("agone.ostn.test", "sip.agone.ostn.test", &["192.0.2.1"]);
    assert_eq!(zones.check(&beside), []);
}

#[test]
fn a_dname_that_would_hide_something_is_refused() {
    let published = |node: Node, with: (&str, &str, &str)| {
        let before = zones("", "", "").unwrap();
        assert_eq!(before.check(&node), []);
        let before = before.with(&[Change::Put(Box::new(node))], Serial::new(2));
        before.with_statics(statics(with.0, with.1, with.2), Serial::new(3)).map(|_| ())
    };
    let hidden = [
        published(node("x.b.ostn.test", "x.b.ostn.test", &["192.0.2.1"]), ("b DNAME c\n", "", "")),
        published(node("example.org", "h.example", &[]), ("", "org DNAME c\n", "")),
        published(numbered("x.ostn.test", "+4412"), ("", "", "4.4 DNAME c\n")),
        published(numbered("x.ostn.test", "+4412*"), ("", "", "2.1.4.4 DNAME c\n")),
    ];
    for (case, result) in hidden.iter().enumerate() {
        let is_hidden = matches!(
            result,
            Err(BuildError::Node { conflict, .. }) if matches!(conflict.kind, ConflictKind::Redirected(_))
        );
        assert!(is_hidden, "case {case}: {result:?}");
    }
    // RFC 6672 2.4: "a server ought to refuse to load a zone subordinate to the owner of a DNAME".
    let mut below = statics("sub DNAME c\n", "", "");
    below.push(read("x.sub.ostn.test", &with_head("")).unwrap());
    let error = Zones::new(directory().settings().clone(), below, Serial::new(1)).unwrap_err();
    assert_eq!(error, BuildError::Redirected { zone: name("x.sub.ostn.test"), owner: name("sub.ostn.test") });
}

/// ENUM-84: a DNAME at the prefix hands over what is below it; with NS records it is a delegation.
#[test]
fn a_block_is_handed_over() {
    let numbers = "6.4.4 DNAME e164.uk.example.\n7.4.4 NS ns.uk.example.\n6.1.5.5.1 DNAME e164.us.example.\n\
                   8.7.1.5.5.1 TXT fixed\n";
    let mut zones = zones("", "", numbers).unwrap();
    for claim in ["+4461", "+446*", "+44612*", "+551", "+446123"] {
        let refused = zones.check(&numbered("x.ostn.test", claim));
        assert_eq!(refused.is_empty(), claim == "+551", "{claim}: {refused:?}");
    }
    // A block around a prefix that was handed over is served but for that.
    let around = numbered("x.ostn.test", "+1551*");
    assert_eq!(zones.check(&around), []);
    zones = zones.with(&[Change::Put(Box::new(around))], Serial::new(2));
    let at = |digits: &str| match found(&zones, &number_name(digits), RrType::NAPTR) {
        Lookup::Records(..) => "records",
        Lookup::Redirect { .. } => "DNAME",
        Lookup::Referral { .. } => "referral",
        Lookup::NoData(_) => "NODATA",
        Lookup::NxDomain(_) => "NXDOMAIN",
        Lookup::Cname(..) | Lookup::NotOurs => "something else",
    };
    for (digits, outcome) in [
        ("+4461", "DNAME"),
        ("+446123", "DNAME"),
        ("+446", "NODATA"),
        ("+447123", "referral"),
        ("+448", "NXDOMAIN"),
        ("+15515", "records"),
        ("+155161", "DNAME"),
        // RFC 4592 2.2.1: the block's wildcard does not match a name that is there.
        ("+15516", "NODATA"),
        ("+155178", "NODATA"),
        ("+15517", "NODATA"),
        // Nor what is below one: then that is the closest encloser.
        ("+1551789", "NXDOMAIN"),
        ("+155179", "NXDOMAIN"),
        ("+15518", "records"),
    ] {
        assert_eq!(at(digits), outcome, "{digits}");
    }
    let apex = name("e164.ostn.test");
    let mut text = String::new();
    zones.print(zones.zone(&apex).unwrap(), &mut text).unwrap();
    assert!(text.contains("6.4.4.e164.ostn.test. 3600 IN DNAME e164.uk.example.\n"), "{text}");
    // What is exported answers alike.
    let plain = Zones::new(Settings::default(), vec![read("e164.ostn.test", &text).unwrap()], Serial::new(1)).unwrap();
    for digits in ["+4461", "+446", "+15515", "+155161", "+15516", "+448", "+155", "+15517", "+1551789", "+155179"] {
        let kind = |zones| std::mem::discriminant(&found(zones, &number_name(digits), RrType::NAPTR));
        assert_eq!(kind(&zones), kind(&plain), "{digits}");
    }
}

#[test]
fn verify_sees_targets_behind_a_dname() {
    let zones = zones("ns1 A 192.0.2.53\nd DNAME sip\nsip.sip A 192.0.2.1\ns SRV 0 0 5061 x.d\n", "", "").unwrap();
    let findings = verify_at(&zones, &name("ostn.test")).unwrap();
    let faults: Vec<String> =
        findings.iter().filter(|finding| finding.severity == Severity::Fault).map(ToString::to_string).collect();
    assert!(faults.len() == 1 && faults[0].contains("the target x.d.ostn.test. is an alias"), "{findings:#?}");
}
