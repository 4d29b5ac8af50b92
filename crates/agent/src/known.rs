//! `GET /v1/members/{domain or number}`: what the agent knows of one member, and whether it gives it out, for `tandem explain`
//! and for people. Always on the socket in the state folder, and with `[http]` there too.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;
use tandem_model::{DomainName, E164Number};
use tokio::task::spawn_blocking;

use crate::check::{BadKind, Verdicts};
use crate::document::NodeDocument;
use crate::member::Member;
use crate::route::holder;
use crate::service::Parts;
use crate::snapshot::Snapshots;
use crate::status::Board;

/// What the path needs.
#[derive(Debug, Clone)]
struct Known {
    snapshots: Snapshots,
    verdicts: Verdicts,
    board: Arc<Board>,
}

/// What is known of one domain. Numbers and networks stay here: nobody needs them to see why a call fails.
#[derive(Debug, Serialize)]
struct Body {
    /// The SIP domain; none if a number was asked for that no member has.
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    /// Where it is in its life; none: no member that is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// What was said when it got there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The thumbprint of the key that signed what it says; none: the directory's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    /// Why its newest document is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Whether all members were read once: else nobody can be called a stranger.
    knows_members: bool,
    /// Since when the copy is not in step with the directory (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_since: Option<String>,
    /// What it published, with the directory's findings, if it is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeDocument>,
    /// What looks say; none if settings want none.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckBody>,
}

/// What the last looks at its targets say.
#[derive(Debug, Serialize)]
struct CheckBody {
    /// Whether none was good, so that it is given to nobody.
    held_back: bool,
    targets: Vec<TargetBody>,
}

/// What the last look at one address says.
#[derive(Debug, Serialize)]
struct TargetBody {
    address: String,
    good: bool,
    /// `certificate`, `network`, `address` or `server`: what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The path, for what `parts` hold.
pub(crate) fn router(parts: &Parts) -> Router {
    let Parts { snapshots, verdicts, board, .. } = parts.clone();
    Router::new().route("/v1/members/{who}", get(member)).with_state(Known { snapshots, verdicts, board })
}

async fn member(State(known): State<Known>, Path(who): Path<String>) -> Response {
    let members = known.snapshots.borrow().members.clone();
    let wrong = || (StatusCode::BAD_REQUEST, "write a domain, or a number as +15550101\n").into_response();
    let domain = if who.starts_with('+') {
        let Ok(number) = E164Number::parse(&who) else { return wrong() };
        let members = members.clone();
        // It looks at all of them: beside what answers calls.
        match spawn_blocking(move || holder(&number, &members)).await {
            Ok(domain) => domain,
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    } else {
        let Ok(domain) = DomainName::parse(&who) else { return wrong() };
        Some(domain)
    };
    let found = domain.as_ref().and_then(|domain| members.get(domain));
    let body = known.body(domain.as_ref(), found.map(|member| &**member));
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let text = serde_json::to_vec(&body).expect("strings, numbers and lists are JSON");
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

impl Known {
    fn body(&self, domain: Option<&DomainName>, member: Option<&Member>) -> Body {
        let replica = self.board.read().replica;
        let shown = member.and_then(Member::shown);
        let check = shown
            .as_deref()
            .filter(|_| self.verdicts.is_on())
            .map(|node| CheckBody { held_back: !self.verdicts.has_good(node), targets: self.looks(node.domain()) });
        Body {
            domain: domain.map(ToString::to_string),
            state: member.map(|member| member.state.as_str()),
            reason: member.and_then(|member| member.reason.as_deref()).map(str::to_owned),
            signed_by: member.and_then(|member| member.key.as_ref()).map(|key| key.thumbprint.to_string()),
            refused: domain.and_then(|domain| replica.refused.get(&domain.to_string())).cloned(),
            knows_members: replica.position.is_some(),
            stale_since: replica.stale_since,
            node: shown.as_deref().map(NodeDocument::of).map(|document| document.with_numbers(Vec::new())),
            check,
        }
    }

    fn looks(&self, domain: &DomainName) -> Vec<TargetBody> {
        let seen = self.verdicts.last_looks(domain).into_iter();
        let body = seen.map(|(address, result)| {
            let (fault, why) = result.err().map(|(kind, why)| (word(kind), why.to_string())).unzip();
            TargetBody { address: address.to_string(), good: fault.is_none(), fault, why }
        });
        body.collect()
    }
}

const fn word(kind: BadKind) -> &'static str {
    match kind {
        BadKind::Certificate => "certificate",
        BadKind::Network => "network",
        BadKind::Address => "address",
        BadKind::Server => "server",
    }
}
