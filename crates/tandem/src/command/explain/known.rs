//! What the agent on this host, or a directory, knows of who is called: the keys that count, and why calls are kept from it.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tandem_agent::document::NodeDocument;
use tandem_agent::{MemberState as State, config::Config};
use tandem_model::locate::{HopDnssec, NextHop, Rank, Reach, Service};
use tandem_model::{Called, DomainName, Host, Node};
use tandem_resolver::{Member, MemberState, Members, Resolver};

use super::super::agent::RunningAgent;
use super::super::client::{self, ApiArgs, Client, ClientError};
use super::super::resolve::Asking;
use super::super::{Failure, in_one_line, with_sources};
use crate::diagnose::Fault;

/// Longest wait for a directory; without it the rest is still worth to be seen.
const WAIT: Duration = Duration::from_secs(5);

/// Who is asked.
#[derive(Debug)]
pub(super) enum Source {
    /// The agent on this host, and where its name service answers.
    Agent(Box<RunningAgent>, Vec<SocketAddr>),
    /// A directory's API.
    Directory(ApiArgs),
}

/// What the agent's status says, as far as it is needed.
#[derive(Deserialize)]
struct AgentStatus {
    listening: Vec<String>,
}

impl Source {
    /// The agent, if it answers.
    pub(super) fn agent(agent: RunningAgent) -> Result<Self, Failure> {
        let AgentStatus { listening } = agent.ask("/v1/status")?;
        let dns = listening.iter().filter_map(|line| line.strip_prefix("dns ")?.parse().ok()).collect();
        Ok(Self::Agent(Box::new(agent), dns))
    }

    const fn config(&self) -> Option<&Config> {
        match self {
            Self::Agent(agent, _) => Some(&agent.config),
            Self::Directory(_) => None,
        }
    }

    /// Asks as the agent lets its SIP server ask: its name service, or the servers that it asks itself.
    pub(super) fn asking(&self, asking: &Asking) -> Asking {
        match self {
            Self::Agent(agent, dns) => {
                let route = &agent.config.route;
                let servers = if dns.is_empty() { route.name_servers.clone() } else { dns.clone() };
                asking.by_way_of(servers, route.private_addresses)
            }
            Self::Directory(_) => asking.clone(),
        }
    }

    /// Where the agent, or its SIP server, looks for numbers.
    pub(super) fn enum_suffixes(&self) -> Vec<DomainName> {
        let Some(config) = self.config() else { return Vec::new() };
        let mut suffixes = config.dns.as_ref().map(|dns| dns.enum_suffixes.clone()).unwrap_or_default();
        suffixes.extend(
            config.route.enum_suffixes.iter().filter(|name| !suffixes.contains(name)).cloned().collect::<Vec<_>>(),
        );
        suffixes
    }

    /// The authorities that the agent's looks believe, if they are not the system's.
    pub(super) fn authorities(&self) -> Option<&Path> {
        self.config()?.check.authorities.as_deref()
    }

    /// What is known of who is called; `None` if that is nobody with a domain, or a number of which nothing is known.
    pub(super) fn look_up(&self, called: &Called, until: Instant) -> Option<Known> {
        let domain = match called {
            Called::Number(_) => None,
            Called::Uri(uri) => match uri.host() {
                Host::Name(domain) => Some(domain.clone()),
                Host::Ip(_) => return None,
            },
        };
        let (who, told) = match (self, called, &domain) {
            (Self::Agent(agent, _), Called::Number(number), _) => {
                ("the agent".to_owned(), ask_agent(agent, &number.to_string()))
            }
            (Self::Agent(agent, _), _, Some(domain)) => ("the agent".to_owned(), ask_agent(agent, &domain.to_string())),
            (Self::Directory(api), _, Some(domain)) => ask_directory(api, domain, until),
            (Self::Agent(..), _, None) | (Self::Directory(_), _, None) => return None,
        };
        let domain = match &told {
            Ok(told) => told.domain.as_deref().and_then(|domain| DomainName::parse(domain).ok()).or(domain)?,
            Err(_) => domain?,
        };
        Some(Known::new(who, matches!(self, Self::Agent(..)), domain, told))
    }
}

fn ask_agent(agent: &RunningAgent, who: &str) -> Result<Told, String> {
    agent.ask(&format!("/v1/members/{who}")).map_err(|error| in_one_line(&error.to_string()))
}

/// Asks a directory, until `until` at most; with its name.
fn ask_directory(api: &ApiArgs, domain: &DomainName, until: Instant) -> (String, Result<Told, String>) {
    let who = format!("the directory {}", api.api.as_deref().unwrap_or_default());
    let (sender, receiver) = mpsc::channel();
    let (api, name) = (api.clone(), domain.to_string());
    // Its limits are longer than ours; it ends with the process.
    thread::spawn(move || drop(sender.send(fetch(&api, &name))));
    let wait = WAIT.min(until.saturating_duration_since(Instant::now()));
    let told = receiver.recv_timeout(wait).unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
    (who, told)
}

