//! Members whose servers are looked at, and the files made of them, read by the programs that they are for (issue E 4e, 4f).

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tandem_testkit::{AgentProcess, Service, wait_until};
use tempfile::TempDir;

use super::{NEWS, WAIT, act, directory};
use crate::peer::process::{self, Process};
use crate::peer::require;
use crate::probe::server::{Authority, Behaviour, Server};

/// The files, by their keys in the settings.
const FILES: [&str; 5] = ["ca_bundle", "kamailio_addresses", "kamailio_dispatchers", "freeswitch_acl", "nftables"];

/// A server with a certificate that nobody signed, and the hash of its key.
pub(crate) fn alone(domain: &str) -> (Behaviour, String) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new([domain.to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, domain);
    let certificate = parameters.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let hash = Sha256::digest(key.subject_public_key_info());
    (Behaviour::Answers(Arc::new(config)), hash.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// A directory with three members, and an agent that looks at them and writes all files.
pub(super) struct World {
    pub(super) service: Service,
    pub(super) agent: AgentProcess,
    folder: TempDir,
    /// By domain; they end with the test.
    pub(super) servers: BTreeMap<&'static str, Server>,
    authority: Authority,
}

impl World {
    /// `more` are settings of `[files]`.
    pub(super) fn start(more: impl FnOnce(&Path) -> String) -> Self {
        let service = directory();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        fs::write(folder.path().join("federation.pem"), &authority.pem).unwrap();
        fs::write(folder.path().join("token"), service.admin_token()).unwrap();
        let (behaviour, key) = alone("pinned.ostn.test");
        let servers = BTreeMap::from([
            ("good.ostn.test", Server::start("127.0.61.1", authority.certify("good.ostn.test"))),
            ("pinned.ostn.test", Server::start("127.0.61.2", behaviour)),
            // Its certificate is right in every way, but for the domain.
            ("evil.ostn.test", Server::start("127.0.61.3", authority.certify("good.ostn.test"))),
        ]);
        for (domain, server) in &servers {
            let target = json!({
                "host": format!("sip.{domain}"), "port": server.address.port(), "addresses": [server.address.ip()],
            });
            let mut document = json!({"targets": [target]});
            if *domain == "pinned.ostn.test" {
                document["keys"] = json!([{"holder": "node", "sha256": key}]);
            }
            let answer = service.put_node(domain, &document);
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
        let files: String = FILES.iter().map(|file| format!("{file} = \"{file}\"\n")).collect();
        let settings = format!(
            "directory = \"{}\"\ntoken_file = \"token\"\n[http]\nlisten = \"127.0.0.1:0\"\n[dns]\n\
             listen = [\"127.0.0.1:0\"]\nforward = [\"127.0.61.10:9\"]\n[files]\n{files}{}[check]\ncertificates = true\n\
             authorities = \"federation.pem\"\nallow_loopback_for_tests = true\n",
            service.api_url(),
            more(folder.path())
        );
        let agent = AgentProcess::start(folder.path(), &settings);
        Self { service, agent, folder, servers, authority }
    }

    pub(super) fn address(&self, domain: &str) -> SocketAddr {
        self.servers[domain].address
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    fn check(&self) -> Value {
        self.agent.status()["check"].clone()
    }

    /// Waits until all three were looked at, and the files say so.
    pub(super) fn wait_for_looks(&self) {
        wait_until(WAIT, "looks at all members", || self.check()["good"] == 2 && self.check()["bad"] == 1);
        wait_until(WAIT, "the files to say so", || {
            self.text("kamailio_dispatchers").lines().count() == 4
                && self.text("ca_bundle").contains("pinned.ostn.test")
        });
    }
}

/// Issue E 4f: a member that shows a certificate for another domain is given to nobody. Issue E 4e: who is compromised leaves
/// every file within two seconds, and the command ran.
#[test]
fn the_wrong_certificate_and_the_compromised_are_given_to_nobody() {
    let world = World::start(|folder| {
        format!("reload = [\"sh\", \"-c\", \"cat kamailio_dispatchers > {}\"]\n", folder.join("reloaded").display())
            .replace("cat ", &format!("cat {}/", folder.display()))
    });
    world.wait_for_looks();
    let dispatchers = world.text("kamailio_dispatchers");
    for (domain, is_in) in [("good.ostn.test", true), ("pinned.ostn.test", true), ("evil.ostn.test", false)] {
        let line = format!("1 sip:{};transport=tls 0 65525 domain={domain};weight=1\n", world.address(domain));
        assert_eq!(dispatchers.contains(&line), is_in, "{domain} in\n{dispatchers}");
    }
    assert!(world.check()["at_fault"]["evil.ostn.test"].as_str().unwrap().contains("names other domains"));
    let told = world.agent.tandem(["agent", "status"]).success();
    assert!(told.contains("evil.ostn.test: not authenticated"), "{told}");
    assert!(told.contains("dns        answers: 0 of members, 0 blocked, 0 forwarded, 0 failed\n"), "{told}");

    // Its certificate is mended: it is found out at the next change of its document, if not before.
    let begin = Instant::now();
    act(&world.service, "good.ostn.test", "compromised");
    act(&world.service, "pinned.ostn.test", "compromised");
    let named =
        |file: &str| ["good", "pinned"].iter().any(|name| world.text(file).contains(&format!("{name}.ostn.test")));
    wait_until(NEWS, "both to leave every file", || {
        let left = FILES.iter().all(|file| !named(file)) && !named("reloaded");
        left && !world.text("nftables").contains("127.0.61.1/") && world.path("reloaded").exists()
    });
    assert!(begin.elapsed() < NEWS, "{:?}", begin.elapsed());
    assert!(world.text("nftables").contains("127.0.61.3/32"), "nothing was said against evil but its certificate");
    let bundle = world.text("ca_bundle");
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1, "the federation's authority alone: {bundle}");
    assert!(!world.path("kamailio_dispatchers").with_file_name(".kamailio_dispatchers.new").exists());
}

/// Issue E 4f: routes and name service give out nobody with a wrong certificate.
#[test]
fn no_way_leads_to_a_wrong_certificate() {
    let world = World::start(|_| String::new());
    world.wait_for_looks();
    let route = |domain: &str| {
        let url = format!("{}/v1/route?uri=sip:alice@{domain}", world.agent.printed("http"));
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(url).call().unwrap();
        let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        (answer.status().as_u16(), body)
    };
    for domain in ["good.ostn.test", "pinned.ostn.test"] {
        let (status, body) = route(domain);
        assert_eq!((status, &body["targets"][0]["port"]), (200, &world.address(domain).port().into()), "{body}");
    }
    let (status, body) = route("evil.ostn.test");
    assert_eq!(
        (status, &body["outcome"], body["targets"].as_array().unwrap().len()),
        (503, &"down".into(), 0),
        "{body}"
    );
    assert!(body["why"].to_string().contains("names other domains"), "{body}");
    if !require(&["dig"]) {
        return;
    }
    let port = world.agent.printed("dns").rsplit(':').next().unwrap().to_owned();
    let ask = |domain: &str| {
        let name = format!("_sips._tcp.{domain}");
        process::read("dig", &["@127.0.0.1", "-p", &port, "+short", "+tries=1", &name, "SRV"])
    };
    wait_until(WAIT, "good ones in DNS", || {
        ask("good.ostn.test").contains("sip.good") && ask("pinned.ostn.test").contains("sip.pinned")
    });
    assert_eq!(ask("evil.ostn.test"), "");
    // Its certificate becomes right: its next look shows that.
    world.servers["evil.ostn.test"].become_(world.authority.certify("evil.ostn.test"));
    let target = json!({"host": "sip.evil.ostn.test", "port": world.address("evil.ostn.test").port(),
        "addresses": ["127.0.61.3"], "priority": 20});
    let answer = world.service.put_node("evil.ostn.test", &json!({"targets": [target]}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    wait_until(WAIT, "a route to the one that was mended", || route("evil.ostn.test").0 == 200);
    wait_until(WAIT, "its records", || ask("evil.ostn.test").contains("sip.evil"));
}

/// A start without looks yet does not empty what the last run wrote, and believes nothing new.
#[test]
fn a_start_keeps_what_was_good() {
    let mut world = World::start(|_| String::new());
    world.wait_for_looks();
    let before = (world.text("kamailio_dispatchers"), world.text("ca_bundle"));
    assert!(world.agent.stop().success());
    // Nobody can be reached now, so that nothing but the files can say who was good.
    let settings = fs::read_to_string(world.path("agent.toml")).unwrap();
    world.servers.values().for_each(|server| server.become_(Behaviour::Silent));
    let stranger = "1 sip:127.0.61.3:5061;transport=tls 0 65525 domain=stranger.ostn.test;weight=1\n";
    fs::write(world.path("kamailio_dispatchers"), format!("{}{stranger}", before.0)).unwrap();
    world.agent = AgentProcess::start(world.folder.path(), &settings);
    wait_until(WAIT, "the files to be looked at", || !world.text("kamailio_dispatchers").contains("stranger"));
    assert_eq!((world.text("kamailio_dispatchers"), world.text("ca_bundle")), before);
    // Looks that fail count, when they have failed; the certificates stay, for the keys are as they were.
    wait_until(WAIT, "the looks to fail", || world.text("kamailio_dispatchers").lines().count() == 2);
    assert_eq!(world.text("ca_bundle"), before.1);
}

/// The programs that the files are for read them: Kamailio, OpenSSL, nftables, an XML parser.
#[test]
fn programs_read_the_files() {
    if !require(&["kamailio", "kamcmd", "openssl", "nft", "unshare", "setpriv", "python3"]) {
        return;
    }
    let world = World::start(|folder| {
        let command = format!("kamcmd -s unix:{}/ctl", folder.display());
        format!(
            "reload = [\"sh\", \"-c\", \"export PATH=$PATH:/usr/sbin; {command} permissions.addressReload && {command} dispatcher.reload\"]\n"
        )
    });
    world.wait_for_looks();
    let folder = world.folder.path().display();

    let configuration = format!(
        "listen=udp:127.0.61.9:5060\nloadmodule \"sl.so\"\nloadmodule \"pv.so\"\nloadmodule \"ctl.so\"\n\
         loadmodule \"permissions.so\"\nloadmodule \"dispatcher.so\"\nmodparam(\"ctl\", \"binrpc\", \"unix:{folder}/ctl\")\n\
         modparam(\"permissions\", \"address_file\", \"{folder}/kamailio_addresses\")\n\
         modparam(\"permissions\", \"reload_delta\", 0)\n\
         modparam(\"dispatcher\", \"list_file\", \"{folder}/kamailio_dispatchers\")\n\
         modparam(\"dispatcher\", \"reload_delta\", 0)\nrequest_route {{ exit; }}\n"
    );
    fs::write(world.path("kamailio.cfg"), configuration).unwrap();
    let arguments = ["-DD", "-E", "-f", &format!("{folder}/kamailio.cfg"), "-w", &format!("{folder}"), "-Y"];
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).chain([folder.to_string()]).collect();
    let mut kamailio = Process::start("kamailio", &arguments, &world.path("kamailio.log"));
    let ask = |what: &str| {
        let output = process::run("kamcmd", &["-s", &format!("unix:{folder}/ctl"), what]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_until(WAIT, "Kamailio to answer", || {
        kamailio.assert_running();
        ask("core.version").contains("kamailio")
    });
    let addresses = ask("permissions.addressDump");
    for domain in ["good.ostn.test", "pinned.ostn.test", "evil.ostn.test"] {
        assert!(addresses.contains(&world.address(domain).ip().to_string()), "{domain}: {addresses}");
        assert!(addresses.contains(&format!("tag: {domain}")), "{domain}: {addresses}");
    }
    let destinations = ask("dispatcher.list");
    let destination = |domain: &str| format!("URI: sip:{};transport=tls", world.address(domain));
    assert!(destinations.contains(&destination("good.ostn.test")), "{destinations}");
    assert!(destinations.contains("BODY: domain=good.ostn.test;weight=1"), "{destinations}");
    assert!(!destinations.contains(&destination("evil.ostn.test")), "{destinations}");

    // OpenSSL ends the chains of both at the bundle: at the authority, and at a certificate that nobody signed.
    let chain_ends = |domain: &str| {
        let status = Command::new("openssl")
            .args(["s_client", "-no-CApath", "-no-CAstore", "-verify_return_error", "-CAfile"])
            .arg(world.path("ca_bundle"))
            .args(["-servername", domain, "-verify_hostname", domain, "-connect", &world.address(domain).to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    };
    assert!(chain_ends("good.ostn.test") && chain_ends("pinned.ostn.test"));
    assert!(!chain_ends("evil.ostn.test"), "the name is another");

    // Twice: the second time the sets are there.
    let nftables = world.path("nftables");
    let script = "PATH=$PATH:/usr/sbin; nft -f \"$0\" && nft -f \"$0\" && nft list table inet tandem";
    let table = process::read("unshare", &["-n", "sh", "-c", script, nftables.to_str().unwrap()]);
    assert!(table.contains("127.0.61.1") && table.contains("set members6"), "{table}");

    let program = "import sys, xml.etree.ElementTree as t\n\
                   for n in t.parse(sys.argv[1]).getroot().iter('node'): print(n.get('type'), n.get('cidr'))";
    let nodes = process::read("python3", &["-c", program, world.path("freeswitch_acl").to_str().unwrap()]);
    assert_eq!(nodes, "allow 127.0.61.3/32\nallow 127.0.61.1/32\nallow 127.0.61.2/32\n", "by name");

    // One PUT later Kamailio itself knows the compromised one no more.
    let begin = Instant::now();
    act(&world.service, "pinned.ostn.test", "compromised");
    wait_until(NEWS, "Kamailio to forget it", || {
        !ask("dispatcher.list").contains(&destination("pinned.ostn.test"))
            && !ask("permissions.addressDump").contains("pinned.ostn.test")
    });
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(ask("dispatcher.list").contains(&destination("good.ostn.test")));
    assert!(!chain_ends("pinned.ostn.test"), "nor does OpenSSL");
}
