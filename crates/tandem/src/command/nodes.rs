//! `tandem nodes`: what is registered.

mod probes;
mod verify;

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Change, Lease, Records, Registration};
use super::client::{self, ApiArgs, Client};
use super::{Failure, output};

/// List, show, renew, drain, suspend, remove, probe and verify registered nodes, and reset their keys
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem nodes list
  tandem nodes show debug.ostn.test
  tandem nodes renew debug.ostn.test
  tandem nodes drain debug.ostn.test --reason 'maintenance until noon'
  tandem nodes restore debug.ostn.test
  tandem nodes rm debug.ostn.test
  tandem nodes probes debug.ostn.test
  tandem nodes verify debug.ostn.test")]
pub(super) struct Nodes {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    /// Begin a node's lease anew; one that lost it is served again
    #[command(after_help = "Examples:\n  tandem nodes renew debug.ostn.test")]
    Renew(Renew),
    /// Ask callers to try a node last, until it is restored
    #[command(after_help = "Examples:\n  tandem nodes drain debug.ostn.test --reason 'maintenance until noon'")]
    Drain(Act),
    /// Take a node out of DNS until it is restored; for admins
    #[command(after_help = "Examples:\n  tandem nodes suspend debug.ostn.test --reason 'calls everybody at night'")]
    Suspend(Act),
    /// Take a node out of DNS at once and tell everybody why: its key or host is in wrong hands
    #[command(after_help = "Examples:\n  tandem nodes compromised debug.ostn.test --reason 'host broken into'")]
    Compromised(Act),
    /// End drain, suspend or compromised
    #[command(after_help = "Examples:\n  tandem nodes restore debug.ostn.test --reason 'new key'")]
    Restore(Act),
    /// Let a pending node be served; for admins
    #[command(after_help = "Examples:\n  tandem nodes list --state pending\n  tandem nodes approve debug.ostn.test")]
    Approve(Act),
    /// Forget a pending node; for admins
    #[command(after_help = "Examples:\n  tandem nodes reject debug.ostn.test --reason 'not of this federation'")]
    Reject(Act),
    /// Let another key follow a node's key that is lost, after a delay; for admins
    #[command(after_help = "Examples:\n  tandem nodes reset-key debug.ostn.test --reason 'disk lost, asked by phone'")]
    ResetKey(Act),
    Rm(Rm),
    Probes(probes::Probes),
    Verify(verify::Verify),
}

/// List the nodes that the token may see, in the order of their names
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem nodes list
  tandem nodes list --state stale
  tandem nodes list --json | jq -r '.nodes[].domain'")]
