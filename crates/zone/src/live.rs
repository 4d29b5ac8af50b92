//! The version that is served now, and the swap to the next.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::zones::Zones;

/// The current [`Zones`], shared by one writer and any number of readers. Readers never wait for the writer.
#[derive(Debug, Clone)]
pub struct Live(Arc<ArcSwap<Zones>>);

impl Live {
    /// Begins with `zones`.
    #[must_use]
    pub fn new(zones: Zones) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(zones)))
    }

    /// The version that is current now; it stays whole for as long as the caller keeps it (DNS-79).
    #[must_use]
    pub fn load(&self) -> Arc<Zones> {
        self.0.load_full()
    }

    /// A reader for one thread that asks often: a load costs one atomic read while nothing changed.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.0)))
    }

    /// Makes `zones` what every later [`load`](Self::load) gives.
    pub fn publish(&self, zones: Zones) {
        self.0.store(Arc::new(zones));
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
