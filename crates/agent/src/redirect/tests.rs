//! Requests as stacks send them, as RFC 4475 tortures, and as nobody should.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use tandem_probe::sip::{Message, Start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::core::{Framed, Next};
use super::*;
use crate::member::MemberState;
use crate::route::tests::{World, active, member};

const WAIT: Duration = Duration::from_secs(20);

fn world() -> World {
    World::new(
        vec![
            member(
                "a.test",
                MemberState::Active,
                &["10 0 sip.a.test 5061 203.0.113.7"],
                &["+15550101=alice", &format!("+15550102={}", "u".repeat(200))],
            ),
            member("bad.test", MemberState::Compromised, &[], &[]),
            member("gone.test", MemberState::Withdrawn, &[], &[]),
            active("example.com"),
            member("slow.test", MemberState::Active, &["10 0 host.elsewhere.test 5061"], &[]),
        ],
        |route| route.members_only = true,
    )
}

fn source() -> SocketAddr {
    "192.0.2.9:5099".parse().unwrap()
}

/// CRLF for `\n`.
fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

const FIELDS: &str = "Via: SIP/2.0/UDP client.test;branch=z9hG4bK1;rport\nMax-Forwards: 70\nFrom: <sip:c@c.test>;tag=1\n\
                      To: <sip:x@y.test>\nCall-ID: 1@c.test\n";

/// A request that is in order, to a URI.
fn request(method: &str, uri: &str) -> String {
    format!("{method} {uri} SIP/2.0\n{FIELDS}CSeq: 7 {method}\nContact: <sip:c@192.0.2.9>\nl: 0\n\n")
}

fn core() -> (World, Arc<Core>) {
    let world = world();
    let core = Arc::new(Core::new(world.routes.clone()));
    (world, core)
}

/// What the listener for UDP does with a datagram, less the network.
fn datagram(core: &Arc<Core>, octets: &[u8]) -> Option<Next> {
    Some(core.take(&Framed::datagram(octets)?, source()))
}

