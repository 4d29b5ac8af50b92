//! API-84: metrics on a listener of their own, in Prometheus' text format, without a word about clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::json;
use tandem_testkit::{Service, Setup, repository, wait_until};

/// Longest wait for an answer, or for a counter: a UDP thread adds its batch after sending it.
const PATIENCE: Duration = Duration::from_secs(10);

fn service() -> (tempfile::TempDir, Service) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tandem.toml");
    std::fs::write(&file, "[metrics]\nlisten = \"127.0.0.1:0\"\n[probes]\nenabled = true\n").unwrap();
    let service = Setup::new().args(["--config", file.to_str().unwrap()]).start();
    (folder, service)
}

/// Status line and body.
fn get(service: &Service, method: &str, path: &str) -> (String, String) {
    let url = service.printed("metrics");
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Every series with its value; fails where the page is not in the text format 0.0.4.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_' || octet == b':')
    };
    assert!(page.ends_with('\n'), "the last line ends, too");
    let mut series = BTreeMap::new();
    let mut families = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && !text.is_empty(), "{line}");
            assert!(!families.contains_key(name), "each family comes once: {line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(name, current, "HELP, then TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            families.insert(name.to_owned(), kind.to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a series and a value");
            let family = name.split('{').next().unwrap();
            let of_histogram = families.get(&current).is_some_and(|kind| kind == "histogram");
            let suffix = family.strip_prefix(current.as_str()).expect("samples follow their family");
            assert!(suffix.is_empty() || (of_histogram && ["_bucket", "_sum", "_count"].contains(&suffix)), "{line}");
            if let Some((_, labels)) = name.split_once('{') {
                let labels = labels.strip_suffix('}').expect("labels are closed");
                for label in labels.split("\",") {
                    let (label, text) = label.split_once("=\"").expect("label=\"text\"");
                    assert!(is_name(label) && !text.trim_end_matches('"').contains('"'), "{line}");
                }
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(value >= 0.0, "{line}");
            assert!(series.insert(name.to_owned(), value).is_none(), "each series comes once: {line}");
        }
    }
    series
}

fn scrape(service: &Service) -> BTreeMap<String, f64> {
    let (head, body) = get(service, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    parse(&body)
}

/// One question by UDP; the response code of the answer.
fn ask(service: &Service, name: &str, kind: u8) -> u8 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(service.dns_addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    socket.send(&query).unwrap();
    let mut answer = [0; 1500];
    socket.recv(&mut answer).unwrap();
    answer[3] & 0x0f
}

#[test]
fn api_84_numbers_of_dns_and_store() {
    let (_folder, service) = service();
    assert_eq!(scrape(&service)["tandem_nodes"], 0.0);
    let document = json!({"targets": [{"host": "sip.m.ostn.test", "port": 5061, "addresses": ["203.0.113.7"]}]});
    let serial = service.put_node("m.ostn.test", &document).json()["serial"].as_f64().unwrap();
    for (name, kind, rcode) in
        [("m.ostn.test", 35, 0), ("m.ostn.test", 35, 0), ("no.ostn.test", 1, 3), ("example", 1, 5)]
    {
        assert_eq!(ask(&service, name, kind), rcode, "{name}");
    }
    let udp = |label: &str, value: &str| format!("{{transport=\"udp\",{label}=\"{value}\"}}");
    wait_until(PATIENCE, "four answers are counted", || {
        let series = scrape(&service);
        let sum: f64 = series
            .iter()
            .filter(|(name, _)| name.starts_with("tandem_dns_answers_total{transport=\"udp\""))
            .map(|(_, count)| count)
            .sum();
        sum >= 4.0
    });
    let series = scrape(&service);
    for (name, value) in [
        (format!("tandem_dns_answers_total{}", udp("rcode", "NOERROR")), 2.0),
        (format!("tandem_dns_answers_total{}", udp("rcode", "NXDOMAIN")), 1.0),
        (format!("tandem_dns_answers_total{}", udp("rcode", "REFUSED")), 1.0),
        (format!("tandem_dns_questions_total{}", udp("type", "NAPTR")), 2.0),
        (format!("tandem_dns_questions_total{}", udp("type", "A")), 2.0),
        ("tandem_zone_serial{zone=\"ostn.test\"}".into(), serial),
        ("tandem_nodes".into(), 1.0),
        ("tandem_versions_total".into(), 1.0),
        ("tandem_changes_total{kind=\"register\"}".into(), 1.0),
        ("tandem_store_failed_commits_total".into(), 0.0),
    ] {
        assert_eq!(series.get(&name), Some(&value), "{name}");
    }
    let commits = series["tandem_store_commit_seconds_count"];
    assert!(commits >= 1.0, "{commits}");
    assert_eq!(series["tandem_store_commit_seconds_bucket{le=\"+Inf\"}"], commits);
    assert!(series["process_resident_memory_bytes"] > 1e6);
}

#[test]
fn connections_open_now_come_and_go() {
    let (_folder, service) = service();
    let open = |transport: &str| scrape(&service)[&format!("tandem_dns_connections_open{{transport=\"{transport}\"}}")];
    assert_eq!(["tcp", "tls", "https", "quic"].map(open), [0.0; 4]);
    let mut connections: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(service.dns_addr()).unwrap()).collect();
    wait_until(PATIENCE, "three connections are open", || open("tcp") == 3.0);
    connections.truncate(1);
    wait_until(PATIENCE, "one is left", || open("tcp") == 1.0);
    drop(connections);
    wait_until(PATIENCE, "none is", || open("tcp") == 0.0);
    let series = scrape(&service);
    assert_eq!(series["tandem_dns_connections_total{transport=\"tcp\"}"], 3.0);
}

#[test]
fn api_84_nothing_but_numbers() {
    let (_folder, service) = service();
    assert_eq!(ask(&service, "who.asks.ostn.test", 1), 3);
    let (head, page) = get(&service, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // Threat 20: neither clients nor what they ask for.
    for word in ["127.0.0.1", "who.asks", &service.admin_token()] {
        assert!(!page.contains(word), "{word} is on the page");
    }
    for (method, path, status) in [("GET", "/", "404"), ("GET", "/v1/nodes", "404"), ("POST", "/metrics", "405")] {
        let (head, _) = get(&service, method, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
    }
    assert!(!Service::start().log().contains("metrics"), "nothing listens unless it is asked for");
}

/// docs/operating.md names every family, and no other.
#[test]
fn the_documents_list_every_metric() {
    let (_folder, service) = service();
    let (_, page) = get(&service, "GET", "/metrics");
    let families: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let text = std::fs::read_to_string(repository().join("docs/operating.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let listed: BTreeSet<&str> =
        rows.filter(|name| name.starts_with("tandem_") || name.starts_with("process_")).collect();
    assert_eq!(listed, families);
}
