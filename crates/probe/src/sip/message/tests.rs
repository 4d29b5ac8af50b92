//! Messages as stacks send them, as they must not, and any octets.

use proptest::prelude::*;

use super::*;

/// The form of a real answer; CRLF for `\n`.
fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn code(octets: &[u8]) -> Result<Option<u16>, Malformed> {
    Message::take(octets).map(|found| {
        found.map(|(message, _)| match message.start {
            Start::Status { code, .. } => code,
            Start::Request { .. } => 0,
            Start::Unreadable(_) => 1,
        })
    })
}

#[test]
fn an_answer_in_full() {
    let text = crlf(
        "SIP/2.0 200 Let's go on\nVia: SIP/2.0/TLS probe.test;branch=z9hG4bK1;rport=5061\n\
         f: <sip:probe.test>;tag=1\nTo :\t<sip:a.test>;tag=2\nI: 77@probe.test\nCSeq: 1\n  OPTIONS \n\
         Allow: INVITE,\n\tACK\nSubject:\nl: 5\n\nv=0\n",
    );
    let (message, used) = Message::take(&text).unwrap().unwrap();
    assert_eq!(used, text.len());
    assert_eq!(message.start, Start::Status { code: 200, reason: "Let's go on".into() });
    for (name, value) in [
        ("from", "<sip:probe.test>;tag=1"),
        ("to", "<sip:a.test>;tag=2"),
        ("call-id", "77@probe.test"),
        ("cseq", "1 OPTIONS"),
        ("allow", "INVITE, ACK"),
        ("subject", ""),
        ("content-length", "5"),
    ] {
        assert_eq!(message.header(name), Some(value), "{name}");
    }
    assert_eq!(message.header("contact"), None);
    assert_eq!(message.body, b"v=0\r\n");
}

#[test]
fn messages_follow_one_another() {
    let stream =
        crlf("\n\nSIP/2.0 100 Trying\nl: 0\n\n\nOPTIONS sip:us SIP/2.0\nContent-Length: 2\n\nhiSIP/2.0 503 \nL:0\n\n");
    let mut rest = &stream[..];
    let mut seen = Vec::new();
    while let Some((message, used)) = Message::take(rest).unwrap() {
        rest = &rest[used..];
        seen.push(message.start);
    }
    assert!(rest.is_empty());
    let status = |code, reason: &str| Start::Status { code, reason: reason.into() };
    assert_eq!(
        seen,
        [status(100, "Trying"), Start::Request { method: "OPTIONS".into(), uri: "sip:us".into() }, status(503, "")]
    );
    // Cut anywhere, nothing is seen too early and nothing is wrong.
    let first = crlf("SIP/2.0 200 OK\nContent-Length: 3\n\nabc");
    for at in 0..first.len() {
        assert_eq!(code(&first[..at]), Ok(None), "{at}");
    }
    assert_eq!(code(&first), Ok(Some(200)));
}

#[test]
fn refused() {
    use Malformed::{Header, Length, NotUtf8, Start, TooLong, TooManyHeaders};
    for (id, text, why) in [
        ("no length", "SIP/2.0 200 OK\nVia: x\n\n".to_owned(), Length),
        ("two lengths", "SIP/2.0 200 OK\nl: 0\nContent-Length: 0\n\n".into(), Length),
        ("negative", "SIP/2.0 200 OK\nl: -1\n\n".into(), Length),
        ("signed", "SIP/2.0 200 OK\nl: +1\n\n".into(), Length),
        ("hex", "SIP/2.0 200 OK\nl: 0x1\n\n".into(), Length),
        ("list", "SIP/2.0 200 OK\nl: 0, 0\n\n".into(), Length),
        ("empty length", "SIP/2.0 200 OK\nl:\n\n".into(), Length),
        ("long body", format!("SIP/2.0 200 OK\nl: {MAX_MESSAGE}\n\n"), TooLong),
        ("overflow", "SIP/2.0 200 OK\nl: 99999999999999999999999\n\n".into(), TooLong),
        ("largest", format!("SIP/2.0 200 OK\nl: {}\n\n", usize::MAX), TooLong),
        ("HTTP", "HTTP/1.1 400 Bad Request\nContent-Length: 0\n\n".into(), Start),
        ("SSH", "SSH-2.0-x\nl: 0\n\n".into(), Start),
        ("SIP/3.0", "SIP/3.0 200 OK\nl: 0\n\n".into(), Start),
        ("lower case", "sip/2.0 200 OK\nl: 0\n\n".into(), Start),
        ("code of two digits", "SIP/2.0 20 OK\nl: 0\n\n".into(), Start),
        ("code of four digits", "SIP/2.0 2000 OK\nl: 0\n\n".into(), Start),
        ("signed code", "SIP/2.0 +20 OK\nl: 0\n\n".into(), Start),
        ("code 099", "SIP/2.0 099 OK\nl: 0\n\n".into(), Start),
        ("code 700", "SIP/2.0 700 OK\nl: 0\n\n".into(), Start),
        ("no reason's space", "SIP/2.0 200\nl: 0\n\n".into(), Start),
        ("request with two spaces", "OPTIONS  sip:x SIP/2.0\nl: 0\n\n".into(), Start),
        ("fold first", "SIP/2.0 200 OK\n Via: x\nl: 0\n\n".into(), Header),
        ("no colon", "SIP/2.0 200 OK\nVia x\nl: 0\n\n".into(), Header),
        ("no name", "SIP/2.0 200 OK\n: x\nl: 0\n\n".into(), Header),
        ("space in a name", "SIP/2.0 200 OK\nContent Length: 0\nl: 0\n\n".into(), Header),
        ("NUL", "SIP/2.0 200 OK\nVia: \0\nl: 0\n\n".into(), Header),
        ("NUL in front", "SIP/2.0 200 \0\nl: 0\n\n".into(), Start),
        ("many fields", format!("SIP/2.0 200 OK\n{}l: 0\n\n", "a: b\n".repeat(MAX_HEADERS)), TooManyHeaders),
        ("endless", format!("SIP/2.0 200 OK\na: {}", "x".repeat(MAX_MESSAGE)), TooLong),
        ("line ends without end", "\n".repeat(40), Start),
    ] {
        assert_eq!(code(&crlf(&text)), Err(why), "{id}");
    }
    assert_eq!(code(b"SIP/2.0 200 OK\r\nVia: a\nl: 0\r\nl: 0\r\n\r\n"), Err(Header), "bare LF");
    assert_eq!(code(b"SIP/2.0 200 OK\r\nVia: a\rb\r\nl: 0\r\n\r\n"), Err(Header), "bare CR");
    assert_eq!(code(b"SIP/2.0 200 \xff\r\nl: 0\r\n\r\n"), Err(NotUtf8));
    assert_eq!(code(b"SIP/2.0 200 OK\nl: 0\n\n"), Ok(None), "LF alone ends nothing");
}

