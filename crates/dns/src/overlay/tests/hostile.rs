//! Upstreams, and others in their name, that send what they should not: nothing of it reaches a client.

use std::sync::Mutex;
use std::thread;

use super::super::Stats;
use super::*;
use crate::tests::shown;

/// Waits until the counters are as expected: they move after the answer is out.
pub(super) async fn settled(overlay: &Overlay, are_right: impl Fn(&Stats) -> bool) -> Stats {
    let waited = timeout(PATIENCE, async {
        loop {
            let stats = overlay.stats();
            if are_right(&stats) {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", overlay.stats()))
}

/// What a scripted upstream has seen: each question's ID and port.
type Seen = Arc<Mutex<Vec<(u16, u16)>>>;

/// An upstream that sends what `script` makes of each UDP query, in order. Ends with the test's process.
fn scripted(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Seen) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            notes.lock().unwrap().push((u16::from_be_bytes([buffer[0], buffer[1]]), from.port()));
            for message in script(&buffer[..len]) {
                let _ = socket.send_to(&message, from);
            }
        }
    });
    (address, seen)
}

/// The right answer: one A record.
fn good(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] |= 0x80;
    answer[7] = 1;
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
    answer
}

fn changed(query: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut answer = good(query);
    // An address that nobody must see.
    let end = answer.len();
    answer[end - 4..].copy_from_slice(&[203, 0, 113, 66]);
    change(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_answer_counts_dns_123() {
    let script = |query: &[u8]| {
        vec![
            changed(query, |answer| answer[0] ^= 1),
            changed(query, |answer| answer[1] ^= 0x80),
            // Another name, type or class; no question; two.
            changed(query, |answer| answer[13] ^= 1),
            changed(query, |answer| answer[32] = 28),
            changed(query, |answer| answer[34] = 3),
            changed(query, |answer| answer[5] = 0),
            changed(query, |answer| answer[5] = 2),
            // A query, another opcode.
            changed(query, |answer| answer[2] &= 0x7f),
            changed(query, |answer| answer[2] |= 0x10),
            // Cut off, or with records that are not there.
            changed(query, |answer| answer.truncate(40)),
            changed(query, |answer| answer[7] = 9),
            changed(query, |answer| answer.truncate(11)),
            vec![],
            vec![0xff; 700],
            good(query),
            changed(query, |_| {}),
        ]
    };
    let (upstream, seen) = scripted(script);
    let (overlay, _, address) = start(settings(&[upstream]), members());
    let query = Query::new("www.elsewhere.net", "A");
    assert_eq!((query.0[13], query.0[32], query.0[34]), (b'w', 1, 1), "the offsets above");
    for _ in 0..5 {
        let answer = udp(address, &query).await;
        assert_eq!(answer, good(&query.0), "{}", shown(&answer));
    }
    let stats = settled(&overlay, |stats| stats.forwarded == 5).await;
    assert_eq!((stats.foreign, stats.retried, stats.failed), (70, 0, 0));
    // RFC 5452 9.2: neither the ID nor the port can be told from the last.
    let seen = seen.lock().unwrap().clone();
    let distinct = |part: fn(&(u16, u16)) -> u16| {
        let mut all: Vec<u16> = seen.iter().map(part).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    assert!(distinct(|seen| seen.0) >= 4 && distinct(|seen| seen.1) >= 4, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.0 != 0x4242) || distinct(|seen| seen.0) == 5, "not the client's: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_heard_dns_123() {
    // Answers come from another port than the one that was asked, and late ones to a port that is gone.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = socket.local_addr().unwrap();
    let queries = Arc::clone(&own);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut first = None;
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let query = buffer[..len].to_vec();
            let _ = stranger.send_to(&changed(&query, |_| {}), from);
            queries.lock().unwrap().push(query.clone());
            match first.take() {
                // The first try gets nothing; its late answer comes with the second's.
                None => first = Some((query, from)),
                Some((late, to)) => {
                    let _ = socket.send_to(&changed(&late, |_| {}), to);
                    let _ = socket.send_to(&changed(&late, |_| {}), from);
                    let _ = socket.send_to(&good(&query), from);
                }
            }
        }
    });
    let settings = Settings { timeout: Duration::from_secs(6), ..settings(&[upstream]) };
    let (overlay, _, address) = start(settings, members());
    let query = Query::new("www.elsewhere.net", "A");
    let answer = udp(address, &query).await;
    assert_eq!(answer, good(&query.0), "{}", shown(&answer));
    let stats = settled(&overlay, |stats| stats.forwarded == 1).await;
    assert_eq!((stats.retried, stats.failed), (1, 0));
    assert_eq!(own.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forgeries_ends_the_matter_over_tcp_dns_123() {
    let (server, public) = public();
    // UDP of this upstream is under attack; TCP at the same port is the real server's.
    let tcp_only = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = tcp_only.local_addr().unwrap();
    let socket = UdpSocket::bind(upstream).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            for guess in 0..64_u8 {
                let forged = changed(&buffer[..len], |answer| answer[1] = answer[1].wrapping_add(guess | 1));
                let _ = socket.send_to(&forged, from);
            }
        }
    });
    thread::spawn(move || {
        use std::io::{Read, Write};
        for mut client in tcp_only.incoming().flatten() {
            let mut real = std::net::TcpStream::connect(public).unwrap();
            let mut len = [0; 2];
            for (from, to) in [(true, false), (false, true)] {
                let (source, sink) = if from { (&mut client, &mut real) } else { (&mut real, &mut client) };
                assert_ne!(from, to);
                source.read_exact(&mut len).unwrap();
                let mut message = vec![0; u16::from_be_bytes(len).into()];
                source.read_exact(&mut message).unwrap();
                sink.write_all(&[&len[..], &message].concat()).unwrap();
            }
        }
    });
    let (overlay, _, address) = start(settings(&[upstream]), members());
    for query in [Query::new("www.member.test", "A"), Query::new("big.member.test", "TXT").edns(1232)] {
        let (direct, through) = (shown(&udp(public, &query).await), shown(&udp(address, &query).await));
        // What the other way lets through in full is cut to what the client takes.
        assert_eq!(through.contains(" tc"), direct.contains(" tc"), "{direct} / {through}");
        assert!(direct.contains(" tc") || direct == through, "{direct} / {through}");
    }
    let stats = settled(&overlay, |stats| stats.forwarded == 2).await;
    assert!(stats.foreign >= 32, "{stats:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_than_the_client_takes_dns_123_dns_127() {
    let script = |query: &[u8]| {
        let mut long = good(query);
        long[7] = 50;
        for _ in 1..50 {
            long.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
        }
        vec![long]
    };
    let (upstream, _) = scripted(script);
    let (_overlay, _, address) = start(settings(&[upstream]), members());
    let text = shown(&udp(address, &Query::new("www.elsewhere.net", "A")).await);
    assert_eq!(text, "NOERROR tc ra", "the client asks again over TCP");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_octets_leave_it_standing_dns_123() {
    // Both sides: clients and upstreams that send noise, made from sound messages.
    let script = |query: &[u8]| (0..8).map(|round| noise(&good(query), round)).collect();
    let (upstream, _) = scripted(script);
    let settings = Settings { timeout: Duration::from_millis(200), ..settings(&[upstream]) };
    let (overlay, _, address) = start(settings, members());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..2000 {
        let query = match round % 3 {
            0 => Query::new("_sips._tcp.member.test", "SRV").edns(1232),
            1 => Query::new("1.5.5.5.1.e164.arpa", "NAPTR"),
            _ => Query::new("www.elsewhere.net", "A").edns(4096),
        };
        socket.send_to(&noise(&query.0, round), address).unwrap();
    }
    let text = shown(&udp(address, &Query::new("member.test", "NAPTR")).await);
    assert!(text.contains("NAPTR×1"), "{text}");
    overlay.shutdown().await;
}

/// Changes a few octets, always the same ones for the same `round`.
fn noise(message: &[u8], round: u64) -> Vec<u8> {
    let mut state = (0x0ae7_1a40 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut roll = |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    let mut octets = message.to_vec();
    for _ in 0..=roll(4) {
        match roll(4) {
            0 => octets.truncate(roll(octets.len() + 1)),
            1 => octets.extend([0xc0; 3]),
            _ if octets.is_empty() => {}
            _ => {
                let at = roll(octets.len());
                octets[at] = u8::try_from(roll(256)).unwrap();
            }
        }
    }
    octets
}
