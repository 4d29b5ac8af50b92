//! Transfers as a client sees them: over real connections, decoded by hickory-proto.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use tandem_zone::Change;
use tandem_zone::master::StaticZone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::access::Network;
use crate::full::tsig_of;
use crate::tests::{Query, shown, type_number, wire, zones};
use crate::tsig::{Session, TsigAlgorithm};
use crate::{Config, DnsServer};

/// Longer than anything here takes on a busy machine; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn key() -> TsigKey {
    TsigKey::new(name("k"), TsigAlgorithm::HmacSha256, &[7; 32]).unwrap()
}

/// Transfers of everything to whoever is on this machine and has the key.
fn with_key() -> TransferConfig {
    TransferConfig {
        keys: vec![key()],
        rules: vec![TransferRule {
            zone: None,
            keys: vec![name("k")],
            networks: vec![Network::parse("127.0.0.0/8").unwrap()],
        }],
        ..TransferConfig::default()
    }
}

fn by_network() -> TransferConfig {
    TransferConfig {
        rules: vec![TransferRule { zone: None, keys: vec![], networks: vec![Network::parse("127.0.0.1").unwrap()] }],
        ..TransferConfig::default()
    }
}

fn start(zones: Zones, transfers: TransferConfig) -> (DnsServer, Live, SocketAddr) {
    let live = Live::new(zones);
    let config =
        Config { udp_threads: NonZeroUsize::new(1), transfers, ..Config::new(vec!["127.0.0.1:0".parse().unwrap()]) };
    let server = DnsServer::start(&config, &live).unwrap();
    let address = server.local_addrs()[0];
    (server, live, address)
}

/// IXFR from `serial`, the SOA in authority (RFC 1995 3).
fn ixfr(zone: &str, serial: u32) -> Query {
    let mut query = Query::new(zone, "IXFR");
    query.0.extend(wire(zone));
    query.0.extend([0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    query.0.extend(serial.to_be_bytes());
    query.0.extend([0; 16]);
    query.add(8)
}

/// Signs a query; the session then knows the answers.
fn signed(mut query: Query, key: TsigKey, now: u64) -> (Query, Session) {
    let mut session = Session::new(Arc::new(key));
    let record = session.sign(&query.0, now);
    query.0.extend(record);
    (query.add(10), session)
}

async fn connect(address: SocketAddr, query: &Query) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // A small window: a slow reader holds the sender up soon.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let framed = [&u16::try_from(query.0.len()).unwrap().to_be_bytes()[..], &query.0].concat();
    stream.write_all(&framed).await.unwrap();
    stream
}

async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    timeout(PATIENCE, async {
        let len = stream.read_u16().await.ok()?;
        let mut message = vec![0; len.into()];
        stream.read_exact(&mut message).await.ok()?;
        Some(message)
    })
    .await
    .expect("an answer in time")
}

/// Reads messages until the transfer's last SOA: `soas` of them in all.
async fn read_until(stream: &mut TcpStream, soas: usize) -> Vec<Vec<u8>> {
    let (mut messages, mut seen) = (Vec::new(), 0);
    while seen < soas {
        let message = read_message(stream).await.expect("the transfer goes on");
        let decoded = Message::from_vec(&message).unwrap();
        seen += decoded.answers.iter().filter(|record| record.record_type() == RecordType::SOA).count();
        messages.push(message);
    }
    messages
}

/// Waits until the server has counted what a client has seen already.
async fn counted(server: &DnsServer, expected: TransferStats) {
    let begin = Instant::now();
    while server.stats().transfers != expected {
        assert!(begin.elapsed() < PATIENCE, "{:?} is not {expected:?}", server.stats().transfers);
        tokio::task::yield_now().await;
    }
}

/// The answers of all messages as text, in order.
fn records(messages: &[Vec<u8>]) -> Vec<String> {
    let decoded = messages.iter().map(|message| Message::from_vec(message).unwrap());
    decoded.flat_map(|message| message.answers.iter().map(ToString::to_string).collect::<Vec<_>>()).collect()
}

