//! The records of one master file, packed: found by the hash of their name, read where they lie.
//!
//! One arena holds every name, one after the other:
//!
//! ```text
//! next u32 | cut u8 | owner: wire form, the file's case | sets u8 | sets
//! set: type u16 | ttl u32 | count u16 | size u32 | records (length u16, data)
//! ```
//! `next` leads to another name with the same hash (0: none). Empty non-terminals are names without sets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use tandem_model::DomainName;

use crate::name::{QueryName, hash_name, labels_of};
use crate::rrset::{RrType, Rrset, Source};

/// A master file's records, packed.
#[derive(Debug)]
pub(crate) struct Statics {
    index: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    arena: Box<[u8]>,
    /// The hashes of delegated names: few, so that asking costs no look into the index.
    cuts: HashSet<u64, BuildHasherDefault<Identity>>,
    has_wildcard: bool,
}

/// Hashes that are keyed already need no second hashing.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _octets: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// One name of the master file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaticName<'z> {
    /// Whether the name is delegated: it has NS records and is not the apex.
    pub(crate) is_cut: bool,
    /// The name in wire form as the file has it.
    pub(crate) owner: &'z [u8],
    sets: &'z [u8],
}

/// The arena would pass 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Names being collected, in canonical order.
#[derive(Debug, Default)]
pub(crate) struct StaticsBuilder {
    names: BTreeMap<Vec<u8>, NameBuilder>,
}

/// One name being collected.
#[derive(Debug, Default)]
pub(crate) struct NameBuilder {
    /// The name in wire form, in the case of its first record.
    pub(crate) owner: Box<[u8]>,
    /// Its sets by type.
    pub(crate) sets: BTreeMap<RrType, SetBuilder>,
}

/// TTL and records of one set.
pub(crate) type SetBuilder = (u32, Vec<Box<[u8]>>);

impl StaticsBuilder {
    /// Adds a record; duplicates are dropped (DNS-11), of differing TTLs the least stays (DNS-10).
    pub(crate) fn add(&mut self, owner: &[u8], kind: RrType, ttl: u32, rdata: &[u8]) {
        let name = self.names.entry(sort_key(owner)).or_default();
        if name.owner.is_empty() {
            name.owner = owner.into();
        }
        let (least, rdatas) = name.sets.entry(kind).or_insert((ttl, Vec::new()));
        *least = ttl.min(*least);
        if rdatas.iter().all(|there| **there != *rdata) {
            rdatas.push(rdata.into());
        }
    }

    /// The names collected, in canonical order (RFC 4034 6.1).
    pub(crate) fn names(&self) -> impl Iterator<Item = &NameBuilder> {
        self.names.values()
    }

    /// The set at a name, if any.
    pub(crate) fn set(&self, owner: &[u8], kind: RrType) -> Option<&SetBuilder> {
        self.names.get(&sort_key(owner))?.sets.get(&kind)
    }

    /// Packs everything; `apex` is in wire form.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when the zone needs 4 GiB or more.
    pub(crate) fn build(mut self, apex: &DomainName) -> Result<Statics, TooLarge> {
        self.add_empty_non_terminals(apex);
        let mut statics = Statics {
            index: HashMap::with_capacity_and_hasher(self.names.len(), BuildHasherDefault::default()),
            arena: Box::default(),
            cuts: HashSet::default(),
            has_wildcard: false,
        };
        // Offset 0 says "none", so nothing begins there.
        let mut arena = vec![0_u8];
        for name in self.names.into_values() {
            let at = u32::try_from(arena.len()).map_err(|_| TooLarge)?;
            let hash = hash_name(&name.owner);
            let next = statics.index.insert(hash, at).unwrap_or(0);
            let is_cut = name.sets.contains_key(&RrType::NS) && !name.owner.eq_ignore_ascii_case(apex.as_wire());
            if is_cut {
                statics.cuts.insert(hash);
            }
            statics.has_wildcard |= name.owner.starts_with(b"\x01*");
            arena.extend(next.to_be_bytes());
            arena.push(u8::from(is_cut));
            arena.extend(&name.owner);
            arena.push(u8::try_from(name.sets.len()).map_err(|_| TooLarge)?);
            for (kind, (ttl, rdatas)) in name.sets {
                let size: usize = rdatas.iter().map(|rdata| rdata.len() + 2).sum();
                arena.extend(kind.0.to_be_bytes());
                arena.extend(ttl.to_be_bytes());
                arena.extend(u16::try_from(rdatas.len()).map_err(|_| TooLarge)?.to_be_bytes());
                arena.extend(u32::try_from(size).map_err(|_| TooLarge)?.to_be_bytes());
                for rdata in rdatas {
                    arena.extend(u16::try_from(rdata.len()).map_err(|_| TooLarge)?.to_be_bytes());
                    arena.extend(&rdata);
                }
            }
        }
        u32::try_from(arena.len()).map_err(|_| TooLarge)?;
        statics.arena = arena.into();
        Ok(statics)
    }

