//! `/v1/tokens`: who may call the API. For admins, but for a token's own rotation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tandem_store::{Keep, TokenError, TokenInfo, TokenSecret};

use super::{JSON, json, with_header};
use crate::idempotency::{self, Asker, Begun, First};
use crate::page::Page;
use crate::problem::Problem;
use crate::request::{Caller, demand_accepts, json_body, parse_json, query, unreadable_path};
use crate::state::Api;
use crate::v1::token::{
    IssuedTokenBody, NewTokenBody, RotationBody, TokenBody, TokensBody, read_new_token, read_rotation,
};

/// The path of the list.
const LIST: &str = "/v1/tokens";

/// Makes a token. The answer has its secret, which is never shown again.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "createToken", tag = "tokens",
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day.")),
    request_body(content = NewTokenBody, content_type = "application/json"),
    responses((status = 201, description = "Made.", body = IssuedTokenBody,
        headers(("Location" = String, description = "Where it can be revoked.")))),
)]
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = json_body(&headers, body).await?;
    let body = parse_json(&body)?;
    let first = match idempotency::begin(&api, &headers, Asker::Token(&caller.0.token_id), LIST, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let new = read_new_token(&body).map_err(Problem::invalid)?;
    let keep = keep_created(&first);
    let made = match api.directory.issue_token(new, &caller.0, keep).await {
        Err(TokenError::Repeated) => return again(&first).await,
        made => made?,
    };
    let info = &made.0;
    tracing::debug!(
        made = info.id,
        admin = info.scope == tandem_store::Scope::Admin,
        token = caller.0.token_id,
        "token made"
    );
    created(&made)
}

/// The answer to whoever was given a token: `Location` and body.
fn issued((info, secret): &(TokenInfo, TokenSecret)) -> (Option<String>, IssuedTokenBody) {
    (Some(format!("{LIST}/{}", info.id)), IssuedTokenBody::new(info, secret))
}

/// The answer with a token just made.
pub(super) fn created(made: &(TokenInfo, TokenSecret)) -> Result<Response, Problem> {
    let (location, body) = issued(made);
    with_header(json(StatusCode::CREATED, &body)?, header::LOCATION, &location.unwrap_or_default())
}

/// How that answer is kept.
pub(super) fn keep_created(first: &First) -> Option<Keep<(TokenInfo, TokenSecret)>> {
    first.keep(StatusCode::CREATED, issued)
}

/// The answer of the faster one of two requests with one key.
pub(super) async fn again(first: &First) -> Result<Response, Problem> {
    first.find().await?.ok_or_else(|| TokenError::Repeated.into())
}

/// Gives a token another secret; the old one stays valid for a while. For an admin, and for the token itself: `self` in
/// the place of an id is the token that asks.
#[utoipa::path(
    post, path = "/v1/tokens/{id}/rotate", operation_id = "rotateToken", tag = "tokens",
    params(
        ("id" = String, Path, description = "The token's public id, or `self`.", example = "self"),
        ("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day."),
    ),
    request_body(content = RotationBody, content_type = "application/json"),
    responses((status = 200, description = "Rotated.", body = IssuedTokenBody)),
)]
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| unreadable_path())?;
    let own = &caller.0.token_id;
    let id = if id == "self" { own.clone() } else { id };
    if !caller.is_admin() && id != *own {
        // API-24: what other tokens there are is nobody's business.
        return Err(Problem::not_found());
    }
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = json_body(&headers, body).await?;
    let body = parse_json(&body)?;
    let path = format!("{LIST}/{id}/rotate");
    let first = match idempotency::begin(&api, &headers, Asker::Token(own), &path, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let rotation = read_rotation(&body, caller.is_admin()).map_err(Problem::invalid)?;
    let keep = first.keep(StatusCode::OK, |made| (None, issued(made).1));
    let rotated = api.directory.rotate_token(&id, rotation.overlap, rotation.expires_in, &caller.0, keep).await;
    let (info, secret) = match rotated {
        Err(TokenError::Repeated) => return again(&first).await,
        rotated => rotated?,
    };
    tracing::debug!(rotated = info.id, token = own, "token rotated");
    json(StatusCode::OK, &IssuedTokenBody::new(&info, &secret))
}

/// Lists tokens that are neither revoked nor expired, oldest first, without secrets.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "listTokens", tag = "tokens",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = TokensBody,
        headers(("Link" = String, description = "rel=first, and rel=next unless this is the end (RFC 8288).")))),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    demand_accepts(&headers, JSON)?;
    let page = Page::new(LIST, &uri)?;
    // A fixed width makes text order the order of time.
    let key = |info: &TokenInfo| format!("{:020} {}", info.created, info.id);
    let mut tokens = api.directory.tokens().await?;
    tokens.retain(|info| page.after.as_ref().is_none_or(|after| key(info) > *after));
    tokens.sort_by_key(key);
    let next = page.cut(&mut tokens, key);
    let body = TokensBody { tokens: tokens.iter().map(TokenBody::from).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// Ends a token, at once.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", operation_id = "deleteToken", tag = "tokens",
    params(("id" = String, Path, description = "The token's public id.")),
    responses((status = 204, description = "Ended.")),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    let Path(id) = id.map_err(|_| unreadable_path())?;
    query(&uri, &[])?;
    api.directory.revoke_token(&id, &caller.0).await?;
    tracing::debug!(ended = id, token = caller.0.token_id, "token ended");
    Ok(StatusCode::NO_CONTENT.into_response())
}
