//! Tokens: made, shown, believed, expired, revoked; and the admin's file.

use std::os::unix::fs::PermissionsExt as _;

use tandem_store::backend::{Act, JournalKind, Step, StoredToken};
use tandem_store::{NewToken, Origin, Rights, TokenError, TokenInfo};

use super::*;

fn nodes(names: &[&str]) -> NewToken {
    NewToken {
        expires_in: Some(60),
        label: Some("x".into()),
        ..NewToken::new(Scope::Nodes(names.iter().map(|n| name(n)).collect()))
    }
}

fn info(id: &str, expires: Option<u64>) -> TokenInfo {
    TokenInfo {
        id: id.into(),
        scope: Scope::Admin,
        rights: Rights::ALL,
        sources: Vec::new(),
        label: None,
        origin: Origin::Admin,
        moderated: false,
        created: BEGIN,
        expires,
        previous_until: None,
    }
}

#[tokio::test]
async fn api_70_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let (info, secret) = directory.issue_token(nodes(&["debug.ostel.me", "b.test"]), &admin(), None).await.unwrap();
    let (forever, lasting) = directory.issue_token(NewToken::new(Scope::Admin), &admin(), None).await.unwrap();
    assert_eq!((info.created, info.expires), (BEGIN, Some(BEGIN + 60)));
    let actor = directory.authenticate(secret.expose(), None).await.unwrap().unwrap();
    assert_eq!(actor, Actor::new(info.id.clone(), info.scope.clone()));
    assert!(actor.scope.covers(&name("x.debug.ostel.me")) && !actor.scope.covers(&name("ostel.me")));
    for wrong in ["", "tandem_", &secret.expose().to_uppercase(), &info.id] {
        assert_eq!(directory.authenticate(wrong, None).await.unwrap(), None, "{wrong}");
    }
    assert_eq!(directory.tokens().await.unwrap(), {
        let mut both = vec![info.clone(), forever.clone()];
        both.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        both
    });

    // Only the hash is on the disk.
    directory.shutdown().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&secret, &lasting] {
            assert!(!octets.windows(43).any(|window| window == &secret.expose().as_bytes()[7..]));
        }
    }
    drop((directory, backend));
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    assert_eq!(directory.authenticate(secret.expose(), None).await.unwrap(), Some(actor), "after a restart");

    clock.advance(60);
    assert_eq!(directory.authenticate(secret.expose(), None).await.unwrap(), None, "expired");
    assert_eq!(directory.tokens().await.unwrap(), std::slice::from_ref(&forever));
    assert!(matches!(directory.revoke_token(&info.id, &admin()).await, Err(TokenError::Unknown)));
    directory.revoke_token(&forever.id, &admin()).await.unwrap();
    assert_eq!(directory.authenticate(lasting.expose(), None).await.unwrap(), None, "revoked");
    assert!(matches!(directory.revoke_token(&forever.id, &admin()).await, Err(TokenError::Unknown)));

    // Expired ones are swept out when the next one is made; the journal tells it all.
    let (last, _) = directory.issue_token(nodes(&["a.test"]), &admin(), None).await.unwrap();
    let kept: Vec<_> = backend.load().unwrap().tokens.into_iter().map(|token| token.info.id).collect();
    assert_eq!(kept, [last.id.as_str()]);
    let told: Vec<_> = backend.journal(0, 99).unwrap().into_iter().map(|e| (e.kind, e.subject, e.by)).collect();
    let by = Some("tester".to_owned());
    assert!(told.ends_with(&[
        (JournalKind::IssueToken, info.id.clone(), by.clone()),
        (JournalKind::IssueToken, forever.id.clone(), by.clone()),
        (JournalKind::DropToken, forever.id.clone(), by.clone()),
        (JournalKind::DropToken, info.id, None),
        (JournalKind::IssueToken, last.id, by),
    ]));
}

