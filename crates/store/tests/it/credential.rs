//! Credentials that change: rotated tokens, invitations, strangers' tokens, kept answers, and files of older schemas.

use rusqlite::Connection;
use tandem_store::backend::{JournalKind, StoredAnswer};
use tandem_store::{Action, Keep, NewInvitation, NewToken, Origin, Right, Rights, TokenError, TokenInfo, TokenSecret};

use super::*;

const WEEK: u64 = 7 * 86_400;

fn invitation(domain: &str) -> NewInvitation {
    NewInvitation { domain: name(domain), expires_in: WEEK, token_expires_in: Some(60), label: Some("x".into()) }
}

fn keep(lookup: u8) -> Option<Keep<(TokenInfo, TokenSecret)>> {
    let seal = |(info, _): &(TokenInfo, TokenSecret)| info.id.clone().into_bytes();
    Some(Keep { lookup: [lookup; 32], fingerprint: [1; 32], seal: Box::new(seal) })
}

#[tokio::test]
async fn a_token_rotates_with_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let new = NewToken { expires_in: Some(1000), ..NewToken::new(Scope::Nodes(vec![name("a.test")])) };
    let (info, first) = directory.issue_token(new, &admin(), None).await.unwrap();
    let holder = directory.authenticate(first.expose(), None).await.unwrap().unwrap();
    let (rotated, second) = directory.rotate_token(&info.id, 100, None, &holder, None).await.unwrap();
    assert_eq!(
        (rotated.id.clone(), rotated.expires, rotated.previous_until),
        (info.id.clone(), info.expires, Some(BEGIN + 100))
    );
    let is_valid = async |directory: &Directory, secret: &TokenSecret| {
        directory.authenticate(secret.expose(), None).await.unwrap().is_some()
    };
    assert!(is_valid(&directory, &first).await && is_valid(&directory, &second).await);

    directory.shutdown().await;
    drop((directory, backend));
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    assert!(is_valid(&directory, &first).await && is_valid(&directory, &second).await, "after a restart");
    clock.advance(100);
    assert!(!is_valid(&directory, &first).await && is_valid(&directory, &second).await, "the overlap is over");

    let (_, third) = directory.rotate_token(&info.id, 0, Some(5000), &admin(), None).await.unwrap();
    assert!(!is_valid(&directory, &second).await, "without overlap");
    clock.advance(4999);
    assert!(is_valid(&directory, &third).await, "an admin moved its end");
    clock.advance(1);
    assert!(!is_valid(&directory, &third).await);
    let gone = directory.rotate_token(&info.id, 0, None, &admin(), None).await;
    assert!(matches!(gone, Err(TokenError::Unknown)), "{gone:?}");
    let too_long = directory.rotate_token(&info.id, 30 * 86_400 + 1, None, &admin(), None).await;
    assert!(matches!(too_long, Err(TokenError::Limit(_))), "{too_long:?}");
    let told = backend.journal(0, 99).unwrap();
    assert_eq!(told.iter().filter(|entry| entry.kind == JournalKind::RotateToken).count(), 2);
}

#[tokio::test]
async fn what_a_token_is_limited_to_survives() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let new = NewToken {
        rights: [Right::Renew, Right::Read].into_iter().collect(),
        sources: ["192.0.2.0/24", "2001:db8::/32"].map(|text| tandem_model::Network::parse(text).unwrap()).into(),
        ..NewToken::new(Scope::Nodes(vec![name("a.test")]))
    };
    let (made, secret) = directory.issue_token(new, &admin(), None).await.unwrap();
    let (reader, _) = directory.issue_token(NewToken::new(Scope::Read), &admin(), None).await.unwrap();
    directory.shutdown().await;
    drop(directory);
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let mut kept = directory.tokens().await.unwrap();
    kept.sort_by_key(|info| info.scope != Scope::Read);
    assert_eq!(kept, [reader, made]);
    let actor = directory.authenticate(secret.expose(), "192.0.2.1".parse().ok()).await.unwrap().unwrap();
    assert!(actor.may(Right::Renew) && !actor.may(Right::Publish));
    assert_eq!(directory.authenticate(secret.expose(), "192.0.3.1".parse().ok()).await.unwrap(), None);

    let none = NewToken { rights: Rights::from_iter([]), ..NewToken::new(Scope::Nodes(vec![name("a.test")])) };
    assert!(matches!(directory.issue_token(none, &admin(), None).await, Err(TokenError::Limit(_))));
}

