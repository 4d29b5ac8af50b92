//! The change feed's middle: reads the journal once for all who follow it, and keeps the last changes ready to send.
//!
//! The store's writer only sets a number when changes are durable; it knows no listener. One task here reads what they were
//! and wakes the listeners, each of which has its own place in the journal: what is not kept here it reads there. So a slow
//! one holds up nobody, and what a listener costs does not depend on how far behind it is. Nothing is read while nobody listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tandem_store::backend::JournalEntry;
use tandem_store::{Directory, ReadError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::connection::drained;
use crate::problem::Problem;
use crate::v1::change::NodeChangeBody;

/// Changes kept ready to send.
const KEPT: usize = 1024;
/// Entries of the journal that are read at a time.
pub(crate) const PAGE: usize = 64;

/// What all listeners share.
#[derive(Debug)]
pub(crate) struct Feed {
    directory: Directory,
    kept: Mutex<Kept>,
    /// The last serial that may be looked for.
    told: watch::Sender<u64>,
    listeners: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
}

/// A stretch of the journal without gaps: all behind `from`, up to `to`.
#[derive(Debug)]
struct Kept {
    from: u64,
    to: u64,
    changes: VecDeque<(u64, Bytes)>,
}

/// What there is behind a place in the journal.
#[derive(Debug)]
pub(crate) enum Behind {
    /// These, as server-sent events; then go on from the place given.
    Changes(Vec<Bytes>, u64),
    /// Nothing yet.
    Nothing,
    /// More than is kept: the journal has it.
    InTheJournal,
}

impl Feed {
    /// For at most `most` listeners, until `closing` turns true.
    pub(crate) fn new(directory: Directory, most: usize, closing: watch::Receiver<bool>) -> Self {
        let last = *directory.changes().borrow();
        let kept = Mutex::new(Kept { from: last, to: last, changes: VecDeque::new() });
        let (told, _) = watch::channel(last);
        Self { directory, kept, told, listeners: Arc::new(Semaphore::new(most)), closing }
    }

    /// Reads on whenever changes are durable, until the store or the API ends.
    pub(crate) async fn run(&self) {
        let mut changes = self.directory.changes();
        let mut closing = self.closing.clone();
        loop {
            let last = *changes.borrow_and_update();
            if self.told.receiver_count() == 0 {
                self.kept().reset(last);
            } else if let Err(error) = self.read_up_to(last).await {
                // The listeners try by themselves, and end if they cannot.
                tracing::warn!(%error, "the journal could not be read for the change feed");
                self.kept().reset(last);
            }
            self.told.send_replace(last);
            tokio::select! {
                () = drained(&mut closing) => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn read_up_to(&self, last: u64) -> Result<(), ReadError> {
        loop {
            let from = self.kept().to;
            if from >= last {
                return Ok(());
            }
            let entries = self.directory.journal(from, PAGE).await?;
            let mut kept = self.kept();
            kept.to = entries.last().map_or(last, |entry| entry.serial);
            for entry in &entries {
                let Some(text) = event(entry) else { continue };
                if kept.changes.len() == KEPT
                    && let Some((serial, _)) = kept.changes.pop_front()
                {
                    kept.from = serial;
                }
                kept.changes.push_back((entry.serial, text));
            }
        }
    }

    /// A place among the listeners.
    ///
    /// # Errors
    ///
    /// 503 when there is none.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let full = |_| Problem::unavailable("As many as possible are following the changes: try again.");
        Arc::clone(&self.listeners).try_acquire_owned().map_err(full)
    }

    /// How many follow the changes now.
    pub(crate) fn listener_count(&self) -> usize {
        self.told.receiver_count()
    }

    /// Tells when there may be something new.
    pub(crate) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// Tells when the API ends.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    /// What is kept behind `place`.
    pub(crate) fn behind(&self, place: u64) -> Behind {
        let kept = self.kept();
        if place < kept.from {
            return Behind::InTheJournal;
        }
        if place >= kept.to {
            return Behind::Nothing;
        }
        let first = kept.changes.partition_point(|(serial, _)| *serial <= place);
        Behind::Changes(kept.changes.range(first..).map(|(_, text)| text.clone()).collect(), kept.to)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whole between any two statements that could panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn reset(&mut self, to: u64) {
        *self = Self { from: to, to, changes: VecDeque::new() };
    }
}

/// A change as a server-sent event: `id`, `event`, `data` in one line (API-50).
pub(crate) fn event(entry: &JournalEntry) -> Option<Bytes> {
    let change = NodeChangeBody::public(entry)?;
    // JSON has no line breaks of its own, and none in strings.
    let data = serde_json::to_string(&change).expect("strings, numbers and lists are JSON");
    Some(format!("id: {}\nevent: {}\ndata: {data}\n\n", change.id, change.kind.as_str()).into())
}
