//! `/v1/numbers`: who may have which number (ENUM-77). Numbers say who can be called: a token sees those of its own names,
//! those of others only an admin or whoever was given that right (ENUM-85).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use tandem_model::{DomainName, E164Number, NumberRange};
use tandem_store::{Actor, NumberEntry, NumberError, PendingClaim, Right, Scope};

use super::node::{charge, list_below};
use super::token::again;
use super::{JSON, json, with_header};
use crate::idempotency::{self, Asker, Begun};
use crate::json::Value;
use crate::page::Page;
use crate::problem::{Kind, Problem};
use crate::request::{Caller, demand_accepts, json_body, optional_json_body, parse_json, query, unreadable_path};
use crate::state::Api;
use crate::v1::number::{
    ClaimBody, ClaimsBody, DelegationBody, NumberApprovalBody, NumberEntryBody, NumberHolderBody, NumberRefusalBody,
    NumberRequestBody, NumbersBody, PublishedBody, RevokedBody, read_approval, read_refusal, read_request,
};

/// The path of the list.
const LIST: &str = "/v1/numbers";
/// The path of the claims that wait.
const CLAIMS: &str = "/v1/numbers/claims";
/// The path of the delegations.
const DELEGATIONS: &str = "/v1/numbers/delegations";
/// Registrations of a node's token whose numbers are listed at most.
const MAX_OWN: usize = 2000;

/// Lists numbers and blocks that are delegated or published, in the order of their digits.
///
/// A node's token sees those of its own names. Those of others are for admins and for read-only tokens with the action
/// `numbers`.
#[utoipa::path(
    get, path = "/v1/numbers", operation_id = "listNumbers", tag = "numbers",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = NumbersBody,
        headers(("Link" = String, description = "rel=first, and rel=next unless this is the end (RFC 8288).")))),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    demand_numbers(&caller)?;
    demand_accepts(&headers, JSON)?;
    let page = Page::new(LIST, &uri)?;
    let after = match &page.after {
        None => None,
        Some(text) => Some(text.parse::<NumberRange>().map_err(Problem::internal)?),
    };
    let mut found = match &caller.0.scope {
        Scope::Admin | Scope::Read => api.directory.numbers(after, page.limit + 1),
        Scope::Nodes(names) => own(&api, &caller.0, names, after).await?,
    };
    let next = page.cut(&mut found, |entry| entry.range.to_string());
    let body = NumbersBody { numbers: found.iter().map(NumberEntryBody::from).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// What a node's token has, behind `after`.
async fn own(
    api: &Api,
    actor: &Actor,
    names: &[DomainName],
    after: Option<NumberRange>,
) -> Result<Vec<NumberEntry>, Problem> {
    let given = api.directory.numbers_delegated(|domain| actor.scope.covers(domain));
    let mut found: BTreeMap<NumberRange, NumberEntry> = given.into_iter().map(|entry| (entry.range, entry)).collect();
    for registered in list_below(api, names, None, None, MAX_OWN).await? {
        for range in registered.node.numbers.iter().map(tandem_model::NumberClaim::range) {
            let node = Some(registered.node.domain().clone());
            found.entry(range).or_insert(NumberEntry { range, delegation: None, node });
        }
    }
    Ok(found.into_values().filter(|entry| after.is_none_or(|after| entry.range > after)).collect())
}

/// Shows who has one number: the longest delegation, and what answers for it.
///
/// 404 for a number that nobody has and for one that is not the caller's to see. Has a limit of its own for each token.
#[utoipa::path(
    get, path = "/v1/numbers/{e164}", operation_id = "getNumber", tag = "numbers",
    params(("e164" = String, Path, description = "The number: `+` and its digits.", example = "+15550201")),
    responses((status = 200, description = "Who has it.", body = NumberHolderBody)),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    number: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    demand_numbers(&caller)?;
    if !caller.is_admin() {
        api.limits.number(&caller.0.token_id)?;
    }
    let Path(text) = number.map_err(|_| unreadable_path())?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let number = E164Number::parse(&text).map_err(|error| Problem::new(Kind::Malformed, format!("{error}.")))?;
    let (given, published) = api.directory.number_holder(number.into());
    let covers = |domain: &DomainName| caller.0.scope.covers(domain);
    let given = given.filter(|given| covers(&given.domain) || given.from.as_ref().is_some_and(covers));
    let published = published.filter(|(_, node)| covers(node));
    if given.is_none() && published.is_none() {
        return Err(Problem::not_found());
    }
    let body = NumberHolderBody {
        e164: number.to_string(),
        delegation: given.as_ref().map(DelegationBody::from),
        published: published.map(|(range, node)| PublishedBody::new(range, &node)),
    };
    json(StatusCode::OK, &body)
}

