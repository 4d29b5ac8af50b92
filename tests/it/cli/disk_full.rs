//! A full disk: changes are refused and say why, everything else goes on, and room is all that it needs to recover.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tandem_testkit::{Response, Service, Setup, run, wait_until};

use super::{dig, node};
use crate::peer::skip;

/// The disk, in KiB: some room above an empty database.
const DISK: u32 = 2048;
/// Longest wait for the service to notice.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a test may have a disk of its own here.
fn has_namespaces() -> bool {
    let works = run(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"])).status.success();
    if !works {
        skip("`unshare --user --mount` does not work here: run as root, or allow users namespaces");
    }
    works
}

/// Takes all room that is left on the disk.
fn fill(data_dir: &Path) {
    let mut ballast = File::create(data_dir.join("ballast")).unwrap();
    for size in [65_536, 4096, 512, 1] {
        let piece = vec![b'x'; size];
        while ballast.write_all(&piece).is_ok() {}
    }
}

fn publish(service: &Service, domain: &str) -> Response {
    service.put_node(domain, &node(domain, "192.0.2.7"))
}

/// 503 with the time of the next try and what to do (API-30).
fn assert_refused(answer: &Response) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:tandem:problem:unavailable", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("whether the disk is full"), "{problem}");
}

fn failing(service: &Service) -> Value {
    service.get("/readyz").json()["failing"].clone()
}

#[test]
fn a_full_disk_stops_changes_and_nothing_else() {
    if !has_namespaces() {
        return;
    }
    let service = Setup::new().small_disk(DISK).start();
    for n in 0..20 {
        let domain = format!("n{n}.ostn.test");
        assert_eq!(publish(&service, &domain).status, 201);
    }
    let data = service.data_dir();
    fill(&data);
    // The log of the database has room for some changes yet: it has to grow first.
    let mut kept = 20;
    wait_until(PATIENCE, "changes are refused", || {
        let answer = publish(&service, &format!("n{kept}.ostn.test"));
        if answer.status == 201 {
            kept += 1;
            return false;
        }
        assert_refused(&answer);
        true
    });
    for (method, path) in [("DELETE", "/v1/nodes/n1.ostn.test"), ("POST", "/v1/nodes/n1.ostn.test/drain")] {
        assert_refused(&service.send(method, path, &[("if-match", "*")], None));
    }
    let line = node("line.ostn.test", "192.0.2.7").as_object().map(|node| {
        let mut node = node.clone();
        node.insert("domain".into(), "line.ostn.test".into());
        Value::from(node).to_string()
    });
    let import = service.client().try_send_lines("/v1/import", &line.unwrap()).unwrap();
    assert_refused(&import);
    let token = serde_json::json!({"role": "node", "names": ["n1.ostn.test"]});
    assert_refused(&service.send("POST", "/v1/tokens", &[], Some(&token)));
    // What needs no disk goes on.
    for n in [0, kept - 1] {
        let srv = dig(&service, &["SRV", &format!("_sips._tcp.n{n}.ostn.test"), "+short"]);
        assert_eq!(srv, format!("10 0 5061 sip.n{n}.ostn.test.\n"));
        let renewed = service.send("POST", &format!("/v1/nodes/n{n}.ostn.test/renew"), &[], None);
        assert_eq!(renewed.status, 200, "{}", renewed.text);
    }
    assert_eq!(dig(&service, &["SRV", &format!("_sips._tcp.n{kept}.ostn.test"), "+short"]), "", "not acknowledged");
    assert_eq!(service.get("/v1/nodes/n1.ostn.test").status, 200);
    wait_until(PATIENCE, "/readyz names the store", || failing(&service)[0] == "store");
    assert_eq!(service.get("/livez").status, 200);
    assert!(service.log().contains("nothing was written"), "{}", service.log());
    // A backup through the API needs room beside the database, and says so.
    let backup = service.get("/v1/backup");
    assert_eq!(backup.status, 503, "{}", backup.text);
    assert!(backup.json()["detail"].as_str().unwrap().contains("free room"), "{}", backup.text);
    // One that goes elsewhere does not.
    let told = service.tandem(["backup", "b.tandem"]).success();
    assert!(told.contains(&format!(": {kept} registrations")), "{told}");

    fs::remove_file(data.join("ballast")).unwrap();
    wait_until(PATIENCE, "it is ready again", || service.get("/readyz").status == 200);
    for n in 0..=kept {
        let domain = format!("n{n}.ostn.test");
        let expected = if n == kept { 404 } else { 200 };
        assert_eq!(service.get(&format!("/v1/nodes/{domain}")).status, expected, "{domain}");
    }
    assert_eq!(publish(&service, "after.ostn.test").status, 201);
    assert_eq!(service.delete("/v1/nodes/n1.ostn.test").status / 100, 2);
    let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("backup")), "no leftover: {names:?}");
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

#[test]
fn a_backup_onto_a_full_disk_leaves_nothing() {
    if !has_namespaces() {
        return;
    }
    let service = Setup::new().small_disk(DISK).start();
    assert_eq!(publish(&service, "n1.ostn.test").status, 201);
    fill(&service.data_dir());
    let output = service.tandem(["backup", "data/b.tandem"]).failure(1);
    assert!(output.contains("data/b.tandem") && output.contains("full"), "{output}");
    for name in ["b.tandem", "b.tandem.unfinished"] {
        assert!(!service.data_dir().join(name).exists(), "{name}: {output}");
    }
}
