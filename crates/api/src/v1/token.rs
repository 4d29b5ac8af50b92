//! The bodies of `/v1/tokens`.

use serde::Serialize;
use tandem_model::{DomainName, Network};
use tandem_store::token::{
    MAX_OVERLAP, MAX_SCOPE_NAMES as MAX_NAMES, MAX_TOKEN_LABEL as MAX_LABEL, MAX_TOKEN_SOURCES as MAX_SOURCES,
};
use tandem_store::{NewToken, Right, Rights, Scope, TokenInfo, TokenSecret};
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::reader::{Members, Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// Shortest and longest life that may be asked for, in seconds: a minute to ten years.
pub(crate) const LIFE: std::ops::RangeInclusive<u64> = 60..=315_360_000;
/// Seconds that a token lives when nothing is said: a year. No token made over the API lives for ever.
pub(crate) const DEFAULT_LIFE: u64 = 31_536_000;
/// Seconds that an old secret stays valid when nothing is said: a day.
const DEFAULT_OVERLAP: u64 = 86_400;

/// A token to be made: `names` for a node's, or a role without names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken, example = json!({"names": ["debug.ostn.test"], "expires_in": 7_776_000, "label": "debug node"}))]
pub(crate) struct NewTokenBody {
    /// `node` needs `names`; `read` reads every registration and zone; `admin` may do everything. `node` when not given.
    #[schema(required = false, value_type = Role)]
    role: &'static str,
    /// The domains that a node's token is about, and names below them.
    #[schema(required = false, min_items = 1, max_items = 100)]
    names: Vec<String>,
    /// What a node's token may do there: all of it when not given. With the role `read`: `read`, and `numbers` to see
    /// the numbers of all nodes too.
    #[schema(required = false, min_items = 1, max_items = 4, value_type = Vec<ActionWord>)]
    actions: Vec<&'static str>,
    /// Networks that its holder calls from; from anywhere when not given.
    #[schema(required = false, min_items = 1, max_items = 16)]
    sources: Vec<String>,
    /// True is the same as the role `admin`.
    #[schema(required = false)]
    admin: bool,
    /// Seconds until it expires; a year when not given.
    #[schema(required = false, minimum = 60, maximum = 315_360_000)]
    expires_in: u64,
    /// A word for lists.
    #[schema(required = false, min_length = 1, max_length = 100)]
    label: String,
}

/// What a token is for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes the words; they are made from the store's")]
pub(crate) enum Role {
    Admin,
    Read,
    Node,
}

/// What may be done with a registration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Action)]
#[expect(dead_code, reason = "describes the words; they are made from the store's")]
pub(crate) enum ActionWord {
    Publish,
    Renew,
    Operate,
    Read,
    Numbers,
}

/// How a token came to be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes the words; they are made from the store's")]
pub(crate) enum Origin {
    Admin,
    Invitation,
    Registration,
}

/// Reads the body of `POST /v1/tokens`.
///
/// # Errors
///
/// Every fault, at most 50.
pub(crate) fn read_new_token(body: &Value<'_>) -> Result<NewToken, Vec<Fault>> {
    let mut reader = Reader::default();
    let new = read(&mut reader, body);
    let (faults, _) = reader.finish();
    match new {
        Some(new) if faults.is_empty() => Ok(new),
        _ => Err(faults),
    }
}

fn read(reader: &mut Reader, body: &Value<'_>) -> Option<NewToken> {
    const KNOWN: [&str; 7] = ["role", "names", "actions", "sources", "admin", "expires_in", "label"];
    let root = Pointer::root();
    let members = reader.object(body, &root, &KNOWN)?;
    let admin = match members.find("admin") {
        None | Some((_, Value::Bool(false))) => false,
        Some((_, Value::Bool(true))) => true,
        Some((at, other)) => {
            reader.fault(&at, format_args!("must be true or false; found {}", other.kind()));
            false
        }
    };
    let role = match members.find("role") {
        None if admin => "admin",
        None => "node",
        Some((at, value)) => match reader.text(value, &at)? {
            "admin" => "admin",
            word @ ("read" | "node") if !admin => word,
            "read" | "node" => {
                reader.fault(&at, "`admin` says otherwise: leave one of them out");
                return None;
            }
            _ => {
                reader.fault(&at, "must be admin, read or node");
                return None;
            }
        },
    };
    let scope = match role {
        "node" => read_names(reader, &members).map(Scope::Nodes),
        other => {
            for name in ["names", "actions"] {
                if let Some((at, _)) = members.find(name).filter(|_| other == "admin" || name == "names") {
                    reader.fault(&at, format_args!("belongs to a node's token; one for `{other}` has none"));
                }
            }
            Some(if other == "admin" { Scope::Admin } else { Scope::Read })
        }
    };
    let actions = members.find("actions").map_or(Rights::ALL, |(at, value)| read_actions(reader, value, &at, role));
    let sources = members.find("sources").map_or_else(Vec::new, |(at, value)| read_sources(reader, value, &at));
    let expires_in = match members.find("expires_in") {
        None => Some(DEFAULT_LIFE),
        Some((at, value)) => reader.whole(value, &at, LIFE),
    };
    let label = read_label(reader, &members);
    Some(NewToken { scope: scope?, rights: actions, sources, expires_in: Some(expires_in?), label })
}

fn read_names(reader: &mut Reader, members: &Members<'_>) -> Option<Vec<DomainName>> {
    let Some((at, value)) = members.find("names") else {
        reader.fault(&Pointer::root().member("names"), "is required: the domains that the token may register");
        return None;
    };
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
    Some(names)
}

fn read_actions(reader: &mut Reader, value: &Value<'_>, at: &Pointer, role: &str) -> Rights {
    let (known, words): (&[Right], _) = match role {
        "read" => (&[Right::Read, Right::Numbers], "read or numbers"),
        _ => (&Right::OF_NODES, "publish, renew, operate or read"),
    };
    let mut actions = Vec::new();
    for (at, item) in reader.list(value, at, Right::ALL.len()) {
        let action = reader.text(item, &at).and_then(|word| {
            let action = Right::parse(word).filter(|action| known.contains(action));
            if action.is_none() {
                reader.fault(&at, format_args!("must be {words}"));
            }
            action
        });
        actions.extend(action);
    }
    if actions.is_empty() && !reader.has_faults() {
        reader.fault(at, "must have at least one action");
    }
    actions.into_iter().collect()
}

fn read_sources(reader: &mut Reader, value: &Value<'_>, at: &Pointer) -> Vec<Network> {
    let mut networks = Vec::new();
    for (at, item) in reader.list(value, at, MAX_SOURCES) {
        if let Some(network) = reader.parsed(item, &at, Network::parse)
            && !networks.contains(&network)
        {
            networks.push(network);
        }
    }
    // None at all would be a token for everywhere.
    if networks.is_empty() && !reader.has_faults() {
        reader.fault(at, "must have at least one network; leave it out to allow all");
    }
    networks
}

/// The member `label` of a token or an invitation.
pub(crate) fn read_label(reader: &mut Reader, members: &Members<'_>) -> Option<String> {
    let (at, value) = members.find("label")?;
    let label = reader.text(value, &at)?;
    if label.is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control) {
        reader.fault(&at, format_args!("must have 1 to {MAX_LABEL} octets and no control characters"));
    }
    Some(label.to_owned())
}

