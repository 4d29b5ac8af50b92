//! Conditional requests (spec section 2; RFC 9110 13).

use crate::service::{Service, document, document_with};

const NODE: &str = "/v1/nodes/debug.ostn.test";

#[test]
fn api_t01_to_t03_if_match() {
    let service = Service::start();
    let created = service.register("debug.ostn.test");
    let (etag, serial) = (created.etag(), created.json()["serial"].as_u64().unwrap());

    let other = document_with("debug.ostn.test", r#","ttl":30"#);
    let put = |tag: &str, body: &str| service.send("PUT", NODE, &[("if-match", tag)], Some(body));
    let answer = put(&etag, &other);
    assert_eq!(answer.status, 200, "API-T01 {}", answer.text);
    assert_eq!(answer.field("etag"), None, "API-T01, API-18");
    assert_ne!(answer.etag(), etag, "API-T01");
    assert!(answer.json()["serial"].as_u64().unwrap() > serial, "API-T01");
    let now = answer.etag();

    let answer = put(&etag, &document("debug.ostn.test"));
    assert_eq!((answer.status, answer.problem().as_str()), (412, "stale"), "API-T02");
    assert_eq!(answer.json()["current"], now.as_str(), "API-T02: the caller may read it");
    let weak = put(&format!("W/{now}"), &document("debug.ostn.test"));
    assert_eq!(weak.status, 412, "API-T03");
    let read = service.send("GET", NODE, &[], None);
    assert_eq!((read.field("etag"), read.json()["node"]["ttl"].as_u64()), (Some(now.as_str()), Some(30)), "API-T02");
    assert_eq!(put("5", &other).status, 400, "no entity tag");
}

#[test]
fn api_t04_without_preconditions() {
    let service = Service::start();
    let token = service.token(&["debug.ostn.test"]);
    let first = service.send_as(&token, "PUT", NODE, Some(&document("debug.ostn.test")));
    assert_eq!(first.status, 201);
    let second = service.send_as(&token, "PUT", NODE, Some(&document_with("debug.ostn.test", r#","ttl":30"#)));
    assert_eq!((second.status, second.json()["effect"].as_str()), (200, Some("replaced")), "replaced");
    let third = service.send_as(&token, "PUT", NODE, Some(&document_with("debug.ostn.test", r#","ttl":30"#)));
    assert_eq!((third.status, third.json()["effect"].as_str()), (200, Some("unchanged")), "the same body twice");
    assert_eq!((third.etag(), &third.json()["serial"]), (second.etag(), &second.json()["serial"]), "nothing changed");

    let answer = service.send("DELETE", NODE, &[], None);
    assert_eq!((answer.status, answer.problem().as_str()), (428, "precondition-required"), "admin DELETE");
    assert_eq!(service.send("DELETE", NODE, &[("if-match", "\"0\"")], None).status, 412);
    let answer = service.send("DELETE", NODE, &[("if-match", &third.etag())], None);
    assert_eq!((answer.status, answer.json()["effect"].as_str()), (200, Some("removed")));
    assert_eq!(service.send("GET", NODE, &[], None).status, 404);
    assert_eq!(service.send("DELETE", NODE, &[("if-match", &third.etag())], None).status, 404, "API-35");

    service.register("debug.ostn.test");
    assert_eq!(service.send_as(&token, "DELETE", NODE, None).status, 200, "a node withdraws itself");
}

#[test]
fn api_t05_create_only() {
    let service = Service::start();
    let put = || service.send("PUT", NODE, &[("if-none-match", "*")], Some(&document("debug.ostn.test")));
    let answer = put();
    assert_eq!((answer.status, answer.field("location")), (201, Some(NODE)), "{}", answer.text);
    assert_eq!(answer.json()["effect"], "created");
    let answer = put();
    assert_eq!((answer.status, answer.problem().as_str()), (412, "stale"));
}

#[test]
fn api_t06_two_writers() {
    let service = Service::start();
    let etag = service.register("debug.ostn.test").etag();
    let put = |ttl: u32| {
        let body = document_with("debug.ostn.test", &format!(r#","ttl":{ttl}"#));
        service.send("PUT", NODE, &[("if-match", &etag)], Some(&body)).status
    };
    let mut statuses = std::thread::scope(|scope| {
        let writers = [scope.spawn(|| put(31)), scope.spawn(|| put(32))];
        writers.map(|writer| writer.join().unwrap())
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[test]
fn api_t07_not_modified() {
    let service = Service::start();
    let etag = service.register("debug.ostn.test").etag();
    let answer = service.send("GET", NODE, &[("if-none-match", &format!("\"a\", W/{etag}"))], None);
    assert_eq!((answer.status, answer.field("etag"), answer.text.as_str()), (304, Some(etag.as_str()), ""));
    assert_eq!(service.send("GET", NODE, &[("if-none-match", "\"a\"")], None).status, 200);
    assert_eq!(service.send("GET", NODE, &[("if-match", "\"a\"")], None).status, 412);
}

#[test]
fn api_10_records_and_zones_have_entity_tags() {
    let service = Service::start();
    service.register("debug.ostn.test");
    let records = format!("{NODE}/records");
    let paths = [records.as_str(), "/v1/zones/ostn.test"];
    let tag = |path: &str| service.send("GET", path, &[], None).field("etag").unwrap().to_owned();
    let tags = paths.map(tag);
    for (path, tag) in paths.iter().zip(&tags) {
        for method in ["GET", "HEAD"] {
            let answer = service.send(method, path, &[("if-none-match", tag)], None);
            assert_eq!((answer.status, answer.field("etag"), answer.text.as_str()), (304, Some(tag.as_str()), ""));
        }
        assert_eq!(service.send("GET", path, &[("if-match", "\"0\"")], None).status, 412, "{path}");
        assert_eq!(service.send("GET", path, &[("if-none-match", "5")], None).status, 400, "{path}");
    }
    assert_eq!(tags[1], format!("\"{}\"", service.send("GET", "/v1/zones", &[], None).json()["zones"][1]["serial"]));

    let contact = document_with("debug.ostn.test", r#","contact":"ops""#);
    assert_eq!(service.send("PUT", NODE, &[], Some(&contact)).status, 200);
    assert_eq!(tag(&records), tags[0], "a contact is in no record");
    let other = document_with("debug.ostn.test", r#","ttl":30"#);
    assert_eq!(service.send("PUT", NODE, &[], Some(&other)).status, 200);
    for (path, old) in paths.iter().zip(&tags) {
        let answer = service.send("GET", path, &[("if-none-match", old)], None);
        assert_eq!(answer.status, 200, "{path}");
        assert_ne!(answer.field("etag"), Some(old.as_str()), "{path}");
    }
}

#[test]
fn api_t08_to_t10_order_of_checks() {
    let service = Service::start();
    service.register("debug.ostn.test");
    let old = [("if-match", "\"0\"")];
    assert_eq!(service.send("PUT", NODE, &old, Some("{}")).status, 412, "API-T08: before what the body says");
    assert_eq!(service.send("PUT", NODE, &old, Some("no JSON")).status, 412, "API-T08");
    let fields = [old[0], ("content-type", "text/plain")];
    assert_eq!(service.send("PUT", NODE, &fields, Some("{}")).status, 415, "API-T08: type first");
    let answer = service.send_raw("PUT", NODE, &old, Some("{}"));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"), "API-T09");
    let nothing = "/v1/nodes/nothing.ostn.test";
    assert_eq!(service.send("DELETE", nothing, &[("if-match", "*")], None).status, 404, "API-T10");
    let body = document("nothing.ostn.test");
    assert_eq!(service.send("PUT", nothing, &[("if-match", "*")], Some(&body)).status, 412, "API-13");
    assert_eq!(service.send("GET", nothing, &[], None).status, 404, "nothing changed");
}
