//! What handlers take from a request before they do anything: who asks, which types, the body.
//!
//! The order in which handlers call these is API-17's: authentication, authorisation, existence, method, type,
//! length, then preconditions, then what the body says.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tandem_model::DomainName;
use tandem_store::{Actor, Right, Scope};
use tokio::time::timeout;

use crate::problem::{Kind, Problem};
use crate::signed::JOSE_JSON;
use crate::source::Source;
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
            Scope::Read | Scope::Nodes(_) => Err(Problem::new(Kind::Forbidden, "Only an admin token allows this.")),
        }
    }

    /// Refuses whoever may not read everything.
    pub(crate) fn demand_reader(&self) -> Result<(), Problem> {
        match self.0.scope {
            Scope::Admin | Scope::Read => Ok(()),
            Scope::Nodes(_) => Err(Problem::new(Kind::Forbidden, "Only an admin or read-only token allows this.")),
        }
    }

    /// Refuses whoever may not do `action` anywhere.
    pub(crate) fn demand_right(&self, action: Right) -> Result<(), Problem> {
        if self.0.may(action) {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, format!("This token does not have the action `{}`.", action.as_str())))
    }

    /// Refuses whoever may not do `action` to `domain`: 404 for names that the token does not cover (API-24).
    pub(crate) fn demand(&self, action: Right, domain: &DomainName) -> Result<(), Problem> {
        if !self.0.scope.covers(domain) {
            return Err(Problem::not_found());
        }
        self.demand_right(action)
    }

    /// Whether it may do everything.
    pub(crate) const fn is_admin(&self) -> bool {
        matches!(self.0.scope, Scope::Admin)
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let source = Source::of(&parts.extensions);
        let Some(secret) = bearer(&parts.headers) else {
            api.limits.source(source)?;
            return Err(Problem::unauthenticated(false));
        };
        let plausible = !secret.is_empty() && secret.len() <= MAX_SECRET;
        let actor =
            if plausible { api.directory.authenticate(secret, source.map(Source::address)).await? } else { None };
        let Some(actor) = actor else {
            api.limits.failure(source)?;
            return Err(Problem::unauthenticated(true));
        };
        // API-31: account and source; a domain's share is taken where it is changed.
        if actor.scope != Scope::Admin {
            api.limits.source(source)?;
            api.limits.token(&actor.token_id)?;
        }
        Ok(Self(actor))
    }
}

/// The one secret of the field `Authorization`, if that is of the scheme `Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, secret) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim_matches(' '))
}

/// Whoever needs no token: counted by source.
#[derive(Debug)]
pub(crate) struct Stranger(pub(crate) Option<Source>);

impl FromRequestParts<Arc<Api>> for Stranger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let source = Source::of(&parts.extensions);
        api.limits.source(source)?;
        Ok(Self(source))
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
        let params = RawPathParams::from_request_parts(parts, api).await.map_err(|_| unreadable_path())?;
        let (_, text) = params.iter().next().ok_or_else(Problem::not_found)?;
        let (name, normalised) = read_domain(text).map_err(Problem::invalid)?;
        Ok(Self { name, normalised })
    }
}

/// The parameters of a query, each known and given once.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The text of the parameter `name`, if it was sent.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// Reads the query; parameters other than `known` are refused, so that a misspelt `dry_run` does not become a change.
///
/// # Errors
///
/// 400 that says which parameter to correct.
pub(crate) fn query(uri: &Uri, known: &[&str]) -> Result<Parameters, Problem> {
    let malformed = |detail: String| Problem::new(Kind::Malformed, detail);
    let Query(sent) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| malformed("The query must be `name=value`, percent-encoded, with `&` between.".into()))?;
    for (index, (name, _)) in sent.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let right = match known {
                [] => "there are none here: leave it out.".into(),
                known => format!("known here: {}.", known.join(", ")),
            };
            return Err(malformed(format!("Unknown query parameter {name:?}; {right}")));
        }
        if sent[..index].iter().any(|(other, _)| other == name) {
            return Err(malformed(format!("The query parameter {name} is given twice: send it once.")));
        }
    }
    Ok(Parameters(sent))
}

