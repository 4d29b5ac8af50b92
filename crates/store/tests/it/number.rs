//! Who may have which number: claims, delegations, and what a revocation takes away (ENUM-77).

use tandem_model::{NumberClaim, NumberRange};
use tandem_store::backend::JournalKind;
use tandem_store::number::CLAIM_LIFE;
use tandem_store::{ClaimPolicy, NumberError, RegisterError, Right};
use tandem_zone::ConflictKind;

use super::*;

fn range(text: &str) -> NumberRange {
    text.parse().unwrap()
}

fn numbered(domain: &str, claims: &[&str]) -> Node {
    let mut node = node(domain, "192.0.2.1");
    node.numbers = claims
        .iter()
        .map(|text| match text.strip_suffix('*') {
            Some(block) => NumberClaim::Block(block.parse().unwrap()),
            None => NumberClaim::Number { number: text.parse().unwrap(), uri: None },
        })
        .collect();
    node
}

fn owner(domain: &str) -> Actor {
    Actor::new(format!("token of {domain}"), Scope::Nodes(vec![name(domain)]))
}

/// Registers with the domain's own token; what stands in the way.
async fn publish(directory: &Directory, domain: &str, claims: &[&str]) -> Vec<ConflictKind> {
    let node = numbered(domain, claims);
    match directory.register(node, Precondition::None, &owner(domain)).await {
        Ok(_) => Vec::new(),
        Err(RegisterError::Conflicts(found)) => found.into_iter().map(|conflict| conflict.kind).collect(),
        Err(error) => panic!("{error}"),
    }
}

async fn kept(directory: &Directory, domain: &str) -> Vec<String> {
    let found = directory.node(&name(domain)).await.unwrap().unwrap();
    found.node.numbers.iter().map(|claim| claim.range().to_string()).collect()
}

fn unassigned(text: &str) -> Vec<ConflictKind> {
    vec![ConflictKind::NumberUnassigned(range(text))]
}

#[tokio::test]
async fn a_claim_waits_for_thirty_days() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let mut directory = backend.directory(&clock).unwrap();
    let by = owner("a.ostel.me");
    let claim = |directory: Directory, text: &'static str| {
        let by = by.clone();
        async move { directory.claim_number(range(text), name("a.ostel.me"), &by, None).await.unwrap() }
    };
    let first = claim(directory.clone(), "+15550101").await;
    assert_eq!(first.expires(), BEGIN + CLAIM_LIFE);
    clock.advance(CLAIM_LIFE - 1);
    assert_eq!(directory.number_claims(), std::slice::from_ref(&first));
    clock.advance(1);
    // A start brings nothing back.
    directory.shutdown().await;
    directory = Scripted::open(dir.path()).directory(&clock).unwrap();
    assert_eq!(directory.number_claims(), []);
    for failed in [
        directory.approve_number(&first.id, false, &admin(), None).await.map(drop),
        directory.reject_number(&first.id, None, &by, None).await.map(drop),
    ] {
        assert!(matches!(failed, Err(NumberError::Unknown)), "{failed:?}");
    }
    let second = claim(directory.clone(), "+15550101").await;
    assert_ne!(first.id, second.id);
    let said: Vec<_> = directory.journal(0, 100).await.unwrap().into_iter().filter_map(|entry| entry.reason).collect();
    assert_eq!(said[1..], ["+15550101: nobody decided within 30 days".into(), "+15550101".into()]);
    directory.shutdown().await;
    let directory = Scripted::open(dir.path()).directory(&clock).unwrap();
    assert_eq!(directory.number_claims(), [second], "the first is out of the store");
}

