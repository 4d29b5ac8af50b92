//! Nodes with keys: who may replace them, and what is remembered of them.

use tandem_store::backend::JournalKind;
use tandem_store::{Effect, KeyError, RegisterError, ResetKeyError, Signature};

use super::*;

fn holder() -> Actor {
    Actor::new("holder", Scope::Nodes(vec![name("a.ostel.me")]))
}

fn signature(key: &str, serial: u64, next: Option<&str>) -> Signature {
    let signed = format!("{key} {serial}").into_bytes().into();
    Signature { thumbprint: key.into(), serial, next: next.map(Into::into), signed }
}

async fn put(directory: &Directory, signature: Option<Signature>, by: &Actor) -> Result<Receipt, RegisterError> {
    let node = node("a.ostel.me", "192.0.2.1");
    directory.register_in(NodeState::Active, node, signature, Precondition::None, by).await
}

async fn key_of(directory: &Directory) -> Option<(String, u64, usize)> {
    let identity = directory.node(&name("a.ostel.me")).await.unwrap()?.identity?;
    Some((identity.thumbprint.into(), identity.serial, identity.signed.len()))
}

fn is_refused(result: &Result<Receipt, RegisterError>, why: KeyError) -> bool {
    matches!(result, Err(RegisterError::Key(found)) if *found == why)
}

#[tokio::test]
async fn a_key_stays_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let open = || {
        let backend = Arc::new(SqliteBackend::open(folder.path()).unwrap());
        Directory::open_with(backend, folder.path(), settings(), statics(), clock.clock()).unwrap()
    };
    let directory = open();
    let (admin, holder) = (admin(), holder());
    assert_eq!(put(&directory, None, &holder).await.unwrap().effect, Effect::Created);
    assert_eq!(put(&directory, Some(signature("k1", 1, None)), &holder).await.unwrap().effect, Effect::Replaced);
    assert_eq!(put(&directory, Some(signature("k1", 1, None)), &holder).await.unwrap().effect, Effect::Unchanged);
    assert!(is_refused(&put(&directory, None, &holder).await, KeyError::Unsigned));
    assert!(is_refused(
        &put(&directory, Some(signature("k1", 0, None)), &holder).await,
        KeyError::OldSerial { last: 1 }
    ));
    assert!(is_refused(&put(&directory, Some(signature("k2", 2, None)), &holder).await, KeyError::OtherKey));
    // A rehearsal says the same, and does nothing.
    let rehearsed = directory
        .rehearse(&node("a.ostel.me", "192.0.2.1"), Some(&signature("k2", 2, None)), Precondition::None, &holder)
        .await;
    assert!(matches!(rehearsed, Err(RegisterError::Key(KeyError::OtherKey))));
    let (effect, _) = directory
        .rehearse(&node("a.ostel.me", "192.0.2.1"), Some(&signature("k1", 2, None)), Precondition::None, &holder)
        .await
        .unwrap();
    assert_eq!(effect, Effect::Replaced);
    // An admin may write unsigned; then nothing signed is shown, and the key stays, also over a restart.
    put(&directory, None, &admin).await.unwrap();
    assert_eq!(key_of(&directory).await, Some(("k1".into(), 1, 0)));
    directory.shutdown().await;
    let directory = open();
    assert_eq!(key_of(&directory).await, Some(("k1".into(), 1, 0)));
    assert!(is_refused(&put(&directory, None, &holder).await, KeyError::Unsigned));
    // The key names its successor, which takes over, and not back.
    put(&directory, Some(signature("k1", 5, Some("k2"))), &holder).await.unwrap();
    put(&directory, Some(signature("k2", 6, None)), &holder).await.unwrap();
    assert!(is_refused(&put(&directory, Some(signature("k1", 7, None)), &holder).await, KeyError::OtherKey));
    assert_eq!(key_of(&directory).await, Some(("k2".into(), 6, 4)));
}

