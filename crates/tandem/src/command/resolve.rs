//! `tandem resolve`: where a call to a SIP URI or a number goes, which name its certificate must carry, and why.

use std::net::{IpAddr, SocketAddr};

use clap::Parser;
use serde_json::{Value, json};
use tandem_model::locate::{Client, Families, NextHop, Reach};
use tandem_model::{Called, DomainName};
use tandem_resolver::{DnssecTrust, NameServers, Numbers, Outcome, Resolved, Resolver, Settings, local_families};

use super::here::Here;
use super::{Failure, output};
use crate::runtime_file::RuntimeFile;

/// Lines of /etc/resolv.conf that count (resolv.conf(5)).
const MAX_NAMESERVERS: usize = 3;

/// Show where a call to a SIP URI or a number goes: next hops in order, the name to verify, and the reason of each step
///
/// Asks the directory running on this machine first and, for what is not in its zones, the name servers of
/// /etc/resolv.conf. Only SIP over TLS is considered: the list never holds a plaintext hop.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem resolve alice@debug.ostn.test
  tandem resolve sips:alice@example.org --server 192.0.2.53
  tandem resolve debug.ostn.test --server 127.0.0.1:5300
  tandem resolve +44-20-7946-0148 --enum-suffix e164.ostn.test
  tandem resolve debug.ostn.test --json | jq -r '.next_hops[0].address'

Exit status: 0 if there is a next hop, 1 if not.")]
pub(super) struct Resolve {
    /// alice@domain, domain, sip:…, sips:…, tel:+… or +number
    #[arg(value_name = "URI", value_parser = Called::parse)]
    called: Called,
    #[command(flatten)]
    asking: Asking,
    /// Look numbers up under this ENUM suffix; may be given several times, the first that has a usable URI counts
    #[arg(long = "enum-suffix", value_name = "DOMAIN", value_parser = DomainName::parse)]
    enum_suffixes: Vec<DomainName>,
    /// Believe the name servers' word on DNSSEC: they must all be on this machine, and validate
    #[arg(long)]
    dnssec: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Whom a command asks about SIP servers, and what it believes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asking {
    /// Ask this name server and no other; may be given several times
    #[arg(long = "server", value_name = "ADDR[:PORT]", value_parser = parse_server)]
    servers: Vec<SocketAddr>,
    /// Accept private and loopback addresses in records: your own network, or a test
    #[arg(long)]
    allow_private: bool,
    #[command(flatten)]
    here: Here,
}

fn parse_server(text: &str) -> Result<SocketAddr, &'static str> {
    let with_port = text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)));
    with_port.ok_or("write an address, such as 127.0.0.1:5300 or 192.0.2.53")
}

impl Asking {
    /// Where the service on this machine keeps its data.
    pub(super) const fn here(&self) -> &Here {
        &self.here
    }

    /// The same, but by way of these name servers unless others were named; with `allow_private` as if that were given.
    pub(super) fn by_way_of(&self, servers: Vec<SocketAddr>, allow_private: bool) -> Self {
        let mut asking = self.clone();
        if asking.servers.is_empty() {
            asking.servers = servers;
        }
        asking.allow_private |= allow_private;
        asking
    }

    /// Whether a name server on this machine is asked, as far as that is easily seen: it may be an agent.
    pub(super) fn asks_this_machine(&self) -> bool {
        if !self.servers.is_empty() {
            return self.servers.iter().any(|server| server.ip().is_loopback());
        }
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
        servers.take(MAX_NAMESERVERS).any(|server: IpAddr| server.is_loopback())
    }

    /// Whether an address out of a record may be connected to.
    pub(super) const fn reach(&self) -> Reach {
        if self.allow_private { Reach::Any } else { Reach::Public }
    }

    /// The resolver: the servers that were named, else the directory on this machine and those of the system.
    pub(super) fn resolver(&self) -> Result<Resolver, Failure> {
        self.resolver_with(&Settings::default(), local_families())
    }

