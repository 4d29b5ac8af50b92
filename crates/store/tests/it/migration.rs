//! A file made by an earlier schema opens, with what was in it.

use rusqlite::Connection;
use tandem_store::backend::JournalKind;

use super::*;

/// What version 1 wrote: its tables, word for word, and a directory with one node, its journal and a token.
const VERSION_1: &str = include_str!("data/schema_1.sql");

#[tokio::test]
async fn version_1() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("tandem.db")).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    connection.close().unwrap();

    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let kept = directory.node(&name("a.ostel.me")).await.unwrap().unwrap();
    assert_eq!((kept.node.clone(), kept.revision, kept.identity), (node("a.ostel.me", "192.0.2.1"), 8, None));
    let standing = kept.standing;
    assert_eq!((standing.state, standing.since, standing.by_admin), (NodeState::Active, 1_600_000_050, false));
    assert_eq!(standing.lease_until, BEGIN + 7 * 86_400, "a whole lease from the start on");
    assert_eq!((directory.live().load().node_count(), directory.tokens().await.unwrap().len()), (1, 1));
    let entry = backend.journal(7, 1).unwrap().remove(0);
    assert_eq!((entry.kind, entry.old_state, entry.new_state), (JournalKind::Register, None, Some(NodeState::Active)));
    assert_eq!(entry.shown_after(), Some(kept.node));
    assert_eq!(put(&directory, "a.ostel.me", "192.0.2.2").await.registered.created, 1_600_000_000);
}

/// A file as schema 7 had it: the running leases go on, and their end is announced like any other's.
#[tokio::test]
async fn version_7() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    let before = put(&directory, "a.ostel.me", "192.0.2.1").await.registered;
    drop((directory, backend));
    let connection = Connection::open(dir.path().join("tandem.db")).unwrap();
    connection.execute_batch("ALTER TABLE node DROP COLUMN lease_warned; PRAGMA user_version = 7").unwrap();
    connection.close().unwrap();

    clock.advance(6 * 86_400);
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    let kept = directory.node(&name("a.ostel.me")).await.unwrap().unwrap();
    assert_eq!((&kept.node, kept.revision, kept.standing.lease_warned), (&before.node, before.revision, 0));
    while directory.walk_leases().await.unwrap() {}
    assert_eq!(backend.journal(before.revision, 9).unwrap().len(), 0, "not at the start");
    clock.advance(86_400);
    while directory.walk_leases().await.unwrap() {}
    let told = backend.journal(before.revision, 9).unwrap().remove(0);
    assert_eq!((told.kind, told.new_state), (JournalKind::LeaseEnding, Some(NodeState::Active)));
}
