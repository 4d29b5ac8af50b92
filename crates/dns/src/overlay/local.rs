//! From a message to what is done with it: answered from the members, answered with an error, or forwarded.
//! HOT PATH: for a member's name nothing is allocated, locked or waited for.

use tandem_zone::{Held, RrType, Rrset, Suffixes, Zones};

use super::members::{Block, Members};
use super::message::{CD, Question, RA, Why, rcode, short, why};
use crate::answer::{RECORD_HEAD, Transport};
use crate::options::Opt;
use crate::request::{Edns, Request};
use crate::wire::{HEADER, MAX_MESSAGE, PLAIN_UDP, Rcode, flag};
use crate::writer::{Head, Owner, Section, Writer};

/// Transfers: for name servers, and of many messages.
const TRANSFERS: [RrType; 2] = [RrType(251), RrType(252)];

/// What is done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The answer stands in the buffer, and has so many octets.
    Answered(usize, Source),
    /// An upstream is asked.
    Forward(Asked),
    /// No answer: it is none to a query (threat 2).
    Silence,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A member's document.
    Member,
    /// The list of members that must not be called.
    Block,
    /// A message that is not understood, or not for an overlay.
    Error,
}

/// What has to be known of a question that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Where its question ends.
    pub(super) question_end: usize,
    /// Its OPT record, if that was read.
    pub(super) edns: Option<Edns>,
    /// Whether all of the message was read.
    pub(super) is_common: bool,
}

/// Decides about the message in the first `len` octets of `buffer`. `request` is room to read into.
pub(super) fn answer(
    members: &Members,
    suffixes: &Suffixes,
    request: &mut Request,
    transport: Transport,
    buffer: &mut [u8],
    len: usize,
) -> Step {
    if !request.read(&buffer[..len]) {
        return answer_odd(members, suffixes, buffer, len);
    }
    let asked = Asked { question_end: request.question_end, edns: request.edns, is_common: true };
    if let Some(block) = members.block(&request.name, request.kind, suffixes) {
        let (code, text) = match block {
            Block::NoData(text) => (rcode::NO_ERROR, text),
            Block::NxDomain(text) => (rcode::NX_DOMAIN, text),
        };
        let reason = Some(Why(why::BLOCKED, text));
        return Step::Answered(short(buffer, asked.question_end, asked.edns.as_ref(), code, reason), Source::Block);
    }
    let len = match members.nodes.held_by_nodes(&request.name, request.kind, suffixes) {
        // DNS-121: all of the DNS that is no member's.
        Held::Nothing => return Step::Forward(asked),
        Held::Records(set) => write(&members.nodes, request, &set, transport, buffer),
        Held::NoData => short(buffer, asked.question_end, asked.edns.as_ref(), rcode::NO_ERROR, None),
    };
    Step::Answered(len, Source::Member)
}

/// [`answer`] to a message that is not of the common kind: most are forwarded, too.
#[cold]
fn answer_odd(members: &Members, suffixes: &Suffixes, buffer: &mut [u8], len: usize) -> Step {
    if len < HEADER || buffer[2] & flag::QR != 0 {
        return Step::Silence;
    }
    let error = |buffer: &mut [u8], code| Step::Answered(short(buffer, HEADER, None, code, None), Source::Error);
    // NOTIFY and UPDATE are for those who serve zones.
    if buffer[2] & flag::OPCODE != 0 {
        return error(buffer, rcode::NOT_IMP);
    }
    let Some(Question { name, kind, is_in }) = Question::of(&buffer[..len]) else {
        return error(buffer, rcode::FORM_ERR);
    };
    let question_end = HEADER + name.wire_len() + 4;
    if TRANSFERS.contains(&kind) {
        return Step::Answered(short(buffer, question_end, None, rcode::REFUSED, None), Source::Error);
    }
    let is_members = is_in
        && (members.block(&name, kind, suffixes).is_some()
            || !matches!(members.nodes.held_by_nodes(&name, kind, suffixes), Held::Nothing));
    if is_members {
        // Whoever asks about a member must not reach the public DNS by asking oddly.
        return Step::Answered(short(buffer, question_end, None, rcode::FORM_ERR, None), Source::Error);
    }
    Step::Forward(Asked { question_end, edns: None, is_common: false })
}

/// Writes a member's records, and what the client would ask for next as far as there is room; TC if not even they fit.
fn write(nodes: &Zones, request: &Request, set: &Rrset<'_>, transport: Transport, buffer: &mut [u8]) -> usize {
    let limit = match transport {
        Transport::Udp { limit } => usize::from(request.edns.map_or(PLAIN_UDP, |e| e.size.min(limit).max(PLAIN_UDP))),
        Transport::Tcp | Transport::Exchange => MAX_MESSAGE,
    };
    let cd = buffer[3] & CD;
    let opt = request.edns.map(|edns| Opt { dnssec_ok: edns.dnssec_ok, ..Opt::default() });
    let mut writer = Writer::new(buffer, request.question_end, limit, opt.as_ref());
    let fits = writer.rrset(Section::Answer, Owner::At(HEADER), set).is_ok();
    if fits {
        nodes.additional_of_nodes(set, |owner, more| {
            // What does not fit is left out whole; something shorter behind it may still fit.
            let _left_out = writer.rrset(Section::Additional, Owner::Further(owner), &more);
            writer.room() > RECORD_HEAD
        });
    } else {
        writer.clear();
    }
    let len = writer.finish(Head { rcode: Rcode::NoError, authoritative: false, truncated: !fits, opt, error: None });
    // A resolver to its clients: RA, and no AA (DNS-120). CD is copied, AD not claimed (DNS-128).
    buffer[3] |= RA | cd;
    len
}
