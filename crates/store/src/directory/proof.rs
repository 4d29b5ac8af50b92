//! The part of [`Directory`] about proofs of domains.

use tandem_model::DomainName;

use super::{COMMIT_WAIT, Directory};
use crate::proof::{Proof, ProofError, ProofId, ProofOutcome, ProofProgress};
use crate::token::{Actor, Origin};
use crate::writer::Command;
use crate::writer::proof::ProofCommand;

impl Directory {
    /// Begins to prove a domain: makes a challenge, or gives the one that is open. `by` is `None` for a stranger.
    ///
    /// # Errors
    ///
    /// [`ProofError::Full`], or [`ProofError::Directory`] when it could not be written.
    pub async fn begin_proof(&self, id: ProofId, by: Option<&Actor>) -> Result<Proof, ProofError> {
        let by = by.map(|by| by.token_id.clone());
        self.inner.ask(COMMIT_WAIT, |answer| Command::Proof(ProofCommand::Begin { id, by, answer })).await
    }

    /// Notes what came of looking at a proof, or of time. `None` when that means nothing in its state.
    ///
    /// # Errors
    ///
    /// [`ProofError::Unknown`] if there is none, [`ProofError::Directory`] when it could not be written.
    pub async fn settle_proof(
        &self,
        id: &ProofId,
        outcome: ProofOutcome,
        by: Option<&Actor>,
    ) -> Result<Option<Proof>, ProofError> {
        let (id, by) = (id.clone(), by.map(|by| by.token_id.clone()));
        self.inner.ask(COMMIT_WAIT, |answer| Command::Proof(ProofCommand::Settle { id, outcome, by, answer })).await
    }

    /// Notes how far looking at a proof has come; nothing if it is not `seen_as` any more.
    pub fn note_proof(&self, seen_as: &Proof, progress: ProofProgress) {
        self.inner.proofs.note(seen_as, progress);
    }

    /// Has a proof looked at as soon as there is a turn.
    pub fn hurry_proof(&self, proof: &Proof) {
        self.inner.proofs.note(proof, ProofProgress { next: Some(0), ..ProofProgress::default() });
        self.inner.proof_work.notify_one();
    }

    /// Ends when a proof has changed, or is to be looked at, since the last call. For the one prover.
    pub async fn proof_work(&self) {
        self.inner.proof_work.notified().await;
    }

    /// The proofs, and attempts, of one domain with one key, in the order of their methods.
    #[must_use]
    pub fn proofs_of(&self, domain: &DomainName, key: &str) -> Vec<(Proof, ProofProgress)> {
        self.inner.proofs.of(domain, key)
    }

    /// All proofs and attempts, in the order of their ids.
    #[must_use]
    pub fn proofs(&self) -> Vec<(Proof, ProofProgress)> {
        self.inner.proofs.all()
    }

    /// Whether the owner of `name`, or of a name above it, has named `key`, and that holds now (API-69).
    #[must_use]
    pub fn is_proved(&self, name: &DomainName, key: &str) -> bool {
        self.inner.proofs.covers(name, key, (self.inner.clock)())
    }

    /// Whether an admin vouches for whoever publishes `name`: there is a token for it that an admin made, that was invited,
    /// or whose first publication an admin has to approve.
    #[must_use]
    pub fn is_vouched_for(&self, name: &DomainName) -> bool {
        let vouched = |token: &crate::token::TokenInfo| token.origin != Origin::Registration || token.moderated;
        self.inner.keyring.any((self.inner.clock)(), |token| {
            vouched(token) && token.scope.names().iter().any(|scope| name.is_at_or_below(scope))
        })
    }
}
