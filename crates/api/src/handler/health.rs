//! `/livez`, `/readyz` and `/openapi.json`: open to everybody, without detail (API-80, API-82).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::{JSON, json};
use crate::problem::Problem;
use crate::state::Api;
use crate::v1::answer::HealthBody;

/// Says that the process works; asks nobody.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "health", security(()),
    responses((status = 200, description = "The process works.", body = HealthBody)),
)]
pub(crate) async fn livez() -> Result<Response, Problem> {
    json(StatusCode::OK, &HealthBody { status: "live" })
}

/// Says whether the service does its work; else `failing` says why not.
///
/// `store`: changes cannot be written now. `shutdown`: the service is ending. `zones`, `dns`: only during the start, until
/// they are up.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health", security(()),
    responses((status = 200, description = "Ready.", body = HealthBody)),
)]
pub(crate) async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let mut failing = api.readiness.failing();
    if !api.is_writable().await {
        failing.push("store");
    }
    if failing.is_empty() {
        json(StatusCode::OK, &HealthBody { status: "ready" })
    } else {
        Err(Problem::not_ready(failing))
    }
}

/// Describes the API (OpenAPI 3.1).
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "health", security(()),
    responses((status = 200, description = "This description.", body = serde_json::Value)),
)]
pub(crate) async fn openapi() -> Result<Response, Problem> {
    let mut response = crate::openapi::text().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}
