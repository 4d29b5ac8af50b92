//! A signed zone behind a real validator: BIND's tools sign, unbound validates and answers, and what it proves decides.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tandem_model::locate::Dnssec;
use tandem_resolver::Outcome;

use super::*;

/// A running unbound; dropping it stops it.
struct Unbound {
    child: Child,
    address: SocketAddr,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Signs `zone` and gives its DS record as a trust anchor.
fn sign(folder: &Path, apex: &str, zone: &str) -> String {
    std::fs::write(folder.join(apex), zone).unwrap();
    let key = run("dnssec-keygen", folder, &["-a", "ECDSAP256SHA256", "-f", "KSK", apex]);
    run("dnssec-signzone", folder, &["-S", "-z", "-o", apex, "-f", &format!("{apex}.signed"), apex]);
    run("dnssec-dsfromkey", folder, &[&format!("{key}.key")])
}

/// Unbound that has these zones itself and validates what it has.
async fn start(folder: &Path, zones: &[&str], anchors: &[String]) -> Unbound {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut text = format!(
        "server:\n interface: 127.0.0.1@{port}\n port: {port}\n access-control: 127.0.0.0/8 allow\n do-daemonize: no\n \
         chroot: \"\"\n username: \"\"\n directory: \"{0}\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n \
         module-config: \"validator iterator\"\n num-threads: 1\n local-zone: \"test.\" nodefault\n",
        folder.display()
    );
    anchors.iter().for_each(|anchor| text.push_str(&format!(" trust-anchor: \"{anchor}\"\n")));
    text.push_str("remote-control:\n control-enable: no\n");
    for zone in zones {
        text.push_str(&format!(
            "auth-zone:\n name: \"{zone}\"\n zonefile: \"{zone}.signed\"\n for-downstream: no\n for-upstream: yes\n \
             fallback-enabled: no\n"
        ));
    }
    std::fs::write(folder.join("unbound.conf"), text).unwrap();
    let child = Command::new("unbound")
        .current_dir(folder)
        .args(["-d", "-c", "unbound.conf"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let unbound = Unbound { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
    let start = Instant::now();
    let server = format!("@{}", unbound.address.ip());
    loop {
        let port = port.to_string();
        let question = [&server, "-p", &port, "version.bind", "CH", "TXT", "+tries=1", "+timeout=1"];
        if Command::new("dig").args(question).stdout(Stdio::null()).status().unwrap().success() {
            return unbound;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "unbound does not answer");
    }
}

fn zone_text(apex: &str, port: u16, tlsa: &str) -> String {
    format!(
        "$TTL 60\n@ SOA ns hostmaster 1 3600 600 604800 30\n@ NS ns\nns A 127.0.0.1\n\
         @ NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.{apex}.\n_sips._tcp SRV 10 0 {port} sip\nsip A 127.0.0.1\n\
         _{port}._tcp.sip TLSA {tlsa}\n"
    )
}

/// CERT-57: a validator on loopback proves the whole chain, and TLSA decides; a broken signature leads nowhere.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skip is told")]
async fn a_real_validator() {
    let tools = ["unbound", "dnssec-signzone", "dnssec-keygen", "dnssec-dsfromkey", "dig"];
    let missing =
        |tool: &&&str| Command::new(tool).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    if let Some(tool) = tools.iter().find(missing) {
        eprintln!("skipped: there is no {tool}");
        return;
    }
    let private = authority("private");
    let shown = Shown::new(&private, vec![dns("x.invalid")], |_| ());
    let sip = Sip::start(&shown).await;
    let port = sip.address.port();
    let tlsa = format!("3 1 1 {}", hex(shown.spki_sha256()));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut anchors: Vec<String> =
        ["example.test", "broken.test"].iter().map(|apex| sign(folder, apex, &zone_text(apex, port, &tlsa))).collect();
    // Somebody changes a record behind the signature.
    let signed = std::fs::read_to_string(folder.join("broken.test.signed")).unwrap();
    let forged = signed.replace(&format!("10 0 {port} sip"), "10 0 666 sip");
    assert_ne!(forged, signed);
    std::fs::write(folder.join("broken.test.signed"), forged).unwrap();
    // A zone without a trust anchor is insecure.
    sign(folder, "plain.test", &zone_text("plain.test", port, &tlsa));
    anchors.retain(|anchor| !anchor.is_empty());
    let unbound = start(folder, &["example.test", "broken.test", "plain.test"], &anchors).await;

    let client = Client { reach: Reach::Any, ..Client::default() };
    let servers = NameServers::Only(vec![unbound.address]);
    let settings = Settings { servers, client, dnssec: DnssecTrust::Loopback, ..Settings::default() };
    let (connector, _) = Connector::new(Resolver::new(settings).unwrap(), [der(&private).clone()]);
    let locate = async |text: &str| connector.resolver().locate(&text.parse().unwrap()).await;

    let secure = locate("sip:alice@example.test").await;
    assert_eq!(secure.dnssec, Dnssec::Secure, "{secure:#?}");
    let connected = connector.connect(&secure).await.unwrap();
    assert_eq!(connected.by, VerifiedBy::DaneKey, "CERT-T17");
    assert_eq!(sip.asked_for.lock().unwrap().last().unwrap(), "sip.example.test", "CERT-46");

    let plain = locate("sip:alice@plain.test").await;
    assert_eq!(plain.dnssec, Dnssec::Insecure, "{plain:#?}");
    assert_eq!(word(&connector.connect(&plain).await), "OtherName", "CERT-T18: DANE does not apply");

    let broken = locate("sip:alice@broken.test").await;
    assert!(matches!(broken.outcome, Outcome::TryLater(_) | Outcome::Bogus(_)), "LOC-39: {broken:#?}");
}
