//! All tokens and open invitations in memory, so that a request is authenticated without a look at the disk.
//!
//! The writer keeps it equal to the backend's tables: what is made, rotated or ended shows here once that is durable.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use subtle::ConstantTimeEq as _;

use crate::backend::{StoredInvitation, StoredToken};
use crate::invitation::InvitationInfo;
use crate::token::{Actor, TokenInfo};

/// Octets of a hash that find its bucket. They are no secret: nobody can choose a secret by its hash.
const BUCKET: usize = 8;

/// The tokens and invitations.
#[derive(Debug)]
pub(crate) struct Keyring {
    tokens: RwLock<Ring<StoredToken>>,
    invitations: RwLock<Ring<StoredInvitation>>,
}

/// Something with an id that secrets open.
trait Lock: Clone {
    fn id(&self) -> &str;
    fn hashes(&self) -> impl Iterator<Item = [u8; 32]>;
}

impl Lock for StoredToken {
    fn id(&self) -> &str {
        &self.info.id
    }

    fn hashes(&self) -> impl Iterator<Item = [u8; 32]> {
        [self.hash].into_iter().chain(self.previous_hash)
    }
}

impl Lock for StoredInvitation {
    fn id(&self) -> &str {
        &self.info.id
    }

    fn hashes(&self) -> impl Iterator<Item = [u8; 32]> {
        [self.hash].into_iter()
    }
}

/// Locks, found by their ids and by the hashes of what opens them.
struct Ring<T> {
    by_id: HashMap<String, T>,
    /// The ids of those with a hash that begins so.
    by_hash: HashMap<[u8; BUCKET], Vec<String>>,
}

impl<T: Lock> Ring<T> {
    fn new(locks: Vec<T>) -> Self {
        let mut ring = Self { by_id: HashMap::with_capacity(locks.len()), by_hash: HashMap::new() };
        locks.into_iter().for_each(|lock| ring.insert(lock));
        ring
    }

    /// Adds it, or puts it in the place of the one with its id.
    fn insert(&mut self, lock: T) {
        self.remove(lock.id());
        for hash in lock.hashes() {
            self.by_hash.entry(bucket(&hash)).or_default().push(lock.id().to_owned());
        }
        self.by_id.insert(lock.id().to_owned(), lock);
    }

    fn remove(&mut self, id: &str) {
        let Some(lock) = self.by_id.remove(id) else { return };
        for hash in lock.hashes() {
            let key = bucket(&hash);
            if let Some(ids) = self.by_hash.get_mut(&key) {
                ids.retain(|other| other != id);
                if ids.is_empty() {
                    self.by_hash.remove(&key);
                }
            }
        }
    }

    /// What the secret with this hash opens. Constant time in the hash behind its bucket (API-70).
    fn find(&self, hash: &[u8; 32]) -> Option<&T> {
        let locks = self.by_hash.get(&bucket(hash))?.iter().filter_map(|id| self.by_id.get(id));
        locks.into_iter().find(|lock| lock.hashes().any(|known| bool::from(known.ct_eq(hash))))
    }
}

/// Without contents: only how many there are.
impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("len", &self.by_id.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// With these.
    pub(crate) fn new(tokens: Vec<StoredToken>, invitations: Vec<StoredInvitation>) -> Self {
        Self { tokens: RwLock::new(Ring::new(tokens)), invitations: RwLock::new(Ring::new(invitations)) }
    }

    /// Adds a token, or puts it in the place of the one with its id.
    pub(crate) fn insert(&self, token: StoredToken) {
        write(&self.tokens).insert(token);
    }

    /// Takes a token out.
    pub(crate) fn remove(&self, id: &str) {
        write(&self.tokens).remove(id);
    }

    /// The holder of the secret with this hash who calls from `source`, if the secret is valid at `now`, and there.
    pub(crate) fn find(&self, hash: &[u8; 32], source: Option<IpAddr>, now: u64) -> Option<Actor> {
        let tokens = read(&self.tokens);
        let token = tokens.find(hash)?;
        // The secret before a rotation is valid for a while.
        let is_new = bool::from(token.hash.ct_eq(hash));
        let in_time = is_new || token.info.previous_until.is_some_and(|until| now < until);
        (in_time && token.info.is_valid(now) && token.info.admits(source)).then(|| token.info.actor())
    }

    /// Tokens that are valid at `now` (`true`) or have expired (`false`), oldest first.
    pub(crate) fn list(&self, now: u64, valid: bool) -> Vec<TokenInfo> {
        let tokens = read(&self.tokens);
        let mut infos: Vec<TokenInfo> = tokens
            .by_id
            .values()
            .map(|token| &token.info)
            .filter(|info| info.is_valid(now) == valid)
            .cloned()
            .collect();
        infos.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        // What is over is not shown.
        for info in &mut infos {
            info.previous_until = info.previous_until.filter(|until| now < *until);
        }
        infos
    }

    /// Whether a token that is valid at `now` is `wanted`.
    pub(crate) fn any(&self, now: u64, wanted: impl Fn(&TokenInfo) -> bool) -> bool {
        read(&self.tokens).by_id.values().any(|token| token.info.is_valid(now) && wanted(&token.info))
    }

    /// The token with this id, if it is valid at `now`.
    pub(crate) fn token(&self, id: &str, now: u64) -> Option<StoredToken> {
        read(&self.tokens).by_id.get(id).filter(|token| token.info.is_valid(now)).cloned()
    }

    /// How many tokens there are, expired ones included.
    pub(crate) fn len(&self) -> usize {
        read(&self.tokens).by_id.len()
    }

    /// Adds an invitation.
    pub(crate) fn invite(&self, invitation: StoredInvitation) {
        write(&self.invitations).insert(invitation);
    }

    /// Takes an invitation out.
    pub(crate) fn uninvite(&self, id: &str) {
        write(&self.invitations).remove(id);
    }

    /// The invitation with the code of this hash, if it is open at `now`.
    pub(crate) fn invitation(&self, hash: &[u8; 32], now: u64) -> Option<InvitationInfo> {
        read(&self.invitations).find(hash).map(|found| &found.info).filter(|info| now < info.expires).cloned()
    }

    /// Invitations that are open at `now` (`true`) or have expired (`false`), oldest first.
    pub(crate) fn invitations(&self, now: u64, open: bool) -> Vec<InvitationInfo> {
        let ring = read(&self.invitations);
        let all = ring.by_id.values().map(|invitation| &invitation.info);
        let mut infos: Vec<InvitationInfo> = all.filter(|info| (now < info.expires) == open).cloned().collect();
        infos.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        infos
    }
}

