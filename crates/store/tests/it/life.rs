//! The life of registrations: states, leases, actions, and what is held while nothing is shown.

use std::sync::atomic::Ordering;

use tandem_model::{E164Number, NodeParts, NumberClaim};
use tandem_store::backend::JournalKind;
use tandem_store::{
    ActError, Action, Conditions, DeregisterError, Effect, LeaseTimes, Refusal, RegisterError, RenewError, Standing,
};
use tandem_zone::ConflictKind;

use super::*;

const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;
/// The default lease.
const LEASE: u64 = 7 * DAY;

fn holder() -> Actor {
    Actor::new("holder", Scope::Nodes(vec![name("a.ostel.me")]))
}

/// Two clocks that a test sets apart.
struct Clocks {
    wall: TestClock,
    monotonic: TestClock,
}

impl Clocks {
    fn new() -> Self {
        Self { wall: TestClock::new(), monotonic: TestClock::new() }
    }

    fn advance(&self, seconds: u64) {
        self.wall.advance(seconds);
        self.monotonic.advance(seconds);
    }

    fn open(&self, backend: &Arc<Scripted>) -> Directory {
        let conditions = Conditions { monotonic: self.monotonic.clock(), ..self.wall.clock().into() };
        let backend: Arc<dyn Backend> = Arc::clone(backend) as Arc<dyn Backend>;
        Directory::open_with(backend, Path::new("store"), settings(), statics(), conditions).unwrap()
    }
}

/// Walks until nothing is left to do.
async fn walk(directory: &Directory) {
    while directory.walk_leases().await.unwrap() {}
}

async fn standing(directory: &Directory, domain: &str) -> Option<Standing> {
    directory.node(&name(domain)).await.unwrap().map(|registered| registered.standing)
}

async fn state(directory: &Directory, domain: &str) -> Option<NodeState> {
    standing(directory, domain).await.map(|standing| standing.state)
}

/// The SRV priority that DNS shows; `None` when the node is in no zone.
fn priority(directory: &Directory, domain: &str) -> Option<u16> {
    let mut text = String::new();
    let zones = directory.live().load();
    zones.print(zones.zone(&name("peers.test")).unwrap(), &mut text).unwrap();
    let owner = format!("_sips._tcp.{domain}.peers.test.");
    let line = text.lines().find(|line| line.starts_with(&owner))?;
    let words: Vec<_> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "SRV").unwrap();
    Some(words[at + 1].parse().unwrap())
}

async fn act(directory: &Directory, action: Action, by: &Actor) -> Result<Receipt, ActError> {
    directory.act(&name("a.ostel.me"), action, Some("because".into()), Precondition::None, by).await
}

#[tokio::test]
async fn time_leads_through_all_states() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    let mut told = directory.changes();
    told.mark_unchanged();
    let begin = standing(&directory, "a.ostel.me").await.unwrap();
    assert_eq!((begin.state, begin.since, begin.lease_until), (NodeState::Active, BEGIN, BEGIN + LEASE));
    for (seconds, expected, shown) in [
        (LEASE - 1, Some(NodeState::Active), Some(10)),
        (1, Some(NodeState::Stale), Some(10_010)),
        (LEASE - 1, Some(NodeState::Stale), Some(10_010)),
        (1, Some(NodeState::Withdrawn), None),
        (7 * DAY - 1, Some(NodeState::Withdrawn), None),
        (1, Some(NodeState::Tombstone), None),
        (30 * DAY - 1, Some(NodeState::Tombstone), None),
        (1, None, None),
    ] {
        clocks.advance(seconds);
        walk(&directory).await;
        assert_eq!(state(&directory, "a.ostel.me").await, expected, "after {seconds} s");
        assert_eq!(priority(&directory, "a.ostel.me"), shown, "{expected:?}");
    }
    assert!(told.has_changed().unwrap());
    let moves: Vec<_> = backend
        .journal(8, 99)
        .unwrap()
        .into_iter()
        .map(|e| {
            assert_eq!((e.by.as_deref(), e.subject.as_str()), (None, "a.ostel.me"));
            assert!(e.reason.is_some());
            (e.kind, e.old_state, e.new_state, e.shown_before().is_some(), e.shown_after().is_some())
        })
        .collect();
    assert_eq!(
        moves,
        [
            (JournalKind::LeaseEnding, Some(NodeState::Active), Some(NodeState::Active), true, true),
            (JournalKind::ChangeState, Some(NodeState::Active), Some(NodeState::Stale), true, true),
            (JournalKind::ChangeState, Some(NodeState::Stale), Some(NodeState::Withdrawn), true, false),
            (JournalKind::ChangeState, Some(NodeState::Withdrawn), Some(NodeState::Tombstone), false, false),
            (JournalKind::Deregister, Some(NodeState::Tombstone), None, false, false),
        ]
    );
    // What DNS showed can be told from the journal alone.
    let stale = &backend.journal(9, 1).unwrap()[0];
    let priorities = [stale.shown_before(), stale.shown_after()].map(|node| node.unwrap().targets()[0].priority);
    assert_eq!(priorities, [10, 10_010]);
}

