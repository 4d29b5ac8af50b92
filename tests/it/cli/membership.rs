//! From an invitation to a published node, on a machine that has nothing but the code.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_testkit::{Output, Service, Setup, run, tandem};
use tempfile::TempDir;

/// Another machine: its own home, no data folder.
struct Elsewhere(TempDir);

impl Elsewhere {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn tandem<const N: usize>(&self, args: [&str; N]) -> Output {
        let mut command = Command::new(tandem());
        run(command.args(args).current_dir(self.0.path()).env("HOME", self.0.path()).env_remove("XDG_CONFIG_HOME"))
    }

    fn tokens(&self) -> std::path::PathBuf {
        self.0.path().join(".config/tandem/tokens.json")
    }
}

fn invite(service: &Service, domain: &str) -> (String, String) {
    let made = service.tandem(["invite", domain, "--expires", "7d", "--json"]).success();
    let made: Value = serde_json::from_str(&made).unwrap();
    (made["id"].as_str().unwrap().into(), made["code"].as_str().unwrap().into())
}

fn publish(node: &Elsewhere, domain: &str) -> Output {
    node.tandem(["publish", domain, "--target", &format!("sip.{domain}:5061"), "--address", "192.0.2.1"])
}

#[test]
fn a_newcomer_joins_and_publishes() {
    let service = Service::start();
    let shown = service.tandem(["invite", "debug.ostn.test", "--label", "a friend"]).success();
    let join = shown.lines().last().unwrap().trim();
    assert!(join.starts_with("tandem join tandem_invite_") && join.ends_with(service.api_url()), "{shown}");
    let list = service.tandem(["invite", "--list"]).success();
    assert!(
        list.contains("debug.ostn.test") && list.contains("a friend") && !list.contains("tandem_invite_"),
        "{list}"
    );

    let node = Elsewhere::new();
    let words: Vec<&str> = join.split(' ').skip(1).collect();
    let joined = node.tandem::<4>(words.clone().try_into().unwrap()).success();
    assert!(joined.starts_with("debug.ostn.test: joined") && joined.contains("tokens.json"), "{joined}");
    assert!(!joined.contains("tandem_"), "the secret is in the file only: {joined}");
    assert_eq!(std::fs::metadata(node.tokens()).unwrap().permissions().mode() & 0o777, 0o600);

    // Neither the API nor a token has to be named from now on, and the first publication makes the node's key.
    let published = publish(&node, "debug.ostn.test").success();
    let key = node.tokens().with_file_name("debug.ostn.test.key");
    assert!(published.contains("signed by") && published.contains(key.to_str().unwrap()), "{published}");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let verified = node.tandem(["nodes", "verify", "debug.ostn.test"]).success();
    assert!(verified.contains("signed by"), "{verified}");
    assert!(node.tandem(["nodes", "list"]).success().contains("debug.ostn.test"));
    publish(&node, "other.ostn.test").failure(1);
    let again = node.tandem::<4>(words.try_into().unwrap()).failure(1);
    assert!(again.contains("(404)") && again.contains("was used"), "{again}");
    publish(&node, "debug.ostn.test").success();

    let before = std::fs::read_to_string(node.tokens()).unwrap();
    let rotated = node.tandem(["token", "rotate", "--overlap", "0s"]).success();
    assert!(rotated.contains("tokens.json") && rotated.contains("refused from now on"), "{rotated}");
    assert_ne!(std::fs::read_to_string(node.tokens()).unwrap(), before);
    publish(&node, "debug.ostn.test").success();
}

/// A directory whose certificate nobody else vouches for: it is handed over with the code, and named once.
#[test]
fn the_certificate_of_the_directory_is_named_once() {
    let service = Setup::new().args(["--api", "0.0.0.0:0"]).start();
    let node = Elsewhere::new();
    let certificate = service.data_dir().join("api.crt");
    let (here, elsewhere) = (node.0.path().join("api.crt"), Elsewhere::new());
    std::fs::copy(&certificate, &here).unwrap();

    let shown = service.tandem(["invite", "debug.ostn.test"]).success();
    assert!(shown.contains("hand over data/api.crt with the code"), "{shown}");
    let join: Vec<&str> = shown.lines().last().unwrap().trim().split(' ').skip(1).collect();
    assert_eq!(join[2..], ["--api", service.api_url(), "--ca", "api.crt"]);
    node.tandem::<6>(join.try_into().unwrap()).success();
    publish(&node, "debug.ostn.test").success();
    // The name of the file counted from the folder of that time.
    let kept: Value = serde_json::from_slice(&std::fs::read(node.tokens()).unwrap()).unwrap();
    assert_eq!(kept["tokens"][0]["ca"], here.to_str().unwrap());
    node.tandem(["token", "rotate", "--overlap", "0s"]).success();
    publish(&node, "debug.ostn.test").success();
    // It is the only one that is trusted.
    let stranger = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    std::fs::write(&here, stranger.cert.pem()).unwrap();
    let refused = publish(&node, "debug.ostn.test").failure(1);
    assert!(refused.contains("certificate that is not accepted"), "{refused}");

    // With a file of its own the token is found nowhere else: what is typed next says where.
    let (_, code) = invite(&service, "lab.ostn.test");
    let (api, file) = (service.api_url(), certificate.to_str().unwrap());
    let join = ["join", &code, "--api", api, "--token-file", "node.token", "--ca", file];
    let joined = elsewhere.tandem(join).success();
    let next = joined.lines().last().unwrap().strip_prefix("Next: tandem ").unwrap();
    let next = next.replace("HOST:PORT", "sip.lab.ostn.test:5061").replace("ADDRESS", "192.0.2.1");
    let next: Vec<&str> = next.split(' ').collect();
    elsewhere.tandem::<12>(next.try_into().unwrap()).success();
}

