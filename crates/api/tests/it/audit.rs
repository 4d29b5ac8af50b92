//! The audit trail: newest first, by pages, each token what is its own.

use serde_json::Value;

use crate::service::Service;

fn read(service: &Service, token: &str, query: &str) -> (Vec<Value>, Option<String>) {
    let answer = service.send_as(token, "GET", &format!("/v1/audit?{query}"), None);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let link = answer.field("link").unwrap();
    let next = link.split(", <").nth(1).map(|rest| rest.split('>').next().unwrap().to_owned());
    (answer.json()["entries"].as_array().unwrap().clone(), next)
}

fn told(entries: &[Value]) -> Vec<String> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    entries.iter().map(|entry| ["kind", "subject", "state", "reason"].map(|name| text(entry, name)).join(" ")).collect()
}

#[test]
fn who_did_what() {
    let service = Service::start();
    let holder = service.token(&["debug.ostn.test"]);
    service.register("other.ostn.test");
    let body = crate::service::document("debug.ostn.test");
    service.send_as(&holder, "PUT", "/v1/nodes/debug.ostn.test", Some(&body));
    let path = "/v1/nodes/debug.ostn.test/drain";
    service.send_as(&holder, "POST", path, Some(r#"{"reason":"until noon"}"#));

    let admin = service.admin.clone();
    let (entries, _) = read(&service, &admin, "limit=3");
    let expected = [
        "change-state debug.ostn.test draining until noon",
        "register debug.ostn.test active -",
        "register other.ostn.test active -",
    ];
    assert_eq!(told(&entries), expected);
    assert_eq!(entries[0]["by"], entries[1]["by"]);
    assert_ne!(entries[1]["by"], entries[2]["by"]);
    assert_eq!(read(&service, &admin, "domain=DEBUG.ostn.test").0, entries[..2], "one node");
    assert_eq!(read(&service, &holder, "").0, entries[..2], "its own names");
    assert!(read(&service, &holder, "domain=other.ostn.test").0.is_empty());

    // One entry a page: all of it once, in order, the zones of the first start too.
    let (all, end) = read(&service, &admin, "limit=200");
    assert_eq!(end, None);
    assert!(told(&all).iter().any(|line| line.starts_with("serve-zone peers.ostn.test")), "{all:?}");
    assert!(told(&all).iter().any(|line| line.starts_with("issue-token ")), "{all:?}");
    let (mut walked, mut next) = read(&service, &admin, "limit=1");
    while let Some(url) = next {
        let (page, more) = read(&service, &admin, url.split_once('?').unwrap().1);
        walked.extend(page);
        next = more;
    }
    assert_eq!(walked, all);
    assert_eq!(service.send("GET", "/v1/audit?domain=..", &[], None).status, 400);
    assert_eq!(service.send("GET", "/v1/audit?cursor=x", &[], None).status, 400);
    assert!(!all.iter().any(|entry| entry.to_string().contains("127.0.0.1")), "never an address");
}
