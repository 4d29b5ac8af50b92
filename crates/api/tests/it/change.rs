//! The change feed: server-sent events, resuming, long polls, slow readers (API-50, API-51, API-T30).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tandem_api::ApiConfig;

use crate::service::{Service, document, document_with};

/// Longest wait for what must come.
const LIMIT: Duration = Duration::from_secs(20);

/// A connection that follows the changes.
struct Listener {
    lines: BufReader<TcpStream>,
}

/// One event.
#[derive(Debug, PartialEq)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

impl Listener {
    fn open(service: &Service, last: Option<u64>) -> Self {
        let mut socket = TcpStream::connect(service.address()).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let resume = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1/changes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n{resume}\r\n",
            service.admin
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        Self { lines }
    }

    /// One line of the body, chunk sizes left out; `None` at the end.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end_matches("\r\n").trim_end_matches('\n').to_owned();
            let is_size = !line.is_empty() && line.bytes().all(|octet| octet.is_ascii_hexdigit());
            if !is_size {
                return Some(line);
            }
        }
    }

    /// The next event.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event { id: 0, name: String::new(), data: Value::Null };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", id)) => event.id = id.parse().unwrap(),
                Some(("event", name)) => event.name = name.into(),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && !event.name.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}

#[test]
fn api_50_events_as_they_happen() {
    let service = Service::start();
    let body = document_with("debug.ostn.test", r#","contact":"ops@debug.ostn.test","numbers":[{"e164":"+15550101"}]"#);
    let mut listener = Listener::open(&service, None);
    let ready = listener.next().unwrap();
    assert_eq!((ready.name.as_str(), &ready.data), ("ready", &json!({})));
    let made = service.send("PUT", "/v1/nodes/debug.ostn.test", &[], Some(&body));
    assert_eq!(made.status, 201, "{}", made.text);
    let event = listener.next().unwrap();
    assert_eq!((event.name.as_str(), event.id), ("register", made.json()["serial"].as_u64().unwrap()));
    assert_eq!((&event.data["domain"], &event.data["state"]), (&json!("debug.ostn.test"), &json!("active")));
    assert_eq!(event.data["node"]["targets"], made.json()["node"]["targets"]);
    let told = event.data.to_string();
    assert!(!told.contains("ops@") && !told.contains("15550101"), "no contact, no number: {told}");

    let begin = Instant::now();
    let reason = r#"{"reason":"host broken into"}"#;
    assert_eq!(service.send("POST", "/v1/nodes/debug.ostn.test/compromised", &[], Some(reason)).status, 200);
    let event = listener.next().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(event.name, "change-state");
    let expected = json!(["active", "compromised", "host broken into"]);
    assert_eq!(json!([event.data["old_state"], event.data["state"], event.data["reason"]]), expected);
    assert_eq!(event.data.get("node"), None, "it is out of DNS");

    let tag = service.send("GET", "/v1/nodes/debug.ostn.test", &[], None).etag();
    service.send("DELETE", "/v1/nodes/debug.ostn.test", &[("if-match", &tag)], None);
    let event = listener.next().unwrap();
    assert_eq!((event.name.as_str(), event.data.get("state")), ("deregister", None));
}

#[test]
fn api_t30_resume_inside_and_outside() {
    let service = Service::start();
    let mut ids = Vec::new();
    for index in 0..150 {
        let made = service.register(&format!("n{index}.ostn.test"));
        ids.push(made.json()["serial"].as_u64().unwrap());
    }
    let mut listener = Listener::open(&service, Some(ids[9]));
    for (index, id) in ids.iter().enumerate().skip(10) {
        let event = listener.next().unwrap();
        assert_eq!((event.id, event.data["domain"].as_str().unwrap()), (*id, &*format!("n{index}.ostn.test")));
    }
    service.register("late.ostn.test");
    assert_eq!(listener.next().unwrap().data["domain"], "late.ostn.test", "no gap between past and present");

    // As the journal is after years: its beginning is gone.
    let file = rusqlite::Connection::open(service.dir.path().join("tandem.db")).unwrap();
    file.busy_timeout(LIMIT).unwrap();
    file.execute("DELETE FROM journal WHERE serial <= ?1", [ids[99].cast_signed()]).unwrap();
    let resume = |id: u64| {
        let fields = [("authorization", format!("Bearer {}", service.admin)), ("last-event-id", id.to_string())];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        service.send_raw("GET", "/v1/changes?wait=0", &fields, None)
    };
    let gone = resume(ids[98]);
    assert_eq!((gone.status, gone.problem().as_str()), (410, "too-old"), "{}", gone.text);
    let inside = resume(ids[99]);
    assert_eq!((inside.status, &inside.json()["changes"][0]["domain"]), (200, &json!("n100.ostn.test")));
    assert_eq!(resume(u64::MAX).status, 410, "never given");
    assert_eq!(resume(0).json()["changes"][0]["domain"], "n100.ostn.test", "all that is kept");
}

#[test]
fn long_polls() {
    let service = Service::start();
    let made = service.register("debug.ostn.test").json()["serial"].as_u64().unwrap();
    let poll = |query: &str| service.send("GET", &format!("/v1/changes?{query}"), &[], None);
    let first = poll("after=0").json();
    assert_eq!((first["changes"].as_array().unwrap().len(), first["last"].as_u64()), (1, Some(made)));
    let nothing = poll(&format!("after={made}&wait=0")).json();
    assert_eq!((&nothing["changes"], nothing["last"].as_u64()), (&json!([]), Some(made)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| poll(&format!("after={made}&wait=50")));
        service.register("other.ostn.test");
        let found = waiting.join().unwrap().json();
        assert_eq!(found["changes"][0]["domain"], "other.ostn.test");
    });
    // Tokens are no changes of nodes, and wake nobody.
    service.token(&["a.ostn.test"]);
    for query in ["after=x", "wait=51", "after=-1", "since=1", "after="] {
        assert_eq!(poll(query).status, 400, "{query}");
    }
    let holder = service.token(&["other.ostn.test"]);
    let seen = service.send_as(&holder, "GET", "/v1/changes?after=0", None);
    assert_eq!(seen.json()["changes"].as_array().unwrap().len(), 2, "members are public");
    assert_eq!(service.send_raw("GET", "/v1/changes?after=0", &[], None).status, 401);
}

