//! Who calls: which member a connection comes from, by the key it showed or the network it is in.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_probe::{Leaf, Role, spki_digest};

use super::Connector;
use crate::members::{Member, MemberState, Members};

/// Most identities of one certificate that are compared.
const MAX_IDENTITIES: usize = 64;

/// The member that a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Who it is.
    pub member: Arc<Member>,
    /// What proved it.
    pub by: InboundBy,
    /// Whether it is the domain that the caller asserts; `true` if none was asked about. When it is not, policy decides:
    /// a From may differ for good reasons (CERT-25).
    pub asserts_itself: bool,
}

/// What proved who calls, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundBy {
    /// The member's own key, from its signed document.
    Key,
    /// A chain to an authority whose key is in the member's document, and the name.
    PinnedAuthority,
    /// A chain to one of our authorities, and the name; the member pins no key.
    Authority,
    /// Nothing but the network it comes from, as the member's document has it: no certificate, or one that says nothing.
    Network,
}

/// Why a connection is not known to come from a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotVerified {
    /// It proves to be a member that is in wrong hands.
    #[error("it is {0}, which the directory says is compromised")]
    Compromised(DomainName),
    /// Neither key, name nor network is a member's.
    #[error("neither its certificate nor its network is a member's")]
    Unknown,
}

impl Connector {
    /// Which member is at the other end of a connection that came in: `chain` is what it showed in the handshake, leaf
    /// first, or empty; `source` its address; `domain` whom it says it is, if that matters.
    ///
    /// The TLS library must have checked that the peer has the leaf's key; the chain needs no check before, and no
    /// extended key usage for clients (CERT-31).
    ///
    /// # Errors
    ///
    /// [`NotVerified`]: treat the call as a stranger's, or close the connection (CERT-23).
    pub fn verify(
        &self,
        domain: Option<&DomainName>,
        chain: &[CertificateDer<'_>],
        source: IpAddr,
    ) -> Result<Inbound, NotVerified> {
        let members = self.resolver.members();
        let found = self
            .by_certificate(&members, domain, chain)
            .or_else(|| preferred(members.with_source(source), domain).map(|member| (member, InboundBy::Network)));
        let (member, by) = found.ok_or(NotVerified::Unknown)?;
        if member.state == MemberState::Compromised {
            return Err(NotVerified::Compromised(member.domain.clone()));
        }
        let asserts_itself = domain.is_none_or(|domain| *domain == member.domain);
        Ok(Inbound { member: Arc::clone(member), by, asserts_itself })
    }

    fn by_certificate<'m>(
        &self,
        members: &'m Members,
        domain: Option<&DomainName>,
        chain: &[CertificateDer<'_>],
    ) -> Option<(&'m Arc<Member>, InboundBy)> {
        let (end, rest) = chain.split_first()?;
        let leaf = Leaf::read(end).ok()?;
        if let Some(member) = preferred(members.with_key(&leaf.spki_sha256).iter(), domain) {
            return Some((member, InboundBy::Key));
        }
        // CERT-24: the certificate's identities, and what our members are, decide.
        let names = leaf.identities.iter().take(MAX_IDENTITIES);
        let named: Vec<_> = names.filter_map(|name| members.get(&DomainName::parse(name).ok()?)).collect();
        let now = UnixTime::now();
        let is_pinned = |member: &Member, certificate: &CertificateDer<'_>| {
            let pin = |sha256| KeyPin { holder: KeyHolder::Authority, sha256 };
            spki_digest(certificate).is_ok_and(|sha256| member.keys.contains(&pin(sha256)))
        };
        let by_own_authority = |member: &Member| {
            let anchors: Vec<_> = rest.iter().filter(|certificate| is_pinned(member, certificate)).cloned().collect();
            !anchors.is_empty() && self.trust.leads_to(chain, Some(&anchors), Role::Either, now).is_ok()
        };
        let pinned = named.iter().copied().filter(|member| by_own_authority(member));
        if let Some(member) = preferred(pinned, domain) {
            return Some((member, InboundBy::PinnedAuthority));
        }
        // Who pins keys is not believed without one of them: web trust does not help (CERT-44).
        let unpinned: Vec<_> = named.into_iter().filter(|member| member.keys.is_empty()).collect();
        if unpinned.is_empty() || self.trust.leads_to(chain, None, Role::Either, now).is_err() {
            return None;
        }
        preferred(unpinned.into_iter(), domain).map(|member| (member, InboundBy::Authority))
    }
}

/// The member of `domain` among these, else the first.
fn preferred<'m>(
    members: impl Iterator<Item = &'m Arc<Member>>,
    domain: Option<&DomainName>,
) -> Option<&'m Arc<Member>> {
    let mut first = None;
    for member in members {
        if domain.is_none_or(|domain| *domain == member.domain) {
            return Some(member);
        }
        first = first.or(Some(member));
    }
    first
}
