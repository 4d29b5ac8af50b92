//! The records of one master file, packed: found by the hash of their name, read where they lie.
//!
//! One arena holds every name, one after the other:
//!
//! ```text
//! cut u8 | owner: wire form, the file's case | sets u8 | sets
//! set: type u16 | ttl u32 | count u16 | size u32 | records (length u16, data) | links u32 each (NAPTR, SRV)
//! ```
//! Empty non-terminals are names without sets. A link says where the name that a record leads to lies in the arena, so
//! that additional data needs no look into the index: see [`Link`].

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use tandem_model::DomainName;

use crate::additional::{NameBuf, naptr_replacement, put_port};
use crate::index::Index;
use crate::name::{QueryName, hash_name, labels_of};
use crate::prefetch::prefetch_lines;
use crate::records::{SetRecords, SortedRecords, sort_key};
use crate::rrset::{RdataSink, RrType, Rrset, Source, static_rdatas};

/// Cache lines that most names of a master file fit into.
const NAME_LINES: usize = 2;

/// Link: nobody knows what is there, so it is looked up.
const UNKNOWN: u32 = 0;

/// Link: the master file has nothing there.
const NOTHING: u32 = u32::MAX;

/// A master file's records, packed.
#[derive(Debug)]
pub(crate) struct Statics {
    index: Index,
    arena: Box<[u8]>,
    /// The hashes of delegated names: few, so that asking costs no look into the index.
    cuts: HashSet<u64, BuildHasherDefault<Identity>>,
    /// One bit for each of their hashes modulo 64: most names are no cuts, and their bit is not set.
    cut_bits: u64,
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
    statics: &'z Statics,
}

/// Where a record of a master file leads to, as far as it was known when the file was packed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Link<'z> {
    /// Outside the zone, delegated, at the apex, or perhaps a wildcard's: look it up.
    Unknown,
    /// The master file has no record there, and no wildcard. There may be a node.
    Nothing,
    /// A name with records; no node has any there ([`Zones::check`](crate::Zones::check)).
    To(StaticName<'z>),
}

/// The links of one set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links<'z> {
    statics: &'z Statics,
    octets: &'z [u8],
}

impl<'z> Links<'z> {
    /// Link `index`: for SRV, record `n` has links `2 n` to its target and `2 n + 1` to the target's keys; for NAPTR, link
    /// `n` leads to the replacement.
    /// The name is that of `len` octets which the record has.
    #[inline]
    pub(crate) fn get(self, index: usize, len: usize) -> Link<'z> {
        let octets = self.octets.get(4 * index..).and_then(|rest| rest.first_chunk());
        match octets.map_or(UNKNOWN, |octets| u32::from_be_bytes(*octets)) {
            UNKNOWN => Link::Unknown,
            NOTHING => Link::Nothing,
            at => {
                let (owner, sets) = self.statics.arena[at as usize + 1..].split_at(len);
                Link::To(StaticName { is_cut: false, owner, sets, statics: self.statics })
            }
        }
    }
}

/// The bit of [`Statics::cut_bits`] for this hash.
const fn cut_bit(hash: u64) -> u64 {
    1 << (hash % 64)
}

/// Whether an owner from a file is the folded name `name`; in files, too, most are in lower case.
#[inline]
fn is_same_name(owner: &[u8], name: &[u8]) -> bool {
    owner == name || owner.eq_ignore_ascii_case(name)
}

/// How many links a record of this type has.
const fn links_of(kind: RrType) -> usize {
    match kind {
        RrType::NAPTR => 1,
        RrType::SRV => 2,
        _ => 0,
    }
}

/// The arena would pass 4 GiB, or a name has more than 255 types, a type more than 65535 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// An arena being filled.
struct Packer<'a> {
    statics: Statics,
    arena: Vec<u8>,
    /// Hash and place of each name.
    names: Vec<(u64, u32)>,
    apex: &'a DomainName,
}

