//! `tandem backup` and `tandem restore`: a directory comes back as it was, and everybody who followed it goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use tandem_testkit::{Service, Setup, run, tandem};

use super::{dig, node};

/// The SOA serial that the service has of the peers zone.
fn serial(service: &Service) -> u32 {
    let soa = dig(service, &["SOA", "peers.ostn.test", "+short"]);
    soa.split(' ').nth(2).unwrap().parse().unwrap()
}

/// Whether a secondary with `old` takes `new` for newer (RFC 1982 3.2).
fn is_newer(new: u32, old: u32) -> bool {
    new != old && new.wrapping_sub(old) < 1 << 31
}

/// Runs `tandem` in the service's folder and reads its JSON.
fn told(service: &Service, words: &str) -> Value {
    serde_json::from_str(&service.tandem(words.split(' ')).success()).unwrap()
}

#[test]
fn a_lost_directory_comes_back() {
    let mut service = Service::start();
    for n in 0..20 {
        let domain = format!("n{n}.ostn.test");
        assert_eq!(service.put_node(&domain, &node(&domain, "192.0.2.7")).status, 201);
    }
    service.tandem(["nodes", "drain", "n3.ostn.test"]).success();
    let token = told(&service, "token new --name n1.ostn.test --json")["secret"].as_str().unwrap().to_owned();
    service.tandem(["invite", "n2.ostn.test"]).success();
    let before = service.tandem(["export"]).success();

    let made = told(&service, "backup b.tandem --json");
    assert_eq!((&made["nodes"], &made["invitations"]), (&json!(20), &json!(1)), "{made}");
    let file = service.home().join("b.tandem");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = service.tandem(["backup", "b.tandem"]).failure(1);
    assert!(again.contains("--force"), "{again}");
    assert_eq!(told(&service, "restore --check b.tandem --json"), made);
    // The same from elsewhere, through the API.
    let api = service.api_url().to_owned();
    let remote = told(&service, &format!("backup remote.tandem --json --api {api}"));
    assert_eq!((&remote["nodes"], &remote["digest"]), (&made["nodes"], &made["digest"]));
    let octets = fs::read(service.home().join("remote.tandem")).unwrap();
    assert!(octets.windows(token.len()).all(|window| window != token.as_bytes()), "tokens are hashes");
    let admin = service.admin_token();
    assert!(octets.windows(admin.len()).all(|window| window != admin.as_bytes()));

    // What comes afterwards is lost with the disk, but secondaries and listeners have seen it.
    assert_eq!(service.put_node("late.ostn.test", &node("late.ostn.test", "192.0.2.8")).status, 201);
    service.tandem(["nodes", "compromised", "n4.ostn.test"]).success();
    let (seen, last) = (serial(&service), service.get("/v1/changes?after=0").json()["last"].as_u64().unwrap());
    let refused = service.tandem(["restore", "b.tandem", "--force"]).failure(1);
    assert!(refused.contains("in use by another process"), "{refused}");
    service.stop();
    let untold = service.tandem(["restore", "b.tandem"]).failure(1);
    assert!(untold.contains("--force"), "{untold}");
    fs::remove_dir_all(service.data_dir()).unwrap();
    let restored = service.tandem(["restore", "b.tandem"]).success();
    assert!(
        restored.contains("zones go on at serial ") && restored.contains("1 invitations were withdrawn"),
        "{restored}"
    );
    assert!(restored.contains("admin tokens that are valid, whoever has them by now: 1;"), "{restored}");

    let service = service.restart();
    assert_eq!(service.tandem(["export"]).success(), before);
    assert!(is_newer(serial(&service), seen), "{} after {seen}", serial(&service));
    let shown = service.get("/v1/nodes/n3.ostn.test").json();
    assert_eq!(shown["state"], "draining", "{shown}");
    assert_eq!(dig(&service, &["SRV", "_sips._tcp.n4.ostn.test", "+short"]), "10 0 5061 sip.n4.ostn.test.\n");
    // A listener of before is told to begin anew, and an IXFR from then is a whole zone.
    let answer = service.get(&format!("/v1/changes?after={last}&wait=0"));
    assert_eq!(answer.status, 410, "{}", answer.text);
    let mut client = service.client();
    client.set_token(&token);
    let answer = client.try_send("GET", "/v1/nodes/n1.ostn.test", &[], None).unwrap();
    assert_eq!(answer.status, 200, "tokens stay valid");
    client.set_token(&admin);
    assert_eq!(client.try_send("GET", "/v1/tokens", &[], None).unwrap().status, 200, "an admin's, too, as it was said");
    let now = serial(&service);
    assert_eq!(service.put_node("new.ostn.test", &node("new.ostn.test", "192.0.2.9")).status, 201);
    assert!(is_newer(serial(&service), now));
}

