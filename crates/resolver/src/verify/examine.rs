//! A close look at one next hop, for people: all that a connection shows, also of a server that is not to be trusted.

use std::time::{Duration, Instant};

use rustls_pki_types::{CertificateDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::locate::{Data, Dnssec, Failure, NextHop, Reply, Service, TlsaData};
use tandem_probe::sip::{self, Life, SipError};
use tandem_probe::{TlsError, handshake};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::connect::{CONNECT_TIMEOUT, ConnectError};
use super::{Connector, Untrusted, VerifiedBy, Way, dane};

/// Most TLSA records that are kept.
const MAX_TLSA: usize = 32;

/// What was seen of one next hop, step by step; what was not reached is `None`.
#[derive(Debug)]
pub struct Examination {
    /// What has to prove the server; `None`: it cannot be told.
    pub proof: Option<Proof>,
    /// What the server was asked for by (SNI).
    pub server_name: Option<DomainName>,
    /// The target's TLSA records; `None` if no SRV record led here.
    pub tlsa: Option<TlsaLook>,
    /// How long TCP took.
    pub connected: Option<Duration>,
    /// The TLS session.
    pub session: Option<Session>,
    /// Who it is, or the first thing that failed.
    pub verdict: Result<VerifiedBy, ConnectError>,
    /// What it answers to SIP OPTIONS; asked only who has proved who he is (CERT-20).
    pub options: Option<Result<Life, SipError>>,
}

/// What has to prove a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// One of the keys in the member's signed document.
    Pins,
    /// One of its TLSA records, which DNSSEC proves; with an authority's, one of these names as well (CERT-47, CERT-49).
    Dane(Vec<DomainName>),
    /// One of our authorities, and one of these names in the certificate (CERT-20).
    Authorities(Vec<DomainName>),
}

/// TLSA records of a target.
#[derive(Debug, Clone)]
pub struct TlsaLook {
    /// Whose records they are: the SRV target, or the name that it is an alias of (CERT-56).
    pub host: DomainName,
    /// Each record, whether it is one that can be used (CERT-45), and whether it fits what the server showed. At most 32.
    pub records: Vec<(TlsaData, bool, bool)>,
    /// What a trusted validator says of them: without "secure" they count for nothing (CERT-43).
    pub dnssec: Dnssec,
    /// The look-up failed.
    pub failure: Option<Failure>,
}

/// A TLS session, as far as it concerns people.
#[derive(Debug, Clone)]
pub struct Session {
    /// How long the handshake took.
    pub took: Duration,
    /// `TLS 1.3`.
    pub version: &'static str,
    /// The cipher suite's name.
    pub suite: Box<str>,
    /// What the server showed, leaf first; nothing of it is checked.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Connector {
    /// Looks at one next hop until `until` at most, with one connection. As `from` it asks who has proved himself for SIP
    /// OPTIONS; `None`: it does not ask. Reports nothing to the resolver.
    pub async fn examine(&self, hop: &NextHop, from: Option<&DomainName>, until: Instant) -> Examination {
        let mut seen = Examination {
            proof: None,
            server_name: None,
            tlsa: None,
            connected: None,
            session: None,
            verdict: Err(ConnectError::NotTls),
            options: None,
        };
        seen.verdict = match timeout_at(until.into(), self.look_up(hop, &mut seen)).await {
            Ok(Ok(way)) => self.look_at(hop, &way, from, until, &mut seen).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ConnectError::Timeout),
        };
        seen
    }

    /// What DNS says beyond the way there.
    async fn look_up(&self, hop: &NextHop, seen: &mut Examination) -> Result<Way, ConnectError> {
        let (Service::Tls, Some(domain)) = (hop.service, &hop.tls_name) else { return Err(ConnectError::NotTls) };
        if let Some((base, reply, dnssec)) = self.tlsa(hop).await {
            let mut look = TlsaLook { host: base.clone(), records: Vec::new(), dnssec, failure: None };
            match reply {
                Reply::Records(answer) => {
                    let records = answer.records.into_iter().filter_map(|found| match found.data {
                        Data::Tlsa(record) => Some((dane::is_usable(&record), record)),
                        _ => None,
                    });
                    look.records = records.take(MAX_TLSA).map(|(usable, record)| (record, usable, false)).collect();
                }
                Reply::Failed(failure) => look.failure = Some(failure),
                Reply::NoData { .. } | Reply::NxDomain { .. } => {}
            }
            seen.tlsa = Some(look);
        }
        let way = self.way(hop, domain).await?;
        seen.server_name = Some(way.server_name(domain).clone());
        seen.proof = Some(match &way {
            Way::Pins { .. } => Proof::Pins,
            Way::Dane { names, .. } => Proof::Dane(names.clone()),
            Way::Authorities { names } => Proof::Authorities(names.clone()),
        });
        Ok(way)
    }

    async fn look_at(
        &self,
        hop: &NextHop,
        way: &Way,
        from: Option<&DomainName>,
        until: Instant,
        seen: &mut Examination,
    ) -> Result<VerifiedBy, ConnectError> {
        let Some(domain) = &hop.tls_name else { return Err(ConnectError::NotTls) };
        let since = Instant::now();
        let connecting = timeout_at(until.min(since + CONNECT_TIMEOUT).into(), TcpStream::connect(hop.address)).await;
        let stream = connecting.map_err(|_| ConnectError::Timeout)?.map_err(ConnectError::Tcp)?;
        seen.connected = Some(since.elapsed());
        let since = Instant::now();
        // The handshake takes any certificate, so that it can be shown; it is judged before anything is said.
        let shaking = handshake(stream, way.server_name(domain), &self.provider);
        let shaken = timeout_at(until.into(), shaking).await.unwrap_or(Err(TlsError::Timeout));
        let (mut stream, chain) = shaken.map_err(|error| match error {
            TlsError::NoHost => ConnectError::NotTls,
            TlsError::Timeout => ConnectError::Timeout,
            TlsError::Handshake(error) => ConnectError::Tls(error),
            TlsError::Settings(error) => ConnectError::Settings(error),
        })?;
        let connection = stream.get_ref().1;
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let suite = suite.unwrap_or_default().into();
        for (record, _, fits) in seen.tlsa.iter_mut().flat_map(|look| &mut look.records) {
            *fits = dane::fits_chain(record, &chain);
        }
        let verdict =
            if chain.is_empty() { Err(Untrusted::Unreadable) } else { way.judge(&chain, &self.trust, UnixTime::now()) };
        seen.session = Some(Session { took: since.elapsed(), version, suite, chain });
        let by = verdict.map_err(ConnectError::Untrusted)?; // CERT-20: nothing is said to a stranger.
        if let Some(from) = from {
            let left = until.saturating_duration_since(Instant::now());
            let asking = sip::ask_options(&mut stream, domain, from);
            seen.options = Some(timeout(left, asking).await.unwrap_or(Err(SipError::Timeout)));
        }
        Ok(by)
    }
}
