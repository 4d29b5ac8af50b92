//! The values of one node and its directory: as given, else as the directory has them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde_json::Value;
use tandem_model::DomainName;

use super::super::Failure;
use super::super::client::{ApiArgs, Client};

/// Port of DNS.
const DNS_PORT: u16 = 53;

/// What a configuration is made of.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The node's domain.
    pub(super) domain: Option<DomainName>,
    /// Where its SIP server listens.
    pub(super) address: Option<IpAddr>,
    /// The directory's name server.
    pub(super) directory: Option<NameServer>,
    /// The directory's zones.
    pub(super) zones: Vec<DomainName>,
}

/// A name server: port 53 if none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameServer(pub(super) SocketAddr);

impl FromStr for NameServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let with_port = text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, DNS_PORT)));
        with_port.map(Self).ok_or("write an address, such as 203.0.113.53 or 127.0.0.1:5300")
    }
}

/// What must be there in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// The SIP server's address.
    pub(super) address: bool,
    /// The directory's name server.
    pub(super) directory: bool,
}

impl Facts {
    /// The first zone whose first label is `label`: the directory's tree of numbers is `e164.…`, its peers zone `peers.…`.
    pub(super) fn zone_named(&self, label: &str) -> Option<&DomainName> {
        self.zones.iter().find(|zone| zone.to_string().split('.').next() == Some(label))
    }

    /// The zones that are below no other one: what a resolver has to be told.
    pub(super) fn topmost(&self) -> Vec<&DomainName> {
        let is_below = |zone: &DomainName, other: &DomainName| zone.to_string().ends_with(&format!(".{other}"));
        self.zones.iter().filter(|zone| !self.zones.iter().any(|other| is_below(zone, other))).collect()
    }
}

/// Takes what is given, and asks the directory for the rest.
pub(super) fn gather(
    domain: Option<DomainName>,
    address: Option<IpAddr>,
    directory: Option<NameServer>,
    zones: &[DomainName],
    needs: Needs,
    api: &ApiArgs,
) -> Result<Facts, Failure> {
    let mut facts = Facts { domain, address, directory, zones: zones.to_vec() };
    if needs.directory && facts.directory.is_none() {
        facts.directory = api.running()?.and_then(|running| running.dns_to_ask().first().copied()).map(NameServer);
        if facts.directory.is_none() {
            return Err("no service runs here, so name the directory's server: --directory 203.0.113.53".into());
        }
    }
    if needs.address && facts.address.is_none() {
        let domain = facts.domain.as_ref().ok_or("--domain is missing")?;
        facts.address = Some(registered_address(domain, api)?);
    }
    if facts.zones.is_empty() {
        facts.zones = served(api)?;
    }
    Ok(facts)
}

fn registered_address(domain: &DomainName, api: &ApiArgs) -> Result<IpAddr, Failure> {
    let hint = |error: &dyn std::fmt::Display| {
        format!("the address of {domain} is not known; give it with --address 203.0.113.7\n  because: {error}")
    };
    let answer = Client::open_for(api, &domain.to_string())
        .and_then(|client| client.get::<Value>(&format!("/v1/nodes/{domain}")))
        .map_err(|error| hint(&super::super::with_sources(&error)))?;
    let targets = answer.body["node"]["targets"].as_array();
    let addresses =
        targets.into_iter().flatten().flat_map(|target| target["addresses"].as_array().into_iter().flatten());
    let first = addresses.filter_map(|address| address.as_str()?.parse().ok()).next();
    Ok(first.ok_or_else(|| hint(&"its registration names a host elsewhere, without addresses"))?)
}

fn served(api: &ApiArgs) -> Result<Vec<DomainName>, Failure> {
    let hint = |error: &dyn std::fmt::Display| {
        format!(
            "the directory's zones are not known; name them with --zone ostn.test --zone e164.ostn.test\n  because: {error}"
        )
    };
    let zones: Vec<Value> = Client::open(api)
        .and_then(|client| client.list("/v1/zones", "zones"))
        .map_err(|error| hint(&super::super::with_sources(&error)))?;
    let names = zones.iter().filter_map(|zone| zone["apex"].as_str());
    Ok(names.map(DomainName::parse).collect::<Result<_, _>>()?)
}