/// Writes go on while a backup is made through the API, and one at a time is made.
#[test]
fn only_admins_get_a_backup() {
    let service = Service::start();
    let token = told(&service, "token new --role read --json")["secret"].as_str().unwrap().to_owned();
    let mut client = service.client();
    for (token, status) in [(token.as_str(), 403), ("tandem_nobody", 401)] {
        client.set_token(token);
        assert_eq!(client.try_send("GET", "/v1/backup", &[], None).unwrap().status, status);
    }
    let answer = service.send("GET", "/v1/backup?all=1", &[], None);
    assert_eq!(answer.status, 400, "{}", answer.text);
}

#[test]
fn a_backup_needs_something_to_back_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), "no backup").unwrap();
    let call = |words: &[&str]| run(Command::new(tandem()).args(words).current_dir(folder.path()));
    // Nothing here: the API is asked, where nobody is.
    let output = call(&["backup", "b", "--api", "http://127.0.0.1:1"]).failure(1);
    assert!(output.contains("cannot reach the API"), "{output}");
    let output = call(&["restore", "x"]).failure(1);
    assert!(output.contains("x is damaged: it is too short"), "{output}");
    let output = call(&["restore", "nowhere"]).failure(1);
    assert!(output.contains("nowhere"), "{output}");
    assert!(!folder.path().join("b").exists() && !folder.path().join("data/tandem.db").exists());
}

/// The store of a service that was restored holds what `tandem import` and `export` carry, and the other way round.
#[test]
fn export_and_import_carry_all_of_a_document() {
    let service = Service::start();
    let document = json!({
        "targets": [
            {"host": "sip1.all.ostn.test", "port": 5061, "priority": 5, "weight": 7, "addresses": ["192.0.2.1", "2001:db8::1"]},
            {"host": "sip2.all.ostn.test", "port": 5062, "addresses": ["192.0.2.2"]},
        ],
        "numbers": [{"e164": "+15550101", "uri": "sip:alice@all.ostn.test"}, {"block": "+1555777"}],
        "ttl": 120,
        "lease_seconds": 86_400,
        "contact": "ops@all.ostn.test",
        "sources": ["192.0.2.0/24"],
    });
    let answer = service.put_node("all.ostn.test", &document);
    assert_eq!(answer.status, 201, "{}", answer.text);
    let exported = service.tandem(["export"]).success();
    let line: Value = serde_json::from_str(exported.trim()).unwrap();
    for member in document.as_object().unwrap().keys() {
        assert!(line.get(member).is_some(), "{member} is not exported: {line}");
    }
    let other = Setup::new().start();
    fs::write(other.home().join("all.ndjson"), &exported).unwrap();
    other.tandem(["import", "all.ndjson"]).success();
    assert_eq!(other.tandem(["export"]).success(), exported);
    // What an admin took out of DNS can be left out.
    service.tandem(["nodes", "suspend", "all.ostn.test"]).success();
    assert_eq!(service.tandem(["export", "--state", "active"]).success(), "");
    let node = |service: &Service| service.get("/v1/nodes/all.ostn.test").json()["node"].clone();
    assert_eq!(node(&other), node(&service));
}
