//! `POST /v1/import`: lines of nodes.

use crate::service::{Answer, Service};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn line(domain: &str, more: &str) -> String {
    format!(
        r#"{{"domain":"{domain}","targets":[{{"host":"sip.{domain}","port":5061,"addresses":["203.0.113.7"]}}]{more}}}"#
    )
}

fn import(service: &Service, query: &str, body: &str) -> Answer {
    service.send("POST", &format!("/v1/import{query}"), &[NDJSON], Some(body))
}

fn counts(answer: &Answer) -> [u64; 5] {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let json = answer.json();
    let refused = json["refused"].as_array().unwrap().len() as u64;
    let count = |name: &str| json[name].as_u64().unwrap();
    [count("lines"), count("created"), count("replaced"), count("unchanged"), refused]
}

#[test]
fn good_lines_stand_and_bad_ones_are_told() {
    let service = Service::start();
    let taken = r#","numbers":[{"e164":"+15550101"}]"#;
    let body = [
        line("a.ostn.test", taken),
        String::new(),
        line("b.ostn.test", taken),
        "{".into(),
        line("c..test", ""),
        line("C.ostn.test", r#","ttl":0"#),
        r#"{"domain":"d.ostn.test","targets":[{"host":"nowhere.example.org","port":5061}]}"#.into(),
        r#"{"domain":"e.ostn.test","targets":[{"host":"fine.example.org","port":5061}]}"#.into(),
        line("f.ostn.test", ""),
    ]
    .join("\n");
    let rehearsed = import(&service, "?dry_run=true", &body);
    assert_eq!(counts(&rehearsed), [9, 3, 0, 0, 5]);
    assert_eq!(service.directory.live().load().node_count(), 0, "nothing was written");
    let answer = import(&service, "", &body);
    assert_eq!(counts(&answer), [9, 3, 0, 0, 5]);
    let json = answer.json();
    let refused: Vec<_> = json["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| (refused["line"].as_u64().unwrap(), refused["errors"][0]["pointer"].as_str().unwrap()))
        .collect();
    let expected = [(3, "#/numbers/0"), (4, "#"), (5, "#/domain"), (6, "#/ttl"), (7, "#/targets/0/host")];
    assert_eq!(refused, expected, "{}", answer.text);
    assert_eq!(json["refused"][3]["domain"], "C.ostn.test");
    assert_eq!(json["complete"], true);
    let served = service.directory.live().load();
    let serial = served.zone(&"ostn.test".parse().unwrap()).unwrap().serial().value();
    assert_eq!((served.node_count(), json["serial"].as_u64()), (3, Some(serial.into())), "DNS shows them");

    assert_eq!(counts(&import(&service, "", &body)), [9, 0, 0, 3, 5], "API-35: the same again");
    let moved = line("a.ostn.test", "").replace("203.0.113.7", "203.0.113.8");
    assert_eq!(counts(&import(&service, "", &moved)), [1, 0, 1, 0, 0]);
    let unasked = r#"{"domain":"d.ostn.test","targets":[{"host":"nowhere.example.org","port":5061}]}"#;
    assert_eq!(counts(&import(&service, "?look_up=false", unasked)), [1, 1, 0, 0, 0]);
}

#[test]
fn more_lines_than_a_chunk_and_more_faults_than_are_told() {
    let service = Service::start();
    let many: Vec<_> = (0..5000).map(|n| line(&format!("n{n}.ostn.test"), "")).collect();
    assert_eq!(counts(&import(&service, "", &many.join("\n"))), [5000, 5000, 0, 0, 0]);
    assert_eq!(service.directory.live().load().node_count(), 5000);
    let bad = "{}\n".repeat(20_000);
    let answer = import(&service, "", &bad);
    let [lines, .., refused] = counts(&answer);
    assert!(lines == refused && (1000..20_000).contains(&lines), "{lines} {refused}");
    assert_eq!(answer.json()["complete"], false);
}

#[test]
fn refused() {
    let service = Service::start();
    let token = service.token(&["a.ostn.test"]);
    let body = line("a.ostn.test", "");
    let bearer = format!("Bearer {token}");
    let not_admin = service.send_raw("POST", "/v1/import", &[("authorization", &bearer), NDJSON], Some(&body));
    assert_eq!((not_admin.status, not_admin.problem().as_str()), (403, "forbidden"));
    for (query, kind, body, status, problem) in [
        ("", "application/json", body.clone(), 415, "unsupported-type"),
        ("?dry_run=1", NDJSON.1, body.clone(), 400, "malformed"),
        ("?x=1", NDJSON.1, body.clone(), 400, "malformed"),
        ("", NDJSON.1, "x".repeat(70_000), 413, "too-large"),
    ] {
        let answer = service.send("POST", &format!("/v1/import{query}"), &[("content-type", kind)], Some(&body));
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{query} {kind}");
    }
    // A line that is too long ends the import; those before it count.
    let answer = import(&service, "", &format!("{body}\n{}\n{body}", "x".repeat(70_000)));
    assert_eq!((counts(&answer)[1], &answer.json()["complete"]), (1, &serde_json::json!(false)));
}
