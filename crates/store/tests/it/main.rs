//! The directory as its callers use it: over real files, and over a backend that fails when told to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backup;
mod change;
mod credential;
mod history;
mod import;
mod key;
mod kill_nine;
mod life;
mod migration;
mod note;
mod number;
mod open;
mod reload;
mod token;

use std::fs::File;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tandem_model::{DomainName, Node, NodeParts, Target};
use tandem_store::backend::{AuditEntry, BackendError, Batch, JournalEntry, Loaded, StoredAnswer};
use tandem_store::{
    Actor, Backend, BackupError, Clock, Directory, Manifest, NodeState, OpenError, Precondition, Receipt, Registered,
    Scope, SqliteBackend,
};
use tandem_zone::Settings;
use tandem_zone::master::StaticZone;

/// When the tests' clock begins.
const BEGIN: u64 = 1_700_000_000;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn zone(apex: &str, serial: u32, more: &str) -> StaticZone {
    let text = format!(
        "$TTL 3600\n@ IN SOA ns1.ostn.test. host.ostn.test. {serial} 3600 600 604800 30\n IN NS ns1.ostn.test.\n{more}"
    );
    StaticZone::read(&name(apex), apex, text.as_bytes(), &mut |_| Err("no files here".into())).unwrap()
}

fn statics() -> Vec<StaticZone> {
    vec![zone("ostel.me", 7, "www IN A 192.0.2.80\n"), zone("peers.test", 3, ""), zone("e164.test", 1, "")]
}

fn settings() -> Settings {
    Settings { peers_zone: Some(name("peers.test")), policy_zone: None, number_zone: Some(name("e164.test")) }
}

fn admin() -> Actor {
    Actor::new("tester", Scope::Admin)
}

/// A node with one host, `sip` below its domain.
fn node(domain: &str, address: &str) -> Node {
    let target = Target {
        host: name(&format!("sip.{domain}")),
        port: NonZeroU16::new(5061).unwrap(),
        priority: 10,
        weight: 0,
        addresses: vec![address.parse().unwrap()],
    };
    Node::new(NodeParts::new(name(domain), vec![target])).unwrap()
}

/// The SOA serial served for `apex`.
fn served(directory: &Directory, apex: &str) -> u32 {
    directory.live().load().zone(&name(apex)).unwrap().serial().value()
}

async fn put(directory: &Directory, domain: &str, address: &str) -> Receipt {
    directory.register(node(domain, address), Precondition::None, &admin()).await.unwrap()
}

/// A clock that a test sets.
#[derive(Debug, Clone)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BEGIN)))
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || now.load(Ordering::Relaxed))
    }
}

/// SQLite, with commits that a test counts, holds back or makes fail.
#[derive(Debug)]
struct Scripted {
    inner: SqliteBackend,
    commits: AtomicUsize,
    /// Commits that are held back now.
    waiting: AtomicUsize,
    fail: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

impl Scripted {
    fn open(data_dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            inner: SqliteBackend::open(data_dir).unwrap(),
            commits: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            fail: AtomicBool::new(false),
            held: Mutex::new(false),
            released: Condvar::new(),
        })
    }

    fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn directory(self: &Arc<Self>, clock: &TestClock) -> Result<Directory, OpenError> {
        let backend: Arc<dyn Backend> = Arc::clone(self) as Arc<dyn Backend>;
        Directory::open_with(backend, Path::new("store"), settings(), statics(), clock.clock())
    }

    fn may_write(&self) -> Result<(), BackendError> {
        if self.fail.load(Ordering::Relaxed) {
            return Err(BackendError::Unavailable("disk full".into()));
        }
        Ok(())
    }
}

impl Backend for Scripted {
    fn load(&self) -> Result<Loaded, BackendError> {
        self.inner.load()
    }

    fn load_nodes(&self, visit: &mut dyn FnMut(Registered)) -> Result<(), BackendError> {
        self.inner.load_nodes(visit)
    }

    fn commit(&self, batch: &Batch) -> Result<(), BackendError> {
        let held = self.held.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        drop(self.released.wait_while(held, |held| *held).unwrap());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.may_write()?;
        self.inner.commit(batch)
    }

    fn node(&self, domain: &DomainName) -> Result<Option<Registered>, BackendError> {
        self.inner.node(domain)
    }

    fn renew(&self, leases: &[(DomainName, u64)]) -> Result<(), BackendError> {
        self.may_write()?;
        self.inner.renew(leases)
    }

    fn list(
        &self,
        after: Option<&DomainName>,
        state: Option<NodeState>,
        limit: usize,
    ) -> Result<Vec<Registered>, BackendError> {
        self.inner.list(after, state, limit)
    }

    fn journal(&self, after: u64, limit: usize) -> Result<Vec<JournalEntry>, BackendError> {
        self.inner.journal(after, limit)
    }

    fn journal_back(&self, visit: &mut dyn FnMut(JournalEntry) -> bool) -> Result<(), BackendError> {
        self.inner.journal_back(visit)
    }

    fn trim_journal(&self, before: u64, keep: usize, most: usize) -> Result<usize, BackendError> {
        self.may_write()?;
        self.inner.trim_journal(before, keep, most)
    }

    fn audit(
        &self,
        before: Option<&(u64, String)>,
        visit: &mut dyn FnMut(AuditEntry) -> bool,
    ) -> Result<(), BackendError> {
        self.inner.audit(before, visit)
    }

    fn oldest_entry(&self) -> Result<Option<u64>, BackendError> {
        self.inner.oldest_entry()
    }

    fn answer(&self, lookup: &[u8; 32]) -> Result<Option<StoredAnswer>, BackendError> {
        self.inner.answer(lookup)
    }

    fn probe(&self) -> Result<(), BackendError> {
        self.may_write()?;
        self.inner.probe()
    }

    fn back_up(&self, now: u64) -> Result<(Manifest, File), BackupError> {
        self.inner.back_up(now)
    }

    fn close(&self) {
        self.inner.close();
    }
}
