//! A member as other members see it: what is public, what its key signed, and never its contact by itself.

use serde::Serialize;
use tandem_store::{NodeState, Registered};
use utoipa::ToSchema;

use super::answer::{NodeKeyBody, NumberBody, rfc3339};
use super::change::PublicNodeBody;
use super::life::StateBody;

/// A member of the federation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub(crate) struct MemberBody {
    /// Its SIP domain.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// Where it is in its life.
    state: StateBody,
    /// What was said when it was put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    reason: Option<String>,
    /// When its lease ends, or ended.
    #[schema(format = DateTime, example = "2026-02-07T12:00:00Z")]
    lease_until: String,
    /// What is public of it, as it registered it; only while DNS has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = PublicNodeBody)]
    node: Option<PublicNodeBody>,
    /// The places of its targets in `node` that the directory's prober found down, from 0: DNS has them behind the others, unless
    /// all are down. Not its own word. Left out when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    down: Vec<usize>,
    /// Its numbers and blocks; only while DNS has it, and only for those who may read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Vec<NumberBody>)]
    numbers: Option<Vec<NumberBody>>,
    /// The key that signs for it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = NodeKeyBody)]
    key: Option<NodeKeyBody>,
    /// The document that the key signed, octet for octet as it came: the text of a JWS. Only while DNS has it, and, because
    /// it has numbers and a contact, only for those who may read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    signed: Option<String>,
}

/// One page of members, in canonical name order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Members)]
pub(crate) struct MembersBody {
    /// The members.
    pub(crate) members: Vec<MemberBody>,
}

/// Whether others may know of it: who waits for approval is no member yet, and of a tombstone only the name is left.
pub(crate) const fn is_member(registered: &Registered) -> bool {
    !matches!(registered.standing.state, NodeState::Pending | NodeState::Tombstone)
}

impl MemberBody {
    /// What a caller sees; one who `reads_everything` gets numbers and signed documents, too.
    pub(crate) fn new(registered: &Registered, reads_everything: bool) -> Self {
        let standing = &registered.standing;
        let shown = standing.state.is_shown().then_some(&registered.node);
        let whole = shown.filter(|_| reads_everything);
        let signed = registered.identity.as_deref().filter(|_| whole.is_some()).map(|identity| &identity.signed[..]);
        Self {
            domain: registered.node.domain().to_string(),
            state: standing.state.into(),
            reason: standing.reason.as_deref().map(Into::into),
            lease_until: rfc3339(standing.lease_until),
            node: shown.map(PublicNodeBody::from),
            down: shown.map(|node| node.found.down().collect()).unwrap_or_default(),
            numbers: whole.map(|node| node.numbers.iter().map(NumberBody::from).collect()),
            key: registered.identity.as_deref().map(NodeKeyBody::from),
            // A JWS in JSON is text; nothing else got past the signature's check.
            signed: signed
                .filter(|octets| !octets.is_empty())
                .and_then(|octets| String::from_utf8(octets.to_vec()).ok()),
        }
    }
}
