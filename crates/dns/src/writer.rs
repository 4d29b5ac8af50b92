//! The one writer of answers: RRsets into a caller's buffer, whole or not at all, with compressed names.
//!
//! The buffer holds the query; its question stays where it is, so it is echoed octet for octet (DNS-7), and every owner
//! can point to it. Names inside the data of types newer than RFC 1035 are never compressed (DNS-9), but owners that
//! come later may point to them. Allocates nothing.

use tandem_zone::{Owner as Further, RdataSink, RrType, Rrset, Target};

use crate::options::Opt;
use crate::wire::{CLASS_IN, HEADER, Rcode, flag, name_len};

/// Names that later ones may point to. Enough for eight targets and their TLSA owners; more is only less compressed.
const MAX_NAMES: usize = 24;

/// Places from here on cannot be pointed to: a pointer has 14 bits (RFC 1035 4.1.4).
const POINTER_END: usize = 0x4000;

/// Octets of the longest data that holds RFC 1035 names which we compress: a SOA record's.
const MAX_OLD_RDATA: usize = 255 + 255 + 20;

/// A section of records (RFC 1035 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// The owner of an RRset.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// It stands in the message already, from this offset on.
    At(usize),
    /// In wire form, uncompressed.
    Name(&'a [u8]),
    /// Of additional records.
    Further(Further<'a>),
}

/// What the record set of a required section did not do: fit. The answer becomes a truncated one (DNS-45).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoesNotFit;

/// A message being written behind its question.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
    /// Records end here: the limit of the message less what OPT needs.
    end: usize,
    overflow: bool,
    question_end: usize,
    counts: [u16; 3],
    names: [Name; MAX_NAMES],
    named: usize,
    /// Where in `names` those of the last NAPTR set begin, one a record.
    naptrs: usize,
    /// The same for the last SRV set.
    srvs: usize,
}

/// A name in the message.
#[derive(Debug, Clone, Copy)]
struct Name {
    at: u16,
    /// Octets of the whole name, uncompressed.
    len: u8,
    /// Whether it stands there without a pointer, so that its suffixes can be pointed to, too.
    plain: bool,
}

/// The head of an answer: what is not records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) rcode: Rcode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    /// The OPT record, if the query had one (DNS-40).
    pub(crate) opt: Option<Opt<'a>>,
    /// An extended error code (RFC 8914); needs `opt`.
    pub(crate) error: Option<u16>,
}

impl<'b> Writer<'b> {
    /// A writer behind the question, which ends at `question_end`; at most `limit` octets in all, OPT included.
    pub(crate) fn new(buffer: &'b mut [u8], question_end: usize, limit: usize, opt: Option<&Opt<'_>>) -> Self {
        let end = limit.min(buffer.len()) - opt.map_or(0, Opt::len);
        let mut writer = Self {
            buffer,
            at: question_end,
            end,
            overflow: false,
            question_end,
            counts: [0; 3],
            names: [Name { at: 0, len: 0, plain: false }; MAX_NAMES],
            named: 0,
            naptrs: MAX_NAMES,
            srvs: MAX_NAMES,
        };
        writer.remember(HEADER, question_end - HEADER - 4, true);
        writer
    }

    /// Writes all of `rrset`, or nothing.
    pub(crate) fn rrset(&mut self, section: Section, owner: Owner<'_>, rrset: &Rrset<'_>) -> Result<(), DoesNotFit> {
        let (at, named) = (self.at, self.named);
        let count = u16::try_from(rrset.len()).map_err(|_| DoesNotFit)?;
        self.records(owner, rrset);
        let fits = !self.overflow;
        if fits {
            self.counts[section as usize] += count;
        } else {
            (self.at, self.named, self.overflow) = (at, named, false);
        }
        // Of a set that was left out, nothing can be pointed to.
        let first = if fits { named } else { MAX_NAMES };
        match rrset.kind() {
            RrType::NAPTR => self.naptrs = first,
            RrType::SRV => self.srvs = first,
            _ => {}
        }
        if fits { Ok(()) } else { Err(DoesNotFit) }
    }

    /// Forgets all records: what is left is the question, and OPT.
    pub(crate) fn clear(&mut self) {
        self.at = self.question_end;
        self.counts = [0; 3];
        self.named = 1;
    }

