//! The command line: one file a subcommand. Exit status 0: done; 1: it failed, standard error says why and what to
//! do; 2: the command line itself is wrong.

mod agent;
mod audit;
mod backup;
mod body;
mod changes;
mod check;
mod check_config;
mod client;
mod configure;
mod ending;
mod explain;
mod export;
mod here;
mod import;
mod invite;
mod join;
mod life;
mod migrate;
mod nodes;
mod numbers;
mod output;
mod problem;
mod progress;
mod prove;
mod publish;
mod register;
mod resolve;
mod restore;
mod serve;
mod settings;
mod token;
mod tsig;
mod zone;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Why a subcommand failed; its sources are printed behind it.
type Failure = Box<dyn Error + Send + Sync>;

/// A command has said already, on standard output, what is wrong: nothing is left but the exit status.
#[derive(Debug, thiserror::Error)]
#[error("it was told already")]
struct Told;

/// Most lines of a message in one event of the log.
const MAX_REASONS: usize = 20;

/// Exit status 1.
const FAILED: u8 = 1;

#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    about = "A directory for secure SIP: nodes publish themselves, any SIP server finds them by DNS."
)]
#[command(propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tandem serve                             # zones/ by DNS, and the API
  tandem publish debug.ostn.test --target sip.debug.ostn.test:5061 \\
                                 --address 203.0.113.7
  tandem resolve alice@debug.ostn.test     # where a call goes, and why
  tandem explain alice@debug.ostn.test     # the same, tried out
  tandem nodes list

Exit status: 0 done, 1 failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Agent(agent::Agent),
    Publish(publish::Publish),
    Join(join::Join),
    Prove(prove::Prove),
    Register(register::Register),
    Nodes(nodes::Nodes),
    Numbers(numbers::Numbers),
    Changes(changes::Changes),
    Audit(audit::Audit),
    Resolve(resolve::Resolve),
    Explain(explain::Explain),
    Check(check::Check),
    Import(import::Import),
    Export(export::Export),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Zone(zone::Zone),
    CheckConfig(check_config::CheckConfig),
    Configure(configure::Configure),
    Migrate(migrate::Migrate),
    Token(token::Token),
    Invite(invite::Invite),
    Tsig(tsig::Tsig),
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let matches = without_empty_variables(CommandLine::command()).get_matches();
    let line = match CommandLine::from_arg_matches(&matches) {
        Ok(line) => line,
        Err(error) => error.format(&mut CommandLine::command()).exit(),
    };
    let result = match line.command {
        Command::Serve(command) => command.run(),
        Command::Agent(command) => command.run(),
        Command::Publish(command) => command.run(),
        Command::Join(command) => command.run(),
        Command::Prove(command) => command.run(),
        Command::Register(command) => command.run(),
        Command::Nodes(command) => command.run(),
        Command::Numbers(command) => command.run(),
        Command::Changes(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Resolve(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Zone(command) => command.run(),
        Command::CheckConfig(command) => command.run(),
        Command::Configure(command) => command.run(),
        Command::Migrate(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Invite(command) => command.run(),
        Command::Tsig(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_closed_pipe(failure.as_ref()) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<Told>() => ExitCode::from(FAILED),
        Err(failure) => {
            // Nothing can be done about a standard error that is closed.
            let _ = writeln!(io::stderr(), "error: {}", with_sources(failure.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

/// The command line with each TANDEM_… variable that is set to nothing taken as not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(None::<&'static str>) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

/// Whether the reader of our output went away, as `head` does: no fault of ours.
fn is_closed_pipe(failure: &(dyn Error + 'static)) -> bool {
    failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A message and, each on its own line, what caused it.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent error repeats its source.
        if !text.ends_with(&cause_text) {
            text.push_str("\n  because: ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A message of several lines as one, for an event of the log: at most [`MAX_REASONS`] of its lines.
fn in_one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let mut parts: Vec<String> = lines.by_ref().take(MAX_REASONS).map(str::to_owned).collect();
    let more = lines.count();
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_become_one() {
        assert_eq!(in_one_line("outer\n  a:1: x\n  because: y"), "outer; a:1: x; because: y");
        let many = "x\n".repeat(MAX_REASONS + 7);
        assert!(in_one_line(&many).ends_with("; x; and 7 more"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn causes_are_printed_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(with_sources(&Outer(io::Error::other("inner"))), "outer\n  because: inner");
    }
}
