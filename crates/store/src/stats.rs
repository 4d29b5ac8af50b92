//! Counters of what the writer did: numbers only, for the metrics (API-84).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::JournalKind;

/// Upper bounds of the buckets of [`StoreStats::commit_seconds`], in microseconds: from a battery-backed disk's sync to
/// one that hangs.
const COMMIT_BOUNDS: [u64; 11] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// What a store has done since it was opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreStats {
    /// Changes made, by the journal's word for them: `register`, `issue-token`, ….
    pub changes: Vec<(&'static str, u64)>,
    /// Commits that failed; their changes were refused.
    pub failed_commits: u64,
    /// Versions published to DNS.
    pub versions: u64,
    /// Reloads of the static zones that were refused.
    pub refused_reloads: u64,
    /// How long commits took to be durable.
    pub commit_seconds: Histogram,
}

/// How often something took how long.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound in seconds, and how many took no longer: cumulative.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long all of them took, in seconds.
    pub sum: f64,
}

/// The shared form of [`StoreStats`]: the writer counts, anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// In the order of [`JournalKind::ALL`].
    changes: [AtomicU64; JournalKind::ALL.len()],
    failed_commits: AtomicU64,
    versions: AtomicU64,
    refused_reloads: AtomicU64,
    commits: [AtomicU64; COMMIT_BOUNDS.len() + 1],
    commit_micros: AtomicU64,
}

impl Counters {
    /// A change of this kind is durable.
    pub(crate) fn changed(&self, kind: JournalKind) {
        if let Some(index) = JournalKind::ALL.iter().position(|known| *known == kind) {
            add(&self.changes[index], 1);
        }
    }

    /// A commit ended after `took`.
    pub(crate) fn committed(&self, took: Duration, durable: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(COMMIT_BOUNDS.len());
        add(&self.commits[bucket], 1);
        add(&self.commit_micros, micros);
        if !durable {
            add(&self.failed_commits, 1);
        }
    }

    /// A version was published.
    pub(crate) fn published(&self) {
        add(&self.versions, 1);
    }

    /// A reload was refused.
    pub(crate) fn refused_reload(&self) {
        add(&self.refused_reloads, 1);
    }

    /// The numbers now.
    pub(crate) fn read(&self) -> StoreStats {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(COMMIT_BOUNDS.len());
        for (index, commits) in self.commits.iter().enumerate() {
            count += get(commits);
            if let Some(bound) = COMMIT_BOUNDS.get(index) {
                buckets.push((seconds(*bound), count));
            }
        }
        StoreStats {
            changes: JournalKind::ALL.into_iter().map(JournalKind::as_str).zip(self.changes.iter().map(get)).collect(),
            failed_commits: get(&self.failed_commits),
            versions: get(&self.versions),
            refused_reloads: get(&self.refused_reloads),
            commit_seconds: Histogram { buckets, count, sum: seconds(get(&self.commit_micros)) },
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_by_kind() {
        let counters = Counters::default();
        counters.changed(JournalKind::Deregister);
        let counted: Vec<_> = counters.read().changes.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("deregister", 1)]);
    }

    #[test]
    fn buckets_are_cumulative() {
        let counters = Counters::default();
        for (micros, durable) in [(400, true), (500, true), (3_000, true), (9_000_000, false)] {
            counters.committed(Duration::from_micros(micros), durable);
        }
        let stats = counters.read();
        let commits = stats.commit_seconds;
        assert_eq!((commits.count, stats.failed_commits), (4, 1));
        assert_eq!(commits.buckets[0], (0.0005, 2));
        assert_eq!(commits.buckets[3], (0.005, 3));
        assert_eq!(commits.buckets[COMMIT_BOUNDS.len() - 1], (5.0, 3), "what took longer is in the count only");
        assert!((commits.sum - 9.0039).abs() < 1e-9);
    }
}
