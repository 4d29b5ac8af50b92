//! `tandem explain --agent`: what the operator of an agent types, on the agent's host.

use serde_json::{Value, json};
use tandem_testkit::{Output, wait_until};

use super::checked::{World, alone};
use super::{NEWS, WAIT, act};

impl World {
    /// What `tandem explain` says, as the agent sees it.
    fn explain(&self, called: &str, more: &[&str]) -> Output {
        let args = ["explain", called, "--agent", "agent.toml", "--allow-private"];
        self.agent.tandem(args.into_iter().chain(more.iter().copied()))
    }

    /// The report; whether calls get through is its exit status.
    fn explained(&self, called: &str) -> (Value, bool) {
        let output = self.explain(called, &["--json"]);
        let report = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
        (report, output.status.success())
    }
}

fn codes(report: &Value) -> Vec<&str> {
    report["faults"].as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap()).collect()
}

/// CERT-44, CERT-49: the keys in a member's document decide, as they do for calls; without them nobody vouches for it.
#[test]
fn the_keys_of_members_decide_cert_44() {
    let world = World::start(|_| String::new());
    world.wait_for_looks();
    let (report, well) = world.explained("alice@pinned.ostn.test");
    assert!(well, "{report:#}");
    let address = &report["addresses"][0];
    assert_eq!(
        (&address["must_be"]["by"], &address["verified_by"], &address["options"]["status"]),
        (&json!("pins"), &json!("pinned-key"), &json!(200)),
        "{report:#}"
    );
    let told = &report["member"];
    assert_eq!((&told["told_by"], &told["state"], &told["keys"]), (&json!("agent"), &json!("active"), &json!(1)));
    let text = world.explain("alice@pinned.ostn.test", &[]).success();
    for words in [
        "the agent: pinned.ostn.test is a member, active, on the directory's word; 1 key published: it decides",
        "the holder of a key in the member's document, which comes before TLSA and authorities",
        "its own key, from the member's document",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Who publishes no keys has to be vouched for by the authority in the agent's settings.
    let (report, well) = world.explained("good.ostn.test");
    assert_eq!((&report["addresses"][0]["verified_by"], well), (&json!("authority"), true), "{report:#}");

    // Another caller, who knows nobody's keys.
    let server = world.agent.printed("dns");
    let stranger = ["explain", "pinned.ostn.test", "--server", server, "--ca", "federation.pem", "--allow-private"];
    let output = world.agent.tandem(stranger.into_iter().chain(["--json"]));
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((codes(&report), output.status.code()), (vec!["certificate-untrusted"], Some(1)), "{report:#}");
    assert_eq!(report["member"], Value::Null);

    // A pin that does not fit ends it: no authority helps.
    world.servers["pinned.ostn.test"].become_(alone("pinned.ostn.test").0);
    let (report, well) = world.explained("pinned.ostn.test");
    assert!(codes(&report).contains(&"key-not-published") && !well, "{report:#}");
}

/// Who is held back is told as such, with the reason: not as a name that does not exist.
#[test]
fn who_is_held_back_is_told_as_such() {
    let mut world = World::start(|_| String::new());
    world.wait_for_looks();
    let (report, well) = world.explained("evil.ostn.test");
    assert_eq!((codes(&report), well), (vec!["held-back", "certificate-other-name"], false), "{report:#}");
    let (text, mend) = (report["faults"][0]["text"].as_str().unwrap(), report["faults"][0]["mend"].as_str().unwrap());
    assert!(text.starts_with("member held back: its certificate fails: not authenticated"), "{text}");
    assert!(
        text.contains(&world.address("evil.ostn.test").to_string()) && mend.contains("mend its certificate"),
        "{mend}"
    );
    assert_eq!(report["member"]["held_back"], true, "{report:#}");
    let output = world.explain("evil.ostn.test", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.contains("evil.ostn.test cannot be called: member held back"), "{output}");
    assert!(output.stdout.contains("DNS does not lead there"), "{output}");

    // By its number, too; what its document says now was looked at, or will be.
    let address = world.address("evil.ostn.test");
    let target = json!({"host": "sip.evil.ostn.test", "port": address.port(), "addresses": [address.ip()]});
    let document = json!({"targets": [target], "numbers": [{"e164": "+15550101"}]});
    assert_eq!(world.service.put_node("evil.ostn.test", &document).status, 200);
    wait_until(WAIT, "the number", || world.explained("+15550101").0["member"]["domain"] == "evil.ostn.test");
    let (report, well) = world.explained("+15550101");
    assert_eq!((codes(&report)[0], well), ("held-back", false), "{report:#}");

    act(&world.service, "good.ostn.test", "suspend");
    wait_until(NEWS, "the news", || world.explained("good.ostn.test").0["member"]["state"] == "suspended");
    let (report, well) = world.explained("good.ostn.test");
    assert_eq!((codes(&report), well), (vec!["suspended"], false), "{report:#}");
    assert!(report["summary"].as_str().unwrap().contains("nobody may call it"), "{report:#}");
    let (report, well) = world.explained("stranger.invalid");
    assert_eq!((&report["member"]["state"], well), (&Value::Null, false), "{report:#}");

    assert!(world.agent.stop().success());
    assert!(world.explain("evil.ostn.test", &[]).failure(1).contains("no agent answers"));
}
