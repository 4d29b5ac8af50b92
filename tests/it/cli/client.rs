//! What the client commands say when the way to the API is not right, and how they find the service.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use tandem_testkit::{Service, Setup, run, tandem};

/// `tandem` in this folder; the caller adds what it is about.
fn tandem_in(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(tandem());
    command.args(args).current_dir(folder);
    command
}

#[test]
fn an_untrusted_certificate_is_called_so() {
    let service = Setup::new().args(["--api", "0.0.0.0:0"]).start();
    let elsewhere = tempfile::tempdir().unwrap();
    let list = |more: &[&str]| {
        let mut command = tandem_in(elsewhere.path(), &["nodes", "list", "--api", service.api_url()]);
        run(command.args(more).env("TANDEM_TOKEN", service.admin_token()))
    };
    let refused = list(&[]).failure(1);
    assert!(refused.contains("certificate") && refused.contains("--ca FILE"), "{refused}");
    assert!(refused.contains("because: ") && !refused.contains("running there"), "{refused}");
    let certificate = service.data_dir().join("api.crt");
    list(&["--ca", certificate.to_str().unwrap()]).success();
    // `check` has --ca for SIP servers; for the API it has another.
    let check = |more: &[&str]| {
        let dns = service.dns_addr().to_string();
        let args = ["check", "debug.ostn.test", "--no-connect", "--json", "--server", &dns, "--api", service.api_url()];
        let output = run(tandem_in(elsewhere.path(), &args).args(more).env("TANDEM_TOKEN", service.admin_token()));
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        report["registration"].clone()
    };
    let unknown = check(&[]);
    assert_eq!(unknown["state"], "unknown", "{unknown}");
    assert!(unknown["detail"].as_str().unwrap().contains("--api-ca FILE"), "{unknown}");
    assert_eq!(check(&["--ca", certificate.to_str().unwrap()])["state"], "unknown");
    assert_eq!(check(&["--api-ca", certificate.to_str().unwrap()])["state"], "not-registered");
}

#[test]
fn a_certificate_for_another_name_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    let settings = folder.path().join("tandem.toml");
    fs::write(&settings, "[api]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n").unwrap();
    let service = Setup::new().args(["--config", settings.to_str().unwrap()]).start();
    let certificate = folder.path().join("c.pem");
    let refused = service.tandem(["nodes", "list", "--ca", certificate.to_str().unwrap()]).failure(1);
    assert!(refused.contains("another name") && !refused.contains("--ca"), "{refused}");
}

#[test]
fn a_token_that_no_header_can_carry_is_named() {
    let service = Service::start();
    let token = service.admin_token();
    let with_variable = |text: &OsStr| {
        let mut command = tandem_in(service.home(), &["nodes", "list"]);
        run(command.env("TANDEM_TOKEN", text))
    };
    let file = service.home().join("token");
    let with_file = |text: &[u8]| {
        fs::write(&file, text).unwrap();
        service.tandem(["nodes", "list", "--token-file", file.to_str().unwrap()])
    };
    for (text, words) in [("a\nb", "line break"), ("a b", "space"), ("t\u{f6}", "ASCII")] {
        let refused = with_variable(text.as_ref()).failure(1);
        assert!(refused.starts_with("error: TANDEM_TOKEN is not a token: ") && refused.contains(words), "{refused}");
        let refused = with_file(text.as_bytes()).failure(1);
        assert!(refused.contains(file.to_str().unwrap()) && refused.contains(words), "{refused}");
    }
    let refused = with_variable(OsStr::from_bytes(b"\xff")).failure(1);
    assert!(refused.contains("UTF-8"), "{refused}");
    assert!(with_file(b" \n").failure(1).contains("it is empty"));
    // White space around it is none of the token.
    with_variable(format!(" {token}\r\n").as_ref()).success();
    with_file(format!("\n{token} \n\n").as_bytes()).success();
}

#[test]
fn empty_variables_count_as_not_set() {
    let service = Service::start();
    for name in ["TANDEM_API", "TANDEM_TOKEN", "TANDEM_DATA_DIR", "TANDEM_CONFIG"] {
        run(tandem_in(service.home(), &["nodes", "list"]).env(name, "")).success();
    }
    drop(Setup::new().env("TANDEM_CONFIG", "").env("TANDEM_DNS", "").env("TANDEM_LOG", "").start());
}

#[test]
fn a_name_that_is_none_is_told_before_anything_is_sent() {
    let nowhere = tempfile::tempdir().unwrap();
    for args in [
        &["publish", "", "--target", "a.test:1"][..],
        &["nodes", "show", ""],
        &["nodes", "rm", " "],
        &["nodes", "rm", ".."],
        &["zone", "export", ""],
        &["token", "revoke", ""],
    ] {
        // No service runs here: whoever asks for one fails otherwise.
        let refused = run(&mut tandem_in(nowhere.path(), args)).failure(2);
        assert!(refused.contains("name"), "{args:?}: {refused}");
    }
}

#[test]
fn the_data_folder_of_the_settings_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("tandem.toml");
    let data = folder.path().join("var");
    fs::write(&settings, "data_dir = \"var\"\n").unwrap();
    let service = Setup::new().args(["--data-dir", data.to_str().unwrap()]).start();
    let list = |folder: &Path, args: &[&str]| run(tandem_in(folder, &["nodes", "list"]).args(args));
    list(folder.path(), &[]).success();
    let elsewhere = tempfile::tempdir().unwrap();
    list(elsewhere.path(), &["--config", settings.to_str().unwrap()]).success();
    run(tandem_in(elsewhere.path(), &["nodes", "list"]).env("TANDEM_CONFIG", &settings)).success();
    let resolve = ["resolve", "nobody.ostn.test", "--config", settings.to_str().unwrap()];
    let resolved = run(&mut tandem_in(elsewhere.path(), &resolve));
    assert!(resolved.stdout.contains("nobody.ostn.test"), "{resolved}");
    // A file that was named is there and right.
    let missing = list(elsewhere.path(), &["--config", "none.toml"]).failure(1);
    assert!(missing.contains("none.toml: cannot be read"), "{missing}");
    drop(service);
}
