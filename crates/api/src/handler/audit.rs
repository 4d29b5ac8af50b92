//! `/v1/audit`: who did what, when, from the journal.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use tandem_model::DomainName;
use tandem_store::backend::{AuditEntry, JournalKind};
use tandem_store::{Actor, Right};

use super::{JSON, json, with_header};
use crate::page::Page;
use crate::problem::{Kind, Problem};
use crate::request::{Caller, demand_accepts};
use crate::state::Api;
use crate::v1::audit::{AuditBody, AuditPageBody};

/// The path of the list.
const LIST: &str = "/v1/audit";

/// Shows who did what, newest first; a node's token sees what was done to its own names.
///
/// Tokens appear by their public id; no entry has an address. The journal is kept for `journal_days`.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "listAudit", tag = "changes",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
        ("domain" = Option<String>, Query, description = "Only what was done to this node.", example = "debug.ostn.test"),
    ),
    responses((status = 200, description = "One page.", body = AuditPageBody,
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
    let mut page = Page::filtered(LIST, &uri, Some("domain"))?;
    let domain = match page.filter.as_deref().map(DomainName::parse) {
        None => None,
        Some(Ok(domain)) => Some(domain),
        Some(Err(error)) => return Err(Problem::new(Kind::Malformed, format!("domain is no name: {error}."))),
    };
    // As it is kept: it stands in links.
    page.filter = domain.as_ref().map(ToString::to_string);
    let before = match &page.after {
        None => None,
        Some(key) => Some(place(key).ok_or_else(|| Problem::internal("a cursor of ours is none"))?),
    };
    let actor = caller.0;
    let wanted = move |entry: &AuditEntry| is_shown(&actor, domain.as_ref(), entry);
    let (found, next) = api.directory.audit(before, page.limit, wanted).await?;
    let next = next.map(|(serial, subject)| format!("{serial} {subject}"));
    let body = AuditPageBody { entries: found.into_iter().map(AuditBody::from).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// A serial and a subject, as a cursor has them.
fn place(key: &str) -> Option<(u64, String)> {
    let (serial, subject) = key.split_once(' ')?;
    Some((serial.parse().ok()?, subject.to_owned()))
}

fn is_shown(actor: &Actor, domain: Option<&DomainName>, entry: &AuditEntry) -> bool {
    let is_node = match entry.kind {
        JournalKind::Register
        | JournalKind::Deregister
        | JournalKind::ChangeState
        | JournalKind::ResetKey
        | JournalKind::LeaseEnding
        | JournalKind::ProofBegun
        | JournalKind::ProofValid
        | JournalKind::ProofInvalid
        | JournalKind::ProofLapsing
        | JournalKind::ProofExpired
        | JournalKind::ProofRevoked
        | JournalKind::DropProof
        | JournalKind::Probe => true,
        // They name the number.
        JournalKind::ClaimNumber
        | JournalKind::ApproveNumber
        | JournalKind::RejectNumber
        | JournalKind::DelegateNumber
        | JournalKind::RevokeNumber => actor.sees_numbers(),
        JournalKind::ServeZone
        | JournalKind::DropZone
        | JournalKind::IssueToken
        | JournalKind::RotateToken
        | JournalKind::DropToken
        | JournalKind::Invite
        | JournalKind::DropInvitation
        | JournalKind::RedeemInvitation => false,
    };
    if actor.is_admin() && domain.is_none() {
        return true;
    }
    let Some(subject) = is_node.then(|| DomainName::parse(&entry.subject).ok()).flatten() else { return false };
    actor.scope.covers(&subject) && domain.is_none_or(|domain| *domain == subject)
}
