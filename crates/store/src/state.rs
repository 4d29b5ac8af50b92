//! The life of a registration: its states, who may lead it from one to the next, and what DNS shows in each.
//!
//! ```text
//! pending ──approve──▶ active ◀──renew, PUT── stale ──▶ withdrawn ──▶ tombstone ──▶ (gone)
//!    └─reject─▶ (gone)  │ ▲ └──── lease ends ───▲
//!                       │ └──restore── draining, suspended, compromised
//!                       └──drain, suspend, compromised──▲
//! ```
//!
//! [`NodeState`] is what is stored; `Action::lead` is the drawing's lower half; the upper half, which time moves, is
//! [`lease`](crate::lease). [`shown`] is the only place that says what DNS serves of a node.

use std::borrow::Cow;

use tandem_model::demote::as_found;
pub use tandem_model::demote::{DEMOTION, demoted};
use tandem_model::{DomainName, Node, NodeParts, Target};

use crate::directory::Registered;

/// Longest reason given for an action, in octets.
pub const MAX_REASON: usize = 200;

/// Where a registration is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Waits for an admin's approval; in no zone.
    Pending,
    /// Served as registered.
    Active,
    /// The lease has ended: served, but demoted.
    Stale,
    /// The lease ended long ago: in no zone; name and numbers are held.
    Withdrawn,
    /// The document is forgotten; the name is held.
    Tombstone,
    /// Its operator wants no new calls: served, but demoted.
    Draining,
    /// An admin took it out of all zones.
    Suspended,
    /// Its key or host is in wrong hands: out of all zones, and everybody is told.
    Compromised,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Active,
        Self::Stale,
        Self::Withdrawn,
        Self::Tombstone,
        Self::Draining,
        Self::Suspended,
        Self::Compromised,
    ];

    /// As it is kept and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Withdrawn => "withdrawn",
            Self::Tombstone => "tombstone",
            Self::Draining => "draining",
            Self::Suspended => "suspended",
            Self::Compromised => "compromised",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether DNS has its records.
    #[must_use]
    pub const fn is_shown(self) -> bool {
        match self {
            Self::Active | Self::Stale | Self::Draining => true,
            Self::Pending | Self::Withdrawn | Self::Tombstone | Self::Suspended | Self::Compromised => false,
        }
    }

    /// Whether its lease can be renewed without leaving it; the time of the others is when they began.
    #[must_use]
    pub const fn keeps_lease(self) -> bool {
        match self {
            Self::Pending | Self::Active | Self::Draining | Self::Suspended | Self::Compromised => true,
            Self::Stale | Self::Withdrawn | Self::Tombstone => false,
        }
    }

    /// Whether somebody put it there by hand, and has to take it out again.
    #[must_use]
    pub const fn is_held(self) -> bool {
        match self {
            Self::Draining | Self::Suspended | Self::Compromised => true,
            Self::Pending | Self::Active | Self::Stale | Self::Withdrawn | Self::Tombstone => false,
        }
    }
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a registration, and how it got there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it is.
    pub state: NodeState,
    /// What was said when it was put there.
    pub reason: Option<Box<str>>,
    /// Seconds since 1970 when it got there.
    pub since: u64,
    /// Seconds since 1970 when its lease ends, or ended.
    pub lease_until: u64,
    /// Seconds since 1970 when it was said last that its lease ends soon; 0: never. It counts for a lease that began before.
    pub lease_warned: u64,
    /// Whether an admin put it there: then only an admin takes it out.
    pub by_admin: bool,
}

impl Standing {
    /// A registration that begins.
    #[must_use]
    pub const fn begin(state: NodeState, now: u64, lease_until: u64) -> Self {
        Self { state, reason: None, since: now, lease_until, lease_warned: 0, by_admin: false }
    }

    /// What its next move by time counts from.
    pub(crate) const fn time(&self) -> u64 {
        if self.state.keeps_lease() { self.lease_until } else { self.since }
    }
}

/// The key that signs a node's document, and the document that it signed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The key's thumbprint (RFC 7638).
    pub thumbprint: Box<str>,
    /// The serial in the signed document; it only grows.
    pub serial: u64,
    /// The thumbprint of the key that may follow.
    pub next: Option<Box<str>>,
    /// The signed document, octet for octet as it came; empty when the registration is not what it says any more.
    pub signed: Box<[u8]>,
    /// Seconds since 1970 from when any key may follow, because an admin has asked for that.
    pub reset_at: Option<u64>,
}

