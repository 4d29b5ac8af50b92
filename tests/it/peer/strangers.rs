//! Two operators who know nothing of each other, on hosts of their own (issue E, its last line): from the directory's invitation to
//! calls by name and by number, with what the guides have an operator type, and no setting that is for tests.
//!
//! Four hosts: the directory, with everybody's name server, is the router; behind it are A (`ostel.me`), B (`debug.ostel.me`), and
//! somebody whose members are ill. One authority signed everybody's certificates; it is "the system's" for all programs.

mod side;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tandem_testkit::{Output, Service, Setup, repository};

use self::side::{Plan, Side};
use super::certificate::Authority;
use super::kamailio::{ALICE_DOMAIN, AT_ONCE, BOB_DOMAIN, assert_arrived, call_over_tls};
use super::netns::{self, Host};
use super::phone::Outcome;
use super::recursor::Recursor;
use super::sip_server::{Operator, Route, SipServer};
use super::{guide, process, require, wait_for};

/// Where the directory is.
const DIRECTORY: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 53);
/// Everybody's name server.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 54);
/// The directory's API.
const API: &str = "https://directory.ostn.test";
/// What stands in the project's zones for the directory's own addresses.
const STAND_INS: [&str; 2] = ["192.0.2.53", "192.0.2.80"];
/// Certificates of the world's authorities.
const AUTHORITIES: &str = "authorities.pem";
/// Within this time nobody may reach who is compromised.
const BAD_NEWS: Duration = Duration::from_secs(2);
/// A member at whose address nobody listens.
const DEAD: &str = "dead.ostel.me";
/// A member whose certificate names its host alone.
const WRONG: &str = "wrong.ostel.me";

#[test]
#[expect(clippy::print_stdout, reason = "the transcripts are there to be read")]
fn strangers_call_each_other() {
    if let Some(folder) = netns::inside() {
        return scene(&folder);
    }
    let programs = "kamailio baresip unbound unbound-checkconf dig curl nft openssl ip unshare setpriv";
    if !require(&programs.split(' ').collect::<Vec<_>>()) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let authorities = folder.path().join(AUTHORITIES);
    // OpenSSL's and ours: the system's authorities are in this file.
    let variables = [("SSL_CERT_FILE", authorities.as_path())];
    let test = concat!(module_path!(), "::strangers_call_each_other");
    if let Some(report) = netns::run_inside(test, folder.path(), NAME_SERVER.into(), &variables) {
        println!("{report}");
    }
}

