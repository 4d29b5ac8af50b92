//! `/v1/tokens`: who may call the API. For admins.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tandem_store::TokenInfo;

use super::{JSON, json, with_header};
use crate::page::Page;
use crate::problem::Problem;
use crate::request::{Caller, demand_accepts, json_body, parse_json, query, unreadable_path};
use crate::state::Api;
use crate::v1::token::{IssuedTokenBody, NewTokenBody, TokenBody, TokensBody, read_new_token};

/// The path of the list.
const LIST: &str = "/v1/tokens";

/// Makes a token. The answer has its secret, which is never shown again.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "createToken", tag = "tokens",
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
    let new = read_new_token(&parse_json(&body)?).map_err(Problem::invalid)?;
    let (info, secret) = api.directory.issue_token(new, &caller.0).await?;
    tracing::debug!(
        made = info.id,
        admin = info.scope == tandem_store::Scope::Admin,
        token = caller.0.token_id,
        "token made"
    );
    let response = json(StatusCode::CREATED, &IssuedTokenBody::new(&info, &secret))?;
    with_header(response, header::LOCATION, &format!("{LIST}/{}", info.id))
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