/// Asks for a number or block. It waits until an admin approves; then the domain's nodes may publish it.
///
/// The answer is the same whether somebody has it or nobody. The same claim again is the one that waits.
#[utoipa::path(
    post, path = "/v1/numbers/claims", operation_id = "claimNumber", tag = "numbers",
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day.")),
    request_body(content = NumberRequestBody, content_type = "application/json"),
    responses((status = 201, description = "It waits.", body = ClaimBody)),
)]
pub(crate) async fn claim(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Publish)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = json_body(&headers, body).await?;
    let body = parse_json(&body)?;
    let first = match idempotency::begin(&api, &headers, Asker::Token(&caller.0.token_id), CLAIMS, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let (range, domain, _) = read_request(&body, false).map_err(Problem::invalid)?;
    caller.demand(Right::Publish, &domain)?;
    charge(&api, &caller, &domain)?;
    let keep = first.keep(StatusCode::CREATED, |claim| (None, ClaimBody::from(claim)));
    let claim = match api.directory.claim_number(range, domain, &caller.0, keep).await {
        Err(NumberError::Repeated) => return again(&first).await,
        claim => claim.map_err(|error| refused(error, &caller))?,
    };
    tracing::debug!(claim = claim.id, domain = %claim.domain, token = caller.0.token_id, "number claimed");
    json(StatusCode::CREATED, &ClaimBody::from(&claim))
}

/// Lists claims that wait, oldest first; a node's token sees its own.
#[utoipa::path(
    get, path = "/v1/numbers/claims", operation_id = "listNumberClaims", tag = "numbers",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = ClaimsBody,
        headers(("Link" = String, description = "rel=first, and rel=next unless this is the end (RFC 8288).")))),
)]
pub(crate) async fn claims(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    demand_numbers(&caller)?;
    demand_accepts(&headers, JSON)?;
    let page = Page::new(CLAIMS, &uri)?;
    // A fixed width makes text order the order of time.
    let key = |claim: &PendingClaim| format!("{:020} {}", claim.created, claim.id);
    let mut waiting = api.directory.number_claims();
    waiting.retain(|claim| caller.0.scope.covers(&claim.domain));
    waiting.retain(|claim| page.after.as_ref().is_none_or(|after| key(claim) > *after));
    let next = page.cut(&mut waiting, key);
    let body = ClaimsBody { claims: waiting.iter().map(ClaimBody::from).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// Approves a claim: what it asks for is delegated to its domain.
#[utoipa::path(
    post, path = "/v1/numbers/claims/{id}/approve", operation_id = "approveNumberClaim", tag = "numbers",
    params(
        ("id" = String, Path, description = "The claim's public id."),
        ("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day."),
    ),
    request_body(content = Option<NumberApprovalBody>, content_type = "application/json"),
    responses((status = 200, description = "Delegated.", body = DelegationBody)),
)]
pub(crate) async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    let Path(id) = id.map_err(|_| unreadable_path())?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = optional_json_body(&headers, body).await?;
    let body = body.as_deref().map(parse_json).transpose()?;
    let first = match begin_ending(&api, &caller, &headers, &id, "approve", body.as_ref()).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let over_holder = body.as_ref().map_or(Ok(false), read_approval).map_err(Problem::invalid)?;
    let keep = first.keep(StatusCode::OK, |given| (None, DelegationBody::from(given)));
    let given = match api.directory.approve_number(&id, over_holder, &caller.0, keep).await {
        Err(NumberError::Repeated) => return again(&first).await,
        given => given.map_err(|error| refused(error, &caller))?,
    };
    tracing::debug!(claim = id, domain = %given.domain, token = caller.0.token_id, "claim approved");
    json(StatusCode::OK, &DelegationBody::from(&given))
}

/// Ends a claim: refused by an admin, or withdrawn by whoever may publish at its domain.
#[utoipa::path(
    post, path = "/v1/numbers/claims/{id}/reject", operation_id = "rejectNumberClaim", tag = "numbers",
    params(
        ("id" = String, Path, description = "The claim's public id."),
        ("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day."),
    ),
    request_body(content = Option<NumberRefusalBody>, content_type = "application/json"),
    responses((status = 200, description = "The claim that is gone.", body = ClaimBody)),
)]
pub(crate) async fn reject(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Publish)?;
    let Path(id) = id.map_err(|_| unreadable_path())?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = optional_json_body(&headers, body).await?;
    let body = body.as_deref().map(parse_json).transpose()?;
    let first = match begin_ending(&api, &caller, &headers, &id, "reject", body.as_ref()).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let reason = body.as_ref().map_or(Ok(None), read_refusal).map_err(Problem::invalid)?;
    let keep = first.keep(StatusCode::OK, |claim| (None, ClaimBody::from(claim)));
    let claim = match api.directory.reject_number(&id, reason, &caller.0, keep).await {
        Err(NumberError::Repeated) => return again(&first).await,
        claim => claim.map_err(|error| refused(error, &caller))?,
    };
    tracing::debug!(claim = id, domain = %claim.domain, token = caller.0.token_id, "claim ended");
    json(StatusCode::OK, &ClaimBody::from(&claim))
}

