//! Whom a change of a node concerns: its operator, as the registration says. For webhooks and mail.

use tandem_model::{DomainName, Node};
use tandem_store::Directory;
use tandem_store::backend::{JournalEntry, JournalKind};

/// The contact of the node that `entry` is about: that of its document, or of the node's present one where the entry has none,
/// as with proofs. `None` if there is none, or the entry is about something else. At most one look into the store.
pub(crate) async fn of(directory: &Directory, entry: &JournalEntry) -> Option<Box<str>> {
    let contact = |node: &Node| node.contact.clone();
    match (entry.after.as_ref().or(entry.before.as_ref()), entry.kind) {
        (Some(node), _) => contact(node),
        (
            None,
            JournalKind::ChangeState
            | JournalKind::ResetKey
            | JournalKind::ProofValid
            | JournalKind::ProofLapsing
            | JournalKind::ProofExpired
            | JournalKind::ProofRevoked,
        ) => {
            let domain: DomainName = entry.subject.parse().ok()?;
            directory.node(&domain).await.ok()?.as_ref().and_then(|there| contact(&there.node))
        }
        // Gone, or no node.
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tandem_model::{NodeParts, Target};
    use tandem_store::{Actor, Clock, Precondition, ProofId, ProofMethod, ProofOutcome, ProofState, SqliteBackend};
    use tandem_zone::Settings;

    use super::*;

    /// A proof is about a node, and so is its end; its entry of the journal has no document.
    #[tokio::test(flavor = "multi_thread")]
    async fn proofs_concern_the_node_of_their_domain() {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            Settings { peers_zone: Some("peers.test".parse().unwrap()), policy_zone: None, number_zone: None };
        let clock: Clock = Arc::new(|| 1_790_000_000);
        let backend = Arc::new(SqliteBackend::open(dir.path()).unwrap());
        let text = b"@ 60 IN SOA ns1 hostmaster 1 3600 600 604800 30\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.53\n";
        let apex = "peers.test".parse().unwrap();
        let zone = tandem_zone::master::StaticZone::read(&apex, "z", text, &mut |_| Err("none".into())).unwrap();
        let directory = Directory::open_with(backend, dir.path(), settings, vec![zone], clock).unwrap();
        let domain: DomainName = "example.org".parse().unwrap();
        let target = Target {
            host: "sip.example.org".parse().unwrap(),
            port: 5061.try_into().unwrap(),
            priority: 0,
            weight: 0,
            addresses: vec!["203.0.113.7".parse().unwrap()],
        };
        let parts = NodeParts { contact: Some("ann".into()), ..NodeParts::new(domain.clone(), vec![target]) };
        let id = ProofId { domain: domain.clone(), key: "k".into(), method: ProofMethod::Dns };
        directory.begin_proof(id.clone(), None).await.unwrap();
        let seen = ProofOutcome::Seen { valid_until: 1_790_086_400 };
        let proof = directory.settle_proof(&id, seen, None).await.unwrap().unwrap();
        assert_eq!(proof.state, ProofState::Valid);
        let admin = Actor::directory();
        let last = |after| directory.journal(after, 9);
        let before = last(0).await.unwrap();
        assert_eq!(of(&directory, before.last().unwrap()).await, None, "no node yet");

        let node = Node::new(parts).unwrap();
        directory.register(node, Precondition::None, &admin).await.unwrap();
        directory.settle_proof(&id, ProofOutcome::Lapsing("no record".into()), None).await.unwrap();
        let told = last(before.last().unwrap().serial).await.unwrap();
        let kinds: Vec<_> = told.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [JournalKind::Register, JournalKind::ProofLapsing]);
        for entry in &told {
            assert_eq!(of(&directory, entry).await.as_deref(), Some("ann"), "{:?}", entry.kind);
        }
        directory.settle_proof(&id, ProofOutcome::Forgotten, None).await.unwrap();
        let dropped = last(told.last().unwrap().serial).await.unwrap();
        assert_eq!(of(&directory, &dropped[0]).await, None, "nobody is told of that");
    }
}
