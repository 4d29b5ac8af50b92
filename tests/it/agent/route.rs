//! Where calls go, asked over HTTP of a running agent: members by the copy, the rest of the world by name servers.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tandem_testkit::{AgentProcess, Service, Setup, repository, wait_until};
use tempfile::TempDir;

use super::{NEWS, act, publish};

/// A zone of somebody who hosts SIP servers.
const HOSTS: &str = "$TTL 60\n@ IN SOA ns.hosts.example. admin.hosts.example. 1 3600 600 86400 30\n  IN NS ns\n\
                     ns IN A 192.0.2.53\nsip IN A 203.0.113.55\n";

/// A directory with its agent, and a second one that stands for everybody else's DNS.
pub(super) struct World {
    pub(super) directory: Service,
    elsewhere: Service,
    _folders: [TempDir; 2],
    pub(super) agent: AgentProcess,
}

/// The answer's status, one header field, and its body.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl World {
    /// With `settings` behind those that it needs itself.
    pub(super) fn new(settings: &str) -> Self {
        let zones = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(repository().join("zones")).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), zones.path().join(file.file_name())).unwrap();
        }
        std::fs::write(zones.path().join("hosts.example.zone"), HOSTS).unwrap();
        let elsewhere = Setup::new().zones(zones.path()).start();
        // The directory looks at hosts of others before it takes them.
        let config = zones.path().join("tandem.config");
        let text = format!("version = 1\n[resolver]\nname_servers = [\"{}\"]\n", elsewhere.dns_addr());
        std::fs::write(&config, text).unwrap();
        let directory = Setup::new().args(["--config", config.to_str().unwrap()]).start();
        put(
            &directory,
            "debug.ostn.test",
            &json!({
                "targets": [
                    {"host": "s2.debug.ostn.test", "port": 5061, "priority": 20, "addresses": ["203.0.113.8"]},
                    {"host": "sip.debug.ostn.test", "port": 5071, "priority": 10, "addresses": ["203.0.113.7", "2001:db8::7"]},
                ],
                "numbers": [{"e164": "+15550101", "uri": "sip:alice@debug.ostn.test"}, {"block": "+155502"}],
                "ttl": 60,
            }),
        );
        // Its host is not its own: somebody else publishes its addresses.
        put(&directory, "hosted.ostn.test", &json!({"targets": [{"host": "sip.hosts.example", "port": 5099}]}));
        publish(&directory, "own.ostn.test", 5061);
        put(
            &elsewhere,
            "stranger.ostn.test",
            &json!({
                "targets": [{"host": "sip.stranger.ostn.test", "port": 5081, "addresses": ["203.0.113.99"]}],
                "numbers": [{"e164": "+15559999", "uri": "sip:desk@stranger.ostn.test"}],
            }),
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), directory.admin_token()).unwrap();
        let text = format!(
            "directory = \"{}\"\ntoken_file = \"token\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [dns]\nforward = [\"{}\"]\n[route]\nown_domains = [\"own.ostn.test\"]\nenum_suffixes = [\"e164.ostn.test\"]\n{settings}",
            directory.api_url(),
            elsewhere.dns_addr(),
        );
        let agent = start(folder.path(), &text);
        Self { directory, elsewhere, _folders: [folder, zones], agent }
    }

    fn ask(&self, query: &str, accept: &str) -> Answer {
        let url = format!("{}/v1/route?{query}", self.agent.printed("http"));
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut answer = ureq::Agent::new_with_config(config).get(url).header("accept", accept).call().unwrap();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let text = answer.body_mut().read_to_string().unwrap();
        Answer { status: answer.status().as_u16(), retry_after, text }
    }

    fn freeswitch(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let url = format!("{}{path}", self.agent.printed("http"));
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut answer = ureq::Agent::new_with_config(config).post(url).send_form(fields.iter().copied()).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }
}

fn start(folder: &Path, settings: &str) -> AgentProcess {
    let agent = AgentProcess::start(folder, settings);
    agent.wait_in_step();
    agent
}

fn put(service: &Service, domain: &str, document: &Value) {
    let answer = service.put_node(domain, document);
    assert!(answer.status == 200 || answer.status == 201, "{}", answer.text);
}