    /// The same, with more settings, for these address families.
    pub(super) fn resolver_with(&self, settings: &Settings, families: Families) -> Result<Resolver, Failure> {
        let client = Client { reach: self.reach(), families, ..Client::default() };
        let start = |servers| Resolver::new(Settings { servers, client: client.clone(), ..settings.clone() });
        if !self.servers.is_empty() {
            return Ok(start(NameServers::Only(self.servers.clone()))?);
        }
        let running = RuntimeFile::read(&self.here.data_dir()?);
        Ok(match running.map(|running| running.dns_to_ask()).unwrap_or_default() {
            here if here.is_empty() => start(NameServers::System),
            // A machine without name servers of its own still has its directory.
            here => start(NameServers::First(here.clone())).or_else(|_| start(NameServers::Only(here))),
        }?)
    }
}

impl Resolve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let numbers = Numbers { suffixes: self.enum_suffixes.clone(), ..Numbers::default() };
        let dnssec = if self.dnssec { DnssecTrust::Loopback } else { DnssecTrust::Nobody };
        let resolver =
            self.asking.resolver_with(&Settings { numbers, dnssec, ..Settings::default() }, local_families())?;
        let resolved = runtime.block_on(resolver.resolve(&self.called));
        if self.json {
            output::json(&self.to_json(&resolved))?;
        } else {
            self.tell(&resolved)?;
        }
        match resolved.resolution.outcome.error() {
            None => Ok(()),
            Some(error) => Err(error.clone().into()),
        }
    }

    fn tell(&self, resolved: &Resolved) -> std::io::Result<()> {
        let resolution = &resolved.resolution;
        match &resolved.uri {
            Some(uri) if resolved.number.is_some() => output::line(format_args!("{} is {uri}", self.called))?,
            _ => output::line(format_args!("{}", self.called))?,
        }
        if let Outcome::Found(hops) = &resolution.outcome {
            let rows: Vec<[String; 6]> = hops.iter().enumerate().map(|(index, hop)| row(index, hop)).collect();
            output::table(["#", "TRANSPORT", "ADDRESS", "VERIFY", "TARGET", "TTL"], &rows)?;
        }
        output::line("why:")?;
        resolution
            .reasons
            .iter()
            .try_for_each(|reason| output::line(format_args!("  {:8}{}", reason.rule, reason.text)))
    }

    fn to_json(&self, resolved: &Resolved) -> Value {
        let resolution = &resolved.resolution;
        let hops = resolution.next_hops();
        let reasons: Vec<Value> =
            resolution.reasons.iter().map(|reason| json!({ "rule": reason.rule, "text": reason.text })).collect();
        json!({
            "called": self.called.to_string(),
            "uri": resolved.uri.as_ref().map(ToString::to_string),
            "outcome": outcome_name(&resolution.outcome),
            "error": resolution.outcome.error().map(|error| super::with_sources(error)),
            "next_hops": hops.iter().map(hop_json).collect::<Vec<_>>(),
            "ttl": resolution.ttl,
            "dnssec": resolution.dnssec.to_string(),
            "reasons": reasons,
        })
    }
}

/// The outcome's name for scripts: part of the command's interface.
pub(super) const fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Found(_) => "found",
        Outcome::NotAMember(_) => "not-a-member",
        Outcome::Down(_) => "down",
        Outcome::TryLater(_) => "try-later",
        Outcome::Bogus(_) => "bogus",
        Outcome::Refused(_) => "refused",
        Outcome::Loop(_) => "loop",
        Outcome::Invalid(_) => "invalid",
        // The resolver's enum is open for proxies that link it; a new outcome gets its name here.
        _ => "other",
    }
}

fn row(index: usize, hop: &NextHop) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        (index + 1).to_string(),
        hop.service.via().to_owned(),
        hop.address.to_string(),
        or_dash(hop.tls_name.as_ref().map(ToString::to_string)),
        or_dash(hop.srv_target.as_ref().map(ToString::to_string)),
        or_dash(hop.ttl.map(|ttl| ttl.to_string())),
    ]
}

fn hop_json(hop: &NextHop) -> Value {
    json!({
        "transport": hop.service.via(),
        "address": hop.address.ip().to_string(),
        "port": hop.address.port(),
        "tls_name": hop.tls_name.as_ref().map(ToString::to_string),
        "target": hop.srv_target.as_ref().map(ToString::to_string),
        "ttl": hop.ttl,
    })
}
