//! Days of looks in moments: the clock is an argument.

use std::net::Ipv4Addr;

use tandem_model::{NodeParts, Probe};

use super::*;

const PACE: Pace = Pace { interval: Duration::from_secs(300), failures: 3 };

fn name(at: usize) -> DomainName {
    DomainName::parse(&format!("n{at}.test")).unwrap()
}

fn node(at: usize, hosts: &[&str]) -> Node {
    let target = |host: &&str| Target {
        host: DomainName::parse(&format!("{host}.n{at}.test")).unwrap(),
        port: NonZeroU16::new(5061).unwrap(),
        priority: 10,
        weight: 0,
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
    };
    let parts = NodeParts::new(name(at), hosts.iter().map(target).collect());
    Node::new(NodeParts { probe: Some(Probe { options: true, tlsa: true }), ..parts }).unwrap()
}

/// A directory of some nodes, its clock, and who is down in it.
struct World {
    plan: Plan,
    nodes: Vec<Node>,
    start: Instant,
    now: Instant,
    /// Draws that differ, and are the same in each run.
    drawn: u32,
    /// Looks, each with its time and target.
    looks: Vec<(Duration, usize, String)>,
    turns: Vec<(Duration, usize, Turn)>,
}

impl World {
    fn new(nodes: Vec<Node>) -> Self {
        let start = Instant::now();
        let plan = Plan::new(PACE, 50);
        let mut world = Self { plan, nodes, start, now: start, drawn: 1, looks: Vec::new(), turns: Vec::new() };
        world.follow();
        world
    }

    fn follow(&mut self) {
        let list = self.nodes.iter().map(|node| (node.domain().clone(), 1)).collect();
        let drawn = &mut self.drawn;
        self.plan.follow(&list, self.now, || draw(drawn));
    }

    /// Lets `time` pass; `is_well` says how it is with a target at a time.
    fn run(&mut self, time: Duration, is_well: impl Fn(Duration, usize, &str) -> bool) {
        let end = self.now + time;
        while let Some(due) = self.plan.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let Some(job) = self.plan.take(self.now) else { panic!("it is due") };
            let (Job::Read(domain) | Job::Look(domain, _)) = &job;
            let Some(at) = self.nodes.iter().position(|node| node.domain() == domain) else {
                panic!("{domain} is gone")
            };
            let drawn = &mut self.drawn;
            self.plan.learn(&self.nodes[at], self.now, || draw(drawn));
            let Job::Look(domain, spot) = job else { continue };
            let since = self.now - self.start;
            let well = is_well(since, at, &spot.host.to_string());
            self.looks.push((since, at, spot.host.to_string()));
            let seen = Seen { succeeded: Some(well), ..Seen::default() };
            let turn = self.plan.end(&domain, &spot, seen, self.now, draw(&mut self.drawn));
            if turn != Turn::Same {
                self.turns.push((since, at, turn));
            }
            self.nodes[at].found = self.plan.found(&self.nodes[at], 0, 0);
        }
        self.now = end;
    }

    fn down(&self) -> usize {
        self.nodes.iter().flat_map(|node| node.found.down()).count()
    }
}

fn draw(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state
}

