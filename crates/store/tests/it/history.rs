//! The history of zones after a restart: from each serial that was ever served the difference is the same as before, and
//! applied to what was served then it gives what is served now. Where that cannot be, there is no difference (DNS-72).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use tandem_model::{Found, NumberClaim, Probe, SeenKey, Serial};
use tandem_store::backend::{Act, Step};
use tandem_zone::{Difference, MAX_VERSIONS, RecordChange, Zones};

use super::*;

type Line = (Vec<u8>, u16, u32, Vec<u8>);

/// What was served of each zone at each serial.
type Served = BTreeMap<(DomainName, u32), BTreeSet<Line>>;

const APEXES: [&str; 5] = ["ostel.me", "ostn.test", "peers.test", "policy.test", "e164.test"];

fn zones_with(more: &str) -> Vec<StaticZone> {
    APEXES.iter().map(|apex| zone(apex, 3, if *apex == "ostel.me" { more } else { "" })).collect()
}

fn open(dir: &Path, statics: Vec<StaticZone>) -> (Arc<Scripted>, Directory) {
    let backend = Scripted::open(dir);
    let shared: Arc<dyn Backend> = Arc::clone(&backend) as Arc<dyn Backend>;
    let settings = Settings { policy_zone: Some(name("policy.test")), ..settings() };
    let directory = Directory::open_with(shared, dir, settings, statics, TestClock::new().clock()).unwrap();
    (backend, directory)
}

fn content(zones: &Zones, apex: &DomainName) -> BTreeSet<Line> {
    let mut all = BTreeSet::new();
    zones.walk(zones.zone(apex).unwrap(), |owner, set| {
        for data in set.rdatas() {
            let mut rdata = Vec::new();
            data.write(&mut rdata);
            assert!(all.insert((owner.to_vec(), set.kind().0, set.ttl(), rdata)), "twice: {owner:?}");
        }
        true
    });
    all
}

/// Notes what is served now; a serial never stands for two contents.
fn note(directory: &Directory, served: &mut Served) {
    let zones = directory.live().load();
    for zone in zones.iter() {
        let found = content(&zones, zone.apex());
        let there = served.entry((zone.apex().clone(), zone.serial().value())).or_insert_with(|| found.clone());
        assert_eq!(*there, found, "{} {}", zone.apex(), zone.serial());
    }
}

/// The difference from each serial that was served, checked by what it makes of the content of then.
fn differences(directory: &Directory, served: &Served) -> BTreeMap<(DomainName, u32), Option<Difference>> {
    let now = directory.live().load();
    let line = |change: &RecordChange| (change.owner.to_vec(), change.kind.0, change.ttl, change.rdata.to_vec());
    let told = served.iter().filter(|((apex, serial), _)| now.zone(apex).unwrap().serial().value() != *serial);
    told.map(|((apex, serial), old)| {
        let found = directory.live().difference(&now, apex, Serial::new(*serial), 100_000);
        if let Some((soa, _, difference)) = &found {
            assert_eq!(soa[soa.len() - 20..soa.len() - 16], serial.to_be_bytes(), "{apex}");
            let mut patched = old.clone();
            for gone in &difference.removed {
                assert!(patched.remove(&line(gone)), "{apex} {serial}: {gone}");
            }
            for new in &difference.added {
                assert!(patched.insert(line(new)), "{apex} {serial}: {new}");
            }
            assert_eq!(patched, content(&now, apex), "{apex} {serial}");
        }
        ((apex.clone(), *serial), found.map(|(_, _, difference)| difference))
    })
    .collect()
}