    /// A name exists if a descendant owns records (RFC 4592 2.2.2).
    fn add_empty_non_terminals(&mut self, apex: &DomainName) {
        let apex_labels = apex.label_count();
        let mut missing = Vec::new();
        for name in self.names.values() {
            let labels = labels_of(&name.owner).count();
            let mut rest = &name.owner[..];
            for _ in apex_labels + 1..labels {
                rest = &rest[usize::from(rest[0]) + 1..];
                if self.names.contains_key(&sort_key(rest)) {
                    break;
                }
                missing.push(rest.to_vec());
            }
        }
        for owner in missing {
            let name = self.names.entry(sort_key(&owner)).or_default();
            name.owner = owner.into();
        }
    }
}

impl Statics {
    /// The name at suffix `index` of `name`.
    pub(crate) fn get(&self, name: &QueryName, index: usize) -> Option<StaticName<'_>> {
        self.find(name.hash(index), |owner| owner.eq_ignore_ascii_case(name.suffix(index)))
    }

    /// The name with this hash that `is_name` accepts.
    pub(crate) fn find(&self, hash: u64, is_name: impl Fn(&[u8]) -> bool) -> Option<StaticName<'_>> {
        let mut at = *self.index.get(&hash)?;
        loop {
            let (next, name) = self.read(at as usize);
            if is_name(name.owner) {
                return Some(name);
            }
            if next == 0 {
                return None;
            }
            at = next;
        }
    }

    /// The delegated name at suffix `index` of `name`.
    pub(crate) fn cut(&self, name: &QueryName, index: usize) -> Option<StaticName<'_>> {
        if self.cuts.is_empty() || !self.cuts.contains(&name.hash(index)) {
            return None;
        }
        self.get(name, index).filter(|there| there.is_cut)
    }

    /// Whether any name is a wildcard.
    pub(crate) const fn has_wildcard(&self) -> bool {
        self.has_wildcard
    }

    /// Every name in canonical order, empty non-terminals too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = StaticName<'_>> {
        let mut at = 1;
        std::iter::from_fn(move || {
            if at >= self.arena.len() {
                return None;
            }
            let (_, name) = self.read(at);
            let set_octets: usize = name.raw_sets().map(|set| 12 + set.3.len()).sum();
            at += 5 + name.owner.len() + 1 + set_octets;
            Some(name)
        })
    }

    fn read(&self, at: usize) -> (u32, StaticName<'_>) {
        let blob = &self.arena[at..];
        let next = u32::from_be_bytes([blob[0], blob[1], blob[2], blob[3]]);
        let (owner, sets) = blob[5..].split_at(crate::packed::labels_len(&blob[5..]) + 1);
        (next, StaticName { is_cut: blob[4] == 1, owner, sets })
    }
}

