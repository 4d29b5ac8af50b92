//! What clients do to connections: too much, too slow, in the wrong protocol, at the wrong time; and TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_api::{ApiConfig, CertificateFiles};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::service::{Service, document};

/// Longest wait for anything in these tests.
const LIMIT: Duration = Duration::from_secs(20);

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Reads one answer: its head, and as many octets of body as `Content-Length` says.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut octet = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read(&mut octet).unwrap() == 0 {
            return String::from_utf8(answer).unwrap();
        }
        answer.push(octet[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let len = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn head(service: &Service, fields: &str) -> String {
    let admin = &service.admin;
    format!(
        "PUT /v1/nodes/debug.ostn.test HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\
         Content-Type: application/json\r\n{fields}\r\n"
    )
}

#[test]
fn api_t18_too_large() {
    let service = Service::start();
    let len = 65 * 1024 + 1;
    let octets = vec![b' '; len];

    let mut stream = connect(&service);
    stream.write_all(head(&service, &format!("Content-Length: {len}\r\n")).as_bytes()).unwrap();
    stream.write_all(&octets).unwrap();
    let answer = read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("urn:tandem:problem:too-large"), "{answer}");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200"), "the connection is usable");

    let mut stream = connect(&service);
    stream.write_all(head(&service, "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    for piece in octets.chunks(1000) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 413"), "chunked, without a length");

    let body = format!("{}{}", document("debug.ostn.test"), " ".repeat(64 * 1024));
    let answer = service.send("PUT", "/v1/nodes/debug.ostn.test", &[], Some(&body[..64 * 1024]));
    assert_eq!(answer.status, 201, "64 KiB is not too much: {}", answer.text);
}

#[test]
fn heads_that_are_too_large() {
    let service = Service::start();
    for fields in [format!("X: {}\r\n", "a".repeat(20_000)), "X: a\r\n".repeat(100)] {
        let mut stream = connect(&service);
        stream.write_all(head(&service, &fields).as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(service.send_raw("GET", "/livez", &[], None).status, 200);
}

#[test]
fn idle_connections_and_slow_heads_are_cut_off() {
    let service = Service::start();
    let (mut slow, silent, mut idle) = (connect(&service), connect(&service), connect(&service));
    slow.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_answer(&mut idle).starts_with("HTTP/1.1 200"));
    for (id, mut stream) in [("slow", slow), ("silent", silent), ("idle", idle)] {
        let mut rest = Vec::new();
        // Ends because the server ends it, within LIMIT.
        stream.read_to_end(&mut rest).unwrap();
        assert!(!String::from_utf8(rest).unwrap().starts_with("HTTP/1.1 200"), "{id}");
    }
}

/// Whether the server has closed `stream` before idle connections end by themselves.
fn is_closed_early(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    match stream.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn threat_6_one_client_does_not_starve_the_rest() {
    // What one network may have: server.rs.
    const SHARE: usize = 128;
    let service = Service::start();
    let body = document("debug.ostn.test");
    let mut busy = connect(&service);
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    busy.write_all(head(&service, &fields).as_bytes()).unwrap();
    assert!(read_answer(&mut busy).starts_with("HTTP/1.1 100"), "the request is being worked on");
    let mut idle: Vec<_> = (1..SHARE)
        .map(|_| {
            let mut stream = connect(&service);
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200"));
            stream
        })
        .collect();
    for first in 0..3 {
        let mut late = connect(&service);
        late.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_answer(&mut late).starts_with("HTTP/1.1 200"), "a new one is served at once");
        assert!(is_closed_early(&mut idle[first]), "the one that is idle longest goes");
        idle.push(late);
    }
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_answer(last).starts_with("HTTP/1.1 200"), "the others stay");
    busy.write_all(body.as_bytes()).unwrap();
    assert!(read_answer(&mut busy).starts_with("HTTP/1.1 201"), "a request in progress is never cut");
}

#[test]
fn api_t32_answers_in_progress_arrive() {
    let mut service = Service::start();
    let address = service.address();
    let body = document("debug.ostn.test");
    let mut stream = connect(&service);
    let mut idle = connect(&service);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_answer(&mut idle);
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    stream.write_all(head(&service, &fields).as_bytes()).unwrap();
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 100"), "the request is being worked on");

    let shutdown = service.runtime.spawn(service.server.take().unwrap().shutdown());
    // The idle connection ends when the drain has begun.
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < LIMIT, "new connections are refused");
        std::thread::yield_now();
    }
    stream.write_all(body.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    service.runtime.block_on(async { tokio::time::timeout(LIMIT, shutdown).await.unwrap().unwrap() });
}

