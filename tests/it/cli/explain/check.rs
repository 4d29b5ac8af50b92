//! `tandem check`: the owner's side.

use std::fs;

use serde_json::{Value, json};
use tandem_testkit::Setup;

use super::{World, ZONE, ask, codes, parsed};
use crate::probe::server::Server;

impl World {
    fn checked(&self, args: &[&str]) -> (Value, bool) {
        let output = self.call(&[&["check", "--ca", "ca.pem", "--json"], args].concat());
        (parsed(&output), output.status.success())
    }
}

/// The states of the compared RRsets at or below `domain`.
fn states(report: &Value) -> Vec<String> {
    let records = report["records"].as_array().unwrap();
    records.iter().map(|record| format!("{} {}", record["type"], record["state"]).replace('"', "")).collect()
}

#[test]
fn a_node_as_it_should_be_and_one_that_drifted() {
    let world = World::new("");
    let server = Server::start("127.0.82.1", world.authority.certify("good.a.test"));
    world.publish("good.a.test", &[&server]);
    let (report, well) = world.checked(&["good.a.test"]);
    assert!(well, "{report:#}");
    assert_eq!(report["registration"]["state"], "registered", "{report:#}");
    assert!(states(&report).iter().all(|state| state.ends_with(" same")), "{report:#}");
    assert_eq!(report["paste"], json!([]));
    assert!(report["addresses"][0]["certificate"]["days_left"].as_i64().unwrap() > 14);
    // Records on loopback are worth a word.
    assert_eq!(report["faults"][0]["rule"], "QUIRK-08", "{report:#}");

    // The name server that is asked has something else: an old secondary.
    let zones = world.folder.path().join("old");
    fs::create_dir(&zones).unwrap();
    let old = "_sips._tcp.good IN SRV 10 0 5061 sip0.good\nsip0.good IN A 127.0.82.9\n";
    let more = "good IN A 127.0.82.9\n_sip._udp.good IN SRV 0 0 5060 sip0.good\n";
    fs::write(zones.join("a.test.zone"), format!("{ZONE}{old}{more}")).unwrap();
    let secondary = Setup::new().zones(&zones).start();
    let args = ["check", "good.a.test", "--no-connect", "--json"];
    let output = ask(secondary.dns_addr(), &world.folder, &args, |command| {
        command.arg("--data-dir").arg(world.service.data_dir());
    });
    let report = parsed(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let found = states(&report);
    for state in ["NAPTR missing", "SRV differs", "A differs"] {
        assert!(found.iter().any(|found| found == state), "{state}: {report:#}");
    }
    let rules: Vec<&str> =
        report["faults"].as_array().unwrap().iter().map(|fault| fault["rule"].as_str().unwrap()).collect();
    for rule in ["QUIRK-06", "QUIRK-07", "QUIRK-08", "PUB-1", "PUB-4"] {
        assert!(rules.contains(&rule), "{rule}: {report:#}");
    }
}

#[test]
fn a_foreign_domain_is_told_what_to_paste() {
    let world = World::new("_sip._udp IN SRV 0 0 5060 sip\nsip IN A 127.0.82.2\n");
    // Nobody has it: the records that are missing, and nothing of a directory.
    let (report, well) = world.checked(&["a.test", "--no-connect"]);
    assert!(!well);
    assert_eq!(report["registration"]["state"], "not-registered", "{report:#}");
    assert_eq!(report["paste"][0], "_sips._tcp.a.test. 300 IN SRV 10 0 5061 sip.a.test.", "{report:#}");
    assert!(codes(&report).contains(&"no-sips-record"), "{report:#}");

    // A member whose zone is elsewhere: one CNAME, and the proof of its key.
    let document = json!({"targets": [{"host": "sip.member.example", "port": 5061, "addresses": ["127.0.82.3"]}]});
    assert_eq!(world.service.put_node("member.example", &document).status, 201);
    fs::write(world.folder.path().join("zones/example.zone"), ZONE).unwrap();
    let elsewhere = Setup::new().zones(world.folder.path().join("zones")).start();
    let checked = |more: &[&str]| {
        let args = [&["check", "member.example", "--no-connect"][..], more].concat();
        ask(elsewhere.dns_addr(), &world.folder, &args, |command| {
            command.arg("--data-dir").arg(world.service.data_dir());
        })
    };
    let cname = "_sips._tcp.member.example. 60 IN CNAME _sips._tcp.member.example.peers.ostn.test.";
    let report = parsed(&checked(&["--json"]));
    assert_eq!(report["paste"], json!([cname]), "{report:#}");
    assert!(codes(&report).contains(&"foreign-domain"), "{report:#}");
    assert!(checked(&[]).stdout.contains(cname));
    let key = world.folder.path().join("node.key");
    let made = tandem_identity::NodeKey::generate().unwrap();
    fs::write(&key, made.to_pem().unwrap()).unwrap();
    let report = parsed(&checked(&["--json", "--node-key", key.to_str().unwrap()]));
    let proof = format!("_tandem.member.example. 3600 IN TXT \"tandem-key={}\"", made.public_key().thumbprint());
    assert_eq!(report["paste"], json!([cname, proof]), "{report:#}");
}
