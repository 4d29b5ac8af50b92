//! The agent that runs on this host: its settings, and the socket in its state folder at which it answers.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tandem_agent::Config;

use super::super::Failure;
use crate::config::AgentConfig;

/// Longest wait for the agent's answer.
const WAIT: Duration = Duration::from_secs(5);
/// Largest answer, in octets.
const MAX_ANSWER: u64 = 1 << 20;

/// An agent by its settings file.
#[derive(Debug)]
pub(in crate::command) struct Running {
    /// What it was told.
    pub(in crate::command) config: Config,
    socket: PathBuf,
}

impl Running {
    /// Reads the settings; nobody is asked yet.
    pub(in crate::command) fn find(file: &Path) -> Result<Self, Failure> {
        let config = AgentConfig::load(file)?.agent;
        let socket = config.state_dir.join(tandem_agent::SOCKET);
        Ok(Self { config, socket })
    }

    /// What it answers at `path`, whatever the status: its JSON says what is wrong.
    pub(in crate::command) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let text = self.get(path);
        let place = self.socket.display();
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("you may not ask the agent at {place}: do it as the user that it runs as, or as root")
            }
            _ => format!("no agent answers at {place}: {error}"),
        })?;
        let other = |_| format!("the agent at {place} is of another version: restart it");
        Ok(serde_json::from_slice(&text).map_err(other)?)
    }

    /// One request of HTTP/1.0: the answer ends with the connection.
    fn get(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: agent\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n");
        match end {
            Some(end) if answer.starts_with(b"HTTP/1.") => Ok(answer.split_off(end + 4)),
            _ => Err(io::Error::other("the answer is no agent's")),
        }
    }
}
