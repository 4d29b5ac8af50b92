//! DNS over TLS, HTTPS and QUIC as `kdig`, `openssl` and `curl` use them, from the real program.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tandem_testkit::{Output, Service, Setup, run, wait_until};
use tempfile::TempDir;

use crate::peer::require;

/// Longest wait for a signal to show its effect.
const EFFECT: Duration = Duration::from_secs(20);

/// Settings in which all three listen.
const SETTINGS: &str =
    "[dns]\ntls_listen = [\"127.0.0.1:0\"]\nhttps_listen = [\"127.0.0.1:0\"]\nquic_listen = [\"127.0.0.1:0\"]\n";

/// A service with `settings` in its file; the folder lives for as long as the file is needed.
pub(super) fn service(settings: &str) -> (Service, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tandem.toml");
    fs::write(&file, settings).unwrap();
    (Setup::new().args(["--config", file.to_str().unwrap()]).start(), folder)
}

/// The address behind `word` in what the service printed.
pub(super) fn address(service: &Service, word: &str) -> SocketAddr {
    let text = service.printed(word);
    let text = text.strip_prefix("https://").and_then(|text| text.strip_suffix("/dns-query")).unwrap_or(text);
    text.parse().unwrap()
}

/// The certificate that the service made for itself.
pub(super) fn certificate(service: &Service) -> PathBuf {
    service.data_dir().join("api.crt")
}

fn kdig(service: &Service, word: &str, options: &[&str]) -> Output {
    let address = address(service, word);
    let ca = format!("+tls-ca={}", certificate(service).display());
    run(Command::new("kdig")
        .args([format!("@{}", address.ip()), format!("-p{}", address.port()), "+time=10".into(), "+retry=0".into()])
        .args([ca.as_str(), "+tls-hostname=localhost"])
        .args(options)) // The last of two options counts.
}

#[test]
fn kdig_asks_by_tls_https_and_quic_dns_64_65_66() {
    if !require(&["kdig"]) {
        return;
    }
    let (service, _folder) = service(SETTINGS);
    for (word, option, shown) in [
        ("dot", "+tls", "TLS session (TLS1.3)"),
        ("doh", "+https=localhost/dns-query", "HTTP session (HTTP/2-POST)"),
        ("doh", "+https-get", "HTTP session (HTTP/2-GET)"),
        ("doq", "+quic", "QUIC session (QUICv1)"),
    ] {
        let mut options = vec![option, "SOA", "ostn.test"];
        if option == "+https-get" {
            options.insert(0, "+https=localhost/dns-query");
        }
        let output = kdig(&service, word, &options);
        let text = output.clone().success();
        assert!(text.contains(shown) && text.contains("status: NOERROR"), "{output}");
        assert!(text.contains("\tns1.ostn.test. "), "{output}");
        // Padded: the client asks for it (DNS-49).
        let padded = kdig(&service, word, &[&options[..], &["+padding=128"]].concat()).success();
        assert!(padded.contains("PADDING"), "{padded}");
        let size = padded.lines().find_map(|line| line.strip_prefix(";; Received ")).unwrap();
        let octets: usize = size.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(octets % 468, 0, "{padded}");
    }
    // In clear, nothing is padded.
    let dns = service.dns_addr();
    let words = [format!("@{}", dns.ip()), format!("-p{}", dns.port())];
    let plain = run(Command::new("kdig").args(words).args(["+tcp", "+padding=128", "SOA", "ostn.test"])).success();
    assert!(plain.contains("status: NOERROR") && !plain.contains("PADDING: "), "{plain}");
}

/// Only the clients of this test have it.
const CLIENT: &str = "127.77.88.98";

