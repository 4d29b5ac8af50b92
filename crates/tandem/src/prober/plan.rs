//! Whom to look at when, and what the looks say together: no clock, no network.
//!
//! A node is read when its turn comes ([`Job::Read`]), which gives each of its targets a turn of its own ([`Job::Look`]).
//! A target that is well has its turn once in an interval; one that fails sooner at first, then ever more seldom.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use tandem_api::{Look, NotNow, ProbeReport, TargetReport};
use tandem_model::{DomainName, Found, Node, Target};
use tandem_probe::schedule::{Health, Pace, first_wait, is_our_fault};

use super::keys::{self, Digest};

/// A node that is new, or says something new, is read within this time.
const SOON: Duration = Duration::from_secs(2);
/// Share of the targets that may be demoted within one interval, in percent: the rest has to wait for the next one.
const DEMOTED_PERCENT: usize = 20;
/// So many may be in any case.
const DEMOTED_ALWAYS: usize = 2;
/// Shortest time between two wishes to look at one node at once.
pub(super) const HURRY_PAUSE: Duration = Duration::from_secs(60);

/// A turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// Read what this node says.
    Read(DomainName),
    /// Look at this target of a node.
    Look(DomainName, Spot),
}

/// A target, whatever its place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) host: DomainName,
    pub(super) port: NonZeroU16,
}

impl Spot {
    pub(super) fn is(&self, target: &Target) -> bool {
        self.host == target.host && self.port == target.port
    }
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What one turn at a target found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// One look for each address family.
    pub(super) looks: Vec<Look>,
    /// Whether callers get through; `None` when nothing was learnt.
    pub(super) succeeded: Option<bool>,
    /// Keys of the valid certificates.
    pub(super) keys: Vec<Digest>,
    /// What the server asks for.
    pub(super) not_before: Option<Duration>,
}

/// What a turn changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Same,
    /// The target is down from now on.
    Down,
    /// The target is up again.
    Up,
    /// It failed, and that was not counted: too many do.
    Held,
}

/// Numbers for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub(super) nodes: usize,
    pub(super) up: usize,
    pub(super) down: usize,
    pub(super) held: bool,
    /// How far the most urgent turn is behind.
    pub(super) late: Duration,
}

/// Place in the queue.
type Due = (Instant, u64);

#[derive(Debug, Default)]
struct Watched {
    revision: u64,
    /// When it is read; `None` when it was.
    due: Option<Due>,
    targets: Vec<Watch>,
    hurried: Option<Instant>,
}

#[derive(Debug)]
struct Watch {
    spot: Spot,
    health: Health,
    /// `None` while somebody looks.
    due: Option<Due>,
    /// What the last look said, while the target is up.
    last: Option<bool>,
    looks: Vec<Look>,
    keys: Vec<Digest>,
}

/// Everything that the prober remembers.
#[derive(Debug)]
pub(super) struct Plan {
    pace: Pace,
    hold_percent: u8,
    nodes: HashMap<DomainName, Watched>,
    queue: BTreeMap<Due, Job>,
    next: u64,
    /// Targets that are up and were looked at, and those of them whose last look failed.
    looked: usize,
    failing: usize,
    down: usize,
    targets: usize,
    held: bool,
    /// When targets went down, within the last interval.
    demoted: VecDeque<Instant>,
}

impl Plan {
    pub(super) fn new(pace: Pace, hold_percent: u8) -> Self {
        Self {
            pace,
            hold_percent,
            nodes: HashMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            looked: 0,
            failing: 0,
            down: 0,
            targets: 0,
            held: false,
            demoted: VecDeque::new(),
        }
    }

    /// Takes over whom to look at, each with its revision. The first time, turns are spread over an interval.
    pub(super) fn follow(&mut self, list: &BTreeMap<DomainName, u64>, now: Instant, mut chance: impl FnMut() -> u32) {
        let gone: Vec<_> = self.nodes.keys().filter(|domain| !list.contains_key(*domain)).cloned().collect();
        gone.iter().for_each(|domain| self.forget(domain));
        let spread = if self.nodes.is_empty() { self.pace.interval } else { self.pace.interval.min(SOON) };
        for (domain, revision) in list {
            let known = self.nodes.get(domain).map(|node| (node.revision, node.due.is_some()));
            if known.is_none_or(|(known, waits)| known != *revision && !waits) {
                let due = self.enqueue(now + first_wait(spread, chance()), Job::Read(domain.clone()));
                self.nodes.entry(domain.clone()).or_default().due = Some(due);
            }
            if let Some(node) = self.nodes.get_mut(domain) {
                node.revision = *revision;
            }
        }
    }

