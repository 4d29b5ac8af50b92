//! The worked cases LOC-T01 to LOC-T82 and what belongs to them.

use std::collections::HashMap;

use tandem_model::SipUri;
use tandem_model::locate::{
    Client, Families, Kind, Locate, LocateError, Order, Question, Reach, Refusal, Reply, Request, RequestSize, SentBy,
    Service, Step,
};

use crate::zone::ZoneFile;
use crate::{client, drive, run, shown, uri};

/// One row of `locating.cases`.
struct Case {
    id: String,
    uri: String,
    client: Client,
    request: Request,
    draws: Vec<u32>,
    expected: String,
    in_secure_mode: Option<String>,
}

impl Case {
    fn read(line: &str) -> Self {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, uri, who, expected] = cells[..] else { panic!("a row has four cells: {line}") };
        let mut words = who.split_whitespace();
        let mut client = client(words.next().unwrap());
        let (mut request, mut draws) = (Request::default(), Vec::new());
        for word in words {
            match word {
                "v4" => client.families = Families::V4,
                "big" => request.size = Some(RequestSize { octets: 1400, path_mtu: None }),
                "stateless" => client.order = Order::Fixed,
                "ruri=sips" => request.request_uri_is_sips = true,
                _ => draws = word.strip_prefix("n=").expect(id).split(',').map(|n| n.parse().unwrap()).collect(),
            }
        }
        let in_secure_mode =
            expected.split_once("(SECURE mode: `").map(|(_, rest)| rest.split('`').next().unwrap().into());
        let expected = match expected.strip_prefix('`') {
            Some(error) => error.split('`').next().unwrap().to_owned(),
            None => {
                let hops = expected.split(" — ").next().unwrap().split(" (SECURE").next().unwrap();
                let hops: Vec<_> = hops.split(';').map(|hop| hop.trim().replace('<', "as ").replace('>', "")).collect();
                hops.join("; ")
            }
        };
        Self { id: id.into(), uri: uri.trim_matches('`').into(), client, request, draws, expected, in_secure_mode }
    }

    fn outcome(&self, client: Client, zone: &ZoneFile) -> String {
        match SipUri::parse(&self.uri) {
            Err(_) => "InvalidUri".to_owned(),
            Ok(uri) => shown(&run(&uri, self.request, client, &self.draws, |q| zone.reply(q)).0),
        }
    }
}

fn sample() -> ZoneFile {
    ZoneFile::parse(include_str!("../data/locating.zone"))
}

fn big(octets: u32, path_mtu: Option<u32>) -> Request {
    Request { size: Some(RequestSize { octets, path_mtu }), ..Request::default() }
}

