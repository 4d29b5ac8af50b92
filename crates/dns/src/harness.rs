//! What the fuzzers call (fuzz/README.md), and what a test calls with their seeds: any octets in, what must hold checked.
//!
//! Built for tests and with the feature `fuzzing` only.

use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use tandem_model::{DomainName, Serial};
use tandem_zone::master::StaticZone;
use tandem_zone::{Live, Settings, Zones};

use crate::answer::Transport;
use crate::client::Policy;
use crate::config::Config;
use crate::full;
use crate::request::Request;
use crate::respond::{LEAST_BUFFER, respond};
use crate::transfer::{TransferConfig, Transfers};
use crate::tsig::{TsigAlgorithm, TsigKey};
use crate::wire::MAX_MESSAGE;

/// Our limit for UDP answers.
const LIMIT: u16 = 1232;

/// A time that stands still, so that a finding repeats.
const NOW: u32 = 1_700_000_000;

/// The name of the one key, in wire form.
const KEY: &[u8] = b"\x03key\x04test\x00";

/// A query for `debug.node.test` NAPTR without the last two octets of its header, which count its additional records.
const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00";

/// Its question.
const QUESTION: &[u8] = b"\x05debug\x04node\x04test\x00\x00\x23\x00\x01";

struct Server {
    zones: Zones,
    transfers: Arc<Transfers>,
    policy: Policy,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let files = [
        ("example", include_str!("tests/data/rfc4592.zone")),
        ("node.test", include_str!("tests/data/node.test.zone")),
        ("dname.test", include_str!("tests/data/dname.test.zone")),
    ];
    let statics = files.map(|(apex, text)| {
        let apex: DomainName = apex.parse().expect("a name");
        let none = &mut |_: &str| Err("no files here".to_owned());
        StaticZone::read(&apex, "z", text.as_bytes(), none).expect("the tests read these zones, too")
    });
    let zones = Zones::new(Settings::default(), statics.to_vec(), Serial::new(7)).expect("three zones");
    let name = "key.test".parse().expect("a name");
    let key = TsigKey::new(name, TsigAlgorithm::HmacSha256, &[7; 32]).expect("long enough");
    let config = TransferConfig { keys: vec![key], ..TransferConfig::default() };
    let transfers = Transfers::new(config, Live::new(zones.clone()), || u64::from(NOW));
    Server { zones, transfers, policy: Policy::new(&Config::new(Vec::new())) }
});

/// Any message, over UDP and TCP and through both paths.
///
/// # Panics
///
/// When the answer breaks a rule: that is a finding.
pub fn message(octets: &[u8]) {
    let octets = &octets[..octets.len().min(LEAST_BUFFER)];
    let server = &*SERVER;
    for transport in [Transport::Udp { limit: LIMIT }, Transport::Tcp] {
        let client = server.policy.client(transport, [192, 0, 2, 1].into(), NOW);
        let mut buffer = vec![0xee; if transport == Transport::Tcp { MAX_MESSAGE } else { LEAST_BUFFER }];
        buffer[..octets.len()].copy_from_slice(octets);
        let Some(reply) = respond(&server.zones, &server.transfers, &client, &mut buffer, octets.len()) else {
            assert!(octets.len() < 12 || octets[2] & 0x80 != 0, "DNS-1: only these get no answer");
            continue;
        };
        let answer = &buffer[..reply.len];
        assert!(answer[..2] == octets[..2] && answer[2] & 0x80 != 0, "DNS-4: our answer to this query");
        assert!(transport == Transport::Tcp || reply.len <= usize::from(LIMIT), "DNS-44: {} octets", reply.len);
        if let Err(error) = Message::from_vec(answer) {
            panic!("our answer is malformed: {error}");
        }
        if Request::parse(octets).is_some() {
            let mut other = vec![0; MAX_MESSAGE];
            other[..octets.len()].copy_from_slice(octets);
            let reply = full::respond(&server.zones, &server.transfers, &client, &mut other, octets.len());
            assert_eq!(answer, &other[..reply.len], "both paths give the same octets");
        }
    }
}

/// Any octets as the options of an OPT record in a sound query (RFC 6891 6.1.2).
///
/// # Panics
///
/// As [`message`].
pub fn options(octets: &[u8]) {
    message(&with_options(octets));
}

/// Any octets as the data of a TSIG record behind a sound query, of a key that we have (RFC 8945 4.2).
///
/// # Panics
///
/// As [`message`].
pub fn tsig(octets: &[u8]) {
    message(&with_tsig(octets));
}

/// What [`options`] sends.
pub(crate) fn with_options(octets: &[u8]) -> Vec<u8> {
    with_record(&[0], 41, [0x04, 0xd0, 0, 0, 0, 0], octets)
}

/// What [`tsig`] sends.
pub(crate) fn with_tsig(octets: &[u8]) -> Vec<u8> {
    with_record(KEY, 250, [0, 255, 0, 0, 0, 0], octets)
}

/// The query with one additional record.
fn with_record(owner: &[u8], kind: u16, class_and_ttl: [u8; 6], data: &[u8]) -> Vec<u8> {
    let data = &data[..data.len().min(LEAST_BUFFER / 2)];
    let len = u16::try_from(data.len()).unwrap_or_default().to_be_bytes();
    [QUERY, &[0, 1], QUESTION, owner, &kind.to_be_bytes(), &class_and_ttl, &len, data].concat()
}
