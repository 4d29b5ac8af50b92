//! Proof of a domain by a TXT record that names the node's key: `_tandem.<domain>` = `tandem-key=<thumbprint>`.
//!
//! The record stays as long as the domain takes part, and is read again at each renewal. It is read at the domain's own
//! servers, past every cache (API-63): a record that its owner has removed proves nothing from that moment on. All
//! servers that answer must agree.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tandem_identity::Thumbprint;
use tandem_model::DomainName;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::ask::{Answer, AskError, Data, Kind, Server, ask};
use crate::connect::SafeConnector;
use crate::suffix::is_public_suffix;

/// The label in front of the domain (RFC 8552: ours alone, and no host's).
pub const LABEL: &str = "_tandem";
/// How the record begins; other TXT records at the name do not count.
pub const VALUE_PREFIX: &str = "tandem-key=";
/// Most aliases that are followed (API-63).
pub const MAX_ALIASES: usize = 4;
/// Longest time for one proof, all its questions together.
pub const TXT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most names above the record that are looked at for their zone.
const MAX_DEPTH: usize = 16;
/// Most servers of a zone that are asked.
const MAX_SERVERS: usize = 4;
/// Most addresses of one server that are tried.
const MAX_SERVER_ADDRESSES: usize = 3;
/// Most recursors of the settings that are tried.
const MAX_RECURSORS: usize = 3;

/// Reads proofs.
#[derive(Debug, Clone)]
pub struct TxtProver {
    connector: SafeConnector,
    recursors: Vec<SocketAddr>,
    port: u16,
}

impl TxtProver {
    /// Finds a domain's servers by `recursors`, which should validate DNSSEC: what they find bogus proves nothing.
    #[must_use]
    pub const fn new(connector: SafeConnector, recursors: Vec<SocketAddr>) -> Self {
        Self { connector, recursors, port: 53 }
    }

    /// The same, for servers at another port than 53: for tests.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Checks that the owner of `domain` has named `key`.
    ///
    /// # Errors
    ///
    /// [`TxtError`]; [`is_passing`](TxtError::is_passing) says whether to look again soon.
    pub async fn prove(&self, domain: &DomainName, key: Thumbprint) -> Result<(), TxtError> {
        let named = self.key_of(domain).await?;
        if named == key { Ok(()) } else { Err(TxtError::OtherKey { named }) }
    }

    /// The key that the owner of `domain` has named.
    ///
    /// # Errors
    ///
    /// [`TxtError`].
    pub async fn key_of(&self, domain: &DomainName) -> Result<Thumbprint, TxtError> {
        // API-69: nobody owns a public suffix in this sense.
        if is_public_suffix(domain) {
            return Err(TxtError::PublicSuffix);
        }
        let name = domain.prefixed(&[LABEL]).map_err(|_| TxtError::TooDeep)?;
        timeout(TXT_TIMEOUT, self.read(name)).await.unwrap_or(Err(TxtError::Timeout))
    }

    async fn read(&self, mut name: DomainName) -> Result<Thumbprint, TxtError> {
        // Its data may come from a cache and is not used; what matters is whether the recursor finds the name bogus.
        self.recursor(&name, Kind::Txt).await?;
        for _ in 0..=MAX_ALIASES {
            match self.at_servers(&name).await? {
                Found::Key(key) => return Ok(key),
                Found::Alias(target) => name = target,
            }
        }
        Err(TxtError::TooManyAliases)
    }

    /// Asks all servers of the zone that `name` is in.
    async fn at_servers(&self, name: &DomainName) -> Result<Found, TxtError> {
        let servers = self.servers(name).await?;
        let mut asking = JoinSet::new();
        for addresses in servers {
            let (connector, name) = (self.connector.clone(), name.clone());
            asking.spawn(async move { one_server(&connector, &addresses, &name).await });
        }
        let (mut found, mut last) = (Vec::new(), AskError::Unreadable);
        while let Some(result) = asking.join_next().await {
            match result {
                Ok(Ok(answer)) => found.push(said(&answer, name)),
                Ok(Err(error)) => last = error,
                // A panic of the task: there is no answer from it.
                Err(_) => {}
            }
        }
        debug!(%name, answers = found.len(), "asked for a proof");
        if found.is_empty() {
            return Err(TxtError::NoServerAnswers(last));
        }
        agreed(&found)
    }

