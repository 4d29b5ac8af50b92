//! The codec beside another one's: what we write, rsipstack reads as we meant it; what it writes, we read; and whatever we
//! take, however it was mutated, it reads alike. It is the more lenient of the two, so not the other way round.

use std::ops::Range;

use proptest::prelude::*;
use rsipstack::sip::{Header, HeadersExt as _, Method, Request, Response, SipMessage, StatusCode, ToTypedHeader as _};
use tandem_model::DomainName;
use tandem_probe::sip::{Message, Options, RequestIds, Start};

/// A message of each kind; CRLF for `\n`.
const SEEDS: [&str; 4] = [
    "SIP/2.0 200 OK\nVia: SIP/2.0/TLS a.test;branch=z9hG4bK1;rport\nFrom: <sip:a.test>;tag=1\nTo: <sip:b.test>;tag=2\n\
     Call-ID: 1@a.test\nCSeq: 1 OPTIONS\nAllow: INVITE,\n ACK\nSupported: path\nContent-Length: 4\n\nbody",
    "SIP/2.0 503 Service Unavailable\nv: SIP/2.0/TLS a.test;branch=z9hG4bK1\nf: <sip:a.test>;tag=1\nt: <sip:b.test>\n\
     i: 1@a.test\nCSeq: 1 OPTIONS\nRetry-After: 120;duration=3600\nl: 0\n\n",
    "OPTIONS sip:b.test SIP/2.0\nVia: SIP/2.0/TLS a.test;branch=z9hG4bK1\nMax-Forwards: 0\nFrom: <sip:a.test>;tag=1\n\
     To: <sip:b.test>\nCall-ID: 1@a.test\nCSeq: 1 OPTIONS\nX-Own: 1\nContent-Length: 0\n\n",
    "INVITE sip:alice@b.test;transport=tls SIP/2.0\nVia: SIP/2.0/TLS a.test\nVia: SIP/2.0/UDP c.test\nMax-Forwards: 70\n\
     From: \"Bob\" <sip:bob@a.test>;tag=1\nTo: <sip:alice@b.test>\nCall-ID: 2@a.test\nCSeq: 7 INVITE\nContact: <sip:bob@a.test>\n\
     Content-Type: application/sdp\nContent-Length: 5\n\nv=0\n",
];

fn domains() -> impl Strategy<Value = DomainName> {
    "[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,9})?(\\.[a-z][a-z0-9]{0,20}){1,3}".prop_map(|name| name.parse().expect("a name"))
}

/// A header field as rsipstack prints it: name and value.
fn printed(header: &Header) -> (String, String) {
    let text = header.to_string();
    let (name, value) = text.split_once(':').expect("a field");
    (compact(name.trim().to_ascii_lowercase()), value.trim().to_owned())
}

/// It knows the short names of extensions too; we need none of those fields.
fn compact(name: String) -> String {
    match name.as_str() {
        "event" => "o".into(),
        "refer-to" => "r".into(),
        "referred-by" => "b".into(),
        "session-expires" => "x".into(),
        _ => name,
    }
}

/// What both must see, in the form of ours.
fn theirs(message: &SipMessage) -> (Option<u16>, Vec<(String, String)>, &[u8]) {
    let (code, headers, body) = match message {
        SipMessage::Request(request) => (None, &request.headers, &request.body),
        SipMessage::Response(response) => (Some(response.status_code.code()), &response.headers, &response.body),
    };
    (code, headers.iter().map(printed).collect(), body)
}

fn ours(message: &Message) -> (Option<u16>, Vec<(String, String)>, &[u8]) {
    let code = match message.start {
        Start::Status { code, .. } => Some(code),
        Start::Request { .. } | Start::Unreadable(_) => None,
    };
    let text = |(name, value): &(Box<str>, Box<str>)| (compact(name.to_string()), value.to_string());
    (code, message.headers.iter().map(text).collect(), &message.body)
}

