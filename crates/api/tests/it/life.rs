//! States, leases and actions over HTTP: who may, from where, and what is shown.

use serde_json::json;

use crate::service::{Answer, Service, document};

const NODE: &str = "/v1/nodes/debug.ostn.test";

fn act(service: &Service, token: &str, action: &str, body: Option<&str>) -> Answer {
    service.send_as(token, "POST", &format!("{NODE}/{action}"), body)
}

/// The priorities of the SRV records that the node has now.
fn priorities(service: &Service) -> Vec<String> {
    let records = service.send("GET", &format!("{NODE}/records"), &[], None).json()["records"].clone();
    let srv = records.as_array().unwrap().iter().filter(|record| record["type"] == "SRV");
    srv.map(|record| record["data"].as_str().unwrap().split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn a_node_renews_its_lease() {
    let service = Service::start();
    let token = service.token(&["debug.ostn.test"]);
    let renew = |token: &str| act(&service, token, "renew", None);
    assert_eq!(renew(&token).status, 404, "not registered");
    let made = service.send_as(&token, "PUT", NODE, Some(&document("debug.ostn.test")));
    assert_eq!((&made.json()["state"], made.status), (&json!("active"), 201));
    let renewed = renew(&token);
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert_eq!((&renewed.json()["state"], &renewed.json()["lease_seconds"]), (&json!("active"), &json!(604_800)));
    let read = service.send("GET", NODE, &[], None);
    assert_eq!(read.json()["lease_until"], renewed.json()["lease_until"]);
    assert_eq!(read.etag(), made.etag(), "a renewal is no change");
    let other = service.token(&["other.ostn.test"]);
    assert_eq!(renew(&other).status, 404, "API-24");
    assert_eq!(service.send_raw("POST", &format!("{NODE}/renew"), &[], None).status, 401);
    assert_eq!(service.send("POST", &format!("{NODE}/renew?x=1"), &[], None).status, 400);
}

#[test]
fn actions_and_who_may() {
    let service = Service::start();
    let token = service.token(&["debug.ostn.test"]);
    let admin = service.admin.clone();
    service.register("debug.ostn.test");

    let drained = act(&service, &token, "drain", Some(r#"{"reason":"maintenance"}"#));
    assert_eq!((drained.status, &drained.json()["effect"]), (200, &json!("moved")), "{}", drained.text);
    assert_eq!(priorities(&service), ["10010", "10010"], "demoted in both zones");
    let read = service.send("GET", NODE, &[], None).json();
    assert_eq!((&read["state"], &read["reason"]), (&json!("draining"), &json!("maintenance")));
    assert_eq!(read["node"]["targets"][0]["priority"], 10, "what the node says stays");
    assert_eq!(act(&service, &token, "drain", Some(r#"{"reason":"maintenance"}"#)).json()["effect"], "unchanged");
    assert_eq!(act(&service, &token, "restore", None).status, 200);
    assert_eq!(priorities(&service), ["10", "10"]);

    for (action, status) in [("suspend", 403), ("approve", 403), ("reject", 403), ("explode", 404)] {
        assert_eq!(act(&service, &token, action, None).status, status, "{action}");
    }
    assert_eq!(act(&service, &admin, "suspend", Some(r#"{"reason":"spam"}"#)).status, 200);
    assert_eq!(service.send("GET", &format!("{NODE}/records"), &[], None).json()["records"], json!([]));
    let published = service.send_as(&token, "PUT", NODE, Some(&document("debug.ostn.test")));
    assert_eq!((&published.json()["state"], &published.json()["records"]), (&json!("suspended"), &json!([])));
    for action in ["restore", "drain"] {
        let refused = act(&service, &token, action, None);
        assert!(matches!(refused.status, 403 | 409), "{action} {}", refused.text);
    }
    let removed = service.send_as(&token, "DELETE", NODE, None);
    assert_eq!((removed.status, removed.problem().as_str()), (403, "forbidden"), "it would be a way round");

    // API-12: an admin who puts a node into DNS has seen it.
    let unseen = act(&service, &admin, "restore", None);
    assert_eq!((unseen.status, unseen.problem().as_str()), (428, "precondition-required"));
    let etag = service.send("GET", NODE, &[], None).etag();
    let restore = |tag: &str| service.send("POST", &format!("{NODE}/restore"), &[("if-match", tag)], None);
    assert_eq!(restore("\"1\"").status, 412);
    assert_eq!(restore(&etag).json()["state"], "active");
    assert_eq!(priorities(&service), ["10", "10"]);

    let wrong = service.send("POST", &format!("{NODE}/approve"), &[("if-match", "*")], None);
    assert_eq!((wrong.status, wrong.problem().as_str()), (409, "wrong-state"));
    for body in [r#"{"reason":""}"#, r#"{"why":"x"}"#, "[]"] {
        assert_eq!(act(&service, &token, "drain", Some(body)).status, 422, "{body}");
    }
    assert_eq!(act(&service, &token, "drain", Some("{")).status, 400);
}

#[test]
fn api_33_an_action_is_done_once() {
    let service = Service::start();
    service.register("debug.ostn.test");
    assert_eq!(act(&service, &service.admin, "suspend", None).status, 200);
    let etag = service.send("GET", NODE, &[], None).etag();
    let fields = [("if-match", etag.as_str()), ("idempotency-key", "\"an answer got lost\"")];
    let restore = |fields: &[(&str, &str)], body| service.send("POST", &format!("{NODE}/restore"), fields, body);
    let first = restore(&fields, None);
    assert_eq!((first.status, &first.json()["state"]), (200, &json!("active")), "{}", first.text);
    assert_eq!(restore(&fields[..1], None).status, 412, "without a key it is another request");
    let again = restore(&fields, None);
    assert_eq!((again.status, again.json()), (200, first.json()), "{}", again.text);
    assert_eq!(service.send("GET", NODE, &[], None).etag(), first.json()["etag"], "nothing happened");
    let with = [&fields[..], &[("content-type", "application/json")]].concat();
    let other = restore(&with, Some(r#"{"reason":"x"}"#));
    assert_eq!((other.status, other.problem().as_str()), (422, "key-reused"));
    assert_eq!(restore(&[("idempotency-key", "no quotes")], None).status, 400);
}

#[test]
fn lists_by_state() {
    let service = Service::start();
    for index in 0..4 {
        service.register(&format!("n{index}.ostn.test"));
    }
    for index in [1, 2] {
        let path = format!("/v1/nodes/n{index}.ostn.test/compromised");
        assert_eq!(service.send("POST", &path, &[], None).status, 200);
    }
    let names = |token: &str, query: &str| {
        let answer = service.send_as(token, "GET", &format!("/v1/nodes?{query}"), None);
        let nodes = answer.json()["nodes"].as_array().unwrap().clone();
        let names: Vec<_> = nodes.iter().map(|node| node["domain"].as_str().unwrap()[..2].to_owned()).collect();
        (names.join(" "), answer.field("link").unwrap().to_owned())
    };
    let admin = service.admin.clone();
    assert_eq!(names(&admin, "state=compromised").0, "n1 n2");
    assert_eq!(names(&admin, "state=active").0, "n0 n3");
    assert_eq!(names(&admin, "").0, "n0 n1 n2 n3");
    let (first, link) = names(&admin, "state=compromised&limit=1");
    let next = link.split("rel=\"first\", <").nth(1).unwrap().split('>').next().unwrap();
    assert_eq!(first, "n1");
    assert!(next.contains("state=compromised"), "{link}");
    assert_eq!(service.send("GET", next, &[], None).json()["nodes"][0]["domain"], "n2.ostn.test");
    let holder = service.token(&["n1.ostn.test", "n3.ostn.test"]);
    assert_eq!(names(&holder, "state=compromised").0, "n1");
    assert_eq!(service.send("GET", "/v1/nodes?state=gone", &[], None).status, 400);
    assert_eq!(service.send_as(&holder, "GET", "/v1/nodes?state=tombstone", None).status, 403);
    assert_eq!(names(&admin, "state=tombstone").0, "");
}
