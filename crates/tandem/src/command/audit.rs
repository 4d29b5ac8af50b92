//! `tandem audit`: who did what, when.

use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{self, ApiArgs, Client};
use super::{Failure, output};

/// Entries that are shown when nothing is said.
const DEFAULT_LIMIT: usize = 50;

/// Show who did what, newest first
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem audit
  tandem audit --domain debug.ostn.test --limit 1000
  tandem audit --json | jq -r '.entries[] | select(.kind == \"issue-token\").by'")]
pub(super) struct Audit {
    /// Only what was done to this node
    #[arg(long, value_name = "DOMAIN", value_parser = client::parse_step)]
    domain: Option<String>,
    /// Most entries
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_LIMIT)]
    limit: usize,
    /// Print the entries as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// An entry, as it is shown.
#[derive(Debug, Deserialize)]
struct Entry {
    id: u64,
    time: String,
    kind: String,
    subject: String,
    by: Option<String>,
    old_state: Option<String>,
    state: Option<String>,
    reason: Option<String>,
}

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = match &self.domain {
            Some(domain) => Client::open_for(&self.api, domain)?,
            None => Client::open(&self.api)?,
        };
        let filter = self.domain.map(|domain| format!("?domain={}", client::segment(&domain))).unwrap_or_default();
        let entries: Vec<Value> = client.list_at_most(&format!("/v1/audit{filter}"), "entries", self.limit)?;
        if self.json {
            return output::json(&json!({ "entries": entries }));
        }
        let row = |entry: Value| {
            let Entry { id, time, kind, subject, by, old_state, state, reason } = Entry::deserialize(entry)?;
            let change = match (old_state, state) {
                (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
                (_, state) => state.unwrap_or_default(),
            };
            let by = by.unwrap_or_else(|| "-".to_owned());
            Ok([id.to_string(), time, by, kind, subject, change, reason.unwrap_or_default()])
        };
        let rows = entries.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
        Ok(output::table(["ID", "TIME", "BY", "WHAT", "SUBJECT", "STATE", "REASON"], &rows)?)
    }
}