#[tokio::test]
async fn renewals_keep_it_active_and_write_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    let commits = backend.commits.load(Ordering::Relaxed);
    for day in 1..60 {
        clocks.advance(DAY);
        let lease = directory.renew(&name("a.ostel.me"), &holder()).await.unwrap();
        assert_eq!((lease.state, lease.until), (NodeState::Active, BEGIN + day * DAY + LEASE));
        walk(&directory).await;
    }
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Active));
    assert_eq!((backend.commits.load(Ordering::Relaxed), backend.journal(8, 9).unwrap().len()), (commits, 0));
    let kept = backend.node(&name("a.ostel.me")).unwrap().unwrap().standing.lease_until;
    assert_eq!(kept, BEGIN + 59 * DAY + LEASE, "written in bulk");
    let unknown = directory.renew(&name("b.ostel.me"), &holder()).await;
    assert!(matches!(unknown, Err(RenewError::NotFound)), "{unknown:?}");
}

/// What was announced behind serial `after`: who is told, and what.
fn announced(backend: &Scripted, after: u64) -> Vec<(String, Option<Box<str>>)> {
    let entries = backend.journal(after, 99).unwrap().into_iter();
    entries.filter(|e| e.kind == JournalKind::LeaseEnding).map(|e| (e.subject, e.reason)).collect()
}

