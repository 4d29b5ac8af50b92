//! Routes from a copy of the members alone: nobody is asked. What DNS adds is tested beside a real one (`tests/it/agent`).

use std::net::IpAddr;

use tandem_model::node::NumberClaim;
use tandem_model::{NodeParts, NumberBlock, Target};
use tokio::sync::watch;

use super::*;
use crate::config::{OwnNode, RouteConfig};

/// Members, and who answers by them. The name server is one that nobody runs: whoever asks it fails.
pub(crate) struct World {
    snapshots: watch::Sender<Arc<Snapshot>>,
    pub(crate) board: Arc<Board>,
    pub(crate) routes: Routes,
}

/// `priority weight host port addresses…`
fn target(text: &str) -> Target {
    let words: Vec<&str> = text.split(' ').collect();
    Target {
        host: words[2].parse().unwrap(),
        port: words[3].parse().unwrap(),
        priority: words[0].parse().unwrap(),
        weight: words[1].parse().unwrap(),
        addresses: words[4..].iter().map(|address| address.parse::<IpAddr>().unwrap()).collect(),
    }
}

fn numbers(list: &[&str], domain: &str) -> Vec<NumberClaim> {
    let read = |text: &&str| match text.strip_suffix('*') {
        Some(block) => NumberClaim::Block(NumberBlock::parse(block).unwrap()),
        None => {
            let (number, user) = text.split_once('=').map_or((*text, None), |(number, user)| (number, Some(user)));
            let uri = user.map(|user| SipUri::parse(&format!("sip:{user}@{domain}")).unwrap());
            NumberClaim::Number { number: number.parse().unwrap(), uri }
        }
    };
    list.iter().map(read).collect()
}

pub(crate) fn member(domain: &str, state: MemberState, targets: &[&str], claims: &[&str]) -> Arc<Member> {
    let targets = targets.iter().map(|text| target(text)).collect();
    let mut parts = NodeParts::new(domain.parse().unwrap(), targets);
    parts.numbers = numbers(claims, domain);
    // What a member had while it was served is kept from others.
    let withheld = if state.is_served() { Box::default() } else { parts.numbers.clone().into() };
    let node = state.is_served().then(|| Box::new(Node::new(parts).unwrap()));
    Arc::new(Member { domain: domain.parse().unwrap(), state, reason: None, lease_until: 0, node, key: None, withheld })
}

pub(crate) fn active(domain: &str) -> Arc<Member> {
    member(domain, MemberState::Active, &[&format!("10 0 sip.{domain} 5061 203.0.113.7")], &[])
}

impl World {
    pub(crate) fn new(members: Vec<Arc<Member>>, change: impl FnOnce(&mut RouteConfig)) -> Self {
        let mut config = Config {
            node: Some(OwnNode {
                domain: "own.test".parse().unwrap(),
                document: None,
                key_file: None,
                drain_on_stop: false,
            }),
            ..Config::default()
        };
        config.route.name_servers = vec!["127.0.0.1:9".parse().unwrap()];
        change(&mut config.route);
        let (snapshots, receiver) = watch::channel(Arc::new(Snapshot::default()));
        let board = Arc::new(Board::default());
        board.replica(|status| status.position = Some(1));
        let routes = Routes::new(&config, receiver, Arc::clone(&board), Verdicts::off()).unwrap();
        let world = Self { snapshots, board, routes };
        world.publish(members);
        world
    }

    fn publish(&self, members: Vec<Arc<Member>>) {
        let mut snapshot = Snapshot { members: self.snapshots.borrow().members.clone(), ..Snapshot::default() };
        for member in members {
            snapshot.members.insert(member);
        }
        self.snapshots.send_replace(Arc::new(snapshot));
        let members = self.snapshots.borrow().members.clone();
        self.routes.0.numbers.write().unwrap().update(&members);
    }

    /// The answer, which must be there without a wait.
    fn ask(&self, text: &str) -> Route {
        match Routes::read(text) {
            Ok(called) => self.routes.at_once(&called).unwrap_or_else(|| panic!("{text}: somebody has to be asked")),
            Err(route) => *route,
        }
    }

    /// `outcome [reason] [route] addresses…`
    fn shown(&self, text: &str) -> String {
        let route = self.ask(text);
        let words = [Some(route.outcome.as_str().to_owned()), route.outcome.reason().map(Into::into), route.uri()];
        let targets = route.targets.iter().map(|target| target.address.to_string());
        words.into_iter().flatten().chain(targets).collect::<Vec<_>>().join(" ")
    }
}

