//! The first five minutes: serve, publish, ask, resolve, remove.

use serde_json::Value;
use tandem_testkit::Service;

use super::dig;

const PUBLISH: [&str; 6] =
    ["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "203.0.113.7"];

#[test]
fn from_serve_to_resolve() {
    let service = Service::start();
    let published = service.tandem(PUBLISH).success();
    assert!(published.starts_with("debug.ostn.test: created, serial "), "{published}");
    assert!(
        published.contains("\n  _sips._tcp.debug.ostn.test. 60 IN SRV 10 0 5061 sip.debug.ostn.test.\n"),
        "{published}"
    );

    // The NAPTR answer carries the whole chain as additional data.
    let naptr = dig(&service, &["NAPTR", "debug.ostn.test", "+noall", "+answer", "+additional"]);
    let lines: Vec<Vec<&str>> = naptr.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        [
            "debug.ostn.test.",
            "60",
            "IN",
            "NAPTR",
            "10",
            "10",
            "\"s\"",
            "\"SIPS+D2T\"",
            "\"\"",
            "_sips._tcp.debug.ostn.test."
        ]
    );
    assert!(
        lines.contains(&vec![
            "_sips._tcp.debug.ostn.test.",
            "60",
            "IN",
            "SRV",
            "10",
            "0",
            "5061",
            "sip.debug.ostn.test."
        ]),
        "{naptr}"
    );
    assert!(lines.contains(&vec!["sip.debug.ostn.test.", "60", "IN", "A", "203.0.113.7"]), "{naptr}");
    assert_eq!(dig(&service, &["SRV", "_sips._tcp.debug.ostn.test", "+short"]), "10 0 5061 sip.debug.ostn.test.\n");

    let resolved = service.tandem(["resolve", "alice@debug.ostn.test"]).success();
    let hop: Vec<&str> = resolved.lines().find(|line| line.starts_with("1 ")).unwrap().split_whitespace().collect();
    assert_eq!(hop, ["1", "TLS", "203.0.113.7:5061", "debug.ostn.test", "sip.debug.ostn.test", "60"], "{resolved}");
    assert!(resolved.contains("\nwhy:\n  LOC-"), "{resolved}");

    let json: Value =
        serde_json::from_str(&service.tandem(["resolve", "sips:alice@debug.ostn.test", "--json"]).success()).unwrap();
    assert_eq!(json["outcome"], "found");
    assert_eq!(
        (json["next_hops"][0]["address"].as_str(), json["next_hops"][0]["port"].as_u64()),
        (Some("203.0.113.7"), Some(5061))
    );
    assert_eq!(json["next_hops"][0]["tls_name"], "debug.ostn.test");
}

#[test]
fn publishing_the_same_again_changes_nothing() {
    let service = Service::start();
    service.tandem(PUBLISH).success();
    let serial = dig(&service, &["SOA", "ostn.test", "+short"]);
    assert!(service.tandem(PUBLISH).success().starts_with("debug.ostn.test: unchanged, serial "));
    assert_eq!(dig(&service, &["SOA", "ostn.test", "+short"]), serial);
}

#[test]
fn a_dry_run_shows_the_records_and_publishes_nothing() {
    let service = Service::start();
    let shown = service.tandem(PUBLISH.into_iter().chain(["--dry-run"])).success();
    assert!(
        shown.starts_with("debug.ostn.test: would be created; nothing was changed\n  debug.ostn.test. 60 IN NAPTR "),
        "{shown}"
    );
    assert!(dig(&service, &["NAPTR", "debug.ostn.test"]).contains("status: NXDOMAIN"));
}

#[test]
fn the_registry_is_listed_shown_and_cleared() {
    let service = Service::start();
    service.tandem(PUBLISH).success();
    let list = service.tandem(["nodes", "list"]).success();
    assert!(list.lines().nth(1).unwrap().starts_with("debug.ostn.test "), "{list}");
    let shown = service.tandem(["nodes", "show", "Debug.OSTN.test"]).success();
    assert!(shown.contains("target   sip.debug.ostn.test:5061,10,0 203.0.113.7\n"), "{shown}");
    let json: Value = serde_json::from_str(&service.tandem(["nodes", "list", "--json"]).success()).unwrap();
    assert_eq!(json["nodes"][0]["domain"], "debug.ostn.test");

    assert_eq!(service.tandem(["nodes", "rm", "debug.ostn.test"]).success(), "debug.ostn.test: removed\n");
    assert!(dig(&service, &["NAPTR", "debug.ostn.test"]).contains("status: NXDOMAIN"));
    let gone = service.tandem(["nodes", "rm", "debug.ostn.test"]).failure(1);
    assert!(gone.contains("(404)"), "{gone}");
}