#[tokio::test]
async fn the_end_of_a_lease_is_announced_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let mut directory = clocks.open(&backend);
    let mut contact = NodeParts::new(name("a.ostel.me"), node("a.ostel.me", "192.0.2.1").targets().to_vec());
    contact.contact = Some("ann@example.org".into());
    let contact = Node::new(contact).unwrap();
    let kept = directory.register(contact, Precondition::None, &admin()).await.unwrap().registered;
    let mut short = node("b.ostel.me", "192.0.2.1");
    short.lease_seconds = Some(3_599);
    directory.register(short, Precondition::None, &admin()).await.unwrap();
    let mut told = directory.changes();
    clocks.advance(LEASE - LEASE / 4 - 1);
    walk(&directory).await;
    assert_eq!(announced(&backend, 8), [], "not before a quarter is left, and no lease that is over too soon");

    told.mark_unchanged();
    backend.fail.store(true, Ordering::Relaxed);
    clocks.advance(1);
    directory.walk_leases().await.unwrap_err();
    backend.fail.store(false, Ordering::Relaxed);
    let serials = (served(&directory, "ostel.me"), served(&directory, "peers.test"));
    walk(&directory).await;
    assert!(told.has_changed().unwrap(), "who follows the changes is told");
    let once = [("a.ostel.me".to_owned(), Some("the lease ends in 42 hours".into()))];
    assert_eq!(announced(&backend, 8), once, "also after the disk failed");
    let entry = backend.journal(8, 99).unwrap().pop().unwrap();
    assert_eq!((entry.by, entry.new_state), (None, Some(NodeState::Active)));
    assert_eq!(entry.after.unwrap().contact.as_deref(), Some("ann@example.org"), "whom to tell");
    // Neither what is registered nor what DNS shows has changed.
    let now = directory.node(&name("a.ostel.me")).await.unwrap().unwrap();
    assert_eq!((now.revision, now.updated, &now.node), (kept.revision, kept.updated, &kept.node));
    assert_eq!(serials, (served(&directory, "ostel.me"), served(&directory, "peers.test")));

    // Not again: neither later, nor after a start, nor because something else changes.
    clocks.advance(HOUR);
    walk(&directory).await;
    act(&directory, Action::Drain, &holder()).await.unwrap();
    walk(&directory).await;
    drop((directory, told, backend));
    backend = Scripted::open(dir.path());
    directory = clocks.open(&backend);
    act(&directory, Action::Restore, &holder()).await.unwrap();
    clocks.advance(DAY);
    walk(&directory).await;
    assert_eq!(announced(&backend, 8), once);
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Active));

    // The next lease has its own.
    let lease = directory.renew(&name("a.ostel.me"), &holder()).await.unwrap();
    walk(&directory).await;
    drop((directory, backend));
    backend = Scripted::open(dir.path());
    directory = clocks.open(&backend);
    clocks.advance(LEASE - 1);
    walk(&directory).await;
    assert_eq!(announced(&backend, 8).len(), 2, "a lease until {}", lease.until);
}

#[tokio::test]
async fn a_late_renewal_or_put_brings_a_node_back() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    clocks.advance(LEASE);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Stale));
    let lease = directory.renew(&name("a.ostel.me"), &holder()).await.unwrap();
    assert_eq!((lease.state, lease.until), (NodeState::Active, BEGIN + 2 * LEASE));
    assert_eq!(priority(&directory, "a.ostel.me"), Some(10));

    clocks.advance(LEASE);
    walk(&directory).await;
    clocks.advance(LEASE);
    walk(&directory).await;
    assert_eq!(
        (state(&directory, "a.ostel.me").await, priority(&directory, "a.ostel.me")),
        (Some(NodeState::Withdrawn), None)
    );
    let again = put(&directory, "a.ostel.me", "192.0.2.1").await;
    assert_eq!((again.effect, priority(&directory, "a.ostel.me")), (Effect::Replaced, Some(10)), "the same document");

    for seconds in [LEASE, LEASE, 7 * DAY] {
        clocks.advance(seconds);
        walk(&directory).await;
    }
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Tombstone));
    let gone = directory.renew(&name("a.ostel.me"), &holder()).await;
    assert!(matches!(gone, Err(RenewError::NotFound)), "the document is forgotten: {gone:?}");
    let made = directory.register(node("a.ostel.me", "192.0.2.9"), Precondition::Absent, &holder()).await.unwrap();
    assert_eq!((made.effect, priority(&directory, "a.ostel.me")), (Effect::Created, Some(10)));
}