#[test]
fn datagrams() {
    let body = |text: &str| Message::datagram(&crlf(text)).map(|message| String::from_utf8(message.body).unwrap());
    for (id, text, expected) in [
        ("no length: the rest", "INVITE sip:a SIP/2.0\n\nbody", Ok("body")),
        ("octets behind the body", "INVITE sip:a SIP/2.0\nl: 2\n\nbody", Ok("bo")),
        ("shorter than it says", "INVITE sip:a SIP/2.0\nl: 5\n\nbody", Err(Malformed::Length)),
        ("two lengths", "INVITE sip:a SIP/2.0\nl: 4\nl: 4\n\nbody", Err(Malformed::Length)),
        ("line ends in front", "\n\nINVITE sip:a SIP/2.0\n\n", Ok("")),
        ("no end", "INVITE sip:a SIP/2.0\nl: 0\n", Err(Malformed::Header)),
        ("keep-alive", "\n\n", Err(Malformed::Header)),
    ] {
        assert_eq!(body(text).as_deref(), expected.as_ref().map(|text| *text), "{id}");
    }
    let wrong = crlf("INVITE sip:a b SIP/2.0\nCall-ID: 1\nl: -1\nl: 2\n\n");
    let head = Message::head(&wrong).unwrap();
    assert_eq!((head.header("call-id"), &head.start), (Some("1"), &Start::Unreadable("INVITE sip:a b SIP/2.0".into())));
    assert_eq!(Message::datagram(&wrong), Err(Malformed::Start));
}

proptest! {
    #[test]
    fn any_octets_do_not_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (Message::take(&octets), Message::datagram(&octets), Message::head(&octets));
    }

    #[test]
    fn mutated_answers_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let mut octets = crlf("SIP/2.0 200 OK\nVia: SIP/2.0/TLS a;branch=b\nCSeq: 1\n OPTIONS\nContent-Length: 4\n\nbody");
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok(Some((_, used))) = Message::take(&octets) {
            prop_assert!(used <= octets.len());
        }
    }

    /// What is written is read: fields in any order and case, folded or not, and what follows is left alone.
    #[test]
    fn written_and_read(
        code in 100u16..700,
        reason in "[ -~]{0,20}",
        fields in prop::collection::vec(("x-[a-z]{1,8}", "[!-~]{0,12}", any::<bool>(), any::<bool>()), 0..10),
        body in prop::collection::vec(any::<u8>(), 0..40),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut text = format!("SIP/2.0 {code} {reason}\r\n");
        let mut expected = Vec::new();
        for (name, value, upper, fold) in fields {
            let shown = if upper { name.to_uppercase() } else { name.clone() };
            text.push_str(&format!("{shown}:{}{value} \r\n", if fold { "\r\n\t " } else { " " }));
            expected.push((name.into_boxed_str(), value.into_boxed_str()));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        expected.push(("content-length".into(), body.len().to_string().into()));
        let message = [text.as_bytes(), &body].concat();
        let octets = [&message[..], &behind].concat();
        let (read, used) = Message::take(&octets).unwrap().unwrap();
        prop_assert_eq!(used, message.len());
        prop_assert_eq!(read, Message { start: Start::Status { code, reason: reason.into() }, headers: expected, body });
    }
}
