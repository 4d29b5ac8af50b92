//! Roles, actions, sources, rotation, invitations and registrations over HTTP.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_api::{ApiConfig, LimitConfig, RegistrationMode};

use crate::service::{Answer, Service, document};

fn with_mode(registration: RegistrationMode) -> Service {
    Service::start_with(|dir| ApiConfig { registration, ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir) })
}

impl Service {
    fn make_token(&self, body: &Value) -> String {
        let answer = self.send("POST", "/v1/tokens", &[], Some(&body.to_string()));
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["secret"].as_str().unwrap().into()
    }

    fn invite(&self, domain: &str) -> (String, String) {
        let answer = self.send("POST", "/v1/invitations", &[], Some(&json!({"domain": domain}).to_string()));
        assert_eq!(answer.status, 201, "{}", answer.text);
        let made = answer.json();
        (made["id"].as_str().unwrap().into(), made["code"].as_str().unwrap().into())
    }

    fn redeem(&self, code: &str) -> Answer {
        self.send_raw("POST", "/v1/invitations/redeem", &[], Some(&json!({"code": code}).to_string()))
    }

    fn ask_for(&self, domain: &str) -> Answer {
        self.send_raw("POST", "/v1/registrations", &[], Some(&json!({"domain": domain}).to_string()))
    }
}

fn secret_of(answer: &Answer) -> String {
    answer.json()["secret"].as_str().unwrap().into()
}

#[test]
fn api_70_what_each_role_may() {
    let service = Service::start();
    service.register("debug.ostn.test");
    let tokens = [
        ("read", service.make_token(&json!({"role": "read"}))),
        ("node", service.make_token(&json!({"role": "node", "names": ["debug.ostn.test"]}))),
        ("node that reads", service.make_token(&json!({"names": ["debug.ostn.test"], "actions": ["read"]}))),
        ("node that renews", service.make_token(&json!({"names": ["debug.ostn.test"], "actions": ["renew"]}))),
    ];
    let body = document("debug.ostn.test");
    let put = ("PUT", "/v1/nodes/debug.ostn.test", Some(body.as_str()));
    for ((method, path, body), statuses) in [
        (put, [403, 200, 403, 403]),
        (("GET", "/v1/nodes/debug.ostn.test", None), [200, 200, 200, 403]),
        (("GET", "/v1/nodes/debug.ostn.test/records", None), [200, 200, 200, 403]),
        (("GET", "/v1/nodes/other.ostn.test", None), [404, 404, 404, 404]),
        (("PUT", "/v1/nodes/other.ostn.test", Some("{}")), [403, 404, 404, 404]),
        (("GET", "/v1/nodes", None), [200, 200, 200, 403]),
        (("GET", "/v1/zones", None), [200, 403, 403, 403]),
        (("GET", "/v1/zones/ostn.test", None), [200, 403, 403, 403]),
        (("POST", "/v1/zones/reload", None), [403, 403, 403, 403]),
        (("GET", "/v1/tokens", None), [403, 403, 403, 403]),
        (("POST", "/v1/tokens", Some("{}")), [403, 403, 403, 403]),
        (("GET", "/v1/invitations", None), [403, 403, 403, 403]),
        (("POST", "/v1/invitations", Some("{}")), [403, 403, 403, 403]),
        (("DELETE", "/v1/invitations/x", None), [403, 403, 403, 403]),
        (("POST", "/v1/nodes/debug.ostn.test/renew", None), [403, 200, 403, 200]),
        (("POST", "/v1/nodes/debug.ostn.test/drain", None), [403, 200, 403, 403]),
        (("POST", "/v1/nodes/debug.ostn.test/approve", None), [403, 403, 403, 403]),
        (("POST", "/v1/nodes/other.ostn.test/renew", None), [403, 404, 404, 404]),
        (("GET", "/v1/audit", None), [200, 200, 200, 403]),
        (("GET", "/v1/changes?after=0", None), [200, 200, 200, 403]),
        (("GET", "/v1/members", None), [200, 200, 200, 403]),
        (("GET", "/v1/members/debug.ostn.test", None), [200, 200, 200, 403]),
        (("DELETE", "/v1/nodes/debug.ostn.test", None), [403, 200, 403, 403]),
    ] {
        for ((role, token), status) in tokens.iter().zip(statuses) {
            let answer = service.send_as(token, method, path, body);
            // The one that may has removed it for those after it.
            let gone = method == "DELETE" && answer.status == 403;
            assert!(answer.status == status || gone, "{role}: {method} {path}: {} {}", answer.status, answer.text);
        }
    }
}

