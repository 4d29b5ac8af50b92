//! What a certificate says of itself, to be shown to people. Nothing here is checked, and nothing here decides anything.

use x509_parser::prelude::GeneralName;

use crate::name::{UnreadableCertificate, alternative_names, parse};

/// Most entries of subjectAltName that are shown.
pub const MAX_ENTRIES: usize = 32;
/// Most characters of one text.
pub const MAX_TEXT: usize = 256;

/// A certificate's own words. They are a stranger's: they may hold any character, control characters too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portrait {
    /// Who it is for, as a distinguished name: no identity in SIP (CERT-5).
    pub subject: Box<str>,
    /// Who says that it gave it out.
    pub issuer: Box<str>,
    /// The entries of subjectAltName, `DNS:a.test` or `URI:sip:a.test`, those that do not count in SIP too; at most
    /// [`MAX_ENTRIES`].
    pub entries: Vec<Box<str>>,
    /// How many entries it has.
    pub entry_count: usize,
}

impl Portrait {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    ///
    /// [`UnreadableCertificate`].
    pub fn read(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let certificate = parse(der)?;
        let names = alternative_names(&certificate)?;
        Ok(Self {
            subject: bounded(&certificate.subject().to_string()),
            issuer: bounded(&certificate.issuer().to_string()),
            entries: names.iter().take(MAX_ENTRIES).map(entry).collect(),
            entry_count: names.len(),
        })
    }
}

fn entry(name: &GeneralName<'_>) -> Box<str> {
    match name {
        GeneralName::DNSName(name) => bounded(&format!("DNS:{name}")),
        GeneralName::URI(uri) => bounded(&format!("URI:{uri}")),
        GeneralName::RFC822Name(mail) => bounded(&format!("email:{mail}")),
        GeneralName::IPAddress(octets) => match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
            (Ok(v4), _) => format!("IP:{}", std::net::Ipv4Addr::from(v4)).into(),
            (_, Ok(v6)) => format!("IP:{}", std::net::Ipv6Addr::from(v6)).into(),
            _ => "IP:?".into(),
        },
        _ => "other".into(),
    }
}

fn bounded(text: &str) -> Box<str> {
    text.chars().take(MAX_TEXT).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn what_stands_in_it() {
        let mut parameters = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        parameters.subject_alt_names.push(SanType::URI("sip:a.test".try_into().unwrap()));
        parameters.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 1].into()));
        parameters.distinguished_name.push(DnType::CommonName, "x".repeat(2 * MAX_TEXT));
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let portrait = Portrait::read(certificate.der()).unwrap();
        assert_eq!(portrait.entries, ["DNS:a.test", "URI:sip:a.test", "IP:192.0.2.1"].map(Box::from));
        assert_eq!(portrait.entry_count, 3);
        assert_eq!(portrait.subject, portrait.issuer);
        assert_eq!(portrait.subject.chars().count(), MAX_TEXT);
        assert!(Portrait::read(b"no certificate").is_err());
    }

    #[test]
    fn many_names_are_counted_and_few_are_kept() {
        let names: Vec<String> = (0..MAX_ENTRIES + 5).map(|n| format!("n{n}.test")).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let portrait = Portrait::read(certificate.der()).unwrap();
        assert_eq!((portrait.entries.len(), portrait.entry_count), (MAX_ENTRIES, MAX_ENTRIES + 5));
    }
}
