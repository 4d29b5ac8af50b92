//! Errors as callers see them: `application/problem+json` (RFC 9457), one type for each reason (API-20 to API-24).
//!
//! Every error enum of the store becomes a [`Problem`] here, by a `match` without `_`: a new reason has to find its
//! status before anything builds.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tandem_store::{DeregisterError, DirectoryError, ReadError, Refusal, TokenError};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::limit::TooMany;

/// Most entries in `errors` (API-22).
pub(crate) const MAX_FAULTS: usize = 50;
/// What every problem's `type` begins with: an absolute URI that needs no host of ours.
pub(crate) const TYPE_PREFIX: &str = "urn:tandem:problem:";
/// Seconds after which a caller told 503 should try again (API-30).
const RETRY_AFTER: u32 = 2;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was refused: status, type and title belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 400.
    Malformed,
    /// 401.
    Unauthenticated,
    /// 403.
    Forbidden,
    /// 403: registration is not open to everybody.
    RegistrationClosed,
    /// 403: nobody has shown that the domain is the caller's.
    DomainNotProved,
    /// 403: a token's share is used up.
    QuotaExceeded,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 406.
    NotAcceptable,
    /// 408.
    TooSlow,
    /// 409.
    Conflict,
    /// 409.
    WrongState,
    /// 403.
    KeyRefused,
    /// 409.
    OldSerial,
    /// 410.
    TooOld,
    /// 409: the same idempotency key, still running.
    RequestInProgress,
    /// 412.
    Stale,
    /// 413.
    TooLarge,
    /// 415.
    UnsupportedType,
    /// 422.
    InvalidRequest,
    /// 422: the same idempotency key, another request.
    KeyReused,
    /// 428.
    PreconditionRequired,
    /// 429.
    RateLimited,
    /// 500.
    Internal,
    /// 503.
    Unavailable,
}

impl Kind {
    /// Status, suffix of the type, title.
    pub(crate) const fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "This token does not allow that"),
            Self::RegistrationClosed => (StatusCode::FORBIDDEN, "registration-closed", "Registration is by invitation"),
            Self::DomainNotProved => (StatusCode::FORBIDDEN, "domain-not-proved", "The domain is not proved"),
            Self::QuotaExceeded => (StatusCode::FORBIDDEN, "quota-exceeded", "This token's share is used up"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not offered here")
            }
            Self::NotAcceptable => {
                (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "No representation that the request accepts")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The request did not arrive in time"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Another node has this already"),
            Self::WrongState => (StatusCode::CONFLICT, "wrong-state", "Not possible in the state that the node is in"),
            Self::KeyRefused => (StatusCode::FORBIDDEN, "key-refused", "The node's key does not allow that"),
            Self::OldSerial => (StatusCode::CONFLICT, "old-serial", "The signed document is not the newest"),
            Self::TooOld => (StatusCode::GONE, "too-old", "What happened since is not kept any more"),
            Self::RequestInProgress => {
                (StatusCode::CONFLICT, "request-in-progress", "The same request is still being answered")
            }
            Self::Stale => (StatusCode::PRECONDITION_FAILED, "stale", "The precondition is false"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "The body must be application/json")
            }
            Self::InvalidRequest => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "The request breaks a rule"),
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The idempotency key was used for another request")
            }
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition-required", "If-Match is needed")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of the directory"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible now, try again"),
        }
    }
}

/// One rule that a request breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// What is wrong and what would be right.
    #[schema(example = "port must be a whole number from 1 to 65535; found 70000")]
    pub detail: String,
    /// The place in the body as a JSON Pointer in a URI fragment; `#/domain` is the domain in the path.
    #[schema(example = "#/targets/0/port")]
    pub pointer: String,
    /// The rule behind it, when known software is the reason: docs/quirks.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "QUIRK-01")]
    pub rule: Option<&'static str>,
}

