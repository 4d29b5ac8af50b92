//! Who registered what: registrations, journal, serials and tokens; builds the next version and publishes it.
//!
//! [`Directory`] is the way in: it checks a change against what is served, makes it durable, publishes it to
//! [`tandem_zone::Live`], and only then says so. Backends implement [`Backend`]; SQLite is the one built here.
//! Reading order: [`directory`], [`state`], [`lease`], `writer`, `serial`, `history`, [`backend`], [`sqlite`].

mod admin_token;
pub mod backend;
pub mod conditions;
pub mod directory;
mod document;
pub mod error;
mod health;
mod history;
pub mod identity;
pub mod import;
pub mod invitation;
mod journal;
mod keep;
mod key;
mod keyring;
pub mod lease;
pub mod number;
mod open;
pub mod proof;
mod serial;
pub mod sqlite;
pub mod state;
pub mod stats;
pub mod token;
mod walker;
mod watched;
mod writer;

pub use backend::Backend;
pub use conditions::{Clock, Conditions};
pub use directory::{Directory, Effect, Precondition, Receipt, Registered, ReloadReport};
pub use document::DocumentError;
pub use error::{
    ActError, BackupError, DeregisterError, DirectoryError, NoteError, OpenError, ReadError, RegisterError,
    ReloadError, RenewError, ResetKeyError, RestoreError,
};
pub use identity::{KeyError, Signature};
pub use import::{ImportNode, ImportRehearsal, Imported, MAX_IMPORT};
pub use invitation::{InvitationCode, InvitationInfo, NewInvitation};
pub use keep::{KEPT_FOR, Keep, Seal};
pub use lease::{Lease, LeaseTimes};
pub use number::{ClaimPolicy, Delegation, NumberEntry, NumberError, PendingClaim, Revoked};
pub use proof::{Proof, ProofError, ProofId, ProofMethod, ProofOutcome, ProofProgress, ProofState};
pub use sqlite::SqliteBackend;
pub use sqlite::backup::Manifest;
pub use sqlite::restore::{RestoreOptions, Restored, restore};
pub use state::{Action, NodeIdentity, NodeState, Refusal, Standing};
pub use stats::StoreStats;
pub use token::{Actor, NewToken, Origin, Right, Rights, Scope, TokenError, TokenInfo, TokenSecret};
pub use watched::MAX_WATCHED;
