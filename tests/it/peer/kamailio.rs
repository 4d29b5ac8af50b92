//! Two strangers' Kamailio servers call each other by nothing but what the directory publishes.
//!
//! Every server is configured by `docs/guides/kamailio.md`; no configuration names another server, and none is changed
//! or read again while a test runs.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::agent::{Agent, NOTHING};
use super::certificate::Authority;
use super::directory::Directory;
use super::network::{Loopback, can_set_resolver};
use super::phone::{Outcome, Phone};
use super::recursor::Recursor;
use super::sip_server::{Operator, Route, SipServer};
use super::{require, wait_for};

/// The caller's domain: the apex of a zone that the directory serves.
pub(super) const BOB_DOMAIN: &str = "ostel.me";
/// The called domain: a name in that zone.
pub(super) const ALICE_DOMAIN: &str = "debug.ostel.me";
/// Time to live of the records, in seconds: the least that a node may ask for.
const TTL: u32 = 1;
/// Longest time in which a call to nobody must have failed.
pub(super) const AT_ONCE: Duration = Duration::from_secs(2);

/// Whom the SIP servers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolver {
    /// The directory itself, which answers for its own zones only.
    Directory,
    /// A recursive resolver that has the directory's zones as stub zones, as most operators have.
    Recursor,
    /// An agent, in front of a recursive resolver that has never heard of the directory.
    Agent,
    /// The same, which looks at certificates before calls.
    CheckingAgent,
}

/// A directory, perhaps a recursor, perhaps an agent, and an authority that all members trust.
#[derive(Debug)]
pub(super) struct Federation {
    pub(super) directory: Directory,
    recursor: Option<Recursor>,
    agent: Option<Agent>,
    authority: Authority,
    pub(super) network: Loopback,
    folder: TempDir,
}

impl Federation {
    /// Starts it; `None` when this machine lacks something, which has been said then.
    pub(super) fn start(resolver: Resolver) -> Option<Self> {
        Self::start_around(resolver, |_, dns| Directory::start(dns))
    }

    /// The same around the directory that `directory` starts, given the scenario's addresses and where to answer.
    fn start_around(resolver: Resolver, directory: impl FnOnce(&Loopback, SocketAddr) -> Directory) -> Option<Self> {
        if !require(&["kamailio", "baresip", "setpriv", "unshare", "dig"]) {
            return None;
        }
        if resolver != Resolver::Directory && !require(&["unbound", "unbound-checkconf"]) {
            return None;
        }
        let network = Loopback::take();
        if !can_set_resolver(&network) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let authority = Authority::new("federation CA of one test");
        let dns = SocketAddr::from((network.address(), 53));
        let directory = directory(&network, dns);
        let path = folder.path().join("recursor");
        let recursor = match resolver {
            Resolver::Directory => None,
            Resolver::Recursor => Some(Recursor::start(network.address().into(), directory.dns(), &path)),
            Resolver::Agent | Resolver::CheckingAgent => {
                Some(Recursor::start_configured(network.address().into(), NOTHING, &path))
            }
        };
        let authorities = (resolver == Resolver::CheckingAgent).then_some(&authority);
        let agent = recursor.as_ref().filter(|_| resolver != Resolver::Recursor).map(|recursor| {
            let upstream = SocketAddr::new(recursor.address(), 53);
            Agent::start(network.address(), &directory, upstream, authorities, &folder.path().join("agent"))
        });
        Some(Self { directory, recursor, agent, authority, network, folder })
    }

