//! `tandem zone diff`: a master file on this machine against what the service serves from its own.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tandem_zone::RecordChange;
use tandem_zone::master::StaticZone;

use super::super::check_config::count;
use super::super::client::{self, ApiArgs, Client};
use super::super::{Failure, output};
use super::served::static_zone;
use crate::zone_folder;

/// Compare a master file with what is served: what a reload would change
///
/// Prints a line for each record, `-` for what would go and `+` for what would come. Records made from nodes and the SOA's
/// serial are not compared. Exit status 0 when there is no difference, 1 when there is one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone diff ostn.test             # the file in zones/, what is served
  tandem zone diff /tmp/new/ostn.test.zone
  tandem zone diff ostn.test --json | jq '.added | length'")]
pub(super) struct Diff {
    /// The master file, or the zone's name if the file is in the zones folder
    #[arg(value_name = "FILE|ZONE")]
    zone: String,
    /// The folder of master files
    #[arg(long, value_name = "DIR", default_value = "zones", env = "TANDEM_ZONES")]
    zones: PathBuf,
    /// Print the records as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Diff {
    pub(super) fn run(self) -> Result<(), Failure> {
        let given = Path::new(&self.zone);
        let file = if given.is_file() {
            given.to_owned()
        } else {
            self.zones.join(format!("{}.zone", self.zone.trim_end_matches('.').to_lowercase()))
        };
        let on_disk = zone_folder::read_one(&file).map_err(|problem| problem.to_string())?.zone;
        let served = fetch(&Client::open(&self.api)?, &on_disk)?;
        let difference = served.difference(&on_disk);
        let (removed, added) = (lines(&difference.removed), lines(&difference.added));
        if self.json {
            output::json(&json!({ "zone": on_disk.apex().to_string(), "removed": removed, "added": added }))?;
        } else {
            removed.iter().try_for_each(|line| output::line(format_args!("-{line}")))?;
            added.iter().try_for_each(|line| output::line(format_args!("+{line}")))?;
        }
        match removed.len() + added.len() {
            0 => Ok(()),
            differing => Err(format!("{} would change with `tandem zone reload`", count(differing, "record")).into()),
        }
    }
}

fn fetch(client: &Client, on_disk: &StaticZone) -> Result<StaticZone, Failure> {
    let path = format!("/v1/zones/{}?records=static", client::segment(&on_disk.apex().to_string()));
    static_zone(on_disk.apex(), client.get_text(&path)?)
}

fn lines(changes: &[RecordChange]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}
