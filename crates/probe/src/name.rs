//! Who a certificate says its holder is, by the rules of SIP (RFC 5922 7.1, 7.2; CERT-1 to CERT-13).
//!
//! These are not the rules of the web: a `sip:` URI switches DNS names off, no wildcard matches, no name matches one
//! below it. A check by web rules is too lax (CERT-12).

use tandem_model::DomainName;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// What stands in a leaf certificate, as far as SIP is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The identities, in lower case, without a final dot, in the order of the certificate. Text, not names: `*.a.test`
    /// is an identity too, and equals no name (CERT-12).
    pub identities: Vec<Box<str>>,
    /// The first second that it holds, since 1970 UTC.
    pub not_before: i64,
    /// The last second that it holds, since 1970 UTC.
    pub not_after: i64,
    /// SHA-256 of its public key as SubjectPublicKeyInfo in DER: the data of a TLSA record 3 1 1 (RFC 6698 2.1).
    pub spki_sha256: [u8; 32],
}

impl Leaf {
    /// Reads a certificate in DER. It is not checked in any way.
    ///
    /// # Errors
    ///
    /// [`UnreadableCertificate`].
    pub fn read(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let certificate = parse(der)?;
        let validity = certificate.validity();
        Ok(Self {
            identities: identities(&certificate)?,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            spki_sha256: spki_sha256(&certificate),
        })
    }

    /// Whether one of the identities is `domain`: whole name against whole name (CERT-10, CERT-11).
    #[must_use]
    pub fn names(&self, domain: &DomainName) -> bool {
        let domain = domain.to_string();
        self.identities.iter().any(|identity| **identity == *domain)
    }
}

/// SHA-256 of a certificate's public key, as in a TLSA record with selector 1 (RFC 6698 2.1.2).
///
/// # Errors
///
/// [`UnreadableCertificate`].
pub fn spki_digest(der: &[u8]) -> Result<[u8; 32], UnreadableCertificate> {
    Ok(spki_sha256(&parse(der)?))
}

/// A certificate's public key, SubjectPublicKeyInfo in DER: what selector 1 of TLSA means (RFC 6698 2.1.2).
///
/// # Errors
///
/// [`UnreadableCertificate`].
pub fn spki(der: &[u8]) -> Result<Vec<u8>, UnreadableCertificate> {
    Ok(parse(der)?.public_key().raw.to_vec())
}

/// Whether a certificate says that its issuer is its subject: the end of a chain, where trust has to begin (RFC 5280 6.1).
///
/// # Errors
///
/// [`UnreadableCertificate`].
pub fn is_self_issued(der: &[u8]) -> Result<bool, UnreadableCertificate> {
    let certificate = parse(der)?;
    Ok(certificate.issuer().as_raw() == certificate.subject().as_raw())
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, UnreadableCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(UnreadableCertificate),
    }
}

fn spki_sha256(certificate: &X509Certificate<'_>) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(certificate.public_key().raw).into()
}

/// The entries of subjectAltName; none if there is no such extension. Two such extensions are not allowed (RFC 5280 4.2).
pub(crate) fn alternative_names<'c>(
    certificate: &'c X509Certificate<'_>,
) -> Result<&'c [GeneralName<'c>], UnreadableCertificate> {
    let mut found = None;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) if found.is_none() => found = Some(&names.general_names),
            ParsedExtension::SubjectAlternativeName(_) => return Err(UnreadableCertificate),
            _ => {}
        }
    }
    Ok(found.map_or(&[], Vec::as_slice))
}

/// RFC 5922 7.1. The subject's common name is never looked at (CERT-5), addresses and other entries neither (CERT-2).
fn identities(certificate: &X509Certificate<'_>) -> Result<Vec<Box<str>>, UnreadableCertificate> {
    let names = alternative_names(certificate)?;
    let mut from_uris = names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { host(uri) } else { None });
    // CERT-4: DNS names count only without any acceptable sip URI, even one whose host identifies nobody.
    let Some(first) = from_uris.next() else {
        let dns =
            names.iter().filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
        return Ok(dns.map(folded).collect());
    };
    Ok(std::iter::once(first).chain(from_uris).flatten().map(folded).collect())
}

/// The host of an acceptable URI entry: `None` if the entry does not count, `Some(None)` if it counts but its host is an
/// address (CERT-3, CERT-7).
fn host(uri: &str) -> Option<Option<&str>> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") || uri.contains('@') {
        return None;
    }
    let host = rest.split([';', '?']).next().unwrap_or_default();
    if host.starts_with('[') {
        return Some(None);
    }
    let host = host.split(':').next().unwrap_or_default();
    Some(host.parse::<std::net::Ipv4Addr>().is_err().then_some(host))
}

/// ASCII case does not count, nor a final dot (CERT-10, CERT-13).
fn folded(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

/// A certificate that nobody can read: its holder has to replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read (RFC 5280)")]
pub struct UnreadableCertificate;
