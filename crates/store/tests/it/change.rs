//! Registering and withdrawing: effects, preconditions, batches, failures, reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tandem_model::{E164Number, NodeParts, NumberClaim};
use tandem_store::backend::JournalKind;
use tandem_store::{
    Backend, DeregisterError, Directory, DirectoryError, Effect, Precondition, RegisterError, Standing,
};
use tandem_zone::ConflictKind;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn a_change_is_visible_when_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    assert_eq!((served(&directory, "ostel.me"), served(&directory, "e164.test")), (7, 7), "DNS-70");

    let created = put(&directory, "debug.ostel.me", "192.0.2.1").await;
    assert_eq!((created.effect, created.serial.value(), created.registered.revision), (Effect::Created, 8, 8));
    assert_eq!((created.registered.created, created.registered.updated), (BEGIN, BEGIN));
    // The node's own zone and the peers zone have the change; the ENUM zone has not.
    let serials = ["ostel.me", "peers.test", "e164.test"].map(|apex| served(&directory, apex));
    assert_eq!((directory.live().load().node_count(), serials), (1, [8, 8, 7]), "API-T33");

    clock.advance(60);
    let again = put(&directory, "debug.ostel.me", "192.0.2.1").await;
    assert_eq!((again.effect, again.serial.value()), (Effect::Unchanged, 8), "API-T04");
    let renewed = Standing { lease_until: BEGIN + 60 + 604_800, ..created.registered.standing.clone() };
    assert_eq!(again.registered, Registered { standing: renewed, ..created.registered.clone() }, "API-T04");

    let replaced = put(&directory, "debug.ostel.me", "192.0.2.2").await;
    assert_eq!((replaced.effect, replaced.serial.value()), (Effect::Replaced, 9));
    assert_eq!((replaced.registered.created, replaced.registered.updated), (BEGIN, BEGIN + 60));

    let removed = directory.deregister(&name("debug.ostel.me"), Precondition::None, &admin()).await.unwrap();
    assert_eq!((removed.effect, removed.serial.value()), (Effect::Removed, 10));
    assert_eq!(removed.registered, replaced.registered);
    assert_eq!((directory.live().load().node_count(), served(&directory, "peers.test")), (0, 10));
    assert_eq!(directory.node(&name("debug.ostel.me")).await.unwrap(), None);

    // The journal has all of it, and the serials go on after a restart.
    let entries = backend.journal(7, 10).unwrap();
    let told: Vec<_> =
        entries.iter().map(|e| (e.serial, e.kind, e.before.is_some(), e.after.is_some(), e.time)).collect();
    assert_eq!(
        told,
        [
            (8, JournalKind::Register, false, true, BEGIN),
            (9, JournalKind::Register, true, true, BEGIN + 60),
            (10, JournalKind::Deregister, true, false, BEGIN + 60),
        ]
    );
    assert!(entries.iter().all(|e| e.by.as_deref() == Some("tester") && e.subject == "debug.ostel.me"));
    assert_eq!(entries[1].before, Some(created.registered.node));
    drop(directory);
    drop(backend);
    let directory = Scripted::open(dir.path()).directory(&clock).unwrap();
    let serials = ["ostel.me", "peers.test", "e164.test"].map(|apex| served(&directory, apex));
    assert_eq!(serials, [10, 10, 7], "unchanged zones keep their serials");
    assert_eq!(put(&directory, "debug.ostel.me", "192.0.2.1").await.registered.revision, 11);
}

#[tokio::test]
async fn preconditions() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let register = async |must, address: &str| directory.register(node("a.ostel.me", address), must, &admin()).await;
    for must in [Precondition::Exists, Precondition::Revision(vec![8])] {
        let refused = register(must, "192.0.2.1").await;
        assert!(matches!(refused, Err(RegisterError::Stale(None))), "API-13 {refused:?}");
    }
    for must in [Precondition::Exists, Precondition::None, Precondition::Absent] {
        let refused = directory.deregister(&name("a.ostel.me"), must, &admin()).await;
        assert!(matches!(refused, Err(DeregisterError::NotFound)), "API-T10 {refused:?}");
    }
    let first = register(Precondition::Absent, "192.0.2.1").await.unwrap().registered.revision;
    for must in [Precondition::Absent, Precondition::Revision(vec![first + 1]), Precondition::NotRevision(vec![first])]
    {
        let refused = register(must.clone(), "192.0.2.2").await;
        assert!(matches!(refused, Err(RegisterError::Stale(Some(r))) if r == first), "API-13 {refused:?}");
        let refused = directory.deregister(&name("a.ostel.me"), must.clone(), &admin()).await;
        assert!(matches!(refused, Err(DeregisterError::Stale(Some(r))) if r == first), "API-13 {refused:?}");
        let refused = directory.rehearse(&node("a.ostel.me", "192.0.2.2"), None, must, &admin()).await;
        assert!(matches!(refused, Err(RegisterError::Stale(Some(r))) if r == first), "API-13 {refused:?}");
    }
    let second = register(Precondition::Revision(vec![first, 99]), "192.0.2.2").await.unwrap().registered.revision;
    let third = register(Precondition::NotRevision(vec![first]), "192.0.2.3").await.unwrap().registered.revision;
    assert!(first < second && second < third);
    directory.deregister(&name("a.ostel.me"), Precondition::Revision(vec![third]), &admin()).await.unwrap();
    register(Precondition::NotRevision(vec![1]), "192.0.2.1").await.unwrap();
}

