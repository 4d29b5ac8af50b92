//! What comes out: next hops in order, or a named error; and the reason of each step.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::question::{Dnssec, Failure, Question};
use super::service::Service;
use crate::name::DomainName;
use crate::numbering::EnumError;
use crate::uri::{Host, InvalidUri};

/// Where to send a request: one element of the list that is tried in order (RFC 3263 4.3; LOC-80 to LOC-85).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// What to speak; the token for Via.
    pub service: Service,
    /// Address and port.
    pub address: SocketAddr,
    /// The name that the certificate must carry, and for SNI: the URI's own domain, never what DNS said (LOC-66).
    /// `None` for a plaintext service and for a URI whose host is an address (LOC-67).
    pub tls_name: Option<DomainName>,
    /// The SRV target that the address belongs to; `None` if no SRV record led here.
    pub srv_target: Option<DomainName>,
    /// The name that the SRV target is an alias of, the last one of several; `None` if it is none (CERT-56).
    pub canonical: Option<DomainName>,
    /// Rank of the SRV record that led here; `None` if none did.
    pub rank: Option<Rank>,
    /// What DNSSEC says of the way here: it decides whether DANE applies (CERT-41 to CERT-43).
    pub dnssec: HopDnssec,
    /// Seconds that this element may be kept (LOC-88): the least TTL of the records that led here. `None` if none did.
    pub ttl: Option<u32>,
}

/// An SRV record's priority and weight (RFC 2782): who keeps a result draws among equals anew for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rank {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among records of one priority.
    pub weight: u16,
}

/// DNSSEC status of what led to a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HopDnssec {
    /// Of NAPTR, SRV, and aliases on the way: the least of them.
    pub chain: Dnssec,
    /// Of the address, aliases included.
    pub address: Dnssec,
}

/// What the procedure came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Next hops, best first and never empty, or why there are none.
    pub outcome: Result<Vec<NextHop>, LocateError>,
    /// Seconds that this outcome may be kept: the least TTL of everything it was made from, negative answers included
    /// (LOC-88); 0 if a lookup failed on the way. `None` if DNS was not asked.
    pub ttl: Option<u32>,
    /// Whether the domain's NAPTR records offered SIPS; `None` if they were not asked for. Who remembers it can notice
    /// that it vanished (LOC-89).
    pub naptr_offered_sips: Option<bool>,
    /// Each step and the rule that led to it, in order.
    pub reasons: Vec<Reason>,
}

/// Why one step was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The requirement's id, `LOC-35`.
    pub rule: &'static str,
    /// What was found or decided, in one line.
    pub text: String,
    /// DNSSEC status of the answer that this step builds on; `None` for a step without one.
    pub dnssec: Option<Dnssec>,
}

impl Reason {
    /// A step that builds on no answer.
    #[must_use]
    pub const fn new(rule: &'static str, text: String) -> Self {
        Self { rule, text, dnssec: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// Why there is no next hop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The URI is malformed or contradicts itself: who wrote it has to change it.
    #[error("not a valid SIP URI")]
    InvalidUri(#[source] InvalidUri),
    /// The URI asks for a transport that we do not have: call without `transport=`, or build it in.
    #[error("transport {0:?} is asked for, which is not available here: leave it out of the URI")]
    UnsupportedTransport(String),
    /// The domain offers SIP, but nothing that we may use: its operator or our settings have to change.
    #[error("{0} offers no transport that may be used here: ask its operator for SIPS+D2T, or allow more transports")]
    NoCommonTransport(Host),
    /// The domain says that it offers no such service: do not try again soon.
    #[error("{0} says that it does not offer this service")]
    ServiceNotAvailable(DomainName),
    /// There is no such domain: check the spelling.
    #[error("there is no domain {0}: check the spelling")]
    NoSuchDomain(DomainName),
    /// The domain exists, but no server of it has an address: its operator has to publish one.
    #[error("{0} has no server with an address that can be used here: its operator has to publish one")]
    NoUsableAddress(DomainName),
    /// DNS gave no answer: try again later. Nothing weaker was tried (LOC-39).
    #[error("the lookup of {question} failed: try again later")]
    TemporaryFailure {
        /// The question that failed.
        question: Question,
        /// How.
        #[source]
        failure: Failure,
    },
    /// The way leads back to the element that asks: a loop, or a number or domain of our own.
    #[error("{0} is this very element: deliver the call here instead of forwarding it")]
    Ourselves(Host),
    /// The domain offered SIP over TLS before, and now its records lead to plaintext only (LOC-89): not followed.
    #[error("{0} offered SIP over TLS before and does not now: ask its operator whether that is meant")]
    SipsVanished(DomainName),
    /// Every server said 503 with Retry-After, and that time is not over (LOC-83).
    #[error("every server of {domain} asked for no calls: try again in {seconds} s")]
    Busy {
        /// The URI's host.
        domain: Host,
        /// Seconds until the first of them may be tried again.
        seconds: u32,
    },
    /// The number leads to no SIP URI.
    #[error("the number has no SIP URI")]
    Number(#[source] EnumError),
    /// Our own policy forbids it.
    #[error("refused by policy")]
    PolicyRefused(#[source] Refusal),
}

/// What policy forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A plaintext service in secure mode.
    #[error("plaintext is asked for (transport=udp, or a Via without TLS), which is never used here: use TLS")]
    Plaintext,
    /// An address instead of a domain, in secure mode: no certificate can be checked against it (LOC-67).
    #[error(
        "the URI has an address instead of a domain, so there is no name to verify: call the domain, or pin the server's key"
    )]
    NumericHost,
    /// A multicast address (LOC-11).
    #[error("{0} is a multicast address: no single server can be verified there")]
    Multicast(IpAddr),
    /// The directory says that the domain's keys or server are in wrong hands.
    #[error("the directory says that this domain is compromised: no call until its operator has mended it")]
    Compromised,
    /// A record led to a loopback, private, link-local or multicast address.
    #[error(
        "the domain's records lead to {0}, which is not a public address: allow private addresses if this is your own network"
    )]
    Address(IpAddr),
}
