//! `GET /v1/route` and `POST /v1/freeswitch`: the question over HTTP, on loopback.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tandem_model::Called;
use tandem_model::uri::MAX_URI_LEN;

use super::{Invalid, Outcome, Route, Routes, freeswitch};
use crate::config::RouteConfig;

/// Most octets of a query: a URI of which every octet is written as `%HH`, and its name.
const MAX_QUERY: usize = 3 * MAX_URI_LEN + 16;
/// Most octets of a form. FreeSWITCH sends about 6,000, and more where channels carry many variables.
const MAX_FORM: usize = 128 * 1024;

/// What the paths need.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) routes: Routes,
    pub(crate) config: Arc<RouteConfig>,
}

/// The paths that tell routes.
pub(crate) fn router(paths: Paths) -> Router {
    Router::new()
        .route("/v1/route", get(route))
        .route("/v1/freeswitch", post(dialplan))
        .route("/freeswitch", post(dialplan))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(paths)
}

async fn route(State(paths): State<Paths>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let accepts =
        |kind| headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|v| v.contains(kind));
    let as_text = accepts("text/plain") && !accepts("json");
    let route = match read_query(query.as_deref().unwrap_or_default()) {
        Ok(called) => paths.routes.find(&called).await,
        Err(route) => *route,
    };
    route.response(as_text)
}

/// `uri=…` or `number=…` and nothing else.
///
/// All behind `=` is the value: SIP servers escape a URI by the rules of SIP, which leave `&` and `+` as they are, so that
/// neither can mean what it means in a form.
fn read_query(query: &str) -> Result<Called, Box<Route>> {
    let wrong = |text: &str| Box::new(Route::new(Outcome::Invalid(Invalid::Syntax), "request", text.to_owned()));
    if query.len() > MAX_QUERY {
        return Err(wrong("the query is too long"));
    }
    let (name, value) = query.split_once('=').ok_or_else(|| wrong("write ?uri=… or ?number=…"))?;
    let value = percent_decoded(value).ok_or_else(|| wrong("a '%' must be followed by two hexadecimal digits"))?;
    match name {
        "uri" => Routes::read(&value),
        "number" => match Routes::read(&value)? {
            called @ Called::Number(_) => Ok(called),
            Called::Uri(_) => {
                Err(Box::new(Route::new(Outcome::Invalid(Invalid::Number), "request", "not an E.164 number".into())))
            }
        },
        _ => Err(wrong("write ?uri=… or ?number=…")),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let octet = match octet {
            b'%' => {
                let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            other => other,
        };
        octets.push(octet);
    }
    String::from_utf8(octets).ok()
}

/// The dialplan for FreeSWITCH's mod_xml_curl. It takes any document with status 200, and nothing else.
async fn dialplan(
    State(paths): State<Paths>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let text = |status: StatusCode, text: &'static str| (status, text).into_response();
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a form is expected: application/x-www-form-urlencoded\n");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    let profile = match query.as_deref().map(|query| query.split_once('=')) {
        None => paths.config.freeswitch_profile.as_str(),
        Some(Some(("profile", profile))) if freeswitch::is_profile(profile) => profile,
        Some(_) => return text(StatusCode::BAD_REQUEST, "only ?profile=NAME is known\n"),
    };
    let form = match freeswitch::Form::read(&body) {
        Ok(form) => form,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let document = freeswitch::answer(&paths, &form, profile).await;
    ([(CONTENT_TYPE, "text/xml; charset=utf-8"), (CACHE_CONTROL, "no-store")], document).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let read = |query: &str| read_query(query).map(|called| called.to_string()).map_err(|route| route.outcome);
        let invalid = |kind| Err(Outcome::Invalid(kind));
        for (query, expected) in [
            ("uri=sip:alice%40debug.ostel.me", Ok("sip:alice@debug.ostel.me".to_owned())),
            ("uri=sip%3Aalice%40debug.ostel.me%3Btransport%3Dtls", Ok("sip:alice@debug.ostel.me;transport=tls".into())),
            // As Kamailio's {s.escape.param} leaves them.
            ("uri=sip:+15550101%40debug.ostel.me", Ok("sip:+15550101@debug.ostel.me".into())),
            ("uri=sip:a&b=c%40debug.ostel.me", Ok("sip:a&b=c@debug.ostel.me".into())),
            ("uri=alice@debug.ostel.me", Ok("sip:alice@debug.ostel.me".into())),
            ("uri=tel:+1-555-0101", Ok("tel:+15550101".into())),
            ("number=%2B15550101", Ok("tel:+15550101".into())),
            ("number=+15550101", Ok("tel:+15550101".into())),
            ("number=alice@debug.ostel.me", invalid(Invalid::Number)),
            ("number=112", invalid(Invalid::Number)),
            ("uri=xmpp:a@b.test", invalid(Invalid::Scheme)),
            ("uri=", invalid(Invalid::Syntax)),
            ("uri=sip:a%4", invalid(Invalid::Syntax)),
            ("uri=sip:%ff@a.test", invalid(Invalid::Syntax)),
            ("", invalid(Invalid::Syntax)),
            ("url=sip:a@b.test", invalid(Invalid::Syntax)),
            (&format!("uri=sip:{}@a.test", "u".repeat(MAX_QUERY)), invalid(Invalid::Syntax)),
        ] {
            assert_eq!(read(query), expected, "{query:.80}");
        }
    }
}