fn answer(core: &Arc<Core>, octets: &[u8]) -> Option<Message> {
    match datagram(core, octets)? {
        Next::Nothing => None,
        Next::Answer(text) => {
            Some(Message::datagram(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}")))
        }
        Next::Wait(_) => panic!("somebody has to be asked"),
    }
}

fn code(message: &Message) -> u16 {
    match message.start {
        Start::Status { code, .. } => code,
        Start::Request { .. } | Start::Unreadable(_) => panic!("no answer"),
    }
}

#[tokio::test]
async fn an_answer_in_full() {
    let (_world, core) = core();
    let invite = crlf(
        "INVITE sip:alice@a.test:5060;transport=udp SIP/2.0\nv: SIP / 2.0 / UDP  client.test : 5070 ; branch=z9hG4bK1;\n rport ;received=1.2.3.4,\n SIP/2.0/TCP b.test;branch=z9hG4bK2\n\
         Via: SIP/2.0/TLS c.test;branch=z9hG4bK3\nFrom: \"A; B\" <sip:c@c.test>;tag=1\nTo: sip:alice@a.test\ni: 1@c.test\nCSeq: 0009\n INVITE\nl: 4\n\nbody",
    );
    let text = |core: &Arc<Core>| match datagram(core, &invite) {
        Some(Next::Answer(text)) => text,
        other => panic!("{other:?}"),
    };
    let shown = text(&core);
    let tag = shown.split("To: sip:alice@a.test;tag=").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    assert_eq!(tag.len(), 16);
    let expected = format!(
        "SIP/2.0 302 Moved Temporarily\n\
         Via: SIP/2.0/UDP client.test:5070;branch=z9hG4bK1;rport=5099;received=192.0.2.9\n\
         Via: SIP/2.0/TCP b.test;branch=z9hG4bK2\nVia: SIP/2.0/TLS c.test;branch=z9hG4bK3\n\
         From: \"A; B\" <sip:c@c.test>;tag=1\nTo: sip:alice@a.test;tag={tag}\nCall-ID: 1@c.test\nCSeq: 0009 INVITE\n\
         Contact: <sip:alice@a.test;transport=tls>\nContent-Length: 0\n\n"
    );
    assert_eq!(shown, expected.replace('\n', "\r\n"));
    assert_eq!(text(&core), shown, "a retransmission gets the same answer");
    let other = Arc::new(Core::new(world().routes));
    assert_ne!(text(&other), shown, "nobody can guess the tag");
}

/// Outcomes, methods, and messages of RFC 4475 (by their names there) and their like.
#[tokio::test]
async fn statuses() {
    let (_world, core) = core();
    let with = |from: &str, to: &str| request("INVITE", "sip:alice@a.test").replace(from, to);
    let torture_fields = "Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdju43234\nFrom: <sip:c@c.test>;tag=1\nTo: <sip:x@y.test>\nCall-ID: t.1\n";
    let many = |count: usize| with("Max-Forwards: 70\n", &"X-Field: y\n".repeat(count));
    let table: Vec<(&str, String, Option<u16>)> = vec![
        ("a member", request("INVITE", "sip:alice@a.test"), Some(302)),
        ("SIPS", request("INVITE", "sips:alice@a.test"), Some(302)),
        ("a number", request("INVITE", "tel:+1-555-0101"), Some(302)),
        ("a number at our address", request("INVITE", "sip:+15550101@127.0.0.1:5070"), Some(302)),
        ("MESSAGE", request("MESSAGE", "sip:alice@a.test"), Some(302)),
        ("OPTIONS for a member", request("OPTIONS", "sip:alice@a.test"), Some(302)),
        ("OPTIONS for us", request("OPTIONS", "sip:127.0.0.1:5070"), Some(200)),
        ("OPTIONS for our domain", request("OPTIONS", "sip:own.test"), Some(200)),
        ("a stranger", request("INVITE", "sip:x@x.test"), Some(404)),
        ("an unknown number", request("INVITE", "tel:+15559999"), Some(404)),
        ("a local number", request("INVITE", "tel:112"), Some(404)),
        ("a number without context", request("INVITE", "tel:7042;phone-context=a.test"), Some(404)),
        ("withdrawn", request("INVITE", "sip:x@gone.test"), Some(480)),
        ("compromised", request("INVITE", "sip:x@bad.test"), Some(403)),
        ("our own domain", request("INVITE", "sip:x@own.test"), Some(403)),
        ("an address", request("INVITE", "sip:x@203.0.113.7"), Some(403)),
        ("ACK", request("ACK", "sip:alice@a.test"), None),
        ("CANCEL", request("CANCEL", "sip:alice@a.test"), Some(200)),
        ("BYE", request("BYE", "sip:alice@a.test"), Some(481)),
        ("REGISTER", request("REGISTER", "sip:a.test"), Some(405)),
        ("a method that nobody knows", request("NEWMETHOD", "sip:alice@a.test"), Some(501)),
        ("methods have a case", request("invite", "sip:alice@a.test"), Some(501)),
        ("in a dialog", with("To: <sip:x@y.test>", "To: <sip:x@y.test>;tag=2"), Some(481)),
        ("a response", "SIP/2.0 200 OK\nVia: SIP/2.0/UDP c.test;branch=z9hG4bK1\nl: 0\n\n".into(), None),
        ("no Content-Length", with("l: 0\n", ""), Some(302)),
        ("keep-alive", "\n\n".into(), None),
        // RFC 4475 3.1.1: valid, if odd.
        (
            "wsinv",
            "INVITE sip:vivekg@example.com;unknownparam SIP/2.0\nTO :\n sip:vivekg@example.com\nfrom   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\nMaX-fOrWaRdS: 0068\nCall-ID: wsinv.ndaksdj@192.0.2.1\nContent-Length   : 3\ncseq: 0009\n  INVITE\nVia  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\ns :\nNewFangledHeader:   newfangled value\n continued newfangled value\nUnknownHeaderWithUnusualValue: ;;,,;;,;\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\nm:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  secondparam ; q = 0.33\n\nv=0".to_owned(),
            Some(302),
        ),
        ("intmeth", format!("!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\n{torture_fields}CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\nl: 0\n\n"), Some(501)),
        ("intmeth's URI", request("INVITE", "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com"), Some(302)),
        ("esc01", request("INVITE", "sip:sips%3Auser%40example.com@example.com"), Some(302)),
        ("escnull", request("INVITE", "sip:null-%00-null@example.com"), Some(302)),
        ("esc02", request("RE%47IST%45R", "sip:example.com"), Some(501)),
        ("lwsdisp", with("From: <sip:c@c.test>", "From: caller<sip:c@c.test>"), Some(302)),
        ("longreq", many(100), Some(302)),
        ("dblreq", request("INVITE", "sip:alice@a.test") + &request("REGISTER", "sip:a.test"), Some(302)),
        ("semiuri", request("OPTIONS", "sip:user;par=u%40example.net@example.com"), Some(302)),
        ("transports", with("UDP client.test", "UNKNOWN client.test"), Some(302)),
        ("unreason's reason in a field", with("Max-Forwards: 70", "Reason: \u{442}\u{435}\u{441}\u{442}"), Some(302)),
        ("inv2543", with(";branch=z9hG4bK1;rport", "").replace("Max-Forwards: 70\n", ""), Some(302)),
        ("zeromf", with("Max-Forwards: 70", "Max-Forwards: 0"), Some(483)),
        ("zeromf OPTIONS", request("OPTIONS", "sip:alice@a.test").replace("70", "0"), Some(200)),
        ("bext01", with("Max-Forwards: 70", "Require: nothingSupportsThis, nothingSupportsThisEither"), Some(420)),
        ("cparam", request("REGISTER", "sip:example.com"), Some(405)),
        // RFC 4475 3.1.2: invalid.
        ("badinv01", with(";branch=z9hG4bK1;rport", ";;,;,,"), Some(302)),
        ("clerr", with("l: 0", "l: 9999"), Some(400)),
        ("ncl", with("l: 0", "l: -999"), Some(400)),
        ("a length that is none", with("l: 0", "l: many"), Some(400)),
        ("scalar02 CSeq", with("CSeq: 7 INVITE", "CSeq: 36893488147419103232 INVITE"), Some(400)),
        ("CSeq of 2^31", with("CSeq: 7 INVITE", "CSeq: 2147483648 INVITE"), Some(400)),
        ("scalar02 Max-Forwards", with("Max-Forwards: 70", "Max-Forwards: 300"), Some(400)),
        ("signed Max-Forwards", with("Max-Forwards: 70", "Max-Forwards: +7"), Some(400)),
        ("quotbal", with("To: <sip:x@y.test>", "To: \"Mr. J. User <sip:x@y.test>"), Some(400)),
        ("ltgtruri", request("INVITE", "<sip:alice@a.test>"), Some(400)),
        ("lwsruri", request("INVITE", "sip:alice@a.test; lr"), Some(400)),
        ("lwsstart", request("INVITE", " sip:alice@a.test "), Some(400)),
        ("trws", request("INVITE", "sip:alice@a.test").replace("SIP/2.0\nVia", "SIP/2.0  \nVia"), Some(400)),
        ("escruri", request("INVITE", "sip:alice@a.test?Route=%3Csip:example.com%3E"), Some(400)),
        ("badbranch", with("branch=z9hG4bK1", "branch=z9hG4bK"), Some(302)),
        ("baddn", with("From: <sip:c@c.test>", "From: Bell, Alexander <sip:c@c.test>"), Some(400)),
        ("badvers", request("INVITE", "sip:alice@a.test").replace("SIP/2.0\nVia", "SIP/7.0\nVia"), Some(505)),
        ("mismatch01", with("CSeq: 7 INVITE", "CSeq: 7 OPTIONS"), Some(400)),
        ("mismatch02", request("NEWMETHOD", "sip:alice@a.test").replace("7 NEWMETHOD", "7 INVITE"), Some(400)),
        // RFC 4475 3.3: the application's.
        ("insuf: no CSeq", with("CSeq: 7 INVITE\n", ""), Some(400)),
        ("insuf: no From", with("From: <sip:c@c.test>;tag=1\n", ""), Some(400)),
        ("insuf: no To", with("To: <sip:x@y.test>\n", ""), Some(400)),
        ("insuf: no Call-ID", with("Call-ID: 1@c.test\n", ""), Some(400)),
        ("no Via", with("Via: SIP/2.0/UDP client.test;branch=z9hG4bK1;rport\n", ""), None),
        ("Via that is none", with("SIP/2.0/UDP client.test", "HTTP/1.1/TCP client.test"), None),
        ("Via with port 0", with("client.test;", "client.test:0;"), None),
        ("unkscm", request("OPTIONS", "nobodyKnowsThisScheme:totallyopaquecontent"), Some(416)),
        ("novelsc", request("OPTIONS", "soap.beep://192.0.2.103:3002"), Some(416)),
        ("no scheme", request("OPTIONS", "alice"), Some(400)),
        ("unksm2", request("INVITE", "sip:alice@a.test").replace("To: <sip:x@y.test>", "To: isbn:2983792873"), Some(302)),
        ("multi01: two CSeq", with("CSeq: 7 INVITE", "CSeq: 7 INVITE\nCSeq: 59 INVITE"), Some(400)),
        ("multi01: two Call-ID", with("Call-ID: 1@c.test", "Call-ID: 1@c.test\nCall-ID: 2@c.test"), Some(400)),
        ("multi01: two To", with("To: <sip:x@y.test>", "To: <sip:x@y.test>\nt: <sip:z@y.test>"), Some(400)),
        ("multi01: two From", with("From: <sip:c@c.test>;tag=1", "From: <sip:c@c.test>;tag=1\nf: <sip:d@c.test>;tag=2"), Some(400)),
        ("multi01: two Max-Forwards", with("Max-Forwards: 70", "Max-Forwards: 70\nMax-Forwards: 5"), Some(400)),
        ("mcl01", with("l: 0", "Content-Length: 13\nContent-Length: 5"), Some(400)),
        ("two values of From", with("From: <sip:c@c.test>;tag=1", "From: <sip:c@c.test>;tag=1, <sip:d@d.test>"), Some(400)),
        ("Call-ID with a space", with("Call-ID: 1@c.test", "Call-ID: 1 2"), Some(400)),
        ("too many fields", many(200), None),
        ("a bare line end in a field", with("Max-Forwards: 70", "X: a\rb"), None),
        ("NUL", with("Max-Forwards: 70", "X: \0"), None),
    ];
    assert!(table.len() > 60);
    for (id, text, expected) in table {
        let answer = answer(&core, &crlf(&text));
        assert_eq!(answer.as_ref().map(code), expected, "{id}");
        let Some(answer) = answer else { continue };
        assert!(answer.header("via").is_some() && answer.body.is_empty(), "{id}");
        let field = match code(&answer) {
            302 => Some("contact"),
            405 | 501 | 200 if id != "CANCEL" => Some("allow"),
            420 => Some("unsupported"),
            480 | 503 => Some("retry-after"),
            _ => None,
        };
        assert!(field.is_none_or(|field| answer.header(field).is_some()), "{id}: {field:?}");
    }
}

#[tokio::test]
async fn contacts() {
    let (_world, core) = core();
    for (uri, contact) in [
        ("sip:alice@a.test", "<sip:alice@a.test;transport=tls>"),
        ("sips:alice@a.test;transport=tcp", "<sips:alice@a.test>"),
        ("SIP:alice@A.TEST:5060", "<sip:alice@a.test;transport=tls>"),
        ("tel:+15550101", "<sip:alice@a.test;transport=tls>"),
        ("sip:%3c%3e@a.test", "<sip:%3c%3e@a.test;transport=tls>"),
    ] {
        let answer = answer(&core, &crlf(&request("INVITE", uri))).unwrap();
        assert_eq!(answer.header("contact"), Some(contact), "{uri}");
    }
}

#[tokio::test]
async fn an_invite_that_waits_is_cancelled() {
    let (_world, core) = core();
    let (invite, cancel) = (crlf(&request("INVITE", "sip:x@slow.test")), crlf(&request("CANCEL", "sip:x@slow.test")));
    let Some(Next::Wait(waiting)) = datagram(&core, &invite) else { panic!("name servers have to be asked") };
    assert!(matches!(datagram(&core, &invite), Some(Next::Nothing)), "a retransmission waits with the first");
    let other = String::from_utf8(cancel.clone()).unwrap().replace("z9hG4bK1", "z9hG4bK9");
    assert_eq!(answer(&core, other.as_bytes()).map(|answer| code(&answer)), Some(200), "of another transaction");
    assert_eq!(answer(&core, &cancel).map(|answer| code(&answer)), Some(200));
    let text = waiting.answer().await;
    assert!(text.starts_with("SIP/2.0 487 ") && text.contains("\r\nCSeq: 7 INVITE\r\n"), "{text}");
    // Nobody answers there: the next one is told to come back.
    let Some(Next::Wait(waiting)) = datagram(&core, &invite) else { panic!("name servers have to be asked") };
    let text = waiting.answer().await;
    assert!(text.starts_with("SIP/2.0 503 ") && text.contains("\r\nRetry-After: 5\r\n"), "{text}");
}

/// The redirect server on loopback, and where it listens.
async fn started(config: SipConfig) -> (World, JoinSet<()>, Vec<SocketAddr>) {
    let world = world();
    let mut tasks = JoinSet::new();
    start(&config, world.routes.clone(), &world.board, &mut tasks).await.unwrap();
    let listening = world.board.read().listening;
    let places = listening.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    (world, tasks, places)
}

fn loopback() -> Vec<SocketAddr> {
    vec!["127.0.0.1:0".parse().unwrap()]
}

#[tokio::test]
async fn udp_answers_where_it_was_asked_from_and_no_more_than_it_was_sent() {
    let (_world, _tasks, places) = started(SipConfig { udp: loopback(), ..SipConfig::default() }).await;
    let (client, named) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let mut room = [0; 65_536];
    client.send_to(&crlf(&request("INVITE", "sip:alice@a.test")), places[0]).await.unwrap();
    let len = timeout(WAIT, client.recv(&mut room)).await.unwrap().unwrap();
    assert!(room[..len].starts_with(b"SIP/2.0 302 "));
    // Without rport it goes to the port in Via, at the address of the sender, whatever Via and maddr say.
    let via = format!("client.test:{};maddr=203.0.113.1;branch=z9hG4bK1", named.local_addr().unwrap().port());
    let text = request("INVITE", "sip:alice@a.test").replace("client.test;branch=z9hG4bK1;rport", &via);
    client.send_to(&crlf(&text), places[0]).await.unwrap();
    let len = timeout(WAIT, named.recv(&mut room)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&room[..len]).contains(";received=127.0.0.1\r\n"));
    // Compact forms that would grow too much are not answered; what follows is.
    let vias = "v:SIP/2.0/U a\n".repeat(120);
    let text = format!(
        "INVITE tel:+15550102 SIP/2.0\nv:SIP/2.0/UDP a;rport\n{vias}f:sip:a@b;tag=1\nt:sip:a@b\ni:1\nCSeq:1 INVITE\n\n"
    );
    client.send_to(&crlf(&text), places[0]).await.unwrap();
    client.send_to(&crlf(&request("OPTIONS", "sip:own.test")), places[0]).await.unwrap();
    let len = timeout(WAIT, client.recv(&mut room)).await.unwrap().unwrap();
    assert!(room[..len].starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&room[..len]));
}

