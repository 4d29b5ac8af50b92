//! The numbers of the DNS message format (RFC 1035 4.1, RFC 6891 6.1) that this crate uses.

/// Octets of a header; the question of a message begins here.
pub(crate) const HEADER: usize = 12;

/// Octets of an OPT record without options.
pub(crate) const OPT: usize = 11;

/// Octets of an extended DNS error without text (RFC 8914 2).
pub(crate) const EDE: usize = 6;

/// The largest payload we tell clients that we take (DNS-44).
pub(crate) const ADVERTISED: u16 = 1232;

/// The limit of UDP answers to clients without EDNS, and the least that a client's limit counts as (DNS-43).
pub(crate) const PLAIN_UDP: u16 = 512;

/// The longest message over TCP (RFC 1035 4.2.2).
pub(crate) const MAX_MESSAGE: usize = 65_535;

/// Octets of the length before a message over TCP (RFC 1035 4.2.2).
pub(crate) const LENGTH: usize = 2;

/// Class IN.
pub(crate) const CLASS_IN: u16 = 1;

/// Bits of the header's third octet.
pub(crate) mod flag {
    /// A response.
    pub(crate) const QR: u8 = 0x80;
    /// The bits of the opcode.
    pub(crate) const OPCODE: u8 = 0x78;
    /// Authoritative answer.
    pub(crate) const AA: u8 = 0x04;
    /// Truncated.
    pub(crate) const TC: u8 = 0x02;
    /// Recursion desired.
    pub(crate) const RD: u8 = 0x01;
}

/// The response codes that we send (RFC 1035 4.1.1, 2136 2.2, 6672 3.2, 6891 6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rcode {
    NoError = 0,
    FormErr = 1,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    YxDomain = 6,
    NotAuth = 9,
    BadVers = 16,
    BadCookie = 23,
}

impl Rcode {
    /// Its name in the registry.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::YxDomain => "YXDOMAIN",
            Self::NotAuth => "NOTAUTH",
            Self::BadVers => "BADVERS",
            Self::BadCookie => "BADCOOKIE",
        }
    }

    /// The four bits in the header.
    pub(crate) const fn low(self) -> u8 {
        self as u8 & 0x0f
    }

    /// The eight bits in the OPT record.
    pub(crate) const fn high(self) -> u8 {
        self as u8 >> 4
    }
}

/// The 16-bit number at `at`, if the message is that long.
pub(crate) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let octets = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

/// Where the first question of `message` ends, if its name is uncompressed and whole.
pub(crate) fn question_end(message: &[u8]) -> Option<usize> {
    let end = HEADER + name_len(message.get(HEADER..)?)? + 4;
    (end <= message.len()).then_some(end)
}

/// Octets of the uncompressed name at the front of `wire`, the root's included; `None` if there is none.
pub(crate) fn name_len(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *wire.get(at)? {
            0 => return (at < 255).then_some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            _ => return None,
        }
    }
}