/// Delegates a number or block to a domain: by an admin, or by a domain out of a block that it holds.
///
/// The longest delegation counts, so a part can be given on. The same again changes nothing.
#[utoipa::path(
    post, path = "/v1/numbers/delegations", operation_id = "delegateNumber", tag = "numbers",
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day.")),
    request_body(content = NumberRequestBody, content_type = "application/json"),
    responses((status = 200, description = "Delegated.", body = DelegationBody)),
)]
pub(crate) async fn delegate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Publish)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = json_body(&headers, body).await?;
    let body = parse_json(&body)?;
    let first = match idempotency::begin(&api, &headers, Asker::Token(&caller.0.token_id), DELEGATIONS, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let (range, domain, over_holder) = read_request(&body, true).map_err(Problem::invalid)?;
    if over_holder {
        caller.demand_admin()?;
    }
    charge(&api, &caller, &domain)?;
    let keep = first.keep(StatusCode::OK, |given| (None, DelegationBody::from(given)));
    let given = match api.directory.delegate_number(range, domain, over_holder, &caller.0, keep).await {
        Err(NumberError::Repeated) => return again(&first).await,
        given => given.map_err(|error| refused(error, &caller))?,
    };
    tracing::debug!(domain = %given.domain, token = caller.0.token_id, "number delegated");
    json(StatusCode::OK, &DelegationBody::from(&given))
}

/// Takes a number or block away: by an admin, by the domain that gave it, or by the one that has it.
///
/// What stood on it leaves the registrations and DNS at once. An admin also takes a number away that is only published.
#[utoipa::path(
    delete, path = "/v1/numbers/delegations/{range}", operation_id = "revokeNumber", tag = "numbers",
    params(("range" = String, Path, description = "`+15550101`, or `+155502*` for a block.", example = "+155502*")),
    responses((status = 200, description = "Revoked.", body = RevokedBody)),
)]
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    range: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Publish)?;
    let Path(text) = range.map_err(|_| unreadable_path())?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let range = text.parse().map_err(|error| Problem::new(Kind::Malformed, format!("{error}.")))?;
    let revoked = api.directory.revoke_number(range, &caller.0).await.map_err(|error| refused(error, &caller))?;
    tracing::debug!(
        domain = %revoked.domain, nodes = revoked.nodes.len(), token = caller.0.token_id, "number revoked"
    );
    json(StatusCode::OK, &RevokedBody::from(&revoked))
}

/// Begins to end the claim `id` by `action`, or finds the answer of the first time: the claim is gone by then.
async fn begin_ending(
    api: &Arc<Api>,
    caller: &Caller,
    headers: &HeaderMap,
    id: &str,
    action: &str,
    body: Option<&Value<'_>>,
) -> Result<Begun, Problem> {
    let path = format!("{CLAIMS}/{id}/{action}");
    idempotency::begin(api, headers, Asker::Token(&caller.0.token_id), &path, body.unwrap_or(&Value::Null)).await
}

/// Refuses whoever may see no numbers at all.
pub(super) fn demand_numbers(caller: &Caller) -> Result<(), Problem> {
    caller.demand_right(Right::Read)?;
    if caller.0.sees_numbers() { Ok(()) } else { caller.demand_right(Right::Numbers) }
}

/// What the store says, without the names of others for those who may not see them (API-23).
fn refused(error: NumberError, caller: &Caller) -> Problem {
    let text = format!("{error}.");
    match error {
        NumberError::Directory(error) => error.into(),
        NumberError::Unknown => Problem::new(
            Kind::NotFound,
            "No such claim waits and no such number is given, or this token does not show it.",
        ),
        NumberError::Limit(_) => Problem::new(Kind::InvalidRequest, text),
        NumberError::NotHolder => Problem::new(Kind::Forbidden, text),
        NumberError::Repeated => Problem::new(Kind::RequestInProgress, text),
        NumberError::InUse(_) => Problem::new(Kind::Conflict, text),
        NumberError::Has(domain)
        | NumberError::Taken(domain)
        | NumberError::Held(domain)
        | NumberError::Overlap(domain) => {
            let hidden = "Somebody else has it, or a part of it: ask an admin.";
            Problem::new(Kind::Conflict, if caller.0.scope.covers(&domain) { text } else { hidden.into() })
        }
    }
}
