//! `/v1/registrations`: a token for whoever asks, where the mode of registration lets anybody ask.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use tandem_model::DomainName;
use tandem_store::TokenError;

use super::JSON;
use super::token::{again, created, keep_created};
use crate::idempotency::{self, Asker, Begun};
use crate::problem::{Kind, Problem};
use crate::registration_mode::RegistrationMode;
use crate::request::{Stranger, demand_accepts, json_body, parse_json, query};
use crate::state::Api;
use crate::v1::registration::{RegistrationRequestBody, read_registration};
use crate::v1::token::IssuedTokenBody;

/// The path.
const PATH: &str = "/v1/registrations";

/// Asks for the token of a domain. Needs no token.
///
/// With `registration.mode = "moderated"` what the token publishes first waits for an admin's approval; with `"open"`
/// names in zones served here are first come, first served, and others are refused; else all are.
#[utoipa::path(
    post, path = "/v1/registrations", operation_id = "createRegistration", tag = "registrations", security(()),
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes, random, 22 characters or more: the same request again gets the same answer for a day.")),
    request_body(content = RegistrationRequestBody, content_type = "application/json"),
    responses((status = 201, description = "The token.", body = IssuedTokenBody,
        headers(("Location" = String, description = "The token's place, for an admin.")))),
)]
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    Stranger(source): Stranger,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let moderated = match api.registration {
        RegistrationMode::Closed => {
            return Err(Problem::new(
                Kind::RegistrationClosed,
                "This directory gives tokens by invitation only: ask its operator for one.",
            ));
        }
        RegistrationMode::Moderated => true,
        RegistrationMode::Open => false,
    };
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let body = json_body(&headers, body).await?;
    let body = parse_json(&body)?;
    let first = match idempotency::begin(&api, &headers, Asker::Anybody, PATH, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    let domain = read_registration(&body).map_err(Problem::invalid)?;
    demand_own_name(&api, &domain, moderated)?;
    api.limits.registration(source)?;
    match api.directory.apply_for_token(domain, moderated, keep_created(&first)).await {
        Ok(made) => {
            tracing::debug!(made = made.0.id, moderated, "token made for a stranger");
            created(&made)
        }
        Err(TokenError::Repeated) => again(&first).await,
        Err(error) => Err(error.into()),
    }
}

/// Refuses names that nobody can have by asking alone.
fn demand_own_name(api: &Api, domain: &DomainName, moderated: bool) -> Result<(), Problem> {
    let zones = api.directory.live().load();
    if domain.label_count() < 2 || zones.iter().any(|zone| zone.apex().is_at_or_below(domain)) {
        return Err(Problem::new(Kind::Conflict, "This name, or names below it, are the directory's own."));
    }
    let settings = zones.settings();
    let made_here = [&settings.peers_zone, &settings.policy_zone, &settings.number_zone];
    match zones.zone_of(domain) {
        Some(zone) if made_here.into_iter().flatten().any(|apex| apex == zone.apex()) => {
            Err(Problem::new(Kind::Conflict, "The names of this zone are made of registered nodes."))
        }
        Some(_) => Ok(()),
        // An admin looks at it before anybody sees it.
        None if moderated => Ok(()),
        None => Err(Problem::new(
            Kind::DomainNotProved,
            "This domain is in no zone served here, and it cannot be shown yet whose it is: ask for an invitation.",
        )),
    }
}
