//! Lists by cursor (API-40 to API-42).

use crate::service::{Answer, Service};

fn domains(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    json["nodes"].as_array().unwrap().iter().map(|node| node["domain"].as_str().unwrap().into()).collect()
}

fn next(answer: &Answer) -> Option<String> {
    let link = answer.field("link")?;
    let next = link.split(", ").find(|part| part.ends_with("; rel=\"next\""))?;
    Some(next.trim_start_matches('<').split('>').next().unwrap().into())
}

#[test]
fn api_t20_and_t21_each_entry_once() {
    let service = Service::start();
    let names: Vec<_> = (0..120).map(|n| format!("n{n:03}.ostn.test")).collect();
    names.iter().for_each(|name| drop(service.register(name)));

    let (mut pages, mut seen, mut url) = (0, Vec::new(), Some("/v1/nodes?limit=50".to_owned()));
    while let Some(at) = url {
        let answer = service.send("GET", &at, &[], None);
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.field("link").unwrap().contains("rel=\"first\""));
        seen.extend(domains(&answer));
        url = next(&answer);
        assert!(url.as_ref().is_none_or(|url| url.starts_with(&service.url)), "API-40: complete URIs");
        pages += 1;
        if pages == 1 {
            // API-T21: one comes in before the cursor, the one that the cursor names goes.
            service.register("a.ostn.test");
            assert_eq!(service.send("DELETE", "/v1/nodes/n049.ostn.test", &[("if-match", "*")], None).status, 200);
        }
    }
    assert_eq!((pages, seen), (3, names));
}

#[test]
fn api_t22_changed_cursor() {
    let service = Service::start();
    ["a.ostn.test", "b.ostn.test"].iter().for_each(|name| drop(service.register(name)));
    let url = next(&service.send("GET", "/v1/nodes?limit=1", &[], None)).unwrap();
    assert_eq!(domains(&service.send("GET", &url, &[], None)), ["b.ostn.test"]);
    let at = url.len() - 5;
    let mut changed = url.clone();
    changed.replace_range(at..=at, if &url[at..=at] == "A" { "B" } else { "A" });
    let answer = service.send("GET", &changed, &[], None);
    assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed"));
}

#[test]
fn api_24_a_node_sees_its_own() {
    let service = Service::start();
    let all =
        ["a.ostn.test", "b.ostn.test", "x.b.ostn.test", "y.x.b.ostn.test", "bb.ostn.test", "c.ostel.me", "d.ostel.me"];
    all.iter().for_each(|name| drop(service.register(name)));
    let token = service.token(&["x.b.ostn.test", "b.ostn.test", "d.ostel.me", "nothing.test"]);
    for limit in 1..=5 {
        let (mut seen, mut url) = (Vec::new(), Some(format!("/v1/nodes?limit={limit}")));
        while let Some(at) = url {
            let answer = service.send_as(&token, "GET", &at, None);
            let page = domains(&answer);
            assert!(page.len() <= limit);
            seen.extend(page);
            url = next(&answer);
        }
        assert_eq!(seen, ["d.ostel.me", "b.ostn.test", "x.b.ostn.test", "y.x.b.ostn.test"], "limit {limit}");
    }
    for (method, body) in [("GET", None), ("DELETE", None), ("PUT", Some("{}"))] {
        let hidden = service.send_as(&token, method, "/v1/nodes/a.ostn.test", body);
        let nothing = service.send_as(&token, method, "/v1/nodes/zz.ostn.test", body);
        assert_eq!((hidden.status, nothing.status), (404, 404), "API-T27 {method}");
        assert_eq!(hidden.json()["detail"], nothing.json()["detail"], "API-24: the two cannot be told apart");
    }
}
