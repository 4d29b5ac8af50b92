//! The API's bodies as this client reads them: what it shows to people, and no more. Unknown members are ignored, so
//! that a newer service can be talked to (API-2). `--json` prints what came, unread.

use std::fmt;

use serde::Deserialize;

/// What a PUT did or would do.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) domain: String,
    pub(super) effect: String,
    pub(super) serial: Option<u32>,
    pub(super) state: Option<String>,
    #[serde(default)]
    pub(super) records: Vec<Record>,
    #[serde(default)]
    pub(super) normalised: Vec<Normalised>,
    #[serde(default)]
    pub(super) warnings: Vec<Warning>,
}

/// A value that is kept in another spelling.
#[derive(Debug, Deserialize)]
pub(super) struct Normalised {
    pub(super) pointer: String,
    pub(super) to: String,
}

/// Something that works but may not be meant.
#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) rule: Option<String>,
    pub(super) pointer: String,
    pub(super) detail: String,
}

/// One DNS record.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    owner: String,
    ttl: u32,
    r#type: String,
    data: String,
}

/// As a master file has it.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} IN {} {}", self.owner, self.ttl, self.r#type, self.data)
    }
}

/// The records of a node.
#[derive(Debug, Deserialize)]
pub(super) struct Records {
    pub(super) records: Vec<Record>,
}

/// A registered node.
#[derive(Debug, Deserialize)]
pub(super) struct Registration {
    pub(super) domain: String,
    pub(super) etag: String,
    pub(super) created: String,
    pub(super) updated: String,
    /// Not sent by a service without states.
    #[serde(default = "active")]
    pub(super) state: String,
    pub(super) since: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) lease_until: Option<String>,
    /// The key that signs its document.
    pub(super) key: Option<SigningKey>,
    /// Forgotten of a tombstone.
    pub(super) node: Option<Node>,
}

/// The key that a node is known by.
#[derive(Debug, Deserialize)]
pub(super) struct SigningKey {
    thumbprint: String,
    serial: Option<u64>,
    next: Option<String>,
    reset_at: Option<String>,
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thumbprint)?;
        self.serial.iter().try_for_each(|serial| write!(f, ", signed serial {serial}"))?;
        self.next.iter().try_for_each(|next| write!(f, ", next key {next}"))?;
        self.reset_at.iter().try_for_each(|at| write!(f, ", another key may sign from {at} on"))
    }
}

fn active() -> String {
    "active".to_owned()
}

/// A lease that was renewed.
#[derive(Debug, Deserialize)]
pub(super) struct Lease {
    pub(super) domain: String,
    pub(super) state: String,
    pub(super) lease_until: String,
}

/// What it said.
#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    pub(super) numbers: Vec<Number>,
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) sources: Vec<String>,
    pub(super) contact: Option<String>,
    #[serde(default)]
    pub(super) keys: Vec<Pin>,
    pub(super) lease_seconds: Option<u64>,
    pub(super) probe: Option<Probe>,
}

/// The hash of a key in its certificate, or in its own CA's.
#[derive(Debug, Deserialize)]
pub(super) struct Pin {
    holder: String,
    sha256: String,
}

/// As `--key` is written.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.holder == "authority" { "ca:" } else { "" }, self.sha256)
    }
}

/// How it asks to be looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Probe {
    options: bool,
    tlsa: bool,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, tlsa) = (if self.options { ", SIP OPTIONS" } else { "" }, if self.tlsa { ", TLSA" } else { "" });
        write!(f, "TLS{options}{tlsa}")
    }
}

/// A host and port that serves it.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    host: String,
    port: u16,
    priority: u16,
    weight: u16,
    #[serde(default)]
    addresses: Vec<String>,
}

/// As `--target` and `--address` are written.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{},{},{}", self.host, self.port, self.priority, self.weight)?;
        self.addresses.iter().try_for_each(|address| write!(f, " {address}"))
    }
}

/// A number or a block.
#[derive(Debug, Deserialize)]
pub(super) struct Number {
    e164: Option<String>,
    uri: Option<String>,
    block: Option<String>,
}

/// As `--number` is written; a block as its digits and an asterisk.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.e164, &self.uri, &self.block) {
            (Some(number), Some(uri), _) => write!(f, "{number}={uri}"),
            (Some(number), None, _) => f.write_str(number),
            (None, _, Some(block)) => write!(f, "{block}*"),
            (None, _, None) => f.write_str("(unknown to this version)"),
        }
    }
}

/// A zone that is served.
#[derive(Debug, Deserialize)]
pub(super) struct Zone {
    pub(super) apex: String,
    pub(super) serial: u32,
}

/// How many actions there are: a token that has all of them is told without.
const ALL_ACTIONS: usize = 4;

/// A token, without its secret.
#[derive(Debug, Deserialize)]
pub(super) struct TokenInfo {
    pub(super) id: String,
    #[serde(default)]
    admin: bool,
    role: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    actions: Vec<String>,
    #[serde(default)]
    sources: Vec<String>,
    pub(super) label: Option<String>,
    pub(super) created: String,
    pub(super) expires: Option<String>,
}

impl TokenInfo {
    /// What it allows, for people.
    pub(super) fn scope(&self) -> String {
        let mut text = match (self.admin, self.role.as_deref()) {
            (true, _) => "everything".to_owned(),
            (false, Some("read")) => "reading everything".to_owned(),
            (false, _) => self.names.join(" "),
        };
        if !self.actions.is_empty() && self.actions.len() < ALL_ACTIONS {
            text.push_str(&format!(" ({})", self.actions.join(", ")));
        }
        if !self.sources.is_empty() {
            text.push_str(&format!(" from {}", self.sources.join(", ")));
        }
        text
    }
}
