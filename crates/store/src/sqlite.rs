//! The backend for one machine: an SQLite file that an admin can open with `sqlite3`.
//!
//! One connection writes, a few read, one moves the log into the file. The log (WAL) is synced at every commit, so a
//! change that was acknowledged survives a power cut. Reading order: `schema`, `file`, this file, `row`, `journal`.

pub mod backup;
mod checkpoint;
mod credential;
mod file;
mod journal;
mod number;
mod proof;
pub mod restore;
mod row;
mod schema;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tandem_model::DomainName;

use self::backup::Manifest;
use self::checkpoint::Checkpointer;
use crate::backend::{AuditEntry, Backend, BackendError, Batch, JournalEntry, Loaded, StoredAnswer};
use crate::directory::Registered;
use crate::error::{BackupError, OpenError};
use crate::state::NodeState;

pub(crate) use self::file::{DATABASE, io_error, remove, sync_directory};

/// Connections that read: one for the writer thread, the others for [`Directory`](crate::Directory)'s callers.
pub(crate) const READERS: usize = 5;
/// A backup while it is made for somebody else's file.
const BACKUP: &str = "tandem.db.backup";
/// Longest wait for another connection's lock; only a person with `sqlite3` could hold one.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for a reading connection.
const READER_WAIT: Duration = Duration::from_secs(5);
/// Page cache of the writing connection, in KiB: the upper pages of the tree at a million nodes.
const WRITER_CACHE: i64 = 16 << 10;
/// Page cache of each reading connection, in KiB.
const READER_CACHE: i64 = 2 << 10;
/// Prepared statements a connection keeps: more than there are in [`row`].
const STATEMENTS: usize = 64;

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteBackend {
    writer: Mutex<Option<Connection>>,
    readers: Readers,
    checkpointer: Checkpointer,
    data_dir: PathBuf,
    /// Held by the one backup that is made.
    backing_up: Mutex<()>,
    /// Held, not used: its lock keeps other processes out.
    lock: Mutex<Option<file::DirectoryLock>>,
}

impl SqliteBackend {
    /// Opens `tandem.db` in `data_dir`, or makes both.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: what is there is damaged, newer, in use or out of reach; it is left as it was.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let held = file::lock(data_dir)?;
        // Of a backup that a crash broke off.
        remove(&data_dir.join(BACKUP))?;
        let path = file::prepare(data_dir)?;
        let sqlite = |e| file::sqlite_error(&path, e);
        let mut writer = Connection::open_with_flags(&path, WRITE).map_err(sqlite)?;
        prepare_writer(&writer).map_err(sqlite)?;
        if schema::migrate(&mut writer).map_err(sqlite)? {
            // So that an older program finds the new version in the file itself, and leaves it alone.
            checkpoint::truncate(&writer).map_err(sqlite)?;
        }
        let idle = (0..READERS).map(|_| open_reader(&path)).collect::<Result<_, _>>().map_err(sqlite)?;
        let second = open_second(&path).map_err(sqlite)?;
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            readers: Readers { state: Mutex::new(Pool { idle, closed: false }), returned: Condvar::new() },
            checkpointer: Checkpointer::start(second).map_err(|e| io_error(&path, e))?,
            data_dir: data_dir.into(),
            backing_up: Mutex::new(()),
            lock: Mutex::new(Some(held)),
        })
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, BackendError>) -> Result<T, BackendError> {
        let connection = self.readers.take()?;
        let answer = ask(&connection);
        self.readers.give_back(connection);
        answer
    }
}

const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
const READ: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn prepare_writer(writer: &Connection) -> rusqlite::Result<()> {
    writer.busy_timeout(BUSY_WAIT)?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    // FULL syncs the log at each commit: what is acknowledged survives a power cut.
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update(None, "foreign_keys", true)?;
    writer.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    // The checkpointer does it, so that no commit has to wait for it.
    writer.pragma_update(None, "wal_autocheckpoint", 0)?;
    writer.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let reader = Connection::open_with_flags(path, READ)?;
    reader.busy_timeout(BUSY_WAIT)?;
    reader.pragma_update(None, "cache_size", -READER_CACHE)?;
    reader.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(reader)
}

/// The connection of the checkpointer.
fn open_second(path: &Path) -> rusqlite::Result<Connection> {
    let second = Connection::open_with_flags(path, WRITE)?;
    second.busy_timeout(BUSY_WAIT)?;
    second.pragma_update(None, "synchronous", "FULL")?;
    second.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(second)
}

impl Backend for SqliteBackend {
    fn load(&self) -> Result<Loaded, BackendError> {
        self.read(row::load)
    }

    fn load_nodes(&self, visit: &mut dyn FnMut(Registered)) -> Result<(), BackendError> {
        self.read(|connection| row::load_nodes(connection, visit))
    }

