//! A request as far as it has to be read to be answered, whatever is wrong with it.

use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use tandem_probe::sip::{Message, Start};

use super::header::{Via, is_token, read_cseq, read_number, read_party};

/// Octets of a To tag, in hexadecimal twice as many.
const TAG: usize = 8;

/// What every answer copies (RFC 3261 8.2.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) via: Via,
    /// The further Via fields.
    pub(super) vias: Vec<Box<str>>,
    pub(super) from: Option<Box<str>>,
    pub(super) to: Option<Box<str>>,
    pub(super) call_id: Option<Box<str>>,
    pub(super) cseq: Option<Box<str>>,
    /// Where the request came from.
    pub(super) source: SocketAddr,
}

/// A request whose every part that counts here is in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Box<str>,
    pub(super) uri: Box<str>,
    pub(super) cseq: u32,
    /// Whether it belongs to a dialog.
    pub(super) has_to_tag: bool,
    /// 70 if it does not say (RFC 3261 8.1.1.6).
    pub(super) max_forwards: u32,
    /// What it requires, each an option tag.
    pub(super) require: Vec<Box<str>>,
}

/// What is wrong with a request: the status to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// 400: with what, for who reads a trace.
    Malformed(&'static str),
    /// 505.
    Version,
}

impl Envelope {
    /// `None` if there is nobody to answer: no Via.
    pub(super) fn read(message: &Message, source: SocketAddr) -> Option<Self> {
        let mut vias = message.headers.iter().filter(|(name, _)| **name == *"via").map(|(_, value)| value);
        let via = Via::read(vias.next()?)?;
        let first = |name| message.header(name).map(Into::into);
        Some(Self {
            via,
            vias: vias.cloned().collect(),
            from: first("from"),
            to: first("to"),
            call_id: first("call-id"),
            cseq: first("cseq"),
            source,
        })
    }

    /// The tag for To: the same for every retransmission, and nobody else can know it (RFC 3261 8.2.7, 19.3).
    pub(super) fn tag(&self, secret: &[u8; 32]) -> String {
        let digest = self.digest(secret, b"tag", 0);
        digest[..TAG].iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The transaction's name: what an INVITE, its retransmissions and its CANCEL share (RFC 3261 17.2.3).
    pub(super) fn transaction(&self, secret: &[u8; 32], cseq: u32) -> [u8; 32] {
        self.digest(secret, b"transaction", cseq)
    }

    fn digest(&self, secret: &[u8; 32], what: &[u8], cseq: u32) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(secret);
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().as_bytes().to_vec();
        let parts = [
            what.to_vec(),
            self.via.branch().unwrap_or_default().as_bytes().to_vec(),
            self.via.sent_by.as_bytes().to_vec(),
            text(&self.from),
            text(&self.call_id),
            cseq.to_be_bytes().to_vec(),
        ];
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Request {
    /// Checks what RFC 3261 8.1.1 makes mandatory, and that nothing of it stands twice.
    pub(super) fn read(message: &Message) -> Result<Self, Wrong> {
        let (method, uri) = match &message.start {
            Start::Request { method, uri } => (method, uri),
            Start::Unreadable(line) => {
                let version = line.trim_end().rsplit(' ').next().unwrap_or_default();
                let is_other = version.starts_with("SIP/") && version != "SIP/2.0";
                return Err(if is_other { Wrong::Version } else { Wrong::Malformed("request line") });
            }
            Start::Status { .. } => return Err(Wrong::Malformed("request line")),
        };
        let from = one(message, "from", "From")?;
        let to = one(message, "to", "To")?;
        let call_id = one(message, "call-id", "Call-ID")?;
        let cseq = one(message, "cseq", "CSeq")?;
        read_party(from).ok_or(Wrong::Malformed("From"))?;
        let to_tag = read_party(to).ok_or(Wrong::Malformed("To"))?;
        if call_id.is_empty() || call_id.contains([' ', '\t']) {
            return Err(Wrong::Malformed("Call-ID"));
        }
        let (cseq, of) = read_cseq(cseq).ok_or(Wrong::Malformed("CSeq"))?;
        if *of != **method {
            return Err(Wrong::Malformed("CSeq method"));
        }
        let max_forwards = match at_most_one(message, "max-forwards", "Max-Forwards")? {
            None => 70,
            // RFC 3261 20.22: 0 to 255.
            Some(text) => read_number(text).filter(|n| *n <= 255).ok_or(Wrong::Malformed("Max-Forwards"))?,
        };
        at_most_one(message, "content-length", "Content-Length")?;
        let requires = message.headers.iter().filter(|(name, _)| **name == *"require");
        let require: Vec<Box<str>> =
            requires.flat_map(|(_, value)| value.split(',')).map(|tag| tag.trim().into()).collect();
        if !require.iter().all(|tag| is_token(tag)) {
            return Err(Wrong::Malformed("Require"));
        }
        let (method, uri, has_to_tag) = (method.clone(), uri.clone(), !to_tag.is_empty());
        Ok(Self { method, uri, cseq, has_to_tag, max_forwards, require })
    }
}

/// The method of anything that looks like a request, for what is never answered.
pub(super) fn method(message: &Message) -> &str {
    match &message.start {
        Start::Request { method, .. } => method,
        Start::Unreadable(line) => line.split(' ').next().unwrap_or_default(),
        Start::Status { .. } => "",
    }
}

fn one<'m>(message: &'m Message, name: &str, shown: &'static str) -> Result<&'m str, Wrong> {
    at_most_one(message, name, shown)?.ok_or(Wrong::Malformed(shown))
}

fn at_most_one<'m>(message: &'m Message, name: &str, shown: &'static str) -> Result<Option<&'m str>, Wrong> {
    let mut values = message.headers.iter().filter(|(found, _)| **found == *name).map(|(_, value)| &**value);
    let first = values.next();
    if values.next().is_some() { Err(Wrong::Malformed(shown)) } else { Ok(first) }
}
