//! Names below a DNAME (RFC 6672, DNS-26), over UDP and TCP and with any case.

use std::collections::BTreeSet;

use hickory_proto::rr::RData;

use super::*;

/// The parts of an answer in words, see [`shown`]; owners without the zone's name.
fn parts(text: &str) -> BTreeSet<String> {
    text.replace(".dname.test.", "").split("; ").map(str::to_owned).collect()
}

const NEGATIVE: &str = "authority dname.test. 300 SOA×1";
const ADDRESS: &str = "answer host.new 3600 A×1";
const OLD: &str = "answer old 3600 DNAME×1";

#[test]
fn redirections_dns_26() {
    let zones = zones();
    let rows: &[(&str, &str, &str, &[&str])] = &[
        ("3.2 found", "host.old", "A", &["NOERROR aa", OLD, "answer host.old 3600 CNAME×1", ADDRESS]),
        (
            "3.1 TTL",
            "host.short",
            "A",
            &["NOERROR aa", "answer short 60 DNAME×1", "answer host.short 60 CNAME×1", ADDRESS],
        ),
        ("3.2 nothing there", "a.b.old", "A", &["NXDOMAIN aa", OLD, "answer a.b.old 3600 CNAME×1", NEGATIVE]),
        ("3.2 no such type", "host.old", "TXT", &["NOERROR aa", OLD, "answer host.old 3600 CNAME×1", NEGATIVE]),
        ("2.3 DNAME below", "host.old", "DNAME", &["NOERROR aa", OLD, "answer host.old 3600 CNAME×1", NEGATIVE]),
        ("2.3 CNAME below", "host.old", "CNAME", &["NOERROR aa", OLD, "answer host.old 3600 CNAME×1"]),
        ("2.3 ANY below", "host.old", "ANY", &["NOERROR aa", OLD, "answer host.old 3600 CNAME×1"]),
        ("2.3 the owner", "old", "TXT", &["NOERROR aa", "answer old 3600 TXT×1"]),
        ("2.3 the owner", "old", "DNAME", &["NOERROR aa", OLD]),
        ("2.3 the owner", "old", "A", &["NOERROR aa", NEGATIVE]),
        ("2.3 the owner", "old", "CNAME", &["NOERROR aa", NEGATIVE]),
        ("2.2 beside it", "xold", "A", &["NXDOMAIN aa", NEGATIVE]),
        (
            "3.2 then a CNAME",
            "al.old",
            "A",
            &["NOERROR aa", OLD, "answer al.old 3600 CNAME×1", "answer al.new 3600 CNAME×1", ADDRESS],
        ),
        (
            "3.2 after a CNAME",
            "to-old",
            "A",
            &["NOERROR aa", "answer to-old 3600 CNAME×1", OLD, "answer host.old 3600 CNAME×1", ADDRESS],
        ),
        (
            "3.2 then a wildcard",
            "x.w.old",
            "TXT",
            &["NOERROR aa", OLD, "answer x.w.old 3600 CNAME×1", "answer x.w.new 3600 TXT×1"],
        ),
        ("DNS-T39", "x.out", "A", &["NOERROR aa", "answer out 3600 DNAME×1", "answer x.out 3600 CNAME×1"]),
        (
            "DNS-20 another zone",
            "host1.across",
            "A",
            &[
                "NOERROR aa",
                "answer across 3600 DNAME×1",
                "answer host1.across 3600 CNAME×1",
                "answer host1.example. 3600 A×1",
            ],
        ),
        (
            "DNS-27 a cut",
            "www.cut",
            "A",
            &[
                "NOERROR aa",
                "answer cut 3600 DNAME×1",
                "answer www.cut 3600 CNAME×1",
                "authority sub.node.test. 3600 NS×2",
                "additional ns.sub.node.test. 3600 A×1",
                "additional ns.sub.node.test. 3600 AAAA×1",
            ],
        ),
        ("DNS-T38", "x.self", "A", &["NOERROR aa", "answer self 3600 DNAME×1", "answer x.self 3600 CNAME×1"]),
        (
            "DNS-T38",
            "x.ping",
            "A",
            &[
                "NOERROR aa",
                "answer ping 3600 DNAME×1",
                "answer x.ping 3600 CNAME×1",
                "answer pong 3600 DNAME×1",
                "answer x.pong 3600 CNAME×1",
            ],
        ),
        (
            "DNS-25 eight steps, one DNAME",
            "a.grow",
            "A",
            &[
                "NOERROR aa",
                "answer grow 3600 DNAME×1",
                "answer a.grow 3600 CNAME×1",
                "answer a.x.grow 3600 CNAME×1",
                "answer a.x.x.grow 3600 CNAME×1",
                "answer a.x.x.x.grow 3600 CNAME×1",
                "answer a.x.x.x.x.grow 3600 CNAME×1",
                "answer a.x.x.x.x.x.grow 3600 CNAME×1",
                "answer a.x.x.x.x.x.x.grow 3600 CNAME×1",
                "answer a.x.x.x.x.x.x.x.grow 3600 CNAME×1",
            ],
        ),
    ];
    for (id, name, kind, expected) in rows {
        let expected: BTreeSet<String> = expected.iter().map(|part| (*part).to_owned()).collect();
        for transport in [UDP, Transport::Tcp] {
            let answer = Query::new(&format!("{name}.dname.test"), kind).edns(1232).shown(&zones, transport);
            let mut found = parts(&answer);
            assert!(found.remove("opt 1232"), "{id}: {answer}");
            assert_eq!(found, expected, "{id}: {name} {kind}, {transport:?}");
        }
    }
}

