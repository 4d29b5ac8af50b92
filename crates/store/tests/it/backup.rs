//! Backups of a directory that works, and what is restored from them: the same registrations, under serials that only go up.

use std::os::unix::fs::PermissionsExt as _;

use tandem_model::Serial;
use tandem_store::backend::JournalKind;
use tandem_store::sqlite::backup::{back_up, verify};
use tandem_store::sqlite::restore::{RestoreOptions, Restored, restore};
use tandem_store::{Action, NewInvitation, NewToken, RestoreError, TokenSecret};

use super::*;

/// A day after [`BEGIN`]: when things are restored.
const LATER: u64 = BEGIN + 86_400;

/// A directory with nodes in several states, a token and an invitation.
async fn fill(directory: &Directory) -> TokenSecret {
    for n in 0..50 {
        put(directory, &format!("n{n}.ostel.me"), "192.0.2.1").await;
    }
    directory.deregister(&name("n7.ostel.me"), Precondition::None, &admin()).await.unwrap();
    let act = async |domain: &str, action| {
        directory.act(&name(domain), action, None, Precondition::None, &admin()).await.unwrap();
    };
    act("n8.ostel.me", Action::Suspend).await;
    act("n9.ostel.me", Action::Drain).await;
    let (_, secret) =
        directory.issue_token(NewToken::new(Scope::Nodes(vec![name("n1.ostel.me")])), &admin(), None).await.unwrap();
    let new = NewInvitation { domain: name("a.test"), expires_in: 86_400 * 7, token_expires_in: None, label: None };
    directory.invite(new, &admin(), None).await.unwrap();
    secret
}

fn open(dir: &Path, now: u64) -> (Arc<Scripted>, Directory) {
    let (backend, clock) = (Scripted::open(dir), TestClock::new());
    clock.advance(now - BEGIN);
    let directory = backend.directory(&clock).unwrap();
    (backend, directory)
}

/// What is registered, without what a restore changes on purpose.
async fn contents(directory: &Directory) -> Vec<Registered> {
    let mut all = directory.list(None, 999).await.unwrap();
    all.iter_mut().for_each(|registered| registered.standing.lease_until = 0);
    all
}

fn go(backup: &Path, dir: &Path, options: &RestoreOptions) -> Result<Restored, RestoreError> {
    restore(backup, dir, options, LATER)
}

#[tokio::test]
async fn dns_70_a_restored_directory_goes_on_above_all_that_was_seen() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("b.tandem");
    let (backend, directory) = open(dir.path(), BEGIN);
    let secret = fill(&directory).await;
    let before = contents(&directory).await;
    let old = served(&directory, "peers.test");

    // Changes go on while it is made.
    let writer = {
        let directory = directory.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                put(&directory, &format!("later{n}.ostel.me"), "192.0.2.2").await;
            }
        })
    };
    let (data_dir, target) = (dir.path().to_owned(), file.clone());
    let manifest = tokio::task::spawn_blocking(move || back_up(&data_dir, &target, BEGIN + 9)).await.unwrap().unwrap();
    writer.await.unwrap();
    let seen = served(&directory, "peers.test");
    assert!(seen > old);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(verify(&file).unwrap(), manifest);
    assert!(manifest.nodes >= 49 && manifest.serial.unwrap() >= u64::from(old), "{manifest:?}");
    assert_eq!((manifest.tokens, manifest.invitations, manifest.taken), (1, 1, BEGIN + 9));
    directory.shutdown().await;
    drop((directory, backend));

    let new = tempfile::tempdir().unwrap();
    let restored = go(&file, new.path(), &RestoreOptions::default()).unwrap();
    assert_eq!((restored.invitations, restored.tokens, restored.knew_serial), (1, 0, true));
    let (backend, directory) = open(new.path(), LATER);
    let now = contents(&directory).await;
    let kept: Vec<_> =
        now.iter().filter(|registered| !registered.node.domain().to_string().starts_with("later")).collect();
    assert_eq!(kept, before.iter().collect::<Vec<_>>());
    assert_eq!(now.len() as u64, manifest.nodes);
    for apex in ["ostel.me", "peers.test", "e164.test"] {
        let serial = Serial::new(served(&directory, apex));
        assert_eq!(serial, restored.zone_serial, "{apex}");
        assert!(serial > Serial::new(seen) && serial > Serial::new(old), "{apex}: {serial} is not above {seen}");
    }
    // DNS-72: no difference is told from a serial of another life.
    let now_served = directory.live().load();
    for serial in [old, seen] {
        let difference = directory.live().difference(&now_served, &name("peers.test"), Serial::new(serial), usize::MAX);
        assert!(difference.is_none(), "{serial}");
    }
    assert!(directory.authenticate(secret.expose(), None).await.unwrap().is_some(), "tokens stay");
    assert!(directory.invitations().await.unwrap().is_empty(), "nobody knows whether it was used");
    let told = backend.journal(manifest.serial.unwrap(), 99).unwrap();
    let count = |kind| told.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count(JournalKind::ServeZone), count(JournalKind::DropInvitation), told.len()), (3, 1, 4));
    // Renewals since then are not known: a whole lease.
    let lease = directory.node(&name("n1.ostel.me")).await.unwrap().unwrap().standing.lease_until;
    assert_eq!(lease, LATER + 604_800);
    let receipt = put(&directory, "new.ostel.me", "192.0.2.3").await;
    assert!(receipt.serial > restored.zone_serial);
    directory.shutdown().await;
}