/// How a token is rotated.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rotation, example = json!({"overlap_seconds": 3600}))]
pub(crate) struct RotationBody {
    /// Seconds that the old secret stays valid: a day when not given.
    #[schema(required = false, minimum = 0, maximum = 2_592_000)]
    overlap_seconds: u64,
    /// Seconds until the token expires, from an admin; else its end stays.
    #[schema(required = false, minimum = 60, maximum = 315_360_000)]
    expires_in: u64,
}

/// What the body of a rotation says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Seconds that the old secret stays valid.
    pub(crate) overlap: u64,
    /// Seconds until the token expires; `None`: its end stays.
    pub(crate) expires_in: Option<u64>,
}

/// Reads the body of `POST /v1/tokens/{id}/rotate`.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_rotation(body: &Value<'_>, admin: bool) -> Result<Rotation, Vec<Fault>> {
    let mut reader = Reader::default();
    let rotation = reader.object(body, &Pointer::root(), &["overlap_seconds", "expires_in"]).and_then(|members| {
        let overlap = match members.find("overlap_seconds") {
            None => Some(DEFAULT_OVERLAP),
            Some((at, value)) => reader.whole(value, &at, 0..=MAX_OVERLAP),
        };
        let expires_in = match members.find("expires_in") {
            None => None,
            Some((at, _)) if !admin => {
                // A token that could move its own end would have none.
                reader.fault(&at, "only an admin moves the end of a token: leave it out");
                None
            }
            Some((at, value)) => reader.whole(value, &at, LIFE),
        };
        Some(Rotation { overlap: overlap?, expires_in })
    });
    let (faults, _) = reader.finish();
    rotation.filter(|_| faults.is_empty()).ok_or(faults)
}

