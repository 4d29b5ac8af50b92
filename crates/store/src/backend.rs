//! What a store must do: the trait [`Backend`], and the values that cross it.
//!
//! A backend keeps; it decides nothing. [`Directory`](crate::Directory) decides what a change is, and hands over a
//! [`Batch`] that is kept whole or not at all. [`sqlite`](crate::sqlite) is the backend built here.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;

use tandem_model::{DomainName, Node, NumberRange, Serial};

use crate::directory::Registered;
use crate::document::DocumentError;
use crate::error::BackupError;
use crate::invitation::InvitationInfo;
use crate::number::{Delegation, PendingClaim};
use crate::proof::{Proof, ProofEvent, ProofId};
use crate::sqlite::backup::Manifest;
use crate::state::{NodeState, shown};
use crate::token::TokenInfo;

/// Keeps registrations, the journal, serials, zone states and tokens. All calls may block: never call from async code.
///
/// One process writes at a time; reads may come from any thread and see every batch committed before they began.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Everything but the nodes.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when it cannot be read, or not be understood.
    fn load(&self) -> Result<Loaded, BackendError>;

    /// Hands each registration to `visit`, in canonical order of their domains.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when one cannot be read, or not be understood.
    fn load_nodes(&self, visit: &mut dyn FnMut(Registered)) -> Result<(), BackendError>;

    /// Makes all of `batch` durable, or nothing of it.
    ///
    /// # Errors
    ///
    /// [`BackendError::Overtaken`] when the serial kept is not [`Batch::after`]; others when it could not be written.
    fn commit(&self, batch: &Batch) -> Result<(), BackendError>;

    /// Writes down when leases end, without a word in the journal; domains that are not registered are left out.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when it could not be written: then none is.
    fn renew(&self, leases: &[(DomainName, u64)]) -> Result<(), BackendError>;

    /// The registration of `domain`.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when it cannot be read.
    fn node(&self, domain: &DomainName) -> Result<Option<Registered>, BackendError>;

    /// Registrations in canonical order (RFC 4034 6.1), from the first behind `after`; at most `limit`. With `state` only
    /// those in that state, otherwise all but tombstones.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when they cannot be read.
    fn list(
        &self,
        after: Option<&DomainName>,
        state: Option<NodeState>,
        limit: usize,
    ) -> Result<Vec<Registered>, BackendError>;

    /// Journal entries with serials above `after`, oldest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when they cannot be read.
    fn journal(&self, after: u64, limit: usize) -> Result<Vec<JournalEntry>, BackendError>;

    /// Hands journal entries to `visit`, newest first, until it returns `false`.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when one cannot be read, or not be understood.
    fn journal_back(&self, visit: &mut dyn FnMut(JournalEntry) -> bool) -> Result<(), BackendError>;

    /// Forgets the oldest journal entries that were written before the time `before` (seconds since 1970), at most `most` of
    /// them, and none of the newest `keep`. The journal stays without gaps: nothing behind an entry that is kept is
    /// forgotten. Returns how many went.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when nothing was forgotten.
    fn trim_journal(&self, before: u64, keep: usize, most: usize) -> Result<usize, BackendError>;

    /// Hands what the journal says, without documents, to `visit`, newest first, until it returns `false`; from the first
    /// entry before `before`, a serial and a subject.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when one cannot be read, or not be understood.
    fn audit(
        &self,
        before: Option<&(u64, String)>,
        visit: &mut dyn FnMut(AuditEntry) -> bool,
    ) -> Result<(), BackendError>;

    /// The serial of the oldest journal entry kept; `None` when there are none.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when it cannot be read.
    fn oldest_entry(&self) -> Result<Option<u64>, BackendError>;

    /// The answer kept under `lookup`, whether or not its time is over.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when it cannot be read.
    fn answer(&self, lookup: &[u8; 32]) -> Result<Option<StoredAnswer>, BackendError>;

    /// Writes and syncs something that changes nothing, to learn whether a change would be kept now.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when it would not.
    fn probe(&self) -> Result<(), BackendError>;

    /// Makes a backup of this moment, at `now` in seconds since 1970; the file is open for reading and has no name.
    /// Changes go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`BackupError`]: another is being made, or there is no room for it.
    fn back_up(&self, now: u64) -> Result<(Manifest, File), BackupError>;

    /// Lets go of files and locks; later calls give [`BackendError::Closed`].
    fn close(&self);
}