/// What happens inside.
fn scene(folder: &Path) {
    netns::become_router(&[DIRECTORY, NAME_SERVER]);
    let authority = Authority::new("everybody's authority");
    authority.write(&folder.join(AUTHORITIES));
    let mut directory = start_directory(&authority, folder);
    let _name_server = start_name_server(folder);
    let elsewhere = Host::new(3, 2, folder);
    let wrong = start_ill(&directory, &authority, &elsewhere, folder);

    // A is ready before the directory has heard of B.
    let plan = Plan { user: "bob", domain: BOB_DOMAIN, number: "+15550102", has_ipv6: false };
    let mut bobs = Side::start(&plan, Host::new(1, 2, folder), &directory, &authority, folder);
    let as_started = (bobs.server.configuration(), bobs.server.id());
    let plan = Plan { user: "alice", domain: ALICE_DOMAIN, number: "+15550101", has_ipv6: true };
    let mut alices = Side::start(&plan, Host::new(2, 2, folder), &directory, &authority, folder);
    assert_strangers(&bobs, &alices);
    // B's two addresses and A's one are good; nobody else's are.
    bobs.wait_for_status("A knows B", |status| status["check"]["good"] == 2 && status["check"]["bad"] == 2);
    alices.wait_for_status("B knows A", |status| status["check"]["good"] == 1 && status["check"]["bad"] == 2);
    bobs.wait_for_service(ALICE_DOMAIN);
    alices.wait_for_service(BOB_DOMAIN);
    for side in [&bobs, &alices] {
        side.wait_for_status("the node is published, signed and renewed", |status| {
            let node = &status["node"];
            node["state"] == "active"
                && node["renewed"].is_string()
                && node["key"].is_string()
                && node["error"].is_null()
        });
    }

    call_both_ways(&mut bobs, &mut alices);
    let from = bobs.address();
    assert_arrived(&alices.server, &call_over_tls("alice@debug.ostel.me", from, ALICE_DOMAIN));
    assert_arrived(&bobs.server, &call_over_tls("bob@ostel.me", alices.address(), BOB_DOMAIN));
    for domain in [DEAD, WRONG] {
        assert_refused(&mut bobs, &format!("sip:alice@{domain}"), "478 ");
        let shown = bobs.look_up(domain);
        assert!(shown.contains("NXDOMAIN") && shown.contains("no server of this member was good"), "{shown}");
    }
    assert_eq!(wrong.arrived(), [""; 0], "nothing reached a server with the wrong certificate");

    ask_the_agent(&bobs, &alices);
    files_are_right(&bobs, &alices);
    explain(&bobs, &alices);

    directory.kill();
    call_both_ways(&mut bobs, &mut alices);
    bobs.restart_agent();
    bobs.wait_for_status("A has looked at B again", |status| status["check"]["good"] == 2);
    bobs.wait_for_service(ALICE_DOMAIN);
    assert_eq!(bobs.agent().status()["replica"]["in_step"], false, "the directory is away");
    call_both_ways(&mut bobs, &mut alices);

    let directory = directory.restart();
    for side in [&bobs, &alices] {
        side.wait_for_status("it follows the directory again", |status| status["replica"]["in_step"] == true);
    }
    bad_news(&directory, &mut bobs, &mut alices);
    assert_eq!((bobs.server.configuration(), bobs.server.id()), as_started, "nobody touched A's server meanwhile");
}

/// The directory with the project's zones, and an API that everybody may reach.
fn start_directory(authority: &Authority, folder: &Path) -> Service {
    let folder = folder.join("directory");
    let zones = folder.join("zones");
    fs::create_dir_all(&zones).unwrap();
    for entry in fs::read_dir(repository().join("zones")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = STAND_INS.iter().fold(text, |text, address| text.replace(address, &DIRECTORY.to_string()));
        fs::write(zones.join(entry.file_name()), text).unwrap();
    }
    authority.write_names(&["directory.ostn.test", &DIRECTORY.to_string()], &folder);
    let settings = folder.join("tandem.toml");
    fs::write(&settings, "[api]\ncertificate = \"domain.pem\"\nkey = \"domain.key\"\n").unwrap();
    let (dns, api) = (format!("{DIRECTORY}:53"), format!("{DIRECTORY}:443"));
    let settings = settings.to_str().expect("the path is text");
    Setup::new().zones(zones).args(["--config", settings, "--dns", &dns, "--api", &api]).start()
}

/// What a provider runs: it finds the directory's zones, and has never heard of any member.
fn start_name_server(folder: &Path) -> Recursor {
    let zones = guide::snippet("kamailio.md", "unbound").replace("203.0.113.53", &DIRECTORY.to_string());
    let settings = format!("server:\n    access-control: 11.0.0.0/8 allow\n{zones}");
    Recursor::start_configured(NAME_SERVER.into(), &settings, &folder.join("name-server"))
}

/// Two members of one operator: one whose server shows a certificate for its host's name, and one without any.
fn start_ill(directory: &Service, authority: &Authority, host: &Host, folder: &Path) -> SipServer {
    let certified = format!("sip.{WRONG}");
    let operator = Operator {
        domain: WRONG,
        address: host.address(0),
        resolver: NAME_SERVER.into(),
        authority,
        certified: &certified,
        route: Route::Domain,
        printed: None,
        own: "",
    };
    let server = host.within(|| SipServer::start(operator, &folder.join("wrong")));
    for (domain, index) in [(WRONG, 0), (DEAD, 1)] {
        let (target, address) = (format!("sip.{domain}:5061"), host.address(index).to_string());
        directory.tandem(["publish", domain, "--ttl", "60", "--target", &target, "--address", &address]).success();
    }
    server
}

