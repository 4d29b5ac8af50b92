//! `tandem explain` and `tandem check` beside real name servers and real SIP servers, well, ill and hostile.

mod check;
mod transcript;

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DnType, SanType, date_time_ymd};
use serde_json::{Value, json};
use tandem_testkit::{Output, Service, Setup, run, tandem};
use tempfile::TempDir;

use crate::agent::checked::alone;
use crate::probe::server::{Authority, Behaviour, Server};

/// What every master file begins with.
const ZONE: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";
/// Longest time that a command with `--timeout 2` takes on a busy machine.
const BOUND: Duration = Duration::from_secs(15);

/// Name servers for `a.test` and an authority that callers believe.
struct World {
    service: Service,
    authority: Authority,
    folder: TempDir,
}

impl World {
    /// `records` are those of the zone `a.test`, beside `ostn.test` and its zones.
    fn new(records: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let zones = folder.path().join("zones");
        fs::create_dir(&zones).unwrap();
        for (name, text) in [("a.test", records), ("ostn.test", ""), ("e164.ostn.test", ""), ("peers.ostn.test", "")] {
            fs::write(zones.join(format!("{name}.zone")), format!("{ZONE}{text}")).unwrap();
        }
        let config = folder.path().join("tandem.toml");
        fs::write(&config, "peers_zone = \"peers.ostn.test\"\n").unwrap();
        let authority = Authority::new();
        fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        let service = Setup::new().zones(zones).args(["--config", config.to_str().unwrap()]).start();
        Self { service, authority, folder }
    }

    /// A command that asks this world's name server and believes its authority.
    fn call(&self, args: &[&str]) -> Output {
        ask(self.service.dns_addr(), &self.folder, args, |command| {
            command.arg("--data-dir").arg(self.service.data_dir());
        })
    }

    fn explain(&self, args: &[&str]) -> Output {
        self.call(&[&["explain", "--ca", "ca.pem"], args].concat())
    }

    /// The report as JSON, and whether it ended well.
    fn explained(&self, called: &str) -> (Value, bool) {
        let output = self.explain(&[called, "--json"]);
        (parsed(&output), output.status.success())
    }