/// The serials from which `apex` has a difference.
fn known(found: &BTreeMap<(DomainName, u32), Option<Difference>>, apex: &str) -> usize {
    found.iter().filter(|((zone, _), difference)| *zone == name(apex) && difference.is_some()).count()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn domain(&mut self) -> String {
        let label = ["a", "b", "c.b", "d"][usize::try_from(self.below(4)).unwrap()];
        let zone = ["ostel.me", "ostn.test", "foreign.example"][usize::try_from(self.below(3)).unwrap()];
        format!("{label}.{zone}")
    }

    fn node(&mut self) -> Node {
        let domain = self.domain();
        let address = format!("192.0.2.{}", 1 + self.below(3));
        let plain = node(&domain, &address);
        let mut parts = NodeParts::new(plain.domain().clone(), plain.targets().to_vec());
        parts.probe = Some(Probe { options: true, tlsa: true });
        parts.targets.push(Target {
            host: name("elsewhere.example"),
            addresses: Vec::new(),
            ..parts.targets[0].clone()
        });
        parts.ttl = Some(60 + u32::try_from(self.below(2)).unwrap());
        // Numbers inside and beside blocks: a block shows at names beside it.
        for _ in 0..self.below(3) {
            let digits = ["+15550", "+155501", "+15550123", "+15559999"][usize::try_from(self.below(4)).unwrap()];
            let claim = if self.below(2) == 0 && digits.len() < 9 {
                NumberClaim::Block(digits.parse().unwrap())
            } else {
                NumberClaim::Number { number: format!("{digits}00").parse().unwrap(), uri: None }
            };
            parts.numbers.push(claim);
        }
        Node::new(parts).unwrap_or(plain)
    }
}

/// Makes changes, some of them in one commit, and notes what is served after each commit.
async fn change(
    backend: &Arc<Scripted>,
    directory: &Directory,
    random: &mut Random,
    rounds: usize,
    served: &mut Served,
) {
    for _ in 0..rounds {
        backend.hold();
        let mut tasks = Vec::new();
        for _ in 0..=random.below(4) {
            let directory = directory.clone();
            let node = random.node();
            let remove = random.below(4) == 0;
            let looked = node.numbers.len();
            tasks.push(tokio::spawn(async move {
                if remove {
                    let _ = directory.deregister(node.domain(), Precondition::None, &admin()).await;
                } else {
                    // A number may be taken.
                    let _ = directory.register(node.clone(), Precondition::None, &admin()).await;
                }
                // What a probe found: one of two targets, or all; keys come and go with them.
                let Ok(Some(Registered { revision, .. })) = directory.node(node.domain()).await else { return };
                let key = SeenKey { sha256: [7; 32], until: None };
                let found = Found::new((looked > 1).then_some(0), vec![key; usize::from(node.ttl == 60)]);
                if looked > 0 {
                    // It may have changed by now.
                    let _ = directory.note(node.domain(), revision, found, "looked at".into()).await;
                }
            }));
            tokio::task::yield_now().await;
        }
        backend.release();
        for task in tasks {
            task.await.unwrap();
        }
        note(directory, served);
    }
}

#[tokio::test]
async fn differences_are_the_same_after_a_restart_dns_72() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let mut served = Served::new();
        let (backend, directory) = open(dir.path(), zones_with(""));
        note(&directory, &mut served);
        change(&backend, &directory, &mut random, 20, &mut served).await;
        let before = differences(&directory, &served);
        assert!(before.values().all(Option::is_some), "nothing is missing before the restart");
        drop((directory, backend));

        let (backend, directory) = open(dir.path(), zones_with(""));
        assert_eq!(differences(&directory, &served), before, "seed {seed}");
        change(&backend, &directory, &mut random, 5, &mut served).await;
        let before = differences(&directory, &served);
        assert!(before.values().all(Option::is_some), "seed {seed}: the history goes on");
        drop((directory, backend));

        // A master file changed while we were away: that zone, and those that show foreign nodes, begin anew.
        let (backend, directory) = open(dir.path(), zones_with("new IN A 192.0.2.9\n"));
        note(&directory, &mut served);
        let after = differences(&directory, &served);
        for (key, difference) in &after {
            let goes_on = ["ostn.test", "e164.test"].map(name).contains(&key.0);
            assert_eq!(*difference, if goes_on { before.get(key).cloned().flatten() } else { None }, "{key:?}");
        }
        change(&backend, &directory, &mut random, 5, &mut served).await;
        let before = differences(&directory, &served);
        for apex in APEXES {
            assert!(known(&before, apex) > 0, "seed {seed}: {apex} has a history again");
        }
        drop((directory, backend));
        let (_backend, directory) = open(dir.path(), zones_with("new IN A 192.0.2.9\n"));
        assert_eq!(differences(&directory, &served), before, "seed {seed}: the second restart");
    }
}