#[tokio::test]
async fn names_and_numbers_of_withdrawn_nodes_are_held() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    let with_number = |domain: &str| {
        let mut parts = NodeParts::new(name(domain), node(domain, "192.0.2.1").targets().to_vec());
        parts.numbers = vec![NumberClaim::Number { number: E164Number::parse("+15550101").unwrap(), uri: None }];
        Node::new(parts).unwrap()
    };
    directory.register(with_number("a.ostel.me"), Precondition::None, &admin()).await.unwrap();
    let refused = async |directory: &Directory, node: Node| {
        let rehearsed = directory.rehearse(&node, None, Precondition::None, &admin()).await;
        let refused = directory.register(node, Precondition::None, &admin()).await;
        assert!(matches!(rehearsed, Err(RegisterError::Conflicts(_))) == refused.is_err(), "{rehearsed:?}");
        match refused {
            Err(RegisterError::Conflicts(mut conflicts)) => Some(conflicts.remove(0).kind),
            Err(error) => panic!("{error:?}"),
            Ok(_) => None,
        }
    };
    // The node above it, with a host at its name.
    let mut host = node("ostel.me", "192.0.2.5").targets().to_vec();
    host[0].host = name("a.ostel.me");
    let above = Node::new(NodeParts::new(name("ostel.me"), host)).unwrap();
    for seconds in [LEASE, LEASE] {
        clocks.advance(seconds);
        walk(&directory).await;
    }
    for restarted in [false, true] {
        assert_eq!(
            (state(&directory, "a.ostel.me").await, directory.live().load().node_count()),
            (Some(NodeState::Withdrawn), 0)
        );
        let number = refused(&directory, with_number("b.ostel.me")).await;
        assert!(matches!(number, Some(ConflictKind::NumberTaken(by)) if by == name("a.ostel.me")), "{restarted}");
        let taken = refused(&directory, above.clone()).await;
        assert!(
            matches!(taken, Some(ConflictKind::OtherNode { node, .. }) if node == name("a.ostel.me")),
            "{restarted}"
        );
        if !restarted {
            let more = [statics(), vec![zone("more.test", 1, "")]].concat();
            directory.reload(more).await.unwrap();
        }
    }
    drop(directory);
    drop(backend);
    let backend = Scripted::open(dir.path());
    let directory = clocks.open(&backend);
    assert!(refused(&directory, with_number("b.ostel.me")).await.is_some(), "after a restart too");
    clocks.advance(7 * DAY);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Tombstone));
    let forgotten = directory.node(&name("a.ostel.me")).await.unwrap().unwrap().node;
    assert!(forgotten.numbers.is_empty(), "the document is forgotten");
    assert!(refused(&directory, above.clone()).await.is_some(), "the name is held");
    assert!(refused(&directory, with_number("b.ostel.me")).await.is_none(), "the number is free");
    clocks.advance(30 * DAY);
    walk(&directory).await;
    assert!(refused(&directory, above).await.is_none(), "all is free");
}

#[tokio::test]
async fn a_long_stop_is_no_reason_for_a_mass_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    for index in 0..50 {
        put(&directory, &format!("n{index}.ostel.me"), "192.0.2.1").await;
    }
    drop(directory);
    drop(backend);
    clocks.wall.advance(100 * DAY);
    let backend = Scripted::open(dir.path());
    let directory = clocks.open(&backend);
    let count = async |wanted| {
        directory.list(None, 99).await.unwrap().iter().filter(|registered| registered.standing.state == wanted).count()
    };
    walk(&directory).await;
    clocks.advance(HOUR - 1);
    walk(&directory).await;
    assert_eq!(count(NodeState::Active).await, 50, "all have an hour");
    directory.renew(&name("n7.ostel.me"), &holder()).await.unwrap();
    clocks.advance(1);
    walk(&directory).await;
    assert_eq!((count(NodeState::Active).await, count(NodeState::Stale).await), (1, 49));
    assert_eq!(directory.live().load().node_count(), 50, "and are only demoted then");
    clocks.advance(DAY);
    walk(&directory).await;
    assert_eq!(count(NodeState::Stale).await, 49, "each step has its own time");
}

#[tokio::test]
async fn jumps_of_the_clock_move_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    clocks.wall.advance(1_000 * DAY);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Active), "forward: grace");
    clocks.advance(HOUR);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Stale));
    directory.renew(&name("a.ostel.me"), &holder()).await.unwrap();

    clocks.wall.0.fetch_sub(1_000 * DAY, Ordering::Relaxed);
    walk(&directory).await;
    let now = BEGIN + HOUR;
    assert_eq!(standing(&directory, "a.ostel.me").await.unwrap().lease_until, now + LEASE, "backward: not for ever");
    clocks.advance(LEASE);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Stale));

    // A file written by a clock that was ahead.
    drop(directory);
    drop(backend);
    clocks.wall.0.fetch_sub(900 * DAY, Ordering::Relaxed);
    let backend = Scripted::open(dir.path());
    let directory = clocks.open(&backend);
    clocks.advance(LEASE);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Withdrawn));
}

