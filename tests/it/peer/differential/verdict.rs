//! What must agree, and where the RFCs let two right answers differ.
//!
//! Not compared: the additional section (DNS-12 makes it a choice; Knot leaves the chain of a NAPTR out). Beyond that, the
//! differences allowed are those of [`expected`], each with its reason. Anything else fails.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};

use super::asker::Asker;
use super::question::Question;

/// A record that can be compared: owner in lower case, TTL, type, data as text.
type Entry = (String, u32, u16, String);

/// The type DNAME, which hickory-proto does not know by name.
const DNAME: u16 = 39;

/// Most zones that a chain of aliases passes through in the data.
const MAX_HOPS: usize = 8;

/// What is compared of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    rcode: ResponseCode,
    authoritative: bool,
    answer: BTreeSet<Entry>,
    authority: BTreeSet<Entry>,
}

/// Kinds of answers that a run must have met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Records,
    /// Records from a wildcard: their owner stands in no zone.
    Wildcard,
    Alias,
    /// A name below a DNAME, at once or behind an alias.
    Redirect,
    Referral,
    NoData,
    NxDomain,
    Refused,
}

impl Outcome {
    pub(super) const ALL: [Self; 8] = [
        Self::Records,
        Self::Wildcard,
        Self::Alias,
        Self::Redirect,
        Self::Referral,
        Self::NoData,
        Self::NxDomain,
        Self::Refused,
    ];
}

impl Seen {
    pub(super) fn of(message: &Message) -> Self {
        let entries = |records: &[Record]| records.iter().map(entry).collect();
        Self {
            rcode: message.response_code,
            authoritative: message.authoritative,
            answer: entries(&message.answers),
            authority: entries(&message.authorities),
        }
    }
}

/// What we should answer, given what Knot did.
pub(super) fn expected(question: &Question, theirs: &Message, apexes: &[String], knot: &Asker) -> Seen {
    let mut seen = Seen::of(theirs);
    // DNS-25: Knot follows aliases inside one zone and leaves the rest to the resolver; we follow them through all our
    // zones. So Knot is asked for the next part, and the answer wanted is the parts put together.
    let follows = question.kind != u16::from(RecordType::CNAME);
    let mut end = if follows { end_of_chain(&question.name, theirs, apexes) } else { None };
    let mut asked = BTreeSet::new();
    for _ in 0..MAX_HOPS {
        let Some(name) = end.take().filter(|name| is_below_any(name, apexes) && asked.insert(name.clone())) else {
            break;
        };
        let next = Question { name, kind: question.kind };
        let answer = knot.ask(&next);
        let part = Seen::of(&answer);
        seen.rcode = part.rcode;
        seen.answer.extend(part.answer);
        seen.authority = part.authority;
        end = end_of_chain(&next.name, &answer, apexes);
    }
    seen
}

/// Where an answer's chain of aliases ends, if it has one and stops there without a word about the last name, or at the
/// border to another of our zones.
fn end_of_chain(from: &str, message: &Message, apexes: &[String]) -> Option<String> {
    let is_border = |record: &Record| record.record_type() == RecordType::NS && apexes.contains(&text(&record.name));
    if message.response_code != ResponseCode::NoError || !message.authorities.iter().all(is_border) {
        return None;
    }
    let mut name = from.to_ascii_lowercase();
    let mut followed = false;
    for _ in 0..=message.answers.len() {
        let mut here = message.answers.iter().filter(|record| text(&record.name) == name);
        let Some(record) = here.next() else {
            return followed.then_some(name);
        };
        let RData::CNAME(target) = &record.data else { return None };
        name = text(&target.0);
        followed = true;
    }
    // A loop.
    None
}

/// What kind of answer it is; `owners` are all names of the zones, in lower case.
pub(super) fn outcome(question: &Question, seen: &Seen, owners: &BTreeSet<String>) -> Outcome {
    let alias = u16::from(RecordType::CNAME);
    let has = |kind| seen.answer.iter().any(|(_, _, other, _)| *other == kind);
    match seen.rcode {
        ResponseCode::Refused => Outcome::Refused,
        _ if has(alias) && has(DNAME) => Outcome::Redirect,
        _ if question.kind != alias && seen.answer.iter().any(|(_, _, kind, _)| *kind == alias) => Outcome::Alias,
        ResponseCode::NXDomain => Outcome::NxDomain,
        _ if seen.answer.iter().any(|(owner, ..)| !owners.contains(owner)) => Outcome::Wildcard,
        _ if !seen.answer.is_empty() => Outcome::Records,
        _ if seen.authority.iter().any(|(_, _, kind, _)| *kind == u16::from(RecordType::NS)) => Outcome::Referral,
        _ => Outcome::NoData,
    }
}

/// Names in the data of the oldest types may be compressed into the question, and have its case then (RFC 1035 4.1.4, DNS-7).
fn entry(record: &Record) -> Entry {
    let data = record.data.to_string();
    let data = match record.record_type() {
        RecordType::NS | RecordType::CNAME | RecordType::SOA | RecordType::MX => data.to_ascii_lowercase(),
        _ => data,
    };
    (text(&record.name), record.ttl, record.record_type().into(), data)
}

/// A name in lower case without the final dot.
fn text(name: &hickory_proto::rr::Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn is_below_any(name: &str, apexes: &[String]) -> bool {
    apexes
        .iter()
        .any(|apex| name.strip_suffix(apex.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}
