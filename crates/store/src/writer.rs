//! The one writer: takes waiting changes, decides each, makes them durable together, publishes, and only then answers.
//!
//! A change is decided against the version that holds all earlier changes of its batch, so that batching cannot be
//! seen. The batch becomes durable in one commit; if that fails, the version being built is thrown away and everybody
//! in the batch is told. Start at [`Writer::run`]; what moves a registration through its states is in `life`.

pub(crate) mod credential;
mod import;
mod life;
pub(crate) mod note;
pub(crate) mod number;
pub(crate) mod proof;
mod register;
mod reply;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tandem_model::{DomainName, Node, Serial};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Draft, Live, Zones};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::credential::CredentialCommand;
pub(crate) use self::import::Spent;
use self::note::NoteCommand;
use self::number::NumberCommand;
pub(crate) use self::number::conflicts;
use self::proof::ProofCommand;
use self::reply::{Reply, chain, reply, storage};
use crate::backend::{Act, Backend, BackendError, Batch, Step, StoredAnswer, ZoneState};
use crate::conditions::Clock;
use crate::directory::{Precondition, Receipt, Registered, ReloadReport};
use crate::error::{ActError, DeregisterError, DirectoryError, RegisterError, ReloadError, RenewError, ResetKeyError};
use crate::health::Health;
use crate::identity::Signature;
use crate::import::{ImportNode, Imported};
use crate::journal::Keeping;
use crate::keep::Keep;
use crate::keyring::Keyring;
use crate::lease::{Due, Lease, Leases};
use crate::number::NumberBook;
use crate::proof::Proofs;
use crate::serial;
use crate::state::{Action, NodeState, Standing};
use crate::stats::Counters;
use crate::token::Actor;
use crate::watched::Watched;

/// Most changes in one commit: enough that the disk's sync is no longer what costs, few enough to keep a batch short.
const MAX_BATCH: usize = 64;
/// Longest time that an import's nodes are durable but not published: each version that is published costs copies of
/// most of the index, because an import's nodes lie all over it.
const MAX_UNPUBLISHED: Duration = Duration::from_secs(2);

type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Register a node.
    Register { request: Box<RegisterRequest>, answer: Answer<Receipt, RegisterError> },
    /// Withdraw a node.
    Deregister { domain: DomainName, must: Precondition, by: Actor, answer: Answer<Receipt, DeregisterError> },
    /// Register many nodes, in one commit; they are published when the import pauses.
    Import { nodes: Vec<ImportNode>, by: Actor, answer: Answer<(Imported, Spent), DirectoryError> },
    /// Publish all that is durable.
    Settle { answer: oneshot::Sender<()> },
    /// Bring back a node that lost its lease.
    Return { domain: DomainName, by: String, answer: Answer<Lease, RenewError> },
    /// Do what a person wants done to a node.
    Act { request: Box<ActRequest>, answer: Answer<Receipt, ActError> },
    /// Let another key follow a node's key.
    ResetKey { request: Box<ResetRequest>, answer: Answer<Receipt, ResetKeyError> },
    /// Keep what was found by looking at a node.
    Note(NoteCommand),
    /// Look at the leases; answers whether there is more to do at once.
    Walk { answer: Option<Answer<bool, DirectoryError>> },
    /// Something about tokens or invitations.
    Credential(CredentialCommand),
    /// Something about proofs of domains.
    Proof(ProofCommand),
    /// Something about who may have which number.
    Number(NumberCommand),
    /// Serve other static zones.
    Reload { statics: Vec<StaticZone>, answer: Answer<ReloadReport, ReloadError> },
    /// Find out whether the store can be written, unless that is known.
    Probe { answer: oneshot::Sender<()> },
    /// Take nothing more; end when all that waits is done.
    Shutdown,
}

/// A node to register.
#[derive(Debug)]
pub(crate) struct RegisterRequest {
    pub(crate) node: Node,
    /// Of a signed document.
    pub(crate) signature: Option<Signature>,
    /// The state that a new registration begins in.
    pub(crate) start: NodeState,
    pub(crate) must: Precondition,
    pub(crate) by: Actor,
}

/// An action on a node.
#[derive(Debug)]
pub(crate) struct ActRequest {
    pub(crate) domain: DomainName,
    pub(crate) action: Action,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) must: Precondition,
    pub(crate) by: Actor,
    pub(crate) keep: Option<Keep<Receipt>>,
}

