//! Zonemaster's checks of the zones that we serve, with nodes in them (issue B 7): as a registry runs them.
//!
//! Zonemaster starts at the root, asks on port 53 only, and finds fault with addresses for documents or private networks.
//! So the test runs itself again in a network namespace, where nobody else's addresses are in the way: BIND is the root
//! there, the directory has two name servers with both address families.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_testkit::{Service, Setup, repository};

use super::process::{self, Process};
use super::{netns, require, wait_for};

/// Addresses of the documents, and what stands for them here: not special (RFC 6890), and in networks of their own.
const STAND_INS: [(&str, &str); 3] =
    [("192.0.2.", "11.0.2."), ("198.51.100.", "11.51.100."), ("2001:db8:", "2600:db8:")];

/// The name servers of all zones: name, address. The first three are in the project's `ostn.test`, one is added here.
const SERVERS: [(&str, &str); 4] = [
    ("ns1.ostn.test.", "11.0.2.53"),
    ("ns1.ostn.test.", "2600:db8:53::1"),
    ("ns2.ostn.test.", "11.51.100.53"),
    ("ns2.ostn.test.", "2600:db8:51::1"),
];

/// The servers of the root.
const ROOT: [(&str, &str); 2] = [("a.root.", "11.98.0.1"), ("b.root.", "11.99.0.1")];

/// Zones under test, with a name in each that must be there, so that nobody checks empty zones.
const ZONES: [(&str, &str); 4] = [
    ("ostel.me", "_sips._tcp.debug.ostel.me"),
    ("ostn.test", "www.ostn.test"),
    ("peers.ostn.test", "_sips._tcp.debug.ostel.me.peers.ostn.test"),
    ("e164.ostn.test", "1.0.1.0.5.5.5.1.e164.ostn.test"),
];

/// Checks that need more than a name server: to which network operator an address belongs.
const LEFT_OUT: [&str; 1] = ["connectivity03"];

/// Messages at the level NOTICE that are right, and why.
const EXPLAINED: [(&str, &str); 7] = [
    ("NEITHER_DNSKEY_NOR_DS", "zones are not signed yet (DNS-90)"),
    ("NOT_SIGNED", "the same"),
    ("REFRESH_MINIMUM_VALUE_LOWER", "an hour: NOTIFY tells of changes, this is for when it is lost"),
    ("RETRY_MINIMUM_VALUE_LOWER", "ten minutes, for the same reason"),
    ("SOA_DEFAULT_TTL_MAXIMUM_VALUE_LOWER", "negative answers live 30 s: a new node is found soon (decision 5)"),
    ("RNAME_MAIL_DOMAIN_INVALID", "the project's zones have no mail server for ostn.test"),
    ("Z09_MISSING_MAIL_TARGET", "the same"),
];

