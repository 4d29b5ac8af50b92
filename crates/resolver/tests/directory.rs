//! Round trip over the wire: for any node, `locate` over what a real directory serves gives that node's next hops.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use tandem_dns::{Config, DnsServer};
use tandem_model::locate::{NextHop, Service};
use tandem_model::node::NodeParts;
use tandem_model::{DomainName, Node, Serial, SipUri, Target};
use tandem_resolver::{
    CacheSettings, HostAnswer, NameServers, Outcome, Resolution, Resolver, Settings as ResolverSettings,
};
use tandem_zone::live::Live;
use tandem_zone::master::StaticZone;
use tandem_zone::zones::{Change, Settings, Zones};

const OSTEL: &str = "@ 3600 IN SOA ns1.ostel.test. hostmaster.ostel.test. 1 3600 600 604800 30\n\
                     @ 3600 IN NS ns1\n\
                     ns1 3600 IN A 192.0.2.53\n\
                     www 3600 IN CNAME ns1\n\
                     deep.cut 3600 IN NS ns.elsewhere.test.\n";
const PEERS: &str =
    "@ 3600 IN SOA ns1.ostel.test. hostmaster.ostel.test. 1 3600 600 604800 30\n@ 3600 IN NS ns1.ostel.test.\n";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn uri(text: &str) -> SipUri {
    SipUri::parse_typed(text).unwrap()
}

/// A directory that serves `ostel.test` and `peers.test`, and a resolver that asks it and nobody else.
struct Directory {
    live: Live,
    server: DnsServer,
    resolver: Resolver,
    serial: u32,
}

impl Directory {
    fn start() -> Self {
        let read = |apex: &str, text: &str| {
            StaticZone::read(&name(apex), apex, text.as_bytes(), &mut |_| Err("no file".into())).unwrap()
        };
        let settings = Settings { peers_zone: Some(name("peers.test")), policy_zone: None, number_zone: None };
        let zones = vec![read("ostel.test", OSTEL), read("peers.test", PEERS)];
        let live = Live::new(Zones::new(settings, zones, Serial::new(1)).unwrap());
        let mut config = Config::new(vec!["127.0.0.1:0".parse().unwrap()]);
        config.udp_threads = NonZeroUsize::new(1);
        let server = DnsServer::start(&config, &live).unwrap();
        let servers = NameServers::Only(server.local_addrs().to_vec());
        let resolver = Resolver::new(ResolverSettings {
            servers,
            cache: CacheSettings::off(),
            ask_ahead: false,
            ..ResolverSettings::default()
        })
        .unwrap();
        Self { live, server, resolver, serial: 1 }
    }

    fn put(&mut self, node: Node) {
        self.serial += 1;
        let zones: Arc<Zones> = self.live.load();
        self.live.publish(zones.with(&[Change::Put(Box::new(node))], Serial::new(self.serial)));
    }

    async fn locate(&self, text: &str) -> Arc<Resolution> {
        self.resolver.locate(&uri(text)).await
    }

    fn queries(&self) -> u64 {
        let stats = self.server.stats();
        stats.udp.queries() + stats.tcp.queries()
    }
}

fn target(host: &str, port: u16, priority: u16, weight: u16, addresses: &[&str]) -> Target {
    let port = NonZeroU16::new(port).unwrap();
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Target { host: name(host), port, priority, weight, addresses }
}

fn node(domain: &str, targets: Vec<Target>) -> Node {
    Node::new(NodeParts::new(name(domain), targets)).unwrap()
}

fn hops(resolution: &Resolution) -> &[NextHop] {
    match &resolution.outcome {
        Outcome::Found(hops) => hops,
        other => panic!("{other:?}: {:#?}", resolution.reasons),
    }
}

#[tokio::test]
async fn one_question_where_the_directory_sends_the_chain() {
    let mut directory = Directory::start();
    directory.put(node(
        "debug.ostel.test",
        vec![target("sip.debug.ostel.test", 5061, 10, 0, &["203.0.113.7", "2001:db8::7"])],
    ));
    for _ in 0..3 {
        let resolution = directory.locate("alice@debug.ostel.test").await;
        let addresses: Vec<_> = hops(&resolution).iter().map(|hop| hop.address.to_string()).collect();
        assert_eq!(addresses, ["[2001:db8::7]:5061", "203.0.113.7:5061"]);
    }
    // The server's one UDP thread counts an answer before it reads the next question, so only the last may be missing.
    let queries = directory.queries();
    assert!((2..=3).contains(&queries), "three calls, one question each: {queries}");

    directory.put(node("debug.ostel.test", vec![target("sip.debug.ostel.test", 5061, 10, 0, &["203.0.113.8"])]));
    let moved = directory.locate("alice@debug.ostel.test").await;
    assert_eq!(
        hops(&moved)[0].address,
        SocketAddr::from(([203, 0, 113, 8], 5061)),
        "the next call goes to the new place"
    );
    directory.server.shutdown().await;
}

