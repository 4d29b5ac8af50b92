//! Many registrations at a time: each decided by itself, durable together, and seen together.

use tandem_store::{Action, DirectoryError, Effect, ImportNode};
use tandem_zone::ConflictKind;

use super::*;

fn effects(outcomes: &[Result<Effect, Vec<tandem_zone::Conflict>>]) -> Vec<Option<Effect>> {
    outcomes.iter().map(|outcome| outcome.as_ref().ok().copied()).collect()
}

fn ready(directory: &Directory, nodes: Vec<Node>) -> Vec<ImportNode> {
    let zones = directory.live().load();
    nodes.into_iter().map(|node| ImportNode::new(node, &zones)).collect()
}

#[tokio::test]
async fn each_node_is_decided_as_if_it_came_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    put(&directory, "old.ostel.me", "192.0.2.1").await;
    let commits = backend.commits.load(Ordering::Relaxed);
    let nodes = vec![
        node("new.ostel.me", "192.0.2.2"),
        node("old.ostel.me", "192.0.2.1"),
        node("www.ostel.me", "192.0.2.3"),
        node("old.ostel.me", "192.0.2.4"),
        node("new.ostel.me", "192.0.2.5"),
        node("new.ostel.me", "192.0.2.5"),
    ];
    let imported = directory.import(ready(&directory, nodes), &admin()).await.unwrap();
    directory.settle().await.unwrap();
    use Effect::{Created, Replaced, Unchanged};
    let expected = [Some(Created), Some(Unchanged), None, Some(Replaced), Some(Replaced), Some(Unchanged)];
    assert_eq!(effects(&imported.outcomes), expected);
    let conflicts = imported.outcomes[2].as_ref().unwrap_err();
    assert!(matches!(&conflicts[0].kind, ConflictKind::StaticName(at) if *at == name("www.ostel.me")), "{conflicts:?}");
    assert_eq!(backend.commits.load(Ordering::Relaxed), commits + 1, "one commit");
    assert_eq!((served(&directory, "ostel.me"), served(&directory, "peers.test")), (11, 11), "three changes after 8");
    assert_eq!(imported.serial.value(), 11);
    let kept = directory.node(&name("new.ostel.me")).await.unwrap().unwrap();
    assert_eq!((kept.node.targets()[0].addresses[0].to_string(), kept.revision), ("192.0.2.5".into(), 11));
    assert_eq!(backend.journal(8, 10).unwrap().len(), 3, "each has its entry");

    // The state that it leads to, given again, changes nothing.
    let same = vec![node("new.ostel.me", "192.0.2.5"), node("old.ostel.me", "192.0.2.4")];
    let again = directory.import(ready(&directory, same), &admin()).await.unwrap();
    assert_eq!((effects(&again.outcomes), again.serial.value()), (vec![Some(Unchanged); 2], 11), "API-35");
    drop(directory);
    drop(backend);
    let directory = Scripted::open(dir.path()).directory(&clock).unwrap();
    assert_eq!((directory.live().load().node_count(), served(&directory, "ostel.me")), (2, 11), "after a restart");
}

#[tokio::test]
async fn a_chunk_that_fails_leaves_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let commits = backend.commits.load(Ordering::Relaxed);
    // The first chunk is being written while the second one waits: both come before the next publish.
    backend.hold();
    let first = directory
        .import(ready(&directory, vec![node("a.ostel.me", "192.0.2.1"), node("b.ostel.me", "192.0.2.1")]), &admin());
    let second = directory
        .import(ready(&directory, vec![node("a.ostel.me", "192.0.2.9"), node("c.ostel.me", "192.0.2.9")]), &admin());
    backend.release();
    first.await.unwrap();
    while backend.commits.load(Ordering::Relaxed) < commits + 2 {
        tokio::task::yield_now().await;
    }
    second.await.unwrap();
    backend.fail.store(true, Ordering::Relaxed);
    let failed = directory
        .import(ready(&directory, vec![node("b.ostel.me", "192.0.2.7"), node("d.ostel.me", "192.0.2.7")]), &admin());
    assert!(matches!(failed.await, Err(DirectoryError::Storage(_))));
    backend.fail.store(false, Ordering::Relaxed);
    directory.settle().await.unwrap();
    let live = directory.live().load();
    assert_eq!((live.node_count(), served(&directory, "ostel.me")), (3, 11), "two and two changes after 7");
    let text = |apex: &str| {
        let mut text = String::new();
        live.print(live.zone(&name(apex)).unwrap(), &mut text).unwrap();
        text
    };
    let zone = text("ostel.me");
    assert!(zone.contains("192.0.2.9") && zone.contains("192.0.2.1\n") && !zone.contains("192.0.2.7"), "{zone}");
    // The serials that the failed chunk would have had are used by what comes next.
    assert_eq!(put(&directory, "d.ostel.me", "192.0.2.7").await.serial.value(), 12);
}

