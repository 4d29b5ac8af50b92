//! One look at all targets of a member, or at one target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_probe::{
    AddressRule, ConnectError, ProbeError, ProbeTarget, Prober, SafeConnector, Sound, Trust, Trusted, is_self_issued,
    spki_digest,
};
use tandem_resolver::{HostAnswer, Resolver};
use tokio::task::JoinSet;

use crate::clock;
use crate::config::CheckConfig;
use crate::member::Member;

/// Connections at a time to one member.
const AT_ONCE: usize = 4;
/// Most addresses of a target whose addresses stand in DNS that are looked at.
const MAX_FOUND: usize = 8;

/// Looks, with one set of authorities and one rule for addresses. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Looker {
    prober: Prober,
    resolver: Resolver,
}

/// One address of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The target's host, when its addresses stand in DNS; `None` when they are the member's own words.
    pub(super) host: Option<DomainName>,
    /// Where it is.
    pub(super) address: SocketAddr,
}

/// What a look found.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) place: Place,
    pub(super) result: Result<Option<Arc<CertificateDer<'static>>>, Fault>,
}

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// For people.
    pub(super) reason: Arc<str>,
    /// What failed.
    pub(super) kind: BadKind,
}

/// What failed at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadKind {
    /// Nobody was reached: says nothing of who would have been there.
    Network,
    /// Who was reached did not prove to be the domain.
    Certificate,
    /// It is where looks never go, as in a private network.
    Address,
    /// Who was reached does not do as a SIP server over TLS does.
    Server,
}

impl Looker {
    pub(super) fn new(config: &CheckConfig, authorities: &[CertificateDer<'static>], resolver: Resolver) -> Self {
        let rule = AddressRule::global([]);
        let rule = if config.allow_loopback_for_tests { rule.with_loopback() } else { rule };
        let (trust, unreadable) = Trust::new(authorities.iter().cloned());
        if unreadable > 0 {
            tracing::warn!(unreadable, "authorities that cannot be read are left out");
        }
        // Nobody is asked by SIP, so that the name is never said.
        let from = DomainName::parse("agent.invalid").expect("a name");
        let prober = Prober::new(SafeConnector::new(rule), trust, from);
        Self { prober: prober.with_timeout(Duration::from_secs(config.timeout_seconds)), resolver }
    }

    /// Looks at every address of every target of `member`, a few at a time.
    pub(super) async fn member(&self, member: &Arc<Member>) -> Vec<Look> {
        let Some(node) = member.node.as_deref() else { return Vec::new() };
        let mut places = Vec::new();
        let mut looks = Vec::new();
        for target in node.targets() {
            let port = target.port.get();
            let own = target.addresses.iter().map(|&address| Place { host: None, address: (address, port).into() });
            places.extend(own);
            if target.addresses.is_empty() {
                // A host that is not found has no place; what was known of it grows too old to count.
                if let HostAnswer::Addresses(found) = self.resolver.lookup_host(&target.host).await {
                    let found = found.into_iter().take(MAX_FOUND);
                    places
                        .extend(found.map(|ip| Place { host: Some(target.host.clone()), address: (ip, port).into() }));
                }
            }
        }
        let mut under_way = JoinSet::new();
        for place in places {
            if under_way.len() == AT_ONCE {
                looks.extend(under_way.join_next().await.and_then(Result::ok));
            }
            let (this, member) = (self.clone(), Arc::clone(member));
            under_way.spawn(async move {
                let keys = member.node.as_deref().map_or(&[][..], |node| &node.keys);
                this.place(place, &member.domain, keys).await
            });
        }
        while let Some(look) = under_way.join_next().await {
            looks.extend(look);
        }
        looks
    }

    /// Looks at one address of a server of `domain`.
    pub(super) async fn place(&self, place: Place, domain: &DomainName, keys: &[KeyPin]) -> Look {
        let target = ProbeTarget { domain, addresses: &[place.address], keys, options: false };
        let now = UnixTime::since_unix_epoch(clock::since_1970());
        let result = match self.prober.probe(target, now).await {
            Ok(sound) => Ok(anchor(&sound, keys).map(Arc::new)),
            Err(error) => Err(Fault { reason: in_words(&error).into(), kind: kind(&error) }),
        };
        Look { place, result }
    }
}

/// The certificate that the chain of a member ends at by the keys in its document, if it is one where a chain can end:
/// programs that check chains want it to be its own issuer.
fn anchor(sound: &Sound, keys: &[KeyPin]) -> Option<CertificateDer<'static>> {
    let mut chain = sound.chain.iter();
    let found = match sound.trusted {
        Trusted::Authority => None,
        Trusted::NodeKey => chain.next(),
        Trusted::PinnedAuthority => chain.skip(1).find(|certificate| {
            spki_digest(certificate).is_ok_and(|sha256| keys.contains(&KeyPin { holder: KeyHolder::Authority, sha256 }))
        }),
    };
    found.filter(|certificate| is_self_issued(certificate).unwrap_or(false)).cloned()
}

/// What failed. TLS that breaks off is the server's doing.
const fn kind(error: &ProbeError) -> BadKind {
    match error {
        ProbeError::Connect(ConnectError::Refused(_)) => BadKind::Address,
        ProbeError::Connect(_) | ProbeError::Timeout(_) | ProbeError::Random => BadKind::Network,
        ProbeError::Certificate(_) | ProbeError::Distrust { .. } => BadKind::Certificate,
        ProbeError::Tls(_) | ProbeError::Sip { .. } | ProbeError::Busy { .. } => BadKind::Server,
    }
}

/// The message with its causes and the rule, in one line.
fn in_words(error: &ProbeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
