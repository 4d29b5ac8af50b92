//! What a [`DnsServer`](crate::DnsServer) is to do: checked and complete.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::chaos::Identity;
use crate::cookie::Cookies;
use crate::limit::RateLimit;
use crate::transfer::TransferConfig;
use crate::wire::{ADVERTISED, PLAIN_UDP};

/// The settings of a DNS server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, each for UDP and TCP on the same port (DNS-60). Port 0: one that is free for both.
    pub addresses: Vec<SocketAddr>,
    /// UDP threads for each address; `None`: as many as cores are available.
    pub udp_threads: Option<NonZeroUsize>,
    /// Our limit for UDP answers.
    pub udp_limit: UdpLimit,
    /// The limits of TCP, and of all transports with connections together.
    pub tcp: TcpLimits,
    /// DNS over TLS, HTTPS and QUIC.
    pub encrypted: Encrypted,
    /// The secrets of DNS cookies; `None`: cookies are neither made nor looked at.
    pub cookies: Option<Cookies>,
    /// The response rate limit of UDP; `None`: there is none.
    pub rate_limit: Option<RateLimit>,
    /// What the server tells about itself.
    pub identity: Identity,
    /// Keys, transfers and secondaries.
    pub transfers: TransferConfig,
    /// Most queries a second that are logged, one line each on the target `tandem::query`, without who asked; `None`: none.
    pub queries_logged: Option<NonZeroU32>,
}

impl Config {
    /// The defaults, at `addresses`.
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            udp_threads: None,
            udp_limit: UdpLimit::default(),
            tcp: TcpLimits::default(),
            encrypted: Encrypted::default(),
            cookies: None,
            rate_limit: None,
            identity: Identity::default(),
            transfers: TransferConfig::default(),
            queries_logged: None,
        }
    }
}

/// Listeners of the encrypted transports; none by default. Port 0: one that is free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encrypted {
    /// DNS over TLS (RFC 7858), commonly on port 853.
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS (RFC 8484) at `/dns-query`, commonly on port 443.
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC (RFC 9250), commonly on UDP port 853; never on port 53 (DNS-66).
    pub quic: Vec<SocketAddr>,
    /// The certificate of all of them: needed if there is any.
    pub certificate: Option<CertificateFiles>,
}

impl Encrypted {
    /// Whether nothing is to listen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tls.is_empty() && self.https.is_empty() && self.quic.is_empty()
    }
}

/// Where a certificate chain and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then its issuers.
    pub chain: PathBuf,
    /// The private key: PKCS #8, SEC1 or PKCS #1.
    pub key: PathBuf,
}

/// The most octets of an answer over UDP: 512 to 1400 (DNS-44), by default 1232, which passes every IPv6 path unfragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpLimit(u16);

impl UdpLimit {
    /// The highest limit: more could be fragmented on the way (RFC 9715 R3).
    pub const MAX: u16 = 1400;

    /// A limit of `octets`; `None` if that is below 512 or above [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(octets: u16) -> Option<Self> {
        if octets >= PLAIN_UDP && octets <= Self::MAX { Some(Self(octets)) } else { None }
    }

    /// The limit in octets.
    #[must_use]
    pub const fn octets(self) -> u16 {
        self.0
    }
}

impl Default for UdpLimit {
    fn default() -> Self {
        Self(ADVERTISED)
    }
}

/// What bounds TCP (DNS-62, RFC 7766 6.2): connections cost memory and descriptors, so they are few and short. Connections
/// of the encrypted transports count, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections open at a time. When there are so many, a new one takes the place of the one that is idle longest.
    pub connections: usize,
    /// Connections open at a time from one client network (IPv4 /24, IPv6 /48).
    pub connections_per_network: usize,
    /// How long a connection may be without a whole message.
    pub idle: Duration,
    /// How long a client may take for a TLS or QUIC handshake.
    pub handshake: Duration,
    /// How long a client may take to read an answer.
    pub write: Duration,
    /// How long a shutdown waits for answers that are being written.
    pub drain: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_per_network: 100,
            idle: Duration::from_secs(10),
            handshake: Duration::from_secs(5),
            write: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}
