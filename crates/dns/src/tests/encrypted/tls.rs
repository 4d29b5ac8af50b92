//! DoT (RFC 7858; DNS-64) and what TLS has in common.

use std::time::Instant;

use tokio::io::AsyncWriteExt as _;

use super::super::shown;
use super::*;
use crate::StartError;

const SOA: &str = "NOERROR aa; answer node.test. 3600 SOA×1";

fn soa() -> Query {
    Query::new("node.test", "SOA")
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_of_tcp_inside_tls_dns_64() {
    let fixture = Fixture::start();
    let mut stream = fixture.dot().await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"dot"[..]));
    let query = framed(&Query::new("many.big.test", "NAPTR").0);
    stream.write_all(&query.repeat(20)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(shown(&read_answer(&mut stream).await), "NOERROR aa; answer many.big.test. 300 NAPTR×40");
    }
    // Half closed: what was asked is still answered, and the end is told.
    stream.write_all(&framed(&soa().0)).await.unwrap();
    stream.shutdown().await.unwrap();
    read_answer(&mut stream).await;
    let mut rest = Vec::new();
    timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, [], "an end with close_notify, which rustls insists on");
    let stats = fixture.server.stats();
    assert_eq!((stats.tls.no_error, stats.tls.accepted, stats.tcp.queries()), (21, 1, 0));
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plain_dns_on_the_port_dns_64() {
    let fixture = Fixture::start();
    let mut plain = TcpStream::connect(fixture.server.tls_addrs()[0]).await.unwrap();
    plain.write_all(&framed(&soa().0)).await.unwrap();
    let got = closed(&mut plain).await;
    assert!(got.is_empty() || got[0] == 21, "nothing but a TLS alert: {got:?}");
    assert_eq!(fixture.server.stats().tls.queries(), 0);
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_refused_in_the_handshake() {
    let fixture = Fixture::start();
    assert!(fixture.tls(fixture.server.tls_addrs()[0], b"h2").await.is_err(), "RFC 7301 3.2");
    // Clients that name none are served, as RFC 7858 knew no ALPN at first.
    let mut config = ClientConfig::clone(&fixture.client(b"dot"));
    config.alpn_protocols.clear();
    let stream = TcpStream::connect(fixture.server.tls_addrs()[0]).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap();
    stream.write_all(&framed(&soa().0)).await.unwrap();
    assert_eq!(shown(&read_answer(&mut stream).await), SOA);
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_octet_a_record_dns_t45() {
    let fixture = Fixture::start();
    let mut stream = fixture.dot().await;
    for octet in framed(&soa().0).repeat(3) {
        stream.write_all(&[octet]).await.unwrap();
        stream.flush().await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(shown(&read_answer(&mut stream).await), SOA);
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_handshakes_and_silent_clients_are_closed_threat_6() {
    let limits =
        TcpLimits { handshake: Duration::from_millis(300), idle: Duration::from_millis(600), ..TcpLimits::default() };
    let fixture = Fixture::with(limits);
    for address in [fixture.server.tls_addrs()[0], fixture.server.https_addrs()[0]] {
        let mut nothing = TcpStream::connect(address).await.unwrap();
        let mut a_part = TcpStream::connect(address).await.unwrap();
        // The head of a ClientHello of 256 octets.
        a_part.write_all(&[22, 3, 1, 1, 0, 1, 0]).await.unwrap();
        assert_eq!(closed(&mut nothing).await, [], "no handshake");
        closed(&mut a_part).await;
    }
    let mut silent = fixture.dot().await;
    let mut dripping = fixture.dot().await;
    closed(&mut silent).await;
    let start = Instant::now();
    let mut sent = 0;
    while timeout(limits.idle / 10, tokio::io::AsyncReadExt::read_u8(&mut dripping)).await.is_err() {
        let _ = dripping.write_all(&framed(&soa().0)[sent % 5..][..1]).await;
        sent += 1;
        assert!(start.elapsed() < PATIENCE, "still open after {sent} octets");
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn padded_behind_tls_and_never_in_clear_dns_49() {
    let fixture = Fixture::start();
    let query = soa().record("", 41, 1232, 0, &PADDING_ASKED);
    let mut stream = fixture.dot().await;
    for (query, padded) in [(&query, true), (&soa().edns(1232), false), (&soa(), false)] {
        stream.write_all(&framed(&query.0)).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert_eq!(padding_of(&answer).is_some(), padded);
        assert_eq!(answer.len() % 468 == 0, padded, "{} octets", answer.len());
    }
    let mut plain = TcpStream::connect(fixture.server.local_addrs()[0]).await.unwrap();
    plain.write_all(&framed(&query.0)).await.unwrap();
    assert_eq!(padding_of(&read_answer(&mut plain).await), None, "TCP");
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(fixture.server.local_addrs()[0]).await.unwrap();
    udp.send(&query.0).await.unwrap();
    let mut answer = [0; 2048];
    let len = timeout(PATIENCE, udp.recv(&mut answer)).await.unwrap().unwrap();
    assert_eq!(padding_of(&answer[..len]), None, "UDP");
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_seen_and_old_connections_go_on() {
    let fixture = Fixture::start();
    let mut old = fixture.dot().await;
    make_certificate(&fixture.files);
    let address = fixture.server.tls_addrs()[0];
    assert!(fixture.tls(address, b"dot").await.is_err(), "the file is new, the server's certificate is not");
    fixture.server.reload_certificate().unwrap();
    let mut new = fixture.dot().await;
    assert!(fixture.tls(fixture.server.https_addrs()[0], b"h2").await.is_ok(), "of all transports");
    for stream in [&mut old, &mut new] {
        stream.write_all(&framed(&soa().0)).await.unwrap();
        assert_eq!(shown(&read_answer(stream).await), SOA);
    }
    fs::write(&fixture.files.key, "no key").unwrap();
    assert!(fixture.server.reload_certificate().is_err());
    fixture.dot().await;
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_what_has_arrived() {
    let fixture = Fixture::start();
    let mut stream = fixture.dot().await;
    let (mut idle, mut begun) = (fixture.dot().await, TcpStream::connect(fixture.server.tls_addrs()[0]).await.unwrap());
    stream.write_all(&framed(&soa().0)).await.unwrap();
    read_answer(&mut stream).await;
    stream.write_all(&framed(&soa().0)).await.unwrap();
    let start = Instant::now();
    fixture.server.shutdown().await;
    assert!(start.elapsed() < TcpLimits::default().drain, "idle connections and handshakes hold nothing up");
    assert_eq!(shown(&read_answer(&mut stream).await), SOA);
    closed(&mut idle).await;
    closed(&mut begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_transports_share_the_places_dns_62() {
    let limits = TcpLimits { connections: 2, ..TcpLimits::default() };
    let fixture = Fixture::with(limits);
    let mut plain = TcpStream::connect(fixture.server.local_addrs()[0]).await.unwrap();
    plain.write_all(&framed(&soa().0)).await.unwrap();
    read_answer(&mut plain).await;
    let mut first = fixture.dot().await;
    let mut second = fixture.dot().await;
    second.write_all(&framed(&soa().0)).await.unwrap();
    read_answer(&mut second).await;
    closed(&mut plain).await;
    first.write_all(&framed(&soa().0)).await.unwrap();
    read_answer(&mut first).await;
    assert_eq!(fixture.server.stats().tls.crowded_out, 1);
    fixture.server.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_said_at_the_start() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let start = |encrypted| {
        let config = Config { encrypted, ..Config::new(vec![any]) };
        DnsServer::start(&config, &Live::new(zones())).map(drop)
    };
    let tls = Encrypted { tls: vec![any], ..Encrypted::default() };
    assert!(matches!(start(tls.clone()), Err(StartError::NoCertificate)));
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles { chain: folder.path().join("c"), key: folder.path().join("k") };
    let with_files = |encrypted| Encrypted { certificate: Some(files.clone()), ..encrypted };
    assert!(matches!(start(with_files(tls)), Err(StartError::Certificate(_))));
    make_certificate(&files);
    let port_53 = Encrypted { quic: vec!["127.0.0.1:53".parse().unwrap()], ..Encrypted::default() };
    assert!(matches!(start(with_files(port_53)), Err(StartError::QuicPort { .. })), "DNS-66");
    let taken = std::net::TcpListener::bind(any).unwrap().local_addr().unwrap();
    let _holder = std::net::TcpListener::bind(taken).unwrap();
    let https = Encrypted { https: vec![taken], ..Encrypted::default() };
    assert!(matches!(start(with_files(https)), Err(StartError::Bind { transport: "DNS over HTTPS", .. })));
}
