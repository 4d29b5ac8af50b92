//! `/v1/registrations`: a token for whoever asks, where the mode of registration lets anybody ask.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use tandem_identity::{Claim, ClaimError};
use tandem_model::DomainName;
use tandem_store::TokenError;

use super::JSON;
use super::token::{again, created, keep_created};
use crate::idempotency::{self, Asker, Begun};
use crate::problem::{Fault, Kind, Problem};
use crate::proof_rule::{ProofRule, is_foreign};
use crate::registration_mode::RegistrationMode;
use crate::request::{Stranger, demand_accepts, maybe_signed_body, parse_json, query};
use crate::signed::with_causes;
use crate::state::Api;
use crate::v1::registration::{RegistrationRequestBody, read_registration};
use crate::v1::token::IssuedTokenBody;

/// The path.
const PATH: &str = "/v1/registrations";

/// Asks for the token of a domain. Needs no token.
///
/// With `registration.mode = "moderated"` what the token publishes first waits for an admin's approval; with `"open"`
/// names in zones served here are first come, first served, and others need a proof (`POST /v1/proofs`) and come as
/// `application/jose+json`: a claim that the proved key signed, `{"domain","expires","issued","token"}` in canonical JSON,
/// with `typ` `tandem-claim+json` and the challenge's token. Else all are refused.
#[utoipa::path(
    post, path = "/v1/registrations", operation_id = "createRegistration", tag = "registrations", security(()),
    params(("Idempotency-Key" = Option<String>, Header, description = "In double quotes, random, 22 characters or more: the same request again gets the same answer for a day.")),
    request_body(content(
        (RegistrationRequestBody = "application/json"),
        (crate::v1::answer::SignedBody = "application/jose+json"),
    )),
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
    let (octets, is_signed) = maybe_signed_body(&headers, body).await?;
    let body = parse_json(&octets)?;
    let first = match idempotency::begin(&api, &headers, Asker::Anybody, PATH, &body).await? {
        Begun::First(first) => first,
        Begun::Again(answer) => return Ok(answer),
    };
    if is_signed {
        let (domain, key) = proved(&api, &octets)?;
        demand_own_name(&api, &domain, true)?;
        api.limits.registration(source)?;
        return match api.directory.apply_with_proof(domain, &key, moderated, keep_created(&first)).await {
            Ok(made) => created(&made),
            Err(TokenError::Repeated) => again(&first).await,
            Err(error) => Err(error.into()),
        };
    }
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

/// The domain of a signed claim, and the key that its owner has named and that signed the claim.
fn proved(api: &Api, claim: &[u8]) -> Result<(DomainName, String), Problem> {
    if api.proofs == ProofRule::Off {
        let detail = "This directory takes no proofs of domains: ask for an invitation.";
        return Err(Problem::new(Kind::DomainNotProved, detail));
    }
    let faulty = |error: &ClaimError| {
        Problem::invalid(vec![Fault { detail: with_causes(error), pointer: "#".into(), rule: None }])
    };
    let claim = Claim::verify(claim).map_err(|error| faulty(&error))?;
    let (domain, key) = (claim.domain().clone(), claim.thumbprint().to_string());
    let now = api.directory.now();
    if !is_foreign(&api.directory.live().load(), &domain) {
        let detail = "is in a zone served here, and needs no proof: send `{\"domain\": …}` as application/json".into();
        return Err(Problem::invalid(vec![Fault { detail, pointer: "#/payload".into(), rule: None }]));
    }
    let valid: Vec<_> = api.directory.proofs_of(&domain, &key).into_iter().filter(|(p, _)| p.holds(now)).collect();
    let mut refused = None;
    for (proof, _) in &valid {
        match claim.check(&proof.token, now) {
            Ok(()) if proof.is_open(now) => return Ok((domain, key)),
            Ok(()) => refused = Some(ClaimError::OtherChallenge),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.map_or_else(
        || {
            let detail = format!("The owner of {domain} has not named the key {key}: begin with POST /v1/proofs.");
            Problem::new(Kind::DomainNotProved, detail)
        },
        |error| faulty(&error),
    ))
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
            "This domain is in no zone served here: show that it is yours (`tandem prove`, POST /v1/proofs), then ask with \
             a claim that the proved key signed. Without that, ask for an invitation.",
        )),
    }
}