#[test]
fn routes_over_http() {
    let mut world = World::new("");
    let answer = world.ask("uri=sip:alice%40debug.ostn.test", "*/*");
    let body = answer.json();
    assert_eq!((answer.status, &body["outcome"]), (200, &json!("found")), "{body:#}");
    assert_eq!(body["route"], "sip:alice@debug.ostn.test;transport=tls");
    assert_eq!(
        body["targets"],
        json!([
            {"address": "2001:db8::7", "port": 5071, "transport": "tls", "host": "sip.debug.ostn.test", "priority": 10,
             "weight": 0, "tls_name": "debug.ostn.test", "route": "sip:[2001:db8::7]:5071;transport=tls"},
            {"address": "203.0.113.7", "port": 5071, "transport": "tls", "host": "sip.debug.ostn.test", "priority": 10,
             "weight": 0, "tls_name": "debug.ostn.test", "route": "sip:203.0.113.7:5071;transport=tls"},
            {"address": "203.0.113.8", "port": 5061, "transport": "tls", "host": "s2.debug.ostn.test", "priority": 20,
             "weight": 0, "tls_name": "debug.ostn.test", "route": "sip:203.0.113.8:5061;transport=tls"},
        ])
    );
    assert_eq!((&body["member"], &body["signed"], &body["state"]), (&json!(true), &json!(false), &json!("active")));
    assert_eq!((&body["ttl"], &body["why"][0]["rule"]), (&json!(60), &json!("directory")));
    let text = world.ask("uri=sip:alice%40debug.ostn.test", "text/plain").text;
    assert_eq!(
        text,
        "sip:[2001:db8::7]:5071;transport=tls\nsip:203.0.113.7:5071;transport=tls\nsip:203.0.113.8:5061;transport=tls\n"
    );
    // Members' numbers, then ENUM; members first, then DNS.
    for (query, status, shown) in [
        ("number=%2B15550101", 200, "sip:alice@debug.ostn.test;transport=tls 2001:db8::7"),
        ("number=+15550299", 200, "sip:+15550299@debug.ostn.test;transport=tls 2001:db8::7"),
        ("uri=sip:+15550101%40own.ostn.test", 200, "sip:alice@debug.ostn.test;transport=tls 2001:db8::7"),
        ("number=+15559999", 200, "sip:desk@stranger.ostn.test;transport=tls 203.0.113.99"),
        ("uri=bob@stranger.ostn.test", 200, "sip:bob@stranger.ostn.test;transport=tls 203.0.113.99"),
        ("uri=bob@hosted.ostn.test", 200, "sip:bob@hosted.ostn.test;transport=tls 203.0.113.55"),
        ("uri=bob@nobody.ostn.test", 404, "not-a-member"),
        ("number=+15551234", 404, "not-a-member"),
        ("uri=bob@own.ostn.test", 403, "own-domain"),
        ("uri=bob@203.0.113.7", 403, "policy"),
        ("uri=xmpp:bob@debug.ostn.test", 400, "scheme"),
        ("number=0044", 400, "number"),
        ("", 400, "syntax"),
    ] {
        let answer = world.ask(query, "*/*");
        let body = answer.json();
        let found = match body["route"].as_str() {
            Some(route) => format!("{route} {}", body["targets"][0]["address"].as_str().unwrap()),
            None => body["reason"].as_str().or_else(|| body["outcome"].as_str()).unwrap().to_owned(),
        };
        assert_eq!((answer.status, found.as_str()), (status, shown), "{query}: {body:#}");
    }
    let hosted = world.ask("uri=bob@hosted.ostn.test", "*/*").json();
    assert_eq!(
        (&hosted["targets"][0]["port"], &hosted["targets"][0]["tls_name"]),
        (&json!(5099), &json!("hosted.ostn.test"))
    );
    let stranger = world.ask("uri=bob@stranger.ostn.test", "*/*").json();
    assert_eq!((&stranger["member"], &stranger["dnssec"]), (&json!(false), &json!("indeterminate")));

    // Bad news count within two seconds.
    act(&world.directory, "debug.ostn.test", "compromised");
    let mut last = Value::Null;
    wait_until(NEWS, "a compromised member to be refused", || {
        let answer = world.ask("uri=sip:alice%40debug.ostn.test", "*/*");
        last = answer.json();
        answer.status == 403
    });
    assert_eq!((&last["reason"], &last["targets"]), (&json!("compromised"), &json!([])));
    // Without the directory all goes on.
    world.directory.kill();
    assert_eq!(world.ask("uri=bob@hosted.ostn.test", "*/*").status, 200);
    assert_eq!(world.ask("uri=alice@debug.ostn.test", "*/*").status, 403);
    let log = world.agent.log();
    assert!(
        !log.contains("alice") && !log.contains("bob") && !log.contains("1555"),
        "who calls whom is nobody's: {log}"
    );
}

