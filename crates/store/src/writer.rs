//! The one writer: takes waiting changes, decides each, makes them durable together, publishes, and only then answers.
//!
//! A change is decided against the version that holds all earlier changes of its batch, so that batching cannot be
//! seen. The batch becomes durable in one commit; if that fails, the version being built is thrown away and everybody
//! in the batch is told. Start at [`Writer::run`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tandem_model::{DomainName, Node, Serial};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Live, Zones};
use tokio::sync::{mpsc, oneshot};

use crate::backend::{Act, Backend, BackendError, Batch, Step, StoredToken, ZoneState};
use crate::directory::{Clock, Effect, Precondition, Receipt, Registered, ReloadReport};
use crate::error::{DeregisterError, DirectoryError, RegisterError, ReloadError};
use crate::health::Health;
use crate::journal::Keeping;
use crate::keyring::Keyring;
use crate::serial;
use crate::stats::Counters;
use crate::token::{self, MAX_TOKENS, NewToken, TokenError, TokenInfo, TokenSecret};

/// Most changes in one commit: enough that the disk's sync is no longer what costs, few enough to keep a batch short.
const MAX_BATCH: usize = 64;

type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Register a node.
    Register { node: Box<Node>, must: Precondition, by: String, answer: Answer<Receipt, RegisterError> },
    /// Withdraw a node.
    Deregister { domain: DomainName, must: Precondition, by: String, answer: Answer<Receipt, DeregisterError> },
    /// Make a token.
    IssueToken { new: NewToken, by: Option<String>, answer: Answer<(TokenInfo, TokenSecret), TokenError> },
    /// End a token.
    RevokeToken { id: String, by: String, answer: Answer<(), TokenError> },
    /// Serve other static zones.
    Reload { statics: Vec<StaticZone>, answer: Answer<ReloadReport, ReloadError> },
    /// Find out whether the store can be written, unless that is known.
    Probe { answer: oneshot::Sender<()> },
    /// Take nothing more; end when all that waits is done.
    Shutdown,
}

/// What the thread owns.
pub(crate) struct Writer<B: ?Sized> {
    pub(crate) backend: Arc<B>,
    pub(crate) live: Live,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) health: Arc<Health>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) keeping: Arc<Keeping>,
    /// The last serial taken.
    pub(crate) serial: u64,
    /// The zones served, as they are kept.
    pub(crate) states: Vec<ZoneState>,
}

/// Tells one caller how it went, given how the commit did.
type Reply = Box<dyn FnOnce(Option<&Arc<BackendError>>) + Send>;

/// Changes that have been decided, but are neither durable nor published.
struct Staged {
    /// The version with them.
    zones: Zones,
    /// The last serial they took.
    serial: u64,
    time: u64,
    steps: Vec<Step>,
    /// The registrations they leave; `None` withdrawn.
    nodes: HashMap<DomainName, Option<Registered>>,
    replies: Vec<Reply>,
}

