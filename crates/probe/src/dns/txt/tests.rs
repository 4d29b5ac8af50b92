//! Proofs read from scripted name servers on loopback, over UDP and TCP.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tandem_identity::NodeKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::address::AddressRule;

/// What one server says: records by name and type, in lower case with a final dot.
#[derive(Default)]
struct Script {
    records: HashMap<(String, RecordType), Vec<RData>>,
    /// Answers over UDP are cut short.
    truncate: bool,
    /// Not its zone.
    lame: bool,
    /// Fails for every name.
    broken: bool,
}

impl Script {
    fn with(mut self, name: &str, kind: RecordType, data: RData) -> Self {
        self.records.entry((name.to_owned(), kind)).or_default().push(data);
        self
    }

    fn txt(self, name: &str, strings: &[&str]) -> Self {
        self.with(name, RecordType::TXT, RData::TXT(TXT::new(strings.iter().map(ToString::to_string).collect())))
    }

    fn alias(self, name: &str, target: &str) -> Self {
        let data = || RData::CNAME(CNAME(Name::from_ascii(target).unwrap()));
        self.with(name, RecordType::TXT, data()).with(name, RecordType::NS, data())
    }

    fn zone(mut self, apex: &str, servers: &[IpAddr]) -> Self {
        for (at, &address) in servers.iter().enumerate() {
            let server = format!("ns{at}.{apex}");
            self = self.with(apex, RecordType::NS, RData::NS(NS(Name::from_ascii(&server).unwrap())));
            let IpAddr::V4(address) = address else { panic!("an IPv4 address") };
            self = self.with(&server, RecordType::A, RData::A(A(address)));
        }
        self
    }

    fn answer(&self, query: &[u8], udp: bool) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        let question = query.queries[0].clone();
        let name = question.name().to_string().to_ascii_lowercase();
        let found = self.records.get(&(name.clone(), question.query_type()));
        message.metadata.authoritative = !self.lame && !query.metadata.recursion_desired;
        let any = self.records.keys().any(|(owner, _)| *owner == name);
        message.metadata.response_code = match () {
            () if self.broken => ResponseCode::ServFail,
            () if any => ResponseCode::NoError,
            () => ResponseCode::NXDomain,
        };
        if udp && self.truncate {
            message.metadata.truncation = true;
        } else if !self.broken {
            for data in found.into_iter().flatten() {
                message.add_answer(Record::from_rdata(question.name().clone(), 60, data.clone()));
            }
        }
        message.add_query(question);
        message.to_vec().unwrap()
    }
}

/// A running script; how often it was asked.
struct Running {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// Serves `script` over both transports at `ip`, at `port` (0: any), until the test's runtime ends.
async fn serve(ip: [u8; 4], port: u16, script: Script) -> Running {
    let ip = Ipv4Addr::from(ip);
    let script = Arc::new(script);
    let asked = Arc::new(AtomicUsize::new(0));
    let (udp, tcp) = bind(ip, port).await;
    let address = udp.local_addr().unwrap();
    let (by_udp, counter) = (Arc::clone(&script), Arc::clone(&asked));
    tokio::spawn(async move {
        let mut room = [0; 512];
        loop {
            let (len, from) = udp.recv_from(&mut room).await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            udp.send_to(&by_udp.answer(&room[..len], true), from).await.unwrap();
        }
    });
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            let len = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(len)];
            stream.read_exact(&mut query).await.unwrap();
            let answer = script.answer(&query, false);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    Running { address, asked }
}

/// Sockets of both kinds at one port. Where any will do, one that is free for UDP may be taken for TCP: then another.
async fn bind(ip: Ipv4Addr, port: u16) -> (UdpSocket, TcpListener) {
    for _ in 0..20 {
        let udp = UdpSocket::bind((ip, port)).await.unwrap();
        match TcpListener::bind(udp.local_addr().unwrap()).await {
            Ok(tcp) => return (udp, tcp),
            Err(error) => assert_eq!(port, 0, "{error}"),
        }
    }
    panic!("no port of {ip} is free for UDP and TCP");
}

