//! The nodes that want to be looked at: few of many, found without reading all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use tandem_model::DomainName;

use crate::directory::Registered;

/// Most nodes that are looked at: bounds the memory, and how much of the network the directory bothers. Those that come
/// later have to wait until they change when there is room again.
pub const MAX_WATCHED: usize = 20_000;

/// Their names, each with the revision of what it says. The writer changes it when a change is durable.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    nodes: RwLock<BTreeMap<DomainName, u64>>,
    /// Grows with each change.
    version: AtomicU64,
}

impl Watched {
    /// Follows one registration, as it is now.
    pub(crate) fn set(&self, domain: &DomainName, now: Option<&Registered>) {
        let revision = now.filter(|now| {
            // Of those that do not want it any more nothing is found, either.
            now.standing.state.is_shown() && now.node.probe.is_some()
        });
        let revision = revision.map(|now| now.revision);
        let known = self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(domain).copied();
        if known == revision {
            return;
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        match revision {
            Some(_) if known.is_none() && nodes.len() >= MAX_WATCHED => return,
            Some(revision) => nodes.insert(domain.clone(), revision),
            None => nodes.remove(domain),
        };
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Follows all that a commit changed.
    pub(crate) fn follow(&self, changed: &HashMap<DomainName, Option<Registered>>) {
        changed.iter().for_each(|(domain, now)| self.set(domain, now.as_ref()));
    }

    /// Another number after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All of them.
    pub(crate) fn list(&self) -> BTreeMap<DomainName, u64> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
