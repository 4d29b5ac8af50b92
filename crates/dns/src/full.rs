//! The full path: messages that are rare, odd or broken, each with the answer that the RFCs want (DNS-1 to DNS-6, DNS-40 to 46).
//!
//! [`survey`](Survey::of) reads the message to its end with hickory-proto's decoder, bounded by the message's length;
//! [`judge`] decides; [`respond`] writes. A QUERY that turns out to be sound is answered as on the hot path.
//! An error answer echoes at most the question, OPT and TSIG that were sent, so it is never longer than the query; only
//! who holds a key of ours gets a signature back. A signed message is believed after its signature is checked (threat 7).

use std::sync::Arc;

use hickory_proto::op::OpCode;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::{BinDecoder, DecodeError};
use tandem_model::Serial;
use tandem_zone::{QueryName, RrType, Zones};
use tracing::debug;

use crate::answer::{Cut, Reply, Transport, answer, extended, refuse};
use crate::chaos;
use crate::client::Client;
use crate::cookie::Standing;
use crate::options::{self, Asked};
use crate::request::{Edns, Request};
use crate::transfer::{Frame, Granted, OverUdp, TransferRequest, Transfers, count};
use crate::tsig::{Checked, Refusal, Session, TsigRecord, check};
use crate::wire::{CLASS_IN, HEADER, MAX_MESSAGE, PLAIN_UDP, Rcode, flag, u16_at};
use crate::writer::{Head, Section, bare};

/// The type that says "no such name" in compact denial; asking for it is an error (RFC 9824 3.5).
const NXNAME: u16 = 128;

/// Key agreement without a TKEY record (RFC 2930 4).
const TKEY: u16 = 249;

/// Obsolete questions for groups of types (RFC 1035 3.2.3).
const MAILB: u16 = 253;

/// As [`MAILB`].
const MAILA: u16 = 254;

/// What a message holds, as far as it could be read.
#[derive(Debug, Default)]
struct Survey {
    /// QDCOUNT.
    questions: u16,
    /// The only question, if there is just one and its name is sound.
    question: Option<Question>,
    /// The first OPT record.
    opt: Option<Opt>,
    /// The TSIG record.
    tsig: Option<TsigRecord>,
    /// The serial of the first SOA record in authority: what an IXFR says that the client has.
    serial: Option<Serial>,
    /// Whether something is wrong with the message's form.
    broken: bool,
}

#[derive(Debug)]
struct Question {
    name: QueryName,
    end: usize,
    kind: RrType,
    class: u16,
}

#[derive(Debug)]
struct Opt {
    edns: Edns,
    version: u8,
}

/// What to do with a message.
enum Verdict<'a> {
    Answer(Request),
    /// Well-formed, but not about what we serve.
    NotOurs(Request),
    /// A question about the server that the operator lets it answer with this text.
    Chaos(Request, &'a str),
    Error(Rcode),
    /// A question for a type that nobody can ask for (RFC 9824 3.5).
    InvalidType,
    /// A question for a cookie: NOERROR without data (RFC 7873 5.4).
    Empty,
    /// AXFR, or IXFR from the client's serial: not granted yet.
    Transfer {
        name: QueryName,
        from: Option<Serial>,
    },
}

/// How far a message was taken.
enum Taken {
    Answered(Reply),
    /// A transfer is asked for; the query still stands in the buffer.
    Transfer(Box<TransferRequest>),
}

/// Answers what [`Request::parse`] did not take: a query (QR=0) with a whole header.
#[cold]
pub(crate) fn respond(
    zones: &Zones,
    transfers: &Transfers,
    client: &Client<'_>,
    buffer: &mut [u8],
    len: usize,
) -> Reply {
    match take(zones, transfers, client, buffer, len) {
        Taken::Answered(reply) => reply,
        // DNS-T54: AXFR goes over TCP only, and there it does not come here. DoH and DoQ carry no transfers.
        Taken::Transfer(request) if request.from.is_none() || !matches!(client.transport, Transport::Udp { .. }) => {
            count(&transfers.counters.refused);
            refuse_transfer(request.frame, transfers, client, buffer, len)
        }
        Taken::Transfer(request) => {
            let limit = limit(client.transport, request.frame.edns);
            match transfers.over_udp(*request, limit) {
                OverUdp::Message(message) => {
                    buffer[..message.len()].copy_from_slice(&message);
                    Reply { len: message.len(), rcode: Rcode::NoError, truncated: false, cut: Cut::default() }
                }
                OverUdp::Refused(frame) => refuse_transfer(frame, transfers, client, buffer, len),
            }
        }
    }
}

