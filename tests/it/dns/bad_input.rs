//! Bad input of every kind to the real program: the right answer or silence, no flood of lines, memory flat (issue B).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tandem_testkit::Service;

use super::connections::memory;
use super::encrypted::service;

/// Longest wait for an answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The secret of the key `good.test`, which may transfer everything.
const SECRET: [u8; 32] = [7; 32];

/// Its base64.
const SECRET_TEXT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// A service with that key.
fn service_with_key() -> (Service, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("good.secret");
    fs::write(&file, SECRET_TEXT).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (service, _settings) = service(&format!(
        "[[dns.tsig]]\nname = \"good.test\"\nsecret_file = \"{}\"\n\
         [[dns.transfer]]\nzone = \"*\"\nkeys = [\"good.test\"]\n",
        file.display()
    ));
    (service, secrets)
}

/// A name in wire form.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// A query for this type at `ostn.test`, with RD clear; its ID is 0x4242.
fn query(kind: u8) -> Vec<u8> {
    [&[0x42, 0x42, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &wire("ostn.test")[..], &[0, kind, 0, 1]].concat()
}

/// The types that are asked for here.
const SOA: u8 = 6;
const IXFR: u8 = 251;
const AXFR: u8 = 252;

/// The same with another octet at `index`.
fn with(mut message: Vec<u8>, index: usize, octet: u8) -> Vec<u8> {
    message[index] = octet;
    message
}

/// `message` signed with `secret` as key `name`, as if it were `late` seconds later than it is (RFC 8945 4.3).
fn signed(mut message: Vec<u8>, name: &str, secret: &[u8], late: i64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = &now.saturating_add_signed(late).to_be_bytes()[2..];
    let (key, algorithm, fudge) = (wire(name), wire("hmac-sha256"), [1, 44]);
    let variables = [&key[..], &[0, 255, 0, 0, 0, 0], &algorithm, time, &fudge, &[0, 0, 0, 0]].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(&message);
    mac.update(&variables);
    let mac = mac.finalize().into_bytes();
    let data = [&algorithm[..], time, &fudge, &[0, 32], &mac, &[0x42, 0x42, 0, 0, 0, 0]].concat();
    message[11] += 1;
    [&message[..], &key, &[0, 250, 0, 255, 0, 0, 0, 0, 0, data.len() as u8], &data].concat()
}

/// The SOA of serial 1 in the authority section, as IXFR has it (RFC 1995 3).
fn with_soa(query: Vec<u8>) -> Vec<u8> {
    let data = [&[0, 0][..], &[0, 0, 0, 1], &[0; 16]].concat();
    [&with(query, 9, 1)[..], &wire("ostn.test"), &[0, 6, 0, 1, 0, 0, 0, 0, 0, data.len() as u8], &data].concat()
}

/// What comes back, in words: the code of the header, that of a TSIG record behind it, whether there is any data.
fn shown(answer: &[u8]) -> String {
    assert!(answer.len() >= 12 && answer[..2] == [0x42, 0x42] && answer[2] & 0x80 != 0, "{answer:02x?}");
    let code = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"].get(usize::from(answer[3] & 15));
    let mut text = code.copied().unwrap_or(if answer[3] & 15 == 9 { "NOTAUTH" } else { "?" }).to_owned();
    if answer[6..8] != [0, 0] {
        text += " with data";
    }
    // RFC 8945 4.2: original ID, error, length of what follows.
    if let Some(at) = answer.windows(13).rposition(|part| part == wire("hmac-sha256")) {
        let mac = 13 + 8;
        let mac_len = usize::from(answer[at + mac + 1]);
        let error = answer[at + mac + 2 + mac_len + 3];
        text += match error {
            0 => " signed",
            16 => " BADSIG",
            17 => " BADKEY",
            18 => " BADTIME",
            _ => " ?",
        };
    }
    text
}

/// Sends `message` from a new socket, then a sound query; what comes before the answer to that is the answer.
fn by_udp(address: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(message).unwrap();
    // The same source goes to the same thread, so answers come in order.
    socket.send(&with(query(SOA), 0, 0x99)).unwrap();
    let mut buffer = [0; 4096];
    let mut answer = None;
    loop {
        let len = socket.recv(&mut buffer).expect("the server answers on");
        if buffer[0] == 0x99 {
            assert_eq!(buffer[3] & 15, 0, "a sound query is answered");
            return answer;
        }
        answer = Some(buffer[..len].to_vec());
    }
}

fn by_tcp(address: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let probe = with(query(SOA), 0, 0x99);
    let mut octets = Vec::new();
    for message in [message, &probe] {
        octets.extend((message.len() as u16).to_be_bytes());
        octets.extend(message);
    }
    stream.write_all(&octets).unwrap();
    let mut answer = None;
    loop {
        let mut len = [0; 2];
        // Closed instead of answered: RFC 7766 leaves that to the server; here it counts as silence.
        if stream.read_exact(&mut len).is_err() {
            return answer;
        }
        let mut buffer = vec![0; u16::from_be_bytes(len).into()];
        stream.read_exact(&mut buffer).unwrap();
        if buffer[0] == 0x99 {
            return answer;
        }
        answer = Some(buffer);
    }
}

#[test]
fn each_bad_message_has_its_answer_dns_1_2_41_73_74_75_77() {
    let (service, _secrets) = service_with_key();
    let lines = service.log().lines().count();
    let address = service.dns_addr();
    let padded = |len: usize| [query(SOA), vec![0; len]].concat();
    let bare = |rest: &[u8]| [&[0x42, 0x42, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], rest].concat();
    let good = |message: Vec<u8>| signed(message, "good.test", &SECRET, 0);
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a sound query", query(SOA), "NOERROR with data"),
        ("a sound signed query", good(query(SOA)), "NOERROR with data signed"),
        ("DNS-74: AXFR from a stranger", query(AXFR), "REFUSED"),
        ("DNS-74: IXFR from a stranger", with_soa(query(IXFR)), "REFUSED"),
        ("DNS-75: unknown key", signed(query(AXFR), "other.test", &SECRET, 0), "NOTAUTH BADKEY"),
        ("DNS-75: wrong MAC", signed(query(AXFR), "good.test", &[8; 32], 0), "NOTAUTH BADSIG"),
        ("DNS-75: too old", signed(query(AXFR), "good.test", &SECRET, -3600), "NOTAUTH BADTIME"),
        ("DNS-75: from the future", signed(query(AXFR), "good.test", &SECRET, 3600), "NOTAUTH BADTIME"),
        ("DNS-75: wrong MAC and time", signed(query(AXFR), "good.test", &[8; 32], 3600), "NOTAUTH BADSIG"),
        ("DNS-73: NOTIFY", with(query(SOA), 2, 4 << 3), "REFUSED"),
        ("DNS-73: NOTIFY with AA", with(query(SOA), 2, 4 << 3 | 4), "REFUSED"),
        ("DNS-73: NOTIFY, signed", good(with(query(SOA), 2, 4 << 3)), "REFUSED signed"),
        ("DNS-77: UPDATE", with(query(SOA), 2, 5 << 3), "REFUSED"),
        ("DNS-77: UPDATE, signed", good(with(query(SOA), 2, 5 << 3)), "REFUSED signed"),
        ("DNS-3: unknown opcode", with(query(SOA), 2, 15 << 3), "NOTIMP"),
        ("DNS-T47: QR is set", with(query(SOA), 2, 0x80), "silence"),
        ("DNS-T47: QR is set, with data", with(with(query(SOA), 2, 0x84), 7, 1), "silence"),
        ("DNS-1: nothing", vec![], "silence"),
        ("DNS-1: eleven octets", query(SOA)[..11].to_vec(), "silence"),
        ("a header only", query(SOA)[..12].to_vec(), "FORMERR"),
        ("cut in the name", query(SOA)[..17].to_vec(), "FORMERR"),
        ("cut before the class", query(SOA)[..query(SOA).len() - 2].to_vec(), "FORMERR"),
        ("a signature that is cut", good(query(SOA))[..90].to_vec(), "FORMERR"),
        ("octets behind the end", padded(1), "FORMERR"),
        ("oversized", padded(3000), "FORMERR"),
        ("as large as can be", padded(65_507 - query(SOA).len()), "FORMERR"),
        ("DNS-2: two questions", with([&query(SOA)[..], &query(SOA)[12..]].concat(), 5, 2), "FORMERR"),
        ("DNS-2: 65535 questions", with(with(query(SOA), 4, 255), 5, 255), "FORMERR"),
        ("65535 additional records", with(with(query(SOA), 10, 255), 11, 255), "FORMERR"),
        ("a name that points to itself", bare(&[0xc0, 12, 0, 6, 0, 1]), "FORMERR"),
        ("a name that points at its label", bare(&[1, b'a', 0xc0, 12, 0, 6, 0, 1]), "FORMERR"),
        ("two names that point at each other", bare(&[0xc0, 14, 0xc0, 12, 0, 6, 0, 1]), "FORMERR"),
        ("a name that points behind the end", bare(&[0xff, 0xff, 0, 6, 0, 1]), "FORMERR"),
        (
            "DNS-41: two OPT records",
            {
                let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
                with([&query(SOA)[..], &opt, &opt].concat(), 11, 2)
            },
            "FORMERR",
        ),
    ];
    for (what, message, expected) in rows {
        for (transport, answer) in [("UDP", by_udp(address, &message)), ("TCP", by_tcp(address, &message))] {
            let text = answer.as_deref().map_or_else(|| "silence".to_owned(), shown);
            assert_eq!(text, expected, "{what}, {transport}: {:02x?}", &message[..message.len().min(200)]);
            let len = answer.map_or(0, |answer| answer.len());
            // Signed ones go to holders of the key only.
            let is_owed =
                expected.starts_with("NOERROR") || expected.ends_with("BADTIME") || expected.ends_with(" signed");
            assert!(is_owed || transport == "TCP" || len <= message.len(), "threat 2: {what}: {len} octets");
        }
    }
    let log = service.log();
    assert_eq!(log.lines().count(), lines, "no line for any of them: {log}");
}

