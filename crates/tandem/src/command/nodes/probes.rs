//! `tandem nodes probes`: what the directory saw when it looked at a node.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::path;
use crate::command::client::{self, ApiArgs, Client};
use crate::command::{Failure, output};

/// Show what the directory saw when it looked at a node's targets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem nodes probes debug.ostn.test
  tandem nodes probes debug.ostn.test --now
  tandem nodes probes debug.ostn.test --json | jq '.targets[].looks'")]
pub(super) struct Probes {
    /// The node's SIP domain
    #[arg(value_parser = client::parse_step)]
    domain: String,
    /// Look again as soon as there is room, at most once a minute; shows what was seen before
    #[arg(long)]
    now: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Debug, Deserialize)]
struct Answer {
    enabled: bool,
    asked: bool,
    held: bool,
    targets: Vec<Target>,
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Target {
    host: String,
    port: u16,
    down: bool,
    demoted: bool,
    next: Option<String>,
    looks: Vec<Look>,
}

#[derive(Debug, Deserialize)]
struct Look {
    address: Option<String>,
    at: String,
    result: String,
    rule: Option<String>,
    detail: Option<String>,
    failures: u32,
}

#[derive(Debug, Deserialize)]
struct Key {
    sha256: String,
    until: Option<String>,
}

impl Probes {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::open_for(&self.api, &self.domain)?;
        let path = format!("{}/probes", path(&self.domain));
        let body: Value =
            if self.now { client.act(&path, &json!({}), &[])?.body } else { client.get::<Value>(&path)?.body };
        if self.json {
            return output::json(&body);
        }
        let answer = Answer::deserialize(body)?;
        if !answer.enabled {
            return Ok(output::line("this directory looks at nobody")?);
        }
        if !answer.asked {
            return Ok(output::line(
                "this node does not ask to be looked at: publish it with --probe (`probe` in its document)",
            )?);
        }
        if answer.held {
            output::line("so many targets fail that the fault may be the directory's: failures do not count now")?;
        }
        if answer.targets.is_empty() {
            output::line(
                "nobody has looked yet: the directory does so soon after a node asks for it, and after a start",
            )?;
            return keys(&answer.keys);
        }
        let rows: Vec<_> = answer.targets.iter().flat_map(Target::rows).collect();
        output::table(["TARGET", "STATE", "ADDRESS", "LAST LOOK", "RESULT", "FAILURES", "NEXT"], &rows)?;
        for look in answer.targets.iter().flat_map(|target| &target.looks) {
            if let Some(detail) = &look.detail {
                let rule = look.rule.as_deref().unwrap_or_default();
                output::line(format_args!("{}: {rule}: {detail}", look.address.as_deref().unwrap_or("-")))?;
            }
        }
        keys(&answer.keys)
    }
}

/// Shows the keys that are in TLSA records because they were seen.
fn keys(keys: &[Key]) -> Result<(), Failure> {
    Ok(keys.iter().try_for_each(|key| {
        let until = key.until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
        output::line(format_args!("key 3 1 1 {}{until}", key.sha256))
    })?)
}

impl Target {
    /// A row for each look; one without for a target that nobody has looked at yet.
    fn rows(&self) -> Vec<[String; 7]> {
        let state = match (self.demoted, self.down) {
            (true, _) => "demoted",
            (false, true) => "down",
            (false, false) => "up",
        };
        let next = self.next.as_deref().unwrap_or("now");
        let row = |address: &str, at: &str, result: &str, failures: String| {
            let target = format!("{}:{}", self.host, self.port);
            [target, state.into(), address.into(), at.into(), result.into(), failures, next.into()]
        };
        if self.looks.is_empty() {
            return vec![row("-", "-", "-", "0".into())];
        }
        let rows = self.looks.iter();
        rows.map(|look| row(look.address.as_deref().unwrap_or("-"), &look.at, &look.result, look.failures.to_string()))
            .collect()
    }
}