impl<'z> StaticName<'z> {
    /// Type, TTL, count and records of each set.
    fn raw_sets(self) -> impl Iterator<Item = (RrType, u32, u16, &'z [u8])> {
        let mut left = self.sets[0];
        let mut rest = &self.sets[1..];
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (&[k0, k1, t0, t1, t2, t3, c0, c1, s0, s1, s2, s3], tail) = rest.split_first_chunk::<12>()?;
            let (rdatas, tail) = tail.split_at(u32::from_be_bytes([s0, s1, s2, s3]) as usize);
            rest = tail;
            let kind = RrType(u16::from_be_bytes([k0, k1]));
            Some((kind, u32::from_be_bytes([t0, t1, t2, t3]), u16::from_be_bytes([c0, c1]), rdatas))
        })
    }

    /// Its sets, by type.
    pub(crate) fn sets(self) -> impl Iterator<Item = Rrset<'z>> {
        self.raw_sets().map(|(kind, ttl, count, rdatas)| Rrset { kind, ttl, source: Source::Static { count, rdatas } })
    }

    /// The set of one type.
    pub(crate) fn set(self, kind: RrType) -> Option<Rrset<'z>> {
        self.sets().find(|set| set.kind == kind)
    }

    /// Whether it owns no record: an empty non-terminal.
    pub(crate) const fn is_empty(self) -> bool {
        self.sets[0] == 0
    }
}

/// Octets whose order is the canonical order of names (RFC 4034 6.1): labels from the right, folded, each ended by 0.
///
/// Octets 0 and 1 inside a label become two, so that none is mistaken for an end.
pub(crate) fn sort_key(wire: &[u8]) -> Vec<u8> {
    let labels: Vec<&[u8]> = labels_of(wire).collect();
    let mut key = Vec::with_capacity(wire.len() + 1);
    for label in labels.iter().rev() {
        for octet in label[1..].iter().map(u8::to_ascii_lowercase) {
            if octet < 2 {
                key.extend([1, octet + 1]);
            } else {
                key.push(octet);
            }
        }
        key.push(0);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4034_6_1_order() {
        let names: [&[u8]; 8] = [
            b"\x07example\x00",
            b"\x01a\x07example\x00",
            b"\x08yljkjljk\x01a\x07example\x00",
            b"\x01Z\x01a\x07example\x00",
            b"\x04zABC\x01a\x07EXAMPLE\x00",
            b"\x01z\x07example\x00",
            b"\x01\x01\x01z\x07example\x00",
            b"\x01*\x01z\x07example\x00",
        ];
        assert!(names.windows(2).all(|pair| sort_key(pair[0]) < sort_key(pair[1])));
        assert!(sort_key(b"\x01\x00\x00") < sort_key(b"\x01\x01\x00"));
        assert!(sort_key(b"\x01\x01\x00") < sort_key(b"\x01\x02\x00"));
    }

    #[test]
    fn packs_and_finds() {
        let apex = DomainName::parse("test").unwrap();
        let mut builder = StaticsBuilder::default();
        builder.add(b"\x01A\x01b\x01c\x04test\x00", RrType::A, 60, &[1, 2, 3, 4]);
        builder.add(b"\x01a\x01b\x01c\x04test\x00", RrType::A, 50, &[1, 2, 3, 4]);
        builder.add(b"\x01a\x01b\x01c\x04test\x00", RrType::A, 70, &[1, 2, 3, 5]);
        builder.add(b"\x01d\x04test\x00", RrType::NS, 70, b"\x01x\x00");
        let statics = builder.build(&apex).unwrap();
        let name = QueryName::parse(b"\x01a\x01B\x01c\x04test\x00").unwrap();
        let found = statics.get(&name, 0).unwrap();
        assert_eq!(found.owner, b"\x01A\x01b\x01c\x04test\x00", "DNS-7: the file's case");
        let set = found.set(RrType::A).unwrap();
        assert_eq!((set.ttl(), set.len()), (50, 2), "DNS-10, DNS-11");
        assert!(statics.get(&name, 1).unwrap().is_empty() && statics.get(&name, 2).unwrap().is_empty());
        assert!(statics.get(&name, 3).is_none(), "the apex is not made");
        let cut = QueryName::parse(b"\x01D\x04test\x00").unwrap();
        assert!(statics.cut(&cut, 0).is_some() && statics.cut(&name, 0).is_none() && !statics.has_wildcard());
        assert_eq!(statics.iter().count(), 4);
    }
}