    /// Octets that records may still take.
    pub(crate) fn room(&self) -> usize {
        self.end - self.at
    }

    /// Where the next record begins.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// What was written from `at` on.
    pub(crate) fn written_from(&self, at: usize) -> &[u8] {
        &self.buffer[at..self.at]
    }

    /// Writes OPT and header; the message's length.
    pub(crate) fn finish(self, head: Head<'_>) -> usize {
        let Self { buffer, at, counts, .. } = self;
        finish(buffer, at, 1, counts, head)
    }

    fn records(&mut self, owner: Owner<'_>, rrset: &Rrset<'_>) {
        let kind = rrset.kind();
        let ([type_0, type_1], [class_0, class_1]) = (kind.0.to_be_bytes(), CLASS_IN.to_be_bytes());
        let [ttl_0, ttl_1, ttl_2, ttl_3] = rrset.ttl().to_be_bytes();
        let fixed = [type_0, type_1, class_0, class_1, ttl_0, ttl_1, ttl_2, ttl_3];
        let mut owner = self.resolved(owner);
        if let Some(mut rest) = rrset.as_packed() {
            while let Some((&len, tail)) = rest.split_first_chunk() {
                let Some((data, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(len))) else { return };
                self.record(&mut owner, kind, fixed, data);
                rest = tail;
            }
        } else if let Some((octets, size)) = rrset.as_equal() {
            for data in octets.chunks_exact(size) {
                self.record(&mut owner, kind, fixed, data);
            }
        } else {
            for rdata in rrset.rdatas() {
                self.head(&mut owner, fixed);
                let start = self.at;
                rdata.write(self);
                if self.overflow {
                    return;
                }
                self.names_in(kind, start);
                self.set_length(start);
            }
        }
    }

    /// One record whose data lies ready.
    #[inline]
    fn record(&mut self, owner: &mut Owner<'_>, kind: RrType, fixed: [u8; 8], data: &[u8]) {
        let start = if let Owner::At(at) = *owner {
            // The common case: one check of the room for all of it.
            let ([p0, p1], [l0, l1]) = (pointer(at), (data.len() as u16).to_be_bytes());
            let [f0, f1, f2, f3, f4, f5, f6, f7] = fixed;
            let head = [p0, p1, f0, f1, f2, f3, f4, f5, f6, f7, l0, l1];
            let end = self.at + head.len() + data.len();
            if self.overflow || end > self.end {
                self.overflow = true;
                return;
            }
            let room = &mut self.buffer[self.at..end];
            if let Some((room, rest)) = room.split_first_chunk_mut() {
                *room = head;
                copy_short(data, rest);
            }
            self.at = end;
            end - data.len()
        } else {
            self.head(owner, fixed);
            let start = self.at;
            self.put(data);
            if self.overflow {
                return;
            }
            self.set_length(start);
            start
        };
        self.names_in(kind, start);
        if self.at != start + data.len() {
            self.set_length(start);
        }
    }

