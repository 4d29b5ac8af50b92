//! Values to rows and back: the SQL that reads or writes contents, but for the journal.

use std::borrow::Cow;

use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Row, Transaction, params};
use tandem_model::{DomainName, Node};

use super::credential;
use super::journal::{self, NodeColumns};
use super::number;
use super::proof;
use crate::backend::{Act, BackendError, Batch, Loaded, Step, ZoneRole, ZoneState};
use crate::directory::Registered;
use crate::document;
use crate::key::sort_key;
use crate::state::{NodeIdentity, NodeState, Standing};

/// The columns of a registration, in the order that [`registered`] takes them.
const NODE: &str = "domain, document, revision, created, updated, state, reason, since, lease_until, by_admin,
                    key, key_serial, next_key, signed, key_reset, lease_warned";

/// Writes a batch inside `transaction`.
pub(super) fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), BackendError> {
    let kept = kept_serial(transaction)?;
    if kept != batch.after {
        return Err(BackendError::Overtaken);
    }
    transaction
        .prepare_cached("INSERT INTO serial (one, serial) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET serial = ?1")?
        .execute([batch.serial.cast_signed()])?;
    let mut statements = Statements::prepare(transaction)?;
    for step in &batch.steps {
        write_step(transaction, &mut statements, batch.time, step)?;
    }
    drop(statements);
    credential::keep_answers(transaction, &batch.answers, batch.time)?;
    for (apex, serial) in &batch.touched {
        transaction
            .prepare_cached("UPDATE zone SET serial = ?2 WHERE apex = ?1")?
            .execute(params![apex.to_string(), serial.cast_signed()])?;
    }
    Ok(())
}

/// The statements of almost every step, looked up once for a batch.
struct Statements<'t> {
    node: CachedStatement<'t>,
    entry: CachedStatement<'t>,
}

impl<'t> Statements<'t> {
    fn prepare(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self { node: transaction.prepare_cached(WRITE_NODE)?, entry: transaction.prepare_cached(journal::WRITE)? })
    }
}

fn write_step(
    transaction: &Transaction<'_>,
    statements: &mut Statements<'_>,
    time: u64,
    step: &Step,
) -> Result<(), BackendError> {
    let account;
    let (mut before, mut after) = (None, None::<Cow<'_, str>>);
    let (mut old_state, mut new_state, mut reason) = (None, None, None);
    let subject = step.act.subject();
    match &step.act {
        Act::Register { before: earlier, old, now, document: written } => {
            let key = sort_key(now.node.domain());
            if old.is_some() {
                journal::keep_document(transaction, &key)?;
            }
            before = earlier.as_ref().map(document::write);
            let text = written.as_deref().map_or_else(|| document::write(&now.node).into(), Cow::Borrowed);
            write_node(&mut statements.node, &key, &subject, now, &text)?;
            // An import says no zones: see `journal`.
            after = (old.is_some() || !step.zones.is_empty()).then_some(text);
            (old_state, new_state) = (*old, Some(now.standing.state));
        }
        Act::ChangeState { old, now, reason: why } => {
            let key = sort_key(now.node.domain());
            journal::keep_document(transaction, &key)?;
            let text = document::write(&now.node);
            write_node(&mut statements.node, &key, &subject, now, &text)?;
            (old_state, new_state, reason) = (Some(*old), Some(now.standing.state), why.as_deref());
            // Once, as both: enough to tell what DNS showed before and after. Nothing was shown of the others.
            before = (old.is_shown() || now.standing.state.is_shown()).then_some(text);
        }
        // Neither document nor state changes.
        Act::ResetKey { now, reason: why } => {
            reason = why.as_deref();
            let key = sort_key(now.node.domain());
            journal::keep_document(transaction, &key)?;
            write_node(&mut statements.node, &key, &subject, now, &document::write(&now.node))?;
            (old_state, new_state) = (Some(now.standing.state), Some(now.standing.state));
        }
        Act::LeaseEnding { now, reason: why } => {
            let (until, warned) = (now.standing.lease_until.cast_signed(), now.standing.lease_warned.cast_signed());
            transaction
                .prepare_cached("UPDATE node SET lease_until = ?2, lease_warned = ?3 WHERE sort_key = ?1")?
                .execute(params![sort_key(now.node.domain()), until, warned])?;
            // Who is told learns from it whom to tell.
            before = Some(document::write(&now.node));
            (old_state, new_state) = (Some(now.standing.state), Some(now.standing.state));
            reason = Some(&**why);
        }
        Act::Note { before: earlier, now, reason: why } => {
            let key = sort_key(now.node.domain());
            journal::keep_document(transaction, &key)?;
            let text = document::write(&now.node);
            write_node(&mut statements.node, &key, &subject, now, &text)?;
            (before, after) = (Some(document::write(earlier)), Some(text.into()));
            (old_state, new_state) = (Some(now.standing.state), Some(now.standing.state));
            reason = Some(&**why);
        }
        Act::Deregister { before: earlier, old, reason: why } => {
            before = (*old != NodeState::Tombstone).then(|| document::write(earlier));
            (old_state, reason) = (Some(*old), why.as_deref());
            let key = sort_key(earlier.domain());
            journal::keep_document(transaction, &key)?;
            transaction.prepare_cached("DELETE FROM node WHERE sort_key = ?1")?.execute([key])?;
        }
        Act::ServeZone(state) => {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO zone (apex, digest, role, serial) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    state.apex.to_string(),
                    state.digest.cast_signed(),
                    state.role.as_str(),
                    state.serial.cast_signed(),
                ])?;
        }
        Act::DropZone(apex) => {
            transaction.prepare_cached("DELETE FROM zone WHERE apex = ?1")?.execute([apex.to_string()])?;
        }
        Act::IssueToken(token) => credential::issue(transaction, token)?,
        Act::RotateToken(token) => credential::rotate(transaction, token)?,
        Act::DropToken(id) => {
            transaction.prepare_cached("DELETE FROM token WHERE id = ?1")?.execute([id])?;
        }
        Act::Invite(invitation) => credential::invite(transaction, invitation)?,
        Act::DropInvitation(id) | Act::RedeemInvitation(id) => {
            transaction.prepare_cached("DELETE FROM invitation WHERE id = ?1")?.execute([id])?;
        }
        Act::KeepProof { proof: kept, .. } => {
            proof::keep(transaction, kept)?;
            account = kept.account();
            reason = Some(account.as_str());
        }
        Act::DropProof(id) => {
            proof::forget(transaction, id)?;
            account = format!("{}, key {}", id.method.as_str(), id.key);
            reason = Some(account.as_str());
        }
        Act::ClaimNumber(claim) => number::claim(transaction, claim)?,
        Act::ApproveNumber { claim, delegation } => {
            number::drop_claim(transaction, &claim.id)?;
            number::delegate(transaction, delegation)?;
        }
        Act::RejectNumber { claim, .. } => number::drop_claim(transaction, &claim.id)?,
        Act::DelegateNumber(delegation) => number::delegate(transaction, delegation)?,
        Act::RevokeNumber { range, .. } => number::revoke(transaction, range)?,
    }
    let number = step.act.number();
    let reason = reason.or(number.as_deref());
    let node = NodeColumns { before, after, old_state, new_state, reason };
    journal::write(&mut statements.entry, time, step, &subject, &node)
}

