//! Opening: what is made, what is refused, and that what is refused is left alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;

fn open(dir: &Path) -> Result<Directory, OpenError> {
    Directory::open(dir, settings(), statics())
}

/// A data directory with a closed store of one node; and its file.
fn closed_store() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = open(dir.path()).unwrap();
    runtime.block_on(put(&directory, "a.ostel.me", "192.0.2.1"));
    drop(directory);
    let file = dir.path().join("tandem.db");
    (dir, file)
}

/// Opens, which must fail and not change one octet of the file.
fn refused(file: &Path) -> OpenError {
    let before = std::fs::read(file).unwrap();
    let error = open(file.parent().unwrap()).unwrap_err();
    assert_eq!(std::fs::read(file).unwrap(), before, "left alone");
    for end in ["-wal", "-journal", ".new"] {
        let beside = file.with_file_name(format!("tandem.db{end}"));
        assert!(std::fs::metadata(&beside).map_or(0, |found| found.len()) == 0, "{}", beside.display());
    }
    assert!(error.to_string().contains("tandem.db"), "{error}");
    error
}

#[test]
fn a_new_store_belongs_to_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep").join("data");
    let directory = open(&data).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "database, log, its index, lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(directory);
    let connection = Connection::open(data.join("tandem.db")).unwrap();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("application_id"), 0x544e_444d);
    assert!(pragma("user_version") >= 1);
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_half_made_store_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tandem.db.new"), "SQLite format 3\0 and then the power went").unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!dir.path().join("tandem.db.new").exists());
    assert_eq!(open(dir.path()).unwrap().live().load().node_count(), 0);
}

#[test]
fn no_database() {
    let long = "x".repeat(10_000);
    for text in ["", "short", &long] {
        let (_dir, file) = closed_store();
        std::fs::write(&file, text).unwrap();
        let error = refused(&file);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn a_database_of_another_program() {
    let (_dir, file) = closed_store();
    std::fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1").unwrap();
    let error = refused(&file);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_damaged_database() {
    let (_dir, file) = closed_store();
    let whole = std::fs::read(&file).unwrap();
    // Each page behind the first in turn, and a file cut short.
    for at in (4096..whole.len()).step_by(4096) {
        let mut damaged = whole.clone();
        damaged[at..at + 2048].fill(0x5a);
        std::fs::write(&file, damaged).unwrap();
        let error = refused(&file);
        assert!(matches!(error, OpenError::Damaged { .. }), "{at}: {error:?}");
    }
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = refused(&file);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(open(file.parent().unwrap()).unwrap().live().load().node_count(), 1, "the whole one is fine");
}

#[test]
fn a_newer_database() {
    let (_dir, file) = closed_store();
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = refused(&file);
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1..9, .. }), "{error:?}");
}

#[test]
fn a_newer_database_whose_version_is_still_in_the_log() {
    let (_dir, file) = closed_store();
    let theirs = Connection::open(&file).unwrap();
    theirs.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    theirs.pragma_update(None, "user_version", 9).unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(std::fs::metadata(file.with_file_name("tandem.db-wal")).unwrap().len() > 0);
    let error = open(file.parent().unwrap()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 9, .. }), "{error:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_registration_that_this_version_cannot_read() {
    for (document, reason) in [
        (r#"{"version":3,"anything":"else"}"#, "newer tandem"),
        (r#"{"version":1,"targets":[],"ttl":60}"#, "at least one target"),
    ] {
        let (_dir, file) = closed_store();
        Connection::open(&file).unwrap().execute("UPDATE node SET document = ?1", [document]).unwrap();
        let error = refused(&file);
        let OpenError::Document { domain, source, .. } = error else { panic!("{error:?}") };
        assert_eq!(domain, "a.ostel.me");
        assert!(source.to_string().contains(reason), "{source}");
    }
}

#[test]
fn a_directory_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse(file) if file.ends_with("tandem.db")), "{error:?}");
    drop(directory);
    open(dir.path()).unwrap();
}

#[test]
fn a_place_that_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file.join("data")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}