fn read<T>(ring: &RwLock<Ring<T>>) -> RwLockReadGuard<'_, Ring<T>> {
    ring.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(ring: &RwLock<Ring<T>>) -> RwLockWriteGuard<'_, Ring<T>> {
    ring.write().unwrap_or_else(PoisonError::into_inner)
}

fn bucket(hash: &[u8; 32]) -> [u8; BUCKET] {
    let mut bucket = [0; BUCKET];
    bucket.copy_from_slice(&hash[..BUCKET]);
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Origin, Rights, Scope};

    fn token(id: &str, hash: [u8; 32], expires: Option<u64>) -> StoredToken {
        let info = TokenInfo {
            id: id.into(),
            scope: Scope::Admin,
            rights: Rights::ALL,
            sources: Vec::new(),
            label: None,
            origin: Origin::Admin,
            moderated: false,
            created: 1,
            expires,
            previous_until: None,
        };
        StoredToken { info, hash, previous_hash: None }
    }

    fn ring(tokens: Vec<StoredToken>) -> Keyring {
        Keyring::new(tokens, Vec::new())
    }

    #[test]
    fn found_by_the_whole_hash_until_it_expires() {
        let (a, mut b) = ([7; 32], [7; 32]);
        b[31] = 8;
        let keyring = ring(vec![token("a", a, Some(100)), token("b", b, None)]);
        assert_eq!(keyring.find(&a, None, 99).unwrap().token_id, "a");
        assert_eq!(keyring.find(&b, None, 99).unwrap().token_id, "b", "same bucket");
        assert_eq!(keyring.find(&a, None, 100), None, "expired");
        assert_eq!(keyring.find(&[9; 32], None, 0), None);
        assert_eq!(keyring.list(100, true).len(), 1);
        assert_eq!(keyring.list(100, false)[0].id, "a");
        assert!(keyring.token("a", 99).is_some() && keyring.token("a", 100).is_none());
        keyring.remove("b");
        assert_eq!((keyring.find(&b, None, 0), keyring.len()), (None, 1));
    }

    #[test]
    fn both_secrets_open_it_during_the_overlap() {
        let keyring = ring(vec![token("a", [1; 32], None)]);
        let mut rotated = token("a", [2; 32], None);
        rotated.previous_hash = Some([1; 32]);
        rotated.info.previous_until = Some(50);
        keyring.insert(rotated);
        assert!(keyring.find(&[1; 32], None, 49).is_some() && keyring.find(&[2; 32], None, 49).is_some());
        assert!(keyring.find(&[1; 32], None, 50).is_none() && keyring.find(&[2; 32], None, 50).is_some());
        assert_eq!(keyring.list(49, true)[0].previous_until, Some(50));
        assert_eq!(keyring.list(50, true)[0].previous_until, None);
        keyring.insert(token("a", [3; 32], None));
        assert!(keyring.find(&[1; 32], None, 0).is_none() && keyring.find(&[2; 32], None, 0).is_none());
        assert_eq!(keyring.len(), 1);
    }

    #[test]
    fn believed_only_from_its_networks() {
        let mut limited = token("a", [1; 32], None);
        limited.info.sources = vec!["192.0.2.0/24", "2001:db8::/32"]
            .into_iter()
            .map(|text| tandem_model::Network::parse(text).unwrap())
            .collect();
        let keyring = ring(vec![limited]);
        for (source, believed) in [
            (Some("192.0.2.9"), true),
            (Some("::ffff:192.0.2.9"), true),
            (Some("2001:db8::1"), true),
            (Some("198.51.100.1"), false),
            (None, false),
        ] {
            let source = source.map(|text| text.parse().unwrap());
            assert_eq!(keyring.find(&[1; 32], source, 0).is_some(), believed, "{source:?}");
        }
    }
}
