//! The copy follows the directory, and outlives it.

use std::fs;

use serde_json::json;

use super::{Beside, NEWS, WAIT, act, directory, publish};
use tandem_testkit::{Service, Setup, wait_until};

/// Registers `count` nodes.
fn import(service: &Service, count: usize) {
    let line = |at: usize| {
        let domain = format!("n{at}.ostn.test");
        json!({
            "domain": domain,
            "targets": [{"host": format!("sip.{domain}"), "port": 5061, "addresses": ["203.0.113.7"]}],
        })
    };
    let text: String = (0..count).map(|at| format!("{}\n", line(at))).collect();
    let file = service.home().join("nodes.ndjson");
    fs::write(&file, text).unwrap();
    let _ = service.tandem(["import", file.to_str().unwrap()]).success();
}

#[test]
fn a_thousand_members_and_every_change() {
    let mut service = directory();
    import(&service, 1000);
    let mut beside = Beside::in_step(&service);
    assert_eq!((beside.status().members, beside.status().callable), (1000, 1000));
    let first = beside.snapshot();

    publish(&service, "n7.ostn.test", 5071);
    beside.wait_for_port(NEWS, "n7.ostn.test", Some(5071));
    act(&service, "n8.ostn.test", "compromised");
    beside.wait_for_port(NEWS, "n8.ostn.test", None);
    let compromised = beside.member("n8.ostn.test").unwrap();
    assert_eq!((compromised.state.as_str(), compromised.reason.as_deref()), ("compromised", Some("a test")));
    assert!(compromised.node.is_none(), "nothing is left to be called");
    act(&service, "n9.ostn.test", "drain");
    wait_until(NEWS, "n9 to be tried last", || {
        let member = beside.member("n9.ostn.test").unwrap();
        member.shown().unwrap().targets()[0].priority == 10_010
    });
    assert_eq!(service.delete("/v1/nodes/n10.ostn.test").status, 200);
    wait_until(NEWS, "n10 to be gone", || beside.member("n10.ostn.test").is_none());
    act(&service, "n8.ostn.test", "restore");
    beside.wait_for_port(NEWS, "n8.ostn.test", Some(5061));
    let mut changed: Vec<String> =
        beside.snapshot().members.difference(&first.members).iter().map(ToString::to_string).collect();
    changed.sort();
    assert_eq!(changed, ["n10.ostn.test", "n7.ostn.test", "n9.ostn.test"], "n8 is as it was");

    // The directory is killed, and knows more when it is back.
    service.kill();
    wait_until(WAIT, "the loss to be seen", || !beside.status().in_step);
    assert_eq!(beside.port("n7.ostn.test"), Some(5071), "members stay");
    assert!(beside.status().stale_since.is_some());
    let before = beside.status().position;
    let service = service.restart();
    publish(&service, "n11.ostn.test", 5072);
    beside.wait_for_port(WAIT, "n11.ostn.test", Some(5072));
    beside.wait_in_step();
    assert!(beside.status().position > before);

    // Without the directory, from disk.
    let members = beside.snapshot();
    beside.stop();
    drop(service);
    beside.start();
    assert_eq!(beside.port("n11.ostn.test"), Some(5072), "as soon as it is started");
    let again = beside.snapshot();
    assert!(again.members.difference(&members.members).is_empty());
    assert_eq!(again.members.len(), 999);
    assert!(!beside.status().in_step);
}

