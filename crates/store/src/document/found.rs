//! The members of a document that came with version 2: how a node wants to be looked at, and what was found.

use serde::{Deserialize, Serialize};
use tandem_model::node::MAX_KEYS;
use tandem_model::{Found, Probe, SeenKey};

use super::DocumentError;
use super::v1::{from_hex, to_hex};

/// How a node wants to be looked at.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeEntry {
    options: bool,
    tlsa: bool,
}

/// What was found by looking.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FoundEntry {
    /// The places of the targets that are down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    down: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<SeenEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenEntry {
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl From<Probe> for ProbeEntry {
    fn from(Probe { options, tlsa }: Probe) -> Self {
        Self { options, tlsa }
    }
}

impl From<ProbeEntry> for Probe {
    fn from(ProbeEntry { options, tlsa }: ProbeEntry) -> Self {
        Self { options, tlsa }
    }
}

impl FoundEntry {
    pub(super) fn from_found(found: &Found) -> Self {
        let entry = |key: &SeenKey| SeenEntry { sha256: to_hex(&key.sha256), until: key.until };
        Self { down: found.down().collect(), keys: found.keys.iter().map(entry).collect() }
    }

    pub(super) fn into_found(self) -> Result<Found, DocumentError> {
        let wrong = || DocumentError::member("found", "not 64 hex digits");
        let key =
            |entry: SeenEntry| Ok(SeenKey { sha256: from_hex(&entry.sha256).ok_or_else(wrong)?, until: entry.until });
        let keys: Vec<_> = self.keys.into_iter().map(key).collect::<Result<_, DocumentError>>()?;
        if keys.len() > MAX_KEYS {
            return Err(DocumentError::member("found", "more keys than there may be"));
        }
        Ok(Found::new(self.down, keys))
    }
}
