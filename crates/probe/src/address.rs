//! Which addresses a directory may connect to because a stranger's record says so (API-67; threats 14 and 19).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tandem_model::locate::is_public;

/// The rule for addresses, checked for the very address that is connected to, right before it is.
#[derive(Debug, Clone, Default)]
pub struct AddressRule {
    /// Loopback addresses are allowed: tests and demonstrations alone.
    loopback: bool,
    /// Addresses at which this directory is reached from outside, if it cannot see them at its own interfaces.
    own: Box<[IpAddr]>,
}

impl AddressRule {
    /// Global unicast addresses only, and never `own`: the addresses at which the directory is reached, which behind a
    /// translator are none of its interfaces'. Those of its interfaces are found without being named here.
    #[must_use]
    pub fn global(own: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { loopback: false, own: own.into_iter().map(|address| address.to_canonical()).collect() }
    }

    /// The same, but loopback addresses are allowed: for tests.
    #[must_use]
    pub fn with_loopback(self) -> Self {
        Self { loopback: true, ..self }
    }

    /// Whether `address` may be connected to. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`AddressRefusal`] says which rule forbids it; whoever published the address has to publish another.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        // An IPv4 address in IPv6 clothes leads where the IPv4 address does.
        let plain = address.to_canonical();
        if self.loopback && plain.is_loopback() {
            return Ok(());
        }
        if !is_global(address) {
            return Err(AddressRefusal::NotGlobal(address));
        }
        if self.own.contains(&plain) || is_of_this_host(plain) {
            return Err(AddressRefusal::Own(address));
        }
        Ok(())
    }
}

/// Whether the address is a global unicast one: public as `model` has it, and no documentation, relay or protocol
/// address either (the IANA special-purpose registries, RFC 6890).
#[must_use]
pub const fn is_global(address: IpAddr) -> bool {
    is_public(address)
        && match address {
            IpAddr::V4(v4) => !is_special_v4(v4),
            IpAddr::V6(v6) => !is_special_v6(v6),
        }
}

const fn is_special_v4(v4: Ipv4Addr) -> bool {
    matches!(
        v4.octets(),
        // RFC 5737: documentation. RFC 7526: relays of 6to4, given up.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _]
    )
}

const fn is_special_v6(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    match s {
        // RFC 6052: an IPv4 address behind a translator; `is_public` has looked at its range.
        [0x64, 0xff9b, ..] => is_special_v4(low_v4(s[6], s[7])),
        // RFC 3056: 6to4.
        [0x2002, high, low, ..] => is_special_v4(low_v4(high, low)),
        // RFC 2928, RFC 4380 (Teredo), RFC 7343, RFC 5180; RFC 3849 and RFC 9637: documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => true,
        [0x3fff, second, ..] if second < 0x1000 => true,
        // RFC 4291 2.4: global unicast addresses that were given out begin with 001.
        [first, ..] => first & 0xe000 != 0x2000,
    }
}

const fn low_v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(((high as u32) << 16) | low as u32)
}

/// Whether the routing table says that a packet to `address` would come from `address`: it is at an interface of this
/// host. Connecting a UDP socket sends nothing.
fn is_of_this_host(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The port is never used; "discard" is as good as any.
    let from = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(address, 9))?;
        socket.local_addr()
    });
    // Without a route the connection will fail by itself.
    from.is_ok_and(|from| from.ip().to_canonical() == address)
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// Private, shared, loopback, link-local, multicast, documentation, or such an IPv4 address in IPv6 clothes.
    #[error("{0} is no global unicast address")]
    NotGlobal(IpAddr),
    /// The directory's own.
    #[error("{0} is an address of this directory")]
    Own(IpAddr),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// API-67, API-T25: by range, each at its edges.
    #[test]
    fn global_unicast_only_api_67() {
        for (address, global) in [
            ("8.8.8.8", true),
            ("192.0.1.1", true),
            ("192.0.3.1", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("172.15.255.255", true),
            ("172.32.0.0", true),
            ("198.17.255.255", true),
            ("223.255.255.255", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.1", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.0.1", false),
            ("198.18.0.1", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("239.1.1.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("2a00:1450::1", true),
            ("2001:4860:4860::8888", true),
            ("2001:200::1", true),
            ("3ffe::1", true),
            ("3fff:1000::1", true),
            ("64:ff9b::808:808", true),
            ("2002:808:808::1", true),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:8.8.8.8", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::c000:201", false),
            ("64:ff9b:1::808:808", false),
            ("2002:a00:1::1", false),
            ("2002:7f00:1::", false),
            ("2002:c0a8:1::", false),
            ("2001::1", false),
            ("2001:20::1", false),
            ("2001:db8::1", false),
            ("3fff::1", false),
            ("100::1", false),
            ("4000::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(is_global(address), global, "{address}");
            if !global {
                let rule = AddressRule::global([]);
                assert_eq!(rule.check(address), Err(AddressRefusal::NotGlobal(address)), "{address}");
            }
        }
    }

    #[test]
    fn own_addresses_are_refused() {
        let own: IpAddr = "8.8.8.8".parse().unwrap();
        let rule = AddressRule::global([own]);
        assert_eq!(rule.check(own), Err(AddressRefusal::Own(own)));
        assert!(rule.check("8.8.4.4".parse().unwrap()).is_ok());
        // What is found at the interfaces, at the one that every host has.
        assert!(is_of_this_host(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_of_this_host("8.8.4.4".parse().unwrap()));
    }

    #[test]
    fn loopback_for_tests_only() {
        let rule = AddressRule::global([]).with_loopback();
        for (address, allowed) in
            [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false)]
        {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(rule.check(address).is_ok(), allowed, "{address}");
            assert!(AddressRule::default().check(address).is_err(), "{address}");
        }
    }
}
