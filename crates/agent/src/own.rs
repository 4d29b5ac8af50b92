//! The node of this host: published when its document differs from what the directory has, renewed at a third of its lease,
//! drained at the end if that is wanted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tandem_identity::{CanonicalJson, NodeKey};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock;
use crate::config::OwnNode;
use crate::directory::{DirectoryError, Lease, Link, Method, Moved, RegistrationBody, parse_body};
use crate::node_key;
use crate::signing::Wanted;
use crate::status::Board;

/// How often the document's file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Shortest and longest pause after something failed.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Between two renewals at most, whatever the lease; and at least.
const RENEWAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(86_400));
/// After this time the document is published again instead of renewed, so that its signature never gets old.
const REPUBLISH: Duration = Duration::from_secs(86_400);
/// Longest wait for the last word to the directory.
const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// Largest document: what the API takes.
const MAX_DOCUMENT: u64 = 64 * 1024;
/// Why the node is draining: an agent that begins takes back what it said itself, and nothing else.
const STOPPED: &str = "the agent was stopped";

/// The task that keeps the node registered.
#[derive(Debug)]
pub(crate) struct Own {
    node: OwnNode,
    key: Option<NodeKey>,
    link: Link,
    board: Arc<Board>,
    /// The document's file when it was published last.
    published: Option<Version>,
    published_at: Option<Instant>,
}

/// What tells one version of a file from another without reading it.
type Version = (SystemTime, u64);

/// Why the node could not be published or renewed.
#[derive(Debug, thiserror::Error)]
enum OwnError {
    #[error("{}", .0.in_words())]
    Directory(#[from] DirectoryError),
    #[error("the document {} cannot be used: {why}", file.display())]
    Document { file: PathBuf, why: String },
}

impl Own {
    /// Reads the key, or makes one.
    ///
    /// # Errors
    ///
    /// [`node_key::KeyFileError`]: the file stays as it is.
    pub(crate) fn new(node: OwnNode, link: Link, board: Arc<Board>) -> Result<Self, node_key::KeyFileError> {
        let mut key = None;
        if let Some(file) = &node.key_file {
            let (found, is_new) = node_key::load_or_make(file)?;
            if is_new {
                tracing::info!(file = %file.display(), "new node key: keep a copy, only an admin can replace it");
            }
            key = Some(found);
        }
        board.node(|status| {
            status.domain = node.domain.to_string();
            status.key = key.as_ref().map(|key| key.public_key().thumbprint().to_string());
        });
        Ok(Self { node, key, link, board, published: None, published_at: None })
    }

    /// Works until `closing` turns true; then says the last word, if one is wanted.
    pub(crate) async fn run(mut self, mut closing: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        if self.node.drain_on_stop {
            match timeout(DRAIN_WAIT, self.drain()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(domain = %self.node.domain, %error, "the node could not be drained"),
                Err(_) => tracing::warn!(domain = %self.node.domain, "the node could not be drained in time"),
            }
        }
    }

