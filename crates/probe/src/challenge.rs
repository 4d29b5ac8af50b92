//! Proof of a domain at its own SIPS target: a TLS server that shows a certificate made for this challenge (API-64).
//!
//! RFC 8737 with names of our own: ALPN `sip-federation/1`, and the port of the published target, 5061 as a rule. Who can
//! answer there for the domain has what calls to the domain arrive at. The directory is [`TlsChallenger`], the domain's
//! side is [`Responder`].

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::{DigitallySignedStruct, PeerIncompatible, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tandem_identity::KeyAuthorization;
use tandem_model::DomainName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::GeneralName;

use crate::connect::{ConnectError, SafeConnector};
use crate::name::{alternative_names, parse};
use crate::suffix::is_public_suffix;
use crate::tls::{self, HANDSHAKE_TIMEOUT, TlsError};

/// The protocol that both sides name in the handshake (API-64): no other server answers to it by mistake.
pub const PROTOCOL: &[u8] = b"sip-federation/1";
/// id-pe-acmeIdentifier (RFC 8737 6.1).
const EXTENSION: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 31];
/// Most connections that a responder serves at once; more wait.
const MAX_PARALLEL: usize = 8;

/// Checks challenges.
#[derive(Debug, Clone)]
pub struct TlsChallenger {
    connector: SafeConnector,
    provider: Arc<CryptoProvider>,
}

impl TlsChallenger {
    /// Connects with `connector`.
    #[must_use]
    pub fn new(connector: SafeConnector) -> Self {
        Self { connector, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// Checks that `domain`'s server at one of `addresses`, those of a target that it publishes, shows `authorization`.
    ///
    /// The connection ends after the handshake; nothing is sent, and nothing of what the server says is passed on.
    ///
    /// # Errors
    ///
    /// [`ChallengeError`].
    pub async fn prove(
        &self,
        domain: &DomainName,
        addresses: &[SocketAddr],
        authorization: &KeyAuthorization,
    ) -> Result<(), ChallengeError> {
        // API-69.
        if is_public_suffix(domain) {
            return Err(ChallengeError::PublicSuffix);
        }
        let stream = self.connector.tcp_first(addresses).await.map_err(ChallengeError::Connect)?;
        let settings = |error| ChallengeError::Tls(TlsError::Settings(error));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(settings)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(KeyHolder(Arc::clone(&self.provider))))
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        let (mut stream, chain) = tls::connect(stream, domain, config).await.map_err(ChallengeError::Tls)?;
        if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
            return Err(ChallengeError::Protocol);
        }
        let leaf = chain.first().ok_or(ChallengeError::Certificate)?;
        check(leaf, domain, &authorization.digest())?;
        // RFC 8737 3: the handshake is all. Whether the peer hears our farewell does not matter.
        let _ = timeout(HANDSHAKE_TIMEOUT, stream.shutdown()).await;
        Ok(())
    }
}

/// RFC 8737 3: one dNSName, equal to the domain, nothing beside it, and the digest in a critical extension.
fn check(leaf: &CertificateDer<'_>, domain: &DomainName, digest: &[u8; 32]) -> Result<(), ChallengeError> {
    let certificate = parse(leaf).map_err(|_| ChallengeError::Certificate)?;
    let names = alternative_names(&certificate).map_err(|_| ChallengeError::Certificate)?;
    match names {
        [GeneralName::DNSName(name)] if name.eq_ignore_ascii_case(&domain.to_string()) => {}
        _ => return Err(ChallengeError::Names),
    }
    let oid = Oid::from(EXTENSION).map_err(|_| ChallengeError::Certificate)?;
    let mut extensions = certificate.extensions().iter().filter(|extension| extension.oid == oid);
    let (Some(extension), None) = (extensions.next(), extensions.next()) else { return Err(ChallengeError::Extension) };
    if !extension.critical {
        return Err(ChallengeError::Extension);
    }
    // Authorization ::= OCTET STRING (SIZE (32)): in DER there is one way to write it.
    match extension.value {
        [0x04, 0x20, value @ ..] if value == digest => Ok(()),
        [0x04, 0x20, value @ ..] if value.len() == 32 => Err(ChallengeError::Digest),
        _ => Err(ChallengeError::Extension),
    }
}