    /// A pointer in place of an owner that stands somewhere already, if that is known without a search.
    #[inline]
    fn resolved<'a>(&self, owner: Owner<'a>) -> Owner<'a> {
        match owner {
            Owner::Further(further) if further.prefix == 0 => self.place(further.of).map_or(owner, Owner::At),
            _ => owner,
        }
    }

    /// Writes what stands before the data of a record, with a length of 0. The owner of the next record is a pointer to
    /// this one's, if it can be.
    fn head(&mut self, owner: &mut Owner<'_>, fixed: [u8; 8]) {
        let at = self.at;
        let written = match *owner {
            Owner::At(at) => {
                self.put(&pointer(at));
                Some(at)
            }
            Owner::Name(name) => self.name(name),
            Owner::Further(further) => match self.place(further.of) {
                Some(rest) => {
                    self.put(&further.name[..further.prefix]);
                    self.put(&pointer(rest));
                    Some(at).filter(|at| *at < POINTER_END)
                }
                None => self.name(further.name),
            },
        };
        if let Some(at) = written {
            *owner = Owner::At(at);
        }
        let [f0, f1, f2, f3, f4, f5, f6, f7] = fixed;
        self.put(&[f0, f1, f2, f3, f4, f5, f6, f7, 0, 0]);
    }

    /// Where the name stands that a record ends with.
    #[inline]
    fn place(&self, of: Target) -> Option<usize> {
        let index = match of {
            Target::None => return None,
            Target::Naptr(index) => self.naptrs + index,
            Target::Srv(index) => self.srvs + index,
        };
        self.names[..self.named].get(index).map(|name| usize::from(name.at))
    }

    /// Sets the length of the data from `start` on.
    fn set_length(&mut self, start: usize) {
        match u16::try_from(self.at - start) {
            Ok(len) => self.buffer[start - 2..start].copy_from_slice(&len.to_be_bytes()),
            Err(_) => self.overflow = true,
        }
    }

    /// Remembers the names in the data from `start` on, and compresses those that may be (RFC 3597 4).
    #[inline]
    fn names_in(&mut self, kind: RrType, start: usize) {
        match kind {
            // In both, the name is last.
            RrType::SRV => self.remember_from(start + 6),
            RrType::NAPTR => {
                let mut at = start + 4;
                for _ in 0..3 {
                    at += 1 + usize::from(self.buffer[..self.at].get(at).copied().unwrap_or_default());
                }
                self.remember_from(at);
            }
            // A CNAME's target stays whole, because the next owner points to it and its suffixes.
            RrType::CNAME => self.remember_from(start),
            RrType::NS | RrType::PTR => self.compress(start, 0, 1),
            RrType::MX => self.compress(start, 2, 1),
            RrType::SOA => self.compress(start, 0, 2),
            _ => {}
        }
    }

    /// Writes the data from `start` on again, with `count` names behind `skip` octets compressed.
    fn compress(&mut self, start: usize, skip: usize, count: usize) {
        let mut copy = [0; MAX_OLD_RDATA];
        let len = self.at - start;
        let Some(data) = copy.get_mut(..len) else { return };
        data.copy_from_slice(&self.buffer[start..self.at]);
        let Some(mut rest) = data.get(skip..) else { return };
        self.at = start + skip;
        for _ in 0..count {
            let Some(len) = name_len(rest) else { break };
            let (name, behind) = rest.split_at(len);
            let at = self.at;
            if len > 1 && self.name(name) == Some(at) {
                self.remember(at, len, self.at - at == len);
            } else if len == 1 {
                self.put(name);
            }
            rest = behind;
        }
        self.put(rest);
    }

    /// Remembers the name that is all of the message from `at` on; a root, too, for records are counted by their names.
    #[inline]
    fn remember_from(&mut self, at: usize) {
        self.remember(at, self.at.saturating_sub(at), true);
    }

    #[inline]
    fn remember(&mut self, at: usize, len: usize, plain: bool) {
        if at < POINTER_END && self.named < MAX_NAMES {
            // Names have at most 255 octets.
            self.names[self.named] = Name { at: at as u16, len: len as u8, plain };
            self.named += 1;
        }
    }

    /// Writes an uncompressed name as briefly as the names before allow; where the whole name now stands, if there is a
    /// place for a pointer to it.
    fn name(&mut self, name: &[u8]) -> Option<usize> {
        let mut kept = 0;
        while name.len() - kept > 1 {
            if let Some(at) = self.find(&name[kept..]) {
                let start = self.at;
                self.put(&name[..kept]);
                self.put(&pointer(at));
                return if kept == 0 { Some(at) } else { Some(start).filter(|start| *start < POINTER_END) };
            }
            kept += 1 + usize::from(name[kept]);
        }
        let start = self.at;
        self.put(name);
        Some(start).filter(|start| *start < POINTER_END)
    }

    /// Where `name` stands already, whole or as a suffix.
    #[inline]
    fn find(&self, name: &[u8]) -> Option<usize> {
        let first = beginning(name);
        self.names[..self.named].iter().find_map(|known| {
            let (at, len) = (usize::from(known.at), usize::from(known.len));
            if !known.plain {
                return (len == name.len() && self.is_at(at, name)).then_some(at);
            }
            let start = at + len.checked_sub(name.len())?;
            let there = &self.buffer[start..at + len];
            // Most differ early, and few in case.
            let same = beginning(there) == first && (there == name || there.eq_ignore_ascii_case(name));
            (same && (start == at || self.is_label_of(at, start))).then_some(start)
        })
    }

    /// Whether a label of the plain name at `at` begins at `start`.
    fn is_label_of(&self, mut at: usize, start: usize) -> bool {
        while at < start {
            at += 1 + usize::from(self.buffer[at]);
        }
        at == start
    }

    /// Whether the name that we wrote at `at`, pointers included, is `name`.
    fn is_at(&self, mut at: usize, name: &[u8]) -> bool {
        let mut rest = name;
        while let Some((&label, _)) = rest.split_first() {
            // Our own pointers lead backwards to plain names, so this ends.
            while self.buffer[at] >= 0xc0 {
                at = usize::from(u16::from_be_bytes([self.buffer[at], self.buffer[at + 1]])) & (POINTER_END - 1);
            }
            let len = 1 + usize::from(label);
            if self.buffer[at] != label || !self.buffer[at..at + len].eq_ignore_ascii_case(&rest[..len]) {
                return false;
            }
            (at, rest) = (at + len, &rest[len..]);
        }
        true
    }
}

