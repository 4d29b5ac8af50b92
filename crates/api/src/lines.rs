//! A body of lines, cut into chunks of whole lines while it arrives: memory is bounded, however long the body is.

use bytes::{Bytes, BytesMut};

use crate::request::MAX_BODY;

/// Most octets of one line, its line break included: what a node document may have by itself.
const MAX_LINE: usize = MAX_BODY;

/// Some whole lines of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The number of its first line, from 1.
    pub(crate) first: u64,
    /// The lines.
    pub(crate) text: Bytes,
    /// How many there are.
    pub(crate) lines: u64,
}

/// A line is longer than a line may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LongLine;

/// Collects what arrives until it makes a chunk.
#[derive(Debug)]
pub(crate) struct Lines {
    waiting: BytesMut,
    /// How far `waiting` has been searched for line breaks, and what was found there.
    seen: usize,
    whole: usize,
    lines: u64,
    most: u64,
    next: u64,
}

impl Lines {
    /// Chunks of at most `most` lines.
    pub(crate) fn new(most: usize) -> Self {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        Self { waiting: BytesMut::new(), seen: 0, whole: 0, lines: 0, most, next: 1 }
    }

    /// Takes what arrived.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.waiting.extend_from_slice(data);
    }

    /// The next full chunk, if that many lines have arrived.
    ///
    /// # Errors
    ///
    /// [`LongLine`]; the lines before it can still be had from [`rest`](Self::rest).
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>, LongLine> {
        while self.lines < self.most {
            let Some(at) = self.waiting[self.seen..].iter().position(|octet| *octet == b'\n') else {
                self.seen = self.waiting.len();
                return if self.seen - self.whole > MAX_LINE { Err(LongLine) } else { Ok(None) };
            };
            let end = self.seen + at + 1;
            if end - self.whole > MAX_LINE {
                return Err(LongLine);
            }
            self.seen = end;
            self.whole = end;
            self.lines += 1;
        }
        Ok(Some(self.cut()))
    }

    /// What is left at the end: the last line needs no line break. `None` if nothing is.
    pub(crate) fn rest(&mut self, ended: bool) -> Option<Chunk> {
        if ended && self.waiting.len() > self.whole {
            self.whole = self.waiting.len();
            self.lines += 1;
        }
        (self.lines > 0).then(|| self.cut())
    }

    fn cut(&mut self) -> Chunk {
        let text = self.waiting.split_to(self.whole).freeze();
        let (first, lines) = (self.next, self.lines);
        self.next += lines;
        (self.seen, self.whole, self.lines) = (0, 0, 0);
        Chunk { first, text, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_arrives() {
        let body = b"a\n\nbb\nc\nd\ne";
        for size in 1..=body.len() {
            let mut lines = Lines::new(2);
            let mut found = Vec::new();
            for piece in body.chunks(size) {
                lines.push(piece);
                while let Some(chunk) = lines.next().unwrap() {
                    found.push(chunk);
                }
            }
            found.extend(lines.rest(true));
            let chunk = |first, text: &'static [u8]| Chunk { first, text: Bytes::from_static(text), lines: 2 };
            assert_eq!(found, [chunk(1, b"a\n\n"), chunk(3, b"bb\nc\n"), chunk(5, b"d\ne")], "pieces of {size}");
            assert_eq!(lines.rest(true), None);
        }
    }

    #[test]
    fn a_line_has_an_end() {
        let mut lines = Lines::new(2);
        lines.push(b"a\n");
        lines.push(&vec![b'x'; MAX_LINE - 1]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"x\n");
        assert_eq!(lines.next(), Err(LongLine));
        assert_eq!(lines.rest(false).map(|chunk| (chunk.first, chunk.lines)), Some((1, 1)));
    }
}
