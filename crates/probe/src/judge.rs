//! Whether a certificate chain authenticates a SIP domain: chain, dates, usage, then the name (RFC 5922 7; CERT-1 ff.).

use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::node::{KeyHolder, KeyPin};

use crate::name::{Leaf, UnreadableCertificate, spki_digest};

/// Most certificates of a chain that are looked at.
pub const MAX_CHAIN: usize = 10;

/// Whom to believe.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Authorities in DER: those of the web, or a federation's own. Those that cannot be read are left out; their number
    /// comes back too, so that somebody can be told.
    #[must_use]
    pub fn new<'c>(authorities: impl IntoIterator<Item = CertificateDer<'c>>) -> (Self, usize) {
        let mut roots = RootCertStore::empty();
        let (_, unreadable) = roots.add_parsable_certificates(authorities);
        (Self::with_roots(roots), unreadable)
    }

    fn with_roots(roots: RootCertStore) -> Self {
        Self { roots: Arc::new(roots), provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// Whether the chain, leaf first, leads to one of `anchors` (`None`: to one of our authorities), holds at `now`, and may
    /// be used in that role (CERT-1). Names are not looked at: [`Leaf::names`] does that.
    ///
    /// # Errors
    ///
    /// [`Distrust::Chain`] says what is wrong with it.
    pub fn leads_to(
        &self,
        chain: &[CertificateDer<'_>],
        anchors: Option<&[CertificateDer<'_>]>,
        role: Role,
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let (end, rest) = chain.split_first().ok_or_else(|| Distrust::Chain("no certificate".into()))?;
        let rest = &rest[..rest.len().min(MAX_CHAIN - 1)];
        let roots = anchors.map_or_else(
            || Arc::clone(&self.roots),
            |anchors| {
                let mut roots = RootCertStore::empty();
                for anchor in anchors {
                    // One that cannot be an anchor signs nothing; the chain then fails below.
                    let _ = roots.add(anchor.clone().into_owned());
                }
                Arc::new(roots)
            },
        );
        let as_server = self.chain(&roots, end, rest, now);
        match role {
            Role::Either if as_server.is_err() && !roots.is_empty() => {
                let untrusted = |error: Box<str>| Distrust::Chain(error);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                    .build()
                    .map_err(|error| untrusted(error.to_string().into()))?;
                verifier.verify_client_cert(end, rest, now).map_err(|error| untrusted(in_words(&error)))?;
                Ok(())
            }
            Role::Server | Role::Either => as_server,
        }
    }

    pub(crate) const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Judges the chain that a server of `domain` showed, leaf first, at `now`.
    ///
    /// With `keys`, which the node published itself, one of them must fit, as with TLSA records from a secure zone: a
    /// node's own key makes names, dates and chain irrelevant (CERT-49), an authority's must have signed the chain, and
    /// names and dates count (CERT-50). If none fits, web trust does not help (CERT-44). Without `keys` the chain must
    /// lead to one of our authorities.
    ///
    /// # Errors
    ///
    /// [`UnreadableCertificate`]: there is no leaf that can be read.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        domain: &DomainName,
        keys: &[KeyPin],
        now: UnixTime,
    ) -> Result<Judgement, UnreadableCertificate> {
        let (end, rest) = chain.split_first().ok_or(UnreadableCertificate)?;
        let leaf = Leaf::read(end)?;
        let verdict = self.verdict(&leaf, end, &rest[..rest.len().min(MAX_CHAIN - 1)], domain, keys, now);
        Ok(Judgement { leaf, verdict })
    }

    fn verdict(
        &self,
        leaf: &Leaf,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        domain: &DomainName,
        keys: &[KeyPin],
        now: UnixTime,
    ) -> Result<Trusted, Distrust> {
        let names_fit = || match leaf.identities.is_empty() {
            _ if leaf.names(domain) => Ok(()),
            true => Err(Distrust::NoIdentity),
            false => Err(Distrust::OtherName),
        };
        if keys.is_empty() {
            self.chain(&self.roots, end, rest, now)?;
            return names_fit().map(|()| Trusted::Authority);
        }
        let has_pin = |holder, sha256| keys.contains(&KeyPin { holder, sha256 });
        if has_pin(KeyHolder::Node, leaf.spki_sha256) {
            return Ok(Trusted::NodeKey);
        }
        let mut pinned = RootCertStore::empty();
        for certificate in rest {
            if spki_digest(certificate).is_ok_and(|sha256| has_pin(KeyHolder::Authority, sha256)) {
                // One that cannot be an anchor signs nothing; the chain then fails below.
                let _ = pinned.add(certificate.clone().into_owned());
            }
        }
        if pinned.is_empty() {
            return Err(Distrust::NoPinFits);
        }
        self.chain(&pinned, end, rest, now)?;
        names_fit().map(|()| Trusted::PinnedAuthority)
    }

    /// Whether the leaf is signed by one of `roots`, holds now, and may be a server's (CERT-1).
    pub(crate) fn chain(
        &self,
        roots: &RootCertStore,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let untrusted = |error: rustls::Error| Distrust::Chain(in_words(&error));
        let end = ParsedCertificate::try_from(end).map_err(untrusted)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&end, roots, rest, now, algorithms).map_err(untrusted)
    }

    pub(crate) fn roots(&self) -> &RootCertStore {
        &self.roots
    }
}

/// How the library says that a server shows a certificate with `CA:TRUE`.
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// What is wrong with a chain, for people who do not know the library's words.
fn in_words(error: &rustls::Error) -> Box<str> {
    let rustls::Error::InvalidCertificate(fault) = error else { return error.to_string().into() };
    match fault {
        CertificateError::UnknownIssuer => "nobody who is trusted here signed it".into(),
        CertificateError::BadSignature => "a signature in it is wrong".into(),
        CertificateError::BadEncoding => "it cannot be read".into(),
        // What `openssl req -x509` makes unless it is told otherwise; the library has no variant for it.
        CertificateError::Other(fault) if fault.to_string() == CA_AS_SERVER => {
            "it is an authority's (CA:TRUE), not a server's".into()
        }
        fault => fault.to_string().into(),
    }
}

/// What a certificate is shown as; its extended key usage has to allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server's.
    Server,
    /// A server's or a client's: of a peer that calls us. Public authorities do not give out clients' any more (CERT-31).
    Either,
}

/// What a leaf says, and whether that is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What it says: shown to the node in any case, so that it can see what is wrong.
    pub leaf: Leaf,
    /// Whether it authenticates the domain, and by what.
    pub verdict: Result<Trusted, Distrust>,
}

/// What authenticates a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trusted {
    /// A chain to one of our authorities, and the name.
    Authority,
    /// The node's own key, published by the node.
    NodeKey,
    /// A chain to an authority whose key the node published, and the name.
    PinnedAuthority,
}

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The chain, the dates or the usage.
    #[error("the certificate chain is not trusted: {0}")]
    Chain(Box<str>),
    /// None of the keys that the node published is in the chain.
    #[error("none of the keys that the node published is in the certificate chain")]
    NoPinFits,
    /// The certificate has no SIP identity at all (CERT-6).
    #[error("the certificate has no SIP identity: no subjectAltName that counts (RFC 5922 7.1)")]
    NoIdentity,
    /// It has identities, but not this one (CERT-20).
    #[error("the certificate names other domains, not this one (RFC 5922 7.2)")]
    OtherName,
}

#[cfg(test)]
mod tests;
