//! What a change and a look-up cost as the number of nodes grows: `cargo bench -p tandem-zone --bench change`.
//!
//! For 10 to 1,000,000 nodes of two targets (v4 and v6), a key and a number each: time to load them, resident memory,
//! time to check and publish one more, and to look names up. `-- --most 100000` stops earlier.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and /proc")]

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Live, Lookup, QueryName, RrType, Settings, Zones};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let most = args.iter().position(|arg| arg == "--most").map_or(1_000_000, |at| args[at + 1].parse().unwrap());
    println!("| nodes | load s | MiB | octets a node | check+publish µs | NAPTR ns | SRV ns | A ns | NXDOMAIN ns |");
    println!("|--|--|--|--|--|--|--|--|--|");
    for count in [10, 1_000, 100_000, 1_000_000].into_iter().filter(|count| *count <= most) {
        measure(count);
    }
}

fn measure(count: u32) {
    let before = resident();
    let began = Instant::now();
    let mut changes: Vec<Change> = Vec::new();
    let mut zones = empty();
    for number in 0..count {
        changes.push(Change::Put(Box::new(node(number))));
        if changes.len() == 10_000 {
            zones = zones.with(&changes, Serial::new(2));
            changes.clear();
        }
    }
    zones = zones.with(&changes, Serial::new(2));
    drop(changes);
    let load = began.elapsed();
    let octets = resident() - before;
    let live = Live::new(zones);

    let rounds = 2_000;
    let began = Instant::now();
    for number in 0..rounds {
        let node = node(count + number);
        let zones = live.load();
        assert!(zones.check(&node).is_empty());
        live.publish(zones.with(&[Change::Put(Box::new(node))], Serial::new(3 + number)));
    }
    let change = began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);

    let zones = live.load();
    let ask = |name: &dyn Fn(u32) -> String, kind: RrType| {
        let wires: Vec<Vec<u8>> = (0..10_000_u32).map(|i| wire(&name(i.wrapping_mul(2_654_435_761) % count))).collect();
        let began = Instant::now();
        for round in 0..20 {
            for asked in &wires {
                let name = QueryName::parse(black_box(asked)).unwrap();
                let found = zones.lookup(&name, kind);
                assert!(round > 0 || !matches!(found, Lookup::NotOurs));
                black_box(&found);
            }
        }
        began.elapsed().as_secs_f64() * 1e9 / (20.0 * 10_000.0)
    };
    println!(
        "| {count} | {:.2} | {} | {} | {change:.1} | {:.0} | {:.0} | {:.0} | {:.0} |",
        load.as_secs_f64(),
        octets >> 20,
        octets / u64::from(count),
        ask(&|n| format!("n{n}.ostn.test"), RrType::NAPTR),
        ask(&|n| format!("_sips._tcp.n{n}.ostn.test"), RrType::SRV),
        ask(&|n| format!("sip1.n{n}.ostn.test"), RrType::A),
        ask(&|n| format!("x{n}.ostn.test"), RrType::NAPTR),
    );
}

fn empty() -> Zones {
    let zone = |apex: &str| {
        let text = b"$TTL 3600\n@ SOA ns1.ostn.test. h.ostn.test. 1 3600 600 604800 30\n@ NS ns1.ostn.test.\n";
        StaticZone::read(&name(apex), apex, text, &mut |_| Err(String::new())).unwrap()
    };
    let settings = Settings {
        peers_zone: Some(name("peers.ostn.test")),
        policy_zone: None,
        number_zone: Some(name("e164.ostn.test")),
    };
    let statics = ["ostn.test", "peers.ostn.test", "e164.ostn.test"].map(zone);
    Zones::new(settings, statics.into(), Serial::new(1)).unwrap()
}

fn node(number: u32) -> Node {
    let domain = format!("n{number}.ostn.test");
    let target = |host: u16| Target {
        host: name(&format!("sip{host}.{domain}")),
        port: 5061.try_into().unwrap(),
        priority: 10,
        weight: host,
        addresses: vec![
            Ipv4Addr::from_bits(0x0a00_0000 | number << 1 | u32::from(host & 1)).into(),
            Ipv6Addr::new(0x2001, 0xdb8, (number >> 16) as u16, (number & 0xffff) as u16, 0, 0, 0, host).into(),
        ],
    };
    let mut parts = NodeParts::new(name(&domain), vec![target(1), target(2)]);
    parts.keys.push(KeyPin { holder: KeyHolder::Node, sha256: [number as u8; 32] });
    let e164 = E164Number::parse(&format!("+88351{number:08}")).unwrap();
    parts.numbers.push(NumberClaim::Number { number: e164, uri: None });
    Node::new(parts).unwrap()
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn wire(text: &str) -> Vec<u8> {
    name(text).as_wire().to_vec()
}

/// Resident octets of this process (`/proc/self/statm`, field 2, in pages of 4 KiB).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
