//! One look at a domain: its TXT record at its own servers, or the challenge at its own SIPS target.

use std::net::SocketAddr;
use std::time::Duration;

use tandem_identity::{ChallengeToken, KeyAuthorization, Thumbprint};
use tandem_model::SipUri;
use tandem_model::locate::{Client, Reach};
use tandem_probe::dns::TxtProver;
use tandem_probe::{AddressRule, ChallengeError, MAX_ADDRESSES, SafeConnector, TlsChallenger};
use tandem_resolver::{CacheSettings, NameServers, Outcome, Resolver, Settings};
use tandem_store::proof::MAX_FAILURE;
use tandem_store::{Proof, ProofMethod};
use tokio::time::timeout;
use tracing::warn;

use crate::config::Config;

/// Longest time of one look; its parts have shorter limits of their own.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// Where the system's name servers are written down.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Looks at domains. Cloning gives another handle.
#[derive(Debug, Clone)]
pub(super) struct Looker {
    txt: TxtProver,
    tls: TlsChallenger,
    /// For the targets that a domain publishes; `None` where there are no name servers.
    resolver: Option<Resolver>,
}

/// A look that found no proof.
#[derive(Debug)]
pub(super) struct Miss {
    /// What stands in the way, for the domain's owner.
    pub(super) why: String,
    /// Whether it may be over by itself soon.
    pub(super) passing: bool,
}

impl Miss {
    fn passing(why: impl Into<String>) -> Self {
        Self { why: shortened(why.into()), passing: true }
    }
}

impl Looker {
    /// As the settings say.
    pub(super) fn new(config: &Config) -> Self {
        let proofs = &config.proofs;
        let rule = AddressRule::global(proofs.own_addresses.iter().copied());
        let rule = if proofs.allow_loopback { rule.with_loopback() } else { rule };
        let connector = SafeConnector::new(rule);
        let recursors = if config.name_servers.is_empty() { system_servers() } else { config.name_servers.clone() };
        if recursors.is_empty() {
            warn!("no name servers: proofs by DNS cannot be read; set resolver.name_servers");
        }
        let servers =
            if config.name_servers.is_empty() { NameServers::System } else { NameServers::Only(recursors.clone()) };
        // The connector judges addresses, by the stricter rule and right before it connects.
        let client = Client { reach: Reach::Any, ..Client::default() };
        Self {
            txt: TxtProver::new(connector.clone(), recursors).with_port(proofs.authority_port),
            tls: TlsChallenger::new(connector),
            // A proof is of what DNS says now.
            resolver: Resolver::new(Settings { servers, client, cache: CacheSettings::off(), ..Settings::default() })
                .ok(),
        }
    }

    /// Looks whether the owner of the domain shows what `proof` is about.
    pub(super) async fn look(&self, proof: &Proof) -> Result<(), Miss> {
        let Ok(key) = proof.id.key.parse::<Thumbprint>() else {
            return Err(Miss { why: "the key is no thumbprint".into(), passing: false });
        };
        let look = async {
            match proof.id.method {
                ProofMethod::Dns => self.txt.prove(&proof.id.domain, key).await.map_err(|error| {
                    let passing = error.is_passing();
                    Miss { why: shortened(with_causes(&error)), passing }
                }),
                ProofMethod::Tls => self.challenge(proof, key).await,
                ProofMethod::Mtls => Err(Miss { why: "send a client certificate".into(), passing: false }),
            }
        };
        timeout(LOOK_LIMIT, look).await.unwrap_or_else(|_| Err(Miss::passing("looking took too long")))
    }

    async fn challenge(&self, proof: &Proof, key: Thumbprint) -> Result<(), Miss> {
        let no_token = |_| Miss { why: "the challenge is damaged: begin anew".into(), passing: false };
        let token: ChallengeToken = proof.token.parse().map_err(no_token)?;
        let addresses = self.targets(proof).await?;
        self.tls.prove(&proof.id.domain, &addresses, &KeyAuthorization::new(&token, key)).await.map_err(|error| {
            let passing = match &error {
                ChallengeError::Connect(_) | ChallengeError::Tls(_) | ChallengeError::Protocol => true,
                // A responder that was left running answers the last challenge.
                ChallengeError::Digest => true,
                ChallengeError::PublicSuffix
                | ChallengeError::Certificate
                | ChallengeError::Names
                | ChallengeError::Extension => false,
            };
            Miss { why: shortened(with_causes(&error)), passing }
        })
    }

    /// Where the domain itself, in DNS, says that its calls go (RFC 3263), best first.
    async fn targets(&self, proof: &Proof) -> Result<Vec<SocketAddr>, Miss> {
        let Some(resolver) = &self.resolver else {
            return Err(Miss { why: "this directory has no name servers: tell its admin".into(), passing: false });
        };
        let uri = SipUri::parse(&format!("sips:{}", proof.id.domain))
            .map_err(|error| Miss { why: error.to_string(), passing: false })?;
        let resolution = resolver.locate(&uri).await;
        let Outcome::Found(hops) = &resolution.outcome else {
            let why = resolution.outcome.error().map_or_else(String::new, |error| format!(": {error}"));
            return Err(Miss::passing(format!("the domain publishes no target for sips:{why}")));
        };
        Ok(hops.iter().map(|hop| hop.address).take(MAX_ADDRESSES).collect())
    }
}

/// The name servers of this system, at their usual port.
fn system_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    servers_in(&text)
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(str::split_ascii_whitespace);
    let servers = words.filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next()).flatten());
    servers.filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, 53))).collect()
}

fn shortened(mut why: String) -> String {
    let end = (0..=MAX_FAILURE.min(why.len())).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
    why.truncate(end);
    why
}

/// An error and its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_system() {
        let text = "# x\nsearch a.test\nnameserver 192.0.2.1\n nameserver 2001:db8::1 # y\nnameserver fe80::1%eth0\nnameserver\n";
        let found: Vec<String> = servers_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }

    #[test]
    fn failures_are_bounded() {
        assert_eq!(shortened("ä".repeat(400)).len(), MAX_FAILURE);
        assert_eq!(shortened("short".into()), "short");
    }
}
