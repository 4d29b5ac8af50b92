//! Looks at the nodes that ask for it, from outside, as their callers would (API-67, CERT-20; threats 14 and 19).
//!
//! `plan` says whom to look at when, and what the looks say together; `look` looks; `keys` says which keys are published.
//! What is found is kept by the store and changes how a node is shown. Here is the loop, within its bounds: so many turns
//! at a time, each with its time, and no more nodes than [`tandem_store::MAX_WATCHED`].

mod keys;
mod look;
mod plan;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use tandem_api::{NotNow, ProbeReport, Probes};
use tandem_model::{DomainName, Found, Node, Probe};
use tandem_probe::schedule::Pace;
use tandem_probe::{SafeConnector, Trust};
use tandem_store::error::NoteError;
use tandem_store::{Directory, Registered};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::{info, warn};

use self::look::{Busy, Looker};
use self::plan::{Count, Job, Plan, Seen, Spot, Turn};
use crate::config::{Config, ProbeConfig};

/// Longest time without a look at the list of nodes.
const TICK: Duration = Duration::from_secs(1);
/// Shortest wait for a turn whose address is busy.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// What the prober calls itself in SIP when the API has no name: RFC 6761 6.4, a name that is nobody's.
const NO_NAME: &str = "directory.invalid";

/// The running prober. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct NodeProber {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl NodeProber {
    /// Looks at the nodes of `directory` as `config` says; without probes enabled it only takes back what earlier ones
    /// changed, and gives nothing.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError`]: the file of authorities.
    pub(crate) fn start(directory: &Directory, config: &Config) -> Result<Option<Self>, AuthoritiesError> {
        let probes = &config.probes;
        if !probes.enabled {
            tokio::spawn(forget_all(directory.clone()));
            return Ok(None);
        }
        let trust = trust(probes)?;
        let name = config.api.names.first().cloned();
        let name = name.or_else(|| DomainName::parse(NO_NAME).ok()).expect("the name is one");
        let prober = tandem_probe::Prober::new(SafeConnector::new(probes.address_rule()), trust, name);
        let prober = prober.with_timeout(probes.timeout);
        let looker = Looker::new(prober, probes.timeout, directory.live().clone(), &config.name_servers);
        let pace = Pace { interval: probes.interval, failures: probes.failures };
        let shared = Arc::new(Shared {
            directory: directory.clone(),
            looker,
            plan: Mutex::new(Plan::new(pace, probes.hold_percent)),
            noting: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            counters: Counters::default(),
            parallel: probes.parallel,
            overlap: u64::from(probes.key_overlap_seconds),
        });
        if probes.allow_loopback_for_tests {
            warn!("probes go to loopback addresses: for tests only");
        }
        info!(interval = probes.interval.as_secs(), parallel = probes.parallel, "nodes that ask for it are probed");
        let task = tokio::spawn(run(Arc::clone(&shared)));
        Ok(Some(Self { shared, task }))
    }

    /// What the API shows.
    pub(crate) fn probes(&self) -> Arc<dyn Probes> {
        Arc::clone(&self.shared) as Arc<dyn Probes>
    }

    /// What the metrics show.
    pub(crate) fn stats(&self) -> ProbeStatsSource {
        ProbeStatsSource(Arc::clone(&self.shared))
    }
}

impl Drop for NodeProber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the metrics get their numbers.
#[derive(Debug)]
pub(crate) struct ProbeStatsSource(Arc<Shared>);

