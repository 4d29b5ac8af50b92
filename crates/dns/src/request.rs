//! The common question, read in place: one QUERY of class IN with at most one OPT record. The first step of the hot path.
//!
//! [`Request::parse`] either reads all of a message or leaves all of it to [`full`](crate::full), which answers what is
//! rare or wrong. Nothing is allocated.

use tandem_zone::{QueryName, RrType};

use crate::options::Asked;
use crate::wire::{CLASS_IN, HEADER, OPT, flag, u16_at};

/// A sound question, and how its answer is to look.
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
        let header = message.first_chunk::<HEADER>()?;
        if header[2] & (flag::QR | flag::OPCODE) != 0 {
            return None;
        }
        let [.., 0, 1, 0, 0, 0, 0, 0, records @ (0 | 1)] = *header else {
            return None;
        };
        let name = QueryName::parse(&message[HEADER..])?;
        let after_name = HEADER + name.wire_len();
        let kind = RrType(u16_at(message, after_name)?);
        if u16_at(message, after_name + 2)? != CLASS_IN || is_meta(kind) {
            return None;
        }
        let question_end = after_name + 4;
        let rest = &message[question_end..];
        let edns = match records {
            0 if rest.is_empty() => None,
            0 => return None,
            _ => Some(parse_opt(rest)?),
        };
        Some(Self { name, kind, question_end, edns })
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
