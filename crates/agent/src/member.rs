//! One member of the federation as this host believes it to be.

use std::borrow::Cow;

use tandem_identity::Thumbprint;
use tandem_model::demote::{as_found, demoted};
use tandem_model::{DomainName, Node, NumberClaim};

/// A member, or one that was and must not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its SIP domain.
    pub domain: DomainName,
    /// Where it is in its life.
    pub state: MemberState,
    /// What was said when it got there.
    pub reason: Option<Box<str>>,
    /// The end of its lease when it was last looked at, in seconds since 1970. Renewals are not told: while the directory is
    /// in reach, `state` counts.
    pub lease_until: u64,
    /// What it published, without its contact, and what the directory found of it; none unless its state is one that is
    /// served.
    pub node: Option<Box<Node>>,
    /// The numbers that it had when it was last served, while it is not: nobody else is to answer for them meanwhile.
    pub withheld: Box<[NumberClaim]>,
    /// The key that signed for it; none if nothing that came was signed.
    pub key: Option<Box<KnownKey>>,
}

/// The key that signs for a member, and the last document that it signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Its thumbprint (RFC 7638).
    pub thumbprint: Thumbprint,
    /// The serial of the last document.
    pub serial: u64,
    /// The key that it named to follow.
    pub next: Option<Thumbprint>,
    /// SHA-256 of the last document: another one with the same serial is none of its signer's.
    pub digest: [u8; 32],
    /// From when any key may follow, in seconds since 1970: an admin's reset, seen well before.
    pub reset_at: Option<u64>,
}

/// Where a member is in its life, as the directory has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// To be called.
    Active,
    /// Its lease ran out not long ago: to be called, last of all.
    Stale,
    /// Its operator wants no new calls: to be called, last of all.
    Draining,
    /// Its lease ran out long ago.
    Withdrawn,
    /// The directory's admin took it out.
    Suspended,
    /// Its key or host is in wrong hands.
    Compromised,
}

impl MemberState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Active, Self::Stale, Self::Draining, Self::Withdrawn, Self::Suspended, Self::Compromised];

    /// The API's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Draining => "draining",
            Self::Withdrawn => "withdrawn",
            Self::Suspended => "suspended",
            Self::Compromised => "compromised",
        }
    }

    /// Reads the API's word; `None` for one that is not known here, which is then nobody to be called.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether calls may go there.
    #[must_use]
    pub const fn is_served(self) -> bool {
        matches!(self, Self::Active | Self::Stale | Self::Draining)
    }
}

impl Member {
    /// What is to be served of it, demoted where it wants no new calls; `None` if it must not be called.
    #[must_use]
    pub fn shown(&self) -> Option<Cow<'_, Node>> {
        let node = self.node.as_deref()?;
        match self.state {
            MemberState::Active => Some(as_found(node)),
            MemberState::Stale | MemberState::Draining => Some(Cow::Owned(demoted(&as_found(node), |_| true))),
            MemberState::Withdrawn | MemberState::Suspended | MemberState::Compromised => None,
        }
    }

    /// Whether its own key signed what it says; else it is on the directory's word.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.key.is_some()
    }
}
