//! Where a request comes from. Used while it is answered, in memory, and neither logged nor kept.

use std::fmt;
use std::net::IpAddr;

use axum::http::Extensions;

/// Bits of an IPv4 address that make a source network.
const PREFIX_V4: u32 = 24;
/// The same for IPv6: what one site has.
const PREFIX_V6: u32 = 56;

/// The address at the other end of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// Of a connection from `address`; an IPv4 address in IPv6 form counts as IPv4.
    pub(crate) const fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The source of a request, as the connection noted it.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// The address, to be compared and forgotten.
    pub(crate) const fn address(self) -> IpAddr {
        self.0
    }

    /// What its network (IPv4 /24, IPv6 /56) is hashed by.
    pub(crate) fn network(self) -> (u8, u128) {
        match self.0 {
            IpAddr::V4(v4) => (4, u128::from(v4.to_bits() >> (32 - PREFIX_V4))),
            IpAddr::V6(v6) => (6, v6.to_bits() >> (128 - PREFIX_V6)),
        }
    }
}

/// Without the address, so that no log gets it by accident.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let network = |text: &str| Source::new(text.parse().unwrap()).network();
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.7"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:1:200::1"), network("2001:db8:1:2ff::1"));
        assert_ne!(network("2001:db8:1:200::1"), network("2001:db8:1:300::1"));
        assert_eq!(format!("{:?}", Source::new("192.0.2.1".parse().unwrap())), "Source(..)");
    }
}