/// A token as lists show it, never its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenBody {
    /// Its public id.
    #[schema(example = "k7Qd0c2n")]
    id: String,
    /// What it is for.
    #[schema(value_type = Role)]
    role: &'static str,
    /// Whether it may do everything.
    admin: bool,
    /// The domains that it is about, and names below them; empty for a role without.
    names: Vec<String>,
    /// What it may do; missing for admins, and for tokens that read all but numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<ActionWord>)]
    actions: Vec<&'static str>,
    /// Networks that its holder calls from; missing when from anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    sources: Vec<String>,
    /// A word for lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "debug node")]
    label: Option<String>,
    /// How it came to be.
    #[schema(value_type = Origin)]
    origin: &'static str,
    /// Whether what it publishes at a new name waits for an admin's approval.
    moderated: bool,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    created: String,
    /// When it ends; missing when never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2027-01-31T12:00:00Z")]
    expires: Option<String>,
    /// Until when the secret before the last rotation is valid too; missing when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2026-02-01T12:00:00Z")]
    previous_until: Option<String>,
}

impl From<&TokenInfo> for TokenBody {
    fn from(info: &TokenInfo) -> Self {
        Self {
            id: info.id.clone(),
            role: info.scope.role(),
            admin: info.scope == Scope::Admin,
            names: info.scope.names().iter().map(ToString::to_string).collect(),
            actions: match info.scope {
                Scope::Nodes(_) => info.rights.iter().map(Right::as_str).collect(),
                Scope::Read if info.rights.contains(Right::Numbers) => {
                    [Right::Read, Right::Numbers].map(Right::as_str).into()
                }
                Scope::Read | Scope::Admin => Vec::new(),
            },
            sources: info.sources.iter().map(ToString::to_string).collect(),
            label: info.label.clone(),
            origin: info.origin.as_str(),
            moderated: info.moderated,
            created: rfc3339(info.created),
            expires: info.expires.map(rfc3339),
            previous_until: info.previous_until.map(rfc3339),
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
        let new = read(r#"{"role":"read","sources":["192.0.2.0/24","192.0.2.0/24"]}"#).unwrap();
        assert_eq!((new.scope, new.sources), (Scope::Read, vec![Network::parse("192.0.2.0/24").unwrap()]));
        let new = read(r#"{"role":"node","names":["a.test"],"actions":["renew","read","renew"]}"#).unwrap();
        assert_eq!(new.rights, [Right::Read, Right::Renew].into_iter().collect());
    }

    #[test]
    fn rotations() {
        let read = |text: &str, admin| read_rotation(&json::parse(text.as_bytes()).unwrap(), admin);
        assert_eq!(read("{}", false).unwrap(), Rotation { overlap: DEFAULT_OVERLAP, expires_in: None });
        let all = r#"{"overlap_seconds":0,"expires_in":60}"#;
        assert_eq!(read(all, true).unwrap(), Rotation { overlap: 0, expires_in: Some(60) });
        assert_eq!(read(all, false).unwrap_err()[0].pointer, "#/expires_in", "no token moves its own end");
        assert_eq!(read(r#"{"overlap_seconds":2592001}"#, true).unwrap_err()[0].pointer, "#/overlap_seconds");
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
            (r#"{"role":"boss"}"#, "#/role"),
            (r#"{"role":"node"}"#, "#/names"),
            (r#"{"role":"read","admin":true}"#, "#/role"),
            (r#"{"role":"read","names":["a.test"]}"#, "#/names"),
            (r#"{"role":"admin","actions":["read"]}"#, "#/actions"),
            (r#"{"names":["a.test"],"actions":[]}"#, "#/actions"),
            (r#"{"names":["a.test"],"actions":["read","fly"]}"#, "#/actions/1"),
            (r#"{"names":["a.test"],"actions":["read","numbers"]}"#, "#/actions/1"),
            (r#"{"role":"read","actions":["read","renew"]}"#, "#/actions/1"),
            (r#"{"names":["a.test"],"sources":[]}"#, "#/sources"),
            (r#"{"names":["a.test"],"sources":["192.0.2.1/24"]}"#, "#/sources/0"),
        ] {
            assert_eq!(read(text).unwrap_err()[0].pointer, pointer, "{text}");
        }
    }
}