#[tokio::test]
async fn a_disk_that_fails_stops_no_renewal_and_no_lease_gets_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clocks) = (Scripted::open(dir.path()), Clocks::new());
    let directory = clocks.open(&backend);
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    put(&directory, "b.ostel.me", "192.0.2.1").await;
    backend.fail.store(true, Ordering::Relaxed);
    clocks.advance(LEASE - 1);
    directory.renew(&name("a.ostel.me"), &holder()).await.unwrap();
    clocks.advance(1);
    directory.walk_leases().await.unwrap_err();
    assert_eq!(state(&directory, "b.ostel.me").await, Some(NodeState::Active), "nothing was written, nothing is shown");
    assert_eq!(priority(&directory, "b.ostel.me"), Some(10));
    backend.fail.store(false, Ordering::Relaxed);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Active));
    assert_eq!(state(&directory, "b.ostel.me").await, Some(NodeState::Stale));
}

#[tokio::test]
async fn leases_asked_for_and_leases_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let leases = LeaseTimes { default_seconds: 120, ..LeaseTimes::default() };
    let conditions = Conditions { leases, ..clock.clock().into() };
    let shared: Arc<dyn Backend> = Arc::clone(&backend) as Arc<dyn Backend>;
    let directory = Directory::open_with(shared, Path::new("store"), settings(), statics(), conditions).unwrap();
    let mut asking = node("b.ostel.me", "192.0.2.2");
    asking.lease_seconds = Some(600);
    assert_eq!(put(&directory, "a.ostel.me", "192.0.2.1").await.registered.standing.lease_until, BEGIN + 120);
    let asked = directory.register(asking, Precondition::None, &admin()).await.unwrap();
    assert_eq!(asked.registered.standing.lease_until, BEGIN + 600);
    clock.advance(120);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Stale));
    clock.advance(DAY);
    walk(&directory).await;
    let states = (state(&directory, "a.ostel.me").await, state(&directory, "b.ostel.me").await);
    assert_eq!(states, (Some(NodeState::Withdrawn), Some(NodeState::Stale)));
    let listed = directory.list_in(Some(NodeState::Withdrawn), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|r| r.node.domain().clone()).collect::<Vec<_>>(), [name("a.ostel.me")]);
    assert!(directory.list_in(Some(NodeState::Active), None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn actions_show_at_once_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let missing = act(&directory, Action::Drain, &admin()).await;
    assert!(matches!(missing, Err(ActError::NotFound)), "{missing:?}");
    put(&directory, "a.ostel.me", "192.0.2.1").await;

    let drained = act(&directory, Action::Drain, &holder()).await.unwrap();
    assert_eq!((drained.effect, drained.registered.standing.state), (Effect::Moved, NodeState::Draining));
    assert_eq!((drained.registered.standing.reason.as_deref(), drained.registered.revision), (Some("because"), 9));
    assert_eq!((priority(&directory, "a.ostel.me"), served(&directory, "ostel.me")), (Some(10_010), 9));
    assert_eq!(act(&directory, Action::Drain, &holder()).await.unwrap().effect, Effect::Unchanged);
    let stale =
        directory.act(&name("a.ostel.me"), Action::Restore, None, Precondition::Revision(vec![8]), &holder()).await;
    assert!(matches!(stale, Err(ActError::Stale(Some(9)))), "{stale:?}");
    // A document published meanwhile changes no state.
    put(&directory, "a.ostel.me", "192.0.2.2").await;
    assert_eq!(priority(&directory, "a.ostel.me"), Some(10_010));
    act(&directory, Action::Restore, &holder()).await.unwrap();
    assert_eq!(priority(&directory, "a.ostel.me"), Some(10));

    let refused = act(&directory, Action::Suspend, &holder()).await;
    assert!(matches!(refused, Err(ActError::Refused(Refusal::NeedsAdmin))), "{refused:?}");
    act(&directory, Action::Suspend, &admin()).await.unwrap();
    assert_eq!(priority(&directory, "a.ostel.me"), None);
    // Nothing that the holder can do lifts it: neither by another state, nor by going and coming back.
    act(&directory, Action::Compromised, &holder()).await.unwrap();
    let refused = act(&directory, Action::Restore, &holder()).await;
    assert!(matches!(refused, Err(ActError::Refused(Refusal::NeedsAdmin))), "{refused:?}");
    let refused = directory.deregister(&name("a.ostel.me"), Precondition::None, &holder()).await;
    assert!(matches!(refused, Err(DeregisterError::Held(NodeState::Compromised))), "{refused:?}");
    directory.register(node("a.ostel.me", "192.0.2.3"), Precondition::None, &holder()).await.unwrap();
    assert_eq!(priority(&directory, "a.ostel.me"), None);
    drop(directory);
    drop(backend);
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    let kept = standing(&directory, "a.ostel.me").await.unwrap();
    assert_eq!((kept.state, kept.reason.as_deref(), kept.by_admin), (NodeState::Compromised, Some("because"), true));
    assert_eq!(priority(&directory, "a.ostel.me"), None);
    clock.advance(100 * DAY);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Compromised), "time does not lift it");
    act(&directory, Action::Restore, &admin()).await.unwrap();
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, Some(NodeState::Active), "with time to renew in");
    assert_eq!(priority(&directory, "a.ostel.me"), Some(10));

    let long = directory
        .act(&name("a.ostel.me"), Action::Drain, Some("x".repeat(201).into()), Precondition::None, &admin())
        .await;
    assert!(matches!(long, Err(ActError::Reason)), "{long:?}");
}