/// A node whose key is to be reset.
#[derive(Debug)]
pub(crate) struct ResetRequest {
    pub(crate) domain: DomainName,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) must: Precondition,
    pub(crate) by: String,
}

/// What the thread owns.
pub(crate) struct Writer<B: ?Sized> {
    pub(crate) backend: Arc<B>,
    pub(crate) live: Live,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) proofs: Arc<Proofs>,
    /// Wakes the prover.
    pub(crate) proof_work: Arc<Notify>,
    pub(crate) health: Arc<Health>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) keeping: Arc<Keeping>,
    /// Seconds that nobody sets.
    pub(crate) monotonic: Clock,
    /// From the reset of a key until another may sign.
    pub(crate) key_reset_seconds: u32,
    /// Both clocks at the last walk.
    pub(crate) seen: (u64, u64),
    pub(crate) leases: Arc<Leases>,
    pub(crate) numbers: Arc<NumberBook>,
    /// Nodes that no zone shows; only this thread writes it.
    pub(crate) held: Arc<RwLock<Zones>>,
    /// Nodes that want to be looked at.
    pub(crate) watched: Arc<Watched>,
    /// Tells that changes are durable.
    pub(crate) last: watch::Sender<u64>,
    /// The last serial taken.
    pub(crate) serial: u64,
    /// The zones served, as they are kept.
    pub(crate) states: Vec<ZoneState>,
}

/// Changes that have been decided, but are neither durable nor published.
struct Staged {
    /// The version with them.
    zones: Zones,
    /// The nodes that no zone shows, with them.
    held: Zones,
    /// Whether DNS shows any of them.
    shows: bool,
    /// The last serial they took.
    serial: u64,
    time: u64,
    steps: Vec<Step>,
    /// The registrations they leave; `None` withdrawn.
    nodes: HashMap<DomainName, Option<Registered>>,
    /// Leases that begin, or end with their registration.
    leases: Vec<LeaseChange>,
    /// Answers to keep with them.
    answers: Vec<StoredAnswer>,
    /// What time moved.
    due: Vec<Due>,
    replies: Vec<Reply>,
    /// Changes of an import that are durable and not published; then there are no others.
    imported: Option<Draft>,
    begun: Instant,
}

