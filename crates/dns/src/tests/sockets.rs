//! Whole servers, over real sockets on port 0 (spec section 4).

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use tandem_zone::Live;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::{Config, DnsServer, StartError, TcpLimits};

/// Longer than anything here takes on a busy machine; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(address: &str) -> Config {
    Config { udp_threads: NonZeroUsize::new(2), ..Config::new(vec![address.parse().unwrap()]) }
}

fn start(config: &Config) -> (DnsServer, SocketAddr) {
    let server = DnsServer::start(config, &Live::new(zones())).unwrap();
    let address = server.local_addrs()[0];
    (server, address)
}

fn with_limits(limits: TcpLimits) -> Config {
    Config { tcp: limits, ..config("127.0.0.1:0") }
}

fn framed(query: &Query) -> Vec<u8> {
    [&u16::try_from(query.0.len()).unwrap().to_be_bytes()[..], &query.0].concat()
}

async fn read_answer(stream: &mut TcpStream) -> Vec<u8> {
    timeout(PATIENCE, async {
        let len = stream.read_u16().await.unwrap();
        let mut answer = vec![0; len.into()];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    })
    .await
    .expect("an answer in time")
}

/// Waits until the server has closed the connection; how long that took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    // A reset closes as well as an end does.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
    start.elapsed()
}

async fn tcp_answer(address: SocketAddr, query: &Query) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&framed(query)).await.unwrap();
    shown(&read_answer(&mut stream).await)
}