    /// The agent of a scenario that has one.
    pub(super) fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("the scenario has an agent")
    }

    pub(super) fn agent_mut(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("the scenario has an agent")
    }

    pub(super) fn recursor(&self) -> &Recursor {
        self.recursor.as_ref().expect("the scenario has a recursor")
    }

    fn resolver(&self) -> IpAddr {
        if let Some(agent) = &self.agent {
            return agent.address().into();
        }
        self.recursor.as_ref().map_or_else(|| self.directory.dns().ip(), Recursor::address)
    }

    /// Starts the SIP server of `domain` on a new address; `name` tells its files from others'.
    pub(super) fn server(&self, name: &str, domain: &str, route: Route) -> SipServer {
        self.server_of(name, self.operator(domain, route))
    }

    /// Starts the SIP server of `operator`; `name` tells its files from others'.
    pub(super) fn server_of(&self, name: &str, operator: Operator<'_>) -> SipServer {
        SipServer::start(operator, &self.folder.path().join(name))
    }

    /// The operator of `domain` on a new address, who trusts and is trusted by all others.
    pub(super) fn operator<'a>(&'a self, domain: &'a str, route: Route) -> Operator<'a> {
        Operator {
            domain,
            address: self.network.address(),
            resolver: self.resolver(),
            authority: &self.authority,
            certified: domain,
            route,
            printed: None,
            own: "",
        }
    }

    /// Starts a telephone that registers at `server`.
    pub(super) fn phone(&self, user: &str, domain: &str, server: &SipServer) -> Phone {
        let address = self.network.address();
        Phone::start(user, domain, address, server.address(), &self.folder.path().join(format!("{user}-{address}")))
    }

    /// Publishes `domain` as served at `address`, with the numbers of `numbers`.
    pub(super) fn publish(&self, domain: &str, address: Ipv4Addr, numbers: &Value) {
        let target = target(&format!("sip.{domain}"), address, 0);
        self.directory.publish(domain, &json!({"targets": [target], "numbers": numbers, "ttl": TTL}));
        if let Some(agent) = &self.agent {
            agent.wait_for_host(&format!("sip.{domain}"), address);
        }
    }
}

/// One target of a node document.
pub(super) fn target(host: &str, address: Ipv4Addr, priority: u16) -> Value {
    json!({"host": host, "port": 5061, "priority": priority, "addresses": [address.to_string()]})
}

/// The line with which a server reports a call to alice over TLS by a server that sent the SIP domain as server name.
pub(super) fn call_over_tls(to: &str, from: Ipv4Addr, domain: &str) -> String {
    format!("INVITE sip:{to} over tls from {from} sni={domain} version=TLSv1.")
}

pub(super) fn assert_arrived(server: &SipServer, begin: &str) {
    let arrived = server.arrived();
    assert!(arrived.iter().any(|line| line.starts_with(begin)), "no line begins with {begin:?}: {arrived:#?}");
}

/// Issue A 9 (a): a call from bob@ostel.me to plain `sip:alice@debug.ostel.me` arrives over TLS and is answered; then
/// alice's node moves, and calls follow.
fn call_and_move(resolver: Resolver) {
    let Some(federation) = Federation::start(resolver) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Domain);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Domain);
    federation.publish(BOB_DOMAIN, bobs.address(), &json!([]));
    federation.publish(ALICE_DOMAIN, alices.address(), &json!([]));

    // Neither configuration names the other: not by domain, not by address.
    let caller = (bobs.configuration(), bobs.id());
    assert!(!caller.0.contains(ALICE_DOMAIN) && !caller.0.contains(&alices.address().to_string()));
    let called = alices.configuration().replace(ALICE_DOMAIN, "its own name");
    assert!(!called.contains(BOB_DOMAIN) && !called.contains(&bobs.address().to_string()));

    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    let (outcome, _) = bob.call("sip:alice@debug.ostel.me");
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    // Plain: bob's server got no hint about transport, port or address.
    assert_arrived(&bobs, "INVITE sip:alice@debug.ostel.me over udp");
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN));
    // The way back, within the call, is TLS too.
    alice.hang_up();
    bob.wait_for_end();
    wait_for("alice's BYE reaches bob's server", || {
        let from_alices = format!("over tls from {}", alices.address());
        bobs.arrived().iter().any(|line| line.starts_with("BYE ") && line.contains(&from_alices)).then_some(())
    });

    // Alice's node moves: another machine, one PUT. The old one goes on until nobody comes any more.
    let moved = federation.server("alices-new", ALICE_DOMAIN, Route::Domain);
    let mut alice_moved = federation.phone("alice", ALICE_DOMAIN, &moved);
    federation.publish(ALICE_DOMAIN, moved.address(), &json!([]));
    let invite = call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN);
    wait_for("a call reaches the new address", || {
        // Before the old records' time is up calls reach the old server; no call is lost at any time.
        assert_eq!(bob.call("sip:alice@debug.ostel.me").0, Outcome::Answered);
        let reached = moved.arrived().iter().any(|line| line.starts_with(&invite));
        let called = if reached { &mut alice_moved } else { &mut alice };
        // Else the hang-up may overtake the last message of the call's beginning.
        assert_eq!(called.wait_for_call(), "sip:bob@ostel.me");
        bob.hang_up();
        called.wait_for_end();
        reached.then_some(())
    });

    // From now on only the new one is needed.
    drop((alice, alices));
    let (outcome, _) = bob.call("sip:alice@debug.ostel.me");
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(alice_moved.wait_for_call(), "sip:bob@ostel.me");
    assert_eq!((bobs.configuration(), bobs.id()), caller, "nobody touched the caller's server");
}

