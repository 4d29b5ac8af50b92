//! Tokens and authentication (API-70, API-24).

use crate::service::{Service, document};

#[test]
fn who_may_call() {
    let service = Service::start();
    for (id, field, error) in [
        ("none", None, false),
        ("another scheme", Some("Basic YTpi".to_owned()), false),
        ("no secret", Some("Bearer".into()), false),
        ("unknown", Some("Bearer tandem_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()), true),
        ("long", Some(format!("Bearer {}", "a".repeat(5000))), true),
        ("with spaces", Some("Bearer a b".into()), true),
    ] {
        let fields: Vec<_> = field.iter().map(|field| ("authorization", field.as_str())).collect();
        for path in ["/v1/nodes", "/v1/nodes/debug.ostn.test", "/v1/tokens", "/v1/zones", "/v1/zones/ostn.test"] {
            let answer = service.send_raw("GET", path, &fields, None);
            assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"), "{id} {path}");
            let challenge = answer.field("www-authenticate").unwrap();
            assert_eq!(challenge.contains("invalid_token"), error, "{id}: {challenge}");
        }
    }
    let bearer = format!("bEaReR  {}", service.admin);
    assert_eq!(service.send_raw("GET", "/v1/nodes", &[("authorization", &bearer)], None).status, 200, "RFC 9110 11.1");
    for path in ["/livez", "/readyz", "/openapi.json"] {
        assert_eq!(service.send_raw("GET", path, &[], None).status, 200, "API-82 {path}");
    }
}

#[test]
fn life_of_a_token() {
    let service = Service::start();
    let body = r#"{"names":["Debug.ostn.test"],"expires_in":3600,"label":"debug node"}"#;
    let made = service.send("POST", "/v1/tokens", &[], Some(body));
    assert_eq!(made.status, 201, "{}", made.text);
    let made_json = made.json();
    let (id, secret) = (made_json["id"].as_str().unwrap(), made_json["secret"].as_str().unwrap());
    assert_eq!(made.field("location"), Some(format!("/v1/tokens/{id}").as_str()));
    assert!(secret.starts_with("tandem_") && made_json["names"][0] == "debug.ostn.test");

    let put =
        |domain: &str| service.send_as(secret, "PUT", &format!("/v1/nodes/{domain}"), Some(&document(domain))).status;
    assert_eq!((put("debug.ostn.test"), put("other.ostn.test")), (201, 404));
    for (method, path, body) in [
        ("GET", "/v1/tokens", None),
        ("POST", "/v1/tokens", Some("{}")),
        ("DELETE", "/v1/tokens/x", None),
        ("GET", "/v1/zones", None),
        ("GET", "/v1/zones/ostn.test", None),
        ("GET", "/v1/zones/nothing.test", None),
    ] {
        let answer = service.send_as(secret, method, path, body);
        assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{method} {path}");
    }

    let list = service.send("GET", "/v1/tokens", &[], None);
    assert!(!list.text.contains(secret), "shown once");
    let tokens = list.json()["tokens"].as_array().unwrap().clone();
    assert!(tokens.iter().any(|token| token["id"] == id && token["label"] == "debug node"), "{}", list.text);
    let first = service.send("GET", "/v1/tokens?limit=1", &[], None);
    assert_eq!(first.json()["tokens"].as_array().unwrap().len(), 1);
    assert!(first.field("link").unwrap().contains("rel=\"next\""));

    assert_eq!(service.send("DELETE", &format!("/v1/tokens/{id}"), &[], None).status, 204);
    assert_eq!(put("debug.ostn.test"), 401, "revoked at once");
    assert_eq!(service.send("DELETE", &format!("/v1/tokens/{id}"), &[], None).status, 404);
    let answer = service.send("POST", "/v1/tokens", &[], Some(r#"{"names":["a..b"],"expires_in":1,"x":1}"#));
    assert_eq!(
        (answer.status, answer.pointers()),
        (422, ["#/x", "#/names/0", "#/expires_in"].map(String::from).to_vec())
    );
}
