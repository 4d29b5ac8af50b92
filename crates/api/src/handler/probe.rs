//! `/v1/nodes/{domain}/probes`: what the directory saw when it looked at a node, and looking again.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use tandem_store::Right;

use super::node::find;
use super::{JSON, json};
use crate::idempotency;
use crate::limit::TooMany;
use crate::probe::NotNow;
use crate::problem::{Kind, Problem};
use crate::request::{Caller, PathDomain, demand_accepts, query};
use crate::state::Api;
use crate::v1::probe::ProbesBody;

/// Shows what the directory saw when it looked at a node's targets.
///
/// The results are kept in memory: after a start of the directory the list is empty until it has looked again.
#[utoipa::path(
    get, path = "/v1/nodes/{domain}/probes", operation_id = "getNodeProbes", tag = "nodes",
    params(("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test")),
    responses((status = 200, description = "Each target, with the last look at each address family.", body = ProbesBody)),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registered = find(&api, &caller, Right::Read, &domain.name).await?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let report = api.probes.as_ref().and_then(|probes| probes.report(&domain.name));
    json(StatusCode::OK, &ProbesBody::new(&registered, api.probes.is_some(), report))
}

/// Looks at a node's targets again, as soon as there is room; at most once in a minute.
///
/// The answer has what was seen before: ask again a little later.
#[utoipa::path(
    post, path = "/v1/nodes/{domain}/probes", operation_id = "probeNode", tag = "nodes",
    params(("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test")),
    responses((status = 202, description = "It will be looked at.", body = ProbesBody)),
)]
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registered = find(&api, &caller, Right::Operate, &domain.name).await?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    idempotency::check(&headers)?;
    let Some(probes) = &api.probes else {
        return Err(Problem::new(
            Kind::WrongState,
            "This directory looks at nobody: its admin has not enabled probes.",
        ));
    };
    probes.hurry(&domain.name).map_err(|refusal| match refusal {
        NotNow::NotWatched => {
            let detail = "The node does not ask to be looked at (`probe` in its document), or DNS does not show it.";
            Problem::new(Kind::WrongState, detail)
        }
        NotNow::TooSoon { window, retry_after } => Problem::too_many(TooMany { limit: 1, window, retry_after }),
    })?;
    json(StatusCode::ACCEPTED, &ProbesBody::new(&registered, true, probes.report(&domain.name)))
}
