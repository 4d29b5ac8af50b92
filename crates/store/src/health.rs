//! Whether the store takes writes: what the last commit or probe said, and for how long that holds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a write that succeeded says that the next one will: so often, at most, a probe is written.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// How long a failure is believed: short, so that a disk with room again is noticed soon.
const BAD_FOR: Duration = Duration::from_secs(1);

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<(bool, Instant)>>);

impl Health {
    /// A write succeeded, or failed.
    pub(crate) fn learn(&self, writable: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((writable, Instant::now()));
    }

    /// What still holds; `None` when it is time to find out.
    pub(crate) fn known(&self) -> Option<bool> {
        let (writable, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let holds = if writable { GOOD_FOR } else { BAD_FOR };
        (at.elapsed() < holds).then_some(writable)
    }
}
