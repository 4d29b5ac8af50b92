//! The common question, read in place: one QUERY of class IN with at most one OPT record. The first step of the hot path.
//!
//! [`Request::parse`] either reads all of a message or leaves all of it to [`full`](crate::full), which answers what is
//! rare or wrong. Nothing is allocated.

use tandem_zone::{QueryName, RrType};

use crate::options::Asked;
use crate::wire::{CLASS_IN, HEADER, OPT, flag, u16_at};

/// A sound question, and how its answer is to look. One that is read into again and again clears nothing in between.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// QNAME, folded.
    pub(crate) name: QueryName,
    /// QTYPE.
    pub(crate) kind: RrType,
    /// Where the question ends in the message: everything up to here is echoed (DNS-7).
    pub(crate) question_end: usize,
    /// What the OPT record said, if there was one.
    pub(crate) edns: Option<Edns>,
}

/// Nothing read yet.
impl Default for Request {
    fn default() -> Self {
        Self { name: QueryName::default(), kind: RrType(0), question_end: HEADER, edns: None }
    }
}

/// What the client's OPT record of version 0 asks for; unknown options and flags are ignored (DNS-42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The largest UDP answer that the client takes, in octets, as it said.
    pub(crate) size: u16,
    /// DO, to be copied (RFC 3225 3).
    pub(crate) dnssec_ok: bool,
    /// The options that we know.
    pub(crate) asked: Asked,
}

impl Request {
    /// Reads `message`; `None` if anything in it is not of the common kind.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut request = Self::default();
        request.read(message).then_some(request)
    }

    /// [`parse`](Self::parse) in place: whether all of `message` is of the common kind. If not, what was read means nothing.
    pub(crate) fn read(&mut self, message: &[u8]) -> bool {
        self.read_parts(message).is_some()
    }

    fn read_parts(&mut self, message: &[u8]) -> Option<()> {
        let header = message.first_chunk::<HEADER>()?;
        if header[2] & (flag::QR | flag::OPCODE) != 0 {
            return None;
        }
        let [.., 0, 1, 0, 0, 0, 0, 0, records @ (0 | 1)] = *header else {
            return None;
        };
        if !self.name.read(&message[HEADER..]) {
            return None;
        }
        let after_name = HEADER + self.name.wire_len();
        self.kind = RrType(u16_at(message, after_name)?);
        if u16_at(message, after_name + 2)? != CLASS_IN || is_meta(self.kind) {
            return None;
        }
        self.question_end = after_name + 4;
        let rest = &message[self.question_end..];
        self.edns = match records {
            0 if rest.is_empty() => None,
            0 => return None,
            _ => Some(parse_opt(rest)?),
        };
        Some(())
    }
}

/// Whether a type asks for something else than records of that type (RFC 6895 3.1); ANY is answered like the others.
pub(crate) const fn is_meta(kind: RrType) -> bool {
    matches!(kind.0, 41 | 128..=254)
}

/// Reads an OPT record of version 0 that is all of `record`.
fn parse_opt(record: &[u8]) -> Option<Edns> {
    let (fixed, options) = record.split_first_chunk::<OPT>()?;
    let [0, 0, 41, size_0, size_1, _, 0, flags, _, len_0, len_1] = *fixed else {
        return None;
    };
    if usize::from(u16::from_be_bytes([len_0, len_1])) != options.len() {
        return None;
    }
    let asked = Asked::read(options)?;
    Some(Edns { size: u16::from_be_bytes([size_0, size_1]), dnssec_ok: flags & 0x80 != 0, asked })
}
