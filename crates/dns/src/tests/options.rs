//! NSID, extended errors, TCP keepalive, CHAOS (DNS-14, DNS-46 to DNS-48, DNS-63), and no amplification (threat 1).

use hickory_proto::rr::rdata::opt::EdnsCode;

use super::*;
use crate::Identity;
use crate::cookie::{CookieSecrets, Cookies};

/// A server that tells all it can.
fn talkative() -> Policy {
    let mut config = Config::new(Vec::new());
    config.identity = Identity::new("ams-1", "Tandem").unwrap();
    config.cookies = Some(Cookies::new(CookieSecrets::new([7; 16], None)));
    Policy::new(&config)
}

fn ask(policy: &Policy, query: &Query, transport: Transport) -> Vec<u8> {
    let client = policy.client(transport, [192, 0, 2, 1].into(), 1_700_000_000);
    query.ask_as(&zones(), &client).unwrap().0
}

/// The data of an option of the answer.
fn option(answer: &[u8], code: u16) -> Option<Vec<u8>> {
    let edns = Message::from_vec(answer).unwrap().edns?;
    let option = edns.option(EdnsCode::from(code))?;
    Some(Vec::try_from(option).unwrap())
}

fn with_options(query: Query, options: &[u8]) -> Query {
    query.record("", 41, 1232, 0, options)
}

fn soa() -> Query {
    Query::new("node.test", "SOA")
}

const ASKS_NSID: [u8; 4] = [0, 3, 0, 0];
const ASKS_KEEPALIVE: [u8; 4] = [0, 11, 0, 0];
const COOKIE: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn nsid_only_when_asked_for_dns_47() {
    let policy = talkative();
    for transport in [UDP, Transport::Tcp, Transport::Exchange] {
        for (query, expected) in [
            (with_options(soa(), &ASKS_NSID), Some(b"ams-1".to_vec())),
            // RFC 5001 2.2: data in the question is ignored.
            (with_options(soa(), &[0, 3, 0, 2, 7, 7]), Some(b"ams-1".to_vec())),
            (with_options(Query::new("elsewhere.test", "A"), &ASKS_NSID), Some(b"ams-1".to_vec())),
            (soa().edns(1232), None),
            (soa(), None),
        ] {
            assert_eq!(option(&ask(&policy, &query, transport), 3), expected, "{transport:?} {:02x?}", query.0);
        }
        // A server without a name has nothing to tell.
        let query = with_options(soa(), &ASKS_NSID);
        assert_eq!(query.ask(&zones(), transport), soa().edns(1232).ask(&zones(), transport));
    }
    assert!(Identity::new(&"x".repeat(64), "").is_some());
    assert!(Identity::new(&"x".repeat(65), "").is_none());
}

#[test]
fn keepalive_over_tcp_only_dns_63_dns_t52() {
    let policy = talkative();
    let asks = with_options(soa(), &ASKS_KEEPALIVE);
    assert_eq!(option(&ask(&policy, &asks, Transport::Tcp), 11), Some(vec![0, 100]), "10 seconds");
    assert_eq!(option(&ask(&policy, &asks, UDP), 11), None, "DNS-T52");
    assert_eq!(option(&ask(&policy, &asks, Transport::Exchange), 11), None, "RFC 9250 5.5.2");
    assert_eq!(option(&ask(&policy, &soa().edns(1232), Transport::Tcp), 11), None);
    let mut config = Config::new(Vec::new());
    config.tcp.idle = std::time::Duration::from_secs(1_000_000);
    let long = Policy::new(&config);
    assert_eq!(option(&ask(&long, &asks, Transport::Tcp), 11), Some(vec![0xff, 0xff]), "as long as it can say");
}

#[test]
fn extended_errors_dns_48() {
    let policy = talkative();
    let rows = [
        ("not ours", Query::new("elsewhere.test", "A"), "REFUSED", 20),
        ("transfer", Query::new("node.test", "AXFR"), "REFUSED", 18),
        ("NXNAME", Query::new("node.test", "NXNAME"), "FORMERR", 30),
        ("TKEY", Query::new("node.test", "TKEY"), "FORMERR", 30),
        ("OPT", Query::new("node.test", "OPT"), "FORMERR", 30),
    ];
    for (what, query, status, code) in rows {
        let answer = ask(&policy, &query.clone().edns(1232), Transport::Tcp);
        assert!(shown(&answer).starts_with(status), "{what}: {}", shown(&answer));
        assert_eq!(option(&answer, 15), Some(vec![0, code]), "{what}");
        // DNS-46: the first to go where the answer would be longer than the question.
        let answer = ask(&policy, &query.clone().edns(1232), UDP);
        assert_eq!(option(&answer, 15), None, "{what}");
        let roomy = with_options(query.clone(), &[0xff, 0xfe, 0, 3, 0, 0, 0]);
        assert_eq!(option(&ask(&policy, &roomy, UDP), 15), Some(vec![0, code]), "{what}");
        assert_eq!(option(&ask(&policy, &query, Transport::Tcp), 15), None, "DNS-40: {what}");
    }
}

