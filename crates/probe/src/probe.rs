//! One look at one target of a node: connection, TLS, identity, SIP OPTIONS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::node::KeyPin;
use tokio::time::timeout;

use crate::address::AddressRefusal;
use crate::connect::{ConnectError, SafeConnector};
use crate::judge::{Distrust, Judgement, Trust, Trusted};
use crate::name::{Leaf, UnreadableCertificate};
use crate::sip::{self, Life, Options, RequestIds, SipError};
use crate::tls::{self, TlsError};

/// Longest time of one probe, all its steps together, unless it is set.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// Looks at targets, with one connector and one set of authorities.
#[derive(Debug, Clone)]
pub struct Prober {
    connector: SafeConnector,
    trust: Trust,
    from: DomainName,
    timeout: Duration,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct ProbeTarget<'a> {
    /// The node's domain: what the server must be (CERT-20), never the target's own name (CERT-21).
    pub domain: &'a DomainName,
    /// Where the target is, looked up by the caller: the addresses that are checked are those that are connected to.
    pub addresses: &'a [SocketAddr],
    /// Keys that the node published; without any, our authorities decide.
    pub keys: &'a [KeyPin],
    /// Whether it must answer SIP OPTIONS, too.
    pub options: bool,
}

impl Prober {
    /// A prober that calls itself `from` in SIP.
    #[must_use]
    pub const fn new(connector: SafeConnector, trust: Trust, from: DomainName) -> Self {
        Self { connector, trust, from, timeout: PROBE_TIMEOUT }
    }

    /// The same, but all steps of a probe together take at most `timeout`.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether `address` may be looked at. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`AddressRefusal`]: it may not.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        self.connector.check(address)
    }

    /// Looks at `target` at the time `now`. Takes at most its timeout, one connection, and a few hundred octets.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] says what a caller of this domain would run into first, with what the certificate said as far as
    /// it was seen.
    pub async fn probe(&self, target: ProbeTarget<'_>, now: UnixTime) -> Result<Sound, ProbeError> {
        timeout(self.timeout, self.steps(target, now)).await.unwrap_or(Err(ProbeError::Timeout(self.timeout)))
    }

    async fn steps(&self, target: ProbeTarget<'_>, now: UnixTime) -> Result<Sound, ProbeError> {
        let stream = self.connector.tcp_first(target.addresses).await.map_err(ProbeError::Connect)?;
        let (mut stream, chain) =
            tls::handshake(stream, target.domain, self.trust.provider()).await.map_err(ProbeError::Tls)?;
        let judgement = self.trust.judge(&chain, target.domain, target.keys, now).map_err(ProbeError::Certificate)?;
        let Judgement { leaf, verdict } = judgement;
        // CERT-20: without a match the connection is closed, nothing is said.
        let trusted = match verdict {
            Ok(trusted) => trusted,
            Err(reason) => return Err(ProbeError::Distrust { leaf: Box::new(leaf), reason }),
        };
        if !target.options {
            return Ok(Sound { leaf, chain, trusted, life: None });
        }
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|_| ProbeError::Random)?;
        let ids = RequestIds::new(random);
        let options = Options { domain: target.domain, from: &self.from, ids: &ids };
        match sip::ask(&mut stream, options).await {
            Ok(Life::Busy { retry_after }) => Err(ProbeError::Busy { leaf: Box::new(leaf), retry_after }),
            Ok(life) => Ok(Sound { leaf, chain, trusted, life: Some(life) }),
            Err(reason) => Err(ProbeError::Sip { leaf: Box::new(leaf), reason }),
        }
    }
}

/// A target that is there, and is who it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// What its certificate says.
    pub leaf: Leaf,
    /// The certificates that it showed in DER, its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Why that is believed.
    pub trusted: Trusted,
    /// What it answered, if it was asked.
    pub life: Option<Life>,
}

