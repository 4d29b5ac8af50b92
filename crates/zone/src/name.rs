//! Names as questions bring them: any octets, folded once, each suffix hashed once.
//!
//! Everything served is found by the hash of a name. The hash of `a.b` is made from that of `b`, so one pass over a
//! question gives the hashes of all its ancestors, and finding the zone, the node and a cut costs no second one. The
//! hash is keyed with a secret of the process: who registers names cannot choose ones that collide.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use siphasher::sip::SipHasher13;
use tandem_model::DomainName;

/// Most octets of a name in wire form (RFC 1035 3.1).
pub(crate) const MAX_WIRE: usize = 255;
/// Most labels of a name in 255 octets, the root counted.
const MAX_LABELS: usize = 128;

/// A name from a question: lower case in wire form, with the place and the keyed hash of each of its suffixes.
///
/// Lives on the stack; making one allocates nothing.
#[derive(Clone)]
pub struct QueryName {
    wire: [u8; MAX_WIRE],
    len: u8,
    /// Labels without the root; suffix `labels` is the root.
    labels: u8,
    starts: [u8; MAX_LABELS],
    hashes: [u64; MAX_LABELS],
}

impl QueryName {
    /// Reads an uncompressed name at the front of `wire`; `None` if there is none (a compression pointer, over 255
    /// octets, cut off). The octets used are [`wire_len`](Self::wire_len).
    #[must_use]
    pub fn parse(wire: &[u8]) -> Option<Self> {
        let mut name =
            Self { wire: [0; MAX_WIRE], len: 0, labels: 0, starts: [0; MAX_LABELS], hashes: [0; MAX_LABELS] };
        let mut at = 0;
        loop {
            let len = usize::from(*wire.get(at)?);
            name.starts[usize::from(name.labels)] = u8::try_from(at).ok()?;
            if len == 0 {
                break;
            }
            if len > 63 || at + 1 + len >= MAX_WIRE {
                return None;
            }
            at += 1 + len;
            name.labels += 1;
        }
        let source = wire.get(..=at)?;
        // Length octets are at most 63, below 'A': folding the whole name leaves them alone.
        for (to, from) in name.wire.iter_mut().zip(source) {
            *to = from.to_ascii_lowercase();
        }
        name.len = u8::try_from(at + 1).ok()?;
        let mut hash = ROOT_HASH;
        for index in (0..usize::from(name.labels)).rev() {
            let start = usize::from(name.starts[index]);
            let label = &name.wire[start..start + 1 + usize::from(name.wire[start])];
            hash = child_hash(hash, label);
            name.hashes[index] = hash;
        }
        Some(name)
    }

    /// A registered name, ready for look-ups.
    ///
    /// # Panics
    ///
    /// Never: a [`DomainName`] is an uncompressed name of at most 255 octets.
    #[must_use]
    pub fn of(name: &DomainName) -> Self {
        Self::parse(name.as_wire()).expect("a DomainName is an uncompressed name of at most 255 octets")
    }

    /// Octets of the name in wire form, the root included.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        usize::from(self.len)
    }

    /// The name in wire form, lower case.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.wire[..self.wire_len()]
    }

    /// How many labels there are, the root not counted.
    #[must_use]
    pub fn label_count(&self) -> usize {
        usize::from(self.labels)
    }

    /// A hash of the name, keyed with a secret of the process: others may keep it in place of the name, and find that
    /// again by [`Zones::domain_with_key`](crate::Zones::domain_with_key). It means nothing to another process.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.hash(0)
    }

    /// The suffix without the first `index` labels; index `label_count` is the root.
    pub(crate) fn suffix(&self, index: usize) -> &[u8] {
        &self.wire[usize::from(self.starts[index])..self.wire_len()]
    }

    /// The octets in front of suffix `index`: whole labels, without a root.
    pub(crate) fn prefix(&self, index: usize) -> &[u8] {
        &self.wire[..usize::from(self.starts[index])]
    }

    /// Label `index`, from the left, without its length octet.
    pub(crate) fn label(&self, index: usize) -> &[u8] {
        let start = usize::from(self.starts[index]);
        &self.wire[start + 1..start + 1 + usize::from(self.wire[start])]
    }

    /// The hash of suffix `index`.
    pub(crate) fn hash(&self, index: usize) -> u64 {
        if index == self.label_count() { ROOT_HASH } else { self.hashes[index] }
    }

    /// Suffix `index` as a name of its own.
    pub(crate) fn relative_suffix(&self, index: usize) -> Self {
        Self::parse(self.suffix(index)).expect("a suffix of a name is a name")
    }

    /// The name that the first `count` labels make under the root: what stands in front of the peers zone.
    pub(crate) fn relative(&self, count: usize) -> Self {
        let prefix = self.prefix(count);
        let mut wire = [0; MAX_WIRE];
        wire[..prefix.len()].copy_from_slice(prefix);
        Self::parse(&wire[..=prefix.len()]).expect("a prefix of a name and the root make a name")
    }
}

/// Absolute, with escapes where needed: `a\.b.example.`.
impl std::fmt::Display for QueryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::print::Presented(self.as_wire()).fmt(f)
    }
}

impl std::fmt::Debug for QueryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryName({self})")
    }
}

const ROOT_HASH: u64 = 0;

/// The hash of the name that `label` (with its length octet, lower case) makes in front of the name hashed to `parent`.
pub(crate) fn child_hash(parent: u64, label: &[u8]) -> u64 {
    static KEYS: OnceLock<(u64, u64)> = OnceLock::new();
    let &(k0, k1) = KEYS.get_or_init(|| {
        let random = RandomState::new();
        (random.hash_one(0), random.hash_one(1))
    });
    SipHasher13::new_with_keys(k0 ^ parent, k1).hash(label)
}

/// The hash of a name in wire form, lower case.
pub(crate) fn hash_name(wire: &[u8]) -> u64 {
    QueryName::parse(wire).map_or(ROOT_HASH, |name| name.hash(0))
}

/// The labels of a name in wire form, leftmost first, with their length octets; ends at the root or the slice's end.
pub(crate) fn labels_of(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let len = usize::from(*rest.first()?);
        if len == 0 {
            return None;
        }
        let (label, tail) = rest.split_at_checked(len + 1)?;
        rest = tail;
        Some(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_hash_alike() {
        let long = QueryName::parse(b"\x05_SIPS\x04_tcp\x05deBug\x05ostel\x02me\x00rest").unwrap();
        let short = QueryName::parse(b"\x05debug\x05ostel\x02me\x00").unwrap();
        assert_eq!(long.wire_len(), 27);
        assert_eq!(long.suffix(2), short.as_wire());
        assert_eq!(long.hash(2), short.hash(0));
        assert_ne!(long.hash(1), short.hash(0));
        assert_eq!(long.relative(2).as_wire(), b"\x05_sips\x04_tcp\x00");
        assert_eq!(long.label(4), b"me");
        assert_eq!(long.hash(5), QueryName::parse(b"\x00").unwrap().hash(0));
    }

    #[test]
    fn refused() {
        for wire in [&b""[..], b"\x01a", b"\x01a\xc0\x00", b"\x40", b"\x05ab"] {
            assert!(QueryName::parse(wire).is_none(), "{wire:?}");
        }
        let mut long = Vec::new();
        for _ in 0..127 {
            long.extend(b"\x01a");
        }
        long.push(0);
        assert_eq!(QueryName::parse(&long).unwrap().label_count(), 127, "255 octets fit");
        long.splice(0..0, *b"\x01a");
        assert!(QueryName::parse(&long).is_none(), "257 octets do not");
    }
}