#[tokio::test]
async fn enum_77_a_claim_waits_for_an_admin() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    assert_eq!(publish(&directory, "a.ostel.me", &["+15550101"]).await, unassigned("+15550101"));
    let by = owner("a.ostel.me");
    let claim = directory.claim_number(range("+155501*"), name("a.ostel.me"), &by, None).await.unwrap();
    let again = directory.claim_number(range("+155501*"), name("a.ostel.me"), &by, None).await.unwrap();
    assert_eq!(claim, again, "the same claim is one");
    let other =
        directory.claim_number(range("+155501*"), name("b.ostel.me"), &owner("b.ostel.me"), None).await.unwrap();
    assert_eq!(publish(&directory, "a.ostel.me", &["+15550101"]).await, unassigned("+15550101"), "it waits");

    // Nothing is lost when a write fails, or when the directory starts again.
    backend.fail.store(true, Ordering::Relaxed);
    let failed = directory.approve_number(&claim.id, false, &admin(), None).await;
    assert!(matches!(failed, Err(NumberError::Directory(_))));
    backend.fail.store(false, Ordering::Relaxed);
    assert_eq!(directory.number_claims().len(), 2);
    directory.approve_number(&claim.id, false, &admin(), None).await.unwrap();
    let refused = directory.approve_number(&other.id, false, &admin(), None).await;
    assert!(matches!(refused, Err(NumberError::Taken(domain)) if domain == name("a.ostel.me")));
    let stranger = directory.reject_number(&other.id, None, &owner("a.ostel.me"), None).await;
    assert!(matches!(stranger, Err(NumberError::Unknown)), "not theirs to see");
    directory.reject_number(&other.id, Some("taken".into()), &admin(), None).await.unwrap();
    directory.shutdown().await;
    drop((directory, backend));

    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    assert_eq!(directory.number_claims(), []);
    assert_eq!(publish(&directory, "a.ostel.me", &["+155501*", "+15550101"]).await, []);
    assert_eq!(publish(&directory, "b.ostel.me", &["+15550102"]).await, unassigned("+15550102"));
    let has = directory.claim_number(range("+15550103"), name("a.ostel.me"), &by, None).await;
    assert!(matches!(has, Err(NumberError::Has(_))));
    let entries = directory.numbers(None, 10);
    let shown: Vec<_> =
        entries.iter().map(|e| (e.range.to_string(), e.delegation.is_some(), e.node.is_some())).collect();
    assert_eq!(shown, [("+155501*".into(), true, true), ("+15550101".into(), false, true)]);
    assert_eq!(directory.numbers(Some(range("+155501*")), 10), entries[1..], "pages go on behind");
    let said: Vec<_> = backend
        .journal(0, 99)
        .unwrap()
        .into_iter()
        .filter(|entry| entry.kind.as_str().ends_with("-number"))
        .map(|entry| (entry.kind, entry.subject, entry.reason.unwrap().into_string()))
        .collect();
    let line = |kind, subject: &str, said: &str| (kind, subject.to_owned(), said.to_owned());
    assert_eq!(
        said,
        [
            line(JournalKind::ClaimNumber, "a.ostel.me", "+155501*"),
            line(JournalKind::ClaimNumber, "b.ostel.me", "+155501*"),
            line(JournalKind::ApproveNumber, "a.ostel.me", "+155501*"),
            line(JournalKind::RejectNumber, "b.ostel.me", "+155501*: taken"),
        ]
    );
}

