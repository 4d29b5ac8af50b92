//! One turn at one target: where it is, and what is seen there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use tandem_api::{Look, SeenCertificate};
use tandem_model::locate::{Client, Reach};
use tandem_model::{DomainName, Node, Probe, Target};
use tandem_probe::{Leaf, ProbeError, ProbeTarget, Prober};
use tandem_resolver::{HostAnswer, NameServers, Resolver, Settings};
use tandem_zone::{Live, Lookup, QueryName, RrType};

use super::plan::Seen;

/// Shortest time between two connections to one address, whoever publishes it: the directory is no tool to bother others
/// with (threat 19).
const ADDRESS_PAUSE: Duration = Duration::from_secs(1);
/// Names of a certificate that are shown.
const MAX_IDENTITIES: usize = 8;
/// Octets of such a name that are shown: as many as a name has.
const MAX_IDENTITY: usize = 255;
/// Octets of an explanation.
const MAX_DETAIL: usize = 200;

/// Looks, at one address at a time.
#[derive(Debug)]
pub(super) struct Looker {
    prober: Prober,
    timeout: Duration,
    live: Live,
    resolver: Option<Resolver>,
    /// Addresses that somebody looks at, or did a moment ago, and until when that counts.
    busy: Mutex<HashMap<IpAddr, Instant>>,
}

/// The address is busy: try again later.
#[derive(Debug)]
pub(super) struct Busy;

impl Looker {
    pub(super) fn new(prober: Prober, timeout: Duration, live: Live, servers: &[SocketAddr]) -> Self {
        let servers = if servers.is_empty() { NameServers::System } else { NameServers::Only(servers.to_vec()) };
        // Whatever is found is told to the node; the connector decides where it goes.
        let client = Client { reach: Reach::Any, ..Client::default() };
        let resolver = Resolver::new(Settings { servers, client, ..Settings::default() });
        let resolver = resolver.inspect_err(|error| {
            tracing::warn!(%error, "targets outside the zones cannot be looked up, so they will not be looked at");
        });
        let busy = Mutex::new(HashMap::new());
        Self { prober, timeout: timeout.saturating_mul(2), live, resolver: resolver.ok(), busy }
    }

