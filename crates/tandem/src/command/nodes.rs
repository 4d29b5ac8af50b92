//! `tandem nodes`: what is registered.

mod verify;

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Records, Registration};
use super::client::{self, ApiArgs, Client};
use super::{Failure, output};

/// List, show, remove and verify registered nodes
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem nodes list
  tandem nodes show debug.ostn.test
  tandem nodes rm debug.ostn.test
  tandem nodes verify debug.ostn.test")]
pub(super) struct Nodes {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Rm(Rm),
    Verify(verify::Verify),
}

/// List the nodes that the token may see, in the order of their names
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem nodes list
  tandem nodes list --json | jq -r '.nodes[].domain'")]
struct List {
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

impl Nodes {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run(),
            Action::Show(show) => show.run(),
            Action::Rm(rm) => rm.run(),
            Action::Verify(verify) => verify.run(),
        }
    }
}

fn path(domain: &str) -> String {
    format!("/v1/nodes/{}", client::segment(domain))
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let nodes: Vec<Value> = Client::open(&self.api)?.list("/v1/nodes", "nodes")?;
        if self.json {
            return output::json(&json!({ "nodes": nodes }));
        }
        let row = |node: Value| {
            let registration = Registration::deserialize(node)?;
            let targets: Vec<String> = registration.node.targets.iter().map(ToString::to_string).collect();
            Ok([registration.domain, registration.updated, targets.join("; ")])
        };
        let rows = nodes.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
        Ok(output::table(["DOMAIN", "UPDATED", "TARGETS (HOST:PORT,PRIORITY,WEIGHT ADDRESSES)"], &rows)?)
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let client = Client::open(&self.api)?;
        let answer = client.get::<Value>(&path(&self.domain))?;
        if self.json {
            return output::json(&answer.body);
        }
        let Registration { domain, etag, created, updated, node } = Registration::deserialize(answer.body)?;
        let records = client.get::<Records>(&format!("{}/records", path(&self.domain)))?.body.records;
        let line = |name: &str, value: &dyn std::fmt::Display| output::line(format_args!("{name:9}{value}"));
        line("domain", &domain)?;
        line("created", &created)?;
        line("updated", &updated)?;
        line("etag", &etag)?;
        line("ttl", &node.ttl)?;
        node.targets.iter().try_for_each(|target| line("target", target))?;
        node.numbers.iter().try_for_each(|number| line("number", number))?;
        node.sources.iter().try_for_each(|source| line("source", source))?;
        node.contact.iter().try_for_each(|contact| line("contact", contact))?;
        output::line("records")?;
        Ok(records.iter().try_for_each(|record| output::line(format_args!("  {record}")))?)
    }
}

impl Rm {
    fn run(self) -> Result<(), Failure> {
        let client = Client::open(&self.api)?;
        let registration = client.get::<Registration>(&path(&self.domain))?.body;
        // API-12: a change that slips in between is not removed unseen.
        client.delete(&path(&self.domain), &[("if-match", &registration.etag)])?;
        Ok(output::line(format_args!("{}: removed", registration.domain))?)
    }
}
