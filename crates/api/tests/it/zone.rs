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
