//! `/v1/proofs`: showing that a domain in nobody's zone here is one's own (API-60 to API-69).
//!
//! Modelled on ACME's authorisations (RFC 8555 7.1.4): begin, publish what the answer says, wait until it was seen. The
//! looking is done elsewhere (`tandem`'s prover); here the client certificate alone is judged, because it is here.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use rustls_pki_types::UnixTime;
use tandem_identity::Thumbprint;
use tandem_model::DomainName;
use tandem_probe::is_public_suffix;
use tandem_store::proof::PROOF_LIFE;
use tandem_store::{Proof, ProofError, ProofId, ProofMethod, ProofOutcome, ProofProgress, ProofState, Right};

use super::{JSON, json, with_header};
use crate::idempotency;
use crate::page::Page;
use crate::problem::{Fault, Kind, Problem};
use crate::proof_rule::{ClientChain, ProofRule, is_foreign};
use crate::registration_mode::RegistrationMode;
use crate::request::{Caller, Stranger, demand_accepts, json_body, parse_json, query, unreadable_path};
use crate::state::Api;
use crate::v1::proof::{NewProofBody, ProofBody, ProofsBody, read_new_proof};

/// The path of the list.
const LIST: &str = "/v1/proofs";
/// Seconds after which a caller should look again at what is not settled (API-43).
const RETRY_AFTER: &str = "5";

/// Who proves: the holder of a token for the domain or, where registration is open, anybody.
#[derive(Debug)]
pub(crate) enum Claimant {
    /// By token.
    Caller(Caller),
    /// Without one.
    Stranger(Stranger),
}

impl FromRequestParts<Arc<Api>> for Claimant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Caller::from_request_parts(parts, api).await.map(Self::Caller);
        }
        let stranger = Stranger::from_request_parts(parts, api).await?;
        match api.registration {
            RegistrationMode::Open => Ok(Self::Stranger(stranger)),
            RegistrationMode::Closed | RegistrationMode::Moderated => Err(Problem::unauthenticated(false)),
        }
    }
}

impl Claimant {
    /// Refuses tokens that are not for `domain`, as everywhere.
    fn demand(&self, domain: &DomainName) -> Result<(), Problem> {
        match self {
            Self::Caller(caller) => caller.demand(Right::Publish, domain),
            Self::Stranger(_) => Ok(()),
        }
    }

    const fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::Stranger(_) => None,
        }
    }
}

/// A domain and a key in the path.
#[derive(Debug)]
pub(crate) struct PathProof {
    domain: DomainName,
    key: Thumbprint,
}

impl FromRequestParts<Arc<Api>> for PathProof {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let path: Result<Path<(String, String)>, PathRejection> = Path::from_request_parts(parts, api).await;
        let Path((domain, key)) = path.map_err(|_| unreadable_path())?;
        let (domain, _) = crate::v1::document::read_domain(&domain).map_err(Problem::invalid)?;
        // What is no thumbprint names nothing.
        let key = key.parse().map_err(|_| Problem::not_found())?;
        Ok(Self { domain, key })
    }
}

/// The client certificates of the connection.
#[derive(Clone)]
pub(crate) struct Shown(Option<ClientChain>);

impl FromRequestParts<Arc<Api>> for Shown {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Problem> {
        Ok(Self(ClientChain::of(&parts.extensions)))
    }
}