    /// Looks at `target` of `node` at the time `clock`, in seconds since 1970: one address of each family.
    pub(super) async fn look(&self, node: &Node, target: &Target, probe: Probe, clock: u64) -> Result<Seen, Busy> {
        let addresses = match self.addresses(target).await {
            Ok(addresses) => addresses,
            Err(failure) => {
                let (code, rule, learnt) = failure;
                let look = Look {
                    address: None,
                    at: clock,
                    result: code,
                    rule: Some(rule),
                    detail: None,
                    failures: 0,
                    certificate: None,
                };
                return Ok(Seen { looks: vec![look], succeeded: learnt, ..Seen::default() });
            }
        };
        let mut seen = Seen::default();
        // One that is refused is not connected to, so it waits for nobody.
        for is_v4 in [false, true] {
            let Some(&address) = addresses.iter().find(|address| address.is_ipv4() == is_v4) else { continue };
            let refused = self.prober.check(address).err();
            let taken = if refused.is_some() { None } else { Some(self.take(address)?) };
            let at = [SocketAddr::new(address, target.port.get())];
            let what = ProbeTarget { domain: node.domain(), addresses: &at, keys: &node.keys, options: probe.options };
            let result = self.prober.probe(what, UnixTime::since_unix_epoch(Duration::from_secs(clock))).await;
            drop(taken);
            let learnt = match &result {
                Ok(_) => Some(true),
                Err(error) if error.is_ours() => None,
                Err(_) => Some(false),
            };
            // Callers take the next address when one fails: one that works is enough.
            seen.succeeded = match (seen.succeeded, learnt) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), _) | (_, Some(false)) => Some(false),
                (None, None) => None,
            };
            let trusted = match &result {
                Ok(sound) => Some((&sound.leaf, true)),
                Err(error) => error.leaf(),
            };
            if let Some((leaf, true)) = trusted {
                seen.keys.push(leaf.spki_sha256);
            }
            if let Err(ProbeError::Busy { retry_after: Some(seconds), .. }) = &result {
                seen.not_before = Some(Duration::from_secs(u64::from(*seconds)));
            }
            seen.looks.push(Look {
                address: Some(address),
                at: clock,
                result: result.as_ref().err().map_or("ok", |error| error.code().0),
                rule: result.as_ref().err().map(|error| error.code().1),
                detail: result.as_ref().err().map(explained),
                failures: 0,
                certificate: trusted.map(|(leaf, _)| Box::new(certificate(leaf))),
            });
        }
        Ok(seen)
    }

    /// Where a target is: as the node says, as a zone served here says, or as DNS says now. What is found here is what is
    /// checked and connected to: there is no second look-up in between.
    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, (&'static str, &'static str, Option<bool>)> {
        if !target.addresses.is_empty() {
            return Ok(target.addresses.clone());
        }
        if let Some(addresses) = self.served(&target.host) {
            return if addresses.is_empty() { Err(("no-address", "RFC 2782", Some(false))) } else { Ok(addresses) };
        }
        let Some(resolver) = &self.resolver else { return Err(("not-looked-up", "ours", None)) };
        match resolver.lookup_host(&target.host).await {
            HostAnswer::Addresses(mut addresses) => {
                // The same one each time, whatever the order of the answer: otherwise one that is dead is not seen to be.
                addresses.sort_unstable();
                Ok(addresses)
            }
            HostAnswer::NotPublic(address) => Ok(vec![address]),
            HostAnswer::Alias(_) => Err(("alias", "RFC 2782", Some(false))),
            HostAnswer::NoAddress | HostAnswer::NoSuchName => Err(("no-address", "RFC 2782", Some(false))),
            // Our resolver or theirs: nobody knows.
            _ => Err(("not-looked-up", "RFC 1035 7.2", None)),
        }
    }

    /// The addresses of a host in the zones served here; `None` when it is in none of them.
    fn served(&self, host: &DomainName) -> Option<Vec<IpAddr>> {
        let zones = self.live.load();
        zones.zone_of(host)?;
        let name = QueryName::of(host);
        let mut addresses = Vec::new();
        for kind in [RrType::AAAA, RrType::A] {
            let Lookup::Records(_, set) = zones.lookup(&name, kind) else { continue };
            for rdata in set.rdatas() {
                let mut octets = Vec::new();
                rdata.write(&mut octets);
                let address = <[u8; 4]>::try_from(&*octets).map(IpAddr::from);
                addresses.extend(address.or_else(|_| <[u8; 16]>::try_from(&*octets).map(IpAddr::from)));
            }
        }
        Some(addresses)
    }

    fn take(&self, address: IpAddr) -> Result<Taken<'_>, Busy> {
        let now = Instant::now();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are probes at a time, and those of the last second.
        busy.retain(|_, until| *until > now);
        if busy.contains_key(&address) {
            return Err(Busy);
        }
        busy.insert(address, now + self.timeout);
        Ok(Taken { busy: &self.busy, address })
    }
}

/// An address that nobody else looks at.
struct Taken<'b> {
    busy: &'b Mutex<HashMap<IpAddr, Instant>>,
    address: IpAddr,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(self.address, Instant::now() + ADDRESS_PAUSE);
    }
}

/// An error and its causes in one line that is not too long.
fn explained(error: &ProbeError) -> Box<str> {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    // Some of it may come from the server.
    text.retain(|c| !c.is_control());
    text.truncate(text.floor_char_boundary(MAX_DETAIL));
    text.into()
}

fn certificate(leaf: &Leaf) -> SeenCertificate {
    let shorter = |name: &str| -> Box<str> {
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        name[..name.floor_char_boundary(MAX_IDENTITY)].into()
    };
    SeenCertificate {
        identities: leaf.identities.iter().take(MAX_IDENTITIES).map(|name| shorter(name)).collect(),
        not_after: leaf.not_after,
        sha256: leaf.spki_sha256,
    }
}