/// Asks from a connected socket, which takes answers only from the address that it asked.
fn udp_answer(address: SocketAddr, query: &Query) -> String {
    let local: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&query.0).unwrap();
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).unwrap();
    shown(&buffer[..len])
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_and_tcp_on_one_port_dns_60() {
    let live = Live::new(zones());
    let server = DnsServer::start(&config("127.0.0.1:0"), &live).unwrap();
    let address = server.local_addrs()[0];
    assert_ne!(address.port(), 0);
    let query = Query::new("debug.node.test", "NAPTR").edns(1232);
    let expected = query.shown(&live.load(), UDP);
    // Several sockets, so that each thread has its share.
    for _ in 0..20 {
        assert_eq!(udp_answer(address, &query), expected);
    }
    assert_eq!(tcp_answer(address, &query).await, expected);
    assert_eq!(udp_answer(address, &Query::new("many.big.test", "NAPTR")), "NOERROR aa tc");

    live.publish(live.load().with(&[Change::Remove(DomainName::parse("debug.node.test").unwrap())], Serial::new(9)));
    let gone = "NXDOMAIN aa; authority node.test. 300 SOA×1";
    assert_eq!(udp_answer(address, &Query::new("debug.node.test", "NAPTR")), gone, "DNS-79: in the next answer");
    assert_eq!(tcp_answer(address, &Query::new("debug.node.test", "NAPTR")).await, gone);

    let stats = server.stats();
    assert_eq!((stats.udp.no_error, stats.udp.nx_domain, stats.udp.truncated), (21, 1, 1));
    assert_eq!((stats.tcp.no_error, stats.tcp.nx_domain, stats.tcp.accepted), (1, 1, 2));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_address_answers_from_where_it_was_asked() {
    let query = Query::new("node.test", "SOA");
    let expected = query.shown(&zones(), UDP);
    let (server, address) = start(&config("0.0.0.0:0"));
    for asked in ["127.0.0.1", "127.0.0.2", "127.8.8.8"] {
        assert_eq!(udp_answer(SocketAddr::new(asked.parse().unwrap(), address.port()), &query), expected, "{asked}");
    }
    server.shutdown().await;
    // Not every machine that builds has IPv6.
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let (server, address) = start(&config("[::]:0"));
    assert_eq!(udp_answer(SocketAddr::new("::1".parse().unwrap(), address.port()), &query), expected);
    assert_eq!(tcp_answer(SocketAddr::new("::1".parse().unwrap(), address.port()), &query).await, expected);
    let both = Config { addresses: vec![address, SocketAddr::new("0.0.0.0".parse().unwrap(), 0)], ..config("[::]:0") };
    server.shutdown().await;
    DnsServer::start(&both, &Live::new(zones())).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pipelined_queries_one_octet_a_segment_dns_t45() {
    let (server, address) = start(&config("127.0.0.1:0"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for id in 0..10 {
        let mut query = Query::new("many.big.test", "NAPTR");
        query.0[1] = id;
        for octet in framed(&query) {
            stream.write_all(&[octet]).await.unwrap();
        }
    }
    for id in 0..10 {
        let answer = read_answer(&mut stream).await;
        assert_eq!(answer[1], id);
        assert_eq!(shown(&answer), "NOERROR aa; answer many.big.test. 300 NAPTR×40", "DNS-T40: all over TCP");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_queries_in_one_segment_dns_61() {
    let (server, address) = start(&config("127.0.0.1:0"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let query = framed(&Query::new("many.big.test", "NAPTR"));
    let (mut reader, mut writer) = stream.split();
    let all = query.repeat(200);
    let send = async {
        writer.write_all(&all).await.unwrap();
        // Half closed: what was asked is still answered (RFC 7766 6.2.4).
        writer.shutdown().await.unwrap();
    };
    let mut answers = Vec::new();
    let ((), read) = timeout(PATIENCE, async { tokio::join!(send, reader.read_to_end(&mut answers)) }).await.unwrap();
    read.unwrap();
    let len = 2 + usize::from(u16::from_be_bytes([answers[0], answers[1]]));
    assert_eq!(answers.len(), 200 * len);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_dripping_clients_are_closed_dns_t46() {
    let idle = Duration::from_millis(500);
    let (server, address) = start(&with_limits(TcpLimits { idle, ..TcpLimits::default() }));
    let query = Query::new("node.test", "SOA");
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(&[0, 29]).await.unwrap();
    assert!(tcp_answer(address, &query).await.starts_with("NOERROR"), "others are unaffected");
    assert!(closed(&mut silent).await <= PATIENCE);

    let mut dripping = TcpStream::connect(address).await.unwrap();
    let start = Instant::now();
    let mut sent = 0;
    // An octet now and then is no message, and earns no time.
    while timeout(idle / 10, dripping.read_u8()).await.is_err() {
        let _ = dripping.write_all(&framed(&query)[sent % 5..][..1]).await;
        sent += 1;
        assert!(start.elapsed() < PATIENCE, "still open after {sent} octets");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_idlest_of_a_network_makes_room_dns_62() {
    let limits = TcpLimits { connections_per_network: 2, idle: PATIENCE * 2, ..TcpLimits::default() };
    let (server, address) = start(&with_limits(limits));
    let query = framed(&Query::new("node.test", "SOA"));
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&query).await.unwrap();
        read_answer(&mut stream).await;
        connections.push(stream);
    }
    closed(&mut connections[0]).await;
    for stream in &mut connections[1..] {
        stream.write_all(&query).await.unwrap();
        read_answer(stream).await;
    }
    assert_eq!(server.stats().tcp.crowded_out, 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_threat_6() {
    let limits = TcpLimits { write: Duration::from_millis(300), idle: PATIENCE * 2, ..TcpLimits::default() };
    let (server, address) = start(&with_limits(limits));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let queries = framed(&Query::new("many.big.test", "NAPTR")).repeat(100);
    let start = Instant::now();
    // Writing ends with an error when the server has had enough.
    while let Ok(Ok(())) | Err(_) = timeout(Duration::from_millis(50), stream.write_all(&queries)).await {
        assert!(start.elapsed() < PATIENCE, "the server still reads");
    }
    assert_eq!(server.stats().tcp.not_sent, 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_what_it_owes_and_frees_the_port() {
    let (server, address) = start(&config("127.0.0.1:0"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&framed(&Query::new("node.test", "SOA"))).await.unwrap();
    read_answer(&mut stream).await;
    stream.write_all(&framed(&Query::new("node.test", "NS"))).await.unwrap();
    let start_of_end = Instant::now();
    server.shutdown().await;
    assert!(start_of_end.elapsed() < Duration::from_secs(5), "an idle connection does not hold the server up");
    assert!(shown(&read_answer(&mut stream).await).starts_with("NOERROR"));
    closed(&mut stream).await;
    let again = DnsServer::start(&config(&address.to_string()), &Live::new(zones())).unwrap();
    drop(again);
    // Dropped, not shut down: it stops by itself, soon.
    let start = Instant::now();
    loop {
        match DnsServer::start(&config(&address.to_string()), &Live::new(zones())) {
            Ok(server) => break server.shutdown().await,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_reported() {
    let (server, address) = start(&config("127.0.0.1:0"));
    let second = DnsServer::start(&config(&address.to_string()), &Live::new(zones()));
    assert!(matches!(second, Err(StartError::Bind { address: at, .. }) if at == address), "{second:?}");
    let none = DnsServer::start(&Config::new(Vec::new()), &Live::new(zones()));
    assert!(matches!(none, Err(StartError::NoAddress)));
    server.shutdown().await;
}
