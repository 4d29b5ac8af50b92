//! The version that is served now, the swap to the next, and the versions before it for incremental transfers.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tandem_model::{DomainName, Serial};

use crate::diff::Difference;
use crate::zones::{Changed, Zones};

/// How many versions before the current one are kept: secondaries that are further behind transfer the whole zone. Versions
/// share all but what changed between them, a few KiB.
pub const MAX_VERSIONS: usize = 4096;
/// How many changes the versions kept may be made of: an import changes thousands of nodes at a time, and each of them
/// keeps some KiB of the version before it. Secondaries that miss more transfer the whole zone.
const MAX_CHANGES: usize = 16 << 10;

/// The current [`Zones`], shared by one writer and any number of readers. Readers never wait for the writer.
#[derive(Debug, Clone)]
pub struct Live {
    current: Arc<ArcSwap<Zones>>,
    past: Arc<Past>,
}

/// The versions before the current one, oldest first, and who waits for the next.
#[derive(Debug, Default)]
struct Past {
    state: Mutex<PastState>,
    published: Condvar,
}

#[derive(Debug, Default)]
struct PastState {
    versions: VecDeque<Arc<Zones>>,
    /// How many changes lead from the oldest of them to the current one.
    changes: usize,
    count: u64,
    listeners: Vec<Listener>,
}

/// Is called after each publication, until it returns `false`.
struct Listener(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Live {
    /// Begins with `zones`.
    #[must_use]
    pub fn new(zones: Zones) -> Self {
        Self::with_past(zones, VecDeque::new())
    }

    /// Begins with `zones`, and the versions before it, oldest first.
    pub(crate) fn with_past(zones: Zones, versions: VecDeque<Arc<Zones>>) -> Self {
        let changes = versions.iter().skip(1).map(|version| version.changed.len()).sum::<usize>() + zones.changed.len();
        let state = PastState { versions, changes, ..PastState::default() };
        let past = Past { state: Mutex::new(state), published: Condvar::new() };
        Self { current: Arc::new(ArcSwap::from_pointee(zones)), past: Arc::new(past) }
    }

    /// The version that is current now; it stays whole for as long as the caller keeps it (DNS-79).
    #[must_use]
    pub fn load(&self) -> Arc<Zones> {
        self.current.load_full()
    }

    /// A reader for one thread that asks often: a load costs one atomic read while nothing changed.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.current)))
    }

    /// Makes `zones` what every later [`load`](Self::load) gives. There is one caller at a time: the writer.
    pub fn publish(&self, zones: Zones) {
        let mut dropped = Vec::new();
        let mut past = self.past();
        match &zones.changed {
            // No difference can be told across this step.
            Changed::All => {
                dropped.extend(past.versions.drain(..));
                past.changes = 0;
            }
            Changed::Only { nodes, .. } => {
                past.changes += nodes.len();
                past.versions.push_back(self.current.load_full());
            }
        }
        self.current.store(Arc::new(zones));
        while past.versions.len() > MAX_VERSIONS || past.changes > MAX_CHANGES {
            dropped.extend(past.versions.pop_front());
            past.changes -= past.versions.front().map_or(past.changes, |oldest| oldest.changed.len());
        }
        past.count += 1;
        past.listeners.retain(|Listener(call)| call());
        drop(past);
        self.past.published.notify_all();
        // Freed here, by the writer and after the lock, and not by a thread that answers questions.
        drop(dropped);
    }

    /// Has `call` called after each publication from now on, until it returns `false`. It runs on the writer's thread: it
    /// wakes somebody and returns, and does not use this value.
    pub fn on_publish(&self, call: impl Fn() -> bool + Send + Sync + 'static) {
        self.past().listeners.push(Listener(Box::new(call)));
    }

    /// What leads from serial `from` of the zone at `apex` to the version `now`, and the SOA of then: data and TTL.
    ///
    /// `None` when that version is not kept, or when the difference has more than `most` records: transfer the whole zone.
    #[must_use]
    pub fn difference(
        &self,
        now: &Arc<Zones>,
        apex: &DomainName,
        from: Serial,
        most: usize,
    ) -> Option<(Vec<u8>, u32, Difference)> {
        let (old, changed) = self.since(now, apex, from)?;
        let soa = old.zone(apex)?.soa();
        let mut rdata = Vec::new();
        soa.rdatas().next()?.write(&mut rdata);
        Some((rdata, soa.ttl(), Difference::between(&old, now, apex, &changed, most)?))
    }

    /// How many versions have been published.
    #[must_use]
    pub fn version_count(&self) -> u64 {
        self.past().count
    }

    /// Waits until more than `seen` versions have been published, at most `longest`; returns how many there are. Blocks the
    /// thread.
    #[must_use]
    pub fn wait_for_change(&self, seen: u64, longest: Duration) -> u64 {
        let wait = self.past.published.wait_timeout_while(self.past(), longest, |past| past.count <= seen);
        wait.unwrap_or_else(PoisonError::into_inner).0.count
    }

    /// The newest version before `now` in which the zone had serial `from`, and the nodes that changed since.
    fn since(&self, now: &Arc<Zones>, apex: &DomainName, from: Serial) -> Option<(Arc<Zones>, BTreeSet<DomainName>)> {
        let past = self.past();
        let mut end = past.versions.len();
        if !Arc::ptr_eq(&self.current.load(), now) {
            end = past.versions.iter().rposition(|version| Arc::ptr_eq(version, now))?;
        }
        let mut changed = BTreeSet::new();
        let mut later = now;
        for version in past.versions.range(..end).rev() {
            let Changed::Only { nodes, zones } = &later.changed else { return None };
            if zones.contains(apex) {
                return None;
            }
            changed.extend(nodes.iter().cloned());
            if version.zone(apex)?.serial() == from {
                return Some((Arc::clone(version), changed));
            }
            later = version;
        }
        None
    }

    /// What it guards is whole even after a panic elsewhere.
    fn past(&self) -> MutexGuard<'_, PastState> {
        self.past.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's view of [`Live`].
#[derive(Debug)]
pub struct Reader(Cache<Arc<ArcSwap<Zones>>, Arc<Zones>>);

impl Reader {
    /// The current version.
    pub fn load(&mut self) -> &Arc<Zones> {
        self.0.load()
    }
}