struct List {
    /// Only nodes in this state: active, pending, stale, withdrawn, tombstone, draining, suspended, compromised
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Show one node and its records
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem nodes show debug.ostn.test
  tandem nodes show debug.ostn.test --json | jq .node   # as PUT takes it")]
struct Show {
    /// The node's SIP domain
    #[arg(value_parser = client::parse_step)]
    domain: String,
    /// Print the registration as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Remove a node: its records vanish from DNS at once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem nodes rm debug.ostn.test")]
struct Rm {
    /// The node's SIP domain
    #[arg(value_parser = client::parse_step)]
    domain: String,
    #[command(flatten)]
    api: ApiArgs,
}

/// A node whose lease begins anew
#[derive(Debug, Args)]
struct Renew {
    /// The node's SIP domain
    #[arg(value_parser = client::parse_step)]
    domain: String,
    #[command(flatten)]
    api: ApiArgs,
}

/// A node, and why something is done to it
#[derive(Debug, Args)]
struct Act {
    /// The node's SIP domain
    #[arg(value_parser = client::parse_step)]
    domain: String,
    /// Why; shown with the node, in the audit trail and to all who follow the changes
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Nodes {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run(),
            Action::Show(show) => show.run(),
            Action::Renew(renew) => renew.run(),
            Action::Drain(act) => act.run("drain"),
            Action::Suspend(act) => act.run("suspend"),
            Action::Compromised(act) => act.run("compromised"),
            Action::Restore(act) => act.run("restore"),
            Action::Approve(act) => act.run("approve"),
            Action::Reject(act) => act.run("reject"),
            Action::ResetKey(act) => act.reset_key(),
            Action::Rm(rm) => rm.run(),
            Action::Probes(probes) => probes.run(),
            Action::Verify(verify) => verify.run(),
        }
    }
}

fn path(domain: &str) -> String {
    format!("/v1/nodes/{}", client::segment(domain))
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let filter = self.state.map(|state| format!("?state={}", client::segment(&state))).unwrap_or_default();
        let nodes: Vec<Value> = Client::open(&self.api)?.list(&format!("/v1/nodes{filter}"), "nodes")?;
        if self.json {
            return output::json(&json!({ "nodes": nodes }));
        }
        let row = |node: Value| {
            let registration = Registration::deserialize(node)?;
            let targets = registration.node.iter().flat_map(|node| &node.targets);
            let targets: Vec<String> = targets.map(ToString::to_string).collect();
            let lease = registration.lease_until.unwrap_or_default();
            Ok([registration.domain, registration.state, lease, targets.join("; ")])
        };
        let rows = nodes.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
        Ok(output::table(["DOMAIN", "STATE", "LEASE UNTIL", "TARGETS (HOST:PORT,PRIORITY,WEIGHT ADDRESSES)"], &rows)?)
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let client = Client::open_for(&self.api, &self.domain)?;
        let answer = client.get::<Value>(&path(&self.domain))?;
        if self.json {
            return output::json(&answer.body);
        }
        let registration = Registration::deserialize(answer.body)?;
        let records = client.get::<Records>(&format!("{}/records", path(&self.domain)))?.body.records;
        let line = |name: &str, value: &dyn std::fmt::Display| output::line(format_args!("{name:9}{value}"));
        line("domain", &registration.domain)?;
        line("state", &registration.state)?;
        registration.reason.iter().try_for_each(|reason| line("reason", reason))?;
        registration.since.iter().try_for_each(|since| line("since", since))?;
        registration.lease_until.iter().try_for_each(|until| line("lease", until))?;
        line("created", &registration.created)?;
        line("updated", &registration.updated)?;
        line("etag", &registration.etag)?;
        registration.key.iter().try_for_each(|key| line("key", key))?;
        if let Some(node) = &registration.node {
            line("ttl", &node.ttl)?;
            node.targets.iter().try_for_each(|target| line("target", target))?;
            node.numbers.iter().try_for_each(|number| line("number", number))?;
            node.sources.iter().try_for_each(|source| line("source", source))?;
            node.contact.iter().try_for_each(|contact| line("contact", contact))?;
            node.keys.iter().try_for_each(|pin| line("pin", pin))?;
            node.lease_seconds.iter().try_for_each(|lease| line("asks", &format_args!("a lease of {lease} s")))?;
            node.probe.iter().try_for_each(|probe| line("probe", probe))?;
        }
        output::line("records")?;
        Ok(records.iter().try_for_each(|record| output::line(format_args!("  {record}")))?)
    }
}

impl Renew {
    fn run(self) -> Result<(), Failure> {
        let path = format!("{}/renew", path(&self.domain));
        let lease = Client::open_for(&self.api, &self.domain)?.act::<Lease>(&path, &json!({}), &[])?.body;
        let Lease { domain, state, lease_until } = lease;
        Ok(output::line(format_args!("{domain}: {state}, lease until {lease_until}"))?)
    }
}

impl Act {
    fn run(self, action: &str) -> Result<(), Failure> {
        let client = Client::open_for(&self.api, &self.domain)?;
        let body = self.reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let mut headers = Vec::new();
        let etag;
        // API-12: what puts a node into DNS, or forgets it, is for what was seen; what takes it out must not wait.
        if matches!(action, "restore" | "approve" | "reject") {
            etag = client.get::<Registration>(&path(&self.domain))?.body.etag;
            headers.push(("if-match", etag.as_str()));
        }
        let change = client.act::<Change>(&format!("{}/{action}", path(&self.domain)), &body, &headers)?.body;
        Ok(output::line(format_args!("{}: {}", change.domain, change.state.as_deref().unwrap_or("removed")))?)
    }
}

impl Act {
    fn reset_key(self) -> Result<(), Failure> {
        let client = Client::open_for(&self.api, &self.domain)?;
        let body = self.reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let etag = client.get::<Registration>(&path(&self.domain))?.body.etag;
        let answer =
            client.act::<Value>(&format!("{}/reset-key", path(&self.domain)), &body, &[("if-match", etag.as_str())])?;
        let at = answer.body["key"]["reset_at"].as_str().unwrap_or("the end of the delay").to_owned();
        Ok(output::line(format_args!(
            "{}: another key may sign from {at} on, unless the old one signs again before",
            self.domain
        ))?)
    }
}

impl Rm {
    fn run(self) -> Result<(), Failure> {
        let client = Client::open_for(&self.api, &self.domain)?;
        let registration = client.get::<Registration>(&path(&self.domain))?.body;
        // API-12: a change that slips in between is not removed unseen.
        client.delete(&path(&self.domain), &[("if-match", &registration.etag)])?;
        Ok(output::line(format_args!("{}: removed", registration.domain))?)
    }
}