fn fetch(api: &ApiArgs, name: &str) -> Result<Told, String> {
    let failed = |error: &ClientError| in_one_line(&with_sources(error));
    let client = Client::open_for(api, name).map_err(|error| failed(&error))?;
    match client.get(&format!("/v1/members/{}", client::segment(name))) {
        Ok(answer) => Ok(answer.body),
        Err(ClientError::Problem(problem)) if problem.status() == 404 => Ok(Told::default()),
        Err(error) => Err(failed(&error)),
    }
}

/// A member as the agent or the directory tells of it; what only one of them says is left out by the other.
#[derive(Debug, Default, Deserialize)]
struct Told {
    domain: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    signed_by: Option<String>,
    refused: Option<String>,
    knows_members: Option<bool>,
    stale_since: Option<String>,
    node: Option<NodeDocument>,
    check: Option<Check>,
}

/// What the agent's looks say.
#[derive(Debug, Default, Deserialize)]
struct Check {
    held_back: bool,
    targets: Vec<Target>,
}

/// What the last look at one address says.
#[derive(Debug, Deserialize)]
struct Target {
    address: String,
    good: bool,
    fault: Option<String>,
    why: Option<String>,
}

/// What is known of one domain.
#[derive(Debug)]
pub(super) struct Known {
    /// Who says so.
    who: String,
    is_agent: bool,
    domain: DomainName,
    node: Option<Node>,
    told: Result<Told, String>,
}

impl Known {
    fn new(who: String, is_agent: bool, domain: DomainName, told: Result<Told, String>) -> Self {
        let mut this = Self { who, is_agent, domain: domain.clone(), node: None, told };
        if let Some(document) = this.told.as_mut().ok().and_then(|told| told.node.take()) {
            match document.into_node(domain) {
                Ok(node) => this.node = Some(node),
                Err(error) => this.told = Err(error.to_string()),
            }
        }
        this
    }

    fn state(&self) -> Option<State> {
        State::parse(self.told.as_ref().ok()?.state.as_deref()?)
    }

    fn check(&self) -> Option<&Check> {
        self.told.as_ref().ok()?.check.as_ref()
    }

    /// Lets the resolver hold the member to its keys.
    pub(super) fn tell(&self, resolver: &Resolver) {
        let state = match self.state() {
            None => return,
            Some(State::Compromised) => MemberState::Compromised,
            Some(State::Active) => MemberState::Active,
            Some(State::Stale | State::Draining | State::Withdrawn | State::Suspended) => MemberState::Away,
        };
        let (targets, keys) = match &self.node {
            Some(node) => (node.targets().to_vec(), node.keys.clone()),
            None => (Vec::new(), Vec::new()),
        };
        let domain = self.domain.clone();
        resolver.set_members(Members::new([Member {
            domain,
            targets,
            keys,
            sources: Vec::new(),
            state,
            signed_by: None,
        }]));
    }

    /// Whether calls are kept from it.
    pub(super) fn is_blocked(&self) -> bool {
        self.faults().iter().any(|fault| fault.grave)
    }

    /// The servers that its document names, best first, as far as `reach` lets anybody go there.
    pub(super) fn hops(&self, reach: Reach) -> Vec<NextHop> {
        let Some(node) = &self.node else { return Vec::new() };
        let mut targets: Vec<_> = node.targets().iter().collect();
        targets.sort_by_key(|target| target.priority);
        let hops = targets.into_iter().flat_map(|target| {
            let addresses = target.addresses.iter().filter(|address| reach.allows(**address));
            addresses.map(|address| NextHop {
                service: Service::Tls,
                address: (*address, target.port.get()).into(),
                tls_name: Some(self.domain.clone()),
                srv_target: Some(target.host.clone()),
                canonical: None,
                rank: Some(Rank { priority: target.priority, weight: target.weight }),
                dnssec: HopDnssec::default(),
                ttl: Some(node.ttl),
            })
        });
        hops.collect()
    }

