//! `tandem check-config`: are the settings and every zone file right? Starts nothing, writes nothing.

use std::fs::File;
use std::path::Path;

use clap::Parser;
use serde_json::json;
use tandem_model::{DomainName, Serial};
use tandem_zone::{Settings, Zones};

use super::settings::Settings as SettingsArgs;
use super::{Failure, output};
use crate::catalog;
use crate::config::{Config, Problem, TEMPLATE};
use crate::zone_folder::{self, ZoneFile, ZoneFolderError};

/// Check the settings and all zone files; print a template of the settings
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem check-config                            # as `tandem serve` reads it
  tandem check-config --config /etc/tandem/tandem.toml
  tandem check-config --template > tandem.toml   # every key, explained
  tandem check-config --json | jq -r '.problems[].reason'")]
pub(super) struct CheckConfig {
    /// Print a settings file in which every key is explained, and stop
    #[arg(long)]
    template: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.template {
            return Ok(output::line(TEMPLATE.trim_end())?);
        }
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut summary = String::new();
        match self.settings.load() {
            Ok(config) => {
                check_certificate(&config, &mut problems);
                summary = check_zones(&config, &mut problems, &mut warnings);
            }
            Err(error) => problems = error.problems,
        }
        if self.json {
            let list = |found: &[Problem]| found.iter().map(problem_json).collect::<Vec<_>>();
            let (faults, doubts) = (list(&problems), list(&warnings));
            output::json(&json!({ "valid": problems.is_empty(), "problems": faults, "warnings": doubts }))?;
        } else {
            problems.iter().chain(&warnings).try_for_each(output::line)?;
        }
        match problems.len() {
            0 if self.json => Ok(()),
            0 => Ok(output::line(summary)?),
            n => Err(format!("{} found: correct what is named above", count(n, "problem")).into()),
        }
    }
}

/// One problem as a script reads it.
pub(super) fn problem_json(problem: &Problem) -> serde_json::Value {
    let line = (problem.line > 0).then_some(problem.line);
    json!({ "file": problem.file, "line": line, "reason": problem.reason })
}

/// `1 zone`, `2 zones`.
pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn check_certificate(config: &Config, problems: &mut Vec<Problem>) {
    let files = config.api.certificate.iter().chain(&config.dns.tls).flat_map(|files| [&files.certificate, &files.key]);
    for file in files {
        if let Err(error) = File::open(file) {
            problems.push(Problem::of_file(file, format!("cannot be read: {error}")));
        }
    }
}

/// Reads every zone and puts them together; what was found, in a line.
fn check_zones(config: &Config, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) -> String {
    let folder = &config.zones_dir;
    let files = match catalog::read_zones(config) {
        Ok(files) => files,
        Err(ZoneFolderError { problems: found }) => {
            problems.extend(found);
            return String::new();
        }
    };
    warnings.extend(files.iter().flat_map(ZoneFile::warnings));
    let settings = zone_folder::settings(config, &files);
    let name = |zone: &Option<DomainName>| zone.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let summary = format!(
        "settings are right; {} in {}; peers zone: {}; number zone: {}",
        count(files.len(), "zone"),
        folder.display(),
        name(&settings.peers_zone),
        name(&settings.number_zone)
    );
    problems.extend(put_together(settings, files, folder).err());
    summary
}

/// Puts zones together as `tandem serve` does. `place` is the folder to blame.
pub(super) fn put_together(settings: Settings, files: Vec<ZoneFile>, place: &Path) -> Result<(), Problem> {
    let zones = Zones::new(settings, zone_folder::zones(files), Serial::new(1));
    zones.map(drop).map_err(|error| Problem::of_file(place, error.to_string()))
}
