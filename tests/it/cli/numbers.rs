//! Numbers by the command line: claimed, approved, delegated, published, revoked.

use std::process::Command;

use serde_json::Value;
use tandem_testkit::{Output, Service, run, tandem};

/// Runs `tandem` elsewhere, with a node's token.
fn as_node(service: &Service, token: &str, args: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(tandem());
    command.args(args).current_dir(elsewhere.path()).env("HOME", elsewhere.path());
    run(command.env("TANDEM_API", service.api_url()).env("TANDEM_TOKEN", token))
}

fn token(service: &Service, domain: &str) -> String {
    let made = service.tandem(["token", "new", "--name", domain, "--json"]).success();
    let made: Value = serde_json::from_str(&made).unwrap();
    made["secret"].as_str().unwrap().into()
}

#[test]
fn enum_77_a_block_is_claimed_and_given_on() {
    let service = Service::start();
    let (debug, lab) = (token(&service, "debug.ostn.test"), token(&service, "lab.ostn.test"));
    let publish = |token: &str, domain: &str, flag: &str, number: &str| {
        let target = format!("sip.{domain}:5061");
        as_node(&service, token, &["publish", domain, "--target", &target, "--address", "203.0.113.7", flag, number])
    };
    let refused = publish(&debug, "debug.ostn.test", "--block", "+155502").failure(1);
    assert!(refused.contains("tandem numbers claim"), "{refused}");
    let claimed = as_node(&service, &debug, &["numbers", "claim", "+155502", "--block", "debug.ostn.test"]).success();
    let id = claimed.split(':').next().unwrap();
    assert!(claimed.contains("+155502* for debug.ostn.test waits for an admin"), "{claimed}");
    assert!(service.tandem(["numbers", "claims"]).success().contains(id));
    assert_eq!(service.tandem(["numbers", "approve", id]).success(), "+155502*: delegated to debug.ostn.test\n");
    publish(&debug, "debug.ostn.test", "--block", "+155502").success();

    assert!(!publish(&lab, "lab.ostn.test", "--number", "+15550207").failure(1).contains("debug"), "API-23");
    as_node(&service, &debug, &["numbers", "delegate", "+15550207", "lab.ostn.test"]).success();
    publish(&lab, "lab.ostn.test", "--number", "+15550207").success();
    let list = service.tandem(["numbers", "list"]).success();
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["+155502*", "debug.ostn.test", "an", "admin", "debug.ostn.test"], "{list}");
    assert_eq!(lines[2], ["+15550207", "lab.ostn.test", "debug.ostn.test", "lab.ostn.test"], "{list}");
    let shown = service.tandem(["numbers", "show", "+15550207", "--json"]).success();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["published"]["node"], "lab.ostn.test");
    let text = service.tandem(["numbers", "show", "+15550299"]).success();
    assert!(text.contains("published  +155502* debug.ostn.test"), "{text}");

    let revoked = as_node(&service, &debug, &["numbers", "revoke", "+15550207"]).success();
    assert_eq!(revoked, "+15550207: revoked from lab.ostn.test\nlab.ostn.test: published without it now\n");
    let node = service.tandem(["nodes", "show", "lab.ostn.test", "--json"]).success();
    let node: Value = serde_json::from_str(&node).unwrap();
    assert_eq!(node["node"]["numbers"], serde_json::json!([]));

    let claimed = as_node(&service, &lab, &["numbers", "claim", "+15550999", "lab.ostn.test", "--json"]).success();
    let claimed: Value = serde_json::from_str(&claimed).unwrap();
    let id = claimed["id"].as_str().unwrap();
    let ended = service.tandem(["numbers", "reject", id, "--reason", "not yours"]).success();
    assert_eq!(ended, format!("{id}: +15550999 not given to lab.ostn.test\n"));
    assert!(service.tandem(["audit"]).success().contains("+15550999: not yours"));
}

#[test]
fn enum_85_the_zone_of_numbers_is_not_handed_out() {
    let service = Service::start();
    let args = ["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "203.0.113.7"];
    service.tandem([&args[..], &["--number", "+15550101"]].concat()).success();
    let found = super::dig(&service, &["1.0.1.0.5.5.5.1.e164.ostn.test", "NAPTR", "+short"]);
    assert!(found.contains("sip:+15550101@debug.ostn.test"), "{found}");
    for kind in ["AXFR", "IXFR=1"] {
        let answer = super::dig(&service, &["+tcp", "e164.ostn.test", kind]);
        assert!(answer.contains("Transfer failed"), "{kind}: {answer}");
        assert!(!answer.contains("15550101"), "{kind}: {answer}");
    }
    let beside = super::dig(&service, &["2.0.1.0.5.5.5.1.e164.ostn.test", "NAPTR", "+dnssec"]);
    assert!(beside.contains("NXDOMAIN") && !beside.contains("NSEC"), "{beside}");
}

#[test]
fn quirks_are_named_by_their_rules() {
    let service = Service::start();
    let args = ["publish", "lab.ostn.test", "--target", "lab.ostn.test:5061", "--address", "10.0.0.7", "--dry-run"];
    let shown = service.tandem(args).success();
    let rules: Vec<&str> =
        shown.lines().filter(|line| line.contains("warning: ")).filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(rules, ["(QUIRK-05)", "(QUIRK-08)"], "{shown}");
    let json: Value = serde_json::from_str(&service.tandem([&args[..], &["--json"]].concat()).success()).unwrap();
    assert_eq!(json["warnings"][0]["rule"], "QUIRK-05");
    assert_eq!(json["warnings"][1]["pointer"], "#/targets/0/addresses/0");
    let uri = "+15550101=sip:a@lab.ostn.test:5062";
    let refused = service.tandem([&args[..], &["--number", uri]].concat()).failure(1);
    assert!(refused.contains("(QUIRK-03)"), "{refused}");
}

#[test]
fn enum_85_a_reader_without_the_right_exports_no_numbers() {
    let service = Service::start();
    let args = ["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "203.0.113.7"];
    service.tandem([&args[..], &["--number", "+15550101"]].concat()).success();
    let read = |more: &[&str]| {
        let args = [&["token", "new", "--role", "read", "--json"][..], more].concat();
        let made: Value = serde_json::from_str(&service.tandem(args).success()).unwrap();
        let token = made["secret"].as_str().unwrap().to_owned();
        as_node(&service, &token, &["export"]).success()
    };
    assert!(!read(&[]).contains("15550101"));
    assert!(read(&["--action", "numbers"]).contains("15550101"));
}
