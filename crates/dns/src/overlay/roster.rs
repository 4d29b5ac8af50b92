//! [`Roster`]: makes one version of [`Members`] from the last, from what is told of single members.

use std::borrow::Cow;
use std::sync::Arc;

use tandem_model::publish::{self, Places};
use tandem_model::{DomainName, Node, Serial};
use tandem_zone::draft::ReadyNode;
use tandem_zone::{Draft, Suffixes, Zones};
use tracing::warn;

use super::members::{BlockReason, Members};

/// No zone shows the nodes, so no serial means anything.
const SERIAL: Serial = Serial::new(0);

/// What is known of one member now.
#[derive(Debug, Clone)]
pub enum News<'n> {
    /// It is to be called at what this says.
    Member(Cow<'n, Node>),
    /// It must not be called. Its numbers neither, as far as an earlier [`Member`](Self::Member) told them.
    Blocked(BlockReason),
    /// It is no member: the public DNS answers for it.
    Gone,
}

/// The members as an overlay needs them, brought up to date by [`News`]. A change costs what it changes, and a copy of the list of
/// those that are blocked if it concerns that.
#[derive(Debug, Clone)]
pub struct Roster {
    suffixes: Suffixes,
    /// Under which numbers' names are longest.
    number_zone: DomainName,
    members: Members,
}

impl Roster {
    /// Nobody yet. `suffixes` are those of the overlay's settings: a node must fit below them.
    ///
    /// # Panics
    ///
    /// Never: `e164.arpa` is a name.
    #[must_use]
    pub fn new(suffixes: Suffixes) -> Self {
        let longest = suffixes.numbers.iter().max_by_key(|suffix| suffix.as_wire().len()).cloned();
        let number_zone = longest.unwrap_or_else(|| "e164.arpa".parse().expect("a name"));
        Self { suffixes, number_zone, members: Members::none() }
    }

    /// The next version, to be published. A node whose records would not fit into the DNS is left out, with a warning: then the
    /// member is as good as blocked, because old public records are no better.
    #[must_use]
    pub fn update<'n>(&mut self, news: impl IntoIterator<Item = (&'n DomainName, News<'n>)>) -> Members {
        let mut nodes = Draft::new(&self.members.nodes);
        for (domain, news) in news {
            match news {
                News::Member(node) if self.fits(&node) => {
                    // Loaded like nodes from a disk: what stands in the way of others was the directory's to check.
                    nodes.load(&ReadyNode::new(&node));
                    self.unblock(domain);
                }
                News::Member(_) => self.block(&mut nodes, domain, BlockReason::Unusable),
                News::Blocked(reason) => self.block(&mut nodes, domain, reason),
                News::Gone => {
                    nodes.remove(domain, SERIAL);
                    self.unblock(domain);
                }
            }
        }
        self.members.nodes = Arc::new(nodes.finish());
        self.members.clone()
    }

    /// Whether every name and answer of the node has room. What does not fit is never packed: the packed form relies on it.
    fn fits(&self, node: &Node) -> bool {
        let places = Places {
            own_zone: true,
            peers_zone: self.suffixes.peers.as_ref(),
            policy_zone: None,
            number_zone: Some(&self.number_zone),
        };
        let checked = publish::check(node, &places);
        if let Err(error) = &checked {
            warn!(domain = %node.domain(), %error, "a member's records do not fit: it is not found");
        }
        checked.is_ok()
    }

    fn block(&mut self, nodes: &mut Draft, domain: &DomainName, reason: BlockReason) {
        let blocked = Arc::make_mut(&mut self.members.blocked);
        blocked.domains.insert(domain.as_wire().into(), reason);
        if nodes.zones().has_node(domain) {
            let former: &Zones = blocked.nodes.get_or_insert_with(|| Members::none().nodes);
            let mut former = Draft::new(former);
            former.adopt(nodes.zones(), domain, SERIAL);
            blocked.nodes = Some(Arc::new(former.finish()));
            nodes.remove(domain, SERIAL);
        }
    }

    fn unblock(&mut self, domain: &DomainName) {
        if !self.members.blocked.domains.contains_key(domain.as_wire()) {
            return;
        }
        let blocked = Arc::make_mut(&mut self.members.blocked);
        blocked.domains.remove(domain.as_wire());
        if let Some(nodes) = blocked.nodes.take() {
            let mut former = Draft::new(&nodes);
            former.remove(domain, SERIAL);
            blocked.nodes = Some(former.finish()).filter(|nodes| nodes.node_count() > 0).map(Arc::new);
        }
    }
}
