//! The messages of a transfer: records into as many messages as they need, owners compressed, each message signed.
//!
//! [`Messages`] keeps one message and the chunk it belongs to; whole chunks go to a sink that may hold the writer up, or
//! end the transfer. So its memory does not depend on the zone (RFC 5936 2.2, DNS-71).

use tandem_zone::{RdataSink, RrType};

use crate::request::Edns;
use crate::tsig::Session;
use crate::wire::{ADVERTISED, CLASS_IN, HEADER, LENGTH, MAX_MESSAGE, OPT, Rcode, flag};

/// Octets at which a message ends: everything in it can be pointed to (RFC 1035 4.1.4).
const MESSAGE: usize = 0x3fff;

/// Octets of whole messages that are handed over together.
const CHUNK: usize = 64 * 1024;

/// What all answers to one request have in common.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The request's ID.
    pub(crate) id: u16,
    /// The request's RD bit, to be copied (DNS-4).
    pub(crate) recursion_desired: bool,
    /// The question, as it was asked.
    pub(crate) question: Vec<u8>,
    /// What the request's OPT record said, if there was one.
    pub(crate) edns: Option<Edns>,
    /// Signs each message, if the request was signed.
    pub(crate) session: Option<Session>,
}

/// Why a transfer ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nobody takes the messages any more.
    Gone,
    /// A record is longer than a message can be; no message holds it.
    RecordTooLong,
}

/// Takes chunks of whole messages, each message behind its length; `false` ends the transfer.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(Vec<u8>) -> bool;

/// A transfer being written.
pub(crate) struct Messages<'s> {
    frame: Frame,
    clock: fn() -> u64,
    sink: Sink<'s>,
    chunk: Vec<u8>,
    /// Where in the chunk the current message begins, behind its length.
    start: usize,
    first: bool,
    records: u16,
    owner: LastOwner,
}

/// The last owner that was written, and where its suffixes stand in the current message.
#[derive(Default)]
struct LastOwner {
    name: Vec<u8>,
    /// Octets of the suffix, place in the message; longest first.
    suffixes: Vec<(usize, usize)>,
    /// Where the next list is made.
    spare: Vec<(usize, usize)>,
}

impl<'s> Messages<'s> {
    /// A transfer in answer to the request of `frame`. `clock` gives seconds since 1970, for signatures.
    pub(crate) fn new(frame: Frame, clock: fn() -> u64, sink: Sink<'s>) -> Self {
        let mut messages = Self {
            frame,
            clock,
            sink,
            chunk: Vec::with_capacity(CHUNK + MESSAGE),
            start: 0,
            first: true,
            records: 0,
            owner: LastOwner::default(),
        };
        messages.begin();
        messages
    }

