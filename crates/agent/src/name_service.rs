//! Name service for this host (decision 41): the copy of the members as a DNS overlay, in front of the host's resolver.
//!
//! One task follows the snapshots and tells the [`Roster`] what became of each member that changed. It costs what changed, so
//! that bad news are in the next answer.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use tandem_dns::overlay::{BlockReason, LiveMembers, Members, News, Overlay, OverlayError, Roster, Settings};
use tandem_model::{DomainName, Node, NodeParts, NumberClaim, Target};
use tandem_zone::Suffixes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::check::Verdicts;
use crate::config::DnsConfig;
use crate::map::MemberMap;
use crate::member::{Member, MemberState};
use crate::service::Parts;
use crate::snapshot::Snapshots;

/// The overlay, and the task that keeps its members in step.
#[derive(Debug)]
pub(crate) struct NameService {
    overlay: Overlay,
    live: LiveMembers,
    roster: Roster,
    /// What the roster knows.
    known: Known,
    verdicts: Verdicts,
    snapshots: Snapshots,
    closing: watch::Receiver<bool>,
}

/// What the roster was told.
#[derive(Debug, Default)]
struct Known {
    members: MemberMap,
    /// Members of which no target was good when it was looked at last, if settings want looks.
    without_good: HashSet<DomainName>,
}

impl NameService {
    /// Binds all addresses of `config` and answers from the newest snapshot.
    ///
    /// # Errors
    ///
    /// [`OverlayError`]: nothing is bound then.
    pub(crate) async fn start(config: &DnsConfig, parts: &Parts) -> Result<Self, OverlayError> {
        let suffixes = Suffixes { peers: config.peers_suffix.clone(), numbers: config.enum_suffixes.clone() };
        let mut settings = Settings::new(config.listen.clone());
        settings.upstreams.clone_from(&config.forward);
        settings.clients.clone_from(&config.clients);
        settings.suffixes = suffixes.clone();
        let mut snapshots = parts.snapshots.clone();
        let first = snapshots.borrow_and_update().members.clone();
        let roster = Roster::new(suffixes);
        let verdicts = parts.verdicts.clone();
        let (roster, known, members) = update(roster, Known::default(), first, verdicts.clone()).await;
        let live = LiveMembers::new(members);
        let overlay = Overlay::start(settings, &live)?;
        parts.board.counts_dns(overlay.stats_reader());
        for address in overlay.local_addrs() {
            parts.board.listens("dns", address);
        }
        Ok(Self { overlay, live, roster, known, verdicts, snapshots, closing: parts.closing.clone() })
    }

    /// Keeps the overlay in step until the agent ends; then all that was asked is answered.
    pub(crate) async fn run(mut self) {
        let mut looks = self.verdicts.changes();
        loop {
            tokio::select! {
                // The copy went before the agent's end: what is known stays.
                changed = self.snapshots.changed() => if changed.is_err() { break },
                changed = looks.changed() => if changed.is_err() { break },
                _ = self.closing.wait_for(|closing| *closing) => break,
            }
            let next = Arc::clone(&self.snapshots.borrow_and_update());
            let verdicts = self.verdicts.clone();
            let (roster, known, members) = update(self.roster, self.known, next.members.clone(), verdicts).await;
            self.live.publish(members);
            (self.roster, self.known) = (roster, known);
        }
        self.overlay.shutdown().await;
    }
}

/// Tells `roster`, which knows `old`, what is different in `new`; gives what it knows then, and the version to publish.
///
/// Beside the tasks: packing 100,000 members at a start takes a while.
async fn update(mut roster: Roster, old: Known, new: MemberMap, verdicts: Verdicts) -> (Roster, Known, Members) {
    let done = spawn_blocking(move || {
        let mut changed: HashSet<DomainName> = new.difference(&old.members).into_iter().collect();
        let mut without_good = HashSet::new();
        if verdicts.is_on() {
            let is_bad = |member: &&Arc<Member>| member.shown().is_some_and(|node| !verdicts.has_good(&node));
            without_good.extend(new.iter().filter(is_bad).map(|member| member.domain.clone()));
            changed.extend(without_good.symmetric_difference(&old.without_good).cloned());
        }
        let told = |domain| news(domain, new.get(domain).map(|it| &**it), without_good.contains(domain));
        let members = roster.update(changed.iter().flat_map(told));
        (roster, Known { members: new, without_good }, members)
    });
    match done.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            // A fault: nobody answers any more, which is noticed, as old members would not be.
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What the roster has to be told of a domain, in order; `is_bad`: none of its targets was good when it was looked at last.
fn news<'m>(
    domain: &'m DomainName,
    member: Option<&'m Member>,
    is_bad: bool,
) -> impl Iterator<Item = (&'m DomainName, News<'m>)> {
    let (former, news) = match member {
        None => (None, News::Gone),
        Some(member) => match member.shown() {
            // Its numbers have to be known to be blocked.
            Some(node) if is_bad => (Some(News::Member(node)), News::Blocked(BlockReason::NoneGood)),
            Some(node) => (None, News::Member(node)),
            // The roster blocks the numbers that it knew; after a restart it knew none.
            None => {
                let former = numbers_only(member).map(|node| News::Member(Cow::Owned(node)));
                (former, News::Blocked(reason(member.state)))
            }
        },
    };
    former.into_iter().chain([news]).map(move |news| (domain, news))
}

const fn reason(state: MemberState) -> BlockReason {
    match state {
        MemberState::Suspended => BlockReason::Suspended,
        MemberState::Compromised => BlockReason::Compromised,
        MemberState::Withdrawn => BlockReason::Withdrawn,
        // Served, but nothing of it is known.
        MemberState::Active | MemberState::Stale | MemberState::Draining => BlockReason::Unusable,
    }
}

/// A node that has only the numbers of one that must not be called; none if it has none. It is blocked before anybody sees it.
fn numbers_only(member: &Member) -> Option<Node> {
    let numbers: Vec<NumberClaim> = member.withheld.to_vec();
    let host = member.domain.clone();
    let target = Target { host, port: std::num::NonZeroU16::MIN, priority: 0, weight: 0, addresses: Vec::new() };
    let parts = NodeParts { numbers, ..NodeParts::new(member.domain.clone(), vec![target]) };
    Node::new(parts).ok().filter(|node| !node.numbers.is_empty())
}
