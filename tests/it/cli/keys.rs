//! Signed documents over the command line: made, repeated, checked, refused, handed over to another key.

use std::path::PathBuf;

use serde_json::Value;
use tandem_testkit::{Output, Service};

const DOMAIN: &str = "debug.ostn.test";

/// A service with a token for the domain in a folder of its own, as on the node's host.
struct Node {
    service: Service,
    token: PathBuf,
}

impl Node {
    fn new() -> Self {
        let service = Service::start();
        let made = service.tandem(["token", "new", "--name", DOMAIN, "--json"]).success();
        let made: Value = serde_json::from_str(&made).unwrap();
        let folder = service.home().join("node");
        std::fs::create_dir(&folder).unwrap();
        let token = folder.join("node.token");
        std::fs::write(&token, made["secret"].as_str().unwrap()).unwrap();
        Self { service, token }
    }

    fn publish(&self, more: &[&str]) -> Output {
        let target = format!("sip.{DOMAIN}:5061");
        let token = self.token.to_str().unwrap();
        let fixed = ["publish", DOMAIN, "--target", target.as_str(), "--address", "192.0.2.1", "--token-file", token];
        self.service.tandem(fixed.into_iter().chain(more.iter().copied()))
    }

    fn verify(&self, more: &[&str]) -> Output {
        self.service.tandem(["nodes", "verify", DOMAIN].into_iter().chain(more.iter().copied()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.token.with_file_name(name)
    }
}

fn signer(output: &str) -> String {
    output.lines().find_map(|line| line.trim().strip_prefix("signed by ")).unwrap().trim().to_owned()
}

#[test]
fn a_node_signs_what_it_publishes() {
    let node = Node::new();
    node.publish(&["--dry-run"]).success();
    assert!(!node.file("node.key").exists(), "a rehearsal makes no key");
    let first = node.publish(&[]).success();
    assert!(first.contains("created") && first.contains("new key: "), "{first}");
    let key = signer(&first);
    let again = node.publish(&[]).success();
    assert!(again.contains("unchanged") && !again.contains("new key"), "{again}");
    assert_eq!(signer(&again), key);
    assert!(node.publish(&["--ttl", "30"]).success().contains("replaced"));

    let verified = node.verify(&["--key", &key]).success();
    assert!(verified.contains("as expected") && verified.contains("\"ttl\":30"), "{verified}");
    assert_eq!(signer(&verified), key);
    assert!(node.verify(&[]).success().contains("not compared"));
    let other = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    assert!(node.verify(&["--key", other]).failure(1).contains("not by the domain's key"));

    // Without the key, or with another, the token alone is not enough.
    let refused = node.publish(&["--unsigned"]).failure(1);
    assert!(refused.contains("(403)") && refused.contains("unsigned"), "{refused}");
    let wrong = node.file("wrong.key");
    let refused = node.publish(&["--node-key", wrong.to_str().unwrap(), "--ttl", "31"]).failure(1);
    assert!(refused.contains("(403)") && refused.contains("another key"), "{refused}");
}

#[test]
fn what_was_signed_is_checked_without_the_directory() {
    let node = Node::new();
    let key = signer(&node.publish(&[]).success());
    let path = format!("/v1/nodes/{DOMAIN}/document");
    let answer = node.service.send("GET", &path, &[("accept", "application/jose+json")], None);
    let file = node.file("document.jws");
    std::fs::write(&file, &answer.text).unwrap();
    let file = file.to_str().unwrap();
    assert!(
        node.verify(&["--file", file, "--key", &key, "--api", "http://127.0.0.1:9"]).success().contains("as expected")
    );
    let altered = answer.text.replacen("\"payload\":\"ey", "\"payload\":\"ez", 1);
    std::fs::write(file, altered).unwrap();
    assert!(node.verify(&["--file", file]).failure(1).contains("does not fit"));
    assert!(node.service.tandem(["nodes", "verify", "other.ostn.test"]).failure(1).contains("no such node"));
}

#[test]
fn a_key_hands_over_to_the_next() {
    let node = Node::new();
    let old = signer(&node.publish(&[]).success());
    let (next, file) = (node.file("next.key"), |path: PathBuf| path.to_str().unwrap().to_owned());
    let next = file(next);
    assert!(node.publish(&["--node-key", &next, "--ttl", "30"]).failure(1).contains("(403)"));
    node.publish(&["--next-key", &next]).success();
    let new = signer(&node.publish(&["--node-key", &next, "--ttl", "30"]).success());
    assert_ne!(new, old);
    node.verify(&["--key", &new]).success();
    assert!(node.publish(&["--ttl", "31"]).failure(1).contains("(403)"), "the old key is over");
}
