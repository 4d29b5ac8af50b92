//! Leases: when each registration's time is up, held in memory in 16 octets a node.
//!
//! A renewal is one look into `Leases` and one number written there; the disk hears of it later and seldom. So every
//! lease written down may lag by up to `lag`, and is given that much more when it is read again. After a start, and
//! after the clock jumped forward, no registration moves before it had [`LeaseTimes::grace_seconds`] to renew in: a long
//! stop is no reason for a mass expiry. After a jump backward no lease is left that ends later than a whole lease from
//! then on. Who moves what is due is `writer::life`; the names behind the keys are in the zones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tandem_model::{DomainName, Node};
use tandem_zone::QueryName;

use crate::state::NodeState;

/// Parts of the table, each with its own lock: a renewal never waits for a whole walk.
const SHARDS: usize = 1024;
/// Bits of a key that choose its shard.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// How far the clock may run ahead of the monotonic one, or behind it, before that is a jump, in seconds.
pub const JUMP_SECONDS: u64 = 60;
/// Least seconds between two writes of one lease.
const LEAST_LAG: u64 = 900;

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
    /// The lease's length (22 bits), the state (3 bits from bit 24), and whether `at` is still to be written (bit 31).
    rest: u32,
}

const LEASE_BITS: u32 = (1 << 22) - 1;
const STATE_SHIFT: u32 = 24;
const UNWRITTEN: u32 = 1 << 31;

impl Entry {
    fn new(key: u64, state: NodeState, at: u64, lease: u32) -> Self {
        let mut entry = Self { key, at: seconds(at), rest: lease.min(LEASE_BITS) };
        entry.set_state(state);
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
    pub(crate) fn load(&mut self, domain: &DomainName, state: NodeState, since: u64, until: u64, lease: u32) {
        let now = *self.epoch.get_mut();
        let at = match (state.keeps_lease(), until) {
            // Registered before there were leases.
            (true, 0) => now + u64::from(lease),
            // It may have been renewed after it was written; and a clock that was wrong must not prolong it for ever.
            (true, until) => (until + lag(lease)).min(now + u64::from(lease)),
            (false, _) => since.min(now),
        };
        let key = key_of(domain);
        let shard = self.shards[shard_of(key)].get_mut().unwrap_or_else(PoisonError::into_inner);
        reserve(&mut shard.entries);
        shard.entries.push(Entry::new(key, state, at, lease));
    }

    /// All are in.
    pub(crate) fn loaded(&mut self) {
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            shard.entries.sort_unstable_by_key(|entry| entry.key);
            shard.entries.shrink_to_fit();
        }
    }

