//! How often who may ask (API-30, API-31), and the same request twice (API-32 to API-34).

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;
use tandem_api::{ApiConfig, LimitConfig};

use crate::service::{Answer, Service, document};

/// Loopback is limited too.
fn with(limits: &LimitConfig) -> Service {
    let limits = LimitConfig { source_exempt: Vec::new(), ..limits.clone() };
    Service::start_with(|dir| ApiConfig { limits, ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir) })
}

/// What a 429 must say; how long to wait.
fn wait_of(answer: &Answer, limit: u32, window: u32) -> u64 {
    assert_eq!((answer.status, answer.problem().as_str()), (429, "rate-limited"), "{}", answer.text);
    let (problem, field) = (answer.json(), answer.field("retry-after").unwrap().to_owned());
    assert_eq!((&problem["limit"], &problem["window_seconds"]), (&json!(limit), &json!(window)));
    let seconds: u64 = field.parse().unwrap();
    assert_eq!(problem["retry_after"], seconds, "API-31: the member is the field");
    assert!(seconds > 0 && seconds <= window.into(), "API-30: {seconds}");
    seconds
}

#[test]
fn api_t19_the_101st_request() {
    let service = with(&LimitConfig { token_per_minute: 100, ..LimitConfig::default() });
    let (token, other) = (service.token(&["debug.ostn.test"]), service.token(&["debug.ostn.test"]));
    let get = |token: &str| service.send_as(token, "GET", "/v1/nodes", None);
    // A slow machine refills one while it asks; the limit shows in a few more.
    let mut answers = (0..400).map(|_| get(&token));
    let served = answers.by_ref().take(100).filter(|answer| answer.status == 200).count();
    assert_eq!(served, 100);
    let refused = answers.find(|answer| answer.status != 200).expect("no limit");
    let wait = wait_of(&refused, 100, 60);
    assert_eq!(get(&other).status, 200, "another token");
    assert_eq!(service.send("GET", "/v1/nodes", &[], None).status, 200, "an admin");
    let told = Instant::now();
    while get(&token).status != 200 {
        assert!(told.elapsed() < Duration::from_secs(wait), "after Retry-After it is served");
        std::thread::yield_now();
    }
}

#[test]
fn a_source_and_a_domain() {
    let service = with(&LimitConfig { source_per_minute: 3, domain_per_minute: 2, ..LimitConfig::default() });
    let refused = (0..9).map(|_| service.send_raw("GET", "/v1/nodes", &[], None)).find(|answer| answer.status != 401);
    wait_of(&refused.expect("no limit"), 3, 60);
    for path in ["/livez", "/readyz", "/openapi.json"] {
        assert_eq!(service.send_raw("GET", path, &[], None).status, 200, "API-82 {path}");
    }
    assert_eq!(service.send("GET", "/v1/nodes", &[], None).status, 200, "an admin comes in");

    let service = with(&LimitConfig { domain_per_minute: 2, ..LimitConfig::default() });
    let (one, two) = (service.token(&["debug.ostn.test"]), service.token(&["debug.ostn.test"]));
    let put = |token: &str, domain: &str| {
        service.send_as(token, "PUT", &format!("/v1/nodes/{domain}"), Some(&document(domain)))
    };
    assert_eq!((put(&one, "debug.ostn.test").status, put(&two, "debug.ostn.test").status), (201, 200));
    wait_of(&put(&one, "debug.ostn.test"), 2, 60);
    assert_eq!(put(&one, "a.debug.ostn.test").status, 201, "another domain");
    assert_eq!(service.send_as(&one, "GET", "/v1/nodes/debug.ostn.test", None).status, 200, "reading is no change");
}

