//! `tandem zone reload`: the running service reads its zone files again.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{ApiArgs, Client};
use super::super::{Failure, output};

/// Have the service read its zone files again, and show what changed
///
/// If any file is wrong, or does not fit a registered node, nothing changes: every fault is printed with its file and
/// line, and the zones are served on as they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone reload
  tandem zone check zones/ && tandem zone reload
  tandem zone reload --json | jq -r '.zones[].apex'")]
pub(super) struct Reload {
    /// Print what changed as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// The answer, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Summary {
    zones: Vec<ZoneChange>,
    served: usize,
}

#[derive(Debug, Deserialize)]
struct ZoneChange {
    apex: String,
    change: String,
    added: usize,
    removed: usize,
    #[serde(default)]
    serial: Option<u32>,
}

impl Reload {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = Client::open(&self.api)?.post::<Value>("/v1/zones/reload", &json!({}), &[])?.body;
        if self.json {
            return output::json(&answer);
        }
        let summary = Summary::deserialize(answer)?;
        if summary.zones.is_empty() {
            return Ok(output::line(format_args!("nothing changed; {} zones served", summary.served))?);
        }
        let row = |zone: ZoneChange| {
            let serial = zone.serial.map_or_else(|| "-".to_owned(), |serial| serial.to_string());
            [zone.apex, zone.change, format!("+{} -{}", zone.added, zone.removed), serial]
        };
        let rows: Vec<_> = summary.zones.into_iter().map(row).collect();
        Ok(output::table(["ZONE", "CHANGE", "RECORDS", "SERIAL"], &rows)?)
    }
}
