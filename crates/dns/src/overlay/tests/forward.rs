//! Forwarding: nothing changed on the way, over UDP and TCP, from one upstream to the next, within limits.

use std::time::Instant;

use super::super::{OverlayError, UpstreamError};
use super::hostile::settled;
use super::*;
use crate::access::Network;
use crate::server::StartError;
use crate::tests::shown;

/// An upstream that takes questions and never answers.
fn deaf() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_as_they_are_dns_121_dns_127_dns_128() {
    let (_server, public) = public();
    let (overlay, _, address) = start(settings(&[public]), members());
    let mut dnssec = Query::new("www.member.test", "A").record("", 41, 1400, 0x8000, &[0, 3, 0, 0]);
    dnssec.0[3] |= 0x30;
    let queries = [
        Query::new("www.member.test", "A"),
        Query::new("WwW.mEmber.test", "MX").edns(512),
        dnssec,
        // Longer than both sizes: TC, and the client asks again over TCP.
        Query::new("big.member.test", "TXT"),
        Query::new("big.member.test", "TXT").edns(1232),
        Query::new("nowhere.member.test", "TYPE65280"),
        Query::new("www.elsewhere.test", "A"),
    ];
    for query in &queries {
        let (direct, through) = (udp(public, query).await, udp(address, query).await);
        assert_eq!(direct, through, "{}", shown(&direct));
    }
    assert!(shown(&udp(address, &queries[3]).await).contains(" tc"));
    let mut direct = tcp(public, &queries).await;
    let mut through = tcp(address, &queries).await;
    // They come in the order in which upstreams answer.
    direct.sort();
    through.sort();
    assert_eq!(direct, through);
    assert!(through.iter().any(|answer| answer.len() > 2000), "whole over TCP");
    let stats = settled(&overlay, |stats| stats.forwarded == 15).await;
    assert_eq!((stats.retried, stats.foreign, stats.failed), (0, 0, 0));
    overlay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_others_on_one_connection_dns_127() {
    let (_server, public) = public();
    let (overlay, _, address) = start(settings(&[public]), members());
    let names = ["www.member.test", "sip1.member.test", "sip.other.test"];
    let queries: Vec<Query> = names.iter().cycle().take(60).map(|name| Query::new(name, "A")).collect();
    let answers = tcp(address, &queries).await;
    for name in names {
        let count = answers.iter().filter(|answer| shown(answer).contains(&format!("answer {name}."))).count();
        assert_eq!(count, 20, "{name}");
    }
    assert_eq!(overlay.stats().members, 20);
    overlay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_upstream_is_asked_dns_124() {
    let (_server, public) = public();
    let (_deaf, nobody) = deaf();
    // One that is deaf, one where nobody listens, one that answers REFUSED to everything, and the good one.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let empty = Zones::new(tandem_zone::Settings::default(), Vec::new(), Serial::new(1)).unwrap();
    let refusing = DnsServer::start(&Config::new(vec!["127.0.0.1:0".parse().unwrap()]), &Live::new(empty)).unwrap();
    let settings =
        Settings { timeout: Duration::from_secs(6), ..settings(&[nobody, closed, refusing.local_addrs()[0], public]) };
    let (overlay, _, address) = start(settings, members());
    let query = Query::new("www.member.test", "A").edns(1232);
    let expected = udp(public, &query).await;
    for _ in 0..2 {
        assert_eq!(udp(address, &query).await, expected);
    }
    // Two failures in a row: the first two are asked last from now on.
    let retried = overlay.stats().retried;
    assert_eq!(retried, 6);
    assert_eq!(udp(address, &query).await, expected);
    assert_eq!(overlay.stats().retried, retried + 1, "only the one that refuses is in the way");
    assert_eq!(tcp(address, std::slice::from_ref(&query)).await[0].len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_of_them_say_is_the_answer_dns_124() {
    let (_server, public) = public();
    let (overlay, _, address) = start(settings(&[public]), members());
    let query = Query::new("www.elsewhere.test", "A").edns(1232);
    assert_eq!(udp(address, &query).await, udp(public, &query).await, "REFUSED, as it came");
    assert_eq!(settled(&overlay, |stats| stats.forwarded == 1).await.retried, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_upstream_members_are_still_found_dns_124() {
    let (_deaf, nobody) = deaf();
    let settings = Settings { timeout: Duration::from_millis(300), outstanding: 2, ..settings(&[nobody]) };
    let (overlay, _, address) = start(settings, members());
    let query = Query::new("www.member.test", "A").edns(1232);
    let begin = Instant::now();
    let answer = udp(address, &query).await;
    assert!(begin.elapsed() >= Duration::from_millis(250), "{:?}", begin.elapsed());
    assert_eq!(shown(&answer), "RCODE2 ra; opt 1232");
    assert_eq!(extended_error(&answer), Some((22, "no upstream answered in time".to_owned())));
    assert!(tcp(address, std::slice::from_ref(&query)).await[0].len() > 12);
    let text = shown(&udp(address, &Query::new("_sips._tcp.member.test", "SRV")).await);
    assert!(text.contains("SRV×3"), "{text}");
    // Two wait, the others are told at once.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..10 {
        socket.send_to(&query.0, address).unwrap();
    }
    let mut buffer = [0; 512];
    for _ in 0..10 {
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(shown(&buffer[..len]), "RCODE2 ra; opt 1232");
    }
    let stats = settled(&overlay, |stats| stats.failed + stats.crowded_out == 12).await;
    assert!(stats.crowded_out > 0 && stats.failed >= 4, "{stats:?}");
    overlay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_only_where_it_may_dns_125_dns_126() {
    let (_server, public) = public();
    let live = LiveMembers::new(members());
    let with = |listen: &str, upstreams: &[SocketAddr]| Settings {
        listen: vec![listen.parse().unwrap()],
        ..settings(upstreams)
    };
    let refused = |settings| Overlay::start(settings, &live).unwrap_err();
    assert!(matches!(refused(with("0.0.0.0:0", &[public])), OverlayError::Unspecified(_)));
    assert!(matches!(refused(with("[::]:0", &[public])), OverlayError::Unspecified(_)));
    assert!(matches!(refused(with("192.0.2.1:0", &[public])), OverlayError::ForNobody(_)));
    // Whoever says who may ask gets as far as the system lets him: the address is not this host's.
    let open = Settings { clients: vec![Network::parse("192.0.2.0/24").unwrap()], ..with("192.0.2.1:0", &[public]) };
    assert!(matches!(refused(open), OverlayError::Start(StartError::Bind { .. })));
    let itself = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let loops = refused(with(&itself.to_string(), &[public, itself]));
    assert!(matches!(loops, OverlayError::Upstream(UpstreamError::Itself(it)) if it == itself), "{loops}");
    assert!(matches!(refused(Settings { listen: vec![], ..settings(&[public]) }), OverlayError::Start(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_answers_what_it_owes() {
    let (deaf, nobody) = deaf();
    let (overlay, _, address) = start(settings(&[nobody]), members());
    deaf.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked = tokio::spawn(async move { udp(address, &Query::new("www.member.test", "A")).await });
    let (buffer, len, from) = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 512];
        let (len, from) = deaf.recv_from(&mut buffer).unwrap();
        (buffer, len, (deaf, from))
    })
    .await
    .unwrap();
    let stopping = tokio::spawn(overlay.shutdown());
    let mut answer = buffer[..len].to_vec();
    answer[2] |= 0x80;
    from.0.send_to(&answer, from.1).unwrap();
    assert_eq!(shown(&asked.await.unwrap()), "NOERROR");
    timeout(PATIENCE, stopping).await.expect("it ends").unwrap();
}
