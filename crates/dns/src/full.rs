//! The full path: messages that are rare, odd or broken, each with the answer that the RFCs want (DNS-1 to DNS-6, DNS-40 to 46).
//!
//! [`survey`](Survey::of) reads the message to its end with hickory-proto's decoder, bounded by the message's length;
//! [`judge`] decides; [`respond`] writes. A QUERY that turns out to be sound is answered as on the hot path.
//! An error answer echoes at most the question, OPT and TSIG that were sent, so it is never longer than the query.

use hickory_proto::op::OpCode;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::{BinDecoder, DecodeError};
use tandem_zone::{QueryName, RrType, Zones};

use crate::answer::{Reply, Transport, answer, refuse};
use crate::request::{Edns, Request, options_are_sound};
use crate::wire::{CLASS_IN, HEADER, Rcode, flag, name_len, u16_at};
use crate::writer::{Head, bare};

/// The type that says "no such name" in compact denial; asking for it is an error (RFC 9824 3.5).
const NXNAME: u16 = 128;

/// The option that asks for, or shows, a cookie (RFC 7873 4).
const COOKIE_CODE: u16 = 10;

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
    /// The key of a TSIG record, and what an unsigned TSIG answer repeats.
    tsig: Option<Tsig>,
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
    cookie: bool,
}

/// The parts of a TSIG record (RFC 8945 4.2), as they were sent.
#[derive(Debug)]
struct Tsig {
    key: Vec<u8>,
    algorithm: Vec<u8>,
    time_and_fudge: [u8; 8],
    original_id: [u8; 2],
}

/// What to do with a message.
enum Verdict {
    Answer(Request),
    /// Well-formed, but not about what we serve.
    NotOurs(Request),
    Error(Rcode),
    /// A question for a cookie: NOERROR without data (RFC 7873 5.4).
    Empty,
}

/// Answers what [`Request::parse`] did not take: a query (QR=0) with a whole header.
#[cold]
pub(crate) fn respond(zones: &Zones, transport: Transport, buffer: &mut [u8], len: usize) -> Reply {
    let survey = Survey::of(&buffer[..len]);
    let opcode = OpCode::from_u8((buffer[2] & flag::OPCODE) >> 3);
    match judge(&survey, opcode) {
        Verdict::Answer(request) => answer(zones, &request, transport, buffer, len),
        Verdict::NotOurs(request) => refuse(&request, transport, buffer, len),
        Verdict::Empty => echo(&survey, Rcode::NoError, buffer, len),
        Verdict::Error(rcode) => echo(&survey, rcode, buffer, len),
    }
}

/// Decides, form first: what is broken is FORMERR whatever it asks for.
fn judge(survey: &Survey, opcode: OpCode) -> Verdict {
    // The body of a message with an unknown opcode may have any form (DNS-3).
    if matches!(opcode, OpCode::Status | OpCode::Unknown(_)) {
        return Verdict::Error(Rcode::NotImp);
    }
    if survey.broken {
        return Verdict::Error(Rcode::FormErr);
    }
    if survey.opt.as_ref().is_some_and(|opt| opt.version > 0) {
        return Verdict::Error(Rcode::BadVers);
    }
    // No keys are configured, so every key is unknown (RFC 8945 5.2.1).
    if survey.tsig.is_some() {
        return Verdict::Error(Rcode::NotAuth);
    }
    let Some(question) = &survey.question else {
        let for_cookie = survey.questions == 0 && survey.opt.as_ref().is_some_and(|opt| opt.cookie);
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
        return Verdict::NotOurs(request);
    }
    match RecordType::from(question.kind.0) {
        // Transfers need an allow rule, and there is none (DNS-74).
        RecordType::AXFR | RecordType::IXFR => Verdict::Error(Rcode::Refused),
        RecordType::OPT | RecordType::TSIG => Verdict::Error(Rcode::FormErr),
        _ => match question.kind.0 {
            NXNAME | TKEY => Verdict::Error(Rcode::FormErr),
            MAILB | MAILA => Verdict::Error(Rcode::NotImp),
            _ => Verdict::Answer(request),
        },
    }
}

