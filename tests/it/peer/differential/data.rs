//! Zones and nodes that meet every branch of a lookup: wildcards, empty non-terminals, aliases inside a zone and between
//! zones, loops, delegations with glue and occluded names, a served child zone, nodes in own and foreign domains, numbers
//! and blocks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tandem_testkit::repository;

use super::Dice;

/// The labels that names are made of: few, so that names meet.
pub(super) const LABELS: &[&str] =
    &["a", "b", "c", "d", "*", "_tcp", "_sips", "host", "sub", "x1", "x2", "1", "2", "5", "9", "node-3", "zz"];

/// Names made for each random zone.
const NAMES: usize = 150;
/// Nodes in the project's own zones.
const NODES: usize = 30;
/// The random zones; the second is a child of the first, the third of the fixed one.
const RANDOM: [&str; 3] = ["gen.test", "b.gen.test", "other.example"];

/// RFC 4592 2.2.1, with what it leaves open filled in, and chains of aliases.
const FIXED: &str = "\
@ 3600 IN SOA ns.example.com. hostmaster.example. 1 3600 600 86400 300
@ 3600 IN NS ns.example.com.
* 3600 IN TXT \"this is a wildcard\"
* 3600 IN MX 10 host1.example.
sub.* 3600 IN TXT \"this is not a wildcard\"
host1 3600 IN A 192.0.2.1
_ssh._tcp.host1 3600 IN SRV 0 0 22 host1.example.
_ssh._tcp.host2 3600 IN SRV 0 0 22 host2.example.
subdel 3600 IN NS ns.example.com.
subdel 3600 IN NS ns.subdel
ns.subdel 3600 IN A 192.0.2.2
a.subdel 3600 IN TXT \"occluded\"
other 3600 IN NS ns.other
ns.other 3600 IN A 192.0.2.3
c1 60 IN CNAME c2
c2 60 IN CNAME c3
c3 60 IN CNAME host1
gone 60 IN CNAME nothing.host1
below 60 IN CNAME a.subdel
wild 60 IN CNAME made.by.wildcard
*.cw 60 IN CNAME host1
loop1 60 IN CNAME loop2
loop2 60 IN CNAME loop1
out 60 IN CNAME www.outside.invalid.
over 60 IN CNAME www.ostn.test.
node 60 IN CNAME _sips._tcp.n1.ostel.me.
dn 60 IN DNAME dt
dn 60 IN TXT \"the owner of a DNAME\"
*.dt 60 IN TXT \"behind a DNAME\"
a.dt 60 IN A 192.0.2.4
c.dt 60 IN CNAME c1
to-dn 60 IN CNAME a.dn
dn-gen 60 IN DNAME gen.test.
dn-node 60 IN DNAME ostel.me.
dn-cut 60 IN DNAME subdel
dn-out 60 IN DNAME www.outside.invalid.
dn-loop1 60 IN DNAME dn-loop2
dn-loop2 60 IN DNAME dn-loop1
unknown 60 IN TYPE65280 \\# 4 0A000001
";

/// Blocks handed over by DNAME, one of them inside a node's block (ENUM-84).
const HANDED_OVER: &str = "5.1.0.6.6.6.1 60 IN DNAME dt.example.\n7.7 60 IN DNAME x.gen.test.\n";

/// Writes the master files into `folder`; the zones' names.
pub(super) fn write_zones(folder: &Path) -> Vec<String> {
    std::fs::create_dir(folder).expect("the scratch folder is writable");
    let mut zones: BTreeMap<String, String> = BTreeMap::new();
    for entry in std::fs::read_dir(repository().join("zones")).expect("the project has zones") {
        let path = entry.expect("the folder can be listed").path();
        if path.extension().is_some_and(|extension| extension == "zone") {
            let apex = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            zones.insert(apex, std::fs::read_to_string(&path).expect("a zone file is text"));
        }
    }
    zones.get_mut("e164.ostn.test").expect("the project has an ENUM zone").push_str(HANDED_OVER);
    zones.insert("example".into(), format!("$ORIGIN example.\n{FIXED}"));
    for (seed, apex) in (0x7a6e_0010..).zip(RANDOM) {
        zones.insert(apex.into(), random_zone(apex, &mut Dice(seed)));
    }
    for (apex, text) in &zones {
        std::fs::write(folder.join(format!("{apex}.zone")), text).expect("the folder is writable");
    }
    zones.into_keys().collect()
}

/// What stands at one name of a random zone.
enum Content {
    Alias(String),
    Redirect(String),
    Cut(Vec<String>),
    Records(Vec<String>),
}

