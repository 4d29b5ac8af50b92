//! The settings of cookies, of the response rate limit, and of what the server tells about itself.

use std::num::NonZeroU32;
use std::path::PathBuf;

use tandem_dns::{Identity, Network, RateLimit};

/// Answers a second for one source network: far above what a recursor that caches asks for, far below what is worth
/// reflecting.
const RATE: u32 = 200;
/// Each second answer over the rate goes out cut short.
const SLIP: u32 = 2;
/// Addresses that nobody can forge from outside: the system drops such packets when they come by a real interface.
const EXEMPT: [&str; 2] = ["127.0.0.0/8", "::1"];
/// The highest slip that makes sense.
pub(super) const MAX_SLIP: u64 = 100;

/// How the DNS server treats clients that it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// The file of the cookie secrets; `None`: `cookie.secret` in the data folder, made on first start.
    pub cookie_secret: Option<PathBuf>,
    /// The server's name, told by NSID and at `id.server`; empty: not told.
    pub nsid: String,
    /// What is told at `version.bind`; empty: nothing.
    pub chaos_version: String,
    /// UDP answers a second for one source network and kind of answer; 0: no limit (DNS-67).
    pub rrl_per_second: u32,
    /// One in so many answers over the rate is cut short instead of not sent; 0: none.
    pub rrl_slip: u32,
    /// Networks without a limit.
    pub rrl_exempt: Vec<Network>,
}

impl PolicyConfig {
    /// Lays these settings, without the secrets, over those of a server.
    ///
    /// # Panics
    ///
    /// If a text is too long, which in no checked configuration it is.
    pub(crate) fn apply(&self, server: &mut tandem_dns::Config) {
        server.identity = Identity::new(&self.nsid, &self.chaos_version).expect("checked when the settings were read");
        server.rate_limit = NonZeroU32::new(self.rrl_per_second).map(|per_second| RateLimit {
            per_second,
            slip: self.rrl_slip,
            exempt: self.rrl_exempt.clone(),
        });
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            cookie_secret: None,
            nsid: String::new(),
            chaos_version: String::new(),
            rrl_per_second: RATE,
            rrl_slip: SLIP,
            rrl_exempt: EXEMPT.iter().filter_map(|text| Network::parse(text)).collect(),
        }
    }
}

/// A text that the server tells about itself.
pub(super) fn parse_told(text: &str) -> Result<String, String> {
    if Identity::new(text, text).is_none() || text.chars().any(char::is_control) {
        return Err(format!("`{text}` cannot be told: write at most 64 octets, without control characters"));
    }
    Ok(text.to_owned())
}

/// A network, or one address.
pub(super) fn parse_network(text: &str) -> Result<Network, String> {
    Network::parse(text)
        .ok_or_else(|| format!("`{text}` is not a network: write 192.0.2.0/24, 2001:db8::/32 or an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_limit_all_but_loopback_dns_67() {
        let mut server = tandem_dns::Config::new(Vec::new());
        PolicyConfig::default().apply(&mut server);
        let limit = server.rate_limit.clone().expect("on by default");
        assert_eq!((limit.per_second.get(), limit.slip), (200, 2));
        for (address, exempt) in [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("192.0.2.1", false)] {
            let address = address.parse().unwrap();
            assert_eq!(limit.exempt.iter().any(|network| network.contains(address)), exempt, "{address}");
        }
        PolicyConfig { rrl_per_second: 0, ..PolicyConfig::default() }.apply(&mut server);
        assert_eq!(server.rate_limit, None, "0 is off");
    }

    #[test]
    fn texts_are_short_and_printable() {
        assert_eq!(parse_told("ams-1 ü").as_deref(), Ok("ams-1 ü"));
        assert!(parse_told(&"x".repeat(65)).is_err());
        assert!(parse_told("a\nb").is_err());
    }
}