/// Begins to show that a foreign domain is one's own. With the method `dns` the answer has the TXT record to publish; with
/// `mtls` the client certificate of this call is judged at once. Where registration is open, needs no token.
///
/// The same again while it is open gives the same challenge.
#[utoipa::path(
    post, path = "/v1/proofs", operation_id = "createProof", tag = "proofs", security((), ("token" = [])),
    request_body(content = NewProofBody, content_type = "application/json"),
    responses(
        (status = 200, description = "It holds.", body = ProofBody,
            headers(("Location" = String, description = "The proof."))),
        (status = 202, description = "It will be looked for.", body = ProofBody,
            headers(("Location" = String, description = "The proof."), ("Retry-After" = u32, description = "Seconds."))),
    ),
)]
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    claimant: Claimant,
    Shown(chain): Shown,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    demand_on(&api)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    // Nothing is kept under a key: what is done twice here is as if done once.
    idempotency::check(&headers)?;
    let body = json_body(&headers, body).await?;
    let (domain, method, key) = read_new_proof(&parse_json(&body)?).map_err(Problem::invalid)?;
    claimant.demand(&domain)?;
    demand_provable(&api, &domain)?;
    if let Claimant::Stranger(Stranger(source)) = &claimant {
        api.limits.registration(*source)?;
    }
    let key = key.to_string();
    api.limits.look(&domain, &key)?;
    let id = ProofId { domain, key: key.into(), method };
    if method == ProofMethod::Mtls {
        judge(&api, chain, &id.domain)?;
    }
    let by = claimant.caller().map(|caller| &caller.0);
    let proof = api.directory.begin_proof(id, by).await?;
    let id = proof.id.clone();
    tracing::debug!(domain = %id.domain, method = method.as_str(), state = proof.state.as_str(), "proof begun");
    if method == ProofMethod::Mtls {
        let valid_until = api.directory.now() + PROOF_LIFE;
        api.directory.settle_proof(&id, ProofOutcome::Seen { valid_until }, by).await?;
    } else {
        api.directory.hurry_proof(&proof);
    }
    let location = format!("{LIST}/{}/{}", id.domain, id.key);
    with_header(answer(&api, &id.domain, &id.key, true)?, header::LOCATION, &location)
}

/// Shows how far a proof has come.
#[utoipa::path(
    get, path = "/v1/proofs/{domain}/{key}", operation_id = "getProof", tag = "proofs", security((), ("token" = [])),
    params(
        ("domain" = String, Path, description = "The domain.", example = "example.org"),
        ("key" = String, Path, description = "The key's thumbprint.", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ),
    responses((status = 200, description = "The proof.", body = ProofBody,
        headers(("Retry-After" = u32, description = "Seconds, while it is not settled.")))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    claimant: Claimant,
    path: PathProof,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Claimant::Caller(caller) = &claimant {
        caller.demand(Right::Read, &path.domain)?;
    }
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    answer(&api, &path.domain, &path.key.to_string(), false)
}

/// Has the domain looked at again now, after what was wrong is corrected. So many an hour for one domain and key.
#[utoipa::path(
    post, path = "/v1/proofs/{domain}/{key}/check", operation_id = "checkProof", tag = "proofs", security((), ("token" = [])),
    params(
        ("domain" = String, Path, description = "The domain.", example = "example.org"),
        ("key" = String, Path, description = "The key's thumbprint.", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ),
    responses((status = 202, description = "It will be looked for.", body = ProofBody,
        headers(("Retry-After" = u32, description = "Seconds.")))),
)]
pub(crate) async fn check(
    State(api): State<Arc<Api>>,
    claimant: Claimant,
    path: PathProof,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    demand_on(&api)?;
    claimant.demand(&path.domain)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    idempotency::check(&headers)?;
    let PathProof { domain, key } = path;
    let key = key.to_string();
    let there = api.directory.proofs_of(&domain, &key);
    if there.is_empty() {
        return Err(Problem::not_found());
    }
    api.limits.look(&domain, &key)?;
    let by = claimant.caller().map(|caller| &caller.0);
    for (proof, _) in there.into_iter().filter(|(proof, _)| proof.id.method != ProofMethod::Mtls) {
        let proof = api.directory.begin_proof(proof.id, by).await?;
        api.directory.hurry_proof(&proof);
    }
    let body = body_of(&api, &domain, &key)?;
    with_header(json(StatusCode::ACCEPTED, &body)?, header::RETRY_AFTER, RETRY_AFTER)
}

/// Takes a proof back: what it was for is not changed any more and goes after a while, unless it is proved anew.
#[utoipa::path(
    delete, path = "/v1/proofs/{domain}/{key}", operation_id = "deleteProof", tag = "proofs",
    params(
        ("domain" = String, Path, description = "The domain.", example = "example.org"),
        ("key" = String, Path, description = "The key's thumbprint.", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ),
    responses((status = 204, description = "Taken back.")),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    path: PathProof,
    uri: Uri,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    query(&uri, &[])?;
    let there = api.directory.proofs_of(&path.domain, &path.key.to_string());
    let standing = there.into_iter().filter(|(proof, _)| proof.state != ProofState::Revoked);
    let mut any = false;
    for (proof, _) in standing {
        api.directory.settle_proof(&proof.id, ProofOutcome::Revoked(None), Some(&caller.0)).await?;
        any = true;
    }
    if any { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(Problem::not_found()) }
}

