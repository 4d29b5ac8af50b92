//! SIP and SIPS URIs (RFC 3261 19.1), as far as finding their server needs them.
//!
//! [`SipUri::parse`] reads what protocols carry, [`SipUri::parse_typed`] what a person types. Both give one normal
//! form: scheme, host and parameter names in lower case, host without its final dot, the rest as written. It prints
//! to a text that parses to the same value.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::name::{DomainName, InvalidName};

/// Most octets of a URI that we read: far more than a SIP server needs to be found, far less than hurts.
pub const MAX_URI_LEN: usize = 2048;

/// What stands in a URI's host part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A domain name.
    Name(DomainName),
    /// An address literal.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host as RFC 3261 25.1 writes it: a name, with or without a final dot, `192.0.2.1` or `[2001:db8::1]`.
    ///
    /// # Errors
    ///
    /// [`InvalidUri::Address`] or [`InvalidUri::Host`]: whoever wrote the host has to change it.
    pub fn parse(text: &str) -> Result<Self, InvalidUri> {
        if let Some(inside) = text.strip_prefix('[') {
            let literal = inside.strip_suffix(']').ok_or(InvalidUri::Address)?;
            return literal.parse::<Ipv6Addr>().map(|v6| Self::Ip(v6.into())).map_err(|_| InvalidUri::Address);
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(v4.into()));
        }
        // LOC-9: the final dot is legal and says what is true anyway: the name is absolute.
        let name = DomainName::parse(text.strip_suffix('.').unwrap_or(text)).map_err(InvalidUri::Host)?;
        if !name.is_host() {
            return Err(InvalidUri::Host(InvalidName::BadOctet(b'_')));
        }
        // RFC 3261 25.1, toplabel: begins with a letter; what does not is a mistyped address.
        let top_begins_with_digit = name.labels().last().is_some_and(|top| top[0].is_ascii_digit());
        if top_begins_with_digit { Err(InvalidUri::Address) } else { Ok(Self::Name(name)) }
    }

    /// The name, if it is one.
    #[must_use]
    pub const fn as_name(&self) -> Option<&DomainName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// A URI parameter: its name in lower case, and its value as written.
type Param = (Box<str>, Option<Box<str>>);

/// A SIP or SIPS URI: `sip:alice@debug.ostel.me;transport=tls`.
///
/// Two are equal if their normal forms are; that is stricter than the comparison of RFC 3261 19.1.4.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SipUri {
    secure: bool,
    user: Option<Box<str>>,
    password: Option<Box<str>>,
    host: Host,
    port: Option<NonZeroU16>,
    params: Vec<Param>,
    headers: Option<Box<str>>,
}

impl SipUri {
    /// Reads a `sip:` or `sips:` URI.
    ///
    /// # Errors
    ///
    /// [`InvalidUri`] says what is wrong; whoever wrote the URI has to change it. Never panics, whatever the text.
    pub fn parse(text: &str) -> Result<Self, InvalidUri> {
        if text.len() > MAX_URI_LEN {
            return Err(InvalidUri::TooLong);
        }
        let (scheme, rest) = text.split_once(':').ok_or(InvalidUri::Scheme)?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("sip") => false,
            _ if scheme.eq_ignore_ascii_case("sips") => true,
            _ => return Err(InvalidUri::Scheme),
        };
        Self::parse_rest(secure, rest)
    }

    /// Reads what a person types: `alice@debug.ostel.me`, `debug.ostel.me`, or a whole URI; spaces around it are no harm.
    ///
    /// # Errors
    ///
    /// [`InvalidUri::Number`] for a telephone number, which ENUM has to turn into a URI first; the rest as
    /// [`parse`](Self::parse).
    pub fn parse_typed(text: &str) -> Result<Self, InvalidUri> {
        let text = text.trim();
        if text.len() > MAX_URI_LEN {
            return Err(InvalidUri::TooLong);
        }
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        if scheme.is_some_and(|s| s.eq_ignore_ascii_case("sip") || s.eq_ignore_ascii_case("sips")) {
            return Self::parse(text);
        }
        if scheme.is_some_and(|s| s.eq_ignore_ascii_case("tel")) || is_number(text) {
            return Err(InvalidUri::Number);
        }
        let uri = Self::parse_rest(false, text)?;
        // `xmpp:alice@ostel.me` would read as user xmpp with a password: more likely another scheme.
        if uri.password.is_some() { Err(InvalidUri::Scheme) } else { Ok(uri) }
    }

    fn parse_rest(secure: bool, rest: &str) -> Result<Self, InvalidUri> {
        // An `@` stands nowhere but behind the userinfo (RFC 3261 25.1), where `;` and `?` are plain characters.
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) =
            match userinfo.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
                None => (None, None),
                Some((user, password)) => {
                    if user.is_empty() {
                        return Err(InvalidUri::User);
                    }
                    check(user, "&=+$,;?/", InvalidUri::User)?;
                    password.map_or(Ok(()), |password| check(password, "&=+$,", InvalidUri::Password))?;
                    (Some(user.into()), password.map(Into::into))
                }
            };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        headers.map_or(Ok(()), check_headers)?;
        let (hostport, params) = match rest.split_once(';') {
            Some((hostport, params)) => (hostport, parse_params(params)?),
            None => (rest, Vec::new()),
        };
        let (host, port) = split_port(hostport)?;
        let uri =
            Self { secure, user, password, host: Host::parse(host)?, port, params, headers: headers.map(Into::into) };
        // Normalising only ever lengthens the host (U-labels); what we print has to be readable again.
        if uri.to_string().len() > MAX_URI_LEN { Err(InvalidUri::TooLong) } else { Ok(uri) }
    }

    /// The user part as written, case kept (LOC-8).
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
    /// Whether a password stands behind the user (RFC 3261 19.1.1 advises against it); `Display` keeps it.
    #[must_use]
    pub const fn has_password(&self) -> bool {
        self.password.is_some()
    }
    /// The host: the AUS domain (LOC-66).
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }
    /// The port, if one was given.
    #[must_use]
    pub const fn port(&self) -> Option<NonZeroU16> {
        self.port
    }
    /// Whether the scheme is `sips:`.
    #[must_use]
    pub const fn is_sips(&self) -> bool {
        self.secure
    }
    /// Whether URI parameters or headers were given.
    #[must_use]
    pub fn has_parameters(&self) -> bool {
        !self.params.is_empty() || self.headers.is_some()
    }
    /// The value of a URI parameter, its name compared without case (LOC-8); `Some(None)` for one without a value.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Option<&str>> {
        self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_deref())
    }
}

