//! The agent beside a real directory: the copy of the members in step, without the directory, and against one that lies.

pub(crate) mod checked;
mod command;
mod dns;
mod explained;
mod follow;
mod own;
mod redirect;
mod route;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tandem_agent::{Agent, Config, Member, Snapshot, StartError};
use tandem_model::DomainName;
use tandem_testkit::{Service, Setup, wait_until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Within this time bad news have to count.
const NEWS: Duration = Duration::from_secs(2);
/// Longest wait for anything else.
const WAIT: Duration = Duration::from_secs(30);

/// A directory whose API keeps its address over restarts: a loopback address of its own.
fn directory() -> Service {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [_, .., high, low] = std::process::id().to_be_bytes();
    let api = format!("127.{}.{}.{}:5380", 100 + high % 100, low, 1 + LAST.fetch_add(1, Ordering::Relaxed));
    Setup::new().args(["--api", api.as_str()]).start()
}

fn document(domain: &str, port: u16) -> Value {
    json!({"targets": [{"host": format!("sip.{domain}"), "port": port, "addresses": ["203.0.113.7"]}]})
}

fn publish(service: &Service, domain: &str, port: u16) {
    let answer = service.put_node(domain, &document(domain, port));
    assert!(answer.status == 200 || answer.status == 201, "{}", answer.text);
}

/// `POST /v1/nodes/{domain}/{action}` as admin.
fn act(service: &Service, domain: &str, action: &str) {
    let path = format!("/v1/nodes/{domain}/{action}");
    let answer = service.send("POST", &path, &[("if-match", "*")], Some(&json!({"reason": "a test"})));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// An agent in this process, and what it sees.
pub(crate) struct Beside {
    runtime: Runtime,
    agent: Option<Agent>,
    config: Config,
    folder: TempDir,
}

impl Beside {
    /// Settings for an agent with a read-only token of the service.
    fn new(service: &Service) -> Self {
        let made = service.send("POST", "/v1/tokens", &[], Some(&json!({"role": "read"}))).json();
        Self::with_token(service, made["secret"].as_str().unwrap())
    }

    /// The same with a token that is there already.
    fn with_token(service: &Service, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("read.token");
        std::fs::write(&token_file, token).unwrap();
        let config = Config {
            directories: vec![service.api_url().parse().unwrap()],
            token_file: Some(token_file),
            state_dir: folder.path().join("state"),
            ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, agent: None, config, folder }
    }

    pub(crate) fn start(&mut self) {
        let start = || match self.runtime.block_on(Agent::start(self.config.clone())) {
            // A program that another test starts at this moment has a copy of the lock until it runs.
            Err(StartError::Running { .. }) => None,
            started => Some(started.unwrap()),
        };
        let mut agent = None;
        wait_until(WAIT, "the state folder to be free", || {
            agent = start();
            agent.is_some()
        });
        self.agent = agent;
    }

    pub(crate) fn stop(&mut self) {
        let agent = self.agent.take().unwrap();
        self.runtime.block_on(agent.shutdown());
    }

    pub(crate) fn in_step(service: &Service) -> Self {
        let mut beside = Self::new(service);
        beside.start();
        beside.wait_in_step();
        beside
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.agent().snapshots().borrow().clone()
    }

    fn status(&self) -> tandem_agent::status::ReplicaStatus {
        self.agent().status().replica
    }

    fn wait_in_step(&self) {
        wait_until(WAIT, "the copy to be in step", || self.status().in_step);
    }

    pub(crate) fn member(&self, domain: &str) -> Option<Arc<Member>> {
        self.snapshot().members.get(&DomainName::parse(domain).unwrap()).cloned()
    }

    /// The first port that calls to `domain` go to.
    fn port(&self, domain: &str) -> Option<u16> {
        Some(self.member(domain)?.shown()?.targets()[0].port.get())
    }

    fn wait_for_port(&self, limit: Duration, domain: &str, port: Option<u16>) {
        wait_until(limit, &format!("{domain} at {port:?}"), || self.port(domain) == port);
    }

    fn log_file(&self) -> PathBuf {
        self.config.state_dir.join("members.log")
    }
}