fn domain() -> DomainName {
    DomainName::parse("example.org").unwrap()
}

fn thumbprint() -> Thumbprint {
    use std::sync::LazyLock;
    static KEY: LazyLock<Thumbprint> = LazyLock::new(|| NodeKey::generate().unwrap().public_key().thumbprint());
    *KEY
}

const NAME: &str = "_tandem.example.org.";

/// Servers of example.org, one for each script, and what a prover makes of them.
async fn proof(scripts: Vec<Script>) -> Result<Thumbprint, TxtError> {
    let mut port = 0;
    let mut servers = Vec::new();
    for (at, script) in scripts.into_iter().enumerate() {
        // One port for all, as at real ones; a free one for each test.
        let ip = [127, 0, 3, 1 + u8::try_from(at).unwrap()];
        let running = serve(ip, port, script).await;
        port = running.address.port();
        servers.push(running.address.ip());
    }
    let recursor = serve([127, 0, 0, 1], 0, Script::default().zone("example.org.", &servers)).await;
    prover(&recursor, port).key_of(&domain()).await
}

fn prover(recursor: &Running, port: u16) -> TxtProver {
    let connector = SafeConnector::new(AddressRule::global([]).with_loopback());
    TxtProver::new(connector, vec![recursor.address]).with_port(port)
}

fn value() -> String {
    format!("{VALUE_PREFIX}{}", thumbprint())
}

fn right() -> Script {
    Script::default().txt(NAME, &[&value()])
}

#[tokio::test]
async fn api_t23_values() {
    let value = value();
    let (front, back) = value.split_at(20);
    let other = format!("{VALUE_PREFIX}{}", NodeKey::generate().unwrap().public_key().thumbprint());
    for (id, script) in [
        ("right", right()),
        ("in two strings", Script::default().txt(NAME, &[front, back])),
        ("beside another text", right().txt(NAME, &["v=spf1 -all"])),
        ("the same twice", right().txt(NAME, &[&value])),
        ("over TCP", Script { truncate: true, ..right() }),
    ] {
        assert_eq!(proof(vec![script]).await.unwrap(), thumbprint(), "{id}");
    }
    let missing = |result| matches!(result, Err(TxtError::Missing));
    assert!(missing(proof(vec![Script::default()]).await));
    assert!(missing(proof(vec![Script::default().txt(NAME, &["v=spf1 -all"])]).await));
    assert!(missing(proof(vec![Script::default().txt("example.org.", &[&value])]).await));
    let two = proof(vec![right().txt(NAME, &[&other])]).await;
    assert!(matches!(two, Err(TxtError::SeveralKeys(2))), "{two:?}");
    let wrong = proof(vec![Script::default().txt(NAME, &["tandem-key=abc"])]).await;
    assert!(matches!(wrong, Err(TxtError::NoThumbprint)), "{wrong:?}");
}

#[tokio::test]
async fn all_servers_agree() {
    let other = format!("{VALUE_PREFIX}{}", NodeKey::generate().unwrap().public_key().thumbprint());
    assert_eq!(proof(vec![right(), right()]).await.unwrap(), thumbprint());
    // One that has not heard of it yet; one that says otherwise.
    assert!(matches!(proof(vec![right(), Script::default()]).await, Err(TxtError::NotEverywhere)));
    let differ = proof(vec![right(), Script::default().txt(NAME, &[&other])]).await;
    assert!(matches!(differ, Err(TxtError::SeveralKeys(2))), "{differ:?}");
    // Those that do not answer for the zone do not count, while another does.
    assert_eq!(proof(vec![right(), Script { lame: true, ..right() }]).await.unwrap(), thumbprint());
    assert_eq!(proof(vec![right(), Script { broken: true, ..right() }]).await.unwrap(), thumbprint());
    let lame = proof(vec![Script { lame: true, ..right() }]).await;
    assert!(matches!(lame, Err(TxtError::NoServerAnswers(AskError::Unreadable))), "{lame:?}");
}

