//! Foreign domains, the ways of `docs/guides/foreign-domains.md`: members whose own zones the directory does not serve
//! are called by SIP servers that know nothing about it. Issue B 4.
//!
//! A second `tandem serve` stands in for the public DNS: it has the foreign domains with their mail and web records. The
//! suffix way is tested in `kamailio`.

mod recursor;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::json;
use tandem_testkit::{Setup as ServiceSetup, repository};
use tempfile::TempDir;

use super::certificate::Authority;
use super::directory::Directory;
use super::network::{Loopback, can_set_resolver};
use super::phone::{Outcome, Phone};
use super::recursor::Recursor as StubRecursor;
use super::sip_server::{Operator, Route, SipServer};
use super::{guide, require, skip, wait_for};
use recursor::{Answer, Policy, Recursor, Setup, ask, can_add_address};

/// The caller's domain, which the directory serves.
const BOB_DOMAIN: &str = "ostel.me";
/// The called domain, which it does not.
const ALICE_DOMAIN: &str = "example.org";
/// Time to live of the records, in seconds: the least that a node may ask for.
const TTL: u32 = 1;

/// What the public DNS has about the foreign domains.
const WORLD: [(&str, &str); 2] = [
    (
        "example.org",
        "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 604800 30\n@ IN NS ns\nns IN A 192.0.2.53\n@ IN A 198.51.100.1\n\
         @ IN MX 10 mail\n@ IN TXT \"v=spf1 mx -all\"\nmail IN A 198.51.100.2\nwww IN A 198.51.100.3\n\
         sip IN A 198.51.100.4\nsip IN TXT \"challenge\"\n_tcp IN TXT \"above the service\"\n",
    ),
    // Its one host is the domain itself.
    (
        "example.net",
        "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 604800 30\n@ IN NS ns\nns IN A 192.0.2.53\n@ IN A 198.51.100.5\n\
         @ IN MX 10 mail\nmail IN A 198.51.100.6\n",
    ),
];

/// A directory, the public DNS, and an authority that all members trust.
#[derive(Debug)]
struct Federation {
    directory: Directory,
    world: Directory,
    /// The secret of the key `member`.
    secret: String,
    authority: Authority,
    network: Loopback,
    folder: TempDir,
}

impl Federation {
    /// Starts it, for a secondary at the address of `secondary` that transfers a policy zone; `paste` is put into the
    /// zone example.org.
    fn start(network: Loopback, secondary: Option<SocketAddr>, paste: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let write = |path: &Path, text: &str| std::fs::write(path, text).expect("the scratch folder is writable");
        let zones = folder.path().join("world");
        std::fs::create_dir(&zones).expect("the scratch folder is writable");
        for (zone, text) in WORLD {
            let paste = if zone == ALICE_DOMAIN { paste } else { "" };
            write(&zones.join(format!("{zone}.zone")), &format!("{text}{paste}"));
        }
        let world = SocketAddr::from((network.address(), 53));
        let world = Directory::start_from(ServiceSetup::new().zones(&zones).args(["--dns", &world.to_string()]));

        // As the operator of the directory does it: a key from `tandem tsig new`, and three entries in the settings.
        let secret_file = folder.path().join("member.secret");
        let secret_path = secret_file.to_str().expect("a temporary folder's name is text").to_owned();
        tandem_testkit::run(std::process::Command::new(tandem_testkit::tandem()).args([
            "tsig",
            "new",
            "member",
            "--secret-file",
            &secret_path,
        ]))
        .success();
        let secret = std::fs::read_to_string(&secret_file).expect("just made").trim().to_owned();
        let mut settings = format!("version = 1\n[resolver]\nname_servers = [\"{}\"]\n", world.dns());
        if let Some(address) = secondary {
            let snippet = guide::snippet("foreign-domains.md", "tandem.toml");
            settings.push_str(&snippet.replace("192.0.2.54:53", &address.to_string()));
        }
        let settings_file = folder.path().join("tandem.toml");
        write(&settings_file, &settings);
        let dns = SocketAddr::from((network.address(), 53));
        let served = folder.path().join("zones");
        std::fs::create_dir(&served).expect("the scratch folder is writable");
        for entry in std::fs::read_dir(repository().join("zones")).expect("the project has zones") {
            let entry = entry.expect("the folder can be listed");
            let text = std::fs::read_to_string(entry.path()).expect("a zone file is text");
            // Resolvers go by the name servers' addresses once they have seen them.
            let text = text.replace("192.0.2.53", &dns.ip().to_string()).replace("IN AAAA 2001:db8:53::1", "");
            write(&served.join(entry.file_name()), &text.replace("198.51.100.53", &dns.ip().to_string()));
        }
        write(&served.join("policy.ostn.test.zone"), &guide::snippet("foreign-domains.md", "policy-zone"));
        let settings_path = settings_file.to_str().expect("a temporary folder's name is text");
        let setup = ServiceSetup::new().zones(&served).args(["--config", settings_path, "--dns", &dns.to_string()]);
        let directory = Directory::start_from(setup);
        let authority = Authority::new("federation CA of one test");
        Self { directory, world, secret, authority, network, folder }
    }

