//! The tables, and the numbered steps that lead from one schema to the next.
//!
//! `user_version` is the number of migrations done. A migration that has been released never changes: a later schema
//! is a new one at the end of [`MIGRATIONS`].

use rusqlite::{Connection, TransactionBehavior};

/// `application_id` of our files, the octets `TNDM`: tells them from other programs' databases.
pub(super) const APPLICATION_ID: i32 = 0x544e_444d;

/// That of a backup, the octets `TNDB`: nobody serves one as it is.
pub(super) const BACKUP_ID: i32 = 0x544e_4442;

/// The schema that this program writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Step `i` leads from schema `i` to `i + 1`.
const MIGRATIONS: [&str; 8] = [
    // Names are kept twice: as text for people with `sqlite3`, and as the key that sorts canonically. `serial` has one
    // row once the directory has started; its `probe` is written to learn whether the disk takes writes.
    "CREATE TABLE node (
         sort_key BLOB NOT NULL PRIMARY KEY,
         domain   TEXT NOT NULL,
         document TEXT NOT NULL,
         revision INTEGER NOT NULL CHECK (revision > 0),
         created  INTEGER NOT NULL,
         updated  INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE serial (
         one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
         serial INTEGER NOT NULL CHECK (serial > 0),
         probe  INTEGER NOT NULL DEFAULT 0
     ) STRICT;
     CREATE TABLE zone (
         apex   TEXT NOT NULL PRIMARY KEY,
         digest INTEGER NOT NULL,
         role   TEXT NOT NULL,
         serial INTEGER NOT NULL CHECK (serial > 0)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE journal (
         serial  INTEGER NOT NULL,
         subject TEXT NOT NULL,
         kind    TEXT NOT NULL,
         time    INTEGER NOT NULL,
         token   TEXT,
         before  TEXT,
         after   TEXT,
         PRIMARY KEY (serial, subject)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE token (
         id      TEXT NOT NULL PRIMARY KEY,
         hash    BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
         admin   INTEGER NOT NULL CHECK (admin IN (0, 1)),
         label   TEXT,
         created INTEGER NOT NULL,
         expires INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE token_name (
         token    TEXT NOT NULL REFERENCES token (id) ON DELETE CASCADE,
         position INTEGER NOT NULL,
         domain   TEXT NOT NULL,
         PRIMARY KEY (token, position)
     ) STRICT, WITHOUT ROWID;",
    // The zones that a change touched, each with its serial before: "ostn.test 41 peers.ostn.test 44". What is needed to go
    // back in the history of each zone. NULL in entries from before.
    "ALTER TABLE journal ADD COLUMN zones TEXT;",
    // States and leases. What was registered before is active, since it was last changed; `lease_until` 0 is a whole
    // lease from the next start on. The rest of `node` is the key that signs its document, and that document. In the
    // journal of before, a node that is there is active.
    "ALTER TABLE node ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
     ALTER TABLE node ADD COLUMN reason TEXT;
     ALTER TABLE node ADD COLUMN since INTEGER;
     ALTER TABLE node ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE node ADD COLUMN by_admin INTEGER NOT NULL DEFAULT 0 CHECK (by_admin IN (0, 1));
     ALTER TABLE node ADD COLUMN key TEXT;
     ALTER TABLE node ADD COLUMN key_serial INTEGER;
     ALTER TABLE node ADD COLUMN next_key TEXT;
     ALTER TABLE node ADD COLUMN signed BLOB;
     CREATE INDEX node_state ON node (state, sort_key) WHERE state <> 'active';
     ALTER TABLE journal ADD COLUMN old_state TEXT;
     ALTER TABLE journal ADD COLUMN new_state TEXT;
     ALTER TABLE journal ADD COLUMN reason TEXT;",
    // When any key may follow a node's key, after an admin's reset.
    "ALTER TABLE node ADD COLUMN key_reset INTEGER;",
    // Credentials. Lists of words and networks are kept as text with spaces between. Who sees this file cannot use what
    // it holds: secrets and codes are hashes, answers are sealed with the caller's secret.
    "ALTER TABLE token ADD COLUMN role TEXT NOT NULL DEFAULT 'node' CHECK (role IN ('admin', 'read', 'node'));
     UPDATE token SET role = 'admin' WHERE admin = 1;
     ALTER TABLE token DROP COLUMN admin;
     ALTER TABLE token ADD COLUMN actions TEXT NOT NULL DEFAULT 'publish renew operate read';
     ALTER TABLE token ADD COLUMN sources TEXT NOT NULL DEFAULT '';
     ALTER TABLE token ADD COLUMN origin TEXT NOT NULL DEFAULT 'admin';
     ALTER TABLE token ADD COLUMN moderated INTEGER NOT NULL DEFAULT 0 CHECK (moderated IN (0, 1));
     ALTER TABLE token ADD COLUMN previous_hash BLOB CHECK (length(previous_hash) = 32);
     ALTER TABLE token ADD COLUMN previous_until INTEGER;
     CREATE TABLE invitation (
         id               TEXT NOT NULL PRIMARY KEY,
         hash             BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
         domain           TEXT NOT NULL,
         label            TEXT,
         created          INTEGER NOT NULL,
         expires          INTEGER NOT NULL,
         token_expires_in INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE answer (
         lookup      BLOB NOT NULL PRIMARY KEY CHECK (length(lookup) = 32),
         fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
         sealed      BLOB NOT NULL,
         expires     INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX answer_expires ON answer (expires);",
    // Proofs of domains, and attempts at them, by method; times as everywhere.
    "CREATE TABLE proof (
         domain      TEXT NOT NULL,
         key         TEXT NOT NULL,
         method      TEXT NOT NULL,
         state       TEXT NOT NULL,
         token       TEXT NOT NULL,
         begun       INTEGER NOT NULL,
         since       INTEGER NOT NULL,
         seen        INTEGER,
         valid_until INTEGER,
         warnings    INTEGER NOT NULL DEFAULT 0,
         failure     TEXT,
         PRIMARY KEY (domain, key, method)
     ) STRICT, WITHOUT ROWID;",
    // Who may have which number. A range is a number, +15550101, or a block, +155502*.
    "CREATE TABLE number_delegation (
         range       TEXT NOT NULL PRIMARY KEY,
         domain      TEXT NOT NULL,
         from_domain TEXT,
         created     INTEGER NOT NULL,
         token       TEXT
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE number_claim (
         id      TEXT NOT NULL PRIMARY KEY,
         range   TEXT NOT NULL,
         domain  TEXT NOT NULL,
         created INTEGER NOT NULL,
         token   TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;",
    // When it was said last that a lease ends soon.
    "ALTER TABLE node ADD COLUMN lease_warned INTEGER NOT NULL DEFAULT 0;",
];

/// Does the migrations that `connection` has not seen, each in a transaction of its own; returns whether there were any.
///
/// # Errors
///
/// What SQLite says; migrations done before stay done.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<bool> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let mut migrated = false;
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        migrated = true;
    }
    Ok(migrated)
}
