//! Signals: SIGTERM drains, a second one ends at once, SIGHUP reads zones and certificates again or keeps the old.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use tandem_testkit::{Service, Setup, wait_until};

use super::{dig, node};

/// Longest wait for a signal to show its effect.
const EFFECT: Duration = Duration::from_secs(20);

const ZONE: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";

/// A PUT of which only a part has been sent, and the rest of it.
struct HalfSent {
    socket: TcpStream,
    rest: String,
}

impl HalfSent {
    fn new(service: &Service, domain: &str) -> Self {
        let body = node(domain, "192.0.2.7").to_string();
        let (first, rest) = body.split_at(body.len() / 2);
        let mut socket = connect(service).unwrap();
        socket.set_read_timeout(Some(EFFECT)).unwrap();
        write!(
            socket,
            "PUT /v1/nodes/{domain} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            service.admin_token(),
            body.len()
        )
        .unwrap();
        // "100 Continue": the service waits for the body, so the request is in progress.
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        socket.write_all(first.as_bytes()).unwrap();
        Self { socket, rest: rest.to_owned() }
    }

    fn finish(mut self) -> String {
        self.socket.write_all(self.rest.as_bytes()).unwrap();
        let mut answer = String::new();
        self.socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn connect(service: &Service) -> std::io::Result<TcpStream> {
    TcpStream::connect(service.api_url().strip_prefix("http://").unwrap())
}

#[test]
fn api_t32_sigterm_finishes_what_was_accepted() {
    let mut service = Service::start();
    let put = HalfSent::new(&service, "late.ostn.test");
    service.signal("TERM");
    wait_until(EFFECT, "new connections to be refused", || connect(&service).is_err());
    // DNS answers until the API is done: who was told "published" can ask for it.
    assert!(dig(&service, &["SOA", "ostn.test", "+short"]).starts_with("ns1.ostn.test."));
    let answer = put.finish();
    assert!(answer.contains("HTTP/1.1 201 "), "{answer}");
    assert!(service.wait().success(), "{}", service.log());
    assert!(!service.data_dir().join("run.json").exists());
    let service = service.restart();
    assert_eq!(service.get("/v1/nodes/late.ostn.test").status, 200);
}

#[test]
fn sigint_ends_it_too() {
    let mut service = Service::start();
    service.signal("INT");
    assert!(service.wait().success(), "{}", service.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut service = Service::start();
    let _put = HalfSent::new(&service, "never.ostn.test");
    service.signal("TERM");
    wait_until(EFFECT, "new connections to be refused", || connect(&service).is_err());
    wait_until(EFFECT, "a signal that is taken for a second one", || {
        service.signal("TERM");
        service.log().contains("second signal: ending at once")
    });
    assert_eq!(service.wait().code(), Some(1), "{}", service.log());
}

/// timeout(1) sends its signal to the process and at once to the process's group.
#[test]
fn two_signals_at_once_are_one() {
    let mut service = Service::start();
    let put = HalfSent::new(&service, "late.ostn.test");
    service.signal("TERM");
    service.signal("TERM");
    wait_until(EFFECT, "new connections to be refused", || connect(&service).is_err());
    let answer = put.finish();
    assert!(answer.contains("HTTP/1.1 201 "), "{answer}");
    assert!(service.wait().success(), "{}", service.log());
}

fn write_zone(folder: &Path, apex: &str, more: &str) {
    fs::write(folder.join(format!("{apex}.zone")), format!("{ZONE}{more}")).unwrap();
}

#[test]
fn sighup_reads_the_zones_again_and_keeps_nodes() {
    let folder = tempfile::tempdir().unwrap();
    write_zone(folder.path(), "a.test", "");
    write_zone(folder.path(), "b.test", "");
    let service = Setup::new().zones(folder.path()).start();
    assert_eq!(service.put_node("n.a.test", &node("n.a.test", "192.0.2.7")).status, 201);
    write_zone(folder.path(), "a.test", "new IN A 192.0.2.9\n");
    write_zone(folder.path(), "c.test", "");
    fs::remove_file(folder.path().join("b.test.zone")).unwrap();
    service.signal("HUP");
    wait_until(EFFECT, "the new record", || dig(&service, &["A", "new.a.test", "+short"]) == "192.0.2.9\n");
    assert_eq!(dig(&service, &["A", "ns.c.test", "+short"]), "192.0.2.1\n");
    assert!(dig(&service, &["A", "ns.b.test"]).contains("status: REFUSED"));
    assert_eq!(dig(&service, &["A", "sip.n.a.test", "+short"]), "192.0.2.7\n");
}

#[test]
fn a_broken_file_keeps_all_the_old_zones() {
    let folder = tempfile::tempdir().unwrap();
    write_zone(folder.path(), "a.test", "");
    write_zone(folder.path(), "b.test", "");
    let service = Setup::new().zones(folder.path()).start();
    write_zone(folder.path(), "a.test", "new IN A 192.0.2.9\n");
    write_zone(folder.path(), "b.test", "bad IN A 1.2.3\n");
    service.signal("HUP");
    wait_until(EFFECT, "the reason in the log", || service.log().contains("b.test.zone:5: "));
    assert!(service.log().contains("the old zones are served on"), "{}", service.log());
    assert!(dig(&service, &["A", "new.a.test"]).contains("status: NXDOMAIN"), "nothing of a broken set is served");
    // Corrected, it is taken over.
    write_zone(folder.path(), "b.test", "good IN A 192.0.2.10\n");
    service.signal("HUP");
    wait_until(EFFECT, "the corrected record", || dig(&service, &["A", "good.b.test", "+short"]) == "192.0.2.10\n");
    assert_eq!(dig(&service, &["A", "new.a.test", "+short"]), "192.0.2.9\n");
}

#[test]
fn the_reasons_of_a_refused_reload_are_one_line_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    write_zone(folder.path(), "a.test", "");
    write_zone(folder.path(), "b.test", "");
    let service = Setup::new().zones(folder.path()).start();
    write_zone(folder.path(), "a.test", "bad IN A 1.2.3\n");
    write_zone(folder.path(), "b.test", "bad IN A 1.2.3\n");
    service.signal("HUP");
    wait_until(EFFECT, "the reasons in the log", || service.log().contains("zone files not taken over"));
    let log = service.log();
    let line = log.lines().find(|line| line.contains("zone files not taken over")).unwrap();
    assert!(line.contains(" ERROR ") && line.contains("a.test.zone:5: ") && line.contains("b.test.zone:5: "), "{log}");
    assert!(line.contains("the zone files are not right; "), "{log}");
}

#[test]
fn a_static_record_over_a_node_is_refused_at_reload() {
    let folder = tempfile::tempdir().unwrap();
    write_zone(folder.path(), "a.test", "");
    let service = Setup::new().zones(folder.path()).start();
    assert_eq!(service.put_node("n.a.test", &node("n.a.test", "192.0.2.7")).status, 201);
    write_zone(folder.path(), "a.test", "sip.n IN A 192.0.2.9\n");
    service.signal("HUP");
    wait_until(EFFECT, "the reason in the log", || service.log().contains("n.a.test does not fit"));
    assert_eq!(dig(&service, &["A", "sip.n.a.test", "+short"]), "192.0.2.7\n");
}

#[test]
fn sighup_reads_the_certificate_again() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), name.to_owned()]).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    };
    make("first.test");
    let settings = folder.path().join("tandem.toml");
    fs::write(&settings, "[api]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n").unwrap();
    let service = Setup::new().args(["--config", settings.to_str().unwrap()]).start();
    assert!(service.api_url().starts_with("https://"));
    let list = || service.tandem(["nodes", "list", "--ca", certificate.to_str().unwrap()]);
    list().success();
    make("second.test");
    assert!(list().failure(1).contains("because: "), "the old certificate is not the one that is trusted now");
    service.signal("HUP");
    wait_until(EFFECT, "the new certificate", || list().status.success());
    // A file that does not fit leaves the new one in use.
    fs::write(&key, "no key").unwrap();
    service.signal("HUP");
    wait_until(EFFECT, "the reason in the log", || service.log().contains("certificate not taken over"));
    list().success();
}

#[test]
fn https_with_a_certificate_of_its_own() {
    let service = Setup::new().args(["--api", "0.0.0.0:0"]).start();
    assert!(service.api_url().starts_with("https://127.0.0.1:") || service.api_url().starts_with("https://0.0.0.0:"));
    // The command finds the address and the certificate in the data folder.
    service.tandem(["nodes", "list"]).success();
}
