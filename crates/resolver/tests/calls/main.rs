//! Calls one after the other: what is kept, asked once, asked ahead, remembered, and looked up as a number.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod allocations;
mod cases;
#[path = "../locate/server.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod server;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use server::{A, AAAA, Asked, NAPTR, SRV, Say, Server, zone};
use tandem_model::locate::{Client, Dnssec, LocateError, Mode, Reach, Refusal, SentBy, Service};
use tandem_model::numbering::EnumError;
use tandem_model::{Called, DomainName, Host, SipUri};
use tandem_resolver::{
    CacheSettings, DnssecTrust, Member, MemberState, Members, NameServers, Numbers, Outcome, Own, Report, Resolution,
    Resolver, Settings, SettingsError,
};

const NODE: &[&str] = &[
    "d.test. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.d.test.",
    "_sips._tcp.d.test. SRV 10 0 5061 a.d.test.",
    "_sips._tcp.d.test. SRV 20 0 5061 b.d.test.",
    "a.d.test. A 203.0.113.1",
    "b.d.test. A 203.0.113.2",
];

/// Longest wait for what has to happen.
const LIMIT: Duration = Duration::from_secs(20);

fn settings(server: &Server) -> Settings {
    Settings { servers: NameServers::Only(vec![server.address]), ..Settings::default() }
}

fn resolver(server: &Server) -> Resolver {
    Resolver::new(settings(server)).unwrap()
}

