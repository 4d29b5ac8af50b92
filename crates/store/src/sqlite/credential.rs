//! Tokens, invitations and kept answers to rows and back.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tandem_model::Network;

use super::row::{damaged, name};
use crate::backend::{BackendError, StoredAnswer, StoredInvitation, StoredToken};
use crate::invitation::InvitationInfo;
use crate::token::{Origin, Right, Rights, Scope, TokenInfo};

/// Keeps a new token.
pub(super) fn issue(transaction: &Transaction<'_>, token: &StoredToken) -> Result<(), BackendError> {
    let info = &token.info;
    transaction
        .prepare_cached(
            "INSERT INTO token (id, hash, role, actions, sources, label, origin, moderated, created, expires,
                                previous_hash, previous_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            info.id,
            token.hash,
            info.scope.role(),
            spaced(info.rights.iter().map(Right::as_str)),
            spaced(&info.sources),
            info.label,
            info.origin.as_str(),
            info.moderated,
            info.created.cast_signed(),
            info.expires.map(u64::cast_signed),
            token.previous_hash,
            info.previous_until.map(u64::cast_signed),
        ])?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO token_name (token, position, domain) VALUES (?1, ?2, ?3)")?;
    for (position, name) in info.scope.names().iter().enumerate() {
        insert.execute(params![info.id, position.cast_signed(), name.to_string()])?;
    }
    Ok(())
}

/// Keeps what a rotation changes of a token.
pub(super) fn rotate(transaction: &Transaction<'_>, token: &StoredToken) -> Result<(), BackendError> {
    transaction
        .prepare_cached(
            "UPDATE token SET hash = ?2, previous_hash = ?3, previous_until = ?4, expires = ?5 WHERE id = ?1",
        )?
        .execute(params![
            token.info.id,
            token.hash,
            token.previous_hash,
            token.info.previous_until.map(u64::cast_signed),
            token.info.expires.map(u64::cast_signed),
        ])?;
    Ok(())
}

/// All tokens.
pub(super) fn tokens(connection: &Connection) -> Result<Vec<StoredToken>, BackendError> {
    let mut tokens = Vec::new();
    let mut names = connection.prepare_cached("SELECT domain FROM token_name WHERE token = ?1 ORDER BY position")?;
    let mut statement = connection.prepare_cached(
        "SELECT id, hash, role, actions, sources, label, origin, moderated, created, expires, previous_hash,
                previous_until
         FROM token",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let odd = |what: &str, word: &str| BackendError::Damaged(format!("a token has the {what} {word:?}").into());
        let role: String = row.get(2)?;
        let scope = match role.as_str() {
            "admin" => Scope::Admin,
            "read" => Scope::Read,
            "node" => {
                let texts = names.query_map([&id], |row| row.get::<_, String>(0))?;
                Scope::Nodes(texts.map(|text| name(&text?)).collect::<Result<_, _>>()?)
            }
            other => return Err(odd("role", other)),
        };
        let (actions, sources, origin): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(6)?);
        let known = |word: &str| Right::parse(word).ok_or_else(|| odd("action", word));
        let info = TokenInfo {
            id,
            scope,
            rights: actions.split_whitespace().map(known).collect::<Result<Rights, _>>()?,
            sources: sources
                .split_whitespace()
                .map(|text| Network::parse(text).map_err(damaged))
                .collect::<Result<_, _>>()?,
            label: row.get(5)?,
            origin: Origin::ALL
                .into_iter()
                .find(|known| known.as_str() == origin)
                .ok_or_else(|| odd("origin", &origin))?,
            moderated: row.get(7)?,
            created: row.get::<_, i64>(8)?.cast_unsigned(),
            expires: row.get::<_, Option<i64>>(9)?.map(i64::cast_unsigned),
            previous_until: row.get::<_, Option<i64>>(11)?.map(i64::cast_unsigned),
        };
        tokens.push(StoredToken { info, hash: row.get(1)?, previous_hash: row.get(10)? });
    }
    Ok(tokens)
}

/// Keeps an invitation.
pub(super) fn invite(transaction: &Transaction<'_>, invitation: &StoredInvitation) -> Result<(), BackendError> {
    let info = &invitation.info;
    transaction
        .prepare_cached(
            "INSERT INTO invitation (id, hash, domain, label, created, expires, token_expires_in)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            info.id,
            invitation.hash,
            info.domain.to_string(),
            info.label,
            info.created.cast_signed(),
            info.expires.cast_signed(),
            info.token_expires_in.map(u64::cast_signed),
        ])?;
    Ok(())
}

/// All invitations.
pub(super) fn invitations(connection: &Connection) -> Result<Vec<StoredInvitation>, BackendError> {
    let mut invitations = Vec::new();
    let mut statement = connection
        .prepare_cached("SELECT id, hash, domain, label, created, expires, token_expires_in FROM invitation")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let info = InvitationInfo {
            id: row.get(0)?,
            domain: name(&row.get::<_, String>(2)?)?,
            label: row.get(3)?,
            created: row.get::<_, i64>(4)?.cast_unsigned(),
            expires: row.get::<_, i64>(5)?.cast_unsigned(),
            token_expires_in: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
        };
        invitations.push(StoredInvitation { info, hash: row.get(1)? });
    }
    Ok(invitations)
}

/// Keeps answers; forgets those whose time is over at `now`.
pub(super) fn keep_answers(
    transaction: &Transaction<'_>,
    answers: &[StoredAnswer],
    now: u64,
) -> Result<(), BackendError> {
    if answers.is_empty() {
        return Ok(());
    }
    transaction.prepare_cached("DELETE FROM answer WHERE expires <= ?1")?.execute([now.cast_signed()])?;
    let mut insert = transaction
        .prepare_cached("INSERT INTO answer (lookup, fingerprint, sealed, expires) VALUES (?1, ?2, ?3, ?4)")?;
    for answer in answers {
        insert.execute(params![answer.lookup, answer.fingerprint, answer.sealed, answer.expires.cast_signed()])?;
    }
    Ok(())
}

/// The answer kept under `lookup`.
pub(super) fn answer(connection: &Connection, lookup: &[u8; 32]) -> Result<Option<StoredAnswer>, BackendError> {
    let mut statement =
        connection.prepare_cached("SELECT lookup, fingerprint, sealed, expires FROM answer WHERE lookup = ?1")?;
    let found = statement.query_row([lookup], |row| {
        Ok(StoredAnswer {
            lookup: row.get(0)?,
            fingerprint: row.get(1)?,
            sealed: row.get(2)?,
            expires: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    });
    Ok(found.optional()?)
}

fn spaced<T: std::fmt::Display>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
}
