//! What fits, what is left out, and when TC is set (DNS-43 to DNS-45).

use super::*;

#[test]
fn truncation() {
    let zones = zones();
    let many = || Query::new("many.big.test", "NAPTR");
    let all = "NOERROR aa; answer many.big.test. 300 NAPTR×40";
    let servers = || Query::new("x.sub.big.test", "A");
    let rows = [
        ("DNS-T40", many().edns(1232), UDP, "NOERROR aa tc; opt 1232"),
        ("DNS-T40", many().edns(1232), Transport::Tcp, &*format!("{all}; opt 1232")),
        ("DNS-44: the client's limit counts only below ours", many().edns(65_535), UDP, "NOERROR aa tc; opt 1232"),
        ("DNS-T41", many(), UDP, "NOERROR aa tc"),
        ("DNS-T41", many(), Transport::Tcp, all),
        ("DNS-27: glue counts", servers(), UDP, "NOERROR tc"),
        (
            "DNS-27: glue counts",
            servers(),
            Transport::Tcp,
            &(0..14)
                .map(|n| format!("name-server-number-{n}.sub.big.test."))
                .collect::<std::collections::BTreeSet<_>>()
                .iter()
                .fold("NOERROR; authority sub.big.test. 300 NS×14".to_owned(), |text, name| {
                    format!("{text}; additional {name} 300 AAAA×1")
                }),
        ),
    ];
    for (id, query, transport, expected) in rows {
        assert_eq!(query.shown(&zones, transport), expected, "{id}, {transport:?}");
    }
}

#[test]
fn small_sizes_count_as_512_dns_t42() {
    let zones = zones();
    let at = |size| Query::new("eight.big.test", "SRV").edns(size).ask(&zones, UDP).unwrap();
    assert_eq!(at(100), at(512));
    assert!(at(100).len() <= 512 && at(100).len() > 300, "{}", at(100).len());
    assert!(at(1232).len() > at(512).len(), "more additional records where there is room");
}

#[test]
fn additional_records_go_before_tc_is_set_dns_45() {
    let zones = zones();
    for (query, limit) in [
        (Query::new("eight.big.test", "SRV"), 512),
        (Query::new("eight.big.test", "SRV").edns(512), 512),
        (Query::new("debug.node.test", "NAPTR").edns(512), 512),
    ] {
        let answer = query.ask(&zones, UDP).unwrap();
        let message = Message::from_vec(&answer).unwrap();
        assert!(answer.len() <= limit && !message.truncation && !message.answers.is_empty());
    }
    let short = Query::new("eight.big.test", "SRV").ask(&zones, UDP).unwrap();
    let message = Message::from_vec(&short).unwrap();
    assert_eq!(message.answers.len(), 8);
    assert!((1..8).contains(&message.additionals.len()), "some of the eight hosts: {}", message.additionals.len());
}

#[test]
fn our_limit_holds_dns_44() {
    let zones = zones();
    for (ours, size) in [(512, 1232), (1232, 4096), (1400, 4096)] {
        let transport = Transport::Udp { limit: ours };
        for (name, kind) in [("many.big.test", "NAPTR"), ("eight.big.test", "SRV"), ("debug.node.test", "NAPTR")] {
            let answer = Query::new(name, kind).edns(size).ask(&zones, transport).unwrap();
            assert!(answer.len() <= usize::from(ours), "{name} {kind}: {} of {ours}", answer.len());
        }
    }
}

/// The SRV set is begun, does not fit and is taken back: owners behind it must not point to where its names were.
#[test]
fn what_is_taken_back_leaves_no_trace_dns_45() {
    let answer = Query::new("tight.big.test", "NAPTR").shown(&zones(), UDP);
    let host = "additional srv-host-number-0.big.test. 300 AAAA×1";
    assert_eq!(answer, format!("NOERROR aa; answer tight.big.test. 300 NAPTR×3; {host}"));
}
