//! Calls of a Kamailio whose name server is its agent (issue E 7): by name, by number, without the directory, past a dead
//! target, and not to who is compromised. The agent stands in front of a resolver that has never heard of any member.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tandem_testkit::AgentProcess;

use super::certificate::Authority;
use super::directory::Directory;
use super::kamailio::{ALICE_DOMAIN, AT_ONCE, BOB_DOMAIN, Federation, Resolver, assert_arrived, call_over_tls, target};
use super::phone::Outcome;
use super::sip_server::{Operator, Route};
use super::{process, wait_for};

/// Within this time nobody may reach who is compromised.
const BAD_NEWS: Duration = Duration::from_secs(2);
/// Time to live of records, in seconds, in scenarios where nobody may have to wait for its end.
const LONG_TTL: u32 = 3600;
/// What the resolver behind the agent knows.
pub(super) const NOTHING: &str =
    "server:\n    local-zone: \".\" static\n    local-data: \"www.example. 60 IN A 192.0.2.80\"\n";

/// An agent beside a SIP server.
#[derive(Debug)]
pub(super) struct Agent {
    process: Option<AgentProcess>,
    address: Ipv4Addr,
    folder: PathBuf,
    settings: String,
}

impl Agent {
    /// Starts one with all its services on `address` that follows `directory` and forwards to `upstream`. Given an authority,
    /// it looks at members' certificates, which must be from there.
    pub(super) fn start(
        address: Ipv4Addr,
        directory: &Directory,
        upstream: SocketAddr,
        authority: Option<&Authority>,
        folder: &Path,
    ) -> Self {
        std::fs::create_dir(folder).expect("the scratch folder is writable");
        let service = directory.service();
        let made = service.send("POST", "/v1/tokens", &[], Some(&json!({"role": "read"}))).json();
        let secret = made["secret"].as_str().expect("a token has a secret");
        std::fs::write(folder.join("read.token"), secret).expect("the scratch folder is writable");
        let mut settings = format!(
            "directory = \"{}\"\nread_token_file = \"read.token\"\n[dns]\nlisten = [\"{address}:53\"]\n\
             forward = [\"{upstream}\"]\nenum_suffixes = [\"e164.ostn.test\"]\n[http]\nlisten = \"{address}:5381\"\n\
             [sip]\nudp = [\"{address}:5070\"]\n[route]\nown_domains = [\"{BOB_DOMAIN}\"]\n",
            service.api_url()
        );
        if let Some(authority) = authority {
            authority.write(&folder.join("members-ca.pem"));
            settings.push_str(
                "[check]\ncertificates = true\nauthorities = \"members-ca.pem\"\nallow_loopback_for_tests = true\n",
            );
        }
        let process = AgentProcess::start(folder, &settings);
        process.wait_in_step();
        assert_eq!(process.printed("dns"), format!("{address}:53"));
        Self { process: Some(process), address, folder: folder.to_owned(), settings }
    }

    /// Where it answers, on port 53.
    pub(super) const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Waits until it tells that `host` is at `address`.
    pub(super) fn wait_for_host(&self, host: &str, address: Ipv4Addr) {
        wait_for("the agent knows the new address", || (self.ask(host, "A") == format!("{address}\n")).then_some(()));
    }

    fn ask(&self, name: &str, kind: &str) -> String {
        process::read("dig", &[&format!("@{}", self.address), "+short", name, kind])
    }