/// What the agent's guide has an operator type: the token in a file of its own.
#[test]
fn the_token_goes_into_the_file_that_is_named() {
    let (service, node) = (Service::start(), Elsewhere::new());
    let join = |domain: &str| {
        let (_, code) = invite(&service, domain);
        node.tandem(["join", &code, "--api", service.api_url(), "--token-file", "node.token"])
    };
    let joined = join("debug.ostn.test").success();
    assert!(joined.starts_with("debug.ostn.test: joined; the token is in node.token\n"), "{joined}");
    let file = node.0.path().join("node.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    let kept = std::fs::read_to_string(node.tokens()).unwrap();
    assert!(!kept.contains(secret.trim()) && !kept.contains("debug.ostn.test"), "in one place alone: {kept}");
    let api = service.api_url();
    node.tandem(["nodes", "list", "--api", api]).failure(1);
    node.tandem(["nodes", "list", "--api", api, "--token-file", "node.token"]).success();

    // A token that is there is not lost to another one, and the code is not used up by the attempt.
    let refused = join("lab.ostn.test").failure(1);
    assert!(refused.contains("node.token is there already"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
}

#[test]
fn who_has_joined_with_two_domains_acts_for_each() {
    let (service, node) = (Service::start(), Elsewhere::new());
    for domain in ["debug.ostn.test", "lab.ostn.test"] {
        let (_, code) = invite(&service, domain);
        node.tandem(["join", &code, "--api", service.api_url()]).success();
        publish(&node, domain).success();
    }
    for domain in ["debug.ostn.test", "lab.ostn.test"] {
        assert!(node.tandem(["nodes", "renew", domain]).success().contains("active"), "{domain}");
        assert!(node.tandem(["nodes", "drain", domain]).success().contains("draining"), "{domain}");
        assert!(node.tandem(["audit", "--domain", domain]).success().contains("change-state"), "{domain}");
    }
    // Nothing says which.
    let failed = node.tandem(["nodes", "list"]).failure(1);
    assert!(failed.contains("--as DOMAIN for one of them (debug.ostn.test, lab.ostn.test)"), "{failed}");
    let list = node.tandem(["nodes", "list", "--as", "lab.ostn.test"]).success();
    assert!(list.contains("lab.ostn.test") && !list.contains("debug"), "{list}");
}

#[test]
fn a_lost_answer_comes_again() {
    let service = Service::start();
    let (_, code) = invite(&service, "debug.ostn.test");
    let node = Elsewhere::new();
    // The first time the answer cannot be kept: there is a folder in the file's place. What was asked was not written
    // either, so nothing was sent.
    std::fs::create_dir_all(node.tokens()).unwrap();
    let failed = node.tandem(["join", &code, "--api", service.api_url()]).failure(1);
    assert!(failed.contains("tokens.json"), "{failed}");
    std::fs::remove_dir(node.tokens()).unwrap();
    node.tandem(["join", &code, "--api", service.api_url()]).success();

    // As after a crash between the directory's answer and the file: the key is written, the token is not.
    let (_, code) = invite(&service, "lab.ostn.test");
    let unused = Elsewhere::new();
    let nobody = "http://127.0.0.1:1";
    unused.tandem(["join", &code, "--api", nobody]).failure(1);
    let key_written = std::fs::read_to_string(unused.tokens()).unwrap();
    assert!(!key_written.contains(&code), "the code is not in it");
    unused.tandem(["join", &code, "--api", service.api_url()]).success();
    let first = std::fs::read_to_string(unused.tokens()).unwrap();
    std::fs::write(unused.tokens(), &key_written).unwrap();
    unused.tandem(["join", &code, "--api", service.api_url()]).success();
    assert_eq!(std::fs::read_to_string(unused.tokens()).unwrap(), first, "the same token");
    publish(&unused, "lab.ostn.test").success();
}

/// The domain becomes part of a file's name: a hostile directory must not choose which file.
#[test]
fn a_directory_that_answers_no_domain_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let directory = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"}") {
            let mut part = [0; 1024];
            let len = stream.read(&mut part).unwrap();
            assert_ne!(len, 0, "{}", String::from_utf8_lossy(&asked));
            asked.extend_from_slice(&part[..len]);
        }
        let body = json!({"secret": "tandem_x", "names": ["../../../evil"]}).to_string();
        let head =
            format!("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
    });
    let node = Elsewhere::new();
    let refused = node.tandem(["join", "tandem_invite_x", "--api", &api]).failure(1);
    assert!(refused.contains("the answer holds no domain"), "{refused}");
    assert!(!std::fs::read_to_string(node.tokens()).unwrap().contains("evil"));
    directory.join().unwrap();
}

