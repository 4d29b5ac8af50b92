//! What `tandem configure` prints for resolvers, run by them (issue E 6). Kamailio's is run in `kamailio`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use serde_json::{Value, json};
use tandem_testkit::{run, tandem};

use super::directory::Directory;
use super::network::Loopback;
use super::process::{self, Process};
use super::recursor::Recursor;
use super::{require, wait_for};

/// The piece for `file` of what `tandem` prints with `arguments`.
///
/// # Panics
///
/// When there is none.
pub(super) fn piece(arguments: &[&str], file: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let printed = run(Command::new(tandem()).args(arguments).arg("--json").current_dir(folder.path())).success();
    let printed: Value = serde_json::from_str(&printed).expect("it is JSON");
    let pieces = printed["pieces"].as_array().expect("there are pieces");
    let found = pieces.iter().find(|piece| piece["file"] == file).expect("the piece is there");
    found["text"].as_str().expect("a piece has a text").to_owned()
}

/// A directory with one node.
fn directory(address: Ipv4Addr, port: u16) -> Directory {
    let directory = Directory::start(SocketAddr::from((address, port)));
    let target = json!({"host": "sip.debug.ostel.me", "port": 5061, "addresses": ["203.0.113.7"]});
    directory.publish("debug.ostel.me", &json!({"targets": [target]}));
    directory
}

fn assert_finds_the_node(server: SocketAddr) {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let answer = wait_for("the resolver has the node", || {
        let arguments = [&*at, "-p", &port, "+short", "+tries=1", "+time=3", "SRV", "_sips._tcp.debug.ostel.me"];
        // dig fails while nobody answers.
        let asked = process::run("dig", &arguments);
        let answer = String::from_utf8(asked.stdout).expect("dig prints text");
        (asked.status.success() && !answer.is_empty()).then_some(answer)
    });
    assert_eq!(answer, "10 0 5061 sip.debug.ostel.me.\n");
}

#[test]
fn unbound_runs_what_is_printed() {
    if !require(&["unbound", "unbound-checkconf", "dig"]) {
        return;
    }
    let directory = directory(Ipv4Addr::LOCALHOST, 0);
    let (network, folder) = (Loopback::take(), tempfile::tempdir().expect("a folder for temporary files"));
    let server = directory.dns().to_string();
    let arguments = ["configure", "unbound", "--directory", &server, "--zone", "ostel.me", "--zone", "ostn.test"];
    let stubs = piece(&arguments, "unbound.conf");
    let recursor = Recursor::start_configured(network.address().into(), &stubs, &folder.path().join("unbound"));
    assert_finds_the_node(SocketAddr::new(recursor.address(), 53));
}

#[test]
fn bind_runs_what_is_printed() {
    if !require(&["named", "named-checkconf", "dig"]) {
        return;
    }
    // BIND's stub zones know port 53 only.
    let own = Loopback::take().address();
    let _directory = directory(own, 53);
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let server = own.to_string();
    let arguments = ["configure", "bind", "--directory", &server, "--zone", "ostel.me", "--zone", "ostn.test"];
    let (zones, options) = (piece(&arguments, "zones.conf"), piece(&arguments, "options.conf"));
    // A port that nothing has at this moment.
    let free = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let text = format!(
        "options {{\n    directory \"{folder}\"; pid-file none; session-keyfile \"{folder}/session.key\";\n    \
         listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion yes;\n{options}}};\ncontrols {{ }};\n{zones}",
        folder = folder.path().display(),
        port = address.port(),
    );
    let file = folder.path().join("named.conf");
    std::fs::write(&file, text).expect("the scratch folder is writable");
    let file = file.to_str().expect("the path is text");
    process::read("named-checkconf", &[file]);
    let _named = Process::start("named", &["-g", "-n", "1", "-c", file], &folder.path().join("named.log"));
    assert_finds_the_node(address);
}