/// What a refused request gets (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// The key for programs.
    #[schema(example = "urn:tandem:problem:invalid-request")]
    r#type: String,
    /// The type in words; the same for every problem of the type.
    #[schema(example = "The request breaks a rule")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What happened this time, for people.
    detail: String,
    /// This one problem; the directory's log has it too.
    #[schema(example = "urn:uuid:8e03978e-40d5-43dd-bc93-6894a57f9324")]
    instance: String,
    /// Every rule broken, at most 50.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 50)]
    errors: Vec<Fault>,
    /// With `stale`: the entity tag now, null when nothing is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    current: Option<Option<String>>,
    /// With `unavailable` from `/readyz`: `store`, `shutdown`; during the start also `zones`, `dns`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    failing: Vec<&'static str>,
    /// With `rate-limited` and `quota-exceeded`: how many there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u32, example = 600)]
    limit: Option<u32>,
    /// With `rate-limited`: in so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u32, example = 60)]
    window_seconds: Option<u32>,
    /// With `rate-limited`: seconds to wait, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u32, example = 1)]
    retry_after: Option<u32>,
}

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
    current: Option<Option<String>>,
    failing: Vec<&'static str>,
    limit: Option<u32>,
    window: Option<u32>,
    retry_after: Option<u32>,
    bad_token: bool,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// A problem of `kind`; `detail` is for the caller and names nothing internal (API-23).
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            current: None,
            failing: Vec::new(),
            limit: None,
            window: None,
            retry_after: None,
            bad_token: false,
            cause: None,
        }))
    }

    /// 404, the same text for what is not there and for what the caller may not see (API-24).
    pub(crate) fn not_found() -> Self {
        Self::new(Kind::NotFound, "There is nothing here, or this token does not show it.")
    }

    /// 401; `bad_token` when a token came and is unknown, expired or revoked.
    pub(crate) fn unauthenticated(bad_token: bool) -> Self {
        let mut problem = Self::new(
            Kind::Unauthenticated,
            if bad_token {
                "The token is unknown, expired, revoked or not for this network: ask an admin for a new one."
            } else {
                "Send a token: `Authorization: Bearer tandem_…`."
            },
        );
        problem.0.bad_token = bad_token;
        problem
    }

    /// 422 with every rule broken.
    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        Self::with_faults(Kind::InvalidRequest, faults)
    }

    /// A problem of `kind` whose detail is its faults.
    pub(crate) fn with_faults(kind: Kind, faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} rules are broken; `errors` lists them. Nothing was changed.", many.len()),
        };
        let mut problem = Self::new(kind, detail);
        problem.0.errors = faults;
        problem
    }

    /// 412; `current` is the entity tag now.
    pub(crate) fn stale(current: Option<String>) -> Self {
        let detail = match &current {
            Some(_) => "It was changed meanwhile: read it again, and send `If-Match` with the tag in `current`.",
            None => "Nothing is registered here now.",
        };
        let mut problem = Self::new(Kind::Stale, detail);
        problem.0.current = Some(current);
        problem
    }

    /// 429 with what it takes to keep the limit (API-31).
    pub(crate) fn too_many(broken: TooMany) -> Self {
        let TooMany { limit, window, retry_after } = broken;
        let detail = format!("At most {limit} in {window} seconds here: try again in {retry_after}.");
        let mut problem = Self::new(Kind::RateLimited, detail);
        (problem.0.limit, problem.0.window, problem.0.retry_after) = (Some(limit), Some(window), Some(retry_after));
        problem
    }

    /// 403: one token may have so many of `what` registered.
    pub(crate) fn over_quota(limit: u32, what: &str) -> Self {
        let detail = format!(
            "At most {limit} {what} may be registered at the names of one token: withdraw some, or ask an admin."
        );
        let mut problem = Self::new(Kind::QuotaExceeded, detail);
        problem.0.limit = Some(limit);
        problem
    }

    /// 503 of `/readyz`.
    pub(crate) fn not_ready(failing: Vec<&'static str>) -> Self {
        let mut problem = Self::new(Kind::Unavailable, "Some checks fail.");
        problem.0.failing = failing;
        problem
    }

    /// 500: a fault of ours; `cause` goes to the log only.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "Nothing that the request could change: tell the admin the `instance`.")
            .because(cause)
    }

    /// 503 with a cause for the log.
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        Self::new(Kind::Unavailable, detail)
    }

    pub(crate) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What kind it is.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    fn log(&self, status: StatusCode, suffix: &str, instance: &Uuid) {
        let mut cause = String::new();
        let mut next: Option<&dyn Error> = self.0.cause.as_deref().map(|c| c as &dyn Error);
        while let Some(error) = next {
            let _ = write!(cause, "{}{error}", if cause.is_empty() { "" } else { ": " });
            next = error.source();
        }
        let status = status.as_u16();
        match self.0.kind {
            Kind::Internal => tracing::error!(status, problem = suffix, %instance, cause, "request failed"),
            Kind::Unavailable if self.0.failing.is_empty() => {
                tracing::warn!(status, problem = suffix, %instance, cause, "request not possible now");
            }
            // Anybody may cause these without a token: they must not fill a log.
            Kind::Unavailable
            | Kind::Unauthenticated
            | Kind::NotFound
            | Kind::MethodNotAllowed
            | Kind::TooSlow
            | Kind::RegistrationClosed
            | Kind::RateLimited => {
                tracing::debug!(status, problem = suffix, %instance, "request refused");
            }
            Kind::Malformed
            | Kind::Forbidden
            | Kind::DomainNotProved
            | Kind::QuotaExceeded
            | Kind::RequestInProgress
            | Kind::KeyReused
            | Kind::NotAcceptable
            | Kind::Conflict
            | Kind::WrongState
            | Kind::KeyRefused
            | Kind::OldSerial
            | Kind::TooOld
            | Kind::Stale
            | Kind::TooLarge
            | Kind::UnsupportedType
            | Kind::InvalidRequest
            | Kind::PreconditionRequired => {
                tracing::info!(status, problem = suffix, %instance, "request refused");
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, suffix, title) = self.0.kind.facts();
        let instance = Uuid::new_v4();
        self.log(status, suffix, &instance);
        let inner = *self.0;
        let body = ProblemBody {
            r#type: format!("{TYPE_PREFIX}{suffix}"),
            title,
            status: status.as_u16(),
            detail: inner.detail.into_owned(),
            instance: format!("urn:uuid:{instance}"),
            errors: inner.errors,
            current: inner.current,
            failing: inner.failing,
            limit: inner.limit,
            window_seconds: inner.window,
            retry_after: inner.retry_after,
        };
        let text = serde_json::to_vec(&body).expect("strings and numbers are JSON");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if inner.kind == Kind::Unauthenticated {
            // RFC 6750 3: the error code only when a token was sent.
            let challenge = match inner.bad_token {
                true => "Bearer realm=\"tandem\", error=\"invalid_token\"",
                false => "Bearer realm=\"tandem\"",
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        // API-30.
        if let Some(seconds) = inner.retry_after.or_else(|| (inner.kind == Kind::Unavailable).then_some(RETRY_AFTER)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::ShuttingDown => Self::unavailable("The directory is shutting down; nothing was changed."),
            DirectoryError::Busy => Self::unavailable("Too many changes are waiting; nothing was changed."),
            DirectoryError::Timeout => Self::unavailable(
                "The change did not reach the disk in time. It may yet happen: read the resource before the next try.",
            ),
            DirectoryError::Storage(source) => {
                // Most often the disk is full: a caller cannot free it, an operator can.
                Self::unavailable(
                    "The store could not be written; nothing was changed. Try again; if it goes on, tell the operator of \
                     this directory to see whether the disk is full.",
                )
                .because(source)
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(ReadError(source): ReadError) -> Self {
        Self::unavailable("The store could not be read.").because(source)
    }
}

impl From<DeregisterError> for Problem {
    fn from(error: DeregisterError) -> Self {
        match error {
            DeregisterError::NotFound => Self::not_found(),
            DeregisterError::Stale(current) => Self::stale(current.map(crate::precondition::etag)),
            DeregisterError::Held(_) => Self::new(Kind::Forbidden, error.to_string()),
            DeregisterError::Directory(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongState(_) => Self::new(Kind::WrongState, refusal.to_string()),
            Refusal::NeedsAdmin => Self::new(Kind::Forbidden, refusal.to_string()),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Limit(why) => Self::new(Kind::InvalidRequest, why),
            TokenError::Unknown => Self::not_found(),
            TokenError::Taken => {
                Self::new(Kind::Conflict, "This name belongs to somebody, or lies at or around one that does.")
            }
            TokenError::Full => Self::new(
                Kind::RegistrationClosed,
                "As many registrations wait as there may be: ask an admin for an invitation.",
            ),
            TokenError::Repeated => Self::new(
                Kind::RequestInProgress,
                "The first request with this Idempotency-Key is still being answered: send it again in a moment.",
            ),
            TokenError::Directory(error) => error.into(),
        }
    }
}
