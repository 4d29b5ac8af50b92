//! Cases of the digests that take more than one call: LOC-T90 to LOC-T92, LOC-T99, ENUM-T52.

use super::*;

/// `example.com` of the worked cases, with its plaintext services.
const EXAMPLE: [&str; 10] = [
    "example.com. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.example.com.",
    "example.com. NAPTR 30 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.example.com.",
    "_sips._tcp.example.com. SRV 10 0 5061 a.example.com.",
    "_sips._tcp.example.com. SRV 20 0 5061 b.example.com.",
    "_sip._udp.example.com. SRV 10 0 5060 a.example.com.",
    "_sip._tcp.example.com. SRV 10 0 5060 a.example.com.",
    "example.com. A 203.0.113.80",
    "a.example.com. A 203.0.113.1",
    "a.example.com. AAAA 2001:db8::1",
    "b.example.com. A 203.0.113.2",
];

/// The first address answers 503 with Retry-After: 60: the second is next, and nobody else calls the first. That it is 60
/// seconds, `loc_83_retry_after` tests with a clock of its own.
#[tokio::test]
async fn a_busy_server_is_left_alone() {
    let server = Server::start(zone(&EXAMPLE)).await;
    let client = Client { reach: Reach::Any, ..Client::default() };
    let resolver = Resolver::new(Settings { client, ..settings(&server) }).unwrap();
    let first = resolver.locate(&uri("sips:bob@example.com")).await;
    assert_eq!(addresses(&first), "2001:db8::1 203.0.113.1 203.0.113.2", "LOC-T01");
    resolver.report(&first.next_hops()[0], Report::Unavailable { retry_after: Some(Duration::from_secs(60)) });
    for called in ["sips:bob@example.com", "sip:carol@example.com", "sip:example.com;transport=tls"] {
        assert_eq!(addresses(&*resolver.locate(&uri(called)).await), "203.0.113.1 203.0.113.2", "LOC-T90: {called}");
    }
}

/// 486, or 100 and then nothing: the server was reached, so it is not passed over, and who failed before is well again.
#[tokio::test]
async fn whoever_answers_is_well() {
    let server = Server::start(zone(NODE)).await;
    let resolver = resolver(&server);
    let first = resolver.locate(&uri("d.test")).await;
    let (a, all) = (&first.next_hops()[0], "203.0.113.1 203.0.113.2");
    resolver.report(a, Report::Answered);
    assert_eq!(addresses(&*resolver.locate(&uri("d.test")).await), all, "LOC-T91, LOC-T92");
    resolver.report(a, Report::NoResponse);
    assert_ne!(addresses(&*resolver.locate(&uri("d.test")).await), all, "LOC-81: timer B with nothing at all");
    resolver.report(a, Report::Answered);
    assert_eq!(addresses(&*resolver.locate(&uri("d.test")).await), all, "LOC-T91, LOC-T92");
}

/// The domain offered SIPS+D2T; now its NAPTR records are gone, and its SRV records are not.
#[tokio::test]
async fn naptr_that_vanishes() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let (honest, gone) = (zone(&EXAMPLE), Arc::clone(&is_gone));
    let without = zone(&EXAMPLE[2..]);
    let server =
        Server::start(move |asked| if gone.load(Ordering::SeqCst) { without(asked) } else { honest(asked) }).await;
    let with =
        |client: Client| Resolver::new(Settings { client, cache: CacheSettings::off(), ..settings(&server) }).unwrap();
    let secure = with(Client::default());
    let plain = with(Client { mode: Mode::Plain, services: vec![Service::Tls, Service::Udp], ..Client::default() });
    for resolver in [&secure, &plain] {
        assert_eq!(resolver.locate(&uri("example.com")).await.next_hops()[0].service, Service::Tls);
    }
    let before = server.asked().len();
    is_gone.store(true, Ordering::SeqCst);
    let is_told = |resolution: &Resolution| resolution.reasons.iter().any(|reason| reason.rule == "LOC-89");
    let found = secure.locate(&uri("example.com")).await;
    assert!(is_told(&found), "LOC-T99: {found:?}");
    assert!(found.is_found() && found.next_hops().iter().all(|hop| hop.service == Service::Tls), "LOC-T99");
    let asked = server.asked().split_off(before);
    let of_names = |prefix: &str| asked.iter().any(|asked| asked.name.starts_with(prefix));
    assert!(of_names("_sips.") && !of_names("_sip."), "LOC-T99: `_sips` only");
    let again = secure.locate(&uri("example.com")).await;
    assert!(again.is_found() && !is_told(&again), "it is told once");
    let refused = plain.locate(&uri("example.com")).await;
    assert_eq!(refused.outcome, Outcome::Refused(LocateError::SipsVanished(name("example.com"))), "LOC-T99");
}

/// A number whose URI has a number as its user: that is located, and not looked up again.
#[tokio::test]
async fn a_number_at_a_domain_is_not_looked_up_again() {
    let mut records = NODE.to_vec();
    records.extend([
        "8.4.1.0.6.4.9.7.0.2.4.4.e164.one.test. NAPTR 100 10 \"u\" \"E2U+sip\" \"!^(.*)$!sip:\\1@d.test!\" .",
    ]);
    let server = Server::start(zone(&records)).await;
    let numbers = Numbers { suffixes: vec![name("e164.one.test")], ..Numbers::default() };
    let resolver = Resolver::new(Settings { numbers, ..settings(&server) }).unwrap();
    let resolved = resolver.resolve(&Called::parse("+442079460148").unwrap()).await;
    assert_eq!(resolved.uri.unwrap().to_string(), "sip:+442079460148@d.test", "ENUM-T52");
    assert_eq!(addresses(&resolved.resolution), "203.0.113.1 203.0.113.2", "ENUM-T52");
    let tree = |asked: &&Asked| asked.name.ends_with(".e164.one.test.");
    assert_eq!(server.asked().iter().filter(tree).count(), 1, "ENUM-T52, ENUM-34");
}