impl Packer<'_> {
    fn name<'r>(&mut self, owner: &[u8], sets: impl Iterator<Item = SetRecords<'r>>) -> Result<(), TooLarge> {
        let at = u32::try_from(self.arena.len()).map_err(|_| TooLarge)?;
        let hash = hash_name(owner);
        self.names.push((hash, at));
        self.statics.has_wildcard |= owner.starts_with(b"\x01*");
        let arena = &mut self.arena;
        arena.push(0);
        arena.extend(owner);
        let count_at = arena.len();
        arena.push(0);
        for set in sets {
            self.statics.has_dname |= set.kind == RrType::DNAME;
            if set.kind == RrType::NS && !owner.eq_ignore_ascii_case(self.apex.as_wire()) {
                arena[at as usize] = 1;
                self.statics.cuts.insert(hash);
                self.statics.cut_bits |= cut_bit(hash);
            }
            arena[count_at] = arena[count_at].checked_add(1).ok_or(TooLarge)?;
            let size: usize = set.rdatas.iter().map(|rdata| rdata.len() + 2).sum();
            arena.extend(set.kind.0.to_be_bytes());
            arena.extend(set.ttl.to_be_bytes());
            arena.extend(u16::try_from(set.rdatas.len()).map_err(|_| TooLarge)?.to_be_bytes());
            arena.extend(u32::try_from(size).map_err(|_| TooLarge)?.to_be_bytes());
            let links = 4 * links_of(set.kind) * set.rdatas.len();
            for rdata in set.rdatas {
                arena.extend(u16::try_from(rdata.len()).map_err(|_| TooLarge)?.to_be_bytes());
                arena.extend(rdata);
            }
            arena.resize(arena.len() + links, 0);
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
            names: Vec::new(),
            statics: Self {
                index: Index::default(),
                arena: Box::default(),
                cuts: HashSet::default(),
                cut_bits: 0,
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
        let Packer { mut statics, arena, names, .. } = packer;
        u32::try_from(arena.len()).map_err(|_| TooLarge)?;
        statics.index = Index::new(&names);
        drop(names);
        statics.arena = arena.into();
        statics.set_links(apex);
        Ok(statics)
    }

    /// The name at suffix `index` of `name`.
    pub(crate) fn get(&self, name: &QueryName, index: usize) -> Option<StaticName<'_>> {
        self.find(name.hash(index), &[], name.suffix(index))
    }

    /// The wildcard right below suffix `index` of `name`.
    pub(crate) fn wildcard(&self, name: &QueryName, index: usize) -> Option<StaticName<'_>> {
        const ASTERISK: &[u8] = b"\x01*";
        self.find(name.child_hash(index, ASTERISK), ASTERISK, name.suffix(index))
    }

    /// Asks for the memory that [`get`](Self::get) reads first.
    #[inline]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for the memory that [`get`](Self::get) reads next; [`prefetch_index`](Self::prefetch_index) came before.
    #[inline]
    pub(crate) fn prefetch_name(&self, hash: u64) {
        if let Some(at) = self.index.guess(hash) {
            prefetch_lines(&self.arena, at as usize, NAME_LINES);
        }
    }

    /// The name that `labels` make in front of `suffix`.
    fn find(&self, hash: u64, labels: &[u8], suffix: &[u8]) -> Option<StaticName<'_>> {
        self.index.find(hash, |at| {
            let at = at as usize;
            let (&cut, rest) = self.arena.get(at..)?.split_first()?;
            let (owner, sets) = rest.split_at_checked(labels.len() + suffix.len())?;
            let (front, back) = owner.split_at(labels.len());
            // What ends with the same root is the whole owner.
            let is_name = front == labels && is_same_name(back, suffix);
            is_name.then_some(StaticName { is_cut: cut == 1, owner, sets, statics: self })
        })
    }

    /// Fills in where records lead to; the arena and the index are complete.
    fn set_links(&mut self, apex: &DomainName) {
        let mut name = QueryName::default();
        let mut found: Vec<(usize, u32)> = Vec::new();
        let mut at = 1;
        while at < self.arena.len() {
            let there = self.read(at);
            let end = there.end();
            for set in there.raw_sets() {
                let mut place = set.links_at;
                let mut add = |link: u32| {
                    found.push((place, link));
                    place += 4;
                };
                for rdata in static_rdatas(set.rdatas) {
                    match set.kind {
                        RrType::NAPTR => {
                            add(naptr_replacement(rdata).map_or(UNKNOWN, |(_, to)| self.link_to(to, apex, &mut name)));
                        }
                        RrType::SRV => {
                            let Some((&[_, _, _, _, high, low], target)) = rdata.split_first_chunk() else { break };
                            add(self.link_to(target, apex, &mut name));
                            let mut keys = NameBuf::new();
                            put_port(&mut keys, u16::from_be_bytes([high, low]));
                            keys.put(target);
                            add(self.link_to(keys.as_slice(), apex, &mut name));
                        }
                        _ => break,
                    }
                }
            }
            for (place, link) in found.drain(..) {
                self.arena[place..place + 4].copy_from_slice(&link.to_be_bytes());
            }
            at = end;
        }
    }

    /// The link to the name in `wire`, read into `name`.
    fn link_to(&self, wire: &[u8], apex: &DomainName, name: &mut QueryName) -> u32 {
        if !name.read(wire) {
            return UNKNOWN;
        }
        let Some(depth) = name.label_count().checked_sub(apex.label_count()) else { return UNKNOWN };
        // A node may add its own records at the apex.
        let is_inside = depth > 0 && name.suffix(depth) == apex.as_wire();
        if !is_inside || (0..depth).any(|index| self.cut(name, index).is_some()) {
            return UNKNOWN;
        }
        let is_name = |at: &u32| self.read(*at as usize).owner.eq_ignore_ascii_case(name.as_wire());
        match self.index.find(name.hash(0), |at| Some(at).filter(is_name)) {
            Some(at) if !self.read(at as usize).is_empty() => at,
            Some(_) => NOTHING,
            None if self.has_wildcard => UNKNOWN,
            None => NOTHING,
        }
    }

    /// Whether any name is delegated.
    #[inline]
    pub(crate) const fn has_cuts(&self) -> bool {
        self.cut_bits != 0
    }

    /// The delegated name at suffix `index` of `name`.
    #[inline]
    pub(crate) fn cut(&self, name: &QueryName, index: usize) -> Option<StaticName<'_>> {
        let hash = name.hash(index);
        if self.cut_bits & cut_bit(hash) == 0 || !self.cuts.contains(&hash) {
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
            let name = self.read(at);
            at = name.end();
            Some(name)
        })
    }

    /// The name at `at`.
    fn read(&self, at: usize) -> StaticName<'_> {
        let rest = &self.arena[at + 1..];
        let (owner, sets) = rest.split_at(crate::packed::labels_len(rest) + 1);
        StaticName { is_cut: self.arena[at] == 1, owner, sets, statics: self }
    }
}