#[tokio::test]
async fn an_invitation_makes_one_token() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let (info, code) = directory.invite(invitation("debug.ostel.me"), &admin(), None).await.unwrap();
    assert_eq!(directory.invitations().await.unwrap(), std::slice::from_ref(&info));
    for wrong in ["", "tandem_invite_", info.id.as_str(), &code.expose().replace("invite", "invita")] {
        assert!(matches!(directory.redeem_invitation(wrong, None).await, Err(TokenError::Unknown)), "{wrong}");
    }
    // Nothing was written: the code is as good as before.
    backend.fail.store(true, Ordering::Relaxed);
    assert!(matches!(directory.redeem_invitation(code.expose(), None).await, Err(TokenError::Directory(_))));
    backend.fail.store(false, Ordering::Relaxed);

    let attempts: Vec<_> = (0..16)
        .map(|_| {
            let (directory, code) = (directory.clone(), code.expose().to_owned());
            tokio::spawn(async move { directory.redeem_invitation(&code, None).await })
        })
        .collect();
    let mut made = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(token) => made.push(token),
            Err(error) => assert!(matches!(error, TokenError::Unknown), "{error:?}"),
        }
    }
    let [(token, secret)] = made.as_slice() else { panic!("{} tokens", made.len()) };
    assert_eq!(
        (token.origin, token.expires, token.label.as_deref()),
        (Origin::Invitation, Some(BEGIN + 60), Some("x"))
    );
    let actor = directory.authenticate(secret.expose(), None).await.unwrap().unwrap();
    assert!(actor.scope.covers(&name("debug.ostel.me")) && !actor.scope.covers(&name("ostel.me")) && !actor.moderated);
    assert!(directory.invitations().await.unwrap().is_empty());

    directory.shutdown().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!octets.windows(43).any(|window| window == &code.expose().as_bytes()[14..]), "only the hash is kept");
    }
    drop((directory, backend));
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    assert!(matches!(directory.redeem_invitation(code.expose(), None).await, Err(TokenError::Unknown)));
    let kinds: Vec<_> = backend.journal(0, 99).unwrap().into_iter().map(|entry| entry.kind).collect();
    assert!(
        kinds.ends_with(&[JournalKind::Invite, JournalKind::RedeemInvitation, JournalKind::IssueToken]),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn an_invitation_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let (withdrawn, code) = directory.invite(invitation("a.test"), &admin(), None).await.unwrap();
    directory.withdraw_invitation(&withdrawn.id, &admin()).await.unwrap();
    assert!(matches!(directory.redeem_invitation(code.expose(), None).await, Err(TokenError::Unknown)));
    assert!(matches!(directory.withdraw_invitation(&withdrawn.id, &admin()).await, Err(TokenError::Unknown)));
    let (_, code) = directory.invite(invitation("a.test"), &admin(), None).await.unwrap();
    clock.advance(WEEK);
    assert!(matches!(directory.redeem_invitation(code.expose(), None).await, Err(TokenError::Unknown)), "expired");
    assert!(directory.invitations().await.unwrap().is_empty());
    let (last, _) = directory.invite(invitation("b.test"), &admin(), None).await.unwrap();
    let kept: Vec<_> = backend.load().unwrap().invitations.into_iter().map(|kept| kept.info.id).collect();
    assert_eq!(kept, [last.id], "expired ones are swept out when the next one is made");
}

