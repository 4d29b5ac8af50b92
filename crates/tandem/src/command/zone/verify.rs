//! `tandem zone verify`: looks for what is wrong with zones as they are served, nodes included.

use clap::Args;
use serde_json::{Value, json};
use tandem_model::{DomainName, Serial};
use tandem_zone::verify::{Finding, Severity, verify};
use tandem_zone::{Settings, Zones};

use super::super::check_config::count;
use super::super::client::{self, ApiArgs, Client};
use super::super::{Failure, body, output};
use super::served::static_zone;

/// Check zones as they are served: targets, name servers, glue, sizes, TTLs
///
/// Looks at every record, those made from nodes included, and follows it through all zones served here: name servers and
/// targets have addresses and are no aliases, delegations have glue and agree with the zone below, NAPTR records lead to SRV
/// records, answers fit 512 octets, no part of a chain is kept longer than the next. Names elsewhere are not asked for.
/// Exit status 1 when there is a fault; warnings alone do not count.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone verify ostn.test
  tandem zone verify                     # every zone
  tandem zone verify --json | jq '.findings[]'")]
pub(super) struct Verify {
    /// Only this zone
    zone: Option<String>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let zones = fetch(&Client::open(&self.api)?)?;
        let wanted: Option<DomainName> = self.zone.as_deref().map(str::parse).transpose()?;
        if let Some(apex) = wanted.as_ref().filter(|apex| zones.zone(apex).is_none()) {
            return Err(format!("no zone {apex} is served there: `tandem zone show` lists those that are").into());
        }
        let checked = zones.iter().filter(|zone| wanted.as_ref().is_none_or(|apex| zone.apex() == apex));
        let found: Vec<(String, Vec<Finding>)> =
            checked.map(|zone| (zone.apex().to_string(), verify(&zones, zone))).collect();
        let faults = found.iter().flat_map(|(_, found)| found).filter(|one| one.severity == Severity::Fault).count();
        if self.json {
            let all: Vec<Value> =
                found.iter().flat_map(|(zone, found)| found.iter().map(|one| shown(zone, one))).collect();
            output::json(&json!({ "sound": faults == 0, "findings": all }))?;
        } else {
            for (zone, findings) in &found {
                match findings.len() {
                    0 => output::line(format_args!("{zone}: right"))?,
                    _ => findings.iter().try_for_each(|finding| output::line(format_args!("{zone}: {finding}")))?,
                }
            }
        }
        if faults == 0 { Ok(()) } else { Err(format!("{} found", count(faults, "fault")).into()) }
    }
}

/// Every zone served, with its nodes' records as if they were static: one look-up then sees what a resolver sees. The zones
/// are fetched one after the other; a change in between may show in one and not in the next.
fn fetch(client: &Client) -> Result<Zones, Failure> {
    let mut statics = Vec::new();
    for zone in client.list::<body::Zone>("/v1/zones", "zones")? {
        let apex: DomainName = zone.apex.parse()?;
        statics.push(static_zone(&apex, client.get_text(&format!("/v1/zones/{}", client::segment(&zone.apex)))?)?);
    }
    Ok(Zones::new(Settings::default(), statics, Serial::new(1))?)
}

fn shown(zone: &str, finding: &Finding) -> Value {
    let severity = match finding.severity {
        Severity::Fault => "fault",
        Severity::Warning => "warning",
    };
    json!({ "zone": zone, "severity": severity, "at": finding.at, "text": finding.text })
}
