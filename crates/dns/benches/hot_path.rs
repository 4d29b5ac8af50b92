//! What one UDP answer costs without the kernel: `cargo bench -p tandem-dns --features measuring --bench hot_path`.
//!
//! `-- --nodes 100000 --rounds 20 --kind mix` (or NAPTR, SRV, A, AAAA, ENUM, NX) and `--registered` for nodes as
//! registrations instead of master files. Prints nanoseconds of CPU time and octets an answer. With one round it does the
//! same work each time: `benches/dns/instructions.py` counts the instructions of what is called `measured`.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tandem_dns::hot_path::HotPath;
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Settings, Zones};

/// The mix of `benches/dns/compare.py`: kinds and their shares in per cent.
const MIX: [(&str, u32); 6] = [("NAPTR", 40), ("SRV", 30), ("A", 15), ("AAAA", 5), ("ENUM", 5), ("NX", 5)];

/// Queries that are asked in turn.
const QUERIES: usize = 200_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
    let number = |name: &str, usual: u32| option(name).map_or(usual, |text| text.parse().unwrap());
    let (nodes, rounds, batch) = (number("--nodes", 100_000), number("--rounds", 10), number("--batch", 64) as usize);
    let queries = number("--queries", QUERIES as u32) as usize;
    let zones = if args.iter().any(|arg| arg == "--registered") { registered(nodes) } else { from_files(nodes) };
    let mut path = HotPath::new(zones);
    let kinds =
        option("--kind").map_or_else(|| vec!["mix".to_owned()], |text| text.split(',').map(str::to_owned).collect());
    for kind in kinds {
        if kind == "reference" {
            let asked: Vec<Vec<u8>> = (0..queries as u64).map(|index| query("SRV", nodes, index)).collect();
            println!("reference: {}", reference_measured(&asked));
            continue;
        }
        let asked: Vec<Vec<u8>> = (0..queries as u64).map(|index| query(&kind, nodes, index)).collect();
        let mut least = Duration::MAX;
        let mut octets = 0;
        for _ in 0..rounds {
            let began = cpu_time();
            for some in asked.chunks(batch.min(HotPath::BATCH)) {
                path.receive(some.iter().map(Vec::as_slice));
                path.answer_measured();
                octets += path.answers().map(<[u8]>::len).sum::<usize>();
            }
            least = least.min(cpu_time() - began);
        }
        let answers = asked.len() as f64;
        let (ns, octets) = (least.as_secs_f64() * 1e9 / answers, octets as f64 / answers / f64::from(rounds));
        println!("{kind}: {ns:.0} ns, {octets:.0} octets");
    }
}

