//! `/v1/nodes/{domain}/renew` and the actions that lead a registration from one state to another.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use tandem_store::{ActError, Action, Receipt, RenewError, Right};

use super::node::{charge, conflicts, find};
use super::{JSON, json};
use crate::idempotency::{self, Asker, Begun};
use crate::json::Value;
use crate::precondition::{Conditions, Outcome, etag};
use crate::problem::{Kind, Problem};
use crate::request::{Caller, PathDomain, demand_accepts, optional_json_body, parse_json, query};
use crate::state::Api;
use crate::v1::answer::{ChangeBody, Notes};
use crate::v1::life::{LeaseBody, ReasonBody, read_reason};

/// Begins a node's lease anew.
///
/// Costs no write, so a node may do it every minute. One that lost its lease is served again; one whose document is
/// forgotten is told 404 and has to publish itself.
#[utoipa::path(
    post, path = "/v1/nodes/{domain}/renew", operation_id = "renewNode", tag = "nodes",
    params(("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test")),
    responses((status = 200, description = "Renewed.", body = LeaseBody)),
)]
pub(crate) async fn renew(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand(Right::Renew, &domain.name)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    idempotency::check(&headers)?;
    let lease = api.directory.renew(&domain.name, &caller.0).await.map_err(|error| match error {
        RenewError::NotFound => Problem::not_found(),
        RenewError::Conflicts(found) => conflicts(&found, &caller),
        RenewError::Directory(error) => error.into(),
    })?;
    json(StatusCode::OK, &LeaseBody::new(&domain.name, &lease))
}

/// Defines one endpoint of an action: they differ in words only.
macro_rules! action {
    ($name:ident, $action:expr, $path:literal, $id:literal, $title:literal, $text:literal) => {
        #[doc = $title]
        #[doc = ""]
        #[doc = $text]
        #[utoipa::path(
            post, path = $path, operation_id = $id, tag = "nodes",
            params(
                ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
                ("If-Match" = Option<String>, Header, description = "Only if the registration has this entity tag."),
                ("Idempotency-Key" = Option<String>, Header, description = "In double quotes: the same request again gets the same answer for a day."),
            ),
            request_body(content = Option<ReasonBody>, content_type = "application/json"),
            responses((status = 200, description = "Done, or so already.", body = ChangeBody)),
        )]
        pub(crate) async fn $name(
            State(api): State<Arc<Api>>,
            caller: Caller,
            domain: PathDomain,
            uri: Uri,
            headers: HeaderMap,
            body: Body,
        ) -> Result<Response, Problem> {
            act($action, &api, &caller, domain, &uri, &headers, body).await
        }
    };
}

action!(
    drain,
    Action::Drain,
    "/v1/nodes/{domain}/drain",
    "drainNode",
    "Asks callers to try a node last.",
    "Its SRV priorities are raised until it is restored. The node's own token or an admin."
);
action!(
    suspend,
    Action::Suspend,
    "/v1/nodes/{domain}/suspend",
    "suspendNode",
    "Takes a node out of DNS.",
    "Its names and numbers are held until it is restored; its lease does not end it. For admins."
);
action!(
    compromised,
    Action::Compromised,
    "/v1/nodes/{domain}/compromised",
    "compromiseNode",
    "Takes a node out of DNS at once and tells everybody why.",
    "Its key or host is in wrong hands: the reason is shown to all who follow `/v1/changes`. The node's own token or an \
     admin; what an admin declared only an admin restores."
);
action!(
    restore,
    Action::Restore,
    "/v1/nodes/{domain}/restore",
    "restoreNode",
    "Ends drain, suspend or compromised.",
    "The node is served as it is registered now. Whoever may set the state; an admin must send `If-Match` (API-12)."
);
action!(
    approve,
    Action::Approve,
    "/v1/nodes/{domain}/approve",
    "approveNode",
    "Lets a pending node be served.",
    "An admin must have seen what is approved: `If-Match` is required (API-12)."
);
action!(
    reject,
    Action::Reject,
    "/v1/nodes/{domain}/reject",
    "rejectNode",
    "Forgets a pending node.",
    "An admin must have seen what is rejected: `If-Match` is required (API-12)."
);

async fn act(
    action: Action,
    api: &Arc<Api>,
    caller: &Caller,
    domain: PathDomain,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand(Right::Operate, &domain.name)?;
    if !headers.contains_key(idempotency::FIELD) {
        // With a key it may be gone because of the first time.
        find(api, caller, Right::Operate, &domain.name).await?;
    }
    if action.needs_admin() {
        caller.demand_admin()?;
    }
    charge(api, caller, &domain.name)?;
    query(uri, &[])?;
    demand_accepts(headers, JSON)?;
    let body = optional_json_body(headers, body).await?;
    let body = body.as_deref().map(parse_json).transpose()?;
    let said = body.as_ref().unwrap_or(&Value::Null);
    let path = format!("/v1/nodes/{}/{}", domain.name, action.as_str());
    let first = match idempotency::begin(api, headers, Asker::Token(&caller.0.token_id), &path, said).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let registered = find(api, caller, Right::Operate, &domain.name).await?;
    let conditions = Conditions::read(headers)?;
    // API-12: what takes a node out of DNS is safe to repeat, and must not wait for a look; what puts it in is not.
    let puts_in = matches!(action, Action::Restore | Action::Approve | Action::Reject);
    if caller.is_admin() && puts_in && !conditions.has_if_match() {
        let detail = "An admin must have seen what this decides on: GET it, and send its ETag in If-Match.";
        return Err(Problem::new(Kind::PreconditionRequired, detail));
    }
    let current = Some(registered.revision);
    if conditions.evaluate(current) != Outcome::True {
        return Err(Problem::stale(current.map(etag)));
    }
    let reason = match &body {
        Some(body) => read_reason(body).map_err(Problem::invalid)?,
        None => None,
    };
    let must = conditions.into_precondition(current);
    let (shared, normalised) = (Arc::clone(api), domain.normalised.clone());
    let keep = first.keep(StatusCode::OK, move |receipt: &Receipt| {
        // Records that cannot be made are told by the first answer; a repetition shows the rest.
        let records = super::node::shown_records(&shared, &receipt.registered, receipt.effect).unwrap_or_default();
        (None, ChangeBody::made(receipt, &records, Notes { normalised, warnings: Vec::new() }))
    });
    let receipt = api.directory.act_once(&domain.name, action, reason, must, &caller.0, keep).await.map_err(
        |error| match error {
            ActError::NotFound => Problem::not_found(),
            ActError::Stale(current) => Problem::stale(current.map(etag)),
            ActError::Refused(refusal) => refusal.into(),
            ActError::Conflicts(found) => conflicts(&found, caller),
            ActError::Reason => Problem::new(Kind::InvalidRequest, error.to_string()),
            ActError::Directory(error) => error.into(),
        },
    )?;
    tracing::debug!(
        domain = %domain.name, action = action.as_str(), effect = ?receipt.effect, token = caller.0.token_id,
        "action on a node"
    );
    let notes = Notes { normalised: domain.normalised, warnings: Vec::new() };
    let records = super::node::shown_records(api, &receipt.registered, receipt.effect)?;
    json(StatusCode::OK, &ChangeBody::made(&receipt, &records, notes))
}
