//! From flags to the node document, and from the document's parts back to the flags that made them.
//!
//! Nothing is judged here that the API judges: it says everything that is wrong at once.

use std::net::IpAddr;
use std::str::FromStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde_json::{Map, Value, json};

use super::Publish;

const TARGET: &str = "target";
const ADDRESS: &str = "address";

/// `--target HOST:PORT[,PRIORITY,WEIGHT]` as typed.
#[derive(Debug, Clone)]
struct TargetArg {
    text: String,
    host: String,
    port: u64,
    rank: Option<(u64, u64)>,
}

impl FromStr for TargetArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "write HOST:PORT or HOST:PORT,priority,weight, such as sip.debug.ostn.test:5061,10,0";
        let mut parts = text.split(',');
        let (host, port) = parts.next().and_then(|place| place.rsplit_once(':')).ok_or(SHAPE)?;
        let port = port.parse().map_err(|_| SHAPE)?;
        let mut number = || parts.next().map(|part| part.parse().map_err(|_| SHAPE)).transpose();
        let rank = match (number()?, number()?) {
            (None, _) => None,
            (Some(priority), Some(weight)) => Some((priority, weight)),
            (Some(_), None) => return Err(SHAPE),
        };
        if host.is_empty() || parts.next().is_some() {
            return Err(SHAPE);
        }
        Ok(Self { text: text.to_owned(), host: host.to_owned(), port, rank })
    }
}

/// The targets, each with its addresses. Which address belongs where depends on the order on the command line, so
/// this reads clap's indices.
#[derive(Debug, Clone)]
pub(super) struct Targets(Vec<(TargetArg, Vec<IpAddr>)>);

impl Args for Targets {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new(TARGET)
                    .long(TARGET)
                    .value_name("HOST:PORT[,PRIORITY,WEIGHT]")
                    .help("A host that serves the domain by SIP over TLS; lower priority is tried first; up to 8 times")
                    .value_parser(value_parser!(TargetArg))
                    .action(ArgAction::Append)
                    .required(true),
            )
            .arg(
                Arg::new(ADDRESS)
                    .long(ADDRESS)
                    .value_name("IP")
                    .help("An address of the target before it, IPv4 or IPv6; may be given several times")
                    .value_parser(value_parser!(IpAddr))
                    .action(ArgAction::Append),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Targets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut targets: Vec<(usize, (TargetArg, Vec<IpAddr>))> = matches
            .indices_of(TARGET)
            .into_iter()
            .flatten()
            .zip(matches.get_many::<TargetArg>(TARGET).into_iter().flatten())
            .map(|(index, target)| (index, (target.clone(), Vec::new())))
            .collect();
        let domain = matches.get_one::<String>("domain").map_or("", String::as_str);
        let addresses = matches.get_many::<IpAddr>(ADDRESS).into_iter().flatten();
        for (index, address) in matches.indices_of(ADDRESS).into_iter().flatten().zip(addresses) {
            let before = targets.iter_mut().rev().find(|(at, _)| *at < index);
            if let Some((_, (_, list))) = before {
                list.push(*address);
                continue;
            }
            let mut own = targets.iter_mut().filter(|(_, (target, _))| is_at_or_below(&target.host, domain)).peekable();
            if own.peek().is_none() {
                return Err(homeless(*address, domain));
            }
            own.for_each(|(_, (_, list))| list.push(*address));
        }
        Ok(Self(targets.into_iter().map(|(_, target)| target).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// An address that no target takes.
fn homeless(address: IpAddr, domain: &str) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::ValueValidation);
    let what = format!(
        "--address (before the first --target, and no target is at or below {domain}: put it behind its --target)"
    );
    error.insert(ContextKind::InvalidArg, ContextValue::String(what));
    error.insert(ContextKind::InvalidValue, ContextValue::String(address.to_string()));
    error
}

/// As [`tandem_model::DomainName::is_at_or_below`], for names that nobody has checked yet.
fn is_at_or_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_lowercase(), domain.to_lowercase());
    host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `--number +15550101=sip:alice@debug.ostel.me`.
#[derive(Debug, Clone)]
pub(super) struct NumberArg {
    text: String,
    e164: String,
    uri: Option<String>,
}

impl FromStr for NumberArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (e164, uri) = text.split_once('=').map_or((text, None), |(number, uri)| (number, Some(uri.to_owned())));
        if e164.is_empty() || uri.as_ref().is_some_and(String::is_empty) {
            return Err("write +15550101 or +15550101=sip:alice@debug.ostel.me");
        }
        Ok(Self { text: text.to_owned(), e164: e164.to_owned(), uri })
    }
}

