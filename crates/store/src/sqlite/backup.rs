//! A backup: one file with one moment of the database, made while the service works, and looked at before it is used.
//!
//! It is an SQLite file of the same tables, without a log, that anybody can open with `sqlite3`. A table of its own says
//! when it was made, what it holds, and a digest of that. Its `application_id` differs from a database's, so that nobody
//! serves one by copying it into place: its serials would go back ([`restore`](super::restore) raises them).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::file::{self, DATABASE, number_at};
use super::{BUSY_WAIT, READ, WRITE, schema};
use crate::error::BackupError;

/// The form of the manifest that this program writes.
const FORMAT: u32 = 1;
/// What a backup's name has behind it until it is whole.
const UNFINISHED: &str = ".unfinished";
/// What is counted for the manifest.
const COUNTED: [&str; 4] = ["node", "token", "invitation", "journal"];

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this list.
    pub format: u32,
    /// The version of the program that made it.
    pub program: String,
    /// The schema of its tables.
    pub schema: i64,
    /// Seconds since 1970 when it was made.
    pub taken: u64,
    /// The last serial taken; `None` when the directory had never been started.
    pub serial: Option<u64>,
    /// Registrations, tombstones included.
    pub nodes: u64,
    /// Tokens: their hashes.
    pub tokens: u64,
    /// Open invitations: the hashes of their codes.
    pub invitations: u64,
    /// Entries of the journal.
    pub journal: u64,
    /// SHA-256 of all rows, in hexadecimal.
    pub digest: String,
}

/// Makes a backup of the database in `data_dir` at `target`, whether or not a service works with it.
///
/// `target` appears whole or not at all, with mode 0600; what was there is replaced. `now` is in seconds since 1970.
/// Changes go on meanwhile; it holds those that were durable when it began. Blocks.
///
/// # Errors
///
/// [`BackupError`]; `target` is as it was.
pub fn back_up(data_dir: &Path, target: &Path, now: u64) -> Result<Manifest, BackupError> {
    let unfinished = unfinished_name(target);
    let manifest = snapshot(&data_dir.join(DATABASE), &unfinished, now)
        .and_then(|manifest| check_structure(&unfinished).map(|()| manifest))
        .inspect_err(|_| {
            // What stays of it is overwritten the next time.
            let _ = std::fs::remove_file(&unfinished);
        })?;
    put_in_place(&unfinished, target)?;
    Ok(manifest)
}

