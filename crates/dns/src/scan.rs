//! Reads over whole messages, record by record, for what the encrypted transports have to know of them.
//!
//! Never fails: what is broken is as good as not there. The work is bounded by the message's length.

use crate::wire::{HEADER, OPT, u16_at};

/// Type OPT.
const OPT_TYPE: u16 = 41;

/// Octets of an option before its data.
const OPTION_HEAD: usize = 4;

/// Whether `query` has an OPT record of version 0 with the option `code`.
pub(crate) fn has_option(query: &[u8], code: u16) -> bool {
    let Some((at, end)) = find_opt(query) else { return false };
    let version = query[at + 6];
    let mut options = &query[at + OPT..end];
    while let (Some(found), Some(len)) = (u16_at(options, 0), u16_at(options, 2)) {
        if found == code {
            return version == 0;
        }
        options = options.get(OPTION_HEAD + usize::from(len)..).unwrap_or_default();
    }
    false
}

/// The least TTL of the records of an answer, OPT left out; `None` if it has none, or is broken.
pub(crate) fn least_ttl(answer: &[u8]) -> Option<u32> {
    let mut least = None;
    for record in Records::of(answer)? {
        let Record { at, kind, .. } = record?;
        if kind != OPT_TYPE {
            let ttl = u32::from_be_bytes(*answer.get(at + 4..)?.first_chunk()?);
            least = Some(least.map_or(ttl, |least: u32| least.min(ttl)));
        }
    }
    least
}

/// Whether `message` is what its counts say, to its end: names, heads and data lie inside it. Data is not looked into.
pub(crate) fn is_whole(message: &[u8]) -> bool {
    let Some(records) = Records::of(message) else { return false };
    records.into_iter().all(|record| record.is_some())
}

/// Where the OPT record begins, and where it ends.
pub(crate) fn find_opt(message: &[u8]) -> Option<(usize, usize)> {
    let mut found = None;
    for record in Records::of(message)? {
        let Record { at, kind, end } = record?;
        if kind == OPT_TYPE && message[at - 1] == 0 {
            found = Some((at - 1, end));
        }
    }
    found
}

/// One record of a message.
struct Record {
    /// Where its type stands.
    at: usize,
    kind: u16,
    /// Where its data ends.
    end: usize,
}

/// The records behind the question section, in order; a broken one gives `None`, and is the last.
struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Records<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let count = |at| u16_at(message, at).map(u32::from);
        let mut at = HEADER;
        for _ in 0..count(4)? {
            at = skip_name(message, at)? + 4;
        }
        Some(Self { message, at, left: count(6)? + count(8)? + count(10)? })
    }

    fn read(&mut self) -> Option<Record> {
        let at = skip_name(self.message, self.at)?;
        let kind = u16_at(self.message, at)?;
        let end = at + 10 + usize::from(u16_at(self.message, at + 8)?);
        (end <= self.message.len()).then_some(Record { at, kind, end })
    }
}

impl Iterator for Records<'_> {
    type Item = Option<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = self.read();
        match &record {
            Some(record) => self.at = record.end,
            None => self.left = 0,
        }
        Some(record)
    }
}

/// Where the name at `at` ends; a pointer ends it.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}