    /// What is wrong with it, the gravest first.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let (domain, who) = (&self.domain, &self.who);
        let told = match &self.told {
            Ok(told) => told,
            Err(why) => {
                let text = format!("{who} does not tell of {domain}: {why}");
                let mend = "Mend that, or read what follows as by a caller who does not know the members' keys.";
                return vec![Fault::doubt("members-unknown", "CERT-44", text, mend.to_owned())];
            }
        };
        let mut faults = Vec::new();
        faults.extend(self.of_state(told.reason.as_deref()));
        faults.extend(self.check().filter(|check| check.held_back).map(|check| self.of_looks(check)));
        if let Some(why) = &told.refused {
            let text = format!("the agent does not believe the newest document of {domain}: {why}");
            let mend = format!("Ask the operator of {domain} by another way; pin the key in [pins] if it is right.");
            faults.push(Fault::doubt("not-believed", "CERT-44", text, mend));
        }
        if told.knows_members == Some(false) {
            let text = "the agent has not read the members yet: it knows nobody".to_owned();
            let mend = "See why with `tandem agent status`: the directory, or the token.".to_owned();
            faults.push(Fault::doubt("members-unknown", "CERT-44", text, mend));
        } else if let Some(since) = &told.stale_since {
            let text = format!("the agent's copy of the members is not in step since {since}");
            let mend =
                "See to the directory, or to the way there: `tandem agent status` says what is wrong.".to_owned();
            faults.push(Fault::doubt("agent-not-in-step", "CERT-44", text, mend));
        }
        faults
    }

    fn of_state(&self, reason: Option<&str>) -> Option<Fault> {
        let domain = &self.domain;
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let (code, mend) = match self.state()? {
            // Withdrawn, but its operator may have published it elsewhere: for a directory that is no reason.
            State::Withdrawn if !self.is_agent => return None,
            State::Active | State::Stale | State::Draining if self.node.is_some() || !self.is_agent => return None,
            State::Active | State::Stale | State::Draining => {
                ("unusable", format!("Look under `refused` of `tandem agent status` for {domain}."))
            }
            State::Withdrawn => ("withdrawn", format!("Have its operator publish {domain} again: its lease is over.")),
            State::Suspended => ("suspended", format!("Ask the directory's admin why {domain} was taken out.")),
            State::Compromised => ("compromised", "Do not call; ask the domain's operator by another way.".to_owned()),
        };
        let state = self.state().map_or("", State::as_str);
        let text = match code {
            "unusable" => format!("{} has no document of {domain} that it believes", self.who),
            _ => format!("{} says that {domain} is {state}{reason}: nobody may call it", self.who),
        };
        Some(Fault::grave(code, "CERT-20", text, mend))
    }

    /// A member of which no server was good when the agent looked.
    fn of_looks(&self, check: &Check) -> Fault {
        let domain = &self.domain;
        let bad = || check.targets.iter().filter(|target| !target.good);
        let is_certificate = |target: &&Target| target.fault.as_deref() == Some("certificate");
        let Some(worst) = bad().find(is_certificate).or_else(|| bad().next()) else {
            let text = "member held back: the agent has not looked at its servers yet".to_owned();
            let mend = "Try again in a minute; `tandem agent status` says how many targets are good.".to_owned();
            return Fault::grave("held-back", "CERT-20", text, mend);
        };
        let address = &worst.address;
        let mut why = worst.why.as_deref().unwrap_or("nothing is known").to_owned();
        if !why.contains(address) {
            why.push_str(&format!(" ({address})"));
        }
        let again = "The agent looks again by itself, after half a minute at first.";
        match worst.fault.as_deref() {
            Some("certificate") => Fault::grave(
                "held-back",
                "CERT-20",
                format!("member held back: its certificate fails: {why}"),
                format!(
                    "Have the operator of {domain} mend its certificate, or publish its key in its document. {again}"
                ),
            ),
            Some("network") => Fault::grave(
                "held-back",
                "LOC-81",
                format!("member held back: {why}"),
                format!("See that this host gets to {address}, and have the operator of {domain} look too. {again}"),
            ),
            Some("address") => Fault::grave(
                "held-back",
                "LOC-65",
                format!("member held back: {why}"),
                format!("Have the operator of {domain} publish a public address: looks never go to private ones."),
            ),
            _ => Fault::grave(
                "held-back",
                "LOC-81",
                format!("member held back: {why}"),
                format!("Have the operator of {domain} look at its server. {again}"),
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let told = self.told.as_ref().ok();
        json!({
            "told_by": if self.is_agent { "agent" } else { "directory" },
            "domain": self.domain.to_string(),
            "state": self.state().map(State::as_str),
            "signed_by": told.and_then(|told| told.signed_by.as_deref()),
            "keys": self.node.as_ref().map_or(0, |node| node.keys.len()),
            "held_back": self.check().map(|check| check.held_back),
            "error": self.told.as_ref().err(),
        })
    }
}

/// In one line: whether it is a member, who vouches for it, and what its server has to prove.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, domain) = (&self.who, &self.domain);
        let told = match &self.told {
            Ok(told) => told,
            Err(why) => return write!(f, "{who} does not tell of {domain}: {why}"),
        };
        let Some(state) = self.state() else { return write!(f, "{who}: {domain} is no member") };
        write!(f, "{who}: {domain} is a member, {}", state.as_str())?;
        match &told.signed_by {
            Some(key) => write!(f, ", signed by its key {key}")?,
            None => f.write_str(", on the directory's word")?,
        }
        match self.node.as_ref().map_or(0, |node| node.keys.len()) {
            0 => f.write_str("; no keys published: TLSA or an authority decides"),
            1 => f.write_str("; 1 key published: it decides, and nothing else"),
            keys => write!(f, "; {keys} keys published: they decide, and nothing else"),
        }
    }
}
