//! Tokens: who may call the API, and for which names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tandem_model::DomainName;

/// What every secret begins with, so that scanners for leaked secrets can know it.
pub const SECRET_PREFIX: &str = "tandem_";
/// Most tokens at a time: all of them are held in memory.
pub const MAX_TOKENS: usize = 10_000;
/// Most names in one token's scope.
pub const MAX_SCOPE_NAMES: usize = 100;
/// Longest label, in octets.
pub const MAX_TOKEN_LABEL: usize = 100;
/// Random octets of a secret (API-70).
const SECRET_LEN: usize = 32;
/// Random octets of a token's id: public, and looked up among [`MAX_TOKENS`] at most.
const ID_LEN: usize = 9;

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Admin,
    /// Registrations of these domains, and of names below them.
    Nodes(Vec<DomainName>),
}

impl Scope {
    /// Whether `domain` may be read and written.
    #[must_use]
    pub fn covers(&self, domain: &DomainName) -> bool {
        match self {
            Self::Admin => true,
            Self::Nodes(names) => names.iter().any(|name| domain.is_at_or_below(name)),
        }
    }
}

/// Who is behind a request: the token's public id and what it allows. Never an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The token's id, as lists and the journal show it.
    pub token_id: String,
    /// What it allows.
    pub scope: Scope,
}

impl Actor {
    /// Whether it may do everything.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        matches!(self.scope, Scope::Admin)
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it allows.
    pub scope: Scope,
    /// Seconds until it expires; `None` never.
    pub expires_in: Option<u64>,
    /// A word for lists: `debug node`.
    pub label: Option<String>,
}

/// A token as lists show it: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Public id.
    pub id: String,
    /// What it allows.
    pub scope: Scope,
    /// A word for lists.
    pub label: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; `None` never.
    pub expires: Option<u64>,
}

/// The secret of a token, shown once: `tandem_` and 256 random bits in base64url (API-70). `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(String);

impl TokenSecret {
    /// A new secret.
    ///
    /// # Errors
    ///
    /// When the system has no random octets to give.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut octets = [0; SECRET_LEN];
        getrandom::fill(&mut octets)?;
        Ok(Self(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(octets))))
    }

    /// The hash under which it is kept.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text to hand to its holder.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// The hash of a text that may be a secret; `None` when its form alone says that it is none.
pub(crate) fn hash_of_claimed(secret: &str) -> Option<[u8; 32]> {
    // 32 octets are 43 characters of base64 without padding.
    let plausible =
        secret.len() == SECRET_PREFIX.len() + (SECRET_LEN * 8).div_ceil(6) && secret.starts_with(SECRET_PREFIX);
    plausible.then(|| Sha256::digest(secret.as_bytes()).into())
}

/// A new public id.
pub(crate) fn random_id() -> Result<String, getrandom::Error> {
    let mut octets = [0; ID_LEN];
    getrandom::fill(&mut octets)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

impl NewToken {
    /// Whether it keeps the limits on one token.
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        if let Scope::Nodes(names) = &self.scope
            && (names.is_empty() || names.len() > MAX_SCOPE_NAMES)
        {
            return Err(TokenError::Limit("a token has 1 to 100 names"));
        }
        if self.label.as_ref().is_some_and(|label| label.len() > MAX_TOKEN_LABEL || label.chars().any(char::is_control))
        {
            return Err(TokenError::Limit("a label has at most 100 octets and no control characters"));
        }
        Ok(())
    }
}

/// Why a token was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It would break a limit: this one. Ask for less, or revoke others first.
    #[error("{0}")]
    Limit(&'static str),
    /// No token has this id.
    #[error("no token has this id")]
    Unknown,
    /// The store failed; nothing changed.
    #[error(transparent)]
    Directory(#[from] crate::DirectoryError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_70_secrets() {
        let secret = TokenSecret::random().unwrap();
        assert_eq!(secret.expose().len(), 50);
        assert_eq!(URL_SAFE_NO_PAD.decode(&secret.expose()[7..]).unwrap().len(), 32, "256 bits");
        assert_ne!(secret, TokenSecret::random().unwrap());
        assert_eq!(hash_of_claimed(secret.expose()), Some(secret.hash()));
        assert_eq!(format!("{secret:?}"), "TokenSecret(..)");
        for text in ["", "tandem_", "tandem_x", &secret.expose()[1..], &format!("{}x", secret.expose())] {
            assert_eq!(hash_of_claimed(text), None, "{text}");
        }
    }

    #[test]
    fn ids_begin_with_anything_but_differ() {
        let ids: std::collections::HashSet<_> = (0..100).map(|_| random_id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 12));
    }
}