#[tokio::test]
async fn members_are_found_in_the_copy() {
    let world = World::new(
        vec![
            member(
                "a.test",
                MemberState::Active,
                &["20 0 late.a.test 5061 203.0.113.9", "10 0 sip.a.test 5071 203.0.113.7 2001:db8::7"],
                &["+15550101=alice", "+155502*"],
            ),
            member("b.test", MemberState::Active, &["10 0 sip.b.test 5061 203.0.113.8"], &["+1555021*"]),
            member("slow.test", MemberState::Draining, &["10 0 sip.slow.test 5061 203.0.113.8"], &[]),
            member("bad.test", MemberState::Compromised, &[], &[]),
            member("out.test", MemberState::Suspended, &[], &[]),
            member("gone.test", MemberState::Withdrawn, &[], &[]),
            member("own.test", MemberState::Active, &["10 0 sip.own.test 5061 203.0.113.1"], &["+15550900"]),
            // Its operator names our server for his own domain.
            member("circle.test", MemberState::Active, &["10 0 sip.circle.test 5061 203.0.113.1"], &[]),
            member(
                "half.test",
                MemberState::Active,
                &["10 0 sip.half.test 5061 203.0.113.1", "20 0 s2.half.test 5061 203.0.113.2"],
                &[],
            ),
        ],
        |route| route.members_only = true,
    );
    let a = "[2001:db8::7]:5071 203.0.113.7:5071 203.0.113.9:5061";
    for (asked, expected) in [
        ("sip:alice@a.test", format!("found sip:alice@a.test;transport=tls {a}")),
        ("alice@A.TEST", format!("found sip:alice@a.test;transport=tls {a}")),
        ("sips:alice@a.test", format!("found sips:alice@a.test {a}")),
        ("a.test", format!("found sip:a.test;transport=tls {a}")),
        // What was typed behind the domain is not used: the directory knows better, and nothing goes in clear.
        ("sip:alice:pw@a.test:5060;transport=udp;maddr=192.0.2.1", format!("found sip:alice@a.test;transport=tls {a}")),
        ("sip:x@slow.test", "found sip:x@slow.test;transport=tls 203.0.113.8:5061".into()),
        ("sip:x@bad.test", "refused compromised".into()),
        ("sip:x@out.test", "refused suspended".into()),
        ("sip:x@gone.test", "down".into()),
        ("sip:x@own.test", "refused own-domain".into()),
        ("sip:x@circle.test", "refused own-domain".into()),
        ("sip:x@half.test", "found sip:x@half.test;transport=tls 203.0.113.2:5061".into()),
        ("sip:x@sub.a.test", "not-a-member".into()),
        ("sip:x@stranger.test", "not-a-member".into()),
        ("sip:x@203.0.113.7", "refused policy".into()),
        ("xmpp:x@a.test", "invalid scheme".into()),
        ("sip:a b@a.test", "invalid syntax".into()),
        ("0044 20", "invalid number".into()),
        // Numbers: the number itself, then the longest block (ENUM-80); the user is the number.
        ("+1-555-0101", format!("found sip:alice@a.test;transport=tls {a}")),
        ("tel:+15550209", format!("found sip:+15550209@a.test;transport=tls {a}")),
        ("tel:+15550219", "found sip:+15550219@b.test;transport=tls 203.0.113.8:5061".into()),
        ("tel:+1555021", format!("found sip:+1555021@a.test;transport=tls {a}")),
        ("tel:+155502", "not-a-member".into()),
        ("tel:+15550900", "refused own-domain".into()),
        ("tel:+15559999", "not-a-member".into()),
        // At our own server a number that was dialled is a number; at another's it is his user.
        ("sip:+15550101@own.test", format!("found sip:alice@a.test;transport=tls {a}")),
        ("sip:+15550101@192.0.2.1:5070;user=phone", format!("found sip:alice@a.test;transport=tls {a}")),
        ("sip:+15550101@b.test", "found sip:+15550101@b.test;transport=tls 203.0.113.8:5061".into()),
    ] {
        assert_eq!(world.shown(asked), expected, "{asked}");
    }
    let route = world.ask("sip:alice@a.test");
    let first = &route.targets[0];
    assert_eq!((first.tls_name.to_string().as_str(), first.priority), ("a.test", 10));
    assert_eq!(first.uri(), "sip:[2001:db8::7]:5071;transport=tls");
    assert_eq!((route.ttl, route.dnssec, route.member), (60, None, Some(MemberState::Active)));
    assert_eq!(world.ask("sip:x@slow.test").targets[0].priority, 10_010);

    // A change counts at once, for numbers too.
    world.publish(vec![
        member("a.test", MemberState::Compromised, &[], &[]),
        member("b.test", MemberState::Active, &["10 0 sip.b.test 5061 203.0.113.8"], &["+15550101"]),
    ]);
    assert_eq!(world.shown("sip:alice@a.test"), "refused compromised");
    assert_eq!(world.shown("tel:+15550101"), "found sip:+15550101@b.test;transport=tls 203.0.113.8:5061");
    assert_eq!(world.shown("tel:+15550209"), "not-a-member");
}

