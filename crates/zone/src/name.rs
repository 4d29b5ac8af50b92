//! Names as questions bring them: any octets, folded once, each suffix hashed once.
//!
//! Everything served is found by the hash of a name. The hash of `a.b` is made from that of `b`, so one pass over a
//! question gives the hashes of all its ancestors, and finding the zone, the node and a cut costs no second one. The
//! hash is keyed with a secret of the process: who registers names cannot choose ones that collide (`State`).

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use tandem_model::DomainName;

/// Most octets of a name in wire form (RFC 1035 3.1).
pub(crate) const MAX_WIRE: usize = 255;
/// Most labels of a name in 255 octets, the root counted.
const MAX_LABELS: usize = 128;
/// Most octets of a label, its length octet not counted.
const MAX_LABEL: usize = 63;

/// A name from a question: lower case in wire form, with the place and the keyed hash of each of its suffixes.
///
/// Lives on the stack, or is read into again and again; neither allocates.
#[derive(Clone)]
pub struct QueryName {
    /// Octets of a label are hashed in groups, so the longest name is followed by as many more.
    wire: [u8; MAX_WIRE + GROUP],
    len: u8,
    /// Labels without the root; suffix `labels` is the root.
    labels: u8,
    starts: [u8; MAX_LABELS],
    /// Only those of the first `labels` mean something.
    hashes: [State; MAX_LABELS],
}

/// The root.
impl Default for QueryName {
    fn default() -> Self {
        Self {
            wire: [0; MAX_WIRE + GROUP],
            len: 1,
            labels: 0,
            starts: [0; MAX_LABELS],
            hashes: [State::ROOT; MAX_LABELS],
        }
    }
}

impl QueryName {
    /// Reads an uncompressed name at the front of `wire`; `None` if there is none (a compression pointer, over 255
    /// octets, cut off). The octets used are [`wire_len`](Self::wire_len).
    #[must_use]
    pub fn parse(wire: &[u8]) -> Option<Self> {
        let mut name = Self::default();
        name.read(wire).then_some(name)
    }

    /// [`parse`](Self::parse) in place, which clears nothing first: whether there is a name. If not, this is the root.
    #[inline]
    pub fn read(&mut self, wire: &[u8]) -> bool {
        self.read_labels(wire).is_some() || {
            (self.wire[0], self.len, self.labels, self.starts[0]) = (0, 1, 0, 0);
            false
        }
    }

    #[inline]
    fn read_labels(&mut self, wire: &[u8]) -> Option<()> {
        let mut at = 0;
        let mut labels = 0;
        loop {
            let len = usize::from(*wire.get(at)?);
            self.starts[labels] = u8::try_from(at).ok()?;
            if len == 0 {
                break;
            }
            if len > MAX_LABEL || at + 1 + len >= MAX_WIRE {
                return None;
            }
            at += 1 + len;
            labels += 1;
        }
        let source = wire.get(..=at)?;
        fold(source, &mut self.wire);
        self.len = u8::try_from(at + 1).ok()?;
        self.labels = u8::try_from(labels).ok()?;
        let key = Key::of_process();
        let mut state = State::ROOT;
        for index in (0..labels).rev() {
            state = state.child(&self.wire, usize::from(self.starts[index]), key);
            self.hashes[index] = state;
        }
        Some(())
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
        self.state(index).hash()
    }

    /// The hash of the name that `label` (with its length octet, lower case) makes in front of suffix `index`.
    pub(crate) fn child_hash(&self, index: usize, label: &[u8]) -> u64 {
        let mut octets = [0; MAX_LABEL + 1 + GROUP];
        octets[..label.len()].copy_from_slice(label);
        self.state(index).child(&octets, 0, Key::of_process()).hash()
    }

