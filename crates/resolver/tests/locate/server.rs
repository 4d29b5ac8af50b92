//! A scripted name server on real sockets: a closure says what it answers. It shares no code with the resolver.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// Type numbers (RFC 1035 3.2.2, RFC 2782, RFC 3403, RFC 3596).
pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const CNAME: u16 = 5;
pub(crate) const SOA: u16 = 6;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;
pub(crate) const NAPTR: u16 = 35;
pub(crate) const TLSA: u16 = 52;

/// A question as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// In lower case, with its final dot.
    pub(crate) name: String,
    pub(crate) kind: u16,
    pub(crate) over_tcp: bool,
    /// The UDP size in its OPT record, if it has one.
    pub(crate) edns: Option<u16>,
}

/// One record to send.
#[derive(Debug, Clone)]
pub(crate) struct Rr {
    pub(crate) owner: String,
    pub(crate) kind: u16,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<u8>,
}

/// One response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Say {
    pub(crate) rcode: u8,
    pub(crate) truncated: bool,
    /// Set AD: a validator found all of it secure (RFC 4035 3.2.3).
    pub(crate) authentic: bool,
    /// Send a response with another id before the right one.
    pub(crate) forged_first: Option<Vec<Rr>>,
    pub(crate) answers: Vec<Rr>,
    pub(crate) authority: Vec<Rr>,
    pub(crate) additional: Vec<Rr>,
}

impl Say {
    pub(crate) fn records(answers: Vec<Rr>) -> Self {
        Self { answers, ..Self::default() }
    }
    pub(crate) fn rcode(rcode: u8) -> Self {
        Self { rcode, ..Self::default() }
    }
    /// NXDOMAIN or NODATA with an SOA whose MINIMUM is `ttl`.
    pub(crate) fn nothing(rcode: u8, ttl: u32) -> Self {
        let mut data = [name("ns.test."), name("hostmaster.test.")].concat();
        data.extend([1, 2, 3, 4, ttl].iter().flat_map(|field: &u32| field.to_be_bytes()));
        let soa = Rr { owner: "test.".into(), kind: SOA, ttl: 3600, data };
        Self { rcode, authority: vec![soa], ..Self::default() }
    }
}

/// What the server does with a question; `None`: it says nothing.
pub(crate) type Script = dyn Fn(&Asked) -> Option<Say> + Send + Sync;

/// A running server; dropping it stops it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port may be taken for TCP by somebody else: then another one.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (script, asked): (Arc<Script>, _) = (Arc::new(script), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&script), Arc::clone(&asked)));
        tasks.spawn(serve_tcp(tcp, script, Arc::clone(&asked)));
        Self { address, asked, _tasks: tasks }
    }

    /// Everything asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve_udp(socket: UdpSocket, script: Arc<Script>, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut buffer = [0; 4096];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        for message in respond(&buffer[..len], false, &*script, &asked) {
            socket.send_to(&message, from).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, script: Arc<Script>, asked: Arc<Mutex<Vec<Asked>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(len) = stream.read_u16().await {
            let mut query = vec![0; usize::from(len)];
            stream.read_exact(&mut query).await.unwrap();
            for message in respond(&query, true, &*script, &asked) {
                stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
                stream.write_all(&message).await.unwrap();
            }
        }
    }
}

fn respond(query: &[u8], over_tcp: bool, script: &Script, asked: &Mutex<Vec<Asked>>) -> Vec<Vec<u8>> {
    let question_len = query[12..].iter().position(|&octet| octet == 0).unwrap() + 5;
    let question = &query[12..12 + question_len];
    let rest = &query[12 + question_len..];
    // Nothing but an OPT record can follow: root owner, type 41, then the size (RFC 6891 6.1.2).
    let edns = (rest.len() >= 11 && rest[..3] == [0, 0, 41]).then(|| u16::from_be_bytes([rest[3], rest[4]]));
    let kind = u16::from_be_bytes([question[question_len - 4], question[question_len - 3]]);
    let this = Asked { name: text(&question[..question_len - 4]), kind, over_tcp, edns };
    asked.lock().unwrap().push(this.clone());
    let Some(say) = script(&this) else { return Vec::new() };
    let id = [query[0], query[1]];
    let right = message(id, question, &say);
    let forged = say.forged_first.map(|answers| message([id[0] ^ 1, id[1]], question, &Say::records(answers)));
    forged.into_iter().chain([right]).collect()
}