/// Plain work of the kind that answering is, against which instructions are counted: labels walked and folded, octets
/// mixed, records copied. Never change it.
#[inline(never)]
fn reference_measured(queries: &[Vec<u8>]) -> u64 {
    let mut sum = 0_u64;
    let mut answer = Vec::with_capacity(1024);
    for query in queries {
        answer.clear();
        answer.extend_from_slice(query);
        let mut at = 12;
        while let Some(&len) = query.get(at).filter(|len| **len > 0) {
            for octet in &query[at..=at + usize::from(len)] {
                sum = (sum ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
            }
            at += 1 + usize::from(len);
        }
        for record in 0..8_u16 {
            answer.extend_from_slice(&[0xc0, 12]);
            answer.extend_from_slice(&record.to_be_bytes());
            let from = usize::from(record);
            answer.extend_from_within(from..from + 24);
        }
        sum = sum.wrapping_add(answer.iter().map(|octet| u64::from(*octet)).sum());
    }
    sum
}

/// What this thread has spent on a processor: the first number of its `schedstat`, in nanoseconds.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A number from `seed` that looks like chance.
fn mixed(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

fn query(kind: &str, nodes: u32, index: u64) -> Vec<u8> {
    let chance = mixed(index);
    let node = (chance >> 32) as u32 % nodes;
    let mut share = chance as u32 % 100;
    let mut in_mix = || {
        for (kind, per_cent) in MIX {
            if share < per_cent {
                return kind;
            }
            share -= per_cent;
        }
        "NX"
    };
    let kind = if kind == "mix" { in_mix() } else { kind };
    let host = 1 + node % 2;
    let (name, number) = match kind {
        "NAPTR" => (format!("n{node}.ostn.test"), 35),
        "SRV" => (format!("_sips._tcp.n{node}.ostn.test"), 33),
        "A" => (format!("sip{host}.n{node}.ostn.test"), 1),
        "AAAA" => (format!("sip{host}.n{node}.ostn.test"), 28),
        "ENUM" => (enum_name(node), 35),
        "NX" => (format!("x{node}.ostn.test"), 35),
        other => panic!("no kind of query: {other}"),
    };
    let mut message = vec![index as u8, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(domain(&name).as_wire());
    message.extend([0, number, 0, 1]);
    message
}

fn enum_name(node: u32) -> String {
    let digits = format!("88351{node:08}");
    digits.chars().rev().flat_map(|digit| [digit, '.']).chain("e164.ostn.test".chars()).collect()
}

const HEAD: &str =
    "$TTL 60\n@ IN SOA ns1.ostn.test. hostmaster.ostn.test. 1 3600 600 604800 30\n@ IN NS ns1.ostn.test.\n";

fn zone(apex: &str, text: &str) -> StaticZone {
    StaticZone::read(&domain(apex), apex, text.as_bytes(), &mut |_| Err(String::new())).unwrap()
}

/// The zones that `benches/dns/compare.py` writes.
fn from_files(nodes: u32) -> Zones {
    let mut text = format!("{HEAD}ns1 IN A 127.0.0.1\ne164 IN NS ns1\n");
    let mut numbers = HEAD.to_owned();
    for k in 0..nodes {
        writeln!(text, "n{k} IN NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.n{k}").unwrap();
        for host in 1..=2 {
            writeln!(text, "_sips._tcp.n{k} IN SRV {host}0 0 5061 sip{host}.n{k}").unwrap();
            writeln!(text, "sip{host}.n{k} IN A {}", v4(k, host)).unwrap();
            writeln!(text, "sip{host}.n{k} IN AAAA {}", v6(k, host)).unwrap();
            writeln!(text, "_5061._tcp.sip{host}.n{k} IN TLSA 3 1 1 {k:064x}").unwrap();
        }
        let name = enum_name(k);
        let uri = format!("sip:+88351{k:08}@n{k}.ostn.test");
        writeln!(numbers, "{name}. IN NAPTR 100 10 \"u\" \"E2U+sip\" \"!^.*$!{uri}!\" .").unwrap();
    }
    let statics = vec![zone("ostn.test", &text), zone("e164.ostn.test", &numbers)];
    Zones::new(Settings::default(), statics, Serial::new(1)).unwrap()
}

/// The same nodes as registrations.
fn registered(nodes: u32) -> Zones {
    let settings = Settings {
        peers_zone: Some(domain("peers.ostn.test")),
        policy_zone: None,
        number_zone: Some(domain("e164.ostn.test")),
    };
    let own = format!("{HEAD}ns1 IN A 127.0.0.1\n");
    let statics = vec![zone("ostn.test", &own), zone("peers.ostn.test", HEAD), zone("e164.ostn.test", HEAD)];
    let mut zones = Zones::new(settings, statics, Serial::new(1)).unwrap();
    let all: Vec<u32> = (0..nodes).collect();
    for some in all.chunks(10_000) {
        let changes: Vec<Change> = some.iter().map(|&k| Change::Put(Box::new(node(k)))).collect();
        zones = zones.with(&changes, Serial::new(2));
    }
    zones
}

fn node(k: u32) -> Node {
    let own = format!("n{k}.ostn.test");
    let target = |host: u32| Target {
        host: domain(&format!("sip{host}.{own}")),
        port: 5061.try_into().unwrap(),
        priority: 10 * host as u16,
        weight: 0,
        addresses: vec![v4(k, host).into(), v6(k, host).into()],
    };
    let mut parts = NodeParts::new(domain(&own), vec![target(1), target(2)]);
    let mut sha256 = [0; 32];
    sha256[28..].copy_from_slice(&k.to_be_bytes());
    parts.keys.push(KeyPin { holder: KeyHolder::Node, sha256 });
    let number = E164Number::parse(&format!("+88351{k:08}")).unwrap();
    parts.numbers.push(NumberClaim::Number { number, uri: None });
    Node::new(parts).unwrap()
}

fn v4(k: u32, host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | k << 1 | host & 1)
}

fn v6(k: u32, host: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, (k >> 16) as u16, k as u16, 0, 0, 0, host as u16)
}

fn domain(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}
