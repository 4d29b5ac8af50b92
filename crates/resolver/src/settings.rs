//! Whom to ask, how long to wait, and what the asking side can do.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tandem_model::locate::{Client, Families};

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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: NameServers::System,
            client: Client::default(),
            question_timeout: QUESTION_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
            max_parallel: MAX_PARALLEL,
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

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The list of name servers is empty: name one, or use the system's.
    #[error("no name server is given: name at least one, or use the system's")]
    NoServers,
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