#[test]
fn a_move_to_another_address_is_one_command() {
    let service = Service::start();
    service.tandem(PUBLISH).success();
    let mut moved = PUBLISH;
    moved[5] = "203.0.113.8";
    assert!(service.tandem(moved).success().starts_with("debug.ostn.test: replaced, serial "));
    assert_eq!(dig(&service, &["A", "sip.debug.ostn.test", "+short"]), "203.0.113.8\n");
}

#[test]
fn faults_are_told_in_the_words_of_the_command_line() {
    let service = Service::start();
    let refused = service
        .tandem(["publish", "ns1.ostn.test", "--target", "192.0.2.1:70000", "--number", "0155", "--ttl", "0"])
        .failure(1);
    for words in ["(422)", "--target 192.0.2.1:70000 (port): ", "--number 0155 (e164): ", "--ttl: "] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let list = service.tandem(["nodes", "list"]).success();
    assert_eq!(list.lines().count(), 1, "nothing was published: {list}");
    let taken = service
        .tandem(["publish", "ns1.ostn.test", "--target", "ns1.ostn.test:5061", "--address", "192.0.2.1"])
        .failure(1);
    assert!(taken.contains("ns1.ostn.test"), "{taken}");
}

#[test]
fn spelling_is_normalised_and_said() {
    let service = Service::start();
    let published = service
        .tandem(["publish", "DEBUG.ostn.test", "--target", "SIP.debug.ostn.test:5061", "--address", "203.0.113.7"])
        .success();
    assert!(published.starts_with("debug.ostn.test: created"), "{published}");
    assert!(published.contains("\n  note: DEBUG.ostn.test: kept as debug.ostn.test\n"), "{published}");
    assert!(
        published.contains("--target SIP.debug.ostn.test:5061 (host): kept as sip.debug.ostn.test\n"),
        "{published}"
    );
}

#[test]
fn what_resolve_says_when_there_is_no_way() {
    let service = Service::start();
    let server = service.dns_addr().to_string();
    let unknown = service.tandem(["resolve", "alice@nobody.ostn.test", "--server", &server]);
    assert!(unknown.stdout.contains("why:\n"), "{unknown}");
    assert!(unknown.clone().failure(1).contains("nobody.ostn.test"), "{unknown}");
    let json = service.tandem(["resolve", "alice@nobody.ostn.test", "--server", &server, "--json"]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((value["outcome"].as_str(), json.status.code()), (Some("not-a-member"), Some(1)), "{json}");
    service.tandem(["resolve", "xmpp:alice@a.test"]).failure(2);
}

#[test]
fn private_addresses_need_a_flag() {
    let service = Service::start();
    service
        .tandem(["publish", "lab.ostn.test", "--target", "sip.lab.ostn.test:5061", "--address", "10.0.0.7"])
        .success();
    let refused = service.tandem(["resolve", "lab.ostn.test"]).failure(1);
    assert!(refused.contains("10.0.0.7"), "{refused}");
    assert!(service.tandem(["resolve", "lab.ostn.test", "--allow-private"]).success().contains("10.0.0.7:5061"));
}

#[test]
fn zones_are_shown_and_exported() {
    let service = Service::start();
    service.tandem(PUBLISH).success();
    let zones = service.tandem(["zone", "show"]).success();
    for apex in ["ostn.test ", "ostel.me ", "peers.ostn.test ", "e164.ostn.test "] {
        assert!(zones.lines().any(|line| line.starts_with(apex)), "{apex}: {zones}");
    }
    let text = service.tandem(["zone", "export", "ostn.test"]).success();
    assert!(text.contains("sip.debug.ostn.test") || text.contains("sip.debug"), "{text}");
    let file = service.home().join("out.txt");
    service.tandem(["zone", "export", "peers.ostn.test", "--output", file.to_str().unwrap()]).success();
    assert!(std::fs::read_to_string(file).unwrap().contains("SIPS+D2T"));
    let unknown = service.tandem(["zone", "export", "no.test"]).failure(1);
    assert!(unknown.contains("(404)"), "{unknown}");
}

#[test]
fn without_a_service_commands_say_what_to_do() {
    let mut service = Service::start();
    assert!(service.data_dir().join("run.json").exists());
    assert!(service.stop().success());
    assert!(!service.data_dir().join("run.json").exists());
    let refused = service.tandem(["nodes", "list", "--api", service.api_url()]).failure(1);
    assert!(refused.contains("is `tandem serve` running there?"), "{refused}");
    assert!(refused.contains("because: "), "{refused}");
}

#[test]
fn what_a_killed_service_left_is_not_believed() {
    let mut service = Service::start();
    service.kill();
    assert!(service.data_dir().join("run.json").exists());
    let refused = service.tandem(["nodes", "list"]).failure(1);
    assert!(refused.contains("http://127.0.0.1:5380"), "the default, not the dead one: {refused}");
    let service = service.restart();
    service.tandem(["nodes", "list"]).success();
}
