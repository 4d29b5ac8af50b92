//! A whole `tandem agent` as its users start it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use serde_json::Value;

use crate::program::{self, Output, run, tandem};
use crate::{START_WAIT, STOP_WAIT, read_lines, wait_until};

/// A running `tandem agent`. Dropping it kills it; its folder is the caller's.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    folder: PathBuf,
    lines: Vec<(String, String)>,
}

impl AgentProcess {
    /// Starts one in `folder` with `settings` as its `agent.toml`, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    #[must_use]
    pub fn start(folder: &Path, settings: &str) -> Self {
        Self::launch(folder, settings).unwrap_or_else(|failure| panic!("the agent did not start: {failure}"))
    }

    /// Starts one that must not start: gives what it left behind.
    ///
    /// # Panics
    ///
    /// If it starts.
    #[must_use]
    pub fn start_fails(folder: &Path, settings: &str) -> Output {
        match Self::launch(folder, settings) {
            Ok(_) => panic!("the agent started"),
            Err(output) => output,
        }
    }

    fn launch(folder: &Path, settings: &str) -> Result<Self, Output> {
        fs::write(folder.join("agent.toml"), settings).expect("the settings can be written");
        let log = fs::File::options().create(true).append(true).open(folder.join("agent.log"));
        let mut command = Command::new(tandem());
        command.arg("agent").current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.expect("the log can be made"));
        program::clear_environment(&mut command);
        let mut child = command.spawn().expect("the program can be started");
        let lines = read_lines(&mut child);
        let mut agent = Self { child, folder: folder.to_owned(), lines: Vec::new() };
        let deadline = Instant::now() + START_WAIT;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line == "ready" => return Ok(agent),
                Ok(line) => {
                    agent.lines.extend(line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.to_owned())));
                }
                Err(RecvTimeoutError::Timeout) => panic!("not ready within {START_WAIT:?}; log:\n{}", agent.log()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = agent.wait();
                    return Err(Output { status, stdout: String::new(), stderr: agent.log() });
                }
            }
        }
    }

    /// What stands behind `word` in the lines that it printed: `http` for its HTTP listener, …
    ///
    /// # Panics
    ///
    /// If there is no such line.
    #[must_use]
    pub fn printed(&self, word: &str) -> &str {
        let found = self.lines.iter().find(|(first, _)| first == word);
        found.map(|(_, rest)| rest.as_str()).unwrap_or_else(|| panic!("no line `{word} …` was printed"))
    }

    /// What `tandem agent status --json` prints; null when the agent does not answer.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    #[must_use]
    pub fn status(&self) -> Value {
        let output = self.tandem(["agent", "status", "--json"]);
        serde_json::from_str(&output.stdout).unwrap_or_default()
    }

    /// Waits until it follows its directory.
    ///
    /// # Panics
    ///
    /// If it does not in time.
    pub fn wait_in_step(&self) {
        wait_until(START_WAIT, "the agent to be in step", || self.status()["replica"]["in_step"] == true);
    }

    /// Runs `tandem` with `args` in its folder.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    #[must_use]
    pub fn tandem<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        run(Command::new(tandem()).args(args).current_dir(&self.folder))
    }

    /// Everything that it logged so far, earlier starts in the same folder included.
    ///
    /// # Panics
    ///
    /// If the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).expect("the log can be read")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        let status = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status();
        assert!(status.expect("sh can be started").success(), "kill -TERM");
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until(STOP_WAIT, "the end of the agent", || {
            ended = self.child.try_wait().expect("a child can be waited for");
            ended.is_some()
        });
        ended.expect("the wait ended with a status")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // Fails when it has ended already: what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
