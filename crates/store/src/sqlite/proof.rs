//! Proofs to rows and back.

use rusqlite::{Connection, Transaction, params};

use super::row::name;
use crate::backend::BackendError;
use crate::proof::{Proof, ProofId, ProofMethod, ProofState};

/// Keeps a proof in the place of the one with its id.
pub(super) fn keep(transaction: &Transaction<'_>, proof: &Proof) -> Result<(), BackendError> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO proof (domain, key, method, state, token, begun, since, seen, valid_until, warnings,
                                           failure)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            proof.id.domain.to_string(),
            proof.id.key,
            proof.id.method.as_str(),
            proof.state.as_str(),
            proof.token,
            proof.begun.cast_signed(),
            proof.since.cast_signed(),
            proof.seen.map(u64::cast_signed),
            proof.valid_until.map(u64::cast_signed),
            proof.warnings,
            proof.failure,
        ])?;
    Ok(())
}

/// Forgets a proof.
pub(super) fn forget(transaction: &Transaction<'_>, id: &ProofId) -> Result<(), BackendError> {
    transaction
        .prepare_cached("DELETE FROM proof WHERE domain = ?1 AND key = ?2 AND method = ?3")?
        .execute(params![id.domain.to_string(), id.key, id.method.as_str()])?;
    Ok(())
}

/// All proofs.
pub(super) fn all(connection: &Connection) -> Result<Vec<Proof>, BackendError> {
    let mut proofs = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT domain, key, method, state, token, begun, since, seen, valid_until, warnings, failure FROM proof",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let odd = |what: &str, word: &str| BackendError::Damaged(format!("a proof has the {what} {word:?}").into());
        let (method, state): (String, String) = (row.get(2)?, row.get(3)?);
        let id = ProofId {
            domain: name(&row.get::<_, String>(0)?)?,
            key: row.get(1)?,
            method: ProofMethod::parse(&method).ok_or_else(|| odd("method", &method))?,
        };
        proofs.push(Proof {
            id,
            state: ProofState::parse(&state).ok_or_else(|| odd("state", &state))?,
            token: row.get(4)?,
            begun: row.get::<_, i64>(5)?.cast_unsigned(),
            since: row.get::<_, i64>(6)?.cast_unsigned(),
            seen: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
            valid_until: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
            warnings: row.get(9)?,
            failure: row.get(10)?,
        });
    }
    Ok(proofs)
}