/// No other tree of numbers is asked for what a compromised member had: its answer might lead to the intruder.
#[tokio::test]
async fn numbers_of_who_is_not_served_are_nobody_elses() {
    let claims = ["+15550101=alice", "+155502*"];
    let served = || member("a.test", MemberState::Active, &["10 0 sip.a.test 5061 203.0.113.7"], &claims);
    let world = World::new(vec![served()], |route| route.enum_suffixes = vec!["e164.test".parse().unwrap()]);
    assert!(world.shown("+15550101").starts_with("found"));
    for (state, expected) in [
        (MemberState::Compromised, "refused compromised"),
        (MemberState::Suspended, "refused suspended"),
        (MemberState::Withdrawn, "down"),
    ] {
        world.publish(vec![member("a.test", state, &[], &claims)]);
        for number in ["+15550101", "+15550299"] {
            assert_eq!(world.shown(number), expected, "{number}");
        }
        world.publish(vec![served()]);
        assert!(world.shown("+15550299").starts_with("found"));
    }
    // Who has taken a number over has it.
    let other = member("b.test", MemberState::Active, &["10 0 sip.b.test 5061 203.0.113.8"], &["+15550101=bob"]);
    world.publish(vec![member("a.test", MemberState::Compromised, &[], &claims), other]);
    assert!(world.shown("+15550101").starts_with("found sip:bob@b.test"));
}

#[tokio::test]
async fn an_index_that_is_late_gives_no_number_away() {
    let world = World::new(
        vec![member("a.test", MemberState::Active, &["10 0 sip.a.test 5061 203.0.113.7"], &["+15550101"])],
        |route| route.members_only = true,
    );
    assert!(world.shown("+15550101").starts_with("found"));
    // The snapshot alone: the index has not seen it.
    let mut snapshot = Snapshot::default();
    snapshot.members.insert(active("a.test"));
    world.snapshots.send_replace(Arc::new(snapshot));
    assert_eq!(world.shown("+15550101"), "not-a-member");
}

#[tokio::test]
async fn nobody_is_a_stranger_before_the_members_are_known() {
    let world = World::new(vec![active("a.test")], |_| {});
    world.board.replica(|status| status.position = None);
    assert!(world.shown("sip:x@a.test").starts_with("found"), "what is known counts");
    for asked in ["sip:x@stranger.test", "+15550101"] {
        let route = world.ask(asked);
        assert_eq!((route.outcome, route.retry_after), (Outcome::TryLater, Some(RETRY_AFTER_FAILURE)), "{asked}");
    }
}

#[tokio::test]
async fn name_servers_that_fail_make_no_stranger() {
    let world =
        World::new(vec![member("a.test", MemberState::Active, &["10 0 host.elsewhere.test 5061"], &[])], |route| {
            route.enum_suffixes = vec!["e164.test".parse().unwrap()]
        });
    for asked in ["sip:x@stranger.test", "sip:x@a.test", "+15550101"] {
        let called = Routes::read(asked).unwrap();
        assert_eq!(world.routes.at_once(&called), None, "{asked}");
        assert_eq!(world.routes.find(&called).await.outcome, Outcome::TryLater, "{asked}");
    }
}

#[tokio::test]
async fn targets_of_one_priority_share_by_weight() {
    let world = World::new(
        vec![member(
            "a.test",
            MemberState::Active,
            &["10 3 s1.a.test 5061 203.0.113.1", "10 1 s2.a.test 5061 203.0.113.2"],
            &[],
        )],
        |_| {},
    );
    let first = |_: &u32| world.ask("sip:x@a.test").targets[0].address.ip() == IpAddr::from([203, 0, 113, 1]);
    let times = (0..2000).filter(first).count();
    // Expected 1500; 19 standard deviations.
    assert!((1140..1860).contains(&times), "{times}");
}

/// The one that is looked for by hand is the one that calls go to: the number itself, then the longest block, who is served first.
#[test]
fn who_holds_a_number() {
    let at = |state, domain: &str, claims: &[&str]| {
        member(domain, state, &[&format!("10 0 sip.{domain} 5061 203.0.113.7")], claims)
    };
    let mut members = crate::map::MemberMap::default();
    for member in [
        at(MemberState::Active, "short.test", &["+1555*"]),
        at(MemberState::Active, "long.test", &["+155501*", "+15550199"]),
        at(MemberState::Suspended, "gone.test", &["+15550101", "+15550199"]),
    ] {
        members.insert(member);
    }
    for (number, expected) in [
        ("+15550101", Some("gone.test")),
        ("+15550199", Some("long.test")),
        ("+15550102", Some("long.test")),
        ("+15559999", Some("short.test")),
        ("+1555", None),
        ("+4420794601", None),
    ] {
        let found = holder(&number.parse().unwrap(), &members);
        assert_eq!(found.map(|domain| domain.to_string()).as_deref(), expected, "{number}");
    }
}
