//! `tandem zone`: what is served, as a list or as a master file; and checking master files before they are served.

mod diff;
mod reload;
mod served;
mod verify;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::slice;

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::check_config::{count, problem_json, put_together};
use super::client::{self, ApiArgs, Client};
use super::{Failure, output};
use crate::config::{Config, Overrides, Problem};
use crate::zone_folder::{self, ZoneFile};

/// Show, export, check and reload zones
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem zone show                       # the zones served, with their serials
  tandem zone export ostn.test > ostn.test.txt
  tandem zone check zones/               # the files, before they are served
  tandem zone diff ostn.test             # what a reload would change
  tandem zone reload
  tandem zone verify                     # what is served, across zones")]
pub(super) struct Zone {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
    Export(Export),
    Check(Check),
    Reload(reload::Reload),
    Diff(diff::Diff),
    Verify(verify::Verify),
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
    #[arg(value_parser = client::parse_step)]
    zone: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    api: ApiArgs,
}

/// Check master files without a running service
///
/// A folder is put together as `tandem serve` does it, with the peers zone and the number zone of the settings file.
/// Warnings name what loads but is probably wrong; they do not change the exit status.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem zone check                      # the folder that `serve` reads
  tandem zone check /etc/tandem/zones
  tandem zone check zones/ostn.test.zone --json")]
struct Check {
    /// Zone files, or folders of them [default: the zones folder of the settings file, or zones]
    #[arg(value_name = "FILE|DIR", env = "TANDEM_ZONES")]
    paths: Vec<PathBuf>,
    /// Settings file; ./tandem.toml is read if it exists
    #[arg(long, value_name = "FILE", env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
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
            Action::Reload(reload) => reload.run(),
            Action::Diff(diff) => diff.run(),
            Action::Verify(verify) => verify.run(),
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
        let (checked, problems) = self.check();
        if self.json {
            let list = |found: &[Problem]| found.iter().map(problem_json).collect::<Vec<_>>();
            let (faults, doubts) = (list(&problems), list(&checked.warnings));
            output::json(&json!({
                "valid": problems.is_empty(), "zones": checked.names, "problems": faults, "warnings": doubts
            }))?;
        } else {
            problems.iter().chain(&checked.warnings).try_for_each(output::line)?;
            checked.names.iter().try_for_each(|name| output::line(format_args!("{name}: right")))?;
        }
        if problems.is_empty() { Ok(()) } else { Err(format!("{} found", count(problems.len(), "problem")).into()) }
    }

    /// Reads the files and, if each of them is right, puts them together.
    fn check(&self) -> (Checked, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        // Files alone are judged without the settings: the zones that those name may be in other files.
        let is_folder = |path: &Path| self.paths.is_empty() || path.is_dir();
        let as_served = self.paths.is_empty() || self.paths.iter().any(|path| is_folder(path));
        let config = if as_served { self.settings(&mut problems) } else { Config::default() };
        let paths = if self.paths.is_empty() { slice::from_ref(&config.zones_dir) } else { &self.paths };
        for path in paths {
            if is_folder(path) {
                match zone_folder::read(path) {
                    Ok(found) => files.extend(found),
                    Err(error) => problems.extend(error.problems),
                }
            } else {
                match zone_folder::read_one(path) {
                    Ok(file) => files.push(file),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let names = files.iter().map(|file| file.zone.apex().to_string()).collect();
        let warnings = files.iter().flat_map(ZoneFile::warnings).collect();
        if problems.is_empty() {
            let place = paths.iter().find(|path| is_folder(path)).or_else(|| paths.last()).cloned().unwrap_or_default();
            let settings = zone_folder::settings(&config, &files);
            problems.extend(put_together(settings, files, &place).err());
        }
        (Checked { names, warnings }, problems)
    }

    /// The settings that `tandem serve` would read; the defaults when they are not right.
    fn settings(&self, problems: &mut Vec<Problem>) -> Config {
        Config::load(self.config.as_deref(), Overrides::default()).unwrap_or_else(|error| {
            problems.extend(error.problems);
            Config::default()
        })
    }
}

/// What `tandem zone check` found beside problems.
struct Checked {
    /// The zones whose files are right.
    names: Vec<String>,
    warnings: Vec<Problem>,
}
