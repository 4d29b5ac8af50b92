//! Reads the words of a record's data, field by field, into wire form.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::str::FromStr;

use domain::base::Rtype;
use domain::rdata::dnssec::RtypeBitmap;
use domain::utils::{base16, base64};

use super::kind::number_of;
use super::token::{Fault, Token, symbol};

/// A part of a record's data; the text says what is expected there.
#[derive(Clone, Copy)]
pub(super) enum Field {
    U8(&'static str),
    U16(&'static str),
    U32(&'static str),
    /// A name; relative ones are below the origin.
    Name(&'static str),
    /// A string of at most 255 octets.
    Text(&'static str),
    /// One string or more, to the end.
    Texts,
    /// Octets to the end, which may be spread over words.
    Hex,
    /// See [`Field::Hex`].
    Base64,
    /// A DNSSEC algorithm, by mnemonic or number.
    Algorithm,
    V4(&'static str),
    /// 64 bits as four groups of hex digits (RFC 6742).
    Locator,
    /// Octets in hex with hyphens between (RFC 7043).
    Eui(usize),
    /// A bitmap of types, to the end (RFC 4034 4.1.2).
    Types,
    Custom(fn(&mut Data<'_>) -> Result<(), Fault>),
}

/// The words not read yet, and what the ones read became.
pub(super) struct Data<'a> {
    text: &'a [u8],
    /// The word read last, or the type's: where something is missing.
    last: Token,
    rest: &'a [Token],
    origin: &'a [u8],
    pub(super) out: Vec<u8>,
}

impl<'a> Data<'a> {
    pub(super) const fn new(text: &'a [u8], kind: Token, rest: &'a [Token], origin: &'a [u8]) -> Self {
        Self { text, last: kind, rest, origin, out: Vec::new() }
    }

    /// The data in wire form.
    pub(super) fn encode(mut self, fields: &[Field]) -> Result<Vec<u8>, Fault> {
        for field in fields {
            self.field(*field)?;
        }
        if self.peek().is_some() {
            return self.take("the end of the record", |_| None);
        }
        if u16::try_from(self.out.len()).is_err() {
            return Err(self.fault("the record's data is over 65535 octets"));
        }
        Ok(self.out)
    }

    fn field(&mut self, field: Field) -> Result<(), Fault> {
        match field {
            Field::U8(what) => {
                let value = self.number::<u8>(what)?;
                self.out.push(value);
            }
            Field::U16(what) => self.number::<u16>(what).map(|value| self.out.extend(value.to_be_bytes()))?,
            Field::U32(what) => self.number::<u32>(what).map(|value| self.out.extend(value.to_be_bytes()))?,
            Field::Name(what) => self.name(what)?,
            Field::Text(what) => self.string(what)?,
            Field::Texts => {
                self.string("a string")?;
                while self.peek().is_some() {
                    self.string("a string")?;
                }
            }
            Field::Hex => self.octets_to_end("hex digits, two an octet", |text| base16::decode_vec(text).ok())?,
            Field::Base64 => self.octets_to_end("base64", |text| base64::decode(text).ok())?,
            Field::Algorithm => {
                let value = self.take("a DNSSEC algorithm, by name or number", algorithm)?;
                self.out.push(value);
            }
            Field::V4(what) => {
                let address = self.take(what, |word| Ipv4Addr::from_str(word).ok())?;
                self.out.extend(address.octets());
            }
            Field::Locator => {
                let what = "four groups of one to four hex digits with colons between";
                let octets = self.take(what, |word| grouped(word, ':', 4, 1..=4, 2))?;
                self.out.extend(octets);
            }
            Field::Eui(count) => {
                let what = if count == 6 { "six octets" } else { "eight octets" };
                let octets = self.take(&format!("{what} of two hex digits with hyphens between"), |word| {
                    grouped(word, '-', count, 2..=2, 1)
                })?;
                self.out.extend(octets);
            }
            Field::Types => {
                let mut types = RtypeBitmap::<Vec<u8>>::builder();
                while self.peek().is_some() {
                    let kind = self.take("a record type", |word| number_of(word.as_bytes()))?;
                    let Ok(()) = types.add(Rtype::from_int(kind));
                }
                self.out.extend_from_slice(types.finalize().as_slice());
            }
            Field::Custom(read) => read(self)?,
        }
        Ok(())
    }

    /// Whether another word follows, and which.
    pub(super) fn peek(&self) -> Option<Token> {
        self.rest.first().copied()
    }

    /// Whether the next word is this one.
    pub(super) fn next_is(&self, word: &str) -> bool {
        self.peek().is_some_and(|token| token.is(self.text, word))
    }

    /// Reads a word by `read`, which returns `None` for what is not `what`.
    pub(super) fn take<T>(&mut self, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
        let octets = self.octets(what)?;
        std::str::from_utf8(&octets).ok().and_then(read).ok_or_else(|| self.expected(what))
    }

    /// Reads a number.
    pub(super) fn number<T: FromStr>(&mut self, what: &str) -> Result<T, Fault> {
        // `FromStr` would take a plus sign.
        self.take(what, |word| word.parse().ok().filter(|_| word.bytes().all(|octet| octet.is_ascii_digit())))
    }

    /// Reads a name.
    pub(super) fn name(&mut self, what: &str) -> Result<(), Fault> {
        self.octets(what)?;
        let name = read_name(self.last, self.text, self.origin).ok_or_else(|| self.expected(what))?;
        self.out.extend(name);
        Ok(())
    }

    /// Reads a string; a length octet comes first.
    pub(super) fn string(&mut self, what: &str) -> Result<(), Fault> {
        let octets = self.octets(what)?;
        let length = u8::try_from(octets.len()).map_err(|_| self.fault("a string is over 255 octets"))?;
        self.out.push(length);
        self.out.extend_from_slice(&octets);
        Ok(())
    }

    /// Reads all that is left as one run of digits; there must be some.
    pub(super) fn octets_to_end(&mut self, what: &str, read: fn(&str) -> Option<Vec<u8>>) -> Result<(), Fault> {
        let mut all = String::new();
        loop {
            all += &self.take(what, |word| Some(word.to_owned()))?;
            if self.peek().is_none() {
                break;
            }
        }
        let octets = read(&all).ok_or_else(|| self.expected(what))?;
        self.out.extend(octets);
        Ok(())
    }

    /// The octets of the next word, escapes undone.
    pub(super) fn octets(&mut self, what: &str) -> Result<Cow<'a, [u8]>, Fault> {
        let Some((token, rest)) = self.rest.split_first() else {
            return Err(self.fault(format!("the record ends where {what} should follow")));
        };
        (self.last, self.rest) = (*token, rest);
        token.octets(self.text).ok_or_else(|| self.fault("a broken escape: write \\ and three digits up to 255"))
    }

    /// Says what should stand in place of the last word.
    pub(super) fn expected(&self, what: &str) -> Fault {
        let found = String::from_utf8_lossy(&self.text[self.last.start..self.last.end]);
        self.fault(format!("expected {what}, found `{found}`"))
    }

    /// A fault at the last word.
    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.last.start, reason)
    }
}

/// A name in wire form; `None` for what is no name.
pub(super) fn read_name(token: Token, text: &[u8], origin: &[u8]) -> Option<Vec<u8>> {
    let raw = token.raw(text);
    match raw {
        b"" => return None,
        b"@" if !token.quoted => return Some(origin.to_vec()),
        b"." => return Some(vec![0]),
        _ => {}
    }
    let mut wire = vec![0];
    let (mut label_at, mut rest) = (0, raw);
    let mut absolute = false;
    while let Some((octet, escaped, tail)) = symbol(rest)? {
        rest = tail;
        absolute = octet == b'.' && !escaped;
        if absolute {
            wire[label_at] = length_of_label(&wire, label_at)?;
            label_at = wire.len();
            wire.push(0);
        } else {
            wire.push(octet);
        }
    }
    if !absolute {
        wire[label_at] = length_of_label(&wire, label_at)?;
        wire.extend_from_slice(origin);
    }
    // RFC 1035 3.1: 255 octets at most.
    (wire.len() <= 255).then_some(wire)
}

/// From 1 to 63 (RFC 1035 3.1).
fn length_of_label(wire: &[u8], label_at: usize) -> Option<u8> {
    u8::try_from(wire.len() - label_at - 1).ok().filter(|length| (1..=63).contains(length))
}

/// Groups of hex digits, each a number of `size` octets.
fn grouped(
    word: &str,
    separator: char,
    count: usize,
    digits: std::ops::RangeInclusive<usize>,
    size: usize,
) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(count * size);
    for group in word.split(separator) {
        if !digits.contains(&group.len()) || !group.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        octets.extend_from_slice(&u16::from_str_radix(group, 16).ok()?.to_be_bytes()[2 - size..]);
    }
    (octets.len() == count * size).then_some(octets)
}

/// A DNSSEC algorithm by number or mnemonic (RFC 4034 A.1 and later); BIND's spellings too.
pub(super) fn algorithm(word: &str) -> Option<u8> {
    const ALGORITHMS: [(&str, u8); 21] = [
        ("RSAMD5", 1),
        ("DH", 2),
        ("DSA", 3),
        ("ECC", 4),
        ("RSASHA1", 5),
        ("NSEC3DSA", 6),
        ("DSA-NSEC3-SHA1", 6),
        ("NSEC3RSASHA1", 7),
        ("RSASHA1-NSEC3-SHA1", 7),
        ("RSASHA256", 8),
        ("RSASHA512", 10),
        ("ECCGOST", 12),
        ("ECC-GOST", 12),
        ("ECDSAP256SHA256", 13),
        ("ECDSA256", 13),
        ("ECDSAP384SHA384", 14),
        ("ED25519", 15),
        ("ED448", 16),
        ("INDIRECT", 252),
        ("PRIVATEDNS", 253),
        ("PRIVATEOID", 254),
    ];
    let known = ALGORITHMS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, value)| *value).or_else(|| word.parse().ok())
}
