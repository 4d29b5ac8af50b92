//! `tandem zone check` and `check-config` refuse what `serve` refuses, and warn of what it takes with a doubt.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tandem_testkit::{Output, Setup, run, tandem, wait_until};
use tempfile::TempDir;

const ZONE: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";
/// Longest wait for a reload to show in the log.
const EFFECT: Duration = Duration::from_secs(20);
/// Warnings of one zone that the log shows.
const LOGGED: usize = 20;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn call(folder: &TempDir, args: &[&str]) -> Output {
    run(Command::new(tandem()).args(args).current_dir(folder.path()))
}

/// A zone with this number of things to warn of.
fn doubtful(number: usize) -> String {
    let servers: String = (0..number).map(|index| format!("@ IN NS none{index}\n")).collect();
    format!("{ZONE}{servers}")
}

#[test]
fn warnings_are_shown_and_change_no_status() {
    let home = folder(&[("zones/a.test.zone", &doubtful(1)), ("zones/b.test.zone", ZONE)]);
    for args in [&["check-config"][..], &["zone", "check"], &["zone", "check", "zones/a.test.zone"]] {
        let output = call(&home, args).success();
        let warnings: Vec<&str> = output.lines().filter(|line| line.contains("warning")).collect();
        assert_eq!(warnings.len(), 1, "{args:?}: {output}");
        assert!(warnings[0].starts_with("zones/a.test.zone: warning: a.test"), "{args:?}: {output}");
        assert!(warnings[0].contains("none0"), "{args:?}: {output}");
        let json = call(&home, &[args, &["--json"]].concat()).success();
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["valid"], value["warnings"].as_array().unwrap().len()), (&Value::Bool(true), 1), "{json}");
        assert_eq!(value["warnings"][0]["file"], "zones/a.test.zone");
    }
}

#[test]
fn each_warning_is_logged_once_at_start_and_at_reload() {
    let zones = folder(&[("a.test.zone", &doubtful(1)), ("b.test.zone", &doubtful(LOGGED + 3))]);
    let service = Setup::new().zones(zones.path()).start();
    let count =
        |words: &str| service.log().lines().filter(|line| line.contains(" WARN ") && line.contains(words)).count();
    assert_eq!(count("zone=a.test "), 1, "{}", service.log());
    assert_eq!(count("zone=b.test "), LOGGED + 1, "{}", service.log());
    assert_eq!(count("more=3"), 1, "{}", service.log());
    service.signal("HUP");
    wait_until(EFFECT, "the warnings of the reload", || count("more=3") == 2);
    assert_eq!(count("zone=a.test "), 2, "{}", service.log());
}

#[test]
fn two_files_of_one_zone_are_refused_by_all() {
    let home = folder(&[("zones/ttl.test.zone", ZONE), ("zones/TTL.TEST.zone", ZONE)]);
    for args in [&["zone", "check"][..], &["zone", "check", "zones"], &["check-config"]] {
        let output = call(&home, args);
        assert!(output.stdout.contains("ttl.test.zone") && output.stdout.contains("TTL.TEST.zone"), "{output}");
        output.failure(1);
    }
    let files = call(&home, &["zone", "check", "zones/ttl.test.zone", "zones/TTL.TEST.zone"]);
    assert!(files.stdout.contains("two master files have the zone ttl.test"), "{files}");
    files.failure(1);
    let served = call(&home, &["serve", "--dns", "127.0.0.1:0", "--api", "127.0.0.1:0"]).failure(1);
    assert!(served.contains("zones/ttl.test.zone") && served.contains("zones/TTL.TEST.zone"), "{served}");
}

#[test]
fn the_zones_of_the_settings_must_be_there() {
    let home = folder(&[("z/a.test.zone", ZONE), ("tandem.toml", "zones = \"z\"\npeers_zone = \"peers.a.test\"\n")]);
    for args in [&["zone", "check"][..], &["zone", "check", "z"]] {
        let output = call(&home, args);
        assert!(output.stdout.starts_with("z: no master file for peers.a.test"), "{output}");
        output.failure(1);
    }
    // One file is judged alone: the zone may have another.
    assert_eq!(call(&home, &["zone", "check", "z/a.test.zone"]).success(), "a.test: right\n");
    fs::write(home.path().join("z/peers.a.test.zone"), ZONE).unwrap();
    assert_eq!(call(&home, &["zone", "check"]).success(), "a.test: right\npeers.a.test: right\n");
    let elsewhere = tempfile::tempdir().unwrap();
    let settings = home.path().join("tandem.toml");
    let named = call(&elsewhere, &["zone", "check", "--config", settings.to_str().unwrap()]).success();
    assert!(named.ends_with("peers.a.test: right\n"), "{named}");
}

#[test]
fn an_include_that_cannot_be_read_is_named_once() {
    let home = folder(&[("zones/a.test.zone", &format!("{ZONE}$INCLUDE sub/i\n"))]);
    let output = call(&home, &["zone", "check"]);
    assert!(output.stdout.starts_with("zones/a.test.zone:5: $INCLUDE sub/i: the file cannot be read"), "{output}");
    assert_eq!(output.stdout.matches("$INCLUDE").count(), 1, "{output}");
    output.failure(1);
}