#[tokio::test]
async fn pending_nodes_wait_for_an_admin() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    let apply = async || {
        let node = node("a.ostel.me", "192.0.2.1");
        directory.register_in(NodeState::Pending, node, None, Precondition::None, &holder()).await.unwrap()
    };
    assert_eq!((apply().await.effect, priority(&directory, "a.ostel.me")), (Effect::Created, None));
    assert_eq!(apply().await.effect, Effect::Unchanged);
    let refused = act(&directory, Action::Approve, &holder()).await;
    assert!(matches!(refused, Err(ActError::Refused(Refusal::NeedsAdmin))), "{refused:?}");
    act(&directory, Action::Approve, &admin()).await.unwrap();
    assert_eq!(priority(&directory, "a.ostel.me"), Some(10));
    directory.deregister(&name("a.ostel.me"), Precondition::None, &holder()).await.unwrap();

    apply().await;
    assert_eq!(act(&directory, Action::Reject, &admin()).await.unwrap().effect, Effect::Removed);
    assert_eq!(state(&directory, "a.ostel.me").await, None);
    apply().await;
    clock.advance(2 * LEASE);
    walk(&directory).await;
    assert_eq!(state(&directory, "a.ostel.me").await, None, "not approved in time");
}

/// Half a second of one thread is enough for a figure; what must hold is that no commit is needed for it.
#[tokio::test]
async fn renewals_cost_memory_only() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, clock) = (Scripted::open(dir.path()), TestClock::new());
    let directory = backend.directory(&clock).unwrap();
    put(&directory, "a.ostel.me", "192.0.2.1").await;
    backend.hold();
    for _ in 0..20_000 {
        directory.renew(&name("a.ostel.me"), &holder()).await.unwrap();
    }
    backend.release();
}