/// Nothing that either operator wrote, or that `tandem` wrote for him, names the other.
fn assert_strangers(bobs: &Side, alices: &Side) {
    for (one, other, own_name) in [(bobs, alices, ""), (alices, bobs, ALICE_DOMAIN)] {
        let settings = one.settings();
        for needed in [one.domain, &one.address().to_string(), "kamailio", "directory.ostn.test"] {
            assert!(settings.contains(needed), "these are the settings: {needed}");
        }
        // The one's domain is the end of the other's.
        let settings = if own_name.is_empty() { settings } else { settings.replace(own_name, "its own name") };
        for name in [other.domain, &other.address().to_string(), &other.host.ipv6().to_string()] {
            assert!(!settings.contains(name), "{} knows {name}", one.domain);
        }
    }
}

fn call(caller: &mut Side, called: &mut Side, uri: &str) {
    assert_eq!(caller.phone.call(uri).0, Outcome::Answered, "{uri}");
    assert_eq!(called.phone.wait_for_call(), caller.uri());
    caller.phone.hang_up();
    called.phone.wait_for_end();
}

fn call_both_ways(bobs: &mut Side, alices: &mut Side) {
    for uri in ["sip:alice@debug.ostel.me", "sip:+15550101@ostel.me"] {
        call(bobs, alices, uri);
    }
    for uri in ["sip:bob@ostel.me", "sip:+15550102@debug.ostel.me"] {
        call(alices, bobs, uri);
    }
}

fn assert_refused(caller: &mut Side, uri: &str, begin: &str) {
    let (outcome, took) = caller.phone.call(uri);
    assert!(matches!(&outcome, Outcome::Refused(reason) if reason.starts_with(begin)), "{uri}: {outcome:?}");
    assert!(took < AT_ONCE, "{uri}: {took:?}");
}

/// The doors beside the name server's: HTTP, SIP, FreeSWITCH.
fn ask_the_agent(bobs: &Side, alices: &Side) {
    let found = bobs.route("sip:alice%40debug.ostel.me");
    let of_targets =
        |name: &str| found["targets"].as_array().unwrap().iter().map(|it| it[name].clone()).collect::<Vec<_>>();
    assert_eq!(
        (&found["outcome"], &found["route"], &found["signed"]),
        (&json!("found"), &json!("sip:alice@debug.ostel.me;transport=tls"), &json!(true)),
        "{found:#}"
    );
    assert_eq!(of_targets("address"), [alices.host.ipv6().to_string(), alices.address().to_string()], "{found:#}");
    assert_eq!(of_targets("tls_name"), [ALICE_DOMAIN; 2], "{found:#}");
    assert_eq!(bobs.route("sip:+15550101%40ostel.me")["uri"], "sip:alice@debug.ostel.me");
    for (uri, outcome, why) in [
        ("sip:alice%40dead.ostel.me", "down", "refused"),
        ("sip:alice%40wrong.ostel.me", "down", "names other domains"),
        ("sip:alice%40nobody.ostel.me", "not-a-member", "nobody.ostel.me"),
        ("sip:carol%40ostel.me", "refused", "own"),
    ] {
        let answer = bobs.route(uri);
        assert_eq!(answer["outcome"], outcome, "{uri}: {answer:#}");
        assert!(answer.to_string().contains(why), "{uri}: {answer:#}");
    }

    for (uri, status, words) in [
        ("sip:alice@debug.ostel.me", "302 ", "Contact: <sip:alice@debug.ostel.me;transport=tls>\r\n"),
        ("tel:+15550101", "302 ", "Contact: <sip:alice@debug.ostel.me;transport=tls>\r\n"),
        ("sip:alice@wrong.ostel.me", "480 ", "Retry-After: "),
        ("sip:alice@nobody.ostel.me", "404 ", ""),
    ] {
        let answer = bobs.redirect(uri);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")) && answer.contains(words), "{uri}: {answer}");
    }

    let bridge = |domain: &str, context: &str| {
        let uri = format!("variable_sip_req_uri=alice@{domain}");
        let (context, host) = (format!("Caller-Context={context}"), format!("variable_sip_req_host={domain}"));
        let fields = ["section=dialplan", &context, "Caller-Destination-Number=alice", &host, &uri];
        bobs.ask("/v1/freeswitch", &fields)
    };
    let answer = bridge(ALICE_DOMAIN, "default");
    assert!(answer.contains("data=\"sofia/external/alice@debug.ostel.me;transport=tls\""), "{answer}");
    for (domain, context) in [(ALICE_DOMAIN, "public"), (WRONG, "default"), ("nobody.ostel.me", "default")] {
        let answer = bridge(domain, context);
        assert!(answer.contains("<result status=\"not found\"/>"), "{domain}, {context}: {answer}");
    }
}