#[test]
fn an_invitation_can_be_withdrawn() {
    let service = Service::start();
    let (id, code) = invite(&service, "debug.ostn.test");
    assert_eq!(service.tandem(["invite", "--revoke", &id]).success(), format!("{id}: withdrawn\n"));
    let refused = Elsewhere::new().tandem(["join", &code, "--api", service.api_url()]).failure(1);
    assert!(refused.contains("(404)"), "{refused}");
    assert!(!service.log().contains(&code), "codes are not in the log");
    let clear = Elsewhere::new().tandem(["join", &code, "--api", "http://192.0.2.1:1"]).failure(1);
    assert!(clear.contains("clear text"), "API-6: {clear}");
    for wrong in [["invite", "x.test", "--expires", "7"], ["invite", "--list", "--revoke", "x"]] {
        service.tandem(wrong).failure(2);
    }
}

#[test]
fn roles_and_rotation_from_the_command_line() {
    let service = Service::start();
    let limited = ["--action", "renew", "--source", "192.0.2.0/24", "--expires", "30d"];
    let shown = service.tandem(["token", "new", "--name", "debug.ostn.test"].into_iter().chain(limited)).success();
    assert!(shown.contains("debug.ostn.test (renew) from 192.0.2.0/24"), "{shown}");
    let reader = service.tandem(["token", "new", "--role", "read", "--json"]).success();
    let reader: Value = serde_json::from_str(&reader).unwrap();
    let file = service.home().join("reader");
    std::fs::write(&file, reader["secret"].as_str().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    service.tandem(["zone", "export", "ostn.test", "--token-file", file]).success();
    service.tandem(["token", "list", "--token-file", file]).failure(1);

    let id = reader["id"].as_str().unwrap();
    let rotated = service.tandem(["token", "rotate", id, "--expires", "90d"]).success();
    let secret = rotated.lines().find_map(|line| line.strip_prefix("secret")).unwrap().trim();
    service.tandem(["zone", "export", "ostn.test", "--token-file", file]).success();
    std::fs::write(file, secret).unwrap();
    service.tandem(["zone", "export", "ostn.test", "--token-file", file]).success();

    // The admin's own: the file of the data folder has the new secret, before and after a restart.
    let before = service.admin_token();
    let told = service.tandem(["token", "rotate", "--overlap", "0s"]).success();
    assert!(told.contains("admin.token") && service.admin_token() != before, "{told}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&service.data_dir().join("admin.token")), 0o600);
    service.tandem(["token", "list"]).success();
    let service = service.restart();
    service.tandem(["token", "list"]).success();
}

#[test]
fn settings_open_the_door() {
    let settings = tempfile::tempdir().unwrap();
    let file = settings.path().join("tandem.toml");
    std::fs::write(&file, "[registration]\nmode = \"open\"\n[limits]\ntoken_per_minute = 3\n").unwrap();
    let service = Setup::new().args(["--config", file.to_str().unwrap()]).start();
    let answer = service.send("POST", "/v1/registrations", &[], Some(&json!({"domain": "new.ostn.test"})));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let file = service.home().join("token");
    std::fs::write(&file, answer.json()["secret"].as_str().unwrap()).unwrap();
    let list = || service.tandem(["nodes", "list", "--token-file", file.to_str().unwrap()]);
    list().success();
    let refused = (0..20).map(|_| list()).find(|output| !output.status.success()).expect("no limit");
    assert!(refused.failure(1).contains("(429)"));

    // The command does the same, and what its holder publishes is signed although nothing had to be proved.
    let node = Elsewhere::new();
    node.tandem(["register", "second.ostn.test", "--api", service.api_url()]).success();
    let published = publish(&node, "second.ostn.test").success();
    assert!(published.contains("second.ostn.test.key") && published.contains("signed by"), "{published}");
}
