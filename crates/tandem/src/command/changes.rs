//! `tandem changes`: what happens to nodes, as it happens.

use std::io::{BufRead, BufReader};
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use serde_json::Value;

use super::client::{ApiArgs, Client, ClientError};
use super::{Failure, output};

/// Pause before the stream is opened again when the service did not say another.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest pause that a service may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Show what happened to nodes, and with --follow what happens
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem changes                  # all that the journal has
  tandem changes --after 1207     # what came after change 1207
  tandem changes --follow --json | grep compromised")]
pub(super) struct Changes {
    /// Go on with new changes as they happen, until interrupted
    #[arg(long)]
    follow: bool,
    /// Only changes behind this one [default: all that are kept; with --follow new ones]
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Print each change as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// A change, as it is shown.
#[derive(Debug, Deserialize)]
struct Change {
    id: u64,
    kind: String,
    time: String,
    domain: String,
    old_state: Option<String>,
    state: Option<String>,
    reason: Option<String>,
}

impl Changes {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::open(&self.api)?;
        if self.follow { self.follow(&client) } else { self.list(&client) }
    }

    fn list(&self, client: &Client) -> Result<(), Failure> {
        let mut after = self.after.unwrap_or(0);
        loop {
            let mut answer = client.get::<Value>(&format!("/v1/changes?after={after}"))?.body;
            let changes: Vec<Value> = serde_json::from_value(answer["changes"].take())?;
            for change in &changes {
                self.show(change)?;
            }
            let last = answer["last"].as_u64().ok_or("the answer has no `last`")?;
            if last == after {
                return Ok(());
            }
            after = last;
        }
    }

    /// Opens the stream again whenever it ends; what came in between is sent then.
    fn follow(&self, client: &Client) -> Result<(), Failure> {
        let mut after = self.after;
        let mut pause = PAUSE;
        let mut opened = false;
        loop {
            match client.follow("/v1/changes", after) {
                Ok(stream) => {
                    opened = true;
                    self.read(BufReader::new(stream), &mut after, &mut pause)?;
                }
                // Once it worked, the service is being restarted, perhaps.
                Err(ClientError::Unreachable { .. }) if opened => {}
                Err(error) => return Err(error.into()),
            }
            sleep(pause.min(LONGEST_PAUSE));
        }
    }

    /// Shows events until the stream ends.
    fn read(&self, stream: impl BufRead, after: &mut Option<u64>, pause: &mut Duration) -> Result<(), Failure> {
        for line in stream.lines() {
            // A stream that breaks off is opened again.
            let Ok(line) = line else { break };
            match line.split_once(": ") {
                Some(("id", id)) => *after = id.parse().ok().or(*after),
                Some(("retry", text)) => *pause = text.parse().map_or(*pause, Duration::from_millis),
                Some(("data", data)) if data != "{}" => self.show(&serde_json::from_str(data)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn show(&self, change: &Value) -> Result<(), Failure> {
        if self.json {
            return Ok(output::line(change)?);
        }
        let Change { id, kind, time, domain, old_state, state, reason } = Change::deserialize(change)?;
        let state = match (old_state, state) {
            (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
            (_, Some(state)) => state,
            (_, None) => "gone".to_owned(),
        };
        let reason = reason.map(|reason| format!("  ({reason})")).unwrap_or_default();
        Ok(output::line(format_args!("{id}  {time}  {kind:12}  {domain}  {state}{reason}"))?)
    }
}
