//! What a caller gives: an address or a telephone number, as a protocol carries it or as a person types it.

use std::fmt;
use std::str::FromStr;

use crate::number::{E164Number, InvalidNumber};
use crate::uri::{InvalidUri, MAX_URI_LEN, SipUri};

/// What a call is for: a SIP URI, or a number that ENUM turns into one.
///
/// ```
/// use tandem_model::Called;
///
/// assert!(matches!("alice@debug.ostel.me".parse()?, Called::Uri(_)));
/// assert_eq!("tel:+1-201-555-0123;ext=9".parse::<Called>()?.to_string(), "tel:+12015550123");
/// # Ok::<(), tandem_model::called::InvalidCalled>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Called {
    /// A SIP or SIPS URI.
    Uri(SipUri),
    /// An E.164 number.
    Number(E164Number),
}

impl Called {
    /// Reads `sip:…`, `sips:…`, `tel:+…`, `alice@debug.ostel.me`, `debug.ostel.me` or `+44 20 7946 0148`.
    ///
    /// # Errors
    ///
    /// [`InvalidCalled`]: whoever wrote the text has to change it.
    pub fn parse(text: &str) -> Result<Self, InvalidCalled> {
        let text = text.trim();
        let tel = text.get(..4).filter(|head| head.eq_ignore_ascii_case("tel:"));
        if tel.is_some() {
            return tel_number(&text[4..]).map(Self::Number).map_err(InvalidCalled::NotE164);
        }
        match SipUri::parse_typed(text) {
            Ok(uri) => Ok(Self::Uri(uri)),
            Err(InvalidUri::Number) => E164Number::parse(text).map(Self::Number).map_err(InvalidCalled::NotE164),
            // A plus stands at the front of no host, so this was meant as a number.
            Err(_) if text.starts_with('+') && !text.contains('@') => {
                E164Number::parse(text).map(Self::Number).map_err(InvalidCalled::NotE164)
            }
            Err(error) => Err(InvalidCalled::Uri(error)),
        }
    }
}

/// The number of a `tel:` URI, its scheme cut off (RFC 3966 3). ENUM-3: the global form alone, its parameters dropped.
/// ENUM-4: a local number is never joined with its context, and a space is no separator here.
fn tel_number(rest: &str) -> Result<E164Number, InvalidNumber> {
    if rest.len() > MAX_URI_LEN {
        return Err(InvalidNumber::TooLong);
    }
    let number = rest.split(';').next().unwrap_or_default();
    if number.contains(' ') { Err(InvalidNumber::NotADigit) } else { E164Number::parse(number) }
}

impl FromStr for Called {
    type Err = InvalidCalled;

    fn from_str(text: &str) -> Result<Self, InvalidCalled> {
        Self::parse(text)
    }
}

impl From<SipUri> for Called {
    fn from(uri: SipUri) -> Self {
        Self::Uri(uri)
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => uri.fmt(f),
            Self::Number(number) => write!(f, "tel:{number}"),
        }
    }
}

/// Why a text names nobody to call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCalled {
    /// Neither a number nor a SIP URI.
    #[error(transparent)]
    Uri(InvalidUri),
    /// A number, but no E.164 number (`NotE164` of the ENUM rules): make it international first (ENUM-1).
    #[error(transparent)]
    NotE164(InvalidNumber),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called() {
        for (id, text, shown) in [
            ("typed", " alice@debug.ostel.me ", "sip:alice@debug.ostel.me"),
            ("URI", "SIPS:alice@debug.ostel.me", "sips:alice@debug.ostel.me"),
            ("number as user", "sip:+442079460148@example.com", "sip:+442079460148@example.com"),
            ("ENUM-T02", "+44-116-496-0348", "tel:+441164960348"),
            ("ENUM-T03", "tel:+1(215)555.0123", "tel:+12155550123"),
            ("ENUM-T04", "tel:+1-201-555-0123;ext=9", "tel:+12015550123"),
            ("ENUM-3 scheme", "TEL:+15550101", "tel:+15550101"),
            ("ENUM-4 spaces", "+44 20 7946 0148", "tel:+442079460148"),
        ] {
            let called = Called::parse(text).unwrap_or_else(|error| panic!("{id}: {error}"));
            assert_eq!(called.to_string(), shown, "{id}");
            assert_eq!(Called::parse(shown), Ok(called), "{id}");
        }
        for (id, text) in [
            ("ENUM-T05, ENUM-1", "00442079460148"),
            ("ENUM-T05", "tel:7042;phone-context=example.com"),
            ("ENUM-T05", "tel:112"),
            ("ENUM-T05", "+"),
            ("ENUM-T05", "+44-FLOWERS"),
            ("ENUM-4", "tel:+44 20 7946 0148"),
            ("ENUM-4", "tel:+44*21"),
            ("ENUM-5", "+1234567890123456"),
        ] {
            assert!(matches!(Called::parse(text), Err(InvalidCalled::NotE164(_))), "{id}: {text}");
        }
        assert!(matches!(Called::parse("xmpp:alice@ostel.me"), Err(InvalidCalled::Uri(InvalidUri::Scheme))));
    }
}
