//! Which of the keys that were seen are published (RFC 6698, RFC 7671): no clock, no network.
//!
//! TLSA records count for every target of a node alike, and once there are any, one must fit (CERT-44, CERT-54). So they
//! begin only when the key of every target is known; a new key is added as soon as it is seen; and an old one stays for
//! a while beside it (CERT-55), because answers with the old set alone are still in caches.

use std::collections::BTreeSet;

use tandem_model::node::MAX_KEYS;
use tandem_model::{Node, SeenKey};

/// A key's SHA-256.
pub(super) type Digest = [u8; 32];

/// The keys to publish from `now` on. `current`: those that targets showed last, in certificates that are valid;
/// `complete`: every target showed one. `overlap`: seconds that a key stays after no target shows it any more.
pub(super) fn next(node: &Node, current: &BTreeSet<Digest>, complete: bool, now: u64, overlap: u64) -> Vec<SeenKey> {
    if !node.probe.is_some_and(|probe| probe.tlsa) {
        return Vec::new();
    }
    let room = MAX_KEYS.saturating_sub(node.keys.len());
    let known = &node.found.keys;
    if known.is_empty() && (!complete || current.len() > room) {
        return Vec::new();
    }
    let mut keys: Vec<SeenKey> = current.iter().map(|sha256| SeenKey { sha256: *sha256, until: None }).collect();
    let mut old: Vec<SeenKey> = Vec::new();
    for key in known.iter().filter(|key| !current.contains(&key.sha256)) {
        let until = match key.until {
            // Only when all have shown another is it out of use.
            None if complete => Some(now + overlap),
            until => until,
        };
        if until.is_none_or(|until| until > now) {
            old.push(SeenKey { until, ..*key });
        }
    }
    // When there is no room for all, those in use come first, then those that leave last.
    old.sort_by_key(|key| std::cmp::Reverse(key.until.unwrap_or(u64::MAX)));
    keys.extend(old);
    keys.truncate(room);
    keys.sort_by_key(|key| key.sha256);
    keys
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use tandem_model::node::{KeyHolder, KeyPin};
    use tandem_model::{DomainName, Found, NodeParts, Probe, Target};

    use super::*;

    fn node(tlsa: bool, named: usize, known: Vec<SeenKey>) -> Node {
        let target = Target {
            host: DomainName::parse("sip.a.test").unwrap(),
            port: NonZeroU16::MIN,
            priority: 10,
            weight: 0,
            addresses: Vec::new(),
        };
        let mut parts = NodeParts::new(DomainName::parse("a.test").unwrap(), vec![target]);
        parts.probe = Some(Probe { options: true, tlsa });
        parts.keys = (0..named)
            .map(|at| KeyPin { holder: KeyHolder::Node, sha256: [200 + u8::try_from(at).unwrap(); 32] })
            .collect();
        let mut node = Node::new(parts).unwrap();
        node.found = Found::new([], known);
        node
    }

    fn key(octet: u8, until: Option<u64>) -> SeenKey {
        SeenKey { sha256: [octet; 32], until }
    }

    /// CERT-54, CERT-55: what becomes of the keys, look by look.
    #[test]
    fn old_and_new_keys_stand_together_cert_55() {
        let current = |octets: &[u8]| octets.iter().map(|octet| [*octet; 32]).collect::<BTreeSet<_>>();
        for (case, node, shown, complete, expected) in [
            ("not asked for", node(false, 0, vec![key(1, None)]), current(&[1]), true, vec![]),
            ("not all are known yet", node(true, 0, vec![]), current(&[1]), false, vec![]),
            ("the first", node(true, 0, vec![]), current(&[1]), true, vec![key(1, None)]),
            ("two targets", node(true, 0, vec![]), current(&[2, 1]), true, vec![key(1, None), key(2, None)]),
            ("too many to begin with", node(true, 3, vec![]), current(&[1, 2]), true, vec![]),
            (
                "a new one beside the old, which another target may show",
                node(true, 0, vec![key(1, None)]),
                current(&[2]),
                false,
                vec![key(1, None), key(2, None)],
            ),
            (
                "the old one is out of use",
                node(true, 0, vec![key(1, None)]),
                current(&[2]),
                true,
                vec![key(1, Some(150)), key(2, None)],
            ),
            (
                "its time does not move",
                node(true, 0, vec![key(1, Some(120)), key(2, None)]),
                current(&[2]),
                true,
                vec![key(1, Some(120)), key(2, None)],
            ),
            (
                "it comes back",
                node(true, 0, vec![key(1, Some(120)), key(2, None)]),
                current(&[1]),
                true,
                vec![key(1, None), key(2, Some(150))],
            ),
            (
                "its time is over",
                node(true, 0, vec![key(1, Some(100)), key(2, None)]),
                current(&[2]),
                true,
                vec![key(2, None)],
            ),
            ("nobody answers", node(true, 0, vec![key(1, None)]), current(&[]), false, vec![key(1, None)]),
            (
                "room for those in use",
                node(true, 2, vec![key(1, Some(110)), key(2, Some(120))]),
                current(&[3]),
                true,
                vec![key(2, Some(120)), key(3, None)],
            ),
        ] {
            assert_eq!(next(&node, &shown, complete, 100, 50), expected, "{case}");
        }
    }
}