    /// Its answer to where a call to `uri` goes.
    fn route(&self, uri: &str) -> Value {
        let url = format!("http://{}:5381/v1/route?uri={uri}", self.address);
        let text = process::read("curl", &["--silent", "--show-error", "--max-time", "20", &url]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
    }

    /// Ends it and starts it again.
    fn restart(&mut self) {
        let ended = self.process.take().map(|mut process| process.stop().success());
        assert_eq!(ended, Some(true), "it ends as it should");
        self.process = Some(AgentProcess::start(&self.folder, &self.settings));
    }
}

/// Calls alice as `uri` and hangs up.
fn call(bob: &mut super::phone::Phone, alice: &mut super::phone::Phone, uri: &str) {
    assert_eq!(bob.call(uri).0, Outcome::Answered, "{uri}");
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    bob.hang_up();
    alice.wait_for_end();
}

#[test]
fn calls_go_on_without_the_directory() {
    let Some(mut federation) = Federation::start(Resolver::Agent) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Agent);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Agent);
    let numbers = json!([{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}]);
    federation.publish(ALICE_DOMAIN, alices.address(), &numbers);
    // Until the agent knew her it may have passed on the questions by which we noticed that it does.
    let asked_before = federation.recursor().asked().len();
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    let both = ["sip:alice@debug.ostel.me", "sip:+15550101@ostel.me"];
    both.into_iter().for_each(|uri| call(&mut bob, &mut alice, uri));
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN));
    // All else is the resolver's to answer, and members are not.
    assert_eq!(federation.agent().ask("www.example", "A"), "192.0.2.80\n");
    let (outcome, took) = bob.call("sip:alice@nobody.example");
    assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with("478 ")), "{outcome:?}");
    assert!(took < AT_ONCE, "{took:?}");

    // In the middle of a call.
    assert_eq!(bob.call(both[0]).0, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    federation.directory.kill();
    bob.hang_up();
    alice.wait_for_end();
    both.into_iter().for_each(|uri| call(&mut bob, &mut alice, uri));
    // The agent has nothing but its own disk.
    federation.agent_mut().restart();
    both.into_iter().for_each(|uri| call(&mut bob, &mut alice, uri));

    let asked = federation.recursor().asked().split_off(asked_before);
    assert!(asked.iter().any(|question| question.starts_with("nobody.example. ")), "{asked:#?}");
    let of_members = ["_sips._tcp.debug.ostel.me. ", "sip.debug.ostel.me. ", "1.0.1.0.5.5.5.1."];
    let leaked = asked.iter().find(|question| of_members.iter().any(|begin| question.starts_with(begin)));
    assert_eq!(leaked, None, "the resolver was asked about a member");
}

/// A target that refuses the connection costs nothing, and where calls go next is the agent's to say: Kamailio follows a move
/// within a second or so, whatever time to live the records have.
#[test]
fn next_target_takes_the_call_and_then_the_node_moves() {
    let Some(federation) = Federation::start(Resolver::Agent) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Agent);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Agent);
    // Nobody listens at the first target.
    let first = target("sip1.debug.ostel.me", federation.network.address(), 10);
    let second = target("sip2.debug.ostel.me", alices.address(), 20);
    federation.directory.publish(ALICE_DOMAIN, &json!({"targets": [first, second], "ttl": LONG_TTL}));
    federation.agent().wait_for_host("sip2.debug.ostel.me", alices.address());
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    let (outcome, took) = bob.call("sip:alice@debug.ostel.me");
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
    assert!(took < AT_ONCE, "{took:?}");
    bob.hang_up();
    alice.wait_for_end();

    let moved = federation.server("alices-new", ALICE_DOMAIN, Route::Agent);
    let mut alice_moved = federation.phone("alice", ALICE_DOMAIN, &moved);
    let there = target("sip3.debug.ostel.me", moved.address(), 10);
    federation.directory.publish(ALICE_DOMAIN, &json!({"targets": [there], "ttl": LONG_TTL}));
    let invite = call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN);
    wait_for("a call reaches the new server", || {
        assert_eq!(bob.call("sip:alice@debug.ostel.me").0, Outcome::Answered, "no call is lost meanwhile");
        let reached = moved.arrived().iter().any(|line| line.starts_with(&invite));
        let called = if reached { &mut alice_moved } else { &mut alice };
        assert_eq!(called.wait_for_call(), "sip:bob@ostel.me");
        bob.hang_up();
        called.wait_for_end();
        reached.then_some(())
    });
}