#[test]
fn call_arrives_over_tls_and_follows_a_move() {
    call_and_move(Resolver::Directory);
}

#[test]
fn call_through_a_recursor_arrives_over_tls_and_follows_a_move() {
    call_and_move(Resolver::Recursor);
}

#[test]
fn call_through_an_agent_arrives_over_tls_and_follows_a_move() {
    call_and_move(Resolver::Agent);
}

/// Issue A 9 (b): +1 555 0101 reaches alice by Kamailio's `enum_query`.
#[test]
fn number_reaches_alice() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Domain);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Domain);
    let numbers = json!([{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}]);
    federation.publish(ALICE_DOMAIN, alices.address(), &numbers);
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);

    let (outcome, _) = bob.call("sip:+15550101@ostel.me");
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    assert_arrived(&bobs, "INVITE sip:+15550101@ostel.me over udp");
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN));
    bob.hang_up();

    // A number that nobody has stays a number: bob's own server knows no such user.
    let (outcome, took) = bob.call("sip:+15550199@ostel.me");
    assert_eq!(outcome, Outcome::Refused("404 Not Found".into()));
    assert!(took < AT_ONCE, "{took:?}");
}

/// Issue A 9 (c): an unknown domain fails at once; and a domain that joins afterwards is reachable without a restart.
#[test]
fn unknown_domain_fails_at_once() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Domain);
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    // A name that the directory denies (NXDOMAIN), and one that it does not answer for (REFUSED).
    for unknown in ["nobody.ostel.me", "nobody.example"] {
        let (outcome, took) = bob.call(&format!("sip:alice@{unknown}"));
        let Outcome::Refused(reason) = &outcome else { panic!("{unknown} was answered") };
        assert!(reason.starts_with("478 "), "{unknown}: {reason}");
        assert!(took < AT_ONCE, "{unknown} took {took:?}");
    }
    // An address is not a member's name.
    let (outcome, _) = bob.call(&format!("sip:alice@{}", federation.network.address()));
    assert_eq!(outcome, Outcome::Refused("403 Domain names only".into()));

    let alices = federation.server("alices", "nobody.ostel.me", Route::Domain);
    let mut alice = federation.phone("alice", "nobody.ostel.me", &alices);
    federation.publish("nobody.ostel.me", alices.address(), &json!([]));
    // The guide's dns_cache_negative_ttl has to run out first.
    wait_for("the new member is reachable", || {
        (bob.call("sip:alice@nobody.ostel.me").0 == Outcome::Answered).then_some(())
    });
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
}

/// The guide's "members only" line: a foreign domain, whose own zone the directory does not serve, is reached below the
/// peers zone, under its own name.
#[test]
fn foreign_member_is_reached_through_the_peers_zone() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::PeersZone);
    let foreign = federation.server("foreign", "example.org", Route::PeersZone);
    federation.publish("example.org", foreign.address(), &json!([]));
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", "example.org", &foreign);

    assert_eq!(bob.call("sip:alice@example.org").0, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    assert_arrived(&foreign, &call_over_tls("alice@example.org", bobs.address(), "example.org"));
    bob.hang_up();

    let (outcome, took) = bob.call("sip:alice@example.net");
    assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with("478 ")), "{outcome:?}");
    assert!(took < AT_ONCE, "{took:?}");
}