proptest! {
    /// RFC 3261 8.1.1: all that a request must have is there, once, and means what we meant.
    #[test]
    fn it_reads_what_we_ask(domain in domains(), from in domains(), random in any::<[u8; 24]>()) {
        let ids = RequestIds::new(random);
        let text = Options { domain: &domain, from: &from, ids: &ids }.to_text();
        let request = Request::try_from(text.as_str()).unwrap();
        prop_assert_eq!(request.method(), &Method::Options);
        prop_assert_eq!(request.uri().to_string(), format!("sip:{domain}"));
        let via = request.via_header().unwrap().typed().unwrap();
        let branch = via.branch().map(|branch| branch.value().to_owned());
        prop_assert_eq!(branch.as_deref(), Some(ids.branch()));
        prop_assert_eq!(via.uri.host().to_string(), from.to_string());
        prop_assert_eq!(request.from_header().unwrap().uri().unwrap().to_string(), format!("sip:{from}"));
        prop_assert!(request.from_header().unwrap().tag().unwrap().is_some());
        prop_assert_eq!(request.to_header().unwrap().uri().unwrap().to_string(), format!("sip:{domain}"));
        prop_assert!(request.to_header().unwrap().tag().unwrap().is_none());
        prop_assert_eq!(request.cseq_header().unwrap().method().unwrap(), Method::Options);
        prop_assert_eq!(request.max_forwards_header().unwrap().value(), "0");
        prop_assert!(request.body().is_empty());
        // And as we read it ourselves.
        let (message, used) = Message::take(text.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(used, text.len());
        let request = SipMessage::Request(request);
        prop_assert_eq!(ours(&message), theirs(&request));
    }

    /// A response of every status, with any fields and body, comes over whole.
    #[test]
    fn we_read_what_it_answers(
        code in 100u16..700,
        fields in prop::collection::vec(("X-[A-Z][a-z]{1,9}", "[!-~]([ -~]{0,30}[!-~])?"), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let status_code = StatusCode::try_from((code, "Whatever")).unwrap();
        let mut response = Response { status_code, body: body.clone(), ..Response::default() };
        for (name, value) in fields {
            response.headers.push(Header::Other(name, value));
        }
        response.headers.push(Header::ContentLength((body.len() as u32).into()));
        let octets = response.to_bytes();
        let (message, used) = Message::take(&octets).unwrap().unwrap();
        prop_assert_eq!(used, octets.len());
        let response = SipMessage::Response(response);
        prop_assert_eq!(ours(&message), theirs(&response));
    }

    /// Two readers that see different messages in the same octets are how requests are smuggled.
    #[test]
    fn what_we_take_it_reads_alike(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4),
    ) {
        let mut octets = SEEDS[seed].replace('\n', "\r\n").into_bytes();
        for (at, Change { remove, put }) in changes {
            let at = at.index(octets.len());
            let end = (at + remove).min(octets.len());
            octets.splice(at..end, put);
        }
        let Ok(Some((message, used))) = Message::take(&octets) else { return Ok(()) };
        // Keep-alives in front are the transport's to skip there.
        let blank = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        match SipMessage::try_from(&octets[blank..used]) {
            Ok(read) => prop_assert_eq!(ours(&message), theirs(&read)),
            Err(error) => prop_assert!(is_stricter(&message), "{}: {:?}", error, message),
        }
    }
}

/// Octets that go, and what comes in their place.
#[derive(Debug, Clone)]
struct Change {
    remove: usize,
    put: Vec<u8>,
}

fn change() -> impl Strategy<Value = Change> {
    const REMOVED: Range<usize> = 0..4;
    const WORDS: [&str; 12] = [
        "\r\n",
        "\r\n ",
        "\r\n\t",
        ": ",
        "l: 2\r\n",
        "Content-Length: 9\r\n",
        "\n",
        " ",
        ",",
        "0",
        "\r\n\r\n",
        "SIP/2.0 ",
    ];
    let put = prop_oneof![
        prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..3),
    ];
    (REMOVED, put).prop_map(|(remove, put)| Change { remove, put })
}

/// What it refuses and we need not: we answer or pass over requests by their framing, and never follow their URI.
fn is_stricter(message: &Message) -> bool {
    matches!(message.start, Start::Request { .. })
}
