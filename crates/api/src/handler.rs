//! The endpoints, one file a resource.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod change;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod invitation;
pub(crate) mod key;
pub(crate) mod life;
pub(crate) mod member;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod probe;
pub(crate) mod proof;
pub(crate) mod registration;
pub(crate) mod reload;
pub(crate) mod token;
pub(crate) mod zone;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::precondition::{Conditions, Outcome, etag};
use crate::problem::Problem;

/// The media type of every answer that is no problem and no zone.
pub(crate) const JSON: &str = "application/json";

/// An answer with a JSON body.
fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(body).map_err(Problem::internal)?;
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

/// Adds a field; `value` is made of names, numbers and tags of ours.
fn with_header(mut response: Response, name: header::HeaderName, value: &str) -> Result<Response, Problem> {
    response.headers_mut().insert(name, HeaderValue::from_str(value).map_err(Problem::internal)?);
    Ok(response)
}

/// Answers a GET of what has the entity tag of `revision`: 304 when the caller has it already (API-10, API-15).
fn tagged(
    headers: &HeaderMap,
    revision: u64,
    answer: impl FnOnce() -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    let tag = etag(revision);
    match Conditions::read(headers)?.evaluate(Some(revision)) {
        Outcome::True => with_header(answer()?, header::ETAG, &tag),
        Outcome::MatchFalse => Err(Problem::stale(Some(tag))),
        Outcome::NoneMatchFalse => with_header(StatusCode::NOT_MODIFIED.into_response(), header::ETAG, &tag),
    }
}
