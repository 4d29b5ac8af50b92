//! Networks: where a node's calls come from.

use std::net::IpAddr;

/// An address prefix, `192.0.2.0/24`; host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

impl Network {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] when the text is none, or has bits set behind the prefix.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, len) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Syntax)?;
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let prefix_len = match len {
            None => width,
            Some(len) => len.parse().ok().filter(|len| *len <= width).ok_or(InvalidNetwork::Length)?,
        };
        let host_bits = if prefix_len == 128 { 0 } else { u128::MAX >> prefix_len };
        if bits & host_bits != 0 {
            return Err(InvalidNetwork::HostBits);
        }
        Ok(Self { address, prefix_len })
    }

    /// The network of this length that `address` is in; an IPv4 address in IPv6 form counts as IPv4. `None` if the length
    /// is more than the address has bits.
    #[must_use]
    pub fn around(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let address = match address.to_canonical() {
            IpAddr::V4(v4) if prefix_len <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) if prefix_len <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { address, prefix_len })
    }

    /// Bits of the prefix.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` is in it. An IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => u128::from(ours.to_bits() ^ theirs.to_bits()) << 96,
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => ours.to_bits() ^ theirs.to_bits(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        // A prefix of nothing holds all; a shift by all 128 bits is none.
        self.prefix_len == 0 || differ >> (128 - u32::from(self.prefix_len)) == 0
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Not an address, or not `address/length`.
    #[error("a network is written as 192.0.2.0/24 or 2001:db8::/32")]
    Syntax,
    /// The length is no number, or longer than the address.
    #[error("the prefix length must be 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Length,
    /// `192.0.2.1/24`.
    #[error("the address has bits set behind the prefix length")]
    HostBits,
}