async fn read_answer<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        match timeout(WAIT, stream.read(&mut one)).await.unwrap().unwrap() {
            0 => break,
            _ => octets.push(one[0]),
        }
    }
    String::from_utf8(octets).unwrap()
}

#[tokio::test]
async fn tcp_answers_in_turn_and_closes_what_cannot_be_framed() {
    let (_world, _tasks, places) = started(SipConfig { tcp: loopback(), ..SipConfig::default() }).await;
    let mut stream = TcpStream::connect(places[0]).await.unwrap();
    // A slow one first: the next does not wait behind it.
    let slow = request("INVITE", "sip:x@slow.test");
    let both = slow.clone() + &request("INVITE", "sip:alice@a.test").replace("z9hG4bK1", "z9hG4bK2");
    stream.write_all(&crlf(&both)).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("SIP/2.0 302 "));
    assert!(read_answer(&mut stream).await.starts_with("SIP/2.0 503 "));
    // RFC 5626 3.5.1: a keep-alive.
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(WAIT, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
    // In pieces.
    for piece in crlf(&request("OPTIONS", "sip:own.test")).chunks(90) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert!(read_answer(&mut stream).await.starts_with("SIP/2.0 200 "));
    let broken = request("INVITE", "sip:alice@a.test").replace("l: 0", "l: 0\nl: 0");
    stream.write_all(&crlf(&broken)).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("SIP/2.0 400 "));
    assert_eq!(timeout(WAIT, stream.read(&mut pong)).await.unwrap().unwrap(), 0, "the connection ends");
}

