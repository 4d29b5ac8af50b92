//! One question to one name server: over UDP with random port, id and letter case (threat 10), then over TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tandem_model::DomainName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::address::AddressRefusal;
use crate::connect::{ConnectError, SafeConnector, connected_udp};

/// Longest wait for an answer over UDP, each time.
const UDP_TIMEOUT: Duration = Duration::from_millis(1500);
/// How often a question is put over UDP before TCP.
const UDP_TRIES: usize = 2;
/// Longest wait for an answer over TCP, the connection included.
const TCP_TIMEOUT: Duration = Duration::from_secs(3);
/// What UDP may carry towards us without fragments (RFC 9715 3.2).
const EDNS_PAYLOAD: u16 = 1232;
/// Most datagrams of a server that are passed over because they answer something else.
const MAX_STRAYS: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    A,
    Aaaa,
    Ns,
    Txt,
}

/// Whom a question goes to, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server<'a> {
    /// One of the settings' recursors: wherever it is.
    Recursor(SocketAddr),
    /// A stranger's: only where the connector allows, and without recursion.
    Authority(SocketAddr, &'a SafeConnector),
}

impl Server<'_> {
    const fn address(&self) -> SocketAddr {
        match self {
            Self::Recursor(address) | Self::Authority(address, _) => *address,
        }
    }

    async fn udp(&self) -> Result<UdpSocket, AskError> {
        match self {
            Self::Recursor(address) => connected_udp(*address).await.map_err(AskError::Io),
            Self::Authority(address, connector) => connector.udp(*address).await.map_err(AskError::from_connect),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, AskError> {
        match self {
            Self::Recursor(address) => TcpStream::connect(address).await.map_err(AskError::Io),
            Self::Authority(address, connector) => connector.tcp(*address).await.map_err(AskError::from_connect),
        }
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The name exists, as far as this server knows.
    pub(crate) name_exists: bool,
    /// The server speaks for the zone (RFC 1035 4.1.1, AA).
    pub(crate) authoritative: bool,
    /// Records of the answer section whose names we can hold.
    pub(crate) records: Vec<(DomainName, Data)>,
}

impl Answer {
    /// The data at `name` itself.
    pub(crate) fn at<'a>(&'a self, name: &'a DomainName) -> impl Iterator<Item = &'a Data> {
        self.records.iter().filter(move |(owner, _)| owner == name).map(|(_, data)| data)
    }
}

/// The data of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Address(IpAddr),
    Alias(DomainName),
    NameServer(DomainName),
    /// The strings of a TXT record joined (API-62).
    Text(Vec<u8>),
}

/// Puts a question to one server.
pub(crate) async fn ask(server: Server<'_>, name: &DomainName, kind: Kind) -> Result<Answer, AskError> {
    let mut last = AskError::Timeout(server.address());
    for _ in 0..UDP_TRIES {
        let question = Question::new(name, kind, matches!(server, Server::Recursor(_)))?;
        match timeout(UDP_TIMEOUT, over_udp(&server, &question)).await {
            Ok(Ok(message)) if message.metadata.truncation => break,
            Ok(Ok(message)) => return read(&message),
            // Not allowed over UDP is not allowed over TCP.
            Ok(Err(AskError::Refused(refusal))) => return Err(AskError::Refused(refusal)),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    let question = Question::new(name, kind, matches!(server, Server::Recursor(_)))?;
    match timeout(TCP_TIMEOUT, over_tcp(&server, &question)).await {
        Ok(Ok(message)) => read(&message),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(last),
    }
}

async fn over_udp(server: &Server<'_>, question: &Question) -> Result<Message, AskError> {
    let socket = server.udp().await?;
    socket.send(&question.octets).await.map_err(AskError::Io)?;
    let mut room = [0; EDNS_PAYLOAD as usize];
    for _ in 0..MAX_STRAYS {
        let len = socket.recv(&mut room).await.map_err(AskError::Io)?;
        // Another's octets end nothing: the right answer may be behind them (RFC 5452 4).
        if let Ok(message) = Message::from_vec(&room[..len])
            && question.is_answered_by(&message)
        {
            return Ok(message);
        }
    }
    Err(AskError::Unreadable)
}

async fn over_tcp(server: &Server<'_>, question: &Question) -> Result<Message, AskError> {
    let mut stream = server.tcp().await?;
    let len = u16::try_from(question.octets.len()).map_err(|_| AskError::Unreadable)?;
    let octets = [&len.to_be_bytes()[..], &question.octets].concat();
    stream.write_all(&octets).await.map_err(AskError::Io)?;
    let len = stream.read_u16().await.map_err(AskError::Io)?;
    let mut octets = vec![0; usize::from(len)];
    stream.read_exact(&mut octets).await.map_err(AskError::Io)?;
    let message = Message::from_vec(&octets).map_err(|_| AskError::Unreadable)?;
    if question.is_answered_by(&message) { Ok(message) } else { Err(AskError::Unreadable) }
}

/// A query with what its answer must repeat.
struct Question {
    id: u16,
    name: Name,
    kind: RecordType,
    octets: Vec<u8>,
}

impl Question {
    fn new(name: &DomainName, kind: Kind, recursive: bool) -> Result<Self, AskError> {
        let mut random = [0; 34];
        getrandom::fill(&mut random).map_err(|_| AskError::Random)?;
        let id = u16::from_be_bytes([random[0], random[1]]);
        let name = mixed_case(name, &random[2..])?;
        let kind = match kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Ns => RecordType::NS,
            Kind::Txt => RecordType::TXT,
        };
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = recursive;
        message.add_query(Query::query(name.clone(), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        message.set_edns(edns);
        let octets = message.to_vec().map_err(|_| AskError::Unreadable)?;
        Ok(Self { id, name, kind, octets })
    }

    /// Id, direction and question are ours, each letter in the case in which it was sent.
    fn is_answered_by(&self, message: &Message) -> bool {
        let metadata = &message.metadata;
        let [query] = &message.queries[..] else { return false };
        metadata.id == self.id
            && metadata.message_type == MessageType::Response
            && metadata.op_code == OpCode::Query
            && query.query_type() == self.kind
            && query.name().eq_case(&self.name)
    }
}

/// The name with letters in random case (draft-vixie-dnsext-dns0x20): a forger has to guess them too.
fn mixed_case(name: &DomainName, random: &[u8]) -> Result<Name, AskError> {
    let mut at = 0;
    let labels = name.labels().map(|label| {
        let mut label = label.to_vec();
        for octet in &mut label {
            if random[at / 8 % random.len()] >> (at % 8) & 1 == 1 {
                octet.make_ascii_uppercase();
            }
            at += 1;
        }
        label
    });
    let labels: Vec<_> = labels.collect();
    let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).map_err(|_| AskError::Unreadable)?;
    name.set_fqdn(true);
    Ok(name)
}

fn read(message: &Message) -> Result<Answer, AskError> {
    let name_exists = match message.metadata.response_code {
        ResponseCode::NoError => true,
        ResponseCode::NXDomain => false,
        ResponseCode::ServFail => return Err(AskError::ServerFailure),
        code => return Err(AskError::Code(code.into())),
    };
    let record = |record: &hickory_proto::rr::Record| {
        let held = |name: &Name| DomainName::from_labels(name.iter()).ok();
        let data = match &record.data {
            RData::A(a) => Data::Address(a.0.into()),
            RData::AAAA(aaaa) => Data::Address(aaaa.0.into()),
            RData::NS(ns) => Data::NameServer(held(&ns.0)?),
            RData::CNAME(target) => Data::Alias(held(&target.0)?),
            RData::TXT(text) => Data::Text(text.txt_data.concat()),
            _ => return None,
        };
        Some((held(&record.name)?, data))
    };
    Ok(Answer {
        name_exists,
        authoritative: message.metadata.authoritative,
        records: message.answers.iter().filter_map(record).collect(),
    })
}

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Its address is not one to ask; nothing was sent.
    #[error("the name server was not asked")]
    Refused(#[source] AddressRefusal),
    /// Nothing came in time.
    #[error("the name server {0} did not answer in time")]
    Timeout(SocketAddr),
    /// The network.
    #[error("the name server cannot be reached")]
    Io(#[source] io::Error),
    /// What came is no answer to the question.
    #[error("the name server's answer cannot be read")]
    Unreadable,
    /// SERVFAIL.
    #[error("the name server failed (SERVFAIL)")]
    ServerFailure,
    /// Another response code.
    #[error("the name server refused the question (response code {0})")]
    Code(u16),
    /// No random numbers.
    #[error("the system gave no random numbers")]
    Random,
}

impl AskError {
    fn from_connect(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(refusal) => Self::Refused(refusal),
            ConnectError::Timeout(address) => Self::Timeout(address),
            ConnectError::Io { source, .. } => Self::Io(source),
            ConnectError::NoAddress => Self::Io(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}
