//! A persistent map: cloning shares everything, a change copies only the path to it.
//!
//! A hash array mapped trie (Bagwell, "Ideal Hash Trees", 2001) over 64-bit hashes that the values give themselves,
//! so that a leaf costs one slot. Depth grows with the logarithm (base 32) of the size: a change copies at most a
//! handful of small arrays whatever the size. Look-ups allocate nothing and take no lock.

use std::sync::Arc;

use crate::prefetch::prefetch;

const BITS: u32 = 5;
const MASK: u64 = (1 << BITS) - 1;
/// Below this depth the hash is used up; what is left differs only by content and stands in a plain list.
const MAX_DEPTH: u32 = 64 / BITS;

/// A value that knows its own key.
pub(crate) trait Keyed: Clone {
    /// The hash of the key.
    fn key_hash(&self) -> u64;
    /// Whether both have the same key.
    fn same_key(&self, other: &Self) -> bool;
    /// Asks for the memory behind the value.
    fn prefetch(&self) {}
}

/// The map; the empty one allocates nothing.
#[derive(Debug, Clone)]
pub(crate) struct Hamt<V> {
    root: Option<Arc<Branch<V>>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Branch<V> {
    /// Which of the 32 slots are taken; unused at `MAX_DEPTH`.
    bitmap: u32,
    slots: Vec<Slot<V>>,
}

#[derive(Debug, Clone)]
enum Slot<V> {
    Branch(Arc<Branch<V>>),
    Leaf(V),
}

impl<V> Default for Hamt<V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

/// A way down that asks for memory one step before it reads it, so that many ways go on side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'z, V> {
    hash: u64,
    depth: u32,
    at: Stop<'z, V>,
}

/// What the last step asked for.
#[derive(Debug, Clone, Copy)]
enum Stop<'z, V> {
    Branch(&'z Branch<V>),
    Slot(&'z Slot<V>),
}

impl<V: Keyed> Walk<'_, V> {
    /// One step further; `None` at the end.
    #[inline]
    pub(crate) fn step(self) -> Option<Self> {
        let Self { hash, depth, at } = self;
        match at {
            Stop::Branch(branch) => {
                if depth == MAX_DEPTH {
                    return None;
                }
                let slot = branch.slots.get(branch.find(hash, depth).ok()?)?;
                prefetch(slot);
                Some(Self { hash, depth: depth + 1, at: Stop::Slot(slot) })
            }
            Stop::Slot(Slot::Branch(next)) => {
                let next: &Branch<V> = next;
                prefetch(next);
                Some(Self { hash, depth, at: Stop::Branch(next) })
            }
            Stop::Slot(Slot::Leaf(value)) => {
                value.prefetch();
                None
            }
        }
    }
}

impl<V: Keyed> Hamt<V> {
    /// How many values there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The value with this hash for which `is_key` holds.
    pub(crate) fn get(&self, hash: u64, is_key: impl Fn(&V) -> bool) -> Option<&V> {
        let mut branch = self.root.as_deref()?;
        let mut depth = 0;
        loop {
            if depth == MAX_DEPTH {
                return branch.slots.iter().find_map(|slot| match slot {
                    Slot::Leaf(value) if is_key(value) => Some(value),
                    Slot::Leaf(_) | Slot::Branch(_) => None,
                });
            }
            match &branch.slots[branch.find(hash, depth).ok()?] {
                Slot::Leaf(value) => return is_key(value).then_some(value),
                Slot::Branch(next) => branch = next,
            }
            depth += 1;
        }
    }

    /// The way to the value with this hash, step by step.
    #[inline]
    pub(crate) fn walk(&self, hash: u64) -> Option<Walk<'_, V>> {
        Some(Walk { hash, depth: 0, at: Stop::Branch(self.root.as_deref()?) })
    }

    /// The value with this hash for which `is_key` holds, to be changed; its key must stay.
    pub(crate) fn get_mut(&mut self, hash: u64, is_key: impl Fn(&V) -> bool) -> Option<&mut V> {
        // Looking first keeps a miss from copying the path.
        self.get(hash, &is_key)?;
        let mut branch = Arc::make_mut(self.root.as_mut()?);
        let mut depth = 0;
        loop {
            if depth == MAX_DEPTH {
                return branch.slots.iter_mut().find_map(|slot| match slot {
                    Slot::Leaf(value) if is_key(value) => Some(value),
                    Slot::Leaf(_) | Slot::Branch(_) => None,
                });
            }
            let at = branch.find(hash, depth).ok()?;
            match &mut branch.slots[at] {
                Slot::Leaf(value) => return is_key(value).then_some(value),
                Slot::Branch(next) => branch = Arc::make_mut(next),
            }
            depth += 1;
        }
    }

    /// Puts `value` in; gives back the one with the same key that was there.
    pub(crate) fn insert(&mut self, value: V) -> Option<V> {
        self.insert_hashed(value.key_hash(), value)
    }

    /// [`insert`](Self::insert) for a caller who knows the hash already.
    pub(crate) fn insert_hashed(&mut self, hash: u64, value: V) -> Option<V> {
        let root = self.root.get_or_insert_with(|| Arc::new(Branch { bitmap: 0, slots: Vec::new() }));
        let old = Arc::make_mut(root).insert(hash, 0, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes the value with this hash for which `is_key` holds out.
    pub(crate) fn remove(&mut self, hash: u64, is_key: impl Fn(&V) -> bool) -> Option<V> {
        // Looking first keeps a miss from copying the path.
        self.get(hash, &is_key)?;
        let root = Arc::make_mut(self.root.as_mut()?);
        let old = root.remove(hash, 0, &is_key)?;
        self.len -= 1;
        if root.slots.is_empty() {
            self.root = None;
        }
        Some(old)
    }

    /// Every value, in no useful order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        let mut stack: Vec<std::slice::Iter<'_, Slot<V>>> = self.root.iter().map(|root| root.slots.iter()).collect();
        std::iter::from_fn(move || {
            loop {
                match stack.last_mut()?.next() {
                    Some(Slot::Leaf(value)) => return Some(value),
                    Some(Slot::Branch(branch)) => stack.push(branch.slots.iter()),
                    None => _ = stack.pop(),
                }
            }
        })
    }
}

