//! An answer and its text (RFC 3261 8.2.6).

use super::request::{Envelope, Wrong};

/// What is redirected, and what ends it.
const ALLOW: &str = "INVITE, ACK, CANCEL, OPTIONS, MESSAGE, SUBSCRIBE, REFER, PUBLISH, NOTIFY";

/// An answer without what it copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) code: u16,
    extra: Extra,
}

/// The field that belongs to its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    /// 302: the URI.
    Contact(String),
    /// 480, 503: seconds.
    RetryAfter(u32),
    /// 200 to OPTIONS, 405, 501.
    Allow,
    /// 420: option tags.
    Unsupported(String),
    /// 400: what is malformed.
    Malformed(&'static str),
}

impl Response {
    pub(super) const fn new(code: u16) -> Self {
        Self { code, extra: Extra::None }
    }

    pub(super) const fn with(code: u16, extra: Extra) -> Self {
        Self { code, extra }
    }

    /// As it goes back. `tag` is put to a To that has none.
    pub(super) fn text(&self, to: &Envelope, tag: &str) -> String {
        let Self { code, extra } = self;
        let mut text = match extra {
            // RFC 3261 21.4.1: the reason says what is wrong.
            Extra::Malformed(what) => format!("SIP/2.0 {code} Bad {what}\r\n"),
            _ => format!("SIP/2.0 {code} {}\r\n", reason(*code)),
        };
        let mut field = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                text.push_str(part);
            }
        };
        field("Via", &to.via.answered(to.source));
        to.via.rest.iter().chain(&to.vias).for_each(|via| field("Via", via));
        if let Some(from) = &to.from {
            field("From", from);
        }
        if let Some(to) = &to.to {
            match super::header::read_party(to) {
                Some("") => field("To", &format!("{to};tag={tag}")),
                // It has one; or nobody can say where a tag would stand.
                Some(_) | None => field("To", to),
            }
        }
        if let Some(call_id) = &to.call_id {
            field("Call-ID", call_id);
        }
        if let Some(cseq) = &to.cseq {
            field("CSeq", cseq);
        }
        match extra {
            Extra::None | Extra::Malformed(_) => {}
            Extra::Contact(uri) => field("Contact", &format!("<{uri}>")),
            Extra::RetryAfter(seconds) => field("Retry-After", &seconds.to_string()),
            Extra::Allow => field("Allow", ALLOW),
            Extra::Unsupported(tags) => field("Unsupported", tags),
        }
        field("Content-Length", "0");
        text.push_str("\r\n");
        text
    }
}

impl From<Wrong> for Response {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Malformed(what) => Self::with(400, Extra::Malformed(what)),
            Wrong::Version => Self::new(505),
        }
    }
}

/// RFC 3261 21.
const fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        302 => "Moved Temporarily",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        483 => "Too Many Hops",
        487 => "Request Terminated",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        _ => "Bad Request",
    }
}
