//! Leases: when each registration's time is up, held in memory in 16 octets a node.
//!
//! A renewal is one look into `Leases` and one number written there; the disk hears of it later and seldom. So every
//! lease written down may lag by up to `lag`, and is given that much more when it is read again. After a start, and
//! after the clock jumped forward, no registration moves before it had [`LeaseTimes::grace_seconds`] to renew in: a long
//! stop is no reason for a mass expiry. After a jump backward no lease is left that ends later than a whole lease from
//! then on. Who moves what is due is `writer::life`; the names behind the keys are in the zones.
//!
//! When a quarter of a lease is left that is due, too: as a warning, once a lease. Whether it was given is a bit here, and a
//! time in the store ([`Standing::lease_warned`]), which a renewal need not write: it counts only if the lease began before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tandem_model::{DomainName, Node};
use tandem_zone::QueryName;

use crate::state::{NodeState, Standing};

/// Parts of the table, each with its own lock: a renewal never waits for a whole walk.
const SHARDS: usize = 1024;
/// Bits of a key that choose its shard.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// How far the clock may run ahead of the monotonic one, or behind it, before that is a jump, in seconds.
pub const JUMP_SECONDS: u64 = 60;
/// Least seconds between two writes of one lease.
const LEAST_LAG: u64 = 900;
/// When one part of so many is left of a lease, its end is announced.
const WARNED_PART: u32 = 4;
/// A shorter lease, in seconds, ends unannounced: nobody would hear of it in time, and it would be written at each.
const LEAST_WARNED: u32 = 3_600;

/// How long a registration stays in each state that time ends, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The lease of a node that asks for none.
    pub default_seconds: u32,
    /// Least time stale, before it is withdrawn; a longer lease makes this time longer too.
    pub stale_seconds: u32,
    /// Time withdrawn, before the document is forgotten.
    pub withdrawn_seconds: u32,
    /// Time that the name is held after that.
    pub tombstone_seconds: u32,
    /// Time to renew in after a start or a jump of the clock; a shorter lease makes it shorter.
    pub grace_seconds: u32,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            default_seconds: 7 * 86_400,
            stale_seconds: 86_400,
            withdrawn_seconds: 7 * 86_400,
            tombstone_seconds: 30 * 86_400,
            grace_seconds: 3_600,
        }
    }
}

impl LeaseTimes {
    /// The lease that `node` gets, in seconds.
    #[must_use]
    pub fn lease_of(&self, node: &Node) -> u32 {
        node.lease_seconds.unwrap_or(self.default_seconds)
    }

    /// Seconds from an entry's time to its next move, and where that leads; `None` when time does not move it.
    /// [`Move::Forget`] is the end.
    const fn next_move(&self, entry: &Entry) -> Option<(u64, Move)> {
        let lease = entry.lease();
        let stale = if lease > self.stale_seconds { lease } else { self.stale_seconds };
        match entry.state() {
            NodeState::Active => Some((0, Move::To(NodeState::Stale))),
            NodeState::Stale | NodeState::Draining => Some((stale as u64, Move::To(NodeState::Withdrawn))),
            NodeState::Withdrawn => Some((self.withdrawn_seconds as u64, Move::To(NodeState::Tombstone))),
            NodeState::Tombstone => Some((self.tombstone_seconds as u64, Move::Forget)),
            // Nobody approved it in all that time.
            NodeState::Pending => Some((stale as u64, Move::Forget)),
            // Somebody has to decide.
            NodeState::Suspended | NodeState::Compromised => None,
        }
    }
}

/// Where time leads a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// To this state.
    To(NodeState),
    /// Nowhere yet: its lease ends soon, which is to be said.
    Warn,
    /// Out of the store.
    Forget,
}

/// A lease as it was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The state of the registration.
    pub state: NodeState,
    /// Its length in seconds.
    pub seconds: u32,
    /// Seconds since 1970 when it ends.
    pub until: u64,
}

/// What a renewal in memory came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It is done.
    Done(Lease),
    /// The registration has to change its state: ask the writer.
    Returns,
    /// No such registration, or only its name is left.
    Unknown,
}