/// Numbers of the prober.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProbeStats {
    pub(crate) nodes: usize,
    pub(crate) up: usize,
    pub(crate) down: usize,
    pub(crate) held: bool,
    pub(crate) late: Duration,
    /// Turns by result: `ok`, `failed`, `unknown`.
    pub(crate) turns: [(&'static str, u64); 3],
    pub(crate) demotions: u64,
    pub(crate) recoveries: u64,
    pub(crate) held_failures: u64,
}

impl ProbeStatsSource {
    pub(crate) fn read(&self) -> ProbeStats {
        let Count { nodes, up, down, held, late } = self.0.plan().count(Instant::now());
        let counters = &self.0.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProbeStats {
            nodes,
            up,
            down,
            held,
            late,
            turns: [("ok", of(&counters.ok)), ("failed", of(&counters.failed)), ("unknown", of(&counters.unknown))],
            demotions: of(&counters.demotions),
            recoveries: of(&counters.recoveries),
            held_failures: of(&counters.held),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    ok: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    demotions: AtomicU64,
    recoveries: AtomicU64,
    held: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    directory: Directory,
    looker: Looker,
    plan: Mutex<Plan>,
    /// Held while what was found goes to the store: what is found later goes there later.
    noting: tokio::sync::Mutex<()>,
    /// Somebody wants a turn sooner.
    wake: Notify,
    counters: Counters,
    parallel: usize,
    overlap: u64,
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probes for Shared {
    fn report(&self, domain: &DomainName) -> Option<ProbeReport> {
        self.plan().report(domain, Instant::now(), self.directory.now())
    }

    fn hurry(&self, domain: &DomainName) -> Result<(), NotNow> {
        self.plan().hurry(domain, Instant::now())?;
        self.wake.notify_one();
        Ok(())
    }
}

async fn run(shared: Arc<Shared>) {
    // Turns belong to this task: they end with it.
    let mut turns = JoinSet::new();
    let mut followed = None;
    loop {
        let version = shared.directory.watched_version();
        if followed != Some(version) {
            let list = shared.directory.watched();
            shared.plan().follow(&list, Instant::now(), chance);
            followed = Some(version);
        }
        while turns.len() < shared.parallel {
            let Some(job) = shared.plan().take(Instant::now()) else { break };
            let shared = Arc::clone(&shared);
            turns.spawn(async move { turn(&shared, job).await });
        }
        let next = shared.plan().next_due().filter(|_| turns.len() < shared.parallel);
        let wait = next.map_or(TICK, |at| at.saturating_duration_since(Instant::now()).min(TICK));
        tokio::select! {
            () = sleep(wait) => {}
            () = shared.wake.notified() => {}
            Some(ended) = turns.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a probe broke off");
            },
        }
    }
}

async fn turn(shared: &Shared, job: Job) {
    let (Job::Read(domain) | Job::Look(domain, _)) = &job;
    let registered = match shared.directory.node(domain).await {
        Ok(registered) => registered,
        Err(error) => {
            warn!(%error, "a node to probe could not be read");
            return shared.plan().put_off(&job, Instant::now() + TICK);
        }
    };
    // One that is gone, or asks no more, leaves the list by itself.
    let Some((registered, probe)) = registered.and_then(|r| r.node.probe.map(|probe| (r, probe))) else { return };
    shared.plan().learn(&registered.node, Instant::now(), chance);
    if let Job::Look(_, spot) = &job
        && look(shared, &registered.node, probe, spot).await.is_err()
    {
        let until = Instant::now() + BUSY_PAUSE.mul_f64(1.0 + f64::from(chance()) / f64::from(u32::MAX));
        return shared.plan().put_off(&job, until);
    }
    keep(shared, domain, &registered).await;
}

async fn look(shared: &Shared, node: &Node, probe: Probe, spot: &Spot) -> Result<(), Busy> {
    let Some(target) = node.targets().iter().find(|target| spot.is(target)) else { return Ok(()) };
    let seen = shared.looker.look(node, target, probe, shared.directory.now()).await?;
    let counters = &shared.counters;
    let counter = match seen.succeeded {
        Some(true) => &counters.ok,
        Some(false) => &counters.failed,
        None => &counters.unknown,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let result = result_of(&seen);
    let (turn, was_held, is_held) = {
        let mut plan = shared.plan();
        let was_held = plan.is_held();
        let turn = plan.end(node.domain(), spot, seen, Instant::now(), chance());
        (turn, was_held, plan.is_held())
    };
    let domain = node.domain();
    match turn {
        Turn::Same => {}
        Turn::Held => {
            counters.held.fetch_add(1, Ordering::Relaxed);
        }
        Turn::Down => {
            counters.demotions.fetch_add(1, Ordering::Relaxed);
            info!(%domain, target = %spot, result, "a target is down");
        }
        Turn::Up => {
            counters.recoveries.fetch_add(1, Ordering::Relaxed);
            info!(%domain, target = %spot, "a target is up again");
        }
    }
    match (was_held, is_held) {
        (false, true) => warn!("so many targets fail at once that the fault may be here: nobody is demoted"),
        (true, false) => info!("probes count again"),
        _ => {}
    }
    Ok(())
}

/// The word for what is wrong, of the first look that failed.
fn result_of(seen: &Seen) -> &'static str {
    seen.looks.iter().map(|look| look.result).find(|result| *result != "ok").unwrap_or("ok")
}

/// Gives the store what was found, if that is new.
async fn keep(shared: &Shared, domain: &DomainName, looked_at: &Registered) {
    let now = shared.directory.now();
    let overlap = |node: &Node| shared.overlap + 2 * u64::from(node.ttl);
    let differs = |node: &Node| {
        let found = shared.plan().found(node, now, overlap(node));
        (found != node.found).then_some(found)
    };
    if differs(&looked_at.node).is_none() {
        return;
    }
    let _turn = shared.noting.lock().await;
    // Somebody else may have been faster.
    let Ok(Some(current)) = shared.directory.node(domain).await else { return };
    let Some(found) = differs(&current.node) else { return };
    let reason = reason(&current.node, &found);
    match shared.directory.note(domain, current.revision, found, reason.into()).await {
        // One that has changed, or is gone, is read again.
        Ok(_) | Err(NoteError::NotFound | NoteError::Stale) => {}
        Err(NoteError::Directory(error)) => warn!(%domain, %error, "what was found could not be kept"),
    }
}

/// What the journal says about the step from what is known of `node` to `found`.
fn reason(node: &Node, found: &Found) -> String {
    let mut parts = Vec::new();
    for (at, target) in node.targets().iter().enumerate() {
        match (node.found.is_down(at), found.is_down(at)) {
            (false, true) => parts.push(format!("{}:{} is down", target.host, target.port)),
            (true, false) => parts.push(format!("{}:{} is up", target.host, target.port)),
            _ => {}
        }
    }
    if node.found.keys != found.keys {
        parts.push(format!("{} keys seen", found.keys.len()));
    }
    parts.join(", ")
}

/// Takes back all that earlier probes found: nobody looks whether it is still so.
async fn forget_all(directory: Directory) {
    for (domain, revision) in directory.watched() {
        let Ok(Some(registered)) = directory.node(&domain).await else { continue };
        if registered.node.found.is_empty() {
            continue;
        }
        match directory.note(&domain, revision, Found::default(), "probes are off".into()).await {
            Ok(_) | Err(NoteError::NotFound | NoteError::Stale) => {}
            Err(NoteError::Directory(error)) => warn!(%domain, %error, "what was found could not be taken back"),
        }
    }
}

fn trust(config: &ProbeConfig) -> Result<Trust, AuthoritiesError> {
    let (trust, unreadable) = match &config.authorities {
        Some(file) => {
            let failed = |source| AuthoritiesError { file: file.clone(), source };
            let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let certificates = certificates.map_err(failed)?;
            if certificates.is_empty() {
                return Err(failed(pem::Error::NoItemsFound));
            }
            Trust::new(certificates)
        }
        None => Trust::new(rustls_native_certs::load_native_certs().certs),
    };
    if unreadable > 0 {
        warn!(unreadable, "some certificates of authorities cannot be read");
    }
    Ok(trust)
}

/// For spreading turns; without random numbers they are not spread.
fn chance() -> u32 {
    let mut octets = [0; 4];
    let _ = getrandom::fill(&mut octets);
    u32::from_ne_bytes(octets)
}

/// The authorities of probes cannot be read: the admin corrects the setting or the file.
#[derive(Debug, thiserror::Error)]
#[error("{file} has no certificates of authorities that can be read (probes.authorities)")]
pub struct AuthoritiesError {
    /// The file.
    file: PathBuf,
    /// What is wrong with it.
    #[source]
    source: pem::Error,
}