#[test]
fn a_torn_copy_costs_the_newest_only() {
    let mut service = directory();
    import(&service, 20);
    let mut beside = Beside::in_step(&service);
    publish(&service, "n3.ostn.test", 5073);
    beside.wait_for_port(NEWS, "n3.ostn.test", Some(5073));
    beside.stop();
    service.kill();
    let file = beside.log_file();
    let whole = fs::read(&file).unwrap();
    let lines = whole.iter().filter(|octet| **octet == b'\n').count();
    assert!(lines >= 23, "a head, 20 members, one again, two places: {lines}");
    for cut in [0, 1, 10, 23, whole.len() / 3, whole.len() / 2, whole.len() - 100, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        beside.start();
        let kept = whole[..cut].iter().filter(|octet| **octet == b'\n').count().saturating_sub(1);
        assert_eq!(beside.status().members, kept.min(20), "cut at {cut}");
        beside.stop();
    }
    // With garbage in the middle, and the directory in reach, all is as it was.
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x20;
    fs::write(&file, &damaged).unwrap();
    let _service = service.restart();
    beside.start();
    beside.wait_in_step();
    assert_eq!((beside.status().members, beside.port("n3.ostn.test")), (20, Some(5073)));
}

#[test]
fn another_token_may_be_needed() {
    let service = directory();
    publish(&service, "debug.ostn.test", 5061);
    let beside = Beside::in_step(&service);
    // The token ends, and the stream with the directory.
    let tokens = service.get("/v1/tokens").json();
    let read = tokens["tokens"].as_array().unwrap().iter().find(|token| token["role"] == "read").unwrap();
    assert_eq!(service.delete(&format!("/v1/tokens/{}", read["id"].as_str().unwrap())).status, 204);
    let service = service.restart();
    let error = || beside.status().error.unwrap_or_default();
    wait_until(WAIT, "a word about the token", || error().contains("the token is not valid any more"));
    assert_eq!(beside.port("debug.ostn.test"), Some(5061), "members stay");
    // The file is read anew.
    let made = service.send("POST", "/v1/tokens", &[], Some(&json!({"role": "read"}))).json();
    fs::write(beside.folder.path().join("read.token"), made["secret"].as_str().unwrap()).unwrap();
    beside.wait_in_step();
    assert_eq!(error(), "");
}

#[test]
fn a_nodes_token_sees_what_is_public() {
    let service = directory();
    let mut node = super::document("debug.ostn.test", 5061);
    node["numbers"] = json!([{"e164": "+15550101"}]);
    node["contact"] = "ops@debug.ostn.test".into();
    assert_eq!(service.put_node("debug.ostn.test", &node).status, 201);
    let mut beside = Beside::new(&service);
    let made = service.send("POST", "/v1/tokens", &[], Some(&json!({"names": ["other.ostn.test"]}))).json();
    let read_token = beside.config.token_file.replace(beside.folder.path().join("node.token"));
    fs::write(beside.config.token_file.as_ref().unwrap(), made["secret"].as_str().unwrap()).unwrap();
    beside.start();
    beside.wait_in_step();
    let member = beside.member("debug.ostn.test").unwrap();
    assert_eq!((member.node.as_ref().unwrap().numbers.len(), member.is_signed()), (0, false));
    beside.stop();
    // With a read-only token beside it the numbers come too, as soon as the list is read again.
    fs::remove_file(beside.log_file()).unwrap();
    beside.config.read_token_file = read_token;
    beside.start();
    beside.wait_in_step();
    let member = beside.member("debug.ostn.test").unwrap();
    assert_eq!((member.node.as_ref().unwrap().numbers.len(), member.node.as_ref().unwrap().contact.clone()), (1, None));
}

/// The directory's certificate is one that nobody else vouches for, and the agent has another one first.
#[test]
fn the_certificate_to_trust_is_read_again() {
    let service = Setup::new().args(["--api", "0.0.0.0:0"]).start();
    let mut beside = Beside::with_token(&service, &service.admin_token());
    let file = beside.folder.path().join("api.crt");
    let stranger = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    fs::write(&file, stranger.cert.pem()).unwrap();
    beside.config.ca_file = Some(file.clone());
    beside.start();
    wait_until(WAIT, "the reason", || beside.status().error.is_some());
    let why = beside.status().error.unwrap();
    assert!(why.contains("ca_file") && why.contains("api.crt"), "{why}");
    fs::copy(service.data_dir().join("api.crt"), &file).unwrap();
    beside.wait_in_step();
}