/// Issue E 6: what `tandem configure kamailio` prints runs, and calls by name and by number.
#[test]
fn call_with_a_printed_configuration_arrives_over_tls() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Configured);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Configured);
    let numbers = json!([{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}]);
    federation.publish(ALICE_DOMAIN, alices.address(), &numbers);
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    for called in ["sip:alice@debug.ostel.me", "sip:+15550101@ostel.me"] {
        assert_eq!(bob.call(called).0, Outcome::Answered, "{called}");
        assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
        bob.hang_up();
        alice.wait_for_end();
    }
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN));
}

/// The guide's NAPTR settings, for those whose script must not choose a destination.
#[test]
fn call_by_naptr_arrives_over_tls() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Naptr);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Naptr);
    federation.publish(ALICE_DOMAIN, alices.address(), &json!([]));
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);

    assert_eq!(bob.call("sip:alice@debug.ostel.me").0, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN));
}

/// The guide's fail-over settings: a target that refuses the connection costs nothing, the next one takes the call.
#[test]
fn next_target_takes_the_call() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Domain);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Domain);
    // Nobody listens at the first target.
    let first = target("sip1.debug.ostel.me", federation.network.address(), 10);
    let second = target("sip2.debug.ostel.me", alices.address(), 20);
    federation.directory.publish(ALICE_DOMAIN, &json!({"targets": [first, second], "ttl": TTL}));
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);

    let (outcome, took) = bob.call("sip:alice@debug.ostel.me");
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    assert!(took < AT_ONCE, "{took:?}");
}

/// A server with a certificate that no member's authority signed gets no call.
#[test]
fn stranger_with_a_foreign_certificate_gets_no_call() {
    let Some(federation) = Federation::start(Resolver::Directory) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Domain);
    let foreign = Authority::new("somebody else's CA");
    let operator = Operator { authority: &foreign, ..federation.operator(ALICE_DOMAIN, Route::Domain) };
    let strangers = federation.server_of("strangers", operator);
    federation.publish(ALICE_DOMAIN, strangers.address(), &json!([]));
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);

    // Kamailio's transaction does not learn that the handshake failed: it waits for its fr_timer.
    assert_eq!(bob.call("sip:alice@debug.ostel.me").0, Outcome::Refused("408 Request Timeout".into()));
    assert_eq!(strangers.arrived(), Vec::<String>::new(), "not one request came through");
    assert!(bobs.log().contains("certificate verify failed"), "refused for another reason");
}

/// The guide's route never sends in clear, not even to a domain that offers nothing else.
#[test]
fn domain_without_tls_gets_no_call_in_clear() {
    let mut listener = None;
    let federation = Federation::start_around(Resolver::Directory, |network, dns| {
        let address = network.address();
        listener = Some(UdpSocket::bind((address, 5060)).expect("nobody else has the address"));
        let lines = format!("_sip._udp.clear IN SRV 0 0 5060 sip.clear\nsip.clear IN A {address}\n");
        Directory::start_with_records(dns, BOB_DOMAIN, &lines)
    });
    let (Some(federation), Some(listener)) = (federation, listener) else { return };
    for (name, route) in [("bobs", Route::Domain), ("bobs-naptr", Route::Naptr)] {
        let bobs = federation.server(name, BOB_DOMAIN, route);
        let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
        let (outcome, took) = bob.call("sip:alice@clear.ostel.me");
        assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with("478 ")), "{route:?}: {outcome:?}");
        assert!(took < AT_ONCE, "{route:?}: {took:?}");
    }
    listener.set_nonblocking(true).expect("a socket can be asked without waiting");
    let received = listener.recv(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(received, Err(ErrorKind::WouldBlock), "nothing was sent in clear");
}
