//! Makes text ready for the `domain` crate: what it does not read is written in a form that it does, line by line.
//!
//! Types that it knows only by number become `TYPEnnn \# length hex` (RFC 3597 5); times with units become seconds; `@`
//! in data becomes the origin; octets outside ASCII become `\ddd`; an included file is told owner and TTL so far. No
//! line is added or removed, so that errors keep their lines. A text that needs nothing stays as it is, uncopied.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Write;

use super::data::{Data, algorithm, read_name};
use super::kind::{Shape, algorithm_at, number_of, shape_of, ttl_of};
use super::token::{Entry, Fault, Scanner, Token};
use crate::print::Presented;
use crate::rrset::RrType;

/// What a file takes over from the one that includes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Inherited {
    /// The last owner, in wire form: of a record that names none.
    owner: Option<Vec<u8>>,
    /// From a `$TTL` line (RFC 2308 4).
    default_ttl: Option<u32>,
    /// The last one that a record gave (RFC 1035 5.1).
    last_ttl: Option<u32>,
}

/// What the pass made of a text.
#[derive(Debug)]
pub(super) struct Rewritten<'t> {
    /// Up to the first fault.
    pub(super) text: Cow<'t, [u8]>,
    /// For each `$INCLUDE` line, in order, what the file takes over.
    pub(super) includes: VecDeque<Inherited>,
    /// Line and reason; what comes before it may be wrong too.
    pub(super) fault: Option<(usize, String)>,
}

/// Rewrites what must be; `origin` is in wire form.
pub(super) fn rewrite<'t>(text: &'t [u8], origin: &[u8], inherited: Inherited) -> Rewritten<'t> {
    // A byte order mark, as some editors put it in front.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut pass = Pass {
        text,
        out: Vec::new(),
        copied: 0,
        origin: origin.to_vec(),
        owner: LastOwner::None,
        default_ttl: None,
        last_ttl: None,
        inherited,
        includes: VecDeque::new(),
    };
    let mut scanner = Scanner::new(text);
    let mut tokens = Vec::new();
    let mut end = 0;
    let fault = loop {
        let before = (pass.out.len(), pass.copied);
        match scanner.next(&mut tokens) {
            Ok(None) => {
                end = text.len();
                break None;
            }
            Ok(Some(entry)) => {
                end = entry.start;
                if let Err(fault) = pass.entry(entry, &tokens) {
                    pass.out.truncate(before.0);
                    pass.copied = before.1;
                    break Some(fault);
                }
                end = scanner.at();
            }
            Err(fault) => break Some(fault),
        }
    };
    let fault = fault.map(|Fault { at, reason }| {
        let line_feeds = text[..at.min(text.len())].iter().filter(|octet| **octet == b'\n').count();
        (line_feeds + 1, reason)
    });
    let text = if pass.out.is_empty() {
        Cow::Borrowed(&text[..end])
    } else {
        pass.out.extend_from_slice(&text[pass.copied..end]);
        Cow::Owned(pass.out)
    };
    Rewritten { text, includes: pass.includes, fault }
}

/// The owner that a record without one continues.
enum LastOwner {
    None,
    /// As written, relative to the present origin.
    Written(Token),
    /// In wire form; `None` if it is no name.
    Known(Option<Vec<u8>>),
}

struct Pass<'t> {
    text: &'t [u8],
    /// Empty as long as nothing was rewritten.
    out: Vec<u8>,
    /// How much of `text` is in `out`, once there is any.
    copied: usize,
    origin: Vec<u8>,
    owner: LastOwner,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    inherited: Inherited,
    includes: VecDeque<Inherited>,
}

