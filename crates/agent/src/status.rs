//! How the agent does: one board that all parts write to, shown as JSON to people and programs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::clock;

/// The socket in the state folder at which a running agent tells its status.
pub const SOCKET: &str = "agent.sock";
/// Refused members that are listed.
const MAX_LISTED: usize = 100;

/// What an agent tells about itself. No address and no name of a caller is in it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// The agent's version.
    pub version: &'static str,
    /// When it was started (RFC 3339).
    pub started: String,
    /// The copy of the members.
    pub replica: ReplicaStatus,
    /// The node that it publishes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeStatus>,
    /// The files for the SIP server; none if none is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesStatus>,
    /// Where its services listen, by name.
    pub listening: Vec<String>,
}

/// How the copy of the members does.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReplicaStatus {
    /// The directory that is asked.
    pub directory: String,
    /// Whether every change is told as it happens.
    pub in_step: bool,
    /// Since when it is not in step (RFC 3339): what it says may be old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<String>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Place in the directory's journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Members, those that must not be called too.
    pub members: usize,
    /// Those that may be called.
    pub callable: usize,
    /// Those whose own key signed what they say.
    pub signed: usize,
    /// Whose news are not believed, and why; at most 100.
    pub refused: BTreeMap<String, String>,
    /// How many those are.
    pub refused_count: usize,
    /// Why the copy cannot be written to disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_error: Option<String>,
}

/// How the own node does.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NodeStatus {
    /// Its SIP domain.
    pub domain: String,
    /// Its state as the directory said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The end of its lease (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<String>,
    /// When it was last published here (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// When it was last renewed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed: Option<String>,
    /// The thumbprint of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What went wrong last; none when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the files for the SIP server do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FilesStatus {
    /// Their paths.
    pub files: Vec<String>,
    /// When they were last known to be as they should be (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_date: Option<String>,
    /// Why they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where parts of the agent write how they do.
#[derive(Debug)]
pub struct Board(Mutex<Status>);

impl Default for Board {
    fn default() -> Self {
        let started = clock::text(clock::now());
        Self(Mutex::new(Status { version: env!("CARGO_PKG_VERSION"), started, ..Status::default() }))
    }
}

impl Board {
    /// How it does now.
    #[must_use]
    pub fn read(&self) -> Status {
        self.lock().clone()
    }

    /// Changes what is told of the copy.
    pub(crate) fn replica(&self, change: impl FnOnce(&mut ReplicaStatus)) {
        change(&mut self.lock().replica);
    }

    /// Changes what is told of the own node.
    pub(crate) fn node(&self, change: impl FnOnce(&mut NodeStatus)) {
        change(self.lock().node.get_or_insert_default());
    }

    /// Changes what is told of the files.
    pub(crate) fn files(&self, change: impl FnOnce(&mut FilesStatus)) {
        change(self.lock().files.get_or_insert_default());
    }

    /// Whether all members were read once: before that nobody can be called a stranger.
    pub(crate) fn knows_members(&self) -> bool {
        self.lock().replica.position.is_some()
    }

    /// Notes where a service listens, as `name address`.
    pub fn listens(&self, name: &str, place: impl std::fmt::Display) {
        self.lock().listening.push(format!("{name} {place}"));
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReplicaStatus {
    /// Notes whose news are refused.
    pub(crate) fn refuse(&mut self, refused: impl ExactSizeIterator<Item = (String, String)>) {
        self.refused_count = refused.len();
        self.refused = refused.take(MAX_LISTED).collect();
    }
}

impl Status {
    /// The same as lines for a Prometheus scraper (text format 0.0.4).
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, value: u64| {
            text.push_str(&format!("# HELP tandem_agent_{name} {help}\n# TYPE tandem_agent_{name} gauge\n"));
            text.push_str(&format!("tandem_agent_{name} {value}\n"));
        };
        let replica = &self.replica;
        gauge("in_step", "Whether every change is told as it happens.", replica.in_step.into());
        gauge("position", "Place in the directory's journal.", replica.position.unwrap_or(0));
        gauge("members", "Members, those that must not be called too.", replica.members as u64);
        gauge("members_callable", "Members that may be called.", replica.callable as u64);
        gauge("members_signed", "Members whose own key signed what they say.", replica.signed as u64);
        gauge("members_refused", "Members whose news are not believed.", replica.refused_count as u64);
        gauge("disk_fault", "Whether the copy cannot be written to disk.", replica.disk_error.is_some().into());
        if let Some(files) = &self.files {
            gauge("files_fault", "Whether files for the SIP server are not up to date.", files.error.is_some().into());
        }
        if let Some(node) = &self.node {
            gauge("node_fault", "Whether the own node could not be published or renewed.", node.error.is_some().into());
        }
        text
    }
}