/// The agent's files are what the programs want that they are for.
fn files_are_right(bobs: &Side, alices: &Side) {
    let nftables = bobs.folder.join("files/nftables");
    bobs.host.within(|| process::read("nft", &["-c".as_ref(), "-f".as_ref(), nftables.as_os_str()]));
    let text = bobs.file("nftables");
    for address in [alices.address().to_string(), alices.host.ipv6().to_string()] {
        assert!(text.contains(&address), "{address} in\n{text}");
    }
    let text = bobs.file("addresses");
    let line = |line: &&str| line.contains(&alices.address().to_string()) && line.ends_with(ALICE_DOMAIN);
    assert!(text.lines().any(|text| line(&text)), "{text}");
    let text = bobs.file("dispatchers");
    assert!(text.contains(&format!("sip:{}:5061;transport=tls ", alices.address())), "{text}");
    assert!(!text.contains(DEAD) && !text.contains(WRONG), "{text}");

    let bundle = bobs.folder.join("files/members.pem");
    let verifies = |address: Ipv4Addr, domain: &str| {
        let place = SocketAddr::from((address, 5061)).to_string();
        let arguments = ["s_client", "-no-CApath", "-no-CAstore", "-verify_return_error", "-connect", &place];
        let names = ["-servername", domain, "-verify_hostname", domain, "-CAfile", bundle.to_str().unwrap()];
        bobs.host.within(|| process::run("openssl", &[&arguments[..], &names].concat())).status.success()
    };
    assert!(verifies(alices.address(), ALICE_DOMAIN), "OpenSSL believes the bundle: {}", bobs.file("members.pem"));
    assert!(!verifies(alices.address(), WRONG), "it is asked for a name");
}