#[tokio::test]
async fn a_rehearsal_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    let commits = backend.commits.load(Ordering::Relaxed);
    let (effect, records) =
        directory.rehearse(&node("a.ostel.me", "192.0.2.1"), None, Precondition::None, &admin()).await.unwrap();
    assert_eq!(effect, Effect::Created);
    assert!(records.iter().any(|record| record.to_string() == "sip.a.ostel.me. 60 IN A 192.0.2.1"), "{records:?}");
    assert_eq!((backend.commits.load(Ordering::Relaxed), directory.live().load().node_count()), (commits, 0));
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    let effect = async |address| {
        directory.rehearse(&node("a.ostel.me", address), None, Precondition::None, &admin()).await.unwrap().0
    };
    assert_eq!((effect("192.0.2.1").await, effect("192.0.2.2").await), (Effect::Unchanged, Effect::Replaced));
    let refused = directory.rehearse(&node("www.ostel.me", "192.0.2.1"), None, Precondition::None, &admin()).await;
    assert!(matches!(refused, Err(RegisterError::Conflicts(_))), "{refused:?}");
}

/// Holds the writer in a commit, starts `tasks`, and lets it go once all wait in its queue.
async fn while_held<T: Send + 'static>(
    backend: &Scripted,
    directory: &Directory,
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    backend.hold();
    let first = {
        let directory = directory.clone();
        tokio::spawn(async move { put(&directory, "first.ostel.me", "192.0.2.99").await })
    };
    // Once its commit is held back it has left the queue, all of which is the others'.
    let is_held = async {
        while backend.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_held).await.expect("the first change comes to its commit");
    let mut set = JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    let count = set.len();
    // One thread runs all tasks in the order they were spawned: behind this one, each has sent its command.
    tokio::spawn(async {}).await.unwrap();
    backend.release();
    first.await.unwrap();
    let results = set.join_all().await;
    assert_eq!(results.len(), count);
    results
}

#[tokio::test]
async fn waiting_changes_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    let before = backend.commits.load(Ordering::Relaxed);
    let tasks = (0..64).map(|i| {
        let directory = directory.clone();
        async move { put(&directory, &format!("n{i}.ostel.me"), "192.0.2.1").await.registered.revision }
    });
    let mut revisions = while_held(&backend, &directory, tasks).await;
    let commits = backend.commits.load(Ordering::Relaxed) - before;
    assert!(commits <= 3, "65 changes took {commits} commits");
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!((revisions.len(), directory.live().load().node_count()), (64, 65), "each has its own serial");
    assert_eq!(served(&directory, "ostel.me"), u32::try_from(*revisions.last().unwrap()).unwrap());
    assert_eq!(directory.list(None, 100).await.unwrap().len(), 65);
}

#[tokio::test]
async fn each_change_of_a_batch_sees_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    let with_number = |domain: &str| {
        let mut parts = NodeParts::new(name(domain), node(domain, "192.0.2.1").targets().to_vec());
        parts.numbers = vec![NumberClaim::Number { number: E164Number::parse("+15550101").unwrap(), uri: None }];
        Node::new(parts).unwrap()
    };
    let wanted = [
        (with_number("a.ostel.me"), Precondition::Absent),
        (with_number("b.ostel.me"), Precondition::None), // a has the number
        (node("www.ostel.me", "192.0.2.1"), Precondition::None), // static
        (with_number("a.ostel.me"), Precondition::None), // again
        (node("a.ostel.me", "192.0.2.2"), Precondition::Absent), // is there
        (node("c.ostel.me", "192.0.2.3"), Precondition::None),
    ];
    let tasks = wanted.into_iter().enumerate().map(|(at, (node, must))| {
        let directory = directory.clone();
        async move { (at, directory.register(node, must, &admin()).await) }
    });
    let mut results = while_held(&backend, &directory, tasks).await;
    results.sort_by_key(|(at, _)| *at);
    let [(_, a), (_, b), (_, www), (_, again), (_, absent), (_, c)] = <[_; 6]>::try_from(results).unwrap();
    assert_eq!(a.unwrap().effect, Effect::Created);
    let Err(RegisterError::Conflicts(conflicts)) = b else { panic!("{b:?}") };
    assert!(matches!(&conflicts[0].kind, ConflictKind::NumberTaken(by) if *by == name("a.ostel.me")), "{conflicts:?}");
    assert!(matches!(www, Err(RegisterError::Conflicts(_))), "{www:?}");
    assert_eq!(again.unwrap().effect, Effect::Unchanged);
    assert!(matches!(absent, Err(RegisterError::Stale(Some(_)))), "{absent:?}");
    assert_eq!(c.unwrap().effect, Effect::Created);
    assert_eq!(directory.live().load().node_count(), 3);
}

