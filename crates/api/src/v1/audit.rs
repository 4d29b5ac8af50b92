//! The audit trail: who did what, when.

use serde::Serialize;
use tandem_store::backend::AuditEntry;
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::life::StateBody;

/// One thing that was done. Never an address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditBody {
    /// Its place in the journal.
    #[schema(example = 12)]
    id: u64,
    /// When.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    time: String,
    /// What: `register`, `deregister`, `change-state`, `issue-token`, `drop-token`, `serve-zone`, `drop-zone`, `claim-number`, ….
    #[schema(example = "change-state")]
    kind: &'static str,
    /// The node's domain, the zone's name or the token's id.
    #[schema(example = "debug.ostn.test")]
    subject: String,
    /// The id of the token that asked for it; not for what the directory does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "k7Qd0c2n")]
    by: Option<String>,
    /// The node's state before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = StateBody)]
    old_state: Option<StateBody>,
    /// The node's state afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = StateBody)]
    state: Option<StateBody>,
    /// What was said when it was done; of a change about numbers, which.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    reason: Option<String>,
}

/// One page of the audit trail, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(crate) struct AuditPageBody {
    /// What was done. A page may have few entries, or none, although there is a next one.
    pub(crate) entries: Vec<AuditBody>,
}

impl From<AuditEntry> for AuditBody {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.serial,
            time: rfc3339(entry.time),
            kind: entry.kind.as_str(),
            subject: entry.subject,
            by: entry.by,
            old_state: entry.old_state.map(StateBody::from),
            state: entry.new_state.map(StateBody::from),
            reason: entry.reason.map(Into::into),
        }
    }
}
