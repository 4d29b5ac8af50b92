//! What the element that sends the request can do and wants: the machine's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use super::question::Kind;
use super::service::Service;
use crate::select::Order;
use crate::uri::Host;

/// The element that looks for a server. The default is this product's: TLS and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The services it can use, best first.
    pub services: Vec<Service>,
    /// Whether plaintext may be tried at all.
    pub mode: Mode,
    /// The address families it has.
    pub families: Families,
    /// How SRV records of one priority are ordered.
    pub order: Order,
    /// Which addresses from records it connects to.
    pub reach: Reach,
    /// Whether keys are pinned for servers without a name, so that `sips:bob@192.0.2.1` can be verified (LOC-67).
    pub pins_numeric_hosts: bool,
    /// Whether SRV questions are put together with the NAPTR question: one round trip less where DNS sends no additional
    /// data, one question more where it does.
    pub asks_ahead: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            services: vec![Service::Tls],
            mode: Mode::Secure,
            families: Families::V6ThenV4,
            order: Order::Weighted,
            reach: Reach::Public,
            pins_numeric_hosts: false,
            asks_ahead: false,
        }
    }
}

/// Whether plaintext may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Never, whatever the URI's scheme.
    #[default]
    Secure,
    /// For `sip:` URIs as RFC 3263 has it.
    Plain,
}

/// The address families of the element, the preferred one first (LOC-61, LOC-62).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// Both, IPv6 preferred: what RFC 6724 gives on a host with global addresses of both.
    #[default]
    V6ThenV4,
    /// Both, IPv4 preferred.
    V4ThenV6,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Families {
    pub(super) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::V6ThenV4 => &[Kind::Aaaa, Kind::A],
            Self::V4ThenV6 => &[Kind::A, Kind::Aaaa],
            Self::V4 => &[Kind::A],
            Self::V6 => &[Kind::Aaaa],
        }
    }
}

/// Which addresses out of DNS records may be connected to. An address that the URI itself names is the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// No loopback, private, link-local or multicast address: a stranger's record must not lead inside our network.
    #[default]
    Public,
    /// Any unicast address: tests, or a company's own federation.
    Any,
}

impl Reach {
    /// Whether an address out of a record may be connected to.
    #[must_use]
    pub const fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => !is_never_a_server(address),
            Self::Public => is_public(address),
        }
    }
}

/// Whether an address is on the public side: not loopback, private, shared, link-local, multicast or unspecified, also
/// not such an IPv4 address dressed as IPv6 (RFC 4291 2.5.5, RFC 6052 2.1, RFC 3056 2). Documentation addresses count
/// as public: they lead nowhere.
#[must_use]
pub const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

const fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(a == 0 // RFC 1122 3.2.1.3: this network
        || v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || (a == 100 && b & 0xc0 == 64) // RFC 6598: shared by carriers
        || (a == 192 && b == 0 && c == 0) // RFC 6890: protocol assignments
        || (a == 198 && b & 0xfe == 18) // RFC 2544: benchmarks
        || a >= 224) // RFC 5771 multicast, RFC 1112 4 reserved, broadcast
}

const fn is_public_v6(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    let tail = Ipv4Addr::from_bits(((s[6] as u32) << 16) | s[7] as u32);
    match s {
        // ::, ::1, IPv4-compatible and IPv4-mapped: nobody's address on the wire.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => false,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(tail),
        [0x64, 0xff9b, ..] => false, // RFC 8215: local translation
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from_bits(((high as u32) << 16) | low as u32)),
        // RFC 4193 unique local, RFC 4291 link-local, RFC 3879 site-local, multicast.
        [first, ..] => !(first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 || first & 0xff00 == 0xff00),
    }
}

const fn is_never_a_server(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

/// What is known of the request that will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// The Request-URI is `sips:`, even if the URI to locate (a Route) is not (LOC-3).
    pub request_uri_is_sips: bool,
    /// Its size, if known.
    pub size: Option<RequestSize>,
}

/// Where a response goes when the connection of its request is gone (RFC 3263 5): the topmost Via.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBy {
    /// Via's transport; `TLS` is TLS over TCP and nothing else (LOC-102).
    pub service: Service,
    /// The host of `sent-by`.
    pub host: Host,
    /// The port of `sent-by`, if it has one.
    pub port: Option<NonZeroU16>,
}

/// How large a request is, and how much the path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSize {
    /// Octets of the whole request.
    pub octets: u32,
    /// The path's MTU in octets, if known.
    pub path_mtu: Option<u32>,
}

/// Most octets of a request over UDP while the path MTU is unknown (RFC 3261 18.1.1).
pub const MAX_UDP_REQUEST: u32 = 1300;
/// Octets that must stay free below a known path MTU for the response (RFC 3261 18.1.1); exactly this distance is too near.
pub const PATH_MTU_MARGIN: u32 = 200;

impl Request {
    /// Whether it has to use a transport with congestion control (LOC-38).
    #[must_use]
    pub const fn is_large(&self) -> bool {
        match self.size {
            None => false,
            Some(RequestSize { octets, path_mtu: None }) => octets > MAX_UDP_REQUEST,
            Some(RequestSize { octets, path_mtu: Some(mtu) }) => octets.saturating_add(PATH_MTU_MARGIN) >= mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loc_38_large_requests() {
        for (id, octets, path_mtu, large) in [
            ("LOC-T95 1300", 1300, None, false),
            ("LOC-T95 1301", 1301, None, true),
            ("LOC-T96 1299", 1299, Some(1500), false),
            ("LOC-T96 1300", 1300, Some(1500), true),
            ("LOC-T96 1301", 1301, Some(1500), true),
            ("as large as can be", u32::MAX, Some(1500), true),
        ] {
            let request = Request { size: Some(RequestSize { octets, path_mtu }), ..Request::default() };
            assert_eq!(request.is_large(), large, "{id}");
        }
        assert!(!Request::default().is_large());
    }

    #[test]
    fn threat_14_addresses() {
        for (address, public, any) in [
            ("203.0.113.7", true, true),
            ("8.8.8.8", true, true),
            ("127.0.0.1", false, true),
            ("10.1.2.3", false, true),
            ("172.31.0.1", false, true),
            ("192.168.1.1", false, true),
            ("169.254.169.254", false, true),
            ("100.64.0.1", false, true),
            ("100.128.0.1", true, true),
            ("0.0.0.0", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("2001:db8::1", true, true),
            ("::1", false, true),
            ("::", false, false),
            ("fd00::1", false, true),
            ("fe80::1", false, true),
            ("ff02::1", false, false),
            ("::ffff:10.0.0.1", false, true),
            ("::ffff:8.8.8.8", false, true),
            ("64:ff9b::10.0.0.1", false, true),
            ("64:ff9b::8.8.8.8", true, true),
            ("2002:7f00:1::1", false, true),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!((Reach::Public.allows(parsed), Reach::Any.allows(parsed)), (public, any), "{address}");
        }
    }
}
