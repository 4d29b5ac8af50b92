//! What is known of targets by the last look at each, and how others ask for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use tandem_model::{DomainName, Node};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::look::{BadKind, Fault, Look, Place};
use super::pace::RETRY;

/// Most domains that are no members of which results are kept; then all of them are forgotten.
const MAX_STRANGERS: usize = 4096;
/// Most calls that wait for a look to begin.
const MAX_REQUESTS: usize = 256;

/// What the last look at a target says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is who it should be; or nobody asked for looks.
    Good,
    /// It is not, or it could not be reached, with the reason for people: give it to nobody.
    Bad(Arc<str>),
    /// It was not looked at yet, or too long ago: give it to nobody, or have it looked at now ([`Verdicts::look`]).
    Unknown,
}

impl Verdict {
    /// Whether the target may be given out.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Good)
    }
}

/// An address, and what the last look there said: why it was bad, for people.
pub(crate) type LastLook = (SocketAddr, Result<(), (BadKind, Arc<str>)>);

/// What is known of targets. Cheap to clone; asking takes a lock for less than a microsecond.
#[derive(Debug, Clone)]
pub struct Verdicts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether targets must have been good to be given out; else everything is good.
    is_enforced: bool,
    /// The SIP server of this host: it is not looked at.
    own: Option<DomainName>,
    max_age: Duration,
    wait: Duration,
    results: Mutex<Results>,
    /// Counts changes of verdicts and certificates.
    changes: watch::Sender<u64>,
    requests: mpsc::Sender<Request>,
}

#[derive(Debug, Default)]
struct Results {
    members: HashMap<DomainName, Vec<Seen>>,
    strangers: HashMap<DomainName, Vec<Seen>>,
    counts: Counts,
}

/// Targets of members by their last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: usize,
    pub(super) bad: usize,
}

#[derive(Debug, Clone)]
struct Seen {
    place: Place,
    at: Instant,
    result: Result<Option<Arc<CertificateDer<'static>>>, Fault>,
}

/// Somebody waits for a look at this target.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) domain: DomainName,
    pub(super) address: SocketAddr,
    pub(super) reply: oneshot::Sender<Verdict>,
}

impl Verdicts {
    /// Nobody looks: every target is good.
    #[must_use]
    pub fn off() -> Self {
        Self::new(false, None, Duration::ZERO, Duration::ZERO).0
    }