/// API-T15: the caller goes away between the effect and the answer; the effect and the kept answer are both there.
#[tokio::test]
async fn api_t15_effect_and_answer_are_kept_together() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let (_, code) = directory.invite(invitation("a.test"), &admin(), None).await.unwrap();
    backend.hold();
    let commits = backend.commits.load(Ordering::Relaxed);
    let caller = {
        let (directory, code) = (directory.clone(), code.expose().to_owned());
        tokio::spawn(async move { directory.redeem_invitation(&code, keep(7)).await })
    };
    // The writer has taken it when it waits for the commit; only then the caller may go.
    let begun = async {
        while backend.inner.load().unwrap().invitations.len() != 1 || backend.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), begun).await.unwrap();
    caller.abort();
    backend.release();
    directory.shutdown().await;
    assert_eq!(backend.commits.load(Ordering::Relaxed), commits + 1);
    drop((directory, backend));

    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    let tokens = directory.tokens().await.unwrap();
    let kept = directory.kept_answer([7; 32]).await.unwrap().unwrap();
    assert_eq!((tokens.len(), kept.sealed), (1, tokens[0].id.clone().into_bytes()));
    assert!(matches!(directory.redeem_invitation(code.expose(), None).await, Err(TokenError::Unknown)));
}

#[tokio::test]
async fn api_33_one_key_has_one_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let new = || NewToken::new(Scope::Nodes(vec![name("a.test")]));
    let (info, _) = directory.issue_token(new(), &admin(), keep(1)).await.unwrap();
    let again = directory.issue_token(new(), &admin(), keep(1)).await;
    assert!(matches!(again, Err(TokenError::Repeated)), "{again:?}");
    assert_eq!(directory.tokens().await.unwrap().len(), 1);
    let StoredAnswer { fingerprint, sealed, expires, .. } = directory.kept_answer([1; 32]).await.unwrap().unwrap();
    assert_eq!((fingerprint, sealed, expires), ([1; 32], info.id.into_bytes(), BEGIN + 86_400), "API-32: a day");
    assert_eq!(directory.kept_answer([2; 32]).await.unwrap(), None);
    clock.advance(86_400);
    assert_eq!(directory.kept_answer([1; 32]).await.unwrap(), None);
    directory.issue_token(new(), &admin(), keep(1)).await.unwrap();
    assert!(directory.kept_answer([1; 32]).await.unwrap().is_some(), "the old one is forgotten, not in the way");
}

#[tokio::test]
async fn strangers_names_touch_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    put(&directory, "ostel.me", "192.0.2.1").await;
    directory
        .issue_token(NewToken::new(Scope::Nodes(vec![name("b.ostel.me"), name("ostel.me")])), &admin(), None)
        .await
        .unwrap();
    directory.invite(invitation("c.ostel.me"), &admin(), None).await.unwrap();
    let apply = async |domain: &str| directory.apply_for_token(name(domain), true, None).await;
    for taken in ["a.ostel.me", "x.a.ostel.me", "b.ostel.me", "x.b.ostel.me", "c.ostel.me", "ostel.me", "me"] {
        let refused = apply(taken).await;
        assert!(matches!(refused, Err(TokenError::Taken)), "{taken}: {refused:?}");
    }
    let (info, secret) = apply("x.d.ostel.me").await.unwrap();
    assert_eq!((info.origin, info.moderated), (Origin::Registration, true));
    let actor = directory.authenticate(secret.expose(), None).await.unwrap().unwrap();
    assert!(actor.moderated && actor.scope.covers(&name("x.d.ostel.me")));
    for taken in ["x.d.ostel.me", "y.x.d.ostel.me", "d.ostel.me"] {
        assert!(matches!(apply(taken).await, Err(TokenError::Taken)), "{taken}");
    }

    // A name is held for a week; then somebody else may have it, and the first token is no more.
    clock.advance(WEEK - 1);
    assert!(matches!(apply("x.d.ostel.me").await, Err(TokenError::Taken)));
    clock.advance(1);
    let (second, _) = apply("d.ostel.me").await.unwrap();
    assert_eq!(directory.authenticate(secret.expose(), None).await.unwrap(), None, "the unused one is gone");
    // But not when something is registered there.
    put(&directory, "d.ostel.me", "192.0.2.1").await;
    clock.advance(WEEK);
    assert!(matches!(apply("d.ostel.me").await, Err(TokenError::Taken)));
    assert!(directory.tokens().await.unwrap().iter().any(|info| info.id == second.id));
}

