//! Zone serials with their own arithmetic (RFC 1982).

use std::cmp::Ordering;
use std::fmt;

/// A zone's version as its SOA record gives it; wraps, so it has only a partial order (RFC 1982 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial(u32);

impl Serial {
    /// The serial with this value.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The value as the SOA record carries it.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The next serial; after 4294967295 comes 0 (RFC 1982 3.1).
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl PartialOrd for Serial {
    /// Newer is greater; `None` when the two are 2^31 apart, which RFC 1982 3.2 leaves undefined.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.0.wrapping_sub(other.0) {
            0 => Some(Ordering::Equal),
            1..0x8000_0000 => Some(Ordering::Greater),
            0x8000_0000 => None,
            _ => Some(Ordering::Less),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_t53() {
        assert!(Serial::new(0) > Serial::new(u32::MAX));
        assert_eq!(Serial::new(0x8000_0000).partial_cmp(&Serial::new(0)), None);
        assert!(Serial::new(1) > Serial::new(0) && Serial::new(0) < Serial::new(1));
        assert_eq!(Serial::new(u32::MAX).next(), Serial::new(0));
    }
}
