//! The records that a node makes, as values: what `GET …/records`, a dry run and the tests show.
//!
//! What is served is made from packed nodes in `tandem-zone`; a test there compares the two.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::DomainName;

/// One record with its owner name and time to live in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The name that the record is at.
    pub owner: OwnerName,
    /// Seconds that a resolver may keep it (RFC 2181 8).
    pub ttl: u32,
    /// Type and data.
    pub data: RecordData,
}

/// Where a record is: a name, or the wildcard right below it (only number blocks make those, ENUM-80).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerName {
    /// The name itself, or the wildcard's parent.
    pub name: DomainName,
    /// Whether the record is at `*.<name>`.
    pub wildcard: bool,
}

impl OwnerName {
    /// Octets in wire form, the root's included.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.name.as_wire().len() + if self.wildcard { 2 } else { 0 }
    }
}

impl From<DomainName> for OwnerName {
    fn from(name: DomainName) -> Self {
        Self { name, wildcard: false }
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.wildcard { "*." } else { "" })?;
        self.name.fmt(f)
    }
}

/// The data of the record types that Tandem makes itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordData {
    /// An IPv4 address (RFC 1035 3.4.1).
    A(Ipv4Addr),
    /// An IPv6 address (RFC 3596 2.2).
    Aaaa(Ipv6Addr),
    /// A rule of SIP's or ENUM's DDDS application (RFC 3403 4.1).
    Naptr(Naptr),
    /// A service's host and port (RFC 2782).
    Srv(Srv),
    /// A certificate association (RFC 6698 2.1).
    Tlsa(Tlsa),
}

/// NAPTR data (RFC 3403 4.1). `None` as replacement is the root: "no replacement".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Naptr {
    /// ORDER: lowest first, before anything else.
    pub order: u16,
    /// PREFERENCE: lowest first among records of one ORDER.
    pub preference: u16,
    /// `s`, `u`, or others that we skip.
    pub flags: Box<str>,
    /// `SIPS+D2T`, `E2U+sip` …
    pub services: Box<str>,
    /// The substitution expression in wire form: single backslashes.
    pub regexp: Box<str>,
    /// The next name to ask for.
    pub replacement: Option<DomainName>,
}

/// SRV data (RFC 2782). `None` as target is the root: "not offered here".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among records of one priority.
    pub weight: u16,
    /// Where the service listens.
    pub port: u16,
    /// The host that offers it.
    pub target: Option<DomainName>,
}

/// TLSA data: the SHA-256 of a public key (selector 1, matching type 1; RFC 6698 2.1, CERT-52).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// Certificate usage: 3 pins the node's own key (DANE-EE), 2 its own CA's (DANE-TA).
    pub usage: u8,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub sha256: [u8; 32],
}

impl RecordData {
    /// The type as zone files write it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::A(_) => "A",
            Self::Aaaa(_) => "AAAA",
            Self::Naptr(_) => "NAPTR",
            Self::Srv(_) => "SRV",
            Self::Tlsa(_) => "TLSA",
        }
    }

    /// Octets of the data in wire form; names inside are never compressed (RFC 3597 4).
    #[must_use]
    pub fn wire_len(&self) -> usize {
        let name_len = |name: &Option<DomainName>| name.as_ref().map_or(1, |name| name.as_wire().len());
        match self {
            Self::A(_) => 4,
            Self::Aaaa(_) => 16,
            Self::Naptr(n) => 4 + 3 + n.flags.len() + n.services.len() + n.regexp.len() + name_len(&n.replacement),
            Self::Srv(s) => 6 + name_len(&s.target),
            Self::Tlsa(_) => 3 + 32,
        }
    }
}

/// The data in master-file form (RFC 1035 5.1): names absolute, strings quoted, backslashes doubled.
impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Naptr(n) => {
                write!(f, "{} {} ", n.order, n.preference)?;
                for text in [&n.flags, &n.services, &n.regexp] {
                    write!(f, "\"{}\" ", text.replace('\\', "\\\\").replace('"', "\\\""))?;
                }
                write_target(f, n.replacement.as_ref())
            }
            Self::Srv(s) => {
                write!(f, "{} {} {} ", s.priority, s.weight, s.port)?;
                write_target(f, s.target.as_ref())
            }
            Self::Tlsa(t) => {
                write!(f, "{} 1 1 ", t.usage)?;
                t.sha256.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

fn write_target(f: &mut fmt::Formatter<'_>, name: Option<&DomainName>) -> fmt::Result {
    match name {
        Some(name) => write!(f, "{name}."),
        None => f.write_str("."),
    }
}

/// One master-file line, the owner absolute: `debug.ostel.me. 60 IN A 192.0.2.1`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} IN {} {}", self.owner, self.ttl, self.data.type_name(), self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_file_lines() {
        let owner = DomainName::parse("a.test").unwrap();
        let line = |data| Record { owner: owner.clone().into(), ttl: 60, data }.to_string();
        assert_eq!(
            line(RecordData::Naptr(Naptr {
                order: 100,
                preference: 10,
                flags: "u".into(),
                services: "E2U+sip".into(),
                regexp: r"!^(\+1.*)$!sip:\1@a.test!".into(),
                replacement: None,
            })),
            r#"a.test. 60 IN NAPTR 100 10 "u" "E2U+sip" "!^(\\+1.*)$!sip:\\1@a.test!" ."#
        );
        let srv = Srv { priority: 1, weight: 2, port: 5061, target: Some(owner.clone()) };
        assert_eq!(line(RecordData::Srv(srv)), "a.test. 60 IN SRV 1 2 5061 a.test.");
        let tlsa = line(RecordData::Tlsa(Tlsa { usage: 3, sha256: [0xab; 32] }));
        assert_eq!(tlsa, format!("a.test. 60 IN TLSA 3 1 1 {}", "ab".repeat(32)));
    }
}