    fn forget(&mut self, domain: &DomainName) {
        let Some(node) = self.nodes.remove(domain) else { return };
        for due in node.due.into_iter().chain(node.targets.iter().filter_map(|watch| watch.due)) {
            self.queue.remove(&due);
        }
        node.targets.iter().for_each(|watch| self.uncount(watch));
    }

    fn uncount(&mut self, watch: &Watch) {
        self.targets -= 1;
        self.down -= usize::from(watch.health.is_down());
        self.looked -= usize::from(watch.last.is_some());
        self.failing -= usize::from(watch.last == Some(false));
    }

    fn enqueue(&mut self, at: Instant, job: Job) -> Due {
        let due = (at, self.next);
        self.next += 1;
        self.queue.insert(due, job);
        due
    }

    /// The next turn that is due; it is nobody else's until it has ended.
    pub(super) fn take(&mut self, now: Instant) -> Option<Job> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        let job = entry.remove();
        self.set_due(&job, None);
        Some(job)
    }

    /// When the next turn is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    fn watch(&mut self, domain: &DomainName, spot: &Spot) -> Option<&mut Watch> {
        self.nodes.get_mut(domain)?.targets.iter_mut().find(|watch| watch.spot == *spot)
    }

    /// Takes over what a node says: targets that are new get a turn soon, those that are gone get none.
    pub(super) fn learn(&mut self, node: &Node, now: Instant, mut chance: impl FnMut() -> u32) {
        let domain = node.domain();
        let Some(known) = self.nodes.get_mut(domain) else { return };
        let mut before = std::mem::take(&mut known.targets);
        let mut after = Vec::with_capacity(node.targets().len());
        for (at, target) in node.targets().iter().enumerate() {
            if let Some(place) = before.iter().position(|watch| watch.spot.is(target)) {
                after.push(before.swap_remove(place));
                continue;
            }
            let spot = Spot { host: target.host.clone(), port: target.port };
            let wait = first_wait(self.pace.interval.min(SOON), chance());
            let due = self.enqueue(now + wait, Job::Look(domain.clone(), spot.clone()));
            let health = Health::resumed(node.found.is_down(at));
            self.targets += 1;
            self.down += usize::from(health.is_down());
            after.push(Watch { spot, health, due: Some(due), last: None, looks: Vec::new(), keys: Vec::new() });
        }
        for watch in before {
            watch.due.map(|due| self.queue.remove(&due));
            self.uncount(&watch);
        }
        if let Some(known) = self.nodes.get_mut(domain) {
            known.targets = after;
        }
    }

    /// Puts a turn off that could not be had.
    pub(super) fn put_off(&mut self, job: &Job, until: Instant) {
        let known = match job {
            Job::Read(domain) => self.nodes.get(domain).is_some_and(|node| node.due.is_none()),
            Job::Look(domain, spot) => self.watch(domain, spot).is_some_and(|watch| watch.due.is_none()),
        };
        if known {
            let due = self.enqueue(until, job.clone());
            self.set_due(job, Some(due));
        }
    }

    fn set_due(&mut self, job: &Job, due: Option<Due>) {
        match job {
            Job::Read(domain) => {
                if let Some(node) = self.nodes.get_mut(domain) {
                    node.due = due;
                }
            }
            Job::Look(domain, spot) => {
                if let Some(watch) = self.watch(domain, spot) {
                    watch.due = due;
                }
            }
        }
    }

    /// Ends a turn at a target.
    pub(super) fn end(&mut self, domain: &DomainName, spot: &Spot, seen: Seen, now: Instant, chance: u32) -> Turn {
        let (pace, interval) = (self.pace, self.pace.interval);
        while self.demoted.front().is_some_and(|at| now.saturating_duration_since(*at) > interval) {
            self.demoted.pop_front();
        }
        let Some(watch) = self.nodes.get_mut(domain).and_then(|node| node.targets.iter_mut().find(|w| w.spot == *spot))
        else {
            return Turn::Same;
        };
        let Seen { mut looks, succeeded, keys, not_before } = seen;
        for look in &mut looks {
            let same = |old: &&Look| old.address.map(|a| a.is_ipv4()) == look.address.map(|a| a.is_ipv4());
            let before = watch.looks.iter().find(same).map_or(0, |old| old.failures);
            look.failures = if look.result == "ok" { 0 } else { before.saturating_add(1) };
        }
        watch.looks = looks;
        if !keys.is_empty() {
            watch.keys = keys;
        }
        let mut turn = Turn::Same;
        if let Some(succeeded) = succeeded {
            if !watch.health.is_down() {
                self.looked += usize::from(watch.last.is_none());
                self.failing -= usize::from(watch.last == Some(false));
                self.failing += usize::from(!succeeded);
                watch.last = Some(succeeded);
            }
            // Threat 19: what all seem to have is ours, and never is everybody demoted at once.
            self.held = is_our_fault(self.looked, self.failing, self.hold_percent);
            let budget = DEMOTED_ALWAYS.max((self.targets - self.down) * DEMOTED_PERCENT / 100);
            let would_demote = !succeeded && !watch.health.is_down() && watch.health.is_about_to_change(&pace);
            let by_us = self.held || would_demote && self.demoted.len() >= budget;
            turn = match watch.health.look(&pace, succeeded, by_us) {
                true if watch.health.is_down() => {
                    self.looked -= 1;
                    self.failing -= 1;
                    watch.last = None;
                    self.down += 1;
                    self.demoted.push_back(now);
                    Turn::Down
                }
                true => {
                    self.down -= 1;
                    watch.last = Some(true);
                    self.looked += 1;
                    Turn::Up
                }
                false if !succeeded && by_us => Turn::Held,
                false => Turn::Same,
            };
        }
        let wait = watch.health.wait(&pace, chance).max(not_before.unwrap_or_default().min(pace.interval * 12));
        self.put_off(&Job::Look(domain.clone(), spot.clone()), now + wait);
        turn
    }

    /// What is known of `node` now, to be kept if it differs from what is. `now` in seconds since 1970.
    pub(super) fn found(&self, node: &Node, now: u64, overlap: u64) -> Found {
        let Some(known) = self.nodes.get(node.domain()) else { return node.found.clone() };
        let of = |target: &Target| known.targets.iter().find(|watch| watch.spot.is(target));
        let down = node.targets().iter().enumerate().filter(|(at, target)| {
            // One that nobody has come to yet stays as it is.
            of(target).map_or_else(|| node.found.is_down(*at), |watch| watch.health.is_down())
        });
        let current: BTreeSet<Digest> =
            node.targets().iter().filter_map(of).flat_map(|watch| watch.keys.iter().copied()).collect();
        let complete = node.targets().iter().all(|target| of(target).is_some_and(|watch| !watch.keys.is_empty()));
        Found::new(down.map(|(at, _)| at), keys::next(node, &current, complete, now, overlap))
    }

    /// Looks at a node as soon as there is room.
    pub(super) fn hurry(&mut self, domain: &DomainName, now: Instant) -> Result<(), NotNow> {
        let pause = HURRY_PAUSE.min(self.pace.interval);
        let node = self.nodes.get_mut(domain).ok_or(NotNow::NotWatched)?;
        if let Some(left) =
            node.hurried.and_then(|at| (at + pause).checked_duration_since(now)).filter(|d| !d.is_zero())
        {
            let seconds = |time: Duration| u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            return Err(NotNow::TooSoon { window: seconds(pause), retry_after: seconds(left) });
        }
        node.hurried = Some(now);
        let waiting: Vec<Due> = node.due.into_iter().chain(node.targets.iter().filter_map(|watch| watch.due)).collect();
        for due in waiting {
            if let Some(job) = self.queue.remove(&due) {
                self.set_due(&job, None);
                self.put_off(&job, now);
            }
        }
        Ok(())
    }

    /// What was seen of a node. `now` and `clock` are the same moment, the latter in seconds since 1970.
    pub(super) fn report(&self, domain: &DomainName, now: Instant, clock: u64) -> Option<ProbeReport> {
        let node = self.nodes.get(domain)?;
        let targets = node.targets.iter().map(|watch| TargetReport {
            host: watch.spot.host.clone(),
            port: watch.spot.port,
            is_down: watch.health.is_down(),
            failures: watch.health.failed(),
            next: watch.due.map(|(at, _)| clock + at.saturating_duration_since(now).as_secs()),
            looks: watch.looks.clone(),
        });
        Some(ProbeReport { held: self.held, targets: targets.collect() })
    }

    /// Whether failures do not count, because too many fail.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// How things stand.
    pub(super) fn count(&self, now: Instant) -> Count {
        Count {
            nodes: self.nodes.len(),
            up: self.targets - self.down,
            down: self.down,
            held: self.held,
            late: self.next_due().map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        }
    }
}

#[cfg(test)]
mod tests;