/// What a delegation gives, nobody has to decide on any more.
#[tokio::test]
async fn enum_77_a_claim_ends_with_the_delegation_that_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    directory.delegate_number(range("+1555019*"), name("c.ostel.me"), false, &admin(), None).await.unwrap();
    let mut approved = None;
    for (what, domain) in [
        ("+155501*", "a.ostel.me"),
        ("+15550101", "a.ostel.me"),
        ("+15550102", "lab.a.ostel.me"),
        ("+15550190", "a.ostel.me"), // inside what c has
        ("+15550101", "b.ostel.me"),
        ("+155502*", "a.ostel.me"),
        ("+15550201", "a.ostel.me"),
    ] {
        let claim = directory.claim_number(range(what), name(domain), &owner(domain), None).await.unwrap();
        if what == "+155502*" {
            approved = Some(claim.id);
        }
    }
    let waiting = |directory: &Directory| -> Vec<String> {
        let claims = directory.number_claims();
        claims.iter().map(|claim| format!("{} {}", claim.range, claim.domain)).collect()
    };
    let by = admin();
    let give = || directory.delegate_number(range("+155501*"), name("a.ostel.me"), true, &by, None);
    backend.fail.store(true, Ordering::Relaxed);
    assert!(matches!(give().await, Err(NumberError::Directory(_))));
    backend.fail.store(false, Ordering::Relaxed);
    assert_eq!(directory.number_claims().len(), 7, "nothing is lost when a write fails");
    give().await.unwrap();
    let left = ["+15550190 a.ostel.me", "+15550101 b.ostel.me", "+155502* a.ostel.me", "+15550201 a.ostel.me"];
    let mut found = waiting(&directory);
    assert_eq!(found.iter().filter(|claim| left.contains(&claim.as_str())).count(), 4, "{found:?}");
    assert_eq!(found.len(), 4, "{found:?}");
    directory.approve_number(&approved.unwrap(), false, &admin(), None).await.unwrap();
    directory.shutdown().await;
    drop((directory, backend));

    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    found = waiting(&directory);
    found.sort();
    assert_eq!(found, ["+15550101 b.ostel.me", "+15550190 a.ostel.me"], "also on the disk");
    let entries = backend.journal(0, 99).unwrap().into_iter();
    let said: Vec<_> = entries.filter(|e| e.kind == JournalKind::RejectNumber).map(|e| e.reason.unwrap()).collect();
    assert_eq!(said.len(), 4);
    for line in
        ["+155501*: delegated as +155501*", "+15550102: delegated as +155501*", "+15550201: delegated as +155502*"]
    {
        assert!(said.iter().any(|said| **said == *line), "{line}: {said:?}");
    }
}

#[tokio::test]
async fn enum_77_a_number_in_a_foreign_block_needs_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    let (a, b) = (owner("a.ostel.me"), owner("b.ostel.me"));
    let give = async |what: &str, to: &str, over_holder, by: &Actor| {
        directory.delegate_number(range(what), name(to), over_holder, by, None).await
    };
    give("+1555*", "a.ostel.me", false, &admin()).await.unwrap();
    assert_eq!(publish(&directory, "a.ostel.me", &["+1555*", "+15550301"]).await, []);
    // Nobody else gives of it, and nobody learns whose it is.
    for (what, by) in [("+15550201", &b), ("+1555*", &a), ("+1*", &a), ("+15550201", &owner("c.ostel.me"))] {
        assert!(matches!(give(what, "b.ostel.me", false, by).await, Err(NumberError::NotHolder)), "{what}");
    }
    let held = give("+15550201", "b.ostel.me", false, &admin()).await;
    assert!(matches!(held, Err(NumberError::Held(domain)) if domain == name("a.ostel.me")));
    assert!(
        matches!(give("+155503*", "b.ostel.me", false, &a).await, Err(NumberError::Overlap(_))),
        "a number is there"
    );
    let given = give("+155502*", "b.ostel.me", false, &a).await.unwrap();
    assert_eq!(given.from, Some(name("a.ostel.me")));
    assert_eq!(give("+155502*", "b.ostel.me", false, &a).await.unwrap(), given, "the same again");
    give("+15550401", "c.ostel.me", true, &admin()).await.unwrap();
    assert_eq!(publish(&directory, "b.ostel.me", &["+15550201", "+15550202"]).await, []);
    assert_eq!(publish(&directory, "c.ostel.me", &["+15550401"]).await, []);
    assert_eq!(publish(&directory, "a.ostel.me", &["+1555*", "+15550302"]).await, [], "comes again");
    // A block over foreign numbers.
    let over = give("+15*", "d.ostel.me", false, &admin()).await;
    assert!(matches!(over, Err(NumberError::Overlap(domain)) if domain == name("a.ostel.me")));
    assert!(matches!(give("+15550202", "d.ostel.me", true, &admin()).await, Err(NumberError::Taken(_))));

    // What was given on is revoked first; then the numbers go from the registration and from DNS at once.
    assert!(matches!(directory.revoke_number(range("+1555*"), &admin()).await, Err(NumberError::InUse(_))));
    let stranger = directory.revoke_number(range("+155502*"), &owner("c.ostel.me")).await;
    assert!(matches!(stranger, Err(NumberError::Unknown)));
    let before = served(&directory, "e164.test");
    let revoked = directory.revoke_number(range("+155502*"), &a).await.unwrap();
    assert_eq!((revoked.domain, revoked.nodes), (name("b.ostel.me"), vec![name("b.ostel.me")]));
    assert_eq!(kept(&directory, "b.ostel.me").await, Vec::<String>::new());
    assert!(served(&directory, "e164.test") > before);
    assert_eq!(directory.live().load().claimant(range("+15550201")), None);
    assert_eq!(publish(&directory, "b.ostel.me", &["+15550201"]).await, unassigned("+15550201"));
    directory.revoke_number(range("+1555*"), &admin()).await.unwrap();
    assert_eq!(kept(&directory, "a.ostel.me").await, Vec::<String>::new());
    assert_eq!(kept(&directory, "c.ostel.me").await, ["+15550401"], "has a delegation of its own");
    let (given, published) = directory.number_holder(range("+15550401"));
    assert_eq!(given.unwrap().domain, name("c.ostel.me"));
    assert_eq!(published, Some((range("+15550401"), name("c.ostel.me"))));
    assert_eq!(directory.number_holder(range("+15559999")), (None, None));
}

