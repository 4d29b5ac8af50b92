//! The one way in: [`Directory`].
//!
//! Changes go to the one writer thread; reads go to the backend beside it, from threads that may block. Renewals and
//! actions on registrations are in `life`.

mod credential;
mod inner;
mod life;
mod look;
mod number;
mod proof;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tandem_model::{DomainName, Node, Record, Serial};
use tandem_zone::master::StaticZone;
use tandem_zone::{Conflict, ConflictKind, Live, Part, Settings};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::inner::{Inner, await_answer, writer_ended};
use crate::admin_token;
use crate::backend::Backend;
use crate::conditions::Conditions;
use crate::error::{BackupError, DeregisterError, DirectoryError, OpenError, ReadError, RegisterError, ReloadError};
use crate::health::Health;
use crate::identity::{Claim, Signature};
use crate::import::{ImportNode, ImportRehearsal, Imported};
use crate::journal::Keeping;
use crate::keyring::Keyring;
use crate::open;
use crate::proof::Proofs;
use crate::sqlite::backup::Manifest;
use crate::sqlite::{DATABASE, READERS, SqliteBackend};
use crate::state::{NodeIdentity, NodeState, Standing};
use crate::stats::{Counters, StoreStats};
use crate::token::{self, Actor};
use crate::walker;
use crate::writer::credential::CredentialCommand;
use crate::writer::{Command, Writer, conflicts};

/// Most commands that wait for the writer; past it callers are told to try again.
const MAX_WAITING: usize = 1024;
/// Longest wait for a change to reach the disk; past it the caller is told that it may yet happen.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a reload: every registration is checked against the new zones.
const RELOAD_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for a read to get its turn.
const READ_WAIT: Duration = Duration::from_secs(5);
/// Reads at a time; one connection is left for the writer.
const MAX_READS: usize = READERS - 1;

/// The open directory: a writer thread, readers, and what is served. Cloning gives another handle.
///
/// When the last handle is dropped the writer ends and the store is closed; [`shutdown`](Self::shutdown) does so while
/// handles are left.
#[derive(Debug, Clone)]
pub struct Directory {
    live: Live,
    inner: Arc<Inner>,
}

/// A registration as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// What the node said, normalised.
    pub node: Node,
    /// The serial of its last change: never used twice, so it is the entity tag (API-10).
    pub revision: u64,
    /// Seconds since 1970 when the name was first registered.
    pub created: u64,
    /// Seconds since 1970 of the last change.
    pub updated: u64,
    /// Where it is in its life.
    pub standing: Standing,
    /// The key that signs its document, if one does.
    pub identity: Option<Box<NodeIdentity>>,
}

/// What must hold for a change to be made (RFC 9110 13.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever is there.
    None,
    /// `If-Match: *`: something is there.
    Exists,
    /// `If-None-Match: *`: nothing is there.
    Absent,
    /// `If-Match: "5", "7"`: it has one of these revisions.
    Revision(Vec<u64>),
    /// `If-None-Match: "5"`: it has none of these revisions.
    NotRevision(Vec<u64>),
}

impl Precondition {
    /// Whether it is true of a registration with this revision, or of none (RFC 9110 13.1.1, 13.1.2; API-13, API-14).
    #[must_use]
    pub fn holds(&self, revision: Option<u64>) -> bool {
        match (self, revision) {
            (Self::None, _) | (Self::Exists, Some(_)) | (Self::Absent | Self::NotRevision(_), None) => true,
            (Self::Exists | Self::Revision(_), None) | (Self::Absent, Some(_)) => false,
            (Self::Revision(wanted), Some(revision)) => wanted.contains(&revision),
            (Self::NotRevision(unwanted), Some(revision)) => !unwanted.contains(&revision),
        }
    }
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The domain is new.
    Created,
    /// The registration was replaced.
    Replaced,
    /// The same node again: nothing was written, the serial is the old one.
    Unchanged,
    /// The registration is gone.
    Removed,
    /// Its state is another.
    Moved,
}

/// A change that is durable and visible in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What happened.
    pub effect: Effect,
    /// The zone serial that contains it.
    pub serial: Serial,
    /// The registration now; of the removed one, as it was.
    pub registered: Registered,
}

