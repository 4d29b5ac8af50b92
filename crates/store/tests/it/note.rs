//! What was found by looking: it changes how a node is shown, and nothing of what it said; and it stays over a restart.

use tandem_model::{Found, Probe, SeenKey};
use tandem_store::Action;
use tandem_store::error::NoteError;
use tandem_store::state::NodeState;
use tandem_zone::{Lookup, QueryName, RrType};

use super::*;

fn probed(domain: &str) -> Node {
    let plain = node(domain, "192.0.2.1");
    let mut parts = NodeParts::new(plain.domain().clone(), plain.targets().to_vec());
    parts.targets.push(Target { host: name("elsewhere.example"), addresses: Vec::new(), ..parts.targets[0].clone() });
    parts.probe = Some(Probe { options: true, tlsa: true });
    Node::new(parts).unwrap()
}

/// The SRV priorities in DNS.
fn priorities(directory: &Directory, domain: &str) -> Vec<u16> {
    let zones = directory.live().load();
    let Lookup::Records(_, set) = zones.lookup(&QueryName::of(&name(&format!("_sips._tcp.{domain}"))), RrType::SRV)
    else {
        return Vec::new();
    };
    let priority = |rdata: tandem_zone::Rdata<'_>| {
        let mut octets = Vec::new();
        rdata.write(&mut octets);
        u16::from_be_bytes([octets[0], octets[1]])
    };
    set.rdatas().map(priority).collect()
}

#[tokio::test]
async fn what_was_found_is_shown_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    let domain = name("a.ostel.me");
    let must = || Precondition::None;
    directory.register(probed("a.ostel.me"), must(), &admin()).await.unwrap();
    directory.register(node("b.ostel.me", "192.0.2.2"), must(), &admin()).await.unwrap();
    assert!(directory.watched().keys().eq([&domain]), "only who asks");
    let before = directory.node(&domain).await.unwrap().unwrap();
    let shown = priorities(&directory, "a.ostel.me");

    let key = SeenKey { sha256: [7; 32], until: None };
    let found = Found::new([1], vec![key]);
    let stale = directory.note(&domain, before.revision + 9, found.clone(), "x".into()).await;
    assert!(matches!(stale, Err(NoteError::Stale)), "{stale:?}");
    let nobody = directory.note(&name("c.ostel.me"), 1, found.clone(), "x".into()).await;
    assert!(matches!(nobody, Err(NoteError::NotFound)), "{nobody:?}");
    assert!(directory.note(&domain, before.revision, found.clone(), "é".repeat(300).into()).await.unwrap());
    assert!(!directory.note(&domain, before.revision, found.clone(), "x".into()).await.unwrap(), "known already");
    let demoted = vec![shown[0], shown[1] + 10_000];
    assert_eq!(priorities(&directory, "a.ostel.me"), demoted);
    let entries = backend.journal(0, 100).unwrap();
    let last = entries.last().unwrap();
    assert_eq!((last.kind.as_str(), last.by.as_deref()), ("probe", Some("prober")));
    assert_eq!(last.reason.as_ref().unwrap().len(), 200);
    let after = directory.node(&domain).await.unwrap().unwrap();
    assert_eq!((after.revision, after.updated), (before.revision, before.updated), "nobody edited it");

    // The same document again has no effect; an action does not undo it, and neither does an import.
    let again = directory.register(probed("a.ostel.me"), must(), &admin()).await.unwrap();
    assert_eq!(again.effect, tandem_store::Effect::Unchanged);
    directory.act(&domain, Action::Suspend, None, must(), &admin()).await.unwrap();
    assert!(directory.watched().is_empty(), "who is in no zone is not looked at");
    directory.act(&domain, Action::Restore, None, must(), &admin()).await.unwrap();
    let import = tandem_store::ImportNode::new(probed("a.ostel.me"), &directory.live().load());
    let imported = directory.import(vec![import], &admin()).await.unwrap();
    assert_eq!(imported.outcomes, [Ok(tandem_store::Effect::Unchanged)]);
    directory.settle().await.unwrap();
    assert_eq!(priorities(&directory, "a.ostel.me"), demoted);
    drop((directory, backend));

    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    assert_eq!(priorities(&directory, "a.ostel.me"), demoted);
    let kept = directory.node(&domain).await.unwrap().unwrap();
    assert_eq!((kept.standing.state, &kept.node.found), (NodeState::Active, &found));
    assert!(directory.watched().keys().eq([&domain]));
    // Who does not ask any more is as it says.
    let mut plain = probed("a.ostel.me");
    plain.probe = None;
    directory.register(plain, must(), &admin()).await.unwrap();
    assert_eq!(priorities(&directory, "a.ostel.me"), shown);
    assert!(directory.watched().is_empty());
}
