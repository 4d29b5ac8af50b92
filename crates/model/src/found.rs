//! What a node asks the directory to look at, and what the directory found out by looking.
//!
//! A [`Probe`] is the node's wish and part of its document. [`Found`] is never said by the node: it lies beside what the
//! node said, so that a signed document stays what it is, and it changes only how the node is shown.

use crate::node::{KeyHolder, KeyPin, MAX_KEYS, Node};

/// How a node wants its targets looked at: TLS and the name always, more if it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Each target must answer SIP OPTIONS, too.
    pub options: bool,
    /// TLSA records are made from the keys that the targets' certificates have.
    pub tlsa: bool,
}

/// What the directory found out by looking at a node's targets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The targets that did not answer as they should, by their bit; a node has at most 8.
    down: u8,
    /// The keys that the targets' certificates have, or had until lately.
    pub keys: Vec<SeenKey>,
}

/// A key that the directory saw in a certificate which it had reason to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeenKey {
    /// SHA-256 of the SubjectPublicKeyInfo in DER.
    pub sha256: [u8; 32],
    /// Seconds since 1970 until when it is published although no target has it any more; `None` while one has it.
    pub until: Option<u64>,
}

impl Found {
    /// With these targets down, by their place in the node.
    #[must_use]
    pub fn new(down: impl IntoIterator<Item = usize>, keys: Vec<SeenKey>) -> Self {
        let bit = |at: usize| u32::try_from(at).ok().and_then(|at| 1_u8.checked_shl(at)).unwrap_or(0);
        Self { down: down.into_iter().fold(0, |bits, at| bits | bit(at)), keys }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.down == 0 && self.keys.is_empty()
    }

    /// Whether the target at this place is down.
    #[must_use]
    pub const fn is_down(&self, at: usize) -> bool {
        at < 8 && self.down & (1 << at) != 0
    }

    /// The places of the targets that are down.
    pub fn down(&self) -> impl Iterator<Item = usize> {
        (0..8).filter(|at| self.is_down(*at))
    }

    /// The keys to publish: those that the node named, then those that were seen, as many as there may be.
    #[must_use]
    pub fn pins(&self, named: &[KeyPin]) -> Vec<KeyPin> {
        let seen = self.keys.iter().map(|key| KeyPin { holder: KeyHolder::Node, sha256: key.sha256 });
        let seen = seen.filter(|pin| !named.contains(pin));
        named.iter().copied().chain(seen).take(MAX_KEYS).collect()
    }
}

impl Node {
    /// Whether both say the same, whatever was found.
    #[must_use]
    pub fn says(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.found.clone_from(&self.found);
        *self == other
    }

    /// What of `earlier`'s findings still counts for this node: a target that is down stays so while it is at the same
    /// host and port, and keys stay while the node wants them published.
    #[must_use]
    pub fn inherits(&self, earlier: &Self) -> Found {
        let Some(probe) = self.probe else { return Found::default() };
        let down = self.targets().iter().enumerate().filter(|(_, target)| {
            let same = |(_, old): &(usize, &crate::Target)| old.host == target.host && old.port == target.port;
            let before = earlier.targets().iter().enumerate().find(same);
            before.is_some_and(|(at, _)| earlier.found.is_down(at))
        });
        let keys = if probe.tlsa { earlier.found.keys.clone() } else { Vec::new() };
        Found::new(down.map(|(at, _)| at), keys)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::{DomainName, NodeParts, Target};

    fn node(ports: &[u16], probe: Option<Probe>) -> Node {
        let target = |port: &u16| Target {
            host: DomainName::parse("sip.a.test").unwrap(),
            port: NonZeroU16::new(*port).unwrap(),
            priority: 10,
            weight: 0,
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        let parts = NodeParts::new(DomainName::parse("a.test").unwrap(), ports.iter().map(target).collect());
        Node::new(NodeParts { probe, ..parts }).unwrap()
    }

    #[test]
    fn places() {
        let found = Found::new([0, 7, 8, 300], Vec::new());
        assert_eq!(found.down().collect::<Vec<_>>(), [0, 7]);
        assert!(found.is_down(7) && !found.is_down(1) && !found.is_down(8));
        assert!(!found.is_empty() && Found::default().is_empty());
    }

    #[test]
    fn findings_follow_their_targets() {
        let key = SeenKey { sha256: [7; 32], until: None };
        let tlsa = Some(Probe { options: true, tlsa: true });
        let mut before = node(&[1, 2, 3], tlsa);
        before.found = Found::new([0, 2], vec![key]);
        for (case, now, down, keys) in [
            ("the same", node(&[1, 2, 3], tlsa), vec![0, 2], 1),
            ("moved, one gone, one new", node(&[4, 3, 2], tlsa), vec![1], 1),
            ("without TLSA", node(&[1], Some(Probe { options: true, tlsa: false })), vec![0], 0),
            ("not probed", node(&[1, 2, 3], None), vec![], 0),
        ] {
            let found = now.inherits(&before);
            assert_eq!((found.down().collect::<Vec<_>>(), found.keys.len()), (down, keys), "{case}");
        }
    }

    #[test]
    fn named_keys_come_first() {
        let pin = |octet: u8| KeyPin { holder: KeyHolder::Node, sha256: [octet; 32] };
        let seen = |octet: u8| SeenKey { sha256: [octet; 32], until: None };
        let found = Found::new([], vec![seen(1), seen(3), seen(4), seen(5)]);
        assert_eq!(found.pins(&[pin(1), pin(2)]), [1, 2, 3, 4].map(pin));
    }
}