#[test]
fn who_is_compromised_gets_no_call_after_two_seconds() {
    let Some(federation) = Federation::start(Resolver::Agent) else { return };
    let bobs = federation.server("bobs", BOB_DOMAIN, Route::Agent);
    let alices = federation.server("alices", ALICE_DOMAIN, Route::Agent);
    let target = target("sip.debug.ostel.me", alices.address(), 0);
    let number = json!([{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}]);
    federation.directory.publish(ALICE_DOMAIN, &json!({"targets": [target], "numbers": number, "ttl": LONG_TTL}));
    federation.agent().wait_for_host("sip.debug.ostel.me", alices.address());
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    let both = ["sip:alice@debug.ostel.me", "sip:+15550101@ostel.me"];
    both.into_iter().for_each(|uri| call(&mut bob, &mut alice, uri));

    let path = format!("/v1/nodes/{ALICE_DOMAIN}/compromised");
    let reason = json!({"reason": "its host was broken into"});
    let begin = Instant::now();
    let answer = federation.directory.service().send("POST", &path, &[("if-match", "*")], Some(&reason));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let refused = wait_for("the first call is refused", || {
        let begun = begin.elapsed();
        match bob.call(both[0]).0 {
            Outcome::Refused(reason) => Some(reason),
            Outcome::Answered => {
                assert!(begun < BAD_NEWS, "a call that began {begun:?} afterwards was answered");
                assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
                bob.hang_up();
                alice.wait_for_end();
                None
            }
        }
    });
    assert!(refused.starts_with("478 "), "{refused}");
    let reached = alices.arrived().len();
    for (uri, expected) in both.into_iter().zip(["478 ", "404 "]) {
        let (outcome, took) = bob.call(uri);
        assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with(expected)), "{uri}: {outcome:?}");
        assert!(took < AT_ONCE, "{uri}: {took:?}");
    }
    assert_eq!(alices.arrived().len(), reached, "nothing reached its server");
}

/// Issue E 4b: Kamailio asks the agent over HTTP; its own name server has never heard of any member.
#[test]
fn calls_go_where_the_agent_says_over_http() {
    let Some(federation) = Federation::start(Resolver::Agent) else { return };
    let route = Route::Http(federation.agent().address());
    let operator = Operator { resolver: federation.recursor().address(), ..federation.operator(BOB_DOMAIN, route) };
    let bobs = federation.server_of("bobs", operator);
    let alices = federation.server("alices", ALICE_DOMAIN, route);
    // Nobody listens at the first target.
    let first = target("sip1.debug.ostel.me", federation.network.address(), 10);
    let second = target("sip2.debug.ostel.me", alices.address(), 20);
    let numbers = json!([{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}]);
    federation.directory.publish(ALICE_DOMAIN, &json!({"targets": [first, second], "numbers": numbers, "ttl": 60}));
    let own = target("sip.ostel.me", bobs.address(), 0);
    let own_number = json!([{"e164": "+15550102", "uri": "sip:bob@ostel.me"}]);
    federation.directory.publish(BOB_DOMAIN, &json!({"targets": [own], "numbers": own_number, "ttl": 60}));
    federation.agent().wait_for_host("sip2.debug.ostel.me", alices.address());
    federation.agent().wait_for_host("sip.ostel.me", bobs.address());

    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut carol = federation.phone("carol", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    for uri in ["sip:alice@debug.ostel.me", "sip:+15550101@ostel.me"] {
        call(&mut bob, &mut alice, uri);
    }
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me", bobs.address(), ALICE_DOMAIN));
    // A number of the own domain is delivered at home.
    assert_eq!(carol.call("sip:+15550102@ostel.me").0, Outcome::Answered);
    assert_eq!(bob.wait_for_call(), "sip:carol@ostel.me");
    carol.hang_up();
    bob.wait_for_end();
    let nowhere = federation.network.address();
    for (uri, expected) in [
        ("sip:+15550199@ostel.me", "404 Not Found"),
        ("sip:alice@nobody.example", "404 Not Found"),
        (&*format!("sip:alice@{nowhere}"), "403 Forbidden"),
    ] {
        let (outcome, took) = bob.call(uri);
        assert_eq!(outcome, Outcome::Refused(expected.into()), "{uri}");
        assert!(took < AT_ONCE, "{uri}: {took:?}");
    }
}

/// Issue E 4c: the agent redirects, Kamailio follows.
#[test]
fn calls_follow_the_agents_redirect() {
    let Some(federation) = Federation::start(Resolver::Agent) else { return };
    let route = Route::Redirect(federation.agent().address());
    let bobs = federation.server("bobs", BOB_DOMAIN, route);
    let alices = federation.server("alices", ALICE_DOMAIN, route);
    let numbers = json!([{"e164": "+15550101", "uri": "sip:alice@debug.ostel.me"}]);
    federation.publish(ALICE_DOMAIN, alices.address(), &numbers);
    let mut bob = federation.phone("bob", BOB_DOMAIN, &bobs);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    for uri in ["sip:alice@debug.ostel.me", "sip:+15550101@ostel.me"] {
        call(&mut bob, &mut alice, uri);
    }
    assert_arrived(&alices, &call_over_tls("alice@debug.ostel.me;transport=tls", bobs.address(), ALICE_DOMAIN));
    let reached = alices.arrived().len();
    let (outcome, took) = bob.call("sip:alice@nobody.example");
    assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with("404 ")), "{outcome:?}");
    assert!(took < AT_ONCE, "{took:?}");
    let bad = json!({"reason": "its host was broken into"});
    let path = format!("/v1/nodes/{ALICE_DOMAIN}/compromised");
    assert_eq!(federation.directory.service().send("POST", &path, &[("if-match", "*")], Some(&bad)).status, 200);
    wait_for("the agent knows", || {
        (federation.agent().route("sip:alice@debug.ostel.me")["outcome"] == "refused").then_some(())
    });
    let (outcome, _) = bob.call("sip:alice@debug.ostel.me");
    assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with("403 ")), "{outcome:?}");
    assert_eq!(alices.arrived().len(), reached, "nothing more reached its server");
}

