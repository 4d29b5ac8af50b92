//! The bodies of `/v1/tokens`.

use serde::Serialize;
use tandem_store::{NewToken, Scope, TokenInfo, TokenSecret};
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::reader::{Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// Most names in one token.
const MAX_NAMES: usize = 100;
/// Longest label, in octets.
const MAX_LABEL: usize = 100;
/// Shortest and longest life that may be asked for, in seconds: a minute to ten years.
const LIFE: std::ops::RangeInclusive<u64> = 60..=315_360_000;
/// Seconds that a token lives when nothing is said: a year. No token made over the API lives for ever.
const DEFAULT_LIFE: u64 = 31_536_000;

/// A token to be made: either `names` or `admin`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken, example = json!({"names": ["debug.ostn.test"], "expires_in": 7_776_000, "label": "debug node"}))]
pub(crate) struct NewTokenBody {
    /// The domains that it may register, and names below them.
    #[schema(required = false, min_items = 1, max_items = 100)]
    names: Vec<String>,
    /// True for a token that may do everything.
    #[schema(required = false)]
    admin: bool,
    /// Seconds until it expires; a year when not given.
    #[schema(required = false, minimum = 60, maximum = 315_360_000)]
    expires_in: u64,
    /// A word for lists.
    #[schema(required = false, min_length = 1, max_length = 100)]
    label: String,
}

/// Reads the body of `POST /v1/tokens`.
///
/// # Errors
///
/// Every fault, at most 50.
pub(crate) fn read_new_token(body: &Value) -> Result<NewToken, Vec<Fault>> {
    let mut reader = Reader::default();
    let new = read(&mut reader, body);
    let (faults, _) = reader.finish();
    match new {
        Some(new) if faults.is_empty() => Ok(new),
        _ => Err(faults),
    }
}

fn read(reader: &mut Reader, body: &Value) -> Option<NewToken> {
    let root = Pointer::root();
    let members = reader.object(body, &root, &["names", "admin", "expires_in", "label"])?;
    let admin = match members.find("admin") {
        None | Some((_, Value::Bool(false))) => false,
        Some((_, Value::Bool(true))) => true,
        Some((at, other)) => {
            reader.fault(&at, format_args!("must be true or false; found {}", other.kind()));
            false
        }
    };
    let scope = match members.find("names") {
        Some((at, _)) if admin => {
            reader.fault(&at, "an admin token covers every name: leave `names` or `admin` out");
            None
        }
        None if admin => Some(Scope::Admin),
        None => {
            reader.fault(&root.member("names"), "is required: the domains that the token may register");
            None
        }
        Some((at, value)) => {
            let mut names = Vec::new();
            for (at, item) in reader.list(value, &at, MAX_NAMES) {
                let name = reader.text(item, &at).and_then(|text| reader.name(text, &at));
                if let Some(name) = name
                    && !names.contains(&name)
                {
                    names.push(name);
                }
            }
            if names.is_empty() && !reader.has_faults() {
                reader.fault(&at, "must have at least one name");
            }
            Some(Scope::Nodes(names))
        }
    };
    let expires_in = match members.find("expires_in") {
        None => Some(DEFAULT_LIFE),
        Some((at, value)) => reader.whole(value, &at, LIFE),
    };
    let label = match members.find("label") {
        None => None,
        Some((at, value)) => {
            let label = reader.text(value, &at)?;
            if label.is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control) {
                reader.fault(&at, format_args!("must have 1 to {MAX_LABEL} octets and no control characters"));
            }
            Some(label.to_owned())
        }
    };
    Some(NewToken { scope: scope?, expires_in: Some(expires_in?), label })
}

/// A token as lists show it, never its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenBody {
    /// Its public id.
    #[schema(example = "k7Qd0c2n")]
    id: String,
    /// Whether it may do everything.
    admin: bool,
    /// The domains that it may register, and names below them; empty for an admin's.
    names: Vec<String>,
    /// A word for lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "debug node")]
    label: Option<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    created: String,
    /// When it ends; missing when never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2027-01-31T12:00:00Z")]
    expires: Option<String>,
}

impl From<&TokenInfo> for TokenBody {
    fn from(info: &TokenInfo) -> Self {
        let (admin, names) = match &info.scope {
            Scope::Admin => (true, Vec::new()),
            Scope::Nodes(names) => (false, names.iter().map(ToString::to_string).collect()),
        };
        Self {
            id: info.id.clone(),
            admin,
            names,
            label: info.label.clone(),
            created: rfc3339(info.created),
            expires: info.expires.map(rfc3339),
        }
    }
}

/// One page of tokens, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(crate) struct TokensBody {
    /// Tokens that are neither revoked nor expired.
    pub(crate) tokens: Vec<TokenBody>,
}

/// A token that was made, with the secret that is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedToken)]
pub(crate) struct IssuedTokenBody {
    /// What it is.
    #[serde(flatten)]
    token: TokenBody,
    /// The text for `Authorization: Bearer …`; the directory keeps only a hash of it (API-70).
    #[schema(example = "tandem_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    secret: String,
}

impl IssuedTokenBody {
    /// Of a token just made.
    pub(crate) fn new(info: &TokenInfo, secret: &TokenSecret) -> Self {
        Self { token: info.into(), secret: secret.expose().into() }
    }
}

/// Hides the secret.
impl std::fmt::Debug for IssuedTokenBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedTokenBody").field("token", &self.token).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn read(text: &str) -> Result<NewToken, Vec<Fault>> {
        read_new_token(&json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn accepted() {
        let new = read(r#"{"names":["Debug.ostn.test","debug.ostn.test"],"expires_in":60,"label":"debug"}"#).unwrap();
        assert_eq!(new.scope, Scope::Nodes(vec!["debug.ostn.test".parse().unwrap()]));
        assert_eq!((new.expires_in, new.label.as_deref()), (Some(60), Some("debug")));
        let new = read(r#"{"admin":true}"#).unwrap();
        assert_eq!((new.scope, new.expires_in, new.label), (Scope::Admin, Some(DEFAULT_LIFE), None));
    }

    #[test]
    fn refused() {
        for (text, pointer) in [
            ("{}", "#/names"),
            (r#"{"names":[]}"#, "#/names"),
            (r#"{"admin":false}"#, "#/names"),
            (r#"{"admin":1}"#, "#/admin"),
            (r#"{"admin":true,"names":["a.test"]}"#, "#/names"),
            (r#"{"names":["a.test","b..test"]}"#, "#/names/1"),
            (r#"{"names":["a.test"],"expires_in":59}"#, "#/expires_in"),
            (r#"{"names":["a.test"],"label":""}"#, "#/label"),
            (r#"{"names":["a.test"],"scope":"x"}"#, "#/scope"),
        ] {
            assert_eq!(read(text).unwrap_err()[0].pointer, pointer, "{text}");
        }
    }
}