/// Begins the transfer that the message asks for over TCP, or gives the answer that it gets instead.
///
/// # Errors
///
/// The answer, in `buffer`: a refusal most often.
#[cold]
pub(crate) fn transfer(
    zones: &Arc<Zones>,
    transfers: &Arc<Transfers>,
    client: &Client<'_>,
    buffer: &mut [u8],
    len: usize,
) -> Result<Granted, Reply> {
    match take(zones, transfers, client, buffer, len) {
        Taken::Answered(reply) => Err(reply),
        Taken::Transfer(request) => transfers
            .grant(zones, *request, client.address)
            .map_err(|frame| refuse_transfer(*frame, transfers, client, buffer, len)),
    }
}

fn take(zones: &Zones, transfers: &Transfers, client: &Client<'_>, buffer: &mut [u8], len: usize) -> Taken {
    let survey = Survey::of(&buffer[..len]);
    let opcode = OpCode::from_u8((buffer[2] & flag::OPCODE) >> 3);
    let edns = survey.opt.as_ref().map(|opt| opt.edns);
    let now = transfers.clock;
    let mut session = None;
    if let Some(record) = survey.tsig.as_ref().filter(|_| !survey.broken && !is_unknown(opcode)) {
        match check(&transfers.permissions().keys, &buffer[..len], record, now()) {
            Checked::Good(good) => session = Some(good),
            Checked::Malformed => return Taken::Answered(echo(&survey, Rcode::FormErr, client, buffer)),
            Checked::Bad(refusal) => {
                count(&transfers.counters.bad_signatures);
                // RFC 8945 5.2 wants each logged: not where anybody could fill the disk with it.
                debug!(rule = "RFC 8945 5.2", "a signature is not good");
                let reply = echo(&survey, Rcode::NotAuth, client, buffer);
                return Taken::Answered(match refusal {
                    Refusal::Unsigned(record) => append(buffer, reply, &record, len),
                    Refusal::Signed(session) => sign(buffer, reply, session, now(), limit(client.transport, edns)),
                });
            }
        }
    }
    let reply = match judge(&survey, opcode, client) {
        Verdict::Transfer { name, from } => {
            if let (Some(record), Some(session)) = (&survey.tsig, &session)
                && matches!(client.transport, Transport::Tcp)
                && !transfers.is_new(session, now())
            {
                count(&transfers.counters.bad_signatures);
                debug!(rule = "RFC 8945 5.2.3", "a signed request for a transfer came again");
                let reply = echo(&survey, Rcode::NotAuth, client, buffer);
                let session = session.clone().with_bad_time(record, now());
                return Taken::Answered(sign(buffer, reply, session, now(), limit(client.transport, edns)));
            }
            let frame = Frame {
                id: u16_at(buffer, 0).unwrap_or_default(),
                recursion_desired: buffer[2] & flag::RD != 0,
                question: buffer[HEADER..question_end(&survey)].to_vec(),
                edns,
                session,
            };
            return Taken::Transfer(Box::new(TransferRequest { name, from, frame }));
        }
        Verdict::Answer(request) => answer(zones, &request, client, buffer, len),
        Verdict::NotOurs(request) => {
            refuse(&request, client.transport, client.opt_for(request.edns.as_ref()), buffer, len)
        }
        Verdict::Chaos(request, text) => chaos::answer(&request, text, client, buffer),
        Verdict::Empty => echo(&survey, Rcode::NoError, client, buffer),
        Verdict::Error(rcode) => echo(&survey, rcode, client, buffer),
        Verdict::InvalidType => {
            let head = head_of(Rcode::FormErr, survey.plain_opt());
            let head = head.with_error(extended::INVALID_TYPE, client.transport, question_end(&survey), len);
            end(&survey, head, Standing::Unproven, buffer)
        }
    };
    Taken::Answered(match session {
        Some(session) => sign(buffer, reply, session, now(), limit(client.transport, edns)),
        None => reply,
    })
}

