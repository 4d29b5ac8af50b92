//! What handlers take from a request before they do anything: who asks, which types, the body.
//!
//! The order in which handlers call these is API-17's: authentication, authorisation, existence, method, type,
//! length, then preconditions, then what the body says.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tandem_model::DomainName;
use tandem_store::{Actor, Scope};
use tokio::time::timeout;

use crate::problem::{Kind, Problem};
use crate::state::Api;
use crate::v1::answer::Normalised;
use crate::v1::document::read_domain;

/// Most octets of a body (API-5).
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// Octets past [`MAX_BODY`] that are read and thrown away, so that the caller gets to read the 413 (API-T18).
const MAX_DISCARD: usize = 1024 * 1024;
/// Longest wait for a whole body; a slow link sends 64 KiB in less.
const BODY_LIMIT: Duration = Duration::from_secs(15);
/// Longest secret worth looking up: ours have 50 octets.
const MAX_SECRET: usize = 200;

/// Who sent the request: a valid token was in its `Authorization` field (RFC 6750 2.1; API-70).
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Actor);

impl Caller {
    /// Refuses anybody but an admin.
    pub(crate) fn demand_admin(&self) -> Result<(), Problem> {
        match self.0.scope {
            Scope::Admin => Ok(()),
            Scope::Nodes(_) => Err(Problem::new(Kind::Forbidden, "Only an admin token allows this.")),
        }
    }

    /// Whether it may do everything.
    pub(crate) const fn is_admin(&self) -> bool {
        matches!(self.0.scope, Scope::Admin)
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let mut fields = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return Err(Problem::unauthenticated(false));
        };
        let Some((scheme, secret)) = field.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return Err(Problem::unauthenticated(false));
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthenticated(false));
        }
        let secret = secret.trim_matches(' ');
        if secret.is_empty() || secret.len() > MAX_SECRET {
            return Err(Problem::unauthenticated(true));
        }
        match api.directory.authenticate(secret).await? {
            Some(actor) => Ok(Self(actor)),
            None => Err(Problem::unauthenticated(true)),
        }
    }
}

/// The domain in the path, and how it was written if that is not how it is kept.
#[derive(Debug)]
pub(crate) struct PathDomain {
    /// The name.
    pub(crate) name: DomainName,
    /// For the answer's `normalised`.
    pub(crate) normalised: Vec<Normalised>,
}

impl FromRequestParts<Arc<Api>> for PathDomain {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, api)
            .await
            .map_err(|_| Problem::new(Kind::Malformed, "The path must be UTF-8, percent-encoded where needed."))?;
        let (_, text) = params.iter().next().ok_or_else(Problem::not_found)?;
        let (name, normalised) = read_domain(text).map_err(Problem::invalid)?;
        Ok(Self { name, normalised })
    }
}

/// The query; unknown parameters are refused, so that a misspelt `dry_run` does not become a change.
pub(crate) fn query<T: serde::de::DeserializeOwned>(uri: &axum::http::Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|error| Problem::new(Kind::Malformed, error.body_text()))
}

/// Refuses a request whose `Accept` leaves `offered` out (RFC 9110 12.5.1; API-1).
pub(crate) fn demand_accepts(headers: &HeaderMap, offered: &str) -> Result<(), Problem> {
    if accepts(headers, offered) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::NotAcceptable,
        format!("Only {offered} is offered here: put it in Accept, or leave that out."),
    ))
}

fn accepts(headers: &HeaderMap, offered: &str) -> bool {
    let family = offered.split('/').next().unwrap_or_default();
    let mut best: Option<(u8, bool)> = None;
    let mut ranges = 0_usize;
    for field in headers.get_all(header::ACCEPT) {
        for range in field.to_str().unwrap_or_default().split(',').map(str::trim).filter(|range| !range.is_empty()) {
            ranges += 1;
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let rank = match kind.as_str() {
                "*/*" => 0,
                kind if kind == offered => 2,
                kind if kind.strip_suffix("/*") == Some(family) => 1,
                _ => continue,
            };
            let refused = parts.filter_map(|part| part.split_once('=')).any(|(name, q)| {
                name.trim().eq_ignore_ascii_case("q") && q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
            });
            // The most specific range decides.
            if best.is_none_or(|(known, _)| rank >= known) {
                best = Some((rank, !refused));
            }
        }
    }
    ranges == 0 || best.is_some_and(|(_, wanted)| wanted)
}

/// Reads a JSON body: its type first, then its octets, at most [`MAX_BODY`].
///
/// # Errors
///
/// 415 for another type, 413 for too much, 408 for too slow, 400 when the connection broke.
pub(crate) async fn json_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Kind::UnsupportedType, "Send the body with `Content-Type: application/json`."));
    }
    timeout(BODY_LIMIT, read(body)).await.unwrap_or_else(|_| {
        let detail = format!("The body did not arrive within {} seconds.", BODY_LIMIT.as_secs());
        Err(Problem::new(Kind::TooSlow, detail))
    })
}

async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let mut octets = BytesMut::new();
    let mut len = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Kind::Malformed, "The body ended before it was whole."))?;
        let Ok(data) = frame.into_data() else { continue };
        len += data.len();
        if len <= MAX_BODY {
            octets.extend_from_slice(&data);
        } else if len > MAX_BODY + MAX_DISCARD {
            break;
        }
    }
    if len > MAX_BODY {
        return Err(Problem::new(Kind::TooLarge, format!("A body may have {MAX_BODY} octets.")));
    }
    Ok(octets.freeze())
}

/// Parses a body.
///
/// # Errors
///
/// 400 with line and column.
pub(crate) fn parse_json(body: &[u8]) -> Result<crate::json::Value, Problem> {
    crate::json::parse(body)
        .map_err(|error| Problem::new(Kind::Malformed, format!("The body is not JSON as it must be: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_1_accept() {
        for (accept, json) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("application/*"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("text/html, application/json;q=0.1"), true),
            (Some("text/html"), false),
            (Some("application/json;q=0, */*"), false),
            (Some("*/*;q=0"), false),
            (Some("text/*, application/problem+json"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(accepts(&headers, "application/json"), json, "{accept:?}");
        }
    }
}
