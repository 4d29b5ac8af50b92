//! What an overlay has done since its start: numbers only, never who asked, nor what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an [`Overlay`](super::Overlay) has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answers from members' documents.
    pub members: u64,
    /// Answers that there is nothing, because the member must not be called.
    pub blocked: u64,
    /// Answers that an upstream gave.
    pub forwarded: u64,
    /// SERVFAIL because no upstream answered in time.
    pub failed: u64,
    /// SERVFAIL because too many questions waited already.
    pub crowded_out: u64,
    /// Clients that were turned away for where they are.
    pub refused: u64,
    /// Answers with another error: messages that are not understood, or not for an overlay.
    pub errors: u64,
    /// Messages that got no answer: responses, and what is shorter than a header.
    pub ignored: u64,
    /// Questions sent to an upstream again, or to the next one.
    pub retried: u64,
    /// Messages that came to a question's port and were no answer to it: forged, most likely.
    pub foreign: u64,
    /// Answers that the system did not take, or a TCP client did not read in time.
    pub not_sent: u64,
}

macro_rules! counters {
    ($($field:ident),*) => {
        /// The shared form of [`Stats`].
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $field: AtomicU64,)*
        }

        impl Counters {
            /// The numbers of now.
            pub(super) fn load(&self) -> Stats {
                Stats { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters!(members, blocked, forwarded, failed, crowded_out, refused, errors, ignored, retried, foreign, not_sent);

/// Reads what an [`Overlay`](super::Overlay) counts, at any time and from anywhere; after its end, what it had counted.
#[derive(Debug, Clone)]
pub struct StatsReader(pub(super) Arc<Counters>);

impl StatsReader {
    /// The numbers of now. Takes no lock.
    #[must_use]
    pub fn read(&self) -> Stats {
        self.0.load()
    }
}

/// Counts one, or `more`.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    if more > 0 {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}
