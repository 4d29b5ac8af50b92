//! What a directory's signed documents say of its members: a snapshot, found by domain, by key and by network.
//!
//! Who fetches and verifies those documents makes a [`Members`] of them and hands it to
//! [`Resolver::set_members`](crate::Resolver::set_members); nothing here reads a document or checks a signature.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::node::{KeyHolder, KeyPin, Network};
use tandem_model::{DomainName, Target};

/// One member, as its signed document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The domain that it answers for.
    pub domain: DomainName,
    /// Where it is served.
    pub targets: Vec<Target>,
    /// Public keys that its certificates carry, and those of its own authorities.
    pub keys: Vec<KeyPin>,
    /// Networks that its calls come from.
    pub sources: Vec<Network>,
    /// Whether calls may go to it and come from it.
    pub state: MemberState,
    /// SHA-256 JWK thumbprint (RFC 7638) of the key that signed the document; `None` if the directory vouches alone.
    pub signed_by: Option<[u8; 32]>,
}

/// What a directory says of a member's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// All is well.
    Active,
    /// It is a member, and its server is away: nothing is known against it.
    Away,
    /// Its keys or its server are in wrong hands: no call goes to it, none is believed to come from it.
    Compromised,
}

/// All members at one moment. Cheap to look in, made anew for each change.
#[derive(Debug, Clone, Default)]
pub struct Members {
    by_domain: HashMap<DomainName, Arc<Member>>,
    /// Nodes' own keys; two members that share one are both found (CERT-30: virtual hosting).
    by_key: HashMap<[u8; 32], Vec<Arc<Member>>>,
    by_network: HashMap<Network, Vec<Arc<Member>>>,
    /// The prefix lengths that occur, longest first: so many look-ups find a network.
    lengths: Vec<u8>,
}

impl Members {
    /// Puts members together; of two with one domain the later counts.
    ///
    /// ```
    /// use tandem_resolver::{Member, MemberState, Members};
    ///
    /// let member = Member {
    ///     domain: "debug.ostel.me".parse()?,
    ///     targets: vec![],
    ///     keys: vec![],
    ///     sources: vec![tandem_model::Network::parse("192.0.2.0/24")?],
    ///     state: MemberState::Active,
    ///     signed_by: None,
    /// };
    /// let members = Members::new([member]);
    /// assert!(members.get(&"debug.ostel.me".parse()?).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let by_domain: HashMap<_, _> =
            members.into_iter().map(|member| (member.domain.clone(), Arc::new(member))).collect();
        let mut this = Self { by_domain, ..Self::default() };
        for member in this.by_domain.values() {
            for key in member.keys.iter().filter(|key| key.holder == KeyHolder::Node) {
                this.by_key.entry(key.sha256).or_default().push(Arc::clone(member));
            }
            for network in &member.sources {
                this.by_network.entry(*network).or_default().push(Arc::clone(member));
            }
        }
        // Hash maps have no order of their own: an answer must not depend on theirs.
        let by_name = |members: &mut Vec<Arc<Member>>| members.sort_by_key(|member| member.domain.to_string());
        this.by_key.values_mut().for_each(by_name);
        this.by_network.values_mut().for_each(by_name);
        this.lengths =
            this.by_network.keys().map(Network::prefix_len).collect::<BTreeSet<_>>().into_iter().rev().collect();
        this
    }

    /// The member of this domain.
    #[must_use]
    pub fn get(&self, domain: &DomainName) -> Option<&Arc<Member>> {
        self.by_domain.get(domain)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_domain.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// All members, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.by_domain.values()
    }

    /// The members whose node key this is: the SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn with_key(&self, spki_sha256: &[u8; 32]) -> &[Arc<Member>] {
        self.by_key.get(spki_sha256).map_or(&[], Vec::as_slice)
    }

    /// The members from whose networks `address` is, the closest network first.
    pub fn with_source(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Member>> {
        let networks = self.lengths.iter().filter_map(move |&length| Network::around(address, length));
        networks.filter_map(|network| self.by_network.get(&network)).flatten()
    }
}