/// The time of one registration.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// [`QueryName::key`] of the domain.
    key: u64,
    /// Seconds since 1970: the end of the lease, or for a state that time made, when that began.
    at: u32,
    /// The lease's length (22 bits), the state (3 bits from bit 24), whether its end was announced (bit 30), and whether `at` is
    /// still to be written (bit 31).
    rest: u32,
}

const LEASE_BITS: u32 = (1 << 22) - 1;
const STATE_SHIFT: u32 = 24;
const WARNED: u32 = 1 << 30;
const UNWRITTEN: u32 = 1 << 31;

impl Entry {
    /// For a registration whose next move counts from `at`.
    fn new(key: u64, standing: &Standing, at: u64, lease: u32) -> Self {
        let mut entry = Self { key, at: seconds(at), rest: lease.min(LEASE_BITS) };
        entry.set_state(standing.state);
        // A warning of the future is one by a clock that was wrong.
        let begun = at.saturating_sub(u64::from(lease));
        if standing.state.keeps_lease() && begun < standing.lease_warned && standing.lease_warned <= at {
            entry.rest |= WARNED;
        }
        entry
    }

    const fn lease(&self) -> u32 {
        self.rest & LEASE_BITS
    }

    const fn state(&self) -> NodeState {
        NodeState::ALL[((self.rest >> STATE_SHIFT) & 7) as usize]
    }

    fn set_state(&mut self, state: NodeState) {
        let index = NodeState::ALL.iter().position(|known| *known == state).expect("ALL has all of them");
        self.rest = self.rest & !(7 << STATE_SHIFT) | u32::try_from(index).expect("below 8") << STATE_SHIFT;
    }

    const fn is_unwritten(&self) -> bool {
        self.rest & UNWRITTEN != 0
    }

    const fn is_warned(&self) -> bool {
        self.rest & WARNED != 0
    }
}

/// Seconds since 1970 in 32 bits: good until 2106.
fn seconds(time: u64) -> u32 {
    u32::try_from(time).unwrap_or(u32::MAX)
}

/// How much later than written down a lease of this length may end.
fn lag(lease: u32) -> u64 {
    (u64::from(lease) / 8).max(LEAST_LAG)
}

/// All leases.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) times: LeaseTimes,
    /// Seconds since 1970 of the start, or of the last jump forward.
    epoch: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    /// By key.
    entries: Vec<Entry>,
    /// No entry is due before.
    next_due: u64,
    has_unwritten: bool,
}

/// An entry whose time is up; it has its new state already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) key: u64,
    pub(crate) lead: Move,
    was: Entry,
}

impl Due {
    /// When its lease ended, if that is what ended.
    pub(crate) fn lease_end(&self) -> Option<u64> {
        self.was.state().keeps_lease().then_some(u64::from(self.was.at))
    }
}