    /// Begins or replaces a lease. One in a state that keeps its lease ends at `at`; the others began then.
    pub(crate) fn set(&self, domain: &DomainName, state: NodeState, at: u64, lease: u32) {
        let entry = Entry::new(key_of(domain), state, at, lease);
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
        entry.state().keeps_lease().then(|| u64::from(entry.at).max(self.grace_end(entry)))
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
                let at = (u64::from(entry.at) + wait).max(self.grace_end(entry));
                if at > now || due.len() == limit {
                    next_due = next_due.min(at);
                    continue;
                }
                due.push(Due { key: entry.key, lead, was: *entry });
                if let Move::To(state) = lead {
                    entry.at = seconds(now);
                    entry.rest &= !UNWRITTEN;
                    entry.set_state(state);
                    next_due = 0;
                } else {
                    // Until it is gone: a renewal must not bring it back meanwhile.
                    entry.set_state(NodeState::Tombstone);
                    entry.at = seconds(now);
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
            shard.entries[index] = due.was;
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
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const DAY: u64 = 86_400;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn table() -> Leases {
        let leases = Leases::new(LeaseTimes::default(), NOW);
        leases.set(&name("a.test"), NodeState::Active, NOW + 3_600, 3_600);
        leases
    }

    fn due(leases: &Leases, now: u64) -> Vec<Move> {
        leases.take_due(now, 10).iter().map(|due| due.lead).collect()
    }

    #[test]
    fn an_entry_is_16_octets() {
        assert_eq!(size_of::<Entry>(), 16);
        for state in NodeState::ALL {
            let entry = Entry::new(1, state, NOW, 2_592_000);
            assert_eq!((entry.state(), entry.lease(), entry.is_unwritten()), (state, 2_592_000, false));
        }
    }

    #[test]
    fn each_state_has_its_time() {
        let leases = table();
        assert_eq!(due(&leases, NOW + 3_599), []);
        assert_eq!(due(&leases, NOW + 3_600), [Move::To(NodeState::Stale)]);
        let stale = NOW + 3_600;
        assert_eq!(due(&leases, stale + DAY - 1), []);
        // A walk that comes late prolongs: each state has its whole time.
        let withdrawn = stale + DAY + 5;
        assert_eq!(due(&leases, withdrawn), [Move::To(NodeState::Withdrawn)]);
        assert_eq!(due(&leases, withdrawn + 7 * DAY - 1), []);
        assert_eq!(due(&leases, withdrawn + 7 * DAY), [Move::To(NodeState::Tombstone)]);
        let tombstone = withdrawn + 7 * DAY;
        assert_eq!(due(&leases, tombstone + 30 * DAY - 1), []);
        assert_eq!(due(&leases, tombstone + 30 * DAY), [Move::Forget]);
    }

    #[test]
    fn renewals_are_written_seldom() {
        let leases = table();
        let mut writes = 0;
        for second in 0..7_200 {
            let renewal = leases.renew(&name("a.test"), NOW + second);
            let until = NOW + second + 3_600;
            assert_eq!(renewal, Renewal::Done(Lease { state: NodeState::Active, seconds: 3_600, until }));
            writes += leases.take_unwritten(10).len();
        }
        assert!((7..=9).contains(&writes), "7,200 renewals took {writes} writes, one in {LEAST_LAG} s is due");
        assert_eq!(leases.renew(&name("b.test"), NOW), Renewal::Unknown);
    }

    #[test]
    fn what_was_not_written_is_offered_again() {
        let leases = table();
        leases.renew(&name("a.test"), NOW + 2_000);
        let taken = leases.take_unwritten(10);
        assert_eq!((taken.len(), leases.take_unwritten(10).len()), (1, 0));
        leases.keep_unwritten(taken.iter().map(|(key, _)| *key));
        assert_eq!(leases.take_unwritten(10), taken);
    }

    #[test]
    fn a_move_that_failed_is_due_again() {
        let leases = table();
        let taken = leases.take_due(NOW + 3_600, 10);
        assert_eq!(leases.renew(&name("a.test"), NOW + 3_600), Renewal::Returns, "not behind the writer's back");
        taken.iter().for_each(|due| leases.undo(due));
        assert_eq!(due(&leases, NOW + 3_600), [Move::To(NodeState::Stale)]);
    }

    #[test]
    fn a_long_stop_gives_a_grace_and_the_lag() {
        for (until, lease, end) in [
            (NOW - DAY, 7 * 86_400, NOW + 3_600),         // over: an hour to renew in
            (NOW - DAY, 600, NOW + 600),                  // a short lease has a short grace
            (NOW + DAY, 7 * 86_400, NOW + DAY + 75_600),  // running: what may not have been written
            (NOW + 900 * DAY, 7 * 86_400, NOW + 7 * DAY), // written by a clock that was wrong
            (0, 7 * 86_400, NOW + 7 * DAY),               // from before there were leases
        ] {
            let mut leases = Leases::new(LeaseTimes::default(), NOW);
            leases.load(&name("a.test"), NodeState::Active, 1, until, lease);
            leases.loaded();
            assert_eq!(leases.until(&name("a.test")), Some(end), "{until} {lease}");
            assert_eq!(due(&leases, end - 1), [], "{until} {lease}");
            assert_eq!(due(&leases, end), [Move::To(NodeState::Stale)], "{until} {lease}");
        }
    }

    #[test]
    fn limits_leave_the_rest_for_the_next_walk() {
        let leases = Leases::new(LeaseTimes::default(), NOW);
        for index in 0..1_000 {
            leases.set(&name(&format!("n{index}.test")), NodeState::Active, NOW, 60);
        }
        let mut moved = 0;
        loop {
            let taken = leases.take_due(NOW + 60, 64).len();
            assert!(taken <= 64);
            if taken == 0 {
                break;
            }
            moved += taken;
        }
        assert_eq!((moved, leases.len()), (1_000, 1_000));
        leases.remove(&name("n7.test"));
        assert_eq!((leases.len(), leases.until(&name("n7.test"))), (999, None));
    }

    #[test]
    fn jumps_of_the_clock() {
        let leases = table();
        leases.jumped_forward(NOW + 400 * DAY);
        assert_eq!(due(&leases, NOW + 400 * DAY + 3_599), [], "grace");
        assert_eq!(leases.until(&name("a.test")), Some(NOW + 400 * DAY + 3_600));
        let leases = table();
        leases.jumped_back(NOW - 400 * DAY);
        assert_eq!(leases.until(&name("a.test")), Some(NOW - 400 * DAY + 3_600), "not for ever");
        assert_eq!(due(&leases, NOW - 400 * DAY + 3_600), [Move::To(NodeState::Stale)]);
    }
}
