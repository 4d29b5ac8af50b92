//! `/v1/invitations`: codes that make, once, the first token of a domain. Made by admins, redeemed by anybody who has one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tandem_store::{InvitationCode, InvitationInfo, TokenError};

use super::token::{again, created, keep_created};
use super::{JSON, json, with_header};
use crate::idempotency::{self, Asker, Begun};
use crate::page::Page;
use crate::problem::{Kind, Problem};
use crate::request::{Caller, Stranger, demand_accepts, json_body, parse_json, query, unreadable_path};
use crate::state::Api;
use crate::v1::invitation::{
    InvitationBody, InvitationsBody, MadeInvitationBody, NewInvitationBody, RedemptionBody, read_code,
    read_new_invitation,
};
use crate::v1::token::IssuedTokenBody;

/// The path of the list.
const LIST: &str = "/v1/invitations";
/// The path of redemptions.
const REDEEM: &str = "/v1/invitations/redeem";

/// Makes an invitation. The answer has its code, which is never shown again.
#[utoipa::path(
    post, path = "/v1/invitations", operation_id = "createInvitation", tag = "invitations",
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day.")),
    request_body(content = NewInvitationBody, content_type = "application/json"),
    responses((status = 201, description = "Made.", body = MadeInvitationBody,
        headers(("Location" = String, description = "Where it can be withdrawn.")))),
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
    let new = read_new_invitation(&body).map_err(Problem::invalid)?;
    let answer = |(info, code): &(InvitationInfo, InvitationCode)| {
        (Some(format!("{LIST}/{}", info.id)), MadeInvitationBody::new(info, code))
    };
    let keep = first.keep(StatusCode::CREATED, answer);
    let made = match api.directory.invite(new, &caller.0, keep).await {
        Err(TokenError::Repeated) => return again(&first).await,
        made => made?,
    };
    tracing::debug!(made = made.0.id, domain = %made.0.domain, token = caller.0.token_id, "invitation made");
    let (location, body) = answer(&made);
    with_header(json(StatusCode::CREATED, &body)?, header::LOCATION, &location.unwrap_or_default())
}

/// Lists invitations that are open, oldest first, without codes.
#[utoipa::path(
    get, path = "/v1/invitations", operation_id = "listInvitations", tag = "invitations",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = InvitationsBody,
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
    let key = |info: &InvitationInfo| format!("{:020} {}", info.created, info.id);
    let mut open = api.directory.invitations().await?;
    open.retain(|info| page.after.as_ref().is_none_or(|after| key(info) > *after));
    open.sort_by_key(key);
    let next = page.cut(&mut open, key);
    let body = InvitationsBody { invitations: open.iter().map(InvitationBody::from).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// Withdraws an invitation that is open.
#[utoipa::path(
    delete, path = "/v1/invitations/{id}", operation_id = "deleteInvitation", tag = "invitations",
    params(("id" = String, Path, description = "The invitation's public id.")),
    responses((status = 204, description = "Withdrawn.")),
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
    api.directory.withdraw_invitation(&id, &caller.0).await?;
    tracing::debug!(ended = id, token = caller.0.token_id, "invitation withdrawn");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Redeems a code: the answer has the first token of the domain. Needs no token; works once.
#[utoipa::path(
    post, path = "/v1/invitations/redeem", operation_id = "redeemInvitation", tag = "invitations", security(()),
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day.")),
    request_body(content = RedemptionBody, content_type = "application/json"),
    responses((status = 201, description = "The token.", body = IssuedTokenBody,
        headers(("Location" = String, description = "The token's place, for an admin.")))),
)]
pub(crate) async fn redeem(
    State(api): State<Arc<Api>>,
    Stranger(source): Stranger,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = json_body(&headers, body).await?;
    let body = parse_json(&body)?;
    let code = read_code(&body).map_err(Problem::invalid)?;
    let first = match idempotency::begin(&api, &headers, Asker::Code(&code), REDEEM, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    match api.directory.redeem_invitation(&code, keep_created(&first)).await {
        Ok(made) => {
            tracing::debug!(made = made.0.id, "invitation redeemed");
            created(&made)
        }
        Err(TokenError::Repeated) => again(&first).await,
        Err(TokenError::Unknown) => {
            // The caller may have gone away from the first try before it was done.
            if let Some(answer) = first.find().await? {
                return Ok(answer);
            }
            api.limits.failure(source)?;
            Err(Problem::new(
                Kind::NotFound,
                "No such invitation is open: it was used, has expired or was withdrawn. Ask for another.",
            ))
        }
        Err(error) => Err(error.into()),
    }
}
