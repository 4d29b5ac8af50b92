//! The names above nodes, counted: empty non-terminals are those with a node below them.

use std::sync::Arc;

use crate::hamt::{Hamt, Keyed};
use crate::name::{QueryName, hash_name};

/// A name that has nodes below it, and how many.
#[derive(Debug, Clone)]
pub(crate) struct Above {
    hash: u64,
    name: Arc<[u8]>,
    count: u32,
}

impl Keyed for Above {
    fn key_hash(&self) -> u64 {
        self.hash
    }

    fn same_key(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Counts one node more, or less, below suffix `index` of `name`.
pub(crate) fn change_count(above: &mut Hamt<Above>, name: &QueryName, index: usize, add: bool) {
    let (hash, suffix) = (name.hash(index), name.suffix(index));
    let is_name = |entry: &Above| *entry.name == *suffix;
    match above.get_mut(hash, is_name) {
        Some(entry) if add => entry.count += 1,
        Some(entry) if entry.count > 1 => entry.count -= 1,
        Some(_) => _ = above.remove(hash, is_name),
        None if add => _ = above.insert(Above { hash, name: suffix.into(), count: 1 }),
        None => {}
    }
}

/// Whether `above` has suffix `index` of `name`.
pub(crate) fn is_above(above: &Hamt<Above>, name: &QueryName, index: usize) -> bool {
    above.get(name.hash(index), |entry| *entry.name == *name.suffix(index)).is_some()
}

/// [`is_above`] for a registered name in wire form.
pub(crate) fn is_above_hash(above: &Hamt<Above>, name: &[u8]) -> bool {
    above.get(hash_name(name), |entry| *entry.name == *name).is_some()
}