#[test]
fn a_token_is_believed_only_from_its_networks() {
    let service = Service::start();
    let here = service.make_token(&json!({"names": ["debug.ostn.test"], "sources": ["192.0.2.0/24", "127.0.0.0/8"]}));
    let elsewhere = service.make_token(&json!({"names": ["debug.ostn.test"], "sources": ["192.0.2.0/24", "::/0"]}));
    assert_eq!(service.send_as(&here, "GET", "/v1/nodes", None).status, 200);
    let refused = service.send_as(&elsewhere, "GET", "/v1/nodes", None);
    assert_eq!((refused.status, refused.problem().as_str()), (401, "unauthenticated"));
}

#[test]
fn a_token_rotates_itself_and_nobody_else() {
    let service = Service::start();
    let first = service.make_token(&json!({"names": ["debug.ostn.test"]}));
    let other = service.make_token(&json!({"names": ["lab.ostn.test"]}));
    let rotate = |token: &str, id: &str, body: &str| {
        service.send_as(token, "POST", &format!("/v1/tokens/{id}/rotate"), Some(body))
    };
    let works = |token: &str| service.send_as(token, "GET", "/v1/nodes", None).status == 200;
    let rotated = rotate(&first, "self", r#"{"overlap_seconds":600}"#);
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let id = rotated.json()["id"].as_str().unwrap().to_owned();
    assert!(rotated.json()["previous_until"].is_string());
    let second = secret_of(&rotated);
    assert!(works(&first) && works(&second), "overlap");
    assert_eq!(rotate(&other, &id, "{}").status, 404, "API-24");
    let third = secret_of(&rotate(&second, &id, r#"{"overlap_seconds":0}"#));
    assert!(!works(&first) && !works(&second) && works(&third), "no overlap");
    let moved = rotate(&third, "self", r#"{"expires_in":60}"#);
    assert_eq!((moved.status, moved.pointers()), (422, vec!["#/expires_in".to_owned()]));
    let fourth = secret_of(&rotate(&service.admin, &id, r#"{"overlap_seconds":0,"expires_in":60}"#));
    assert!(!works(&third) && works(&fourth));
    assert_eq!(rotate(&service.admin, "nobody", "{}").status, 404);
}

#[test]
fn an_invitation_is_good_once() {
    let service = Service::start();
    let (id, code) = service.invite("lab.ostn.test");
    let list = service.send("GET", "/v1/invitations", &[], None);
    assert!(list.text.contains(&id) && !list.text.contains(&code), "the code is shown once");
    for wrong in ["x", "tandem_invite_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &service.admin] {
        let refused = service.redeem(wrong);
        assert_eq!((refused.status, refused.problem().as_str()), (404, "not-found"), "{wrong}");
        assert!(!refused.text.contains(wrong) || wrong == "x", "a code that was sent is not echoed");
    }
    let token = service.redeem(&code);
    assert_eq!((token.status, token.json()["origin"].as_str()), (201, Some("invitation")), "{}", token.text);
    assert_eq!(service.redeem(&code).status, 404, "used");
    let secret = secret_of(&token);
    let put =
        |domain: &str| service.send_as(&secret, "PUT", &format!("/v1/nodes/{domain}"), Some(&document(domain))).status;
    assert_eq!((put("lab.ostn.test"), put("debug.ostn.test")), (201, 404));

    let (id, code) = service.invite("other.ostn.test");
    assert_eq!(service.send("DELETE", &format!("/v1/invitations/{id}"), &[], None).status, 204);
    assert_eq!(
        (service.redeem(&code).status, service.send("DELETE", &format!("/v1/invitations/{id}"), &[], None).status),
        (404, 404)
    );
}

#[test]
fn closed_moderated_open() {
    let closed = Service::start();
    let refused = closed.ask_for("new.ostn.test");
    assert_eq!((refused.status, refused.problem().as_str()), (403, "registration-closed"));

    let open = with_mode(RegistrationMode::Open);
    open.register("debug.ostn.test");
    for (domain, status, problem) in [
        ("example.org", 403, "domain-not-proved"),
        ("ostn.test", 409, "conflict"),
        ("test", 409, "conflict"),
        ("x.peers.ostn.test", 409, "conflict"),
        ("1.e164.ostn.test", 409, "conflict"),
        ("debug.ostn.test", 409, "conflict"),
        ("a.debug.ostn.test", 409, "conflict"),
        ("a..b", 422, "invalid-request"),
    ] {
        let refused = open.ask_for(domain);
        assert_eq!((refused.status, refused.problem().as_str()), (status, problem), "{domain}: {}", refused.text);
    }
    let made = open.ask_for("New.ostn.test");
    assert_eq!((made.status, &made.json()["moderated"]), (201, &Value::from(false)), "{}", made.text);
    let secret = secret_of(&made);
    let put = open.send_as(&secret, "PUT", "/v1/nodes/new.ostn.test", Some(&document("new.ostn.test")));
    assert_eq!(put.status, 201, "{}", put.text);
    assert_eq!(open.ask_for("new.ostn.test").status, 409, "first come, first served");

    let moderated = with_mode(RegistrationMode::Moderated);
    for domain in ["new.ostn.test", "example.org"] {
        let made = moderated.ask_for(domain);
        assert_eq!((made.status, &made.json()["moderated"]), (201, &Value::from(true)), "{domain}: {}", made.text);
    }
    assert_eq!(moderated.ask_for("org").status, 409, "one label is nobody's");
}

#[test]
fn quotas_are_for_what_grows() {
    let limits = LimitConfig { nodes_per_token: 2, targets_per_token: 3, ..LimitConfig::default() };
    let service =
        Service::start_with(|dir| ApiConfig { limits, ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir) });
    let token = service.token(&["ostn.test"]);
    let put = |domain: &str, targets: usize| {
        let targets: Vec<_> = (0..targets)
            .map(|n| json!({"host": format!("sip{n}.{domain}"), "port": 5061, "addresses": ["203.0.113.7"]}))
            .collect();
        let body = json!({ "targets": targets }).to_string();
        service.send_as(&token, "PUT", &format!("/v1/nodes/{domain}"), Some(&body))
    };
    assert_eq!((put("a.ostn.test", 1).status, put("b.ostn.test", 2).status), (201, 201));
    for (domain, targets, limit) in [("c.ostn.test", 1, 2), ("a.ostn.test", 2, 3), ("b.ostn.test", 3, 3)] {
        let refused = put(domain, targets);
        assert_eq!((refused.status, refused.problem().as_str()), (403, "quota-exceeded"), "{domain}");
        assert_eq!(refused.json()["limit"], limit, "{domain}");
    }
    assert_eq!((put("b.ostn.test", 1).status, put("a.ostn.test", 2).status), (200, 200), "room again");
    service.register("c.ostn.test");
    service.register("d.ostn.test");
    assert_eq!(put("d.ostn.test", 1).status, 200, "what is there may be published again, past the quota too");
    assert_eq!(put("e.ostn.test", 1).status, 403);

    // Many at once do not take more than there is.
    let service = Arc::new(service);
    service.send("DELETE", "/v1/nodes/c.ostn.test", &[("if-match", "*")], None);
    service.send("DELETE", "/v1/nodes/d.ostn.test", &[("if-match", "*")], None);
    service.send("DELETE", "/v1/nodes/a.ostn.test", &[("if-match", "*")], None);
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let (service, token) = (Arc::clone(&service), token.clone());
            std::thread::spawn(move || {
                let domain = format!("n{n}.ostn.test");
                service.send_as(&token, "PUT", &format!("/v1/nodes/{domain}"), Some(&document(&domain))).status
            })
        })
        .collect();
    let made = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|s| *s == 201).count();
    assert_eq!(made, 1, "one place was left");
}
