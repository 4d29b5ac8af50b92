//! The API's bodies as an agent reads them; unknown members are ignored, so that a newer directory can be followed (API-2).

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::DirectoryError;
use crate::document::{NodeDocument, NumberDocument};

/// One page of `/v1/members`.
#[derive(Debug, Deserialize)]
pub(crate) struct Members {
    pub(crate) members: Vec<MemberBody>,
}

/// A member.
#[derive(Debug, Deserialize)]
pub(crate) struct MemberBody {
    pub(crate) domain: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) lease_until: String,
    pub(crate) node: Option<NodeDocument>,
    /// The places of the targets that the directory found down, in the order of the document.
    #[serde(default)]
    pub(crate) down: Vec<usize>,
    pub(crate) numbers: Option<Vec<NumberDocument>>,
    pub(crate) key: Option<KeyBody>,
    /// The text of a JWS.
    pub(crate) signed: Option<String>,
}

/// What the directory says of a member's key.
#[derive(Debug, Deserialize)]
pub(crate) struct KeyBody {
    pub(crate) reset_at: Option<String>,
}

/// One event of the feed.
#[derive(Debug, Deserialize)]
pub(crate) struct ChangeBody {
    pub(crate) domain: String,
    /// None when the registration is gone.
    pub(crate) state: Option<String>,
    pub(crate) reason: Option<String>,
}

/// A long poll's answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Changes {
    pub(crate) last: u64,
}

/// A renewed lease.
#[derive(Debug, Deserialize)]
pub(crate) struct Lease {
    pub(crate) state: String,
    pub(crate) lease_seconds: u64,
    pub(crate) lease_until: String,
}

/// What a PUT did.
#[derive(Debug, Deserialize)]
pub(crate) struct Moved {
    pub(crate) effect: String,
}

/// A registration.
#[derive(Debug, Deserialize)]
pub(crate) struct RegistrationBody {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
}

/// Reads a body.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, DirectoryError> {
    serde_json::from_slice(text).map_err(|error| DirectoryError::Answer(error.to_string()))
}
