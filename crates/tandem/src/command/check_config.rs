//! `tandem check-config`: are the settings and every zone file right? Starts nothing, writes nothing.

use std::fs::File;

use clap::Parser;
use serde_json::json;
use tandem_model::{DomainName, Serial};
use tandem_zone::Zones;

use super::settings::Settings;
use super::{Failure, output};
use crate::config::{Config, Problem, TEMPLATE};
use crate::zone_folder::{self, ZoneFolderError};

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
    settings: Settings,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.template {
            return Ok(output::line(TEMPLATE.trim_end())?);
        }
        let mut problems = Vec::new();
        let mut summary = String::new();
        match self.settings.load() {
            Ok(config) => {
                check_certificate(&config, &mut problems);
                summary = check_zones(&config, &mut problems);
            }
            Err(error) => problems = error.problems,
        }
        if self.json {
            let list: Vec<_> = problems.iter().map(problem_json).collect();
            output::json(&json!({ "valid": problems.is_empty(), "problems": list }))?;
        } else {
            problems.iter().try_for_each(output::line)?;
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
    let files = config.api.certificate.iter().flat_map(|files| [&files.certificate, &files.key]);
    for file in files {
        if let Err(error) = File::open(file) {
            problems.push(Problem::of_file(file, format!("cannot be read: {error}")));
        }
    }
}

/// Reads every zone and puts them together; what was found, in a line.
fn check_zones(config: &Config, problems: &mut Vec<Problem>) -> String {
    let folder = &config.zones_dir;
    let statics = match zone_folder::read(folder) {
        Ok(statics) => statics,
        Err(ZoneFolderError { problems: found }) => {
            problems.extend(found);
            return String::new();
        }
    };
    let number = statics.len();
    let settings = zone_folder::settings(config, &statics);
    let name = |zone: &Option<DomainName>| zone.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let summary = format!(
        "settings are right; {} in {}; peers zone: {}; number zone: {}",
        count(number, "zone"),
        folder.display(),
        name(&settings.peers_zone),
        name(&settings.number_zone)
    );
    if let Err(error) = Zones::new(settings, statics, Serial::new(1)) {
        problems.push(Problem::of_file(folder, error.to_string()));
    }
    summary
}