/// Decides, form first: what is broken is FORMERR whatever it asks for.
fn judge<'a>(survey: &Survey, opcode: OpCode, client: &Client<'a>) -> Verdict<'a> {
    // The body of a message with an unknown opcode may have any form (DNS-3).
    if is_unknown(opcode) {
        return Verdict::Error(Rcode::NotImp);
    }
    if survey.broken {
        return Verdict::Error(Rcode::FormErr);
    }
    if survey.opt.as_ref().is_some_and(|opt| opt.version > 0) {
        return Verdict::Error(Rcode::BadVers);
    }
    let Some(question) = &survey.question else {
        let for_cookie =
            survey.questions == 0 && survey.opt.as_ref().is_some_and(|opt| opt.edns.asked.cookie.is_some());
        return if for_cookie && opcode == OpCode::Query { Verdict::Empty } else { Verdict::Error(Rcode::FormErr) };
    };
    // NOTIFY from a stranger, and UPDATE: the HTTP API is the way in (DNS-73, DNS-77).
    if opcode != OpCode::Query {
        return Verdict::Error(Rcode::Refused);
    }
    let request = Request {
        name: question.name.clone(),
        kind: question.kind,
        question_end: question.end,
        edns: survey.opt.as_ref().map(|opt| opt.edns),
    };
    if question.class != CLASS_IN {
        return match chaos::text(&client.policy.identity, &request, question.class) {
            Some(text) => Verdict::Chaos(request, text),
            None => Verdict::NotOurs(request),
        };
    }
    match RecordType::from(question.kind.0) {
        RecordType::AXFR => Verdict::Transfer { name: request.name, from: None },
        // RFC 1995 3: the client says in authority what it has.
        RecordType::IXFR if survey.serial.is_none() => Verdict::Error(Rcode::FormErr),
        RecordType::IXFR => Verdict::Transfer { name: request.name, from: survey.serial },
        RecordType::OPT | RecordType::TSIG => Verdict::InvalidType,
        _ => match question.kind.0 {
            NXNAME | TKEY => Verdict::InvalidType,
            MAILB | MAILA => Verdict::Error(Rcode::NotImp),
            _ => Verdict::Answer(request),
        },
    }
}

/// The TSIG record of a whole message, if it has one in its place.
pub(crate) fn tsig_of(message: &[u8]) -> Option<TsigRecord> {
    let survey = Survey::of(message);
    survey.tsig.filter(|_| !survey.broken)
}

/// Whether an opcode is one that we know nothing about.
fn is_unknown(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Status | OpCode::Unknown(_))
}

/// Where the question ends; behind the header if there is no sound one.
fn question_end(survey: &Survey) -> usize {
    survey.question.as_ref().map_or(HEADER, |question| question.end)
}

/// An answer of header, question if it was sound, and OPT if there was one. Options are for well-formed queries only: an
/// answer to anything else is no longer than what came (threat 2).
fn echo(survey: &Survey, rcode: Rcode, client: &Client<'_>, buffer: &mut [u8]) -> Reply {
    if !matches!(rcode, Rcode::NoError | Rcode::Refused) {
        return end(survey, head_of(rcode, survey.plain_opt()), Standing::Unproven, buffer);
    }
    let (opt, standing) = client.opt_for(survey.opt.as_ref().map(|opt| &opt.edns));
    // RFC 7873 5.4: only who asks for nothing else hears that the cookie was bad (DNS-2).
    let is_bad = rcode == Rcode::NoError && standing == Standing::Bad;
    end(survey, head_of(if is_bad { Rcode::BadCookie } else { rcode }, opt), standing, buffer)
}

/// Finishes an answer without records.
fn end(survey: &Survey, head: Head<'_>, standing: Standing, buffer: &mut [u8]) -> Reply {
    let (at, questions) = (question_end(survey), u16::from(survey.question.is_some()));
    let len = bare(buffer, at, questions, head);
    let cut = Cut { question_end: at, opt_len: len - at, standing };
    Reply { len, rcode: head.rcode, truncated: false, cut }
}