    /// The addresses of the servers of the zone that `name` is in, a list for each server.
    async fn servers(&self, name: &DomainName) -> Result<Vec<Vec<SocketAddr>>, TxtError> {
        let mut zone = name.clone();
        let mut names = Vec::new();
        for _ in 0..MAX_DEPTH {
            let answer = self.recursor(&zone, Kind::Ns).await?;
            names.extend(answer.at(&zone).filter_map(|data| match data {
                Data::NameServer(server) => Some(server.clone()),
                _ => None,
            }));
            if !names.is_empty() {
                break;
            }
            zone = zone.parent().ok_or(TxtError::NoZone)?;
        }
        if names.is_empty() {
            return Err(TxtError::TooDeep);
        }
        let (mut servers, mut refused) = (Vec::new(), None);
        for server in names.iter().take(MAX_SERVERS) {
            let (v4, v6) = tokio::join!(self.recursor(server, Kind::A), self.recursor(server, Kind::Aaaa));
            let mut addresses = Vec::new();
            for answer in [v4, v6].into_iter().flatten() {
                for data in answer.records.iter().filter_map(|(_, data)| match data {
                    Data::Address(address) => Some(*address),
                    _ => None,
                }) {
                    // API-67: the zone of a stranger does not send us into our own network.
                    match self.connector.check(data) {
                        Ok(()) => addresses.push(SocketAddr::new(data, self.port)),
                        Err(refusal) => refused = Some(refusal),
                    }
                }
            }
            addresses.truncate(MAX_SERVER_ADDRESSES);
            if !addresses.is_empty() {
                servers.push(addresses);
            }
        }
        match (servers.is_empty(), refused) {
            (false, _) => Ok(servers),
            (true, Some(refusal)) => Err(TxtError::NoServerAnswers(AskError::Refused(refusal))),
            (true, None) => Err(TxtError::NoServerAddress),
        }
    }

    /// The first recursor that answers.
    async fn recursor(&self, name: &DomainName, kind: Kind) -> Result<Answer, TxtError> {
        let mut last = TxtError::NoRecursor;
        for &address in self.recursors.iter().take(MAX_RECURSORS) {
            match ask(Server::Recursor(address), name, kind).await {
                Ok(answer) => return Ok(answer),
                Err(AskError::ServerFailure) => last = TxtError::Unresolvable,
                Err(error) => last = TxtError::Recursor(error),
            }
        }
        Err(last)
    }
}