/// What a store holds besides the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The last serial taken; `None` before the first start.
    pub serial: Option<u64>,
    /// The zones as they were served last.
    pub zones: Vec<ZoneState>,
    /// The tokens, expired ones included.
    pub tokens: Vec<StoredToken>,
    /// The open invitations, expired ones included.
    pub invitations: Vec<StoredInvitation>,
    /// The proofs of domains, and attempts at them.
    pub proofs: Vec<Proof>,
    /// The numbers and blocks that are delegated.
    pub delegations: Vec<Delegation>,
    /// The claims of numbers that wait.
    pub claims: Vec<PendingClaim>,
}

/// What is remembered of a zone: whether its master file changed, and its serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneState {
    /// The zone's name.
    pub apex: DomainName,
    /// [`StaticZone::digest`](tandem_zone::master::StaticZone::digest) of its master file.
    pub digest: u64,
    /// What nodes put into it.
    pub role: ZoneRole,
    /// The serial of its last change; its SOA carries the low 32 bits.
    pub serial: u64,
}

/// Which of a node's records a zone takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneRole {
    /// Those at the node's own name.
    Own,
    /// A copy of every node.
    Peers,
    /// The SRV records of every node.
    Policy,
    /// Numbers.
    Numbers,
}

/// A token as it is kept: its hash, never the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// What lists show.
    pub info: TokenInfo,
    /// SHA-256 of the secret's text.
    pub hash: [u8; 32],
    /// That of the secret before the last rotation; for how long it is valid is in the info.
    pub previous_hash: Option<[u8; 32]>,
}

/// Without the hash, which would let a reader of logs test guesses.
impl fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredToken").field(&self.info).finish()
    }
}

/// An invitation as it is kept: the hash of its code, never the code.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredInvitation {
    /// What lists show.
    pub info: InvitationInfo,
    /// SHA-256 of the code's text.
    pub hash: [u8; 32],
}

/// Without the hash, as for tokens.
impl fmt::Debug for StoredInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredInvitation").field(&self.info).finish()
    }
}

/// The answer to a request with an idempotency key, for when the same request comes again (API-33, API-34).
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Who asked what under which key: a hash, made by the caller.
    pub lookup: [u8; 32],
    /// What the request said: a hash, made by the caller.
    pub fingerprint: [u8; 32],
    /// The answer, sealed by the caller: the store cannot read it.
    pub sealed: Vec<u8>,
    /// Until when it is kept, in seconds since 1970.
    pub expires: u64,
}

/// Without contents.
impl fmt::Debug for StoredAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAnswer").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Steps that become durable together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The serial kept before; another one there means that somebody else wrote.
    pub after: Option<u64>,
    /// The last serial taken by this batch, or jumped to.
    pub serial: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// What happens, in order; each goes to the journal too.
    pub steps: Vec<Step>,
    /// Zones that the steps on nodes touch, with their new serials.
    pub touched: Vec<(DomainName, u64)>,
    /// Answers to keep with them; those whose time is over at [`time`](Self::time) are forgotten.
    pub answers: Vec<StoredAnswer>,
}

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

impl Act {
    /// The journal's word for it.
    #[must_use]
    pub const fn kind(&self) -> JournalKind {
        match self {
            Self::Register { .. } => JournalKind::Register,
            Self::Deregister { .. } => JournalKind::Deregister,
            Self::ChangeState { .. } => JournalKind::ChangeState,
            Self::ResetKey { .. } => JournalKind::ResetKey,
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

impl JournalKind {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::Register,
        Self::Deregister,
        Self::ChangeState,
        Self::ResetKey,
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

impl ZoneRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Own, Self::Peers, Self::Policy, Self::Numbers];

    /// As it is kept.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Peers => "peers",
            Self::Policy => "policy",
            Self::Numbers => "numbers",
        }
    }
}

/// A backend did not do its part; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Disk full, read-only, gone, busy: trying again may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The contents are not what a store writes.
    #[error("the store is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A document that this version cannot read.
    #[error("the registration of {domain} cannot be read")]
    Document {
        /// The node's domain, as it is kept.
        domain: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Somebody else wrote: this process must not go on as if it knew the contents.
    #[error("another writer changed the store")]
    Overtaken,
    /// [`Backend::close`] was called.
    #[error("the store is closed")]
    Closed,
}
