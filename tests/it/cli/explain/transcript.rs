//! The transcripts of docs/guides/troubleshooting.md are what the program prints.

use std::fs;
use std::net::TcpListener;

use serde_json::json;
use tandem_testkit::repository;

use super::World;
use crate::probe::server::Server;

const PAGE: &str = "docs/guides/troubleshooting.md";
/// Set to rewrite the page.
const UPDATE: &str = "TANDEM_UPDATE_DOCS";

/// What differs from run to run, as the page shows it: addresses, ports, times, dates, and the authority's name.
fn masked(text: &str, address: &str, port: u16) -> String {
    let text = text.replace(address, "203.0.113.7").replace(&port.to_string(), "5061");
    let text = text.replace("CN=rcgen self signed cert", "CN=Federation CA");
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |at: usize| {
            let next = words.get(at + 1).copied().unwrap_or_default();
            let is_number =
                words[at].trim_start_matches('(').bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
            let is_day = words[at].bytes().filter(|octet| *octet == b'-').count() == 2;
            match words[at] {
                word if is_number && word.starts_with('(') && next.starts_with("days") => "(…",
                _ if is_number && next.starts_with("ms") => "…",
                word if is_day && word.bytes().all(|octet| octet.is_ascii_digit() || octet == b'-') => "…",
                word => word,
            }
        };
        let line: Vec<&str> = (0..words.len()).map(word).collect();
        lines.push(line.join(" "));
    }
    lines.join("\n")
}

/// The block behind `<!-- transcript: name -->` with its fences: where it begins and ends.
fn block(page: &str, name: &str) -> std::ops::Range<usize> {
    let mark = format!("<!-- transcript: {name} -->\n```text\n");
    let begin = page.find(&mark).unwrap_or_else(|| panic!("{PAGE}: no {mark}")) + mark.len();
    begin..begin + page[begin..].find("\n```\n").unwrap()
}

#[test]
fn the_transcripts_of_the_guide_are_true() {
    let world = World::new("");
    let domain = "debug.ostn.test";
    let good = Server::start("127.0.83.1", world.authority.certify(domain));
    let wrong = Server::start("127.0.83.1", world.authority.certify("sip.debug.ostn.test"));
    let dead = TcpListener::bind("127.0.83.1:0").unwrap().local_addr().unwrap();
    let path = repository().join(PAGE);
    let mut page = fs::read_to_string(&path).unwrap();
    for (name, address) in [("good", good.address), ("dead", dead), ("wrong-certificate", wrong.address)] {
        let target = json!({"host": "sip.debug.ostn.test", "port": address.port(), "addresses": [address.ip()]});
        let published = world.service.put_node(domain, &json!({"targets": [target]}));
        assert!([200, 201].contains(&published.status), "{}", published.text);
        let output = world.explain(&["alice@debug.ostn.test"]);
        let typed = "$ tandem explain alice@debug.ostn.test --ca federation-ca.pem";
        let shown = format!("{}{}", output.stdout, output.stderr);
        let shown = masked(&format!("{typed}\n{shown}"), &address.ip().to_string(), address.port());
        let place = block(&page, name);
        if std::env::var_os(UPDATE).is_some() {
            page.replace_range(place, &shown);
        } else {
            assert_eq!(page[place], shown, "{name}: run this test with {UPDATE}=1, and look at the difference");
        }
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, page).unwrap();
    }
}