#[tokio::test]
async fn limits_of_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let with_label = |label: &str| NewToken { label: Some(label.into()), ..NewToken::new(Scope::Admin) };
    for new in [nodes(&[]), nodes(&["a.test"; 101]), with_label(&"x".repeat(101)), with_label("a\nb")] {
        let refused = directory.issue_token(new.clone(), &admin(), None).await;
        assert!(matches!(refused, Err(TokenError::Limit(_))), "{new:?}");
    }
    // Far in the future is not an overflow.
    let new = NewToken { expires_in: Some(u64::MAX), ..NewToken::new(Scope::Admin) };
    let (_, secret) = directory.issue_token(new, &admin(), None).await.unwrap();
    assert!(directory.authenticate(secret.expose(), None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_not_written_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&TestClock::new()).unwrap();
    let (info, secret) = directory.issue_token(nodes(&["a.test"]), &admin(), None).await.unwrap();
    backend.fail.store(true, Ordering::Relaxed);
    assert!(matches!(directory.issue_token(nodes(&["a.test"]), &admin(), None).await, Err(TokenError::Directory(_))));
    assert!(matches!(directory.revoke_token(&info.id, &admin()).await, Err(TokenError::Directory(_))));
    assert_eq!(directory.tokens().await.unwrap().len(), 1);
    assert!(directory.authenticate(secret.expose(), None).await.unwrap().is_some());
}

#[tokio::test]
async fn the_admin_token_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.token");
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    assert!(directory.ensure_admin_token(dir.path()).unwrap());
    let first = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let actor = directory.authenticate(first.trim(), None).await.unwrap().unwrap();
    assert_eq!(actor.scope, Scope::Admin);

    assert!(!directory.ensure_admin_token(dir.path()).unwrap(), "valid: kept");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!directory.ensure_admin_token(dir.path()).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "closed again");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);

    // Made anew when it is gone, is nonsense, was revoked, or is no admin's.
    std::fs::write(dir.path().join("admin.token.new"), "left over").unwrap();
    std::fs::write(&path, [0xff; 5000]).unwrap();
    assert!(directory.ensure_admin_token(dir.path()).unwrap());
    let second = std::fs::read_to_string(&path).unwrap();
    let actor = directory.authenticate(second.trim(), None).await.unwrap().unwrap();
    directory.revoke_token(&actor.token_id, &actor).await.unwrap();
    assert!(directory.ensure_admin_token(dir.path()).unwrap());
    let (_, secret) = directory.issue_token(nodes(&["a.test"]), &admin(), None).await.unwrap();
    std::fs::write(&path, secret.expose()).unwrap();
    assert!(directory.ensure_admin_token(dir.path()).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(directory.ensure_admin_token(dir.path()).unwrap());

    let failed = directory.ensure_admin_token(&dir.path().join("nowhere"));
    assert!(matches!(failed, Err(OpenError::Io { .. })), "{failed:?}");
}

#[tokio::test]
async fn at_most_ten_thousand_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let token = |serial: u64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&serial.to_be_bytes());
        // The first one expires.
        let expires = (serial == 1).then_some(BEGIN + 60);
        let info = info(&format!("t{serial}"), expires);
        Step {
            serial,
            by: None,
            act: Act::IssueToken(StoredToken { info, hash, previous_hash: None }),
            zones: Vec::new(),
        }
    };
    let steps = (1..=10_000).map(token).collect();
    backend
        .commit(&Batch { after: None, serial: 10_000, time: BEGIN, steps, touched: Vec::new(), answers: Vec::new() })
        .unwrap();
    let directory = backend.directory(&clock).unwrap();
    let refused = directory.issue_token(nodes(&["a.test"]), &admin(), None).await;
    assert!(matches!(refused, Err(TokenError::Limit(_))), "{refused:?}");
    clock.advance(60);
    directory.issue_token(nodes(&["a.test"]), &admin(), None).await.unwrap();
    let refused = directory.issue_token(nodes(&["a.test"]), &admin(), None).await;
    assert!(matches!(refused, Err(TokenError::Limit(_))), "{refused:?}");
    assert_eq!(directory.tokens().await.unwrap().len(), 10_000);
}