#[tokio::test]
async fn names_that_are_no_nodes() {
    let directory = Directory::start();
    for (text, outcome) in [
        ("nobody.ostel.test", "NotAMember"),
        ("www.ostel.test", "Found"),
        ("deep.cut.ostel.test", "TryLater"),
        ("elsewhere.test", "TryLater"),
        ("ostel.test", "Down"),
    ] {
        let resolution = directory.locate(text).await;
        let got = format!("{:?}", resolution.outcome);
        assert!(got.starts_with(outcome), "{text}: {resolution:#?}");
        if outcome == "NotAMember" {
            assert_eq!(resolution.ttl, Some(30), "RFC 2308 5");
        }
    }
    for (text, answer) in [
        ("ns1.ostel.test", HostAnswer::Addresses(vec!["192.0.2.53".parse().unwrap()])),
        ("www.ostel.test", HostAnswer::Alias(name("ns1.ostel.test"))),
        ("nobody.ostel.test", HostAnswer::NoSuchName),
        ("ostel.test", HostAnswer::NoAddress),
    ] {
        assert_eq!(directory.resolver.lookup_host(&name(text)).await, answer, "{text}");
    }
    directory.server.shutdown().await;
}

/// One to eight targets, each with addresses of its own.
fn any_targets() -> impl Strategy<Value = Vec<(u16, u16, u16, bool, bool)>> {
    let target = (1..=u16::MAX, 0..3_u16, 0..100_u16, any::<bool>(), any::<bool>());
    proptest::collection::vec(target, 1..=8)
}

#[test]
fn round_trip() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let directory = std::cell::RefCell::new(Directory::start());
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let checked = std::cell::Cell::new(0);
    let result = runner.run(&any_targets(), |targets| {
        let mut directory = directory.borrow_mut();
        let targets: Vec<_> = targets
            .into_iter()
            .enumerate()
            .map(|(number, (port, priority, weight, v4, v6))| {
                let mut addresses = Vec::new();
                if v6 {
                    addresses.push(format!("2001:db8::{}", number + 1));
                }
                if v4 || !v6 {
                    addresses.push(format!("203.0.113.{}", number + 1));
                }
                let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
                target(&format!("t{number}.n.ostel.test"), port, priority, weight, &addresses)
            })
            .collect();
        let node = node("n.ostel.test", targets.clone());
        // A record set that does not fit 512 octets is refused where nodes are registered.
        prop_assume!(directory.live.load().records(&node).is_ok());
        directory.put(node);
        for (text, tls_name) in
            [("alice@n.ostel.test", "n.ostel.test"), ("n.ostel.test.peers.test", "n.ostel.test.peers.test")]
        {
            let resolution = runtime.block_on(directory.locate(text));
            check(hops(&resolution), &targets, tls_name)?;
        }
        checked.set(checked.get() + 1);
        Ok(())
    });
    result.unwrap();
    assert!(checked.get() >= 32, "only {} nodes were small enough", checked.get());
    runtime.block_on(directory.into_inner().server.shutdown());
}

/// Each address of each target, once; lower priority first; a target's addresses together, IPv6 first.
fn check(hops: &[NextHop], targets: &[Target], tls_name: &str) -> Result<(), TestCaseError> {
    let got: Vec<Vec<SocketAddr>> = hops
        .chunk_by(|a, b| a.srv_target == b.srv_target)
        .map(|hops| hops.iter().map(|hop| hop.address).collect())
        .collect();
    let expected: BTreeSet<Vec<SocketAddr>> = targets
        .iter()
        .map(|target| {
            let mut addresses: Vec<IpAddr> = target.addresses.clone();
            addresses.sort_by_key(IpAddr::is_ipv4);
            addresses.into_iter().map(|ip| SocketAddr::new(ip, target.port.get())).collect()
        })
        .collect();
    prop_assert_eq!(got.iter().cloned().collect::<BTreeSet<_>>(), expected);
    prop_assert_eq!(got.len(), targets.len());
    let priority = |address: &SocketAddr| {
        targets.iter().find(|target| target.addresses.contains(&address.ip())).map(|target| target.priority)
    };
    prop_assert!(got.iter().map(|addresses| priority(&addresses[0])).is_sorted());
    for hop in hops {
        prop_assert_eq!(hop.service, Service::Tls);
        prop_assert_eq!(hop.tls_name.as_ref(), Some(&name(tls_name)));
    }
    Ok(())
}
