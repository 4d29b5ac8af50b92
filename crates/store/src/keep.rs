//! Answers that are kept with the change they tell of, for when the same request comes again (API-33, API-34).
//!
//! The change and its answer become durable together, so that a crash in between leaves both or neither (API-T15).

use crate::backend::StoredAnswer;

/// Seconds that an answer is kept (API-32).
pub const KEPT_FOR: u64 = 86_400;

/// Makes the octets that are kept of an answer.
pub type Seal<T> = Box<dyn FnOnce(&T) -> Vec<u8> + Send>;

/// How the answer to a request is kept; `T` is what the request makes.
pub struct Keep<T> {
    /// Who asked what under which key: a hash.
    pub lookup: [u8; 32],
    /// What the request said: a hash.
    pub fingerprint: [u8; 32],
    /// Makes the answer, sealed so that only whoever sends the request again can read it. Runs on the writer's thread.
    pub seal: Seal<T>,
}

impl<T> Keep<T> {
    /// What the store keeps for `made`.
    pub(crate) fn answer(self, made: &T, now: u64) -> StoredAnswer {
        StoredAnswer {
            lookup: self.lookup,
            fingerprint: self.fingerprint,
            sealed: (self.seal)(made),
            expires: now.saturating_add(KEPT_FOR),
        }
    }
}

/// Without contents.
impl<T> std::fmt::Debug for Keep<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}
