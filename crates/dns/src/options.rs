//! EDNS options: what a query asks for ([`Asked`]) and what its answer carries ([`Opt`]). HOT PATH: nothing allocates.

use crate::cookie::{BOTH, Cookie};
use crate::wire::{ADVERTISED, EDE, OPT, Rcode, u16_at};

/// Name server identifier (RFC 5001).
const NSID: u16 = 3;

/// Cookies (RFC 7873).
const COOKIE: u16 = 10;

/// How long a TCP connection may be idle (RFC 7828).
const KEEPALIVE: u16 = 11;

/// Octets before an option's data (RFC 6891 6.1.2).
const HEAD: usize = 4;

/// Octets of the keepalive option in an answer.
const KEEPALIVE_LEN: usize = HEAD + 2;

/// Most octets of the server's identity: more would only make answers longer.
pub(crate) const MAX_IDENTITY: usize = 64;

/// The options of a query that we know; all others are ignored (DNS-42).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// The first COOKIE option; more do not count (DNS-55).
    pub(crate) cookie: Option<Cookie>,
    /// Whether the server's identity is wanted; data in the option is ignored (RFC 5001 2.2).
    pub(crate) nsid: bool,
    /// Whether the client would like to know how long its connection may be idle.
    pub(crate) keepalive: bool,
}

impl Asked {
    /// Reads the data of an OPT record of version 0; `None` if it is no run of whole options (RFC 6891 6.1.2), or the
    /// COOKIE has an illegal length (DNS-55).
    pub(crate) fn read(options: &[u8]) -> Option<Self> {
        let mut asked = Self::default();
        let mut rest = options;
        while !rest.is_empty() {
            let (code, len) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
            let data = rest.get(HEAD..HEAD + len)?;
            match code {
                COOKIE if asked.cookie.is_none() => asked.cookie = Some(Cookie::read(data)?),
                NSID => asked.nsid = true,
                KEEPALIVE => asked.keepalive = true,
                _ => {}
            }
            rest = &rest[HEAD + len..];
        }
        Some(asked)
    }
}

/// The OPT record of an answer (DNS-40), without an extended error: that comes last, if there is room (DNS-46).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Opt<'a> {
    /// DO, copied (RFC 3225 3).
    pub(crate) dnssec_ok: bool,
    /// Client cookie and server cookie.
    pub(crate) cookie: Option<[u8; BOTH]>,
    /// The server's identity, at most [`MAX_IDENTITY`] octets (DNS-47).
    pub(crate) nsid: Option<&'a [u8]>,
    /// The idle limit, in units of 100 ms (DNS-63).
    pub(crate) keepalive: Option<u16>,
}

impl Opt<'_> {
    /// Octets of the record.
    pub(crate) fn len(&self) -> usize {
        OPT + self.options_len()
    }

    /// Writes the record at the front of `buffer`, with the extended error code `error`; its length.
    pub(crate) fn write(&self, buffer: &mut [u8], rcode: Rcode, error: Option<u16>) -> usize {
        let data_len = self.options_len() + if error.is_some() { EDE } else { 0 };
        // At most 28 + 68 + 6 + 6: see MAX_IDENTITY.
        let [len_0, len_1] = (data_len as u16).to_be_bytes();
        let [size_0, size_1] = ADVERTISED.to_be_bytes();
        let dnssec_ok = if self.dnssec_ok { 0x80 } else { 0 };
        let head: [u8; OPT] = [0, 0, 41, size_0, size_1, rcode.high(), 0, dnssec_ok, 0, len_0, len_1];
        buffer[..OPT].copy_from_slice(&head);
        let mut at = OPT;
        let mut option = |code: u16, data: &[u8]| {
            let ([code_0, code_1], [len_0, len_1]) = (code.to_be_bytes(), (data.len() as u16).to_be_bytes());
            buffer[at..at + HEAD].copy_from_slice(&[code_0, code_1, len_0, len_1]);
            at += HEAD;
            buffer[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        };
        if let Some(cookie) = &self.cookie {
            option(COOKIE, cookie);
        }
        if let Some(identity) = self.nsid {
            option(NSID, identity);
        }
        if let Some(limit) = self.keepalive {
            option(KEEPALIVE, &limit.to_be_bytes());
        }
        if let Some(code) = error {
            option(15, &code.to_be_bytes());
        }
        at
    }

    fn options_len(&self) -> usize {
        self.cookie.map_or(0, |cookie| HEAD + cookie.len())
            + self.nsid.map_or(0, |identity| HEAD + identity.len())
            + self.keepalive.map_or(0, |_| KEEPALIVE_LEN)
    }
}
