//! A directory that lost its memory, or is in wrong hands: what members' keys signed stays.

use std::fs;
use std::path::Path;

use tandem_agent::config::KeyTrust;
use tandem_testkit::{Service, wait_until};

use super::{Beside, NEWS, WAIT, directory};

const DOMAIN: &str = "debug.ostn.test";

/// Publishes the domain, signed by the key in `key`, as its admin.
fn publish_signed(service: &Service, key: &str, port: u16) {
    let target = format!("sip.{DOMAIN}:{port}");
    let args = ["publish", DOMAIN, "--target", target.as_str(), "--address", "203.0.113.7", "--node-key", key];
    let _ = service.tandem(args).success();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_directory_set_back_sets_no_member_back() {
    let mut service = directory();
    publish_signed(&service, "node.key", 5061);
    service.stop();
    let old = service.home().join("old");
    copy(&service.data_dir(), &old);
    service = service.restart();
    publish_signed(&service, "node.key", 5062);
    let mut beside = Beside::new(&service);
    // The admin's: it is in the old data folder, too.
    fs::write(beside.config.token_file.as_ref().unwrap(), service.admin_token()).unwrap();
    beside.start();
    beside.wait_in_step();
    assert!(beside.member(DOMAIN).unwrap().is_signed());
    assert_eq!(beside.port(DOMAIN), Some(5062));

    service.stop();
    fs::remove_dir_all(service.data_dir()).unwrap();
    copy(&old, &service.data_dir());
    let service = service.restart();
    let why = || beside.status().refused.get(DOMAIN).cloned().unwrap_or_default();
    wait_until(WAIT, "the old document to be refused", || why().contains("an old document"));
    assert_eq!(beside.port(DOMAIN), Some(5062), "the one that is known stays");
    // Its key goes on, and all is well.
    publish_signed(&service, "node.key", 5063);
    beside.wait_for_port(WAIT, DOMAIN, Some(5063));
    assert_eq!(beside.status().refused_count, 0);
}

#[test]
fn another_key_is_held_back() {
    let service = directory();
    publish_signed(&service, "node.key", 5061);
    let mut beside = Beside::in_step(&service);
    // Whoever has the admin's token gives the name to somebody else.
    assert_eq!(service.delete(&format!("/v1/nodes/{DOMAIN}")).status, 200);
    wait_until(NEWS, "the member to be gone", || beside.member(DOMAIN).is_none());
    publish_signed(&service, "other.key", 5066);
    let why = || beside.status().refused.get(DOMAIN).cloned().unwrap_or_default();
    wait_until(NEWS, "the newcomer to be held back", || why().contains("another key"));
    assert!(beside.member(DOMAIN).is_none());
    // So it is after a restart.
    beside.stop();
    beside.start();
    beside.wait_in_step();
    assert!(beside.member(DOMAIN).is_none());
    beside.stop();
    // Until the operator says that it is right; a pin alone lets nobody else in.
    let pem = fs::read(service.home().join("other.key")).unwrap();
    let other = tandem_identity::NodeKey::from_pem(&pem).unwrap().public_key().thumbprint();
    beside.config.trust.pins.insert(DOMAIN.parse().unwrap(), other);
    beside.config.trust.keys = KeyTrust::Pinned;
    fs::remove_file(beside.log_file()).unwrap();
    super::publish(&service, "lab.ostn.test", 5061);
    beside.start();
    beside.wait_in_step();
    assert_eq!((beside.port(DOMAIN), beside.port("lab.ostn.test")), (Some(5066), None));
    assert_eq!(beside.status().refused.keys().collect::<Vec<_>>(), ["lab.ostn.test"]);
}
