//! Where one call may be sent: the targets of a member's document in the order of RFC 2782, with their addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tandem_model::locate::{Dnssec, NextHop, Reason};
use tandem_model::record::Srv;
use tandem_model::select::{Order, try_order};
use tandem_model::{DomainName, Node, SipUri, Target};
use tandem_resolver::Resolution;
use tokio::task::JoinSet;

use super::{Outcome, RETRY_AFTER_FAILURE, Refused, Route, Routes};
use crate::member::Member;
use crate::snapshot::Snapshot;

/// One address to send a call to, over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTarget {
    /// Address and port.
    pub address: SocketAddr,
    /// The host's name, as its operator wrote it; `None` if no SRV record led here.
    pub host: Option<DomainName>,
    /// The name that its certificate must carry, and for SNI: always the domain that is called (RFC 5922 7).
    pub tls_name: DomainName,
    /// SRV priority: lower is tried first.
    pub priority: u16,
    /// SRV weight: the share among targets of one priority.
    pub weight: u16,
}

impl RouteTarget {
    /// A next hop that can be verified; the others are not for us.
    pub(super) fn of_hop(hop: &NextHop) -> Option<Self> {
        let tls_name = hop.tls_name.clone().filter(|_| hop.service.is_secure())?;
        let (priority, weight) = hop.rank.map_or((0, 0), |rank| (rank.priority, rank.weight));
        Some(Self { address: hop.address, host: hop.srv_target.clone(), tls_name, priority, weight })
    }

    /// As a SIP server is told to send there and nowhere else.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("sip:{};transport=tls", self.address)
    }
}

/// All ways to a member.
#[derive(Debug)]
pub(super) struct Ways {
    targets: Vec<RouteTarget>,
    ttl: u32,
    dnssec: Option<Dnssec>,
    why: Vec<Reason>,
    /// A host whose addresses nobody knows now.
    has_failed: bool,
    /// An address that is our own was left out.
    has_own: bool,
}

impl Ways {
    pub(super) fn into_route(self, uri: &SipUri, member: &Member) -> Route {
        let outcome = match (self.targets.is_empty(), self.has_failed, self.has_own) {
            (false, ..) => Outcome::Found,
            (true, true, _) => Outcome::TryLater,
            // Whoever names our address for his own domain sends the call round in a circle.
            (true, false, true) => Outcome::Refused(Refused::OwnDomain),
            (true, false, false) => Outcome::Down,
        };
        Route {
            outcome,
            called: Some(uri.clone()),
            targets: self.targets,
            member: Some(member.state),
            is_signed: member.is_signed(),
            ttl: if outcome == Outcome::TryLater { 0 } else { self.ttl },
            dnssec: self.dnssec,
            retry_after: (outcome == Outcome::TryLater).then_some(RETRY_AFTER_FAILURE),
            why: self.why,
        }
    }
}

impl Routes {
    /// The addresses of all targets in the order in which to try them (LOC-57, LOC-58); `None` if `host` has no answer yet
    /// for a host whose addresses stand elsewhere.
    pub(super) fn targets(
        &self,
        node: &Node,
        snapshot: &Snapshot,
        host: impl Fn(&SipUri) -> Option<Arc<Resolution>>,
    ) -> Option<Ways> {
        let by = format!("{} publishes where it is: DNS is not asked", node.domain());
        let mut ways = Ways {
            targets: Vec::new(),
            ttl: node.ttl,
            dnssec: None,
            why: vec![Reason::new("directory", by)],
            has_failed: false,
            has_own: false,
        };
        let ranked = node.targets().iter().map(|target| (srv(target), target)).collect();
        for (_, target) in try_order(ranked, |(srv, _)| srv, Order::Weighted, draw) {
            let mut addresses: Vec<SocketAddr> =
                target.addresses.iter().map(|&address| SocketAddr::new(address, target.port.get())).collect();
            if addresses.is_empty() {
                let Some(uri) = host_uri(target) else {
                    ways.why.push(Reason::new("request", format!("{} cannot be a host", target.host)));
                    continue;
                };
                let found = host(&uri)?;
                ways.ttl = ways.ttl.min(seconds_left(&found));
                if ways.targets.is_empty() {
                    ways.dnssec = Some(found.dnssec);
                }
                ways.has_failed |= self.outcome(&found.outcome) == Outcome::TryLater;
                let result = found.outcome.error().map_or_else(|| "found".to_owned(), |error| super::chain(error));
                ways.why.push(Reason::new("DNS", format!("addresses of {}: {result}", target.host)));
                addresses.extend(found.next_hops().iter().map(|hop| hop.address));
            } else if ways.targets.is_empty() && ways.dnssec.is_some() {
                // The first way is one that DNS has nothing to do with.
                ways.dnssec = None;
            }
            // IPv6 first; a host without it is refused at once and goes on.
            addresses.sort_by_key(SocketAddr::is_ipv4);
            for address in addresses {
                if self.is_own_address(address, snapshot) {
                    ways.has_own = true;
                    ways.why
                        .push(Reason::new("loop", format!("{} has our own address, which is left out", target.host)));
                    continue;
                }
                ways.targets.push(RouteTarget {
                    address,
                    host: Some(target.host.clone()),
                    tls_name: node.domain().clone(),
                    priority: target.priority,
                    weight: target.weight,
                });
            }
        }
        Some(ways)
    }

    /// Asks for every host whose addresses stand elsewhere, all at once.
    pub(super) async fn ask_for_hosts(&self, node: &Node) -> Vec<(SipUri, Arc<Resolution>)> {
        let mut asking = JoinSet::new();
        for uri in node.targets().iter().filter(|target| target.addresses.is_empty()).filter_map(host_uri) {
            let resolver = self.0.resolver.clone();
            asking.spawn(async move {
                let found = resolver.locate(&uri).await;
                (uri, found)
            });
        }
        let mut found = Vec::new();
        while let Some(answer) = asking.join_next().await {
            found.extend(answer);
        }
        found
    }

    /// Whether our own SIP server is there.
    fn is_own_address(&self, address: SocketAddr, snapshot: &Snapshot) -> bool {
        let own = self.0.own.iter().filter_map(|domain| snapshot.members.get(domain)?.node.as_deref());
        own.flat_map(Node::targets)
            .any(|target| target.port.get() == address.port() && target.addresses.contains(&address.ip()))
    }
}

/// The URI that makes the resolver look for a host's addresses and nothing else (RFC 3263 4.2: a port is given);
/// `None` for a name that looks like an address.
fn host_uri(target: &Target) -> Option<SipUri> {
    SipUri::parse(&format!("sip:{}:{};transport=tls", target.host, target.port)).ok()
}

fn seconds_left(found: &Resolution) -> u32 {
    found.remaining(Instant::now()).map_or(0, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
}

fn srv(target: &Target) -> Srv {
    let Target { host, port, priority, weight, .. } = target;
    Srv { priority: *priority, weight: *weight, port: port.get(), target: Some(host.clone()) }
}

/// A uniform integer in `0..=sum`. Without chance the order is still right by priority: only the balance suffers.
fn draw(sum: u32) -> u32 {
    u32::try_from(getrandom::u64().unwrap_or_default() % (u64::from(sum) + 1)).unwrap_or(sum)
}
