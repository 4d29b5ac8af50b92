//! What is found: wildcards, aliases, cuts, negatives, and what rides along (spec sections 2 and 8).

use tandem_model::{NumberBlock, NumberClaim};

use super::*;

const SOA: &str = "authority node.test. 300 SOA×1";

#[test]
fn lookups() {
    let zones = zones();
    let example = |rcode: &str| format!("{rcode} aa; authority example. 300 SOA×1");
    let node = |rcode: &str| format!("{rcode} aa; {SOA}");
    let rows: &[(&str, &str, &str, String)] = &[
        ("DNS-T30", "host3.example", "MX", "NOERROR aa; answer host3.example. 3600 MX×1; additional host1.example. 3600 A×1".into()),
        ("DNS-T30", "foo.bar.example", "TXT", "NOERROR aa; answer foo.bar.example. 3600 TXT×1".into()),
        ("DNS-T31", "host3.example", "A", example("NOERROR")),
        ("DNS-T32", "host1.example", "MX", example("NOERROR")),
        ("DNS-T32", "sub.*.example", "MX", example("NOERROR")),
        ("DNS-T32", "_telnet._tcp.host1.example", "SRV", example("NXDOMAIN")),
        ("DNS-T32", "ghost.*.example", "MX", example("NXDOMAIN")),
        ("DNS-T33", "host.subdel.example", "A", "NOERROR; authority subdel.example. 3600 NS×2".into()),
        ("DNS-28", "subdel.example", "DS", example("NOERROR")),
        ("DNS-T34", "_tcp.debug.node.test", "NAPTR", node("NOERROR")),
        ("DNS-T34", "_tcp.static.node.test", "SRV", node("NOERROR")),
        ("DNS-21", "static.node.test", "A", node("NOERROR")),
        ("DNS-T35", "nope.node.test", "A", node("NXDOMAIN")),
        ("DNS-T35", "nope.low.test", "A", "NXDOMAIN aa; authority low.test. 60 SOA×1".into()),
        ("DNS-8", "mail.node.test", "TYPE1000", node("NOERROR")),
        ("DNS-8", "mail.node.test", "TYPE200", node("NOERROR")),
        ("DNS-T37", "gone.node.test", "A", format!("NXDOMAIN aa; answer gone.node.test. 3600 CNAME×1; {SOA}")),
        ("DNS-25", "two.node.test", "A", "NOERROR aa; answer mail.node.test. 3600 A×1; answer one.node.test. 3600 CNAME×1; answer two.node.test. 3600 CNAME×1".into()),
        ("DNS-25", "two.node.test", "TXT", format!("NOERROR aa; answer one.node.test. 3600 CNAME×1; answer two.node.test. 3600 CNAME×1; {SOA}")),
        ("DNS-25", "two.node.test", "CNAME", "NOERROR aa; answer two.node.test. 3600 CNAME×1".into()),
        ("DNS-25", "across.node.test", "A", "NOERROR aa; answer across.node.test. 3600 CNAME×1; answer host1.example. 3600 A×1".into()),
        ("DNS-25", "across.node.test", "MX", "NOERROR aa; answer across.node.test. 3600 CNAME×1; authority example. 300 SOA×1".into()),
        ("DNS-25", "c0.big.test", "A", (0..8).fold("NOERROR aa".into(), |text, n| format!("{text}; answer c{n}.big.test. 300 CNAME×1"))),
        ("DNS-T38", "loop-a.node.test", "A", "NOERROR aa; answer loop-a.node.test. 3600 CNAME×1; answer loop-b.node.test. 3600 CNAME×1".into()),
        ("DNS-T38", "self.node.test", "A", "NOERROR aa; answer self.node.test. 3600 CNAME×1".into()),
        ("DNS-T39", "out.node.test", "A", "NOERROR aa; answer out.node.test. 3600 CNAME×1".into()),
        ("DNS-27", "to-sub.node.test", "A", "NOERROR aa; answer to-sub.node.test. 3600 CNAME×1; authority sub.node.test. 3600 NS×2; additional ns.sub.node.test. 3600 A×1; additional ns.sub.node.test. 3600 AAAA×1".into()),
        ("DNS-27", "www.sub.node.test", "A", "NOERROR; authority sub.node.test. 3600 NS×2; additional ns.sub.node.test. 3600 A×1; additional ns.sub.node.test. 3600 AAAA×1".into()),
        ("DNS-29", "ns.sub.node.test", "TXT", "NOERROR; authority sub.node.test. 3600 NS×2; additional ns.sub.node.test. 3600 A×1; additional ns.sub.node.test. 3600 AAAA×1".into()),
        ("DNS-T62", "www.elsewhere.test", "A", "REFUSED".into()),
        ("DNS-6", "", "NS", "REFUSED".into()),
        ("RFC 2782 root target", "nowhere.node.test", "SRV", "NOERROR aa; answer nowhere.node.test. 3600 SRV×1".into()),
        ("DNS-T61", "node.test", "ANY", "NOERROR aa; answer node.test. 3600 MX×1".into()),
        ("DNS-13", "nope.node.test", "ANY", node("NXDOMAIN")),
        ("DNS-13", "two.node.test", "ANY", "NOERROR aa; answer two.node.test. 3600 CNAME×1".into()),
        ("design 2: the whole chain", "debug.node.test", "NAPTR", format!("NOERROR aa; answer debug.node.test. 60 NAPTR×1; additional _5061._tcp.sip1.debug.node.test. 60 TLSA×1; additional _5061._tcp.sip2.debug.node.test. 60 TLSA×1; additional _sips._tcp.debug.node.test. 60 SRV×2; {}", hosts())),
        ("design 2: the rest of it", "_sips._tcp.debug.node.test", "SRV", format!("NOERROR aa; answer _sips._tcp.debug.node.test. 60 SRV×2; additional _5061._tcp.sip1.debug.node.test. 60 TLSA×1; additional _5061._tcp.sip2.debug.node.test. 60 TLSA×1; {}", hosts())),
        ("design 2", "sip2.debug.node.test", "A", "NOERROR aa; answer sip2.debug.node.test. 60 A×1".into()),
        ("design 2", "_5061._tcp.sip2.debug.node.test", "TLSA", "NOERROR aa; answer _5061._tcp.sip2.debug.node.test. 60 TLSA×1".into()),
    ];
    for (id, name, kind, expected) in rows {
        for transport in [UDP, Transport::Tcp] {
            if *kind == "ANY" && transport == Transport::Tcp {
                continue;
            }
            let query = Query::new(name, kind);
            assert_eq!(query.shown(&zones, transport), *expected, "{id}: {name} {kind}, {transport:?}");
            let with_opt = match expected.as_str() {
                "REFUSED" => "REFUSED; opt 1232".to_owned(),
                _ => format!("{expected}; opt 1232"),
            };
            assert_eq!(
                query.edns(4096).shown(&zones, transport),
                with_opt,
                "{id} with EDNS: {name} {kind}, {transport:?}"
            );
        }
    }
}

