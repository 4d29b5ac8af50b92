//! What the journal says about a step: entries, with documents or without, and their kinds.

use std::borrow::Cow;

use tandem_model::{DomainName, Node, Serial};

use crate::state::{NodeState, shown};

/// What the journal says about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The step's serial.
    pub serial: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// What was done.
    pub kind: JournalKind,
    /// The node's domain, the zone's apex or the token's id.
    pub subject: String,
    /// The token that asked for it.
    pub by: Option<String>,
    /// The node before, as it was registered.
    pub before: Option<Node>,
    /// The node afterwards, as it is registered.
    pub after: Option<Node>,
    /// The zones that a change of a node gave a new serial, with the serial that each had before; `None` for an entry of a
    /// program that did not write them down.
    pub zones: Option<Vec<(DomainName, Serial)>>,
    /// The node's state before; `None` when it was not registered.
    pub old_state: Option<NodeState>,
    /// The node's state afterwards; `None` when it is registered no more.
    pub new_state: Option<NodeState>,
    /// What was said when it was done.
    pub reason: Option<Box<str>>,
}

/// Who did what, when: a [`JournalEntry`] without its documents. Never an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The step's serial.
    pub serial: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// What was done.
    pub kind: JournalKind,
    /// The node's domain, the zone's apex or the token's id.
    pub subject: String,
    /// The token that asked for it; `None` for the operator of this directory, or time.
    pub by: Option<String>,
    /// The node's state before.
    pub old_state: Option<NodeState>,
    /// The node's state afterwards.
    pub new_state: Option<NodeState>,
    /// What was said when it was done.
    pub reason: Option<Box<str>>,
}

impl JournalEntry {
    /// What DNS served of the node before this step.
    #[must_use]
    pub fn shown_before(&self) -> Option<Node> {
        shown(self.before.as_ref()?, self.old_state?).map(Cow::into_owned)
    }

    /// What DNS serves of the node after this step.
    #[must_use]
    pub fn shown_after(&self) -> Option<Node> {
        shown(self.after.as_ref()?, self.new_state?).map(Cow::into_owned)
    }
}

/// The kinds of journal entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// A node was registered or replaced.
    Register,
    /// A node was withdrawn.
    Deregister,
    /// A node's state changed, its document did not.
    ChangeState,
    /// An admin has asked that another key may follow a node's key.
    ResetKey,
    /// A node's lease ends soon.
    LeaseEnding,
    /// A look at a node's targets changed how it is shown.
    Probe,
    /// A zone is new, or its master file changed.
    ServeZone,
    /// A zone is no longer served.
    DropZone,
    /// A token was made.
    IssueToken,
    /// A token has another secret.
    RotateToken,
    /// A token was revoked, or had expired.
    DropToken,
    /// An invitation was made.
    Invite,
    /// An invitation was withdrawn, or had expired.
    DropInvitation,
    /// An invitation made its token.
    RedeemInvitation,
    /// Somebody began to prove a domain.
    ProofBegun,
    /// The proof of a domain was seen.
    ProofValid,
    /// It was not seen, often enough.
    ProofInvalid,
    /// It ends soon, and was not seen again.
    ProofLapsing,
    /// Its time is over.
    ProofExpired,
    /// An admin took it back.
    ProofRevoked,
    /// It is forgotten.
    DropProof,
    /// A domain asked for a number or block.
    ClaimNumber,
    /// A claim became a delegation.
    ApproveNumber,
    /// A claim was refused or withdrawn.
    RejectNumber,
    /// A number or block was delegated.
    DelegateNumber,
    /// A number or block was taken away.
    RevokeNumber,
}

impl JournalKind {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Register,
        Self::Deregister,
        Self::ChangeState,
        Self::ResetKey,
        Self::LeaseEnding,
        Self::Probe,
        Self::ServeZone,
        Self::DropZone,
        Self::IssueToken,
        Self::RotateToken,
        Self::DropToken,
        Self::Invite,
        Self::DropInvitation,
        Self::RedeemInvitation,
        Self::ProofBegun,
        Self::ProofValid,
        Self::ProofInvalid,
        Self::ProofLapsing,
        Self::ProofExpired,
        Self::ProofRevoked,
        Self::DropProof,
        Self::ClaimNumber,
        Self::ApproveNumber,
        Self::RejectNumber,
        Self::DelegateNumber,
        Self::RevokeNumber,
    ];

    /// As it is kept.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Deregister => "deregister",
            Self::ChangeState => "change-state",
            Self::ResetKey => "reset-key",
            Self::LeaseEnding => "lease-ending",
            Self::Probe => "probe",
            Self::ServeZone => "serve-zone",
            Self::DropZone => "drop-zone",
            Self::IssueToken => "issue-token",
            Self::RotateToken => "rotate-token",
            Self::DropToken => "drop-token",
            Self::Invite => "invite",
            Self::DropInvitation => "drop-invitation",
            Self::RedeemInvitation => "redeem-invitation",
            Self::ProofBegun => "proof-begun",
            Self::ProofValid => "proof-valid",
            Self::ProofInvalid => "proof-invalid",
            Self::ProofLapsing => "proof-lapsing",
            Self::ProofExpired => "proof-expired",
            Self::ProofRevoked => "proof-revoked",
            Self::DropProof => "drop-proof",
            Self::ClaimNumber => "claim-number",
            Self::ApproveNumber => "approve-number",
            Self::RejectNumber => "reject-number",
            Self::DelegateNumber => "delegate-number",
            Self::RevokeNumber => "revoke-number",
        }
    }
}
