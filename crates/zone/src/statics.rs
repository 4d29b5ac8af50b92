//! The records of one master file, packed: found by the hash of their name, read where they lie.
//!
//! One arena holds every name, one after the other:
//!
//! ```text
//! next u32 | cut u8 | owner: wire form, the file's case | sets u8 | sets
//! set: type u16 | ttl u32 | count u16 | size u32 | records (length u16, data)
//! ```
//! `next` leads to another name with the same hash (0: none). Empty non-terminals are names without sets.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use tandem_model::DomainName;

use crate::name::{QueryName, hash_name, labels_of};
use crate::records::{SetRecords, SortedRecords, sort_key};
use crate::rrset::{RrType, Rrset, Source};

/// A master file's records, packed.
#[derive(Debug)]
pub(crate) struct Statics {
    index: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    arena: Box<[u8]>,
    /// The hashes of delegated names: few, so that asking costs no look into the index.
    cuts: HashSet<u64, BuildHasherDefault<Identity>>,
    has_wildcard: bool,
    has_dname: bool,
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

/// The arena would pass 4 GiB, or a name has more than 255 types, a type more than 65535 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// An arena being filled.
struct Packer<'a> {
    statics: Statics,
    arena: Vec<u8>,
    apex: &'a DomainName,
}

impl Packer<'_> {
    fn name<'r>(&mut self, owner: &[u8], sets: impl Iterator<Item = SetRecords<'r>>) -> Result<(), TooLarge> {
        let at = u32::try_from(self.arena.len()).map_err(|_| TooLarge)?;
        let hash = hash_name(owner);
        let next = self.statics.index.insert(hash, at).unwrap_or(0);
        self.statics.has_wildcard |= owner.starts_with(b"\x01*");
        let arena = &mut self.arena;
        arena.extend(next.to_be_bytes());
        arena.push(0);
        arena.extend(owner);
        let count_at = arena.len();
        arena.push(0);
        for set in sets {
            self.statics.has_dname |= set.kind == RrType::DNAME;
            if set.kind == RrType::NS && !owner.eq_ignore_ascii_case(self.apex.as_wire()) {
                arena[at as usize + 4] = 1;
                self.statics.cuts.insert(hash);
            }
            arena[count_at] = arena[count_at].checked_add(1).ok_or(TooLarge)?;
            let size: usize = set.rdatas.iter().map(|rdata| rdata.len() + 2).sum();
            arena.extend(set.kind.0.to_be_bytes());
            arena.extend(set.ttl.to_be_bytes());
            arena.extend(u16::try_from(set.rdatas.len()).map_err(|_| TooLarge)?.to_be_bytes());
            arena.extend(u32::try_from(size).map_err(|_| TooLarge)?.to_be_bytes());
            for rdata in set.rdatas {
                arena.extend(u16::try_from(rdata.len()).map_err(|_| TooLarge)?.to_be_bytes());
                arena.extend(rdata);
            }
        }
        Ok(())
    }
}

impl Statics {
    /// Packs records; `apex` is the zone's name.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when the zone needs 4 GiB or more.
    pub(crate) fn pack(records: &SortedRecords, apex: &DomainName) -> Result<Self, TooLarge> {
        let mut packer = Packer {
            statics: Self {
                index: HashMap::default(),
                arena: Box::default(),
                cuts: HashSet::default(),
                has_wildcard: false,
                has_dname: false,
            },
            // Offset 0 says "none", so nothing begins there.
            arena: vec![0],
            apex,
        };
        let apex_labels = apex.label_count();
        let mut before: &[u8] = &[];
        for name in records.names() {
            // A name exists if a descendant owns records (RFC 4592 2.2.2). In canonical order an ancestor of this name
            // that the name before does not lie below has not been seen.
            let labels: Vec<&[u8]> = labels_of(name.owner()).collect();
            let mut skip = 0;
            let mut missing = Vec::new();
            for label in labels.iter().take(labels.len().saturating_sub(apex_labels + 1)) {
                skip += label.len();
                let ancestor = &name.owner()[skip..];
                if before.starts_with(&sort_key(ancestor)) {
                    break;
                }
                missing.push(ancestor);
            }
            for ancestor in missing.into_iter().rev() {
                packer.name(ancestor, std::iter::empty())?;
            }
            packer.name(name.owner(), name.sets())?;
            before = name.key();
        }
        let Packer { mut statics, arena, .. } = packer;
        u32::try_from(arena.len()).map_err(|_| TooLarge)?;
        statics.index.shrink_to_fit();
        statics.arena = arena.into();
        Ok(statics)
    }

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

    /// The name above suffix 0 of `name`, up to the apex at suffix `apex`, that has a DNAME record: what stands below it is
    /// redirected (DNS-26). Where a zone has none, this costs one look at a flag.
    pub(crate) fn redirect(&self, name: &QueryName, apex: usize) -> Option<(usize, Rrset<'_>)> {
        if !self.has_dname {
            return None;
        }
        (1..=apex).rev().find_map(|index| Some((index, self.get(name, index)?.set(RrType::DNAME)?)))
    }

    /// Whether there is a name beside the apex.
    pub(crate) fn has_names(&self) -> bool {
        self.index.len() > 1
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Records;

    #[test]
    fn packs_and_finds() {
        let apex = DomainName::parse("test").unwrap();
        let mut records = Records::default();
        records.add(b"\x01A\x01b\x01c\x04test\x00", RrType::A, 60, &[1, 2, 3, 4]).unwrap();
        records.add(b"\x01a\x01b\x01c\x04test\x00", RrType::A, 50, &[1, 2, 3, 4]).unwrap();
        records.add(b"\x01a\x01b\x01c\x04test\x00", RrType::A, 70, &[1, 2, 3, 5]).unwrap();
        records.add(b"\x01d\x04test\x00", RrType::NS, 70, b"\x01x\x00").unwrap();
        let statics = Statics::pack(&records.sorted(), &apex).unwrap();
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