/// `--key HEX` or `--key ca:HEX`.
#[derive(Debug, Clone)]
pub(super) struct KeyArg {
    text: String,
    holder: &'static str,
    sha256: String,
}

impl FromStr for KeyArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (holder, digits) = match text.strip_prefix("ca:") {
            Some(digits) => ("authority", digits),
            None => ("node", text),
        };
        if digits.len() != 64 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err("write the 64 hexadecimal digits of the SHA-256, with ca: before them for the key of a CA");
        }
        Ok(Self { text: text.to_owned(), holder, sha256: digits.to_ascii_lowercase() })
    }
}

impl Publish {
    /// The node document (v1): what was not given is left out.
    pub(super) fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("targets".into(), self.targets.0.iter().map(target).collect());
        let numbers: Vec<Value> = (self.numbers.iter().map(number))
            .chain(self.blocks.iter().map(|block| json!({ "block": block })))
            .collect();
        let keys: Vec<Value> =
            self.keys.iter().map(|key| json!({ "holder": key.holder, "sha256": key.sha256 })).collect();
        for (member, list) in [("numbers", numbers), ("keys", keys)] {
            if !list.is_empty() {
                document.insert(member.into(), list.into());
            }
        }
        if !self.sources.is_empty() {
            document.insert("sources".into(), self.sources.clone().into());
        }
        if let Some(ttl) = self.ttl {
            document.insert("ttl".into(), ttl.into());
        }
        if let Some(contact) = &self.contact {
            document.insert("contact".into(), contact.clone().into());
        }
        if let Some(lease) = self.lease {
            document.insert("lease_seconds".into(), lease.into());
        }
        if self.probe || self.probe_no_options || self.probe_tlsa {
            let mut probe = Map::new();
            if self.probe_no_options {
                probe.insert("options".into(), false.into());
            }
            if self.probe_tlsa {
                probe.insert("tlsa".into(), true.into());
            }
            document.insert("probe".into(), probe.into());
        }
        document.into()
    }

    /// The flag that made a part of the document.
    pub(super) fn name_of(&self, path: &[&str]) -> Option<String> {
        let index = |text: &str| text.parse::<usize>().ok();
        match path {
            ["domain"] => Some(self.domain.clone()),
            ["targets"] => Some("--target".to_owned()),
            ["targets", at, "addresses", address] => {
                let (target, addresses) = self.targets.0.get(index(at)?)?;
                let address = addresses.get(index(address)?)?;
                Some(format!("--target {} --address {address}", target.text))
            }
            ["targets", at, rest @ ..] => {
                Some(with_member(&format!("--target {}", self.targets.0.get(index(at)?)?.0.text), rest))
            }
            ["numbers", at, rest @ ..] => {
                let at = index(at)?;
                let flag = match self.numbers.get(at) {
                    Some(number) => format!("--number {}", number.text),
                    None => format!("--block {}", self.blocks.get(at - self.numbers.len())?),
                };
                Some(with_member(&flag, rest))
            }
            ["keys", at, rest @ ..] => Some(with_member(&format!("--key {}", self.keys.get(index(at)?)?.text), rest)),
            ["sources", at] => Some(format!("--source {}", self.sources.get(index(at)?)?)),
            ["ttl"] => Some("--ttl".to_owned()),
            ["contact"] => Some("--contact".to_owned()),
            ["lease_seconds"] => Some("--lease".to_owned()),
            ["probe", ..] => Some("--probe".to_owned()),
            _ => None,
        }
    }
}

fn target((target, addresses): &(TargetArg, Vec<IpAddr>)) -> Value {
    let mut value = json!({ "host": target.host, "port": target.port });
    if let Some((priority, weight)) = target.rank {
        value["priority"] = priority.into();
        value["weight"] = weight.into();
    }
    if !addresses.is_empty() {
        value["addresses"] = addresses.iter().map(ToString::to_string).collect();
    }
    value
}

fn number(number: &NumberArg) -> Value {
    let mut value = json!({ "e164": number.e164 });
    if let Some(uri) = &number.uri {
        value["uri"] = uri.clone().into();
    }
    value
}

fn with_member(flag: &str, rest: &[&str]) -> String {
    if rest.is_empty() { flag.to_owned() } else { format!("{flag} ({})", rest.join(".")) }
}
