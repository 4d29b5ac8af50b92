//! Telephone numbers: E.164 numbers and blocks of them, and their names in an ENUM tree (RFC 6116).

use std::fmt;
use std::str::FromStr;

use crate::name::{DomainName, InvalidName};
use crate::node::NumberClaim;

/// Most digits of an E.164 number (ENUM-5).
pub const MAX_DIGITS: usize = 15;

/// 1 to 15 decimal digits, most significant first: what numbers and blocks are made of.
///
/// Two sequences of other length are never equal: `0` is not `00`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digits {
    digits: [u8; MAX_DIGITS],
    len: u8,
}

impl Digits {
    /// Takes digits as values 0 to 9, most significant first.
    ///
    /// # Errors
    ///
    /// [`InvalidNumber`] when there are none, more than 15, or one is above 9.
    pub fn new(values: &[u8]) -> Result<Self, InvalidNumber> {
        if values.is_empty() {
            return Err(InvalidNumber::NoDigits);
        }
        if values.len() > MAX_DIGITS {
            return Err(InvalidNumber::TooLong);
        }
        if values.iter().any(|&value| value > 9) {
            return Err(InvalidNumber::NotADigit);
        }
        let mut digits = [0; MAX_DIGITS];
        digits[..values.len()].copy_from_slice(values);
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_DIGITS")]
        Ok(Self { digits, len: values.len() as u8 })
    }

    /// The digits as values 0 to 9, most significant first.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }

    /// Whether `self` begins with `prefix`, or equals it.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.as_slice().starts_with(prefix.as_slice())
    }

    /// The owner name under `apex`: the digits, last first, one a label (RFC 6116 3.2).
    ///
    /// # Errors
    ///
    /// [`InvalidName::TooLong`] if `apex` leaves no room: choose a shorter apex.
    pub fn owner_name(&self, apex: &DomainName) -> Result<DomainName, InvalidName> {
        let labels: Vec<[u8; 1]> = self.as_slice().iter().rev().map(|digit| [b'0' + digit]).collect();
        DomainName::from_labels(labels.iter().map(<[u8; 1]>::as_slice).chain(apex.labels()))
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in self.as_slice() {
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Digits);

        impl $name {
            /// Wraps digits.
            #[must_use]
            pub const fn from_digits(digits: Digits) -> Self {
                Self(digits)
            }

            /// The digits without the plus.
            #[must_use]
            pub const fn digits(&self) -> &Digits {
                &self.0
            }

            /// Reads `+` and 1 to 15 digits; `-`, `.`, `(`, `)` and spaces between are dropped (ENUM-2, ENUM-4).
            ///
            /// # Errors
            ///
            /// [`InvalidNumber`] says what is wrong with the text.
            pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
                parse_digits(text).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidNumber;

            fn from_str(text: &str) -> Result<Self, InvalidNumber> {
                Self::parse(text)
            }
        }

        /// The `+digits` form, ENUM's AUS (RFC 6116 3.1).
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "+{}", self.0)
            }
        }
    };
}

number_type! {
    /// One E.164 number: `+15550101`.
    E164Number
}
number_type! {
    /// All numbers longer than, and beginning with, these digits (ENUM-80): `+155502` holds `+15550200`.
    NumberBlock
}

impl NumberBlock {
    /// Whether `number` lies in the block: longer than its digits, and beginning with them.
    #[must_use]
    pub fn contains(&self, number: &E164Number) -> bool {
        number.0.as_slice().len() > self.0.as_slice().len() && number.0.starts_with(&self.0)
    }

    /// Whether one of the two blocks begins with the other, or both are the same.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

/// One number or one block, whatever it maps to: what is held, claimed and handed on.
///
/// In order of digits, what is shorter before what it begins, a number before the block at the same digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NumberRange {
    digits: Digits,
    block: bool,
}

impl NumberRange {
    /// The number with these digits, or with `block` all longer ones that begin with them.
    #[must_use]
    pub const fn new(digits: Digits, block: bool) -> Self {
        Self { digits, block }
    }

    /// The number's digits, or those that the block's numbers begin with.
    #[must_use]
    pub const fn digits(&self) -> &Digits {
        &self.digits
    }

    /// Whether it is a block.
    #[must_use]
    pub const fn is_block(&self) -> bool {
        self.block
    }

    /// Whether all of `other` lies in it. A block has itself in it, and not the number at its own digits (ENUM-80).
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        *self == *other || (self.block && self.is_around(other))
    }

    /// Whether it is a block, and `other` lies in it and is not the same.
    #[must_use]
    pub fn is_around(&self, other: &Self) -> bool {
        let longer = other.digits.len > self.digits.len;
        self.block && longer && other.digits.starts_with(&self.digits)
    }

    /// It and every block around it, the longest first: at most 15.
    pub fn and_around(self) -> impl Iterator<Item = Self> {
        let cut = move |len: u8| {
            let mut digits = self.digits;
            digits.len = len;
            digits.digits[usize::from(len)..].fill(0);
            Self { digits, block: true }
        };
        std::iter::once(self).chain((1..self.digits.len).rev().map(cut))
    }
}

impl From<E164Number> for NumberRange {
    fn from(number: E164Number) -> Self {
        Self::new(number.0, false)
    }
}

impl From<NumberBlock> for NumberRange {
    fn from(block: NumberBlock) -> Self {
        Self::new(block.0, true)
    }
}