#[test]
fn guesses_have_their_own_limit_and_stop_nobody_else() {
    let service = with(&LimitConfig { failures_per_minute: 5, ..LimitConfig::default() });
    let token = service.token(&["debug.ostn.test"]);
    let made = service.send("POST", "/v1/invitations", &[], Some(r#"{"domain":"lab.ostn.test"}"#)).json();
    let guess = |n: usize| {
        if n.is_multiple_of(2) {
            return service.send_as("tandem_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "GET", "/v1/nodes", None);
        }
        service.send_raw("POST", "/v1/invitations/redeem", &[], Some(r#"{"code":"guess"}"#))
    };
    let refused: Vec<_> = (0..20).map(guess).filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 13, "tokens and codes count together: {}", refused.len());
    wait_of(&refused[0], 5, 60);
    assert_eq!(service.send_as(&token, "GET", "/v1/nodes", None).status, 200, "who has a token comes in");
    let code = json!({"code": made["code"]}).to_string();
    let redeemed = service.send_raw("POST", "/v1/invitations/redeem", &[], Some(&code));
    assert_eq!(redeemed.status, 201, "and who has an invitation: {}", redeemed.text);
}

#[test]
fn asking_for_tokens_is_limited_tighter() {
    let limits = LimitConfig { registrations_per_hour: 2, source_exempt: Vec::new(), ..LimitConfig::default() };
    let service = Service::start_with(|dir| ApiConfig {
        limits,
        registration: tandem_api::RegistrationMode::Open,
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    let ask = |n: usize| {
        let body = json!({"domain": format!("n{n}.ostn.test")}).to_string();
        service.send_raw("POST", "/v1/registrations", &[], Some(&body))
    };
    assert_eq!((ask(0).status, ask(1).status), (201, 201));
    wait_of(&ask(2), 2, 3600);
}

#[test]
fn api_t11_t12_t14_the_same_request_again() {
    let service = Service::start();
    let post = |key: &str, path: &str, body: &str| service.send("POST", path, &[("idempotency-key", key)], Some(body));
    let key = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";
    for (path, list, body, reordered, other) in [
        (
            "/v1/tokens",
            "tokens",
            r#"{"names":["a.ostn.test"],"label":"x"}"#,
            r#"{ "label": "x", "names": ["a.ostn.test"] }"#,
            r#"{"names":["b.ostn.test"]}"#,
        ),
        (
            "/v1/invitations",
            "invitations",
            r#"{"domain":"a.ostn.test","label":"x"}"#,
            r#"{ "label": "x", "domain": "a.ostn.test" }"#,
            r#"{"domain":"b.ostn.test"}"#,
        ),
    ] {
        let count = || service.send("GET", path, &[], None).json()[list].as_array().unwrap().len();
        let before = count();
        let first = post(key, path, body);
        assert_eq!(first.status, 201, "{}", first.text);
        for again in [body, reordered] {
            let again = post(key, path, again);
            assert_eq!((again.status, again.field("location")), (201, first.field("location")), "API-T11");
            assert_eq!(again.json(), first.json(), "API-T11: the secret too");
        }
        let reused = post(key, path, other);
        assert_eq!((reused.status, reused.problem().as_str()), (422, "key-reused"), "API-T12");
        assert_eq!(count(), before + 1, "one effect");
        // API-33: what was refused had no effect, and may be corrected.
        let corrected = "\"corrected\"";
        assert_eq!(post(corrected, path, "{}").status, 422);
        assert_eq!(post(corrected, path, other).status, 201);
        for malformed in ["8e03978e", "\"\"", &format!("\"{}\"", "a".repeat(129))] {
            assert_eq!(post(malformed, path, body).status, 400, "API-T14 {malformed}");
        }
    }
    assert_eq!(service.send("PUT", "/v1/nodes/a.ostn.test", &[], Some(&document("a.ostn.test"))).status, 201);
    for path in
        ["zones/reload", "nodes/a.ostn.test/renew", "nodes/a.ostn.test/reset-key", "nodes/a.ostn.test/probes", "import"]
    {
        assert_eq!(post("x", &format!("/v1/{path}"), "").status, 400, "API-T14: on every POST, {path}");
    }
    // The same key of another caller is another request.
    let second = service.send("POST", "/v1/tokens", &[], Some(r#"{"admin":true}"#)).json();
    let bearer = format!("Bearer {}", second["secret"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    assert_eq!(service.send_raw("POST", "/v1/tokens", &fields, Some(r#"{"names":["c.ostn.test"]}"#)).status, 201);
}

#[test]
fn an_answer_that_got_lost_comes_again_for_who_asked() {
    let service = Service::start();
    let made = service.send("POST", "/v1/invitations", &[], Some(r#"{"domain":"lab.ostn.test"}"#)).json();
    let code = json!({"code": made["code"]}).to_string();
    let redeem =
        |key: &str| service.send_raw("POST", "/v1/invitations/redeem", &[("idempotency-key", key)], Some(&code));
    let first = redeem("\"one\"");
    assert_eq!((first.status, redeem("\"one\"").json()), (201, first.json()));
    assert_eq!(redeem("\"two\"").status, 404, "who found the code later has nothing of it");

    // A token that was rotated cannot open what its old secret sealed.
    let rotate = |secret: &str, key: &str| {
        let bearer = format!("Bearer {secret}");
        let fields = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        service.send_raw("POST", "/v1/tokens/self/rotate", &fields, Some("{}"))
    };
    let secret = first.json()["secret"].as_str().unwrap().to_owned();
    let rotated = rotate(&secret, "\"r\"");
    assert_eq!((rotated.status, rotate(&secret, "\"r\"").json()), (200, rotated.json()));
    let newer = rotated.json()["secret"].as_str().unwrap().to_owned();
    let unopened = rotate(&newer, "\"r\"");
    assert_eq!((unopened.status, unopened.problem().as_str()), (422, "key-reused"), "{}", unopened.text);

    // What is on the disk opens for nobody else.
    for entry in std::fs::read_dir(service.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let octets = std::fs::read(&path).unwrap();
        for secret in [&secret, &newer] {
            let secret = &secret.as_bytes()[7..];
            assert!(!octets.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
}

#[test]
fn api_t13_both_at_once() {
    let service = Service::start();
    for round in 0..20 {
        let (barrier, key) = (Barrier::new(4), format!("\"round {round}\""));
        let body = json!({"domain": format!("n{round}.ostn.test")}).to_string();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let send = || {
                barrier.wait();
                service.send("POST", "/v1/invitations", &[("idempotency-key", &key)], Some(&body))
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert!(!made.is_empty() && made.iter().all(|answer| answer.json() == made[0].json()), "one effect");
        for other in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!((other.status, other.problem().as_str()), (409, "request-in-progress"), "{}", other.text);
        }
    }
    let list = service.send("GET", "/v1/invitations", &[], None);
    assert_eq!(list.json()["invitations"].as_array().unwrap().len(), 20);
}

#[test]
fn a_key_alone_must_be_hard_to_guess() {
    let service = Service::start_with(|dir| ApiConfig {
        registration: tandem_api::RegistrationMode::Open,
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    let ask = |key: &str| {
        service.send_raw(
            "POST",
            "/v1/registrations",
            &[("idempotency-key", key)],
            Some(r#"{"domain":"new.ostn.test"}"#),
        )
    };
    assert_eq!(ask("\"1\"").status, 400);
    let first = ask("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"");
    assert_eq!((first.status, ask("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"").json()), (201, first.json()));
    assert_eq!(ask("\"00000000-40d5-43dd-bc93-6894a57f9324\"").status, 409);
}
