//! Moving the log (WAL) into the database file, beside the writer.
//!
//! A thread with a connection of its own does it without holding up commits (`PASSIVE`). Commits that never pause
//! could still make the log grow without end, since it starts anew only when all of it has been moved: past
//! [`MAX_LOG_PAGES`] the next commit waits for what little is left.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::{BUSY_WAIT, lock};

/// Steps after which the log is moved: about 4 MiB of it.
pub(super) const STEPS_BETWEEN: usize = 500;
/// Pages of 4 KiB in the log past which it has to start anew: 64 MiB.
const MAX_LOG_PAGES: i64 = 16 << 10;
/// Longest wait of a commit for readers of the old log. They take milliseconds; else it is tried after the next move.
const RESTART_WAIT: Duration = Duration::from_millis(100);

/// The thread that moves the log.
#[derive(Debug)]
pub(super) struct Checkpointer {
    wake: Mutex<Option<SyncSender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    steps: AtomicUsize,
    too_long: Arc<AtomicBool>,
}

impl Checkpointer {
    /// Starts the thread; `connection` is its own.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        // One waiting wake-up stands for any number.
        let (wake, woken) = mpsc::sync_channel(1);
        let too_long = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&too_long);
        let work = move || {
            while woken.recv().is_ok() {
                match run(&connection, "PASSIVE") {
                    Ok(pages) => flag.store(pages > MAX_LOG_PAGES, Ordering::Relaxed),
                    // The log stays, and with it all changes; the next try may find room on the disk.
                    Err(error) => tracing::warn!(%error, "the log was not moved into the database"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("tandem-checkpoint".into()).spawn(work)?;
        Ok(Self {
            wake: Mutex::new(Some(wake)),
            thread: Mutex::new(Some(thread)),
            steps: AtomicUsize::new(0),
            too_long,
        })
    }

    /// Starts the log anew if it got too long.
    pub(super) fn before_commit(&self, writer: &Connection) {
        if !self.too_long.swap(false, Ordering::Relaxed) {
            return;
        }
        let restart = || {
            writer.busy_timeout(RESTART_WAIT)?;
            let result = truncate(writer);
            writer.busy_timeout(BUSY_WAIT)?;
            result
        };
        if let Err(error) = restart() {
            tracing::warn!(%error, "the log could not start anew");
        }
    }

    /// Wakes the thread after enough steps.
    pub(super) fn after_commit(&self, steps: usize) {
        if self.steps.fetch_add(steps, Ordering::Relaxed) + steps < STEPS_BETWEEN {
            return;
        }
        self.steps.store(0, Ordering::Relaxed);
        if let Some(wake) = &*lock(&self.wake) {
            // Full: it will run anyway.
            let _ = wake.try_send(());
        }
    }

    /// As if the thread had found it so.
    #[cfg(test)]
    pub(super) fn log_is_too_long(&self) {
        self.too_long.store(true, Ordering::Relaxed);
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        lock(&self.wake).take();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

/// Moves all of the log and cuts it to nothing, waiting for readers as long as the connection's busy timeout.
pub(super) fn truncate(connection: &Connection) -> rusqlite::Result<()> {
    run(connection, "TRUNCATE").map(|_| ())
}

/// Runs a checkpoint; returns how many pages the log has.
fn run(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    // The columns are: whether it was blocked, pages in the log, pages of them moved. Being blocked is no error.
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}
