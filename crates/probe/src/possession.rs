//! Mutual TLS as proof that a client has the key of a domain's certificate (API-65, CERT-23, CERT-24).
//!
//! Public authorities issue certificates for servers only, and a usual client verifier refuses those. So the handshake
//! checks that the client has the key of whatever it shows, and [`Possession::identities`] then judges the chain as that
//! of the domain's server, which it is.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::judge::{Distrust, MAX_CHAIN, Trust};
use crate::name::Leaf;

/// Asks clients for a certificate and takes any, or none: a client without one is nobody in particular (CERT-23).
#[derive(Debug)]
pub struct AnyClientCertificate(Arc<CryptoProvider>);

impl AnyClientCertificate {
    /// For [`ServerConfig`](rustls::ServerConfig)'s builder.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Arc::new(aws_lc_rs::default_provider())))
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No list: a client shows what it has.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Who it is comes later, for the requests that need it; what nobody can read ends here.
        let bounded = rest.len() < MAX_CHAIN && Leaf::read(end).is_ok();
        if bounded { Ok(ClientCertVerified::assertion()) } else { Err(CertificateError::BadEncoding.into()) }
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

/// Says of which domains a client has the key.
#[derive(Debug, Clone)]
pub struct Possession(Trust);

impl Possession {
    /// With these authorities.
    #[must_use]
    pub const fn new(trust: Trust) -> Self {
        Self(trust)
    }

    /// What the chain of a client, leaf first, says at `now`, once a handshake has shown that it has the key.
    ///
    /// The leaf's identities are domains, one or several (CERT-24, CERT-30); each of them is proved.
    ///
    /// # Errors
    ///
    /// [`Distrust`]: the chain leads to none of our authorities, does not hold now, or names nobody.
    pub fn identities(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Leaf, Distrust> {
        let unreadable = || Distrust::Chain("it cannot be read".into());
        let (end, rest) = chain.split_first().ok_or_else(unreadable)?;
        let leaf = Leaf::read(end).map_err(|_| unreadable())?;
        // As a server's: that is what the certificate is for, and what public authorities issue.
        self.0.chain(self.0.roots(), end, &rest[..rest.len().min(MAX_CHAIN - 1)], now)?;
        if leaf.identities.is_empty() { Err(Distrust::NoIdentity) } else { Ok(leaf) }
    }
}

#[cfg(test)]
mod tests;