/// What a change does to a lease, once it is durable.
enum LeaseChange {
    /// Where the registration is, with its times, and the lease's length.
    Set(DomainName, Standing, u32),
    /// It begins anew; nothing else changed.
    Renew(DomainName),
    /// The registration is gone.
    Remove(DomainName),
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
                let is_late = staged.imported.is_some() && staged.begun.elapsed() >= MAX_UNPUBLISHED;
                next = if staged.replies.len() < MAX_BATCH && !is_late { commands.try_recv().ok() } else { None };
            }
            // The caller has been told.
            let _ = self.finish(staged);
            self.trim_journal(&commands);
        }
        self.write_leases(usize::MAX);
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
            held: self.held.read().unwrap_or_else(PoisonError::into_inner).clone(),
            shows: false,
            serial: self.serial,
            time: (self.clock)(),
            steps: Vec::new(),
            nodes: HashMap::new(),
            leases: Vec::new(),
            answers: Vec::new(),
            due: Vec::new(),
            replies: Vec::new(),
            imported: None,
            begun: Instant::now(),
        }
    }

    /// Decides a change; what is no change of a node is done by itself, after those staged.
    fn handle(&mut self, command: Command, mut staged: Staged, commands: &mut mpsc::Receiver<Command>) -> Staged {
        // Changes of both kinds are never in one version: one kind may yet fail, the other is durable.
        let is_import = matches!(command, Command::Import { .. });
        let has_other_kind = if is_import { !staged.replies.is_empty() } else { staged.imported.is_some() };
        if has_other_kind {
            let _ = self.finish(staged);
            staged = self.begin();
        }
        match command {
            // Nobody waits for the answer any more, and nothing was promised.
            Command::Register { answer, .. } if answer.is_closed() => staged,
            Command::Deregister { answer, .. } if answer.is_closed() => staged,
            Command::Act { answer, .. } if answer.is_closed() => staged,
            Command::Return { answer, .. } if answer.is_closed() => staged,
            Command::Act { request, answer } => {
                let result = self.act(&mut staged, *request);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::Return { domain, by, answer } => {
                let result = self.give_back(&mut staged, &domain, by);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::Import { answer, .. } if answer.is_closed() => staged,
            Command::Import { nodes, by, answer } => {
                let (staged, result) = self.import(staged, nodes, &by);
                let _ = answer.send(result);
                staged
            }
            Command::Settle { answer } => {
                let _ = self.finish(staged);
                let _ = answer.send(());
                self.begin()
            }
            Command::Walk { answer } => {
                // A failure concerns each of them alone.
                let _ = self.finish(staged);
                let result = self.walk();
                if let Some(answer) = answer {
                    let _ = answer.send(result);
                }
                self.begin()
            }
            Command::Note(command) => {
                self.note(&mut staged, command);
                staged
            }
            Command::ResetKey { answer, .. } if answer.is_closed() => staged,
            Command::ResetKey { request, answer } => {
                let result = self.reset_key(&mut staged, *request);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::Register { request, answer } => {
                let result = self.register(&mut staged, *request);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::Deregister { domain, must, by, answer } => {
                let result = self.deregister(&mut staged, &domain, &must, &by);
                staged.replies.push(reply(answer, result));
                staged
            }
            Command::Credential(command) => {
                let _ = self.finish(staged);
                self.credential(command);
                self.begin()
            }
            Command::Proof(command) => {
                let _ = self.finish(staged);
                self.proof(command);
                self.begin()
            }
            Command::Number(command) => {
                let _ = self.finish(staged);
                self.number(command);
                self.begin()
            }
            Command::Reload { statics, answer } => {
                let _ = self.finish(staged);
                let result = self.reload(statics);
                if result.is_err() {
                    self.counters.refused_reload();
                }
                let _ = answer.send(result);
                self.begin()
            }
            Command::Probe { answer } => {
                let _ = self.finish(staged);
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
            // Every registration is in one of the two.
            None if !staged.zones.has_node(domain) && !staged.held.has_node(domain) => Ok(None),
            None => self.backend.node(domain).map_err(|error| storage(&Arc::new(error))),
        }
    }

    /// Makes what is staged durable, publishes it, and answers.
    fn finish(&mut self, staged: Staged) -> Result<(), Arc<BackendError>> {
        let mut failure = None;
        if let Some(draft) = staged.imported {
            self.publish(draft.finish());
        } else if !staged.steps.is_empty() {
            let touched = serial::touched(&self.live.load(), &staged.zones, staged.serial);
            match self.commit(staged.serial, staged.time, staged.steps, touched, staged.answers) {
                Ok(()) => {
                    self.watched.follow(&staged.nodes);
                    if staged.shows {
                        // Each step's version knows its own change only.
                        self.publish(staged.zones.after_changes_of(staged.nodes.into_keys()));
                    }
                    *self.held.write().unwrap_or_else(PoisonError::into_inner) = staged.held;
                }
                Err(error) => failure = Some(Arc::new(error)),
            }
        }
        if failure.is_some() {
            staged.due.iter().for_each(|due| self.leases.undo(due));
        } else {
            for change in staged.leases {
                match change {
                    LeaseChange::Set(domain, standing, lease) => self.leases.set(&domain, &standing, lease),
                    LeaseChange::Renew(domain) => {
                        self.leases.renew(&domain, staged.time);
                    }
                    LeaseChange::Remove(domain) => self.leases.remove(&domain),
                }
            }
            self.last.send_if_modified(|last| std::mem::replace(last, self.serial) != self.serial);
        }
        for reply in staged.replies {
            reply(failure.as_ref());
        }
        failure.map_or(Ok(()), Err)
    }

    /// Writes a batch, with answers to keep; on success the counter and the zones' states are those of the batch.
    fn commit(
        &mut self,
        serial: u64,
        time: u64,
        steps: Vec<Step>,
        touched: Vec<(DomainName, u64)>,
        answers: Vec<StoredAnswer>,
    ) -> Result<(), BackendError> {
        let batch = Batch { after: Some(self.serial), serial, time, steps, touched, answers };
        self.commit_batch(&batch)?;
        for Step { serial, by, act, .. } in &batch.steps {
            tracing::info!(serial, kind = act.kind().as_str(), subject = act.subject(), by, "changed");
        }
        Ok(())
    }

    /// [`commit`](Self::commit) without a line in the log for each step.
    fn commit_batch(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let begin = Instant::now();
        let result = self.backend.commit(batch);
        self.counters.committed(begin.elapsed(), result.is_ok());
        self.health.learn(result.is_ok());
        if let Err(error) = result {
            tracing::error!(error = %chain(&error), steps = batch.steps.len(), "nothing was written");
            return Err(error);
        }
        self.serial = batch.serial;
        for (apex, serial) in &batch.touched {
            if let Some(state) = self.states.iter_mut().find(|state| state.apex == *apex) {
                state.serial = *serial;
            }
        }
        batch.steps.iter().for_each(|step| self.counters.changed(step.act.kind()));
        Ok(())
    }

    fn publish(&self, zones: Zones) {
        self.live.publish(zones);
        self.counters.published();
    }

    /// Whether the request of `keep` was answered already. The caller looked before, but another one may have been faster.
    fn is_answered<T>(&self, keep: Option<&Keep<T>>, now: u64) -> Result<bool, DirectoryError> {
        let Some(keep) = keep else { return Ok(false) };
        let known = self.backend.answer(&keep.lookup).map_err(|error| storage(&Arc::new(error)))?;
        Ok(known.is_some_and(|answer| now < answer.expires))
    }

    /// Gives each act the next serial.
    fn steps(&self, acts: impl IntoIterator<Item = (Act, Option<String>)>) -> Vec<Step> {
        (self.serial + 1..).zip(acts).map(|(serial, (act, by))| Step { serial, by, act, zones: Vec::new() }).collect()
    }

    fn reload(&mut self, statics: Vec<StaticZone>) -> Result<ReloadReport, ReloadError> {
        let zones = self.live.load();
        let offers = serial::offers(zones.settings(), &statics);
        let plan = serial::plan(Some(self.serial), &self.states, &offers, zones.node_count() > 0);
        let next = zones.with_statics(statics, serial::soa_serial(plan.serial)).map_err(ReloadError::Zones)?;
        let next = next.with_serials(|apex| plan.serial_of(apex));
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let held = held.moved_to(next.iter().map(|zone| zone.statics().clone()).collect(), WHILE_HELD);
        let held = held.map_err(ReloadError::Zones)?;
        if !plan.steps.is_empty() {
            let now = (self.clock)();
            self.commit(plan.serial, now, plan.steps, Vec::new(), Vec::new())
                .map_err(|error| ReloadError::Directory(storage(&Arc::new(error))))?;
        }
        self.states = plan.states;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        self.publish(next);
        self.last.send_replace(self.serial);
        let report = plan.report;
        tracing::info!(changed = ?report.changed, added = ?report.added, removed = ?report.removed, "zones reloaded");
        Ok(report)
    }
}

impl Staged {
    /// Takes the next serial for a change that has been decided: from `before` to `after`, whose lease has this length.
    fn take(
        &mut self,
        before: Option<&Registered>,
        after: Option<&Registered>,
        act: Act,
        by: Option<String>,
        lease: u32,
    ) {
        self.serial += 1;
        let domain = after.or(before).expect("a change has a registration before or after it").node.domain().clone();
        let remove = || Change::Remove(domain.clone());
        let was_shown = before.is_some_and(|before| before.standing.state.is_shown());
        let shown = after.and_then(Registered::shown);
        let change = match shown {
            Some(node) => Some(Change::Put(Box::new(node.into_owned()))),
            None => was_shown.then(remove),
        };
        let mut zones = Vec::new();
        if let Some(change) = change {
            self.shows = true;
            let next = self.zones.with(&[change], serial::soa_serial(self.serial));
            let pairs = self.zones.iter().zip(next.iter()).filter(|(before, next)| before.serial() != next.serial());
            zones = pairs.map(|(before, _)| (before.apex().clone(), before.serial())).collect();
            self.zones = next;
        }
        let was_held = before.is_some() && !was_shown;
        let held = match after.filter(|after| !after.standing.state.is_shown()) {
            Some(after) => Some(Change::Put(Box::new(after.node.clone()))),
            None => was_held.then(remove),
        };
        if let Some(change) = held {
            self.held = self.held.with(&[change], WHILE_HELD);
        }
        self.leases.push(match after.map(|after| &after.standing) {
            Some(standing) => LeaseChange::Set(domain.clone(), standing.clone(), lease),
            None => LeaseChange::Remove(domain.clone()),
        });
        self.nodes.insert(domain, after.cloned());
        self.steps.push(Step { serial: self.serial, by, act, zones });
    }
}

/// Any serial: nobody asks for those of nodes that no zone shows.
const WHILE_HELD: Serial = Serial::new(1);
