//! Which handler answers which path, and what holds for every request: id, time limit, fields of the answer.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::handler::{
    audit, backup, change, health, import, invitation, key, life, member, node, number, probe, proof, registration,
    reload, token, zone,
};
use crate::leftover::Leftover;
use crate::problem::{Kind, Problem};
use crate::state::Api;

/// Longest time for one answer, from the last octet of the head to the first of the answer. Above the sum of the
/// limits inside (body, lookups, journal), so that those speak first.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Longest `X-Request-Id` that is taken over (API-83).
const MAX_REQUEST_ID: usize = 64;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole API.
pub(crate) fn router(api: &Arc<Api>) -> Router {
    Router::new()
        .route("/v1/nodes", get(node::list))
        .route("/v1/nodes/{domain}", put(node::put).get(node::get).delete(node::delete))
        .route("/v1/nodes/{domain}/records", get(node::records))
        .route("/v1/nodes/{domain}/document", get(key::document))
        .route("/v1/nodes/{domain}/reset-key", post(key::reset))
        .route("/v1/nodes/{domain}/probes", get(probe::get).post(probe::post))
        .route("/v1/nodes/{domain}/renew", post(life::renew))
        .route("/v1/nodes/{domain}/drain", post(life::drain))
        .route("/v1/nodes/{domain}/suspend", post(life::suspend))
        .route("/v1/nodes/{domain}/compromised", post(life::compromised))
        .route("/v1/nodes/{domain}/restore", post(life::restore))
        .route("/v1/nodes/{domain}/approve", post(life::approve))
        .route("/v1/nodes/{domain}/reject", post(life::reject))
        .route("/v1/numbers", get(number::list))
        .route("/v1/numbers/{e164}", get(number::get))
        .route("/v1/numbers/claims", post(number::claim).get(number::claims))
        .route("/v1/numbers/claims/{id}/approve", post(number::approve))
        .route("/v1/numbers/claims/{id}/reject", post(number::reject))
        .route("/v1/numbers/delegations", post(number::delegate))
        .route("/v1/numbers/delegations/{range}", delete(number::revoke))
        .route("/v1/changes", get(change::get))
        .route("/v1/members", get(member::list))
        .route("/v1/members/{domain}", get(member::get))
        .route("/v1/audit", get(audit::list))
        .route("/v1/backup", get(backup::get))
        .route("/v1/import", post(import::import))
        .route("/v1/zones", get(zone::list))
        .route("/v1/zones/reload", post(reload::reload))
        .route("/v1/zones/{zone}", get(zone::export))
        .route("/v1/tokens", post(token::post).get(token::list))
        .route("/v1/tokens/{id}", delete(token::delete))
        .route("/v1/tokens/{id}/rotate", post(token::rotate))
        .route("/v1/invitations", post(invitation::post).get(invitation::list))
        .route("/v1/invitations/redeem", post(invitation::redeem))
        .route("/v1/invitations/{id}", delete(invitation::delete))
        .route("/v1/registrations", post(registration::post))
        .route("/v1/proofs", post(proof::post).get(proof::list))
        .route("/v1/proofs/{domain}/{key}", get(proof::get).delete(proof::delete))
        .route("/v1/proofs/{domain}/{key}/check", post(proof::check))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(health::openapi))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "`Allow` has the methods that are offered here.")
        })
        .with_state(Arc::clone(api))
        .layer(from_fn_with_state(Arc::clone(api), around))
}

/// Runs one request inside a span with its id, bounded, and with the fields that every answer carries.
async fn around(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let span = tracing::info_span!("request", id = %id.to_str().unwrap_or_default());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let leftover = Leftover::default();
    let request = request.map(|body| leftover.lend(body));
    // Who waits for "100 Continue" has sent no body, and after a refusal need not send one (RFC 9110 10.1.1).
    let waits = request.headers().contains_key(header::EXPECT);
    async move {
        let answer = tokio::time::timeout(ANSWER_LIMIT, NoPanic(Box::pin(next.run(request)))).await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => Problem::internal(panic_text(&*panic)).into_response(),
            Err(_) => Problem::unavailable("No answer in time; a change may yet happen: read before the next try.")
                .into_response(),
        };
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id);
        // API-19 and API-85.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !leftover.is_empty() && (waits || !leftover.discard().await) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if api.secure {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        response
    }
    .instrument(span)
    .await
}

/// The caller's id for this request if it is harmless in a log, else one of ours (API-83).
fn request_id(request: &Request) -> HeaderValue {
    let sent = request.headers().get(X_REQUEST_ID).filter(|id| {
        let octets = id.as_bytes();
        !octets.is_empty()
            && octets.len() <= MAX_REQUEST_ID
            && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(octet))
    });
    sent.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("hexadecimal digits and hyphens are visible ASCII")
    })
}

/// A future whose panic becomes a value, so that the caller of a faulty handler gets a 500 and not a cut connection.
struct NoPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for NoPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("without a text"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn api_83_request_ids() {
        for (sent, kept) in [
            ("abc-1.2_Z", true),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
            ("", false),
            ("a b", false),
            ("a\"b", false),
        ] {
            let request = Request::builder().header("x-request-id", sent).body(Body::empty()).unwrap();
            let id = request_id(&request);
            assert_eq!(id.as_bytes() == sent.as_bytes(), kept, "{sent}");
            assert!(!id.is_empty());
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        let text = NoPanic(Box::pin(async { panic!("no {}", "way") })).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(panic_text(&*text), "a handler panicked: no way");
        assert_eq!(NoPanic(Box::pin(async { 7 })).await.unwrap(), 7);
    }
}
