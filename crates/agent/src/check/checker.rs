//! When members are looked at: at once when they are new or changed, then again before a result is too old, and less often
//! when they fail. One task owns all of it; looks are its children.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::node::KeyPin;
use tandem_model::{DomainName, Node};
use tandem_resolver::{NameServers, Resolver, Settings};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::authorities::{self, Authorities};
use super::look::{BadKind, Look, Looker, Place};
use super::pace::{OurHealth, wait};
use super::results::{Request, Verdict, Verdicts, verdict};
use crate::clock;
use crate::config::Config;
use crate::map::MemberMap;
use crate::member::Member;
use crate::service::StartError;
use crate::snapshot::Snapshots;
use crate::status::{Board, CheckStatus};

/// Members looked at at a time.
const PARALLEL: usize = 32;
/// Looks at a time for which calls wait.
const MAX_WANTED: usize = 64;
/// Waiting in line for the system's name servers is not part of a look; a second is enough for everything else.
const SLACK: Duration = Duration::from_secs(1);
/// Bad members that the board names.
const MAX_LISTED: usize = 100;
/// The parts into which time is spread.
const CHANCES: u64 = 1024;

/// The task that looks.
#[derive(Debug)]
pub(crate) struct Checker {
    looker: Looker,
    verdicts: Verdicts,
    max_age: Duration,
    own: Option<DomainName>,
    requests: mpsc::Receiver<Request>,
    snapshots: Snapshots,
    board: Arc<Board>,
    closing: watch::Receiver<bool>,
    /// The members as they were planned.
    known: MemberMap,
    agenda: Agenda,
    /// Looks in a row that failed, of members of which the last one did.
    failed: HashMap<DomainName, u32>,
    /// Members whose last look found something bad, and what; at most [`MAX_LISTED`].
    listed: BTreeMap<String, String>,
    ours: OurHealth,
    /// Members that are being looked at.
    busy: HashSet<DomainName>,
    /// Who waits for which look.
    wanted: HashMap<(DomainName, SocketAddr), Vec<oneshot::Sender<Verdict>>>,
    under_way: JoinSet<Done>,
}

/// What a look came to.
#[derive(Debug)]
enum Done {
    Member(Arc<Member>, Vec<Look>),
    Wanted(DomainName, Vec<KeyPin>, SocketAddr, Look),
}

impl Checker {
    /// For the looks that `config` asks for, as far as nobody was started yet; with the authorities that it believes.
    pub(crate) fn new(
        config: &Config,
        snapshots: Snapshots,
        board: Arc<Board>,
        closing: watch::Receiver<bool>,
    ) -> Result<(Self, Verdicts, Authorities), StartError> {
        let check = &config.check;
        let authorities = authorities::load(check.authorities.as_deref())?;
        // Whom routes ask: the agent's own name service may be the system's.
        let servers = NameServers::only_or_system(config.route.name_servers.clone());
        let looker = Looker::new(check, &authorities, Resolver::new(Settings { servers, ..Settings::default() })?);
        let own = config.node.as_ref().map(|node| node.domain.clone());
        let max_age = Duration::from_secs(check.max_age_seconds);
        let longest = Duration::from_secs(check.timeout_seconds) + SLACK;
        let (verdicts, requests) = Verdicts::new(check.certificates, own.clone(), max_age, longest);
        let this = Self {
            looker,
            verdicts: verdicts.clone(),
            max_age,
            own,
            requests,
            snapshots,
            board,
            closing,
            known: MemberMap::default(),
            agenda: Agenda::default(),
            failed: HashMap::new(),
            listed: BTreeMap::new(),
            ours: OurHealth::default(),
            busy: HashSet::new(),
            wanted: HashMap::new(),
            under_way: JoinSet::new(),
        };
        Ok((this, verdicts, authorities))
    }