/// What DNS serves of `node` in `state`; `None` when it is in no zone.
#[must_use]
pub fn shown(node: &Node, state: NodeState) -> Option<Cow<'_, Node>> {
    match state {
        NodeState::Active => Some(as_found(node)),
        NodeState::Stale | NodeState::Draining => Some(Cow::Owned(demoted(&as_found(node), |_| true))),
        NodeState::Pending
        | NodeState::Withdrawn
        | NodeState::Tombstone
        | NodeState::Suspended
        | NodeState::Compromised => None,
    }
}

/// What stands in for the document of a tombstone: it holds the name, and nothing else.
///
/// # Panics
///
/// If `domain` is no host name, which that of a node always is.
#[must_use]
pub fn placeholder(domain: DomainName) -> Node {
    let target = Target {
        // RFC 6761 6.4: never a real host. It is never shown.
        host: DomainName::parse("tombstone.invalid").expect("a name"),
        port: std::num::NonZeroU16::MIN,
        priority: 0,
        weight: 0,
        addresses: Vec::new(),
    };
    Node::new(NodeParts::new(domain, vec![target])).expect("a registered domain, and a host without addresses")
}

impl Registered {
    /// What DNS serves of it; `None` when it is in no zone.
    #[must_use]
    pub fn shown(&self) -> Option<Cow<'_, Node>> {
        shown(&self.node, self.standing.state)
    }
}

/// What a person does to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No new calls, please: demoted.
    Drain,
    /// Out of all zones, by an admin.
    Suspend,
    /// Out of all zones at once, and everybody is told.
    Compromised,
    /// Back to where it was before one of those.
    Restore,
    /// A pending registration is served from now on.
    Approve,
    /// A pending registration is forgotten.
    Reject,
}

impl Action {
    /// Whether only an admin may do it.
    #[must_use]
    pub const fn needs_admin(self) -> bool {
        match self {
            Self::Suspend | Self::Approve | Self::Reject => true,
            Self::Drain | Self::Compromised | Self::Restore => false,
        }
    }

    /// The word for it in paths and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Suspend => "suspend",
            Self::Compromised => "compromised",
            Self::Restore => "restore",
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }

    /// Where the action leads from `standing`; `None` when the registration is forgotten.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: not from this state, or not by this caller.
    pub(crate) fn lead(self, standing: &Standing, is_admin: bool) -> Result<Option<NodeState>, Refusal> {
        use NodeState::{Active, Compromised, Draining, Pending, Stale, Suspended, Tombstone, Withdrawn};
        if self.needs_admin() && !is_admin {
            return Err(Refusal::NeedsAdmin);
        }
        let to = match (self, standing.state) {
            (Self::Drain, Active | Stale | Draining) => Some(Draining),
            (Self::Suspend, Active | Stale | Draining | Withdrawn | Suspended) => Some(Suspended),
            (Self::Compromised, Active | Stale | Draining | Withdrawn | Suspended | Compromised) => Some(Compromised),
            (Self::Restore, Draining | Suspended | Compromised | Active) | (Self::Approve, Pending) => Some(Active),
            (Self::Reject, Pending) => None,
            (Self::Drain, Pending | Withdrawn | Tombstone | Suspended | Compromised)
            | (Self::Suspend, Pending | Tombstone | Compromised)
            | (Self::Compromised, Pending | Tombstone)
            | (Self::Restore, Pending | Stale | Withdrawn | Tombstone)
            | (
                Self::Approve | Self::Reject,
                Active | Stale | Withdrawn | Tombstone | Draining | Suspended | Compromised,
            ) => return Err(Refusal::WrongState(standing.state)),
        };
        // Otherwise a stolen token would undo what an admin did, by way of another state.
        if standing.by_admin && standing.state.is_held() && to != Some(standing.state) && !is_admin {
            let tightens = self == Self::Compromised;
            if !tightens {
                return Err(Refusal::NeedsAdmin);
            }
        }
        Ok(to)
    }
}

