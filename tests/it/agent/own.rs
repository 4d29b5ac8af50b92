//! The node of the agent's own host: published, renewed, published anew, drained and restored.

use std::fs;

use serde_json::{Value, json};
use tandem_testkit::{AgentProcess, wait_until};

use super::{WAIT, directory, document};

const DOMAIN: &str = "debug.ostn.test";

#[test]
fn a_node_is_kept_registered() {
    let service = directory();
    let folder = service.home().join("agent");
    fs::create_dir(&folder).unwrap();
    let made = service.tandem(["token", "new", "--name", DOMAIN, "--json"]).success();
    let made: Value = serde_json::from_str(&made).unwrap();
    fs::write(folder.join("node.token"), made["secret"].as_str().unwrap()).unwrap();
    let write = |port: u16| {
        let mut node = document(DOMAIN, port);
        node["lease_seconds"] = json!(60);
        fs::write(folder.join("node.json"), node.to_string()).unwrap();
    };
    write(5061);
    let settings = format!(
        "directory = \"{}\"\ntoken_file = \"node.token\"\ndomain = \"{DOMAIN}\"\ndocument = \"node.json\"\n\
         drain_on_stop = true\n",
        service.api_url()
    );
    let mut agent = AgentProcess::start(&folder, &settings);
    let shown = || service.get(&format!("/v1/nodes/{DOMAIN}")).json();
    wait_until(WAIT, "the node to be published", || shown()["state"] == "active");
    agent.wait_in_step();
    let status = agent.status();
    assert_eq!(shown()["key"]["thumbprint"], status["node"]["key"], "signed with the key that was made");
    assert_eq!(status["node"]["state"], "active");
    let _ = service.tandem(["nodes", "verify", DOMAIN]).success();

    // The file changes, even to something that is wrong first.
    fs::write(folder.join("node.json"), "{\"targets\": []}").unwrap();
    wait_until(WAIT, "a word about the document", || {
        agent.status()["node"]["error"].as_str().is_some_and(|error| error.contains("at least one target"))
    });
    write(5071);
    wait_until(WAIT, "the new document", || shown()["node"]["targets"][0]["port"] == 5071);
    wait_until(WAIT, "all to be well", || agent.status()["node"].get("error").is_none());

    // A third of its lease later it is renewed, without being published again.
    let (lease, tag) = (shown()["lease_until"].clone(), shown()["etag"].clone());
    wait_until(WAIT, "the renewal", || shown()["lease_until"] != lease);
    assert_eq!(shown()["etag"], tag);

    // Told to end it drains the node; at its next start it takes that back.
    assert!(agent.stop().success());
    let ended = shown();
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("draining"), &json!("the agent was stopped")));
    let mut agent = AgentProcess::start(&folder, &settings);
    wait_until(WAIT, "the node to take calls again", || shown()["state"] == "active");
    // What somebody else said stays.
    let _ = service.tandem(["nodes", "drain", DOMAIN, "--reason", "by hand"]).success();
    assert!(agent.stop().success());
    let agent = AgentProcess::start(&folder, &settings);
    agent.wait_in_step();
    wait_until(WAIT, "a renewal", || agent.status()["node"]["renewed"].is_string());
    assert_eq!(shown()["state"], "draining");
}