impl NumberClaim {
    /// Which number or block it is, whatever that maps to.
    #[must_use]
    pub fn range(&self) -> NumberRange {
        match self {
            Self::Number { number, .. } => (*number).into(),
            Self::Block(block) => (*block).into(),
        }
    }
}

/// A number as `+15550101`, a block as `+155502*`.
impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}{}", self.digits, if self.block { "*" } else { "" })
    }
}

impl fmt::Debug for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads what [`NumberRange`] prints; separators between digits are dropped as in numbers.
impl FromStr for NumberRange {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        match text.strip_suffix('*') {
            Some(digits) => parse_digits(digits).map(|digits| Self::new(digits, true)),
            None => parse_digits(text).map(|digits| Self::new(digits, false)),
        }
    }
}

fn parse_digits(text: &str) -> Result<Digits, InvalidNumber> {
    let rest = text.strip_prefix('+').ok_or(InvalidNumber::NoPlus)?;
    let mut values = Vec::with_capacity(MAX_DIGITS);
    for octet in rest.bytes() {
        match octet {
            b'0'..=b'9' => values.push(octet - b'0'),
            b'-' | b'.' | b'(' | b')' | b' ' => {}
            _ => return Err(InvalidNumber::NotADigit),
        }
        if values.len() > MAX_DIGITS {
            return Err(InvalidNumber::TooLong);
        }
    }
    Digits::new(&values)
}

/// Why a text is no E.164 number or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNumber {
    /// A dialled string: `00442079460148`, `112` (ENUM-1).
    #[error(
        "an E.164 number begins with '+' and the country code; dialled forms (00, 011, national 0) are not accepted"
    )]
    NoPlus,
    /// A letter or other character that is no separator.
    #[error("an E.164 number is '+' and digits; only '-', '.', '(', ')' and spaces may stand between them")]
    NotADigit,
    /// Only the plus.
    #[error("an E.164 number must have at least one digit")]
    NoDigits,
    /// More than 15 digits.
    #[error("an E.164 number must not have more than 15 digits")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_names() {
        let apex = DomainName::parse("e164.arpa").unwrap();
        for (id, text, name) in [
            ("ENUM-T01", "+44-20-7946-0148", "8.4.1.0.6.4.9.7.0.2.4.4.e164.arpa"),
            ("ENUM-T03", "+1(215)555.0123", "3.2.1.0.5.5.5.5.1.2.1.e164.arpa"),
        ] {
            let number = E164Number::parse(text).unwrap();
            assert_eq!(number.digits().owner_name(&apex).unwrap().to_string(), name, "{id}");
        }
        assert_eq!(E164Number::parse("+44-116-496-0348").unwrap().to_string(), "+441164960348", "ENUM-T02");
    }

    #[test]
    fn enum_t05_refused() {
        for (text, why) in [
            ("00442079460148", InvalidNumber::NoPlus),
            ("112", InvalidNumber::NoPlus),
            ("+", InvalidNumber::NoDigits),
            ("+44-FLOWERS", InvalidNumber::NotADigit),
            ("+1234567890123456", InvalidNumber::TooLong),
        ] {
            assert_eq!(E164Number::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn enum_80_blocks() {
        let block = NumberBlock::parse("+155502").unwrap();
        assert!(block.contains(&E164Number::parse("+15550200").unwrap()));
        assert!(!block.contains(&E164Number::parse("+155502").unwrap()), "not the prefix itself");
        assert!(!block.contains(&E164Number::parse("+15550100").unwrap()));
        assert!(block.overlaps(&NumberBlock::parse("+1555").unwrap()));
        assert!(!block.overlaps(&NumberBlock::parse("+155501").unwrap()));
    }

    #[test]
    fn ranges() {
        let range = |text: &str| text.parse::<NumberRange>().unwrap();
        for (outer, inner, contains) in [
            ("+155502*", "+155502*", true),
            ("+155502*", "+15550200", true),
            ("+155502*", "+1555020*", true),
            ("+155502*", "+155502", false),
            ("+155502*", "+1555*", false),
            ("+155502*", "+155503*", false),
            ("+155502", "+155502", true),
            ("+155502", "+155502*", false),
            ("+155502", "+15550200", false),
        ] {
            assert_eq!(range(outer).contains(&range(inner)), contains, "ENUM-80: {outer} {inner}");
        }
        let around: Vec<_> = range("+1555").and_around().map(|range| range.to_string()).collect();
        assert_eq!(around, ["+1555", "+155*", "+15*", "+1*"]);
        let around: Vec<_> = range("+15*").and_around().map(|range| range.to_string()).collect();
        assert_eq!(around, ["+15*", "+1*"]);
        let mut sorted = ["+2", "+15551", "+1555*", "+15550", "+1555", "+155500"].map(range);
        sorted.sort();
        assert_eq!(sorted.map(|range| range.to_string()), ["+1555", "+1555*", "+15550", "+155500", "+15551", "+2"]);
        assert_eq!("*".parse::<NumberRange>(), Err(InvalidNumber::NoPlus));
        assert_eq!("+*".parse::<NumberRange>(), Err(InvalidNumber::NoDigits));
        assert_eq!("+1**".parse::<NumberRange>(), Err(InvalidNumber::NotADigit));
    }
}