    pub(super) fn new(
        is_enforced: bool,
        own: Option<DomainName>,
        max_age: Duration,
        wait: Duration,
    ) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let (results, changes) = (Mutex::default(), watch::Sender::new(0));
        (Self(Arc::new(Shared { is_enforced, own, max_age, wait, results, changes, requests })), receiver)
    }

    /// Whether targets must have been good to be given out.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_enforced
    }

    /// What the last look said of the server of `domain` at `address`; never waits.
    #[must_use]
    pub fn allows(&self, domain: &DomainName, address: SocketAddr) -> Verdict {
        self.known(domain, address).map_or(Verdict::Unknown, |(verdict, _)| verdict)
    }

    /// The same, but a target of which nothing is known, or nothing good since half a minute, is looked at now. Takes at most
    /// the time of one look and a second. [`Verdict::Unknown`]: too many wait for looks; nothing is said about the target.
    pub async fn look(&self, domain: &DomainName, address: SocketAddr) -> Verdict {
        match self.known(domain, address) {
            Some((verdict, age)) if verdict.is_good() || age < RETRY => return verdict,
            Some(_) | None => {}
        }
        let (reply, answer) = oneshot::channel();
        let request = Request { domain: domain.clone(), address, reply };
        if self.0.requests.try_send(request).is_err() {
            return Verdict::Unknown;
        }
        timeout(self.0.wait, answer).await.ok().and_then(Result::ok).unwrap_or(Verdict::Unknown)
    }

    /// What the last look at each address of a member said, as long as it counts; why one was bad, for people.
    pub(crate) fn last_looks(&self, domain: &DomainName) -> Vec<LastLook> {
        let results = self.lock();
        let seen = results.members.get(domain).into_iter().flatten().filter(|seen| self.is_fresh(seen));
        let said = |seen: &Seen| match &seen.result {
            Ok(_) => Ok(()),
            Err(fault) => Err((fault.kind, Arc::clone(&fault.reason))),
        };
        seen.map(|seen| (seen.place.address, said(seen))).collect()
    }

    /// Whether one target of `node` was good when it was looked at last: for answers that name a member as a whole.
    #[must_use]
    pub fn has_good(&self, node: &Node) -> bool {
        if self.is_free(node.domain()) {
            return true;
        }
        let results = self.lock();
        let seen = results.members.get(node.domain());
        seen.is_some_and(|seen| seen.iter().any(|seen| seen.result.is_ok() && self.is_fresh(seen)))
    }

    /// What the last look said of the host of a target of `domain`, whose addresses stand in DNS: good if one of them was.
    pub(crate) fn allows_host(&self, domain: &DomainName, host: &DomainName, port: u16) -> Verdict {
        if self.is_free(domain) {
            return Verdict::Good;
        }
        let results = self.lock();
        let seen = results.members.get(domain).into_iter().flatten();
        let here = seen.filter(|seen| {
            self.is_fresh(seen) && seen.place.address.port() == port && seen.place.host.as_ref() == Some(host)
        });
        here.map(|seen| verdict(&seen.result))
            .reduce(|one, other| if one.is_good() { one } else { other })
            .unwrap_or(Verdict::Unknown)
    }

    /// Turns whenever a verdict or a certificate changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The certificates at which chains of `domain` were seen to end, by the keys in its document.
    pub(crate) fn anchors(&self, domain: &DomainName) -> Vec<Arc<CertificateDer<'static>>> {
        let results = self.lock();
        let seen = results.members.get(domain).into_iter().flatten();
        seen.filter_map(|seen| seen.result.as_ref().ok().cloned().flatten()).collect()
    }

    /// Puts `looks` in the place of all that was known of a member.
    pub(super) fn replace(&self, domain: &DomainName, looks: Vec<Look>) {
        let at = Instant::now();
        let new: Vec<Seen> = looks.into_iter().map(|Look { place, result }| Seen { place, at, result }).collect();
        let mut results = self.lock();
        let old = results.members.get(domain).map_or(&[][..], Vec::as_slice);
        let is_change = is_change(old, &new);
        results.set(domain, new);
        drop(results);
        if is_change {
            self.turn();
        }
    }

    /// Notes one look, beside what is known of other targets of the domain.
    pub(super) fn note(&self, domain: &DomainName, is_member: bool, look: Look) {
        let at = Instant::now();
        let seen = Seen { place: look.place, at, result: look.result };
        let mut results = self.lock();
        if !is_member {
            if results.strangers.len() >= MAX_STRANGERS && !results.strangers.contains_key(domain) {
                results.strangers.clear();
            }
            let list = results.strangers.entry(domain.clone()).or_default();
            list.retain(|old| old.place != seen.place && old.at.elapsed() < self.0.max_age);
            list.push(seen);
            return;
        }
        let mut list = results.members.get(domain).cloned().unwrap_or_default();
        let old = list.clone();
        // The address may be known as that of a host: what is seen there counts for it, too.
        let same = |old: &Seen| old.place.address == seen.place.address;
        if list.iter().any(same) {
            for old in list.iter_mut().filter(|old| old.place.address == seen.place.address) {
                (old.at, old.result) = (at, seen.result.clone());
            }
        } else {
            list.retain(|old| old.at.elapsed() < self.0.max_age);
            list.push(seen);
        }
        let is_change = is_change(&old, &list);
        results.set(domain, list);
        drop(results);
        if is_change {
            self.turn();
        }
    }

    /// Whether the last look at this place was good, however long ago.
    pub(super) fn was_good(&self, domain: &DomainName, place: &Place) -> bool {
        let results = self.lock();
        let seen = results.members.get(domain).into_iter().flatten();
        seen.filter(|seen| seen.place == *place).any(|seen| seen.result.is_ok())
    }

    /// The results of places that were good, as they are, to be kept over a time in which nothing can be seen.
    pub(super) fn keep(&self, domain: &DomainName, looks: Vec<Look>) {
        let mut results = self.lock();
        let Some(list) = results.members.get(domain).cloned() else { return };
        let at = Instant::now();
        let new = looks.into_iter().map(|Look { place, result }| {
            let is_ours = result.as_ref().is_err_and(|fault| fault.kind == BadKind::Network);
            let old = list.iter().find(|old| old.place == place && old.result.is_ok() && is_ours);
            old.cloned().unwrap_or(Seen { place, at, result })
        });
        let new: Vec<Seen> = new.collect();
        let is_change = is_change(&list, &new);
        results.set(domain, new);
        drop(results);
        if is_change {
            self.turn();
        }
    }

    /// Forgets all of a domain.
    pub(super) fn forget(&self, domain: &DomainName) {
        let mut results = self.lock();
        results.strangers.remove(domain);
        let is_change = results.members.contains_key(domain);
        results.set(domain, Vec::new());
        drop(results);
        if is_change {
            self.turn();
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn known(&self, domain: &DomainName, address: SocketAddr) -> Option<(Verdict, Duration)> {
        if self.is_free(domain) {
            return Some((Verdict::Good, Duration::ZERO));
        }
        let results = self.lock();
        let list = results.members.get(domain).or_else(|| results.strangers.get(domain))?;
        let seen = list.iter().find(|seen| seen.place.address == address && self.is_fresh(seen))?;
        Some((verdict(&seen.result), seen.at.elapsed()))
    }

    /// Whether nothing of this domain's targets is looked at.
    fn is_free(&self, domain: &DomainName) -> bool {
        !self.0.is_enforced || self.0.own.as_ref() == Some(domain)
    }

    fn is_fresh(&self, seen: &Seen) -> bool {
        seen.at.elapsed() < self.0.max_age
    }

    fn turn(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Results> {
        // Whole between any two statements that could panic.
        self.0.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Results {
    fn set(&mut self, domain: &DomainName, list: Vec<Seen>) {
        let count = |list: &[Seen]| list.iter().filter(|seen| seen.result.is_ok()).count();
        if let Some(old) = self.members.get(domain) {
            let good = count(old);
            self.counts.good -= good;
            self.counts.bad -= old.len() - good;
        }
        if list.is_empty() {
            self.members.remove(domain);
            return;
        }
        let good = count(&list);
        self.counts.good += good;
        self.counts.bad += list.len() - good;
        self.members.insert(domain.clone(), list);
    }
}

pub(super) fn verdict<T>(result: &Result<T, Fault>) -> Verdict {
    match result {
        Ok(_) => Verdict::Good,
        Err(fault) => Verdict::Bad(Arc::clone(&fault.reason)),
    }
}

/// Whether anybody who reads results would do something else than before; reasons do not count.
fn is_change(old: &[Seen], new: &[Seen]) -> bool {
    let says = |seen: &Seen| seen.result.as_ref().ok().cloned();
    old.len() != new.len()
        || new.iter().any(|seen| {
            let before = old.iter().find(|old| old.place == seen.place);
            before.is_none_or(|before| says(before) != says(seen))
        })
}