#[test]
fn no_client_address_in_any_line_threat_20() {
    if !require(&["kdig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tandem.toml");
    fs::write(&file, SETTINGS).unwrap();
    let service = Setup::new().args(["--config", file.to_str().unwrap(), "--log-level", "trace"]).start();
    for (word, option) in [("dot", "+tls"), ("doh", "+https"), ("doq", "+quic")] {
        kdig(&service, word, &["-b", CLIENT, option, "SOA", "ostn.test"]).success();
        // A handshake that fails: by a client that trusts somebody else, and by one that speaks something else.
        let distrust = "+tls-hostname=somebody.test";
        let refused = kdig(&service, word, &["-b", CLIENT, option, distrust, "SOA", "ostn.test"]);
        assert!(!refused.stdout.contains("NOERROR"), "{refused}");
        let garbage = UdpSocket::bind((CLIENT, 0)).unwrap();
        garbage.send_to(&[0xc5; 1300], address(&service, word)).unwrap();
    }
    kdig(&service, "doq", &["+quic", "SOA", "ostn.test"]).success();
    let log = service.log();
    assert!(log.contains("DEBUG") && log.contains("TRACE"), "{log}");
    assert_eq!(log.lines().find(|line| line.contains(CLIENT)), None);
}

#[test]
fn openssl_agrees_on_dot_dns_64() {
    if !require(&["openssl"]) {
        return;
    }
    let (service, _folder) = service(SETTINGS);
    let connect = |word: &str, options: &[&str]| {
        let address = address(&service, word).to_string();
        let ca = certificate(&service);
        let arguments = ["s_client", "-connect", &address, "-servername", "localhost", "-verify_hostname", "localhost"];
        run(Command::new("openssl").args(arguments).arg("-CAfile").arg(ca).args(options))
    };
    for version in ["-tls1_3", "-tls1_2"] {
        let output = connect("dot", &["-alpn", "dot", version]);
        assert!(output.stdout.contains("ALPN protocol: dot"), "{output}");
        assert!(output.stdout.contains("Verify return code: 0"), "{output}");
        assert!(!output.stdout.contains("Max Early Data: 1"), "{output}");
    }
    // RFC 9325 3.1.1: nothing older than TLS 1.2.
    let old = connect("dot", &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(old.stdout.contains("Cipher is (NONE)"), "{old}");
    let other = connect("dot", &["-alpn", "http/1.1"]);
    assert!(!other.stdout.contains("ALPN protocol: http/1.1"), "{other}");
}

#[test]
fn curl_asks_by_doh_dns_65() {
    if !require(&["curl", "base64"]) {
        return;
    }
    let (service, folder) = service(SETTINGS);
    let url = service.printed("doh").replace("127.0.0.1", "localhost");
    // SOA of ostn.test, ID 0.
    let query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x04ostn\x04test\0\0\x06\0\x01";
    let file = folder.path().join("query");
    fs::write(&file, query).unwrap();
    let answer = folder.path().join("answer");
    let curl = |options: &[&str], url: &str| {
        run(Command::new("curl")
            .args([
                "-sS",
                "--noproxy",
                "*",
                "--max-time",
                "20",
                "-w",
                "%{http_version} %{http_code} %{content_type}",
                "-o",
            ])
            .arg(&answer)
            .arg("--cacert")
            .arg(certificate(&service))
            .args(options)
            .arg(url))
        .success()
    };
    let data = format!("@{}", file.display());
    let post = ["--data-binary", &data, "-H", "content-type: application/dns-message"];
    for (options, version) in [(vec!["--http2"], "2"), (vec!["--http1.1"], "1.1")] {
        let all = [&options[..], &post].concat();
        assert_eq!(curl(&all, &url), format!("{version} 200 application/dns-message"));
        let body = fs::read(&answer).unwrap();
        assert_eq!((&body[..2], body[2] & 0x84, body[3] & 0x0f), (&[0, 0][..], 0x84, 0), "QR, AA, NOERROR");
    }
    let text = "AAABAAABAAAAAAAABG9zdG4EdGVzdAAABgAB";
    assert_eq!(curl(&["--http2"], &format!("{url}?dns={text}")), "2 200 application/dns-message");
    assert_eq!(curl(&[], &format!("{url}?dns=%")), "2 400 ");
    assert_eq!(curl(&[], &url.replace("/dns-query", "/metrics")), "2 404 ");
    assert_eq!(curl(&["-X", "PATCH"], &url), "2 405 ");
}

#[test]
fn sighup_takes_over_a_certificate_of_its_own() {
    if !require(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    };
    make("first.test");
    let settings = folder.path().join("tandem.toml");
    fs::write(&settings, format!("{SETTINGS}tls = {{ certificate = \"c.pem\", key = \"k.pem\" }}\n")).unwrap();
    let mut service = Setup::new().args(["--config", settings.to_str().unwrap()]).start();
    assert!(!certificate(&service).exists(), "none is made that nobody needs");
    let dot = address(&service, "dot").to_string();
    let shown = || {
        let text = run(Command::new("openssl").args(["s_client", "-connect", &dot, "-showcerts"])).stdout;
        let pem = text.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap_or_default();
        fs::read_to_string(folder.path().join("c.pem")).unwrap().contains(pem.split("-----END").next().unwrap().trim())
    };
    assert!(shown());
    make("second.test");
    assert!(!shown(), "not before it is told to");
    service.signal("HUP");
    wait_until(EFFECT, "the new certificate", shown);
    fs::write(folder.path().join("k.pem"), "no key").unwrap();
    service.signal("HUP");
    wait_until(EFFECT, "the reason in the log", || service.log().contains("certificate of DNS not taken over"));
    assert!(shown());
    assert!(service.stop().success(), "{}", service.log());
}

#[test]
fn what_cannot_be_served_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tandem.toml");
    fs::write(&file, "[dns]\nquic_listen = [\"127.0.0.1:53\"]\n\n[dns.tls]\ncertificate = \"c.pem\"\n").unwrap();
    let output = Setup::new().args(["--config", file.to_str().unwrap()]).start_fails();
    assert!(output.stderr.contains("tandem.toml:2: ") && output.stderr.contains("never served on port 53"), "{output}");
    assert!(output.stderr.contains("tandem.toml:5: dns.tls.certificate needs dns.tls.key"), "{output}");
}