impl<B: Backend + ?Sized> Writer<B> {
    /// Works until all senders are gone, or until [`Command::Shutdown`] and all that waited is done.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.trim_journal(&commands);
        while let Some(first) = commands.blocking_recv() {
            let mut staged = self.begin();
            let mut next = Some(first);
            while let Some(command) = next {
                staged = self.handle(command, staged, &mut commands);
                next = if staged.replies.len() < MAX_BATCH { commands.try_recv().ok() } else { None };
            }
            self.finish(staged);
            self.trim_journal(&commands);
        }
        self.backend.close();
    }

    /// Forgets old entries of the journal until somebody waits. It grows by changes only, so after them is when to look.
    fn trim_journal(&self, commands: &mpsc::Receiver<Command>) {
        let mut forgotten = 0;
        let now = (self.clock)();
        while commands.is_empty() && !commands.is_closed() && self.keeping.is_due(now) {
            match self.keeping.trim(&*self.backend, now) {
                Ok(gone) => forgotten += gone,
                Err(error) => tracing::warn!(error = %chain(&error), "old journal entries could not be removed"),
            }
        }
        if forgotten > 0 {
            tracing::info!(entries = forgotten, "old journal entries removed");
        }
    }

    fn begin(&self) -> Staged {
        Staged {
            zones: Zones::clone(&self.live.load()),
            serial: self.serial,
            time: (self.clock)(),
            steps: Vec::new(),
            nodes: HashMap::new(),
            replies: Vec::new(),
        }
    }

    /// Decides a change; what is no change of a node is done by itself, after those staged.
    fn handle(&mut self, command: Command, mut staged: Staged, commands: &mut mpsc::Receiver<Command>) -> Staged {
        match command {
            // Nobody waits for the answer any more, and nothing was promised.
            Command::Register { answer, .. } if answer.is_closed() => staged,
            Command::Deregister { answer, .. } if answer.is_closed() => staged,
            Command::Register { node, must, by, answer } => {
                let result = self.register(&mut staged, *node, &must, by);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::Deregister { domain, must, by, answer } => {
                let result = self.deregister(&mut staged, &domain, &must, by);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::IssueToken { new, by, answer } => {
                self.finish(staged);
                let _ = answer.send(self.issue_token(new, by));
                self.begin()
            }
            Command::RevokeToken { id, by, answer } => {
                self.finish(staged);
                let _ = answer.send(self.revoke_token(&id, by));
                self.begin()
            }
            Command::Reload { statics, answer } => {
                self.finish(staged);
                let result = self.reload(statics);
                if result.is_err() {
                    self.counters.refused_reload();
                }
                let _ = answer.send(result);
                self.begin()
            }
            Command::Probe { answer } => {
                self.finish(staged);
                if self.health.known().is_none() {
                    self.health.learn(self.backend.probe().is_ok());
                }
                let _ = answer.send(());
                self.begin()
            }
            Command::Shutdown => {
                commands.close();
                staged
            }
        }
    }

    fn current(&self, staged: &Staged, domain: &DomainName) -> Result<Option<Registered>, DirectoryError> {
        match staged.nodes.get(domain) {
            Some(pending) => Ok(pending.clone()),
            None => self.backend.node(domain).map_err(|error| storage(&Arc::new(error))),
        }
    }

    fn register(
        &self,
        staged: &mut Staged,
        node: Node,
        must: &Precondition,
        by: String,
    ) -> Result<Receipt, RegisterError> {
        let current = self.current(staged, node.domain())?;
        let revision = current.as_ref().map(|current| current.revision);
        if !must.holds(revision) {
            return Err(RegisterError::Stale(revision));
        }
        let (effect, before, created) = match current {
            Some(registered) if registered.node == node => {
                let serial = serial::soa_serial(registered.revision);
                // API-35: the same again has no second effect.
                return Ok(Receipt { effect: Effect::Unchanged, serial, registered });
            }
            Some(registered) => (Effect::Replaced, Some(registered.node), registered.created),
            None => (Effect::Created, None, staged.time),
        };
        let conflicts = staged.zones.check(&node);
        if !conflicts.is_empty() {
            return Err(RegisterError::Conflicts(conflicts));
        }
        let registered = Registered { node, revision: staged.serial + 1, created, updated: staged.time };
        let change = Change::Put(Box::new(registered.node.clone()));
        staged.take(change, Act::Register { before, now: registered.clone() }, by);
        staged.nodes.insert(registered.node.domain().clone(), Some(registered.clone()));
        Ok(Receipt { effect, serial: serial::soa_serial(registered.revision), registered })
    }

    fn deregister(
        &self,
        staged: &mut Staged,
        domain: &DomainName,
        must: &Precondition,
        by: String,
    ) -> Result<Receipt, DeregisterError> {
        // API-17, API-T10: that nothing is there wins over the precondition.
        let current = self.current(staged, domain)?.ok_or(DeregisterError::NotFound)?;
        if !must.holds(Some(current.revision)) {
            return Err(DeregisterError::Stale(Some(current.revision)));
        }
        staged.take(Change::Remove(domain.clone()), Act::Deregister { before: current.node.clone() }, by);
        staged.nodes.insert(domain.clone(), None);
        Ok(Receipt { effect: Effect::Removed, serial: serial::soa_serial(staged.serial), registered: current })
    }

    /// Makes what is staged durable, publishes it, and answers.
    fn finish(&mut self, staged: Staged) {
        let mut failure = None;
        if !staged.steps.is_empty() {
            let touched = touched(&self.live.load(), &staged.zones, staged.serial);
            match self.commit(staged.serial, staged.time, staged.steps, touched) {
                // Each step's version knows its own change only.
                Ok(()) => self.publish(staged.zones.after_changes_of(staged.nodes.into_keys())),
                Err(error) => failure = Some(Arc::new(error)),
            }
        }
        for reply in staged.replies {
            reply(failure.as_ref());
        }
    }

    /// Writes a batch; on success the counter and the zones' states are those of the batch.
    fn commit(
        &mut self,
        serial: u64,
        time: u64,
        steps: Vec<Step>,
        touched: Vec<(DomainName, u64)>,
    ) -> Result<(), BackendError> {
        let batch = Batch { after: Some(self.serial), serial, time, steps, touched };
        let begin = Instant::now();
        let result = self.backend.commit(&batch);
        self.counters.committed(begin.elapsed(), result.is_ok());
        self.health.learn(result.is_ok());
        if let Err(error) = result {
            tracing::error!(error = %chain(&error), steps = batch.steps.len(), "nothing was written");
            return Err(error);
        }
        self.serial = serial;
        for (apex, serial) in batch.touched {
            if let Some(state) = self.states.iter_mut().find(|state| state.apex == apex) {
                state.serial = serial;
            }
        }
        for Step { serial, by, act, .. } in &batch.steps {
            self.counters.changed(act.kind());
            tracing::info!(serial, kind = act.kind().as_str(), subject = act.subject(), by, "changed");
        }
        Ok(())
    }

    fn publish(&self, zones: Zones) {
        self.live.publish(zones);
        self.counters.published();
    }

    fn issue_token(&mut self, new: NewToken, by: Option<String>) -> Result<(TokenInfo, TokenSecret), TokenError> {
        new.check()?;
        let now = (self.clock)();
        let expired: Vec<String> = self.keyring.list(now, false).into_iter().map(|info| info.id).collect();
        if self.keyring.len() - expired.len() >= MAX_TOKENS {
            return Err(TokenError::Limit("at most 10000 tokens: revoke those not needed"));
        }
        let no_chance = |error: getrandom::Error| DirectoryError::Storage(error.to_string().into());
        let secret = TokenSecret::random().map_err(no_chance)?;
        let info = TokenInfo {
            id: token::random_id().map_err(no_chance)?,
            scope: new.scope,
            label: new.label,
            created: now,
            expires: new.expires_in.map(|seconds| now.saturating_add(seconds)),
        };
        let token = StoredToken { info: info.clone(), hash: secret.hash() };
        let mut acts: Vec<_> = expired.iter().map(|id| (Act::DropToken(id.clone()), None)).collect();
        acts.push((Act::IssueToken(token.clone()), by));
        self.commit_tokens(now, acts)?;
        for id in &expired {
            self.keyring.remove(id);
        }
        self.keyring.insert(token);
        Ok((info, secret))
    }

    fn revoke_token(&mut self, id: &str, by: String) -> Result<(), TokenError> {
        let now = (self.clock)();
        if !self.keyring.contains(id, now) {
            return Err(TokenError::Unknown);
        }
        self.commit_tokens(now, vec![(Act::DropToken(id.to_owned()), Some(by))])?;
        self.keyring.remove(id);
        Ok(())
    }

    fn commit_tokens(&mut self, now: u64, acts: Vec<(Act, Option<String>)>) -> Result<(), DirectoryError> {
        let steps: Vec<Step> = (self.serial + 1..)
            .zip(acts)
            .map(|(serial, (act, by))| Step { serial, by, act, zones: Vec::new() })
            .collect();
        let serial = steps.last().map_or(self.serial, |step| step.serial);
        self.commit(serial, now, steps, Vec::new()).map_err(|error| storage(&Arc::new(error)))
    }

    fn reload(&mut self, statics: Vec<StaticZone>) -> Result<ReloadReport, ReloadError> {
        let zones = self.live.load();
        let offers = serial::offers(zones.settings(), &statics);
        let plan = serial::plan(Some(self.serial), &self.states, &offers, zones.node_count() > 0);
        let next = zones.with_statics(statics, serial::soa_serial(plan.serial)).map_err(ReloadError::Zones)?;
        let next = next.with_serials(|apex| plan.serial_of(apex));
        if !plan.steps.is_empty() {
            let now = (self.clock)();
            self.commit(plan.serial, now, plan.steps, Vec::new())
                .map_err(|error| ReloadError::Directory(storage(&Arc::new(error))))?;
        }
        self.states = plan.states;
        self.publish(next);
        let report = plan.report;
        tracing::info!(changed = ?report.changed, added = ?report.added, removed = ?report.removed, "zones reloaded");
        Ok(report)
    }
}

/// The zones that differ between two versions with the same zones, and their serials of 64 bits; `last` is the last
/// one taken.
fn touched(before: &Zones, after: &Zones, last: u64) -> Vec<(DomainName, u64)> {
    let pairs = before.iter().zip(after.iter()).filter(|(before, after)| before.serial() != after.serial());
    // A SOA has the low 32 bits of a serial at, or not far below, the last one.
    let whole = |soa: Serial| last - u64::from(serial::soa_serial(last).value().wrapping_sub(soa.value()));
    pairs.map(|(_, after)| (after.apex().clone(), whole(after.serial()))).collect()
}

impl Staged {
    /// Takes the next serial for a change that has been decided.
    fn take(&mut self, change: Change, act: Act, by: String) {
        self.serial += 1;
        let next = self.zones.with(&[change], serial::soa_serial(self.serial));
        let pairs = self.zones.iter().zip(next.iter()).filter(|(before, next)| before.serial() != next.serial());
        let zones = pairs.map(|(before, _)| (before.apex().clone(), before.serial())).collect();
        self.zones = next;
        self.steps.push(Step { serial: self.serial, by: Some(by), act, zones });
    }
}

/// A reply that waits for the commit. When that fails nobody's answer stands: it may rest on a change that is gone.
fn reply<T: Send + 'static, E: From<DirectoryError> + Send + 'static>(
    answer: Answer<T, E>,
    result: Result<T, E>,
) -> Reply {
    Box::new(move |failure| {
        let result = failure.map_or(result, |error| Err(storage(error).into()));
        // The caller may have gone; the change is made all the same.
        let _ = answer.send(result);
    })
}

fn storage(error: &Arc<BackendError>) -> DirectoryError {
    DirectoryError::Storage(Box::new(Arc::clone(error)))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