#[test]
fn all_options_of_one_answer() {
    let policy = talkative();
    let all = [&ASKS_NSID[..], &COOKIE, &ASKS_KEEPALIVE].concat();
    let answer = ask(&policy, &with_options(Query::new("elsewhere.test", "A"), &all), Transport::Tcp);
    let of = |code| option(&answer, code).map(|data| data.len());
    assert_eq!([of(10), of(3), of(11), of(15)], [Some(24), Some(5), Some(2), Some(2)]);
}

/// Options take room from records, never more than there is (DNS-44, DNS-45).
#[test]
fn options_count_as_size_dns_44() {
    let policy = talkative();
    let all = [&ASKS_NSID[..], &COOKIE].concat();
    for (name, kind) in [("eight.big.test", "SRV"), ("many.big.test", "NAPTR"), ("debug.node.test", "NAPTR")] {
        for size in [0, 512, 600, 1232, 4096] {
            let query = Query::new(name, kind).record("", 41, size, 0, &all);
            let answer = ask(&policy, &query, UDP);
            assert!(answer.len() <= usize::from(size.clamp(512, 1232)), "{name} {size}: {}", answer.len());
            assert_eq!(option(&answer, 3).as_deref(), Some(&b"ams-1"[..]), "{name} {size}");
        }
    }
}

#[test]
fn chaos_only_as_configured_dns_14() {
    let policy = talkative();
    let chaos = |name: &str, kind| Query::header().question(name, kind, 3);
    for (name, kind, expected) in [
        ("version.bind", 16, Some("Tandem")),
        ("VERSION.Server", 16, Some("Tandem")),
        ("version.bind", 255, Some("Tandem")),
        ("id.server", 16, Some("ams-1")),
        ("hostname.bind", 16, Some("ams-1")),
        ("hostname.bind", 1, None),
        ("authors.bind", 16, None),
        ("node.test", 16, None),
        ("bind", 16, None),
    ] {
        for transport in [UDP, Transport::Tcp] {
            let query = chaos(name, kind).edns(1232);
            let answer = Message::from_vec(&ask(&policy, &query, transport)).unwrap();
            let texts: Vec<String> = answer
                .answers
                .iter()
                .inspect(|record| assert_eq!(u16::from(record.dns_class), 3, "{name}"))
                .map(|record| record.data.to_string())
                .collect();
            assert_eq!(texts, Vec::from_iter(expected.map(str::to_owned)), "{name} {kind}");
            assert!(answer.edns.is_some(), "DNS-40");
            let refused = "REFUSED; opt 1232";
            assert_eq!(query.shown(&zones(), transport), refused, "{name} {kind}: nothing by default");
        }
    }
    let elsewhere = Query::header().question("version.bind", 16, 4);
    assert_eq!(shown(&ask(&policy, &elsewhere, UDP)), "REFUSED", "another class");
}

/// Threat 1: nothing but a well-formed query gets an answer that is longer than itself, whatever it asks for.
#[test]
fn malformed_messages_are_not_amplified() {
    let policy = talkative();
    let all = [&ASKS_NSID[..], &COOKIE, &ASKS_KEEPALIVE].concat();
    let full = || with_options(soa(), &all);
    let behind = |query: Query, octets: &[u8]| Query([&query.0[..], octets].concat());
    let opt = |version: u32, data: &[u8]| soa().record("", 41, 1232, version << 16, data);
    let mut messages = vec![
        ("two questions", full().question("node.test", 255, 1)),
        ("no question", Query::header()),
        ("no question, OPT", Query::header().edns(1232)),
        ("unknown opcode", full().opcode(15)),
        ("header only", Query::header().opcode(15)),
        ("STATUS", full().opcode(2)),
        ("next EDNS", opt(1, &all)),
        ("two OPT", full().edns(1232)),
        ("OPT with an owner", soa().record("x", 41, 1232, 0, &all)),
        ("short cookie", opt(0, &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7])),
        ("long cookie", opt(0, &[&[0, 10, 0, 41][..], &[0; 41]].concat())),
        ("no cookie", opt(0, &[0, 10, 0, 0])),
        ("half an option", opt(0, &[0, 3, 0])),
        ("option beyond the end", opt(0, &[0, 3, 0, 1])),
        ("trailing octet", behind(full(), &[0])),
        ("more counted", full().add(6)),
        ("pointer into the header", behind(Query::header().add(4), &[0xc0, 0, 0, 255, 0, 1])),
        ("loop", behind(Query::header().add(4), &[0xc0, 12, 0, 255, 0, 1])),
        ("long label", behind(Query::header().add(4), &[0x7f, 0, 0, 255, 0, 1])),
        ("NXNAME", with_options(Query::new("node.test", "NXNAME"), &all)),
        ("MAILB", with_options(Query::new("node.test", "MAILB"), &all)),
        ("TSIG cut off", full().record("k", 250, 255, 0, &[0])),
    ];
    // Every sound query, cut off anywhere.
    let whole = with_options(Query::new("debug.node.test", "ANY"), &all).0;
    messages.extend((12..whole.len()).map(|len| ("cut off", Query(whole[..len].to_vec()))));
    for (what, message) in messages {
        let answer = ask(&policy, &message, UDP);
        let (sent, got) = (message.0.len(), answer.len());
        assert!(got <= sent, "{what}: {got} octets to {sent}: {}", shown(&answer));
        assert!(!shown(&answer).starts_with("NOERROR"), "{what}: {}", shown(&answer));
    }
}
