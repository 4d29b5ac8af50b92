//! The bodies of renewals and of actions on nodes.

use serde::Serialize;
use tandem_model::DomainName;
use tandem_store::state::MAX_REASON;
use tandem_store::{Lease, NodeState};
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::reader::{Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// Why something is done to a node: the body of an action. May be left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reason, example = json!({"reason": "moving to another data centre"}))]
pub(crate) struct ReasonBody {
    /// Shown with the node, in the audit trail and to all who follow the changes.
    #[schema(required = false, min_length = 1, max_length = 200)]
    reason: String,
}

/// Reads the body of an action.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_reason(body: &Value<'_>) -> Result<Option<Box<str>>, Vec<Fault>> {
    let mut reader = Reader::default();
    let mut reason = None;
    if let Some(members) = reader.object(body, &Pointer::root(), &["reason"])
        && let Some((at, value)) = members.find("reason")
        && let Some(text) = reader.text(value, &at)
    {
        if text.is_empty() || text.len() > MAX_REASON || text.chars().any(char::is_control) {
            reader.fault(&at, format_args!("must have 1 to {MAX_REASON} octets and no control characters"));
        }
        reason = Some(text.into());
    }
    let (faults, _) = reader.finish();
    if faults.is_empty() { Ok(reason) } else { Err(faults) }
}

/// A lease that was renewed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(crate) struct LeaseBody {
    /// The node's SIP domain.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// Where the registration is in its life.
    state: StateBody,
    /// The lease's length.
    #[schema(example = 604_800)]
    lease_seconds: u32,
    /// When it ends unless it is renewed again.
    #[schema(format = DateTime, example = "2026-02-07T12:00:00Z")]
    lease_until: String,
}

impl LeaseBody {
    /// The lease of `domain`.
    pub(crate) fn new(domain: &DomainName, lease: &Lease) -> Self {
        Self {
            domain: domain.to_string(),
            state: lease.state.into(),
            lease_seconds: lease.seconds,
            lease_until: rfc3339(lease.until),
        }
    }
}

/// Where a registration is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = State)]
pub(crate) enum StateBody {
    /// Waits for an admin's approval; not in DNS.
    Pending,
    /// Served as registered.
    Active,
    /// The lease has ended: served, but tried last.
    Stale,
    /// The lease ended long ago: not in DNS, names and numbers are held.
    Withdrawn,
    /// The document is forgotten, the name is held.
    Tombstone,
    /// Served, but tried last: it wants no new calls.
    Draining,
    /// Taken out of DNS by an admin.
    Suspended,
    /// Taken out of DNS because its key or host is in wrong hands.
    Compromised,
}

impl From<NodeState> for StateBody {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Pending => Self::Pending,
            NodeState::Active => Self::Active,
            NodeState::Stale => Self::Stale,
            NodeState::Withdrawn => Self::Withdrawn,
            NodeState::Tombstone => Self::Tombstone,
            NodeState::Draining => Self::Draining,
            NodeState::Suspended => Self::Suspended,
            NodeState::Compromised => Self::Compromised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        let read = |text: &str| read_reason(&crate::json::parse(text.as_bytes()).unwrap());
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read(r#"{"reason":"x"}"#).unwrap().as_deref(), Some("x"));
        let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(MAX_REASON + 1));
        for text in [r#"{"reason":""}"#, r#"{"reason":1}"#, r#"{"reason":"a\nb"}"#, r#"{"why":"x"}"#, "[]", &long] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn states_have_the_stores_words() {
        for state in NodeState::ALL {
            assert_eq!(serde_json::to_value(StateBody::from(state)).unwrap(), state.as_str());
        }
    }
}
