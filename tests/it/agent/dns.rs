//! Name service of the agent: the copy of the members as `dig` sees it.

use std::net::SocketAddr;

use serde_json::json;
use tandem_agent::config::DnsConfig;
use tandem_testkit::{Service, wait_until};

use super::{Beside, NEWS, WAIT, act, directory, document, publish};
use crate::dns::dig;

const SERVICE: &str = "_sips._tcp.debug.ostn.test SRV";
const NUMBER: &str = "1.0.1.0.5.5.5.1.e164.private.test NAPTR";

/// An agent whose name service forwards to the directory's.
fn answering(service: &Service) -> (Beside, SocketAddr) {
    let mut beside = Beside::new(service);
    beside.config.dns = Some(DnsConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        forward: vec![service.dns_addr()],
        clients: Vec::new(),
        enum_suffixes: vec!["e164.private.test".parse().unwrap()],
        peers_suffix: Some("peers.private.test".parse().unwrap()),
    });
    beside.start();
    beside.wait_in_step();
    let address = address(&beside);
    (beside, address)
}

/// Where it answers, as the status tells.
fn address(beside: &Beside) -> SocketAddr {
    let listening = beside.agent().status().listening;
    let place = listening.iter().find_map(|line| line.strip_prefix("dns ")).expect("the board says where");
    place.parse().unwrap()
}

fn short(server: SocketAddr, words: &str) -> String {
    dig(server, &format!("+short {words}"))
}

#[test]
fn members_numbers_and_all_else_dns_120_dns_121() {
    let service = directory();
    let mut node = document("debug.ostn.test", 5071);
    node["numbers"] = json!([{"e164": "+15550101"}]);
    assert_eq!(service.put_node("debug.ostn.test", &node).status, 201);
    let (beside, server) = answering(&service);
    assert_eq!(short(server, SERVICE), "10 0 5071 sip.debug.ostn.test.\n");
    assert_eq!(short(server, "sip.debug.ostn.test A"), "203.0.113.7\n");
    assert_eq!(short(server, "_sips._tcp.debug.ostn.test.peers.private.test SRV"), "10 0 5071 sip.debug.ostn.test.\n");
    assert!(short(server, NUMBER).contains("!^.*$!sip:+15550101@debug.ostn.test!"), "{}", short(server, NUMBER));
    // The directory's own zone is no member's: forwarded.
    assert_eq!(short(server, "ostn.test SOA"), short(service.dns_addr(), "ostn.test SOA"));

    publish(&service, "debug.ostn.test", 5072);
    wait_until(NEWS, "the new port", || short(server, SERVICE).starts_with("10 0 5072 "));
    assert_eq!(short(server, NUMBER), "", "the new document has no number");
    act(&service, "debug.ostn.test", "drain");
    wait_until(NEWS, "to be tried last", || short(server, SERVICE).starts_with("10010 0 5072 "));
    assert_eq!(service.delete("/v1/nodes/debug.ostn.test").status, 200);
    // The directory's word, with its SOA: the overlay has none.
    wait_until(NEWS, "the public DNS to answer", || dig(server, SERVICE).contains("\tSOA\t"));
    drop(beside);
}

/// What the name service answered is told by kind, with nothing of who asked (issue E 4a).
#[test]
fn what_it_answers_is_counted() {
    let service = directory();
    publish(&service, "debug.ostn.test", 5071);
    publish(&service, "gone.ostn.test", 5071);
    let (beside, server) = answering(&service);
    act(&service, "gone.ostn.test", "suspend");
    let gone = "_sips._tcp.gone.ostn.test SRV";
    wait_until(NEWS, "the block", || dig(server, gone).contains("this member is suspended"));
    let counted = || beside.agent().status().dns.expect("there is a name service");
    let before = counted();
    assert!(before.blocked >= 1, "{before:?}");
    for words in [SERVICE, SERVICE, gone, "ostn.test SOA"] {
        let _ = dig(server, words);
    }
    let after = counted();
    let grew = [after.members - before.members, after.blocked - before.blocked, after.forwarded - before.forwarded];
    assert_eq!((grew, after.failed), ([2, 1, 1], 0), "{after:?}");
    let metrics = beside.agent().status().metrics();
    let line = format!("\ntandem_agent_dns_answers_total{{result=\"member\"}} {}\n", after.members);
    assert!(
        metrics.contains(&line) && metrics.contains("# TYPE tandem_agent_dns_retried_total counter\n"),
        "{metrics}"
    );
    assert!(Beside::in_step(&service).agent().status().dns.is_none(), "without [dns] nothing is told");
}

#[test]
fn who_is_compromised_stays_blocked_over_a_restart_dns_122() {
    let mut service = directory();
    let mut node = document("debug.ostn.test", 5071);
    node["numbers"] = json!([{"e164": "+15550101"}, {"block": "+1555020"}]);
    assert_eq!(service.put_node("debug.ostn.test", &node).status, 201);
    let (mut beside, server) = answering(&service);
    act(&service, "debug.ostn.test", "compromised");
    wait_until(NEWS, "the block", || dig(server, SERVICE).contains("this member is compromised"));
    let in_block = "9.9.0.2.0.5.5.5.1.e164.private.test NAPTR";
    let blocked = |server: SocketAddr| {
        for number in [NUMBER, in_block] {
            let text = dig(server, number);
            assert!(text.contains("NXDOMAIN") && text.contains("this number's member may not be called"), "{text}");
        }
        let text = dig(server, SERVICE);
        assert!(text.contains("NXDOMAIN") && text.contains("this member is compromised"), "{text}");
    };
    blocked(server);
    // Once more without the directory, and the agent knows only what is on disk.
    service.kill();
    for _ in 0..2 {
        beside.stop();
        beside.start();
        blocked(address(&beside));
    }
    let service = service.restart();
    act(&service, "debug.ostn.test", "restore");
    beside.wait_for_port(WAIT, "debug.ostn.test", Some(5071));
    let server = address(&beside);
    wait_until(NEWS, "the number is back", || short(server, NUMBER).contains("@debug.ostn.test!"));
    assert_eq!(short(server, SERVICE), "10 0 5071 sip.debug.ostn.test.\n");
}

#[test]
fn wrong_settings_start_nothing_dns_125() {
    let service = directory();
    let mut beside = Beside::new(&service);
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    beside.config.dns = Some(DnsConfig {
        listen: vec![free],
        forward: vec![free],
        clients: Vec::new(),
        enum_suffixes: Vec::new(),
        peers_suffix: None,
    });
    let error = beside.runtime.block_on(tandem_agent::Agent::start(beside.config.clone())).unwrap_err();
    let cause = std::error::Error::source(&error).expect("the cause is told");
    assert!(error.to_string().contains("[dns]") && cause.to_string().contains("is this overlay itself"), "{cause}");
}
