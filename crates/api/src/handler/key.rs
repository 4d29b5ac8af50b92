//! `/v1/nodes/{domain}/document` and `…/reset-key`: what a node's key signed, and what an admin does when it is lost.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tandem_store::{ResetKeyError, Right};

use super::node::find;
use super::{JSON, json, tagged};
use crate::idempotency;
use crate::precondition::{Conditions, Outcome, etag};
use crate::problem::{Kind, Problem};
use crate::request::{Caller, PathDomain, demand_accepts, optional_json_body, parse_json, query};
use crate::signed::JOSE_JSON;
use crate::state::Api;
use crate::v1::answer::RegistrationBody;
use crate::v1::life::{ReasonBody, read_reason};

/// Shows the document that the node's key signed, octet for octet as it came: anybody who has it can check it.
///
/// Nothing when the node has no key, or when an admin has replaced what it signed by something unsigned.
#[utoipa::path(
    get, path = "/v1/nodes/{domain}/document", operation_id = "getNodeDocument", tag = "nodes",
    params(
        ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
        ("If-None-Match" = Option<String>, Header, description = "Entity tags that the caller has already."),
    ),
    responses(
        (status = 200, description = "A JWS in flattened JSON (RFC 7515 7.2.2) over canonical JSON (RFC 8785).",
            body = crate::v1::answer::SignedBody, content_type = "application/jose+json",
            headers(("ETag" = String, description = "Strong; the registration's."))),
        (status = 304, description = "The caller has it already."),
    ),
)]
pub(crate) async fn document(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registered = find(&api, &caller, Right::Read, &domain.name).await?;
    query(&uri, &[])?;
    demand_accepts(&headers, JOSE_JSON)?;
    if !registered.node.numbers.is_empty() {
        // They are signed with the rest: nothing of it can be left out.
        super::number::demand_numbers(&caller)?;
    }
    let signed = registered.identity.map(|identity| identity.signed).filter(|signed| !signed.is_empty());
    let signed = signed.ok_or_else(|| Problem::new(Kind::NotFound, "This node has no signed document."))?;
    tagged(&headers, registered.revision, || {
        let mut response = (StatusCode::OK, signed.into_vec()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JOSE_JSON));
        Ok(response)
    })
}

/// Lets another key follow a node's key that is lost, after a delay in which its holder can notice.
///
/// If the key signs again before `reset_at`, nothing comes of it. An admin must send `If-Match` (API-12).
#[utoipa::path(
    post, path = "/v1/nodes/{domain}/reset-key", operation_id = "resetNodeKey", tag = "nodes",
    params(
        ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
        ("If-Match" = String, Header, description = "The entity tag."),
    ),
    request_body(content = Option<ReasonBody>, content_type = "application/json"),
    responses((status = 200, description = "The registration, with `reset_at` in its `key`.", body = RegistrationBody)),
)]
pub(crate) async fn reset(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    let registered = find(&api, &caller, Right::Read, &domain.name).await?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    idempotency::check(&headers)?;
    let body = optional_json_body(&headers, body).await?;
    let conditions = Conditions::read(&headers)?;
    if !conditions.has_if_match() {
        let detail =
            "An admin who resets somebody's key must have seen the node: GET it, and send its ETag in If-Match.";
        return Err(Problem::new(Kind::PreconditionRequired, detail));
    }
    let current = Some(registered.revision);
    if conditions.evaluate(current) != Outcome::True {
        return Err(Problem::stale(current.map(etag)));
    }
    let reason = match body {
        Some(body) => read_reason(&parse_json(&body)?).map_err(Problem::invalid)?,
        None => None,
    };
    let must = conditions.into_precondition(current);
    let receipt =
        api.directory.reset_key(&domain.name, reason, must, &caller.0).await.map_err(|error| match error {
            ResetKeyError::NotFound => Problem::new(Kind::NotFound, "This node has no key."),
            ResetKeyError::Stale(current) => Problem::stale(current.map(etag)),
            ResetKeyError::Directory(error) => error.into(),
        })?;
    json(StatusCode::OK, &RegistrationBody::from(&receipt.registered))
}
