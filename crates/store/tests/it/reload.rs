//! Other static zones: at a restart and while serving.

use tandem_store::ReloadError;
use tandem_store::backend::{Backend as _, JournalKind};
use tandem_zone::BuildError;

use super::*;

fn texts(names: &[DomainName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_changed_zone_takes_a_new_serial() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    let last = put(&directory, "a.ostel.me", "192.0.2.1").await.registered.revision;

    let same = directory.reload(statics()).await.unwrap();
    assert!(same.changed.is_empty() && same.added.is_empty() && same.removed.is_empty(), "{same:?}");
    assert_eq!(served(&directory, "ostel.me"), 8);

    let mut other = statics();
    other[0] = zone("ostel.me", 7, "www IN A 192.0.2.81\n");
    other.remove(1);
    other.push(zone("peers.test", 3, "ns IN A 192.0.2.4\n"));
    other.push(zone("new.test", 2_026_010_100, ""));
    let report = directory.reload(other.clone()).await.unwrap();
    assert_eq!(
        (texts(&report.changed), texts(&report.added)),
        (vec!["ostel.me".into(), "peers.test".into()], vec!["new.test".into()])
    );
    // DNS-70: above the file's serial; the zone that lags far behind goes along.
    let serials = ["ostel.me", "peers.test", "new.test", "e164.test"].map(|apex| served(&directory, apex));
    assert_eq!(serials, [2_026_010_101; 4]);
    let entries = backend.journal(last, 10).unwrap();
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|e| e.kind == JournalKind::ServeZone && e.serial == 2_026_010_101 && e.by.is_none()));
    assert_eq!(put(&directory, "b.ostel.me", "192.0.2.1").await.serial.value(), 2_026_010_102);

    other.retain(|zone| zone.apex() != &name("new.test"));
    let report = directory.reload(other.clone()).await.unwrap();
    assert_eq!(texts(&report.removed), ["new.test"]);
    assert_eq!(backend.load().unwrap().zones.len(), 3);
    drop(directory);
    drop(backend);

    // At a restart: what changed meanwhile is noticed; the rest keeps its serial.
    let backend: Arc<dyn Backend> = Scripted::open(dir.path());
    other[0] = zone("ostel.me", 7, "www IN A 192.0.2.82\n");
    let clock = TestClock::new().clock();
    let directory = Directory::open_with(backend, dir.path(), settings(), other, clock).unwrap();
    assert!(served(&directory, "ostel.me") > 2_026_010_102);
    assert_eq!(served(&directory, "e164.test"), 2_026_010_101);
}

#[tokio::test]
async fn zones_that_do_not_fit_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    let before = directory.live().load();

    let mut other = statics();
    other[0] = zone("ostel.me", 7, "sip.a IN A 192.0.2.99\n");
    let refused = directory.reload(other.clone()).await;
    assert!(
        matches!(&refused, Err(ReloadError::Zones(BuildError::Node { domain, .. })) if *domain == name("a.ostel.me")),
        "{refused:?}"
    );
    let mut twice = statics();
    twice.push(zone("ostel.me", 7, ""));
    assert!(matches!(directory.reload(twice).await, Err(ReloadError::Zones(BuildError::Twice(_)))));
    assert!(Arc::ptr_eq(&before, &directory.live().load()));

    backend.fail.store(true, Ordering::Relaxed);
    let mut fine = statics();
    fine[0] = zone("ostel.me", 7, "mail IN A 192.0.2.99\n");
    assert!(matches!(directory.reload(fine).await, Err(ReloadError::Directory(_))));
    assert!(Arc::ptr_eq(&before, &directory.live().load()));
    drop(directory);
    drop(backend);

    // The same at a restart, and the store is as it was.
    let backend = Scripted::open(dir.path());
    let serial = backend.load().unwrap().serial;
    let open = |statics| {
        let shared: Arc<dyn Backend> = Arc::clone(&backend) as Arc<dyn Backend>;
        Directory::open_with(shared, dir.path(), settings(), statics, TestClock::new().clock())
    };
    let refused = open(other);
    assert!(matches!(refused, Err(OpenError::Zones(BuildError::Node { .. }))), "{refused:?}");
    let refused = open(Vec::new());
    assert!(matches!(refused, Err(OpenError::Zones(BuildError::Missing(_)))), "{refused:?}");
    assert_eq!(backend.load().unwrap().serial, serial);
    assert_eq!(served(&open(statics()).unwrap(), "ostel.me"), 8);
}
