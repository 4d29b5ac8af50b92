//! `tandem agent`: runs beside a SIP server until a signal ends it; `tandem agent status` asks the one that runs.

mod running;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tandem_agent::Agent as Running;
use tracing::{info, warn};

pub(super) use self::running::Running as RunningAgent;
use super::check_config::problem_json;
use super::ending::Ending;
use super::{Failure, output};
use crate::config::{AGENT_TEMPLATE, AgentConfig};
use crate::telemetry;

/// The settings file when none is named.
const DEFAULT_FILE: &str = "agent.toml";
/// Longest time to finish after a signal.
const END_WAIT: Duration = Duration::from_secs(15);

/// Run beside a SIP server: publish its node, keep a verified copy of all members, answer from it
///
/// Prints where its services listen, one line each on standard output, `ready` last; log lines go to standard error. It is
/// ready at once when it has a copy of the members from before, whether or not the directory can be reached.
///
/// SIGTERM and SIGINT finish what was begun and end with status 0; a second one ends at once.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  tandem agent --template > agent.toml          # every setting, explained
  tandem agent --config agent.toml --check
  tandem agent --config agent.toml
  tandem agent status --config agent.toml
  tandem explain example.org --agent agent.toml   # why a call there fails")]
pub(super) struct Agent {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: File,
    /// Check the settings, and start nothing
    #[arg(long)]
    check: bool,
    /// Print a settings file in which every key is explained, and stop
    #[arg(long, conflicts_with = "check")]
    template: bool,
    /// Print the result of --check as JSON
    #[arg(long, requires = "check")]
    json: bool,
}

/// Which settings.
#[derive(Debug, Args)]
struct File {
    /// Settings file of the agent [default: agent.toml]
    #[arg(long, value_name = "FILE", env = "TANDEM_AGENT_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Status),
}

impl File {
    fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
    }
}

impl Agent {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(Command::Status(status)) = self.command {
            return status.run();
        }
        if self.template {
            return Ok(output::line(AGENT_TEMPLATE.trim_end())?);
        }
        let config = AgentConfig::load(&self.file.path());
        if self.check {
            let problems = config.as_ref().map_or_else(|error| error.problems.as_slice(), |_| &[]);
            match self.json {
                true => {
                    let list: Vec<_> = problems.iter().map(problem_json).collect();
                    output::json(&json!({ "valid": problems.is_empty(), "problems": list }))?;
                }
                false if problems.is_empty() => output::line("the settings are right")?,
                false => problems.iter().try_for_each(output::line)?,
            }
            return match problems.len() {
                0 => Ok(()),
                n => Err(format!("{} found", super::check_config::count(n, "problem")).into()),
            };
        }
        let config = config?;
        telemetry::start(&config.log);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = runtime.block_on(run(config));
        // A disk or a name server that hangs must not hold up the end of the process.
        runtime.shutdown_background();
        result
    }
}

async fn run(config: AgentConfig) -> Result<(), Failure> {
    let mut ending = Ending::listen()?;
    let agent = Running::start(config.agent).await?;
    // A reader that went away after the line it wanted is no reason to stop.
    if let Err(error) = announce(&agent) {
        warn!(%error, "standard output is closed");
    }
    ending.next().await;
    info!("ending: a second signal ends at once");
    tokio::select! {
        ended = tokio::time::timeout(END_WAIT, agent.shutdown()) => match ended {
            Ok(()) => {
                info!("ended");
                Ok(())
            }
            Err(_) => Err(format!("not everything ended within {} seconds", END_WAIT.as_secs()).into()),
        },
        () = ending.again() => Err("ended by a second signal before everything was finished".into()),
    }
}

fn announce(agent: &Running) -> std::io::Result<()> {
    let status = agent.status();
    status.listening.iter().try_for_each(output::line)?;
    output::line("ready")
}