/// ENUM-9: who asks for a number gets an answer, or REFUSED; never silence. RFC 5067 3.2.
#[test]
fn every_question_about_numbers_is_answered_enum_9() {
    let apex = DomainName::parse("e164.test").unwrap();
    let text = "$TTL 300\n@ SOA ns.node.test. h.node.test. 1 3600 600 86400 30\n@ NS ns.node.test.\n";
    let tree = StaticZone::read(&apex, "e164.test.zone", text.as_bytes(), &mut |_| Err("no files here".to_owned()));
    let settings = Settings { number_zone: Some(apex), ..Settings::default() };
    let zones = Zones::new(settings, vec![tree.unwrap()], Serial::new(1)).unwrap();
    let targets = vec![target("sip.elsewhere.test", 10, &[])];
    let mut parts = NodeParts::new(DomainName::parse("debug.elsewhere.test").unwrap(), targets);
    parts.numbers = vec![
        NumberClaim::Number { number: "+15550101".parse().unwrap(), uri: None },
        NumberClaim::Block(NumberBlock::parse("+4420").unwrap()),
    ];
    let zones = zones.with(&[Change::Put(Box::new(Node::new(parts).unwrap()))], Serial::new(2));
    const NONE: &str = "authority e164.test. 30 SOA×1";
    for (id, number, kind, expected) in [
        ("a number", "1.0.1.0.5.5.5.1.e164.test", "NAPTR", "NOERROR aa; answer 1.0.1.0.5.5.5.1.e164.test. 60 NAPTR×1"),
        ("in a block", "8.4.1.0.2.4.4.e164.test", "NAPTR", "NOERROR aa; answer 8.4.1.0.2.4.4.e164.test. 60 NAPTR×1"),
        ("another type", "1.0.1.0.5.5.5.1.e164.test", "A", &format!("NOERROR aa; {NONE}")),
        ("nobody's number", "9.9.9.5.5.5.1.e164.test", "NAPTR", &format!("NXDOMAIN aa; {NONE}")),
        ("a prefix", "5.5.5.1.e164.test", "NAPTR", &format!("NOERROR aa; {NONE}")),
        ("no digits", "x.1.e164.test", "NAPTR", &format!("NXDOMAIN aa; {NONE}")),
        ("another tree", "1.0.1.0.5.5.5.1.e164.arpa", "NAPTR", "REFUSED"),
        ("the whole tree", "e164.test", "AXFR", "REFUSED"),
    ] {
        for transport in [UDP, Transport::Tcp] {
            let shown = Query::new(number, kind).shown(&zones, transport);

            assert_eq!(shown, expected, "ENUM-9: {id}, {transport:?}");
        }
    }
}

