//! Whether the other end is who it should be: of connections that we make ([`Connector::connect`]) and of those that come
//! in ([`Connector::verify`]).
//!
//! What proves a server, in this order, and the first that applies decides alone:
//!
//! 1. the keys in the member's signed document, if the domain is a member that pins keys (CERT-44, CERT-49, CERT-50);
//! 2. DANE, if DNSSEC proves the way to the target and it has usable TLSA records (CERT-40 to CERT-53);
//! 3. a chain to one of our authorities, and the domain as a SIP identity in the leaf (RFC 5922 7).
//!
//! Nothing falls through to a weaker one: a pin or a TLSA record that does not fit ends it.

mod connect;
mod dane;
mod examine;
mod inbound;

use std::sync::Arc;

pub use connect::{CONNECT_TIMEOUT, ConnectError, Connected, HANDSHAKE_TIMEOUT};
pub use examine::{Examination, Proof, Session, TlsaLook};
pub use inbound::{Inbound, InboundBy, NotVerified};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::locate::{Data, Dnssec, Kind, NextHop, Question, Reply, TlsaData};
use tandem_model::node::KeyPin;
use tandem_probe::{Distrust, Leaf, Role, Trust, Trusted};

use crate::members::MemberState;
use crate::resolver::Resolver;

/// Makes verified connections, and tells who made one to us. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector {
    resolver: Resolver,
    trust: Trust,
    provider: Arc<CryptoProvider>,
    identity: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
    accepts_target_name: bool,
}

impl Connector {
    /// Believes these authorities, in DER; the number of those that cannot be read comes back, too. The resolver gives
    /// TLSA records, the members, and takes reports.
    #[must_use]
    pub fn new<'c>(resolver: Resolver, authorities: impl IntoIterator<Item = CertificateDer<'c>>) -> (Self, usize) {
        let (trust, unreadable) = Trust::new(authorities);
        let provider = Arc::new(aws_lc_rs::default_provider());
        (Self { resolver, trust, provider, identity: None, accepts_target_name: false }, unreadable)
    }

    /// Shows this certificate, leaf first, to servers that ask for one (CERT-25).
    #[must_use]
    pub fn with_identity(mut self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        self.identity = Some(Arc::new((chain, key)));
        self
    }

    /// Accepts the SRV target as a name, too, where DNSSEC proves the way to it and it has no usable TLSA record: what
    /// RFC 7673 4.1 allows and RFC 5922 does not. Off by default (CERT-47).
    #[must_use]
    pub const fn accepting_target_names(mut self) -> Self {
        self.accepts_target_name = true;
        self
    }

    /// The resolver in use.
    #[must_use]
    pub const fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// What has to prove a hop (the table of RFC 7673 as the digest's section 3.1 has it).
    async fn way(&self, hop: &NextHop, domain: &DomainName) -> Result<Way, ConnectError> {
        if let Some(member) = self.resolver.members().get(domain) {
            if member.state == MemberState::Compromised {
                return Err(ConnectError::Compromised);
            }
            if !member.keys.is_empty() {
                return Ok(Way::Pins { domain: domain.clone(), keys: member.keys.clone() });
            }
        }
        let own_name = vec![domain.clone()];
        let Some(target) = hop.srv_target.as_ref().filter(|_| hop.dnssec.chain.is_secure()) else {
            return Ok(Way::Authorities { names: own_name }); // CERT-41, CERT-48
        };
        let without_records = || Way::Authorities {
            names: if self.accepts_target_name { vec![domain.clone(), target.clone()] } else { own_name },
        };
        // CERT-43: asked for only where the address is proved.
        if !hop.dnssec.address.is_secure() {
            return Ok(without_records());
        }
        let Some((base, reply, dnssec)) = self.tlsa(hop).await else { return Ok(without_records()) };
        match reply {
            Reply::Failed(failure) => Err(ConnectError::TlsaLookup(failure)),
            Reply::Records(answer) if dnssec.is_secure() => {
                let records = answer.records.into_iter().filter_map(|found| match found.data {
                    Data::Tlsa(tlsa) => Some(tlsa),
                    _ => None,
                });
                let records = dane::usable(records);
                if records.is_empty() {
                    return Ok(without_records());
                }
                let mut names = vec![domain.clone(), target.clone()];
                if base != target {
                    names.push(base.clone());
                }
                Ok(Way::Dane { records, names, base: base.clone() })
            }
            // CERT-58: what is not signed is as if it were not there.
            Reply::Records(_) | Reply::NoData { .. } | Reply::NxDomain { .. } => Ok(without_records()),
        }
    }

    /// A hop's TLSA records and the name of the host that they are about; `None` if there can be none.
    ///
    /// CERT-56: of a target that is an alias, and proved to be one, the last name decides if it has records; else the target's
    /// own name. If nobody can say whether the last name has any, neither may the other decide.
    async fn tlsa<'h>(&self, hop: &'h NextHop) -> Option<(&'h DomainName, Reply, Dnssec)> {
        let target = hop.srv_target.as_ref()?;
        let is_proved = hop.dnssec.chain.is_secure() && hop.dnssec.address.is_secure();
        if let Some(last) = hop.canonical.as_ref().filter(|_| is_proved)
            && let Some(question) = tlsa_question(last, hop)
        {
            let (reply, dnssec) = self.resolver.ask(&question).await;
            let decides = match &reply {
                Reply::Records(answer) => {
                    dnssec.is_secure() && answer.records.iter().any(|found| matches!(found.data, Data::Tlsa(_)))
                }
                Reply::Failed(_) => true,
                Reply::NoData { .. } | Reply::NxDomain { .. } => false,
            };
            if decides {
                return Some((last, reply, dnssec));
            }
        }
        let (reply, dnssec) = self.resolver.ask(&tlsa_question(target, hop)?).await;
        Some((target, reply, dnssec))
    }
}