    /// Writes one record; `owner` is in uncompressed wire form, and `data` writes the data.
    pub(crate) fn record(
        &mut self,
        owner: &[u8],
        kind: RrType,
        ttl: u32,
        data: impl Fn(&mut Octets<'_>),
    ) -> Result<(), Stop> {
        loop {
            let before = self.chunk.len();
            self.write_owner(owner);
            let ([t0, t1], [c0, c1], [s0, s1, s2, s3]) =
                (kind.0.to_be_bytes(), CLASS_IN.to_be_bytes(), ttl.to_be_bytes());
            self.chunk.extend([t0, t1, c0, c1, s0, s1, s2, s3, 0, 0]);
            let data_at = self.chunk.len();
            data(&mut Octets(&mut self.chunk));
            let len = self.chunk.len() - data_at;
            let whole = self.chunk.len() - self.start + self.tail_len();
            // A record that is longer than usual has a message of its own.
            let limit = if self.records == 0 { MAX_MESSAGE } else { MESSAGE };
            if whole <= limit {
                let len = u16::try_from(len).map_err(|_| Stop::RecordTooLong)?;
                self.chunk[data_at - 2..data_at].copy_from_slice(&len.to_be_bytes());
                self.records += 1;
                return Ok(());
            }
            if self.records == 0 {
                return Err(Stop::RecordTooLong);
            }
            self.chunk.truncate(before);
            self.end()?;
            self.begin();
        }
    }

    /// Ends the last message and hands everything over.
    pub(crate) fn finish(mut self) -> Result<(), Stop> {
        self.end()?;
        self.hand_over()
    }

    fn begin(&mut self) {
        self.chunk.extend([0; LENGTH]);
        self.start = self.chunk.len();
        self.records = 0;
        self.owner.name.clear();
        self.owner.suffixes.clear();
        let [id_0, id_1] = self.frame.id.to_be_bytes();
        // AA in each, TC and RA in none (RFC 5936 2.2.1).
        let bits = flag::QR | flag::AA | if self.frame.recursion_desired { flag::RD } else { 0 };
        self.chunk.extend([id_0, id_1, bits, Rcode::NoError.low(), 0, 0, 0, 0, 0, 0, 0, 0]);
        if self.first {
            // The question in the first message (RFC 5936 2.2.2); later ones need none.
            self.chunk.extend(&self.frame.question);
            self.chunk[self.start + 5] = 1;
            if let Some(name) = self.frame.question.split_last_chunk::<4>().map(|(name, _)| name) {
                self.owner.name.extend(name);
                self.owner.suffixes = suffixes(name, HEADER).collect();
            }
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        let mut additionals = 0_u8;
        if self.first
            && let Some(edns) = self.frame.edns
        {
            // In the first message, as RFC 5936 2.2.5 has it (DNS-40).
            let [size_0, size_1] = ADVERTISED.to_be_bytes();
            let dnssec_ok = if edns.dnssec_ok { 0x80 } else { 0 };
            self.chunk.extend([0, 0, 41, size_0, size_1, 0, 0, dnssec_ok, 0, 0, 0]);
            additionals += 1;
        }
        let start = self.start;
        self.chunk[start + 6..start + 8].copy_from_slice(&self.records.to_be_bytes());
        self.chunk[start + 11] = additionals;
        if let Some(session) = &mut self.frame.session {
            // RFC 8945 5.3.1: on all messages.
            let record = session.sign(&self.chunk[start..], (self.clock)());
            self.chunk.extend(record);
            self.chunk[start + 11] = additionals + 1;
        }
        let len = u16::try_from(self.chunk.len() - start).map_err(|_| Stop::RecordTooLong)?;
        self.chunk[start - LENGTH..start].copy_from_slice(&len.to_be_bytes());
        self.first = false;
        if self.chunk.len() < CHUNK { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> Result<(), Stop> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK + MESSAGE));
        if (self.sink)(chunk) { Ok(()) } else { Err(Stop::Gone) }
    }

    /// Octets that [`end`](Self::end) will add.
    fn tail_len(&self) -> usize {
        let opt = if self.first && self.frame.edns.is_some() { OPT } else { 0 };
        opt + self.frame.session.as_ref().map_or(0, Session::record_len)
    }

    /// Writes an owner with a pointer to what it has in common with the last one. Case is kept, so only octets that are
    /// the same are shared (DNS-7).
    fn write_owner(&mut self, owner: &[u8]) {
        let LastOwner { name, suffixes: known, spare } = &mut self.owner;
        let place = self.chunk.len() - self.start;
        let shared = suffixes(owner, 0).find_map(|(len, at)| {
            let index = known.iter().position(|(known_len, _)| *known_len == len)?;
            (name[name.len() - len..] == owner[at..]).then_some((at, index))
        });
        let (literal, rest) = shared.map_or((owner.len(), &[][..]), |(at, index)| (at, &known[index..]));
        self.chunk.extend(&owner[..literal]);
        if let Some((_, at)) = rest.first() {
            let [high, low] = u16::try_from(*at).unwrap_or_default().to_be_bytes();
            self.chunk.extend([0xc0 | high, low]);
        }
        spare.clear();
        spare.extend(suffixes(owner, place).take_while(|(len, at)| owner.len() - len < literal && *at <= MESSAGE));
        spare.extend(rest);
        std::mem::swap(known, spare);
        name.clear();
        name.extend(owner);
    }
}

/// The suffixes of a name that stands at `place`, longest first, without the root: octets, and where they begin.
fn suffixes(name: &[u8], place: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let label = usize::from(*name.get(at)?);
        let suffix = (label > 0).then_some((name.len() - at, place + at));
        at += 1 + label;
        suffix
    })
}

/// Where a record's data goes.
pub(crate) struct Octets<'c>(&'c mut Vec<u8>);

impl RdataSink for Octets<'_> {
    fn put(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }
}
