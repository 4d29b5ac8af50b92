//! What a call costs whose domain was called before: a kept result here, beside the DNS library's cache, which knows
//! nothing of SIP and is asked for one SRV record set only.
//!
//! `cargo bench -p tandem-resolver`

#![expect(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::net::SocketAddr;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tandem_dns::{Config, DnsServer};
use tandem_model::node::NodeParts;
use tandem_model::{DomainName, Node, Serial, SipUri, Target};
use tandem_resolver::{NameServers, Resolver, Settings};
use tandem_zone::live::Live;
use tandem_zone::master::StaticZone;
use tandem_zone::zones::{Change, Zones};

const ZONE: &str = "@ 3600 IN SOA ns1 hostmaster 1 3600 600 604800 30\n@ 3600 IN NS ns1\nns1 3600 IN A 192.0.2.53\n";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn target(host: &str, priority: u16) -> Target {
    // The same address and port twice would be one next hop.
    let last = if host.starts_with('a') { 7 } else { 8 };
    let addresses = vec![[203, 0, 113, last].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)].into()];
    Target { host: name(host), port: 5061.try_into().unwrap(), priority, weight: 10, addresses }
}

fn directory() -> (DnsServer, SocketAddr) {
    let zone = StaticZone::read(&name("ostel.test"), "zone", ZONE.as_bytes(), &mut |_| Err("no file".into())).unwrap();
    let settings = tandem_zone::zones::Settings { peers_zone: None, policy_zone: None, number_zone: None };
    let live = Live::new(Zones::new(settings, vec![zone], Serial::new(1)).unwrap());
    let node = |domain: &str, second: u16| {
        let targets = vec![target(&format!("a.{domain}"), 10), target(&format!("b.{domain}"), second)];
        Change::Put(Box::new(
            Node::new(NodeParts { ttl: Some(3600), ..NodeParts::new(name(domain), targets) }).unwrap(),
        ))
    };
    let changes = [node("one.ostel.test", 20), node("two.ostel.test", 10)];
    live.publish(live.load().with(&changes, Serial::new(2)));
    let server = DnsServer::start(&Config::new(vec!["127.0.0.1:0".parse().unwrap()]), &live).unwrap();
    let address = server.local_addrs()[0];
    (server, address)
}

fn kept(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (_server, address) = directory();
    let resolver =
        Resolver::new(Settings { servers: NameServers::Only(vec![address]), ..Settings::default() }).unwrap();
    let hickory = {
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server = NameServerConfig::new(address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        Arc::new(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap())
    };
    let one: SipUri = "sip:alice@one.ostel.test".parse().unwrap();
    let two: SipUri = "sip:alice@two.ostel.test".parse().unwrap();
    for uri in [&one, &two] {
        assert_eq!(runtime.block_on(resolver.locate(uri)).next_hops().len(), 4);
    }
    let mut group = criterion.benchmark_group("kept");
    group.bench_function("locate, order fixed by priority", |bencher| {
        bencher.iter(|| runtime.block_on(resolver.locate(&one)));
    });
    group.bench_function("locate, four hops drawn anew by weight", |bencher| {
        bencher.iter(|| runtime.block_on(resolver.locate(&two)));
    });
    group.bench_function("kept, without a runtime", |bencher| bencher.iter(|| resolver.kept(&one)));
    group.bench_function("hickory-resolver, one SRV set", |bencher| {
        bencher.iter(|| runtime.block_on(hickory.srv_lookup("_sips._tcp.one.ostel.test.")).unwrap());
    });
    group.bench_function("block_on alone", |bencher| bencher.iter(|| runtime.block_on(std::future::ready(()))));
    group.finish();
}

criterion_group!(benches, kept);
criterion_main!(benches);
