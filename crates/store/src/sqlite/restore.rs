//! Putting a backup into a data directory, so that nobody who followed the directory before is led astray.
//!
//! What happened behind the backup is gone, but others have seen it: secondaries have its serials, listeners its events,
//! holders of invitations their tokens, nodes their renewals. So every zone takes a serial far above all that can have
//! been seen (DNS-70; RFC 1982), which also ends the histories that differences are made from; leases begin anew; and
//! invitations, of which nobody knows whether they were used, are withdrawn.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tandem_model::Serial;

use super::backup::{self, Manifest};
use super::file::{self, DATABASE};
use super::{READ, WRITE, row, schema};
use crate::backend::{BackendError, JournalKind};
use crate::error::{BackupError, OpenError, RestoreError};
use crate::serial::soa_serial;

/// The database while it is being put together.
const UNFINISHED: &str = "tandem.db.restored";
/// Changes that may have come behind the backup, whenever that was: at one a second they fill eight years.
const UNSEEN: u64 = 1 << 28;
/// More of them for each second since: what was restored before from the same backup may have gone on like this.
const UNSEEN_PER_SECOND: u64 = 64;
/// At most so many more. With [`UNSEEN`] and the 2^30 that a zone may lag, secondaries still take the step for one
/// forward: it is less than 2^31.
const MOST_BY_TIME: u64 = 1 << 29;

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// A serial that some secondary is known to have: the new ones lie above it too.
    pub above: Option<Serial>,
    /// Replace a database that is there; it stays beside the new one under another name.
    pub replace: bool,
    /// Leave out all tokens.
    pub without_tokens: bool,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// The last serial taken now.
    pub serial: u64,
    /// What every zone's SOA has now.
    pub zone_serial: Serial,
    /// Invitations that were withdrawn.
    pub invitations: u64,
    /// Tokens that were left out.
    pub tokens: u64,
    /// Admin tokens of the backup that are valid, whoever has them by now.
    pub admin_tokens: u64,
    /// Where the database is that was there before.
    pub replaced: Option<PathBuf>,
    /// Whether its serial could be read, if one was there.
    pub knew_serial: bool,
}

/// Makes the database of `data_dir` from `backup`, at `now`, in seconds since 1970. No service may run there. Blocks.
///
/// # Errors
///
/// [`RestoreError`]; the directory is as it was.
pub fn restore(backup: &Path, data_dir: &Path, options: &RestoreOptions, now: u64) -> Result<Restored, RestoreError> {
    let lock = file::lock(data_dir)?;
    let path = data_dir.join(DATABASE);
    let is_there = path.try_exists().map_err(|error| file::io_error(&path, error))?;
    if is_there && !options.replace {
        return Err(RestoreError::NotEmpty(path));
    }
    let unfinished = data_dir.join(UNFINISHED);
    let result = prepare(backup, data_dir, &unfinished, options, now, is_there).and_then(|mut restored| {
        if is_there {
            restored.replaced = Some(set_aside(&path, now)?);
        }
        for leftover in ["-wal", "-shm"] {
            file::remove(&data_dir.join(format!("{DATABASE}{leftover}")))?;
        }
        std::fs::rename(&unfinished, &path).map_err(|error| file::io_error(&path, error))?;
        file::sync_directory(data_dir)?;
        Ok(restored)
    });
    if result.is_err() {
        // What stays of it is overwritten the next time.
        let _ = std::fs::remove_file(&unfinished);
    }
    drop(lock);
    result
}