/// A zone that comes or goes moves nodes, also when none was registered at that moment.
#[tokio::test]
async fn zones_that_come_and_go_leave_no_wrong_difference_dns_72() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let mut served = Served::new();
        let all = || zones_with("").into_iter().chain([zone("b.ostel.me", 1, "")]).collect::<Vec<_>>();
        for statics in [zones_with(""), all(), zones_with(""), all()] {
            let (backend, directory) = open(dir.path(), statics);
            served.retain(|(apex, _), _| directory.live().load().zone(apex).is_some());
            note(&directory, &mut served);
            differences(&directory, &served);
            change(&backend, &directory, &mut random, 6, &mut served).await;
            let before = differences(&directory, &served);
            assert!(known(&before, "ostn.test") > 0);
            // Odd seeds leave no node behind.
            if seed % 2 == 1 {
                for registered in directory.list(None, 100).await.unwrap() {
                    directory.deregister(registered.node.domain(), Precondition::None, &admin()).await.unwrap();
                    note(&directory, &mut served);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_ends_the_history_dns_72() {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::new();
    let (backend, directory) = open(dir.path(), zones_with(""));
    note(&directory, &mut served);
    for last in 1..=9 {
        put(&directory, ["a.ostel.me", "b.ostn.test"][last % 2], &format!("192.0.2.{last}")).await;
        note(&directory, &mut served);
    }
    assert_eq!(known(&differences(&directory, &served), "peers.test"), 9);
    drop((directory, backend));
    let tamper = |sql: &str| Connection::open(dir.path().join("tandem.db")).unwrap().execute(sql, []).unwrap();
    let after = |sql: &str| {
        tamper("UPDATE journal SET kind = kind");
        let backup = std::fs::read(dir.path().join("tandem.db")).unwrap();
        assert_eq!(tamper(sql), 1, "{sql}");
        let (backend, directory) = open(dir.path(), zones_with(""));
        let found = known(&differences(&directory, &served), "peers.test");
        drop((directory, backend));
        std::fs::write(dir.path().join("tandem.db"), backup).unwrap();
        found
    };
    let nth = |from_end: usize| format!("serial = (SELECT max(serial) - {from_end} FROM journal)");
    for (what, sql, expected) in [
        ("nothing", format!("UPDATE journal SET time = 1 WHERE {}", nth(3)), 9),
        ("another node", format!("UPDATE journal SET after = before WHERE {}", nth(3)), 3),
        ("an entry is gone", format!("DELETE FROM journal WHERE {}", nth(3)), 3),
        ("written by an old program", format!("UPDATE journal SET zones = NULL WHERE {}", nth(3)), 3),
        ("a zone less", format!("UPDATE journal SET zones = 'peers.test 5' WHERE {}", nth(3)), 3),
        ("no pairs", format!("UPDATE journal SET zones = 'peers.test' WHERE {}", nth(3)), 3),
        ("no document", format!("UPDATE journal SET before = '{{' WHERE {}", nth(3)), 3),
        ("no name", format!("UPDATE journal SET subject = 'a..b' WHERE {}", nth(3)), 3),
    ] {
        assert_eq!(after(&sql), expected, "{what}");
    }
}

/// The journal loses what is old, never the newest entries, and history is kept for so many versions.
#[tokio::test]
async fn old_entries_go_and_the_newest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let backend = Scripted::open(dir.path());
    let directory = backend.directory(&clock).unwrap();
    let first = put(&directory, "a.ostel.me", "192.0.2.1").await;
    drop(directory);
    drop(backend);
    // As if many changes had been made.
    let backend = Scripted::open(dir.path());
    let mut before = first.registered.clone();
    let peers = name("peers.test");
    for _ in 0..50 {
        let serial = before.revision;
        let steps: Vec<Step> = (1..=100)
            .map(|step| {
                let revision = serial + step;
                let last = 1 + revision % 200;
                let now =
                    Registered { node: node("a.ostel.me", &format!("192.0.2.{last}")), revision, ..before.clone() };
                let then = Serial::new(u32::try_from(revision - 1).unwrap());
                let old = Some(NodeState::Active);
                let act = Act::Register { before: Some(before.node.clone()), old, now: now.clone(), document: None };
                before = now;
                Step { serial: revision, by: None, act, zones: vec![(name("ostel.me"), then), (peers.clone(), then)] }
            })
            .collect();
        let touched = vec![(name("ostel.me"), before.revision), (peers.clone(), before.revision)];
        let batch =
            Batch { after: Some(serial), serial: before.revision, time: BEGIN, steps, touched, answers: Vec::new() };
        backend.commit(&batch).unwrap();
    }
    let oldest = |backend: &Scripted| backend.journal(0, 1).unwrap()[0].serial;
    let counted = |backend: &Scripted| backend.journal(0, usize::MAX).unwrap().len();
    let entries = counted(&backend);
    assert!(entries > 5000);
    let directory = backend.directory(&clock).unwrap();
    let zones = directory.live().load();
    let reached = |back: usize| {
        let from = Serial::new(u32::try_from(before.revision).unwrap() - u32::try_from(back).unwrap());
        directory.live().difference(&zones, &peers, from, 100).is_some()
    };
    // In a slow build the time for it may be over sooner.
    assert!(reached(1) && !reached(MAX_VERSIONS + 1));
    assert_eq!(counted(&backend), entries, "nothing is old yet");

    clock.advance(89 * 24 * 60 * 60);
    put(&directory, "b.ostel.me", "192.0.2.1").await;
    clock.advance(24 * 60 * 60);
    backend.fail.store(true, Ordering::Relaxed);
    let refused = directory.register(node("c.ostel.me", "192.0.2.1"), Precondition::None, &admin()).await;
    assert!(refused.is_err() && counted(&backend) == entries + 1, "nothing can be removed now");
    backend.fail.store(false, Ordering::Relaxed);
    clock.advance(24 * 60 * 60);
    put(&directory, "c.ostel.me", "192.0.2.1").await;
    let begin = std::time::Instant::now();
    while counted(&backend) > MAX_VERSIONS {
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{} are left", counted(&backend));
        tokio::task::yield_now().await;
    }
    assert_eq!((counted(&backend), oldest(&backend)), (MAX_VERSIONS, before.revision + 2 + 1 - MAX_VERSIONS as u64));
    drop(directory);
    let directory = backend.inner.journal(0, 1).map(|entries| entries.len());
    assert!(directory.is_err(), "closed");
}

#[test]
fn trimming_is_bounded_and_leaves_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let backend = SqliteBackend::open(dir.path()).unwrap();
    for (index, time) in [5, 6, 20, 7, 21, 22].into_iter().enumerate() {
        let revision = 1 + index as u64;
        let standing = tandem_store::Standing::begin(NodeState::Active, 1, 2);
        let node = node("a.ostel.me", "192.0.2.1");
        let now = Registered { node, revision, created: 1, updated: 1, standing, identity: None };
        let old = (index > 0).then_some(NodeState::Active);
        let act = Act::Register { before: None, old, now, document: None };
        let steps = vec![Step { serial: revision, by: None, act, zones: Vec::new() }];
        let after = (index > 0).then_some(revision - 1);
        backend
            .commit(&Batch { after, serial: revision, time, steps, touched: Vec::new(), answers: Vec::new() })
            .unwrap();
    }
    let serials = || backend.journal(0, 99).unwrap().iter().map(|entry| entry.serial).collect::<Vec<_>>();
    let mut back = Vec::new();
    backend
        .journal_back(&mut |entry| {
            back.push(entry.serial);
            back.len() < 4
        })
        .unwrap();
    assert_eq!(back, [6, 5, 4, 3]);
    for (before, keep, most, gone, left) in [
        (5, 0, 9, 0, vec![1, 2, 3, 4, 5, 6]),
        (10, 6, 9, 0, vec![1, 2, 3, 4, 5, 6]),
        (10, 5, 9, 1, vec![2, 3, 4, 5, 6]),
        // Entry 4 is old, but 3 in front of it is not: the clock was set back.
        (10, 1, 9, 1, vec![3, 4, 5, 6]),
        (10, 1, 9, 0, vec![3, 4, 5, 6]),
        (30, 1, 2, 2, vec![5, 6]),
        (30, 1, 2, 1, vec![6]),
        (30, 1, 2, 0, vec![6]),
    ] {
        assert_eq!((backend.trim_journal(before, keep, most).unwrap(), serials()), (gone, left));
    }
}
