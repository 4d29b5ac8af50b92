//! All tokens in memory, so that a request is authenticated without a look at the disk.
//!
//! The writer keeps it equal to the backend's table: a token is put in or taken out once that is durable.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use subtle::ConstantTimeEq as _;

use crate::backend::StoredToken;
use crate::token::{Actor, TokenInfo};

/// Octets of a hash that find its bucket. They are no secret: nobody can choose a secret by its hash.
const BUCKET: usize = 8;

/// The tokens, found by the hash of their secret.
#[derive(Debug)]
pub(crate) struct Keyring(RwLock<HashMap<[u8; BUCKET], Vec<StoredToken>>>);

impl Keyring {
    /// With these tokens.
    pub(crate) fn new(tokens: Vec<StoredToken>) -> Self {
        let keyring = Self(RwLock::new(HashMap::with_capacity(tokens.len())));
        for token in tokens {
            keyring.insert(token);
        }
        keyring
    }

    /// Adds a token.
    pub(crate) fn insert(&self, token: StoredToken) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tokens.entry(bucket(&token.hash)).or_default().push(token);
    }

    /// Takes a token out.
    pub(crate) fn remove(&self, id: &str) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, bucket| {
            bucket.retain(|token| token.info.id != id);
            !bucket.is_empty()
        });
    }

    /// The holder of the secret with this hash, unless it expired at or before `now`.
    pub(crate) fn find(&self, hash: &[u8; 32], now: u64) -> Option<Actor> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.get(&bucket(hash))?.iter().find(|token| bool::from(token.hash.ct_eq(hash)))?;
        is_valid(&token.info, now).then(|| Actor { token_id: token.info.id.clone(), scope: token.info.scope.clone() })
    }

    /// Tokens that are valid at `now` (`true`) or have expired (`false`), oldest first.
    pub(crate) fn list(&self, now: u64, valid: bool) -> Vec<TokenInfo> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut infos: Vec<TokenInfo> =
            tokens.values().flatten().map(|token| &token.info).filter(|i| is_valid(i, now) == valid).cloned().collect();
        infos.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        infos
    }

    /// Whether a token with this id is valid at `now`.
    pub(crate) fn contains(&self, id: &str, now: u64) -> bool {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tokens.values().flatten().any(|token| token.info.id == id && is_valid(&token.info, now))
    }

    /// How many there are, expired ones included.
    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }
}

fn bucket(hash: &[u8; 32]) -> [u8; BUCKET] {
    let mut bucket = [0; BUCKET];
    bucket.copy_from_slice(&hash[..BUCKET]);
    bucket
}

fn is_valid(info: &TokenInfo, now: u64) -> bool {
    info.expires.is_none_or(|expires| now < expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Scope;

    fn token(id: &str, hash: [u8; 32], expires: Option<u64>) -> StoredToken {
        StoredToken { info: TokenInfo { id: id.into(), scope: Scope::Admin, label: None, created: 1, expires }, hash }
    }

    #[test]
    fn found_by_the_whole_hash_until_it_expires() {
        let (a, mut b) = ([7; 32], [7; 32]);
        b[31] = 8;
        let keyring = Keyring::new(vec![token("a", a, Some(100)), token("b", b, None)]);
        assert_eq!(keyring.find(&a, 99).unwrap().token_id, "a");
        assert_eq!(keyring.find(&b, 99).unwrap().token_id, "b", "same bucket");
        assert_eq!(keyring.find(&a, 100), None, "expired");
        assert_eq!(keyring.find(&[9; 32], 0), None);
        assert_eq!(keyring.list(100, true).len(), 1);
        assert_eq!(keyring.list(100, false)[0].id, "a");
        assert!(keyring.contains("a", 99) && !keyring.contains("a", 100));
        keyring.remove("b");
        assert_eq!((keyring.find(&b, 0), keyring.len()), (None, 1));
    }
}
