//! Questions about the server itself, in class CHAOS: refused, unless the operator wants them answered (DNS-14).

use tandem_zone::RrType;

use crate::answer::{Cut, Reply};
use crate::client::Client;
use crate::options::MAX_IDENTITY;
use crate::request::Request;
use crate::wire::{HEADER, Rcode};
use crate::writer::{Head, finish};

/// Class CHAOS (RFC 1035 3.2.4).
const CHAOS: u16 = 3;

/// What a server tells about itself to anybody who asks; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    name: Option<String>,
    version: Option<String>,
}

impl Identity {
    /// Tells `name`, by the NSID option (RFC 5001) and at `id.server` and `hostname.bind`, and `version` at
    /// `version.bind` and `version.server`; what is empty is not told.
    ///
    /// Returns `None` if one of them has more than 64 octets: it would only make answers longer.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Option<Self> {
        let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let fits = name.len() <= MAX_IDENTITY && version.len() <= MAX_IDENTITY;
        fits.then(|| Self { name: told(name), version: told(version) })
    }

    /// The data of the NSID option.
    pub(crate) fn nsid(&self) -> Option<&[u8]> {
        self.name.as_deref().map(str::as_bytes)
    }
}

/// What is to be told to `request`, which is of `class`; `None`: nothing.
pub(crate) fn text<'a>(identity: &'a Identity, request: &Request, class: u16) -> Option<&'a str> {
    if class != CHAOS || !matches!(request.kind, RrType::TXT | RrType::ANY) {
        return None;
    }
    match request.name.as_wire() {
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => identity.name.as_deref(),
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => identity.version.as_deref(),
        _ => None,
    }
}

/// Answers with one TXT record of class CHAOS that holds `text`.
pub(crate) fn answer(request: &Request, text: &str, client: &Client<'_>, buffer: &mut [u8]) -> Reply {
    let (opt, standing) = client.opt_for(request.edns.as_ref());
    let len = text.len() as u8;
    let at = request.question_end;
    // The owner points to the question. TTL 0: it is about this server, and about this moment.
    let head = [0xc0, HEADER as u8, 0, 16, 0, CHAOS as u8, 0, 0, 0, 0, 0, len + 1, len];
    let (data_at, end) = (at + head.len(), at + head.len() + text.len());
    buffer[at..data_at].copy_from_slice(&head);
    buffer[data_at..end].copy_from_slice(text.as_bytes());
    let head = Head { rcode: Rcode::NoError, authoritative: true, truncated: false, opt, error: None };
    let len = finish(buffer, end, 1, [1, 0, 0], head);
    Reply { len, rcode: Rcode::NoError, truncated: false, cut: Cut { question_end: at, opt_len: len - end, standing } }
}