#[tokio::test]
async fn enum_77_what_is_held_and_what_was_never_delegated() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Scripted::open(dir.path()).directory(&TestClock::new()).unwrap();
    // An admin's own PUT is an approval too.
    directory.register(numbered("a.ostel.me", &["+15550101"]), Precondition::None, &admin()).await.unwrap();
    assert_eq!(publish(&directory, "a.ostel.me", &["+15550101"]).await, []);
    let reason = Some("test".into());
    let suspend = tandem_store::Action::Suspend;
    directory.act(&name("a.ostel.me"), suspend, reason, Precondition::None, &admin()).await.unwrap();
    // Out of DNS, its numbers are still its own.
    let taken = directory.delegate_number(range("+15550101"), name("b.ostel.me"), true, &admin(), None).await;
    assert!(matches!(taken, Err(NumberError::Taken(_))));
    let around = directory.delegate_number(range("+1555*"), name("b.ostel.me"), true, &admin(), None).await;
    assert!(matches!(around, Err(NumberError::Overlap(_))));
    assert_eq!(directory.numbers(None, 9)[0].node, Some(name("a.ostel.me")));
    let own = directory.revoke_number(range("+15550101"), &owner("a.ostel.me")).await;
    assert!(matches!(own, Err(NumberError::Unknown)), "only an admin takes out what was never delegated");
    directory.revoke_number(range("+15550101"), &admin()).await.unwrap();
    let after = directory.node(&name("a.ostel.me")).await.unwrap().unwrap();
    assert_eq!((after.node.numbers.len(), after.standing.state), (0, NodeState::Suspended));

    // Where claims are free, what nobody has is anybody's; what somebody holds is not.
    directory.set_claim_policy(ClaimPolicy::Free);
    directory.delegate_number(range("+1555*"), name("b.ostel.me"), false, &admin(), None).await.unwrap();
    assert_eq!(publish(&directory, "c.ostel.me", &["+44201"]).await, []);
    assert_eq!(publish(&directory, "d.ostel.me", &["+1*"]).await, [ConflictKind::NumberHeld(name("b.ostel.me"))]);
    assert_eq!(publish(&directory, "d.ostel.me", &["+44201"]).await, [ConflictKind::NumberTaken(name("c.ostel.me"))]);
    assert_eq!(publish(&directory, "d.ostel.me", &["+15550101"]).await, [ConflictKind::NumberHeld(name("b.ostel.me"))]);
    directory.set_claim_policy(ClaimPolicy::Approved);
    assert_eq!(publish(&directory, "c.ostel.me", &["+44201", "+44202"]).await, unassigned("+44202"));
    assert_eq!(publish(&directory, "c.ostel.me", &["+44201"]).await, [], "what it has it keeps");
    assert!(!Actor::new("r", Scope::Read).may(Right::Numbers));
}
