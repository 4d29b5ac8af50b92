//! `tandem zone`: what is served, as a list or as a master file; and checking master files before they are served.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::check_config::{count, problem_json};
use super::client::{self, ApiArgs, Client};
use super::{Failure, output};
use crate::config::Problem;
use crate::zone_folder;

/// Show, export and check zones
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem zone show                       # the zones served, with their serials
  tandem zone export ostn.test > ostn.test.txt
  tandem zone check zones/               # before a reload (kill -HUP)")]
pub(super) struct Zone {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
    Export(Export),
    Check(Check),
}

/// Show the zones that the service serves, or one of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone show
  tandem zone show ostn.test
  tandem zone show --json | jq -r '.zones[] | \"\\(.apex) \\(.serial)\"'")]
struct Show {
    /// Only this zone
    zone: Option<String>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Print a zone as it is served, nodes included, as a master file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone export ostn.test
  tandem zone export peers.ostn.test --output peers.ostn.test.txt
  tandem zone export ostn.test | named-checkzone ostn.test /dev/stdin")]
struct Export {
    /// The zone's name
    zone: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    api: ApiArgs,
}

/// Check master files without a running service
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone check                      # every *.zone in zones/
  tandem zone check /etc/tandem/zones
  tandem zone check zones/ostn.test.zone --json")]
struct Check {
    /// Zone files, or folders of them
    #[arg(value_name = "FILE|DIR", default_value = "zones", env = "TANDEM_ZONES")]
    paths: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Zone {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Show(show) => show.run(),
            Action::Export(export) => export.run(),
            Action::Check(check) => check.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let mut zones: Vec<Value> = Client::open(&self.api)?.list("/v1/zones", "zones")?;
        if let Some(name) = &self.zone {
            let apex = name.to_lowercase();
            zones.retain(|zone| zone["apex"] == apex.as_str());
            if zones.is_empty() {
                return Err(format!("no zone {name} is served there: `tandem zone show` lists those that are").into());
            }
        }
        if self.json {
            return output::json(&json!({ "zones": zones }));
        }
        let row = |zone: Value| body::Zone::deserialize(zone).map(|zone| [zone.apex, zone.serial.to_string()]);
        let rows = zones.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok(output::table(["ZONE", "SERIAL"], &rows)?)
    }
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let mut text = Client::open(&self.api)?.get_text(&format!("/v1/zones/{}", client::segment(&self.zone)))?;
        match &self.output {
            Some(path) => {
                let failed = |error| format!("{} cannot be written: {error}", path.display());
                let mut file = File::create(path).map_err(failed)?;
                io::copy(&mut text, &mut file).map_err(failed)?;
                file.sync_all().map_err(failed)?;
            }
            None => {
                io::copy(&mut text, &mut io::stdout().lock())?;
            }
        }
        Ok(())
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        let mut zones = Vec::new();
        let mut problems: Vec<Problem> = Vec::new();
        for path in &self.paths {
            let read = if path.is_dir() {
                zone_folder::read(path).map_err(|error| error.problems)
            } else {
                zone_folder::read_one(path).map(|zone| vec![zone]).map_err(|problem| vec![problem])
            };
            match read {
                Ok(found) => zones.extend(found),
                Err(found) => problems.extend(found),
            }
        }
        if self.json {
            let names: Vec<String> = zones.iter().map(|zone| zone.apex().to_string()).collect();
            let faults: Vec<Value> = problems.iter().map(problem_json).collect();
            output::json(&json!({ "valid": problems.is_empty(), "zones": names, "problems": faults }))?;
        } else {
            problems.iter().try_for_each(output::line)?;
            zones.iter().try_for_each(|zone| output::line(format_args!("{}: right", zone.apex())))?;
        }
        if problems.is_empty() { Ok(()) } else { Err(format!("{} found", count(problems.len(), "problem")).into()) }
    }
}