#[tokio::test]
async fn a_rehearsal_sees_its_own_chunks_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    put(&directory, "old.ostel.me", "192.0.2.1").await;
    let rehearsal = directory.begin_rehearsal();
    let nodes = vec![node("new.ostel.me", "192.0.2.2"), node("old.ostel.me", "192.0.2.3")];
    let (rehearsal, outcomes) = directory.rehearse_import(rehearsal, ready(&directory, nodes)).await.unwrap();
    assert_eq!(effects(&outcomes), [Some(Effect::Created), Some(Effect::Replaced)]);
    let inside = vec![node("sip.new.ostel.me", "192.0.2.2")];
    let (_, outcomes) = directory.rehearse_import(rehearsal, ready(&directory, inside)).await.unwrap();
    assert_eq!(effects(&outcomes), [None], "it lies at a host of the node before");
    assert_eq!((directory.live().load().node_count(), served(&directory, "ostel.me")), (1, 8));
}

#[tokio::test]
async fn an_entry_keeps_its_document_whatever_becomes_of_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let domains = ["a", "b", "c", "d", "e"].map(|label| format!("{label}.ostel.me"));
    let mut nodes = domains.each_ref().map(|domain| node(domain, "192.0.2.1")).to_vec();
    // Twice in one chunk: what it was at first is nowhere but in the journal.
    nodes.push(node("e.ostel.me", "192.0.2.5"));
    let before = backend.load().unwrap().serial.unwrap();
    let imported = directory.import(ready(&directory, nodes.clone()), &admin()).await.unwrap();
    assert!(imported.outcomes.iter().all(Result::is_ok), "{:?}", imported.outcomes);
    directory.settle().await.unwrap();
    let written = |column: &str| -> i64 {
        let connection = rusqlite::Connection::open(dir.path().join("tandem.db")).unwrap();
        let sql =
            format!("SELECT count(*) FROM journal WHERE serial > {before} AND serial <= {before} + 6 AND {column}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(written("after IS NULL"), 4, "written once, with the node");

    let check = |backend: &dyn Backend| {
        let entries = backend.journal(before, 6).unwrap();
        let (mut last, mut back) = (before, Vec::new());
        backend
            .journal_back(&mut |entry| {
                back.push(entry);
                true
            })
            .unwrap();
        back.reverse();
        back.retain(|entry| entry.serial > before && entry.serial <= before + 6);
        assert_eq!(entries, back);
        for (entry, node) in entries.iter().zip(&nodes) {
            assert_eq!((entry.serial, entry.after.as_ref()), (last + 1, Some(node)));
            assert_eq!((entry.shown_after().as_ref(), entry.new_state), (Some(node), Some(NodeState::Active)));
            last = entry.serial;
        }
        assert_eq!(entries.last().unwrap().before.as_ref(), Some(&nodes[4]));
    };
    check(&*backend);
    put(&directory, "a.ostel.me", "192.0.2.7").await;
    for action in [Action::Suspend, Action::Restore] {
        directory.act(nodes[1].domain(), action, None, Precondition::None, &admin()).await.unwrap();
    }
    directory.deregister(nodes[2].domain(), Precondition::None, &admin()).await.unwrap();
    check(&*backend);
    assert_eq!(written("after IS NULL"), 1, "one node is as it was imported");
    // Forgotten, and registered anew.
    put(&directory, "c.ostel.me", "192.0.2.7").await;
    directory.import(ready(&directory, vec![node("d.ostel.me", "192.0.2.7")]), &admin()).await.unwrap();
    check(&*backend);
    assert_eq!(written("after IS NULL"), 0);
    drop(directory);
    drop(backend);
    let backend = Scripted::open(dir.path());
    check(&*backend);
}
