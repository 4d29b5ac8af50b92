//! The table of leases, with times as arguments.

use super::*;

const NOW: u64 = 1_700_000_000;
const DAY: u64 = 86_400;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn active(until: u64) -> Standing {
    Standing::begin(NodeState::Active, NOW, until)
}

fn table() -> Leases {
    let leases = Leases::new(LeaseTimes::default(), NOW);
    leases.set(&name("a.test"), &active(NOW + 3_600), 3_600);
    leases
}

fn due(leases: &Leases, now: u64) -> Vec<Move> {
    leases.take_due(now, 10).iter().map(|due| due.lead).collect()
}

#[test]
fn an_entry_is_16_octets() {
    assert_eq!(size_of::<Entry>(), 16);
    for state in NodeState::ALL {
        let standing = Standing { lease_warned: NOW - 9, ..Standing::begin(state, NOW, NOW) };
        let entry = Entry::new(1, &standing, NOW, 2_592_000);
        assert_eq!((entry.state(), entry.lease(), entry.is_unwritten()), (state, 2_592_000, false));
        assert_eq!(entry.is_warned(), state.keeps_lease());
    }
}

#[test]
fn each_state_has_its_time() {
    let leases = table();
    assert_eq!(due(&leases, NOW + 2_699), []);
    assert_eq!(due(&leases, NOW + 2_700), [Move::Warn]);
    assert_eq!(due(&leases, NOW + 3_599), []);
    assert_eq!(due(&leases, NOW + 3_600), [Move::To(NodeState::Stale)]);
    let stale = NOW + 3_600;
    assert_eq!(due(&leases, stale + DAY - 1), []);
    // A walk that comes late prolongs: each state has its whole time.
    let withdrawn = stale + DAY + 5;
    assert_eq!(due(&leases, withdrawn), [Move::To(NodeState::Withdrawn)]);
    assert_eq!(due(&leases, withdrawn + 7 * DAY - 1), []);
    assert_eq!(due(&leases, withdrawn + 7 * DAY), [Move::To(NodeState::Tombstone)]);
    let tombstone = withdrawn + 7 * DAY;
    assert_eq!(due(&leases, tombstone + 30 * DAY - 1), []);
    assert_eq!(due(&leases, tombstone + 30 * DAY), [Move::Forget]);
}

#[test]
fn renewals_are_written_seldom() {
    let leases = table();
    let mut writes = 0;
    for second in 0..7_200 {
        let renewal = leases.renew(&name("a.test"), NOW + second);
        let until = NOW + second + 3_600;
        assert_eq!(renewal, Renewal::Done(Lease { state: NodeState::Active, seconds: 3_600, until }));
        writes += leases.take_unwritten(10).len();
    }
    assert!((7..=9).contains(&writes), "7,200 renewals took {writes} writes, one in {LEAST_LAG} s is due");
    assert_eq!(leases.renew(&name("b.test"), NOW), Renewal::Unknown);
}

#[test]
fn what_was_not_written_is_offered_again() {
    let leases = table();
    leases.renew(&name("a.test"), NOW + 2_000);
    let taken = leases.take_unwritten(10);
    assert_eq!((taken.len(), leases.take_unwritten(10).len()), (1, 0));
    leases.keep_unwritten(taken.iter().map(|(key, _)| *key));
    assert_eq!(leases.take_unwritten(10), taken);
}

#[test]
fn a_move_that_failed_is_due_again() {
    let leases = table();
    let taken = leases.take_due(NOW + 3_600, 10);
    assert_eq!(leases.renew(&name("a.test"), NOW + 3_600), Renewal::Returns, "not behind the writer's back");
    taken.iter().for_each(|due| leases.undo(due));
    assert_eq!(due(&leases, NOW + 3_600), [Move::To(NodeState::Stale)]);
}