impl RdataSink for Writer<'_> {
    #[inline]
    fn put(&mut self, octets: &[u8]) {
        let next = self.at + octets.len();
        if self.overflow || next > self.end {
            self.overflow = true;
            return;
        }
        copy_short(octets, &mut self.buffer[self.at..next]);
        self.at = next;
    }
}

/// A pointer to the name at `at` (RFC 1035 4.1.4).
#[inline]
fn pointer(at: usize) -> [u8; 2] {
    debug_assert!(at < POINTER_END);
    let [high, low] = (at as u16).to_be_bytes();
    [0xc0 | high, low]
}

/// The first octets of a name, with letters of both cases alike: what differs here is not the same.
#[inline]
fn beginning(name: &[u8]) -> u32 {
    name.first_chunk().map_or(0, |octets| u32::from_ne_bytes(*octets) & 0xdfdf_dfdf)
}

/// Copies octets to a place of the same length. Most pieces of an answer are so short that calling the library's copy
/// costs more than two copies of fixed length that overlap.
#[inline]
fn copy_short(from: &[u8], to: &mut [u8]) {
    fn ends<const N: usize>(from: &[u8], to: &mut [u8]) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else { return false };
        let (first, last) = (*first, *last);
        if let Some(to) = to.first_chunk_mut() {
            *to = first;
        }
        if let Some(to) = to.last_chunk_mut() {
            *to = last;
        }
        true
    }
    match from.len() {
        33.. => to.copy_from_slice(from),
        16.. => _ = ends::<16>(from, to),
        8.. => _ = ends::<8>(from, to),
        4.. => _ = ends::<4>(from, to),
        2.. => _ = ends::<2>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Turns the query in `buffer` into an answer without records, whose question (if `questions` is 1) ends at `at`.
///
/// Returns the length, which is at most that of a query whose question and OPT record are echoed.
pub(crate) fn bare(buffer: &mut [u8], at: usize, questions: u16, head: Head<'_>) -> usize {
    finish(buffer, at, questions, [0; 3], head)
}

/// Writes OPT at `at` and the header (DNS-4, DNS-40); the message's length.
pub(crate) fn finish(buffer: &mut [u8], mut at: usize, questions: u16, counts: [u16; 3], head: Head<'_>) -> usize {
    let [answers, authorities, mut additionals] = counts;
    if let Some(opt) = &head.opt {
        additionals += 1;
        at += opt.write(&mut buffer[at..], head.rcode, head.error);
    }
    // ID, opcode and RD are the query's; RA, Z, AD and CD are never set (DNS-4, DNS-5).
    let bits = if head.authoritative { flag::AA } else { 0 } | if head.truncated { flag::TC } else { 0 };
    buffer[2] = flag::QR | bits | buffer[2] & (flag::OPCODE | flag::RD);
    buffer[3] = head.rcode.low();
    for (index, count) in [questions, answers, authorities, additionals].into_iter().enumerate() {
        buffer[4 + 2 * index..6 + 2 * index].copy_from_slice(&count.to_be_bytes());
    }
    at
}
