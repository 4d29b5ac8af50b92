//! What looks at nodes from outside, as the API has it: the program that wires Tandem brings it ([`Probes`]).

use std::net::IpAddr;
use std::num::NonZeroU16;

use tandem_model::DomainName;

/// Looks at the targets of nodes, and remembers what it saw last.
pub trait Probes: std::fmt::Debug + Send + Sync + 'static {
    /// What was seen of `domain`; `None` when nobody has looked yet.
    fn report(&self, domain: &DomainName) -> Option<ProbeReport>;

    /// Looks at `domain` as soon as there is room.
    ///
    /// # Errors
    ///
    /// [`NotNow`] says why not.
    fn hurry(&self, domain: &DomainName) -> Result<(), NotNow>;
}

/// Why nobody looks at a node now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// The node does not ask for it, or DNS does not show it.
    NotWatched,
    /// Somebody asked a moment ago: once in `window` seconds, and again in so many.
    TooSoon {
        /// Seconds.
        window: u32,
        /// Seconds.
        retry_after: u32,
    },
}

/// What was seen of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Whether so many targets fail at once that the fault seems to be the directory's own: nobody is demoted then.
    pub held: bool,
    /// Each target, in the order of the document.
    pub targets: Vec<TargetReport>,
}

/// What was seen of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// The host.
    pub host: DomainName,
    /// The port.
    pub port: NonZeroU16,
    /// Whether it failed so often that it is down.
    pub is_down: bool,
    /// Looks in a row that failed.
    pub failures: u32,
    /// About when it is looked at next, in seconds since 1970; `None` while somebody looks.
    pub next: Option<u64>,
    /// The last look at each address family; none before the first.
    pub looks: Vec<Look>,
}

/// One look at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Where; `None` when the host has no address.
    pub address: Option<IpAddr>,
    /// Seconds since 1970.
    pub at: u64,
    /// `ok`, or a word for what is wrong.
    pub result: &'static str,
    /// The rule that was broken: `CERT-20`, `API-67`, `RFC 3261 11`.
    pub rule: Option<&'static str>,
    /// What is wrong, in words.
    pub detail: Option<Box<str>>,
    /// Looks at this address family that failed, in a row.
    pub failures: u32,
    /// What the certificate says, if one was seen.
    pub certificate: Option<Box<SeenCertificate>>,
}

/// What a target's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCertificate {
    /// The SIP domains that it names (RFC 5922 7.1); the first few.
    pub identities: Vec<Box<str>>,
    /// Seconds since 1970 when it ends.
    pub not_after: i64,
    /// SHA-256 of its public key.
    pub sha256: [u8; 32],
}
