//! One change as those who follow the feed see it (API-50): what is public of a node, and never its contact or numbers.

use serde::Serialize;
use tandem_model::Node;
use tandem_store::NodeState;
use tandem_store::backend::{JournalEntry, JournalKind};
use utoipa::ToSchema;

use super::answer::{KeyBody, TargetBody, rfc3339};
use super::life::StateBody;

/// A change of one node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeChange)]
pub(crate) struct NodeChangeBody {
    /// Its place among all changes: `Last-Event-ID`, or `after`, to go on from here. Grows, with gaps.
    #[schema(example = 12)]
    pub(crate) id: u64,
    /// What happened.
    pub(crate) kind: NodeChangeKind,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    time: String,
    /// The node's SIP domain.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// The state before; not when the node is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = StateBody)]
    old_state: Option<StateBody>,
    /// The state now; not when the registration is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = StateBody)]
    state: Option<StateBody>,
    /// What was said when it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    reason: Option<String>,
    /// The zone serial that contains it (API-44).
    #[schema(value_type = u64, example = 12)]
    serial: u32,
    /// What is public of the node; only while DNS has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = PublicNodeBody)]
    node: Option<PublicNodeBody>,
}

/// What happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = NodeChangeKind)]
pub(crate) enum NodeChangeKind {
    /// Registered, or replaced.
    Register,
    /// The registration is gone.
    Deregister,
    /// Only the state is another.
    ChangeState,
    /// An admin lets another key sign, some days from now.
    ResetKey,
    /// Its lease ends soon and was not renewed; `reason` says how soon.
    LeaseEnding,
    /// A look at its targets changed how it is shown; what it registered did not change.
    Probe,
    /// Sent to webhooks only: the proof of a foreign domain was seen, for the first time or again.
    ProofValid,
    /// Sent to webhooks only: that proof ends soon, and was not seen again.
    ProofLapsing,
    /// Sent to webhooks only: it has ended. What it was for is not changed any more, then demoted, then taken out.
    ProofExpired,
    /// Sent to webhooks only: an admin took it back.
    ProofRevoked,
}

/// What is public of a node, as it registered it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublicNode)]
pub(crate) struct PublicNodeBody {
    /// Where the domain is served.
    targets: Vec<TargetBody>,
    /// Seconds that resolvers may keep the records.
    ttl: u32,
    /// Pins of the public keys that the node's certificates carry.
    keys: Vec<KeyBody>,
    /// Networks that the node's calls come from.
    sources: Vec<String>,
}

/// What a long poll finds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeChanges)]
pub(crate) struct NodeChangesBody {
    /// Changes, oldest first; none when nothing happened in time.
    pub(crate) changes: Vec<NodeChangeBody>,
    /// The value of `after` for the next call.
    #[schema(example = 12)]
    pub(crate) last: u64,
}

impl NodeChangeKind {
    /// As the feed names the event.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Register => JournalKind::Register.as_str(),
            Self::Deregister => JournalKind::Deregister.as_str(),
            Self::ChangeState => JournalKind::ChangeState.as_str(),
            Self::ResetKey => JournalKind::ResetKey.as_str(),
            Self::LeaseEnding => JournalKind::LeaseEnding.as_str(),
            Self::Probe => JournalKind::Probe.as_str(),
            Self::ProofValid => JournalKind::ProofValid.as_str(),
            Self::ProofLapsing => JournalKind::ProofLapsing.as_str(),
            Self::ProofExpired => JournalKind::ProofExpired.as_str(),
            Self::ProofRevoked => JournalKind::ProofRevoked.as_str(),
        }
    }
}

impl NodeChangeBody {
    /// What `entry` says of a node; `None` when it is about something else.
    pub(crate) fn of(entry: &JournalEntry) -> Option<Self> {
        let kind = match entry.kind {
            JournalKind::Register => NodeChangeKind::Register,
            JournalKind::Deregister => NodeChangeKind::Deregister,
            JournalKind::ChangeState => NodeChangeKind::ChangeState,
            JournalKind::ResetKey => NodeChangeKind::ResetKey,
            JournalKind::LeaseEnding => NodeChangeKind::LeaseEnding,
            JournalKind::Probe => NodeChangeKind::Probe,
            JournalKind::ProofValid => NodeChangeKind::ProofValid,
            JournalKind::ProofLapsing => NodeChangeKind::ProofLapsing,
            JournalKind::ProofExpired => NodeChangeKind::ProofExpired,
            JournalKind::ProofRevoked => NodeChangeKind::ProofRevoked,
            JournalKind::ServeZone
            | JournalKind::DropZone
            | JournalKind::IssueToken
            | JournalKind::RotateToken
            | JournalKind::DropToken
            | JournalKind::Invite
            | JournalKind::DropInvitation
            | JournalKind::RedeemInvitation
            | JournalKind::ProofBegun
            | JournalKind::ProofInvalid
            | JournalKind::DropProof => return None,
            JournalKind::ClaimNumber
            | JournalKind::ApproveNumber
            | JournalKind::RejectNumber
            | JournalKind::DelegateNumber
            | JournalKind::RevokeNumber => return None,
        };
        let is_shown = entry.new_state.is_some_and(NodeState::is_shown);
        Some(Self {
            id: entry.serial,
            kind,
            time: rfc3339(entry.time),
            domain: entry.subject.clone(),
            old_state: entry.old_state.map(StateBody::from),
            state: entry.new_state.map(StateBody::from),
            reason: entry.reason.as_deref().map(Into::into),
            #[expect(clippy::cast_possible_truncation, reason = "a SOA has the low 32 bits")]
            serial: entry.serial as u32,
            node: entry.after.as_ref().filter(|_| is_shown).map(PublicNodeBody::from),
        })
    }

    /// [`of`](Self::of) for everybody: who waits for approval, and was never approved, is no member.
    pub(crate) fn public(entry: &JournalEntry) -> Option<Self> {
        let is_member = |state: Option<NodeState>| state.is_some_and(|state| state != NodeState::Pending);
        Self::of(entry).filter(|_| is_member(entry.old_state) || is_member(entry.new_state))
    }
}

/// What a webhook of the admin gets: also what is not public, and whom to warn.
#[derive(Debug, Serialize)]
struct AdminChangeBody {
    #[serde(flatten)]
    change: NodeChangeBody,
    /// How to reach the node's operator, while that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
}

/// The changes of nodes among `entries`, each with its node's contact, as a webhook gets them: `{"changes":[…],"last":12}`;
/// `None` when there are none.
///
/// # Panics
///
/// Never: strings, numbers and lists are JSON.
#[must_use]
pub fn webhook_body(entries: &[(JournalEntry, Option<Box<str>>)]) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Body {
        changes: Vec<AdminChangeBody>,
        last: u64,
    }
    let told = |(entry, contact): &(JournalEntry, Option<Box<str>>)| {
        Some(AdminChangeBody { change: NodeChangeBody::of(entry)?, contact: contact.as_deref().map(Into::into) })
    };
    let changes: Vec<_> = entries.iter().filter_map(told).collect();
    let last = changes.last()?.change.id;
    Some(serde_json::to_vec(&Body { changes, last }).expect("strings, numbers and lists are JSON"))
}

impl From<&Node> for PublicNodeBody {
    fn from(node: &Node) -> Self {
        Self {
            targets: node.targets().iter().map(TargetBody::from).collect(),
            ttl: node.ttl,
            keys: node.keys.iter().map(KeyBody::from).collect(),
            sources: node.sources.iter().map(ToString::to_string).collect(),
        }
    }
}