/// Lists proofs and attempts, in the order of domain and key.
#[utoipa::path(
    get, path = "/v1/proofs", operation_id = "listProofs", tag = "proofs",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = ProofsBody,
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
    let mut all = api.directory.proofs();
    all.retain(|(proof, _)| caller.0.scope.covers(&proof.id.domain));
    let key = |group: &Vec<(Proof, ProofProgress)>| format!("{} {}", group[0].0.id.domain, group[0].0.id.key);
    let same = |a: &(Proof, ProofProgress), b: &(Proof, ProofProgress)| {
        (&a.0.id.domain, &a.0.id.key) == (&b.0.id.domain, &b.0.id.key)
    };
    let mut groups: Vec<Vec<_>> = all.chunk_by(same).map(<[_]>::to_vec).collect();
    groups.sort_by_key(key);
    groups.retain(|group| page.after.as_ref().is_none_or(|after| key(group) > *after));
    let next = page.cut(&mut groups, key);
    let now = api.directory.now();
    let body = ProofsBody { proofs: groups.iter().filter_map(|group| ProofBody::of(group, now)).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

fn demand_on(api: &Api) -> Result<(), Problem> {
    match api.proofs {
        ProofRule::Off => Err(Problem::new(Kind::RegistrationClosed, "This directory takes no proofs of domains.")),
        ProofRule::Strangers | ProofRule::Everybody => Ok(()),
    }
}

/// Refuses names that nobody can prove, or need not.
fn demand_provable(api: &Api, domain: &DomainName) -> Result<(), Problem> {
    let detail = if !is_foreign(&api.directory.live().load(), domain) {
        "is in a zone served here: its names are given out here, and need no proof".to_owned()
    } else if is_public_suffix(domain) {
        // API-69.
        "is a public suffix: anybody may have names below it, so nobody can prove it".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::invalid(vec![Fault { detail, pointer: "#/domain".into(), rule: None }]))
}

/// Judges the certificate of the call: it must name the domain itself (API-65; RFC 5922 7).
fn judge(api: &Api, chain: Option<ClientChain>, domain: &DomainName) -> Result<(), Problem> {
    let refused = |detail: String| Problem::new(Kind::DomainNotProved, detail);
    let Some(possession) = &api.possession else {
        return Err(refused("This directory does not ask for client certificates: take another method.".into()));
    };
    let chain = chain.ok_or_else(|| {
        refused("No client certificate came: send this call with the certificate and key of the domain.".into())
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let leaf = possession
        .identities(&chain.0, UnixTime::since_unix_epoch(now))
        .map_err(|error| refused(format!("The client certificate proves nothing: {error}.")))?;
    if leaf.names(domain) {
        return Ok(());
    }
    Err(refused(format!("The client certificate does not name {domain}.")))
}

fn body_of(api: &Api, domain: &DomainName, key: &str) -> Result<ProofBody, Problem> {
    ProofBody::of(&api.directory.proofs_of(domain, key), api.directory.now()).ok_or_else(Problem::not_found)
}

/// The proof; 202 when it was asked for and is not settled.
fn answer(api: &Api, domain: &DomainName, key: &str, asked: bool) -> Result<Response, Problem> {
    let body = body_of(api, domain, key)?;
    if !body.is_open() {
        return json(StatusCode::OK, &body);
    }
    let status = if asked { StatusCode::ACCEPTED } else { StatusCode::OK };
    with_header(json(status, &body)?, header::RETRY_AFTER, RETRY_AFTER)
}

impl From<ProofError> for Problem {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Unknown => Self::not_found(),
            ProofError::Full => Self::unavailable("As many proofs are kept as there may be: tell the admin."),
            ProofError::Directory(error) => error.into(),
        }
    }
}
