//! Signed messages (RFC 8945; DNS-75, DNS-76, DNS-46): every way in which a signature can be wrong, and what answers it.
//!
//! The MACs are computed here a second time, straight from the digest that RFC 8945 4.3 writes down.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tandem_model::DomainName;
use tandem_zone::Live;

use super::{Query, UDP, client, shown, wire, zones};
use crate::answer::Transport;
use crate::full::tsig_of;
use crate::respond::{LEAST_BUFFER, respond};
use crate::transfer::{TransferConfig, Transfers};
use crate::tsig::{FUDGE, TsigAlgorithm, TsigKey};
use crate::wire::u16_at;

const SECRET: [u8; 32] = [7; 32];

/// What the server's clock says.
const NOW: u64 = 1_700_000_000;

fn server() -> Arc<Transfers> {
    let key = |name: &str, algorithm| TsigKey::new(DomainName::parse(name).unwrap(), algorithm, &SECRET).unwrap();
    let keys = vec![key("k.test", TsigAlgorithm::HmacSha256), key("old.test", TsigAlgorithm::HmacSha1)];
    Transfers::new(TransferConfig { keys, ..TransferConfig::default() }, Live::new(zones()), || NOW)
}

/// A TSIG record being made: right until something in it is changed.
#[derive(Clone)]
struct Tsig {
    key: &'static str,
    algorithm: &'static str,
    time: u64,
    mac_len: usize,
    secret: [u8; 32],
    error: u16,
    other: Vec<u8>,
}

impl Default for Tsig {
    fn default() -> Self {
        let (key, algorithm) = ("k.test", "hmac-sha256");
        Self { key, algorithm, time: NOW, mac_len: 32, secret: SECRET, error: 0, other: Vec::new() }
    }
}

impl Tsig {
    /// What stands in a digest behind the message (RFC 8945 4.3.3).
    fn variables(&self, fudge: u16) -> Vec<u8> {
        [
            &wire(&self.key.to_lowercase())[..],
            &[0, 255, 0, 0, 0, 0],
            &wire(self.algorithm),
            &self.time.to_be_bytes()[2..],
            &fudge.to_be_bytes(),
            &self.error.to_be_bytes(),
            &u16::try_from(self.other.len()).unwrap().to_be_bytes(),
            &self.other,
        ]
        .concat()
    }

    fn mac(&self, before: &[u8], message: &[u8], fudge: u16) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).unwrap();
        mac.update(before);
        mac.update(message);
        mac.update(&self.variables(fudge));
        mac.finalize().into_bytes().to_vec()
    }

    /// The query with this record; the MAC is cut, or filled up, to its length.
    fn sign(&self, query: Query) -> Query {
        let mut mac = self.mac(&[], &query.0, 300);
        mac.resize(self.mac_len, 0);
        let id = u16_at(&query.0, 0).unwrap();
        query.record(self.key, 250, 255, 0, &self.data(&mac, id))
    }

    fn data(&self, mac: &[u8], id: u16) -> Vec<u8> {
        [
            &wire(self.algorithm)[..],
            &self.time.to_be_bytes()[2..],
            &300_u16.to_be_bytes(),
            &u16::try_from(mac.len()).unwrap().to_be_bytes(),
            mac,
            &id.to_be_bytes(),
            &self.error.to_be_bytes(),
            &u16::try_from(self.other.len()).unwrap().to_be_bytes(),
            &self.other,
        ]
        .concat()
    }
}

fn ask(query: &Query, transport: Transport) -> Vec<u8> {
    let mut buffer = vec![0; LEAST_BUFFER];
    buffer[..query.0.len()].copy_from_slice(&query.0);
    let reply = respond(&zones(), &server(), &client(transport), &mut buffer, query.0.len()).unwrap();
    buffer.truncate(reply.len);
    buffer
}

