//! The overlay between `dig`, `kdig`, `drill` and a real unbound: members from their documents, all else as unbound has it.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use serde_json::json;
use tandem_dns::overlay::{BlockReason, Blocked, LiveMembers, Members, Overlay, Settings};
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::{Change, Zones};

use super::directory::Directory;
use super::dns_tool::{Reply, Tool};
use super::network::{Loopback, can_set_resolver};
use super::process;
use super::recursor::Recursor;
use super::require;

/// The member that the public DNS has old records of, and one that it has never heard of.
const MEMBERS: [(&str, &str); 2] = [("debug.ostel.me", "+15550101"), ("calls.example.net", "+15550102")];

fn name(text: &str) -> DomainName {
    text.parse().expect("a name")
}

fn node(domain: &str, number: &str) -> Node {
    let target = Target {
        host: name(&format!("sip.{domain}")),
        port: NonZeroU16::new(5071).expect("a port"),
        priority: 5,
        weight: 0,
        addresses: ["198.51.100.7", "2001:db8::77"].map(|address| address.parse().expect("an address")).to_vec(),
    };
    let mut parts = NodeParts::new(name(domain), vec![target]);
    parts.ttl = Some(30);
    parts.numbers = vec![NumberClaim::Number { number: E164Number::parse(number).expect("a number"), uri: None }];
    Node::new(parts).expect("a sound node")
}

fn nodes() -> Arc<Zones> {
    let changes = MEMBERS.map(|(domain, number)| Change::Put(Box::new(node(domain, number))));
    Arc::new(Members::none().nodes.with(&changes, Serial::new(1)))
}

/// What a tool read, without what a cache may change.
fn shape(reply: &Reply) -> (String, Vec<Vec<String>>) {
    let without_ttl = |record: &String| {
        record.split(' ').enumerate().filter(|(i, _)| *i != 1).map(|(_, word)| word.to_owned()).collect()
    };
    (reply.status.clone(), reply.answer.iter().map(without_ttl).collect())
}

#[test]
fn between_the_tools_and_unbound_dns_120_dns_121_dns_122() {
    if !require(&["unbound", "unbound-checkconf", "dig", "kdig", "drill", "unshare"]) {
        return;
    }
    let network = Loopback::take();
    if !can_set_resolver(&network) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let directory = Directory::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let old = json!({"host": "sip.debug.ostel.me", "port": 5061, "addresses": ["203.0.113.7"]});
    let number = json!([{"e164": "+15550101", "uri": "sip:old@debug.ostel.me"}]);
    directory.publish("debug.ostel.me", &json!({"targets": [old], "numbers": number, "ttl": 60}));
    let recursor = Recursor::start(network.address().into(), directory.dns(), &folder.path().join("recursor"));
    let upstream = SocketAddr::new(recursor.address(), 53);

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let mut settings = Settings::new(vec![SocketAddr::from((network.address(), 0))]);
    settings.upstreams = vec![upstream];
    settings.suffixes.numbers = vec![name("e164.ostn.test")];
    settings.suffixes.peers = Some(name("peers.ostn.test"));
    let live = LiveMembers::new(Members { nodes: nodes(), ..Members::none() });
    let overlay = Overlay::start(settings, &live).expect("the overlay starts");
    let server = overlay.local_addrs()[0];

    for (domain, number) in [(MEMBERS[0].0, "1.0.1.0.5.5.5.1"), (MEMBERS[1].0, "2.0.1.0.5.5.5.1")] {
        let rows = [
            (domain.to_owned(), "NAPTR", format!("10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.{domain}.")),
            (format!("_sips._tcp.{domain}"), "SRV", format!("5 0 5071 sip.{domain}.")),
            (format!("sip.{domain}"), "A", "198.51.100.7".to_owned()),
            (format!("sip.{domain}"), "AAAA", "2001:db8::77".to_owned()),
            (format!("_sips._tcp.{domain}.peers.ostn.test"), "SRV", format!("5 0 5071 sip.{domain}.")),
        ];
        for (owner, kind, data) in rows {
            for tool in Tool::ALL {
                let reply = tool.ask(server, true, &owner, kind);
                let what = format!("{} {owner} {kind}", tool.program());
                assert_eq!((reply.status.as_str(), reply.authoritative), ("NOERROR", false), "{what}");
                assert_eq!(reply.answer, [format!("{owner}. 30 IN {kind} {data}")], "{what}");
            }
        }
        let owner = format!("{number}.e164.ostn.test");
        for tool in Tool::ALL {
            let reply = tool.ask(server, true, &owner, "NAPTR");
            assert!(reply.answer.len() == 1 && reply.answer[0].contains(&format!("@{domain}!")), "{owner}: {reply:?}");
        }
    }
    for (owner, kind) in [
        ("ostel.me", "SOA"),
        ("ostel.me", "NS"),
        ("mail.ostel.me", "A"),
        ("www.ostn.test", "A"),
        ("debug.ostel.me", "A"),
        ("_tcp.debug.ostel.me", "SRV"),
        ("nobody.ostel.me", "NAPTR"),
        ("9.9.9.5.5.5.1.e164.ostn.test", "NAPTR"),
    ] {
        for tool in Tool::ALL {
            let (direct, through) = (tool.ask(upstream, true, owner, kind), tool.ask(server, true, owner, kind));
            assert_eq!(shape(&through), shape(&direct), "{} {owner} {kind}", tool.program());
        }
    }
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    for (tool, tcp) in [("dig", "+tcp"), ("kdig", "+tcp")] {
        let ask = |owner: &str| process::read(tool, &[&at, "-p", &port, owner, "A", tcp, "+short"]);
        assert_eq!(ask("sip.debug.ostel.me").trim(), "198.51.100.7", "{tool}");
        assert_eq!(ask("mail.ostel.me").trim(), "192.0.2.25", "{tool}");
    }
    // RD, AD and DO pass through; unbound does not validate here, so AD is clear.
    let text = process::read("dig", &[&at, "-p", &port, "mail.ostel.me", "A", "+dnssec", "+adflag"]);
    assert!(text.contains("flags: qr rd ra;") && text.contains("flags: do;"), "{text}");

    // Nothing about members has reached unbound until now but what is asked of it above.
    let asked = recursor.asked().join("\n");
    assert!(!asked.contains("calls.example.net") && !asked.contains("_sips._tcp.debug"), "{asked}");

    let blocked = Blocked::new([(name("debug.ostel.me"), BlockReason::Compromised)], Some(nodes()));
    live.publish(Members { blocked: Arc::new(blocked), ..Members::none() });
    let text = process::read("dig", &[&at, "-p", &port, "_sips._tcp.debug.ostel.me", "SRV"]);
    assert!(text.contains("NXDOMAIN") && text.contains("this member is compromised"), "{text}");
    for tool in Tool::ALL {
        assert_eq!(tool.ask(server, true, "debug.ostel.me", "NAPTR").answer, [""; 0], "{}", tool.program());
    }
    assert_eq!((overlay.stats().failed, overlay.stats().foreign), (0, 0), "{:?}", overlay.stats());
    runtime.block_on(overlay.shutdown());
}
