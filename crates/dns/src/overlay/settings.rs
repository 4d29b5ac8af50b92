//! What an overlay is to do, and which upstreams it asks.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_zone::Suffixes;

use crate::access::Network;
use crate::config::TcpLimits;

/// Where the system's resolvers are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Most upstreams: more only lengthen the way to the answer that there is none.
pub(super) const MAX_UPSTREAMS: usize = 8;

/// Most octets of a list of resolvers.
const MAX_RESOLV_CONF: u64 = 64 * 1024;

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// The settings of an overlay.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen, each for UDP and TCP on the same port. Port 0: one that is free for both. Never an unspecified address.
    pub listen: Vec<SocketAddr>,
    /// Who is asked what members do not answer, in order of preference; at most 8. Empty: the system's resolvers. All of
    /// them should validate DNSSEC, or none: where one refuses an answer as forged, the next is asked.
    pub upstreams: Vec<SocketAddr>,
    /// Where the system's resolvers are listed (resolv.conf(5)), when `upstreams` is empty.
    pub resolv_conf: PathBuf,
    /// Networks whose programs may ask, beside those on this host that come from a loopback address.
    pub clients: Vec<Network>,
    /// Where nodes and numbers are found beside the nodes' own names.
    pub suffixes: Suffixes,
    /// UDP threads for each address.
    pub udp_threads: NonZeroUsize,
    /// Most questions that wait for an upstream at a time: what comes beyond is SERVFAIL.
    pub outstanding: usize,
    /// How long a question may take with all upstreams together; clients commonly wait 5 s.
    pub timeout: Duration,
    /// The limits of TCP clients.
    pub tcp: TcpLimits,
}

impl Settings {
    /// The defaults, at `listen`.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            upstreams: Vec::new(),
            resolv_conf: RESOLV_CONF.into(),
            clients: Vec::new(),
            suffixes: Suffixes::default(),
            udp_threads: NonZeroUsize::MIN,
            outstanding: 1024,
            timeout: Duration::from_millis(4500),
            tcp: TcpLimits::default(),
        }
    }

    /// Whether a program at `address` may ask (DNS-126).
    pub(super) fn lets_ask(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() || self.clients.iter().any(|network| network.contains(address))
    }

    /// The upstreams, without those that are the overlay itself (DNS-125), which listens at `own`.
    pub(super) fn find_upstreams(&self, own: &[SocketAddr]) -> Result<Vec<SocketAddr>, UpstreamError> {
        if let Some(itself) = self.upstreams.iter().find(|upstream| own.contains(upstream)) {
            return Err(UpstreamError::Itself(*itself));
        }
        let mut found = self.upstreams.clone();
        if found.is_empty() {
            // Very often the host's own resolver is to be the overlay: then it stands in this list, too.
            found = system_upstreams(&self.resolv_conf)?;
            found.retain(|upstream| !own.contains(upstream));
        }
        found.truncate(MAX_UPSTREAMS);
        if found.is_empty() { Err(UpstreamError::None) } else { Ok(found) }
    }
}

/// Reads the name servers of a resolv.conf(5). Lines that nobody could use are left out, as the system's resolver does.
fn system_upstreams(path: &Path) -> Result<Vec<SocketAddr>, UpstreamError> {
    let failed = |source| UpstreamError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_RESOLV_CONF {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read(path).map_err(failed)?;
    Ok(nameservers(&String::from_utf8_lossy(&text)))
}

/// The addresses in lines `nameserver ADDRESS`. Link-local ones have no meaning without their interface.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, DNS_PORT))
    };
    text.lines().filter_map(server).collect()
}

/// Why there is nobody to forward to.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The overlay would ask itself, without end: name the resolver behind it.
    #[error("the upstream {0} is this overlay itself: name the resolver that it stands in front of")]
    Itself(SocketAddr),
    /// The system's list of resolvers cannot be read: correct it, or name upstreams.
    #[error("cannot read the resolvers in {}: name upstreams to forward to", path.display())]
    Unreadable {
        /// The list.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// None is named, and the system's list has none but the overlay.
    #[error("no upstream to forward to: name the resolvers that the overlay stands in front of")]
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_resolvers_dns_125() {
        let text = "# made by hand\nsearch a.test\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # two\n\
                    nameserver fe80::1%eth0\nnameserver\nnameserver x\noptions edns0\nnameserver 127.0.0.53";
        let expected = ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.53:53"].map(|a| a.parse().unwrap());
        assert_eq!(nameservers(text), expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        std::fs::write(&path, text).unwrap();
        let mut settings = Settings { resolv_conf: path.clone(), ..Settings::new(Vec::new()) };
        assert_eq!(settings.find_upstreams(&expected[2..]).unwrap(), expected[..2], "not the overlay itself");
        assert!(matches!(settings.find_upstreams(&expected), Err(UpstreamError::None)));
        settings.upstreams = expected.to_vec();
        assert!(matches!(settings.find_upstreams(&expected[..1]), Err(UpstreamError::Itself(it)) if it == expected[0]));
        settings.upstreams.clear();
        std::fs::remove_file(path).unwrap();
        assert!(matches!(settings.find_upstreams(&[]), Err(UpstreamError::Unreadable { .. })));
    }

    #[test]
    fn only_who_may_dns_126() {
        let mut settings = Settings::new(Vec::new());
        let may = |settings: &Settings, text: &str| settings.lets_ask(text.parse().unwrap());
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(may(&settings, text), "{text}");
        }
        assert!(!may(&settings, "192.0.2.1") && !may(&settings, "2001:db8::1"));
        settings.clients = vec![Network::parse("192.0.2.0/24").unwrap()];
        assert!(may(&settings, "192.0.2.1") && !may(&settings, "198.51.100.1"));
    }
}