/// What is wrong with a target, the first thing of all.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("no connection")]
    Connect(#[source] ConnectError),
    /// No TLS.
    #[error("no TLS")]
    Tls(#[source] TlsError),
    /// A certificate that cannot be read.
    #[error("no identity")]
    Certificate(#[source] UnreadableCertificate),
    /// A certificate that does not authenticate the domain.
    #[error("not authenticated")]
    Distrust {
        /// What it says.
        leaf: Box<Leaf>,
        /// What is wrong with it.
        #[source]
        reason: Distrust,
    },
    /// It is who it says it is, but does not answer.
    #[error("no answer to SIP OPTIONS")]
    Sip {
        /// What its certificate says.
        leaf: Box<Leaf>,
        /// What happened instead.
        #[source]
        reason: SipError,
    },
    /// It says itself that it cannot take calls now: callers go to the next target (RFC 3261 21.5.4, RFC 3263 4.3).
    #[error("the server answers 503: it cannot take calls now")]
    Busy {
        /// What its certificate says.
        leaf: Box<Leaf>,
        /// When to come back, in seconds, if it says so.
        retry_after: Option<u32>,
    },
    /// All steps together took too long.
    #[error("the probe did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The system gave no random numbers: ours, not the node's.
    #[error("the system gave no random numbers")]
    Random,
}

impl ProbeError {
    /// Whether the directory itself is at fault, so that nothing is said about the node.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Random | Self::Tls(TlsError::Settings(_)) => true,
            // A machine without a route, for example without IPv6, sees nobody there.
            Self::Connect(ConnectError::Io { source, .. }) => matches!(
                source.kind(),
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkDown
            ),
            Self::Connect(_)
            | Self::Tls(_)
            | Self::Certificate(_)
            | Self::Distrust { .. }
            | Self::Sip { .. }
            | Self::Busy { .. }
            | Self::Timeout(_) => false,
        }
    }

    /// What the server's certificate says, and whether it authenticates the domain; `None` when there was none to read.
    #[must_use]
    pub fn leaf(&self) -> Option<(&Leaf, bool)> {
        match self {
            Self::Distrust { leaf, .. } => Some((leaf, false)),
            Self::Sip { leaf, .. } | Self::Busy { leaf, .. } => Some((leaf, true)),
            Self::Connect(_) | Self::Tls(_) | Self::Certificate(_) | Self::Timeout(_) | Self::Random => None,
        }
    }

    /// A word for programs, and the rule that was broken.
    #[must_use]
    pub const fn code(&self) -> (&'static str, &'static str) {
        match self {
            Self::Connect(ConnectError::Refused(_)) => ("address-refused", "API-67"),
            Self::Connect(ConnectError::NoAddress) => ("no-address", "RFC 2782"),
            Self::Connect(ConnectError::Timeout(_) | ConnectError::Io { .. }) => ("no-connection", "RFC 3263 4.3"),
            Self::Tls(TlsError::NoHost) => ("no-host-name", "CERT-22"),
            Self::Tls(TlsError::Timeout | TlsError::Handshake(_)) => ("no-tls", "CERT-60"),
            Self::Certificate(_) => ("certificate-unreadable", "CERT-1"),
            Self::Distrust { reason: Distrust::Chain(_), .. } => ("certificate-untrusted", "CERT-1"),
            Self::Distrust { reason: Distrust::NoPinFits, .. } => ("key-not-published", "CERT-44"),
            Self::Distrust { reason: Distrust::NoIdentity, .. } => ("certificate-without-name", "CERT-6"),
            Self::Distrust { reason: Distrust::OtherName, .. } => ("certificate-other-name", "CERT-20"),
            Self::Sip { .. } => ("no-sip", "RFC 3261 11"),
            Self::Busy { .. } => ("busy", "RFC 3261 21.5.4"),
            Self::Timeout(_) => ("too-slow", "RFC 3263 4.3"),
            Self::Random | Self::Tls(TlsError::Settings(_)) => ("not-looked", "ours"),
        }
    }
}

#[cfg(test)]
mod tests;