/// Copies the backup beside the database's place and makes of it what is to be served.
fn prepare(
    backup: &Path,
    data_dir: &Path,
    unfinished: &Path,
    options: &RestoreOptions,
    now: u64,
    is_there: bool,
) -> Result<Restored, RestoreError> {
    let source = File::open(backup).map_err(|error| BackupError::io(backup, error))?;
    copy(source, unfinished).map_err(|error| file::io_error(unfinished, error))?;
    give_to_owner(data_dir, unfinished).map_err(|error| file::io_error(unfinished, error))?;
    // The copy is looked at, so that what was read wrong is noticed too.
    let manifest = backup::verify(unfinished).map_err(|error| RestoreError::Backup(error.about(unfinished, backup)))?;
    let here = if is_there { serial_of(&data_dir.join(DATABASE)) } else { None };
    let restored = Restored {
        serial: next_serial(manifest.serial, here, now.saturating_sub(manifest.taken), options.above),
        zone_serial: Serial::new(0),
        invitations: 0,
        tokens: 0,
        admin_tokens: 0,
        replaced: None,
        knew_serial: !is_there || here.is_some(),
        manifest,
    };
    let mut connection = backup::open(unfinished, WRITE)?;
    // The later steps know this program's tables.
    let result = connection
        .pragma_update(None, "foreign_keys", true)
        .and_then(|()| schema::migrate(&mut connection))
        .map_err(BackendError::from)
        .and_then(|_| row::load_nodes(&connection, &mut |_| {}))
        .and_then(|()| renew(&mut connection, restored, options, now));
    let restored = result.map_err(|error| OpenError::from_backend(backup, error))?;
    connection.close().map_err(|(_, error)| OpenError::from_backend(unfinished, error.into()))?;
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(|error| file::io_error(unfinished, error))?;
    Ok(restored)
}

/// Makes the copy a database again, with serials, leases and credentials as the module says.
fn renew(
    connection: &mut Connection,
    mut restored: Restored,
    options: &RestoreOptions,
    now: u64,
) -> Result<Restored, BackendError> {
    let transaction = connection.transaction()?;
    transaction.execute_batch("DROP TABLE backup")?;
    transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    let zone_serial = restored.serial;
    restored.zone_serial = soa_serial(zone_serial);
    transaction.execute("UPDATE zone SET serial = ?1", [zone_serial.cast_signed()])?;
    for apex in texts(&transaction, "SELECT apex FROM zone")? {
        note(&transaction, zone_serial, &apex, JournalKind::ServeZone, now)?;
    }
    let withdrawn = texts(&transaction, "SELECT id FROM invitation")?;
    let left_out = if options.without_tokens { texts(&transaction, "SELECT id FROM token")? } else { Vec::new() };
    let gone = withdrawn.iter().map(|id| (id, JournalKind::DropInvitation));
    for (id, kind) in gone.chain(left_out.iter().map(|id| (id, JournalKind::DropToken))) {
        restored.serial += 1;
        note(&transaction, restored.serial, id, kind, now)?;
    }
    transaction.execute_batch("DELETE FROM invitation")?;
    if options.without_tokens {
        transaction.execute_batch("DELETE FROM token; DELETE FROM answer;")?;
    }
    let valid = "SELECT count(*) FROM token WHERE role = 'admin' AND (expires IS NULL OR expires > ?1)";
    let count: i64 = transaction.query_row(valid, [now.cast_signed()], |row| row.get(0))?;
    restored.admin_tokens = count.cast_unsigned();
    // A directory that was never started has none, and begins at its files.
    if restored.manifest.serial.is_some() {
        transaction.execute("UPDATE serial SET serial = ?1", [restored.serial.cast_signed()])?;
    }
    // Renewals since the backup are not known: a whole lease from the next start on, and no step further for those late.
    transaction.execute_batch("UPDATE node SET lease_until = 0 WHERE state IN ('active', 'draining', 'pending')")?;
    transaction.execute("UPDATE node SET since = ?1 WHERE state IN ('stale', 'withdrawn')", [now.cast_signed()])?;
    transaction.commit()?;
    restored.invitations = withdrawn.len() as u64;
    restored.tokens = left_out.len() as u64;
    Ok(restored)
}

