//! `tandem agent status`: how the running agent does, asked at the socket in its state folder.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::super::{Failure, output};
use super::File;
use crate::config::AgentConfig;

/// Longest wait for the agent's answer.
const WAIT: Duration = Duration::from_secs(5);
/// Largest answer, in octets.
const MAX_ANSWER: u64 = 1 << 20;

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
        let folder = AgentConfig::load(&self.file.path())?.agent.state_dir;
        let socket = folder.join(tandem_agent::SOCKET);
        let text = ask(&socket).map_err(|error| format!("no agent answers at {}: {error}", socket.display()))?;
        let status: Value = serde_json::from_slice(&text)?;
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

/// One request of HTTP/1.0: the answer ends with the connection.
fn ask(socket: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    stream.write_all(b"GET /v1/status HTTP/1.0\r\nHost: agent\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n");
    match end {
        Some(end) if answer.starts_with(b"HTTP/1.") => Ok(answer.split_off(end + 4)),
        _ => Err(io::Error::other("the answer is no agent's")),
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
