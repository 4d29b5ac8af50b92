//! `tandem agent status`: how the running agent does, asked at the socket in its state folder.

use std::io;

use clap::Args;
use serde_json::Value;

use super::super::{Failure, output};
use super::File;
use super::running::Running;

/// Show how the running agent does: the copy of the members, the own node, what is refused
///
/// Exit status 0: in step with the directory, and all is well; 1: not, or no agent runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem agent status
  tandem agent status --config agent.toml --json | jq .replica.in_step")]
pub(super) struct Status {
    #[command(flatten)]
    file: File,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let status: Value = Running::find(&self.file.path())?.ask("/v1/status")?;
        if self.json {
            output::json(&status)?;
        } else {
            tell(&status)?;
        }
        let fault = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
        let faults =
            [fault("/replica/error"), fault("/replica/disk_error"), fault("/node/error"), fault("/files/error")];
        match faults.into_iter().flatten().next() {
            Some(_) => Err("the agent reports a fault: it is shown above".into()),
            None if status["replica"]["in_step"] == true => Ok(()),
            None => Err("the agent is not in step with the directory yet".into()),
        }
    }
}

fn tell(status: &Value) -> io::Result<()> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = |name: &str, value: String| output::line(format_args!("{name:11}{value}"));
    let replica = &status["replica"];
    let step = match replica["in_step"] == true {
        true => "in step".to_owned(),
        false => format!("not in step since {}", text(&replica["stale_since"])),
    };
    line("directory", format!("{}  {step}", text(&replica["directory"])))?;
    line(
        "members",
        format!(
            "{} ({} to be called, {} signed), change {}",
            replica["members"], replica["callable"], replica["signed"], replica["position"]
        ),
    )?;
    if let Some(node) = status.get("node") {
        let or_dash = |name: &str| node.get(name).map_or_else(|| "-".to_owned(), text);
        line(
            "node",
            format!("{}  {}  lease until {}", text(&node["domain"]), or_dash("state"), or_dash("lease_until")),
        )?;
        if let Some(key) = node.get("key") {
            line("key", text(key))?;
        }
    }
    for place in status["listening"].as_array().into_iter().flatten() {
        line("listening", text(place))?;
    }
    for (name, fault) in [
        ("directory", replica.get("error")),
        ("disk", replica.get("disk_error")),
        ("node", status.pointer("/node/error")),
        ("files", status.pointer("/files/error")),
    ] {
        if let Some(fault) = fault {
            line("fault", format!("{name}: {}", text(fault)))?;
        }
    }
    if let Some(dns) = status.get("dns") {
        line(
            "dns",
            format!(
                "answers: {} of members, {} blocked, {} forwarded, {} failed",
                dns["members"], dns["blocked"], dns["forwarded"], dns["failed"]
            ),
        )?;
    }
    if let Some(check) = status.get("check") {
        line("targets", format!("{} good, {} bad", check["good"], check["bad"]))?;
        for (domain, why) in check["at_fault"].as_object().into_iter().flatten() {
            line("bad", format!("{domain}: {}", text(why)))?;
        }
    }
    for (domain, why) in replica["refused"].as_object().into_iter().flatten() {
        line("refused", format!("{domain}: {}", text(why)))?;
    }
    Ok(())
}
