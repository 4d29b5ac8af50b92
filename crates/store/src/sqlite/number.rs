//! Delegations of numbers and claims of them, to rows and back.

use rusqlite::{Connection, Transaction, params};
use tandem_model::NumberRange;

use super::row::{damaged, name};
use crate::backend::BackendError;
use crate::number::{Delegation, PendingClaim};

/// Keeps a delegation.
pub(super) fn delegate(transaction: &Transaction<'_>, delegation: &Delegation) -> Result<(), BackendError> {
    transaction
        .prepare_cached(
            "INSERT INTO number_delegation (range, domain, from_domain, created, token) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            delegation.range.to_string(),
            delegation.domain.to_string(),
            delegation.from.as_ref().map(ToString::to_string),
            delegation.created.cast_signed(),
            delegation.by,
        ])?;
    Ok(())
}

/// Forgets a delegation; there may be none.
pub(super) fn revoke(transaction: &Transaction<'_>, range: &NumberRange) -> Result<(), BackendError> {
    transaction.prepare_cached("DELETE FROM number_delegation WHERE range = ?1")?.execute([range.to_string()])?;
    Ok(())
}

/// All delegations.
pub(super) fn delegations(connection: &Connection) -> Result<Vec<Delegation>, BackendError> {
    let mut statement =
        connection.prepare_cached("SELECT range, domain, from_domain, created, token FROM number_delegation")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let from: Option<String> = row.get(2)?;
        found.push(Delegation {
            range: range(&row.get::<_, String>(0)?)?,
            domain: name(&row.get::<_, String>(1)?)?,
            from: from.as_deref().map(name).transpose()?,
            created: row.get::<_, i64>(3)?.cast_unsigned(),
            by: row.get(4)?,
        });
    }
    Ok(found)
}

/// Keeps a claim.
pub(super) fn claim(transaction: &Transaction<'_>, claim: &PendingClaim) -> Result<(), BackendError> {
    transaction
        .prepare_cached("INSERT INTO number_claim (id, range, domain, created, token) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            claim.id,
            claim.range.to_string(),
            claim.domain.to_string(),
            claim.created.cast_signed(),
            claim.by,
        ])?;
    Ok(())
}

/// Forgets a claim.
pub(super) fn drop_claim(transaction: &Transaction<'_>, id: &str) -> Result<(), BackendError> {
    transaction.prepare_cached("DELETE FROM number_claim WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// All claims that wait.
pub(super) fn claims(connection: &Connection) -> Result<Vec<PendingClaim>, BackendError> {
    let mut statement = connection.prepare_cached("SELECT id, range, domain, created, token FROM number_claim")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(PendingClaim {
            id: row.get(0)?,
            range: range(&row.get::<_, String>(1)?)?,
            domain: name(&row.get::<_, String>(2)?)?,
            created: row.get::<_, i64>(3)?.cast_unsigned(),
            by: row.get(4)?,
        });
    }
    Ok(found)
}

fn range(text: &str) -> Result<NumberRange, BackendError> {
    text.parse().map_err(damaged)
}