fn hosts() -> String {
    let address = |host, kind| format!("additional {host}.debug.node.test. 60 {kind}×1");
    [("sip1", "A"), ("sip1", "AAAA"), ("sip2", "A"), ("sip2", "AAAA")]
        .map(|(host, kind)| address(host, kind))
        .join("; ")
}

#[test]
fn any_over_tcp_gives_all_dns_13() {
    let answer = Query::new("node.test", "ANY").shown(&zones(), Transport::Tcp);
    let all = ["MX×1", "NS×2", "SOA×1", "TXT×1"].map(|set| format!("answer node.test. 3600 {set}")).join("; ");
    assert_eq!(answer, format!("NOERROR aa; {all}"));
}

#[test]
fn the_question_is_echoed_octet_for_octet_dns_t36() {
    let query = Query::new("miXeD.NoDe.TeSt", "A");
    let answer = query.ask(&zones(), UDP).unwrap();
    assert_eq!(answer[12..query.0.len()], query.0[12..]);
    assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 1);
}

#[test]
fn unknown_types_are_served_byte_for_byte_dns_t49() {
    let answer = Query::new("odd.node.test", "TYPE65280").ask(&zones(), UDP).unwrap();
    assert_eq!(answer[answer.len() - 6..], [0, 4, 0x0a, 0, 0, 1]);
    assert_eq!(answer[7], 1);
}

/// A small reader of its own: hickory-proto would follow the pointers that must not be there.
#[test]
fn no_compression_in_rdata_dns_t48() {
    let zones = zones();
    for (name, kind, target_at) in [("debug.node.test", "NAPTR", 16), ("_sips._tcp.debug.node.test", "SRV", 6)] {
        let query = Query::new(name, kind);
        let answer = query.ask(&zones, UDP).unwrap();
        let record = &answer[query.0.len()..];
        assert_eq!(record[..2], [0xc0, 12], "the owner is a pointer to the question");
        let len = usize::from(u16::from_be_bytes([record[10], record[11]]));
        let data = &record[12..12 + len];
        let expected = if kind == "NAPTR" { "_sips._tcp.debug.node.test" } else { "sip1.debug.node.test" };
        assert_eq!(data[target_at..], wire(expected), "{kind}");
    }
}

#[test]
fn owners_of_additional_records_are_pointers() {
    let query = Query::new("debug.node.test", "NAPTR");
    let answer = query.ask(&zones(), UDP).unwrap();
    // The NAPTR's replacement and the SRV records' targets are written out, once; nothing else is.
    let labels = |label: &[u8]| answer.windows(label.len()).filter(|octets| *octets == label).count();
    assert_eq!((labels(b"\x05_sips"), labels(b"\x04sip1"), labels(b"\x04sip2"), labels(b"\x05_5061")), (1, 1, 1, 2));
    assert!(answer.len() < 512, "the whole chain of two targets fits without EDNS: {}", answer.len());
}

#[test]
fn header_bits_dns_4_dns_5() {
    let zones = zones();
    for (sent, expected) in [([0x00, 0x00], [0x84, 0x00]), ([0x01, 0x00], [0x85, 0x00]), ([0x07, 0xff], [0x85, 0x00])] {
        let mut query = Query::new("node.test", "SOA");
        query.0[2..4].copy_from_slice(&sent);
        let answer = query.ask(&zones, UDP).unwrap();
        assert_eq!(answer[..2], [0x42, 0x42]);
        assert_eq!(answer[2..4], expected, "{sent:x?}: RD copied; AD, CD, Z and RA clear");
    }
}

/// `a\\005host1.example` ends with the octets of `host1.example`, but not with its labels.
#[test]
fn pointers_lead_to_labels_only_rfc_1035_4_1_4() {
    let query = Query::new("a\u{5}host1.example", "MX");
    let answer = query.ask(&zones(), UDP).unwrap();
    assert!(shown(&answer).contains("3600 MX×1; additional host1.example. 3600 A×1"), "{}", shown(&answer));
    assert_eq!(
        answer.windows(6).filter(|octets| *octets == b"\x05host1").count(),
        2,
        "in QNAME, and again in the data"
    );
}