/// `+1 555 0101` and the like: digits with the separators people write, and no letter.
fn is_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits > 0 && text.bytes().all(|o| o.is_ascii_digit() || b"+-() /".contains(&o))
}

/// Cuts `:port` off, not inside `[…]`.
fn split_port(hostport: &str) -> Result<(&str, Option<NonZeroU16>), InvalidUri> {
    let host_end = match hostport.rfind(']') {
        Some(at) => at + 1,
        None if hostport.starts_with('[') => return Err(InvalidUri::Address),
        None => 0,
    };
    let Some(colon) = hostport[host_end..].find(':') else { return Ok((hostport, None)) };
    let (host, port) = (&hostport[..host_end + colon], &hostport[host_end + colon + 1..]);
    // `u16::from_str` would take a plus sign.
    if port.is_empty() || !port.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(InvalidUri::Port);
    }
    port.parse().map(|port| (host, Some(port))).map_err(|_| InvalidUri::Port)
}

/// `transport=tls;lr`, without the first semicolon. Names become lower case; LOC-7: none may come twice.
fn parse_params(text: &str) -> Result<Vec<Param>, InvalidUri> {
    let mut params: Vec<Param> = Vec::new();
    for param in text.split(';') {
        let (name, value) = param.split_once('=').map_or((param, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || value.is_some_and(str::is_empty) {
            return Err(InvalidUri::Parameter);
        }
        check(name, PARAM_UNRESERVED, InvalidUri::Parameter)?;
        value.map_or(Ok(()), |value| check(value, PARAM_UNRESERVED, InvalidUri::Parameter))?;
        let name: Box<str> = name.to_ascii_lowercase().into();
        if params.iter().any(|(n, _)| *n == name) {
            return Err(InvalidUri::DuplicateParameter(name));
        }
        params.push((name, value.map(Into::into)));
    }
    Ok(params)
}

/// RFC 3261 25.1, param-unreserved.
const PARAM_UNRESERVED: &str = "[]/:&+$";
/// RFC 3261 25.1, hnv-unreserved.
const HEADER_UNRESERVED: &str = "[]/?:+$";

fn check_headers(text: &str) -> Result<(), InvalidUri> {
    for header in text.split('&') {
        let (name, value) = header.split_once('=').ok_or(InvalidUri::Header)?;
        if name.is_empty() {
            return Err(InvalidUri::Header);
        }
        check(name, HEADER_UNRESERVED, InvalidUri::Header)?;
        check(value, HEADER_UNRESERVED, InvalidUri::Header)?;
    }
    Ok(())
}

/// Whether `text` is made of unreserved characters (RFC 3261 25.1), those of `also`, and `%HH`.
fn check(text: &str, also: &str, wrong: InvalidUri) -> Result<(), InvalidUri> {
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'%' => {
                let hex = |octet: Option<u8>| octet.is_some_and(|octet| octet.is_ascii_hexdigit());
                if !hex(octets.next()) || !hex(octets.next()) {
                    return Err(InvalidUri::Escape);
                }
            }
            _ if octet.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&octet) => {}
            _ if also.as_bytes().contains(&octet) => {}
            _ => return Err(wrong),
        }
    }
    Ok(())
}

