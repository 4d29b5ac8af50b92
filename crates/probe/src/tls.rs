//! A TLS connection to a node, with the chain that its server showed.
//!
//! The handshake accepts any certificate whose key signs it, and [`Trust::judge`](crate::Trust::judge) says afterwards
//! what it is worth: so a node can be told which names its certificate has, and not only that they are wrong.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tandem_model::DomainName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest wait for one TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS 1.3 or 1.2 over `stream`, with SNI = `domain` (CERT-22, CERT-60, CERT-61), without ALPN (CERT-64), an old session
/// (CERT-66) or early data (CERT-67), and with suites of ECDHE and AEAD alone (CERT-62, CERT-63). The chain comes back, leaf
/// first, and is not judged: nothing may be sent before it is. Takes at most [`HANDSHAKE_TIMEOUT`].
///
/// # Errors
///
/// [`TlsError`] says what failed.
pub async fn handshake(
    stream: TcpStream,
    domain: &DomainName,
    provider: &Arc<CryptoProvider>,
) -> Result<(TlsStream<TcpStream>, Vec<CertificateDer<'static>>), TlsError> {
    let verifier = Arc::new(AnyCertificate(Arc::clone(provider)));
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Settings)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    connect(stream, domain, config).await
}

/// The handshake of `config` with SNI = `domain`.
pub(crate) async fn connect(
    stream: TcpStream,
    domain: &DomainName,
    config: ClientConfig,
) -> Result<(TlsStream<TcpStream>, Vec<CertificateDer<'static>>), TlsError> {
    let name = ServerName::try_from(domain.to_string()).map_err(|_| TlsError::NoHost)?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = timeout(HANDSHAKE_TIMEOUT, connecting).await.map_err(|_| TlsError::Timeout)?;
    let stream = stream.map_err(TlsError::Handshake)?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok((stream, chain))
}

/// Accepts every certificate, but only from who has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Judged after the handshake, before anything is sent.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The domain cannot be a server's name.
    #[error("the domain cannot be a server name in TLS (it has a label with '_')")]
    NoHost,
    /// The handshake did not end in time.
    #[error("the TLS handshake did not end within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The handshake failed; the source says at which side.
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    /// The library refuses our settings.
    #[error("TLS cannot be set up here")]
    Settings(#[source] rustls::Error),
}
