//! When a target is looked at, and what many looks say together: no clock, no sockets.
//!
//! A probe must be no weapon (threat 19): looks are spread over time, a target that fails is looked at less often, one
//! failure says nothing, and when most targets fail at once the fault is ours, and nobody is demoted for it.

use std::time::Duration;

/// Looks in a row that must succeed before a target that was down counts as up: one that flaps stays down.
pub const SUCCESSES: u32 = 2;
/// Fewest targets that were looked at lately, for a judgement on ourselves.
const MIN_SAMPLE: usize = 8;
/// How many times the usual interval a target is left alone at most, when it fails again and again.
const MAX_BACKOFF: u32 = 12;

/// How often targets are looked at, and how many looks decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between looks at a target that is well.
    pub interval: Duration,
    /// Looks in a row that must fail before a target counts as down; at least 2.
    pub failures: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), failures: 3 }
    }
}

/// What is known of one target by the looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    is_down: bool,
    /// Looks in a row that say otherwise than `is_down`.
    against: u32,
    /// Looks in a row that failed.
    failed: u32,
}

impl Health {
    /// Of a target that was known to be down, or not, before we began to look.
    #[must_use]
    pub const fn resumed(is_down: bool) -> Self {
        Self { is_down, against: 0, failed: 0 }
    }

    /// Looks in a row that failed.
    #[must_use]
    pub const fn failed(&self) -> u32 {
        self.failed
    }

    /// Whether one more look like this would make the target go down or come up.
    #[must_use]
    pub const fn is_about_to_change(&self, pace: &Pace) -> bool {
        self.against + 1 >= if self.is_down { SUCCESSES } else { pace.failures }
    }

    /// Whether the target should be tried after others.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        self.is_down
    }

    /// Takes one look into account; whether the target went down or came up by it.
    ///
    /// `by_us`: the failure is one of many at the same time ([`is_our_fault`]), and says nothing about this target.
    pub const fn look(&mut self, pace: &Pace, succeeded: bool, by_us: bool) -> bool {
        if !succeeded && by_us {
            return false;
        }
        self.failed = if succeeded { 0 } else { self.failed.saturating_add(1) };
        if succeeded != self.is_down {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if self.is_down { SUCCESSES } else { pace.failures };
        if self.against < needed {
            return false;
        }
        self.is_down = !self.is_down;
        self.against = 0;
        true
    }

    /// How long to wait until the next look. `chance` in 0..=`u32::MAX` spreads looks by a quarter to either side, so
    /// that targets that were registered together are not looked at together for ever.
    #[must_use]
    pub fn wait(&self, pace: &Pace, chance: u32) -> Duration {
        // The first failures are looked into sooner, so that a target that is gone is known to be in a few minutes.
        let base = match self.failed {
            0 => pace.interval,
            failed if failed < pace.failures => pace.interval / 4,
            failed => pace.interval * (1 << (failed - pace.failures).min(8)).min(MAX_BACKOFF),
        };
        let part = f64::from(chance) / f64::from(u32::MAX);
        base.mul_f64(0.75 + part / 2.0)
    }
}

/// Whether so many failures among the targets that were well mean that our own network is ill: more than `percent` of
/// them, and not just a few.
#[must_use]
pub const fn is_our_fault(looks: usize, failures: usize, percent: u8) -> bool {
    looks >= MIN_SAMPLE && failures * 100 > looks * percent as usize
}

/// The first look at a target: somewhere in the first interval, so that a start looks at nobody all at once.
#[must_use]
pub fn first_wait(interval: Duration, chance: u32) -> Duration {
    interval.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of a target: `+` a look that succeeds, `-` one that fails, `o` one that fails with all others.
    fn states(looks: &str) -> String {
        let mut health = Health::default();
        let state = |look| {
            let was_down = health.is_down();
            let changed = health.look(&Pace::default(), look == '+', look == 'o');
            assert_eq!(changed, was_down != health.is_down());
            if health.is_down() { 'd' } else { 'u' }
        };
        looks.chars().map(state).collect()
    }

    #[test]
    fn several_looks_decide() {
        for (looks, expected) in [
            ("+++", "uuu"),
            ("--+--+", "uuuuuu"),
            ("---", "uud"),
            ("---+", "uudd"),
            ("---++", "uuddu"),
            ("---+-+-++", "uuddddddu"),
            ("oooooo", "uuuuuu"),
            ("--oo-", "uuuud"),
            ("---oo++", "uuddddu"),
        ] {
            assert_eq!(states(looks), expected, "{looks}");
        }
    }

    #[test]
    fn what_fails_is_looked_at_less_often() {
        let mut health = Health::default();
        let middle = u32::MAX / 2;
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(health.wait(&Pace::default(), middle).as_secs_f64().round() as u64);
            health.look(&Pace::default(), false, false);
        }
        assert_eq!(waits, [300, 75, 75, 300, 600, 1200, 2400, 3600, 3600, 3600, 3600, 3600]);
        health.look(&Pace::default(), true, false);
        assert_eq!(health.wait(&Pace::default(), middle).as_secs_f64().round() as u64, 300);
    }

    #[test]
    fn many_failures_at_once_are_ours() {
        for (looks, failures, ours) in [
            (0, 0, false),
            (1, 1, false),
            (7, 7, false),
            (8, 4, false),
            (8, 5, true),
            (100, 50, false),
            (100, 51, true),
        ] {
            assert_eq!(is_our_fault(looks, failures, 50), ours, "{failures} of {looks}");
        }
    }

    proptest! {
        /// However it goes, a target goes down only by three failures in a row, and waits stay within their bounds.
        #[test]
        fn any_history(looks in prop::collection::vec((any::<bool>(), any::<bool>()), 0..60), chance: u32) {
            let pace = Pace::default();
            let mut health = Health::default();
            let mut in_a_row = 0;
            for (succeeded, by_us) in looks {
                let was_down = health.is_down();
                if succeeded || !by_us {
                    in_a_row = if succeeded { 0 } else { in_a_row + 1 };
                }
                health.look(&pace, succeeded, by_us);
                prop_assert!(was_down || !health.is_down() || in_a_row >= pace.failures);
                let wait = health.wait(&pace, chance);
                prop_assert!(wait >= pace.interval / 8 && wait <= pace.interval.mul_f64(15.1), "{wait:?}");
                prop_assert!(first_wait(pace.interval, chance) <= pace.interval);
            }
        }
    }
}
