//! All members by domain: a value that is cheap to copy and to change, so that each change makes a whole new version.
//!
//! Members are spread over shards by the hash of their domain, each a sorted list that versions share until it changes. A
//! change copies one shard and the list of shards; what two versions differ in is found without looking at what they share.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use tandem_model::DomainName;

use crate::member::Member;

/// Shards: a change at 100,000 members copies about a hundred pointers.
const SHARDS: usize = 1024;

type Shard = Arc<Vec<Arc<Member>>>;

/// Members by domain, in no order.
#[derive(Debug, Clone)]
pub struct MemberMap {
    shards: Box<[Shard]>,
    /// Random, so that nobody can choose names that all fall into one shard.
    hasher: RandomState,
    len: usize,
}

impl Default for MemberMap {
    fn default() -> Self {
        Self { shards: vec![Shard::default(); SHARDS].into(), hasher: RandomState::new(), len: 0 }
    }
}

impl MemberMap {
    /// How many there are, those that must not be called too.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The member with exactly this domain.
    #[must_use]
    pub fn get(&self, domain: &DomainName) -> Option<&Arc<Member>> {
        let shard = &self.shards[self.shard(domain)];
        let at = place(shard, domain).ok()?;
        shard.get(at)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Puts a member in the place of the one at its domain, which is given back.
    pub fn insert(&mut self, member: Arc<Member>) -> Option<Arc<Member>> {
        let index = self.shard(&member.domain);
        let shard = Arc::make_mut(&mut self.shards[index]);
        match place(shard, &member.domain) {
            Ok(at) => Some(std::mem::replace(&mut shard[at], member)),
            Err(at) => {
                shard.insert(at, member);
                self.len += 1;
                None
            }
        }
    }

    /// Takes out the member at `domain`.
    pub fn remove(&mut self, domain: &DomainName) -> Option<Arc<Member>> {
        let index = self.shard(domain);
        let at = place(&self.shards[index], domain).ok()?;
        self.len -= 1;
        Some(Arc::make_mut(&mut self.shards[index]).remove(at))
    }

    /// The domains at which this version differs from `older`, each once: added, removed or changed.
    ///
    /// Costs as much as what differs when `older` became this version by changes; versions of different origin are compared
    /// as a whole.
    #[must_use]
    pub fn difference(&self, older: &Self) -> Vec<DomainName> {
        let mut found = Vec::new();
        let mut note = |member: &Arc<Member>, other: Option<&Arc<Member>>| {
            if other.is_none_or(|other| !Arc::ptr_eq(other, member) && other != member) {
                found.push(member.domain.clone());
            }
        };
        if self.hasher.hash_one(0) != older.hasher.hash_one(0) {
            self.iter().for_each(|member| note(member, older.get(&member.domain)));
            older.iter().filter(|member| self.get(&member.domain).is_none()).for_each(|member| note(member, None));
            return found;
        }
        for (new, old) in self.shards.iter().zip(&older.shards) {
            if Arc::ptr_eq(new, old) {
                continue;
            }
            let find = |shard: &Shard, domain| place(shard, domain).ok().map(|at| Arc::clone(&shard[at]));
            new.iter().for_each(|member| note(member, find(old, &member.domain).as_ref()));
            old.iter().filter(|member| place(new, &member.domain).is_err()).for_each(|member| note(member, None));
        }
        found
    }

    fn shard(&self, domain: &DomainName) -> usize {
        // The remainder is below the number of shards.
        (self.hasher.hash_one(domain) % SHARDS as u64) as usize
    }
}

fn place(shard: &[Arc<Member>], domain: &DomainName) -> Result<usize, usize> {
    shard.binary_search_by(|member| member.domain.as_wire().cmp(domain.as_wire()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::MemberState;

    fn member(domain: &str, lease_until: u64) -> Arc<Member> {
        let domain = DomainName::parse(domain).unwrap();
        let (withheld, state) = (Box::default(), MemberState::Active);
        Arc::new(Member { domain, state, reason: None, lease_until, node: None, withheld, key: None })
    }

    #[test]
    fn versions_share_and_differ() {
        let mut map = MemberMap::default();
        for at in 0..3000 {
            assert!(map.insert(member(&format!("m{at}.test"), 1)).is_none());
        }
        let old = map.clone();
        assert!(map.difference(&old).is_empty());
        map.insert(member("m7.test", 2)).unwrap();
        map.insert(member("m8.test", 1)).unwrap();
        map.insert(member("new.test", 1));
        let gone = DomainName::parse("m9.test").unwrap();
        assert_eq!(map.remove(&gone).unwrap().lease_until, 1);
        assert!(map.remove(&gone).is_none() && map.get(&gone).is_none() && old.get(&gone).is_some());
        assert_eq!((map.len(), map.iter().count(), old.len()), (3000, 3000, 3000));
        let mut changed: Vec<String> = map.difference(&old).iter().map(ToString::to_string).collect();
        changed.sort();
        assert_eq!(changed, ["m7.test", "m9.test", "new.test"], "an equal member is no change");
        let mut back: Vec<String> = old.difference(&map).iter().map(ToString::to_string).collect();
        back.sort();
        assert_eq!(back, changed);
        let mut stranger = MemberMap::default();
        stranger.insert(member("m7.test", 2));
        assert_eq!(stranger.difference(&MemberMap::default()).len(), 1, "of another origin");
        assert_eq!(stranger.difference(&map).len(), 2999);
    }
}
