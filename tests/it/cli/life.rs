//! States over the command line: seen by `nodes`, and by `dig`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use tandem_testkit::{Service, tandem};

use super::dig;

#[test]
fn draining_and_compromised_show_in_dns() {
    let service = Service::start();
    let call = |args: &[&str]| service.tandem(args.iter().copied()).success();
    call(&["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "192.0.2.1"]);
    let srv = || dig(&service, &["+short", "_sips._tcp.debug.ostn.test", "SRV"]);
    assert_eq!(srv(), "10 0 5061 sip.debug.ostn.test.\n");

    assert!(call(&["nodes", "renew", "debug.ostn.test"]).starts_with("debug.ostn.test: active, lease until 20"));
    assert_eq!(call(&["nodes", "drain", "debug.ostn.test", "--reason", "until noon"]), "debug.ostn.test: draining\n");
    assert_eq!(srv(), "10010 0 5061 sip.debug.ostn.test.\n");
    let shown = call(&["nodes", "show", "debug.ostn.test"]);
    assert!(shown.contains("state    draining\nreason   until noon\n"), "{shown}");
    assert_eq!(call(&["nodes", "restore", "debug.ostn.test"]), "debug.ostn.test: active\n");

    call(&["nodes", "compromised", "debug.ostn.test", "--reason", "host broken into"]);
    assert_eq!(srv(), "");
    assert!(dig(&service, &["debug.ostn.test", "NAPTR"]).contains("status: NXDOMAIN"));
    let listed = call(&["nodes", "list", "--state", "compromised"]);
    assert!(listed.lines().any(|line| line.starts_with("debug.ostn.test  compromised  ")), "{listed}");
    let refused = service.tandem(["nodes", "approve", "debug.ostn.test"]).failure(1);
    assert!(refused.contains("(409)"), "{refused}");
    assert_eq!(call(&["nodes", "restore", "debug.ostn.test"]), "debug.ostn.test: active\n");
    assert_eq!(srv(), "10 0 5061 sip.debug.ostn.test.\n");
}

#[test]
fn changes_and_audit() {
    let service = Service::start();
    let call = |args: &[&str]| service.tandem(args.iter().copied()).success();
    call(&["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "192.0.2.1"]);
    call(&["nodes", "compromised", "debug.ostn.test", "--reason", "host broken into"]);
    let told = call(&["changes"]);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].ends_with("debug.ostn.test  active"), "{told}");
    assert!(lines[1].ends_with("debug.ostn.test  active -> compromised  (host broken into)"), "{told}");

    let first = lines[0].split(' ').next().unwrap();
    let mut command = Command::new(tandem());
    command.args(["changes", "--follow", "--json", "--after", first]).current_dir(service.home());
    command.env("TANDEM_API", service.api_url()).env("TANDEM_TOKEN", service.admin_token());
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().contains(r#""state":"compromised""#));
    call(&["nodes", "restore", "debug.ostn.test"]);
    assert!(next().contains(r#""old_state":"compromised""#));
    following.kill().unwrap();
    following.wait().unwrap();

    let trail = call(&["audit", "--limit", "2"]);
    let words: Vec<Vec<_>> = trail.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (words.len(), words[1][3..].join(" ")),
        (3, "change-state debug.ostn.test compromised -> active".into())
    );
    assert!(trail.lines().nth(2).unwrap().ends_with("active -> compromised  host broken into"), "{trail}");
}