#[test]
fn api_51_a_slow_reader_is_cut_off_and_loses_nothing() {
    let service = Service::start();
    let mut slow = Listener::open(&service, None);
    // Large events: the sockets' buffers take a few thousand of them, then 256 wait.
    let keys: Vec<_> = (0..4).map(|n| json!({"holder": "node", "sha256": format!("{n:064x}")})).collect();
    let sources: Vec<_> = (0..16).map(|n| format!("2001:db8:{n:x}::/48")).collect();
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (service, keys, sources, written) = (&service, &keys, &sources, &written);
            scope.spawn(move || {
                let domain = format!("n{writer}.ostn.test");
                let mut ttl = 0;
                while service.listeners() > 0 {
                    ttl = ttl % 86_400 + 1;
                    let host = format!("sip.{domain}");
                    let target = json!({"host": host, "port": 5061, "addresses": ["203.0.113.7"]});
                    let body = json!({"targets": [target], "keys": keys, "sources": sources, "ttl": ttl}).to_string();
                    let answer = service.send("PUT", &format!("/v1/nodes/{domain}"), &[], Some(&body));
                    assert_eq!(answer.status / 100, 2, "{}", answer.text);
                    assert!(written.fetch_add(1, Ordering::Relaxed) < 50_000, "the slow reader still has its place");
                }
            });
        }
    });
    let written = written.into_inner();
    assert_eq!(slow.next().unwrap().name, "ready");
    let mut seen = Vec::new();
    while let Some(event) = slow.next() {
        seen.push(event.id);
    }
    assert!(seen.len() < written, "{} of {written} were sent", seen.len());
    let mut again = Listener::open(&service, seen.last().copied());
    while seen.len() < written {
        seen.push(again.next().unwrap().id);
    }
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order, without a gap");
    let Service { server, runtime, .. } = service;
    runtime.block_on(server.unwrap().shutdown());
    assert_eq!(again.next(), None, "the stream ends with the service");
}

#[test]
fn listeners_leave_room_for_others() {
    let service =
        Service::start_with(|dir| ApiConfig { connections: 8, ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir) });
    let listeners: Vec<_> = (0..6).map(|_| Listener::open(&service, None)).collect();
    let refused = service.send("GET", "/v1/changes?after=0", &[], None);
    assert_eq!((refused.status, refused.problem().as_str()), (503, "unavailable"));
    service.register("debug.ostn.test");
    drop(listeners);
    let begin = Instant::now();
    while service.send("GET", "/v1/changes?after=0", &[], None).status != 200 {
        assert!(begin.elapsed() < LIMIT, "places do not come back");
    }
    assert_eq!(service.send("PUT", "/v1/nodes/a.ostn.test", &[], Some(&document("a.ostn.test"))).status, 201);
}