/// Records in `zones`' own version of `zone`, each as an answer of its own, so that nothing is compressed.
fn expected(zones: &Zones, zone: &str) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    zones.walk(zones.zone(&name(zone)).unwrap(), |owner, rrset| {
        for rdata in rrset.rdatas() {
            let mut message = vec![0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            message.extend(owner);
            message.extend(rrset.kind().0.to_be_bytes());
            message.extend([0, 1]);
            message.extend(rrset.ttl().to_be_bytes());
            let mut data = Vec::new();
            rdata.write(&mut data);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
            set.insert(Message::from_vec(&message).unwrap().answers[0].to_string());
        }
        true
    });
    set
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_zones_dns_71() {
    let zones = zones();
    let (server, _, address) = start(zones.clone(), with_key());
    for zone in ["example", "node.test", "low.test", "big.test"] {
        let now = system_clock();
        let (query, _) = signed(Query::new(zone, "AXFR").edns(1232), key(), now);
        let mut stream = connect(address, &query).await;
        let messages = read_until(&mut stream, 2).await;
        let all = records(&messages);
        let soa = all.first().unwrap();
        assert_eq!(Some(soa), all.last(), "{zone}: begins and ends with the SOA");
        let between: BTreeSet<String> = all[1..all.len() - 1].iter().cloned().collect();
        assert_eq!(between.len(), all.len() - 2, "{zone}: each record once");
        assert_eq!(between, expected(&zones, zone), "{zone}");
        for (index, message) in messages.iter().enumerate() {
            let decoded = Message::from_vec(message).unwrap();
            assert_eq!(message[..3], [0x42, 0x42, 0x85], "{zone}: ID, QR, AA, RD; no TC");
            assert_eq!(decoded.queries.len(), usize::from(index == 0), "{zone}: the question in the first");
            assert_eq!(decoded.edns.is_some(), index == 0, "{zone}");
            assert!(tsig_of(message).is_some(), "{zone}: RFC 8945 5.3.1: every message is signed");
        }
        assert!(zone != "big.test" || messages.len() == 1, "owners are compressed");
        // The connection goes on.
        send(&mut stream, Query::new("node.test", "SOA"), 1).await;
        assert!(shown(&read_message(&mut stream).await.unwrap()).starts_with("NOERROR aa"));
    }
    counted(&server, TransferStats { axfr: 4, ..<_>::default() }).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nothing_dns_t54() {
    let (server, _, address) = start(zones(), with_key());
    for query in [Query::new("node.test", "AXFR"), ixfr("node.test", 1)] {
        let mut stream = connect(address, &query).await;
        assert_eq!(shown(&read_message(&mut stream).await.unwrap()), "REFUSED");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query.0, address).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(shown(&buffer[..len]), "REFUSED");
        assert!(len <= query.0.len(), "threat 1");
    }
    // A good signature opens no zone that we do not have, and none over UDP by AXFR.
    for zone in ["other.test", "debug.node.test"] {
        let (query, _) = signed(Query::new(zone, "AXFR"), key(), system_clock());
        let mut stream = connect(address, &query).await;
        assert!(shown(&read_message(&mut stream).await.unwrap()).starts_with("REFUSED"), "{zone}");
    }
    let (query, _) = signed(Query::new("node.test", "AXFR"), key(), system_clock());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&query.0, address).unwrap();
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).unwrap();
    assert!(shown(&buffer[..len]).starts_with("REFUSED"));
    counted(&server, TransferStats { refused: 7, ..<_>::default() }).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_dns_72_t55() {
    let before = zones();
    let (server, live, address) = start(before.clone(), by_network());
    let after = before.with(&[Change::Remove(name("debug.node.test"))], Serial::new(9));
    live.publish(after.clone());
    let soa =
        |serial| format!("node.test. 3600 IN SOA ns1.node.test. hostmaster.node.test. {serial} 3600 600 86400 300");
    let answer =
        async |serial, soas| records(&read_until(&mut connect(address, &ixfr("node.test", serial)).await, soas).await);

    // One condensed step.
    let all = answer(8, 4).await;
    let (old, new) = (expected(&before, "node.test"), expected(&after, "node.test"));
    let gone: BTreeSet<&String> = old.difference(&new).collect();
    assert!(gone.len() > 5 && new.is_subset(&old));
    assert_eq!((&all[0], &all[1]), (&soa(9), &soa(8)), "{all:?}");
    assert_eq!(all[2..all.len() - 2].iter().collect::<BTreeSet<_>>(), gone);
    assert_eq!(all[all.len() - 2..], [soa(9), soa(9)]);

    // Up to date, and ahead: the SOA alone.
    assert_eq!(answer(9, 1).await, [soa(9)]);
    assert_eq!(answer(10, 1).await, [soa(9)]);
    // No history, and a serial without an order (DNS-T53): the whole zone.
    for serial in [3, 9_u32.wrapping_add(1 << 31)] {
        let all = answer(serial, 2).await;
        assert_eq!((all.first(), all.last()), (Some(&soa(9)), Some(&soa(9))));
        assert_eq!(all[1..all.len() - 1].iter().cloned().collect::<BTreeSet<_>>(), new);
    }
    counted(&server, TransferStats { ixfr: 1, soa: 2, axfr: 2, ..<_>::default() }).await;
    // Without the SOA in authority, the question has no meaning.
    let mut stream = connect(address, &Query::new("node.test", "IXFR")).await;
    assert_eq!(shown(&read_message(&mut stream).await.unwrap()), "FORMERR");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ixfr_over_udp_dns_72() {
    let before = zones();
    let config = TransferConfig {
        rules: vec![TransferRule { zone: None, keys: vec![name("k")], networks: vec![] }, by_network().rules.remove(0)],
        ..with_key()
    };
    let (server, live, address) = start(before.clone(), config);
    live.publish(before.with(&[Change::Remove(name("debug.node.test"))], Serial::new(9)));
    let ask = |query: &Query| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query.0, address).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        buffer[..len].to_vec()
    };
    let soas = |answer: &[u8]| {
        let message = Message::from_vec(answer).unwrap();
        assert!(!message.truncation, "RFC 1995 2");
        let soas = message.answers.iter().filter(|record| record.record_type() == RecordType::SOA).count();
        (soas, message.answers.len())
    };
    let now = system_clock();
    let (query, session) = signed(ixfr("node.test", 8).edns(1232), key(), now);
    let answer = ask(&query);
    assert_eq!(soas(&answer).0, 4, "it fits");
    assert!(session.answered_by(&answer, &tsig_of(&answer).unwrap(), now));
    let (query, _) = signed(ixfr("node.test", 8), key(), now);
    assert_eq!(soas(&ask(&query)), (1, 1), "512 octets are not enough: our SOA, and the client takes TCP");
    let (query, _) = signed(ixfr("node.test", 3).edns(1232), key(), now);
    assert_eq!(soas(&ask(&query)), (1, 1), "no history");
    // A datagram's sender may be forged: the network alone opens nothing but the SOA.
    assert_eq!(soas(&ask(&ixfr("node.test", 8).edns(1232))), (1, 1));
    server.shutdown().await;
}

