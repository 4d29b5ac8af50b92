//! What a step of a batch does, and how the journal files it.

use tandem_model::{DomainName, Node, NumberRange, Serial};

use super::{JournalKind, StoredInvitation, StoredToken, ZoneState};
use crate::directory::Registered;
use crate::number::{Delegation, PendingClaim};
use crate::proof::{Proof, ProofEvent, ProofId};
use crate::state::NodeState;

/// One change and its place in the journal.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its serial; only steps on zones share one.
    pub serial: u64,
    /// The id of the token that asked for it; `None` for the operator of this directory.
    pub by: Option<String>,
    /// What it does.
    pub act: Act,
    /// The zones that a change of a node gives a new serial, with the serial that each had before.
    pub zones: Vec<(DomainName, Serial)>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Keeps a registration.
    Register {
        /// The node that it replaces.
        before: Option<Node>,
        /// The state that it was in.
        old: Option<NodeState>,
        /// What is kept from now on.
        now: Registered,
        /// The document of its node, if somebody has written it already.
        document: Option<String>,
    },
    /// Moves a registration to another state; its document stays, unless that is forgotten.
    ChangeState {
        /// The state that it was in.
        old: NodeState,
        /// What is kept from now on.
        now: Registered,
        /// Why, if somebody said; kept with the registration too while it is somewhere out of the ordinary.
        reason: Option<Box<str>>,
    },
    /// Forgets a registration.
    Deregister {
        /// The node as it was.
        before: Node,
        /// The state that it was in.
        old: NodeState,
        /// Why, if somebody said.
        reason: Option<Box<str>>,
    },
    /// Lets any key follow the node's key from some time on.
    ResetKey {
        /// What is kept from now on.
        now: Registered,
        /// Why, if somebody said.
        reason: Option<Box<str>>,
    },
    /// Keeps that the end of a lease was announced; nothing else changes.
    LeaseEnding {
        /// What is kept from now on.
        now: Registered,
        /// When that will be.
        reason: Box<str>,
    },
    /// Keeps what was found by looking at a node; what the node said stays.
    Note {
        /// The node as it was.
        before: Node,
        /// What is kept from now on.
        now: Registered,
        /// What was found.
        reason: Box<str>,
    },
    /// Keeps a zone's state: its records changed, or it is new.
    ServeZone(ZoneState),
    /// Forgets a zone that is no longer served.
    DropZone(DomainName),
    /// Keeps a token.
    IssueToken(StoredToken),
    /// Keeps a token's new secret, and its old one for a while.
    RotateToken(StoredToken),
    /// Forgets a token, revoked or expired.
    DropToken(String),
    /// Keeps an invitation.
    Invite(StoredInvitation),
    /// Forgets an invitation, withdrawn or expired.
    DropInvitation(String),
    /// Forgets an invitation that made its token; the next step keeps that.
    RedeemInvitation(String),
    /// Keeps a proof of a domain.
    KeepProof {
        /// What is kept from now on.
        proof: Proof,
        /// What happened to it.
        event: ProofEvent,
    },
    /// Forgets a proof.
    DropProof(ProofId),
    /// Keeps a claim of a number.
    ClaimNumber(PendingClaim),
    /// Forgets a claim, and keeps the delegation that it asked for.
    ApproveNumber {
        /// The claim.
        claim: PendingClaim,
        /// What it led to.
        delegation: Delegation,
    },
    /// Forgets a claim, refused or withdrawn.
    RejectNumber {
        /// The claim.
        claim: PendingClaim,
        /// The number, and why if somebody said.
        said: Box<str>,
    },
    /// Keeps a delegation of a number or block.
    DelegateNumber(Delegation),
    /// Forgets a delegation, if there is one; the next steps take what stood on it out of registrations.
    RevokeNumber {
        /// What is taken away.
        range: NumberRange,
        /// From whom.
        domain: DomainName,
    },
}