const WRITE_NODE: &str =
    "INSERT INTO node (sort_key, domain, document, revision, created, updated, state, reason, since,
                       lease_until, by_admin, key, key_serial, next_key, signed, key_reset, lease_warned)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
     ON CONFLICT (sort_key) DO UPDATE SET
         document = ?3, revision = ?4, created = ?5, updated = ?6, state = ?7, reason = ?8, since = ?9,
         lease_until = ?10, by_admin = ?11, key = ?12, key_serial = ?13, next_key = ?14, signed = ?15, key_reset = ?16,
         lease_warned = ?17";

fn write_node(
    statement: &mut CachedStatement<'_>,
    key: &[u8],
    domain: &str,
    now: &Registered,
    document: &str,
) -> Result<(), BackendError> {
    let identity = now.identity.as_deref();
    statement.execute(params![
        key,
        domain,
        document,
        now.revision.cast_signed(),
        now.created.cast_signed(),
        now.updated.cast_signed(),
        now.standing.state.as_str(),
        now.standing.reason,
        now.standing.since.cast_signed(),
        now.standing.lease_until.cast_signed(),
        now.standing.by_admin,
        identity.map(|identity| &identity.thumbprint),
        identity.map(|identity| identity.serial.cast_signed()),
        identity.and_then(|identity| identity.next.as_ref()),
        identity.map(|identity| &identity.signed),
        identity.and_then(|identity| identity.reset_at.map(u64::cast_signed)),
        now.standing.lease_warned.cast_signed(),
    ])?;
    Ok(())
}

/// Writes down when leases end.
pub(super) fn renew(transaction: &Transaction<'_>, leases: &[(DomainName, u64)]) -> Result<(), BackendError> {
    let mut update = transaction.prepare_cached("UPDATE node SET lease_until = ?2 WHERE sort_key = ?1")?;
    for (domain, until) in leases {
        update.execute(params![sort_key(domain), until.cast_signed()])?;
    }
    Ok(())
}

