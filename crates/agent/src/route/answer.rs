//! A route as JSON for programs, and as plain text for scripts that want one word.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tandem_model::locate::Dnssec;

use super::{Invalid, Outcome, Refused, Route, RouteTarget};

/// Seconds after which to look again at a member that has no server: as long as its operator needs at least.
pub(crate) const RETRY_AFTER_DOWN: u32 = 60;

/// The body of `GET /v1/route`.
#[derive(Debug, Serialize)]
struct Body<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    targets: Vec<TargetBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    member: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    signed: bool,
    ttl: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dnssec: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    why: Vec<WhyBody<'a>>,
}

#[derive(Debug, Serialize)]
struct TargetBody {
    address: String,
    port: u16,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    tls_name: String,
    priority: u16,
    weight: u16,
    route: String,
}

#[derive(Debug, Serialize)]
struct WhyBody<'a> {
    rule: &'static str,
    text: &'a str,
}

impl Outcome {
    /// The word for it in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotAMember => "not-a-member",
            Self::Down => "down",
            Self::TryLater => "try-later",
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
        }
    }

    /// What is refused, or what is wrong.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Found | Self::NotAMember | Self::Down | Self::TryLater => None,
            Self::Refused(Refused::OwnDomain) => Some("own-domain"),
            Self::Refused(Refused::Compromised) => Some("compromised"),
            Self::Refused(Refused::Suspended) => Some("suspended"),
            Self::Refused(Refused::Policy) => Some("policy"),
            Self::Invalid(Invalid::Scheme) => Some("scheme"),
            Self::Invalid(Invalid::Number) => Some("number"),
            Self::Invalid(Invalid::Syntax) => Some("syntax"),
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Found => StatusCode::OK,
            Self::NotAMember => StatusCode::NOT_FOUND,
            Self::Down | Self::TryLater => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Route {
    /// The answer to a program, or with `as_text` to a script: one URI of a target a line, or the outcome's word.
    pub(super) fn response(&self, as_text: bool) -> Response {
        let (kind, body) = match as_text {
            true => ("text/plain; charset=utf-8", self.text().into_bytes()),
            false => ("application/json", self.json()),
        };
        let mut response = (self.outcome.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        // Who may be called can end at any moment; asking costs less than a cache.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let down = (self.outcome == Outcome::Down).then_some(RETRY_AFTER_DOWN);
        if let Some(seconds) = self.retry_after.or(down) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn json(&self) -> Vec<u8> {
        let body = Body {
            outcome: self.outcome.as_str(),
            reason: self.outcome.reason(),
            route: self.uri(),
            targets: self.targets.iter().map(TargetBody::new).collect(),
            uri: self.called.as_ref().map(ToString::to_string),
            member: self.member.is_some(),
            state: self.member.map(super::MemberState::as_str),
            signed: self.is_signed,
            ttl: self.ttl,
            dnssec: self.dnssec.map(word),
            retry_after: self.retry_after,
            why: self.why.iter().map(|why| WhyBody { rule: why.rule, text: &why.text }).collect(),
        };
        serde_json::to_vec(&body).expect("strings, numbers and lists are JSON")
    }

    fn text(&self) -> String {
        if self.targets.is_empty() {
            return format!("{}\n", self.outcome.as_str());
        }
        self.targets.iter().map(|target| target.uri() + "\n").collect()
    }
}

impl TargetBody {
    fn new(target: &RouteTarget) -> Self {
        Self {
            address: target.address.ip().to_string(),
            port: target.address.port(),
            transport: "tls",
            host: target.host.as_ref().map(ToString::to_string),
            tls_name: target.tls_name.to_string(),
            priority: target.priority,
            weight: target.weight,
            route: target.uri(),
        }
    }
}

const fn word(dnssec: Dnssec) -> &'static str {
    match dnssec {
        Dnssec::Secure => "secure",
        Dnssec::Insecure => "insecure",
        Dnssec::Indeterminate => "indeterminate",
    }
}
