//! What members' names give, and what stays as the public DNS has it.

use std::borrow::Cow;

use super::super::{BlockReason, Blocked, News, Roster};
use super::*;
use crate::tests::shown;

/// Asks the overlay, and says where the answer came from.
async fn answer(overlay: &Overlay, query: &Query) -> (String, &'static str) {
    let before = overlay.stats();
    let answer = udp(overlay.local_addrs()[0], query).await;
    let now = hostile::settled(overlay, |stats| *stats != before).await;
    let from = [
        (now.members - before.members, "member"),
        (now.blocked - before.blocked, "block"),
        (now.forwarded - before.forwarded, "public"),
        (now.errors - before.errors, "error"),
    ];
    let [(1, from)] = from.into_iter().filter(|(count, _)| *count > 0).collect::<Vec<_>>()[..] else {
        panic!("one answer is counted once: {before:?} {now:?}")
    };
    (shown(&answer), from)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_laid_over_the_public_dns_dns_120_dns_121() {
    let (_server, public) = public();
    let (overlay, _, _) = start(settings(&[public]), members());
    let with_chain = "additional _sips._tcp.member.test. 77 SRV×3; additional sip1.member.test. 77 A×1";
    for (owner, kind, from, expected) in [
        ("member.test", "NAPTR", "member", with_chain),
        ("MEMBER.test", "NAPTR", "member", "answer MEMBER.test. 77 NAPTR×1"),
        ("_sips._tcp.member.test", "SRV", "member", "answer _sips._tcp.member.test. 77 SRV×3"),
        ("sip1.member.test", "A", "member", "answer sip1.member.test. 77 A×1"),
        ("sip1.member.test", "AAAA", "member", "answer sip1.member.test. 77 AAAA×1"),
        ("sip2.member.test", "A", "member", "answer sip2.member.test. 77 A×1"),
        // Its addresses are those of the document: the public one is not its.
        ("sip2.member.test", "AAAA", "member", "NOERROR ra"),
        ("_5061._tcp.sip1.member.test", "TLSA", "member", "TLSA×1"),
        // Not a service of the document.
        ("_443._tcp.sip1.member.test", "TLSA", "public", "NXDOMAIN"),
        ("_sip._udp.member.test", "SRV", "public", "answer _sip._udp.member.test. 300 SRV×1"),
        ("_sips._tcp.member.test", "NAPTR", "public", "NOERROR"),
        ("member.test", "MX", "public", "answer member.test. 300 MX×1"),
        ("member.test", "A", "public", "answer member.test. 300 A×1"),
        ("member.test", "AAAA", "public", "NOERROR"),
        ("member.test", "SOA", "public", "answer member.test. 300 SOA×1"),
        ("member.test", "NS", "public", "answer member.test. 300 NS×1"),
        ("member.test", "TXT", "public", "NOERROR"),
        ("member.test", "DS", "public", ""),
        ("www.member.test", "A", "public", "answer www.member.test. 300 A×1"),
        ("old.member.test", "A", "public", "answer old.member.test. 300 A×1"),
        ("x.sip1.member.test", "A", "public", "NXDOMAIN"),
        ("_tcp.member.test", "SRV", "public", "NOERROR"),
        // A host of somebody else's.
        ("sip.other.test", "A", "public", "answer sip.other.test. 300 A×1"),
        ("_sips._tcp.other.test", "SRV", "public", "answer _sips._tcp.other.test. 300 SRV×1"),
        // Under the suffixes.
        ("member.test.peers.dir.test", "NAPTR", "member", "additional _sips._tcp.member.test.peers.dir.test. 77 SRV×3"),
        ("_sips._tcp.member.test.peers.dir.test", "SRV", "member", "additional sip1.member.test. 77 A×1"),
        ("sip1.member.test.peers.dir.test", "A", "public", "REFUSED"),
        ("other.test.peers.dir.test", "NAPTR", "public", "REFUSED"),
        ("1.5.5.5.1.e164.arpa", "NAPTR", "member", "answer 1.5.5.5.1.e164.arpa. 77 NAPTR×1"),
        ("1.5.5.5.1.e164.dir.test", "NAPTR", "member", "answer 1.5.5.5.1.e164.dir.test. 77 NAPTR×1"),
        ("7.9.1.5.5.5.1.e164.arpa", "NAPTR", "member", "answer 7.9.1.5.5.5.1.e164.arpa. 77 NAPTR×1"),
        ("9.1.5.5.5.1.e164.dir.test", "NAPTR", "public", "NXDOMAIN"),
        ("x.7.9.1.5.5.5.1.e164.dir.test", "NAPTR", "public", "NXDOMAIN"),
        ("5.5.5.1.e164.dir.test", "NAPTR", "public", "NXDOMAIN"),
        ("e164.dir.test", "NAPTR", "public", "NOERROR"),
        ("2.4.4.e164.dir.test", "NAPTR", "public", "answer 2.4.4.e164.dir.test. 300 NAPTR×1"),
        ("1.5.5.5.1.e164.dir.test", "A", "public", ""),
    ] {
        let (text, found) = answer(&overlay, &Query::new(owner, kind).edns(1232)).await;
        assert_eq!(found, from, "{owner} {kind}: {text}");
        assert!(text.contains(expected), "{owner} {kind}: {text}");
        if from == "member" {
            // DNS-120: a resolver, and no authority.
            assert!(text.starts_with("NOERROR ra") && text.ends_with("opt 1232"), "{owner} {kind}: {text}");
        }
    }
    overlay.shutdown().await;
}

/// facts.md 4: what SIP servers ask, in their order; none of them with EDNS but Asterisk.
#[tokio::test(flavor = "multi_thread")]
async fn what_sip_servers_ask_dns_120() {
    let (_server, public) = public();
    let (overlay, _, address) = start(settings(&[public]), members());
    for questions in [
        // Kamailio with dns_try_naptr, FreeSWITCH, Asterisk, sip-dig.
        &[
            ("member.test", "NAPTR"),
            ("_sips._tcp.member.test", "SRV"),
            ("sip1.member.test", "A"),
            ("sip1.member.test", "AAAA"),
        ][..],
        // Kamailio and FreeSWITCH with transport=tls.
        &[("_sips._tcp.member.test", "SRV"), ("sip2.member.test", "A")],
    ] {
        for (owner, kind) in questions {
            let octets = udp(address, &Query::new(owner, kind)).await;
            let text = shown(&octets);
            assert!(octets.len() <= 512 && text.contains("NOERROR ra; answer"), "{owner} {kind}: {text}");
        }
    }
    let now = hostile::settled(&overlay, |stats| stats.members == 6).await;
    assert_eq!((now.members, now.forwarded), (6, 0), "no look-up leaves the host");
    // Kamailio by default, linphone: never a member's answer, so that nobody calls in clear.
    let text = shown(&udp(address, &Query::new("_sip._tcp.member.test", "SRV")).await);
    assert!(text.starts_with("NXDOMAIN"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_is_not_forwarded_dns_122() {
    let (_server, public) = public();
    let (overlay, live, address) = start(settings(&[public]), members());
    let block = |reason| {
        let numbers = Some(with_nodes(&[node("member.test", "+15551")]));
        let blocked = Arc::new(Blocked::new([(name("member.test"), reason)], numbers));
        live.publish(Members { blocked, ..Members::none() });
    };
    let ask = async |owner: &str, kind: &str| {
        let octets = udp(address, &Query::new(owner, kind).edns(1232)).await;
        (shown(&octets), extended_error(&octets))
    };
    for (reason, text) in [
        (BlockReason::Suspended, "this member is suspended"),
        (BlockReason::Compromised, "this member is compromised"),
        (BlockReason::Withdrawn, "this member has withdrawn"),
        (BlockReason::NoneGood, "no server of this member was good when it was looked at last"),
    ] {
        block(reason);
        for (owner, kind, rcode) in [
            ("member.test", "NAPTR", "NOERROR ra"),
            ("_sips._tcp.member.test", "SRV", "NXDOMAIN ra"),
            ("_SIPS._TCP.Member.Test", "ANY", "NXDOMAIN ra"),
            ("member.test.peers.dir.test", "NAPTR", "NOERROR ra"),
            ("_sips._tcp.member.test.peers.dir.test", "SRV", "NXDOMAIN ra"),
        ] {
            let (shown, error) = ask(owner, kind).await;
            assert_eq!(shown, format!("{rcode}; opt 1232"), "{owner} {kind}");
            assert_eq!(error, Some((15, text.to_owned())), "{owner} {kind}");
        }
        // RFC 3263 4.2: the domain's own addresses are the last way to a host that is in foreign hands.
        let (shown, error) = ask("member.test", "AAAA").await;
        match reason {
            BlockReason::Compromised => assert_eq!((&*shown, error.unwrap().0), ("NOERROR ra; opt 1232", 15)),
            _ => assert_eq!(error, None, "{shown}"),
        }
    }
    for owner in ["1.5.5.5.1.e164.arpa", "3.9.1.5.5.5.1.e164.dir.test"] {
        let (shown, error) = ask(owner, "NAPTR").await;
        assert_eq!(shown, "NXDOMAIN ra; opt 1232", "{owner}");
        assert_eq!(error.unwrap().0, 15, "{owner}");
    }
    // Nothing but calls is blocked, and nobody else.
    for (owner, kind, expected) in [
        ("member.test", "MX", "MX×1"),
        ("sip1.member.test", "A", "300 A×1"),
        ("_sips._tcp.other.test", "SRV", "SRV×1"),
        ("1.4.4.e164.dir.test", "NAPTR", "NAPTR×1"),
    ] {
        let (shown, error) = ask(owner, kind).await;
        assert!(shown.contains(expected) && error.is_none(), "{owner} {kind}: {shown}");
    }
    // A block wins over a document: whoever forgets to take that out is still safe.
    live.publish(Members { blocked: live.load().blocked.clone(), ..members() });
    assert_eq!(ask("_sips._tcp.member.test", "SRV").await.0, "NXDOMAIN ra; opt 1232");
    // Its numbers may be somebody else's by now.
    live.publish(Members { nodes: with_nodes(&[node("heir.test", "+15551")]), blocked: live.load().blocked.clone() });
    assert!(ask("1.5.5.5.1.e164.arpa", "NAPTR").await.0.contains("NAPTR×1"));
    assert_eq!(ask("_sips._tcp.member.test", "SRV").await.0, "NXDOMAIN ra; opt 1232");
    live.publish(members());
    assert!(ask("_sips._tcp.member.test", "SRV").await.0.contains("SRV×3"), "the next answer already");
    assert_eq!(overlay.stats().failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_dns_121() {
    let (_server, public) = public();
    let (overlay, _, address) = start(settings(&[public]), members());
    let mut two = Query::new("www.member.test", "A");
    two.0[5] = 2;
    let mut cd = Query::new("member.test", "NAPTR");
    cd.0[3] |= 0x10;
    for (query, expected) in [
        (Query::new("member.test", "NAPTR").opcode(4), "NOTIMP ra qd=0"),
        (Query::new("member.test", "NAPTR").opcode(5), "NOTIMP ra qd=0"),
        (Query::new("member.test", "AXFR"), "REFUSED ra"),
        (two, "FORMERR ra qd=0"),
        (Query::header(), "FORMERR ra qd=0"),
        // Asked oddly, a member's name does not get out.
        (Query::new("_sips._tcp.member.test", "SRV").edns(1232).edns(1232), "FORMERR ra"),
        // Other names are the upstream's to judge: it says what it does not know.
        (Query::header().question("www.member.test", 1, 3), "REFUSED"),
        (Query::new("www.member.test", "A").edns(1232).edns(1232), "FORMERR; opt"),
    ] {
        let text = shown(&udp(address, &query).await);
        assert!(text.starts_with(expected), "{query:?}: {text}, not {expected}");
    }
    // CD is copied (RFC 4035 3.2.2), AD is not claimed.
    assert_eq!(udp(address, &cd).await[3], 0x90);
    // Responses and less than a header get nothing; what follows them does.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut response = Query::new("member.test", "NAPTR");
    response.0[2] |= 0x80;
    socket.send_to(&response.0, address).unwrap();
    socket.send_to(&[0; 11], address).unwrap();
    socket.send_to(&[0x55; 2500], address).unwrap();
    let now = hostile::settled(&overlay, |stats| stats.ignored == 3).await;
    assert_eq!(now.not_sent, 0);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_follows_its_members_dns_120_dns_122() {
    let (_server, public) = public();
    let mut roster = Roster::new(suffixes());
    let (member, other) = (node("member.test", "+15551"), node("other.test", "+15552"));
    let is = |node| News::Member(Cow::Borrowed(node));
    let first = roster.update([(member.domain(), is(&member)), (other.domain(), is(&other))]);
    let (overlay, live, address) = start(settings(&[public]), first);
    let ask = async |owner: &str, kind: &str| shown(&udp(address, &Query::new(owner, kind)).await);
    let (number, in_block) = ("1.5.5.5.1.e164.dir.test", "3.9.1.5.5.5.1.e164.dir.test");
    for (owner, kind) in [("_sips._tcp.member.test", "SRV"), ("_sips._tcp.other.test", "SRV"), (number, "NAPTR")] {
        assert!(ask(owner, kind).await.contains(" 77 "), "{owner}");
    }
    // Blocked: its numbers, too. The other stays.
    live.publish(roster.update([(member.domain(), News::Blocked(BlockReason::Compromised))]));
    for (owner, kind) in [("_sips._tcp.member.test", "SRV"), (number, "NAPTR"), (in_block, "NAPTR")] {
        assert_eq!(ask(owner, kind).await, "NXDOMAIN ra", "{owner}");
    }
    assert!(ask("_sips._tcp.other.test", "SRV").await.contains(" 77 "));
    live.publish(roster.update([(member.domain(), News::Blocked(BlockReason::Suspended))]));
    assert_eq!(ask(number, "NAPTR").await, "NXDOMAIN ra", "still");
    // Back, and then no member at all.
    live.publish(roster.update([(member.domain(), is(&member))]));
    assert!(ask(number, "NAPTR").await.contains(" 77 ") && live.load().blocked.is_empty());
    live.publish(roster.update([(member.domain(), News::Gone)]));
    assert!(ask("_sips._tcp.member.test", "SRV").await.contains(" 300 SRV"), "the public DNS answers");
    // A document that cannot be served is no reason to fall, or to call by old records.
    let long = |count: usize| format!("{}member.test", "a234567890123456789012345678901234567890.".repeat(count));
    let mut parts = NodeParts::new(name(&format!("abcdefghijkl.{}", long(5))), vec![]);
    parts.targets = other.targets().iter().filter(|target| target.addresses.is_empty()).cloned().collect();
    let too_long = Node::new(parts).unwrap();
    live.publish(roster.update([(too_long.domain(), is(&too_long))]));
    assert_eq!(live.load().nodes.node_count(), 1);
    assert!(!live.load().blocked.is_empty());
    overlay.shutdown().await;
}