/// The TSIG record at the end of an answer, and whether its MAC is right for that request; `None` if there is none.
fn answered(answer: &[u8], key: &'static str, request_mac: &[u8]) -> Option<(u16, Vec<u8>, bool)> {
    let owner = wire(key);
    let start = answer
        .windows(owner.len() + 4)
        .rposition(|part| part[..owner.len()] == owner && part[owner.len()..] == [0, 250, 0, 255])?;
    let algorithm = wire("hmac-sha256");
    let data = &answer[start + owner.len() + 10 + algorithm.len()..];
    let mut time = [0; 8];
    time[2..].copy_from_slice(&data[..6]);
    let mac_len = usize::from(u16_at(data, 8)?);
    let (mac, rest) = (&data[10..10 + mac_len], &data[10 + mac_len..]);
    assert_eq!(u16_at(rest, 0), u16_at(answer, 0), "the original ID is the answer's own");
    let (error, other) = (u16_at(rest, 2)?, rest[6..].to_vec());
    let tsig = Tsig { key, time: u64::from_be_bytes(time), error, other: other.clone(), ..Tsig::default() };
    let mut message = answer[..start].to_vec();
    message[11] -= 1;
    let before = [&u16::try_from(request_mac.len()).unwrap().to_be_bytes()[..], request_mac].concat();
    Some((error, other, mac == tsig.mac(&before, &message, u16_at(data, 6)?)))
}

#[test]
fn each_fault_has_its_answer_dns_75_t56() {
    let good = Tsig::default();
    let hour_ago = Tsig { time: NOW - 3600, ..good.clone() };
    let now = NOW.to_be_bytes()[2..].to_vec();
    // RFC 8945 5.2: key, MAC, time, truncation, in that order. The rcode, the error, whether it is signed, other data.
    for (id, tsig, rcode, expected) in [
        ("good", good.clone(), 0, Some((0, vec![], true))),
        ("case of the key's name", Tsig { key: "K.TesT", ..good.clone() }, 0, Some((0, vec![], true))),
        ("a little late", Tsig { time: NOW - 300, ..good.clone() }, 0, Some((0, vec![], true))),
        ("unknown key", Tsig { key: "other.test", ..good.clone() }, 9, Some((17, vec![], false))),
        ("an algorithm that the key has not", Tsig { key: "old.test", ..good.clone() }, 9, Some((17, vec![], false))),
        ("wrong MAC", Tsig { secret: [8; 32], ..good.clone() }, 9, Some((16, vec![], false))),
        ("wrong MAC, long ago", Tsig { secret: [8; 32], ..hour_ago.clone() }, 9, Some((16, vec![], false))),
        ("an hour ago", hour_ago.clone(), 9, Some((18, now.clone(), true))),
        ("in an hour", Tsig { time: NOW + 3600, ..good.clone() }, 9, Some((18, now.clone(), true))),
        ("truncated", Tsig { mac_len: 16, ..good.clone() }, 9, Some((22, vec![], true))),
        ("truncated, an hour ago", Tsig { mac_len: 16, ..hour_ago }, 9, Some((18, now, true))),
        ("truncated, wrong", Tsig { mac_len: 16, secret: [8; 32], ..good.clone() }, 9, Some((16, vec![], false))),
        ("truncated too much", Tsig { mac_len: 15, ..good.clone() }, 1, None),
        ("no MAC", Tsig { mac_len: 0, ..good.clone() }, 1, None),
        ("too long", Tsig { mac_len: 33, ..good.clone() }, 1, None),
    ] {
        let question = Query::new("node.test", "SOA");
        let query = tsig.sign(question.clone());
        let mac = tsig.mac(&[], &question.0, 300)[..tsig.mac_len.min(32)].to_vec();
        for transport in [UDP, Transport::Tcp] {
            let answer = ask(&query, transport);
            assert_eq!(answer[3] & 0x0f, rcode, "{id}: {}", shown(&answer));
            let key = if tsig.key == "K.TesT" { "k.test" } else { tsig.key };
            assert_eq!(answered(&answer, key, &mac), expected, "{id}: {}", shown(&answer));
            assert_eq!(answer[7] > 0, rcode == 0, "{id}: nothing is told to who is not known");
        }
    }
}

