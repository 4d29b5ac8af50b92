//! What works but may not be meant: said with every change, so that a dry run shows it before.

use std::net::IpAddr;

use tandem_model::Node;
use tandem_model::publish::SIPS_TCP;
use tandem_zone::Zones;

use crate::v1::answer::Warning;
use crate::v1::document::{domain_pointer, host_pointer};
use crate::v1::reader::Pointer;

/// Above this many seconds a move to another address takes long to be seen.
const LONG_TTL: u32 = 3600;

/// Everything about `node` that its operator should look at again.
pub(crate) fn warnings(node: &Node, zones: &Zones) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |at: &Pointer, detail: String| found.push(Warning { detail, pointer: at.to_string() });
    let domain = node.domain();
    if zones.zone_of(domain).is_none()
        && let Some(peers) = &zones.settings().peers_zone
    {
        let service = SIPS_TCP.join(".");
        warn(
            &domain_pointer(),
            format!(
                "{domain} is in no zone served here: to be found by everybody, its owner adds one record: \
                 {service}.{domain}. CNAME {service}.{domain}.{peers}."
            ),
        );
    }
    for (index, target) in node.targets().iter().enumerate() {
        let host = host_pointer(index);
        if target.addresses.is_empty() && zones.zone_of(&target.host).is_none() {
            warn(&host, format!("{} is in no zone served here: its owner has to keep its addresses", target.host));
        }
        let addresses = Pointer::root().member("targets").item(index).member("addresses");
        for (at, address) in target.addresses.iter().enumerate() {
            if let Some(kind) = not_global(*address) {
                warn(&addresses.item(at), format!("{address} is {kind}: only callers in the same network reach it"));
            }
        }
    }
    if node.ttl > LONG_TTL {
        warn(&Pointer::root().member("ttl"), format!("a change of address may take {} seconds to be seen", node.ttl));
    }
    found
}

/// What kind of address it is, if it cannot be called from everywhere (RFC 1918, 4193, 4291, 6598).
fn not_global(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64) => {
            Some("a private address")
        }
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unique_local() => Some("a private address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, kind) in [
            ("203.0.113.7", None),
            ("100.128.0.1", None),
            ("2001:db8::7", None),
            ("10.0.0.1", Some("a private address")),
            ("100.64.0.1", Some("a private address")),
            ("fd00::1", Some("a private address")),
            ("127.0.0.2", Some("a loopback address")),
            ("::1", Some("a loopback address")),
            ("169.254.1.1", Some("a link-local address")),
            ("fe80::1", Some("a link-local address")),
        ] {
            assert_eq!(not_global(address.parse().unwrap()), kind, "{address}");
        }
    }
}
