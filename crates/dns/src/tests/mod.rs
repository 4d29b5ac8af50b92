//! Tests of messages: what goes into [`respond`](crate::respond::respond), and what comes out. Data and helpers.

mod any_bytes;
mod cookie;
mod corpus;
mod encrypted;
mod limit;
mod lookup;
mod odd;
mod options;
mod redirect;
mod size;
mod sockets;
mod tsig;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, Node, NodeParts, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Live, Settings, Zones};

use crate::answer::{Reply, Transport};
use crate::client::{Client, Policy};
use crate::config::Config;
use crate::respond::{LEAST_BUFFER, respond};
use crate::transfer::{TransferConfig, Transfers, system_clock};
use crate::wire::MAX_MESSAGE;

pub(super) const UDP: Transport = Transport::Udp { limit: 1232 };

/// No keys, and transfers for nobody.
pub(super) static NO_TRANSFERS: LazyLock<Arc<Transfers>> = LazyLock::new(|| {
    let nothing = Zones::new(Settings::default(), Vec::new(), Serial::new(1)).unwrap();
    Transfers::new(TransferConfig::default(), Live::new(nothing), system_clock)
});

/// What a server does by default: no cookies, and it tells nothing about itself.
static PLAIN: LazyLock<Policy> = LazyLock::new(|| Policy::new(&Config::new(Vec::new())));

/// A client of a server with the default policy.
pub(super) fn client(transport: Transport) -> Client<'static> {
    PLAIN.client(transport, [198, 51, 100, 100].into(), 1_559_731_985)
}

/// Type numbers by name, for the tables.
pub(super) fn type_number(name: &str) -> u16 {
    match name {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        "NAPTR" => 35,
        "OPT" => 41,
        "DNAME" => 39,
        "DS" => 43,
        "DNSKEY" => 48,
        "TLSA" => 52,
        "NXNAME" => 128,
        "TKEY" => 249,
        "TSIG" => 250,
        "IXFR" => 251,
        "AXFR" => 252,
        "MAILB" => 253,
        "MAILA" => 254,
        "ANY" => 255,
        other => other.strip_prefix("TYPE").and_then(|number| number.parse().ok()).expect("a known type"),
    }
}

/// The zones of `data/*.zone`, with one node in `node.test`.
pub(super) fn zones() -> Zones {
    let big: String = std::iter::once("@ IN SOA ns.big.test. h.big.test. 1 3600 600 86400 60\n@ IN NS ns\n".to_owned())
        .chain(["ns A 192.0.2.53\nns AAAA 2001:db8::53\n".to_owned()])
        .chain(
            (0..40)
                .map(|n| format!("many NAPTR {n} 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.target-number-{n}.big.test.\n")),
        )
        .chain((0..3).map(|n| format!("tight NAPTR {n} 1 \"s\" \"{}\" \"\" eight.big.test.\n", "x".repeat(100))))
        .chain((0..9).map(|n| format!("c{n} CNAME c{}\n", n + 1)))
        .chain(
            (0..8)
                .map(|n| format!("eight SRV {n} 1 5061 srv-host-number-{n}\nsrv-host-number-{n} AAAA 2001:db8::{n}\n")),
        )
        .chain(
            (0..14).map(|n| {
                format!("sub NS name-server-number-{n}.sub\nname-server-number-{n}.sub AAAA 2001:db8:1::{n}\n")
            }),
        )
        .collect();
    let statics = [
        ("example", include_str!("data/rfc4592.zone")),
        ("node.test", include_str!("data/node.test.zone")),
        ("dname.test", include_str!("data/dname.test.zone")),
        ("low.test", "$TTL 60\n@ IN SOA ns.node.test. h.node.test. 1 3600 600 86400 300\n@ IN NS ns.node.test.\n"),
        ("big.test", &format!("$TTL 300\n{big}")),
    ]
    .map(|(apex, text)| {
        let apex = DomainName::parse(apex).unwrap();
        let file = format!("{apex}.zone");
        StaticZone::read(&apex, &file, text.as_bytes(), &mut |_| Err("no files here".to_owned())).unwrap()
    });
    let zones = Zones::new(Settings::default(), statics.to_vec(), Serial::new(7)).unwrap();
    let node = node();
    assert_eq!(zones.check(&node), []);
    zones.with(&[Change::Put(Box::new(node))], Serial::new(8))
}

fn target(host: &str, priority: u16, addresses: &[&str]) -> Target {
    Target {
        host: DomainName::parse(host).unwrap(),
        port: NonZeroU16::new(5061).unwrap(),
        priority,
        weight: 10,
        addresses: addresses.iter().map(|address| address.parse::<IpAddr>().unwrap()).collect(),
    }
}

