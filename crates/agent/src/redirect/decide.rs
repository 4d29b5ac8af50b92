//! What a request means here: an answer at once, or the question where its call goes (RFC 3261 8.2, 8.3).

use tandem_model::called::InvalidCalled;
use tandem_model::{Called, Host, SipUri};

use super::request::Request;
use super::response::{Extra, Response};
use crate::route::{Invalid, Outcome, RETRY_AFTER_DOWN, Route, Routes};

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// ACK: nothing.
    Nothing,
    /// This.
    Answer(Response),
    /// 200, and no longer wait with the INVITE that is meant.
    Cancel,
    /// Ask where it goes.
    Ask(Called),
}

/// Methods that can begin something elsewhere: they are redirected.
const REDIRECTED: [&str; 7] = ["INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "REFER", "PUBLISH", "NOTIFY"];
/// Methods that live in a dialog, which nobody has with us.
const IN_DIALOG: [&str; 4] = ["BYE", "UPDATE", "PRACK", "INFO"];

/// Decides by the request alone.
pub(super) fn decide(request: &Request, routes: &Routes) -> Decision {
    let answer = |code| Decision::Answer(Response::new(code));
    let method = &*request.method;
    match method {
        "ACK" => return Decision::Nothing,
        "CANCEL" => return Decision::Cancel,
        "REGISTER" => return Decision::Answer(Response::with(405, Extra::Allow)),
        _ if IN_DIALOG.contains(&method) => return answer(481),
        _ if REDIRECTED.contains(&method) => {}
        _ => return Decision::Answer(Response::with(501, Extra::Allow)),
    }
    let called = match read_uri(&request.uri) {
        Ok(called) => called,
        Err(code) => return answer(code),
    };
    // RFC 3261 8.2.2.3: extensions are not for us to know.
    if !request.require.is_empty() {
        return Decision::Answer(Response::with(420, Extra::Unsupported(request.require.join(", "))));
    }
    if request.has_to_tag {
        return answer(481);
    }
    if method == "OPTIONS" && (request.max_forwards == 0 || is_for_us(&called, routes)) {
        return Decision::Answer(Response::with(200, Extra::Allow));
    }
    if request.max_forwards == 0 {
        return answer(483);
    }
    Decision::Ask(called)
}

/// The answer to a request whose call goes there, or does not.
pub(super) fn answer_to(route: &Route) -> Response {
    let code = match route.outcome {
        Outcome::Found => match route.uri() {
            Some(uri) => return Response::with(302, Extra::Contact(uri)),
            None => 404,
        },
        Outcome::NotAMember => 404,
        Outcome::Down => return Response::with(480, Extra::RetryAfter(route.retry_after.unwrap_or(RETRY_AFTER_DOWN))),
        Outcome::TryLater => return Response::with(503, Extra::RetryAfter(route.retry_after.unwrap_or(1))),
        Outcome::Refused(_) => 403,
        Outcome::Invalid(Invalid::Scheme) => 416,
        Outcome::Invalid(Invalid::Number) => 404,
        Outcome::Invalid(Invalid::Syntax) => 400,
    };
    Response::new(code)
}

/// Reads a Request-URI, which has a scheme, always; or the status to answer.
fn read_uri(text: &str) -> Result<Called, u16> {
    let (scheme, _) = text.split_once(':').ok_or(400_u16)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet));
    if !is_scheme {
        return Err(400);
    }
    if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") {
        // RFC 3261 19.1.1: headers are no part of a Request-URI; who sends some is told so.
        return match SipUri::parse(text) {
            Ok(uri) if !text.contains('?') || uri.user().is_some_and(|user| user.contains('?')) => Ok(Called::Uri(uri)),
            Ok(_) | Err(_) => Err(400),
        };
    }
    if scheme.eq_ignore_ascii_case("tel") {
        return Called::parse(text).map_err(|error| match error {
            InvalidCalled::NotE164(_) => 404,
            InvalidCalled::Uri(_) => 400,
        });
    }
    Err(416)
}

/// Whether somebody asks how we are: no user, at our own domain or at a bare address.
fn is_for_us(called: &Called, routes: &Routes) -> bool {
    match called {
        Called::Uri(uri) if uri.user().is_none() => match uri.host() {
            Host::Name(domain) => routes.is_own(domain),
            Host::Ip(_) => true,
        },
        Called::Uri(_) | Called::Number(_) => false,
    }
}
