//! What services see of the copy of the members: one immutable version, handed out by a watch channel.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::map::MemberMap;

/// One version of the members. Cloning shares everything.
///
/// A service keeps a [`Snapshots`] receiver: [`borrow_and_update`](watch::Receiver::borrow_and_update) gives the newest
/// version, and [`MemberMap::difference`] tells what changed since the one that it saw before, however many came between.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The members, those that must not be called too: look at [`Member::shown`](crate::Member::shown).
    pub members: MemberMap,
    /// Counts versions of this process, from 1.
    pub version: u64,
    /// When it was made.
    pub changed: Instant,
}

/// Where services get versions from.
pub type Snapshots = watch::Receiver<Arc<Snapshot>>;

impl Default for Snapshot {
    fn default() -> Self {
        Self { members: MemberMap::default(), version: 0, changed: Instant::now() }
    }
}