/// An entry of the journal by nobody's token.
fn note(
    transaction: &Transaction<'_>,
    serial: u64,
    subject: &str,
    kind: JournalKind,
    now: u64,
) -> Result<(), BackendError> {
    transaction
        .prepare_cached("INSERT INTO journal (serial, subject, kind, time) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![serial.cast_signed(), subject, kind.as_str(), now.cast_signed()])?;
    Ok(())
}

fn texts(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// The serial to go on from: above what anybody can have seen of the directory that is lost.
///
/// `kept` is the backup's, `here` that of a database that is replaced, `elapsed` seconds went by since the backup, and a
/// secondary is known to have `above`.
fn next_serial(kept: Option<u64>, here: Option<u64>, elapsed: u64, above: Option<Serial>) -> u64 {
    let unseen = UNSEEN + elapsed.saturating_mul(UNSEEN_PER_SECOND).min(MOST_BY_TIME);
    let next = kept.map_or(1, |kept| kept + unseen).max(here.map_or(1, |here| here + 1));
    let ahead = above.map(|above| u64::from(above.value().wrapping_sub(soa_serial(next).value())));
    // RFC 1982 3.2: what is not ahead by less than 2^31 is behind.
    next + ahead.filter(|ahead| *ahead < 1 << 31).map_or(0, |ahead| ahead + 1)
}

/// The serial of a database that may be damaged.
fn serial_of(database: &Path) -> Option<u64> {
    let connection = backup::open(database, READ).ok()?;
    let serial: Option<i64> =
        connection.query_row("SELECT serial FROM serial", [], |row| row.get(0)).optional().ok()?;
    Some(serial.unwrap_or(0).cast_unsigned())
}

/// Gives the database another name beside its own, with all of its log in it, as far as it can be read.
fn set_aside(path: &Path, now: u64) -> Result<PathBuf, RestoreError> {
    if let Ok(connection) = backup::open(path, WRITE) {
        // A damaged one stays as it is, with its log.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    let name = |time: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".replaced-{time}"));
        name
    };
    // Two within a second need two names.
    let aside = (now..).map(name).find(|name| !Path::new(name).exists()).unwrap_or_else(|| name(now));
    let log = |name: &std::ffi::OsStr| {
        let mut name = name.to_owned();
        name.push("-wal");
        PathBuf::from(name)
    };
    match std::fs::rename(log(path.as_os_str()), log(&aside)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file::io_error(path, error).into()),
        Ok(()) | Err(_) => {}
    }
    let aside = PathBuf::from(aside);
    // A second name, not a new one: at no moment is there no database, for which a start would make an empty one.
    std::fs::hard_link(path, &aside).map_err(|error| file::io_error(&aside, error))?;
    Ok(aside)
}

/// Copies a file into a new one that its owner alone may read.
fn copy(mut source: File, to: &Path) -> io::Result<()> {
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut target = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// What root puts into the directory of a service belongs to that service.
fn give_to_owner(data_dir: &Path, file: &Path) -> io::Result<()> {
    let (owner, mine) = (std::fs::metadata(data_dir)?, std::fs::metadata(file)?);
    if (owner.uid(), owner.gid()) == (mine.uid(), mine.gid()) {
        return Ok(());
    }
    for path in [file.to_owned(), data_dir.join(file::LOCK)] {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_70_serials_go_up_whatever_was_seen() {
        const KEPT: u64 = 2_026_010_100;
        for (id, kept, here, elapsed, above, expected) in [
            ("a moment ago", Some(KEPT), None, 0, None, KEPT + (1 << 28)),
            ("an hour ago", Some(KEPT), None, 3600, None, KEPT + (1 << 28) + 230_400),
            ("years ago", Some(KEPT), None, u64::MAX, None, KEPT + (1 << 28) + (1 << 29)),
            ("what is replaced went further", Some(5), Some(1 << 40), 0, None, (1 << 40) + 1),
            ("what is replaced is behind", Some(KEPT), Some(KEPT + 9), 0, None, KEPT + (1 << 28)),
            ("a secondary has more", Some(5), None, 0, Some(3_000_000_000 - (1 << 30)), 3_000_000_001 - (1 << 30)),
            ("a secondary has less", Some(KEPT), None, 0, Some(2_000_000_000), KEPT + (1 << 28)),
            ("never started", None, None, 9, None, 1),
        ] {
            let next = next_serial(kept, here, elapsed, above.map(Serial::new));
            assert_eq!(next, expected, "{id}");
            // Whoever saw what is replaced saw it last.
            if let Some(seen) = kept.max(here) {
                // Even a zone that lags as far as one may takes it for a step forward.
                assert!(next > seen && next - (seen.saturating_sub(1 << 30)) < 1 << 31, "{id}: {seen}");
            }
        }
    }
}
