//! Splits a master file into entries and tokens (RFC 1035 5.1), as the `domain` crate does, so that both see the same.

use std::borrow::Cow;

/// What is wrong, and the offset in the text where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

/// A word or a quoted string; the quotes are inside the range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quoted: bool,
}

impl Token {
    /// As written, without the quotes.
    pub(super) fn raw(self, text: &[u8]) -> &[u8] {
        if self.quoted { &text[self.start + 1..self.end - 1] } else { &text[self.start..self.end] }
    }

    /// What is meant: escapes undone. `None` if one is none.
    pub(super) fn octets(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        let raw = self.raw(text);
        if !raw.contains(&b'\\') {
            return Some(Cow::Borrowed(raw));
        }
        let mut octets = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((octet, _, tail)) = symbol(rest)? {
            octets.push(octet);
            rest = tail;
        }
        Some(Cow::Owned(octets))
    }

    /// Whether it is this word, without quotes.
    pub(super) fn is(self, text: &[u8], word: &str) -> bool {
        !self.quoted && self.raw(text).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// The first octet meant, whether it was escaped, and the rest; the outer `None` for a broken escape.
pub(super) fn symbol(raw: &[u8]) -> Option<Option<(u8, bool, &[u8])>> {
    match raw {
        [] => Some(None),
        [b'\\', a @ b'0'..=b'9', rest @ ..] => match rest {
            [b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
                let value = u32::from(a - b'0') * 100 + u32::from(b - b'0') * 10 + u32::from(c - b'0');
                Some(Some((u8::try_from(value).ok()?, true, rest)))
            }
            _ => None,
        },
        [b'\\', octet, rest @ ..] => Some(Some((*octet, true, rest))),
        [b'\\'] => None,
        [octet, rest @ ..] => Some(Some((*octet, false, rest))),
    }
}

/// One entry: a record or a control line, over several lines if parentheses hold it together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: usize,
    /// White space stands before the first token: a record of the last owner.
    pub(super) indented: bool,
}

/// Goes through a text entry by entry.
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scanner<'t> {
    pub(super) const fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The offset behind the last entry.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The next entry and its tokens (none for an empty line); `None` at the end.
    pub(super) fn next(&mut self, tokens: &mut Vec<Token>) -> Result<Option<Entry>, Fault> {
        tokens.clear();
        if self.at >= self.text.len() {
            return Ok(None);
        }
        let mut entry = Entry { start: self.at, indented: false };
        let (mut open, mut outermost) = (0_usize, self.at);
        loop {
            let Some(&octet) = self.text.get(self.at) else {
                return if open == 0 {
                    Ok(Some(entry))
                } else {
                    Err(Fault::new(outermost, "the parenthesis opened here is never closed"))
                };
            };
            match octet {
                b' ' | b'\t' | b'\r' => {
                    entry.indented |= tokens.is_empty();
                    self.at += 1;
                }
                b'(' => {
                    if open == 0 {
                        outermost = self.at;
                    }
                    open += 1;
                    self.at += 1;
                }
                b')' => {
                    open = open
                        .checked_sub(1)
                        .ok_or_else(|| Fault::new(self.at, "a closing parenthesis without an opening one"))?;
                    self.at += 1;
                }
                b';' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len());
                }
                b'\n' => {
                    self.at += 1;
                    if open == 0 {
                        return Ok(Some(entry));
                    }
                }
                b'"' => tokens.push(self.token(true)?),
                _ => tokens.push(self.token(false)?),
            }
        }
    }

    fn token(&mut self, quoted: bool) -> Result<Token, Fault> {
        let start = self.at;
        self.at += usize::from(quoted);
        while let Some(&octet) = self.text.get(self.at) {
            match octet {
                b'\\' if self.text.get(self.at + 1).is_none_or(u8::is_ascii_control) => {
                    return Err(Fault::new(start, "a backslash with nothing behind it that it could escape"));
                }
                b'\\' => self.at += 2,
                b'"' if quoted => {
                    self.at += 1;
                    return Ok(Token { start, end: self.at, quoted });
                }
                b'\n' if quoted => break,
                b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b';' | b'"' if !quoted => break,
                _ => self.at += 1,
            }
        }
        if quoted {
            return Err(Fault::new(start, "the string has no closing quote on its line"));
        }
        Ok(Token { start, end: self.at, quoted })
    }
}
