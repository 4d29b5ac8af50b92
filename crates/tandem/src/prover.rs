//! The prover: looks at the domains that people prove, sees to it that proofs are seen again before they end, and does what
//! follows when one was not (API-62 to API-68).
//!
//! One task. What is due, and when, is `schedule`; a look at a domain is `look`, so many at a time; what becomes of nodes
//! whose proof has ended is `lapse`. Everything that matters is in the store: after a restart it begins where that says.

mod lapse;
mod look;
mod schedule;

use std::collections::HashSet;
use std::time::Duration;

use tandem_api::ProofRule;
use tandem_store::proof::{CHALLENGE_LIFE, PROOF_LIFE};
use tandem_store::{Directory, Proof, ProofId, ProofOutcome, ProofProgress, ProofState};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use self::look::{Looker, Miss};
use crate::config::Config;

/// Looks at a time: each is a few questions to servers of strangers.
const MAX_LOOKS: usize = 8;
/// Longest time between two turns, in seconds.
const TURN: u64 = 30;
/// Seconds between two looks at the nodes of proofs that have ended.
const LAPSE_PAUSE: u64 = 3600;

/// The running prover; dropping stops it.
#[derive(Debug)]
pub(crate) struct ProverTask(Option<JoinHandle<()>>);

impl ProverTask {
    /// Starts it, unless proofs are switched off.
    pub(crate) fn start(directory: &Directory, config: &Config) -> Self {
        if config.proofs.rule == ProofRule::Off {
            return Self(None);
        }
        let looker = Looker::new(config);
        let prover = Prover::new(directory.clone(), looker, config.proofs.rule);
        Self(Some(tokio::spawn(prover.run())))
    }
}

impl Drop for ProverTask {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// What a look came to.
type Looked = (Proof, Result<(), Miss>);

/// The work.
struct Prover {
    directory: Directory,
    looker: Looker,
    rule: ProofRule,
    looks: JoinSet<Looked>,
    /// Those that are being looked at.
    busy: HashSet<ProofId>,
    /// When to look at the nodes of ended proofs again, in seconds since 1970.
    next_lapse: u64,
}

impl Prover {
    fn new(directory: Directory, looker: Looker, rule: ProofRule) -> Self {
        Self { directory, looker, rule, looks: JoinSet::new(), busy: HashSet::new(), next_lapse: 0 }
    }

    async fn run(mut self) {
        loop {
            let wait = self.turn().await;
            tokio::select! {
                // Where all places are taken, what is due waits for one of them.
                Some(looked) = self.looks.join_next() => {
                    if let Ok(looked) = looked {
                        self.settle(looked).await;
                    }
                }
                () = self.directory.proof_work() => {}
                () = sleep(Duration::from_secs(wait)) => {}
            }
        }
    }

    /// Does what time demands, and begins the looks that are due; seconds until the next turn.
    async fn turn(&mut self) -> u64 {
        let now = self.directory.now();
        let mut due = Vec::new();
        let mut next = now + TURN;
        for (proof, progress) in self.directory.proofs() {
            if let Some(outcome) = schedule::by_time(&proof, &progress, now) {
                let outcome = self.judge(&proof, outcome).await;
                self.note(&proof, outcome).await;
                continue;
            }
            match schedule::next_look(&proof, &progress) {
                Some(at) if at <= now => due.push((progress.tries, at, proof)),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        // Who was not looked at yet comes first: nobody keeps newcomers out with names that never answer.
        due.sort_by_key(|(tries, at, ..)| (*tries, *at));
        for (.., proof) in due {
            if self.looks.len() == MAX_LOOKS {
                break;
            }
            if self.busy.insert(proof.id.clone()) {
                let looker = self.looker.clone();
                self.looks.spawn(async move {
                    let result = looker.look(&proof).await;
                    (proof, result)
                });
            }
        }
        if now >= self.next_lapse || self.next_lapse > now + LAPSE_PAUSE {
            self.next_lapse = now + LAPSE_PAUSE;
            self.follow_ended().await;
        }
        next.saturating_sub(now).clamp(1, TURN)
    }

    /// Notes what a look came to.
    async fn settle(&mut self, (proof, result): Looked) {
        self.busy.remove(&proof.id);
        let now = self.directory.now();
        match result {
            Ok(()) => {
                self.note(&proof, ProofOutcome::Seen { valid_until: now + PROOF_LIFE }).await;
                // Whoever was demoted for want of this comes back at once.
                if proof.state != ProofState::Pending {
                    self.give_back().await;
                }
            }
            Err(miss) => {
                let known = self.directory.proofs_of(&proof.id.domain, &proof.id.key);
                let tries =
                    known.iter().find(|(one, _)| one.id == proof.id).map_or(0, |(_, progress)| progress.tries) + 1;
                debug!(domain = %proof.id.domain, tries, why = miss.why, "not proved yet");
                let is_over = !miss.passing || tries >= schedule::MAX_TRIES || !proof.is_open(now);
                if proof.state == ProofState::Pending && is_over {
                    self.note(&proof, ProofOutcome::Failed(miss.why.into())).await;
                    return;
                }
                let next = schedule::after_miss(&proof, tries, now);
                let progress = ProofProgress { tries, next: Some(next), failure: Some(miss.why.into()) };
                self.directory.note_proof(&proof, progress);
            }
        }
    }

    async fn note(&self, proof: &Proof, outcome: ProofOutcome) {
        let (domain, key, method) = (&proof.id.domain, &proof.id.key, proof.id.method.as_str());
        match self.directory.settle_proof(&proof.id, outcome.clone(), None).await {
            Ok(_) if matches!(outcome, ProofOutcome::Forgotten | ProofOutcome::Failed(_)) => {
                debug!(%domain, %key, method, ?outcome, "proof settled");
            }
            Ok(_) => info!(%domain, %key, method, ?outcome, rule = "API-68", "proof settled"),
            // The next turn finds it as it was.
            Err(error) => warn!(%domain, %error, "a proof could not be noted"),
        }
    }
}

/// Seconds after which an attempt that came to nothing is forgotten.
const FORGET_ATTEMPT: u64 = CHALLENGE_LIFE;

#[cfg(test)]
mod tests;