impl Pass<'_> {
    fn entry(&mut self, entry: Entry, tokens: &[Token]) -> Result<(), Fault> {
        match tokens {
            [] => Ok(()),
            [first, rest @ ..] if !entry.indented && first.raw(self.text).starts_with(b"$") => {
                self.control(*first, rest)
            }
            _ => self.record(entry, tokens),
        }
    }

    fn control(&mut self, word: Token, rest: &[Token]) -> Result<(), Fault> {
        let text = self.text;
        match (word.raw(text).to_ascii_uppercase().as_slice(), rest) {
            (b"$ORIGIN", [name]) => {
                self.name_or_origin(*name);
                // A name that is none is left to the reader, which refuses it.
                if let Some(origin) = read_name(*name, text, &self.origin) {
                    self.owner = LastOwner::Known(self.last_owner());
                    self.origin = origin;
                }
            }
            (b"$TTL", [value]) => {
                let Some(seconds) = ttl_of(value.raw(text)).map_err(|reason| Fault::new(value.start, reason))? else {
                    return Err(Fault::new(value.start, "expected a TTL, as in `3600` or `1h30m`"));
                };
                self.default_ttl = Some(seconds);
                self.seconds(*value, seconds);
            }
            (b"$INCLUDE", [_, rest @ ..]) => {
                let inherited = Inherited {
                    owner: self.last_owner(),
                    default_ttl: self.default_ttl.or(self.inherited.default_ttl),
                    last_ttl: self.last_ttl.or(self.inherited.last_ttl),
                };
                self.includes.push_back(inherited);
                rest.iter().for_each(|name| self.name_or_origin(*name));
            }
            (b"$GENERATE", _) => {
                return Err(Fault::new(
                    word.start,
                    "$GENERATE is known to BIND alone and is not read: write its records out",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn record(&mut self, entry: Entry, tokens: &[Token]) -> Result<(), Fault> {
        let text = self.text;
        let mut rest = tokens.iter();
        if !entry.indented {
            let owner = rest.next().expect("an entry with tokens");
            self.escape(*owner);
            self.owner = LastOwner::Written(*owner);
        } else if let (LastOwner::None, Some(owner)) = (&self.owner, self.inherited.owner.take()) {
            self.replace(entry.start, entry.start, Presented(&owner));
            self.owner = LastOwner::Known(Some(owner));
        }
        let (mut ttl, mut has_class) = (None, false);
        let (kind, at) = loop {
            // Where nothing follows, the reader says so.
            let Some(token) = rest.next() else { return Ok(()) };
            let word = if token.quoted { b"" } else { token.raw(text) };
            let seconds = ttl_of(word).map_err(|reason| Fault::new(token.start, reason))?;
            if let (Some(seconds), None) = (seconds, ttl) {
                self.seconds(*token, seconds);
                ttl = Some(seconds);
            } else if let Some(number) = number_of(word) {
                break (number, *token);
            } else if !has_class && is_class(word) {
                has_class = true;
            } else {
                let found = String::from_utf8_lossy(&text[token.start..token.end]);
                return Err(Fault::new(token.start, format!("expected a record type, found `{found}`")));
            }
        };
        let data = rest.as_slice();
        self.default_for(ttl, kind, data, at);
        let is_generic = data.first().is_some_and(|first| first.is(text, "\\#"));
        match shape_of(kind) {
            Shape::Theirs(_) if is_generic => {}
            Shape::Theirs(names) => {
                for (index, token) in data.iter().enumerate() {
                    if names.contains(&index) {
                        self.name_or_origin(*token);
                    } else if let (RrType::SOA, 3.., Ok(Some(time))) = (RrType(kind), index, ttl_of(token.raw(text))) {
                        self.seconds(*token, time);
                    } else if algorithm_at(kind) == Some(index) {
                        self.algorithm(*token);
                    } else {
                        self.escape(*token);
                    }
                }
            }
            // The one mnemonic that the reader writes otherwise.
            Shape::Ours(_) if is_generic && at.is(text, "NSAP-PTR") => self.replace(at.start, at.end, "TYPE23"),
            Shape::Ours(_) | Shape::OctetsOnly if is_generic => {}
            Shape::Ours(fields) => {
                let octets = Data::new(text, at, data, &self.origin).encode(fields)?;
                self.replace(at.start, at.end, format_args!("TYPE{kind} \\# {} ", octets.len()));
                octets.iter().for_each(|octet| self.write(format_args!("{octet:02x}")));
                // Comments, line feeds and parentheses between the words stay.
                data.iter().for_each(|token| self.replace(token.start, token.end, ""));
            }
            Shape::OctetsOnly => {
                return Err(Fault::new(
                    at.start,
                    format!("type {kind} is read by its octets alone (RFC 3597): TYPE{kind} \\# length hex"),
                ));
            }
        }
        Ok(())
    }

    /// Gives a record without TTL the one that the reader cannot know.
    fn default_for(&mut self, ttl: Option<u32>, kind: u16, data: &[Token], at: Token) {
        if ttl.is_some() {
            self.last_ttl = ttl;
            return;
        }
        if self.default_ttl.is_some() {
            return;
        }
        let known = match (self.inherited.default_ttl, self.last_ttl, self.inherited.last_ttl) {
            (Some(default), _, _) => Some(default),
            (None, Some(_), _) => None,
            (None, None, Some(last)) => Some(last),
            // RFC 1035 3.3.13: before there was $TTL, the SOA's minimum was the default.
            (None, None, None) if RrType(kind) == RrType::SOA => {
                data.get(6).and_then(|minimum| ttl_of(minimum.raw(self.text)).ok().flatten())
            }
            (None, None, None) => None,
        };
        if let Some(seconds) = known {
            self.replace(at.start, at.start, format_args!("{seconds} "));
            if self.inherited.default_ttl.is_none() {
                self.last_ttl = known;
            }
        }
    }

    fn last_owner(&self) -> Option<Vec<u8>> {
        match &self.owner {
            LastOwner::None => self.inherited.owner.clone(),
            LastOwner::Written(token) => read_name(*token, self.text, &self.origin),
            LastOwner::Known(owner) => owner.clone(),
        }
    }

    fn name_or_origin(&mut self, token: Token) {
        if token.is(self.text, "@") {
            let origin = std::mem::take(&mut self.origin);
            self.replace(token.start, token.end, Presented(&origin));
            self.origin = origin;
        } else {
            self.escape(token);
        }
    }

    /// A time in seconds instead of one with units.
    fn seconds(&mut self, token: Token, seconds: u32) {
        if !token.raw(self.text).iter().all(u8::is_ascii_digit) {
            self.replace(token.start, token.end, seconds);
        }
    }

    /// A DNSSEC algorithm by number instead of by name.
    fn algorithm(&mut self, token: Token) {
        let raw = token.raw(self.text);
        let named = std::str::from_utf8(raw).ok().filter(|_| !raw.iter().all(u8::is_ascii_digit)).and_then(algorithm);
        if let Some(number) = named {
            self.replace(token.start, token.end, number);
        }
    }

    /// Writes octets that are not printable ASCII as `\ddd`.
    fn escape(&mut self, token: Token) {
        let plain = |octet: &u8| (b' '..=b'~').contains(octet);
        let text = self.text;
        if text[token.start..token.end].iter().all(plain) {
            return;
        }
        let mut escaped = false;
        for (at, octet) in (token.start..).zip(&text[token.start..token.end]) {
            if !plain(octet) {
                self.replace(at - usize::from(escaped), at + 1, format_args!("\\{octet:03}"));
            }
            escaped = !escaped && *octet == b'\\';
        }
    }

    /// Writes something in place of a part of the text behind all that was replaced before.
    fn replace(&mut self, start: usize, end: usize, with: impl std::fmt::Display) {
        if self.out.is_empty() {
            self.out.reserve(self.text.len() + self.text.len() / 4);
        }
        self.out.extend_from_slice(&self.text[self.copied..start]);
        self.copied = end;
        self.write(with);
    }

    fn write(&mut self, what: impl std::fmt::Display) {
        write!(self.out, "{what}").expect("a vector takes all that is written");
    }
}

fn is_class(word: &[u8]) -> bool {
    [&b"IN"[..], b"CH", b"CS", b"HS", b"NONE", b"ANY"].iter().any(|class| word.eq_ignore_ascii_case(class))
        || word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"CLASS"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: &[u8] = b"\x04node\x04test\x00";

    fn rewritten(text: &[u8]) -> Rewritten<'_> {
        rewrite(text, ORIGIN, Inherited::default())
    }

    #[test]
    fn what_is_written_instead() {
        for (text, expected) in [
            ("a URI 1 2 \"x\" ; c\n", "a TYPE256 \\# 5 0001000278    ; c\n"),
            ("a ( URI\n1 ;\n 2 \"x\")\n", "a ( TYPE256 \\# 5 0001000278\n ;\n  )\n"),
            ("a SPF\"x\"\"y\"\n", "a TYPE99 \\# 4 01780179\n"),
            ("a NSAP-PTR \\# 1 00\n", "a TYPE23 \\# 1 00\n"),
            ("$TTL 1h\na 1m MX 1 @\n", "$TTL 3600\na 60 MX 1 node.test.\n"),
            ("a TXT \\é \\\\é\n", "a TXT \\195\\169 \\\\\\195\\169\n"),
        ] {
            let made = rewritten(text.as_bytes());
            assert_eq!((String::from_utf8_lossy(&made.text).as_ref(), made.fault), (expected, None), "{text}");
        }
        let made = rewritten(b"a A 192.0.2.1\nb 1h URI 1\nc A 192.0.2.1\n");
        assert_eq!((&*made.text, made.fault.unwrap().0), (&b"a A 192.0.2.1\n"[..], 2), "up to the fault");
    }

    fn plain_line() -> impl Strategy<Value = String> {
        let owner = prop::sample::select(vec!["a", "@", " ", "\t", "*.b", "\\097\\.c", "uri", "loc.x.", "(d"]);
        let head = prop::sample::select(vec!["", "60 ", "IN ", "in 60 ", "60 IN\t"]);
        let data = prop::sample::select(vec![
            "A 192.0.2.1",
            "TXT \"LOC 1 N\" \"@\" @ 1h",
            "NS spf",
            "SOA URI . 1 2 3 4 5",
            "TYPE256 \\# 0",
            "URI \\# 0",
            "txt URI ; URI 1h",
        ]);
        (owner, head, data).prop_map(|(owner, head, data)| {
            let close = if owner.starts_with('(') { "\n)" } else { "" };
            format!("{owner} {head}{data}{close}\r\n")
        })
    }

    proptest! {
        /// TTL lines stand in front, else a SOA without TTL is given one.
        #[test]
        fn ordinary_text_is_left_alone(lines in prop::collection::vec(plain_line(), 0..20)) {
            let text = format!("$TTL 60\n{}", lines.concat());
            let made = rewritten(text.as_bytes());
            prop_assert!(matches!(made.text, Cow::Borrowed(there) if there == text.as_bytes()), "{:?}", made);
            prop_assert_eq!(made.fault, None);
        }

        #[test]
        fn any_octets_keep_their_lines(text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\n\"();\\ @1hA".to_vec())], 0..200)) {
            let made = rewritten(&text);
            let line_feeds = |octets: &[u8]| octets.iter().filter(|octet| **octet == b'\n').count();
            match made.fault {
                None => prop_assert_eq!(line_feeds(&made.text), line_feeds(&text)),
                Some((line, _)) => {
                    prop_assert!(line <= line_feeds(&text) + 1);
                    prop_assert!(line_feeds(&made.text) < line, "the text ends before the fault");
                }
            }
        }
    }
}