/// Datagrams of the test below.
const DATAGRAMS: usize = 1_000_000;

/// Datagrams sent before a sound query, whose answer says that the server has seen them all. Less than its queue holds.
const WINDOW: usize = 250;

/// Datagrams after which memory counts as that of a server in use.
const WARM: usize = 50_000;

/// Octets that the memory of the service may differ by afterwards: that of a page table, or a thread's first use of the heap.
const FLAT: usize = 2 << 20;

/// xorshift64*, seeded: a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A message with this ID: at random all through, or behind a header that might be a query's.
    fn message(&mut self, id: u16, buffer: &mut [u8; 512]) -> usize {
        for octets in buffer.chunks_exact_mut(8) {
            octets.copy_from_slice(&self.roll().to_be_bytes());
        }
        let choice = self.roll();
        buffer[..2].copy_from_slice(&id.to_be_bytes());
        if choice & 1 == 0 {
            buffer[2] &= 0x07;
            buffer[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, (choice >> 1) as u8 & 1]);
            buffer[12] &= 0x1f;
        }
        (choice >> 8) as usize % (buffer.len() + 1)
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figure is worth seeing")]
fn a_million_random_datagrams_dns_t60() {
    let (service, _secrets) = service_with_key();
    let lines = service.log().lines().count();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(service.dns_addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut dice = Dice(0x7a6e_0b3d);
    let (mut out, mut back) = ([0; 512], [0; 4096]);
    let (mut answers, mut before) = (0, 0);
    for start in (0..DATAGRAMS).step_by(WINDOW) {
        let mut lengths = [0; WINDOW];
        for (id, length) in lengths.iter_mut().enumerate() {
            *length = dice.message(id as u16, &mut out);
            socket.send(&out[..*length]).unwrap();
        }
        let probe = [&[0xff, 0xff][..], &query(SOA)[2..]].concat();
        socket.send(&probe).unwrap();
        loop {
            let len = socket.recv(&mut back).expect("the server answers on");
            if back[..2] == [0xff, 0xff] {
                assert_eq!(back[3] & 15, 0, "a sound query is answered");
                break;
            }
            answers += 1;
            let sent = lengths[usize::from(u16::from_be_bytes([back[0], back[1]]))];
            assert!(len >= 12 && back[2] & 0x80 != 0, "{:02x?}", &back[..len]);
            let is_sound = matches!(back[3] & 15, 0 | 3);
            assert!(is_sound || len <= sent, "threat 2: {len} octets for {sent}: {:02x?}", &back[..len]);
        }
        if start == WARM {
            before = memory(&service);
        }
    }
    let after = memory(&service);
    eprintln!(
        "{DATAGRAMS} random datagrams: {answers} answers, memory {} KiB, then {} KiB",
        before / 1024,
        after / 1024
    );
    // Those with QR=0 and a whole header: three in four of the long ones, all with a better header.
    assert!(answers > DATAGRAMS / 2, "{answers} answers");
    assert!(after <= before + FLAT, "memory grew from {before} to {after}");
    let log = service.log();
    assert_eq!(log.lines().count(), lines, "no line for any of them: {log}");
}