/// RFC 6672 2.2: what is asked for is kept as it was written, what stands behind it is replaced.
#[test]
fn the_made_cname_rfc_6672_2_2() {
    let answer = Query::new("X.hOsT.OlD.dname.test", "A").ask(&zones(), UDP).unwrap();
    let message = Message::from_vec(&answer).unwrap();
    let owners: Vec<String> = message.answers.iter().map(|record| record.name.to_string()).collect();
    assert_eq!(owners, ["OlD.dname.test.", "X.hOsT.OlD.dname.test."], "RFC 6672 3.2: the DNAME comes first");
    let RData::CNAME(target) = &message.answers[1].data else { panic!("{message:?}") };
    assert_eq!(target.0.to_string(), "X.hOsT.new.dname.test.");
    // DNS-9: the DNAME's data is whole.
    let data = wire("new.dname.test");
    assert!(answer.windows(data.len()).any(|octets| octets == data), "{answer:02x?}");
}

/// RFC 6672 2.2, 3.2: a name of 255 octets is one, a name of 256 is not.
#[test]
fn names_that_grow_too_long_dns_26() {
    let zones = zones();
    // The target takes 234 octets.
    for (label, expected) in [(20, "NOERROR aa"), (21, "YXDOMAIN aa"), (60, "YXDOMAIN aa")] {
        for transport in [UDP, Transport::Tcp] {
            let name = format!("{}.long.dname.test", "y".repeat(label));
            let found = parts(&Query::new(&name, "A").edns(1232).shown(&zones, transport));
            let mut wanted: Vec<String> = vec![expected.into(), "opt 1232".into(), "answer long 3600 DNAME×1".into()];
            if expected.starts_with("NOERROR") {
                wanted.push(format!("answer {}.long 3600 CNAME×1", "y".repeat(label)));
            }
            assert_eq!(found, wanted.into_iter().collect(), "{label} {transport:?}");
        }
    }
    let any = Query::new(&format!("{}.long.dname.test", "y".repeat(60)), "ANY").shown(&zones, UDP);
    assert_eq!(any, "YXDOMAIN aa; answer long.dname.test. 3600 DNAME×1");
    // Behind a CNAME and another DNAME, too: the rcode is that of the last name (RFC 6604 3).
    let deep = Query::new(&format!("{}.to-long.dname.test", "y".repeat(60)), "A").edns(1232).shown(&zones, UDP);
    assert!(deep.starts_with("YXDOMAIN aa") && deep.matches("DNAME×1").count() == 2, "{deep}");
}

/// DNS-45: what must be there and does not fit makes the answer a truncated one.
#[test]
fn a_chain_that_does_not_fit_dns_45() {
    let name = format!("{}.grow.dname.test", "y".repeat(60));
    assert_eq!(Query::new(&name, "A").shown(&zones(), UDP), "NOERROR aa tc");
    assert!(Query::new(&name, "A").shown(&zones(), Transport::Tcp).starts_with("NOERROR aa; answer"));
}
