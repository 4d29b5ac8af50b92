//! [`Members`]: whom the overlay answers for, and for whom it answers that there is nothing; [`LiveMembers`] swaps one for the
//! next.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use tandem_model::{DomainName, Serial};
use tandem_zone::{Held, QueryName, RrType, Settings, Suffixes, Zones};

/// `_sips._tcp` in wire form, in front of a domain.
const SERVICE: &[u8] = b"\x05_sips\x04_tcp";

/// One immutable version of what the overlay knows. Cheap to clone.
///
/// Nodes and blocks belong together, so that no question in between finds neither and is forwarded to old public records.
#[derive(Debug, Clone)]
pub struct Members {
    /// Holds the members' nodes. Its zones do not matter: [`none`](Self::none) begins with a version that has none.
    pub nodes: Arc<Zones>,
    /// Who must not be called, whatever the public DNS says.
    pub blocked: Arc<Blocked>,
}

/// Why a member must not be called: the text of the extended error (RFC 8914) says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockReason {
    /// The directory's operator has suspended it.
    Suspended,
    /// Its key or its server is in foreign hands.
    Compromised,
    /// It has left, or its lease is over.
    Withdrawn,
    /// What it published has no room in the DNS.
    Unusable,
    /// Somebody here looked at its servers, and none was good.
    NoneGood,
}

/// The members that must not be called.
#[derive(Debug, Clone, Default)]
pub struct Blocked {
    /// By domain in wire form.
    pub(super) domains: HashMap<Box<[u8]>, BlockReason>,
    /// Their last documents, for the numbers in them.
    pub(super) nodes: Option<Arc<Zones>>,
}

/// What a block makes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// The domain is there, its NAPTR records are not: NODATA.
    NoData(&'static str),
    /// There is no such service, or number: NXDOMAIN.
    NxDomain(&'static str),
}

/// Publishes versions to a running [`Overlay`](super::Overlay). Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct LiveMembers(Arc<ArcSwap<Members>>);

/// One thread's view of [`LiveMembers`].
#[derive(Debug)]
pub(super) struct Reader(Cache<Arc<ArcSwap<Members>>, Arc<Members>>);

impl Members {
    /// No members: everything is forwarded. [`Roster`](super::Roster) makes further versions.
    ///
    /// # Panics
    ///
    /// Never: a version without zones has nothing that could not fit.
    #[must_use]
    pub fn none() -> Self {
        let nodes = Zones::new(Settings::default(), Vec::new(), Serial::new(0)).expect("no zones, no faults");
        Self { nodes: Arc::new(nodes), blocked: Arc::default() }
    }
}

impl Members {
    /// What a block makes of the question, if it concerns somebody who is blocked (DNS-122): NAPTR at the domain, and its
    /// addresses if it is compromised, everything at `_sips._tcp` below it, NAPTR at the numbers that no other member has by now.
    pub(super) fn block(&self, name: &QueryName, kind: RrType, suffixes: &Suffixes) -> Option<Block> {
        if self.blocked.is_empty() {
            return None;
        }
        let wire = name.as_wire();
        let in_peers = suffixes.peers.as_ref().and_then(|peers| strip(wire, peers.as_wire()));
        let mut names = [Some(wire), in_peers.as_deref()].into_iter().flatten();
        names.find_map(|wire| self.blocked.judge_domain(wire, kind)).or_else(|| {
            let former = self.blocked.nodes.as_ref().filter(|_| kind == RrType::NAPTR)?;
            let has = |nodes: &Zones| matches!(nodes.held_by_nodes(name, kind, suffixes), Held::Records(_));
            let is_blocked = has(former) && !has(&self.nodes);
            is_blocked.then_some(Block::NxDomain("this number's member may not be called"))
        })
    }
}

impl BlockReason {
    const fn text(self) -> &'static str {
        match self {
            Self::Suspended => "this member is suspended",
            Self::Compromised => "this member is compromised",
            Self::Withdrawn => "this member has withdrawn",
            Self::Unusable => "what this member published cannot be used",
            Self::NoneGood => "no server of this member was good when it was looked at last",
        }
    }
}

impl Blocked {
    /// These domains are blocked, and the numbers of the nodes in `numbers`, if it is given.
    #[must_use]
    pub fn new(domains: impl IntoIterator<Item = (DomainName, BlockReason)>, numbers: Option<Arc<Zones>>) -> Self {
        let domains = domains.into_iter().map(|(domain, reason)| (domain.as_wire().into(), reason)).collect();
        Self { domains, nodes: numbers }
    }

    /// Whether nobody is blocked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty() && self.nodes.is_none()
    }

    fn judge_domain(&self, wire: &[u8], kind: RrType) -> Option<Block> {
        if let Some(domain) = wire.strip_prefix(SERVICE) {
            return self.domains.get(domain).map(|reason| Block::NxDomain(reason.text()));
        }
        let reason = self.domains.get(wire)?;
        // RFC 3263 4.2: without SRV records callers try the domain's own addresses, which may be the compromised host's.
        let is_address = matches!(kind, RrType::A | RrType::AAAA) && *reason == BlockReason::Compromised;
        (kind == RrType::NAPTR || is_address).then(|| Block::NoData(reason.text()))
    }
}

impl LiveMembers {
    /// Begins with `members`.
    #[must_use]
    pub fn new(members: Members) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(members)))
    }

    /// Makes `members` what every later answer comes from. Waits for nobody.
    pub fn publish(&self, members: Members) {
        self.0.store(Arc::new(members));
    }

    /// What is current now.
    #[must_use]
    pub fn load(&self) -> Arc<Members> {
        self.0.load_full()
    }

    /// For one thread that asks often: a load costs one atomic read while nothing changed.
    pub(super) fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.0)))
    }
}

impl Reader {
    pub(super) fn load(&mut self) -> &Arc<Members> {
        self.0.load()
    }
}

/// What stands in front of `suffix`, as a name under the root.
fn strip(wire: &[u8], suffix: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    while wire.len() - at > suffix.len() {
        at += 1 + usize::from(*wire.get(at)?);
    }
    (at > 0 && wire.get(at..)? == suffix).then(|| [&wire[..at], &[0]].concat())
}
