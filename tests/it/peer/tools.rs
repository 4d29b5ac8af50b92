//! Issue A 9 (d): what `dig`, `kdig`, `drill`, unbound and BIND read from the directory.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::directory::Directory;
use super::dns_tool::Tool;
use super::guide;
use super::network::Loopback;
use super::process::{self, Process};
use super::recursor::Recursor;
use super::{require, wait_for};

/// The zones of the project's `zones/` folder.
const ZONES: [&str; 4] = ["ostel.me", "ostn.test", "peers.ostn.test", "e164.ostn.test"];

/// A node with everything: two targets, both address families, a key, numbers and a block.
fn document() -> Value {
    json!({
        "targets": [
            {"host": "sip.debug.ostel.me", "port": 5061, "priority": 10, "weight": 60,
             "addresses": ["203.0.113.7", "2001:db8::7"]},
            {"host": "sip2.debug.ostel.me", "port": 5081, "priority": 20, "weight": 0, "addresses": ["203.0.113.8"]}
        ],
        "numbers": [{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}, {"block": "+155502"}],
        "ttl": 60
    })
}

/// Name, type, status, and the answer as every tool must print it.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    (
        "debug.ostel.me",
        "NAPTR",
        "NOERROR",
        &[r#"debug.ostel.me. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.debug.ostel.me."#],
    ),
    (
        "_sips._tcp.debug.ostel.me",
        "SRV",
        "NOERROR",
        &[
            "_sips._tcp.debug.ostel.me. 60 IN SRV 10 60 5061 sip.debug.ostel.me.",
            "_sips._tcp.debug.ostel.me. 60 IN SRV 20 0 5081 sip2.debug.ostel.me.",
        ],
    ),
    ("sip.debug.ostel.me", "A", "NOERROR", &["sip.debug.ostel.me. 60 IN A 203.0.113.7"]),
    ("sip.debug.ostel.me", "AAAA", "NOERROR", &["sip.debug.ostel.me. 60 IN AAAA 2001:db8::7"]),
    // Nothing at the domain itself but its NAPTR; an empty non-terminal; what must never be there (PUB-2).
    ("debug.ostel.me", "A", "NOERROR", &[]),
    ("_tcp.debug.ostel.me", "SRV", "NOERROR", &[]),
    ("_sip._tcp.debug.ostel.me", "SRV", "NXDOMAIN", &[]),
    ("nobody.ostel.me", "NAPTR", "NXDOMAIN", &[]),
    (
        "_sips._tcp.debug.ostel.me.peers.ostn.test",
        "SRV",
        "NOERROR",
        &[
            "_sips._tcp.debug.ostel.me.peers.ostn.test. 60 IN SRV 10 60 5061 sip.debug.ostel.me.",
            "_sips._tcp.debug.ostel.me.peers.ostn.test. 60 IN SRV 20 0 5081 sip2.debug.ostel.me.",
        ],
    ),
    (
        "1.0.1.0.5.5.5.1.e164.ostn.test",
        "NAPTR",
        "NOERROR",
        &[r#"1.0.1.0.5.5.5.1.e164.ostn.test. 60 IN NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:alice@debug.ostel.me!" ."#],
    ),
    (
        "4.3.2.0.5.5.5.1.e164.ostn.test",
        "NAPTR",
        "NOERROR",
        &[r#"4.3.2.0.5.5.5.1.e164.ostn.test. 60 IN NAPTR 100 10 "u" "E2U+sip" "!^(.*)$!sip:\\1@debug.ostel.me!" ."#],
    ),
    ("9.9.1.0.5.5.5.1.e164.ostn.test", "NAPTR", "NXDOMAIN", &[]),
    ("mail.ostel.me", "A", "NOERROR", &["mail.ostel.me. 3600 IN A 192.0.2.25"]),
    (
        "www.ostn.test",
        "A",
        "NOERROR",
        &["directory.ostn.test. 3600 IN A 192.0.2.80", "www.ostn.test. 3600 IN CNAME directory.ostn.test."],
    ),
];

/// A directory with one node.
fn directory() -> Directory {
    let directory = Directory::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    directory.publish("debug.ostel.me", &document());
    directory
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

#[test]
fn dig_kdig_and_drill_read_every_answer() {
    if !require(&Tool::ALL.map(Tool::program)) {
        return;
    }
    let directory = directory();
    for (name, kind, status, answer) in ROWS {
        for tool in Tool::ALL {
            let reply = tool.ask(directory.dns(), false, name, kind);
            let what = format!("{} {name} {kind}", tool.program());
            assert_eq!((reply.status.as_str(), reply.authoritative), (*status, true), "{what}");
            assert_eq!(reply.answer, *answer, "{what}");
            if answer.is_empty() {
                // RFC 2308 2 and 5: the SOA, with the negative TTL of the zones' files.
                let soa = &reply.authority[..];
                assert!(soa.len() == 1 && soa[0].contains(" 30 IN SOA ns1.ostn.test. "), "{what}: {soa:?}");
            }
        }
    }
}

/// A NAPTR answer brings the rest of the chain, so that one question is enough (design, section 2).
#[test]
fn naptr_answer_carries_the_chain() {
    if !require(&Tool::ALL.map(Tool::program)) {
        return;
    }
    let directory = directory();
    let chain = [
        "_sips._tcp.debug.ostel.me. 60 IN SRV 10 60 5061 sip.debug.ostel.me.",
        "_sips._tcp.debug.ostel.me. 60 IN SRV 20 0 5081 sip2.debug.ostel.me.",
        "sip.debug.ostel.me. 60 IN A 203.0.113.7",
        "sip.debug.ostel.me. 60 IN AAAA 2001:db8::7",
        "sip2.debug.ostel.me. 60 IN A 203.0.113.8",
    ];
    for tool in Tool::ALL {
        let reply = tool.ask(directory.dns(), false, "debug.ostel.me", "NAPTR");
        assert_eq!(reply.additional, chain, "{}", tool.program());
    }
}

/// What the guide has an operator type first, and what it says that `dig` prints then.
#[test]
fn guide_shows_what_dig_prints() {
    if !require(&["dig"]) {
        return;
    }
    let directory = Directory::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let publish = guide::snippet("kamailio.md", "publish");
    // A backslash at a line's end goes on with the next.
    let mut words = publish.split_whitespace().filter(|&word| word != "\\");
    assert_eq!(words.next(), Some("tandem"));
    directory.tandem(words);
    let (server, port) = (format!("@{}", directory.dns().ip()), directory.dns().port().to_string());
    let look = guide::snippet("kamailio.md", "look");
    let steps: Vec<&str> = look.split("$ dig @203.0.113.53 ").skip(1).collect();
    assert!(!steps.is_empty(), "the guide shows questions");
    for step in steps {
        let (question, printed) = step.split_once('\n').expect("an answer follows each question");
        let mut arguments = vec![server.as_str(), "-p", &port];
        arguments.extend(question.split(' '));
        assert_eq!(process::read("dig", &arguments), printed, "dig {question}");
    }
}

/// Unbound, set up by the guide, finds all of it; its answers come from its cache, so only the TTL may be lower.
#[test]
fn unbound_reads_every_answer_through_stub_zones() {
    if !require(&["unbound", "unbound-checkconf", "dig"]) {
        return;
    }
    let folder = folder();
    let directory = directory();
    let address = Loopback::take().address();
    let recursor = Recursor::start(address.into(), directory.dns(), &folder.path().join("recursor"));
    let without_ttl = |record: &str| {
        record.split(' ').enumerate().filter(|(i, _)| *i != 1).map(|(_, w)| w.to_owned()).collect::<Vec<_>>()
    };
    for (name, kind, status, answer) in ROWS {
        let reply = Tool::Dig.ask(SocketAddr::new(recursor.address(), 53), true, name, kind);
        assert_eq!(reply.status, *status, "{name} {kind}");
        let read: Vec<_> = reply.answer.iter().map(|record| without_ttl(record)).collect();
        let wanted: Vec<_> = answer.iter().map(|record| without_ttl(record)).collect();
        assert_eq!(read, wanted, "{name} {kind}");
    }
}

/// BIND accepts every exported zone, and, serving them, answers each question as the directory does.
#[test]
fn bind_serves_the_export_alike() {
    if !require(&["named", "named-checkzone", "dig"]) {
        return;
    }
    let folder = folder();
    let directory = directory();
    for zone in ZONES {
        let file = folder.path().join(format!("{zone}.zone"));
        std::fs::write(&file, directory.export(zone)).expect("the folder is writable");
        // Warnings are faults too; names outside the zone are not looked up.
        let strict = ["-k", "fail", "-m", "fail", "-n", "fail", "-r", "fail", "-i", "local", zone];
        let mut arguments: Vec<&std::ffi::OsStr> = strict.iter().map(AsRef::as_ref).collect();
        arguments.push(file.as_os_str());
        let report = process::read("named-checkzone", &arguments);
        assert!(report.trim_end().ends_with("OK"), "{zone}: {report}");
    }
    let (_bind, bind) = start_bind(folder.path());
    for (name, kind, ..) in ROWS {
        let ours = Tool::Dig.ask(directory.dns(), false, name, kind);
        let theirs = Tool::Dig.ask(bind, false, name, kind);
        assert_eq!(
            (ours.status, ours.authoritative, ours.answer, ours.authority),
            (theirs.status, theirs.authoritative, theirs.answer, theirs.authority),
            "{name} {kind}: ours, then BIND's"
        );
    }
}

/// BIND with the zone files of `folder`, on a free port of 127.0.0.1 (it listens on addresses of an interface only).
fn start_bind(folder: &Path) -> (Process, SocketAddr) {
    // Free now; nobody else is given it again so soon.
    let address =
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a free port");
    let mut configuration = format!(
        "options {{ directory \"{folder}\"; pid-file none; session-keyfile none; recursion no; minimal-responses yes;\n\
         listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; dnssec-validation no; }};\ncontrols {{ }};\n",
        folder = folder.display(),
        port = address.port()
    );
    for zone in ZONES {
        configuration.push_str(&format!("zone \"{zone}\" {{ type primary; file \"{zone}.zone\"; }};\n"));
    }
    let file = folder.join("named.conf");
    std::fs::write(&file, configuration).expect("the folder is writable");
    let arguments = ["-g".as_ref(), "-c".as_ref(), file.as_os_str()];
    let mut process = Process::start("named", &arguments, &folder.join("named.log"));
    let (server, port) = ("@127.0.0.1", address.port().to_string());
    wait_for("BIND answers", || {
        process.assert_running();
        let question = [server, "-p", &port, ZONES[0], "SOA", "+tries=1", "+timeout=1"];
        let output = process::run("dig", &question);
        String::from_utf8_lossy(&output.stdout).contains("status: NOERROR").then_some(())
    });
    (process, address)
}