/// The answer of one server, at the first of its addresses that gives one with authority.
async fn one_server(
    connector: &SafeConnector,
    addresses: &[SocketAddr],
    name: &DomainName,
) -> Result<Answer, AskError> {
    let mut last = AskError::Unreadable;
    for &address in addresses {
        match ask(Server::Authority(address, connector), name, Kind::Txt).await {
            Ok(answer) if answer.authoritative => return Ok(answer),
            // Not its zone, or a cache: nothing that counts here.
            Ok(_) => last = AskError::Unreadable,
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What one server says at the name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// The values behind the prefix, each once.
    Keys(BTreeSet<Vec<u8>>),
    Alias(DomainName),
}

fn said(answer: &Answer, name: &DomainName) -> Said {
    let alias = answer.at(name).find_map(|data| match data {
        Data::Alias(target) => Some(target.clone()),
        _ => None,
    });
    // Only records at the name itself: what a server adds about other names is not for it to say.
    alias.map_or_else(
        || {
            let values = answer.at(name).filter_map(|data| match data {
                Data::Text(text) => text.strip_prefix(VALUE_PREFIX.as_bytes()).map(<[u8]>::to_vec),
                _ => None,
            });
            Said::Keys(if answer.name_exists { values.collect() } else { BTreeSet::new() })
        },
        Said::Alias,
    )
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Key(Thumbprint),
    Alias(DomainName),
}

/// What all servers say, if it is one thing.
fn agreed(found: &[Said]) -> Result<Found, TxtError> {
    let mut values = BTreeSet::new();
    for said in found {
        if let Said::Keys(keys) = said {
            values.extend(keys);
        }
    }
    // Several keys, at one server or among them: nobody can say which is meant.
    if values.len() > 1 {
        return Err(TxtError::SeveralKeys(values.len()));
    }
    let first = &found[0];
    if found.iter().any(|said| said != first) {
        return Err(TxtError::NotEverywhere);
    }
    match (first, values.first()) {
        (Said::Alias(target), _) => Ok(Found::Alias(target.clone())),
        (Said::Keys(_), None) => Err(TxtError::Missing),
        (Said::Keys(_), Some(value)) => {
            let text = std::str::from_utf8(value).map_err(|_| TxtError::NoThumbprint)?;
            text.trim_ascii().parse().map(Found::Key).map_err(|_| TxtError::NoThumbprint)
        }
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum TxtError {
    /// No such record at any server.
    #[error("there is no TXT record with \"{VALUE_PREFIX}…\" at {LABEL} under the domain")]
    Missing,
    /// Some servers have it, some not yet.
    #[error("the domain's name servers do not say the same yet")]
    NotEverywhere,
    /// More than one key is named.
    #[error("{0} different keys are named: leave one TXT record with \"{VALUE_PREFIX}\"")]
    SeveralKeys(usize),
    /// What is named is no key.
    #[error("what follows \"{VALUE_PREFIX}\" is no key's thumbprint (43 characters of base64url)")]
    NoThumbprint,
    /// Another key is named.
    #[error("the TXT record names another key, {named}")]
    OtherKey {
        /// That key.
        named: Thumbprint,
    },
    /// Nobody can own this name.
    #[error("the domain is a public suffix: nobody can prove it")]
    PublicSuffix,
    /// The recursor fails for the name: its DNSSEC signatures are wrong, or its servers are ill.
    #[error("the domain cannot be resolved (SERVFAIL): its DNSSEC or its name servers are broken")]
    Unresolvable,
    /// Our recursor gives no answer.
    #[error("our own recursive resolver gives no answer")]
    Recursor(#[source] AskError),
    /// None is configured.
    #[error("no recursive resolver is configured")]
    NoRecursor,
    /// No zone has the name.
    #[error("no zone was found for the domain")]
    NoZone,
    /// The zone's servers have no addresses.
    #[error("the domain's name servers have no addresses")]
    NoServerAddress,
    /// None of the zone's servers answers with authority.
    #[error("none of the domain's name servers answers for it")]
    NoServerAnswers(#[source] AskError),
    /// The alias leads on and on.
    #[error("more than {MAX_ALIASES} aliases lead from the name")]
    TooManyAliases,
    /// The name has too many labels.
    #[error("the name is too long, or too deep below its zone")]
    TooDeep,
    /// All questions together took too long.
    #[error("the domain's name servers did not answer within {} s", TXT_TIMEOUT.as_secs())]
    Timeout,
}

impl TxtError {
    /// Whether it may be over by itself soon, so that looking again makes sense (API-66).
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Missing
            | Self::NotEverywhere
            | Self::Unresolvable
            | Self::Recursor(_)
            | Self::NoServerAddress
            | Self::NoServerAnswers(_)
            | Self::NoZone
            | Self::Timeout => true,
            Self::SeveralKeys(_)
            | Self::NoThumbprint
            | Self::OtherKey { .. }
            | Self::PublicSuffix
            | Self::NoRecursor
            | Self::TooManyAliases
            | Self::TooDeep => false,
        }
    }
}

#[cfg(test)]
mod tests;
