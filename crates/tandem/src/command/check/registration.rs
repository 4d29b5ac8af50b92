//! What the directory has of the domain, if it can be asked.

use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tandem_model::DomainName;
use tandem_model::publish::SIPS_TCP;

use super::super::client::{self, ApiArgs, Client, ClientError};

/// Longest wait for the directory; without it the rest is still worth to be seen.
const WAIT: Duration = Duration::from_secs(5);

/// One record as the API has it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Expected {
    pub(super) owner: String,
    pub(super) ttl: u32,
    pub(super) r#type: String,
    pub(super) data: String,
}

/// As a master file has it.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} IN {} {}", self.owner, self.ttl, self.r#type, self.data)
    }
}

/// What is known of the registration.
#[derive(Debug)]
pub(super) enum Registration {
    /// The directory has these records for it.
    Registered { api: String, records: Vec<Expected> },
    /// The directory does not have it.
    NotRegistered { api: String },
    /// Nobody could be asked.
    Unknown { why: String },
}

#[derive(Deserialize)]
struct Records {
    records: Vec<Expected>,
}

/// Asks the directory, until `until` at most.
pub(super) fn read(api: ApiArgs, domain: &DomainName, until: Instant) -> Registration {
    let (sender, receiver) = mpsc::channel();
    let name = domain.to_string();
    // Its limits are longer than ours; it ends with the process.
    thread::spawn(move || sender.send(ask(&api, &name)));
    let wait = WAIT.min(until.saturating_duration_since(Instant::now()));
    receiver
        .recv_timeout(wait)
        .unwrap_or_else(|_| Registration::Unknown { why: "it did not answer in time".to_owned() })
}

fn ask(api: &ApiArgs, domain: &str) -> Registration {
    let unknown = |error: &ClientError| Registration::Unknown { why: super::super::in_one_line(&error.to_string()) };
    let client = match Client::open_for(api, domain) {
        Ok(client) => client,
        Err(error) => return unknown(&error),
    };
    let api = client.base().to_owned();
    match client.get::<Records>(&format!("/v1/nodes/{}/records", client::segment(domain))) {
        Ok(answer) => Registration::Registered { api, records: answer.body.records },
        Err(ClientError::Problem(problem)) if problem.status() == 404 => Registration::NotRegistered { api },
        Err(error) => unknown(&error),
    }
}

impl Registration {
    /// The records that the directory has for it.
    pub(super) fn records(&self) -> &[Expected] {
        match self {
            Self::Registered { records, .. } => records,
            Self::NotRegistered { .. } | Self::Unknown { .. } => &[],
        }
    }

    /// Whether the directory has it, and not in a zone of its own: the owner's zone is elsewhere.
    pub(super) fn is_foreign(&self, domain: &DomainName) -> bool {
        let service = domain.prefixed(&SIPS_TCP).map(|name| name.to_string()).unwrap_or_default();
        match self {
            Self::Registered { records, .. } => !records.iter().any(|record| record.owner == service),
            Self::NotRegistered { .. } => true,
            Self::Unknown { .. } => false,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Registered { api, records } => json!({"state": "registered", "api": api, "records": records.len()}),
            Self::NotRegistered { api } => json!({"state": "not-registered", "api": api}),
            Self::Unknown { why } => json!({"state": "unknown", "detail": why}),
        }
    }
}

/// In one line.
impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { api, records } => write!(f, "the directory {api} has {} records for it", records.len()),
            Self::NotRegistered { api } => write!(f, "the directory {api} does not have it"),
            Self::Unknown { why } => write!(f, "no directory was asked: {why}"),
        }
    }
}
