//! Overlays over real sockets, in front of our own server and of upstreams that mean no good.

mod forward;
mod hostile;
mod member;

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberBlock, NumberClaim, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Live, Suffixes, Zones};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LiveMembers, Members, Overlay, Settings};
use crate::tests::Query;
use crate::{Config, DnsServer};

/// Longer than anything here takes on a busy machine; a test that waits so long fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the public DNS has: old records of the member, and much else at its domain.
const PUBLIC: &str = "$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\n@ MX 10 mail\n@ A 198.51.100.80\n\
    @ NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp\n_sip._udp SRV 0 0 5060 old\n_sips._tcp SRV 0 0 5061 old\n\
    old A 198.51.100.1\nwww A 198.51.100.80\nsip1 A 198.51.100.2\nsip2 AAAA 2001:db8:dead::2\nbig TXT BIG\nns A 198.51.100.53\n";

pub(super) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// A public name server with `member.test`, `other.test` and an ENUM zone.
pub(super) fn public() -> (DnsServer, SocketAddr) {
    let big: String = (0..12).map(|n| format!("\"{n:0>200}\" ")).collect();
    let zone = |apex: &str, text: &str| {
        StaticZone::read(&name(apex), apex, text.as_bytes(), &mut |_| Err(String::new())).unwrap()
    };
    let head = "$TTL 300\n@ SOA ns.member.test. h 1 3600 600 86400 60\n@ NS ns.member.test.\n";
    let statics = vec![
        zone("member.test", &PUBLIC.replace("BIG", &big)),
        zone("other.test", &format!("{head}_sips._tcp SRV 0 0 5061 sip\nsip A 198.51.100.9\n")),
        zone("e164.dir.test", &format!("{head}*.4.4 NAPTR 1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y!\" .\n")),
    ];
    let zones = Zones::new(tandem_zone::Settings::default(), statics, Serial::new(1)).unwrap();
    let server = DnsServer::start(&Config::new(vec!["127.0.0.1:0".parse().unwrap()]), &Live::new(zones)).unwrap();
    let address = server.local_addrs()[0];
    (server, address)
}

/// `domain` at two hosts of its own and a foreign one, with a key, a number and a block.
pub(super) fn node(domain: &str, number: &str) -> Node {
    let target = |host: String, priority, addresses: &[&str]| Target {
        host: name(&host),
        port: NonZeroU16::new(5061).unwrap(),
        priority,
        weight: 10,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let mut parts = NodeParts::new(
        name(domain),
        vec![
            target(format!("sip1.{domain}"), 10, &["192.0.2.11", "2001:db8::11"]),
            target(format!("sip2.{domain}"), 20, &["192.0.2.12"]),
            target("sip.other.test".to_owned(), 30, &[]),
        ],
    );
    parts.ttl = Some(77);
    parts.keys = vec![KeyPin { holder: KeyHolder::Node, sha256: [0x5a; 32] }];
    parts.numbers = vec![
        NumberClaim::Number { number: E164Number::parse(number).unwrap(), uri: None },
        NumberClaim::Block(NumberBlock::parse(&format!("{number}9")).unwrap()),
    ];
    Node::new(parts).unwrap()
}

pub(super) fn with_nodes(nodes: &[Node]) -> Arc<Zones> {
    let changes: Vec<Change> = nodes.iter().map(|node| Change::Put(Box::new(node.clone()))).collect();
    Arc::new(Members::none().nodes.with(&changes, Serial::new(2)))
}

/// `member.test` is a member.
pub(super) fn members() -> Members {
    Members { nodes: with_nodes(&[node("member.test", "+15551")]), ..Members::none() }
}

pub(super) fn suffixes() -> Suffixes {
    Suffixes { peers: Some(name("peers.dir.test")), numbers: vec![name("e164.arpa"), name("e164.dir.test")] }
}

pub(super) fn settings(upstreams: &[SocketAddr]) -> Settings {
    Settings {
        upstreams: upstreams.to_vec(),
        suffixes: suffixes(),
        ..Settings::new(vec!["127.0.0.1:0".parse().unwrap()])
    }
}

pub(super) fn start(settings: Settings, members: Members) -> (Overlay, LiveMembers, SocketAddr) {
    let live = LiveMembers::new(members);
    let overlay = Overlay::start(settings, &live).unwrap();
    let address = overlay.local_addrs()[0];
    (overlay, live, address)
}

/// The octets of the answer over UDP.
pub(super) async fn udp(server: SocketAddr, query: &Query) -> Vec<u8> {
    let query = query.0.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&query).unwrap();
        let mut buffer = vec![0; 65_535];
        let len = socket.recv(&mut buffer).expect("an answer in time");
        buffer.truncate(len);
        buffer
    });
    asked.await.unwrap()
}

/// The octets of the answers over one TCP connection, in the order in which they come.
pub(super) async fn tcp(server: SocketAddr, queries: &[Query]) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let sent: Vec<u8> = queries
        .iter()
        .flat_map(|query| [&u16::try_from(query.0.len()).unwrap().to_be_bytes()[..], &query.0].concat())
        .collect();
    stream.write_all(&sent).await.unwrap();
    let mut answers = Vec::new();
    for _ in queries {
        let answer = timeout(PATIENCE, async {
            let len = stream.read_u16().await.unwrap();
            let mut answer = vec![0; len.into()];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        });
        answers.push(answer.await.expect("an answer in time"));
    }
    answers
}

/// The text of the extended error in an answer, behind its code.
pub(super) fn extended_error(answer: &[u8]) -> Option<(u16, String)> {
    let (at, end) = crate::scan::find_opt(answer)?;
    let options = &answer[at + crate::wire::OPT..end];
    let (15, len) = (crate::wire::u16_at(options, 0)?, usize::from(crate::wire::u16_at(options, 2)?)) else {
        return None;
    };
    Some((crate::wire::u16_at(options, 4)?, String::from_utf8(options[6..4 + len].to_vec()).unwrap()))
}
