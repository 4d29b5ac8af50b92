//! When a member is looked at again, and whether failures are our own. No clock, no sockets.

use std::collections::VecDeque;
use std::time::Duration;

use tandem_probe::schedule::is_our_fault;

/// Wait after a first failure; it doubles with each further one.
pub(super) const RETRY: Duration = Duration::from_secs(30);
/// Looks, at targets that were well, that say how our own network does.
const WINDOW: usize = 32;
/// Share of them in percent that must not fail at once.
const HOLD_PERCENT: u8 = 50;

/// The wait until the next look, after `failed` looks in a row that failed. `chance` below 1024 spreads members over time.
pub(super) fn wait(max_age: Duration, failed: u32, chance: u32) -> Duration {
    // Before a result is too old to count there is time for a second look.
    let longest = max_age / 2;
    let base = match failed.checked_sub(1) {
        None => longest,
        Some(earlier) => (RETRY * (1 << earlier.min(16))).min(longest),
    };
    base + base * chance.min(1023) / 2048
}

/// The latest looks at targets that were well, to tell our own faults from theirs.
#[derive(Debug, Default)]
pub(super) struct OurHealth {
    looks: VecDeque<bool>,
}

impl OurHealth {
    /// Notes one look; whether it failed for want of a connection.
    pub(super) fn note(&mut self, failed: bool) {
        if self.looks.len() == WINDOW {
            self.looks.pop_front();
        }
        self.looks.push_back(failed);
    }

    /// Whether so many fail that the network here is ill, so that failures say nothing of others.
    pub(super) fn is_ill(&self) -> bool {
        is_our_fault(self.looks.len(), self.looks.iter().filter(|failed| **failed).count(), HOLD_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_looked_at_less_often_and_nobody_at_the_same_moment() {
        let hour = Duration::from_secs(3600);
        let waits: Vec<u64> = (0..10).map(|failed| wait(hour, failed, 0).as_secs()).collect();
        assert_eq!(waits, [1800, 30, 60, 120, 240, 480, 960, 1800, 1800, 1800]);
        assert_eq!(wait(hour, 0, 1023).as_secs(), 2699, "before the result is too old");
        assert_eq!(wait(hour, u32::MAX, 0).as_secs(), 1800);
        assert_eq!(wait(Duration::from_secs(60), 1, 0).as_secs(), 30);
    }

    #[test]
    fn many_failures_at_once_are_ours_until_they_end() {
        let mut ours = OurHealth::default();
        (0..7).for_each(|_| ours.note(true));
        assert!(!ours.is_ill(), "a few say nothing");
        ours.note(true);
        assert!(ours.is_ill());
        (0..8).for_each(|_| ours.note(false));
        assert!(!ours.is_ill());
        (0..100).for_each(|_| ours.note(true));
        assert_eq!((ours.is_ill(), ours.looks.len()), (true, WINDOW));
    }
}
