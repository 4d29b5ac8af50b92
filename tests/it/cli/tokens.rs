//! Tokens over the command line: made, used within their names, revoked.

use std::process::Command;

use serde_json::Value;
use tandem_testkit::{Output, Service, run, tandem};

fn publish_with(service: &Service, secret: &str, domain: &str) -> Output {
    let file = service.home().join("token");
    std::fs::write(&file, secret).unwrap();
    let target = format!("sip.{domain}:5061");
    let file = file.to_str().unwrap();
    service.tandem(["publish", domain, "--target", &target, "--address", "192.0.2.1", "--token-file", file])
}

#[test]
fn a_token_works_for_its_names_until_it_is_revoked() {
    let service = Service::start();
    let made = service
        .tandem(["token", "new", "--name", "debug.ostn.test", "--days", "1", "--label", "a node", "--json"])
        .success();
    let made: Value = serde_json::from_str(&made).unwrap();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());

    publish_with(&service, secret, "debug.ostn.test").success();
    let foreign = publish_with(&service, secret, "other.ostn.test").failure(1);
    assert!(foreign.contains("(404)") || foreign.contains("(403)"), "{foreign}");

    let list = service.tandem(["token", "list"]).success();
    let line = list.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(line.contains("debug.ostn.test") && line.ends_with("a node"), "{list}");
    assert!(!list.contains(secret) && !service.log().contains(secret));

    assert_eq!(service.tandem(["token", "revoke", id]).success(), format!("{id}: revoked\n"));
    let refused = publish_with(&service, secret, "debug.ostn.test").failure(1);
    assert!(refused.contains("(401)") && refused.contains("TANDEM_TOKEN"), "{refused}");
    let again = service.tandem(["token", "revoke", id]).failure(1);
    assert!(again.contains("(404)"), "{again}");
}

#[test]
fn the_environment_names_api_and_token() {
    let service = Service::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let list = |token: &str| {
        let mut command = Command::new(tandem());
        command.args(["nodes", "list"]).current_dir(elsewhere.path());
        run(command.env("TANDEM_API", service.api_url()).env("TANDEM_TOKEN", token))
    };
    list(&service.admin_token()).success();
    assert!(list("tandem_wrong").failure(1).contains("(401)"));
}

#[test]
fn the_admin_token_is_made_once_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let service = Service::start();
    let file = service.data_dir().join("admin.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = service.admin_token();
    assert!(!service.log().contains(&token), "the token is in the log");
    let service = service.restart();
    assert_eq!(service.admin_token(), token);
}

#[test]
fn the_admin_token_goes_to_no_other_machine() {
    let service = Service::start();
    // Nobody is asked: the command ends before it connects, or connects without the token.
    let clear =
        service.tandem(["nodes", "list", "--api", "http://192.0.2.1:1", "--token-file", "data/admin.token"]).failure(1);
    assert!(clear.contains("clear text"), "{clear}");
}
