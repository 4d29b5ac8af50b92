//! What a store must do: the trait [`Backend`], and the values that cross it.
//!
//! A backend keeps; it decides nothing. [`Directory`](crate::Directory) decides what a change is, and hands over a
//! [`Batch`] that is kept whole or not at all. [`sqlite`](crate::sqlite) is the backend built here.

mod act;
mod entry;

use std::fmt;
use std::fs::File;

use tandem_model::DomainName;

pub use self::act::{Act, Step};
pub use self::entry::{AuditEntry, JournalEntry, JournalKind};
use crate::directory::Registered;
use crate::document::DocumentError;
use crate::error::BackupError;
use crate::invitation::InvitationInfo;
use crate::number::{Delegation, PendingClaim};
use crate::proof::Proof;
use crate::sqlite::backup::Manifest;
use crate::state::NodeState;
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
