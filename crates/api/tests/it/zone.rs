//! The zones, whole: for admins; and health.

use tandem_api::Check;
use tandem_zone::master::StaticZone;

use crate::service::Service;

#[test]
fn list_and_export() {
    let service = Service::start();
    let serial = service.register("debug.ostn.test").json()["serial"].clone();
    let zones = service.send("GET", "/v1/zones", &[], None).json()["zones"].clone();
    let names: Vec<_> = zones.as_array().unwrap().iter().map(|zone| zone["apex"].clone()).collect();
    assert_eq!(names, ["ostel.me", "ostn.test", "e164.ostn.test", "peers.ostn.test"]);
    assert_eq!(zones[1]["serial"], serial);
    let page = service.send("GET", "/v1/zones?limit=3", &[], None);
    let link = page.field("link").unwrap();
    let next = link.split(", <").nth(1).unwrap().split('>').next().unwrap();
    assert_eq!(service.send("GET", next, &[], None).json()["zones"][0]["apex"], "peers.ostn.test");

    let export = service.send("GET", "/v1/zones/ostn.test", &[("accept", "text/dns")], None);
    assert_eq!((export.status, export.field("content-type")), (200, Some("text/dns")));
    assert!(export.text.contains("_sips._tcp.debug.ostn.test."), "{}", export.text);
    let apex = "ostn.test".parse().unwrap();
    let read = StaticZone::read(&apex, "export", export.text.as_bytes(), &mut |_| Err("none".into())).unwrap();
    assert_eq!(read.file_serial(), u32::try_from(serial.as_u64().unwrap()).unwrap(), "it loads again");
    assert_eq!(service.send("GET", "/v1/zones/nothing.test", &[], None).status, 404);
    let answer = service.send("GET", "/v1/zones/ostn.test", &[("accept", "application/json")], None);
    assert_eq!(answer.status, 406);
}

#[test]
fn api_t31_readiness() {
    let service = Service::start();
    let ready = || service.send_raw("GET", "/readyz", &[], None);
    assert_eq!(ready().status, 200);
    for (check, name) in [(Check::Zones, "zones"), (Check::Dns, "dns")] {
        service.readiness.set(check, false);
        let answer = ready();
        assert_eq!((answer.status, answer.json()["failing"][0].as_str()), (503, Some(name)));
        assert_eq!(service.send_raw("GET", "/livez", &[], None).status, 200, "the process works");
        service.readiness.set(check, true);
        assert_eq!(ready().status, 200);
    }
    service.readiness.begin_shutdown();
    assert_eq!(ready().json()["failing"][0], "shutdown", "API-82: before the listener goes");
}

#[test]
fn api_t31_a_store_that_is_closed() {
    let service = Service::start();
    service.register("debug.ostn.test");
    service.runtime.block_on(service.directory.shutdown());
    let answer = service.send_raw("GET", "/readyz", &[], None);
    assert_eq!((answer.status, answer.json()["failing"][0].as_str()), (503, Some("store")));
    let body = crate::service::document("new.ostn.test");
    let answer = service.send("PUT", "/v1/nodes/new.ostn.test", &[], Some(&body));
    assert_eq!((answer.status, answer.problem().as_str()), (503, "unavailable"), "{}", answer.text);
}