/// Issue E 4f: Kamailio never compares names in certificates, so any member's server could take another's calls. The agent
/// compares, and gives no way to such a server.
#[test]
fn certificate_with_another_members_name_takes_no_call() {
    let Some(federation) = Federation::start(Resolver::CheckingAgent) else { return };
    let http = Route::Http(federation.agent().address());
    let by_name = federation.server("bobs-by-name", BOB_DOMAIN, Route::Agent);
    let by_http = federation.server("bobs-by-http", BOB_DOMAIN, http);
    let unchecked =
        Operator { resolver: federation.directory.dns().ip(), ..federation.operator(BOB_DOMAIN, Route::Domain) };
    let unchecked = federation.server_of("bobs-unchecked", unchecked);
    // Its certificate is from the authority that all trust, and names another member.
    let operator = Operator { certified: "mallory.ostel.me", ..federation.operator(ALICE_DOMAIN, Route::Domain) };
    let mallorys = federation.server_of("mallorys", operator);
    let at = |server: &super::sip_server::SipServer, host: &str| json!({"targets": [target(host, server.address(), 0)], "ttl": 60});
    federation.directory.publish(ALICE_DOMAIN, &at(&mallorys, "sip.debug.ostel.me"));
    let mut impostor = federation.phone("alice", ALICE_DOMAIN, &mallorys);
    let phone = |server| federation.phone("bob", BOB_DOMAIN, server);
    let (mut unchecked, mut by_name, mut by_http) = (phone(&unchecked), phone(&by_name), phone(&by_http));

    call(&mut unchecked, &mut impostor, "sip:alice@debug.ostel.me");
    let reached = mallorys.arrived().len();
    let route = wait_for("the agent has looked", || {
        Some(federation.agent().route("sip:alice@debug.ostel.me")).filter(|route| route["outcome"] == "down")
    });
    assert!(route["why"].to_string().contains("names other domains"), "it says what it saw: {route}");
    for (phone, expected) in [(&mut by_name, "478 "), (&mut by_http, "503 ")] {
        let (outcome, _) = phone.call("sip:alice@debug.ostel.me");
        assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with(expected)), "{outcome:?}");
    }
    assert_eq!(mallorys.arrived().len(), reached, "nothing more reached that server");

    let alices = federation.server("alices", ALICE_DOMAIN, Route::Domain);
    let mut alice = federation.phone("alice", ALICE_DOMAIN, &alices);
    federation.directory.publish(ALICE_DOMAIN, &at(&alices, "sip2.debug.ostel.me"));
    federation.agent().wait_for_host("sip2.debug.ostel.me", alices.address());
    call(&mut by_http, &mut alice, "sip:alice@debug.ostel.me");
    // Kamailio remembers for a second that there was nobody.
    wait_for("a call by name is answered", || {
        (by_name.call("sip:alice@debug.ostel.me").0 == Outcome::Answered).then_some(())
    });
    assert_eq!(alice.wait_for_call(), "sip:bob@ostel.me");
}
