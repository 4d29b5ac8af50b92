//! Connections to next hops, and who stands at their other end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tandem_model::locate::{Failure, NextHop, Service};
use tandem_probe::Trust;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::{Connector, Untrusted, VerifiedBy, Way};
use crate::resolution::Resolution;
use crate::targets::Report;

/// Longest wait for one TCP connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for one TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose other end is the domain that was called.
#[derive(Debug)]
pub struct Connected {
    /// Ready for SIP. Nothing was sent but the handshake.
    pub stream: TlsStream<TcpStream>,
    /// The next hop that it leads to: report to the resolver what it answers.
    pub hop: NextHop,
    /// What proved it.
    pub by: VerifiedBy,
}

impl Connector {
    /// Connects to the first next hop that takes it and proves who it is; what fails is reported to the resolver, and the
    /// next one is tried (LOC-81). Nothing weaker is ever tried (LOC-85).
    ///
    /// # Errors
    ///
    /// [`ConnectError::NotLocated`] without next hops; otherwise the last hop's error.
    pub async fn connect(&self, resolution: &Resolution) -> Result<Connected, ConnectError> {
        let mut last = ConnectError::NotLocated;
        for hop in resolution.next_hops() {
            match self.connect_hop(hop).await {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    debug!(address = %hop.address, error = &error as &dyn std::error::Error, "next hop failed");
                    if let Some(report) = error.report() {
                        self.resolver.report(hop, report);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Connects to one next hop, by a connection of its own: one that is open proved another call's domain (CERT-37). Reports
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what failed. The connection is closed (CERT-20).
    pub async fn connect_hop(&self, hop: &NextHop) -> Result<Connected, ConnectError> {
        let (Service::Tls, Some(domain)) = (hop.service, &hop.tls_name) else { return Err(ConnectError::NotTls) };
        let way = self.way(hop, domain).await?;
        let name = ServerName::try_from(way.server_name(domain).to_string()).map_err(|_| ConnectError::NotTls)?;
        let verdict = Arc::new(OnceLock::new());
        let config = self.config(HopVerifier {
            way,
            trust: self.trust.clone(),
            provider: Arc::clone(&self.provider),
            verdict: Arc::clone(&verdict),
        })?;
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(hop.address)).await;
        let tcp = tcp.map_err(|_| ConnectError::Timeout)?.map_err(ConnectError::Tcp)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let result = timeout(HANDSHAKE_TIMEOUT, connecting).await.map_err(|_| ConnectError::Timeout)?;
        match (result, verdict.get()) {
            (Ok(stream), Some(Ok(by))) => Ok(Connected { stream, hop: hop.clone(), by: *by }),
            (_, Some(Err(untrusted))) => Err(ConnectError::Untrusted(untrusted.clone())),
            (Err(error), _) => Err(ConnectError::Tls(error)),
            // A handshake without a look at the certificate: there is none that we allow.
            (Ok(_), None) => Err(ConnectError::Untrusted(Untrusted::Unreadable)),
        }
    }

    /// TLS 1.3 or 1.2 (CERT-60, CERT-61) with the library's suites, which are ECDHE with AEAD alone (CERT-62, CERT-63), SNI and
    /// no ALPN (CERT-64). Without resumption, because a resumed session shows no certificate (CERT-66); without early data
    /// (CERT-67). Renegotiation is refused by the library (CERT-65).
    fn config(&self, verifier: HopVerifier) -> Result<ClientConfig, ConnectError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(ConnectError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.identity.as_deref() {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(ConnectError::Settings)?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Judges inside the handshake: a stranger is told so by an alert, and sees no certificate of ours.
#[derive(Debug)]
struct HopVerifier {
    way: Way,
    trust: Trust,
    provider: Arc<CryptoProvider>,
    verdict: Arc<OnceLock<Result<VerifiedBy, Untrusted>>>,
}

impl ServerCertVerifier for HopVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end).chain(rest).cloned().collect();
        match self.verdict.get_or_init(|| self.way.judge(&chain, &self.trust, now)) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why there is no connection to a next hop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no next hop: the resolution says why.
    #[error("there is no next hop to connect to")]
    NotLocated,
    /// The hop is not SIP over TLS over TCP with a name to verify: this library connects to no other.
    #[error("the next hop is not SIP over TLS with a name to verify")]
    NotTls,
    /// The domain is compromised, says the directory: do not call.
    #[error("the directory says that this domain is compromised")]
    Compromised,
    /// The TLSA look-up failed: nobody can say whether DANE applies, so the hop is left out (CERT-T23).
    #[error("the TLSA lookup failed, so the server cannot be verified now")]
    TlsaLookup(#[source] Failure),
    /// Nobody answered in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// No TCP connection.
    #[error("no TCP connection")]
    Tcp(#[source] std::io::Error),
    /// The handshake failed for another reason than the server's certificate; the source says at which side.
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    /// The server is not who was called.
    #[error("the server did not prove that it is the domain that was called")]
    Untrusted(#[source] Untrusted),
    /// TLS cannot be set up with our own settings.
    #[error("TLS cannot be set up here")]
    Settings(#[source] rustls::Error),
}

impl ConnectError {
    /// What it means for the server's standing; `None` if the server had no part in it.
    #[must_use]
    pub const fn report(&self) -> Option<Report> {
        match self {
            Self::Timeout | Self::Tcp(_) => Some(Report::Unreachable),
            Self::Tls(_) | Self::Untrusted(_) => Some(Report::Untrusted),
            Self::NotLocated | Self::NotTls | Self::Compromised | Self::TlsaLookup(_) | Self::Settings(_) => None,
        }
    }
}
