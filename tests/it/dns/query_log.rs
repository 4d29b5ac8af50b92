//! `log.queries`: what was asked, when an operator wants to know; never who asked.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tandem_testkit::{Service, run, wait_until};
use tempfile::TempDir;

use super::encrypted;
use crate::peer::require;

/// A client's address that nothing else in the test has.
const CLIENT: &str = "127.77.88.98";

/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(10);

fn service(queries: u32) -> (Service, TempDir) {
    let listen = "tls_listen = [\"127.0.0.1:0\"]\nhttps_listen = [\"127.0.0.1:0\"]\nquic_listen = [\"127.0.0.1:0\"]";
    encrypted::service(&format!(
        "[dns]\n{listen}\n[log]\nformat = \"json\"\nqueries = {queries}\n\
         [[dns.transfer]]\nzone = \"ostn.test\"\nnetworks = [\"127.77.88.98/32\"]\n"
    ))
}

/// The query log's lines.
fn lines(service: &Service) -> Vec<Value> {
    let log = service.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "tandem::query").collect()
}

/// Asks for `names` from [`CLIENT`]'s address, over `option`'s transport, served at the port printed behind `word`.
fn ask(service: &Service, word: &str, option: &str, question: &[&str]) {
    let port = match word {
        "dns" => service.dns_addr().port(),
        _ => encrypted::address(service, word).port(),
    };
    let ca = format!("+tls-ca={}", encrypted::certificate(service).display());
    let output = run(Command::new("kdig")
        .args(["@127.0.0.1", "-b", CLIENT, &format!("-p{port}"), "+time=10", "+retry=0"])
        .args(if word == "dns" { vec![option] } else { vec![&ca, "+tls-hostname=localhost", option] })
        .args(question));
    let answered = output.stdout.contains("status: ") || output.stdout.contains(";; AXFR for");
    assert!(answered, "{output}");
}

#[test]
fn each_transport_says_what_was_asked_and_not_who() {
    if !require(&["kdig"]) {
        return;
    }
    let (service, _folder) = service(100);
    let transports = [
        ("udp", "dns", "+notcp"),
        ("tcp", "dns", "+tcp"),
        ("tls", "dot", "+tls"),
        ("https", "doh", "+https=localhost/dns-query"),
        ("quic", "doq", "+quic"),
    ];
    for (name, word, option) in transports {
        ask(&service, word, option, &[&format!("No-{name}.OSTN.test"), "NAPTR"]);
    }
    ask(&service, "dns", "+notcp", &["example.org", "TYPE65280"]);
    ask(&service, "dns", "+tcp", &["ostn.test", "AXFR"]);
    wait_until(PATIENCE, "seven lines", || lines(&service).len() >= 7);
    let seen = lines(&service);
    assert_eq!(seen.len(), 7, "{seen:#?}");
    for (line, (name, ..)) in seen.iter().zip(transports) {
        assert_eq!(line["transport"], name, "{line}");
        assert_eq!(line["name"], format!("no-{name}.ostn.test."), "{line}");
        assert_eq!((&line["kind"], &line["rcode"]), (&"NAPTR".into(), &"NXDOMAIN".into()), "{line}");
        assert!(line["octets"].as_u64().is_some_and(|octets| octets > 50), "{line}");
    }
    assert_eq!((&seen[5]["kind"], &seen[5]["rcode"]), (&"TYPE65280".into(), &"REFUSED".into()), "{seen:#?}");
    let transfer = (&seen[6]["kind"], &seen[6]["rcode"], seen[6].get("octets"));
    assert_eq!(transfer, (&"AXFR".into(), &"NOERROR".into(), None), "{seen:#?}");
    assert!(!service.log().contains(CLIENT), "threat 20: {}", service.log());
}

#[test]
fn what_comes_too_fast_is_counted() {
    const QUERIES: u64 = 200;
    let (service, _folder) = service(2);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(service.dns_addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
    query.extend(b"ostn\x04test\x00\x00\x06\x00\x01");
    let ask = || {
        socket.send(&query).unwrap();
        socket.recv(&mut [0; 1500]).unwrap();
    };
    (0..QUERIES).for_each(|_| ask());
    // The next second's first query tells how many were left out.
    let mut asked = QUERIES;
    let left_out = || lines(&service).iter().filter_map(|line| line["count"].as_u64()).sum::<u64>();
    let written = || lines(&service).iter().filter(|line| line["name"] == "ostn.test.").count() as u64;
    wait_until(PATIENCE, "all queries are accounted for", || {
        asked += 1;
        ask();
        written() + left_out() == asked
    });
    assert!(left_out() > QUERIES / 2, "{:#?}", lines(&service));
}

#[test]
fn off_unless_it_is_asked_for() {
    if !require(&["kdig"]) {
        return;
    }
    let (service, _folder) = encrypted::service("[log]\nformat = \"json\"\n");
    let port = format!("-p{}", service.dns_addr().port());
    for option in ["+notcp", "+tcp"] {
        run(Command::new("kdig").args(["@127.0.0.1", &port, option, "no.ostn.test", "A"])).success();
    }
    assert_eq!((lines(&service), service.log().contains("no.ostn.test")), (Vec::new(), false));
}
