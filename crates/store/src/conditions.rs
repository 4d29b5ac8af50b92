//! What a directory takes from its surroundings: [`Conditions`].

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::identity::KEY_RESET_SECONDS;
use crate::lease::LeaseTimes;

/// Gives seconds, since 1970 or from another beginning.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The clocks, and how long registrations live.
#[derive(Clone)]
pub struct Conditions {
    /// The time of day; a person may set it.
    pub clock: Clock,
    /// Seconds from any beginning, which nobody sets: by it a jump of the other clock is seen.
    pub monotonic: Clock,
    /// How long registrations live.
    pub leases: LeaseTimes,
    /// Seconds from the reset of a node's key until another may sign.
    pub key_reset_seconds: u32,
    /// Whether leases are looked at every second; otherwise only `Directory::walk_leases` does.
    pub walks: bool,
}

impl Default for Conditions {
    /// The system's clocks, the default times.
    fn default() -> Self {
        let begin = Instant::now();
        Self {
            // A clock before 1970 counts as 1970.
            clock: Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
            monotonic: Arc::new(move || begin.elapsed().as_secs()),
            leases: LeaseTimes::default(),
            key_reset_seconds: KEY_RESET_SECONDS,
            walks: true,
        }
    }
}

impl From<Clock> for Conditions {
    /// A clock that never jumps, and leases that are looked at when asked.
    fn from(clock: Clock) -> Self {
        Self {
            monotonic: Arc::clone(&clock),
            clock,
            leases: LeaseTimes::default(),
            key_reset_seconds: KEY_RESET_SECONDS,
            walks: false,
        }
    }
}

impl std::fmt::Debug for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conditions").field("leases", &self.leases).finish_non_exhaustive()
    }
}