/// Who has only the token must not get rid of the key by removing the node.
#[tokio::test]
async fn removal_keeps_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let backend = Arc::new(SqliteBackend::open(folder.path()).unwrap());
    let directory = Directory::open_with(backend, folder.path(), settings(), statics(), clock.clock()).unwrap();
    let (admin, holder) = (admin(), holder());
    put(&directory, Some(signature("k1", 1, None)), &holder).await.unwrap();
    let receipt = directory.deregister(&name("a.ostel.me"), Precondition::None, &holder).await.unwrap();
    assert_eq!(receipt.effect, Effect::Removed);
    let left = directory.node(&name("a.ostel.me")).await.unwrap().unwrap();
    assert_eq!(left.standing.state, NodeState::Tombstone);
    assert!(left.shown().is_none());
    assert_eq!(directory.live().load().node_count(), 0);
    assert!(is_refused(&put(&directory, Some(signature("k2", 2, None)), &holder).await, KeyError::OtherKey));
    assert!(is_refused(&put(&directory, None, &holder).await, KeyError::Unsigned));
    assert_eq!(put(&directory, Some(signature("k1", 2, None)), &holder).await.unwrap().effect, Effect::Created);
    // An admin removes all of it.
    directory.deregister(&name("a.ostel.me"), Precondition::None, &admin).await.unwrap();
    assert_eq!(directory.node(&name("a.ostel.me")).await.unwrap(), None);
    assert_eq!(put(&directory, Some(signature("k2", 1, None)), &holder).await.unwrap().effect, Effect::Created);
    // Removed by its holder, it is gone with the tombstone in the end.
    directory.deregister(&name("a.ostel.me"), Precondition::None, &holder).await.unwrap();
    clock.advance(31 * 86_400);
    while directory.walk_leases().await.unwrap() {}
    assert_eq!(directory.node(&name("a.ostel.me")).await.unwrap(), None);
}

#[tokio::test]
async fn an_admin_resets_a_key_with_delay() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let backend = Arc::new(SqliteBackend::open(folder.path()).unwrap());
    let directory = Directory::open_with(backend, folder.path(), settings(), statics(), clock.clock()).unwrap();
    let (admin, holder) = (admin(), holder());
    let reset =
        async || directory.reset_key(&name("a.ostel.me"), Some("lost".into()), Precondition::None, &admin).await;
    assert!(matches!(reset().await, Err(ResetKeyError::NotFound)));
    put(&directory, None, &holder).await.unwrap();
    assert!(matches!(reset().await, Err(ResetKeyError::NotFound)), "it has no key");
    put(&directory, Some(signature("k1", 1, None)), &holder).await.unwrap();
    let wrong = directory.reset_key(&name("a.ostel.me"), None, Precondition::Revision(vec![1]), &admin).await;
    assert!(matches!(wrong, Err(ResetKeyError::Stale(Some(_)))));
    let zones = |directory: &Directory| directory.live().load().iter().map(|zone| zone.serial()).collect::<Vec<_>>();
    let before = zones(&directory);
    let receipt = reset().await.unwrap();
    assert_eq!((receipt.effect, zones(&directory)), (Effect::Moved, before), "DNS has nothing to do with it");
    assert_eq!(reset().await.unwrap().effect, Effect::Unchanged);
    // The event comes at once, the effect does not.
    let entries = directory.journal(receipt.registered.revision - 1, 10).await.unwrap();
    assert_eq!((entries[0].kind, entries[0].subject.as_str()), (JournalKind::ResetKey, "a.ostel.me"));
    assert_eq!((entries[0].by.as_deref(), entries[0].reason.as_deref()), (Some("tester"), Some("lost")));
    let other = async |serial| put(&directory, Some(signature("k2", serial, None)), &holder).await;
    clock.advance(3 * 86_400 - 1);
    assert!(is_refused(&other(2).await, KeyError::OtherKey));
    // The holder notices, and goes on signing: nothing comes of the reset.
    put(&directory, Some(signature("k1", 2, None)), &holder).await.unwrap();
    clock.advance(1);
    assert!(is_refused(&other(3).await, KeyError::OtherKey));
    // Nobody notices: after the delay another key takes over.
    reset().await.unwrap();
    clock.advance(3 * 86_400);
    assert!(
        is_refused(&put(&directory, None, &holder).await, KeyError::Unsigned),
        "a reset frees no unsigned document"
    );
    assert!(is_refused(&other(2).await, KeyError::OldSerial { last: 2 }));
    other(3).await.unwrap();
    assert_eq!(key_of(&directory).await, Some(("k2".into(), 3, 4)));
    assert!(is_refused(&put(&directory, Some(signature("k1", 9, None)), &holder).await, KeyError::OtherKey));
}
