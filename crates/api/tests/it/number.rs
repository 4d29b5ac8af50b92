//! `/v1/numbers`: claims, delegations, and who sees which number (ENUM-77, ENUM-85).

use serde_json::json;
use tandem_api::{ApiConfig, LimitConfig};

use crate::service::{Answer, Service, document_with};

fn numbered(domain: &str, numbers: &str) -> String {
    document_with(domain, &format!(r#","numbers":[{numbers}]"#))
}

fn reader(service: &Service, more: &str) -> String {
    let body = format!(r#"{{"role":"read"{more}}}"#);
    let answer = service.send("POST", "/v1/tokens", &[], Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["secret"].as_str().unwrap().into()
}

fn said(answer: &Answer) -> (u16, String) {
    (answer.status, answer.problem())
}

#[test]
fn api_32_api_33_one_key_has_one_effect() {
    let service = Service::start();
    let post = |key: &str, path: &str, body: Option<&str>| {
        service.send("POST", &format!("/v1/numbers/{path}"), &[("idempotency-key", key)], body)
    };
    let twice = |key: &str, path: &str, body: Option<&str>, status: u16| {
        let (first, again) = (post(key, path, body), post(key, path, body));
        assert_eq!((first.status, first.json()), (status, again.json()), "{path}: {}", again.text);
        assert_eq!(first.status, again.status);
        let other = post(key, path, Some(r#"{"domain":"debug.ostn.test","e164":"+15559999"}"#));
        assert_eq!(said(&other), (422, "key-reused".into()), "{path}");
        assert_eq!(post("no quotes", path, body).status, 400, "{path}");
        first
    };
    let claim = |key: &str, number: &str| {
        let body = format!(r#"{{"domain":"debug.ostn.test","e164":"{number}"}}"#);
        let made = twice(key, "claims", Some(&body), 201);
        // What was answered stays answered, whatever became of it.
        (made.json()["id"].as_str().unwrap().to_owned(), body)
    };
    let (id, body) = claim(r#""claim 1""#, "+15550101");
    twice(r#""approve 1""#, &format!("claims/{id}/approve"), None, 200);
    assert_eq!(post(r#""claim 1""#, "claims", Some(&body)).json()["id"], id.as_str());
    assert_eq!(said(&post(r#""claim 3""#, "claims", Some(&body))), (409, "conflict".into()));
    let (id, _) = claim(r#""claim 2""#, "+15550102");
    twice(r#""reject 2""#, &format!("claims/{id}/reject"), Some(r#"{"reason":"no"}"#), 200);
    twice(r#""give""#, "delegations", Some(r#"{"domain":"debug.ostn.test","block":"+155502"}"#), 200);
}

#[test]
fn enum_77_from_a_claim_to_dns() {
    let service = Service::start();
    let (debug, lab) = (service.token(&["debug.ostn.test"]), service.token(&["lab.ostn.test"]));
    let put = |token: &str, domain: &str, numbers: &str| {
        service.send_as(token, "PUT", &format!("/v1/nodes/{domain}"), Some(&numbered(domain, numbers)))
    };
    let claim = |token: &str, body: &str| service.send_as(token, "POST", "/v1/numbers/claims", Some(body));
    assert_eq!(said(&put(&debug, "debug.ostn.test", r#"{"block":"+155502"}"#)), (403, "forbidden".into()));
    let made = claim(&debug, r#"{"domain":"debug.ostn.test","block":"+1 555 02"}"#);
    assert_eq!(
        (made.status, made.json()["state"].as_str(), made.json()["block"].as_str()),
        (201, Some("pending"), Some("+155502"))
    );
    let id = made.json()["id"].as_str().unwrap().to_owned();
    // Somebody else's claim of the same is told the same; other domains are not there for it.
    let second = claim(&lab, r#"{"domain":"lab.ostn.test","block":"+155502"}"#);
    assert_eq!((second.status, second.json()["state"].as_str()), (201, Some("pending")));
    assert_eq!(said(&claim(&lab, r#"{"domain":"debug.ostn.test","block":"+155502"}"#)), (404, "not-found".into()));
    let waiting = |token: &str| {
        let list = service.send_as(token, "GET", "/v1/numbers/claims", None);
        list.json()["claims"].as_array().unwrap().len()
    };
    assert_eq!((waiting(&service.admin), waiting(&debug), waiting(&lab)), (2, 1, 1));
    let approve = format!("/v1/numbers/claims/{id}/approve");
    assert_eq!(said(&service.send_as(&debug, "POST", &approve, None)), (403, "forbidden".into()));
    let given = service.send("POST", &approve, &[], None);
    assert_eq!((given.status, given.json()["domain"].as_str()), (200, Some("debug.ostn.test")), "{}", given.text);
    assert_eq!(service.send("POST", &approve, &[], None).status, 404, "decided");
    let other = format!("/v1/numbers/claims/{}", second.json()["id"].as_str().unwrap());
    let taken = service.send("POST", &format!("{other}/approve"), &[], Some(r#"{"over_holder":true}"#));
    assert_eq!(said(&taken), (409, "conflict".into()));
    assert!(taken.text.contains("debug.ostn.test"), "an admin sees whose: {}", taken.text);
    assert_eq!(service.send_as(&debug, "POST", &format!("{other}/reject"), None).status, 404);
    let ended = service.send("POST", &format!("{other}/reject"), &[], Some(r#"{"reason":"given already"}"#));
    assert_eq!(ended.status, 200, "{}", ended.text);

    assert_eq!(put(&debug, "debug.ostn.test", r#"{"block":"+155502"}"#).status, 201);
    // Out of its own block the holder gives a number on, and takes it back.
    let give = |token: &str, body: &str| service.send_as(token, "POST", "/v1/numbers/delegations", Some(body));
    let body = r#"{"domain":"lab.ostn.test","e164":"+15550207"}"#;
    assert_eq!(said(&give(&lab, body)), (403, "forbidden".into()));
    let given = give(&debug, body);
    assert_eq!((given.status, given.json()["from"].as_str()), (200, Some("debug.ostn.test")), "{}", given.text);
    assert_eq!(give(&debug, body).status, 200, "the same again");
    assert_eq!(said(&give(&debug, r#"{"domain":"lab.ostn.test","e164":"+15550301"}"#)), (403, "forbidden".into()));
    let over = r#"{"domain":"lab.ostn.test","e164":"+15550208","over_holder":true}"#;
    assert_eq!(said(&give(&debug, over)), (403, "forbidden".into()), "an admin's word");
    assert_eq!(put(&lab, "lab.ostn.test", r#"{"e164":"+15550207"}"#).status, 201);
    let zone = || service.send("GET", "/v1/zones/e164.ostn.test", &[], None).text;
    assert!(zone().contains("7.0.2.0.5.5.5.1.e164.ostn.test."), "{}", zone());
    let range = "/v1/numbers/delegations/+15550207";
    assert_eq!(said(&service.send("DELETE", "/v1/numbers/delegations/+155502*", &[], None)), (409, "conflict".into()));
    let gone = service.send_as(&debug, "DELETE", range, None);
    assert_eq!((gone.status, gone.json()["nodes"].clone()), (200, json!(["lab.ostn.test"])), "{}", gone.text);
    assert!(!zone().contains("7.0.2.0.5.5.5.1.e164.ostn.test."), "at once");
    assert_eq!(service.send_as(&debug, "DELETE", range, None).status, 404);
    assert_eq!(service.send("DELETE", "/v1/numbers/delegations/x", &[], None).status, 400);

    let audit = service.send_as(&lab, "GET", "/v1/audit", None).json();
    let told: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(told, ["register", "revoke-number", "register", "delegate-number", "reject-number", "claim-number"]);
    assert_eq!(audit["entries"][1]["reason"], "+15550207");
}

#[test]
fn enum_85_numbers_of_others_are_not_shown() {
    let service = Service::start();
    for (domain, numbers) in [
        ("debug.ostn.test", r#"{"e164":"+15550101"},{"block":"+155502"}"#),
        ("lab.ostn.test", r#"{"e164":"+15550301"}"#),
    ] {
        let path = format!("/v1/nodes/{domain}");
        assert_eq!(service.send("PUT", &path, &[], Some(&numbered(domain, numbers))).status, 201);
    }
    let body = r#"{"domain":"lab.ostn.test","block":"+155504"}"#;
    assert_eq!(service.send("POST", "/v1/numbers/delegations", &[], Some(body)).status, 200);
    let plain = reader(&service, "");
    let all = reader(&service, r#","actions":["read","numbers"]"#);
    let node = service.token(&["lab.ostn.test"]);
    // Whatever the plain reader asks for, no number is in it.
    for path in [
        "/v1/nodes",
        "/v1/nodes/debug.ostn.test",
        "/v1/nodes/debug.ostn.test/records",
        "/v1/changes?after=0&wait=0",
        "/v1/audit",
        "/v1/numbers",
        "/v1/numbers/+15550101",
        "/v1/numbers/claims",
        "/v1/zones/e164.ostn.test",
        "/v1/zones/ostn.test",
        "/v1/zones/peers.ostn.test",
    ] {
        let answer = service.send_as(&plain, "GET", path, None);
        let dotted = answer.text.contains("1.0.1.0.5.5.5.1") || answer.text.contains("*.2.0.5.5.5.1");
        assert!(
            !answer.text.contains("155501") && !answer.text.contains("155502") && !dotted,
            "{path}: {}",
            answer.text
        );
        if path.starts_with("/v1/numbers") || path.contains("e164") {
            assert_eq!(said(&answer), (403, "forbidden".into()), "{path}");
        }
    }
    let hidden = service.send_as(&plain, "GET", "/v1/nodes/debug.ostn.test", None).json();
    assert_eq!((hidden["node"]["numbers"].clone(), hidden["numbers_hidden"].clone()), (json!([]), json!(true)));
    let shown = service.send_as(&all, "GET", "/v1/nodes/debug.ostn.test", None).json();
    assert_eq!((shown["node"]["numbers"].as_array().unwrap().len(), shown["numbers_hidden"].clone()), (2, json!(null)));
    assert_eq!(service.send_as(&all, "GET", "/v1/zones/e164.ostn.test", None).status, 200);

    let list = |token: &str| {
        let answer = service.send_as(token, "GET", "/v1/numbers", None).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let numbers = answer["numbers"].as_array().unwrap().iter();
        numbers.map(|one| text(&one["e164"]) + &text(&one["block"]) + " " + &text(&one["node"])).collect::<Vec<_>>()
    };
    let everything = ["+15550101 debug.ostn.test", "+155502 debug.ostn.test", "+15550301 lab.ostn.test", "+155504 "];
    assert_eq!(list(&service.admin), everything);
    assert_eq!(list(&all), everything);
    assert_eq!(list(&node), everything[2..]);
    let page = service.send("GET", "/v1/numbers?limit=1", &[], None);
    let link = page.field("link").unwrap();
    let next = link.split('<').nth(2).unwrap().split('>').next().unwrap().to_owned();
    assert_eq!(service.send("GET", &next, &[], None).json()["numbers"][0]["block"], "+155502");

    let find = |token: &str, number: &str| service.send_as(token, "GET", &format!("/v1/numbers/{number}"), None);
    let found = find(&all, "+15550299").json();
    assert_eq!(found["published"], json!({"block": "+155502", "node": "debug.ostn.test"}));
    assert_eq!(find(&node, "+15550401").json()["delegation"]["domain"], "lab.ostn.test");
    for number in ["+15550101", "+19999999"] {
        assert_eq!(said(&find(&node, number)), (404, "not-found".into()), "taken or not: {number}");
    }
    assert_eq!(find(&all, "112").status, 400);
}

#[test]
fn look_ups_have_a_limit_of_their_own() {
    let service = Service::start_with(|dir| ApiConfig {
        limits: LimitConfig { number_lookups_per_minute: 3, ..LimitConfig::default() },
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    let all = reader(&service, r#","actions":["numbers"]"#);
    let find = |token: &str| service.send_as(token, "GET", "/v1/numbers/+15550101", None).status;
    assert_eq!([find(&all), find(&all), find(&all), find(&all)], [404, 404, 404, 429]);
    assert_eq!(service.send_as(&all, "GET", "/v1/nodes", None).status, 200, "other requests go on");
    assert_eq!((0..9).map(|_| find(&service.admin)).max(), Some(404));
}
