//! What `/readyz` asks: the service sets it, the API reads it (API-82).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the parts of the service work. All begin as failing; cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    zones: AtomicBool,
    dns: AtomicBool,
    draining: AtomicBool,
}

/// A part of the service that it reports itself. Whether the store writes, the API asks the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The zones are loaded.
    Zones,
    /// DNS answers on every configured address.
    Dns,
}

impl Readiness {
    /// A handle on which every check still fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether `check` passes now.
    pub fn set(&self, check: Check, passes: bool) {
        let flag = match check {
            Check::Zones => &self.0.zones,
            Check::Dns => &self.0.dns,
        };
        flag.store(passes, Ordering::Release);
    }

    /// Begins the end: `/readyz` answers 503 from now on, so that load balancers go elsewhere.
    pub fn begin_shutdown(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// The names of the checks that fail, as `/readyz` shows them.
    #[must_use]
    pub fn failing(&self) -> Vec<&'static str> {
        let flags = &self.0;
        [
            ("zones", !flags.zones.load(Ordering::Acquire)),
            ("dns", !flags.dns.load(Ordering::Acquire)),
            ("shutdown", flags.draining.load(Ordering::Acquire)),
        ]
        .into_iter()
        .filter_map(|(name, fails)| fails.then_some(name))
        .collect()
    }
}
