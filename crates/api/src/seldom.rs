//! Log lines that clients could cause without end: one a minute, with the number of those left out.

use std::time::{Duration, Instant};

/// Shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// When something was said last, and how often it happened since.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// Counts once more; when it is time for a line, how often it happened since the last one.
    pub(crate) fn count(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| now.duration_since(said) < PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute() {
        let start = Instant::now();
        let mut seldom = Seldom::default();
        let lines: Vec<_> = (0..1500).filter_map(|n| seldom.count(start + n * Duration::from_millis(100))).collect();
        assert_eq!(lines, [1, 600, 600], "150 seconds, ten a second");
    }
}