    fn state(&self, index: usize) -> State {
        if index == self.label_count() { State::ROOT } else { self.hashes[index] }
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

/// Copies a name to the front of `to` with its letters in lower case, eight octets at a time. Length octets are at most 63,
/// below `A`: folding leaves them alone.
#[inline]
fn fold(name: &[u8], to: &mut [u8]) {
    const LOW: u64 = 0x0101_0101_0101_0101;
    // Bit 7 of each octet of `above_a` and `above_z` says whether the octet's low seven bits are above that letter.
    let lower = |octets: [u8; 8]| {
        let octets = u64::from_ne_bytes(octets);
        let seven_bits = octets & (0x7f * LOW);
        let above_a = seven_bits + (0x80 - u64::from(b'A')) * LOW;
        let above_z = seven_bits + (0x80 - u64::from(b'Z') - 1) * LOW;
        let is_upper = (above_a ^ above_z) & !octets & (0x80 * LOW);
        (octets | is_upper >> 2).to_ne_bytes()
    };
    let (Some(last), Some(to)) = (name.last_chunk(), to.get_mut(..name.len())) else {
        to.iter_mut().zip(name).for_each(|(to, from)| *to = from.to_ascii_lowercase());
        return;
    };
    for (to, from) in to.as_chunks_mut().0.iter_mut().zip(name.as_chunks().0) {
        *to = lower(*from);
    }
    // The rest, together with some octets that are done already.
    if let Some(to) = to.last_chunk_mut() {
        *to = lower(*last);
    }
}

/// Octets of a label that are hashed in one step, with one to spare: a group is a number far below the modulus.
const GROUP: usize = 8;

/// The modulus of the hash, a Mersenne prime.
const PRIME: u64 = (1 << 61) - 1;

/// A name's hash on the way to those of the names below it.
///
/// The labels of a name, from the right, each cut into groups of seven octets, are the coefficients of a polynomial, and
/// the hash is its value at the [`Key`], modulo 2^61 - 1 (Carter and Wegman, "Universal classes of hash functions",
/// 1979). Length octets say where labels end, so different names have different polynomials. Two such agree at no more
/// points than they have groups, at most 127: whoever chooses names without knowing the key makes two of them collide
/// with a chance of 127 in 2^61, and in `n` bits of the hash of little more than 127 in 2^n. Nothing that we send shows a
/// hash. One multiplication for a common label, where a cryptographic hash takes ten times as long.
#[derive(Debug, Clone, Copy)]
struct State(u64);

impl State {
    /// Not 0, which would hide leading groups of zeros.
    const ROOT: Self = Self(1);

    /// The state of the name whose first label begins, with its length octet, at `at` in `octets`, below this one.
    #[inline]
    fn child(self, octets: &[u8], at: usize, key: Key) -> Self {
        let mut state = self;
        let (mut at, mut left) = (at, usize::from(octets[at]) + 1);
        loop {
            let group = octets[at..].first_chunk().map_or(0, |group: &[u8; GROUP]| u64::from_le_bytes(*group));
            // Seven octets at most, or the label's last ones.
            let used = left.min(GROUP - 1);
            state = state.step(group & ((1 << (8 * used)) - 1), key);
            left -= used;
            if left == 0 {
                return state;
            }
            at += used;
        }
    }

    #[inline]
    fn step(self, group: u64, key: Key) -> Self {
        // The sum is below 2^62 and the key below 2^61, so the product's high part is below 2^62; after two folds the state is again
        // below 2^61 + 4, which need not be reduced further to be the same each time.
        let product = u128::from(self.0 + group) * u128::from(key.0);
        let folded = (product as u64 & PRIME) + (product >> 61) as u64;
        Self((folded & PRIME) + (folded >> 61))
    }

    /// All 64 bits mixed, one to one: names that differ in one digit lie at even distances before.
    #[inline]
    const fn hash(self) -> u64 {
        // The multiplier is the golden ratio's, as in Fibonacci hashing.
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

/// The secret point at which names are evaluated, from 2^32 to the modulus.
#[derive(Debug, Clone, Copy)]
struct Key(u64);

impl Key {
    /// Drawn once from the system's randomness.
    #[inline]
    fn of_process() -> Self {
        static KEY: OnceLock<Key> = OnceLock::new();
        *KEY.get_or_init(|| {
            let state = RandomState::new();
            // A small key, one in 2^29, would leave short names in order.
            (0..u64::MAX)
                .map(|n| Self(state.hash_one(n) & PRIME))
                .find(|key| key.0 >> 32 != 0)
                .unwrap_or(Self(PRIME / 3))
        })
    }
}

/// The hash of a name in wire form.
pub(crate) fn hash_name(wire: &[u8]) -> u64 {
    QueryName::parse(wire).unwrap_or_default().hash(0)
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
    fn folds_letters_and_nothing_else() {
        for len in 1..=40 {
            for first in 0..=u8::MAX {
                let octets: Vec<u8> = (0..len).map(|n| first.wrapping_add(u8::wrapping_mul(n, 7))).collect();
                let mut folded = [0xee; 48];
                fold(&octets, &mut folded);
                assert_eq!(folded[..octets.len()], octets.to_ascii_lowercase()[..]);
                assert!(folded[octets.len()..].iter().all(|octet| *octet == 0xee));
            }
        }
    }

    #[test]
    fn hashes_tell_names_apart() {
        let label = |text: String| [&[text.len() as u8], text.as_bytes()].concat();
        let mut seen = std::collections::HashSet::new();
        for n in 0..20_000_u32 {
            // Names that differ in one place, early or late, or only in where labels end.
            let wires = [
                [label(format!("n{n}")), label("test".into()), vec![0]].concat(),
                [label(format!("{n:060}")), label("test".into()), vec![0]].concat(),
                [label(format!("x{:0>1$}", "", (n % 60) as usize)), label(n.to_string()), vec![0]].concat(),
                [label("a".into()), label(format!("n{n}")), label("test".into()), vec![0]].concat(),
            ];
            assert!(wires.iter().all(|wire| seen.insert(hash_name(wire))), "{n}");
        }
        // Spread over both ends of the hash, as tables need it.
        for shift in [0, 48] {
            let mut buckets = [0_u32; 256];
            seen.iter().for_each(|hash| buckets[(hash >> shift) as usize % 256] += 1);
            let (least, most) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
            assert!(*least > 150 && *most < 600, "80,000 in 256: {least} to {most}");
        }
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
