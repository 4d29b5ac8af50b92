//! What a change and a look-up cost as the number of nodes grows: `cargo bench -p tandem-zone --bench change`.
//!
//! For 10 to 1,000,000 nodes of two targets (v4 and v6), a key and a number each: time to load them, resident memory,
//! time to check and publish one more, and to look names up. Times are CPU time of the thread, so that other programs
//! disturb them less. `-- --sizes 1000,10000000` measures other sizes, `--numbers 10` gives each node so many numbers,
//! `--json FILE` writes the figures down for `benches/plot.py`.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads /proc")]

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Draft, Live, Lookup, QueryName, ReadyNode, RrType, Settings, Zones};

/// Figures of one size.
struct Row {
    nodes: u32,
    load_s: f64,
    mib: u64,
    octets: u64,
    change_us: f64,
    naptr_ns: f64,
    srv_ns: f64,
    a_ns: f64,
    nxdomain_ns: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| args[at + 1].as_str());
    let sizes = value("--sizes").unwrap_or("1000,10000,100000,1000000");
    let numbers = value("--numbers").map_or(1, |count| count.parse().unwrap());
    println!(
        "| nodes | numbers | load CPU s | MiB | octets a node | check+publish µs | NAPTR ns | SRV ns | A ns | NXDOMAIN ns |"
    );
    println!("|--|--|--|--|--|--|--|--|--|--|");
    let mut rows = Vec::new();
    if let Ok(count) = sizes.parse() {
        let row = measure(count, numbers);
        println!("{}", row.line(numbers));
        rows.push(row.json(numbers));
    } else {
        // A process each: memory that an earlier size gave back would be taken again and not be seen.
        for size in sizes.split(',') {
            let file = std::env::temp_dir().join(format!("tandem-change-{}.json", std::process::id()));
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--sizes", size, "--numbers", &numbers.to_string(), "--json"]).arg(&file);
            let output = child.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            println!("{}", String::from_utf8_lossy(&output.stdout).lines().last().unwrap());
            rows.push(std::fs::read_to_string(&file).unwrap().trim_matches(['[', ']', '\n', ' ']).to_owned());
            std::fs::remove_file(file).unwrap();
        }
    }
    if let Some(file) = value("--json") {
        std::fs::write(file, format!("[\n  {}\n]\n", rows.join(",\n  "))).unwrap();
    }
}

impl Row {
    fn line(&self, numbers: u32) -> String {
        format!(
            "| {} | {} | {:.2} | {} | {} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} |",
            self.nodes,
            u64::from(self.nodes) * u64::from(numbers),
            self.load_s,
            self.mib,
            self.octets,
            self.change_us,
            self.naptr_ns,
            self.srv_ns,
            self.a_ns,
            self.nxdomain_ns
        )
    }

    fn json(&self, numbers: u32) -> String {
        format!(
            r#"{{"nodes": {}, "numbers_each": {numbers}, "load_cpu_s": {:.3}, "mib": {}, "octets_a_node": {}, "change_us": {:.1}, "naptr_ns": {:.0}}}"#,
            self.nodes, self.load_s, self.mib, self.octets, self.change_us, self.naptr_ns
        )
    }
}

fn measure(count: u32, numbers: u32) -> Row {
    let before = resident();
    let began = cpu();
    let mut draft = Draft::loading(empty());
    for number in 0..count {
        draft.load(&ReadyNode::new(&node(number, numbers)));
    }
    let zones = draft.finish();
    let load = cpu() - began;
    let octets = resident().saturating_sub(before);
    let live = Live::new(zones);

    let rounds = 2_000;
    let nodes: Vec<Node> = (0..rounds).map(|number| node(count + number, numbers)).collect();
    let began = cpu();
    for (node, serial) in nodes.iter().zip(3..) {
        let mut draft = Draft::new(&live.load());
        assert!(draft.check_and_put(node, Serial::new(serial)).is_ok());
        live.publish(draft.finish());
    }
    let change = (cpu() - began) * 1e6 / f64::from(rounds);

    let zones = live.load();
    let ask = |name: &dyn Fn(u32) -> String, kind: RrType| {
        let wires: Vec<Vec<u8>> = (0..10_000_u32).map(|i| wire(&name(i.wrapping_mul(2_654_435_761) % count))).collect();
        let began = cpu();
        for round in 0..20 {
            for asked in &wires {
                let name = QueryName::parse(black_box(asked)).unwrap();
                let found = zones.lookup(&name, kind);
                assert!(round > 0 || !matches!(found, Lookup::NotOurs));
                black_box(&found);
            }
        }
        (cpu() - began) * 1e9 / (20.0 * 10_000.0)
    };
    Row {
        nodes: count,
        load_s: load,
        mib: octets >> 20,
        octets: octets / u64::from(count),
        change_us: change,
        naptr_ns: ask(&|n| format!("n{n}.ostn.test"), RrType::NAPTR),
        srv_ns: ask(&|n| format!("_sips._tcp.n{n}.ostn.test"), RrType::SRV),
        a_ns: ask(&|n| format!("sip1.n{n}.ostn.test"), RrType::A),
        nxdomain_ns: ask(&|n| format!("x{n}.ostn.test"), RrType::NAPTR),
    }
}

/// CPU seconds of this thread (`/proc/thread-self/schedstat`, field 1, in nanoseconds).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
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

fn node(number: u32, numbers: u32) -> Node {
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
    for index in 0..numbers {
        let e164 = u64::from(number) * u64::from(numbers) + u64::from(index);
        let e164 = E164Number::parse(&format!("+883{e164:010}")).unwrap();
        parts.numbers.push(NumberClaim::Number { number: e164, uri: None });
    }
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
