//! Probes of real servers on loopback, seen by the API, the command line and `dig` (CERT-20, CERT-55, API-67; threats 14, 19).

pub(crate) mod server;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tandem_testkit::{Service, Setup, wait_until};

use self::server::{Authority, Behaviour, Server};
use crate::agent::Beside;
use crate::dns::dig;

/// Longest wait for what several probes have to find, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that probes loopback every second, and its settings.
struct World {
    service: Service,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl World {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        let file = folder.path().join("tandem.toml");
        write(folder.path(), true, more);
        let service = Setup::new().args(["--config", file.to_str().unwrap()]).start();
        Self { service, authority, folder }
    }

    fn probes(&self, domain: &str) -> Value {
        let response = self.service.get(&format!("/v1/nodes/{domain}/probes"));
        assert_eq!(response.status, 200, "{}", response.text);
        response.json()
    }

    /// Waits until each target of `domain` has these results, `ok` or another word.
    fn await_results(&self, domain: &str, expected: &[&str]) {
        let mut last = Value::Null;
        let begun = Instant::now();
        loop {
            let found = self.probes(domain);
            let results: Vec<_> = targets(&found).map(|target| target["looks"][0]["result"].clone()).collect();
            if results == expected {
                return;
            }
            if found != last {
                last = found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {expected:?}: {last:#}\n{}", self.service.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn publish(&self, domain: &str, targets: &[(&str, &Server)], probe: &Value) {
        let targets = targets.iter().enumerate().map(|(at, (host, server))| {
            let (address, port) = (server.address.ip(), server.address.port());
            json!({"host": format!("{host}.{domain}"), "port": port, "priority": 10 + at, "addresses": [address]})
        });
        let targets: Vec<_> = targets.collect();
        let response = self.service.put_node(domain, &json!({"targets": targets, "probe": probe}));
        assert!([200, 201].contains(&response.status), "{}", response.text);
    }

    fn dig(&self, words: &str) -> String {
        dig(self.service.dns_addr(), words)
    }

    /// The priorities that DNS has, in the order of the hosts' names.
    fn priorities(&self, domain: &str) -> Vec<u16> {
        let text = self.dig(&format!("+short _sips._tcp.{domain} SRV"));
        let mut records: Vec<(String, u16)> = text
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                (words[3].to_owned(), words[0].parse().unwrap())
            })
            .collect();
        records.sort();
        records.into_iter().map(|(_, priority)| priority).collect()
    }

    fn await_priorities(&self, domain: &str, expected: &[u16]) {
        wait_until(PATIENCE, &format!("priorities {expected:?}"), || self.priorities(domain) == expected);
    }

    fn serial(&self) -> u32 {
        let soa = self.dig("+short ostn.test SOA");
        soa.split(' ').nth(2).unwrap().parse().unwrap()
    }
}

fn targets(probes: &Value) -> impl Iterator<Item = &Value> {
    probes["targets"].as_array().unwrap().iter()
}

fn write(folder: &std::path::Path, enabled: bool, more: &str) {
    let text = format!(
        "[[dns.transfer]]\nzone = \"*\"\nnetworks = [\"127.0.0.0/8\"]\n\n[probes]\nenabled = {enabled}\ninterval_seconds = 1\n\
         timeout_seconds = 2\nauthorities = \"ca.pem\"\n{more}"
    );
    std::fs::write(folder.join("tandem.toml"), text).unwrap();
}

const LOOPBACK: &str = "allow_loopback_for_tests = true\n";

/// The whole life of two targets: well, wrong, dead, well again; over a restart, and when probes are switched off.
#[test]
fn what_fails_is_demoted_and_comes_back_cert_20() {
    let world = World::new(LOOPBACK);
    let domain = "debug.ostn.test";
    let a = Server::start("127.0.71.1", world.authority.certify(domain));
    let b = Server::start("127.0.71.2", world.authority.certify(domain));
    world.publish(domain, &[("a", &a), ("b", &b)], &json!({}));
    world.await_results(domain, &["ok", "ok"]);
    assert_eq!(world.priorities(domain), [10, 11]);
    assert_eq!(targets(&world.probes(domain)).filter(|target| target["down"] == json!(true)).count(), 0);
    let etag = world.service.get(&format!("/v1/nodes/{domain}")).json()["etag"].clone();
    let serial = world.serial();

    a.become_(world.authority.certify("other.test"));
    world.await_priorities(domain, &[10_010, 11]);
    let found = world.probes(domain);
    let target = &found["targets"][0];
    assert_eq!((&target["down"], &target["demoted"]), (&json!(true), &json!(true)), "{found:#}");
    let look = &target["looks"][0];
    assert_eq!((&look["result"], &look["rule"]), (&json!("certificate-other-name"), &json!("CERT-20")), "{look:#}");
    assert_eq!(look["certificate"]["identities"], json!(["other.test"]));
    assert!(look["failures"].as_u64().unwrap() >= 3, "{look:#}");
    // Secondaries see it as a difference; the node's own word and its entity tag are what they were.
    assert!(world.serial() > serial);
    let difference = world.dig(&format!("ixfr={serial} ostn.test"));
    assert!(difference.contains("\tSRV\t10010 0 "), "{difference}");
    let shown = world.service.get(&format!("/v1/nodes/{domain}")).json();
    assert_eq!((&shown["etag"], &shown["node"]["targets"][0]["priority"]), (&etag, &json!(10)));
    let told = world.service.get("/v1/changes?after=0").text;
    assert!(told.contains(r#""kind":"probe""#) && told.contains("is down"), "{told}");
    let audit = world.service.get("/v1/audit").text;
    assert!(audit.contains(r#""by":"prober""#), "{audit}");
    // The same document again is no change, and does not bring it back.
    world.publish(domain, &[("a", &a), ("b", &b)], &json!({"options": true}));
    assert_eq!(world.priorities(domain), [10_010, 11]);
    let table = world.service.tandem(["nodes", "probes", domain]).success();
    assert!(table.contains("certificate-other-name") && table.contains("CERT-20: "), "{table}");
    assert!(table.lines().any(|line| line.starts_with("a.debug") && line.contains(" demoted ")), "{table}");

    // It stays so over a restart. Of two that are down none is behind the other: the last live target never moves.
    let World { service, authority, folder } = world;
    let world = World { service: service.restart(), authority, folder };
    assert_eq!(world.priorities(domain), [10_010, 11]);
    b.become_(Behaviour::Closes);
    world.await_priorities(domain, &[10, 11]);
    assert!(targets(&world.probes(domain)).all(|target| target["down"] == json!(true)));
    b.become_(world.authority.certify(domain));
    world.await_priorities(domain, &[10_010, 11]);
    a.become_(world.authority.certify(domain));
    let hurried = world.service.tandem(["nodes", "probes", domain, "--now", "--json"]).success();
    assert!(hurried.contains("\"asked\": true"), "{hurried}");
    world.await_priorities(domain, &[10, 11]);

    // Who does not ask any more is as registered at once; and so is everybody when probes are off.
    a.become_(Behaviour::Closes);
    world.await_priorities(domain, &[10_010, 11]);
    write(world.folder.path(), false, LOOPBACK);
    let world = World { service: world.service.restart(), ..world };
    world.await_priorities(domain, &[10, 11]);
    assert_eq!(world.probes(domain)["enabled"], json!(false));
    let wish = world.service.send("POST", &format!("/v1/nodes/{domain}/probes"), &[], None);
    assert_eq!(wish.status, 409, "{}", wish.text);
}

/// What the prober found is in the list of the members, and so agents try a dead target last as DNS does.
#[test]
fn agents_demote_alike_cert_20() {
    let world = World::new(LOOPBACK);
    let domain = "debug.ostn.test";
    let a = Server::start("127.0.74.1", world.authority.certify(domain));
    let b = Server::start("127.0.74.2", world.authority.certify(domain));
    world.publish(domain, &[("a", &a), ("b", &b)], &json!({}));
    world.await_results(domain, &["ok", "ok"]);
    let member = || world.service.get(&format!("/v1/members/{domain}")).json();
    assert_eq!(member().get("down"), None, "{}", member());
    let mut beside = Beside::in_step(&world.service);
    let shown = |beside: &Beside| -> Vec<u16> {
        let member = beside.member(domain).unwrap();
        member.shown().unwrap().targets().iter().map(|target| target.priority).collect()
    };
    assert_eq!(shown(&beside), [10, 11]);
    a.become_(Behaviour::Closes);
    world.await_priorities(domain, &[10_010, 11]);
    let told = member();
    assert_eq!((&told["down"], &told["node"]["targets"][0]["priority"]), (&json!([0]), &json!(10)), "{told}");
    wait_until(PATIENCE, "the agent to demote it", || shown(&beside) == [10_010, 11]);
    // It is on disk, and two that are down are as they were.
    beside.stop();
    beside.start();
    assert_eq!(shown(&beside), [10_010, 11]);
    b.become_(Behaviour::Closes);
    wait_until(PATIENCE, "neither before the other", || shown(&beside) == [10, 11]);
    assert_eq!(member()["down"], json!([0, 1]));
}

/// CERT-52, CERT-54, CERT-55: keys of valid certificates are published when all are known; old and new stand together.
#[test]
fn keys_that_are_seen_become_tlsa_records_cert_55() {
    let world = World::new(LOOPBACK);
    let domain = "debug.ostn.test";
    let a = Server::start("127.0.72.1", world.authority.certify(domain));
    // Not from an authority that is trusted.
    let b = Server::start("127.0.72.2", Authority::new().certify(domain));
    world.publish(domain, &[("a", &a), ("b", &b)], &json!({"tlsa": true}));
    world.await_results(domain, &["ok", "certificate-untrusted"]);
    let records = |host: &str, server: &Server| {
        let name = format!("_{}._tcp.{host}.{domain}", server.address.port());
        let text = world.dig(&format!("+short {name} TLSA")).replace(' ', "").to_ascii_lowercase();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(world.probes(domain)["keys"], json!([]), "a key that is not to be trusted is no key");
    assert!(records("a", &a).is_empty());

    b.become_(world.authority.certify(domain));
    wait_until(PATIENCE, "two keys", || records("a", &a).len() == 2);
    let found = world.probes(domain);
    let seen = |at: usize| found["targets"][at]["looks"][0]["certificate"]["sha256"].as_str().unwrap().to_owned();
    let mut expected = [format!("311{}", seen(0)), format!("311{}", seen(1))];
    expected.sort();
    for (host, server) in [("a", &a), ("b", &b)] {
        let mut records = records(host, server);
        records.sort();
        assert_eq!(records, expected);
    }
    // Roll-over: the new one at once, the old one still.
    a.become_(world.authority.certify(domain));
    wait_until(PATIENCE, "three keys", || records("a", &a).len() == 3);
    assert!(expected.iter().all(|record| records("a", &a).contains(record)));
    let old = seen(0);
    wait_until(PATIENCE, "an end of the old key", || {
        let keys = world.probes(domain)["keys"].clone();
        keys.as_array().unwrap().iter().any(|key| key["sha256"] == json!(old) && key["until"].is_string())
    });
    // A stranger's certificate changes nothing.
    a.become_(Authority::new().certify(domain));
    world.await_results(domain, &["certificate-untrusted", "ok"]);
    assert_eq!(records("a", &a).len(), 3);
}

/// API-67, threat 14: loopback, private and own addresses are refused without a connection, also behind a name.
#[test]
fn own_and_private_addresses_are_never_connected_to_api_67() {
    let world = World::new("own_addresses = [\"8.8.8.8\"]\n");
    let domain = "debug.ostn.test";
    let loopback = Server::start("127.0.73.1", Behaviour::Closes);
    let port = loopback.address.port();
    let target =
        |host: &str, address: &str| json!({"host": format!("{host}.{domain}"), "port": port, "addresses": [address]});
    let document = json!({
        "targets": [
            target("a", "127.0.73.1"), target("b", "10.1.2.3"), target("c", "8.8.8.8"), target("d", "169.254.169.254"),
            // A name in a zone, which leads to a documentation address.
            {"host": "ns1.ostn.test", "port": port}
        ],
        "probe": {}
    });
    assert_eq!(world.service.put_node(domain, &document).status, 201);
    world.await_results(domain, &["address-refused"; 5]);
    let found = world.probes(domain);
    for (at, words) in [(0, "no global unicast"), (1, "no global unicast"), (2, "an address of this directory")] {
        let look = &found["targets"][at]["looks"][0];
        assert_eq!(look["rule"], json!("API-67"), "{look:#}");
        assert!(look["detail"].as_str().unwrap().contains(words), "{look:#}");
    }
    assert_eq!(loopback.connections(), 0);
    // Nor does a wish open the door.
    assert_eq!(world.service.send("POST", &format!("/v1/nodes/{domain}/probes"), &[], None).status, 202);
    let again = world.service.send("POST", &format!("/v1/nodes/{domain}/probes"), &[], None);
    assert_eq!((again.status, again.header("retry-after")), (429, Some("1")), "{}", again.text);
    world.await_results(domain, &["address-refused"; 5]);
    assert_eq!(loopback.connections(), 0);
}

/// Threat 14: a name outside our zones is looked up for each look, and leads only where its address may.
#[test]
fn names_of_others_are_looked_up_each_time_api_67() {
    let zones = tempfile::tempdir().unwrap();
    let address = |address: &str| {
        let text = format!(
            "$TTL 0\n@ IN SOA ns1 hostmaster 1 3600 600 86400 0\n@ IN NS ns1\nns1 IN A 192.0.2.53\nsip IN A {address}\n"
        );
        std::fs::write(zones.path().join("elsewhere.test.zone"), text).unwrap();
    };
    address("127.0.76.1");
    let theirs = Setup::new().zones(zones.path()).start();
    let servers = format!("[resolver]\nname_servers = [\"{}\"]\n", theirs.dns_addr());
    let world = World::new(&format!("{LOOPBACK}{servers}"));
    let domain = "debug.ostn.test";
    let good = Server::start("127.0.76.1", world.authority.certify(domain));
    let target = json!({"host": "sip.elsewhere.test", "port": good.address.port()});
    let response = world.service.put_node(domain, &json!({"targets": [target], "probe": {}}));
    assert_eq!(response.status, 201, "{}", response.text);
    world.await_results(domain, &["ok"]);
    for (now, result) in [("169.254.169.254", "address-refused"), ("10.1.2.3", "address-refused"), ("127.0.76.1", "ok")]
    {
        address(now);
        let reloaded = theirs.send("POST", "/v1/zones/reload", &[], None);
        assert_eq!(reloaded.status, 200, "{}", reloaded.text);
        wait_until(PATIENCE, now, || {
            let look = world.probes(domain)["targets"][0]["looks"][0].clone();
            (&look["address"], &look["result"]) == (&json!(now), &json!(result))
        });
    }
}

/// Threat 19: when most fail at once the fault is ours, and almost nobody is demoted.
#[test]
fn a_mass_failure_demotes_almost_nobody() {
    let world = World::new(LOOPBACK);
    let domains: Vec<_> = (0..6).map(|at| format!("m{at}.ostn.test")).collect();
    let servers: Vec<_> = domains
        .iter()
        .enumerate()
        .flat_map(|(at, domain)| {
            let good = world.authority.certify(domain);
            [1, 2].map(|side| Server::start(&format!("127.0.74.{}", at * 2 + side), good.clone()))
        })
        .collect();
    for (domain, pair) in domains.iter().zip(servers.chunks(2)) {
        world.publish(domain, &[("a", &pair[0]), ("b", &pair[1])], &json!({}));
    }
    domains.iter().for_each(|domain| world.await_results(domain, &["ok", "ok"]));
    let begun: usize = servers.iter().map(Server::connections).sum();
    servers.iter().for_each(|server| server.become_(Behaviour::Closes));
    wait_until(PATIENCE, "failures that do not count", || world.probes(&domains[0])["held"] == json!(true));
    // Many more failures than would be needed.
    wait_until(PATIENCE, "looks that fail", || {
        servers.iter().map(Server::connections).sum::<usize>() > begun + servers.len() * 5
    });
    let down = domains.iter().flat_map(|domain| targets(&world.probes(domain)).cloned().collect::<Vec<_>>());
    let down = down.filter(|target| target["down"] == json!(true)).count();
    assert!(down <= 4, "{down} of {}", servers.len());
    assert!(world.service.log().contains("nobody is demoted"));
}

/// Threat 19: servers that say nothing, or crumbs, take their time of their own place and nobody else's.
#[test]
fn tarpits_hold_up_nobody_else() {
    let world = World::new(&format!("{LOOPBACK}parallel = 4\n"));
    let silent = Server::start("127.0.75.1", Behaviour::Silent);
    let drips = Server::start("127.0.75.2", Behaviour::Drips);
    let good = Server::start("127.0.75.3", world.authority.certify("good.ostn.test"));
    world.publish("slow.ostn.test", &[("a", &silent), ("b", &drips)], &json!({}));
    world.publish("good.ostn.test", &[("a", &good)], &json!({}));
    world.await_results("slow.ostn.test", &["too-slow", "too-slow"]);
    world.await_results("good.ostn.test", &["ok"]);
    let before = good.connections();
    wait_until(PATIENCE, "more looks at the good one", || good.connections() >= before + 5);
    assert_eq!(targets(&world.probes("good.ostn.test")).next().unwrap()["failures"], json!(0));
    assert!(targets(&world.probes("slow.ostn.test")).all(|target| target["looks"][0]["result"] == json!("too-slow")));
}
