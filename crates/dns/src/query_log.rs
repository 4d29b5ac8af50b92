//! The query log: one line a query on the target [`TARGET`], when the operator asks for it. Never says who asked.
//!
//! Names say enough about people (a number asked for is a call about to be made), so it is off unless it is set. It is
//! bounded: what comes too fast is counted instead. Off, it costs a look at an `Option`.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hickory_proto::rr::RecordType;
use tandem_zone::{QueryName, RrType};
use tracing::info;

use crate::answer::Reply;
use crate::wire::{HEADER, Rcode, u16_at};

/// Where the lines go: the filter `off` for it silences them.
const TARGET: &str = "tandem::query";

/// Writes at most so many lines a second.
#[derive(Debug)]
pub(crate) struct QueryLog {
    per_second: u32,
    start: Instant,
    window: Mutex<Window>,
}

/// The second that runs.
#[derive(Debug, Default)]
struct Window {
    second: u64,
    lines: u32,
    left_out: u64,
}

/// What becomes of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Permit {
    /// Its line is written.
    written: bool,
    /// Queries before it that were left out and have not been told of.
    left_out: u64,
}

impl Window {
    /// Asks for a line in `second`, counted from any beginning; a clock that goes back begins a new one.
    fn permit(&mut self, second: u64, per_second: u32) -> Permit {
        let mut left_out = 0;
        if second != self.second {
            left_out = std::mem::take(&mut self.left_out);
            *self = Self { second, ..Self::default() };
        }
        let written = self.lines < per_second;
        if written {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        Permit { written, left_out }
    }
}

impl QueryLog {
    /// A log of at most `per_second` lines a second.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self { per_second: per_second.get(), start: Instant::now(), window: Mutex::default() }
    }

    /// Notes the answer `reply`, which stands at the front of `message`: before the rate limit, so that what it keeps back
    /// is seen, too. What gets no answer is no query and not noted.
    pub(crate) fn note(&self, transport: &'static str, message: &[u8], reply: Option<&Reply>) {
        if let Some(reply) = reply {
            self.line(transport, message, reply.rcode, Some(reply.len));
        }
    }

    /// Notes a transfer that begins; `message` is its query.
    pub(crate) fn note_transfer(&self, transport: &'static str, message: &[u8]) {
        self.line(transport, message, Rcode::NoError, None);
    }

    fn line(&self, transport: &'static str, message: &[u8], rcode: Rcode, octets: Option<usize>) {
        let permit = self.window().permit(self.start.elapsed().as_secs(), self.per_second);
        tell_left_out(permit.left_out);
        if !permit.written {
            return;
        }
        let (name, kind) = question(message).unzip();
        let (name, kind) = (name.map(tracing::field::display), kind.map(tracing::field::display));
        info!(target: TARGET, transport, name, kind, rcode = rcode.name(), octets, "query");
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // Nothing panics while it is locked.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was left out last is told at the end.
impl Drop for QueryLog {
    fn drop(&mut self) {
        let left_out = self.window().left_out;
        tell_left_out(left_out);
    }
}

fn tell_left_out(count: u64) {
    if count > 0 {
        info!(target: TARGET, count, "queries left out: more a second than log.queries allows");
    }
}

/// The question that `message` echoes, if it has one.
fn question(message: &[u8]) -> Option<(QueryName, Kind)> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let name = QueryName::parse(message.get(HEADER..)?)?;
    let kind = u16_at(message, HEADER + name.wire_len())?;
    Some((name, Kind(RrType(kind))))
}

/// A type as dig writes it.
struct Kind(RrType);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RecordType::from(self.0.0) {
            RecordType::Unknown(number) if number == RrType::DNAME.0 => f.write_str("DNAME"),
            RecordType::Unknown(number) => write!(f, "TYPE{number}"),
            known => known.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_fast_is_counted() {
        let mut window = Window::default();
        let mut ask = |second| {
            let Permit { written, left_out } = window.permit(second, 2);
            (written, left_out)
        };
        assert_eq!([0, 0, 0, 0].map(&mut ask), [(true, 0), (true, 0), (false, 0), (false, 0)]);
        assert_eq!(
            [1, 1, 1].map(&mut ask),
            [(true, 2), (true, 0), (false, 0)],
            "told once, with the next second's first"
        );
        assert_eq!([5, 6].map(&mut ask), [(true, 1), (true, 0)]);
    }

    #[test]
    fn questions_are_shown_so_that_no_line_can_be_forged() {
        let query = crate::tests::Query::new("a\nb\u{1b}[2J\" x.Test", "NAPTR");
        let (name, kind) = question(&query.0).unwrap();
        assert_eq!((name.to_string(), kind.to_string()), ("a\\010b\\027[2j\\\"\\032x.test.".into(), "NAPTR".into()));
        for (number, shown) in [(39, "DNAME"), (65280, "TYPE65280"), (255, "ANY"), (252, "AXFR")] {
            assert_eq!(Kind(RrType(number)).to_string(), shown);
        }
        assert!(question(&crate::tests::Query::header().0).is_none() && question(&[0; 3]).is_none());
    }
}