/// API-63: an alias is followed to the servers of its target, within bounds, and round in circles no further.
#[tokio::test]
async fn aliases_api_63() {
    let here = serve(
        [127, 0, 3, 1],
        0,
        Script::default().alias(NAME, "_tandem.hoster.test.").txt(NAME, &["tandem-key=forged"]),
    )
    .await;
    // The alias alone counts at the first server.
    let there =
        serve([127, 0, 3, 2], here.address.port(), Script::default().txt("_tandem.hoster.test.", &[&value()])).await;
    let script =
        Script::default().zone("example.org.", &[here.address.ip()]).zone("hoster.test.", &[there.address.ip()]);
    let recursor = serve([127, 0, 0, 1], 0, script).await;
    assert_eq!(prover(&recursor, here.address.port()).key_of(&domain()).await.unwrap(), thumbprint());

    let circle = Script::default().alias(NAME, "_x.example.org.").alias("_x.example.org.", NAME);
    assert!(matches!(proof(vec![circle]).await, Err(TxtError::TooManyAliases)));
}

/// API-T25: a zone whose servers are inside our own network is not asked.
#[tokio::test]
async fn api_t25_servers_inside() {
    let inside = serve([127, 0, 3, 1], 0, right()).await;
    let servers = ["127.0.3.1", "10.0.0.1", "169.254.169.254"].map(|text| text.parse().unwrap());
    let recursor = serve([127, 0, 0, 1], 0, Script::default().zone("example.org.", &servers)).await;
    let strict = SafeConnector::new(AddressRule::global([]));
    let prover = TxtProver::new(strict, vec![recursor.address]).with_port(inside.address.port());
    let result = prover.key_of(&domain()).await;
    assert!(matches!(result, Err(TxtError::NoServerAnswers(AskError::Refused(_)))), "{result:?}");
    assert_eq!(inside.asked.load(Ordering::Relaxed), 0);
    assert!(recursor.asked.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn other_outcomes() {
    // What the recursor finds bogus proves nothing, whatever the servers say (API-63).
    let bogus = serve([127, 0, 0, 1], 0, Script { broken: true, ..Script::default() }).await;
    assert!(matches!(prover(&bogus, 1).key_of(&domain()).await, Err(TxtError::Unresolvable)));
    // With a second one that answers, the first one's illness does not count.
    let here = serve([127, 0, 3, 1], 0, right()).await;
    let sound = serve([127, 0, 0, 1], 0, Script::default().zone("example.org.", &[here.address.ip()])).await;
    let mut two = prover(&bogus, here.address.port());
    two.recursors.push(sound.address);
    assert_eq!(two.key_of(&domain()).await.unwrap(), thumbprint());
    two.prove(&domain(), thumbprint()).await.unwrap();
    let other = NodeKey::generate().unwrap().public_key().thumbprint();
    assert!(matches!(two.prove(&domain(), other).await, Err(TxtError::OtherKey { named }) if named == thumbprint()));
    // A domain in no zone; one that nobody can own (API-69); no recursor at all.
    let empty = serve([127, 0, 0, 1], 0, Script::default()).await;
    assert!(matches!(prover(&empty, 1).key_of(&domain()).await, Err(TxtError::NoZone)));
    let suffix = DomainName::parse("co.uk").unwrap();
    assert!(matches!(prover(&empty, 1).key_of(&suffix).await, Err(TxtError::PublicSuffix)));
    let none = TxtProver::new(SafeConnector::new(AddressRule::default()), vec![]);
    assert!(matches!(none.key_of(&domain()).await, Err(TxtError::NoRecursor)));
}
