//! What the machine asks, and what it is told: DNS without messages.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::name::DomainName;
use crate::record::{Naptr, Srv};

/// The record types that finding a SIP server needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// NAPTR (RFC 3403).
    Naptr,
    /// SRV (RFC 2782).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Certificate associations (RFC 6698). The machine never asks for them; who connects does.
    Tlsa,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Naptr => "NAPTR",
            Self::Srv => "SRV",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Tlsa => "TLSA",
        })
    }
}

/// One DNS question. The name is absolute: no search list may touch it (LOC-9).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// The name asked for.
    pub name: DomainName,
    /// The type asked for.
    pub kind: Kind,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

/// What became of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Records: of the type asked for, or aliases on the way there.
    Records(Answer),
    /// The name exists, or nothing says that it does not; no such record. `ttl`: seconds this may be kept (RFC 2308 5),
    /// 0 if the reply gave none.
    NoData {
        /// Seconds.
        ttl: u32,
    },
    /// The name does not exist.
    NxDomain {
        /// Seconds this may be kept (RFC 2308 5), 0 if the reply gave none.
        ttl: u32,
    },
    /// Nobody knows: never the same as "no records" (LOC-39).
    Failed(Failure),
}

/// The records of one reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The answer section: CNAMEs and the records asked for, in the order of the reply.
    pub records: Vec<Found>,
    /// The additional section; it may hold what would be asked next. The machine takes from it only what belongs there.
    pub additional: Vec<Found>,
}

/// One record of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its owner name.
    pub owner: DomainName,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Type and data.
    pub data: Data,
}

/// The data of a record that may come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// An alias: the name to go on with.
    Cname(DomainName),
    /// NAPTR.
    Naptr(Naptr),
    /// SRV.
    Srv(Srv),
    /// TLSA, as it came: nothing in it is checked.
    Tlsa(TlsaData),
    /// A record of this type that cannot be used, as when a name in it has octets that no SIP name has: it counts as a
    /// record, but is skipped.
    Unusable(Kind),
}

impl Data {
    /// The type; `None` for an alias.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::A(_) => Some(Kind::A),
            Self::Aaaa(_) => Some(Kind::Aaaa),
            Self::Naptr(_) => Some(Kind::Naptr),
            Self::Srv(_) => Some(Kind::Srv),
            Self::Tlsa(_) => Some(Kind::Tlsa),
            Self::Unusable(kind) => Some(*kind),
            Self::Cname(_) => None,
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(v4) => Some(IpAddr::V4(*v4)),
            Self::Aaaa(v6) => Some(IpAddr::V6(*v6)),
            Self::Cname(_) | Self::Naptr(_) | Self::Srv(_) | Self::Tlsa(_) | Self::Unusable(_) => None,
        }
    }
}

/// TLSA data of any kind (RFC 6698 2.1). [`record::Tlsa`](crate::record::Tlsa) is the one kind that we publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsaData {
    /// Certificate usage.
    pub usage: u8,
    /// Selector: 0 the certificate, 1 its public key.
    pub selector: u8,
    /// Matching type: 0 the whole, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// The association data.
    pub data: Box<[u8]>,
}

/// How far an answer is proved by DNSSEC, by the judgement of a validator that we trust (CERT-57). An answer that failed
/// validation is none: [`Failure::Bogus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dnssec {
    /// Signed, and the chain of trust holds.
    Secure,
    /// A trusted validator saw it and did not find it signed.
    Insecure,
    /// Nobody whom we trust has looked: counts as insecure, never as an error.
    #[default]
    Indeterminate,
}

impl Dnssec {
    /// The status of what needs both: secure only if both are (CERT-58).
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Secure, Self::Secure) => Self::Secure,
            (Self::Insecure, _) | (_, Self::Insecure) => Self::Insecure,
            _ => Self::Indeterminate,
        }
    }

    /// Whether DANE may build on it (CERT-41).
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Secure)
    }
}

impl fmt::Display for Dnssec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secure => "secure",
            Self::Insecure => "insecure",
            Self::Indeterminate => "indeterminate",
        })
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// Nobody answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// No name server could be reached.
    #[error("no name server could be reached")]
    Unreachable,
    /// SERVFAIL or another code that says "not now".
    #[error("the name server failed (SERVFAIL)")]
    ServerFailure,
    /// REFUSED.
    #[error("the name server refused to answer (REFUSED)")]
    Refused,
    /// A referral: this server only knows who else to ask.
    #[error("the name server only pointed to other servers")]
    Referral,
    /// DNSSEC validation failed: somebody forged or broke the answer.
    #[error("the answer did not pass DNSSEC validation")]
    Bogus,
    /// The reply could not be read.
    #[error("the name server's answer could not be read")]
    Unreadable,
    /// More aliases than [`MAX_ALIASES`](super::MAX_ALIASES), or aliases in a circle.
    #[error("the aliases (CNAME) do not end")]
    Aliases,
}
