//! How the agent does: one board that all parts write to, shown as JSON to people and programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::Serialize;
use tandem_dns::overlay::{Stats, StatsReader};

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
    /// What looks at targets say; none if nobody asked for looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckStatus>,
    /// What the name service has answered; none if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
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

/// What looks at members' targets say.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckStatus {
    /// Members that are looked at.
    pub members: usize,
    /// Addresses of targets that were good when they were looked at last.
    pub good: usize,
    /// Those that were not.
    pub bad: usize,
    /// Members of which one was bad, and why; at most 100.
    pub at_fault: BTreeMap<String, String>,
    /// Whether so many fail at once that the network here seems to be ill: what was good then stays so for a while.
    pub own_fault: bool,
}

/// What the name service did since the agent's start: numbers only, never who asked, nor what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DnsStatus {
    /// Answers from members' documents.
    pub members: u64,
    /// Answers that there is nothing, because the member must not be called.
    pub blocked: u64,
    /// Answers that a name server in `forward` gave.
    pub forwarded: u64,
    /// SERVFAIL because none of those answered in time.
    pub failed: u64,
    /// SERVFAIL because too many questions waited already.
    pub crowded_out: u64,
    /// Clients that were turned away for where they are.
    pub refused: u64,
    /// Answers with another error: messages that are not understood.
    pub errors: u64,
    /// Messages that got no answer: they were no questions.
    pub ignored: u64,
    /// Questions that were sent to a name server again, or to the next one.
    pub retried: u64,
    /// Answers that belong to no question: forged, most likely.
    pub foreign: u64,
    /// Answers that the system or a client did not take.
    pub not_sent: u64,
}

impl From<Stats> for DnsStatus {
    fn from(stats: Stats) -> Self {
        // Named one by one: a new counter has to be told, too.
        let Stats {
            members,
            blocked,
            forwarded,
            failed,
            crowded_out,
            refused,
            errors,
            ignored,
            retried,
            foreign,
            not_sent,
        } = stats;
        Self { members, blocked, forwarded, failed, crowded_out, refused, errors, ignored, retried, foreign, not_sent }
    }
}

/// Where parts of the agent write how they do.
#[derive(Debug)]
pub struct Board {
    status: Mutex<Status>,
    /// Read whenever somebody asks: the name service counts anyway.
    dns: OnceLock<StatsReader>,
}

impl Default for Board {
    fn default() -> Self {
        let started = clock::text(clock::now());
        let status = Status { version: env!("CARGO_PKG_VERSION"), started, ..Status::default() };
        Self { status: Mutex::new(status), dns: OnceLock::new() }
    }
}

impl Board {
    /// How it does now.
    #[must_use]
    pub fn read(&self) -> Status {
        let dns = self.dns.get().map(|counters| counters.read().into());
        Status { dns, ..self.lock().clone() }
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

    /// Changes what is told of the looks.
    pub(crate) fn check(&self, change: impl FnOnce(&mut CheckStatus)) {
        change(self.lock().check.get_or_insert_default());
    }

    /// Tells what the name service counts, from now on; an agent has one.
    pub(crate) fn counts_dns(&self, counters: StatsReader) {
        let _ = self.dns.set(counters);
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
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(check) = &self.check {
            gauge(
                "check_good",
                "Addresses of targets that were good when they were looked at last.",
                check.good as u64,
            );
            gauge("check_bad", "Addresses of targets that were not.", check.bad as u64);
            gauge("check_own_fault", "Whether the network here seems to be ill.", check.own_fault.into());
        }
        if let Some(node) = &self.node {
            gauge("node_fault", "Whether the own node could not be published or renewed.", node.error.is_some().into());
        }
        if let Some(dns) = &self.dns {
            dns.metrics(&mut text);
        }
        text
    }
}

impl DnsStatus {
    /// Adds the counters; they begin at 0 with the agent.
    fn metrics(&self, text: &mut String) {
        let mut counter = |name: &str, help: &str, values: &[(&str, u64)]| {
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP tandem_agent_{name} {help}\n# TYPE tandem_agent_{name} counter\n");
            for (labels, value) in values {
                let _ = writeln!(text, "tandem_agent_{name}{labels} {value}");
            }
        };
        counter(
            "dns_answers_total",
            "Answers of the name service.",
            &[
                ("{result=\"member\"}", self.members),
                ("{result=\"blocked\"}", self.blocked),
                ("{result=\"forwarded\"}", self.forwarded),
                ("{result=\"failed\"}", self.failed),
                ("{result=\"crowded-out\"}", self.crowded_out),
                ("{result=\"refused\"}", self.refused),
                ("{result=\"error\"}", self.errors),
            ],
        );
        for (name, help, value) in [
            ("dns_ignored_total", "Messages to the name service that were no questions.", self.ignored),
            ("dns_retried_total", "Questions sent to a name server again, or to the next one.", self.retried),
            ("dns_foreign_total", "Answers that belong to no question: forged, most likely.", self.foreign),
            ("dns_not_sent_total", "Answers that the system or a client did not take.", self.not_sent),
        ] {
            counter(name, help, &[("", value)]);
        }
    }
}