/// The head of an answer that is neither authoritative nor truncated.
const fn head_of(rcode: Rcode, opt: Option<options::Opt<'_>>) -> Head<'_> {
    Head { rcode, authoritative: false, truncated: false, opt, error: None }
}

/// REFUSED for a transfer; who asks without a key, or with one that has no right to it, learns no more (DNS-T54).
fn refuse_transfer(
    frame: Frame,
    transfers: &Transfers,
    client: &Client<'_>,
    buffer: &mut [u8],
    query_len: usize,
) -> Reply {
    let Frame { question, edns, session, .. } = frame;
    let at = HEADER + question.len();
    let (opt, standing) = client.opt_for(edns.as_ref());
    let head = head_of(Rcode::Refused, opt).with_error(extended::PROHIBITED, client.transport, at, query_len);
    let len = bare(buffer, at, 1, head);
    let cut = Cut { question_end: at, opt_len: len - at, standing };
    let reply = Reply { len, rcode: Rcode::Refused, truncated: false, cut };
    match session {
        Some(session) => sign(buffer, reply, session, (transfers.clock)(), limit(client.transport, edns)),
        None => reply,
    }
}

/// The most octets of an answer (DNS-43, DNS-44).
fn limit(transport: Transport, edns: Option<Edns>) -> usize {
    match transport {
        Transport::Udp { limit } => usize::from(edns.map_or(PLAIN_UDP, |edns| edns.size.min(limit).max(PLAIN_UDP))),
        Transport::Tcp | Transport::Exchange => MAX_MESSAGE,
    }
}

/// Signs the answer in `buffer` (RFC 8945 5.3). If the signature does not fit, what it signs becomes shorter (DNS-46).
fn sign(buffer: &mut [u8], mut reply: Reply, mut session: Session, now: u64, limit: usize) -> Reply {
    if reply.len + session.record_len() > limit {
        let questions = u16_at(buffer, 4).unwrap_or_default();
        let end = if questions == 0 { HEADER } else { crate::wire::question_end(buffer).unwrap_or(HEADER) };
        let head = Head { rcode: Rcode::NoError, authoritative: false, truncated: true, opt: None, error: None };
        let len = bare(buffer, end, questions, head);
        reply = Reply { len, rcode: Rcode::NoError, truncated: true, cut: Cut::default() };
    }
    // Who signs is known: no rate limit (DNS-67).
    reply.cut = Cut::default();
    let record = session.sign(&buffer[..reply.len], now);
    let room = buffer.len();
    append(buffer, reply, &record, room)
}

/// Appends a TSIG record to the answer, if both have at most `limit` octets; the rcode says enough else.
fn append(buffer: &mut [u8], mut reply: Reply, record: &[u8], limit: usize) -> Reply {
    let end = reply.len + record.len();
    if end <= limit.min(buffer.len()) {
        buffer[reply.len..end].copy_from_slice(record);
        reply.len = end;
        let additionals = u16_at(buffer, 10).unwrap_or_default() + 1;
        buffer[10..12].copy_from_slice(&additionals.to_be_bytes());
    }
    reply
}

impl Survey {
    /// The OPT record of an answer that carries no options.
    fn plain_opt(&self) -> Option<options::Opt<'static>> {
        self.opt.as_ref().map(|opt| options::Opt { dnssec_ok: opt.edns.dnssec_ok, ..options::Opt::default() })
    }

    /// Reads all of `message`. Costs one pass: pointers are checked to lead backwards, but not followed.
    fn of(message: &[u8]) -> Self {
        let mut survey = Self::default();
        if survey.read(message).is_err() {
            survey.broken = true;
        }
        survey
    }

    fn read(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        let mut decoder = BinDecoder::new(message);
        decoder.read_slice(4)?;
        let mut counts = [0; 4];
        for count in &mut counts {
            *count = decoder.read_u16()?.unverified();
        }
        let [questions, answers, authorities, additionals] = counts;
        self.questions = questions;
        for _ in 0..questions {
            self.read_question(&mut decoder, message)?;
        }
        for (count, section) in
            [(answers, Section::Answer), (authorities, Section::Authority), (additionals, Section::Additional)]
        {
            for _ in 0..count {
                self.read_record(&mut decoder, message, section)?;
            }
        }
        // Trailing octets belong to no section.
        self.broken |= !decoder.is_empty();
        Ok(())
    }

    fn read_question(&mut self, decoder: &mut BinDecoder<'_>, message: &[u8]) -> Result<(), DecodeError> {
        let start = decoder.index();
        skip_name(decoder)?;
        let name_end = decoder.index();
        let kind = RrType(decoder.read_u16()?.unverified());
        let class = decoder.read_u16()?.unverified();
        // A first name can only be compressed into the header: that is nonsense, and could not be echoed.
        let name = QueryName::parse(&message[start..name_end]).filter(|name| name.wire_len() == name_end - start);
        match name {
            Some(name) if self.questions == 1 => {
                self.question = Some(Question { name, end: decoder.index(), kind, class });
            }
            Some(_) => {}
            None => self.broken = true,
        }
        Ok(())
    }

    fn read_record(
        &mut self,
        decoder: &mut BinDecoder<'_>,
        message: &[u8],
        section: Section,
    ) -> Result<(), DecodeError> {
        let additional = section == Section::Additional;
        let start = decoder.index();
        skip_name(decoder)?;
        let owner = decoder.slice_from(start)?;
        let kind = decoder.read_u16()?.unverified();
        let class = decoder.read_u16()?.unverified();
        let ttl = decoder.read_u32()?.unverified();
        let len = decoder.read_u16()?.unverified();
        let data = decoder.read_slice(usize::from(len))?.unverified();
        // TSIG must be the last record (RFC 8945 5.1).
        self.broken |= self.tsig.is_some();
        match RecordType::from(kind) {
            RecordType::OPT => {
                // RFC 6891 6.1.1, DNS-41: one, in additional, at the root.
                let [_, version, flags, _] = ttl.to_be_bytes();
                self.broken |= !additional || owner != [0] || self.opt.is_some();
                // Options of another version may look different.
                let asked = if version == 0 { Asked::read(data) } else { Some(Asked::default()) };
                self.broken |= asked.is_none();
                let edns = Edns { size: class, dnssec_ok: flags & 0x80 != 0, asked: asked.unwrap_or_default() };
                self.opt.get_or_insert(Opt { edns, version });
            }
            RecordType::TSIG => {
                let key = expanded(message, start);
                self.tsig = key.and_then(|key| TsigRecord::read(&key, class, ttl, data, start));
                self.broken |= !additional || self.tsig.is_none();
            }
            RecordType::SOA if section == Section::Authority && self.serial.is_none() => {
                // SERIAL is the first of five numbers at the end (RFC 1035 3.3.13); names before it may be compressed.
                let numbers = data.last_chunk::<20>();
                self.serial = numbers.map(|[s0, s1, s2, s3, ..]| Serial::new(u32::from_be_bytes([*s0, *s1, *s2, *s3])));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Passes over a name. Pointers must lead backwards (threat 3).
fn skip_name(decoder: &mut BinDecoder<'_>) -> Result<(), DecodeError> {
    let start = decoder.index();
    loop {
        match decoder.read_u8()?.unverified() {
            0 => return Ok(()),
            label @ 1..=63 => {
                decoder.read_slice(usize::from(label))?;
            }
            high @ 0xc0.. => {
                let low = decoder.read_u8()?.unverified();
                let ptr = u16::from_be_bytes([high & 0x3f, low]);
                if usize::from(ptr) < start {
                    return Ok(());
                }
                return Err(DecodeError::PointerNotPriorToLabel { idx: start, ptr });
            }
            label => return Err(DecodeError::UnrecognizedLabelCode(label)),
        }
    }
}

/// The name at `start`, which [`skip_name`] has passed over, with what its pointers point to.
fn expanded(message: &[u8], start: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let (mut at, mut from) = (start, start);
    loop {
        match *message.get(at)? {
            0 => break,
            label @ 1..=63 => {
                name.extend(message.get(at..=at + usize::from(label))?);
                at += 1 + usize::from(label);
            }
            0xc0.. => {
                // Each pointer leads to before what holds it, so this ends (threat 3).
                let to = usize::from(u16_at(message, at)? & 0x3fff);
                if to >= from {
                    return None;
                }
                (at, from) = (to, to);
            }
            _ => return None,
        }
        if name.len() > 254 {
            return None;
        }
    }
    name.push(0);
    Some(name)
}
