//! `POST /v1/zones/reload`: the master files again, for admins. All of them or, on any fault, the zones as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use tandem_model::DomainName;
use tandem_store::ReloadError;
use tandem_zone::Zones;
use tandem_zone::master::StaticZone;

use super::{JSON, json};
use crate::idempotency;
use crate::problem::{Fault, MAX_FAULTS, Problem};
use crate::request::{Caller, demand_accepts, query};
use crate::state::Api;
use crate::v1::reload::{ChangeKind, ReloadBody, ZoneChangeBody};

/// Reads the master files again and serves them; says what changed.
///
/// Nodes are not touched. If any file is wrong, or does not fit a node, nothing changes: the zones are served on as they
/// are, and the problem lists every fault with its file and line.
#[utoipa::path(
    post, path = "/v1/zones/reload", operation_id = "reloadZones", tag = "zones",
    responses((status = 200, description = "The files are served.", body = ReloadBody)),
)]
pub(crate) async fn reload(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    query(&uri, &[])?;
    // Read twice, the files are as if read once: no answer is kept.
    idempotency::check(&headers)?;
    demand_accepts(&headers, JSON)?;
    let Some(files) = &api.zone_files else {
        return Err(Problem::unavailable("This service was started without zone files."));
    };
    // Two at a time would only read the same files twice.
    let _turn =
        api.reloading.try_lock().map_err(|_| Problem::unavailable("The zone files are being read: try again."))?;
    let statics = files
        .read()
        .await
        .map_err(|faults| Problem::invalid(faults.into_iter().take(MAX_FAULTS).map(fault).collect()))?;
    let mut changes = changes(&api.directory.live().load(), &statics);
    let report = api.directory.reload(statics).await?;
    let zones = api.directory.live().load();
    let named = report.added.iter().map(|apex| (apex, ChangeKind::Added));
    let named = named.chain(report.changed.iter().map(|apex| (apex, ChangeKind::Changed)));
    let named = named.chain(report.removed.iter().map(|apex| (apex, ChangeKind::Removed)));
    let named: BTreeMap<&DomainName, ChangeKind> = named.collect();
    let listed = named.into_iter().map(|(apex, change)| {
        let (added, removed) = changes.remove(apex).unwrap_or_default();
        let serial = zones.zone(apex).map(|zone| zone.serial().value());
        ZoneChangeBody { apex: apex.to_string(), change, added, removed, serial }
    });
    json(StatusCode::OK, &ReloadBody { zones: listed.collect(), served: zones.iter().count() })
}

/// How many static records come and go in each zone that differs.
fn changes(served: &Zones, statics: &[StaticZone]) -> BTreeMap<DomainName, (usize, usize)> {
    let mut changes = BTreeMap::new();
    for new in statics {
        let counts = match served.zone(new.apex()) {
            Some(zone) if zone.statics().digest() == new.digest() => continue,
            Some(zone) => {
                let difference = zone.statics().difference(new);
                (difference.added.len(), difference.removed.len())
            }
            None => (new.record_count(), 0),
        };
        changes.insert(new.apex().clone(), counts);
    }
    for zone in served.iter() {
        if statics.iter().all(|new| new.apex() != zone.apex()) {
            changes.insert(zone.apex().clone(), (0, zone.statics().record_count()));
        }
    }
    changes
}

/// A fault that is at no place of the request: it had none.
fn fault(detail: String) -> Fault {
    Fault { detail, pointer: "#".into(), rule: None }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Zones(source) => Self::invalid(vec![fault(source.to_string())]),
            ReloadError::Directory(error) => error.into(),
        }
    }
}