fn many(count: usize) -> Vec<Node> {
    (0..count).map(|at| node(at, &["a", "b"])).collect()
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn looks_are_spread_and_each_has_its_turn() {
    let mut world = World::new(many(100));
    world.run(HOUR, |_, _, _| true);
    assert!(world.turns.is_empty());
    let per_second = |second: u64| world.looks.iter().filter(|(at, ..)| at.as_secs() == second).count();
    let most = (0..3600).map(per_second).max().unwrap();
    assert!(most <= 12, "200 targets in 300 seconds, and {most} in one");
    for at in 0..100 {
        let looks = world.looks.iter().filter(|(_, node, _)| *node == at).count();
        assert!((18..=32).contains(&looks), "{looks} looks at two targets in an hour");
    }
}

#[test]
fn one_that_fails_is_demoted_and_comes_back() {
    let mut world = World::new(many(10));
    let fails = |from: u64, until: u64| {
        move |at: Duration, node: usize, host: &str| {
            !(node == 3 && host.starts_with("a") && (from..until).contains(&at.as_secs()))
        }
    };
    world.run(HOUR, fails(600, 3600));
    assert_eq!(world.nodes[3].found.down().collect::<Vec<_>>(), [0]);
    let [(at, 3, Turn::Down)] = world.turns[..] else { panic!("{:?}", world.turns) };
    // At most a quarter over an interval until the first failure is seen, then two sooner ones.
    assert!((600..600 + 375 + 2 * 94).contains(&at.as_secs()), "{at:?}");
    assert_eq!(world.down(), 1);
    // Seldom, as long as it fails.
    let looks = world.looks.iter().filter(|(when, node, host)| *node == 3 && host.starts_with("a.") && *when > at);
    let looks = looks.count();
    assert!((1..=5).contains(&looks), "{looks} looks");
    world.run(HOUR * 3, |_, _, _| true);
    assert_eq!(world.down(), 0);
    assert_eq!(world.turns.last().map(|(_, node, turn)| (*node, *turn)), Some((3, Turn::Up)));
}

/// Threat 19: when all fail, nobody is demoted for it but the few that failed first; what fails alone afterwards is.
#[test]
fn a_mass_failure_is_ours() {
    let mut world = World::new(many(50));
    world.run(HOUR, |_, _, _| true);
    world.run(HOUR * 6, |_, _, _| false);
    assert!(world.plan.is_held());
    let demoted = world.turns.iter().filter(|(.., turn)| *turn == Turn::Down).count();
    assert!(demoted <= 20, "{demoted} of 100");
    assert!(world.turns.iter().any(|(.., turn)| *turn == Turn::Held));
    world.run(HOUR * 3, |_, _, _| true);
    assert!(!world.plan.is_held());
    assert_eq!(world.down(), 0);
    world.run(HOUR, |_, node, host| !(node == 7 && host.starts_with("b")));
    assert_eq!((world.down(), world.nodes[7].found.is_down(1)), (1, true));
}

/// Less than half at once is not taken for ours, but takes its time: a fifth in one interval.
#[test]
fn not_all_at_once() {
    let mut world = World::new(many(50));
    world.run(HOUR, |_, _, _| true);
    let begin = world.now - world.start;
    world.run(HOUR * 3, |_, node, _| node >= 20);
    assert_eq!(world.down(), 40);
    let downs: Vec<_> = world.turns.iter().filter(|(.., turn)| *turn == Turn::Down).map(|(at, ..)| *at).collect();
    for first in &downs {
        let within = downs.iter().filter(|at| (*first..*first + PACE.interval).contains(*at)).count();
        assert!(within <= 20, "{within} in one interval");
    }
    assert!(downs.iter().all(|at| *at > begin));
}

#[test]
fn nodes_come_and_change_and_go() {
    let mut world = World::new(many(3));
    world.run(HOUR, |_, _, _| true);
    assert_eq!((world.plan.count(world.now).nodes, world.plan.count(world.now).up), (3, 6));
    // Another target in place of one: it has its turn soon, the other keeps its own.
    world.nodes[0] = node(0, &["a", "c"]);
    let list = world.nodes.iter().enumerate().map(|(at, node)| (node.domain().clone(), 1 + u64::from(at == 0)));
    let list = list.collect();
    let drawn = &mut world.drawn;
    world.plan.follow(&list, world.now, || draw(drawn));
    world.looks.clear();
    world.run(Duration::from_secs(10), |_, _, _| true);
    assert!(world.looks.iter().any(|(_, node, host)| *node == 0 && host.starts_with("c.")), "{:?}", world.looks);
    assert_eq!(world.plan.count(world.now).up, 6);
    world.nodes.truncate(1);
    world.follow();
    assert_eq!((world.plan.count(world.now).nodes, world.plan.count(world.now).up), (1, 2));
    assert!(world.plan.queue.len() <= 3);
    world.nodes.clear();
    world.follow();
    assert!(world.plan.queue.is_empty());
    assert_eq!((world.plan.looked, world.plan.failing, world.plan.targets, world.plan.down), (0, 0, 0, 0));
    assert!(world.plan.report(&name(0), world.now, 0).is_none());
}

#[test]
fn a_wish_has_its_limit() {
    let mut world = World::new(many(2));
    world.run(HOUR, |_, _, _| true);
    assert_eq!(world.plan.hurry(&name(9), world.now), Err(NotNow::NotWatched));
    assert_eq!(world.plan.hurry(&name(1), world.now), Ok(()));
    world.looks.clear();
    world.run(Duration::from_secs(1), |_, _, _| true);
    assert_eq!(world.looks.iter().filter(|(_, node, _)| *node == 1).count(), 2, "{:?}", world.looks);
    let again = world.plan.hurry(&name(1), world.now);
    assert_eq!(again, Err(NotNow::TooSoon { window: 60, retry_after: 59 }));
    assert_eq!(world.plan.hurry(&name(1), world.now + HURRY_PAUSE), Ok(()));
}

#[test]
fn what_is_shown_of_it() {
    let mut world = World::new(vec![node(0, &["a"])]);
    world.run(Duration::from_secs(310), |_, _, _| true);
    let spot = Spot { host: world.nodes[0].targets()[0].host.clone(), port: NonZeroU16::new(5061).unwrap() };
    let look = |address: &str, result| Look {
        address: Some(address.parse().unwrap()),
        at: 5,
        result,
        rule: None,
        detail: None,
        failures: 0,
        certificate: None,
    };
    for expected in 1..=2 {
        let looks = vec![look("2001:db8::1", "ok"), look("192.0.2.1", "no-tls")];
        let seen = Seen { looks, succeeded: Some(true), keys: vec![[1; 32]], ..Seen::default() };
        world.plan.end(&name(0), &spot, seen, world.now, 0);
        let report = world.plan.report(&name(0), world.now, 1000).unwrap();
        let failures: Vec<_> = report.targets[0].looks.iter().map(|look| look.failures).collect();
        assert_eq!(failures, [0, expected], "each family by itself");
        assert_eq!((report.targets[0].is_down, report.targets[0].next.is_some()), (false, true));
    }
    let found = world.plan.found(&world.nodes[0], 0, 0);
    assert_eq!(found.keys.iter().map(|key| key.sha256).collect::<Vec<_>>(), [[1; 32]]);
}