/// Where a backup that is to be at `target` is made.
#[must_use]
pub fn unfinished_name(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Makes `unfinished` durable and gives it its name.
///
/// # Errors
///
/// [`BackupError::Io`].
pub fn put_in_place(unfinished: &Path, target: &Path) -> Result<(), BackupError> {
    let io = |error| BackupError::io(target, error);
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(unfinished, target).map_err(io)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Looks at a backup from end to end: structure, references, counts and digest; returns what it says of itself. Blocks.
///
/// # Errors
///
/// [`BackupError`] says what is wrong with it.
pub fn verify(backup: &Path) -> Result<Manifest, BackupError> {
    let mut header = [0; file::HEADER_LEN];
    File::open(backup).and_then(|mut file| file.read_exact(&mut header)).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Damaged(backup.into(), "it is too short".into()),
        _ => BackupError::io(backup, error),
    })?;
    if !header.starts_with(file::MAGIC) || number_at(&header, file::APPLICATION_ID_AT) != schema::BACKUP_ID {
        return Err(BackupError::NoBackup(backup.into()));
    }
    let found = i64::from(number_at(&header, file::USER_VERSION_AT));
    if found > schema::VERSION {
        return Err(BackupError::Newer { file: backup.into(), found, known: schema::VERSION });
    }
    check_structure(backup)?;
    let connection = open(backup, READ)?;
    let sqlite = |error| BackupError::sqlite(backup, error);
    let text: Option<String> = connection
        .query_row("SELECT value FROM backup WHERE name = 'manifest'", [], |row| row.get(0))
        .optional()
        .map_err(sqlite)?;
    let damaged = |what: String| BackupError::Damaged(backup.into(), what);
    let text = text.ok_or_else(|| damaged("it has no manifest".into()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| damaged(format!("its manifest cannot be read: {error}")))?;
    let seen = describe(&connection, manifest.taken).map_err(sqlite)?;
    let expected = Manifest { format: FORMAT, program: seen.program.clone(), ..manifest.clone() };
    if manifest.format != FORMAT || seen != expected {
        return Err(damaged("its contents are not what its manifest says".into()));
    }
    Ok(manifest)
}

/// Copies the database at one moment into `target`, with its manifest.
pub(super) fn snapshot(database: &Path, target: &Path, now: u64) -> Result<Manifest, BackupError> {
    if !database.exists() {
        return Err(BackupError::NoDatabase(database.into()));
    }
    file::remove(target).map_err(|error| BackupError::Io { file: target.into(), source: Box::new(error) })?;
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(target)
        .map_err(|error| BackupError::io(target, error))?;
    let source = open(database, READ)?;
    let id: i64 = source
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| BackupError::sqlite(database, error))?;
    if id != i64::from(schema::APPLICATION_ID) {
        return Err(BackupError::Damaged(database.into(), "it is a database of another program".into()));
    }
    // One reading transaction: changes that come meanwhile are not in it, and do not wait for it.
    let name = target
        .to_str()
        .ok_or_else(|| BackupError::io(target, io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8")))?;
    source.execute("VACUUM INTO ?1", [name]).map_err(|error| BackupError::sqlite(target, error))?;
    drop(source);

    let sqlite = |error| BackupError::sqlite(target, error);
    let mut copy = open(target, WRITE)?;
    let manifest = describe(&copy, now).map_err(sqlite)?;
    let text = serde_json::to_string(&manifest).map_err(|error| BackupError::io(target, error.into()))?;
    let mut write = || -> rusqlite::Result<()> {
        let _: String = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
        let transaction = copy.transaction()?;
        transaction.execute_batch(
            "CREATE TABLE backup (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
        )?;
        transaction.execute("INSERT INTO backup (name, value) VALUES ('manifest', ?1)", [&text])?;
        transaction.pragma_update(None, "application_id", schema::BACKUP_ID)?;
        transaction.commit()
    };
    write().map_err(sqlite)?;
    copy.close().map_err(|(_, error)| sqlite(error))?;
    Ok(manifest)
}

/// SQLite's own checks: every page, every index, every reference.
pub(super) fn check_structure(path: &Path) -> Result<(), BackupError> {
    let connection = open(path, READ)?;
    let sqlite = |error| BackupError::sqlite(path, error);
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if verdict != "ok" {
        return Err(BackupError::Damaged(path.into(), verdict));
    }
    let dangling: Option<String> =
        connection.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).optional().map_err(sqlite)?;
    match dangling {
        Some(table) => {
            Err(BackupError::Damaged(path.into(), format!("a row of {table} refers to one that is not there")))
        }
        None => Ok(()),
    }
}

/// Counts and digests what `connection` has.
fn describe(connection: &Connection, taken: u64) -> rusqlite::Result<Manifest> {
    let is_there = |table: &str| {
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table], |row| {
            row.get::<_, i64>(0)
        })
    };
    let count = |table: &str| -> rusqlite::Result<u64> {
        // A schema of before has fewer tables.
        if is_there(table)? == 0 {
            return Ok(0);
        }
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(rows.cast_unsigned())
    };
    let [nodes, tokens, invitations, journal] = COUNTED.map(count);
    let serial: Option<i64> = connection.query_row("SELECT serial FROM serial", [], |row| row.get(0)).optional()?;
    Ok(Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").into(),
        schema: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        taken,
        serial: serial.map(i64::cast_unsigned),
        nodes: nodes?,
        tokens: tokens?,
        invitations: invitations?,
        journal: journal?,
        digest: digest(connection)?.iter().map(|octet| format!("{octet:02x}")).collect(),
    })
}

/// SHA-256 over every row of every table but `backup`, in the order of names and primary keys.
fn digest(connection: &Connection) -> rusqlite::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let words = |sql: &str, of: &[&str]| -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(of), |row| row.get(0))?;
        rows.collect()
    };
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                  AND name <> 'backup' ORDER BY name";
    for table in words(tables, &[])? {
        let keys = words("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk", &[&table])?;
        let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
        let order =
            if keys.is_empty() { "rowid".into() } else { keys.iter().map(quoted).collect::<Vec<_>>().join(", ") };
        hash_part(&mut hash, b't', table.as_bytes());
        let mut statement = connection.prepare(&format!("SELECT * FROM {} ORDER BY {order}", quoted(&table)))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => hash_part(&mut hash, b'n', &[]),
                    ValueRef::Integer(number) => hash_part(&mut hash, b'i', &number.to_be_bytes()),
                    ValueRef::Real(number) => hash_part(&mut hash, b'r', &number.to_be_bytes()),
                    ValueRef::Text(text) => hash_part(&mut hash, b's', text),
                    ValueRef::Blob(octets) => hash_part(&mut hash, b'b', octets),
                }
            }
        }
    }
    Ok(hash.finalize().into())
}

/// Takes in a part so that no two lists of parts look the same.
fn hash_part(hash: &mut Sha256, kind: u8, octets: &[u8]) {
    hash.update([kind]);
    hash.update((octets.len() as u64).to_be_bytes());
    hash.update(octets);
}

/// A connection that waits for others as long as the service's do.
pub(super) fn open(path: &Path, flags: OpenFlags) -> Result<Connection, BackupError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|error| BackupError::sqlite(path, error))?;
    connection.busy_timeout(BUSY_WAIT).map_err(|error| BackupError::sqlite(path, error))?;
    Ok(connection)
}