/// Master files that a test changes between two readings.
#[derive(Debug, Default)]
struct Files(std::sync::Mutex<Vec<(&'static str, String)>>);

impl tandem_api::ZoneFiles for Files {
    fn read(&self) -> tandem_api::Reading<'_> {
        let read = |(apex, text): &(&str, String)| {
            let file = format!("{apex}.zone");
            let apex = apex.parse().unwrap();
            StaticZone::read(&apex, &file, text.as_bytes(), &mut |_| Err("none".into())).map_err(|e| e.to_string())
        };
        let read: Vec<_> = self.0.lock().unwrap().iter().map(read).collect();
        let (zones, faults): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
        let faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
        let zones = zones.into_iter().filter_map(Result::ok).collect();
        Box::pin(async move { if faults.is_empty() { Ok(zones) } else { Err(faults) } })
    }
}

#[test]
fn reload_says_what_changed_and_refuses_whole() {
    let files = std::sync::Arc::new(Files::default());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zones");
    for apex in ["ostn.test", "ostel.me", "peers.ostn.test", "e164.ostn.test"] {
        let text = std::fs::read_to_string(folder.join(format!("{apex}.zone"))).unwrap();
        files.0.lock().unwrap().push((apex, text));
    }
    let given: std::sync::Arc<dyn tandem_api::ZoneFiles> = files.clone();
    let service = Service::start_with(|dir| tandem_api::ApiConfig {
        zone_files: Some(given),
        ..tandem_api::ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    let node = service.register("debug.ostn.test").json()["serial"].as_u64().unwrap();
    let reload = || service.send("POST", "/v1/zones/reload", &[], None);

    let same = reload();
    assert_eq!((same.status, same.json()["zones"].as_array().unwrap().len()), (200, 0), "{}", same.text);
    assert_eq!(same.json()["served"], 4);

    files.0.lock().unwrap()[0].1.push_str("more IN A 192.0.2.99\nmore IN TXT \"x\"\n");
    files.0.lock().unwrap().push(("new.test", "$TTL 5\n@ SOA a. b. 1 2 3 4 5\n@ NS ns.ostn.test.\n".into()));
    let answer = reload().json();
    let summary: Vec<_> = answer["zones"]
        .as_array()
        .unwrap()
        .iter()
        .map(|zone| {
            format!(
                "{} {} +{} -{}",
                zone["apex"].as_str().unwrap(),
                zone["change"].as_str().unwrap(),
                zone["added"],
                zone["removed"]
            )
        })
        .collect();
    assert_eq!(summary, ["new.test added +2 -0", "ostn.test changed +2 -0"], "{answer}");
    let serial = answer["zones"][1]["serial"].as_u64().unwrap();
    assert!(serial > node, "DNS-70: {serial} after {node}");
    let statics = service.send("GET", "/v1/zones/ostn.test?records=static", &[], None).text;
    assert!(statics.contains("more.ostn.test.") && !statics.contains("debug.ostn.test."), "{statics}");
    assert!(service.send("GET", "/v1/zones/ostn.test", &[], None).text.contains("sip.debug.ostn.test."), "nodes stay");

    files.0.lock().unwrap()[0].1.push_str("bad IN A not-an-address\n");
    let refused = reload();
    assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid-request"), "{}", refused.text);
    let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("ostn.test.zone:") && !detail.contains('/'), "file and line, no folder: {detail}");
    let still = service.send("GET", "/v1/zones/ostn.test?records=static", &[], None).text;
    assert_eq!(still, statics, "the old zones are served on");

    let token = service.token(&["debug.ostn.test"]);
    assert_eq!(service.send_as(&token, "POST", "/v1/zones/reload", None).status, 403);
    assert_eq!(service.send("GET", "/v1/zones/ostn.test?records=some", &[], None).status, 400);
}

#[test]
fn api_82_ready_as_soon_as_writes_succeed() {
    let service = Service::start();
    let ready = || service.send_raw("GET", "/readyz", &[], None);
    let put = |domain: &str| {
        let body = crate::service::document(domain);
        service.send("PUT", &format!("/v1/nodes/{domain}"), &[], Some(&body)).status
    };
    assert_eq!(put("debug.ostn.test"), 201);
    // Another writer keeps the database to itself.
    let other = rusqlite::Connection::open(service.dir.path().join("tandem.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(put("new.ostn.test"), 503);
    let answer = ready();
    assert_eq!((answer.status, answer.json()["failing"][0].as_str()), (503, Some("store")));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(put("new.ostn.test"), 201);
    assert_eq!(ready().status, 200, "without a wait");
}