fn message(id: [u8; 2], question: &[u8], say: &Say) -> Vec<u8> {
    let sections = [&say.answers, &say.authority, &say.additional];
    // QR, RD copied, RA; TC by script (RFC 1035 4.1.1).
    let mut wire = vec![
        id[0],
        id[1],
        0x81 | if say.truncated { 2 } else { 0 },
        0x80 | if say.authentic { 0x20 } else { 0 } | say.rcode,
        0,
        1,
    ];
    sections.iter().for_each(|section| wire.extend(u16::try_from(section.len()).unwrap().to_be_bytes()));
    wire.extend(question);
    for rr in sections.into_iter().flatten() {
        wire.extend(name(&rr.owner));
        wire.extend(rr.kind.to_be_bytes());
        wire.extend([0, 1]);
        wire.extend(rr.ttl.to_be_bytes());
        wire.extend(u16::try_from(rr.data.len()).unwrap().to_be_bytes());
        wire.extend(&rr.data);
    }
    wire
}

/// A name in wire form.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn text(mut wire: &[u8]) -> String {
    let mut text = String::new();
    while let [len, rest @ ..] = wire
        && *len > 0
    {
        let (label, rest) = rest.split_at(usize::from(*len));
        text.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        text.push('.');
        wire = rest;
    }
    text
}

/// One line of a zone: `owner TYPE data`, TTL 60.
pub(crate) fn rr(line: &str) -> Rr {
    let fields: Vec<_> = line.split_whitespace().collect();
    let number = |text: &str| text.parse::<u16>().unwrap().to_be_bytes();
    let string = |text: &str| {
        let text = text.trim_matches('"');
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    let (kind, data) = match fields[1..] {
        ["A", address] => (A, address.parse::<Ipv4Addr>().unwrap().octets().to_vec()),
        ["AAAA", address] => (AAAA, address.parse::<Ipv6Addr>().unwrap().octets().to_vec()),
        ["CNAME", target] => (CNAME, name(target)),
        ["NS", target] => (NS, name(target)),
        ["SRV", priority, weight, port, target] => {
            (SRV, [&number(priority)[..], &number(weight), &number(port), &name(target)].concat())
        }
        ["NAPTR", order, preference, flags, services, regexp, replacement] => {
            let strings = [string(flags), string(services), string(regexp)].concat();
            (NAPTR, [&number(order)[..], &number(preference), &strings, &name(replacement)].concat())
        }
        // The association data in hexadecimal digits.
        ["TLSA", usage, selector, matching, data] => {
            let octet = |text: &str| text.parse::<u8>().unwrap();
            let hex = |at: usize| u8::from_str_radix(&data[at..at + 2], 16).unwrap();
            let head = vec![octet(usage), octet(selector), octet(matching)];
            (TLSA, head.into_iter().chain((0..data.len()).step_by(2).map(hex)).collect())
        }
        _ => panic!("no such record here: {line}"),
    };
    Rr { owner: fields[0].into(), kind, ttl: 60, data }
}

/// Answers from lines of [`rr`]; what is not there does not exist.
pub(crate) fn zone(lines: &[&str]) -> impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static + use<> {
    let records: Vec<Rr> = lines.iter().map(|line| rr(line)).collect();
    move |asked| {
        let here: Vec<_> = records.iter().filter(|rr| rr.owner == asked.name).cloned().collect();
        let answers: Vec<_> = here.iter().filter(|rr| rr.kind == asked.kind || rr.kind == CNAME).cloned().collect();
        Some(match (answers.is_empty(), here.is_empty()) {
            (false, _) => Say::records(answers),
            (true, false) => Say::nothing(0, 20),
            (true, true) => Say::nothing(3, 20),
        })
    }
}