/// What a reload changed; each list in canonical order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadReport {
    /// Zones whose master files have other records than before.
    pub changed: Vec<DomainName>,
    /// Zones that are new.
    pub added: Vec<DomainName>,
    /// Zones that are no longer served.
    pub removed: Vec<DomainName>,
}

impl Directory {
    /// Opens or creates the store in `data_dir`, loads every registration over `statics`, and begins to serve.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the file is damaged, newer than this program, in use, or does not fit the zones. It is left alone.
    pub fn open(data_dir: &Path, settings: Settings, statics: Vec<StaticZone>) -> Result<Self, OpenError> {
        Self::open_under(data_dir, settings, statics, Conditions::default())
    }

    /// [`open`](Self::open) under other conditions.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_under(
        data_dir: &Path,
        settings: Settings,
        statics: Vec<StaticZone>,
        conditions: Conditions,
    ) -> Result<Self, OpenError> {
        let backend = SqliteBackend::open(data_dir)?;
        Self::open_with(Arc::new(backend), &data_dir.join(DATABASE), settings, statics, conditions)
    }

    /// [`open`](Self::open) over any backend, with a clock of the caller's. `place` names the store in errors.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the store cannot be read or written, or does not fit the zones.
    pub fn open_with(
        backend: Arc<dyn Backend>,
        place: &Path,
        settings: Settings,
        statics: Vec<StaticZone>,
        conditions: impl Into<Conditions>,
    ) -> Result<Self, OpenError> {
        let Conditions { clock, monotonic, leases: times, key_reset_seconds, walks } = conditions.into();
        let opened = open::load(&*backend, place, settings, statics, clock(), times)?;
        let live = opened.live;
        let keyring = Arc::new(Keyring::new(opened.tokens, opened.invitations));
        let (proofs, proof_work) = (Arc::new(Proofs::new(opened.proofs)), Arc::new(Notify::new()));
        let health = Arc::new(Health::default());
        let counters = Arc::new(Counters::default());
        let keeping = Arc::new(Keeping::default());
        let leases = Arc::new(opened.leases);
        let numbers = Arc::new(opened.numbers);
        let held = Arc::new(RwLock::new(opened.held));
        let watched = Arc::new(opened.watched);
        let (last, changes) = watch::channel(opened.serial);
        let (commands, waiting) = mpsc::channel(MAX_WAITING);
        let (running, done) = watch::channel(());
        let writer = Writer {
            backend: Arc::clone(&backend),
            live: live.clone(),
            keyring: Arc::clone(&keyring),
            proofs: Arc::clone(&proofs),
            proof_work: Arc::clone(&proof_work),
            health: Arc::clone(&health),
            counters: Arc::clone(&counters),
            leases: Arc::clone(&leases),
            numbers: Arc::clone(&numbers),
            held: Arc::clone(&held),
            watched: Arc::clone(&watched),
            last,
            seen: (clock(), monotonic()),
            clock: Arc::clone(&clock),
            keeping: Arc::clone(&keeping),
            monotonic,
            key_reset_seconds,
            serial: opened.serial,
            states: opened.states,
        };
        let work = move || {
            writer.run(waiting);
            drop(running);
        };
        let thread = std::thread::Builder::new()
            .name("tandem-writer".into())
            .spawn(work)
            .map_err(|error| OpenError::Io { file: place.into(), source: Box::new(error) })?;
        if walks {
            walker::start(commands.downgrade())
                .map_err(|error| OpenError::Io { file: place.into(), source: Box::new(error) })?;
        }
        let inner = Inner {
            commands: Some(commands),
            backend,
            keyring,
            proofs,
            proof_work,
            leases,
            numbers,
            held,
            watched,
            changes,
            health,
            counters,
            clock,
            keeping,
            closing: AtomicBool::new(false),
            reads: Semaphore::new(MAX_READS),
            done,
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { live, inner: Arc::new(inner) })
    }

    /// What is served; DNS takes its readers from it.
    #[must_use]
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// Registers `node`, or replaces the registration of its domain. Returns when it is durable and DNS shows it.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]; nothing changed, except that after `Directory(Timeout)` the change may yet happen.
    pub async fn register(&self, node: Node, must: Precondition, by: &Actor) -> Result<Receipt, RegisterError> {
        self.register_in(NodeState::Active, node, None, must, by).await
    }

    /// What [`register`](Self::register) would do now: its records, and what stands in the way. Writes nothing.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub async fn rehearse(
        &self,
        node: &Node,
        signature: Option<&Signature>,
        must: Precondition,
        by: &Actor,
    ) -> Result<(Effect, Vec<Record>), RegisterError> {
        let there = self.node(node.domain()).await.map_err(|ReadError(error)| DirectoryError::Storage(error))?;
        let held = there.as_ref().and_then(|there| there.identity.as_deref()).cloned();
        // Of a tombstone nothing is left but the name.
        let current = there.filter(|current| current.standing.state != NodeState::Tombstone);
        let revision = current.as_ref().map(|current| current.revision);
        if !must.holds(revision) {
            return Err(RegisterError::Stale(revision));
        }
        let claim = Claim { signature, by_admin: by.is_admin(), now: (self.inner.clock)() };
        let is_same_key = claim.follow(held.as_ref())? == held;
        let mut found = self.unassigned(node, current.as_ref().map(|current| &current.node), by);
        let effect = match current {
            None => Effect::Created,
            Some(registered) if registered.node.says(node) && !registered.lost_its_lease() && is_same_key => {
                Effect::Unchanged
            }
            Some(_) => Effect::Replaced,
        };
        let zones = self.live.load();
        let held = self.inner.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        if effect != Effect::Unchanged && found.is_empty() {
            found = conflicts(&zones, &held, node);
        }
        if !found.is_empty() {
            return Err(RegisterError::Conflicts(found));
        }
        let records = zones.records(node).map_err(|error| {
            RegisterError::Conflicts(vec![Conflict { part: Part::Domain, kind: ConflictKind::RecordSet(error) }])
        })?;
        Ok((effect, records))
    }

    /// Registers nodes, at most [`MAX_IMPORT`](crate::MAX_IMPORT), or replaces what is registered at their domains, in one
    /// commit. Those that do not fit are left out. The request is made at once, so that several may wait in order; the
    /// answer comes when the others are durable. DNS shows them after [`settle`](Self::settle), or seconds later.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; nothing changed, except that after `Timeout` the change may yet happen.
    pub fn import(
        &self,
        nodes: Vec<ImportNode>,
        by: &Actor,
    ) -> impl Future<Output = Result<Imported, DirectoryError>> + Send + use<> {
        let by = by.clone();
        let sent = self.inner.send(|answer| Command::Import { nodes, by, answer });
        async move {
            let (imported, spent) = await_answer(COMMIT_WAIT, sent?).await?;
            // Thousands of nodes: no work for a thread that others wait for.
            drop(tokio::task::spawn_blocking(move || drop(spent)));
            Ok(imported)
        }
    }

    /// Waits until DNS shows all that was registered before.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]: all of it is durable, and DNS shows it as soon as it can.
    pub async fn settle(&self) -> Result<(), DirectoryError> {
        let (answer, answered) = oneshot::channel();
        self.inner.sender().send(Command::Settle { answer }).await.map_err(|_| DirectoryError::ShuttingDown)?;
        answered.await.map_err(|_| writer_ended())
    }

    /// An import that is only looked at, for [`rehearse_import`](Self::rehearse_import).
    #[must_use]
    pub fn begin_rehearsal(&self) -> ImportRehearsal {
        let held = self.inner.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        ImportRehearsal::new(&self.live.load(), held)
    }

    /// What [`import`](Self::import) would do with `nodes` after the chunks that `rehearsal` has seen. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`] when the store cannot be read.
    pub async fn rehearse_import(
        &self,
        mut rehearsal: ImportRehearsal,
        nodes: Vec<ImportNode>,
    ) -> Result<(ImportRehearsal, Vec<Result<Effect, Vec<Conflict>>>), DirectoryError> {
        let read = move |backend: &dyn Backend| {
            let outcomes = rehearsal
                .take(&nodes, |domain| backend.node(domain).map_err(|error| DirectoryError::Storage(Box::new(error))));
            Ok(outcomes.map(|outcomes| (rehearsal, outcomes)))
        };
        self.inner.read(read).await.map_err(|ReadError(error)| DirectoryError::Storage(error))?
    }

    /// Withdraws the registration of `domain`.
    ///
    /// # Errors
    ///
    /// [`DeregisterError`]; nothing changed, except that after `Directory(Timeout)` the change may yet happen.
    pub async fn deregister(
        &self,
        domain: &DomainName,
        must: Precondition,
        by: &Actor,
    ) -> Result<Receipt, DeregisterError> {
        let (domain, by) = (domain.clone(), by.clone());
        self.inner.ask(COMMIT_WAIT, |answer| Command::Deregister { domain, must, by, answer }).await
    }

    /// The registration of `domain`.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn node(&self, domain: &DomainName) -> Result<Option<Registered>, ReadError> {
        let domain = domain.clone();
        let mut found = self.inner.read(move |backend| backend.node(&domain)).await?;
        found.iter_mut().for_each(|registered| self.with_lease(registered));
        Ok(found)
    }

    /// Registrations in canonical name order (RFC 4034 6.1), from the first behind `after`; at most `limit`. Without
    /// tombstones: of those nothing is left but the name.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn list(&self, after: Option<&DomainName>, limit: usize) -> Result<Vec<Registered>, ReadError> {
        self.list_in(None, after, limit).await
    }

    /// Serves other static zones: all of them or, on any error, the old ones.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] says which zone or node stands in the way.
    pub async fn reload(&self, statics: Vec<StaticZone>) -> Result<ReloadReport, ReloadError> {
        self.inner.ask(RELOAD_WAIT, |answer| Command::Reload { statics, answer }).await
    }

    /// Writes `DIR/admin.token` (mode 0600) with a new admin token unless that file holds a valid one.
    /// Returns whether it was made now. Blocks; meant for the start.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the file cannot be read or written.
    pub fn ensure_admin_token(&self, data_dir: &Path) -> Result<bool, OpenError> {
        let now = (self.inner.clock)();
        let is_valid = |text: &str| {
            let actor = token::hash_of_claimed(text).and_then(|hash| self.inner.keyring.find(&hash, None, now));
            actor.is_some_and(|actor| actor.scope == token::Scope::Admin)
        };
        admin_token::ensure(data_dir, is_valid, |new| {
            self.inner.ask_blocking(|answer| {
                Command::Credential(CredentialCommand::Issue { new, by: None, keep: None, answer })
            })
        })
    }

    /// Whether a write would succeed now; `/readyz` asks. Writes a probe itself at most every few seconds.
    pub async fn is_writable(&self) -> bool {
        if self.inner.closing.load(Ordering::Relaxed) {
            return false;
        }
        if let Some(known) = self.inner.health.known() {
            return known;
        }
        let (answer, answered) = oneshot::channel();
        if self.inner.sender().try_send(Command::Probe { answer }).is_err() {
            return false;
        }
        // A writer that does not answer hangs on the disk.
        matches!(timeout(COMMIT_WAIT, answered).await, Ok(Ok(()))) && self.inner.health.known() == Some(true)
    }

    /// Keeps journal entries for so many days; those that are older go when the writer has nothing else to do. The newest
    /// 4,096 stay in any case. Until this is called it is 90 days.
    pub fn keep_journal(&self, days: u64) {
        self.inner.keeping.keep(days);
    }

    /// Makes a backup of this moment while changes go on: a file without a name, open for reading, and what it holds.
    ///
    /// # Errors
    ///
    /// [`BackupError`]: another is being made, or there is no room for it in the data directory.
    pub async fn back_up(&self) -> Result<(Manifest, File), BackupError> {
        let (backend, now) = (Arc::clone(&self.inner.backend), (self.inner.clock)());
        let made = tokio::task::spawn_blocking(move || backend.back_up(now)).await;
        made.unwrap_or_else(|error| Err(BackupError::Io { file: DATABASE.into(), source: Box::new(error) }))
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.inner.counters.read()
    }

    /// Stops taking changes, finishes those accepted, closes the store. Other handles get `ShuttingDown`.
    pub async fn shutdown(&self) {
        self.inner.closing.store(true, Ordering::Relaxed);
        // An error means that the writer has ended already.
        let _ = self.inner.sender().send(Command::Shutdown).await;
        let mut done = self.inner.done.clone();
        while done.changed().await.is_ok() {}
    }
}
