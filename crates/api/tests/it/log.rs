//! What reaches the log: the request's id and the decision; never a secret, never a client's address.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::service::{Service, document};

/// Everything that this test binary logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_and_no_address() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let service = Service::start();
    let id = [("x-request-id", "find-me")];
    let path = "/v1/nodes/log.ostn.test";
    assert_eq!(service.send("PUT", path, &id, Some(&document("log.ostn.test"))).status, 201);
    let token = service.token(&["log.ostn.test"]);
    assert_eq!(service.send_as(&token, "GET", path, None).status, 200);
    let refused = service.send("PUT", path, &[], Some("{}"));
    service.send_raw("GET", path, &[("authorization", "Bearer tandem_wrong-secret")], None);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("node registered") && line.contains("log.ostn.test"));
    assert!(line.is_some_and(|line| line.contains("find-me")), "API-83: {line:?}");
    let instance = refused.json()["instance"].as_str().unwrap().trim_start_matches("urn:uuid:").to_owned();
    assert!(log.contains(&instance), "API-23: the instance is in the log");
    for secret in [service.admin.as_str(), token.as_str(), "wrong-secret"] {
        assert!(!log.contains(secret), "API-84");
    }
    // Clients of these tests come from ports of 127.0.0.1, which the API's own listeners are the only others to name.
    for line in log.lines().filter(|line| line.contains("127.0.0.1:")) {
        assert!(line.contains(&service.address().to_string()), "{line}");
    }
}