fn random_zone(apex: &str, dice: &mut Dice) -> String {
    let mut names = BTreeMap::new();
    for _ in 0..NAMES {
        let labels: Vec<&str> = (0..1 + dice.roll(4)).map(|_| dice.pick(LABELS)).collect();
        let wild = labels[0] == "*";
        let content = match dice.roll(10) {
            0 | 1 => Content::Alias(target(apex, dice)),
            3 if !wild && dice.roll(3) == 0 => Content::Redirect(target(apex, dice)),
            // A wildcard that owns NS has no defined meaning (RFC 4592 4.2).
            2 if !wild => Content::Cut((0..1 + dice.roll(2)).map(|n| format!("ns{n}.{}", labels.join("."))).collect()),
            _ => Content::Records((0..1 + dice.roll(3)).map(|_| record(apex, dice)).collect()),
        };
        names.insert(labels.join("."), content);
    }
    let mut text = format!(
        "$ORIGIN {apex}.\n$TTL {}\n@ IN SOA ns.{apex}. h.{apex}. 1 3600 600 86400 {}\n@ IN NS ns\n@ IN NS ns.outside.invalid.\n\
         ns IN A 192.0.2.53\nhost IN A 192.0.2.80\nhost IN AAAA 2001:db8::80\n",
        300 + dice.roll(3600),
        30 + dice.roll(600)
    );
    // Served here as a zone of its own, too; its name server has its glue in the parent.
    if apex == RANDOM[0] {
        text += "b IN NS ns.b\nns.b IN A 192.0.2.54\n";
        names.remove("b");
    }
    names.retain(|name, _| name != "host" && name != "ns");
    // Nothing is below a DNAME (RFC 6672 2.4).
    let is_redirect =
        |(name, content): (&String, &Content)| matches!(content, Content::Redirect(_)).then(|| format!(".{name}"));
    let redirects: Vec<String> = names.iter().filter_map(is_redirect).collect();
    names.retain(|name, _| !redirects.iter().any(|above| name.ends_with(above)));
    for (name, content) in &names {
        let mut line = |line: &str| writeln!(text, "{name} IN {line}").expect("a string takes all");
        match content {
            Content::Alias(target) => line(&format!("CNAME {target}")),
            Content::Redirect(target) => line(&format!("DNAME {target}")),
            Content::Records(records) => records.iter().for_each(|record| line(record)),
            Content::Cut(servers) => {
                servers.iter().for_each(|server| line(&format!("NS {server}")));
                if dice.roll(2) == 0 {
                    line("DS 12345 13 2 4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865");
                }
                for server in servers {
                    writeln!(text, "{server} IN A 192.0.2.{}", 1 + dice.roll(200)).expect("a string takes all");
                }
            }
        }
    }
    text
}

/// Data of a record of some type. All data of one type at a name may come twice: that is one record.
fn record(apex: &str, dice: &mut Dice) -> String {
    match dice.roll(8) {
        0 => format!("A 192.0.2.{}", dice.roll(255)),
        1 => format!("AAAA 2001:db8::{:x}", dice.roll(65536)),
        2 => format!("TXT \"text {}\"", dice.roll(9)),
        3 => format!("MX {} host.{apex}.", dice.roll(50)),
        4 => format!("SRV {} {} 5061 host.{apex}.", dice.roll(30), dice.roll(100)),
        5 => format!("NAPTR {} 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.a.{apex}.", dice.roll(30)),
        6 => format!("TLSA 3 1 1 {:064x}", dice.roll(1 << 20)),
        _ => format!("TYPE65280 \\# 4 {:08x}", dice.roll(1 << 20)),
    }
}

/// Where an alias leads: mostly to a name of a random zone, which may or may not be there.
fn target(apex: &str, dice: &mut Dice) -> String {
    let labels: Vec<&str> = (0..1 + dice.roll(3)).map(|_| dice.pick(&LABELS[..12])).collect();
    match dice.roll(8) {
        0 => "www.ostn.test.".into(),
        1 => "www.outside.invalid.".into(),
        2 => format!("{}.{}.", labels.join("."), dice.pick(&RANDOM)),
        _ => format!("{}.{apex}.", labels.join(".")),
    }
}

/// Nodes to be published, in order: own domains, an apex, a foreign domain; numbers and blocks, some with numbers inside (ENUM-81).
pub(super) fn nodes() -> Vec<(String, Value)> {
    let mut dice = Dice(0x7a6e_0020);
    let node = |domain: &str, numbers: Value, dice: &mut Dice| {
        let targets: Vec<Value> = (0..1 + dice.roll(3))
            .map(|n| {
                let mut addresses = vec![format!("203.0.113.{}", 1 + dice.roll(250))];
                if dice.roll(2) == 0 {
                    addresses.push(format!("2001:db8:1::{:x}", 1 + dice.roll(9000)));
                }
                let host = if n == 0 && dice.roll(4) == 0 { domain.into() } else { format!("sip{n}.{domain}") };
                json!({"host": host, "port": 5061 + n, "priority": 10 * n, "weight": 5, "addresses": addresses})
            })
            .collect();
        json!({"targets": targets, "numbers": numbers, "ttl": 30 + dice.roll(300)})
    };
    let mut all = Vec::new();
    for n in 0..NODES {
        let domain = match n % 3 {
            0 => format!("node-{n}.ostn.test"),
            1 => format!("n{n}.ostel.me"),
            _ => format!("pbx.branch-{}.ostel.me", n % 7 * 10 + n),
        };
        let numbers = match n % 5 {
            0 => json!([{"e164": format!("+15550{n:03}")}, {"e164": format!("+15550{n:03}9")}]),
            1 => json!([{"block": format!("+1666{n:02}")}]),
            2 => {
                json!([{"block": format!("+49{n:02}")}, {"e164": format!("+49{n:02}5512"), "uri": format!("sip:a@{domain}")}])
            }
            _ => json!([]),
        };
        let document = node(&domain, numbers, &mut dice);
        all.push((domain, document));
    }
    // At the apex of a zone, and in no zone of ours: the latter shows in the peers zone only.
    for domain in ["ostel.me", "sip.example.org"] {
        let document = node(domain, json!([]), &mut dice);
        all.push((domain.into(), document));
    }
    all
}