/// The refusal of a path that is no text.
pub(crate) fn unreadable_path() -> Problem {
    Problem::new(Kind::Malformed, "The path must be UTF-8, percent-encoded where needed.")
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

/// Whether `Accept` lets `offered` be sent.
pub(crate) fn accepts(headers: &HeaderMap, offered: &str) -> bool {
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
    if !is_json(content_type(headers), "application/json") {
        return Err(unsupported_type());
    }
    bounded(body).await
}

fn unsupported_type() -> Problem {
    Problem::new(Kind::UnsupportedType, "Send the body in UTF-8 with `Content-Type: application/json`.")
}

/// Reads a body that is JSON, or a signature over it: its octets, and whether it is the latter.
///
/// # Errors
///
/// As [`json_body`].
pub(crate) async fn maybe_signed_body(headers: &HeaderMap, body: Body) -> Result<(Bytes, bool), Problem> {
    let kind = content_type(headers);
    let is_signed = is_json(kind, JOSE_JSON);
    if !is_signed && !is_json(kind, "application/json") {
        let detail =
            "Send the body in UTF-8 with `Content-Type: application/json`, or `application/jose+json` if it is signed.";
        return Err(Problem::new(Kind::UnsupportedType, detail));
    }
    Ok((bounded(body).await?, is_signed))
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn bounded(body: Body) -> Result<Bytes, Problem> {
    timeout(BODY_LIMIT, read(body)).await.unwrap_or_else(|_| {
        let detail = format!("The body did not arrive within {} seconds.", BODY_LIMIT.as_secs());
        Err(Problem::new(Kind::TooSlow, detail))
    })
}

/// [`json_body`] of a request that needs none: `None` when there is no octet of it.
///
/// # Errors
///
/// As [`json_body`].
pub(crate) async fn optional_json_body(headers: &HeaderMap, body: Body) -> Result<Option<Bytes>, Problem> {
    let has_type = headers.contains_key(header::CONTENT_TYPE);
    if has_type {
        return json_body(headers, body).await.map(|body| (!body.is_empty()).then_some(body));
    }
    match bounded(body).await?.is_empty() {
        true => Ok(None),
        false => Err(unsupported_type()),
    }
}

/// Whether a body is of the type `wanted`, which is JSON of some form.
pub(crate) fn media_type_is(headers: &HeaderMap, wanted: &str) -> bool {
    is_json(content_type(headers), wanted)
}

/// Whether a media type is JSON in UTF-8, the one encoding that JSON has between systems (RFC 8259 8.1).
fn is_json(media: &str, wanted: &str) -> bool {
    let mut parts = media.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let mut charsets =
        parts.filter_map(|part| part.split_once('=')).filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    essence.eq_ignore_ascii_case(wanted)
        && charsets.all(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"))
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
pub(crate) fn parse_json(body: &[u8]) -> Result<crate::json::Value<'_>, Problem> {
    crate::json::parse(body)
        .map_err(|error| Problem::new(Kind::Malformed, format!("The body is not JSON as it must be: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (media, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json;Charset=\"UTF-8\"; a=b", true),
            ("application/json; charset=iso-8859-1", false),
            ("application/json; charset=utf-8; charset=utf-16", false),
            ("application/json; charset=", false),
            ("application/problem+json", false),
            ("", false),
        ] {
            assert_eq!(is_json(media, "application/json"), json, "{media}");
        }
    }

    #[test]
    fn queries() {
        let read = |text: &str, known: &[&str]| query(&text.parse().unwrap(), known);
        let found = read("/x?limit=2&cursor=a%20b", &["limit", "cursor"]).unwrap();
        assert_eq!((found.find("limit"), found.find("cursor"), found.find("x")), (Some("2"), Some("a b"), None));
        for text in ["/x", "/x?"] {
            assert!(read(text, &[]).is_ok(), "{text}");
        }
        for text in ["/x?limit=1&limit=1", "/x?Limit=1", "/x?a", "/x?%ff=1", "/x?=1"] {
            assert_eq!(read(text, &["limit"]).unwrap_err().kind(), Kind::Malformed, "{text}");
        }
    }

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