impl Act {
    /// The journal's word for it.
    #[must_use]
    pub const fn kind(&self) -> JournalKind {
        match self {
            Self::Register { .. } => JournalKind::Register,
            Self::Deregister { .. } => JournalKind::Deregister,
            Self::ChangeState { .. } => JournalKind::ChangeState,
            Self::ResetKey { .. } => JournalKind::ResetKey,
            Self::LeaseEnding { .. } => JournalKind::LeaseEnding,
            Self::Note { .. } => JournalKind::Probe,
            Self::ServeZone(_) => JournalKind::ServeZone,
            Self::DropZone(_) => JournalKind::DropZone,
            Self::IssueToken(_) => JournalKind::IssueToken,
            Self::RotateToken(_) => JournalKind::RotateToken,
            Self::DropToken(_) => JournalKind::DropToken,
            Self::Invite(_) => JournalKind::Invite,
            Self::DropInvitation(_) => JournalKind::DropInvitation,
            Self::RedeemInvitation(_) => JournalKind::RedeemInvitation,
            Self::KeepProof { event, .. } => match event {
                ProofEvent::Begun => JournalKind::ProofBegun,
                ProofEvent::Seen => JournalKind::ProofValid,
                ProofEvent::Failed => JournalKind::ProofInvalid,
                ProofEvent::Lapsing => JournalKind::ProofLapsing,
                ProofEvent::Expired => JournalKind::ProofExpired,
                ProofEvent::Revoked => JournalKind::ProofRevoked,
            },
            Self::DropProof(_) => JournalKind::DropProof,
            Self::ClaimNumber(_) => JournalKind::ClaimNumber,
            Self::ApproveNumber { .. } => JournalKind::ApproveNumber,
            Self::RejectNumber { .. } => JournalKind::RejectNumber,
            Self::DelegateNumber(_) => JournalKind::DelegateNumber,
            Self::RevokeNumber { .. } => JournalKind::RevokeNumber,
        }
    }

    /// The name that the journal files it under.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Register { now, .. }
            | Self::ChangeState { now, .. }
            | Self::ResetKey { now, .. }
            | Self::LeaseEnding { now, .. }
            | Self::Note { now, .. } => now.node.domain().to_string(),
            Self::Deregister { before, .. } => before.domain().to_string(),
            Self::ServeZone(state) => state.apex.to_string(),
            Self::DropZone(apex) => apex.to_string(),
            Self::IssueToken(token) | Self::RotateToken(token) => token.info.id.clone(),
            Self::Invite(invitation) => invitation.info.id.clone(),
            Self::DropToken(id) | Self::DropInvitation(id) | Self::RedeemInvitation(id) => id.clone(),
            Self::KeepProof { proof, .. } => proof.id.domain.to_string(),
            Self::DropProof(id) => id.domain.to_string(),
            Self::ClaimNumber(claim) | Self::RejectNumber { claim, .. } => claim.domain.to_string(),
            Self::ApproveNumber { delegation, .. } | Self::DelegateNumber(delegation) => delegation.domain.to_string(),
            Self::RevokeNumber { domain, .. } => domain.to_string(),
        }
    }

    /// Which number or block it is about, as the journal says it; `None` for what is about something else.
    #[must_use]
    pub fn number(&self) -> Option<Box<str>> {
        let range = match self {
            Self::RejectNumber { said, .. } => return Some(said.clone()),
            Self::ClaimNumber(claim) => claim.range,
            Self::ApproveNumber { delegation, .. } | Self::DelegateNumber(delegation) => delegation.range,
            Self::RevokeNumber { range, .. } => *range,
            Self::Register { .. }
            | Self::Deregister { .. }
            | Self::ChangeState { .. }
            | Self::ResetKey { .. }
            | Self::LeaseEnding { .. }
            | Self::ServeZone(_)
            | Self::DropZone(_)
            | Self::IssueToken(_)
            | Self::RotateToken(_)
            | Self::DropToken(_)
            | Self::Invite(_)
            | Self::DropInvitation(_)
            | Self::RedeemInvitation(_)
            | Self::KeepProof { .. }
            | Self::DropProof(_)
            | Self::Note { .. } => return None,
        };
        Some(range.to_string().into())
    }
}