#[test]
fn what_is_covered_dns_75() {
    // One bit anywhere in the message, and the signature is wrong: threat 7.
    let good = Tsig::default().sign(Query::new("node.test", "SOA").edns(1232));
    for at in 2..good.0.len() {
        let mut other = good.clone();
        other.0[at] ^= 1;
        let mut buffer = vec![0; LEAST_BUFFER];
        buffer[..other.0.len()].copy_from_slice(&other.0);
        let reply = respond(&zones(), &server(), &client(UDP), &mut buffer, other.0.len());
        let Some(reply) = reply else { continue };
        // What no longer looks like a signature makes an unsigned question, whose answer is unsigned.
        let (answer, is_error) = (&buffer[..reply.len], buffer[3] & 0x0f != 0);
        assert!(is_error || tsig_of(answer).is_none(), "octet {at}: {}", shown(answer));
    }
    // The ID is not: forwarders change it, and the record says the original.
    let mut forwarded = good;
    forwarded.0[0] ^= 0xff;
    assert!(shown(&ask(&forwarded, UDP)).starts_with("NOERROR aa; answer"));
}

#[test]
fn in_its_place_dns_75() {
    let tsig = Tsig::default();
    let twice = tsig.sign(tsig.sign(Query::new("node.test", "SOA")));
    assert_eq!(shown(&ask(&twice, UDP)), "FORMERR");
    let not_last = tsig.sign(Query::new("node.test", "SOA")).edns(1232);
    assert!(shown(&ask(&not_last, UDP)).starts_with("FORMERR"));
    let with_ttl = Query::new("node.test", "SOA").record("k.test", 250, 255, 1, &tsig.data(&[0; 32], 0));
    assert_eq!(shown(&ask(&with_ttl, UDP)), "FORMERR");
    let cut_off = Query::new("node.test", "SOA").record("k.test", 250, 255, 0, &tsig.data(&[0; 32], 0)[..50]);
    assert_eq!(shown(&ask(&cut_off, UDP)), "FORMERR");
}

#[test]
fn other_answers_are_signed_too_rfc_8945_5_3() {
    for (what, query, expected) in [
        ("refused", Query::new("nowhere.test", "SOA"), "REFUSED"),
        ("update", Query::new("node.test", "SOA").opcode(5), "REFUSED"),
        ("notify", Query::new("node.test", "SOA").opcode(4), "REFUSED"),
        ("no such name", Query::new("nope.node.test", "A"), "NXDOMAIN"),
        ("version", Query::new("node.test", "SOA").record("", 41, 1232, 0x0001_0000, &[]), "BADVERS"),
    ] {
        let mac = Tsig::default().mac(&[], &query.0, 300);
        let answer = ask(&Tsig::default().sign(query), UDP);
        assert!(shown(&answer).starts_with(expected), "{what}: {}", shown(&answer));
        assert_eq!(answered(&answer, "k.test", &mac), Some((0, vec![], true)), "{what}");
    }
}

#[test]
fn a_signature_that_does_not_fit_dns_46() {
    let question = Query::new("eight.big.test", "SRV");
    let unsigned = ask(&question, UDP);
    assert!(unsigned.len() <= 512 && unsigned.len() + 80 > 512, "{} octets", unsigned.len());
    let mac = Tsig::default().mac(&[], &question.0, 300);
    let answer = ask(&Tsig::default().sign(question), UDP);
    assert_eq!(shown(&answer).split(';').next().unwrap(), "NOERROR tc");
    assert_eq!(answer[6..12], [0, 0, 0, 0, 0, 1], "question and TSIG");
    assert_eq!(answered(&answer, "k.test", &mac), Some((0, vec![], true)));
}

#[test]
fn keys_and_algorithms_dns_76() {
    let names: Vec<&str> = TsigAlgorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    assert_eq!(names, ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"]);
    assert_eq!(TsigAlgorithm::from_name("hmac-md5.sig-alg.reg.int"), None);
    assert_eq!(FUDGE, 300, "RFC 8945 10");
    let name = DomainName::parse("k").unwrap();
    assert!(TsigKey::new(name.clone(), TsigAlgorithm::HmacSha256, &[1; 15]).is_none());
    let key = TsigKey::new(name, TsigAlgorithm::HmacSha512, b"a secret that is long enough").unwrap();
    assert_eq!(format!("{key:?}"), "TsigKey(k, hmac-sha512)");
}
