//! `tandem agent` on the command line.

use std::process::Command;

use tandem_testkit::{AgentProcess, run, tandem, wait_until};

use super::{WAIT, directory, publish};

#[test]
fn settings_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let agent = |args: &[&str]| run(Command::new(tandem()).arg("agent").args(args).current_dir(folder.path()));
    let template = agent(&["--template"]).success();
    std::fs::write(folder.path().join("agent.toml"), &template).unwrap();
    assert_eq!(agent(&["--check"]).success(), "the settings are right\n");
    std::fs::write(folder.path().join("agent.toml"), "directory = \"http://dir.example\"\nno = 1\n").unwrap();
    let wrong = agent(&["--check"]);
    assert!(wrong.stdout.contains("agent.toml:1: ") && wrong.stdout.contains("agent.toml:2: "), "{wrong}");
    assert!(wrong.failure(1).contains("2 problems"));
    let json: serde_json::Value = serde_json::from_str(&agent(&["--check", "--json"]).stdout).unwrap();
    assert_eq!((&json["valid"], &json["problems"][1]["line"]), (&false.into(), &2.into()));
    assert!(agent(&[]).failure(1).contains("loopback"));
    assert!(agent(&["status"]).failure(1).contains("loopback"));
    // Nobody is believed by mistake.
    let more = "directory = \"https://127.0.0.1:1\"\n[check]\ncertificates = true\nauthorities = \"none.pem\"\n";
    std::fs::write(folder.path().join("agent.toml"), more).unwrap();
    assert!(agent(&[]).failure(1).contains("none.pem cannot be used"));
    std::fs::write(folder.path().join("agent.toml"), &template).unwrap();
    assert!(agent(&["status"]).failure(1).contains("no agent answers"));
}

#[test]
fn a_running_agent_tells_how_it_does() {
    let mut service = directory();
    publish(&service, "debug.ostn.test", 5061);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, service.admin_token()).unwrap();
    let settings =
        format!("directory = \"{}\"\ntoken_file = \"token\"\n[http]\nlisten = \"127.0.0.1:0\"\n", service.api_url());
    let mut agent = AgentProcess::start(folder.path(), &settings);
    agent.wait_in_step();
    let told = agent.tandem(["agent", "status"]).success();
    assert!(told.contains("in step") && told.contains("1 (1 to be called, 0 signed)"), "{told}");
    let get = |path: &str| {
        let answer = ureq::get(format!("{}{path}", agent.printed("http"))).call();
        answer.map(|mut answer| answer.body_mut().read_to_string().unwrap())
    };
    assert!(get("/metrics").unwrap().contains("\ntandem_agent_members 1\n"));
    assert_eq!((get("/livez").unwrap().as_str(), get("/readyz").unwrap().as_str()), ("live\n", "ready\n"));
    assert!(get("/v1/status").unwrap().contains("\"in_step\":true"));
    // One agent has one folder.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("token"), "x").unwrap();
    let same = format!("{settings}\n").replacen(
        "directory",
        &format!("state_dir = \"{}\"\ndirectory", folder.path().join("agent").display()),
        1,
    );
    assert!(AgentProcess::start_fails(other.path(), &same).stderr.contains("another agent is running"));
    // Without the directory it says so, and stays ready.
    service.kill();
    wait_until(WAIT, "the loss to be told", || agent.status()["replica"]["in_step"] == false);
    let told = agent.tandem(["agent", "status"]);
    assert!(told.stdout.contains("not in step since") && told.stdout.contains("fault"), "{told}");
    assert_eq!(told.status.code(), Some(1));
    assert_eq!(get("/readyz").unwrap(), "ready\n");
    assert!(agent.stop().success());
    assert!(agent.log().contains("ended"));
}
