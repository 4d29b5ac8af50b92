//! The resolver against real sockets: what it sends, what it makes of answers, silence and lies.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod server;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use server::{A, AAAA, Asked, NAPTR, SRV, Say, Server, rr, zone};
use tandem_model::locate::{Client, Failure, LocateError, Reach, Service};
use tandem_model::{DomainName, SipUri};
use tandem_resolver::{HostAnswer, NameServers, Outcome, Resolution, Resolver, Settings, SettingsError};

const NODE: &[&str] = &[
    "debug.ostel.test. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.debug.ostel.test.",
    "_sips._tcp.debug.ostel.test. SRV 10 0 5061 sip.debug.ostel.test.",
    "_sips._tcp.debug.ostel.test. SRV 20 0 5081 edge.provider.test.",
    "sip.debug.ostel.test. A 203.0.113.7",
    "sip.debug.ostel.test. AAAA 2001:db8::7",
    "edge.provider.test. A 203.0.113.8",
    "edge.provider.test. AAAA 2001:db8::8",
];

fn only(server: &Server) -> Settings {
    Settings { servers: NameServers::Only(vec![server.address]), ..Settings::default() }
}

fn uri(text: &str) -> SipUri {
    SipUri::parse_typed(text).unwrap()
}

fn addresses(resolution: &Resolution) -> String {
    match &resolution.outcome {
        Outcome::Found(hops) => hops.iter().map(|hop| hop.address.to_string()).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

async fn locate(settings: Settings, text: &str) -> Arc<Resolution> {
    Resolver::new(settings).unwrap().locate(&uri(text)).await
}

#[tokio::test]
async fn next_hops_in_order() {
    let server = Server::start(zone(NODE)).await;
    let resolution = locate(only(&server), "alice@debug.ostel.test").await;
    let expected = "[2001:db8::7]:5061 203.0.113.7:5061 [2001:db8::8]:5081 203.0.113.8:5081";
    assert_eq!(addresses(&resolution), expected, "{:#?}", resolution.reasons);
    assert_eq!((resolution.ttl, resolution.naptr_offered_sips), (Some(60), Some(true)));
    let Outcome::Found(hops) = &resolution.outcome else { panic!("found above") };
    for hop in hops {
        assert_eq!(hop.service, Service::Tls);
        assert_eq!(hop.tls_name, Some(DomainName::parse("debug.ostel.test").unwrap()), "LOC-66");
    }
    assert_eq!(hops[2].srv_target, Some(DomainName::parse("edge.provider.test").unwrap()));
    let asked = server.asked();
    assert_eq!(asked.len(), 6, "each question once: {asked:?}");
    assert_eq!(asked[0].name, "debug.ostel.test.", "LOC-9: absolute, no search list");
    assert!(asked.iter().all(|asked| asked.edns == Some(1232) && !asked.over_tcp), "{asked:?}");
}

#[tokio::test]
async fn a_server_that_sends_the_chain_is_asked_once() {
    let chain = |asked: &Asked| match asked.kind {
        NAPTR => {
            let all: Vec<_> = NODE.iter().map(|line| rr(line)).collect();
            Some(Say { answers: vec![all[0].clone()], additional: all[1..].to_vec(), ..Say::default() })
        }
        _ => Some(Say::rcode(2)),
    };
    let server = Server::start(chain).await;
    let resolution = locate(only(&server), "alice@debug.ostel.test").await;
    assert_eq!(resolution.next_hops().len(), 4);
    assert_eq!(server.asked().len(), 2, "NAPTR, and SRV ahead of it");
    let server = Server::start(chain).await;
    locate(Settings { ask_ahead: false, ..only(&server) }, "alice@debug.ostel.test").await;
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn truncated_answers_are_fetched_over_tcp() {
    let whole = zone(NODE);
    let server = Server::start(move |asked| {
        let truncated = asked.kind == SRV && !asked.over_tcp;
        if truncated { Some(Say { truncated, ..Say::default() }) } else { whole(asked) }
    })
    .await;
    let resolution = locate(only(&server), "alice@debug.ostel.test").await;
    assert!(matches!(&resolution.outcome, Outcome::Found(hops) if hops.len() == 4), "{resolution:?}");
    let srv: Vec<_> =
        server.asked().into_iter().filter(|asked| asked.kind == SRV).map(|asked| asked.over_tcp).collect();
    assert_eq!(srv, [false, true]);
}

/// LOC-28: odd flags spoil their own record alone, over UDP and over TCP.
#[tokio::test]
async fn a_naptr_with_odd_flags_is_passed_over_loc_28() {
    let odd = ["?", "s!", "-", "s,u"]
        .map(|flags| format!("debug.ostel.test. NAPTR 1 1 \"{flags}\" \"SIPS+D2T\" \"\" _sips._tcp.trap.test."));
    let lines: Vec<&str> = odd.iter().map(String::as_str).chain(NODE.iter().copied()).collect();
    for over_tcp in [false, true] {
        let whole = zone(&lines);
        let server = Server::start(move |asked| {
            let truncated = over_tcp && asked.kind == NAPTR && !asked.over_tcp;
            if truncated { Some(Say { truncated, ..Say::default() }) } else { whole(asked) }
        })
        .await;
        let resolution = locate(only(&server), "alice@debug.ostel.test").await;
        assert!(matches!(&resolution.outcome, Outcome::Found(hops) if hops.len() == 4), "{resolution:?}");
        let asked = server.asked();
        assert_eq!(asked.iter().any(|asked| asked.kind == NAPTR && asked.over_tcp), over_tcp, "{asked:?}");
        assert!(!asked.iter().any(|asked| asked.name.contains("trap")), "{asked:?}");
    }
}

#[tokio::test]
async fn kinds_of_no() {
    let server = Server::start(|asked: &Asked| {
        let domain = asked.name.trim_start_matches("_sips._tcp.");
        Some(match (domain, asked.kind) {
            ("gone.test.", _) => Say::nothing(3, 20),
            ("nosip.test.", SRV) => Say::records(vec![rr("_sips._tcp.nosip.test. SRV 0 0 0 .")]),
            ("broken.test.", SRV) | ("fails.test.", NAPTR) => Say::rcode(2),
            ("broken.test.", A) => Say::records(vec![rr("broken.test. A 203.0.113.9")]),
            ("inside.test.", A) => Say::records(vec![rr("inside.test. A 127.0.0.1")]),
            ("odd.test.", NAPTR) => {
                Say::records(vec![rr("odd.test. NAPTR 10 10 \"?\" \"SIPS+D2T\" \"\" _sips._tcp.odd.test.")])
            }
            ("cut.test.", NAPTR) => {
                let mut record = rr("cut.test. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.cut.test.");
                record.data.truncate(8);
                Say::records(vec![record])
            }
            ("space.test.", NAPTR) => Say::records(vec![rr("space.test. CNAME a!b.test.")]),
            ("lame.test.", _) => {
                let authority = vec![rr("lame.test. NS ns.lame.test.")];
                Say { authority, ..Say::default() }
            }
            _ => Say::nothing(0, 20),
        })
    })
    .await;
    for (id, domain, kind, ttl) in [
        ("NXDOMAIN", "gone.test", "NotAMember", 20),
        ("LOC-55", "nosip.test", "NotAMember", 20),
        ("no address", "empty.test", "Down", 20),
        ("LOC-39, SERVFAIL for SRV", "broken.test", "TryLater", 0),
        ("LOC-39, SERVFAIL for NAPTR", "fails.test", "TryLater", 0),
        ("threat 14", "inside.test", "Refused", 20),
        ("a NAPTR that cannot be read", "cut.test", "TryLater", 0),
        ("LOC-28, a NAPTR with odd flags is none", "odd.test", "Down", 20),
        ("an alias to no name of ours", "space.test", "TryLater", 0),
        ("a referral is not NODATA", "lame.test", "TryLater", 0),
        ("transport=udp", "alice@gone.test;transport=udp", "Refused", 99),
        ("LOC-67", "192.0.2.1", "Refused", 99),
    ] {
        let resolution = locate(only(&server), domain).await;
        let got = match &resolution.outcome {
            Outcome::Found(_) => "Found",
            Outcome::NotAMember(_) => "NotAMember",
            Outcome::Down(_) => "Down",
            Outcome::TryLater(_) => "TryLater",
            Outcome::Refused(_) => "Refused",
            other => panic!("{id}: {other:?}"),
        };
        assert_eq!((got, resolution.ttl.unwrap_or(99)), (kind, ttl), "{id}: {resolution:#?}");
    }
    let weaker = |asked: &Asked| asked.name == "broken.test." && (asked.kind == A || asked.kind == AAAA);
    assert!(!server.asked().iter().any(weaker), "LOC-39: no address fallback");
    let failure = |resolution: Arc<Resolution>| match &resolution.outcome {
        Outcome::TryLater(LocateError::TemporaryFailure { failure, .. }) => *failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(locate(only(&server), "cut.test").await), Failure::Unreadable);
    assert_eq!(failure(locate(only(&server), "fails.test").await), Failure::ServerFailure);
    assert_eq!(failure(locate(only(&server), "lame.test").await), Failure::Referral);
    let any = Client { reach: Reach::Any, ..Client::default() };
    let resolution = locate(Settings { client: any, ..only(&server) }, "inside.test").await;
    assert_eq!(addresses(&resolution), "127.0.0.1:5061");
}

#[tokio::test]
async fn silence_ends_in_time() {
    let server = Server::start(|_| None).await;
    let total_timeout = Duration::from_millis(300);
    let start = Instant::now();
    let resolution = locate(Settings { total_timeout, ..only(&server) }, "alice@debug.ostel.test").await;
    let took = start.elapsed();
    assert!(took >= total_timeout && took < Duration::from_secs(2), "{took:?}");
    let Outcome::TryLater(LocateError::TemporaryFailure { failure, .. }) = &resolution.outcome else {
        panic!("{resolution:?}")
    };
    assert_eq!((*failure, resolution.ttl), (Failure::Timeout, Some(0)));

    let question_timeout = Duration::from_millis(200);
    let start = Instant::now();
    let answer = Resolver::new(Settings { question_timeout, ..only(&server) })
        .unwrap()
        .lookup_host(&DomainName::parse("h.test").unwrap())
        .await;
    assert_eq!(answer, HostAnswer::Failed(Failure::Timeout));
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// The directory is asked first; what it refuses goes on to the others, and nothing else does.
#[tokio::test]
async fn a_directory_first() {
    let directory = Server::start(|asked: &Asked| match asked.name.as_str() {
        name if name.ends_with("ostel.test.") || name.ends_with("provider.test.") => zone(NODE)(asked),
        name if name.ends_with("ill.test.") => Some(Say::rcode(2)),
        name if name.ends_with("cut.test.") => {
            Some(Say { authority: vec![rr("cut.test. NS ns.cut.test.")], ..Say::default() })
        }
        _ => Some(Say::rcode(5)),
    })
    .await;
    let others = Server::start(zone(&[
        "_sips._tcp.stranger.test. SRV 0 0 5061 sip.stranger.test.",
        "sip.stranger.test. A 203.0.113.20",
        "cut.test. A 203.0.113.21",
        "ill.test. A 203.0.113.22",
        "debug.ostel.test. A 203.0.113.23",
    ]))
    .await;
    let servers = || NameServers::FirstThen(vec![directory.address], vec![others.address]);
    let target = async |text| addresses(&*locate(Settings { servers: servers(), ..Settings::default() }, text).await);
    assert!(target("debug.ostel.test").await.starts_with("[2001:db8::7]:5061"));
    assert_eq!(target("missing.ostel.test").await.split('(').next(), Some("NotAMember"));
    assert!(others.asked().is_empty(), "a member, and a name in our zone that does not exist, concern nobody else");
    assert_eq!(target("stranger.test").await, "203.0.113.20:5061");
    assert_eq!(target("cut.test").await, "203.0.113.21:5061", "a referral: not ours either");
    let ill = target("ill.test").await;
    assert!(ill.starts_with("TryLater"), "LOC-39: SERVFAIL stands: {ill}");
}

/// Of several equal servers, one that is ill does not speak for the others.
#[tokio::test]
async fn an_ill_server_beside_a_well_one() {
    for rcode in [2, 5] {
        let ill = Server::start(move |_| Some(Say::rcode(rcode))).await;
        let well = Server::start(zone(NODE)).await;
        let servers = NameServers::Only(vec![ill.address, well.address]);
        let resolution = locate(Settings { servers, ..Settings::default() }, "debug.ostel.test").await;
        assert!(addresses(&resolution).starts_with("[2001:db8::7]:5061"), "rcode {rcode}: {resolution:?}");
    }
}

#[tokio::test]
async fn forged_answers_are_ignored() {
    let honest = zone(NODE);
    let server = Server::start(move |asked| {
        let forged = match asked.kind {
            A => vec![rr("sip.debug.ostel.test. A 203.0.113.66")],
            _ => vec![rr("_sips._tcp.debug.ostel.test. SRV 0 0 5061 evil.test.")],
        };
        honest(asked).map(|say| Say { forged_first: Some(forged), ..say })
    })
    .await;
    let resolution = locate(only(&server), "alice@debug.ostel.test").await;
    assert!(addresses(&resolution).starts_with("[2001:db8::7]:5061 203.0.113.7:5061"), "threat 10: {resolution:?}");
}

/// A and AAAA of all targets are asked together: the server answers none before it has seen all four.
#[tokio::test]
async fn questions_go_out_together() {
    let honest = zone(NODE);
    let seen = Mutex::new(Vec::new());
    let server = Server::start(move |asked| {
        if asked.kind == A || asked.kind == AAAA {
            let mut seen = seen.lock().unwrap();
            let this = (asked.name.clone(), asked.kind);
            if !seen.contains(&this) {
                seen.push(this);
            }
            // Retransmissions bring the rest once all were seen.
            if seen.len() < 4 {
                return None;
            }
        }
        honest(asked)
    })
    .await;
    let resolution = locate(only(&server), "alice@debug.ostel.test").await;
    assert!(matches!(&resolution.outcome, Outcome::Found(hops) if hops.len() == 4), "{resolution:?}");
}

/// Sixty questions at once, four slots: the server never sees more than four that it has not answered.
#[tokio::test]
async fn questions_under_way_are_bounded() {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let waiting = Mutex::new((HashSet::new(), false));
    let server = Server::start(move |asked| {
        let (waiting, open) = &mut *waiting.lock().unwrap();
        // Answers none until a question comes a second time: until then everything that may be under way is.
        *open |= !waiting.insert((asked.name.clone(), asked.kind));
        MOST.fetch_max(waiting.len(), Ordering::Relaxed);
        if !*open {
            return None;
        }
        waiting.remove(&(asked.name.clone(), asked.kind));
        Some(Say::nothing(0, 20))
    })
    .await;
    let resolver = Resolver::new(Settings { max_parallel: 4, ..only(&server) }).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..30 {
        let resolver = resolver.clone();
        let name = DomainName::parse(&format!("h{number}.test")).unwrap();
        calls.spawn(async move { resolver.lookup_host(&name).await });
    }
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap(), HostAnswer::NoAddress);
    }
    assert_eq!(MOST.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn hosts() {
    let server = Server::start(zone(&[
        "h.test. A 203.0.113.1",
        "h.test. AAAA 2001:db8::1",
        "alias.test. CNAME h.test.",
        "text.test. NS ns.test.",
        "inside.test. A 10.0.0.1",
    ]))
    .await;
    let resolver = Resolver::new(only(&server)).unwrap();
    let name = |text| DomainName::parse(text).unwrap();
    for (text, answer) in [
        ("h.test", HostAnswer::Addresses(vec!["2001:db8::1".parse().unwrap(), "203.0.113.1".parse().unwrap()])),
        ("alias.test", HostAnswer::Alias(name("h.test"))),
        ("text.test", HostAnswer::NoAddress),
        ("none.test", HostAnswer::NoSuchName),
        ("inside.test", HostAnswer::NotPublic("10.0.0.1".parse().unwrap())),
    ] {
        assert_eq!(resolver.lookup_host(&name(text)).await, answer, "{text}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    // Bound and dropped: a port that nobody has now.
    let address: SocketAddr = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let question_timeout = Duration::from_millis(300);
    let settings = Settings { servers: NameServers::Only(vec![address]), question_timeout, ..Settings::default() };
    let resolution = locate(settings, "debug.ostel.test").await;
    assert!(matches!(resolution.outcome, Outcome::TryLater(_)), "{resolution:?}");
    let settings = Settings { servers: NameServers::Only(Vec::new()), ..Settings::default() };
    assert!(matches!(Resolver::new(settings), Err(SettingsError::NoServers)));
}