/// Everything but the nodes.
pub(super) fn load(connection: &Connection) -> Result<Loaded, BackendError> {
    // One transaction, so that all of it is of one moment.
    let transaction = connection.unchecked_transaction()?;
    let serial = kept_serial(&transaction)?;
    let mut zones = Vec::new();
    let mut statement = transaction.prepare_cached("SELECT apex, digest, role, serial FROM zone")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let role: String = row.get(2)?;
        let known = ZoneRole::ALL.into_iter().find(|known| known.as_str() == role);
        zones.push(ZoneState {
            apex: name(&row.get::<_, String>(0)?)?,
            digest: row.get::<_, i64>(1)?.cast_unsigned(),
            role: known.ok_or_else(|| BackendError::Damaged(format!("a zone has the role {role:?}").into()))?,
            serial: row.get::<_, i64>(3)?.cast_unsigned(),
        });
    }
    let (tokens, invitations) = (credential::tokens(&transaction)?, credential::invitations(&transaction)?);
    let proofs = proof::all(&transaction)?;
    let (delegations, claims) = (number::delegations(&transaction)?, number::claims(&transaction)?);
    Ok(Loaded { serial, zones, tokens, invitations, proofs, delegations, claims })
}

/// Each registration, in canonical order.
pub(super) fn load_nodes(connection: &Connection, visit: &mut dyn FnMut(Registered)) -> Result<(), BackendError> {
    let mut statement = connection.prepare(&format!("SELECT {NODE} FROM node ORDER BY sort_key"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(registered(row)?);
    }
    Ok(())
}

/// The registration of `domain`.
pub(super) fn node(connection: &Connection, domain: &DomainName) -> Result<Option<Registered>, BackendError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {NODE} FROM node WHERE sort_key = ?1"))?;
    let mut rows = statement.query([sort_key(domain)])?;
    rows.next()?.map(registered).transpose()
}

/// At most `limit` registrations behind `after`, of one state or all.
pub(super) fn list(
    connection: &Connection,
    after: Option<&DomainName>,
    state: Option<NodeState>,
    limit: usize,
) -> Result<Vec<Registered>, BackendError> {
    // The index has the states that few nodes are in: the others are met at every step anyway.
    let only = match state {
        None => "AND state <> 'tombstone'",
        Some(NodeState::Active) => "AND state = 'active'",
        Some(_) => "AND state = ?3 AND state <> 'active'",
    };
    let sql = format!("SELECT {NODE} FROM node WHERE sort_key > ?1 {only} ORDER BY sort_key LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    // Every key is longer than the empty one.
    let key = after.map(sort_key).unwrap_or_default();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = match state {
        None | Some(NodeState::Active) => statement.query(params![key, limit])?,
        Some(state) => statement.query(params![key, limit, state.as_str()])?,
    };
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(registered(row)?);
    }
    Ok(list)
}

fn kept_serial(connection: &Connection) -> Result<Option<u64>, BackendError> {
    let serial: Option<i64> =
        connection.prepare_cached("SELECT serial FROM serial")?.query_row([], |row| row.get(0)).optional()?;
    Ok(serial.map(i64::cast_unsigned))
}

fn registered(row: &Row<'_>) -> Result<Registered, BackendError> {
    let domain = row.get_ref(0)?.as_str().map_err(damaged)?;
    let text = row.get_ref(1)?.as_str().map_err(damaged)?;
    let updated = row.get::<_, i64>(4)?.cast_unsigned();
    let standing = Standing {
        state: state(row.get_ref(5)?.as_str().map_err(damaged)?)?,
        reason: row.get(6)?,
        since: row.get::<_, Option<i64>>(7)?.map_or(updated, i64::cast_unsigned),
        lease_until: row.get::<_, i64>(8)?.cast_unsigned(),
        by_admin: row.get(9)?,
        lease_warned: row.get::<_, i64>(15)?.cast_unsigned(),
    };
    let identity = match row.get::<_, Option<Box<str>>>(10)? {
        None => None,
        Some(thumbprint) => Some(Box::new(NodeIdentity {
            thumbprint,
            serial: row.get::<_, i64>(11)?.cast_unsigned(),
            next: row.get(12)?,
            signed: row.get::<_, Vec<u8>>(13)?.into(),
            reset_at: row.get::<_, Option<i64>>(14)?.map(i64::cast_unsigned),
        })),
    };
    Ok(Registered {
        node: document(domain, text)?,
        revision: row.get::<_, i64>(2)?.cast_unsigned(),
        created: row.get::<_, i64>(3)?.cast_unsigned(),
        updated,
        standing,
        identity,
    })
}

pub(super) fn state(word: &str) -> Result<NodeState, BackendError> {
    NodeState::parse(word).ok_or_else(|| BackendError::Damaged(format!("a node has the state {word:?}").into()))
}

pub(super) fn document(domain: &str, text: &str) -> Result<Node, BackendError> {
    document::read(name(domain)?, text).map_err(|source| BackendError::Document { domain: domain.to_owned(), source })
}

pub(super) fn name(text: &str) -> Result<DomainName, BackendError> {
    DomainName::parse(text).map_err(damaged)
}

pub(super) fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError::Damaged(Box::new(error))
}

impl From<rusqlite::Error> for BackendError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        let code = error.sqlite_error_code();
        let wrong_value =
            matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..));
        if wrong_value || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            return Self::Damaged(Box::new(error));
        }
        Self::Unavailable(Box::new(error))
    }
}
