//! Whom to ask, how long to wait, and what the asking side can do.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tandem_model::DomainName;
use tandem_model::locate::{Client, Families};
use tandem_model::numbering::Wanted;

use crate::trace::Trace;

/// Longest wait for one question, retransmissions and a second try over TCP included.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for everything that one URI needs (LOC-90).
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Most questions under way at once, all calls together: what one TCP connection to a name server carries.
pub const MAX_PARALLEL: usize = 32;
/// Most name servers that are used; the rest of a list is left out.
pub const MAX_SERVERS: usize = 8;

/// A [`Resolver`](crate::Resolver)'s settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name servers.
    pub servers: NameServers,
    /// What the element that sends the request can do. By default: TLS alone, both address families, and no address
    /// inside our own network: [`Client::reach`] set to [`Reach::Any`](tandem_model::locate::Reach::Any) allows those.
    pub client: Client,
    /// Longest wait for one question.
    pub question_timeout: Duration,
    /// Longest wait for one URI, at most [`TOTAL_TIMEOUT`].
    pub total_timeout: Duration,
    /// Most questions under way at once, 1 to [`MAX_PARALLEL`].
    pub max_parallel: usize,
    /// What is kept, and how long.
    pub cache: CacheSettings,
    /// Whether SRV questions go out together with the NAPTR question. A cold call then costs two round trips at most,
    /// and one where the name server sends the chain along, for one question more.
    pub ask_ahead: bool,
    /// Whose word on DNSSEC counts.
    pub dnssec: DnssecTrust,
    /// The element that this resolver works for: calls to it are no calls to forward.
    pub own: Own,
    /// Where telephone numbers are looked up.
    pub numbers: Numbers,
    /// Where each question to a name server is written down, with its reply; for one call at a time, and for people.
    pub trace: Option<Trace>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: NameServers::System,
            client: Client::default(),
            question_timeout: QUESTION_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
            max_parallel: MAX_PARALLEL,
            cache: CacheSettings::default(),
            ask_ahead: true,
            dnssec: DnssecTrust::default(),
            own: Own::default(),
            numbers: Numbers::default(),
            trace: None,
        }
    }
}

/// Who is asked. Names are always absolute: no search list applies, whatever the system's settings say (LOC-9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NameServers {
    /// Those of `/etc/resolv.conf`.
    #[default]
    System,
    /// These and no others.
    Only(Vec<SocketAddr>),
    /// These first; the system's when these say that a name is not theirs (REFUSED or a referral). A directory beside
    /// this program so answers for members, and the rest of the world is still found. An answer of any other kind,
    /// SERVFAIL too, stands: what the directory cannot say now, a stranger must not say instead.
    First(Vec<SocketAddr>),
    /// As [`First`](Self::First), with a second list of ours in place of the system's.
    FirstThen(Vec<SocketAddr>, Vec<SocketAddr>),
}

impl NameServers {
    /// These and no others, or the system's if there are none: as settings have it where an empty list is the default.
    #[must_use]
    pub fn only_or_system(servers: Vec<SocketAddr>) -> Self {
        if servers.is_empty() { Self::System } else { Self::Only(servers) }
    }
}

/// What is kept, and how long. There are two caches, of whole results and of answers; the limits hold for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Most entries; 0 keeps nothing.
    pub max_entries: usize,
    /// Most octets, counted roughly.
    pub max_octets: usize,
    /// Longest life of an answer with records, in seconds.
    pub max_ttl: u32,
    /// Longest life of a negative answer, in seconds (RFC 2308 5): who joins must not be missed for long.
    pub max_negative_ttl: u32,
    /// How long after its end a result still serves while name servers fail (RFC 8767). `None`: not at all.
    pub serve_stale: Option<Duration>,
    /// Whether a result that is used often is asked for again shortly before it ends.
    pub prefetch: bool,
}

impl CacheSettings {
    /// Keeps nothing: every call asks.
    #[must_use]
    pub fn off() -> Self {
        Self { max_entries: 0, ..Self::default() }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            max_entries: 16_384,
            max_octets: 32 << 20,
            max_ttl: 86_400,
            max_negative_ttl: 300,
            serve_stale: None,
            prefetch: true,
        }
    }
}

/// Whose word on DNSSEC counts (CERT-57).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnssecTrust {
    /// Nobody's: every answer is indeterminate, and DANE never applies.
    #[default]
    Nobody,
    /// The AD bit of validating name servers on this very machine: a list of name servers counts if all of them have
    /// loopback addresses. Such a server must validate; that it does is the operator's promise.
    Loopback,
}

/// Names and addresses of the element itself. A call that leads to them would come back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// Domains that it answers for.
    pub domains: Vec<DomainName>,
    /// Addresses and ports at which it listens.
    pub addresses: Vec<SocketAddr>,
}

/// Where telephone numbers are looked up (RFC 6116).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Numbers {
    /// ENUM trees in the order in which to try them: private ones first, `e164.arpa` only where it is meant (ENUM-8).
    pub suffixes: Vec<DomainName>,
    /// The services that the caller can go on with.
    pub wanted: Wanted,
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The list of name servers is empty: name one, or use the system's.
    #[error("no name server is given: name at least one, or use the system's")]
    NoServers,
    /// The AD bit is to count, but no list of name servers is all on this machine.
    #[error("DNSSEC status is believed from name servers on loopback alone: name one such that validates")]
    NotLoopback,
    /// The system's settings cannot be read: repair `/etc/resolv.conf`, or name servers here.
    #[error("cannot read the system's name servers from /etc/resolv.conf: repair it, or name servers in the settings")]
    System(#[source] std::io::Error),
}

/// The address families that this host has a route for, IPv6 first where it has both. No packet is sent.
///
/// With a route for neither it gives both: the caller may be on an island whose names still deserve an answer.
#[must_use]
pub fn local_families() -> Families {
    // Connecting a UDP socket only asks the routing table.
    let has_route =
        |bind: SocketAddr, to: SocketAddr| UdpSocket::bind(bind).and_then(|socket| socket.connect(to)).is_ok();
    let v4 = has_route((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 32, 8), 53).into());
    let v6 = has_route(
        (Ipv6Addr::UNSPECIFIED, 0).into(),
        (Ipv6Addr::new(0x2001, 0x500, 0x88, 0x200, 0, 0, 0, 8), 53).into(),
    );
    match (v4, v6) {
        (true, false) => Families::V4,
        (false, true) => Families::V6,
        (true, true) | (false, false) => Families::V6ThenV4,
    }
}
