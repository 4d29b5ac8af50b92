//! The journal's rows: written with each change, read for what happened, forgotten when they are old.
//!
//! The entry of a new registration that an import brought has no document of its own while the registration is as the
//! entry left it: the one in `node` is the same, and writing it once is half the work of an import. The next change of
//! that registration writes the document into the entry first ([`keep_document`]).

use std::borrow::Cow;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tandem_model::{DomainName, Node, Serial};

use super::row::{damaged, document, name, state};
use crate::backend::{AuditEntry, BackendError, JournalEntry, JournalKind, Step};
use crate::key::sort_key;
use crate::state::NodeState;

/// The columns of an entry, in the order that [`entry`] takes them.
const ENTRY: &str = "serial, time, kind, subject, token, before, after, zones, old_state, new_state, reason";

/// What an entry says of its node.
#[derive(Default)]
pub(super) struct NodeColumns<'a> {
    /// Its document before.
    pub(super) before: Option<String>,
    /// Its document afterwards.
    pub(super) after: Option<Cow<'a, str>>,
    /// Its state before.
    pub(super) old_state: Option<NodeState>,
    /// Its state afterwards.
    pub(super) new_state: Option<NodeState>,
    /// What was said when it was done.
    pub(super) reason: Option<&'a str>,
}

/// The statement of [`write()`].
pub(super) const WRITE: &str =
    "INSERT INTO journal (serial, subject, kind, time, token, before, after, zones, old_state, new_state, reason)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// Writes the entry of `step`, by the statement [`WRITE`].
pub(super) fn write(
    statement: &mut CachedStatement<'_>,
    time: u64,
    step: &Step,
    subject: &str,
    node: &NodeColumns<'_>,
) -> Result<(), BackendError> {
    statement.execute(params![
        step.serial.cast_signed(),
        subject,
        step.act.kind().as_str(),
        time.cast_signed(),
        step.by,
        node.before,
        node.after,
        zones_text(&step.zones),
        node.old_state.map(NodeState::as_str),
        node.new_state.map(NodeState::as_str),
        node.reason,
    ])?;
    Ok(())
}

/// The serial of the oldest entry.
pub(super) fn oldest(connection: &Connection) -> Result<Option<u64>, BackendError> {
    let oldest: Option<i64> =
        connection.prepare_cached("SELECT min(serial) FROM journal")?.query_row([], |row| row.get(0))?;
    Ok(oldest.map(i64::cast_unsigned))
}

/// At most `limit` entries behind serial `after`, oldest first.
pub(super) fn after(connection: &Connection, after: u64, limit: usize) -> Result<Vec<JournalEntry>, BackendError> {
    let sql = format!("SELECT {ENTRY} FROM journal WHERE serial > ?1 ORDER BY serial, subject LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(connection, row)?);
    }
    Ok(entries)
}

/// What each entry before `before` says, newest first, until `visit` returns `false`.
pub(super) fn audit(
    connection: &Connection,
    before: Option<&(u64, String)>,
    visit: &mut dyn FnMut(AuditEntry) -> bool,
) -> Result<(), BackendError> {
    let mut statement = connection.prepare_cached(
        "SELECT serial, time, kind, subject, token, old_state, new_state, reason,
                before IS NOT NULL, after IS NOT NULL
         FROM journal WHERE (serial, subject) < (?1, ?2) ORDER BY serial DESC, subject DESC",
    )?;
    let (serial, subject) = before.map_or((i64::MAX, ""), |(serial, subject)| (serial.cast_signed(), subject.as_str()));
    let mut rows = statement.query(params![serial, subject])?;
    while let Some(row) = rows.next()? {
        let entry = AuditEntry {
            serial: row.get::<_, i64>(0)?.cast_unsigned(),
            time: row.get::<_, i64>(1)?.cast_unsigned(),
            kind: kind(&row.get::<_, String>(2)?)?,
            subject: row.get(3)?,
            by: row.get(4)?,
            old_state: state_of(row.get(5)?, row.get(8)?)?,
            new_state: state_of(row.get(6)?, row.get(9)?)?,
            reason: row.get(7)?,
        };
        if !visit(entry) {
            break;
        }
    }
    Ok(())
}

fn kind(word: &str) -> Result<JournalKind, BackendError> {
    let known = JournalKind::ALL.into_iter().find(|known| known.as_str() == word);
    known.ok_or_else(|| BackendError::Damaged(format!("the journal has the kind {word:?}").into()))
}

/// The state that an entry names. One written before there were states names none: what was there was active.
fn state_of(word: Option<String>, there: bool) -> Result<Option<NodeState>, BackendError> {
    word.map_or(Ok(there.then_some(NodeState::Active)), |word| state(&word).map(Some))
}

