//! Finds places in an arena by hash: one array of numbers, made once.
//!
//! A slot holds the place in its low half and half of the hash in its high one; 0 is empty. Who collides stands in the
//! next free slot. One look costs one miss of the processor's cache, and [`Index::prefetch`] asks for it beforehand.

use crate::prefetch::prefetch;

/// Slots for three entries: looks for what is not there pass three or four.
const SLOTS_FOR_THREE: usize = 5;

/// Places by hash.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: Box<[u64]>,
    len: usize,
}

impl Index {
    /// An index of hashes and places; no place is 0.
    pub(crate) fn new(entries: &[(u64, u32)]) -> Self {
        let slots = vec![0; entries.len() * SLOTS_FOR_THREE / 3 + 1];
        let mut index = Self { slots: slots.into(), len: entries.len() };
        for &(hash, place) in entries {
            let mut at = index.first(hash);
            while index.slots[at] != 0 {
                at = index.after(at);
            }
            index.slots[at] = hash << 32 | u64::from(place);
        }
        index
    }

    /// How many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// What `read` makes of the place with this hash that it accepts.
    #[inline]
    pub(crate) fn find<T>(&self, hash: u64, read: impl Fn(u32) -> Option<T>) -> Option<T> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.first(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            let place = slot as u32;
            if slot >> 32 == hash & u64::from(u32::MAX)
                && let Some(found) = read(place)
            {
                return Some(found);
            }
            at = self.after(at);
        }
    }

    /// The place that an entry with this hash probably has, if there is one: to ask for memory early.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        let slot = *self.slots.get(self.first(hash))?;
        (slot >> 32 == hash & u64::from(u32::MAX)).then_some(slot as u32)
    }

    /// Asks for the memory that [`find`](Self::find) will read.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.first(hash)) {
            prefetch(slot);
        }
    }

    /// Where the search for this hash begins: the high bits say it, the low ones stand in the slot.
    #[inline]
    fn first(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        assert_eq!(Index::default().find(7, Some), None);
        // Hashes of three kinds: spread, all in one slot, and equal.
        let hash = |n: u64| match n % 3 {
            0 => n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            1 => n,
            _ => u64::MAX,
        };
        let entries: Vec<(u64, u32)> = (1..1000_u32).map(|n| (hash(u64::from(n)), n)).collect();
        let index = Index::new(&entries);
        for &(hash, place) in &entries {
            assert_eq!(index.find(hash, |there| (there == place).then_some(there)), Some(place));
            assert_eq!(index.find(hash, |there| (there == place + 1000).then_some(())), None);
            index.prefetch(hash);
        }
        assert_eq!(index.find(hash(1002), Some), None);
        assert_eq!(index.guess(hash(1002)), None);
        assert!(entries.iter().any(|(hash, place)| index.guess(*hash) == Some(*place)));
    }
}