/// `debug.node.test` at two hosts of its own, with a key.
fn node() -> Node {
    let targets = vec![
        target("sip1.debug.node.test", 10, &["192.0.2.11", "2001:db8::11"]),
        target("sip2.debug.node.test", 20, &["192.0.2.12", "2001:db8::12"]),
    ];
    let parts = NodeParts {
        domain: DomainName::parse("debug.node.test").unwrap(),
        targets,
        numbers: Vec::new(),
        ttl: None,
        keys: vec![KeyPin { holder: KeyHolder::Node, sha256: [0x5a; 32] }],
        sources: Vec::new(),
        contact: None,
        lease_seconds: None,
        probe: None,
    };
    Node::new(parts).unwrap()
}

/// A query being written, octet by octet: sound until something odd is added.
#[derive(Debug, Clone)]
pub(super) struct Query(pub(super) Vec<u8>);

impl Query {
    /// A header without anything, with RD; ID 0x4242.
    pub(super) fn header() -> Self {
        Self(vec![0x42, 0x42, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// A question of class IN.
    pub(super) fn new(name: &str, kind: &str) -> Self {
        Self::header().question(name, type_number(kind), 1)
    }

    pub(super) fn question(mut self, name: &str, kind: u16, class: u16) -> Self {
        self.0.extend(wire(name));
        self.0.extend(kind.to_be_bytes());
        self.0.extend(class.to_be_bytes());
        self.add(4)
    }

    pub(super) fn record(mut self, owner: &str, kind: u16, class: u16, ttl: u32, data: &[u8]) -> Self {
        self.0.extend(wire(owner));
        self.0.extend(kind.to_be_bytes());
        self.0.extend(class.to_be_bytes());
        self.0.extend(ttl.to_be_bytes());
        self.0.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        self.0.extend(data);
        self.add(10)
    }

    /// An OPT record with this size, version 0.
    pub(super) fn edns(self, size: u16) -> Self {
        self.record("", 41, size, 0, &[])
    }

    pub(super) fn opcode(mut self, opcode: u8) -> Self {
        self.0[2] |= opcode << 3;
        self
    }

    /// Counts one more in the header at `count`.
    pub(super) fn add(mut self, count: usize) -> Self {
        self.0[count + 1] += 1;
        self
    }

    /// The octets of the answer, if there is one.
    pub(super) fn ask(&self, zones: &Zones, transport: Transport) -> Option<Vec<u8>> {
        self.ask_as(zones, &client(transport)).map(|(answer, _)| answer)
    }

    /// The octets of the answer to this client, and what the server knows about it.
    pub(super) fn ask_as(&self, zones: &Zones, client: &Client<'_>) -> Option<(Vec<u8>, Reply)> {
        let is_udp = matches!(client.transport, Transport::Udp { .. });
        let mut buffer = vec![0xee; if is_udp { LEAST_BUFFER } else { MAX_MESSAGE }];
        buffer[..self.0.len()].copy_from_slice(&self.0);
        let reply = respond(zones, &NO_TRANSFERS, client, &mut buffer, self.0.len())?;
        buffer.truncate(reply.len);
        Some((buffer, reply))
    }

    /// The answer in words, see [`shown`].
    pub(super) fn shown(&self, zones: &Zones, transport: Transport) -> String {
        self.ask(zones, transport).map_or_else(|| "silence".to_owned(), |answer| shown(&answer))
    }
}

/// A name in wire form, case kept; empty for the root.
pub(super) fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// An answer in words, by an independent decoder: `NOERROR aa qd=1; answer owner TTL TYPE×count; …; opt`.
pub(super) fn shown(answer: &[u8]) -> String {
    let message = Message::from_vec(answer).expect("hickory-proto decodes what we send");
    let mut text = match message.response_code.high() << 4 | message.response_code.low() {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        6 => "YXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        9 => "NOTAUTH".to_owned(),
        16 => "BADVERS".to_owned(),
        other => format!("RCODE{other}"),
    };
    for (set, name) in
        [(message.authoritative, " aa"), (message.truncation, " tc"), (message.recursion_available, " ra")]
    {
        text += if set { name } else { "" };
    }
    if message.queries.len() != 1 {
        write!(text, " qd={}", message.queries.len()).unwrap();
    }
    for (section, records) in
        [("answer", &message.answers), ("authority", &message.authorities), ("additional", &message.additionals)]
    {
        for ((owner, ttl, kind), count) in rrsets(records) {
            write!(text, "; {section} {owner} {ttl} {kind}×{count}").unwrap();
        }
    }
    if let Some(edns) = &message.edns {
        write!(text, "; opt {}{}", edns.max_payload(), if edns.flags().dnssec_ok { " do" } else { "" }).unwrap();
        assert_eq!(edns.version(), 0);
    }
    text
}

fn rrsets(records: &[Record]) -> BTreeMap<(String, u32, String), usize> {
    let mut sets = BTreeMap::new();
    for record in records {
        *sets.entry((record.name.to_string(), record.ttl, record.record_type().to_string())).or_default() += 1;
    }
    sets
}
