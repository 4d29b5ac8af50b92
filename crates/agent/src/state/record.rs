//! One line of the log: `checksum record`, the record as JSON.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tandem_identity::Thumbprint;
use tandem_model::{DomainName, Found};

use crate::document::{NodeDocument, NumberDocument, from_hex, to_hex};
use crate::judge::{HOLD_SECONDS, Newcomer};
use crate::member::{KnownKey, Member, MemberState};

/// Octets of the SHA-256 that are the checksum: against accidents.
const CHECKSUM: usize = 8;

/// One thing that changed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A member is now this.
    Member(MemberRecord),
    /// A domain is no member any more; its key is remembered for a while.
    Gone {
        /// Its domain.
        domain: String,
        /// When, in seconds since 1970.
        at: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<KeyRecord>,
    },
    /// A newcomer is held back.
    Held {
        /// Whose name it wants.
        domain: String,
        /// Since when.
        since: u64,
        /// Its key; none: nobody signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// It is not any more.
    Released {
        /// Whose name it wanted.
        domain: String,
    },
    /// All changes up to this one are above.
    Place {
        /// The change's id; none: the list must be read again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// Whose journal.
        directory: String,
        /// When the directory was last heard.
        at: u64,
    },
}

/// A member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    domain: String,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Box<str>>,
    lease_until: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeDocument>,
    /// The places of the targets that the directory found down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    down: Vec<usize>,
    /// Numbers that it had when it was last served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<NumberDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyRecord>,
}

/// A key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    thumbprint: String,
    serial: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset_at: Option<u64>,
}

impl From<&KnownKey> for KeyRecord {
    fn from(key: &KnownKey) -> Self {
        Self {
            thumbprint: key.thumbprint.to_string(),
            serial: key.serial,
            next: key.next.map(|next| next.to_string()),
            digest: to_hex(&key.digest),
            reset_at: key.reset_at,
        }
    }
}

impl KeyRecord {
    /// The key; `None` when the record is damaged.
    pub(crate) fn read(&self) -> Option<KnownKey> {
        Some(KnownKey {
            thumbprint: self.thumbprint.parse().ok()?,
            serial: self.serial,
            next: match &self.next {
                None => None,
                Some(next) => Some(next.parse().ok()?),
            },
            digest: from_hex(&self.digest)?,
            reset_at: self.reset_at,
        })
    }
}

impl From<&Member> for Record {
    fn from(member: &Member) -> Self {
        Self::Member(MemberRecord {
            domain: member.domain.to_string(),
            state: member.state.as_str().into(),
            reason: member.reason.clone(),
            lease_until: member.lease_until,
            node: member.node.as_deref().map(NodeDocument::of),
            down: member.node.iter().flat_map(|node| node.found.down()).collect(),
            withheld: member.withheld.iter().map(NumberDocument::of).collect(),
            key: member.key.as_deref().map(KeyRecord::from),
        })
    }
}

impl MemberRecord {
    /// The member; `None` when the record is damaged.
    pub(crate) fn read(self) -> Option<Member> {
        let domain = DomainName::parse(&self.domain).ok()?;
        let node = match self.node {
            None => None,
            Some(document) => {
                let mut node = document.into_node(domain.clone()).ok()?;
                node.found = Found::new(self.down, Vec::new());
                Some(Box::new(node))
            }
        };
        let withheld: Option<_> = self.withheld.into_iter().map(|number| number.into_claim().ok()).collect();
        let key = match self.key {
            None => None,
            Some(key) => Some(Box::new(key.read()?)),
        };
        let state = MemberState::parse(&self.state)?;
        Some(Member {
            domain,
            state,
            reason: self.reason,
            lease_until: self.lease_until,
            node,
            withheld: withheld?,
            key,
        })
    }
}

impl Record {
    /// A domain that is no member any more.
    pub(crate) fn gone(domain: &DomainName, key: Option<&KnownKey>, at: u64) -> Self {
        Self::Gone { domain: domain.to_string(), at, key: key.map(KeyRecord::from) }
    }

    /// A newcomer that is held back.
    pub(crate) fn held(domain: &DomainName, newcomer: Newcomer, since: u64) -> Self {
        let key = match newcomer {
            Newcomer::Key(key) => Some(key.to_string()),
            Newcomer::Unsigned => None,
        };
        Self::Held { domain: domain.to_string(), since, key }
    }

    /// Who is held back; `None` when the record is damaged.
    pub(crate) fn newcomer(key: Option<&str>) -> Option<Newcomer> {
        match key {
            None => Some(Newcomer::Unsigned),
            Some(key) => Some(Newcomer::Key(key.parse::<Thumbprint>().ok()?)),
        }
    }

    /// The line, its end included.
    pub(crate) fn line(&self) -> String {
        let text = serde_json::to_string(self).expect("strings, numbers and lists are JSON");
        format!("{} {text}\n", checksum(text.as_bytes()))
    }

    /// Reads a line without its end; `None` when it is damaged.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let (sum, text) = line.split_at_checked(2 * CHECKSUM)?;
        let text = text.strip_prefix(b" ")?;
        if checksum(text).as_bytes() != sum {
            return None;
        }
        serde_json::from_slice(text).ok()
    }

    /// What a later record of the same kind about the same thing makes void; and whether this one is worth keeping at `now`
    /// when it is the last.
    pub(crate) fn subject(&self, now: u64) -> (Subject, bool) {
        match self {
            Self::Member(member) => (Subject::Member(member.domain.clone()), true),
            Self::Gone { domain, at, key } => {
                (Subject::Member(domain.clone()), key.is_some() && at + HOLD_SECONDS > now)
            }
            Self::Held { domain, .. } => (Subject::Held(domain.clone()), true),
            Self::Released { domain } => (Subject::Held(domain.clone()), false),
            Self::Place { .. } => (Subject::Place, true),
        }
    }
}

/// What a record is about.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Member(String),
    Held(String),
    Place,
}

fn checksum(text: &[u8]) -> String {
    to_hex(&Sha256::digest(text)[..CHECKSUM])
}
