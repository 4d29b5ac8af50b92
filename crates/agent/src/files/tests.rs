//! The texts, and when they are written.

use std::num::NonZeroU16;

use tandem_model::{DomainName, Network, Node, NodeParts, Target};

use super::*;
use crate::member::{Member, MemberState};
use crate::snapshot::Snapshot;

fn member(domain: &str, state: MemberState, addresses: &[&str], sources: &[&str]) -> Arc<Member> {
    let name = DomainName::parse(domain).unwrap();
    let target = Target {
        host: DomainName::parse(&format!("sip.{domain}")).unwrap(),
        port: NonZeroU16::new(5061).unwrap(),
        priority: 10,
        weight: 3,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let mut parts = NodeParts::new(name.clone(), vec![target]);
    parts.sources = sources.iter().map(|source| Network::parse(source).unwrap()).collect();
    let node = Node::new(parts).unwrap();
    Arc::new(Member {
        domain: name,
        state,
        reason: None,
        lease_until: 0,
        node: Some(Box::new(node)),
        withheld: Box::default(),
        key: None,
    })
}

fn members() -> MemberMap {
    let mut map = MemberMap::default();
    map.insert(member("b.test", MemberState::Active, &["203.0.113.7", "2001:db8::7"], &[]));
    map.insert(member("a.test", MemberState::Draining, &["203.0.113.8"], &["198.51.100.0/24"]));
    map.insert(member("evil.test", MemberState::Compromised, &["203.0.113.66"], &[]));
    map
}

fn dispatchers(members: &MemberMap, verdicts: &Verdicts, old: &str) -> String {
    render::kamailio_dispatchers(&Sight { members, verdicts, authorities: &[], now: 0, old })
}

#[test]
fn texts() {
    let map = members();
    assert_eq!(
        render::kamailio_addresses(&map).lines().skip(2).collect::<Vec<_>>(),
        ["1 198.51.100.0 24 0 a.test", "1 203.0.113.7 32 0 b.test", "1 2001:db8::7 128 0 b.test"]
    );
    assert_eq!(
        dispatchers(&map, &Verdicts::off(), "").lines().skip(2).collect::<Vec<_>>(),
        [
            // Draining: ten thousand further down.
            "1 sip:203.0.113.8:5061;transport=tls 0 55525 domain=a.test;weight=3",
            "1 sip:203.0.113.7:5061;transport=tls 0 65525 domain=b.test;weight=3",
            "1 sip:[2001:db8::7]:5061;transport=tls 0 65525 domain=b.test;weight=3",
        ]
    );
    let mut weights = member("w.test", MemberState::Active, &["203.0.113.1"], &[]).shown().unwrap().into_owned();
    let target = weights.targets()[0].clone();
    let with = |port: u16, weight| Target { port: NonZeroU16::new(port).unwrap(), weight, ..target.clone() };
    let parts = NodeParts::new(weights.domain().clone(), vec![with(1, 0), with(2, 500), with(3, 1000)]);
    weights = Node::new(parts).unwrap();
    let mut heavy = MemberMap::default();
    heavy.insert(Arc::new(Member {
        node: Some(Box::new(weights)),
        ..Member::clone(&member("w.test", MemberState::Active, &["203.0.113.1"], &[]))
    }));
    let text = dispatchers(&heavy, &Verdicts::off(), "");
    let found: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("weight=")).map(|(_, weight)| weight).collect();
    assert_eq!(found, ["1", "50", "100"], "Kamailio takes 1 to 100");
    let acl = render::freeswitch_acl(&map);
    assert!(acl.contains("      <node type=\"allow\" cidr=\"198.51.100.0/24\"/> <!-- a.test -->\n"), "{acl}");
    assert_eq!(acl.matches("<node ").count(), 3);
    let nft = render::nftables(&map);
    assert!(nft.contains("add element inet tandem members4 { 198.51.100.0/24, 203.0.113.7/32 }\n"), "{nft}");
    assert!(nft.contains("add element inet tandem members6 { 2001:db8::7/128 }\n"), "{nft}");
    for text in [acl, nft, render::kamailio_addresses(&map), dispatchers(&map, &Verdicts::off(), "")] {
        assert!(!text.contains("203.0.113.66"), "a compromised member is in\n{text}");
    }
    assert!(!render::nftables(&MemberMap::default()).contains("add element"), "an empty list of elements is an error");
}

#[tokio::test]
async fn a_compromised_member_leaves_and_the_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (path, ran) = (folder.path().join("addresses"), folder.path().join("ran"));
    let config = FilesConfig {
        kamailio_addresses: Some(path.clone()),
        reload: vec!["sh".into(), "-c".into(), format!("echo >> {}", ran.display())],
        ..FilesConfig::default()
    };
    let (sender, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (_close, closing) = watch::channel(false);
    let board = Arc::new(Board::default());
    let parts = Parts { snapshots, verdicts: Verdicts::off(), board: Arc::clone(&board), closing };
    let task = tokio::spawn(Files::new(&config, &parts, Authorities::default()).run());
    let runs = || fs::read_to_string(&ran).map_or(0, |text| text.lines().count());

    let mut map = members();
    let send = |version, map: &MemberMap| {
        sender.send_replace(Arc::new(Snapshot { members: map.clone(), version, ..Snapshot::default() }))
    };
    send(1, &map);
    wait_for("the first file", || runs() == 1 && fs::read_to_string(&path).is_ok_and(|text| text.contains("b.test")))
        .await;
    // What changes no text runs no command.
    map.insert(Arc::new(Member {
        lease_until: 7,
        ..Member::clone(map.get(&DomainName::parse("b.test").unwrap()).unwrap())
    }));
    send(2, &map);
    map.insert(member("b.test", MemberState::Compromised, &["203.0.113.7"], &[]));
    send(3, &map);
    let begin = std::time::Instant::now();
    wait_for("b.test leaves", || runs() == 2 && fs::read_to_string(&path).is_ok_and(|text| !text.contains("b.test")))
        .await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(board.read().files.unwrap().error.is_none());

    // A file that cannot be written is told, and mended as soon as it can be.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    map.insert(member("c.test", MemberState::Active, &["203.0.113.9"], &[]));
    send(4, &map);
    wait_for("the fault is told", || board.read().files.unwrap().error.is_some()).await;
    fs::remove_dir(&path).unwrap();
    wait_for("the file is back", || fs::read_to_string(&path).is_ok_and(|text| text.contains("c.test"))).await;
    task.abort();
}

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
