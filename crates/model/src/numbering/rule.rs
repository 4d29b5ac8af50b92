//! One NAPTR record of an ENUM name: what it gives, or why it is passed over (RFC 6116 3.4, 5.2).

use super::Discard;
use super::expression::Substitution;
use crate::name::DomainName;
use crate::record::Naptr;
use crate::uri::SipUri;

/// Most enumservices of one record that are read: what 255 octets hold, at three octets each, and no more.
const MAX_SERVICES: usize = 84;
/// Most characters of a type or subtype (ENUM-25).
const MAX_TOKEN: usize = 32;

/// Which enumservices a client wants, `type` or `type:subtype`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The services, `sip`, `voice:tel`. Order does not matter: the publisher's counts.
    pub services: Vec<Box<str>>,
    /// Whether `P-` types count: only inside the private network that defines them (ENUM-29).
    pub private: bool,
    /// Whether experimental `X-` types count.
    pub experimental: bool,
}

impl Default for Wanted {
    /// What a SIP element can go on with: `sip` and `pstn:sip`.
    fn default() -> Self {
        Self { services: vec!["sip".into(), "pstn:sip".into()], private: false, experimental: false }
    }
}

/// What a record says, once it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The end: a URI.
    Uri(Rule),
    /// Go on at this name, with the same number.
    Next(DomainName),
}

/// The rule that won: one service and its URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `sip`, `voice:tel`: in lower case.
    pub service: Box<str>,
    /// The URI as the rule made it.
    pub uri: Box<str>,
    /// The same, read, for `sip:` and `sips:`: an address of record (ENUM-33). It is located as it is: never made less secure (ENUM-37).
    pub sip: Option<SipUri>,
}

/// ENUM-23: whether the flags are ones that ENUM has; this comes before any ordering.
pub(super) fn has_known_flags(naptr: &Naptr) -> bool {
    naptr.flags.is_empty() || naptr.flags.eq_ignore_ascii_case("u")
}

/// Reads one record for `aus`, always the original number (ENUM-45).
pub(super) fn judge(naptr: &Naptr, aus: &str, wanted: &Wanted) -> Result<Said, Discard> {
    if ![&naptr.flags, &naptr.services, &naptr.regexp].iter().all(|text| text.is_ascii()) {
        return Err(Discard::NonAscii); // ENUM-31
    }
    if naptr.flags.is_empty() {
        // ENUM-41: services and regexp do not matter.
        return naptr.replacement.clone().map(Said::Next).ok_or(Discard::BadReplacement);
    }
    let services = services(&naptr.services)?;
    let mut why = Discard::NoWantedService;
    let usable: Vec<&str> = services
        .iter()
        .map(String::as_str)
        .filter(|service| {
            let reason = match () {
                () if service.starts_with("p-") && !wanted.private => Some(Discard::PrivateService),
                () if service.starts_with("x-") && !wanted.experimental => Some(Discard::PrivateService),
                () if !wanted.services.iter().any(|wanted| **wanted == **service) => Some(Discard::NoWantedService),
                () => None,
            };
            if reason == Some(Discard::PrivateService) {
                why = Discard::PrivateService;
            }
            reason.is_none()
        })
        .collect();
    if usable.is_empty() {
        return Err(why);
    }
    if naptr.replacement.is_some() && !naptr.regexp.is_empty() {
        return Err(Discard::BothFields); // ENUM-36
    }
    let uri = Substitution::parse(&naptr.regexp)?.apply(aus)?;
    let scheme = scheme(&uri).ok_or(Discard::BadUri)?.to_ascii_lowercase();
    // ENUM-28: left to right, as if each service were a record of its own.
    let service = usable.into_iter().find(|service| fits(service, &scheme)).ok_or(Discard::WrongScheme)?;
    let sip = match scheme.as_str() {
        "sip" | "sips" => Some(SipUri::parse(&uri).map_err(|_| Discard::BadUri)?),
        _ => None,
    };
    Ok(Said::Uri(Rule { service: service.into(), uri: uri.into(), sip }))
}

/// ENUM-25: `E2U` and one or more `+type[:subtype…]`, in lower case. ENUM-26: the old order `sip+E2U` counts, too.
fn services(field: &str) -> Result<Vec<String>, Discard> {
    let field = field.to_ascii_lowercase();
    let parts: Vec<&str> = field.split('+').collect();
    let (["e2u", ref named @ ..] | [ref named @ .., "e2u"]) = parts[..] else {
        return Err(Discard::OtherApplication); // ENUM-27
    };
    if named.is_empty() || named.len() > MAX_SERVICES || !named.iter().all(|service| is_service(service)) {
        return Err(Discard::BadService);
    }
    Ok(named.iter().map(|&service| service.to_owned()).collect())
}

fn is_service(text: &str) -> bool {
    text.split(':').all(|token| {
        let right = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(right)
    })
}

/// ENUM-32: the schemes that a service may give.
fn fits(service: &str, scheme: &str) -> bool {
    match service {
        "sip" => matches!(scheme, "sip" | "sips"),
        "pstn:sip" => scheme == "sip",
        "pstn:tel" | "voice:tel" => scheme == "tel",
        // Registrations name the scheme as the last subtype: `email:mailto`, `sms:tel`, `web:http`; or as the type.
        _ => service.rsplit(':').next() == Some(scheme),
    }
}

/// The scheme of an absolute URI: letters and the like, a colon, and something printable behind it (RFC 3986 3.1).
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let begins = scheme.bytes().next().is_some_and(|octet| octet.is_ascii_alphabetic());
    let right = scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet));
    (begins && right && !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_graphic())).then_some(scheme)
}