    fn commit(&self, batch: &Batch) -> Result<(), BackendError> {
        let mut guard = lock(&self.writer);
        let writer = guard.as_mut().ok_or(BackendError::Closed)?;
        self.checkpointer.before_commit(writer);
        // Dropped without commit, a transaction rolls back.
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        row::write(&transaction, batch)?;
        transaction.commit()?;
        self.checkpointer.after_commit(batch.steps.len());
        Ok(())
    }

    fn node(&self, domain: &DomainName) -> Result<Option<Registered>, BackendError> {
        self.read(|connection| row::node(connection, domain))
    }

    fn renew(&self, leases: &[(DomainName, u64)]) -> Result<(), BackendError> {
        let mut guard = lock(&self.writer);
        let writer = guard.as_mut().ok_or(BackendError::Closed)?;
        self.checkpointer.before_commit(writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        row::renew(&transaction, leases)?;
        transaction.commit()?;
        self.checkpointer.after_commit(leases.len());
        Ok(())
    }

    fn list(
        &self,
        after: Option<&DomainName>,
        state: Option<NodeState>,
        limit: usize,
    ) -> Result<Vec<Registered>, BackendError> {
        self.read(|connection| row::list(connection, after, state, limit))
    }

    fn journal(&self, after: u64, limit: usize) -> Result<Vec<JournalEntry>, BackendError> {
        self.read(|connection| journal::after(connection, after, limit))
    }

    fn journal_back(&self, visit: &mut dyn FnMut(JournalEntry) -> bool) -> Result<(), BackendError> {
        self.read(|connection| journal::back(connection, visit))
    }

    fn trim_journal(&self, before: u64, keep: usize, most: usize) -> Result<usize, BackendError> {
        let mut guard = lock(&self.writer);
        let writer = guard.as_mut().ok_or(BackendError::Closed)?;
        let gone = journal::trim(writer, before, keep, most)?;
        self.checkpointer.after_commit(gone);
        Ok(gone)
    }

    fn audit(
        &self,
        before: Option<&(u64, String)>,
        visit: &mut dyn FnMut(AuditEntry) -> bool,
    ) -> Result<(), BackendError> {
        self.read(|connection| journal::audit(connection, before, visit))
    }

    fn oldest_entry(&self) -> Result<Option<u64>, BackendError> {
        self.read(journal::oldest)
    }

    fn answer(&self, lookup: &[u8; 32]) -> Result<Option<StoredAnswer>, BackendError> {
        self.read(|connection| credential::answer(connection, lookup))
    }

    fn probe(&self) -> Result<(), BackendError> {
        let mut guard = lock(&self.writer);
        let writer = guard.as_mut().ok_or(BackendError::Closed)?;
        writer.prepare_cached("UPDATE serial SET probe = probe + 1")?.execute([])?;
        Ok(())
    }

    fn back_up(&self, now: u64) -> Result<(Manifest, File), BackupError> {
        let _one = match self.backing_up.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy),
        };
        let path = self.data_dir.join(BACKUP);
        let made = backup::snapshot(&self.data_dir.join(DATABASE), &path, now)
            .and_then(|manifest| Ok((manifest, File::open(&path).map_err(|error| BackupError::io(&path, error))?)));
        // Whoever has it open reads it to its end; then its room is free again, however this process ends.
        if let Err(error) = remove(&path) {
            tracing::warn!(%error, "the file of a backup was not removed");
        }
        made
    }

    fn close(&self) {
        self.checkpointer.stop();
        self.readers.close();
        // Last, so that SQLite moves the whole log into the file and removes it.
        if let Some(writer) = lock(&self.writer).take()
            && let Err((_, error)) = writer.close()
        {
            tracing::warn!(%error, "the database was not closed well; nothing is lost");
        }
        lock(&self.lock).take();
    }
}

impl Drop for SqliteBackend {
    fn drop(&mut self) {
        self.close();
    }
}

/// Connections that read, lent out one at a time.
#[derive(Debug)]
struct Readers {
    state: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug)]
struct Pool {
    idle: Vec<Connection>,
    closed: bool,
}

impl Readers {
    fn take(&self) -> Result<Connection, BackendError> {
        let guard = lock(&self.state);
        let wait = |pool: &mut Pool| pool.idle.is_empty() && !pool.closed;
        let (mut pool, _) =
            self.returned.wait_timeout_while(guard, READER_WAIT, wait).unwrap_or_else(PoisonError::into_inner);
        if pool.closed {
            return Err(BackendError::Closed);
        }
        pool.idle.pop().ok_or_else(|| BackendError::Unavailable("too many reads are waiting".into()))
    }

    fn give_back(&self, connection: Connection) {
        let mut pool = lock(&self.state);
        if !pool.closed {
            pool.idle.push(connection);
        }
        drop(pool);
        self.returned.notify_one();
    }

    fn close(&self) {
        let mut pool = lock(&self.state);
        pool.closed = true;
        pool.idle.clear();
        drop(pool);
        self.returned.notify_all();
    }
}

