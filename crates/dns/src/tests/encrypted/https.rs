//! DoH (RFC 8484; DNS-65).

use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

use super::super::shown;
use super::*;

const TYPE: &str = "application/dns-message";

type Sender = http2::SendRequest<Full<Bytes>>;

impl Fixture {
    fn doh(&self) -> SocketAddr {
        self.server.https_addrs()[0]
    }

    async fn http2(&self) -> Sender {
        let stream = self.tls(self.doh(), b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn request(method: &str, path: &str, media_type: Option<&str>, body: Vec<u8>) -> Request<Full<Bytes>> {
    let uri: Uri = format!("https://{NAME}{path}").parse().unwrap();
    let mut request = Request::builder().method(method).uri(uri).header("accept", TYPE);
    if let Some(media_type) = media_type {
        request = request.header("content-type", media_type);
    }
    request.body(Full::from(body)).unwrap()
}

fn get(query: &[u8]) -> Request<Full<Bytes>> {
    request("GET", &format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(query)), None, Vec::new())
}

fn post(query: Vec<u8>) -> Request<Full<Bytes>> {
    request("POST", "/dns-query", Some(TYPE), query)
}

async fn send(sender: &mut Sender, request: Request<Full<Bytes>>) -> Response<Incoming> {
    timeout(PATIENCE, async {
        sender.ready().await.unwrap();
        sender.send_request(request).await.unwrap()
    })
    .await
    .expect("a response in time")
}

/// Status, `cache-control`, and the answer in words.
async fn read(response: Response<Incoming>) -> (u16, String, String) {
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, cache) = (response.status(), header("cache-control").unwrap_or_default());
    if status == StatusCode::OK {
        assert_eq!(header("content-type").as_deref(), Some(TYPE));
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status.as_u16(), cache, if body.is_empty() { String::new() } else { shown(&body) })
}

#[tokio::test(flavor = "multi_thread")]
async fn get_and_post_and_how_long_answers_are_fresh_dns_65() {
    let fixture = Fixture::start();
    let mut sender = fixture.http2().await;
    let zones = zones();
    for (name, kind, fresh) in [
        ("node.test", "SOA", 3600),
        // The SOA's TTL is 60, its MINIMUM 300; and the other way round.
        ("nothing.low.test", "A", 60),
        ("nothing.node.test", "A", 300),
        ("many.big.test", "NAPTR", 300),
        ("debug.node.test", "NAPTR", 60),
        ("elsewhere.org", "A", 0),
    ] {
        let query = Query::new(name, kind).edns(1232);
        let expected = query.shown(&zones, crate::answer::Transport::Exchange);
        let got = [
            read(send(&mut sender, get(&id_0(query.clone()))).await).await,
            read(send(&mut sender, post(query.0)).await).await,
        ];
        for (status, cache, answer) in got {
            assert_eq!((status, cache, answer), (200, format!("max-age={fresh}"), expected.clone()), "{name} {kind}");
        }
    }
    assert_eq!(fixture.server.stats().https.queries(), 12);
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freshness_is_never_above_a_ttl_in_the_answer_dns_65() {
    let zones = zones();
    for (name, kind) in
        [("c0.big.test", "A"), ("debug.node.test", "NAPTR"), ("x.low.test", "A"), ("x.sub.big.test", "A")]
    {
        let answer = Query::new(name, kind).ask(&zones, crate::answer::Transport::Exchange).unwrap();
        let message = hickory_proto::op::Message::from_vec(&answer).unwrap();
        let ttls =
            message.answers.iter().chain(&message.authorities).chain(&message.additionals).map(|record| record.ttl);
        assert_eq!(crate::scan::least_ttl(&answer), ttls.min(), "{name}");
    }
    assert_eq!(crate::scan::least_ttl(&Query::new("a.test", "A").edns(1232).0), None, "OPT has no TTL");
    assert_eq!(crate::scan::least_ttl(&[0xff; 30]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_has_its_status_dns_65() {
    let fixture = Fixture::start();
    let mut sender = fixture.http2().await;
    let query = id_0(Query::new("node.test", "SOA"));
    let text = URL_SAFE_NO_PAD.encode(&query);
    let mut response_bit = query.clone();
    response_bit[2] |= 0x80;
    let nothing = Vec::new;
    let cases = [
        (request("GET", "/", None, nothing()), 404),
        (request("GET", &format!("/dns?dns={text}"), None, nothing()), 404),
        (request("GET", "/dns-query/", None, nothing()), 404),
        (request("POST", "/other", Some(TYPE), query.clone()), 404),
        (request("GET", "/dns-query", None, nothing()), 400),
        (request("GET", "/dns-query?name=node.test&type=SOA", None, nothing()), 400),
        (request("GET", "/dns-query?dns=", None, nothing()), 400),
        (request("GET", &format!("/dns-query?dns={text}="), None, nothing()), 400),
        (request("GET", &format!("/dns-query?dns={text}&dns={text}"), None, nothing()), 400),
        (request("GET", "/dns-query?dns=AAAA+AAA", None, nothing()), 400),
        (request("GET", "/dns-query?dns=AAAA", None, nothing()), 400),
        (request("POST", "/dns-query", Some(TYPE), response_bit), 400),
        (request("POST", "/dns-query", Some(TYPE), nothing()), 400),
        (request("PUT", "/dns-query", Some(TYPE), query.clone()), 405),
        (request("DELETE", "/dns-query", None, nothing()), 405),
        (request("POST", "/dns-query", Some("application/json"), query.clone()), 415),
        (request("POST", "/dns-query", None, query.clone()), 415),
        (request("POST", "/dns-query", Some(TYPE), vec![0; 65_536]), 413),
        (request("GET", &format!("/dns-query?dns={}", "A".repeat(5000)), None, nothing()), 414),
        (get(&query), 200),
        (request("GET", &format!("/dns-query?x=1&dns={text}"), None, nothing()), 200),
        (request("POST", "/dns-query", Some("Application/DNS-Message"), query.clone()), 200),
    ];
    for (request, expected) in cases {
        let what = format!("{} {}", request.method(), request.uri());
        let response = send(&mut sender, request).await;
        assert_eq!(response.status().as_u16(), expected, "{what}");
        assert_eq!(response.headers().contains_key("allow"), expected == 405);
        let (_, cache, answer) = read(response).await;
        assert_eq!((answer.is_empty(), cache.is_empty()), (expected != 200, expected != 200), "{what}");
    }
    let head = send(&mut sender, request("HEAD", &format!("/dns-query?dns={text}"), None, nothing())).await;
    assert_eq!(head.status(), 200, "RFC 9110 9.1");
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
    // What broke nothing: the same connection goes on.
    assert_eq!(read(send(&mut sender, post(query)).await).await.0, 200);
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_and_padding_dns_49() {
    let fixture = Fixture::start();
    let stream = fixture.tls(fixture.doh(), b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let query = id_0(Query::new("node.test", "SOA").record("", 41, 1232, 0, &PADDING_ASKED));
    for _ in 0..3 {
        timeout(PATIENCE, sender.ready()).await.unwrap().unwrap();
        let response = timeout(PATIENCE, sender.send_request(post(query.clone()))).await.unwrap().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(padding_of(&body).is_some() && body.len() % 468 == 0);
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_streams_at_a_time() {
    let fixture = Fixture::start();
    let sender = fixture.http2().await;
    let query = id_0(Query::new("many.big.test", "NAPTR"));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (mut sender, query) = (sender.clone(), query.clone());
        all.spawn(async move { read(send(&mut sender, post(query)).await).await.2 });
    }
    while let Some(answer) = all.join_next().await {
        assert_eq!(answer.unwrap(), "NOERROR aa; answer many.big.test. 300 NAPTR×40");
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_queries_earn_time_threat_6() {
    let idle = Duration::from_millis(600);
    let fixture = Fixture::with(TcpLimits { idle, ..TcpLimits::default() });
    // HTTP/1.1: a head without an end, and a body without an end.
    for start in [
        "GET /dns-query?dns=AAAA HTTP/1.1\r\nHost: x\r\n".to_owned(),
        format!("POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: {TYPE}\r\nContent-Length: 40\r\n\r\nab"),
    ] {
        let mut stream = fixture.tls(fixture.doh(), b"http/1.1").await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let started = std::time::Instant::now();
        while timeout(idle / 10, tokio::io::AsyncReadExt::read_u8(&mut stream)).await.is_err() {
            let _ = stream.write_all(b"x").await;
            assert!(started.elapsed() < PATIENCE, "still open");
        }
    }
    // HTTP/2: a client that only pings.
    let mut stream = fixture.tls(fixture.doh(), b"h2").await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let started = std::time::Instant::now();
    let mut buffer = [0; 1024];
    loop {
        match timeout(idle / 10, tokio::io::AsyncReadExt::read(&mut stream, &mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) | Err(_) => {
                let _ = stream.write_all(b"\0\0\x08\x06\0\0\0\0\0aaaaaaaa").await;
            }
        }
        assert!(started.elapsed() < PATIENCE, "still open");
    }
    fixture.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_head_is_refused() {
    let fixture = Fixture::start();
    let mut sender = fixture.http2().await;
    let mut large = get(&id_0(Query::new("node.test", "SOA")));
    large.headers_mut().insert("x-filler", "x".repeat(20_000).parse().unwrap());
    sender.ready().await.unwrap();
    let refused = timeout(PATIENCE, sender.send_request(large)).await.unwrap();
    assert!(refused.map_or(true, |response| response.status() == 431));
    let mut again = fixture.http2().await;
    assert_eq!(read(send(&mut again, get(&id_0(Query::new("node.test", "SOA")))).await).await.0, 200);
    fixture.server.shutdown().await;
}

/// A body that says when it is asked for: the head of its request is on the way then.
struct Announced {
    asked: Option<tokio::sync::oneshot::Sender<()>>,
    data: Option<Bytes>,
}

impl hyper::body::Body for Announced {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        if let Some(asked) = self.asked.take() {
            asked.send(()).unwrap();
        }
        Poll::Ready(self.data.take().map(|data| Ok(hyper::body::Frame::data(data))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_what_has_arrived() {
    let fixture = Fixture::start();
    let announced = || {
        let (asked, begun) = tokio::sync::oneshot::channel();
        let query = id_0(Query::new("node.test", "SOA"));
        let request = post(query.clone()).map(|_| Announced { asked: Some(asked), data: Some(query.into()) });
        (request, begun)
    };
    let stream = fixture.tls(fixture.doh(), b"h2").await.unwrap();
    let (mut new, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let stream = fixture.tls(fixture.doh(), b"http/1.1").await.unwrap();
    let (mut old, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    timeout(PATIENCE, new.ready()).await.unwrap().unwrap();
    timeout(PATIENCE, old.ready()).await.unwrap().unwrap();
    let ((for_new, new_begun), (for_old, old_begun)) = (announced(), announced());
    let (new, old) = (tokio::spawn(new.send_request(for_new)), tokio::spawn(old.send_request(for_old)));
    timeout(PATIENCE, async { (new_begun.await.unwrap(), old_begun.await.unwrap()) }).await.unwrap();
    let start = std::time::Instant::now();
    let ((), new, old) = timeout(PATIENCE, async { tokio::join!(fixture.server.shutdown(), new, old) }).await.unwrap();
    assert!(start.elapsed() < TcpLimits::default().drain, "an idle connection does not hold the server up");
    assert_eq!((new.unwrap().unwrap().status(), old.unwrap().unwrap().status()), (StatusCode::OK, StatusCode::OK));
}
