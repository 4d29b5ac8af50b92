//! What goes wrong, one type an operation: who is at fault, and what the caller can do.

use std::io;
use std::path::{Path, PathBuf};

use tandem_zone::{BuildError, Conflict};

use crate::backend::BackendError;
use crate::document::DocumentError;
use crate::identity::KeyError;
use crate::state::{MAX_REASON, NodeState, Refusal};

/// The store did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Being shut down: try another replica, or later.
    #[error("the directory is shutting down")]
    ShuttingDown,
    /// Too many changes wait: try again.
    #[error("too many changes are waiting")]
    Busy,
    /// Not durable within the limit: it may yet happen; ask before trying again.
    #[error("the change did not reach the disk in time")]
    Timeout,
    /// The disk or the database refused; nothing changed.
    #[error("the store could not be written")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a node was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The precondition is false; the revision now, if there is one.
    #[error("the registration is not in the state that the request demands")]
    Stale(Option<u64>),
    /// It does not fit what is served.
    #[error("the node does not fit what is served")]
    Conflicts(Vec<Conflict>),
    /// The node's key does not allow it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why a node was not withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum DeregisterError {
    /// No such registration.
    #[error("no node is registered at this domain")]
    NotFound,
    /// The precondition is false; the revision now.
    #[error("the registration is not in the state that the request demands")]
    Stale(Option<u64>),
    /// An admin put the node where it is: only an admin removes it.
    #[error("an admin has made the node {0}: only an admin may remove it")]
    Held(NodeState),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why a node's state was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// No such registration.
    #[error("no node is registered at this domain")]
    NotFound,
    /// The precondition is false; the revision now.
    #[error("the registration is not in the state that the request demands")]
    Stale(Option<u64>),
    /// Not from the state that the node is in, or not by this caller.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The reason is too long, or has control characters.
    #[error("a reason has 1 to {MAX_REASON} octets and no control characters")]
    Reason,
    /// It does not fit what is served any more.
    #[error("the node does not fit what is served")]
    Conflicts(Vec<Conflict>),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why a node's key was not reset.
#[derive(Debug, thiserror::Error)]
pub enum ResetKeyError {
    /// No such registration, or it has no key.
    #[error("no node with a key is registered at this domain")]
    NotFound,
    /// The precondition is false; the revision now.
    #[error("the registration is not in the state that the request demands")]
    Stale(Option<u64>),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why what was found was not kept.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// No such registration any more.
    #[error("no node is registered at this domain")]
    NotFound,
    /// The node says something else by now: look again.
    #[error("the node has changed since it was looked at")]
    Stale,
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why a lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No such registration, or only its name is held: register again.
    #[error("no node is registered at this domain")]
    NotFound,
    /// It was withdrawn, and does not fit what is served any more.
    #[error("the node does not fit what is served")]
    Conflicts(Vec<Conflict>),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The store could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read")]
pub struct ReadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why a directory did not open; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a database, or damaged.
    #[error("{file} is damaged or not a Tandem database: restore a backup, or move it away to begin anew")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Written by a later version.
    #[error("{file} has schema {found}, this program knows up to {known}: use a newer tandem")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A registration in it cannot be read by this version.
    #[error("{file}: the registration of {domain} cannot be read by this program")]
    Document {
        /// The file.
        file: PathBuf,
        /// The node's domain.
        domain: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Another process has it.
    #[error("{0} is in use by another process: stop that one, or choose another --data-dir")]
    InUse(PathBuf),
    /// Cannot be read or written.
    #[error("{file} cannot be opened")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The static zones do not fit together, or not with the nodes stored.
    #[error("the zones cannot be served")]
    Zones(#[source] BuildError),
}

/// Why a reload was refused; the old zones are served on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The zones do not fit together, or not with the nodes.
    #[error("the zones cannot be served")]
    Zones(#[source] BuildError),
    /// The store failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why there is no backup, or why one cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("{0} does not exist: name the data folder of the service with --data-dir")]
    NoDatabase(PathBuf),
    /// Another one is being made: try again.
    #[error("another backup is being made")]
    Busy,
    /// Not a backup of ours.
    #[error("{0} is no backup of a Tandem directory")]
    NoBackup(PathBuf),
    /// Made by a later version.
    #[error("{file} has schema {found}, this program knows up to {known}: use a newer tandem")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Its contents are not what was written.
    #[error("{0} is damaged: {1}")]
    Damaged(PathBuf, String),
    /// Cannot be read or written.
    #[error("{file} cannot be read or written")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system, or SQLite, says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why nothing was restored; the directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a database already.
    #[error("{0} exists: restore into an empty folder, or replace it with --force (it is kept under another name)")]
    NotEmpty(PathBuf),
    /// The backup is not good.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The directory is in use, cannot be written, or a registration in the backup cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl BackupError {
    /// The system refused `file`.
    pub(crate) fn io(file: &Path, error: io::Error) -> Self {
        Self::Io { file: file.into(), source: Box::new(error) }
    }

    /// SQLite refused `file`.
    pub(crate) fn sqlite(file: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(file.into(), error.to_string()),
            _ => Self::Io { file: file.into(), source: Box::new(error) },
        }
    }

    /// The same of `original`, of which `copy` is a copy.
    pub(crate) fn about(self, copy: &Path, original: &Path) -> Self {
        let name = |file: PathBuf| if file == copy { original.to_owned() } else { file };
        match self {
            Self::NoDatabase(file) => Self::NoDatabase(name(file)),
            Self::Busy => Self::Busy,
            Self::NoBackup(file) => Self::NoBackup(name(file)),
            Self::Newer { file, found, known } => Self::Newer { file: name(file), found, known },
            Self::Damaged(file, what) => Self::Damaged(name(file), what),
            Self::Io { file, source } => Self::Io { file: name(file), source },
        }
    }
}

impl OpenError {
    /// What a failure of the backend means for whoever opens `file`.
    pub(crate) fn from_backend(file: impl Into<PathBuf>, error: BackendError) -> Self {
        let file = file.into();
        match error {
            BackendError::Damaged(source) => Self::Damaged { file, source },
            BackendError::Document { domain, source } => Self::Document { file, domain, source },
            error @ (BackendError::Unavailable(_) | BackendError::Overtaken | BackendError::Closed) => {
                Self::Io { file, source: Box::new(error) }
            }
        }
    }
}

impl From<BackendError> for ReadError {
    fn from(error: BackendError) -> Self {
        Self(Box::new(error))
    }
}
