//! Registering, showing, rehearsing; what is normalised (API-2 to API-4, API-44, API-T33).

use serde_json::json;
use tandem_zone::{Lookup, QueryName, RrType};

use crate::service::{Service, document};

const NODE: &str = "/v1/nodes/debug.ostn.test";

#[test]
fn api_t33_visible_before_the_answer() {
    let service = Service::start();
    let answer = service.register("debug.ostn.test");
    let zones = service.directory.live().load();
    let name: tandem_model::DomainName = "debug.ostn.test".parse().unwrap();
    let found = zones.lookup(&QueryName::parse(name.as_wire()).unwrap(), RrType::NAPTR);
    let Lookup::Records(zone, rrset) = found else { panic!("{found:?}") };
    assert_eq!(rrset.len(), 1);
    assert_eq!(answer.json()["serial"], zone.serial().value(), "API-44");
}

#[test]
fn what_an_answer_shows() {
    let service = Service::start();
    let body = json!({
        "targets": [{"host": "sip.debug.ostn.test", "port": 5061, "addresses": ["203.0.113.7", "2001:db8::7"]}],
        "numbers": [{"e164": "+15550101", "uri": "sip:alice@debug.ostn.test"}, {"block": "+155502"}],
        "keys": [{"holder": "node", "sha256": "ab".repeat(32)}],
        "sources": ["203.0.113.0/24"], "contact": "ops@debug.ostn.test", "lease_seconds": 3600
    });
    let answer = service.send("PUT", NODE, &[], Some(&body.to_string()));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let answer = answer.json();
    assert_eq!((&answer["effect"], &answer["dry_run"]), (&json!("created"), &json!(false)));
    let mut kept = body;
    kept["targets"][0]["priority"] = json!(10);
    kept["targets"][0]["weight"] = json!(0);
    kept["ttl"] = json!(60);
    assert_eq!(answer["node"], kept, "defaults are filled in");
    assert_eq!(answer["normalised"], json!([]));
    let text: Vec<_> =
        answer["records"].as_array().unwrap().iter().map(|r| format!("{} {}", r["owner"], r["type"])).collect();
    for line in [
        r#""debug.ostn.test" "NAPTR""#,
        r#""_sips._tcp.debug.ostn.test" "SRV""#,
        r#""sip.debug.ostn.test" "A""#,
        r#""sip.debug.ostn.test" "AAAA""#,
        r#""_5061._tcp.sip.debug.ostn.test" "TLSA""#,
        r#""debug.ostn.test.peers.ostn.test" "NAPTR""#,
        r#""1.0.1.0.5.5.5.1.e164.ostn.test" "NAPTR""#,
        r#""*.2.0.5.5.5.1.e164.ostn.test" "NAPTR""#,
    ] {
        assert!(text.iter().any(|have| have == line), "{line}: {text:?}");
    }

    let read = service.send("GET", NODE, &[], None);
    assert_eq!(read.json()["node"], kept);
    assert_eq!(read.json()["etag"], answer["etag"]);
    let again = service.send("PUT", NODE, &[], Some(&read.json()["node"].to_string()));
    assert_eq!(again.json()["effect"], "unchanged", "what was read may be sent back");

    let records = service.send("GET", &format!("{NODE}/records"), &[], None);
    assert_eq!(records.status, 200);
    assert_eq!(records.json()["records"], answer["records"]);
    let text = records.json()["text"].clone();
    assert_eq!(text[0], r#"debug.ostn.test. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.debug.ostn.test."#);
    let head = service.send("HEAD", NODE, &[], None);
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[test]
fn a_dry_run_writes_nothing() {
    let service = Service::start();
    let dry = format!("{NODE}?dry_run=true");
    let body = r#"{"targets":[{"host":"sip.debug.ostn.test","port":5061,"addresses":["10.0.0.1"]}],"ttl":7200}"#;
    let answer = service.send("PUT", &dry, &[], Some(body));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let shown = answer.json();
    assert_eq!((&shown["effect"], &shown["dry_run"]), (&json!("created"), &json!(true)));
    assert!(shown["serial"].is_null() && shown["etag"].is_null());
    let warned: Vec<_> = shown["warnings"].as_array().unwrap().iter().map(|w| w["pointer"].clone()).collect();
    assert_eq!(warned, ["#/targets/0/addresses/0", "#/ttl"]);
    assert_eq!(
        (&shown["warnings"][0]["rule"], &shown["warnings"][1]["rule"]),
        (&json!("QUIRK-08"), &json!("QUIRK-09"))
    );
    assert_eq!(service.send("GET", NODE, &[], None).status, 404);

    let made = service.send("PUT", NODE, &[], Some(body)).json();
    assert_eq!(made["records"], shown["records"], "what was shown is what comes");
    assert_eq!(service.send("PUT", &dry, &[], Some(body)).json()["effect"], "unchanged");
    assert_eq!(service.send("PUT", &dry, &[("if-none-match", "*")], Some(body)).status, 412);
    for query in ["dryrun=true", "dry_run=1", "dry_run=true&dry_run=false"] {
        let answer =
            service.send("PUT", &format!("/v1/nodes/new.ostn.test?{query}"), &[], Some(&document("new.ostn.test")));
        assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed"), "{query}");
        assert_eq!(service.send("GET", "/v1/nodes/new.ostn.test", &[], None).status, 404, "{query}");
    }
}

#[test]
fn quirks_that_break_calls_are_refused_by_rule() {
    let service = Service::start();
    let put = |body: &str| service.send("PUT", NODE, &[], Some(body)).json();
    let target = |host: &str| format!(r#"{{"host":"{host}.debug.ostn.test","port":5061,"addresses":["203.0.113.7"]}}"#);
    let label = "x".repeat(60);
    let large: Vec<_> = (0..8).map(|n| target(&format!("{label}{n}"))).collect();
    let many: Vec<_> = (0..9).map(|n| target(&n.to_string())).collect();
    for (rule, body) in [
        ("QUIRK-01", format!(r#"{{"targets":[{}]}}"#, large.join(","))),
        ("QUIRK-02", format!(r#"{{"targets":[{}]}}"#, many.join(","))),
        (
            "QUIRK-03",
            format!(
                r#"{{"targets":[{}],"numbers":[{{"e164":"+15550101","uri":"sip:a@debug.ostn.test:5062"}}]}}"#,
                target("sip")
            ),
        ),
    ] {
        let refused = put(&body);
        assert_eq!((&refused["status"], &refused["errors"][0]["rule"]), (&json!(422), &json!(rule)), "{refused}");
    }
    assert_eq!(service.send("GET", NODE, &[], None).status, 404);
    let apex = put(r#"{"targets":[{"host":"debug.ostn.test","port":5060,"addresses":["203.0.113.7"]}]}"#);
    let rules: Vec<_> = apex["warnings"].as_array().unwrap().iter().map(|one| one["rule"].clone()).collect();
    assert_eq!(rules, ["QUIRK-05", "QUIRK-12"], "{apex}");
}

#[test]
fn api_4_normalised_and_said() {
    let service = Service::start();
    let body = r#"{"targets":[{"host":"SIP.Bücher.ostn.test","port":5061,"addresses":["203.0.113.7"]}]}"#;
    let answer = service.send("PUT", "/v1/nodes/B%C3%BCcher.OSTN.test", &[], Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.field("location"), Some("/v1/nodes/xn--bcher-kva.ostn.test"));
    assert_eq!(
        answer.json()["normalised"],
        json!([
            {"pointer": "#/domain", "from": "Bücher.OSTN.test", "to": "xn--bcher-kva.ostn.test"},
            {"pointer": "#/targets/0/host", "from": "SIP.Bücher.ostn.test", "to": "sip.xn--bcher-kva.ostn.test"}
        ])
    );
    assert_eq!(service.send("GET", "/v1/nodes/XN--BCHER-KVA.ostn.test", &[], None).status, 200);
}

#[test]
fn foreign_members() {
    let service = Service::start();
    let put = |host: &str| {
        let body = format!(r#"{{"targets":[{{"host":"{host}.example.org","port":5061}}]}}"#);
        service.send("PUT", "/v1/nodes/example.org", &[], Some(&body))
    };
    for (host, part) in
        [("alias", "alias (CNAME)"), ("empty", "no A or AAAA"), ("nowhere", "does not exist"), ("broken", "SERVFAIL")]
    {
        let answer = put(host);
        assert_eq!((answer.status, answer.pointers()), (422, vec!["#/targets/0/host".to_owned()]), "{host}");
        assert!(answer.text.contains(part), "{host}: {}", answer.text);
        assert_eq!(service.send("GET", "/v1/nodes/example.org", &[], None).status, 404, "nothing changed");
    }
    let answer = put("sip");
    assert_eq!(answer.status, 201, "{}", answer.text);
    let warning = answer.json()["warnings"][0].clone();
    assert_eq!(warning["pointer"], "#/domain");
    let record = "_sips._tcp.example.org. CNAME _sips._tcp.example.org.peers.ostn.test.";
    assert!(warning["detail"].as_str().unwrap().contains(record), "{warning}");
}
