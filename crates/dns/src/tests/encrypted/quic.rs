//! DoQ (RFC 9250; DNS-66).

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, VarInt};

use super::super::shown;
use super::*;

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 2;
const EXCESSIVE_LOAD: u32 = 4;

fn soa() -> Vec<u8> {
    id_0(Query::new("node.test", "SOA"))
}

impl Fixture {
    async fn doq_with(&self, config: ClientConfig) -> Result<(Endpoint, Connection), ConnectionError> {
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, self.server.quic_addrs()[0], NAME).unwrap();
        let connection = timeout(PATIENCE, connecting).await.expect("a handshake in time")?;
        Ok((endpoint, connection))
    }

    async fn doq(&self) -> (Endpoint, Connection) {
        self.doq_with(ClientConfig::clone(&self.client(b"doq"))).await.unwrap()
    }
}

/// Sends `octets` on a new stream and ends it; what comes back.
async fn exchange(connection: &Connection, octets: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    // The server may have closed the connection by now: the read says so.
    let _ = send.write_all(octets).await;
    let _ = send.finish();
    timeout(PATIENCE, receive.read_to_end(70_000)).await.expect("an answer in time")
}

/// With which code the server closed the connection.
async fn close_code(connection: &Connection) -> u64 {
    match timeout(PATIENCE, connection.closed()).await.expect("closed in time") {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_a_stream_dns_66() {
    let fixture = Fixture::start();
    let (_endpoint, connection) = fixture.doq().await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let connection = connection.clone();
        all.spawn(async move { exchange(&connection, &framed(&id_0(Query::new("many.big.test", "NAPTR")))).await });
    }
    while let Some(answer) = all.join_next().await {
        let answer = answer.unwrap().unwrap();
        let (len, message) = answer.split_first_chunk::<2>().unwrap();
        assert_eq!(usize::from(u16::from_be_bytes(*len)), message.len(), "one answer, then FIN");
        assert_eq!(message[..2], [0, 0], "ID 0");
        assert_eq!(shown(message), "NOERROR aa; answer many.big.test. 300 NAPTR×40");
    }
    let stats = fixture.server.stats();
    assert_eq!((stats.quic.no_error, stats.quic.accepted, stats.quic.not_sent), (200, 1, 0));
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_doq_ends_the_connection_dns_66() {
    let fixture = Fixture::start();
    let soa = soa();
    let keepalive = id_0(Query::new("node.test", "SOA").record("", 41, 1232, 0, &[0, 11, 0, 0]));
    let response = [&soa[..2], &[0x81], &soa[3..]].concat();
    for (what, octets) in [
        ("an ID", framed(&Query::new("node.test", "SOA").0)),
        ("two messages", framed(&soa).repeat(2)),
        ("a part", framed(&soa)[..20].to_vec()),
        ("half a length", vec![0]),
        ("nothing", Vec::new()),
        ("TCP keepalive", framed(&keepalive)),
        ("a response", framed(&response)),
        ("no header", framed(&[0, 0, 0])),
        ("too much", vec![0; 66_000]),
    ] {
        let (_endpoint, connection) = fixture.doq().await;
        assert!(exchange(&connection, &octets).await.is_err(), "{what}");
        assert_eq!(close_code(&connection).await, u64::from(PROTOCOL_ERROR), "{what}");
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_answered_as_everywhere() {
    let fixture = Fixture::start();
    let (_endpoint, connection) = fixture.doq().await;
    for query in [
        Query::new("elsewhere.org", "A"),
        Query::new("node.test", "AXFR"),
        Query::new("node.test", "SOA").opcode(15),
        Query::new("node.test", "SOA").question("node.test", 1, 1),
    ] {
        let expected = query.shown(&zones(), crate::answer::Transport::Exchange);
        let answer = exchange(&connection, &framed(&id_0(query))).await.unwrap();
        assert_eq!(shown(&answer[2..]), expected);
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_doq_and_no_one_way_streams_dns_66() {
    let fixture = Fixture::start();
    for alpn in [&b"h3"[..], b"dot"] {
        assert!(fixture.doq_with(ClientConfig::clone(&fixture.client(alpn))).await.is_err());
    }
    let (_endpoint, connection) = fixture.doq().await;
    assert!(timeout(Duration::from_millis(100), connection.open_uni()).await.is_err(), "no credit for any");
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_early_data_even_on_resumption_dns_66() {
    let fixture = Fixture::start();
    let mut config = ClientConfig::clone(&fixture.client(b"doq"));
    config.enable_early_data = true;
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = fixture.server.quic_addrs()[0];
    let first = endpoint.connect_with(config.clone(), address, NAME).unwrap().await.unwrap();
    // Tickets come with or before the answer.
    exchange(&first, &framed(&soa())).await.unwrap();
    let second = endpoint.connect_with(config, address, NAME).unwrap();
    let Err(connecting) = second.into_0rtt() else { panic!("the server's ticket allows early data") };
    exchange(&connecting.await.unwrap(), &framed(&soa())).await.unwrap();
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn padded_dns_49() {
    let fixture = Fixture::start();
    let (_endpoint, connection) = fixture.doq().await;
    let query = id_0(Query::new("node.test", "SOA").record("", 41, 1232, 0, &PADDING_ASKED));
    let answer = exchange(&connection, &framed(&query)).await.unwrap();
    assert!(padding_of(&answer[2..]).is_some());
    assert_eq!((answer.len() - 2) % 468, 0, "the length before it does not count");
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_queries_earn_time_threat_6() {
    let idle = Duration::from_millis(500);
    let fixture = Fixture::with(TcpLimits { idle, ..TcpLimits::default() });
    let (_endpoint, connection) = fixture.doq().await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let started = std::time::Instant::now();
    // Octets that never become a query.
    while connection.close_reason().is_none() {
        let _ = send.write_all(&[0]).await;
        assert!(started.elapsed() < PATIENCE, "still open");
        let _ = timeout(idle / 10, connection.closed()).await;
    }
    assert_eq!(close_code(&connection).await, u64::from(NO_ERROR));
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_harms_no_other() {
    let fixture = Fixture::start();
    let (_endpoint, connection) = fixture.doq().await;
    for _ in 0..300 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&framed(&soa())[..10]).await.unwrap();
        send.reset(VarInt::from_u32(3)).unwrap();
        let _ = receive.stop(VarInt::from_u32(3));
    }
    exchange(&connection, &framed(&soa())).await.unwrap();
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_idlest_makes_room_dns_62() {
    let fixture = Fixture::with(TcpLimits { connections: 2, ..TcpLimits::default() });
    let (_first, first) = fixture.doq().await;
    let (_second, second) = fixture.doq().await;
    exchange(&first, &framed(&soa())).await.unwrap();
    let (_third, third) = fixture.doq().await;
    assert_eq!(close_code(&second).await, u64::from(EXCESSIVE_LOAD));
    for connection in [first, third] {
        exchange(&connection, &framed(&soa())).await.unwrap();
    }
    assert_eq!(fixture.server.stats().quic.crowded_out, 1);
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_many_connections_an_address_is_tested_first() {
    let fixture = Fixture::start();
    let mut connections = Vec::new();
    // The last of them have to come again with a token (Retry); whoever really is at his address does not notice.
    for _ in 0..crate::quic::RETRY_FROM + 10 {
        connections.push(fixture.doq().await);
    }
    for (_endpoint, connection) in &connections {
        exchange(connection, &framed(&soa())).await.unwrap();
    }
    let stats = fixture.server.stats().quic;
    assert_eq!((stats.accepted, stats.no_error), (connections.len() as u64, connections.len() as u64));
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_seen() {
    let fixture = Fixture::start();
    let (_endpoint, old) = fixture.doq().await;
    make_certificate(&fixture.files);
    assert!(fixture.doq_with(ClientConfig::clone(&fixture.client(b"doq"))).await.is_err());
    fixture.server.reload_certificate().unwrap();
    let (_endpoint, new) = fixture.doq().await;
    for connection in [old, new] {
        exchange(&connection, &framed(&soa())).await.unwrap();
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_what_has_arrived() {
    let fixture = Fixture::start();
    let (_endpoint, connection) = fixture.doq().await;
    exchange(&connection, &framed(&soa())).await.unwrap();
    let last = framed(&soa());
    let start = std::time::Instant::now();
    let ((), last) = tokio::join!(fixture.server.shutdown(), exchange(&connection, &last));
    assert!(start.elapsed() < TcpLimits::default().drain, "an idle connection does not hold the server up");
    last.unwrap();
    assert_eq!(close_code(&connection).await, u64::from(NO_ERROR));
}