/// Takes a lock. What it guards is whole even after a panic elsewhere: a transaction not committed is rolled back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Act, Step};
    use crate::state::Standing;
    use std::num::NonZeroU16;
    use std::time::Instant;
    use tandem_model::{Node, NodeParts, Target};

    fn registered(domain: &str, revision: u64) -> Registered {
        let domain = DomainName::parse(domain).unwrap();
        let host = DomainName::parse("sip.provider.example").unwrap();
        let port = NonZeroU16::new(5061).unwrap();
        let mut parts =
            NodeParts::new(domain, vec![Target { host, port, priority: 0, weight: 0, addresses: Vec::new() }]);
        parts.contact = Some("x".repeat(200).into());
        let standing = Standing::begin(NodeState::Active, 2, 3);
        Registered { node: Node::new(parts).unwrap(), revision, created: 1, updated: 2, standing, identity: None }
    }

    /// Registers `count` nodes behind the serial kept.
    fn batch(backend: &SqliteBackend, count: u64) -> Batch {
        let after = backend.load().unwrap().serial;
        let first = after.unwrap_or(0) + 1;
        let step = |serial| {
            let now = registered(&format!("n{serial}.test"), serial);
            Step {
                serial,
                by: None,
                act: Act::Register { before: None, old: None, now, document: None },
                zones: Vec::new(),
            }
        };
        let steps = (first..first + count).map(step).collect();
        Batch { after, serial: first + count - 1, time: 3, steps, touched: Vec::new(), answers: Vec::new() }
    }

    #[test]
    fn a_full_disk_changes_nothing_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let backend = SqliteBackend::open(dir.path()).unwrap();
        backend.commit(&batch(&backend, 3)).unwrap();
        let limit_pages = |pages: i64| {
            let guard = lock(&backend.writer);
            let set = format!("PRAGMA max_page_count = {pages}");
            guard.as_ref().unwrap().query_row(&set, [], |row| row.get::<_, i64>(0)).unwrap();
        };
        limit_pages(1);
        let before = backend.list(None, None, 999).unwrap();
        let error = backend.commit(&batch(&backend, 500)).unwrap_err();
        assert!(matches!(error, BackendError::Unavailable(_)), "{error:?}");
        assert_eq!((backend.list(None, None, 999).unwrap(), backend.load().unwrap().serial), (before, Some(3)));
        limit_pages(1 << 30);
        backend.commit(&batch(&backend, 500)).unwrap();
        assert_eq!(backend.list(None, None, 999).unwrap().len(), 503);
    }

    #[test]
    fn a_store_that_became_read_only_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let backend = SqliteBackend::open(dir.path()).unwrap();
        backend.commit(&batch(&backend, 1)).unwrap();
        backend.probe().unwrap();
        let read_only =
            |on: bool| lock(&backend.writer).as_ref().unwrap().pragma_update(None, "query_only", on).unwrap();
        read_only(true);
        assert!(matches!(backend.probe(), Err(BackendError::Unavailable(_))));
        assert!(matches!(backend.commit(&batch(&backend, 1)), Err(BackendError::Unavailable(_))));
        read_only(false);
        backend.probe().unwrap();
        backend.commit(&batch(&backend, 1)).unwrap();
    }

    #[test]
    fn somebody_elses_writes_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let backend = SqliteBackend::open(dir.path()).unwrap();
        let (first, second) = (batch(&backend, 1), batch(&backend, 2));
        backend.commit(&first).unwrap();
        assert!(matches!(backend.commit(&second), Err(BackendError::Overtaken)));
        assert_eq!(backend.list(None, None, 9).unwrap().len(), 1);
    }

    #[test]
    fn the_log_moves_to_the_file_and_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let backend = SqliteBackend::open(dir.path()).unwrap();
        let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
        let empty = size(DATABASE);
        for _ in 0..=checkpoint::STEPS_BETWEEN / 50 {
            backend.commit(&batch(&backend, 50)).unwrap();
        }
        let limit = Instant::now() + Duration::from_secs(10);
        while size(DATABASE) == empty {
            assert!(Instant::now() < limit, "the log was not moved");
            std::thread::yield_now();
        }
        assert!(size("tandem.db-wal") > 200_000);
        // The thread may still be at it, which is waited for only so long: then a later commit starts the log anew.
        while size("tandem.db-wal") > 100_000 {
            assert!(Instant::now() < limit, "the log did not start anew");
            backend.checkpointer.log_is_too_long();
            backend.commit(&batch(&backend, 1)).unwrap();
        }
        backend.close();
        assert!(!dir.path().join("tandem.db-wal").exists(), "closed: all in the file");
        assert!(matches!(backend.node(&DomainName::parse("n1.test").unwrap()), Err(BackendError::Closed)));
        assert!(matches!(backend.probe(), Err(BackendError::Closed)));
    }
}