/// An answer of header, question if it was sound, OPT if there was one, and TSIG's error.
fn echo(survey: &Survey, rcode: Rcode, buffer: &mut [u8], query_len: usize) -> Reply {
    let (at, questions) = survey.question.as_ref().map_or((HEADER, 0), |question| (question.end, 1));
    let edns = survey.opt.as_ref().map(|opt| opt.edns);
    let head = Head { rcode, authoritative: false, truncated: false, edns, error: None };
    let mut len = bare(buffer, at, questions, head);
    if let Some(tsig) = survey.tsig.as_ref().filter(|_| rcode == Rcode::NotAuth) {
        let record = tsig.bad_key();
        // A key name that came compressed may not fit; the rcode says enough then.
        if len + record.len() <= query_len {
            buffer[len..len + record.len()].copy_from_slice(&record);
            len += record.len();
            let additionals = u16::from(edns.is_some()) + 1;
            buffer[10..12].copy_from_slice(&additionals.to_be_bytes());
        }
    }
    Reply { len, rcode, truncated: false }
}

impl Tsig {
    /// The unsigned TSIG record with error BADKEY (RFC 8945 5.2.1).
    fn bad_key(&self) -> Vec<u8> {
        let mut record = self.key.clone();
        let data_len = self.algorithm.len() + 16;
        record.extend([0, 250, 0, 255, 0, 0, 0, 0]);
        record.extend(u16::try_from(data_len).unwrap_or_default().to_be_bytes());
        record.extend(&self.algorithm);
        record.extend(self.time_and_fudge);
        record.extend([0, 0]);
        record.extend(self.original_id);
        record.extend([0, 17, 0, 0]);
        record
    }

    /// Reads the record's data; `None` if it is broken.
    fn read(key: &[u8], data: &[u8]) -> Option<Self> {
        name_len(key).filter(|len| *len == key.len())?;
        let (algorithm, rest) = data.split_at_checked(name_len(data)?)?;
        let (time_and_fudge, rest) = rest.split_first_chunk()?;
        let mac_len = usize::from(u16_at(rest, 0)?);
        let (original_id, rest) = rest.get(2 + mac_len..)?.split_first_chunk()?;
        let other_len = usize::from(u16_at(rest, 2)?);
        (rest.len() == 4 + other_len).then(|| Self {
            key: key.to_vec(),
            algorithm: algorithm.to_vec(),
            time_and_fudge: *time_and_fudge,
            original_id: *original_id,
        })
    }
}

impl Survey {
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
        for (count, additional) in [(answers, false), (authorities, false), (additionals, true)] {
            for _ in 0..count {
                self.read_record(&mut decoder, additional)?;
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

    fn read_record(&mut self, decoder: &mut BinDecoder<'_>, additional: bool) -> Result<(), DecodeError> {
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
                // RFC 6891 6.1.1: one, in additional, at the root.
                let [_, version, flags, _] = ttl.to_be_bytes();
                self.broken |= !additional || owner != [0] || self.opt.is_some();
                self.broken |= version == 0 && !options_are_sound(data);
                let edns = Edns { size: class, dnssec_ok: flags & 0x80 != 0 };
                self.opt.get_or_insert_with(|| Opt { edns, version, cookie: has_cookie(data) });
            }
            RecordType::TSIG => {
                self.tsig = Tsig::read(owner, data);
                self.broken |= !additional || self.tsig.is_none();
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

/// Whether one of sound `options` is a COOKIE of a legal length (RFC 7873 4; DNS-55).
fn has_cookie(options: &[u8]) -> bool {
    let mut rest = options;
    while let (Some(code), Some(len)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if code == COOKIE_CODE {
            return matches!(len, 8 | 16..=40);
        }
        rest = rest.get(4 + usize::from(len)..).unwrap_or_default();
    }
    false
}