#[tokio::test]
async fn a_moderated_token_shows_nothing_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let (_, secret) = directory.apply_for_token(name("new.ostel.me"), true, None).await.unwrap();
    let stranger = directory.authenticate(secret.expose(), None).await.unwrap().unwrap();
    let publish = async |address: &str| {
        let node = node("new.ostel.me", address);
        directory.register(node, Precondition::None, &stranger).await.unwrap().registered.standing.state
    };
    assert_eq!(publish("192.0.2.1").await, NodeState::Pending);
    assert_eq!(publish("192.0.2.2").await, NodeState::Pending, "again");
    assert_eq!(directory.live().load().node_count(), 0);
    // Neither does it when it was there before and went.
    directory.deregister(&name("new.ostel.me"), Precondition::None, &stranger).await.unwrap();
    assert_eq!(publish("192.0.2.1").await, NodeState::Pending);
    directory.act(&name("new.ostel.me"), Action::Approve, None, Precondition::None, &admin()).await.unwrap();
    assert_eq!(publish("192.0.2.3").await, NodeState::Active, "once approved it changes as others do");
    assert_eq!(directory.live().load().node_count(), 1);
    directory.deregister(&name("new.ostel.me"), Precondition::None, &stranger).await.unwrap();
    assert_eq!(publish("192.0.2.1").await, NodeState::Pending, "a new beginning");
}

/// A file as version 1 of the schema left it, with data: everything is there after the migrations.
#[tokio::test]
async fn tokens_of_the_first_schema() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tandem.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x544e444d;
         CREATE TABLE node (sort_key BLOB NOT NULL PRIMARY KEY, domain TEXT NOT NULL, document TEXT NOT NULL,
             revision INTEGER NOT NULL CHECK (revision > 0), created INTEGER NOT NULL, updated INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE serial (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
             serial INTEGER NOT NULL CHECK (serial > 0), probe INTEGER NOT NULL DEFAULT 0) STRICT;
         CREATE TABLE zone (apex TEXT NOT NULL PRIMARY KEY, digest INTEGER NOT NULL, role TEXT NOT NULL,
             serial INTEGER NOT NULL CHECK (serial > 0)) STRICT, WITHOUT ROWID;
         CREATE TABLE journal (serial INTEGER NOT NULL, subject TEXT NOT NULL, kind TEXT NOT NULL, time INTEGER NOT NULL,
             token TEXT, before TEXT, after TEXT, PRIMARY KEY (serial, subject)) STRICT, WITHOUT ROWID;
         CREATE TABLE token (id TEXT NOT NULL PRIMARY KEY, hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
             admin INTEGER NOT NULL CHECK (admin IN (0, 1)), label TEXT, created INTEGER NOT NULL, expires INTEGER
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE token_name (token TEXT NOT NULL REFERENCES token (id) ON DELETE CASCADE, position INTEGER NOT NULL,
             domain TEXT NOT NULL, PRIMARY KEY (token, position)) STRICT, WITHOUT ROWID;
         INSERT INTO serial (one, serial) VALUES (1, 7);
         INSERT INTO token VALUES ('boss', zeroblob(32), 1, NULL, 5, NULL);
         INSERT INTO token VALUES ('node', x'0101010101010101010101010101010101010101010101010101010101010101', 0, 'l', 6,
                                   4000000000);
         INSERT INTO token_name VALUES ('node', 0, 'a.test'), ('node', 1, 'b.test');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let tokens = directory.tokens().await.unwrap();
    let facts: Vec<_> = tokens.iter().map(|t| (t.id.as_str(), t.scope.clone(), t.rights, t.expires)).collect();
    let names = Scope::Nodes(vec![name("a.test"), name("b.test")]);
    assert_eq!(facts, [("boss", Scope::Admin, Rights::ALL, None), ("node", names, Rights::ALL, Some(4_000_000_000))]);
    assert!(tokens.iter().all(|token| token.origin == Origin::Admin && !token.moderated && token.sources.is_empty()));
    directory.revoke_token("node", &admin()).await.unwrap();
    drop(directory);
    let left: i64 =
        Connection::open(&file).unwrap().query_row("SELECT count(*) FROM token_name", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "the names still go with their token");
}
