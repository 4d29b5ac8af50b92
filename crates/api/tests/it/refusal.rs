//! Bad input: each gets a problem that says what to do, and nothing changes.

use serde_json::json;

use crate::service::{Service, document, document_with};

const NODE: &str = "/v1/nodes/debug.ostn.test";

#[test]
fn bodies() {
    let service = Service::start();
    let target = |host: &str, port: &str| format!(r#"{{"targets":[{{"host":"{host}","port":{port}}}]}}"#);
    let nine: Vec<_> = (0..9).map(|n| json!({"host": "ns1.ostn.test", "port": 5061 + n})).collect();
    let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62));
    // Eight long host names make an SRV answer above 512 octets.
    let wide: Vec<_> = (0..8)
        .map(|n| json!({"host": format!("{}{n}.debug.ostn.test", "h".repeat(60)), "port": 5061, "addresses": ["203.0.113.7"]}))
        .collect();
    for (id, status, body, pointer) in [
        ("API-T16 port", 422, target("sip.debug.ostn.test", "70000"), "#/targets/0/port"),
        ("port 0", 422, target("sip.debug.ostn.test", "0"), "#/targets/0/port"),
        ("nine targets", 422, json!({"targets": nine}).to_string(), "#/targets"),
        ("an address as host", 422, target("203.0.113.7", "5061"), "#/targets/0/host"),
        ("trailing dot", 422, target("sip.debug.ostn.test.", "5061"), "#/targets/0/host"),
        ("empty label", 422, target("sip..ostn.test", "5061"), "#/targets/0/host"),
        ("64 octets", 422, target(&"a".repeat(64), "5061"), "#/targets/0/host"),
        ("254 octets", 422, target(&long, "5061"), "#/targets/0/host"),
        ("wildcard", 422, target("*.ostn.test", "5061"), "#/targets/0/host"),
        ("space", 422, target("s p.ostn.test", "5061"), "#/targets/0/host"),
        ("alias in our zone", 422, target("www.ostn.test", "5061"), "#/targets/0/host"),
        ("no address in our zone", 422, target("sip.debug.ostn.test", "5061"), "#/targets/0/host"),
        ("over 512 octets", 422, json!({"targets": wide}).to_string(), "#/domain"),
        ("API-3", 422, document_with("debug.ostn.test", r#","prioritty":1"#), "#/prioritty"),
    ] {
        let answer = service.send("PUT", NODE, &[], Some(&body));
        assert_eq!((answer.status, answer.problem().as_str()), (status, "invalid-request"), "{id}: {}", answer.text);
        assert_eq!(answer.pointers(), [pointer], "{id}: {}", answer.text);
        assert_eq!(service.send("GET", NODE, &[], None).status, 404, "{id}: nothing changed");
    }

    let body = r#"{"prioritty":1,"targets":[{"host":"sip.debug.ostn.test","port":70000,"weight":-1}]}"#;
    let answer = service.send("PUT", NODE, &[], Some(body));
    assert_eq!(answer.pointers(), ["#/prioritty", "#/targets/0/port", "#/targets/0/weight"], "API-T16");

    for (id, body) in [("API-T17", r#"{"a":1,"a":2}"#), ("not JSON", "{"), ("API-T34", r#"{"a":"\1"}"#), ("empty", "")]
    {
        let answer = service.send("PUT", NODE, &[], Some(body));
        assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed"), "{id}");
    }
    let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
    assert_eq!(service.send("PUT", NODE, &[], Some(&deep)).status, 400, "API-5");
}

#[test]
fn domains_in_the_path() {
    let service = Service::start();
    for (id, status, domain) in [
        ("trailing dot", 422, "debug.ostn.test.".to_owned()),
        ("empty label", 422, "debug..ostn.test".into()),
        ("64 octets", 422, format!("{}.ostn.test", "a".repeat(64))),
        ("254 octets", 422, format!("{0}.{0}.{0}.{1}", "a".repeat(63), "d".repeat(62))),
        ("wildcard", 422, "*.ostn.test".into()),
        ("space", 422, "a%20b.ostn.test".into()),
        ("slash", 422, "a%2Fb.ostn.test".into()),
        ("address", 422, "192.0.2.1".into()),
        ("underscore", 422, "_a.ostn.test".into()),
        ("static name", 422, "directory.ostn.test".into()),
        ("no UTF-8", 400, "%ff.ostn.test".into()),
        ("delegated", 422, "a.e164.ostn.test".into()),
    ] {
        // Targets of their own, so that only the domain is wrong.
        let body = r#"{"targets":[{"host":"directory.ostn.test","port":5061}]}"#;
        let answer = service.send("PUT", &format!("/v1/nodes/{domain}"), &[], Some(body));
        assert_eq!(answer.status, status, "{id}: {}", answer.text);
        if status == 422 {
            assert_eq!(answer.pointers(), ["#/domain"], "{id}: {}", answer.text);
        }
    }
    let list = service.send("GET", "/v1/nodes", &[], None);
    assert_eq!(list.json()["nodes"], json!([]), "nothing changed");
    // Every operation on a node says so, and its description has it: each answer is compared with that.
    let actions = ["probes", "renew", "reset-key", "drain", "suspend", "compromised", "restore", "approve", "reject"];
    let posts = actions.map(|action| ("POST", format!("/{action}")));
    let gets = ["", "/records", "/document", "/probes"].map(|part| ("GET", part.to_owned()));
    for (method, part) in posts.into_iter().chain(gets).chain([("DELETE", String::new())]) {
        let answer = service.send(method, &format!("/v1/nodes/a..b{part}"), &[], None);
        assert_eq!(answer.status, 422, "{method} {part}: {}", answer.text);
    }
    assert_eq!(service.send("GET", "/v1/members/a..b", &[], None).status, 422);
}

#[test]
fn another_node_has_it() {
    let service = Service::start();
    let first = document_with("debug.ostn.test", r#","numbers":[{"e164":"+15550101"},{"block":"+155502"}]"#);
    assert_eq!(service.send("PUT", NODE, &[], Some(&first)).status, 201);
    for (id, numbers, pointers) in [
        ("a number", r#"[{"e164":"+15550101"}]"#, &["#/numbers/0"][..]),
        ("a block inside", r#"[{"e164":"+15559"},{"block":"+1555021"}]"#, &["#/numbers/1"]),
        ("both", r#"[{"e164":"+15550101"},{"block":"+1555"}]"#, &["#/numbers/0", "#/numbers/1"]),
    ] {
        let body = document_with("other.ostn.test", &format!(r#","numbers":{numbers}"#));
        let answer = service.send("PUT", "/v1/nodes/other.ostn.test", &[], Some(&body));
        assert_eq!((answer.status, answer.problem().as_str()), (409, "conflict"), "{id}: {}", answer.text);
        assert_eq!(answer.pointers(), pointers, "{id}");
        assert!(answer.text.contains("debug.ostn.test"), "an admin sees whose: {}", answer.text);
        assert_eq!(service.send("GET", "/v1/nodes/other.ostn.test", &[], None).status, 404, "{id}: nothing changed");
    }
}

#[test]
fn enum_77_only_an_admin_adds_numbers() {
    const OTHER: &str = "/v1/nodes/other.ostn.test";
    let service = Service::start();
    let with = |domain: &str, numbers: &str| document_with(domain, &format!(r#","numbers":[{numbers}]"#));
    let taken = with("debug.ostn.test", r#"{"e164":"+15550101"},{"block":"+155502"}"#);
    assert_eq!(service.send("PUT", NODE, &[], Some(&taken)).status, 201);
    let token = service.token(&["other.ostn.test"]);
    let put = |numbers: &str, query: &str| {
        service.send_as(&token, "PUT", &format!("{OTHER}{query}"), Some(&with("other.ostn.test", numbers)))
    };
    let refusal = |numbers: &str, pointers: &[&str]| {
        for query in ["", "?dry_run=true"] {
            let answer = put(numbers, query);
            assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{numbers}: {}", answer.text);
            assert_eq!(answer.pointers(), pointers, "{numbers}");
            assert!(answer.text.contains("ask the directory's admin to add it"), "{}", answer.text);
        }
        let detail = put(numbers, "").json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        // What is said of a number, without the number.
        detail.replace(|c: char| c == '+' || c.is_ascii_digit(), "")
    };
    for (taken, free) in
        [(r#"{"e164":"+15550101"}"#, r#"{"e164":"+15559999"}"#), (r#"{"block":"+1555021"}"#, r#"{"block":"+166602"}"#)]
    {
        assert_eq!(refusal(taken, &["#/numbers/0"]), refusal(free, &["#/numbers/0"]), "nobody can probe");
    }
    assert_eq!(service.send("GET", OTHER, &[], None).status, 404, "nothing changed");
    assert_eq!(put("", "").status, 201, "without numbers it registers itself");

    let own = r#"{"e164":"+15550300"},{"block":"+155504"}"#;
    assert_eq!(service.send("PUT", OTHER, &[], Some(&with("other.ostn.test", own))).status, 200, "an admin adds");
    assert_eq!(put(own, "").json()["effect"], "unchanged");
    let moved = r#"{"block":"+155504"},{"e164":"+15550300","uri":"sip:bob@other.ostn.test"}"#;
    assert_eq!(put(moved, "?dry_run=true").status, 200);
    assert_eq!(put(moved, "").json()["effect"], "replaced", "where its number leads is the node's own affair");
    refusal(
        r#"{"block":"+155504"},{"e164":"+15550101"},{"e164":"+15550300"},{"block":"+15560"}"#,
        &["#/numbers/1", "#/numbers/3"],
    );
    refusal(r#"{"block":"+15550300"}"#, &["#/numbers/0"]);
    assert_eq!(put(r#"{"block":"+155504"}"#, "").status, 200, "it gives a number back");
    refusal(own, &["#/numbers/0"]);

    let tag = service.send("GET", OTHER, &[], None).etag();
    let bearer = format!("Bearer {token}");
    let with_tag = |tag: &str| {
        let fields = [("authorization", bearer.as_str()), ("if-match", tag)];
        service.send_raw("PUT", OTHER, &fields, Some(&with("other.ostn.test", r#"{"block":"+155504"}"#))).status
    };
    assert_eq!((with_tag(&tag), with_tag("\"0\"")), (200, 412), "preconditions hold as ever");
}

#[test]
fn requests() {
    let service = Service::start();
    for (id, method, path, fields, status, problem) in [
        ("no path", "GET", "/v1/nothing", &[][..], 404, "not-found"),
        ("no version", "GET", "/nodes", &[], 404, "not-found"),
        ("API-1 Accept", "GET", "/v1/nodes", &[("accept", "text/html")], 406, "not-acceptable"),
        ("method", "POST", "/v1/nodes", &[], 405, "method-not-allowed"),
        ("method", "DELETE", "/livez", &[], 405, "method-not-allowed"),
        ("query", "GET", "/v1/nodes?limit=0", &[], 400, "malformed"),
        ("query", "GET", "/v1/nodes?limit=201", &[], 400, "malformed"),
        ("query", "GET", "/v1/nodes?order=up", &[], 400, "malformed"),
        ("query", "DELETE", "/v1/nodes/a.ostn.test?dry_run=true", &[], 404, "not-found"),
    ] {
        let answer = service.send(method, path, fields, None);
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{id}: {method} {path}");
        if status == 405 {
            let allow = answer.field("allow").unwrap_or_default();
            assert!(allow.contains("GET") && !allow.contains(method), "{path}: Allow: {allow}");
        }
    }
    service.register("debug.ostn.test");
    let answer = service.send("DELETE", &format!("{NODE}?dry_run=true"), &[("if-match", "*")], None);
    assert_eq!(answer.status, 400, "a DELETE has no dry run, and is not done instead");
    assert_eq!(service.send("GET", NODE, &[], None).status, 200);
    for (query, part) in [
        ("dryrun=true", "known here: dry_run"),
        ("dry_run=yes", "`true` or `false`"),
        ("dry_run=true&dry_run=true", "given twice"),
    ] {
        let answer = service.send("PUT", &format!("{NODE}?{query}"), &[], Some("{}"));
        assert!(answer.status == 400 && answer.text.contains(part), "{query}: {}", answer.text);
        assert!(!answer.text.contains("deserialize"), "own words: {}", answer.text);
    }
    let answer = service.send("GET", "/v1/nodes?limit=many", &[], None);
    assert!(answer.status == 400 && answer.text.contains("whole number from 1 to 200"), "{}", answer.text);
    let answer = service.send("DELETE", "/v1/tokens/%ff", &[], None);
    assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed"), "API-20");
    let kinds = ["text/plain", "application/x-www-form-urlencoded", "application/problem+json", ""];
    for kind in kinds.into_iter().chain(["application/json; charset=iso-8859-1"]) {
        let answer = service.send("PUT", NODE, &[("content-type", kind)], Some("{}"));
        assert_eq!((answer.status, answer.problem().as_str()), (415, "unsupported-type"), "{kind}");
    }
    let kind = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(service.send("PUT", NODE, &kind, Some(&document("debug.ostn.test"))).status, 200);
    let answer = service.send("GET", "/livez", &[("x-request-id", "abc-1")], None);
    assert_eq!(answer.field("x-request-id"), Some("abc-1"), "API-83");
}
