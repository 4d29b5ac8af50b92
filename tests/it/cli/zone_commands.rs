//! `tandem zone reload`, `diff` and `verify`, as an admin uses them one after the other.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tandem_testkit::{Service, Setup};

const ZONE: &str = "\
$TTL 300
@ SOA ns1.a.test. hostmaster.a.test. 1 3600 600 604800 30
@ NS ns1
@ NS ns2
ns1 A 192.0.2.1
ns2 A 192.0.2.2
";

fn write(folder: &Path, more: &str) {
    fs::write(folder.join("a.test.zone"), format!("{ZONE}{more}")).unwrap();
}

fn service(folder: &Path) -> Service {
    write(folder, "");
    let service = Setup::new().zones(folder).start();
    let document = json!({"targets": [{"host": "sip.n.a.test", "port": 5061, "addresses": ["203.0.113.7"]}]});
    assert_eq!(service.put_node("n.a.test", &document).status, 201);
    service
}

fn soa(service: &Service) -> String {
    let zones = service.tandem(["zone", "show", "a.test", "--json"]).success();
    serde_json::from_str::<Value>(&zones).unwrap()["zones"][0]["serial"].to_string()
}

#[test]
fn diff_then_reload() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    let zones = folder.path().to_str().unwrap();
    assert_eq!(service.tandem(["zone", "diff", "a.test", "--zones", zones]).success(), "", "nodes are not compared");

    write(folder.path(), "www A 192.0.2.80\nns2 A 192.0.2.3\n");
    fs::write(folder.path().join("b.test.zone"), ZONE).unwrap();
    let output = service.tandem(["zone", "diff", "a.test", "--zones", zones]);
    let stdout = output.stdout.clone();
    assert!(output.failure(1).contains("2 records would change"), "{stdout}");
    assert_eq!(stdout, "+ns2.a.test. 300 IN A 192.0.2.3\n+www.a.test. 300 IN A 192.0.2.80\n");
    let before = soa(&service);
    let printed = service.tandem(["zone", "reload"]).success();
    let words: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[1][..4], ["a.test", "changed", "+2", "-0"], "{printed}");
    assert_eq!(words[2][..4], ["b.test", "added", "+5", "-0"], "{printed}");
    assert_ne!(soa(&service), before, "DNS-70");
    assert_eq!(service.tandem(["zone", "diff", "a.test", "--zones", zones]).success(), "");
    assert!(service.tandem(["zone", "reload"]).success().starts_with("nothing changed; 2 zones served"));
}

#[test]
fn a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    let (before, export) = (soa(&service), service.tandem(["zone", "export", "a.test"]).success());
    for (id, more, told) in [
        ("syntax", "www A not-an-address\n", "a.test.zone:7: "),
        ("a node is in the way", "sip.n TXT \"mine\"\n", "the node n.a.test does not fit"),
    ] {
        write(folder.path(), more);
        let text = service.tandem(["zone", "reload"]).failure(1);
        assert!(text.contains(told) && !text.contains(folder.path().to_str().unwrap()), "{id}: {text}");
        assert_eq!(soa(&service), before, "{id}");
        assert_eq!(service.tandem(["zone", "export", "a.test"]).success(), export, "{id}: the old zone is served on");
    }
}

#[test]
fn verify_finds_what_loads_and_yet_fails() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    assert_eq!(service.tandem(["zone", "verify"]).success(), "a.test: right\n", "nodes' records are sound");
    write(folder.path(), "_sips._tcp SRV 0 0 5061 nobody\nwww CNAME nothing\n");
    service.tandem(["zone", "reload"]).success();
    let output = service.tandem(["zone", "verify", "a.test"]);
    let stdout = output.stdout.clone();
    assert!(output.failure(1).contains("1 fault found"), "{stdout}");
    assert!(stdout.contains("fault: _sips._tcp.a.test. SRV: the target nobody.a.test. has no address"), "{stdout}");
    assert!(stdout.contains("warning: www.a.test. CNAME: leads to nothing.a.test."), "{stdout}");
    let json = service.tandem(["zone", "verify", "a.test", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["findings"].as_array().unwrap().len(), 2, "{json}");
    assert!(service.tandem(["zone", "verify", "c.test"]).failure(1).contains("no zone c.test"));
}

/// The sample zones, as a first start serves them.
#[test]
fn the_sample_zones_are_sound() {
    let service = Service::start();
    let printed = service.tandem(["zone", "verify"]).success();
    assert!(printed.lines().count() == 4 && printed.lines().all(|line| line.ends_with(": right")), "{printed}");
}