/// What `tandem explain` tells an operator on his own host of a good peer, a dead one, and one with a wrong certificate; and
/// `tandem check` the owner of a good one.
fn explain(bobs: &Side, alices: &Side) {
    let ipv6 = alices.host.ipv6();
    let good = [
        " IN SRV 10 0 5061 sip.debug.ostel.me.".to_owned(),
        format!(" IN AAAA {ipv6}"),
        format!("  [{ipv6}]:5061 (sip.debug.ostel.me), priority 10"),
        format!("  {}:5061 (sip.debug.ostel.me), priority 10", alices.address()),
        "must be     debug.ostel.me: the domain that is called, not the SRV target (CERT-20".to_owned(),
        "ok    identity    a trusted authority, and the name (CERT-1, CERT-20)".to_owned(),
        "ok    OPTIONS     answered with 483".to_owned(),
        "sip:alice@debug.ostel.me can be called\n".to_owned(),
    ];
    shows(&bobs.tandem(&["explain", "alice@debug.ostel.me"]), "explain alice@debug.ostel.me", 0, &good);
    let dead = [
        "FAIL  connect".to_owned(),
        "refuses the connection: nothing listens there (LOC-81)".to_owned(),
        "Start the SIP server with TLS on port 5061 of ".to_owned(),
        "sip:alice@dead.ostel.me cannot be called: ".to_owned(),
    ];
    shows(&bobs.tandem(&["explain", "alice@dead.ostel.me"]), "explain alice@dead.ostel.me", 1, &dead);
    let wrong = [
        "certificate DNS:sip.wrong.ostel.me".to_owned(),
        "is for sip.wrong.ostel.me, not for wrong.ostel.me (CERT-20)".to_owned(),
        "Get a certificate with the subjectAltName DNS:wrong.ostel.me".to_owned(),
        "sip:alice@wrong.ostel.me cannot be called: ".to_owned(),
    ];
    let output = bobs.tandem(&["explain", "alice@wrong.ostel.me"]);
    shows(&output, "explain alice@wrong.ostel.me", 1, &wrong);
    assert!(!output.stdout.contains("OPTIONS"), "nobody is spoken to who is somebody else");
    let well = ["the directory https://directory.ostn.test has".to_owned(), "debug.ostel.me ".to_owned()];
    let check = ["check", "debug.ostel.me", "--api", API, "--token-file", "node.token"];
    shows(&alices.tandem(&check), &check.join(" "), 0, &well);
}

/// Prints what a command said, and holds it to `code` and `words`.
#[expect(clippy::print_stdout, reason = "the transcripts are there to be read")]
fn shows(output: &Output, command: &str, code: i32, words: &[String]) {
    let said = format!("{}{}", output.stdout, output.stderr);
    println!("$ tandem {command}\n{said}\n(exit status {:?})\n", output.status.code());
    assert_eq!(output.status.code(), Some(code), "{said}");
    for words in words {
        assert!(said.contains(words), "{words} in\n{said}");
    }
}

/// Who is compromised is out of everything two seconds later.
fn bad_news(directory: &Service, bobs: &mut Side, alices: &mut Side) {
    let begin = Instant::now();
    directory.tandem(["nodes", "compromised", ALICE_DOMAIN, "--reason", "host broken into"]).success();
    let refused = wait_for("the first call is refused", || {
        let begun = begin.elapsed();
        match bobs.phone.call("sip:alice@debug.ostel.me").0 {
            Outcome::Refused(reason) => Some(reason),
            Outcome::Answered => {
                assert!(begun < BAD_NEWS, "a call that began {begun:?} afterwards was answered");
                assert_eq!(alices.phone.wait_for_call(), bobs.uri());
                bobs.phone.hang_up();
                alices.phone.wait_for_end();
                None
            }
        }
    });
    assert!(refused.starts_with("478 "), "{refused}");
    let address = alices.address().to_string();
    wait_for("all files are without it", || {
        let files = ["nftables", "addresses", "dispatchers"].map(|file| bobs.file(file)).concat();
        (!files.contains(&address) && !files.contains(ALICE_DOMAIN)).then_some(())
    });
    assert!(begin.elapsed() < BAD_NEWS, "{:?}", begin.elapsed());
    assert_eq!(bobs.route("sip:alice%40debug.ostel.me")["reason"], "compromised");
    assert!(bobs.redirect("sip:alice@debug.ostel.me").starts_with("SIP/2.0 403 "));
    let reached = alices.server.arrived().len();
    assert_refused(bobs, "sip:alice@debug.ostel.me", "478 ");
    assert_refused(bobs, "sip:+15550101@ostel.me", "404 ");
    assert_eq!(alices.server.arrived().len(), reached, "nothing reached its server");
    // Bad news of one are none of the other.
    let status: Value = bobs.agent().status();
    assert_eq!(status["replica"]["in_step"], true, "{status:#}");
}