fn uri(text: &str) -> SipUri {
    SipUri::parse_typed(text).unwrap()
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn addresses(resolution: &Resolution) -> String {
    match &resolution.outcome {
        Outcome::Found(hops) => hops.iter().map(|hop| hop.address.ip().to_string()).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_known_is_not_asked_again() {
    let server = Server::start(zone(NODE)).await;
    let resolver = resolver(&server);
    assert_eq!(resolver.kept(&uri("alice@d.test")), None);
    let first = resolver.locate(&uri("alice@d.test")).await;
    assert_eq!(addresses(&first), "203.0.113.1 203.0.113.2");
    let asked = server.asked().len();
    let second = resolver.locate(&uri("bob@d.test")).await;
    assert!(Arc::ptr_eq(&first, &second), "the very same result");
    assert!(Arc::ptr_eq(&first, &resolver.kept(&uri("carol@d.test")).unwrap()));
    // Another transport needs another search; its answers are there already.
    let other = resolver.locate(&uri("sip:d.test;transport=tcp")).await;
    assert_eq!((addresses(&other), server.asked().len()), (addresses(&first), asked));
    // Negative answers are kept, too.
    for _ in 0..3 {
        assert!(matches!(resolver.locate(&uri("nobody.test")).await.outcome, Outcome::NotAMember(_)));
    }
    let nobody = server.asked().iter().filter(|asked| asked.name.ends_with("nobody.test.")).count();
    assert_eq!(nobody, 4, "NAPTR, SRV, A and AAAA, once each (RFC 2308)");
    let left = first.remaining(Instant::now()).unwrap();
    assert!(
        left <= Duration::from_secs(20) && left > Duration::from_secs(5),
        "the negative answers end first: {left:?}"
    );
    let usage = resolver.cache_usage();
    assert_eq!(usage.results, 3);
    assert!(usage.answers >= 6 && usage.octets > 1000, "{usage:?}");
}

/// Fifty calls at once: each question goes out once.
#[tokio::test]
async fn equal_questions_are_asked_once() {
    let honest = zone(NODE);
    let calls_started = Arc::new(AtomicUsize::new(0));
    let started = Arc::clone(&calls_started);
    // Nothing is answered before all calls are under way; retransmissions bring the rest.
    let server =
        Server::start(move |asked| if started.load(Ordering::SeqCst) < 50 { None } else { honest(asked) }).await;
    let resolver = resolver(&server);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (resolver, started) = (resolver.clone(), Arc::clone(&calls_started));
        calls.spawn(async move {
            started.fetch_add(1, Ordering::SeqCst);
            resolver.locate(&uri("alice@d.test")).await
        });
    }
    while let Some(found) = calls.join_next().await {
        assert_eq!(addresses(&found.unwrap()), "203.0.113.1 203.0.113.2");
    }
    let naptr = server.asked().iter().filter(|asked| asked.kind == NAPTR).count();
    assert!(naptr <= 4, "one question and its retransmissions, not fifty: {naptr}");
}

/// TTL 1: a result in use is made anew shortly before it ends, without anybody waiting for it.
#[tokio::test]
async fn hot_names_are_asked_ahead() {
    let honest = zone(NODE);
    let server = Server::start(move |asked| {
        let mut say = honest(asked)?;
        say.answers.iter_mut().for_each(|rr| rr.ttl = 1);
        Some(say)
    })
    .await;
    let resolver = resolver(&server);
    let first = resolver.locate(&uri("d.test")).await;
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LIMIT, "never asked ahead");
        let Some(kept) = resolver.kept(&uri("d.test")) else {
            // The machine was busy for the whole tenth of a second: once more.
            resolver.locate(&uri("d.test")).await;
            continue;
        };
        if !Arc::ptr_eq(&first, &kept) && kept.made > first.made + Duration::from_millis(500) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stale_results_serve_by_setting() {
    let down = Arc::new(AtomicBool::new(false));
    let (honest, is_down) = (zone(NODE), Arc::clone(&down));
    let server = Server::start(move |asked| {
        if is_down.load(Ordering::SeqCst) {
            return Some(Say::rcode(2));
        }
        let mut say = honest(asked)?;
        say.answers.iter_mut().for_each(|rr| rr.ttl = 1);
        Some(say)
    })
    .await;
    let cache = CacheSettings { serve_stale: Some(Duration::from_secs(3600)), prefetch: false, ..Default::default() };
    let strict = Resolver::new(settings(&server)).unwrap();
    let lenient = Resolver::new(Settings { cache, ..settings(&server) }).unwrap();
    for resolver in [&strict, &lenient] {
        assert!(resolver.locate(&uri("d.test")).await.is_found());
    }
    down.store(true, Ordering::SeqCst);
    let over = Instant::now() + Duration::from_secs(2);
    until("the TTL ends", || Instant::now() > over).await;
    let failed = strict.locate(&uri("d.test")).await;
    assert!(matches!(failed.outcome, Outcome::TryLater(_)), "LOC-39: {failed:?}");
    let stale = lenient.locate(&uri("d.test")).await;
    assert_eq!((addresses(&stale).as_str(), stale.stale, stale.ttl), ("203.0.113.1 203.0.113.2", true, Some(0)));
    let asked = server.asked().len();
    assert!(lenient.locate(&uri("d.test")).await.stale);
    assert_eq!(server.asked().len(), asked, "RFC 8767 5: not tried again at once");
}

/// LOC-81, LOC-83: what calls report decides the order of the next ones.
#[tokio::test]
async fn servers_that_fail_come_last() {
    let server = Server::start(zone(NODE)).await;
    let resolver = resolver(&server);
    let order = async |resolver: &Resolver| addresses(&*resolver.locate(&uri("d.test")).await);
    let first = resolver.locate(&uri("d.test")).await;
    let (a, b) = (&first.next_hops()[0], &first.next_hops()[1]);
    resolver.report(a, Report::Unreachable);
    assert_eq!(order(&resolver).await, "203.0.113.2 203.0.113.1");
    resolver.report(b, Report::Unavailable { retry_after: Some(Duration::from_secs(60)) });
    assert_eq!(order(&resolver).await, "203.0.113.1", "LOC-83: not even as the last");
    resolver.report(a, Report::Unavailable { retry_after: Some(Duration::from_secs(30)) });
    let busy = resolver.locate(&uri("d.test")).await;
    let Outcome::TryLater(LocateError::Busy { seconds, .. }) = &busy.outcome else { panic!("{busy:?}") };
    assert!((25..=30).contains(seconds), "{seconds}");
    resolver.report(a, Report::Answered);
    resolver.report(b, Report::Answered);
    assert_eq!(order(&resolver).await, "203.0.113.1 203.0.113.2", "well again");
}

/// A kept result is drawn anew for each call: weights 1 and 3 of one priority.
#[tokio::test]
async fn loc_58_weights_hold_for_kept_results() {
    let server = Server::start(zone(&[
        "_sips._tcp.w.test. SRV 10 100 5061 a.w.test.",
        "_sips._tcp.w.test. SRV 10 300 5061 b.w.test.",
        "a.w.test. A 203.0.113.1",
        "b.w.test. A 203.0.113.2",
    ]))
    .await;
    let resolver = resolver(&server);
    let mut a_first = 0;
    for _ in 0..2000 {
        let found = resolver.locate(&uri("w.test")).await;
        assert_eq!(found.next_hops().len(), 2);
        a_first += usize::from(found.next_hops()[0].address.ip().to_string() == "203.0.113.1");
    }
    // A quarter of 2,000, four standard deviations of 19.4 around it.
    assert!((422..=578).contains(&a_first), "{a_first}");
    assert_eq!(server.asked().iter().filter(|asked| asked.kind == SRV).count(), 1);
}

/// LOC-89: a domain that offered SIPS and now leads to plaintext is not followed there.
#[tokio::test]
async fn loc_89_sips_that_vanishes() {
    let stripped = Arc::new(AtomicBool::new(false));
    let (honest, is_stripped) = (zone(NODE), Arc::clone(&stripped));
    let plain = zone(&[
        "d.test. NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.d.test.",
        "_sip._udp.d.test. SRV 10 0 5060 a.d.test.",
        "a.d.test. A 203.0.113.1",
    ]);
    let server =
        Server::start(move |asked| if is_stripped.load(Ordering::SeqCst) { plain(asked) } else { honest(asked) }).await;
    let client = Client { mode: Mode::Plain, services: vec![Service::Tls, Service::Udp], ..Client::default() };
    let cache = CacheSettings::off();
    let resolver = Resolver::new(Settings { client, cache: cache.clone(), ..settings(&server) }).unwrap();
    let secure = Resolver::new(Settings { cache, ..settings(&server) }).unwrap();
    for resolver in [&resolver, &secure] {
        assert_eq!(resolver.locate(&uri("d.test")).await.next_hops()[0].service, Service::Tls);
    }
    stripped.store(true, Ordering::SeqCst);
    let refused = resolver.locate(&uri("d.test")).await;
    assert_eq!(refused.outcome, Outcome::Refused(LocateError::SipsVanished(name("d.test"))));
    // In the secure mode there is no plaintext to go to; that something is odd is said all the same.
    let noted = secure.locate(&uri("d.test")).await;
    assert!(noted.reasons.iter().any(|reason| reason.rule == "LOC-89"), "{noted:?}");
    assert!(noted.next_hops().iter().all(|hop| hop.service == Service::Tls));
    // A stranger that never offered it is what it is.
    let stranger = Resolver::new(Settings {
        client: Client { mode: Mode::Plain, services: vec![Service::Tls, Service::Udp], ..Client::default() },
        ..settings(&server)
    });
    assert_eq!(stranger.unwrap().locate(&uri("d.test")).await.next_hops()[0].service, Service::Udp);
}

#[tokio::test]
async fn calls_to_ourselves_and_to_the_compromised() {
    let server = Server::start(zone(NODE)).await;
    let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let own = |own: Own| Resolver::new(Settings { own, ..settings(&server) }).unwrap();
    let by_domain = own(Own { domains: vec![name("d.test")], addresses: vec![] });
    let looped = by_domain.locate(&uri("d.test")).await;
    assert_eq!(looped.outcome, Outcome::Loop(LocateError::Ourselves(Host::Name(name("d.test")))));
    assert!(server.asked().is_empty());
    let one = own(Own { domains: vec![], addresses: vec![at("203.0.113.1:5061"), at("203.0.113.2:5062")] });
    assert_eq!(addresses(&*one.locate(&uri("d.test")).await), "203.0.113.2", "another port is another server");
    let both = own(Own { domains: vec![], addresses: vec![at("203.0.113.1:5061"), at("203.0.113.2:5061")] });
    assert!(matches!(both.locate(&uri("d.test")).await.outcome, Outcome::Loop(_)));

    let resolver = resolver(&server);
    assert!(resolver.locate(&uri("d.test")).await.is_found());
    let member = |state| Member {
        domain: name("d.test"),
        targets: vec![],
        keys: vec![],
        sources: vec![],
        state,
        signed_by: None,
    };
    resolver.set_members(Members::new([member(MemberState::Compromised)]));
    let refused = resolver.locate(&uri("d.test")).await;
    assert_eq!(refused.outcome, Outcome::Refused(LocateError::PolicyRefused(Refusal::Compromised)), "at once");
    resolver.set_members(Members::new([member(MemberState::Active)]));
    assert!(resolver.locate(&uri("d.test")).await.is_found());
}

/// LOC-100 to LOC-104: after the connection is gone, first to where the request came from, then by Via.
#[tokio::test]
async fn responses() {
    let server = Server::start(zone(NODE)).await;
    let resolver = resolver(&server);
    let sent_by = |host: &str, port: Option<u16>| SentBy {
        service: Service::Tls,
        host: Host::parse(host).unwrap(),
        port: port.and_then(NonZeroU16::new),
    };
    let shown = |resolution: &Resolution| {
        let hops = resolution.next_hops().iter().map(|hop| hop.address.to_string());
        hops.collect::<Vec<_>>().join(" ")
    };
    let from = Some("198.51.100.9".parse().unwrap());
    for (id, sent_by, from, hops) in [
        ("LOC-101, LOC-104", sent_by("d.test", None), from, "198.51.100.9:5061 203.0.113.1:5061 203.0.113.2:5061"),
        ("LOC-104", sent_by("d.test", None), None, "203.0.113.1:5061 203.0.113.2:5061"),
        ("LOC-101, LOC-103", sent_by("a.d.test", Some(5071)), from, "198.51.100.9:5071 203.0.113.1:5071"),
    ] {
        let resolution = resolver.locate_response(&sent_by, from).await;
        assert_eq!(shown(&resolution), hops, "{id}");
        assert!(resolution.next_hops().iter().all(|hop| hop.tls_name.as_ref() == sent_by.host.as_name()), "{id}");
    }
    let numeric = resolver.locate_response(&sent_by("203.0.113.1", None), from).await;
    assert_eq!(numeric.outcome, Outcome::Refused(LocateError::PolicyRefused(Refusal::NumericHost)), "LOC-102");
    assert!(!server.asked().iter().any(|asked| asked.kind == NAPTR));
}

/// A number to its URI to next hops, in one call, through private trees in order.
#[tokio::test]
async fn numbers() {
    let mut records = NODE.to_vec();
    let at = "8.4.1.0.6.4.9.7.0.2.4.4";
    let one = format!("{at}.e164.one.test. NAPTR 100 10 \"u\" \"E2U+foo\" \"!.*!sip:a@d.test!\" .");
    let two = format!("{at}.e164.two.test. NAPTR 100 10 \"u\" \"E2U+sip\" \"!^\\+44(.*)$!sip:\\1@d.test!\" .");
    let mail = "1.0.1.0.5.5.5.1.e164.two.test. NAPTR 1 1 \"u\" \"E2U+email:mailto\" \"!.*!mailto:a@d.test!\" .";
    records.extend([one.as_str(), two.as_str(), mail]);
    let honest = zone(&records);
    let server = Server::start(
        move |asked: &Asked| if asked.name.contains("down") { Some(Say::rcode(5)) } else { honest(asked) },
    )
    .await;
    let with = |suffixes: &[&str]| {
        let numbers = Numbers { suffixes: suffixes.iter().map(|suffix| name(suffix)).collect(), ..Numbers::default() };
        Resolver::new(Settings { numbers, ..settings(&server) }).unwrap()
    };
    let resolver = with(&["e164.one.test", "e164.two.test"]);
    let resolved = resolver.resolve(&Called::parse("+44 20 7946 0148").unwrap()).await;
    assert_eq!(resolved.uri.as_ref().map(ToString::to_string).as_deref(), Some("sip:2079460148@d.test"));
    assert_eq!(addresses(&resolved.resolution), "203.0.113.1 203.0.113.2");
    let number = resolved.number.unwrap();
    assert_eq!((number.discarded.len(), number.ttl), (1, 60), "ENUM-8: the first tree has nothing usable");
    let asked = server.asked().len();
    resolver.resolve(&Called::parse("tel:+44-20-7946-0148").unwrap()).await;
    assert_eq!(server.asked().len(), asked, "kept");

    for (id, number, error) in
        [("NXDOMAIN", "+15550199", EnumError::NoSuchNumber), ("no SIP service", "+15550101", EnumError::NoUsableRecord)]
    {
        let resolved = resolver.resolve(&Called::parse(number).unwrap()).await;
        let outcome = Outcome::NotAMember(LocateError::Number(error));
        assert_eq!((&resolved.resolution.outcome, resolved.uri), (&outcome, None), "{id}");
    }
    // ENUM-T51: a tree that refuses is no tree without the number.
    let down = with(&["e164.down.test", "e164.two.test"]);
    let resolved = down.resolve(&Called::parse("+442079460148").unwrap()).await;
    assert!(matches!(resolved.resolution.outcome, Outcome::TryLater(LocateError::Number(_))), "{resolved:?}");
    // A URI goes straight on (ENUM-34).
    let resolved = resolver.resolve(&Called::parse("alice@d.test").unwrap()).await;
    assert!(resolved.number.is_none() && resolved.resolution.is_found());
}

/// CERT-57, CERT-58: the AD bit counts from loopback by setting, and not otherwise.
#[tokio::test]
async fn dnssec_status() {
    let honest = zone(NODE);
    let server = Server::start(move |asked| {
        // a.d.test is signed, b.d.test is not.
        honest(asked).map(|say| Say { authentic: asked.name != "b.d.test.", ..say })
    })
    .await;
    let status = |resolution: &Resolution| -> Vec<(Dnssec, Dnssec)> {
        resolution.next_hops().iter().map(|hop| (hop.dnssec.chain, hop.dnssec.address)).collect()
    };
    let trusting = Resolver::new(Settings { dnssec: DnssecTrust::Loopback, ..settings(&server) }).unwrap();
    let found = trusting.locate(&uri("d.test")).await;
    assert_eq!(status(&found), [(Dnssec::Secure, Dnssec::Secure), (Dnssec::Secure, Dnssec::Insecure)]);
    assert_eq!(found.dnssec, Dnssec::Secure);
    let doubting = resolver(&server).locate(&uri("d.test")).await;
    assert_eq!(status(&doubting), [(Dnssec::Indeterminate, Dnssec::Indeterminate); 2]);
    let far = NameServers::Only(vec!["192.0.2.53:53".parse().unwrap()]);
    let refused = Resolver::new(Settings { servers: far, dnssec: DnssecTrust::Loopback, ..Settings::default() });
    assert!(matches!(refused, Err(SettingsError::NotLoopback)));
}

/// Two families: RFC 7984 keeps a target's addresses together, and a family that fails goes last.
#[tokio::test]
async fn both_families() {
    let server = Server::start(zone(&[
        "_sips._tcp.f.test. SRV 10 0 5061 a.f.test.",
        "_sips._tcp.f.test. SRV 20 0 5061 b.f.test.",
        "a.f.test. A 127.0.0.1",
        "a.f.test. AAAA ::1",
        "b.f.test. A 127.0.0.2",
        "b.f.test. AAAA 2001:db8::2",
    ]))
    .await;
    let client = Client { reach: Reach::Any, ..Client::default() };
    let resolver = Resolver::new(Settings { client, ..settings(&server) }).unwrap();
    let found = resolver.locate(&uri("f.test")).await;
    assert_eq!(addresses(&found), "::1 127.0.0.1 2001:db8::2 127.0.0.2", "LOC-61, LOC-63");
    resolver.report(&found.next_hops()[0], Report::Unreachable);
    resolver.report(&found.next_hops()[2], Report::NoResponse);
    assert_eq!(addresses(&*resolver.locate(&uri("f.test")).await), "127.0.0.1 127.0.0.2 ::1 2001:db8::2");
    assert!(server.asked().iter().filter(|asked| [A, AAAA].contains(&asked.kind)).count() == 4);
}