    async fn keep(&mut self) {
        let mut pause = PAUSE.0;
        let mut is_begun = false;
        loop {
            let done = self.step(&mut is_begun).await;
            match done {
                Ok(lease) => {
                    pause = PAUSE.0;
                    self.board.node(|status| status.error = None);
                    let third = Duration::from_secs(lease / 3).clamp(RENEWAL.0, RENEWAL.1);
                    // A tenth earlier or not at all: nobody renews with everybody else.
                    let early = Duration::from_millis(clock::spread(1 + third.as_millis() as u64 / 10));
                    self.wait_for_document(Instant::now() + third.saturating_sub(early)).await;
                }
                Err(error) => {
                    let words = error.to_string();
                    tracing::warn!(domain = %self.node.domain, error = words, "the node could not be published or renewed");
                    self.board.node(|status| status.error = Some(words));
                    let asked = match &error {
                        OwnError::Directory(error) => error.retry_after(),
                        OwnError::Document { .. } => None,
                    };
                    let spread = Duration::from_millis(clock::spread(1 + pause.as_millis() as u64 / 4));
                    self.wait_for_document(Instant::now() + asked.unwrap_or(pause).max(pause) + spread).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Does what is to be done now; gives the length of the lease.
    async fn step(&mut self, is_begun: &mut bool) -> Result<u64, OwnError> {
        let is_old = self.published_at.is_none_or(|at| at.elapsed() >= REPUBLISH);
        if is_old || self.document_version() != self.published {
            self.publish().await?;
        }
        if !*is_begun {
            self.take_back().await?;
            *is_begun = true;
        }
        // Also right after publishing: the answer says how long the lease is.
        match self.renew().await {
            Err(OwnError::Directory(error)) if error.status() == Some(404) && self.node.document.is_some() => {
                // Forgotten: published anew.
                self.publish().await?;
                self.renew().await
            }
            done => done,
        }
    }

    async fn renew(&mut self) -> Result<u64, OwnError> {
        let Lease { state, lease_seconds, lease_until } = parse_body(&self.act("renew", None).await?)?;
        self.board.node(|status| {
            status.renewed = Some(clock::text(clock::now()));
            (status.state, status.lease_until) = (Some(state), Some(lease_until));
        });
        Ok(lease_seconds)
    }

    /// Sends the document, signed if there is a key; the same again changes nothing.
    async fn publish(&mut self) -> Result<(), OwnError> {
        let Some(file) = self.node.document.clone() else {
            self.published_at = Some(Instant::now());
            return Ok(());
        };
        let wrong = |why: String| OwnError::Document { file: file.clone(), why };
        let version = version(&file).map_err(|error| wrong(error.to_string()))?;
        if version.1 > MAX_DOCUMENT {
            return Err(wrong(format!("it is longer than {MAX_DOCUMENT} octets")));
        }
        let text = fs::read(&file).map_err(|error| wrong(error.to_string()))?;
        let document = CanonicalJson::parse_object(&text).map_err(|error| wrong(error.to_string()))?;
        let path = format!("/v1/nodes/{}", self.node.domain);
        let body = match &self.key {
            None => ("application/json", document.to_string()),
            Some(key) => {
                let there =
                    self.link.ask(Method::GET, &format!("{path}/document"), "application/jose+json", None).await;
                let there = match there {
                    Ok(answer) => Some(String::from_utf8_lossy(&answer.body).into_owned()),
                    Err(error) if error.status() == Some(404) => None,
                    Err(error) => return Err(error.into()),
                };
                let now = u64::try_from(clock::since_1970().as_millis()).unwrap_or(u64::MAX);
                let wanted = Wanted { domain: self.node.domain.clone(), document, next_key: None, now };
                ("application/jose+json", wanted.text(there, key).map_err(|error| wrong(error.to_string()))?)
            }
        };
        let answer = self.link.ask(Method::PUT, &path, "application/json", Some(body)).await?;
        let Moved { effect } = parse_body(&answer.body)?;
        tracing::info!(domain = %self.node.domain, effect, "node published");
        (self.published, self.published_at) = (Some(version), Some(Instant::now()));
        self.board.node(|status| status.published = Some(clock::text(clock::now())));
        Ok(())
    }

    /// Asks everybody to try this node last. One that somebody else put into another state is left there.
    async fn drain(&mut self) -> Result<(), DirectoryError> {
        if self.registration().await?.state == "active" {
            self.act("drain", Some(STOPPED)).await?;
            tracing::info!(domain = %self.node.domain, "the node is draining");
        }
        Ok(())
    }

    /// Takes back what an agent said when it was stopped.
    async fn take_back(&mut self) -> Result<(), DirectoryError> {
        if !self.node.drain_on_stop {
            return Ok(());
        }
        let RegistrationBody { state, reason } = self.registration().await?;
        if state == "draining" && reason.as_deref() == Some(STOPPED) {
            match self.act("restore", None).await {
                // An admin has a say in it by now: no reason not to renew.
                Err(error) if matches!(error.status(), Some(403 | 409)) => {
                    tracing::warn!(domain = %self.node.domain, %error, "the node stays draining");
                }
                done => {
                    done?;
                    tracing::info!(domain = %self.node.domain, "the node takes calls again");
                }
            }
        }
        Ok(())
    }

    async fn registration(&mut self) -> Result<RegistrationBody, DirectoryError> {
        parse_body(&self.link.get(&format!("/v1/nodes/{}", self.node.domain)).await?.body)
    }

    async fn act(&mut self, action: &str, reason: Option<&str>) -> Result<bytes::Bytes, DirectoryError> {
        let path = format!("/v1/nodes/{}/{action}", self.node.domain);
        let body = reason.map(|reason| ("application/json", serde_json::json!({ "reason": reason }).to_string()));
        Ok(self.link.ask(Method::POST, &path, "application/json", body).await?.body)
    }

    /// Waits until `until`, or until the document's file is another one.
    async fn wait_for_document(&self, until: Instant) {
        if self.node.document.is_none() {
            return sleep_until(until).await;
        }
        let before = self.document_version();
        while Instant::now() < until {
            sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
            let now = self.document_version();
            if now != before && now.is_some() {
                return;
            }
        }
    }

    fn document_version(&self) -> Option<Version> {
        version(self.node.document.as_deref()?).ok()
    }
}

fn version(file: &Path) -> io::Result<Version> {
    let metadata = fs::metadata(file)?;
    Ok((metadata.modified()?, metadata.len()))
}
