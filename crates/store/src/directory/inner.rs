//! What all handles of a directory share, and how they ask the writer and the backend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tandem_zone::Zones;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::READ_WAIT;
use crate::backend::{Backend, BackendError};
use crate::conditions::Clock;
use crate::error::{DirectoryError, ReadError};
use crate::health::Health;
use crate::journal::Keeping;
use crate::keyring::Keyring;
use crate::lease::Leases;
use crate::number::NumberBook;
use crate::proof::Proofs;
use crate::stats::Counters;
use crate::watched::Watched;
use crate::writer::Command;

/// What all handles share.
pub(super) struct Inner {
    /// `None` only while being dropped.
    pub(super) commands: Option<mpsc::Sender<Command>>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) proofs: Arc<Proofs>,
    /// Wakes the prover.
    pub(super) proof_work: Arc<Notify>,
    pub(super) leases: Arc<Leases>,
    pub(super) numbers: Arc<NumberBook>,
    /// Nodes that no zone shows.
    pub(super) held: Arc<RwLock<Zones>>,
    /// Nodes that want to be looked at.
    pub(super) watched: Arc<Watched>,
    /// The last serial that is durable.
    pub(super) changes: watch::Receiver<u64>,
    pub(super) health: Arc<Health>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) keeping: Arc<Keeping>,
    pub(super) closing: AtomicBool,
    pub(super) reads: Semaphore,
    /// Closed when the writer has ended.
    pub(super) done: watch::Receiver<()>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    /// The way to the writer.
    pub(super) const fn sender(&self) -> &mpsc::Sender<Command> {
        self.commands.as_ref().expect("taken only in drop")
    }

    /// Hands a command to the writer; what comes back is where its answer will be.
    pub(super) fn send<T, E: From<DirectoryError>>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<oneshot::Receiver<Result<T, E>>, E> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(DirectoryError::ShuttingDown.into());
        }
        let (answer, answered) = oneshot::channel();
        match self.sender().try_send(command(answer)) {
            Ok(()) => Ok(answered),
            Err(mpsc::error::TrySendError::Full(_)) => Err(DirectoryError::Busy.into()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(DirectoryError::ShuttingDown.into()),
        }
    }

    /// Hands a command to the writer and waits for the answer, at most `limit`.
    pub(super) async fn ask<T, E: From<DirectoryError>>(
        &self,
        limit: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<T, E> {
        await_answer(limit, self.send(command)?).await
    }

    /// [`ask`](Self::ask) for those who may block, inside or outside a runtime.
    pub(super) fn ask_blocking<T: Send, E: From<DirectoryError> + Send>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<T, E> {
        let answered = self.send(command)?;
        // A runtime's own threads refuse to block on a channel; a plain one may.
        let received = std::thread::scope(|scope| scope.spawn(|| answered.blocking_recv()).join());
        match received {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(writer_ended().into()),
        }
    }

    /// Asks the backend, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Backend) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = timeout(READ_WAIT, self.reads.acquire()).await;
        let _permit =
            turn.map_err(|_| ReadError("too many reads are waiting".into()))?.map_err(|e| ReadError(e.into()))?;
        let backend = Arc::clone(&self.backend);
        let answer = tokio::task::spawn_blocking(move || ask(&*backend)).await;
        Ok(answer.map_err(|error| ReadError(Box::new(error)))??)
    }
}

/// Waits for the writer's answer, at most `limit`.
pub(super) async fn await_answer<T, E: From<DirectoryError>>(
    limit: Duration,
    answered: oneshot::Receiver<Result<T, E>>,
) -> Result<T, E> {
    match timeout(limit, answered).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(writer_ended().into()),
        Err(_) => Err(DirectoryError::Timeout.into()),
    }
}

pub(super) fn writer_ended() -> DirectoryError {
    DirectoryError::Storage("the writer ended before it answered".into())
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    /// Ends the writer. What waits in the queue has no caller left, so only a commit in progress is waited for.
    fn drop(&mut self) {
        self.commands = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer thread panicked");
        }
    }
}