    /// Publishes `domain` by one PUT, with `host` as its one target.
    fn publish(&self, domain: &str, host: &str, address: Option<Ipv4Addr>) {
        let addresses: Vec<String> = address.iter().map(ToString::to_string).collect();
        let target = json!({"host": host, "port": 5061, "priority": 10, "addresses": addresses});
        self.directory.publish(domain, &json!({"targets": [target], "ttl": TTL}));
    }

    /// The addresses of the directory and of the public DNS; both answer on port 53.
    fn name_servers(&self) -> [Ipv4Addr; 2] {
        [&self.directory, &self.world].map(|server| match server.dns().ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => unreachable!("scenarios have IPv4 addresses"),
        })
    }

    fn server(&self, domain: &str, resolver: Ipv4Addr, route: Route) -> SipServer {
        let (address, folder) = (self.network.address(), self.folder.path().join(format!("{domain}-{route:?}")));
        let (resolver, authority) = (IpAddr::V4(resolver), &self.authority);
        let operator =
            Operator { domain, address, resolver, authority, certified: domain, route, printed: None, own: "" };
        SipServer::start(operator, &folder)
    }

    fn phone(&self, user: &str, domain: &str, server: &SipServer) -> Phone {
        let (address, server) = (self.network.address(), server.address());
        Phone::start(user, domain, address, server, &self.folder.path().join(format!("{user}-{address}")))
    }
}

/// A program that a member may have as its resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Unbound,
    Bind,
}

