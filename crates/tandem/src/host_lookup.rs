//! The API's question about a target outside our zones, put to DNS: does that host have addresses?

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use tandem_api::{HostAnswer, HostCheck};
use tandem_model::DomainName;
use tandem_model::locate::{Client, Reach};
use tandem_resolver::{NameServers, Resolver, Settings};
use tracing::warn;

/// The resolver, or nothing when this machine has no name servers: then no such target can be accepted.
#[derive(Debug)]
pub(crate) struct HostLookup(Option<Resolver>);

impl HostLookup {
    /// Asks `servers`, or those of the system if that is empty.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        let servers = if servers.is_empty() { NameServers::System } else { NameServers::Only(servers.to_vec()) };
        // A company's own federation may have private addresses; nothing connects to what is found here.
        let client = Client { reach: Reach::Any, ..Client::default() };
        match Resolver::new(Settings { servers, client, ..Settings::default() }) {
            Ok(resolver) => Self(Some(resolver)),
            Err(error) => {
                warn!(%error, "targets outside the zones cannot be checked, so they will be refused");
                Self(None)
            }
        }
    }
}

impl HostCheck for HostLookup {
    fn check<'a>(&'a self, host: &'a DomainName) -> Pin<Box<dyn Future<Output = HostAnswer> + Send + 'a>> {
        Box::pin(async move {
            let Some(resolver) = &self.0 else {
                return HostAnswer::Failed(
                    "this directory has no name servers: its admin has to configure some".into(),
                );
            };
            match resolver.lookup_host(host).await {
                tandem_resolver::HostAnswer::Addresses(_) | tandem_resolver::HostAnswer::NotPublic(_) => {
                    HostAnswer::Addresses
                }
                tandem_resolver::HostAnswer::Alias(_) => HostAnswer::Alias,
                tandem_resolver::HostAnswer::NoAddress => HostAnswer::NoAddress,
                tandem_resolver::HostAnswer::NoSuchName => HostAnswer::NoSuchName,
                tandem_resolver::HostAnswer::Failed(failure) => HostAnswer::Failed(failure.to_string()),
                // The resolver's enum is open: what this version does not know is no proof of an address.
                _ => HostAnswer::Failed("an answer that this version does not know".into()),
            }
        })
    }
}