/// Accepts any certificate from who has its key. It reads the key itself: the usual way refuses a certificate with a
/// critical extension that it does not know, which this one must have.
#[derive(Debug)]
struct KeyHolder(Arc<CryptoProvider>);

impl ServerCertVerifier for KeyHolder {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The certificate is looked at after the handshake; no authority has signed it (RFC 8737 3).
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let parsed = parse(certificate).map_err(|_| rustls::CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a challenge was not met.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// Nobody can own this name.
    #[error("the domain is a public suffix: nobody can prove it")]
    PublicSuffix,
    /// No connection to the target.
    #[error("no connection")]
    Connect(#[source] ConnectError),
    /// No TLS 1.3.
    #[error("no TLS")]
    Tls(#[source] TlsError),
    /// The server speaks, but not for this challenge.
    #[error("the server did not choose the protocol \"sip-federation/1\" (ALPN): its usual service answers there")]
    Protocol,
    /// The certificate cannot be read.
    #[error("the server's certificate cannot be read")]
    Certificate,
    /// Other names, or more.
    #[error("the certificate must have the domain as its one alternative name (RFC 8737 3)")]
    Names,
    /// No extension, not critical, or not in its form.
    #[error("the certificate has no critical extension 1.3.6.1.5.5.7.1.31 with 32 octets (RFC 8737 3)")]
    Extension,
    /// Another challenge's digest.
    #[error("the certificate answers another challenge: the digest differs")]
    Digest,
}

/// Answers a challenge at one address, until it is dropped.
#[derive(Debug)]
pub struct Responder {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Responder {
    /// Listens at `address`, the published target's, and shows that the holder of `authorization` is there for `domain`.
    ///
    /// # Errors
    ///
    /// [`ResponderError`]: nothing listens.
    pub async fn start(
        address: SocketAddr,
        domain: &DomainName,
        authorization: &KeyAuthorization,
    ) -> Result<Self, ResponderError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(domain, authorization)?));
        let bound = |source| ResponderError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        Ok(Self { address, task: tokio::spawn(answer(listener, acceptor)) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(listener: TcpListener, acceptor: TlsAcceptor) {
    let mut serving = tokio::task::JoinSet::new();
    loop {
        if serving.len() >= MAX_PARALLEL {
            serving.join_next().await;
        }
        // A connection that broke before it was taken, or no file descriptor for a moment: the next one may work.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let acceptor = acceptor.clone();
        serving.spawn(async move {
            let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            debug!(met = matches!(handshake, Ok(Ok(_))), "challenge asked");
            if let Ok(Ok(mut stream)) = handshake {
                let _ = timeout(HANDSHAKE_TIMEOUT, stream.shutdown()).await;
            }
        });
        while serving.try_join_next().is_some() {}
    }
}

fn server_config(domain: &DomainName, authorization: &KeyAuthorization) -> Result<ServerConfig, ResponderError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(Ia5String::try_from(domain.to_string())?)];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&authorization.digest())];
    let (certificate, key) = certificate(&params)?;
    config(certificate, key).map_err(ResponderError::Tls)
}

fn certificate(
    params: &CertificateParams,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), ResponderError> {
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    Ok((certificate, PrivateKeyDer::Pkcs8(key.serialize_der().into())))
}

fn config(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(key)?;
    // Not `with_single_cert`: it refuses a certificate with an extension that it does not know.
    let certified = Arc::new(rustls::sign::CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// Why a challenge is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ResponderError {
    /// The address cannot be listened at: usually the SIP server is there. Stop it for the moment of the proof.
    #[error("cannot listen at {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The certificate cannot be made.
    #[error("the certificate for the challenge cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up here")]
    Tls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests;
