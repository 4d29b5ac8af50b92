//! The writer's part in proofs of domains. Each change is a commit of its own, and then known to the table in memory.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Answer, Writer, storage};
use crate::backend::{Act, Backend};
use crate::error::DirectoryError;
use crate::proof::{MAX_PROOFS, Proof, ProofError, ProofEvent, ProofId, ProofOutcome, ProofState};

/// Octets of randomness of a challenge's token: twice the 128 bits of RFC 8555 11.3 (API-60).
const TOKEN_OCTETS: usize = 32;

/// What the writer is asked to do with proofs.
#[derive(Debug)]
pub(crate) enum ProofCommand {
    /// Make a challenge, or give the one that is open.
    Begin { id: ProofId, by: Option<String>, answer: Answer<Proof, ProofError> },
    /// Note what came of a look, or of time; `None` when that changed nothing.
    Settle { id: ProofId, outcome: ProofOutcome, by: Option<String>, answer: Answer<Option<Proof>, ProofError> },
}

impl<B: Backend + ?Sized> Writer<B> {
    /// Does what is asked and answers. Nothing must be staged.
    pub(super) fn proof(&mut self, command: ProofCommand) {
        match command {
            ProofCommand::Begin { answer, .. } if answer.is_closed() => {}
            ProofCommand::Begin { id, by, answer } => {
                let _ = answer.send(self.begin_proof(id, by));
            }
            ProofCommand::Settle { id, outcome, by, answer } => {
                let _ = answer.send(self.settle_proof(&id, &outcome, by));
            }
        }
    }

    fn begin_proof(&mut self, id: ProofId, by: Option<String>) -> Result<Proof, ProofError> {
        let now = (self.clock)();
        let there = self.proofs.find(&id);
        // Asking again is looking again, not another challenge: the answer to this one may be on its way.
        let is_asked = |proof: &&Proof| match proof.state {
            ProofState::Pending | ProofState::Valid | ProofState::Expired => proof.is_open(now),
            ProofState::Revoked => proof.is_open(now) && proof.begun > proof.since,
            ProofState::Invalid => false,
        };
        if let Some(open) = there.as_ref().filter(is_asked) {
            return Ok(open.clone());
        }
        let mut acts = Vec::new();
        if there.is_none() && self.proofs.len() >= MAX_PROOFS {
            let idle = |proof: &Proof| matches!(proof.state, ProofState::Pending | ProofState::Invalid);
            let oldest = self.proofs.all().into_iter().map(|(proof, _)| proof).filter(idle).min_by_key(|p| p.since);
            acts.push((Act::DropProof(oldest.ok_or(ProofError::Full)?.id), None));
        }
        let mut random = [0; TOKEN_OCTETS];
        getrandom::fill(&mut random).map_err(|error| DirectoryError::Storage(error.to_string().into()))?;
        let token = URL_SAFE_NO_PAD.encode(random).into();
        let proof = match there {
            // A new challenge takes nothing away from what holds, or from the time that is left after a lapse.
            Some(held) if held.state == ProofState::Valid || held.state.has_lapsed() => {
                Proof { token, begun: now.max(held.since + 1), ..held }
            }
            Some(_) | None => Proof {
                id,
                state: ProofState::Pending,
                token,
                begun: now,
                since: now,
                seen: None,
                valid_until: None,
                warnings: 0,
                failure: None,
            },
        };
        acts.push((Act::KeepProof { proof: proof.clone(), event: ProofEvent::Begun }, by));
        self.commit_proofs(now, acts)?;
        Ok(proof)
    }

    fn settle_proof(
        &mut self,
        id: &ProofId,
        outcome: &ProofOutcome,
        by: Option<String>,
    ) -> Result<Option<Proof>, ProofError> {
        let now = (self.clock)();
        let there = self.proofs.find(id).ok_or(ProofError::Unknown)?;
        if *outcome == ProofOutcome::Forgotten {
            self.commit_proofs(now, vec![(Act::DropProof(id.clone()), by)])?;
            return Ok(Some(there));
        }
        let Some(proof) = there.after(outcome, now) else { return Ok(None) };
        let event = match outcome {
            ProofOutcome::Seen { .. } => ProofEvent::Seen,
            ProofOutcome::Failed(_) => ProofEvent::Failed,
            ProofOutcome::Lapsing(_) => ProofEvent::Lapsing,
            ProofOutcome::Expired => ProofEvent::Expired,
            ProofOutcome::Revoked(_) | ProofOutcome::Forgotten => ProofEvent::Revoked,
        };
        self.commit_proofs(now, vec![(Act::KeepProof { proof: proof.clone(), event }, by)])?;
        Ok(Some(proof))
    }

    /// Makes acts durable together, and then known to the table.
    fn commit_proofs(&mut self, now: u64, acts: Vec<(Act, Option<String>)>) -> Result<(), DirectoryError> {
        let kept: Vec<Act> = acts.iter().map(|(act, _)| act.clone()).collect();
        let steps = self.steps(acts);
        let serial = steps.last().map_or(self.serial, |step| step.serial);
        self.commit(serial, now, steps, Vec::new(), Vec::new())
            .map_err(|error| storage(&std::sync::Arc::new(error)))?;
        for act in kept {
            if let Act::KeepProof { proof, .. } = act {
                self.proofs.put(proof);
            } else if let Act::DropProof(id) = act {
                self.proofs.remove(&id);
            }
        }
        self.last.send_replace(self.serial);
        self.proof_work.notify_one();
        Ok(())
    }
}
