//! One look at one target of a node: connection, TLS, identity, SIP OPTIONS.

use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tandem_model::DomainName;
use tandem_model::node::KeyPin;
use tokio::time::timeout;

use crate::connect::{ConnectError, SafeConnector};
use crate::judge::{Distrust, Judgement, Trust, Trusted};
use crate::name::{Leaf, UnreadableCertificate};
use crate::sip::{self, Life, Options, RequestIds, SipError};
use crate::tls::{self, TlsError};

/// Longest time of one probe, all its steps together.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// Looks at targets, with one connector and one set of authorities.
#[derive(Debug, Clone)]
pub struct Prober {
    connector: SafeConnector,
    trust: Trust,
    from: DomainName,
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
}

impl Prober {
    /// A prober that calls itself `from` in SIP.
    #[must_use]
    pub const fn new(connector: SafeConnector, trust: Trust, from: DomainName) -> Self {
        Self { connector, trust, from }
    }

    /// Looks at `target` at the time `now`. Takes at most [`PROBE_TIMEOUT`], one connection, and a few hundred octets.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] says what a caller of this domain would run into first, with what the certificate said as far as
    /// it was seen.
    pub async fn probe(&self, target: ProbeTarget<'_>, now: UnixTime) -> Result<Sound, ProbeError> {
        timeout(PROBE_TIMEOUT, self.steps(target, now)).await.unwrap_or(Err(ProbeError::Timeout))
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
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|_| ProbeError::Random)?;
        let ids = RequestIds::new(random);
        let options = Options { domain: target.domain, from: &self.from, ids: &ids };
        match sip::ask(&mut stream, options).await {
            Ok(life) => Ok(Sound { leaf, trusted, life }),
            Err(reason) => Err(ProbeError::Sip { leaf: Box::new(leaf), reason }),
        }
    }
}

/// A target that is there, and is who it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// What its certificate says.
    pub leaf: Leaf,
    /// Why that is believed.
    pub trusted: Trusted,
    /// What it answered.
    pub life: Life,
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
    /// All steps together took too long.
    #[error("the probe did not end within {} s", PROBE_TIMEOUT.as_secs())]
    Timeout,
    /// The system gave no random numbers: ours, not the node's.
    #[error("the system gave no random numbers")]
    Random,
}

impl ProbeError {
    /// Whether the directory itself is at fault, so that nothing is said about the node.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Random | Self::Tls(TlsError::Settings(_)))
    }
}

#[cfg(test)]
mod tests;
