//! Who may transfer which zone: nobody, unless a rule says so (DNS-74, threat 8).

use std::net::IpAddr;

use tandem_model::DomainName;

/// A range of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `192.0.2.0/24` or a lone address; `None` if it is neither, or has bits set behind the prefix.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let (bits, most) = bits(address);
        let prefix = prefix.unwrap_or(most);
        (prefix <= most && bits & !mask(prefix, most) == 0).then_some(Self { address, prefix })
    }

    /// Whether `address` is in it. An IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_ipv4() != self.address.is_ipv4() {
            return false;
        }
        let ((ours, most), (theirs, _)) = (bits(self.address), bits(address));
        (ours ^ theirs) & mask(self.prefix, most) == 0
    }
}

/// An address as a number, and how many bits that has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The first `prefix` of `most` bits set.
fn mask(prefix: u8, most: u8) -> u128 {
    let behind = u32::from(most - prefix);
    let all = if most == 128 { u128::MAX } else { (1 << most) - 1 };
    all & u128::MAX.checked_shl(behind).unwrap_or(0)
}

/// One permission to transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRule {
    /// The zone; `None`: every zone.
    pub zone: Option<DomainName>,
    /// The keys of which one must have signed the request; empty: none need have.
    pub keys: Vec<DomainName>,
    /// The networks of which one must hold the client; empty: any may.
    pub networks: Vec<Network>,
}

impl TransferRule {
    /// Whether this rule lets the zone at `apex` go to `client`, whose request `key` signed, if one did.
    ///
    /// A rule with neither keys nor networks lets nothing go: it would let everybody in.
    #[must_use]
    pub fn allows(&self, apex: &DomainName, key: Option<&DomainName>, client: IpAddr) -> bool {
        let by_key = self.keys.is_empty() || key.is_some_and(|key| self.keys.contains(key));
        let by_network = self.networks.is_empty() || self.networks.iter().any(|network| network.contains(client));
        let says_anything = !self.keys.is_empty() || !self.networks.is_empty();
        says_anything && by_key && by_network && self.zone.as_ref().is_none_or(|zone| zone == apex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_as_they_are_written() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
        ] {
            let network = Network::parse(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{text} {outside}");
        }
        for text in ["", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/-1", "host", "192.0.2.0/24/1"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn nobody_without_a_rule_dns_74() {
        let name = |text: &str| DomainName::parse(text).unwrap();
        let (apex, other) = (name("a.test"), name("b.test"));
        let (key, stranger) = (name("key"), name("stranger"));
        let client: IpAddr = [192, 0, 2, 1].into();
        let rule = |zone: Option<&DomainName>, keys: &[&DomainName], networks: &[&str]| TransferRule {
            zone: zone.cloned(),
            keys: keys.iter().map(|key| (*key).clone()).collect(),
            networks: networks.iter().map(|text| Network::parse(text).unwrap()).collect(),
        };
        for (what, rule, signer, allowed) in [
            ("nothing is named", rule(None, &[], &[]), Some(&key), false),
            ("key", rule(None, &[&key], &[]), Some(&key), true),
            ("no key", rule(None, &[&key], &[]), None, false),
            ("another key", rule(None, &[&key], &[]), Some(&stranger), false),
            ("zone", rule(Some(&apex), &[&key], &[]), Some(&key), true),
            ("another zone", rule(Some(&other), &[&key], &[]), Some(&key), false),
            ("network", rule(None, &[], &["192.0.2.0/24"]), None, true),
            ("another network", rule(None, &[], &["198.51.100.0/24"]), None, false),
            ("both", rule(None, &[&key], &["192.0.2.0/24"]), Some(&key), true),
            ("both, wrong network", rule(None, &[&key], &["198.51.100.0/24"]), Some(&key), false),
            ("both, no key", rule(None, &[&key], &["192.0.2.0/24"]), None, false),
        ] {
            assert_eq!(rule.allows(&apex, signer, client), allowed, "{what}");
        }
    }
}