impl<V: Keyed> Branch<V> {
    /// Where the slot for `hash` is, or where it would be.
    fn find(&self, hash: u64, depth: u32) -> Result<usize, usize> {
        let bit = 1_u32 << ((hash >> (depth * BITS)) & MASK);
        let at = (self.bitmap & (bit - 1)).count_ones() as usize;
        if self.bitmap & bit == 0 { Err(at) } else { Ok(at) }
    }

    fn set_bit(&mut self, hash: u64, depth: u32) {
        self.bitmap |= 1 << ((hash >> (depth * BITS)) & MASK);
    }

    /// Slots are few and live long: no spare capacity is kept.
    fn insert_slot(&mut self, at: usize, slot: Slot<V>) {
        self.slots.reserve_exact(1);
        self.slots.insert(at, slot);
    }

    fn insert(&mut self, hash: u64, depth: u32, value: V) -> Option<V> {
        if depth == MAX_DEPTH {
            for slot in &mut self.slots {
                if let Slot::Leaf(there) = slot
                    && there.same_key(&value)
                {
                    return Some(std::mem::replace(there, value));
                }
            }
            self.insert_slot(self.slots.len(), Slot::Leaf(value));
            return None;
        }
        let at = match self.find(hash, depth) {
            Ok(at) => at,
            Err(at) => {
                self.insert_slot(at, Slot::Leaf(value));
                self.set_bit(hash, depth);
                return None;
            }
        };
        match &mut self.slots[at] {
            Slot::Branch(next) => Arc::make_mut(next).insert(hash, depth + 1, value),
            Slot::Leaf(there) if there.same_key(&value) => Some(std::mem::replace(there, value)),
            Slot::Leaf(there) => {
                let mut next = Self { bitmap: 0, slots: Vec::new() };
                next.insert(there.key_hash(), depth + 1, there.clone());
                next.insert(hash, depth + 1, value);
                self.slots[at] = Slot::Branch(Arc::new(next));
                None
            }
        }
    }

    fn remove(&mut self, hash: u64, depth: u32, is_key: &impl Fn(&V) -> bool) -> Option<V> {
        if depth == MAX_DEPTH {
            let at = self.slots.iter().position(|slot| matches!(slot, Slot::Leaf(value) if is_key(value)))?;
            return match self.slots.remove(at) {
                Slot::Leaf(value) => Some(value),
                Slot::Branch(_) => None,
            };
        }
        let at = self.find(hash, depth).ok()?;
        match &mut self.slots[at] {
            Slot::Leaf(value) if is_key(value) => {
                self.bitmap &= !(1 << ((hash >> (depth * BITS)) & MASK));
                match self.slots.remove(at) {
                    Slot::Leaf(value) => Some(value),
                    Slot::Branch(_) => None,
                }
            }
            Slot::Leaf(_) => None,
            Slot::Branch(next) => {
                let next = Arc::make_mut(next);
                let old = next.remove(hash, depth + 1, is_key)?;
                // A branch of one leaf is that leaf: the trie's shape depends on its content only.
                if let [Slot::Leaf(last)] = &next.slots[..] {
                    let last = last.clone();
                    self.slots[at] = Slot::Leaf(last);
                }
                Some(old)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A key whose hash keeps only some bits, so that collisions of every depth occur.
    #[derive(Debug, Clone, PartialEq)]
    struct Entry(u16, u32);

    impl Keyed for Entry {
        fn key_hash(&self) -> u64 {
            // 8 distinct low parts, 4 high parts: full collisions too.
            u64::from(self.0 & 7) | (u64::from(self.0 >> 8 & 3) << 40)
        }
        fn same_key(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(steps in prop::collection::vec((any::<bool>(), 0_u16..1024, any::<u32>()), 0..200)) {
            let mut map = Hamt::default();
            let mut model: HashMap<u16, u32> = HashMap::new();
            let mut versions = Vec::new();
            for (put, key, value) in steps {
                versions.push((map.clone(), model.clone()));
                if put {
                    prop_assert_eq!(map.insert(Entry(key, value)).map(|e| e.1), model.insert(key, value));
                } else {
                    let hash = Entry(key, 0).key_hash();
                    prop_assert_eq!(map.remove(hash, |e: &Entry| e.0 == key).map(|e| e.1), model.remove(&key));
                }
            }
            versions.push((map, model));
            // Every version, old ones too, still holds what it held.
            for (map, model) in versions {
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.iter().count(), model.len());
                for (key, value) in model {
                    let found = map.get(Entry(key, 0).key_hash(), |e| e.0 == key);
                    prop_assert_eq!(found, Some(&Entry(key, value)));
                }
            }
        }
    }
}