#[test]
fn each_lease_is_announced_once() {
    let leases = table();
    let a = name("a.test");
    assert_eq!(due(&leases, NOW + 2_700), [Move::Warn]);
    leases.renew(&a, NOW + 2_800);
    assert!(!leases.is_warned(key_of(&a)), "renewed: another lease");
    assert_eq!(due(&leases, NOW + 2_800 + 2_699), []);
    let taken = leases.take_due(NOW + 2_800 + 2_700, 10);
    leases.renew(&a, NOW + 6_000);
    taken.iter().for_each(|due| leases.undo(due));
    assert_eq!(leases.until(&a), Some(NOW + 9_600), "what was not written takes no renewal back");
    assert_eq!(due(&leases, NOW + 9_000), [Move::Warn]);
    // As it is set anew when something else of the registration changes.
    for (warned, again) in [(NOW + 9_000, false), (NOW + 6_000, true), (0, true), (NOW + 9_601, true)] {
        leases.set(&a, &Standing { lease_warned: warned, ..active(NOW + 9_600) }, 3_600);
        assert_eq!(due(&leases, NOW + 9_000) == [Move::Warn], again, "{warned}");
    }
}

#[test]
fn a_long_stop_gives_a_grace_and_the_lag() {
    for (until, lease, warned, end) in [
        (NOW - DAY, 7 * 86_400, Some(NOW + 1_800), NOW + 3_600), // over: an hour to renew in
        (NOW - DAY, 600, None, NOW + 600),                       // a short lease has a short grace
        // Running: what may not have been written. No warning at once, although less than a quarter is left.
        (NOW, 7 * 86_400, Some(NOW + 37_800), NOW + 75_600),
        (NOW + DAY, 7 * 86_400, Some(NOW + 81_000), NOW + 162_000),
        (NOW + 3 * DAY, 7 * 86_400, Some(NOW + 183_600), NOW + 334_800), // more than half is left
        (NOW + 900 * DAY, 7 * 86_400, Some(NOW + 453_600), NOW + 7 * DAY), // written by a clock that was wrong
        (0, 7 * 86_400, Some(NOW + 453_600), NOW + 7 * DAY),             // from before there were leases
    ] {
        let mut leases = Leases::new(LeaseTimes::default(), NOW);
        leases.load(&name("a.test"), &active(until), lease);
        leases.loaded();
        assert_eq!(leases.until(&name("a.test")), Some(end), "{until} {lease}");
        if let Some(warned) = warned {
            assert_eq!(due(&leases, warned - 1), [], "{until} {lease}");
            assert_eq!(due(&leases, warned), [Move::Warn], "{until} {lease}");
        }
        assert_eq!(due(&leases, end - 1), [], "{until} {lease}");
        assert_eq!(due(&leases, end), [Move::To(NodeState::Stale)], "{until} {lease}");
    }
}

#[test]
fn limits_leave_the_rest_for_the_next_walk() {
    let leases = Leases::new(LeaseTimes::default(), NOW);
    for index in 0..1_000 {
        leases.set(&name(&format!("n{index}.test")), &active(NOW), 60);
    }
    let mut moved = 0;
    loop {
        let taken = leases.take_due(NOW + 60, 64).len();
        assert!(taken <= 64);
        if taken == 0 {
            break;
        }
        moved += taken;
    }
    assert_eq!((moved, leases.len()), (1_000, 1_000));
    leases.remove(&name("n7.test"));
    assert_eq!((leases.len(), leases.until(&name("n7.test"))), (999, None));
}

#[test]
fn jumps_of_the_clock() {
    let leases = table();
    leases.jumped_forward(NOW + 400 * DAY);
    assert_eq!(due(&leases, NOW + 400 * DAY + 1_799), [], "grace");
    assert_eq!(due(&leases, NOW + 400 * DAY + 3_599), [Move::Warn], "still");
    assert_eq!(leases.until(&name("a.test")), Some(NOW + 400 * DAY + 3_600));
    let leases = table();
    leases.jumped_back(NOW - 400 * DAY);
    assert_eq!(leases.until(&name("a.test")), Some(NOW - 400 * DAY + 3_600), "not for ever");
    assert_eq!(due(&leases, NOW - 400 * DAY + 3_600), [Move::To(NodeState::Stale)]);
}
