//! What a reload of the master files changed, as version 1 says it.

use serde::Serialize;
use utoipa::ToSchema;

/// What a reload changed. Zones that are not listed are served as before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reload)]
pub(crate) struct ReloadBody {
    /// The zones that changed, in canonical name order.
    pub(crate) zones: Vec<ZoneChangeBody>,
    /// How many zones are served now.
    #[schema(example = 4)]
    pub(crate) served: usize,
}

/// One zone that a reload changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ZoneChange)]
pub(crate) struct ZoneChangeBody {
    /// The zone's name.
    #[schema(example = "ostn.test")]
    pub(crate) apex: String,
    /// What happened to the zone.
    pub(crate) change: ChangeKind,
    /// Static records that are new; a record that was altered is one added and one removed.
    #[schema(example = 2)]
    pub(crate) added: usize,
    /// Static records that are gone.
    #[schema(example = 1)]
    pub(crate) removed: usize,
    /// The zone's version now; none if it is no longer served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u64, example = 13)]
    pub(crate) serial: Option<u32>,
}

/// What happened to a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    /// It is served for the first time.
    Added,
    /// Its records differ.
    Changed,
    /// It is no longer served.
    Removed,
}
