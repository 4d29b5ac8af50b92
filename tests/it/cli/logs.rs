//! What is written to the log, and what never is.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;
use tandem_testkit::{Service, Setup, run};

use super::node;

/// A client's address that nothing else in the test has.
const CLIENT: &str = "127.77.88.99";

#[test]
fn no_client_address_and_no_secret_in_any_line() {
    let service = Setup::new().args(["--log-level", "trace"]).start();
    let token = service.admin_token();
    let address = service.dns_addr();
    for args in [["SOA", "ostn.test"], ["NAPTR", "no.ostn.test"], ["+tcp", "ostn.test"], ["ANY", "other.example"]] {
        let port = address.port().to_string();
        run(Command::new("dig").args(["-b", CLIENT, "@127.0.0.1", "-p", &port, "+tries=1"]).args(args)).success();
    }
    // Garbage too: a message of one octet.
    send_from_client(address, b"\x00\x01x");
    let api: SocketAddr = service.api_url().strip_prefix("http://").unwrap().parse().unwrap();
    let body = node("a.ostn.test", "192.0.2.7").to_string();
    for (authorization, request) in [
        (
            token.as_str(),
            format!(
                "PUT /v1/nodes/a.ostn.test HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}",
                body.len()
            ),
        ),
        ("tandem_wrong-secret-wrong-secret", "GET /v1/nodes HTTP/1.1\r\nX-Forwarded-For: 127.77.88.99".to_owned()),
        (token.as_str(), "GARBAGE".to_owned()),
    ] {
        let text =
            format!("{request}\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {authorization}\r\n\r\n{body}");
        send_from_client(api, text.as_bytes());
    }
    assert_eq!(service.get("/v1/nodes/a.ostn.test").status, 200, "the request from the client's address arrived");
    let log = service.log();
    assert!(log.contains("a.ostn.test"), "the change itself is logged: {log}");
    for secret in [CLIENT, &token, "wrong-secret"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
        let stored =
            run(Command::new("grep").args(["-rlaF", "--exclude=admin.token", "--", secret]).arg(service.data_dir()));
        assert_eq!(stored.stdout, "", "{secret} is in the data folder");
    }
}

/// Connects from [`CLIENT`], sends, reads what comes.
fn send_from_client(to: SocketAddr, octets: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(CLIENT.parse::<IpAddr>().unwrap(), 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    let mut socket: TcpStream = socket;
    socket.set_nonblocking(false).unwrap();
    socket.write_all(octets).unwrap();
    // Whatever the answer is, also a cut connection: the test is about the log.
    let _ = socket.read_to_end(&mut Vec::new());
}

#[test]
fn json_lines_are_json_and_one_line_tells_a_change() {
    let service = Setup::new().args(["--log-format", "json"]).start();
    assert_eq!(service.put_node("a.ostn.test", &node("a.ostn.test", "192.0.2.7")).status, 201);
    let lines: Vec<Value> = service.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let changes = lines.iter().filter(|line| line.to_string().contains("a.ostn.test") && line["level"] == "INFO");
    assert_eq!(changes.count(), 1, "{lines:#?}");
}

#[test]
fn standard_output_has_only_the_lines_for_scripts() {
    let service = Service::start();
    assert!(!service.log().contains("ready\n"));
    let port = service.dns_addr().port();
    let running: Value =
        serde_json::from_str(&std::fs::read_to_string(service.data_dir().join("run.json")).unwrap()).unwrap();
    assert_eq!(running["dns"][0], format!("127.0.0.1:{port}"));
    assert_eq!(running["api"], service.api_url());
    assert_eq!(running["pid"], service.pid());
}