#[test]
fn name_servers_that_are_away_are_no_stranger() {
    let mut world = World::new("");
    world.elsewhere.kill();
    let begin = Instant::now();
    let answer = world.ask("uri=bob@stranger.ostn.test", "*/*");
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("5")), "{}", answer.text);
    assert_eq!(answer.json()["outcome"], "try-later");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(world.ask("uri=bob@debug.ostn.test", "*/*").status, 200, "members need no name server");
}

#[test]
fn members_only() {
    let world = World::new("members_only = true\n");
    assert_eq!(world.ask("uri=bob@debug.ostn.test", "*/*").status, 200);
    assert_eq!(world.ask("uri=bob@stranger.ostn.test", "*/*").status, 404);
    assert_eq!(world.ask("number=+15559999", "*/*").status, 404, "ENUM led to a stranger");
}

#[test]
fn dialplans_for_freeswitch() {
    let world = World::new("freeswitch_profile = \"federation\"\n");
    // Some of the fields that FreeSWITCH 1.10 sends.
    let fields = |context: &'static str, destination: &'static str, host: &'static str, uri: &'static str| {
        vec![
            ("hostname", "fs.own.ostn.test"),
            ("section", "dialplan"),
            ("tag_name", ""),
            ("Event-Name", "REQUEST_PARAMS"),
            ("Caller-Caller-ID-Name", "\u{42f} <&\">"),
            ("Caller-Context", context),
            ("Caller-Destination-Number", destination),
            ("variable_sip_req_host", host),
            ("variable_sip_req_uri", uri),
        ]
    };
    let alice = fields("default", "alice", "debug.ostn.test", "alice@debug.ostn.test");
    let (status, document) = world.freeswitch("/v1/freeswitch", &alice);
    assert_eq!(status, 200);
    assert!(document.contains("data=\"sofia/federation/alice@debug.ostn.test;transport=tls\""), "{document}");
    let (_, document) = world.freeswitch("/freeswitch?profile=external", &alice);
    assert!(document.contains("data=\"sofia/external/alice@debug.ostn.test;transport=tls\""), "{document}");
    let number = fields("default", "+15550101", "own.ostn.test", "+15550101@own.ostn.test");
    assert!(world.freeswitch("/v1/freeswitch", &number).1.contains("/alice@debug.ostn.test;"));
    for (id, form) in [
        ("who calls in", fields("public", "alice", "debug.ostn.test", "alice@debug.ostn.test")),
        ("a stranger that DNS knows", fields("default", "bob", "stranger.ostn.test", "bob@stranger.ostn.test")),
        ("our own", fields("default", "bob", "own.ostn.test", "bob@own.ostn.test")),
        ("a command", fields("default", "x", "debug.ostn.test", "${system(x)}@debug.ostn.test")),
        ("nothing", vec![]),
    ] {
        let (status, document) = world.freeswitch("/v1/freeswitch", &form);
        assert!(status == 200 && document.contains("<result status=\"not found\"/>"), "{id}: {status} {document}");
    }
    assert_eq!(world.freeswitch("/v1/freeswitch?profile=a/b", &alice).0, 400);
    assert_eq!(world.freeswitch("/v1/freeswitch", &[("section", "dialplan"), ("section", "dialplan")]).0, 400);
    let long = "x".repeat(200_000);
    assert_eq!(world.freeswitch("/v1/freeswitch", &[("section", "dialplan"), ("a", &long)]).0, 413);
    let url = format!("{}/v1/freeswitch", world.agent.printed("http"));
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let answer = ureq::Agent::new_with_config(config).post(url).content_type("application/json").send("{}").unwrap();
    assert_eq!(answer.status().as_u16(), 415);
}