/// Each entry, newest first, until `visit` returns `false`.
pub(super) fn back(connection: &Connection, visit: &mut dyn FnMut(JournalEntry) -> bool) -> Result<(), BackendError> {
    let sql = format!("SELECT {ENTRY} FROM journal ORDER BY serial DESC, subject DESC");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !visit(entry(connection, row)?) {
            break;
        }
    }
    Ok(())
}

/// Forgets the oldest entries, as [`Backend::trim_journal`](crate::Backend::trim_journal) says, in one transaction.
pub(super) fn trim(writer: &mut Connection, before: u64, keep: usize, most: usize) -> Result<usize, BackendError> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    // Most often nothing is old enough: one look at the oldest entry says so.
    let oldest: Option<(i64, i64)> = writer
        .prepare_cached("SELECT serial, time FROM journal ORDER BY serial LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if oldest.is_none_or(|(_, time)| time.cast_unsigned() >= before) {
        return Ok(0);
    }
    let kept_from: Option<i64> = writer
        .prepare_cached("SELECT serial FROM journal ORDER BY serial DESC LIMIT 1 OFFSET ?1")?
        .query_row([number(keep.saturating_sub(1))], |row| row.get(0))
        .optional()?;
    let Some(kept_from) = kept_from else { return Ok(0) };
    let mut until = None;
    {
        let mut statement =
            writer.prepare_cached("SELECT serial, time FROM journal WHERE serial < ?1 ORDER BY serial LIMIT ?2")?;
        let mut rows = statement.query(params![kept_from, number(most)])?;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)?.cast_unsigned() >= before {
                break;
            }
            until = Some(row.get::<_, i64>(0)?);
        }
    }
    let Some(until) = until else { return Ok(0) };
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let gone = transaction.prepare_cached("DELETE FROM journal WHERE serial <= ?1")?.execute([until])?;
    transaction.commit()?;
    Ok(gone)
}

/// Writes the document of the registration with this key into the entry that brought it, if that has none: the
/// registration is about to change.
pub(super) fn keep_document(transaction: &Transaction<'_>, key: &[u8]) -> Result<(), BackendError> {
    transaction
        .prepare_cached(
            "UPDATE journal SET after = node.document FROM node
             WHERE node.sort_key = ?1 AND journal.serial = node.revision AND journal.subject = node.domain
                 AND journal.kind = 'register' AND journal.after IS NULL",
        )?
        .execute([key])?;
    Ok(())
}

/// The document of a registration that is as the entry with this serial left it.
fn document_of(connection: &Connection, subject: &str, serial: i64) -> Result<Node, BackendError> {
    let mut statement = connection.prepare_cached("SELECT document FROM node WHERE sort_key = ?1 AND revision = ?2")?;
    let mut rows = statement.query(params![sort_key(&name(subject)?), serial])?;
    let row = rows.next()?.ok_or_else(|| BackendError::Damaged(format!("entry {serial} has no document").into()))?;
    document(subject, row.get_ref(0)?.as_str().map_err(damaged)?)
}

/// `connection` is that of the row, so that both are of one moment.
fn entry(connection: &Connection, row: &Row<'_>) -> Result<JournalEntry, BackendError> {
    let word: String = row.get(2)?;
    let kind = kind(&word)?;
    let subject: String = row.get(3)?;
    let node = |column: usize| -> Result<Option<Node>, BackendError> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| document(&subject, &text)).transpose()
    };
    let (before, mut after) = (node(5)?, node(6)?);
    match kind {
        JournalKind::ChangeState | JournalKind::LeaseEnding => after.clone_from(&before),
        JournalKind::Register if after.is_none() => after = Some(document_of(connection, &subject, row.get(0)?)?),
        _ => {}
    }
    let zones: Option<String> = row.get(7)?;
    Ok(JournalEntry {
        serial: row.get::<_, i64>(0)?.cast_unsigned(),
        time: row.get::<_, i64>(1)?.cast_unsigned(),
        kind,
        by: row.get(4)?,
        old_state: state_of(row.get(8)?, before.is_some())?,
        new_state: state_of(row.get(9)?, after.is_some())?,
        reason: row.get(10)?,
        before,
        after,
        zones: zones.as_deref().map(zones_of).transpose()?,
        subject,
    })
}

/// Each zone and its serial, with spaces between.
fn zones_text(zones: &[(DomainName, Serial)]) -> String {
    let words: Vec<String> = zones.iter().map(|(apex, serial)| format!("{apex} {}", serial.value())).collect();
    words.join(" ")
}

/// [`zones_text`] read back.
fn zones_of(text: &str) -> Result<Vec<(DomainName, Serial)>, BackendError> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let pairs = words.chunks(2).map(|pair| match pair {
        [apex, serial] => Ok((name(apex)?, Serial::new(serial.parse().map_err(damaged)?))),
        _ => Err(BackendError::Damaged(format!("the journal has the zones {text:?}").into())),
    });
    pairs.collect()
}