/// The resolver of a member transfers a policy zone with TSIG and from then on knows foreign members, follows a change
/// made by one PUT, and leaves the domains' other records as they are for those who are not SIP servers; a Kamailio
/// with the guide's configuration calls through it.
fn call_through(program: Program, policy: Policy) {
    let programs: &[&str] = match program {
        Program::Unbound => &["unbound", "unbound-checkconf", "knotd"],
        Program::Bind => &["named", "named-checkconf", "ip"],
    };
    if !require(&["kamailio", "baresip", "setpriv", "unshare", "dig"]) || !require(programs) {
        return;
    }
    let network = Loopback::take();
    let (address, knot, other) = (network.address(), network.address(), network.address());
    if !can_set_resolver(&network) {
        return;
    }
    if program == Program::Bind && !can_add_address(address) {
        skip("`ip address replace` does not work here: run as root (in a container with CAP_NET_ADMIN)");
        return;
    }
    let resolver = SocketAddr::from((address, 53));
    let knot = SocketAddr::from((knot, 53));
    let told = if program == Program::Unbound { SocketAddr::from((network.address(), 53)) } else { resolver };
    let federation = Federation::start(network, Some(told), "");
    // Where nothing else is told, a question to an address that an interface has comes from that address, and one to
    // any other loopback address from 127.0.0.1.
    let sip_server = if program == Program::Bind { address } else { Ipv4Addr::LOCALHOST };
    let folder = federation.folder.path().join("recursor");
    let [directory, world] = federation.name_servers();
    let setup = Setup {
        policy,
        address,
        directory,
        secret: &federation.secret,
        world,
        domains: &WORLD.map(|(domain, _)| domain),
        sip_server,
        folder: &folder,
    };
    let _recursor = match program {
        Program::Unbound => Recursor::unbound(&setup, knot, told),
        Program::Bind => Recursor::bind(&setup),
    };
    let for_sip = |name: &str, kind: &str| ask(resolver, None, name, kind);
    let for_others = |name: &str, kind: &str| ask(resolver, Some(other), name, kind);
    wait_for("the resolver answers", || {
        (for_others("www.example.org", "A") == Answer::of("198.51.100.3")).then_some(())
    });

    // Not yet a member; and now it is, at an address where nobody is.
    assert_eq!(for_sip("_sips._tcp.example.org", "SRV").records, [""; 0]);
    federation.publish(ALICE_DOMAIN, "old.example.org", Some(other));
    federation.publish("example.net", "example.net", None);
    federation.publish("quiet.example.net", "sip.quiet.example.net", Some(other));
    let quiet = Answer::of("10 0 5061 sip.quiet.example.net.peers.ostn.test.");
    wait_for("the resolver knows the members", || {
        let old = for_sip("_sips._tcp.example.org", "SRV") == Answer::of("10 0 5061 old.example.org.peers.ostn.test.");
        let own = for_sip("_sips._tcp.example.net", "SRV") == Answer::of("10 0 5061 example.net.");
        let known = for_sip("_sips._tcp.quiet.example.net", "SRV") == quiet;
        (old && own && known).then_some(())
    });

    // One PUT moves the member.
    let alices = federation.server(ALICE_DOMAIN, address, Route::Domain);
    federation.publish(ALICE_DOMAIN, "sip.example.org", Some(alices.address()));
    let service = Answer::of("10 0 5061 sip.example.org.peers.ostn.test.");
    wait_for("the resolver follows", || (for_sip("_sips._tcp.example.org", "SRV") == service).then_some(()));
    let host = Answer::of(&alices.address().to_string());
    wait_for("the new host is found", || (for_sip("sip.example.org.peers.ostn.test", "A") == host).then_some(()));

    // What SIP servers see (RFC 3263 4.1, 4.2), and what becomes of the domains' other records.
    let naptr = Answer::of(r#"10 10 "s" "SIPS+D2T" "" _sips._tcp.example.org.peers.ostn.test."#);
    let web = Answer::of("198.51.100.1");
    let mail = Answer::of("10 mail.example.org.");
    let own_host = Answer::of("198.51.100.5");
    match policy {
        Policy::PolicyZone => {
            assert_eq!(for_sip("example.org", "NAPTR"), Answer::nothing());
            assert_eq!(for_sip("example.org", "A"), web);
            assert_eq!(for_sip("example.org", "MX"), mail);
            assert_eq!(for_sip("sip.example.org", "A"), Answer::of("198.51.100.4"));
            assert_eq!(for_sip("example.net", "A"), own_host);
        }
        Policy::PeersZone => {
            assert_eq!(for_sip("example.org", "NAPTR"), naptr);
            assert_eq!(for_sip("_sips._tcp.example.org.peers.ostn.test", "SRV"), service);
            // The guide's warning: the name is replaced as a whole.
            assert_eq!(for_sip("example.org", "A"), Answer::nothing());
            assert_eq!(for_sip("example.org", "MX"), Answer::nothing());
            assert_eq!(for_sip("example.net", "A"), Answer::nothing());
            // A new name: BIND takes its time.
            wait_for("the host's name is replaced", || {
                (for_sip("sip.example.org", "TXT") == Answer::nothing()).then_some(())
            });
        }
    }
    for (name, kind, expected) in [
        ("example.org", "A", web),
        ("example.org", "MX", mail),
        ("example.org", "TXT", Answer::of(r#""v=spf1 mx -all""#)),
        ("example.org", "NS", Answer::of("ns.example.org.")),
        ("www.example.org", "A", Answer::of("198.51.100.3")),
        ("sip.example.org", "A", Answer::of("198.51.100.4")),
        ("sip.example.org", "TXT", Answer::of(r#""challenge""#)),
        ("_tcp.example.org", "TXT", Answer::of(r#""above the service""#)),
        ("example.net", "A", own_host),
    ] {
        assert_eq!(for_others(name, kind), expected, "{name} {kind}, asked by others than SIP servers");
    }

    // A name that is in no zone is still denied.
    assert_eq!(for_sip("_sips._tcp.nobody.example.org", "SRV").status, "NXDOMAIN");

    // Settings alone (`dns_try_naptr`) need the NAPTR, which only the peers zone has.
    let routes: &[Route] = match policy {
        Policy::PolicyZone => &[Route::Domain],
        Policy::PeersZone => &[Route::Domain, Route::Naptr],
    };
    call(&federation, address, &alices, routes);

    // The resolver has it all: neither the directory nor the member's own name servers are needed.
    drop((federation.directory, federation.world));
    assert_eq!(for_sip("_sips._tcp.quiet.example.net", "SRV"), quiet);
    // Not asked before, so not in the cache. unbound has no room for the peers zone beside a policy of the same name.
    if (program, policy) != (Program::Unbound, Policy::PeersZone) {
        assert_eq!(for_sip("sip.quiet.example.net.peers.ostn.test", "A"), Answer::of(&other.to_string()));
    }
}

/// bob calls plain `sip:alice@example.org`, by each of the guide's configurations in `routes`, which name no member.
fn call(federation: &Federation, resolver: Ipv4Addr, alices: &SipServer, routes: &[Route]) {
    let mut alice = federation.phone("alice", ALICE_DOMAIN, alices);
    for &route in routes {
        let bobs = federation.server(BOB_DOMAIN, resolver, route);
        let configuration = bobs.configuration();
        assert!(!configuration.contains(ALICE_DOMAIN) && !configuration.contains("peers.ostn.test"));
        let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
        assert_eq!(bob.call("sip:alice@example.org").0, Outcome::Answered, "{route:?}");
        assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
        let arrived = alices.arrived();
        let from = bobs.address();
        let invite = format!("INVITE sip:alice@example.org over tls from {from} sni={ALICE_DOMAIN} version=TLSv1.");
        assert!(arrived.iter().any(|line| line.starts_with(&invite)), "no line begins with {invite:?}: {arrived:#?}");
        bob.hang_up();
        alice.wait_for_end();
    }
}

#[test]
fn unbound_with_the_policy_zone() {
    call_through(Program::Unbound, Policy::PolicyZone);
}

#[test]
fn unbound_with_the_peers_zone_for_sip_servers_alone() {
    call_through(Program::Unbound, Policy::PeersZone);
}

#[test]
fn bind_with_the_policy_zone() {
    call_through(Program::Bind, Policy::PolicyZone);
}

#[test]
fn bind_with_the_peers_zone_for_sip_servers_alone() {
    call_through(Program::Bind, Policy::PeersZone);
}

/// The one record that a foreign owner pastes: any resolver finds the member, nothing is set up at the caller's side.
#[test]
fn pasted_cname_leads_to_the_member() {
    if !require(&["kamailio", "baresip", "setpriv", "unshare", "dig", "unbound", "unbound-checkconf"]) {
        return;
    }
    let network = Loopback::take();
    let address = network.address();
    if !can_set_resolver(&network) {
        return;
    }
    let paste = guide::snippet("foreign-domains.md", "paste");
    let federation = Federation::start(network, None, &paste);
    let (directory, world) = (federation.directory.dns(), federation.world.dns());
    let folder = federation.folder.path().join("recursor");
    let recursor = StubRecursor::start_with_stubs(address.into(), directory, &[(ALICE_DOMAIN, world)], &folder);
    let alices = federation.server(ALICE_DOMAIN, address, Route::Domain);
    federation.publish(ALICE_DOMAIN, "sip.example.org", Some(alices.address()));

    let resolver = SocketAddr::from((address, 53));
    let found = ask(resolver, None, "_sips._tcp.example.org", "SRV");
    let chain = ["10 0 5061 sip.example.org.peers.ostn.test.", "_sips._tcp.example.org.peers.ostn.test."];
    assert_eq!((&*found.status, found.records), ("NOERROR", chain.map(String::from).to_vec()));
    assert_eq!(ask(resolver, None, "example.org", "MX"), Answer::of("10 mail.example.org."));
    let before = recursor.asked().len();
    call(&federation, address, &alices, &[Route::Domain]);
    assert_eq!(recursor.asked()[before..], ["_sips._tcp.example.org. SRV", "sip.example.org.peers.ostn.test. A"]);
}