#[test]
fn the_port_is_taken() {
    let service = Service::start();
    let config = ApiConfig::new(service.address(), service.dir.path());
    let start = tandem_api::ApiServer::start(
        config,
        service.directory.clone(),
        service.readiness.clone(),
        crate::service::host_check(),
    );
    let error = service.runtime.block_on(start).unwrap_err();
    assert!(error.to_string().contains(&service.address().to_string()), "{error}");
}

/// A client that trusts the certificate in `file` only.
fn client(file: &std::path::Path) -> ureq::Agent {
    let pem = std::fs::read(file).unwrap();
    let roots = RootCerts::from(vec![Certificate::from_pem(&pem).unwrap()]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
    ureq::Agent::config_builder().tls_config(tls).build().new_agent()
}

#[test]
fn api_6_https_off_loopback() {
    let service = Service::start_with(|dir| ApiConfig::new("0.0.0.0:0".parse().unwrap(), dir));
    assert!(service.url.starts_with("https://"), "{}", service.url);
    let url = format!("https://localhost:{}/livez", service.address().port());
    let file = service.dir.path().join("api.crt");
    let response = client(&file).get(&url).call().unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000", "API-85");

    let mut plain = TcpStream::connect(("127.0.0.1", service.address().port())).unwrap();
    plain.set_read_timeout(Some(LIMIT)).unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // Either is a refusal: a TLS alert and the end, or a reset.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "no plain HTTP, no redirect");
}

#[test]
fn own_certificates_are_reloaded() {
    let made = Service::start_with(|dir| ApiConfig::new("0.0.0.0:0".parse().unwrap(), dir));
    let other = Service::start_with(|dir| ApiConfig::new("0.0.0.0:0".parse().unwrap(), dir));
    let file = |service: &Service, name: &str| service.dir.path().join(name);
    let own = tempfile::tempdir().unwrap();
    let files = CertificateFiles { chain: own.path().join("c.pem"), key: own.path().join("k.pem") };
    std::fs::copy(file(&made, "api.crt"), &files.chain).unwrap();
    std::fs::copy(file(&made, "api.key"), &files.key).unwrap();
    let service = Service::start_with(|dir| ApiConfig {
        certificate: Some(files.clone()),
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    assert!(service.url.starts_with("https://127.0.0.1:"), "on loopback too, when it is configured");
    let live = format!("{}/livez", service.url);
    assert!(client(&file(&made, "api.crt")).get(&live).call().is_ok());
    assert!(client(&file(&other, "api.crt")).get(&live).call().is_err());

    std::fs::copy(file(&other, "api.crt"), &files.chain).unwrap();
    let server = service.server.as_ref().unwrap();
    assert!(server.reload_certificates().is_err(), "the key is not there yet");
    assert!(client(&file(&made, "api.crt")).get(&live).call().is_ok(), "the old one stays");
    std::fs::copy(file(&other, "api.key"), &files.key).unwrap();
    server.reload_certificates().unwrap();
    assert!(client(&file(&other, "api.crt")).get(&live).call().is_ok());
    assert!(client(&file(&made, "api.crt")).get(&live).call().is_err());
}