    /// Looks until the agent ends.
    pub(crate) async fn run(mut self) {
        self.follow();
        self.tell();
        loop {
            let next = self.agenda.next();
            let may_begin = self.busy.len() < PARALLEL;
            tokio::select! {
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                Some(done) = self.under_way.join_next() => match done {
                    Ok(done) => self.take(done),
                    // A look that panicked would be missing for ever.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Some(request) = self.requests.recv(), if self.wanted.len() < MAX_WANTED => self.want(request),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if may_begin && next.is_some() => self.begin(),
                _ = self.closing.changed() => return,
            }
        }
    }

    /// Plans looks at members that are new or changed, and forgets those that must not be called.
    fn follow(&mut self) {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let before = std::mem::replace(&mut self.known, snapshot.members.clone());
        for domain in snapshot.members.difference(&before) {
            let new = snapshot.members.get(&domain).filter(|member| member.shown().is_some());
            let new = new.and_then(|member| member.node.as_deref()).filter(|_| self.own.as_ref() != Some(&domain));
            let old = before.get(&domain).and_then(|member| member.node.as_deref());
            match (new, old) {
                (None, _) => {
                    self.verdicts.forget(&domain);
                    self.agenda.remove(&domain);
                    self.failed.remove(&domain);
                    self.listed.remove(&domain.to_string());
                }
                (Some(new), Some(old)) if is_same(new, old) && self.is_planned(&domain) => {}
                (Some(new), old) => {
                    // What was judged by other keys says nothing.
                    if old.is_none_or(|old| old.keys != new.keys) {
                        self.verdicts.forget(&domain);
                    }
                    self.failed.remove(&domain);
                    self.agenda.plan(domain, Instant::now());
                }
            }
        }
        self.tell();
    }

    fn is_planned(&self, domain: &DomainName) -> bool {
        self.agenda.has(domain) || self.busy.contains(domain)
    }

    /// Begins with the member that is due first.
    fn begin(&mut self) {
        let Some(domain) = self.agenda.take_due(Instant::now()) else { return };
        let Some(member) = self.known.get(&domain).cloned() else { return };
        if !self.busy.insert(domain.clone()) {
            // It changed while it is looked at: once more afterwards.
            let soon = Instant::now() + SLACK;
            self.agenda.plan(domain, soon);
            return;
        }
        let looker = self.looker.clone();
        self.under_way.spawn(async move {
            let looks = looker.member(&member).await;
            Done::Member(member, looks)
        });
    }

    /// Begins with a look that somebody waits for, unless it is under way.
    fn want(&mut self, request: Request) {
        let Request { domain, address, reply } = request;
        let member = self.known.get(&domain);
        if member.is_some_and(|member| member.node.is_none()) {
            let _ = reply.send(Verdict::Bad("the member must not be called".into()));
            return;
        }
        let keys = member.and_then(|member| member.node.as_deref()).map_or_else(Vec::new, |node| node.keys.clone());
        let waiting = self.wanted.entry((domain.clone(), address)).or_default();
        waiting.push(reply);
        if waiting.len() > 1 {
            return;
        }
        let looker = self.looker.clone();
        self.under_way.spawn(async move {
            let look = looker.place(Place { host: None, address }, &domain, &keys).await;
            Done::Wanted(domain, keys, address, look)
        });
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Member(member, looks) => self.take_member(&member, looks),
            Done::Wanted(domain, keys, address, look) => {
                let node = self.known.get(&domain).and_then(|member| member.node.as_deref());
                let is_current = node.map_or(keys.is_empty(), |node| node.keys == keys);
                let verdict = if is_current { verdict(&look.result) } else { Verdict::Unknown };
                if is_current {
                    let is_member = node.is_some();
                    self.verdicts.note(&domain, is_member, look);
                }
                for reply in self.wanted.remove(&(domain, address)).into_iter().flatten() {
                    // Who does not wait any more needs no answer.
                    let _ = reply.send(verdict.clone());
                }
            }
        }
        self.tell();
    }

    fn take_member(&mut self, member: &Member, looks: Vec<Look>) {
        let domain = &member.domain;
        self.busy.remove(domain);
        let current = self.known.get(domain).and_then(|member| member.node.as_deref());
        match (current, member.node.as_deref()) {
            (Some(current), Some(then)) if is_same(current, then) => {}
            // It was planned anew when it changed.
            _ => return,
        }
        for look in &looks {
            let failed = look.result.as_ref().is_err_and(|fault| fault.kind == BadKind::Network);
            if self.verdicts.was_good(domain, &look.place) {
                self.ours.note(failed);
            }
        }
        let fault = looks.iter().find_map(|look| look.result.as_ref().err().cloned());
        let has_failed = fault.is_some() || looks.is_empty();
        match fault {
            Some(fault) if self.listed.len() < MAX_LISTED => {
                self.listed.insert(domain.to_string(), fault.reason.to_string());
            }
            Some(_) => {}
            None => {
                self.listed.remove(&domain.to_string());
            }
        }
        let failed = match has_failed {
            true => self.failed.get(domain).copied().unwrap_or(0).saturating_add(1),
            false => 0,
        };
        match failed {
            0 => self.failed.remove(domain),
            failed => self.failed.insert(domain.clone(), failed),
        };
        let is_ours = self.ours.is_ill();
        // While our own network is ill, what was good stays so until it is too old, and nobody is left alone for long.
        let failed = if is_ours { failed.min(1) } else { failed };
        match is_ours {
            true => self.verdicts.keep(domain, looks),
            false => self.verdicts.replace(domain, looks),
        }
        let chance = u32::try_from(clock::spread(CHANCES)).unwrap_or_default();
        let at = Instant::now() + wait(self.max_age, failed, chance);
        self.agenda.plan_unless_sooner(domain, at);
    }

    fn tell(&self) {
        let counts = self.verdicts.counts();
        self.board.check(|status: &mut CheckStatus| {
            status.good = counts.good;
            status.bad = counts.bad;
            status.members = self.agenda.len() + self.busy.len();
            status.at_fault = self.listed.clone();
            status.own_fault = self.ours.is_ill();
        });
    }
}

/// Whether looks at one are looks at the other.
fn is_same(one: &Node, other: &Node) -> bool {
    one.keys == other.keys && one.targets() == other.targets()
}

/// Who is looked at when; each domain once.
#[derive(Debug, Default)]
struct Agenda {
    in_order: BTreeMap<(Instant, u64), DomainName>,
    planned: HashMap<DomainName, (Instant, u64)>,
    last: u64,
}

impl Agenda {
    fn next(&self) -> Option<Instant> {
        self.in_order.first_key_value().map(|((at, _), _)| *at)
    }

    fn len(&self) -> usize {
        self.planned.len()
    }

    fn has(&self, domain: &DomainName) -> bool {
        self.planned.contains_key(domain)
    }

    fn plan(&mut self, domain: DomainName, at: Instant) {
        self.remove(&domain);
        self.last += 1;
        self.planned.insert(domain.clone(), (at, self.last));
        self.in_order.insert((at, self.last), domain);
    }

    fn plan_unless_sooner(&mut self, domain: &DomainName, at: Instant) {
        if self.planned.get(domain).is_none_or(|(planned, _)| *planned > at) {
            self.plan(domain.clone(), at);
        }
    }

    fn remove(&mut self, domain: &DomainName) {
        if let Some(place) = self.planned.remove(domain) {
            self.in_order.remove(&place);
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<DomainName> {
        let place = *self.in_order.first_key_value().filter(|((at, _), _)| *at <= now)?.0;
        let domain = self.in_order.remove(&place)?;
        self.planned.remove(&domain);
        Some(domain)
    }
}