impl Leases {
    /// None yet; `now` is the start.
    pub(crate) fn new(times: LeaseTimes, now: u64) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { times, epoch: AtomicU64::new(now), shards }
    }

    /// Takes a registration in as it was read; [`loaded`](Self::loaded) ends that.
    pub(crate) fn load(&mut self, domain: &DomainName, standing: &Standing, lease: u32) {
        let now = *self.epoch.get_mut();
        let at = match (standing.state.keeps_lease(), standing.lease_until) {
            // Registered before there were leases.
            (true, 0) => now + u64::from(lease),
            // It may have been renewed after it was written; and a clock that was wrong must not prolong it for ever.
            (true, until) => (until + lag(lease)).min(now + u64::from(lease)),
            (false, _) => standing.since.min(now),
        };
        let key = key_of(domain);
        let shard = self.shards[shard_of(key)].get_mut().unwrap_or_else(PoisonError::into_inner);
        reserve(&mut shard.entries);
        shard.entries.push(Entry::new(key, standing, at, lease));
    }

    /// All are in.
    pub(crate) fn loaded(&mut self) {
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            shard.entries.sort_unstable_by_key(|entry| entry.key);
            shard.entries.shrink_to_fit();
        }
    }

    /// Begins or replaces a lease, of this length in seconds.
    pub(crate) fn set(&self, domain: &DomainName, standing: &Standing, lease: u32) {
        let entry = Entry::new(key_of(domain), standing, standing.time(), lease);
        let mut shard = self.shard(entry.key);
        shard.next_due = 0;
        match shard.find(entry.key) {
            Ok(index) => shard.entries[index] = entry,
            Err(index) => {
                reserve(&mut shard.entries);
                shard.entries.insert(index, entry);
            }
        }
    }

    /// Forgets a lease.
    pub(crate) fn remove(&self, domain: &DomainName) {
        self.remove_key(key_of(domain));
    }

    /// [`remove`](Self::remove) of what is known by its key only.
    pub(crate) fn remove_key(&self, key: u64) {
        let mut shard = self.shard(key);
        if let Ok(index) = shard.find(key) {
            shard.entries.remove(index);
        }
    }

    /// Begins the lease anew if that changes no state. Costs a lock that nobody holds for long; writes nothing.
    pub(crate) fn renew(&self, domain: &DomainName, now: u64) -> Renewal {
        let key = key_of(domain);
        let mut shard = self.shard(key);
        let Ok(index) = shard.find(key) else { return Renewal::Unknown };
        let entry = &mut shard.entries[index];
        match entry.state() {
            NodeState::Tombstone => return Renewal::Unknown,
            NodeState::Stale | NodeState::Withdrawn => return Renewal::Returns,
            NodeState::Pending
            | NodeState::Active
            | NodeState::Draining
            | NodeState::Suspended
            | NodeState::Compromised => {}
        }
        let lease = entry.lease();
        let until = now + u64::from(lease);
        // Written at most once in so many seconds, whatever the node does.
        let unwritten = until / lag(lease) != u64::from(entry.at) / lag(lease);
        entry.at = seconds(until);
        entry.rest &= !WARNED;
        let state = entry.state();
        if unwritten {
            entry.rest |= UNWRITTEN;
            shard.has_unwritten = true;
        }
        Renewal::Done(Lease { state, seconds: lease, until })
    }

    /// When the lease of `domain` ends, if it runs.
    pub(crate) fn until(&self, domain: &DomainName) -> Option<u64> {
        let key = key_of(domain);
        let shard = self.shard(key);
        let entry = &shard.entries[shard.find(key).ok()?];
        entry.state().keeps_lease().then(|| self.lease_end(entry))
    }

    /// Whether the end of the lease behind `key` is announced, or about to be, and it was not renewed since.
    pub(crate) fn is_warned(&self, key: u64) -> bool {
        let shard = self.shard(key);
        shard.find(key).is_ok_and(|index| shard.entries[index].is_warned())
    }

    /// At most `limit` registrations whose time is up at `now`; each has its new state here, so that a renewal from now on
    /// waits for the writer. The caller makes that so, or calls [`undo`](Self::undo).
    pub(crate) fn take_due(&self, now: u64, limit: usize) -> Vec<Due> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            if shard.next_due > now {
                continue;
            }
            let mut next_due = u64::MAX;
            for entry in &mut shard.entries {
                let Some((wait, lead)) = self.times.next_move(entry) else { continue };
                let end = (u64::from(entry.at) + wait).max(self.grace_end(entry));
                let (at, lead) = match self.warning(entry) {
                    Some(at) if now < self.lease_end(entry) => (at, Move::Warn),
                    Some(_) | None => (end, lead),
                };
                if at > now || due.len() == limit {
                    next_due = next_due.min(at);
                    continue;
                }
                due.push(Due { key: entry.key, lead, was: *entry });
                match lead {
                    Move::To(state) => {
                        entry.at = seconds(now);
                        entry.rest &= !UNWRITTEN;
                        entry.set_state(state);
                        next_due = 0;
                    }
                    Move::Warn => {
                        entry.rest |= WARNED;
                        next_due = next_due.min(end);
                    }
                    Move::Forget => {
                        // Until it is gone: a renewal must not bring it back meanwhile.
                        entry.set_state(NodeState::Tombstone);
                        entry.at = seconds(now);
                    }
                }
            }
            shard.next_due = next_due;
            if due.len() == limit {
                break;
            }
        }
        due
    }

    /// Takes back what [`take_due`](Self::take_due) did.
    pub(crate) fn undo(&self, due: &Due) {
        let mut shard = self.shard(due.key);
        shard.next_due = 0;
        if let Ok(index) = shard.find(due.key) {
            let entry = &mut shard.entries[index];
            match due.lead {
                Move::To(_) | Move::Forget => *entry = due.was,
                // It may have been renewed meanwhile.
                Move::Warn => entry.rest &= !WARNED,
            }
        }
    }

    /// At most `limit` leases that are not written down as they are: keys and ends. They count as written from now on.
    pub(crate) fn take_unwritten(&self, limit: usize) -> Vec<(u64, u64)> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            if !shard.has_unwritten {
                continue;
            }
            let mut left = false;
            for entry in shard.entries.iter_mut().filter(|entry| entry.is_unwritten()) {
                if taken.len() == limit {
                    left = true;
                    break;
                }
                entry.rest &= !UNWRITTEN;
                taken.push((entry.key, u64::from(entry.at)));
            }
            shard.has_unwritten = left;
            if taken.len() == limit {
                break;
            }
        }
        taken
    }

    /// Those were not written after all.
    pub(crate) fn keep_unwritten(&self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            let mut shard = self.shard(key);
            if let Ok(index) = shard.find(key) {
                shard.entries[index].rest |= UNWRITTEN;
                shard.has_unwritten = true;
            }
        }
    }

    /// The clock jumped forward to `now`: everybody has the grace from then on.
    pub(crate) fn jumped_forward(&self, now: u64) {
        self.epoch.store(now, Ordering::Relaxed);
    }

    /// The clock jumped back to `now`: nothing that was in the past is in the future, and no lease is longer than whole.
    pub(crate) fn jumped_back(&self, now: u64) {
        self.epoch.fetch_min(now, Ordering::Relaxed);
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.next_due = 0;
            for entry in &mut shard.entries {
                let most = if entry.state().keeps_lease() { now + u64::from(entry.lease()) } else { now };
                entry.at = entry.at.min(seconds(most));
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// Before then the start, or a jump of the clock, is the reason for a missing renewal.
    fn grace_end(&self, entry: &Entry) -> u64 {
        self.epoch.load(Ordering::Relaxed) + u64::from(entry.lease().min(self.times.grace_seconds))
    }

    /// When a lease that runs ends.
    fn lease_end(&self, entry: &Entry) -> u64 {
        u64::from(entry.at).max(self.grace_end(entry))
    }

    /// When the end of its lease is to be announced; `None` when it is not, or was.
    fn warning(&self, entry: &Entry) -> Option<u64> {
        let follows = matches!(entry.state(), NodeState::Active | NodeState::Draining);
        if !follows || entry.is_warned() || entry.lease() < LEAST_WARNED {
            return None;
        }
        let at = u64::from(entry.at).saturating_sub(u64::from(entry.lease() / WARNED_PART));
        // After a start whoever renews has half of what is left to do so first: a long stop is no reason for many warnings at
        // once, either. It changes nothing for a lease of which more than half was left, or that began later.
        let epoch = self.epoch.load(Ordering::Relaxed);
        Some(at.max(epoch + self.lease_end(entry).saturating_sub(epoch) / 2))
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard_of(key)])
    }
}

impl Shard {
    fn find(&self, key: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |entry| entry.key)
    }
}

/// Room for one more, and for a quarter: doubling would waste half of the table, less is copied too often.
fn reserve(entries: &mut Vec<Entry>) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact(entries.len() / 4 + 8);
    }
}

fn key_of(domain: &DomainName) -> u64 {
    QueryName::of(domain).key()
}

const fn shard_of(key: u64) -> usize {
    (key >> (u64::BITS - SHARD_BITS)) as usize
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Whole between any two statements that could panic.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