/// Why an action is refused whatever the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not from this state.
    #[error("not possible while the node is {0}")]
    WrongState(NodeState),
    /// An admin put the node there, or only an admin may do it at all.
    #[error("only an admin may do this")]
    NeedsAdmin,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    fn node(priorities: &[u16]) -> Node {
        let domain = DomainName::parse("a.test").unwrap();
        let target = |(at, priority): (usize, &u16)| Target {
            host: DomainName::parse(&format!("h{at}.a.test")).unwrap(),
            port: NonZeroU16::new(5061).unwrap(),
            priority: *priority,
            weight: 1,
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        Node::new(NodeParts::new(domain, priorities.iter().enumerate().map(target).collect())).unwrap()
    }

    fn priorities(node: &Node) -> Vec<u16> {
        node.targets().iter().map(|target| target.priority).collect()
    }

    #[test]
    fn words_are_read_back() {
        for state in NodeState::ALL {
            assert_eq!(NodeState::parse(state.as_str()), Some(state));
        }
        assert_eq!(NodeState::parse("Active"), None);
    }

    #[test]
    fn what_is_shown() {
        let node = node(&[10, 20]);
        for (state, expected) in [
            (NodeState::Pending, None),
            (NodeState::Active, Some(vec![10, 20])),
            (NodeState::Stale, Some(vec![10_010, 10_020])),
            (NodeState::Draining, Some(vec![10_010, 10_020])),
            (NodeState::Withdrawn, None),
            (NodeState::Tombstone, None),
            (NodeState::Suspended, None),
            (NodeState::Compromised, None),
        ] {
            let found = shown(&node, state).map(|node| priorities(&node));
            assert_eq!(found, expected, "{state}");
            assert_eq!(state.is_shown(), found.is_some(), "{state}");
        }
    }

    #[test]
    fn order_stays_and_the_last_live_target_too() {
        for (before, down, after) in [
            (vec![60_000, 65_000, 1], vec![0, 1], vec![60_535, 65_535, 1]),
            (vec![65_535, 0], vec![0, 1], vec![65_535, 0]),
            (vec![10, 10], vec![1], vec![10, 10_010]),
            (vec![10, 20], vec![0, 1], vec![10_010, 10_020]),
            (vec![10, 20], vec![], vec![10, 20]),
        ] {
            let found = demoted(&node(&before), |at| down.contains(&at));
            assert_eq!(priorities(&found), after, "{before:?} {down:?}");
            assert_eq!(found.targets().len(), before.len(), "no target leaves");
        }
    }

    /// Threat 19: what is down is tried last, and when all is down nothing moves.
    #[test]
    fn what_was_found_is_shown() {
        use tandem_model::{Found, SeenKey};
        let key = SeenKey { sha256: [7; 32], until: Some(9) };
        for (down, state, expected) in [
            (vec![0], NodeState::Active, vec![10_010, 20]),
            (vec![0, 1], NodeState::Active, vec![10, 20]),
            (vec![], NodeState::Active, vec![10, 20]),
            (vec![0], NodeState::Draining, vec![20_010, 10_020]),
            (vec![0, 1], NodeState::Stale, vec![10_010, 10_020]),
        ] {
            let mut node = node(&[10, 20]);
            node.found = Found::new(down.clone(), vec![key]);
            let shown = shown(&node, state).unwrap();
            assert_eq!(priorities(&shown), expected, "{down:?} {state}");
            assert_eq!((shown.keys.len(), shown.keys[0].sha256), (1, [7; 32]));
            assert!(shown.found.is_empty(), "what is shown says all of it");
        }
    }

    #[test]
    fn who_may_do_what() {
        use NodeState::{Active, Compromised, Draining, Pending, Stale, Suspended, Tombstone, Withdrawn};
        let lead = |action: Action, state, by_admin, is_admin| {
            let standing = Standing { by_admin, ..Standing::begin(state, 1, 2) };
            action.lead(&standing, is_admin)
        };
        for (action, state, by_admin, is_admin, expected) in [
            (Action::Drain, Active, false, false, Ok(Some(Draining))),
            (Action::Drain, Suspended, true, false, Err(Refusal::WrongState(Suspended))),
            (Action::Suspend, Active, false, false, Err(Refusal::NeedsAdmin)),
            (Action::Suspend, Stale, false, true, Ok(Some(Suspended))),
            (Action::Suspend, Compromised, false, true, Err(Refusal::WrongState(Compromised))),
            (Action::Compromised, Suspended, true, false, Ok(Some(Compromised))),
            (Action::Compromised, Tombstone, false, true, Err(Refusal::WrongState(Tombstone))),
            (Action::Restore, Compromised, false, false, Ok(Some(Active))),
            (Action::Restore, Compromised, true, false, Err(Refusal::NeedsAdmin)),
            (Action::Restore, Compromised, true, true, Ok(Some(Active))),
            (Action::Restore, Draining, true, false, Err(Refusal::NeedsAdmin)),
            (Action::Restore, Withdrawn, false, true, Err(Refusal::WrongState(Withdrawn))),
            (Action::Approve, Pending, false, true, Ok(Some(Active))),
            (Action::Approve, Pending, false, false, Err(Refusal::NeedsAdmin)),
            (Action::Reject, Pending, false, true, Ok(None)),
            (Action::Reject, Active, false, true, Err(Refusal::WrongState(Active))),
        ] {
            let found = lead(action, state, by_admin, is_admin);
            assert_eq!(found, expected, "{} from {state}", action.as_str());
        }
    }
}
