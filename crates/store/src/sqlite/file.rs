//! The database file: the lock on its directory, making it, and looking at it without a touch.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema;
use crate::error::OpenError;

/// The database in the data directory.
pub(crate) const DATABASE: &str = "tandem.db";
/// The database while it is being made.
const UNFINISHED: &str = "tandem.db.new";
/// The file whose lock says that the directory is in use. The system lets go of it when the process ends, however.
pub(super) const LOCK: &str = "tandem.lock";
/// Largest file that is read from end to end before it is opened. A larger one shows damage to a registration all the
/// same, since all are read at start; damage elsewhere in it is found when it is met.
const MAX_FULL_CHECK: u64 = 64 << 20;
/// Octets of the header in which SQLite keeps what is asked here.
pub(super) const HEADER_LEN: usize = 100;
/// What every SQLite file begins with (<https://www.sqlite.org/fileformat.html> 1.3).
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where `user_version` is in the header.
pub(super) const USER_VERSION_AT: usize = 60;
/// Where `application_id` is.
pub(super) const APPLICATION_ID_AT: usize = 68;

/// The lock of a data directory; ends with this value, or with the process.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child process that has the descriptor until it runs its program.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the data directory was not unlocked");
        }
    }
}

/// Makes `data_dir` unless it is there, and takes its lock.
pub(super) fn lock(data_dir: &Path) -> Result<DirectoryLock, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|e| io_error(data_dir, e))?;
    let path = data_dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| io_error(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data_dir.join(DATABASE))),
        Err(TryLockError::Error(error)) => Err(io_error(&path, error)),
    }
}

/// The database of `data_dir`: made when there is none, otherwise seen to be one that this program may write to.
///
/// Nothing is written to a file that is there. The caller holds the [`lock`].
pub(super) fn prepare(data_dir: &Path) -> Result<PathBuf, OpenError> {
    let path = data_dir.join(DATABASE);
    match File::open(&path) {
        Ok(file) => inspect(&path, file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(data_dir, &path)?,
        Err(error) => return Err(io_error(&path, error)),
    }
    Ok(path)
}

/// Makes a whole database under another name and renames it, so that an empty or half-made file is never ours.
fn create(data_dir: &Path, path: &Path) -> Result<(), OpenError> {
    // Leftovers of a log would be taken for the new database's.
    for name in [UNFINISHED.into(), format!("{UNFINISHED}-wal"), format!("{UNFINISHED}-shm"), format!("{DATABASE}-wal")]
    {
        remove(&data_dir.join(name))?;
    }
    let unfinished = data_dir.join(UNFINISHED);
    // SQLite gives its log files the mode of the database.
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(|e| io_error(&unfinished, e))?;
    let make = || -> rusqlite::Result<()> {
        let mut connection = Connection::open_with_flags(&unfinished, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        schema::migrate(&mut connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(|e| sqlite_error(&unfinished, e))?;
    file.sync_all().map_err(|e| io_error(&unfinished, e))?;
    std::fs::rename(&unfinished, path).map_err(|e| io_error(path, e))?;
    sync_directory(data_dir)
}

/// Looks at a file that is there: first its header by hand, then its contents by a connection that cannot write.
fn inspect(path: &Path, mut file: File) -> Result<(), OpenError> {
    let mut header = [0; HEADER_LEN];
    file.read_exact(&mut header).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(path, "shorter than the header of a database"),
        _ => io_error(path, error),
    })?;
    if !header.starts_with(MAGIC) {
        return Err(damaged(path, "not an SQLite database"));
    }
    match number_at(&header, APPLICATION_ID_AT) {
        schema::APPLICATION_ID => {}
        schema::BACKUP_ID => return Err(damaged(path, "a backup: `tandem restore` makes a database of it")),
        _ => return Err(damaged(path, "a database of another program")),
    }
    check_version(path, number_at(&header, USER_VERSION_AT).into())?;

    let length = file.metadata().map_err(|e| io_error(path, e))?.len();
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| sqlite_error(path, e))?;
    // A later program may have migrated in the log and been stopped before it reached the file.
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    check_version(path, version.map_err(|e| sqlite_error(path, e))?)?;
    if length <= MAX_FULL_CHECK {
        let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let verdict = verdict.map_err(|e| sqlite_error(path, e))?;
        if verdict != "ok" {
            return Err(damaged(path, verdict));
        }
    }
    Ok(())
}

/// A number of the header.
pub(super) fn number_at(header: &[u8; HEADER_LEN], at: usize) -> i32 {
    i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn check_version(path: &Path, found: i64) -> Result<(), OpenError> {
    if found > schema::VERSION {
        return Err(OpenError::Newer { file: path.into(), found, known: schema::VERSION });
    }
    if found < 1 {
        return Err(damaged(path, "it has no schema version"));
    }
    Ok(())
}

/// Makes a rename or a new file in `directory` survive a power cut.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| io_error(directory, e))
}

/// Removes a file that may be there.
pub(crate) fn remove(path: &Path) -> Result<(), OpenError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The system refused `path`.
pub(crate) fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { file: path.into(), source: Box::new(error) }
}

/// SQLite refused `path`.
pub(super) fn sqlite_error(path: &Path, error: rusqlite::Error) -> OpenError {
    let (file, source) = (path.into(), Box::new(error));
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Damaged { file, source },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse(file),
        _ => OpenError::Io { file, source },
    }
}

fn damaged(path: &Path, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Damaged { file: path.into(), source: reason.into() }
}