/// A zone of some 24 MB on the wire: more than all buffers between the server and a client that does not read.
fn huge(serial: u32) -> Zones {
    let mut text = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n".to_owned();
    let string = format!("\"{}\"", "x".repeat(250));
    for index in 0..1000 {
        text += &format!("t{index} IN TXT {}\n", vec![string.as_str(); 96].join(" "));
    }
    let huge = StaticZone::read(&name("huge.test"), "huge.test.zone", text.as_bytes(), &mut |_| Err(String::new()));
    Zones::new(tandem_zone::Settings::default(), vec![huge.unwrap()], Serial::new(serial)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_version_whatever_changes_meanwhile_dns_t57() {
    let (server, live, address) = start(huge(1), by_network());
    let mut slow = connect(address, &Query::new("huge.test", "AXFR")).await;
    let first = read_message(&mut slow).await.unwrap();
    // The sender is held up now. The next version has the same names with another serial.
    live.publish(live.load().with_serials(|_| Some(Serial::new(2))));
    let mut quick = TcpStream::connect(address).await.unwrap();
    let soa = Query::new("huge.test", "SOA");
    quick.write_all(&[&u16::try_from(soa.0.len()).unwrap().to_be_bytes()[..], &soa.0].concat()).await.unwrap();
    let answer = read_message(&mut quick).await.unwrap();
    assert!(records(&[answer])[0].contains(" 2 2 3 4 5"), "others see the change at once");
    assert_eq!(server.stats().transfers.axfr, 0, "the first transfer is still going on");
    let mut messages = vec![first];
    messages.extend(read_until(&mut slow, 1).await);
    let all = records(&messages);
    assert_eq!(all.len(), 1000 + 4);
    assert_eq!(all.first(), all.last(), "one serial");
    assert!(all[0].contains(" 1 2 3 4 5"), "that of the version in which it began: {}", all[0]);
    server.shutdown().await;
}

/// Sends a query with this ID on a connection that is open.
async fn send(stream: &mut TcpStream, mut query: Query, id: u16) {
    query.0[..2].copy_from_slice(&id.to_be_bytes());
    stream.write_all(&[&u16::try_from(query.0.len()).unwrap().to_be_bytes()[..], &query.0].concat()).await.unwrap();
}

fn id_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

/// Reads messages until `soas` SOA records of the transfer with this ID have come; the IDs as they came, a run of one ID once.
async fn ids_until_end(stream: &mut TcpStream, id: u16, soas: usize) -> Vec<u16> {
    let (mut ids, mut seen) = (Vec::new(), 0);
    while seen < soas {
        let message = read_message(stream).await.expect("the connection goes on");
        if id_of(&message) == id {
            let decoded = Message::from_vec(&message).unwrap();
            seen += decoded.answers.iter().filter(|record| record.record_type() == RecordType::SOA).count();
        }
        ids.push(id_of(&message));
    }
    ids.dedup();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_holds_up_no_query_dns_61() {
    let (server, _, address) = start(huge(1), by_network());
    let mut stream = connect(address, &Query::new("huge.test", "SOA")).await;
    read_message(&mut stream).await.unwrap();
    send(&mut stream, Query::new("huge.test", "AXFR"), 100).await;
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 100, "the transfer goes out");
    // A question, another transfer, and a question behind that.
    send(&mut stream, Query::new("huge.test", "SOA"), 1).await;
    send(&mut stream, Query::new("huge.test", "AXFR"), 200).await;
    send(&mut stream, Query::new("huge.test", "NS"), 2).await;
    // One SOA was in the first message.
    let ids = ids_until_end(&mut stream, 100, 1).await;
    assert_eq!(ids.iter().filter(|id| **id == 1).count(), 1, "{ids:?}");
    assert_eq!(ids.iter().filter(|id| **id == 2).count(), 1, "not behind the second transfer: {ids:?}");
    assert_eq!(ids.last(), Some(&100), "{ids:?}");
    assert_eq!(ids_until_end(&mut stream, 200, 2).await, [200], "then the second");
    // The connection is as good as before.
    send(&mut stream, Query::new("huge.test", "SOA"), 3).await;
    assert_eq!(id_of(&read_message(&mut stream).await.unwrap()), 3);
    counted(&server, TransferStats { axfr: 2, ..<_>::default() }).await;

    // Who closes its half has all that it asked for, then the end.
    send(&mut stream, Query::new("huge.test", "AXFR"), 300).await;
    stream.shutdown().await.unwrap();
    assert_eq!(ids_until_end(&mut stream, 300, 2).await, [300]);
    assert_eq!(read_message(&mut stream).await, None);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_wait_are_few_dns_61_threat_6() {
    let (server, _, address) = start(zones(), by_network());
    // More than may wait, and a question behind them, all at once: each has its answer.
    let mut stream = connect(address, &Query::new("node.test", "AXFR")).await;
    for id in 1000..1100 {
        send(&mut stream, Query::new("node.test", "AXFR"), id).await;
    }
    send(&mut stream, Query::new("node.test", "SOA"), 1).await;
    let mut ids = BTreeSet::new();
    while ids.len() < 102 {
        ids.insert(id_of(&read_message(&mut stream).await.unwrap()));
    }
    assert!(ids.contains(&1) && (1000..1100).all(|id| ids.contains(&id)));
    counted(&server, TransferStats { axfr: 101, ..<_>::default() }).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_up_nobody_for_long_threat_6() {
    let limits =
        TransferLimits { at_a_time: 1, turn: PATIENCE, read: Duration::from_millis(300), ..TransferLimits::default() };
    let (server, _, address) = start(huge(1), TransferConfig { limits, ..by_network() });
    let _deaf = connect(address, &Query::new("huge.test", "AXFR")).await;
    let begin = Instant::now();
    // Its turn comes when the deaf one has lost its own.
    let mut next = connect(address, &Query::new("huge.test", "AXFR")).await;
    assert_eq!(records(&read_until(&mut next, 2).await).len(), 1000 + 4);
    assert!(begin.elapsed() < PATIENCE);
    counted(&server, TransferStats { axfr: 1, broken_off: 1, ..<_>::default() }).await;
    server.shutdown().await;

    // And who finds no turn in time is told by the end of the connection.
    let limits = TransferLimits { at_a_time: 1, turn: Duration::from_millis(50), ..TransferLimits::default() };
    let (server, _, address) = start(huge(1), TransferConfig { limits, ..by_network() });
    let mut deaf = connect(address, &Query::new("huge.test", "AXFR")).await;
    read_message(&mut deaf).await.unwrap();
    let mut next = connect(address, &Query::new("huge.test", "AXFR")).await;
    assert_eq!(read_message(&mut next).await, None);
    drop(deaf);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_message_holds_does_not_look_like_the_end() {
    let soa = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";
    for (octets, whole) in [(65_000, true), (65_520, false)] {
        let text = format!("{soa}long IN TYPE65280 \\# {octets} {}\n", "ab".repeat(octets));
        let zone = StaticZone::read(&name("a.test"), "a.test.zone", text.as_bytes(), &mut |_| Err(String::new()));
        let zones = Zones::new(tandem_zone::Settings::default(), vec![zone.unwrap()], Serial::new(1)).unwrap();
        let (server, _, address) = start(zones, by_network());
        let mut stream = connect(address, &Query::new("a.test", "AXFR")).await;
        let mut messages = Vec::new();
        if whole {
            messages = read_until(&mut stream, 2).await;
            assert_eq!(records(&messages).len(), 5, "a record longer than usual has a message of its own");
        } else {
            while let Some(message) = read_message(&mut stream).await {
                messages.push(message);
            }
            assert!(records(&messages).len() <= 3, "the connection ends, and no second SOA was there");
        }
        let (axfr, broken_off) = (whole.into(), (!whole).into());
        counted(&server, TransferStats { axfr, broken_off, ..<_>::default() }).await;
        server.shutdown().await;
    }
}

#[test]
fn a_transfer_is_seen_in_the_question() {
    for (kind, wanted) in [("AXFR", true), ("IXFR", true), ("SOA", false), ("ANY", false)] {
        assert_eq!(is_wanted(&Query::new("a.test", kind).0), wanted, "{kind}");
        assert!(!is_wanted(&Query::new("a.test", kind).opcode(4).0), "{kind}");
    }
    for len in 0..20 {
        assert!(!is_wanted(&Query::new("a.test", "AXFR").0[..len]));
    }
    assert_eq!((type_number("AXFR"), type_number("IXFR")), (AXFR, IXFR));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_opens_a_transfer_once_rfc_8945_5_2_3() {
    let (server, _, address) = start(zones(), with_key());
    let now = system_clock();
    let (query, session) = signed(Query::new("node.test", "AXFR"), key(), now);
    read_until(&mut connect(address, &query).await, 2).await;
    // Somebody sends what he saw.
    let answer = read_message(&mut connect(address, &query).await).await.unwrap();
    assert!(shown(&answer).starts_with("NOTAUTH"), "{}", shown(&answer));
    let record = tsig_of(&answer).expect("signed, so that the client believes it");
    assert!(!session.answered_by(&answer, &record, now), "the error is BADTIME");
    assert!(format!("{record:?}").contains("error: 18"), "{record:?}");
    // What was signed before it on another connection, or by another secondary whose clock is slow, is good.
    let (earlier, _) = signed(Query::new("node.test", "AXFR"), key(), now - 100);
    read_until(&mut connect(address, &earlier).await, 2).await;
    counted(&server, TransferStats { axfr: 2, bad_signatures: 1, ..<_>::default() }).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_and_rules_count_at_once_dns_74() {
    let (server, _, address) = start(huge(1), by_network());
    let mut under_way = connect(address, &Query::new("huge.test", "AXFR")).await;
    read_message(&mut under_way).await.unwrap();
    assert!(!server.replace_transfers(by_network()), "the same again");
    assert!(server.replace_transfers(with_key()));
    let refused = read_message(&mut connect(address, &Query::new("huge.test", "AXFR")).await).await.unwrap();
    assert_eq!(shown(&refused), "REFUSED", "the network alone is not enough now");
    let (query, _) = signed(Query::new("huge.test", "AXFR"), key(), system_clock());
    read_until(&mut connect(address, &query).await, 2).await;
    read_until(&mut under_way, 1).await;
    counted(&server, TransferStats { axfr: 2, refused: 1, ..<_>::default() }).await;
    server.shutdown().await;
}