#[test]
fn zonemaster_finds_no_fault() {
    if netns::inside().is_some() {
        return check_zones();
    }
    if !require(&["zonemaster-cli", "named", "ip", "unshare", "setpriv", "dig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = concat!(module_path!(), "::zonemaster_finds_no_fault");
    netns::run_inside(test, folder.path(), ROOT[0].1.parse().unwrap(), &[]);
}

/// What happens inside the namespace.
fn check_zones() {
    process::read("ip", &["link", "set", "lo", "up"]);
    for (_, address) in ROOT.iter().chain(&SERVERS) {
        let prefix = if address.contains(':') { "/128" } else { "/32" };
        process::read("ip", &["address", "add", &format!("{address}{prefix}"), "dev", "lo", "nodad"][..]);
    }
    let folder = tempfile::tempdir().unwrap();
    let _root = start_root(folder.path());
    let service = start_directory(folder.path());
    let profile = write_profile(folder.path());
    let hints = folder.path().join("hints");
    let text = ROOT.map(|(name, address)| format!(". 3600 IN NS {name}\n{name} 3600 IN A {address}\n")).concat();
    fs::write(&hints, text).unwrap();
    for (zone, inside) in ZONES {
        let answer = process::read("dig", &[&format!("@{}", SERVERS[3].1), "ANY", inside, "+noall", "+comments"][..]);
        assert!(answer.contains("status: NOERROR") && !answer.contains("ANSWER: 0"), "{inside}: {answer}");
        let faults: Vec<Value> = messages(zone, &profile, &hints).into_iter().filter(is_fault).collect();
        assert!(faults.is_empty(), "{zone}: {faults:#?}\n{}", service.log());
    }
}

/// What Zonemaster has to say about `zone`.
fn messages(zone: &str, profile: &Path, hints: &Path) -> Vec<Value> {
    let (profile, hints) = (profile.to_str().unwrap(), hints.to_str().unwrap());
    let arguments = ["--profile", profile, "--hints", hints, "--json", "--level", "INFO", "--no-progress", zone];
    let output = process::read("zonemaster-cli", &arguments);
    let report: Value = serde_json::from_str(output.trim()).unwrap_or_else(|error| panic!("{error}:\n{output}"));
    let messages = report["results"].as_array().or_else(|| report.as_array()).expect("a list").clone();
    // It has been through them all, and asked every server by UDP and TCP.
    for tag in
        ["HAS_PARENT", "ENOUGH_NS_CHILD", "ONE_SOA_SERIAL", "ARE_AUTHORITATIVE", "ADDRESSES_MATCH", "NO_RECURSOR"]
    {
        assert!(messages.iter().any(|message| message["tag"] == tag), "{zone}: no {tag} in {messages:#?}");
    }
    messages
}

fn is_fault(message: &Value) -> bool {
    let (level, tag) = (message["level"].as_str().expect("a level"), message["tag"].as_str().expect("a tag"));
    let is_explained = EXPLAINED.iter().any(|(explained, _)| *explained == tag);
    !(level == "INFO" || level == "NOTICE" && is_explained)
}

/// The settings without the checks that are left out, and with shorter waits: nothing is far away here.
fn write_profile(folder: &Path) -> std::path::PathBuf {
    let all: Value = serde_json::from_str(&process::read("zonemaster-cli", &["--dump-profile"])).unwrap();
    let cases: Vec<&Value> = all["test_cases"].as_array().expect("a list").iter().collect();
    let applicable: Vec<&Value> =
        cases.iter().copied().filter(|case| !LEFT_OUT.contains(&case.as_str().unwrap())).collect();
    assert_eq!(applicable.len() + LEFT_OUT.len(), cases.len());
    let file = folder.join("profile.json");
    let profile = json!({ "test_cases": applicable, "resolver": { "defaults": { "timeout": 10 } } });
    fs::write(&file, profile.to_string()).unwrap();
    file
}

/// BIND as the root, with delegations to the directory and the reverse names of its addresses.
fn start_root(folder: &Path) -> Process {
    let mut zone = "$TTL 3600\n. SOA a.root. hostmaster.root. 1 14400 3600 604800 300\n".to_owned();
    for (name, address) in ROOT {
        zone += &format!(". NS {name}\n{name} A {address}\n");
    }
    for delegated in ["ostn.test.", "ostel.me."] {
        zone += &format!("{delegated} NS ns1.ostn.test.\n{delegated} NS ns2.ostn.test.\n");
    }
    for (name, address) in SERVERS {
        let address: IpAddr = address.parse().unwrap();
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        zone += &format!("{name} {kind} {address}\n{} PTR {name}\n", reverse(address));
    }
    fs::write(folder.join("root.zone"), zone).unwrap();
    let listen = ROOT.map(|(_, address)| format!("{address}; ")).concat();
    let configuration = format!(
        "options {{ directory \"{}\"; pid-file none; session-keyfile none; recursion no; dnssec-validation no;\n\
         listen-on {{ {listen}}}; listen-on-v6 {{ none; }}; }};\ncontrols {{ }};\n\
         zone \".\" {{ type primary; file \"root.zone\"; }};\n",
        folder.display()
    );
    let file = folder.join("named.conf");
    fs::write(&file, configuration).unwrap();
    let arguments = ["-g".as_ref(), "-c".as_ref(), file.as_os_str()];
    let mut process = Process::start("named", &arguments, &folder.join("named.log"));
    let address: Ipv4Addr = ROOT[0].1.parse().unwrap();
    wait_for("BIND listens", || {
        process.assert_running();
        TcpStream::connect_timeout(&SocketAddr::from((address, 53)), Duration::from_secs(1)).ok()
    });
    process
}

/// The owner name of an address's PTR record.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", u128::from(address));
            digits.chars().rev().flat_map(|digit| [digit, '.']).chain("ip6.arpa.".chars()).collect()
        }
    }
}

/// The directory with the project's zones and two nodes, one of them foreign.
fn start_directory(folder: &Path) -> Service {
    let zones = folder.join("zones");
    fs::create_dir(&zones).unwrap();
    for (zone, _) in ZONES {
        let file = format!("{zone}.zone");
        let mut text = fs::read_to_string(repository().join("zones").join(&file)).unwrap();
        for (from, to) in STAND_INS {
            text = text.replace(from, to);
        }
        if zone == "ostn.test" {
            text.push_str(&format!("ns2 IN AAAA {}\n", SERVERS[3].1));
        }
        fs::write(zones.join(file), text).unwrap();
    }
    let listen: Vec<String> =
        SERVERS.iter().map(|(_, address)| SocketAddr::new(address.parse().unwrap(), 53).to_string()).collect();
    let service = Setup::new().zones(zones).args(listen.iter().flat_map(|address| ["--dns", address.as_str()])).start();
    for (domain, number) in [("debug.ostel.me", "+15550101"), ("sip.ostn.test", "+15550102")] {
        let document = json!({
            "targets": [{"host": format!("host.{domain}"), "port": 5061, "addresses": ["11.0.2.7", "2600:db8::7"]}],
            "numbers": [{"e164": number}, {"block": number.replace("+1555", "+1556")}],
        });
        let response = service.put_node(domain, &document);
        assert_eq!(response.status, 201, "{}", response.text);
    }
    service
}
