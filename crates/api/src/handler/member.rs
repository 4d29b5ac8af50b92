//! `/v1/members`: what every member may know of every other, to keep a copy of the federation.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use tandem_model::DomainName;
use tandem_store::{Right, Scope};

use super::{JSON, json, with_header};
use crate::page::Page;
use crate::problem::Problem;
use crate::request::{Caller, PathDomain, demand_accepts, query};
use crate::state::Api;
use crate::v1::member::{MemberBody, MembersBody, is_member};

/// The path of the list.
const LIST: &str = "/v1/members";

/// Lists all members in canonical name order: what is public of each.
///
/// Every token that may read sees all of them, as in `/v1/changes`. An admin or read-only token gets numbers and signed
/// documents, too. A page may have fewer entries than asked for, or none, although there is a next.
#[utoipa::path(
    get, path = "/v1/members", operation_id = "listMembers", tag = "changes",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = MembersBody,
        headers(("Link" = String, description = "rel=first, and rel=next unless this is the end (RFC 8288).")))),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Read)?;
    demand_accepts(&headers, JSON)?;
    let page = Page::new(LIST, &uri)?;
    let after = match &page.after {
        None => None,
        Some(name) => Some(DomainName::parse(name).map_err(Problem::internal)?),
    };
    // One more than shown tells whether there is a next page.
    let mut found = api.directory.list_in(None, after.as_ref(), page.limit + 1).await?;
    let next = page.cut(&mut found, |registered| registered.node.domain().to_string());
    let everything = reads_everything(&caller);
    let shown = found.iter().filter(|registered| is_member(registered));
    let body = MembersBody { members: shown.map(|registered| MemberBody::new(registered, everything)).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// Shows one member.
#[utoipa::path(
    get, path = "/v1/members/{domain}", operation_id = "getMember", tag = "changes",
    params(("domain" = String, Path, description = "The member's SIP domain.", example = "debug.ostn.test")),
    responses((status = 200, description = "The member.", body = MemberBody)),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Read)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let found = api.directory.node(&domain.name).await?.filter(is_member).ok_or_else(Problem::not_found)?;
    json(StatusCode::OK, &MemberBody::new(&found, reads_everything(&caller)))
}

const fn reads_everything(caller: &Caller) -> bool {
    matches!(caller.0.scope, Scope::Admin | Scope::Read)
}
