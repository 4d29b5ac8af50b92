//! What a SIP element can speak: the services of RFC 3263, their tokens, prefixes and ports.

use std::fmt;

use crate::name::{DomainName, InvalidName};

/// Transport and protection together, as Via names it (RFC 3261 20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// TLS over TCP.
    Tls,
    /// TLS over SCTP (RFC 4168).
    TlsSctp,
    /// WebSocket over TLS (RFC 7118).
    Wss,
    /// TCP in clear.
    Tcp,
    /// UDP in clear.
    Udp,
    /// SCTP in clear (RFC 4168).
    Sctp,
    /// WebSocket in clear (RFC 7118).
    Ws,
}

impl Service {
    /// Every service, those over TLS first.
    pub const ALL: [Self; 7] = [Self::Tls, Self::TlsSctp, Self::Wss, Self::Tcp, Self::Udp, Self::Sctp, Self::Ws];

    /// The token in Via: `TLS`, `UDP` …
    #[must_use]
    pub const fn via(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::TlsSctp => "TLS-SCTP",
            Self::Wss => "WSS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Ws => "WS",
        }
    }

    /// Whether TLS protects it.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::TlsSctp | Self::Wss)
    }

    /// The port when neither URI nor SRV names one (RFC 3261 18.1.1, RFC 7118 5.5).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Tls | Self::TlsSctp => 5061,
            Self::Tcp | Self::Udp | Self::Sctp => 5060,
            Self::Wss => 443,
            Self::Ws => 80,
        }
    }

    /// The NAPTR service (RFC 3263 4.1; RFC 7118 5.5).
    #[must_use]
    pub const fn naptr(self) -> &'static str {
        match self {
            Self::Tls => "SIPS+D2T",
            Self::TlsSctp => "SIPS+D2S",
            Self::Wss => "SIPS+D2W",
            Self::Tcp => "SIP+D2T",
            Self::Udp => "SIP+D2U",
            Self::Sctp => "SIP+D2S",
            Self::Ws => "SIP+D2W",
        }
    }

    /// The service that a NAPTR names, case ignored (LOC-28, LOC-68). `SIPS+D2U` is none (LOC-26).
    #[must_use]
    pub fn from_naptr(service: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.naptr().eq_ignore_ascii_case(service))
    }

    /// The labels in front of the domain in an SRV name (RFC 2782); none for WebSocket (LOC-69).
    #[must_use]
    pub const fn srv_labels(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Tls => Some(["_sips", "_tcp"]),
            Self::TlsSctp => Some(["_sips", "_sctp"]),
            Self::Tcp => Some(["_sip", "_tcp"]),
            Self::Udp => Some(["_sip", "_udp"]),
            Self::Sctp => Some(["_sip", "_sctp"]),
            Self::Wss | Self::Ws => None,
        }
    }

    /// The SRV name of this service at `domain`; `None` for WebSocket (LOC-69).
    ///
    /// # Errors
    ///
    /// [`InvalidName::TooLong`]: `domain` leaves no room, so there can be no such name.
    pub fn srv_name(self, domain: &DomainName) -> Result<Option<DomainName>, InvalidName> {
        self.srv_labels().map(|labels| domain.prefixed(&labels)).transpose()
    }

    /// What a `transport=` value stands for (LOC-6, LOC-53): with `secure`, the service over TLS where there is one.
    #[must_use]
    pub(crate) fn from_transport(value: &str, secure: bool) -> Option<Self> {
        let is = |token: &str| value.eq_ignore_ascii_case(token);
        match secure {
            _ if is("tls") => Some(Self::Tls),
            _ if is("udp") => Some(Self::Udp),
            true if is("tcp") => Some(Self::Tls),
            true if is("sctp") => Some(Self::TlsSctp),
            true if is("ws") => Some(Self::Wss),
            false if is("tcp") => Some(Self::Tcp),
            false if is("sctp") => Some(Self::Sctp),
            false if is("ws") => Some(Self::Ws),
            _ => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.via())
    }
}