#[test]
fn worked_cases() {
    let zone = sample();
    let cases: Vec<_> =
        include_str!("../data/locating.cases").lines().filter(|line| line.starts_with('|')).map(Case::read).collect();
    let ids: Vec<_> = cases.iter().map(|case| case.id.clone()).collect();
    assert_eq!(ids, (1..=82).map(|n| format!("LOC-T{n:02}")).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for case in &cases {
        let mut check = |mode: &str, client: Client, expected: &str| {
            let got = case.outcome(client, &zone);
            if got != *expected {
                wrong.push(format!("{} {mode}{}\n  expected {expected}\n       got {got}", case.id, case.uri));
            }
        };
        check("", case.client.clone(), &case.expected);
        if let Some(expected) = &case.in_secure_mode {
            check("in secure mode ", client("SECURE"), expected);
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The same outcome whatever the order in which replies come in.
#[test]
fn replies_in_any_order() {
    let zone = sample();
    for line in include_str!("../data/locating.cases").lines().filter(|line| line.starts_with('|')) {
        let case = Case::read(line);
        let Ok(uri) = SipUri::parse(&case.uri) else { continue };
        let mut draws = case.draws.clone().into_iter();
        let (mut locate, mut step) =
            Locate::start(&uri, case.request, case.client.clone(), move |_| draws.next().unwrap_or(0));
        let mut under_way = Vec::new();
        let located = loop {
            match step {
                Step::Done(located) => break located,
                Step::Ask(questions) => under_way.extend(questions),
                Step::Wait => {}
            }
            let question = under_way.pop().expect("the machine waits though nothing is under way");
            step = locate.answer(&question, zone.reply(&question));
        };
        assert_eq!(shown(&located), case.expected, "{}", case.id);
    }
}

#[test]
fn large_requests() {
    let zone = sample();
    for (id, request, service) in [
        ("LOC-T95 1301 octets", big(1301, None), "TCP"),
        ("LOC-T95 1300 octets", big(1300, None), "UDP"),
        ("LOC-T96 MTU 1500, 1300 octets", big(1300, Some(1500)), "TCP"),
        ("LOC-T96 MTU 1500, 1301 octets", big(1301, Some(1500)), "TCP"),
        ("LOC-T96 MTU 1500, 1299 octets", big(1299, Some(1500)), "UDP"),
    ] {
        let got = shown(&run(&uri("sip:bob@addr.test"), request, client("FULL"), &[], |q| zone.reply(q)).0);
        assert_eq!(got, format!("{service} [2001:db8:40::1]:5060; {service} 198.51.100.40:5060"), "{id}");
    }
    for (id, text, who, expected) in [
        ("LOC-38 over NAPTR", "sip:bob@order.test", "FULL", "TCP 198.51.100.85:5060"),
        ("LOC-38 over SRV", "sip:bob@srv.test", "FULL", "TCP 198.51.100.21:5060"),
        ("LOC-38 over transport=udp", "sip:bob@192.0.2.9;transport=udp", "FULL", "TCP 192.0.2.9:5060"),
        ("LOC-38 with UDP alone", "sip:bob@addr.test", "UDPONLY", "NoCommonTransport"),
    ] {
        assert_eq!(shown(&run(&uri(text), big(1400, None), client(who), &[], |q| zone.reply(q)).0), expected, "{id}");
    }
}

#[test]
fn secure_is_the_default_and_stays_so() {
    let zone = sample();
    assert_eq!(client("SECURE"), Client::default());
    for (id, text, expected) in [
        ("LOC-66", "sip:bob@customer.test", "TLS 198.51.100.60:5061 as customer.test"),
        ("plaintext asked for", "sip:bob@example.com;transport=udp", "PolicyRefused"),
        ("LOC-36 no TLS offered", "sip:bob@order.test", "NoUsableAddress"),
        ("LOC-67 maddr is no identity", "sip:bob@192.0.2.9;maddr=example.com", "PolicyRefused"),
        ("LOC-10 a name at an address", "sip:bob@example.com;maddr=192.0.2.55", "TLS 192.0.2.55:5061 as example.com"),
        ("LOC-10 IPv6", "sip:bob@example.com;maddr=[2001:db8::55]", "TLS [2001:db8::55]:5061 as example.com"),
        ("LOC-11", "sip:bob@example.com;maddr=224.0.1.75", "PolicyRefused"),
        ("maddr without a value", "sip:bob@example.com;maddr", "InvalidUri"),
        ("transport without a value", "sip:bob@example.com;transport", "InvalidUri"),
        ("LOC-39", "sip:bob@naptrfail.test", "TemporaryFailure"),
    ] {
        assert_eq!(
            shown(&run(&uri(text), Request::default(), Client::default(), &[], |q| zone.reply(q)).0),
            expected,
            "{id}"
        );
    }
    let pinned = Client { pins_numeric_hosts: true, ..Client::default() };
    let located = run(&uri("sips:bob@192.0.2.9"), Request::default(), pinned, &[], |q| zone.reply(q)).0;
    assert_eq!(shown(&located), "TLS 192.0.2.9:5061 as none", "LOC-67");
    let via_route = Request { request_uri_is_sips: true, ..Request::default() };
    let located = run(&uri("sip:edge.test;transport=udp;lr"), via_route, client("FULL"), &[], |q| zone.reply(q)).0;
    assert_eq!(shown(&located), "InvalidUri", "LOC-3 and LOC-4");
}

/// RFC 2782's chances, by 10,000 draws with a bound of four standard deviations (spec section 3).
#[test]
fn loc_58_distribution() {
    const DRAWS: u32 = 10_000;
    let zone = sample();
    let mut random = SplitMix(0x5eed_0001);
    for (domain, chances) in [
        ("w.test", &[("203.0.113.1", 2.0 / 5.0), ("203.0.113.3", 3.0 / 5.0)][..]),
        ("wz.test", &[("203.0.113.10", 1.0 / 31.0), ("203.0.113.11", 10.0 / 31.0), ("203.0.113.12", 20.0 / 31.0)]),
    ] {
        let mut first: HashMap<String, u32> = HashMap::new();
        for _ in 0..DRAWS {
            let draw = [random.up_to(if domain == "w.test" { 4 } else { 30 })];
            let located =
                run(&uri(&format!("sips:bob@{domain}")), Request::default(), client("FULL"), &draw, |q| zone.reply(q))
                    .0;
            *first.entry(located.outcome.unwrap()[0].address.ip().to_string()).or_default() += 1;
        }
        for (address, chance) in chances {
            let mean = f64::from(DRAWS) * chance;
            let deviation = (mean * (1.0 - chance)).sqrt();
            let got = f64::from(first.get(*address).copied().unwrap_or(0));
            assert!(
                (got - mean).abs() <= 4.0 * deviation,
                "{domain} {address}: {got}, expected {mean} ± 4×{deviation}"
            );
        }
    }
}

/// SplitMix64: small, seeded, good enough to count.
struct SplitMix(u64);

impl SplitMix {
    fn up_to(&mut self, most: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % (u64::from(most) + 1)).unwrap()
    }
}

/// LOC-20, LOC-22, LOC-35, LOC-61: what is asked, and what is asked together.
#[test]
fn questions() {
    let zone = sample();
    for (id, text, expected) in [
        ("LOC-50 address", "sips:bob@192.0.2.9", ""),
        ("LOC-22 port: no NAPTR, no SRV", "sips:bob@example.com:5061", "example.com AAAA, example.com A"),
        (
            "LOC-20 transport: no NAPTR",
            "sip:bob@srv.test;transport=udp",
            "_sip._udp.srv.test SRV, h2.srv.test AAAA, h2.srv.test A",
        ),
        (
            "LOC-35 one SRV question a service",
            "sip:bob@addr.test",
            "addr.test NAPTR, _sip._tcp.addr.test SRV, _sip._udp.addr.test SRV, addr.test AAAA, addr.test A",
        ),
    ] {
        let (_, asked) = run(&uri(text), Request::default(), client("FULL"), &[], |q| zone.reply(q));
        let asked: Vec<_> = asked.iter().map(ToString::to_string).collect();
        assert_eq!(asked.join(", "), expected, "{id}");
    }
    let (mut locate, step) = Locate::start(&uri("sip:bob@addr.test"), Request::default(), client("FULL"), |_| 0);
    let Step::Ask(first) = step else { panic!("{step:?}") };
    let Step::Ask(second) = locate.answer(&first[0], Reply::NoData { ttl: 30 }) else { panic!("asks SRV") };
    assert_eq!((first.len(), second.len()), (1, 2), "both SRV names at once");
    assert_eq!(locate.answer(&second[1], Reply::NoData { ttl: 30 }), Step::Wait);
    assert_eq!(locate.answer(&second[1], Reply::NoData { ttl: 30 }), Step::Wait, "a second reply changes nothing");
    let stray = Question { name: "_sip._tcp.addr.test".parse().unwrap(), kind: Kind::A };
    assert_eq!(locate.answer(&stray, Reply::NxDomain { ttl: 30 }), Step::Wait, "nobody asked that");
    let Step::Ask(third) = locate.answer(&second[0], Reply::NoData { ttl: 30 }) else { panic!("asks addresses") };
    assert_eq!(third.len(), 2, "A and AAAA at once");
}

#[test]
fn addresses_inside_our_network() {
    let zone = ZoneFile::parse(
        "evil.test. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.evil.test.\n\
         _sips._tcp.evil.test. SRV 0 0 5061 in.evil.test.\n\
         _sips._tcp.evil.test. SRV 1 0 5061 out.evil.test.\n\
         in.evil.test. A 127.0.0.1\n\
         in.evil.test. AAAA fd00::1\n\
         out.evil.test. A 10.0.0.1\n\
         out.evil.test. A 203.0.113.9\n\
         only.test. A 192.168.0.1\n",
    );
    let target = |text| run(&uri(text), Request::default(), Client::default(), &[], |q| zone.reply(q)).0;
    assert_eq!(shown(&target("sip:a@evil.test")), "TLS 203.0.113.9:5061 as evil.test", "threat 14");
    let refused = target("sip:a@only.test").outcome.unwrap_err();
    assert_eq!(refused, LocateError::PolicyRefused(Refusal::Address("192.168.0.1".parse().unwrap())), "threat 14");
    let any = Client { reach: Reach::Any, ..Client::default() };
    let located = run(&uri("sip:a@only.test"), Request::default(), any, &[], |q| zone.reply(q)).0;
    assert_eq!(shown(&located), "TLS 192.168.0.1:5061 as only.test");
}

/// LOC-102 to LOC-104: where responses go.
#[test]
fn responses() {
    let zone = ZoneFile::parse(
        "_sips._tcp.proxy.test. SRV 0 0 5071 p.proxy.test.\n\
         _sip._udp.proxy.test. SRV 0 0 5070 p.proxy.test.\n\
         p.proxy.test. A 203.0.113.1\n\
         plain.test. A 203.0.113.2\n",
    );
    for (id, who, via, expected, first) in [
        ("LOC-T97", "FULL", "TLS proxy.test", "TLS 203.0.113.1:5071 as proxy.test", "_sips._tcp.proxy.test SRV"),
        ("LOC-T97", "SECURE", "TLS proxy.test", "TLS 203.0.113.1:5071 as proxy.test", "_sips._tcp.proxy.test SRV"),
        ("LOC-T98", "FULL", "UDP 192.0.2.7", "UDP 192.0.2.7:5060", ""),
        ("LOC-102", "FULL", "TLS 192.0.2.7:5071", "TLS 192.0.2.7:5071 as none", ""),
        ("LOC-103", "FULL", "UDP plain.test:5099", "UDP 203.0.113.2:5099", "plain.test AAAA"),
        ("LOC-104", "FULL", "UDP proxy.test", "UDP 203.0.113.1:5070", "_sip._udp.proxy.test SRV"),
        ("LOC-104 no SRV", "FULL", "TCP plain.test", "TCP 203.0.113.2:5060", "_sip._tcp.plain.test SRV"),
        ("plaintext", "SECURE", "UDP proxy.test", "PolicyRefused", ""),
        ("LOC-67", "SECURE", "TLS 192.0.2.7", "PolicyRefused", ""),
        ("not built in", "LEGACY", "TLS proxy.test", "UnsupportedTransport", ""),
    ] {
        let (service, sent_by) = via.split_once(' ').unwrap();
        let sent_by = uri(&format!("sip:{sent_by}"));
        let service = Service::ALL.into_iter().find(|s| s.via() == service).unwrap();
        let sent_by = SentBy { service, host: sent_by.host().clone(), port: sent_by.port() };
        let (located, asked) = drive(Locate::start_response(&sent_by, client(who), |_| 0), |q| zone.reply(q));
        assert_eq!(shown(&located), expected, "{id}: {via}");
        assert_eq!(asked.first().map(ToString::to_string).unwrap_or_default(), first, "{id}: {via}");
        assert!(asked.iter().all(|question| question.kind != Kind::Naptr), "{id}: {asked:?}");
    }
}
