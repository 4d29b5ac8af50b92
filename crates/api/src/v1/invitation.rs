//! The bodies of `/v1/invitations`.

use serde::Serialize;
use tandem_store::{InvitationCode, InvitationInfo, NewInvitation};
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::reader::{Pointer, Reader};
use super::token::{DEFAULT_LIFE, LIFE, read_label};
use crate::json::Value;
use crate::problem::Fault;

/// Shortest and longest time that an invitation may be open, in seconds: a minute to 90 days.
const OPEN: std::ops::RangeInclusive<u64> = 60..=7_776_000;
/// Seconds that it is open when nothing is said: a week.
const DEFAULT_OPEN: u64 = 604_800;
/// Longest code worth looking at: ours have 57 octets.
const MAX_CODE: usize = 200;

/// An invitation to be made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewInvitation, example = json!({"domain": "example.org", "expires_in": 604_800, "label": "example"}))]
pub(crate) struct NewInvitationBody {
    /// The domain whose token it makes; the token covers names below it too.
    domain: String,
    /// Seconds until it expires; a week when not given.
    #[schema(required = false, minimum = 60, maximum = 7_776_000)]
    expires_in: u64,
    /// Seconds that the token will live; a year when not given.
    #[schema(required = false, minimum = 60, maximum = 315_360_000)]
    token_expires_in: u64,
    /// A word for lists; the token inherits it.
    #[schema(required = false, min_length = 1, max_length = 100)]
    label: String,
}

/// Reads the body of `POST /v1/invitations`.
///
/// # Errors
///
/// Every fault, at most 50.
pub(crate) fn read_new_invitation(body: &Value<'_>) -> Result<NewInvitation, Vec<Fault>> {
    let mut reader = Reader::default();
    let new = read(&mut reader, body);
    let (faults, _) = reader.finish();
    new.filter(|_| faults.is_empty()).ok_or(faults)
}

fn read(reader: &mut Reader, body: &Value<'_>) -> Option<NewInvitation> {
    let root = Pointer::root();
    let members = reader.object(body, &root, &["domain", "expires_in", "token_expires_in", "label"])?;
    let domain = members.demand(reader, "domain").and_then(|(at, value)| {
        let text = reader.text(value, &at)?;
        reader.name(text, &at)
    });
    let mut seconds = |name, range: &std::ops::RangeInclusive<u64>, default| match members.find(name) {
        None => Some(default),
        Some((at, value)) => reader.whole(value, &at, range.clone()),
    };
    let expires_in = seconds("expires_in", &OPEN, DEFAULT_OPEN);
    let token_expires_in = seconds("token_expires_in", &LIFE, DEFAULT_LIFE);
    let label = read_label(reader, &members);
    Some(NewInvitation { domain: domain?, expires_in: expires_in?, token_expires_in: Some(token_expires_in?), label })
}

/// A code that is redeemed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Redemption, example = json!({"code": "tandem_invite_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}))]
pub(crate) struct RedemptionBody {
    /// The code, as it was shown to the admin who invited.
    #[schema(min_length = 1, max_length = 200)]
    code: String,
}

/// Reads the body of `POST /v1/invitations/redeem`.
///
/// # Errors
///
/// Every fault; none has the code in it.
pub(crate) fn read_code(body: &Value<'_>) -> Result<String, Vec<Fault>> {
    let mut reader = Reader::default();
    let code = reader.object(body, &Pointer::root(), &["code"]).and_then(|members| {
        let (at, value) = members.demand(&mut reader, "code")?;
        let text = reader.text(value, &at)?;
        if text.is_empty() || text.len() > MAX_CODE {
            reader.fault(&at, format_args!("must have 1 to {MAX_CODE} octets"));
        }
        Some(text.to_owned())
    });
    let (faults, _) = reader.finish();
    code.filter(|_| faults.is_empty()).ok_or(faults)
}

/// An invitation as lists show it, never its code.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(crate) struct InvitationBody {
    /// Its public id.
    #[schema(example = "k7Qd0c2n4xZa")]
    id: String,
    /// The domain whose token it makes.
    #[schema(example = "example.org")]
    domain: String,
    /// A word for lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "example")]
    label: Option<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    created: String,
    /// When it ends.
    #[schema(format = DateTime, example = "2026-02-07T12:00:00Z")]
    expires: String,
}

impl From<&InvitationInfo> for InvitationBody {
    fn from(info: &InvitationInfo) -> Self {
        Self {
            id: info.id.clone(),
            domain: info.domain.to_string(),
            label: info.label.clone(),
            created: rfc3339(info.created),
            expires: rfc3339(info.expires),
        }
    }
}

/// One page of invitations, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invitations)]
pub(crate) struct InvitationsBody {
    /// Those that are open.
    pub(crate) invitations: Vec<InvitationBody>,
}

/// An invitation that was made, with the code that is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeInvitation)]
pub(crate) struct MadeInvitationBody {
    /// What it is.
    #[serde(flatten)]
    invitation: InvitationBody,
    /// What whoever is invited redeems, with `tandem join`; the directory keeps only a hash of it.
    #[schema(example = "tandem_invite_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    code: String,
}

impl MadeInvitationBody {
    /// Of an invitation just made.
    pub(crate) fn new(info: &InvitationInfo, code: &InvitationCode) -> Self {
        Self { invitation: info.into(), code: code.expose().into() }
    }
}

/// Hides the code.
impl std::fmt::Debug for MadeInvitationBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeInvitationBody").field("invitation", &self.invitation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn invitations() {
        let read = |text: &str| read_new_invitation(&json::parse(text.as_bytes()).unwrap());
        let new = read(r#"{"domain":"Example.org"}"#).unwrap();
        assert_eq!((new.domain.to_string().as_str(), new.expires_in), ("example.org", DEFAULT_OPEN));
        assert_eq!(new.token_expires_in, Some(DEFAULT_LIFE));
        for (text, pointer) in [
            ("{}", "#/domain"),
            (r#"{"domain":"a..b"}"#, "#/domain"),
            (r#"{"domain":"a.test","expires_in":1}"#, "#/expires_in"),
            (r#"{"domain":"a.test","token_expires_in":1}"#, "#/token_expires_in"),
            (r#"{"domain":"a.test","label":""}"#, "#/label"),
            (r#"{"domain":"a.test","days":1}"#, "#/days"),
        ] {
            assert_eq!(read(text).unwrap_err()[0].pointer, pointer, "{text}");
        }
    }

    #[test]
    fn codes() {
        let read = |text: &str| read_code(&json::parse(text.as_bytes()).unwrap());
        assert_eq!(read(r#"{"code":"x"}"#).unwrap(), "x");
        for text in ["{}", r#"{"code":""}"#, r#"{"code":1}"#, &format!(r#"{{"code":"{}"}}"#, "a".repeat(201))] {
            assert_eq!(read(text).unwrap_err()[0].pointer, "#/code", "{text}");
        }
    }
}
