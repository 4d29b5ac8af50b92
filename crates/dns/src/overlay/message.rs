//! What the overlay reads of messages that it passes on, and the short answers that it writes itself. Any octets may come.

use tandem_zone::{QueryName, RrType};

use crate::request::Edns;
use crate::scan;
use crate::wire::{CLASS_IN, HEADER, OPT, flag, question_end, u16_at};

/// Bits of the header's fourth octet: recursion available (RFC 1035 4.1.1).
pub(super) const RA: u8 = 0x80;

/// Checking disabled (RFC 4035 3.2.2): copied from the query.
pub(super) const CD: u8 = 0x10;

/// The bits of the response code in the header.
const RCODE: u8 = 0x0f;

/// Octets of an option's head (RFC 6891 6.1.2).
const OPTION_HEAD: usize = 4;

/// Option 15: the extended error (RFC 8914 2).
const EXTENDED_ERROR: u16 = 15;

/// Response codes as the header has them (RFC 1035 4.1.1).
pub(super) mod rcode {
    pub(in super::super) const NO_ERROR: u8 = 0;
    pub(in super::super) const FORM_ERR: u8 = 1;
    pub(in super::super) const SERV_FAIL: u8 = 2;
    pub(in super::super) const NX_DOMAIN: u8 = 3;
    pub(in super::super) const NOT_IMP: u8 = 4;
    pub(in super::super) const REFUSED: u8 = 5;
}

/// An extended error: its code, and a text that says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Why(pub(super) u16, pub(super) &'static str);

/// The codes of extended errors (RFC 8914 4) that we send.
pub(super) mod why {
    pub(in super::super) const BLOCKED: u16 = 15;
    pub(in super::super) const NOT_READY: u16 = 14;
    pub(in super::super) const NO_REACHABLE: u16 = 22;
}

/// The question of a message that is not of the common kind.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: QueryName,
    pub(super) kind: RrType,
    pub(super) is_in: bool,
}

impl Question {
    /// The only question of `message`; `None` if there are others, or none that is sound.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let end = question_end(message).filter(|_| u16_at(message, 4) == Some(1))?;
        let name = QueryName::parse(&message[HEADER..end - 4])?;
        let (kind, class) = (u16_at(message, end - 4)?, u16_at(message, end - 2)?);
        Some(Self { name, kind: RrType(kind), is_in: class == CLASS_IN })
    }
}

/// How an upstream answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An answer to the question.
    Good,
    /// It answered that it cannot, or will not: another may.
    Unable,
    /// Not an answer to this query: not from who was asked, most likely.
    Foreign,
}

/// Judges what came from an upstream as an answer to `query`, whose ID is the one that went out (DNS-123, RFC 5452 9.1).
pub(super) fn judge(query: &[u8], answer: &[u8]) -> Verdict {
    let (Some(sent), Some(head)) = (query.first_chunk::<HEADER>(), answer.first_chunk::<HEADER>()) else {
        return Verdict::Foreign;
    };
    let is_response = head[2] & (flag::QR | flag::OPCODE) == flag::QR | sent[2] & flag::OPCODE;
    if head[..2] != sent[..2] || !is_response {
        return Verdict::Foreign;
    }
    let code = head[3] & RCODE;
    if head[4..] == [0; 8] && answer.len() == HEADER && matches!(code, rcode::FORM_ERR | rcode::NOT_IMP) {
        // Servers that know no EDNS may say it without the question (RFC 6891 7).
        return Verdict::Good;
    }
    let Some(end) = question_end(query) else { return Verdict::Foreign };
    let same = answer.get(HEADER..end).is_some_and(|echo| {
        // Servers may fold the name's letters; type and class are as they were sent.
        let ((name, fixed), (echo_name, echo_fixed)) =
            (query[HEADER..end].split_at(end - HEADER - 4), echo.split_at(end - HEADER - 4));
        name.eq_ignore_ascii_case(echo_name) && fixed == echo_fixed
    });
    if u16_at(answer, 4) != Some(1) || !same || !scan::is_whole(answer) {
        return Verdict::Foreign;
    }
    match code {
        rcode::SERV_FAIL | rcode::NOT_IMP | rcode::REFUSED => Verdict::Unable,
        _ => Verdict::Good,
    }
}

/// Turns the message in `buffer` into an answer without records: header, the question that ends at `question_end` (none if
/// that is the header's end), and OPT if the query is known to have had one. Returns its length.
///
/// `buffer` has room for the question and 100 octets more.
pub(super) fn short(
    buffer: &mut [u8],
    question_end: usize,
    edns: Option<&Edns>,
    rcode: u8,
    reason: Option<Why>,
) -> usize {
    let mut at = question_end;
    if let Some(edns) = edns {
        let (code, text) = reason.map_or((0, ""), |Why(code, text)| (code, text));
        let data_len = if reason.is_some() { OPTION_HEAD + 2 + text.len() } else { 0 };
        let [size_0, size_1] = crate::wire::ADVERTISED.to_be_bytes();
        let [len_0, len_1] = (data_len as u16).to_be_bytes();
        let head: [u8; OPT] = [0, 0, 41, size_0, size_1, 0, 0, u8::from(edns.dnssec_ok) << 7, 0, len_0, len_1];
        let mut put = |octets: &[u8]| {
            buffer[at..at + octets.len()].copy_from_slice(octets);
            at += octets.len();
        };
        put(&head);
        if reason.is_some() {
            put(&EXTENDED_ERROR.to_be_bytes());
            put(&((2 + text.len()) as u16).to_be_bytes());
            put(&code.to_be_bytes());
            put(text.as_bytes());
        }
    }
    buffer[2] = flag::QR | buffer[2] & (flag::OPCODE | flag::RD);
    buffer[3] = RA | buffer[3] & CD | rcode;
    let counts = [u16::from(question_end > HEADER), 0, 0, u16::from(edns.is_some())];
    for (index, count) in counts.into_iter().enumerate() {
        buffer[4 + 2 * index..6 + 2 * index].copy_from_slice(&count.to_be_bytes());
    }
    at
}

/// Cuts an answer that is too long for the client down to its question, with TC: the client asks again over TCP
/// (DNS-127, RFC 2181 9).
pub(super) fn cut(answer: &mut Vec<u8>) {
    let Some(end) = question_end(answer) else { return };
    answer.truncate(end);
    answer[2] |= flag::TC;
    answer[6..HEADER].fill(0);
}