#[tokio::test]
async fn tls_with_the_configured_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["own.test".into()]).unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = SipConfig { tls: loopback(), certificate: Some(chain), key: Some(key), ..SipConfig::default() };
    let (_world, _tasks, places) = started(config.clone()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"sip/2".to_vec()];
    let stream = TcpStream::connect(places[0]).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect("own.test".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "CERT-64: who offers ALPN is taken all the same");
    stream.write_all(&crlf(&request("INVITE", "sip:alice@a.test"))).await.unwrap();
    assert!(read_answer(&mut stream).await.contains("\r\nContact: <sip:alice@a.test;transport=tls>\r\n"));

    let world = world();
    let config = SipConfig { key: Some(folder.path().join("none.pem")), ..config };
    let failed = start(&config, world.routes.clone(), &world.board, &mut JoinSet::new()).await.unwrap_err();
    assert!(failed.place.contains("none.pem"), "{failed:?}");
}

proptest! {
    // TANDEM_MUTATIONS=1000000 for a long run.
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("TANDEM_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
    ))]

    /// Whatever is changed in a request: no panic, and every answer is a response that can be read, is not much longer than
    /// the request, and names nobody but a member.
    #[test]
    fn mutated_requests(
        which in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..10),
    ) {
        thread_local! {
            static CORE: (tokio::runtime::Runtime, (World, Arc<Core>)) = {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let core = runtime.block_on(async { core() });
                (runtime, core)
            };
        }
        let text = match which {
            0 => request("INVITE", "sip:alice@a.test"),
            1 => request("INVITE", "tel:+1-555-0101"),
            2 => request("OPTIONS", "sips:own.test;a=b").replace("To: <", "To: \"x \\\" y\" <"),
            3 => request("CANCEL", "sip:alice@a.test").replace("client.test", "[2001:db8::1]:5062"),
            _ => request("INVITE", "sip:alice@a.test").replace("Max", "Via: SIP/2.0/TLS x;branch=a, SIP/2.0/UDP y\nRequire: a, b\nMax"),
        };
        let mut octets = crlf(&text);
        for (at, how, octet) in changes {
            let at = at.index(octets.len());
            match how {
                0 => octets[at] = octet,
                1 => { octets.remove(at); }
                _ => octets.insert(at, octet),
            }
        }
        CORE.with(|(runtime, (_, core))| {
            let _guard = runtime.enter();
            match datagram(core, &octets) {
                None | Some(Next::Nothing | Next::Wait(_)) => Ok(()),
                Some(Next::Answer(text)) => {
                    let answer = Message::datagram(text.as_bytes());
                    prop_assert!(answer.is_ok(), "{text}");
                    let answer = answer.unwrap();
                    prop_assert!((200..700).contains(&code(&answer)));
                    prop_assert!(text.len() <= octets.len() + 512, "{text}");
                    if let Some(contact) = answer.header("contact") {
                        prop_assert!(contact.ends_with("@a.test;transport=tls>") || contact.ends_with("@a.test>")
                            || contact == "<sip:a.test;transport=tls>" || contact.contains("example.com"), "{contact}");
                    }
                    Ok(())
                }
            }
        })?;
    }
}
