//! How long the journal is kept, and when what is older goes: a little at a time, while nobody waits for the writer.

use std::sync::atomic::{AtomicU64, Ordering};

use tandem_zone::MAX_VERSIONS;

use crate::backend::{Backend, BackendError};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// How long entries are kept unless something else is asked for.
const DEFAULT_DAYS: u64 = 90;

/// The newest entries stay however old they are: from them come the differences for secondaries after a restart.
const ALWAYS: usize = MAX_VERSIONS;

/// Entries that go in one transaction: a change that comes meanwhile waits for one, a few milliseconds.
const AT_A_TIME: usize = 256;

/// Seconds between looks when nothing is old enough.
const PAUSE: u64 = 60;

/// What the writer and its callers know of the journal's length.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// Seconds that an entry is kept.
    seconds: AtomicU64,
    /// When to look again, in seconds since 1970.
    next_look: AtomicU64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { seconds: AtomicU64::new(DEFAULT_DAYS * DAY), next_look: AtomicU64::new(0) }
    }
}

impl Keeping {
    /// Keeps entries for so many days from now on.
    pub(crate) fn keep(&self, days: u64) {
        self.seconds.store(days.saturating_mul(DAY), Ordering::Relaxed);
        self.next_look.store(0, Ordering::Relaxed);
    }

    /// Whether there may be entries to forget at `now`, in seconds since 1970.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let next = self.next_look.load(Ordering::Relaxed);
        // A clock that was set back must not stop this for good.
        now >= next || next > now.saturating_add(PAUSE)
    }

    /// Forgets a few entries; how many.
    pub(crate) fn trim<B: Backend + ?Sized>(&self, backend: &B, now: u64) -> Result<usize, BackendError> {
        let before = now.saturating_sub(self.seconds.load(Ordering::Relaxed));
        let gone = backend.trim_journal(before, ALWAYS, AT_A_TIME);
        if !matches!(gone, Ok(1..)) {
            self.next_look.store(now.saturating_add(PAUSE), Ordering::Relaxed);
        }
        gone
    }
}