#[tokio::test]
async fn a_store_that_fails_changes_nothing_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    assert!(directory.is_writable().await);

    backend.fail.store(true, Ordering::Relaxed);
    let before = directory.live().load();
    let failed = directory.register(node("a.ostel.me", "192.0.2.2"), Precondition::None, &admin()).await;
    assert!(matches!(failed, Err(RegisterError::Directory(DirectoryError::Storage(_)))), "{failed:?}");
    let failed = directory.deregister(&name("a.ostel.me"), Precondition::None, &admin()).await;
    assert!(matches!(failed, Err(DeregisterError::Directory(DirectoryError::Storage(_)))), "{failed:?}");
    assert!(Arc::ptr_eq(&before, &directory.live().load()), "nothing was published");
    let kept = directory.node(&name("a.ostel.me")).await.unwrap().unwrap();
    assert_eq!(kept.node, node("a.ostel.me", "192.0.2.1"));
    assert!(!directory.is_writable().await);

    backend.fail.store(false, Ordering::Relaxed);
    let limit = Instant::now() + Duration::from_secs(10);
    while !directory.is_writable().await {
        assert!(Instant::now() < limit, "a store that works again is not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let receipt = put(&directory, "a.ostel.me", "192.0.2.2").await;
    assert_eq!(receipt.registered.revision, kept.revision + 1, "a serial that nobody saw was not used");
}

#[tokio::test]
async fn lists_are_in_canonical_order_by_pages() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let mut names: Vec<_> =
        ["z.ostel.me", "a.ostel.me", "x.a.ostel.me", "a-b.ostel.me", "example.org", "b.example.org"].map(name).into();
    for domain in &names {
        put(&directory, &domain.to_string(), "192.0.2.1").await;
    }
    names.sort();
    let mut listed = Vec::new();
    loop {
        let page = directory.list(listed.last(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|registered| registered.node.domain().clone()));
    }
    assert_eq!(listed, names);
    // A cursor whose name is gone still has a place.
    let behind = directory.list(Some(&name("b.ostel.me")), 9).await.unwrap();
    assert_eq!(behind[0].node.domain(), &name("z.ostel.me"));
}

#[tokio::test]
async fn shutdown_finishes_what_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    backend.hold();
    let mut set = JoinSet::new();
    for i in 0..100 {
        let directory = directory.clone();
        set.spawn(async move { put(&directory, &format!("n{i}.ostel.me"), "192.0.2.1").await.effect });
    }
    tokio::spawn(async {}).await.unwrap();
    let other = directory.clone();
    let shutdown = tokio::spawn(async move { other.shutdown().await });
    tokio::task::yield_now().await;
    backend.release();
    shutdown.await.unwrap();
    assert_eq!(set.join_all().await, [Effect::Created; 100]);
    let late = directory.register(node("late.ostel.me", "192.0.2.1"), Precondition::None, &admin()).await;
    assert!(matches!(late, Err(RegisterError::Directory(DirectoryError::ShuttingDown))), "{late:?}");
    assert!(!directory.is_writable().await);
    directory.node(&name("n1.ostel.me")).await.unwrap_err();
    directory.shutdown().await;
    // The store is closed although a handle is left.
    let reopened = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    assert_eq!(reopened.live().load().node_count(), 100);
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    let tasks = (0..1200).map(|i| {
        let directory = directory.clone();
        let node = node(&format!("n{i}.ostel.me"), "192.0.2.1");
        async move { directory.register(node, Precondition::None, &admin()).await }
    });
    let results = while_held(&backend, &directory, tasks).await;
    let busy = results.iter().filter(|r| matches!(r, Err(RegisterError::Directory(DirectoryError::Busy)))).count();
    let created = results.iter().filter(|r| r.as_ref().is_ok_and(|r| r.effect == Effect::Created)).count();
    assert!(busy > 0 && created >= 1024, "{busy} busy, {created} created");
    assert_eq!((busy + created, directory.live().load().node_count()), (1200, created + 1));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    backend.hold();
    // The first is being committed, the second waits behind it; the paused clock jumps to the end of each wait.
    for domain in ["a.ostel.me", "b.ostel.me"] {
        let late = directory.register(node(domain, "192.0.2.1"), Precondition::None, &admin()).await;
        assert!(matches!(late, Err(RegisterError::Directory(DirectoryError::Timeout))), "{late:?}");
    }
    tokio::time::resume();
    backend.release();
    put(&directory, "c.ostel.me", "192.0.2.1").await;
    // Whose caller gave up before it began is not done.
    assert_eq!(directory.node(&name("b.ostel.me")).await.unwrap(), None);
}