/// Where a host's TLSA records are (CERT-40); `None` if no such name can be.
fn tlsa_question(host: &DomainName, hop: &NextHop) -> Option<Question> {
    let port = format!("_{}", hop.address.port());
    let name = host.prefixed(&[&port, "_tcp"]).ok()?;
    Some(Question { name, kind: Kind::Tlsa })
}

/// What has to prove a server.
#[derive(Debug)]
enum Way {
    /// One of the keys in the member's document.
    Pins { domain: DomainName, keys: Vec<KeyPin> },
    /// One of these TLSA records, which are `base`'s; with an authority's, one of the names as well (CERT-47).
    Dane { records: Vec<TlsaData>, names: Vec<DomainName>, base: DomainName },
    /// One of our authorities, and one of the names.
    Authorities { names: Vec<DomainName> },
}

impl Way {
    /// What the server is asked for by (SNI).
    const fn server_name<'n>(&'n self, domain: &'n DomainName) -> &'n DomainName {
        match self {
            // CERT-46: with DANE by the name that its records are at.
            Self::Dane { base, .. } => base,
            Self::Pins { .. } | Self::Authorities { .. } => domain, // CERT-22
        }
    }

    fn judge(&self, chain: &[CertificateDer<'_>], trust: &Trust, now: UnixTime) -> Result<VerifiedBy, Untrusted> {
        match self {
            Self::Pins { domain, keys } => {
                let judgement = trust.judge(chain, domain, keys, now).map_err(|_| Untrusted::Unreadable)?;
                match judgement.verdict.map_err(Untrusted::Certificate)? {
                    Trusted::NodeKey => Ok(VerifiedBy::PinnedKey),
                    Trusted::PinnedAuthority => Ok(VerifiedBy::PinnedAuthority),
                    Trusted::Authority => Ok(VerifiedBy::Authority),
                }
            }
            Self::Dane { records, names, .. } => dane::judge(records, chain, names, trust, now),
            Self::Authorities { names } => {
                trust.leads_to(chain, None, Role::Server, now).map_err(Untrusted::Certificate)?;
                let end = chain.first().ok_or(Untrusted::Unreadable)?;
                named(&Leaf::read(end).map_err(|_| Untrusted::Unreadable)?, names)?;
                Ok(VerifiedBy::Authority)
            }
        }
    }
}

/// CERT-20: one of the names is among the leaf's identities.
fn named(leaf: &Leaf, names: &[DomainName]) -> Result<(), Untrusted> {
    match leaf.identities.is_empty() {
        _ if names.iter().any(|name| leaf.names(name)) => Ok(()),
        true => Err(Untrusted::Certificate(Distrust::NoIdentity)),
        false => Err(Untrusted::Certificate(Distrust::OtherName)),
    }
}

/// What proved a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedBy {
    /// Its own key, from the member's signed document.
    PinnedKey,
    /// A chain to an authority whose key is in the member's document, and the name.
    PinnedAuthority,
    /// Its own key, from a TLSA record that DNSSEC proves (usage 3).
    DaneKey,
    /// A chain to an authority from such a record (usage 2), and the name.
    DaneAuthority,
    /// A chain to one of our authorities, and the name.
    Authority,
}

/// Why a server is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// There is no certificate, or one that cannot be read.
    #[error("its certificate cannot be read")]
    Unreadable,
    /// It has TLSA records, and none fits: its certificate or its records are not its operator's (CERT-44).
    #[error("none of its TLSA records fits its certificate")]
    NoTlsaFits,
    /// The chain, its dates, its usage, or the name.
    #[error("its certificate is not trusted")]
    Certificate(#[source] Distrust),
}