#[tokio::test]
async fn a_database_that_is_there_is_replaced_only_when_told_to() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("b.tandem");
    let (backend, directory) = open(dir.path(), BEGIN);
    let secret = fill(&directory).await;
    back_up(dir.path(), &file, BEGIN).unwrap();
    let force = RestoreOptions { replace: true, ..RestoreOptions::default() };
    let error = go(&file, dir.path(), &force).unwrap_err();
    assert!(matches!(error, RestoreError::Open(OpenError::InUse(_))), "{error:?}");
    directory.shutdown().await;
    drop((directory, backend));
    let error = go(&file, dir.path(), &RestoreOptions::default()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty(_)), "{error:?}");

    // Again and again, the serials only go up.
    let mut last = 0;
    for round in 0..3 {
        let restored = go(&file, dir.path(), &force).unwrap();
        assert!(restored.serial > last, "round {round}");
        let aside = restored.replaced.unwrap();
        assert!(aside.exists());
        let (backend, directory) = open(dir.path(), LATER);
        put(&directory, "more.ostel.me", "192.0.2.9").await;
        last = backend.load().unwrap().serial.unwrap();
        directory.shutdown().await;
    }
    let without = RestoreOptions { replace: true, without_tokens: true, above: Some(Serial::new(4_000_000_000)) };
    let restored = go(&file, dir.path(), &without).unwrap();
    assert_eq!(restored.tokens, 1);
    let (_, directory) = open(dir.path(), LATER);
    assert!(directory.authenticate(secret.expose(), None).await.unwrap().is_none());
    directory.shutdown().await;
}

#[tokio::test]
async fn what_is_no_good_backup_is_refused_and_changes_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("b.tandem");
    let (backend, directory) = open(dir.path(), BEGIN);
    fill(&directory).await;
    back_up(dir.path(), &file, BEGIN).unwrap();
    directory.shutdown().await;
    drop((directory, backend));
    let good = std::fs::read(&file).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = good.clone();
        change(&mut octets);
        octets
    };
    let inside = good.windows(11).rposition(|window| window == b"n9.ostel.me").unwrap();
    for (id, octets) in [
        ("empty", Vec::new()),
        ("no database", b"something else".repeat(99)),
        ("cut off", changed(&|octets| octets.truncate(octets.len() / 2))),
        ("one letter of a name", changed(&|octets| octets[inside] ^= 1)),
        ("a database, not a backup", std::fs::read(dir.path().join("tandem.db")).unwrap()),
        ("a later schema", changed(&|octets| octets[63] = 99)),
    ] {
        std::fs::write(&file, octets).unwrap();
        let new = tempfile::tempdir().unwrap();
        let error = go(&file, new.path(), &RestoreOptions::default()).unwrap_err();
        assert!(matches!(error, RestoreError::Backup(_)), "{id}: {error:?}");
        assert!(error.to_string().contains("b.tandem"), "{id}: {error}");
        let left: Vec<_> = std::fs::read_dir(new.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["tandem.lock"], "{id}");
    }
    // A backup copied into place by hand is no database: its serials would go back.
    let new = tempfile::tempdir().unwrap();
    std::fs::write(new.path().join("tandem.db"), &good).unwrap();
    let error = SqliteBackend::open(new.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("tandem restore"), "{error:?}");
}

#[tokio::test]
async fn one_backup_at_a_time_leaves_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (_backend, directory) = open(dir.path(), BEGIN);
    fill(&directory).await;
    let (manifest, mut file) = directory.back_up().await.unwrap();
    let copy = dir.path().join("copy");
    std::io::copy(&mut file, &mut File::create(&copy).unwrap()).unwrap();
    assert_eq!(verify(&copy).unwrap(), manifest);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("backup")), "{names:?}");
    directory.shutdown().await;
}