/// One set as it lies in the arena.
struct RawSet<'z> {
    kind: RrType,
    ttl: u32,
    count: u16,
    rdatas: &'z [u8],
    links: &'z [u8],
    /// Where `links` begins in the arena.
    links_at: usize,
}

impl<'z> StaticName<'z> {
    fn raw_sets(self) -> impl Iterator<Item = RawSet<'z>> {
        let end = self.statics.arena.len();
        let mut left = self.sets[0];
        let mut rest = &self.sets[1..];
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (&[k0, k1, t0, t1, t2, t3, c0, c1, s0, s1, s2, s3], tail) = rest.split_first_chunk::<12>()?;
            let (rdatas, tail) = tail.split_at(u32::from_be_bytes([s0, s1, s2, s3]) as usize);
            let (kind, count) = (RrType(u16::from_be_bytes([k0, k1])), u16::from_be_bytes([c0, c1]));
            // `sets` reaches to the arena's end.
            let links_at = end - tail.len();
            let (links, tail) = tail.split_at(4 * links_of(kind) * usize::from(count));
            rest = tail;
            Some(RawSet { kind, ttl: u32::from_be_bytes([t0, t1, t2, t3]), count, rdatas, links, links_at })
        })
    }

    /// Where it ends in the arena, and the next name begins.
    fn end(self) -> usize {
        let first = self.statics.arena.len() - self.sets.len() + 1;
        self.raw_sets().last().map_or(first, |set| set.links_at + set.links.len())
    }

    /// Its sets, by type.
    pub(crate) fn sets(self) -> impl Iterator<Item = Rrset<'z>> {
        let statics = self.statics;
        self.raw_sets().map(move |RawSet { kind, ttl, count, rdatas, links, .. }| {
            let links = Links { statics, octets: links };
            Rrset { kind, ttl, source: Source::Static { count, rdatas, links } }
        })
    }

    /// The set of one type.
    #[inline]
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
