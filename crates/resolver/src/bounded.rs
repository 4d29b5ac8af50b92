//! A map with a limit of entries and of octets: what was not used lately goes first.
//!
//! Keys are keyed hashes; who stores a value stores its real key in it and compares. The order of eviction is that of a
//! clock: an entry that was used since the hand last passed gets a second round. Every operation is O(1) on average.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Octets that an entry costs beside its value: the slot, the hand's place.
const OVERHEAD: usize = 64;

/// The map. With a limit of 0 entries it keeps nothing.
#[derive(Debug)]
pub(crate) struct Bounded<V> {
    slots: HashMap<u64, Slot<V>, BuildHasherDefault<AsItIs>>,
    /// Each key once, in the order in which the hand meets them.
    hand: VecDeque<u64>,
    octets: usize,
    max_entries: usize,
    max_octets: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    octets: usize,
    used: bool,
}

impl<V> Bounded<V> {
    pub(crate) fn new(max_entries: usize, max_octets: usize) -> Self {
        Self { slots: HashMap::default(), hand: VecDeque::new(), octets: 0, max_entries, max_octets }
    }

    /// The value at `key`, which counts as used.
    pub(crate) fn get(&mut self, key: u64) -> Option<&mut V> {
        let slot = self.slots.get_mut(&key)?;
        slot.used = true;
        Some(&mut slot.value)
    }

    /// Puts a value of about `octets` in place of what is there; others go until the limits hold, each to `evicted`.
    pub(crate) fn put(&mut self, key: u64, value: V, octets: usize, mut evicted: impl FnMut(V)) {
        let octets = octets.saturating_add(OVERHEAD);
        if self.max_entries == 0 || octets > self.max_octets {
            return;
        }
        match self.slots.insert(key, Slot { value, octets, used: false }) {
            Some(before) => self.octets -= before.octets,
            None => self.hand.push_back(key),
        }
        self.octets += octets;
        while self.slots.len() > self.max_entries || self.octets > self.max_octets {
            let Some(next) = self.hand.pop_front() else { return };
            match self.slots.get_mut(&next) {
                // The newest stays: it is what somebody waits for.
                Some(slot) if slot.used || next == key => {
                    slot.used = false;
                    self.hand.push_back(next);
                }
                _ => {
                    if let Some(slot) = self.slots.remove(&next) {
                        self.octets -= slot.octets;
                        evicted(slot.value);
                    }
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) const fn octets(&self) -> usize {
        self.octets
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = (self.0 << 8) | u64::from(octet);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        let mut map = Bounded::new(4, 10_000);
        let mut gone = Vec::new();
        for key in 0..4 {
            map.put(key, key, 10, |value| gone.push(value));
        }
        assert_eq!(map.get(0), Some(&mut 0), "used: it stays");
        map.put(4, 4, 10, |value| gone.push(value));
        map.put(5, 5, 10, |value| gone.push(value));
        assert_eq!(gone, [1, 2]);
        assert_eq!((map.len(), map.octets()), (4, 4 * (10 + OVERHEAD)));
        map.put(0, 10, 2000, |value| gone.push(value));
        assert_eq!((map.len(), map.octets(), map.get(0)), (4, 2000 + OVERHEAD + 3 * (10 + OVERHEAD), Some(&mut 10)));
        // One that is large pushes out several; one that is too large is not kept, and costs nobody a place.
        map.put(9, 9, 9000, |value| gone.push(value));
        assert!(map.octets() <= 10_000 && map.get(9).is_some());
        map.put(11, 11, 20_000, |value| gone.push(value));
        assert!(map.get(11).is_none() && map.get(9).is_some());
        for key in 0..1000 {
            map.put(key, key, 10, |_| ());
            assert!(map.len() <= 4 && map.hand.len() == map.len());
        }
        let mut nothing = Bounded::new(0, 10_000);
        nothing.put(1, 1, 1, |_| ());
        assert_eq!(nothing.len(), 0);
    }
}