impl FromStr for SipUri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        Self::parse(text)
    }
}

/// The normal form, password included.
impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        self.host.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for (name, value) in &self.params {
            write!(f, ";{name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        self.headers.iter().try_for_each(|headers| write!(f, "?{headers}"))
    }
}

/// Why a text is no [`SipUri`]: whoever wrote it has to change it; asking again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUri {
    /// More than [`MAX_URI_LEN`] octets.
    #[error("a SIP URI must not have more than {MAX_URI_LEN} octets here")]
    TooLong,
    /// Neither `sip:` nor `sips:`.
    #[error("a SIP URI must begin with sip: or sips:")]
    Scheme,
    /// A telephone number where a URI has to stand.
    #[error("this is a telephone number: look it up by ENUM to get its SIP URI")]
    Number,
    /// An empty user, or a character that has to be escaped there.
    #[error("the part before '@' is empty or has a character that must be written as %HH")]
    User,
    /// A character in the password that has to be escaped.
    #[error("the password has a character that must be written as %HH")]
    Password,
    /// No domain name.
    #[error("the host is no domain name")]
    Host(#[source] InvalidName),
    /// An address that is none: `192.0.2`, `[::1`.
    #[error("the host looks like an address, and is no valid one: write 192.0.2.1 or [2001:db8::1]")]
    Address,
    /// Port 0, above 65535, or no number.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// A parameter without a name or a value behind `=`, or with a character that has to be escaped.
    #[error("a URI parameter is written name or name=value; other characters as %HH")]
    Parameter,
    /// The same parameter twice (LOC-7).
    #[error("the parameter {0:?} is given twice: leave one out")]
    DuplicateParameter(Box<str>),
    /// A header that is not `name=value`.
    #[error("URI headers are written ?name=value&name=value")]
    Header,
    /// `%` without two hexadecimal digits.
    #[error("a '%' must be followed by two hexadecimal digits")]
    Escape,
    /// `sips:` with a transport that TLS does not run over (LOC-4).
    #[error("a sips: URI must not ask for an unreliable transport: leave transport=udp out")]
    UnreliableTransport,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_form() {
        for (id, text, shown) in [
            ("RFC 3261 19.1.3", "sip:alice@atlanta.com", "sip:alice@atlanta.com"),
            (
                "19.1.3 password",
                "sip:alice:secretword@atlanta.com;transport=tcp",
                "sip:alice:secretword@atlanta.com;transport=tcp",
            ),
            (
                "19.1.3 headers",
                "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
            ),
            (
                "19.1.3 phone",
                "sip:+1-212-555-1212:1234@gateway.com;user=phone",
                "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            ),
            ("19.1.3 address", "sip:alice@192.0.2.4", "sip:alice@192.0.2.4"),
            (
                "19.1.3 no user",
                "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
                "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
            ),
            ("19.1.3 semicolon", "sip:alice;day=tuesday@atlanta.com", "sip:alice;day=tuesday@atlanta.com"),
            ("LOC-8", "SIPS:Alice@AtLanta.Com;Transport=TCP;LR", "sips:Alice@atlanta.com;transport=TCP;lr"),
            ("LOC-9 dot", "sip:bob@example.com.:5070", "sip:bob@example.com:5070"),
            ("LOC-9 IDN", "sip:bob@bücher.example", "sip:bob@xn--bcher-kva.example"),
            ("IPv6", "sip:bob@[2001:DB8::9]:5080;transport=tcp", "sip:bob@[2001:db8::9]:5080;transport=tcp"),
        ] {
            let uri = SipUri::parse(text).unwrap_or_else(|error| panic!("{id}: {error}"));
            assert_eq!(uri.to_string(), shown, "{id}");
            assert_eq!(SipUri::parse(shown).as_ref(), Ok(&uri), "{id}");
        }
        let uri = SipUri::parse("sip:a@b.test:5070;transport=TCP;lr?x=y").unwrap();
        assert_eq!(
            (uri.parameter("TRANSPORT"), uri.parameter("lr"), uri.parameter("x")),
            (Some(Some("TCP")), Some(None), None)
        );
        assert!(uri.has_parameters() && !uri.has_password() && !uri.is_sips());
        assert_eq!((uri.user(), uri.port().map(NonZeroU16::get)), (Some("a"), Some(5070)));
    }

    #[test]
    fn refused() {
        let long = format!("sip:{}@a.test", "u".repeat(MAX_URI_LEN));
        for (text, why) in [
            ("", InvalidUri::Scheme),
            ("alice@ostel.me", InvalidUri::Scheme),
            ("tel:+15550101", InvalidUri::Scheme),
            ("sip:", InvalidUri::Host(InvalidName::Empty)),
            ("sip:@ostel.me", InvalidUri::User),
            ("sip:al ice@ostel.me", InvalidUri::User),
            ("sip:alicé@ostel.me", InvalidUri::User),
            ("sip:alice:se@cret@ostel.me", InvalidUri::Host(InvalidName::BadOctet(b'@'))),
            ("sip:alice:a/b@ostel.me", InvalidUri::Password),
            ("sip:alice%4@ostel.me", InvalidUri::Escape),
            ("sip:alice@ostel.me:0", InvalidUri::Port),
            ("sip:alice@ostel.me:65536", InvalidUri::Port),
            ("sip:alice@ostel.me:+5060", InvalidUri::Port),
            ("sip:alice@ostel.me:", InvalidUri::Port),
            ("sip:alice@192.0.2", InvalidUri::Address),
            ("sip:alice@192.0.2.400", InvalidUri::Address),
            ("sip:alice@[2001:db8::1", InvalidUri::Address),
            ("sip:alice@[192.0.2.1]", InvalidUri::Address),
            ("sip:alice@2001:db8::1", InvalidUri::Port),
            ("sip:alice@_sips._tcp.ostel.me", InvalidUri::Host(InvalidName::BadOctet(b'_'))),
            ("sip:alice@a..b", InvalidUri::Host(InvalidName::EmptyLabel)),
            ("sip:alice@ostel.me..", InvalidUri::Host(InvalidName::TrailingDot)),
            ("sip:alice@ostel.me;", InvalidUri::Parameter),
            ("sip:alice@ostel.me;transport=", InvalidUri::Parameter),
            ("sip:alice@ostel.me;a=b=c", InvalidUri::Parameter),
            ("sip:a@b.test;transport=tcp;Transport=udp", InvalidUri::DuplicateParameter("transport".into())),
            ("sip:alice@ostel.me?subject", InvalidUri::Header),
            (&long, InvalidUri::TooLong),
        ] {
            assert_eq!(SipUri::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn typed_by_a_person() {
        for (text, shown) in [
            (" alice@debug.ostel.me ", "sip:alice@debug.ostel.me"),
            ("debug.ostel.me", "sip:debug.ostel.me"),
            ("debug.ostel.me:5061", "sip:debug.ostel.me:5061"),
            ("SIPS:alice@debug.ostel.me", "sips:alice@debug.ostel.me"),
            ("alice@debug.ostel.me;transport=tcp", "sip:alice@debug.ostel.me;transport=tcp"),
            ("+15550101@debug.ostel.me", "sip:+15550101@debug.ostel.me"),
        ] {
            assert_eq!(SipUri::parse_typed(text).map(|uri| uri.to_string()), Ok(shown.to_owned()), "{text:?}");
        }
        for (text, why) in [
            ("+1 (555) 0101", InvalidUri::Number),
            ("tel:+15550101", InvalidUri::Number),
            ("xmpp:alice@ostel.me", InvalidUri::Scheme),
            ("", InvalidUri::Host(InvalidName::Empty)),
        ] {
            assert_eq!(SipUri::parse_typed(text), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(
            scheme in "sips?|SIPS?",
            user in proptest::option::of("[a-zA-Z0-9;?/&=+$,_.!~*'()-]{1,12}(%[0-9a-f]{2})?(:[a-z&=+$,]{0,5})?"),
            host in "[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9]{1,9}){0,3}\\.[A-Z][a-z]{1,5}\\.?|192\\.0\\.2\\.[0-9]|\\[2001:db8::[0-9a-f]{1,4}\\]",
            port in proptest::option::of(1..=u16::MAX),
            params in "(;a(=[a-zA-Z0-9:/%\\[\\]]{0,0}[a-z]{1,4})?)?(;B)?(;c=%2f)?",
            headers in "(\\?[a-z]{1,3}=[a-z?:+]{0,4}(&x=)?)?",
        ) {
            let text = format!(
                "{scheme}:{}{host}{}{params}{headers}",
                user.map_or_else(String::new, |user| format!("{user}@")),
                port.map_or_else(String::new, |port| format!(":{port}")),
            );
            let uri = SipUri::parse(&text).expect(&text);
            prop_assert_eq!(SipUri::parse(&uri.to_string()), Ok(uri));
        }

        #[test]
        fn any_text_is_a_uri_or_an_error(text in "(sips?:)?\\PC{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for text in [text.as_str(), &String::from_utf8_lossy(&bytes), &format!("sip:{}", String::from_utf8_lossy(&bytes))] {
                for uri in [SipUri::parse(text), SipUri::parse_typed(text)].into_iter().flatten() {
                    prop_assert_eq!(SipUri::parse(&uri.to_string()), Ok(uri));
                }
            }
        }
    }
}