    /// Publishes `domain` with a target at each of these servers.
    fn publish(&self, domain: &str, servers: &[&Server]) {
        let targets = servers.iter().enumerate().map(|(at, server)| {
            let (address, port) = (server.address.ip(), server.address.port());
            json!({"host": format!("sip{at}.{domain}"), "port": port, "priority": 10 + at, "addresses": [address]})
        });
        let answer = self.service.put_node(domain, &json!({"targets": targets.collect::<Vec<_>>()}));
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
}

fn ask(server: SocketAddr, folder: &TempDir, args: &[&str], more: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(tandem());
    command.args(args).args(["--server", &server.to_string(), "--allow-private"]);
    command.current_dir(folder.path()).env("HOME", folder.path()).env_remove("XDG_CONFIG_HOME");
    more(&mut command);
    run(&mut command)
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// The codes of what is to be mended, in order.
fn codes(report: &Value) -> Vec<&str> {
    report["faults"].as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap()).collect()
}

#[test]
fn a_good_peer_is_shown_step_by_step_cert_20() {
    let world = World::new("");
    let server = Server::start("127.0.81.1", world.authority.certify("good.a.test"));
    world.publish("good.a.test", &[&server]);
    let text = world.explain(&["alice@good.a.test"]).success();
    for words in [
        "sip:alice@good.a.test",
        "_sips._tcp.good.a.test. 60 IN SRV 10 0 ",
        "\"s\" \"SIPS+D2T\" \"\" _sips._tcp.good.a.test.",
        "sip0.good.a.test. 60 IN A 127.0.81.1",
        "LOC-",
        "TLS 1.3",
        "good.a.test: the domain that is called, not the SRV target (CERT-20",
        "DNS:good.a.test",
        "answered with 200",
        "sip:alice@good.a.test can be called",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours where nobody looks: {text}");
    let (report, well) = world.explained("alice@good.a.test");
    assert!(well);
    assert_eq!((&report["verdict"], &report["callable"]), (&json!("callable"), &json!(true)), "{report:#}");
    let address = &report["addresses"][0];
    assert_eq!((&address["result"], &address["address"]), (&json!("ok"), &json!("127.0.81.1")), "{report:#}");
    assert_eq!(address["must_be"], json!({"by": "authorities", "names": ["good.a.test"], "rule": "CERT-20"}));
    assert_eq!((&address["verified_by"], &address["options"]), (&json!("authority"), &json!({"status": 200})));
    assert_eq!(address["certificate"]["identities"], json!(["good.a.test"]));
    assert!(address["connect_milliseconds"].as_f64().unwrap() >= 0.0);
    let names: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let stable = [
        "addresses",
        "called",
        "callable",
        "dnssec",
        "faults",
        "number",
        "outcome",
        "questions",
        "steps",
        "summary",
        "ttl",
        "uri",
        "verdict",
    ];
    assert!(stable.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(codes(&report).is_empty(), "{report:#}");
    assert_eq!(server.connections(), 2);
    // DNS alone.
    let found = world.explain(&["good.a.test", "--no-connect"]).success();
    assert!(found.contains("nobody was connected to"), "{found}");
    assert_eq!(server.connections(), 2);
}

#[test]
fn who_does_not_answer_is_told_apart() {
    let world = World::new("");
    let closed = TcpListener::bind("127.0.81.2:0").unwrap().local_addr().unwrap();
    let gone = json!({"targets": [{"host": "sip.gone.a.test", "port": closed.port(), "addresses": [closed.ip()]}]});
    assert_eq!(world.service.put_node("gone.a.test", &gone).status, 201);
    let (report, well) = world.explained("gone.a.test");
    assert_eq!((codes(&report), well), (vec!["refused"], false), "{report:#}");
    assert!(report["faults"][0]["mend"].as_str().unwrap().contains(&closed.port().to_string()), "{report:#}");
    for (domain, behaviour, code) in [
        ("silent.a.test", Behaviour::Silent, "silent"),
        ("drips.a.test", Behaviour::Drips, "silent"),
        ("closes.a.test", Behaviour::Closes, "no-tls"),
    ] {
        let server = Server::start("127.0.81.3", behaviour);
        world.publish(domain, &[&server]);
        let since = Instant::now();
        let output = world.explain(&[domain, "--json", "--timeout", "2"]);
        assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
        assert_eq!((codes(&parsed(&output)), output.status.code()), (vec![code], Some(1)), "{output}");
    }
    // One of two is well: calls get through.
    let well = Server::start("127.0.81.4", world.authority.certify("half.a.test"));
    let ill = Server::start("127.0.81.5", Behaviour::Closes);
    world.publish("half.a.test", &[&ill, &well]);
    let (report, callable) = world.explained("half.a.test");
    assert!(callable);
    assert_eq!((&report["verdict"], codes(&report)), (&json!("callable-in-part"), vec!["no-tls"]), "{report:#}");
}

/// CERT-20, CERT-1, CERT-6: each wrong certificate is named as what it is, and nobody is spoken to in SIP.
#[test]
fn a_wrong_certificate_is_told_as_what_it_is_cert_1() {
    let world = World::new("");
    let stranger = Authority::new();
    let dated = |from: i32, to: i32| {
        let mut parameters = CertificateParams::new(vec!["wrong.a.test".to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        parameters
    };
    let mut nameless = CertificateParams::default();
    nameless.distinguished_name.push(DnType::CommonName, "wrong.a.test");
    let mut sips = CertificateParams::default();
    sips.subject_alt_names.push(SanType::URI("sips:wrong.a.test".try_into().unwrap()));
    let server = Server::start("127.0.81.6", Behaviour::Closes);
    world.publish("wrong.a.test", &[&server]);
    for (behaviour, expected) in [
        (world.authority.certify("sip0.wrong.a.test"), &["certificate-other-name"][..]),
        (world.authority.certify("*.a.test"), &["certificate-other-name"]),
        (stranger.certify("wrong.a.test"), &["certificate-untrusted"]),
        (stranger.certify("other.test"), &["certificate-untrusted", "certificate-other-name"]),
        (world.authority.certify_as(&dated(2001, 2002)), &["certificate-expired"]),
        (world.authority.certify_as(&dated(2090, 2091)), &["certificate-not-yet-valid"]),
        (world.authority.certify_as(&nameless), &["certificate-without-name"]),
        (world.authority.certify_as(&sips), &["certificate-without-name"]),
    ] {
        server.become_(behaviour);
        let (report, well) = world.explained("wrong.a.test");
        assert_eq!((codes(&report), well), (expected.to_vec(), false), "{report:#}");
        assert_eq!(report["addresses"][0]["options"], Value::Null, "{report:#}");
        assert!(report["addresses"][0]["certificate"]["sha256"].is_string(), "{report:#}");
    }
}

#[test]
fn a_number_is_followed_to_its_server_enum_35() {
    let world = World::new("");
    let server = Server::start("127.0.81.7", world.authority.certify("num.a.test"));
    let target = json!({"host": "sip.num.a.test", "port": server.address.port(), "addresses": [server.address.ip()]});
    let document = json!({"targets": [target], "numbers": [{"e164": "+15550101", "uri": "sip:alice@num.a.test"}]});
    assert_eq!(world.service.put_node("num.a.test", &document).status, 201);
    let text = world.explain(&["+1-555-0101", "--enum-suffix", "e164.ostn.test"]).success();
    for words in ["1.0.1.0.5.5.5.1.e164.ostn.test.", "E2U+sip", "the number +15550101 is sip:alice@num.a.test", "200"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let nobody = world.explain(&["+15550102", "--enum-suffix", "e164.ostn.test", "--json"]);
    assert_eq!((codes(&parsed(&nobody)), nobody.status.code()), (vec!["no-such-number"], Some(1)));
}

/// A caller who knows a directory's documents holds members to the keys in them; another needs an authority (CERT-44).
#[test]
fn a_directory_gives_the_keys_that_decide_cert_44() {
    let world = World::new("");
    let (behaviour, key) = alone("pinned.a.test");
    let server = Server::start("127.0.81.10", behaviour);
    let target =
        json!({"host": "sip.pinned.a.test", "port": server.address.port(), "addresses": [server.address.ip()]});
    let document = json!({"targets": [target], "keys": [{"holder": "node", "sha256": key}]});
    assert_eq!(world.service.put_node("pinned.a.test", &document).status, 201);
    let (report, well) = world.explained("pinned.a.test");
    assert_eq!((codes(&report), well), (vec!["certificate-untrusted"], false), "{report:#}");
    let api = ["pinned.a.test", "--json", "--api", world.service.api_url()];
    let output = world.explain(&api);
    let report = parsed(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["addresses"][0]["verified_by"], "pinned-key", "{report:#}");
    assert_eq!((&report["member"]["told_by"], &report["member"]["keys"]), (&json!("directory"), &json!(1)));
    // A directory that cannot be asked is told, and the rest is done without it.
    let output = world.explain(&["pinned.a.test", "--json", "--api", "http://127.0.0.1:9"]);
    let report = parsed(&output);
    assert_eq!(codes(&report), ["members-unknown", "certificate-untrusted"], "{report:#}");
    assert_eq!(output.status.code(), Some(1));
}

/// LOC-39, LOC-36: what DNS says decides; what it cannot say is never taken for "no".
#[test]
fn what_dns_lacks_is_told_loc_39() {
    let plain = "_sip._udp.plain IN SRV 0 0 5060 sip.plain\nsip.plain IN A 127.0.81.8\n";
    let only = "only IN NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.only\n";
    let world = World::new(&format!("{plain}{only}_sips._tcp.no IN SRV 0 0 0 .\n"));
    for (called, expected) in [
        ("nobody.a.test", "no-such-domain"),
        ("plain.a.test", "plaintext-only"),
        ("only.a.test", "plaintext-only"),
        ("no.a.test", "service-denied"),
        ("sip:192.0.2.9", "address-for-domain"),
    ] {
        let (report, well) = world.explained(called);
        assert!(codes(&report).contains(&expected) && !well, "{called}: {report:#}");
    }
    // A name server on this machine may be an agent, and that has more to tell.
    let mend = world.explained("nobody.a.test").0["faults"][0]["mend"].as_str().unwrap().to_owned();
    assert!(mend.contains("--agent FILE"), "{mend}");
    // A name server that fails at everything.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let broken = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut octets) {
            // QR, RD and RA set, RCODE 2, the OPT record left out.
            let end = 12 + octets[12..len].iter().position(|octet| *octet == 0).unwrap() + 5;
            (octets[2], octets[3], octets[11]) = (0x81, 0x82, 0);
            socket.send_to(&octets[..end], from).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let output = ask(broken, &folder, &["explain", "alice@a.test", "--json"], |_| ());
    assert_eq!((codes(&parsed(&output)), output.status.code()), (vec!["dns-failed"], Some(1)), "{output}");
}

/// Strangers' words reach a terminal as text alone; and wrong usage is told as such.
#[test]
fn hostile_words_are_shown_harmless() {
    let world = World::new("");
    let mut parameters = CertificateParams::new(vec!["other.test".to_owned()]).unwrap();
    parameters.subject_alt_names.push(SanType::URI("x:\u{1b}]0;owned\u{7}\r\nok".try_into().unwrap()));
    parameters.distinguished_name.push(DnType::CommonName, "a\u{9b}31m\u{202e}b");
    let server = Server::start("127.0.81.9", world.authority.certify_as(&parameters));
    world.publish("evil.a.test", &[&server]);
    let naptr = "1.e164.a.test. IN NAPTR 1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:\\027[31mx@evil.a.test!\" .\n";
    fs::write(world.folder.path().join("zones/e164.a.test.zone"), format!("{ZONE}{naptr}")).unwrap();
    assert!(world.service.tandem(["zone", "reload"]).status.success());
    for args in [&["evil.a.test"][..], &["+1", "--enum-suffix", "e164.a.test"]] {
        for json in [&[][..], &["--json"]] {
            let output = world.explain(&[args, json].concat());
            assert!(!output.status.success());
            let all = format!("{}{}", output.stdout, output.stderr);
            let orders = all.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').count();
            assert_eq!(orders, 0, "{all:?}");
            assert!(all.contains("\\u{1b}") || all.contains("\\\\u{1b}"), "{all}");
        }
    }
    for args in [&["explain"][..], &["explain", "a b@c"], &["explain", "a.test", "--timeout", "0"], &["check", "a..b"]]
    {
        assert_eq!(world.call(args).status.code(), Some(2), "{args:?}");
    }
}
