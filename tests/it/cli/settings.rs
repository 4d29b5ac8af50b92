//! Settings: flags over environment over file over defaults; what is wrong is said with file and line.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;
use tandem_testkit::{Output, Service, Setup, repository, run, tandem};

/// Runs `tandem` in a folder with these files.
fn call(files: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    run(Command::new(tandem()).args(args).current_dir(folder.path()))
}

const ZONE: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";

#[test]
fn the_template_is_a_right_file() {
    let template = call(&[], &["check-config", "--template"]).success();
    let checked = call(&[("tandem.toml", &template), ("zones/a.test.zone", ZONE)], &["check-config"]).success();
    assert_eq!(checked, "settings are right; 1 zone in zones; peers zone: none; number zone: none\n");
}

#[test]
fn every_problem_is_printed_with_its_place() {
    let settings = "zone = \"x\"\nstore = \"etcd://a\"\n[dns]\nlisten = [\"nowhere\"]\n";
    let output = call(&[("tandem.toml", settings)], &["check-config"]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{output}");
    assert!(lines[0].starts_with("tandem.toml:1: unknown field `zone`"), "{output}");
    assert!(
        lines[1].starts_with("tandem.toml:2: ") && lines[1].contains("only the embedded store is built"),
        "{output}"
    );
    assert!(lines[2].starts_with("tandem.toml:4: `nowhere`"), "{output}");
    assert!(output.failure(1).contains("3 problems found"));
    // The same settings do not start a service.
    let refused = call(&[("tandem.toml", settings)], &["serve"]).failure(1);
    assert!(refused.contains("tandem.toml:2: "), "{refused}");
}

#[test]
fn every_zone_file_is_checked_at_once() {
    let broken = format!("{ZONE}x IN A 1.2.3\n");
    let files =
        [("zones/a.test.zone", broken.as_str()), ("zones/b.test.zone", ZONE), ("zones/c.test.zone", broken.as_str())];
    for args in [&["check-config"][..], &["zone", "check"], &["zone", "check", "zones"]] {
        let output = call(&files, args);
        assert!(output.stdout.contains("zones/a.test.zone:5: "), "{output}");
        assert!(output.stdout.contains("zones/c.test.zone:5: "), "{output}");
        output.failure(1);
    }
    let json = call(&files, &["check-config", "--json"]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((value["valid"].as_bool(), value["problems"].as_array().unwrap().len()), (Some(false), 2), "{json}");
    assert_eq!(value["problems"][0]["line"], 5);
    let one = call(&files, &["zone", "check", "zones/b.test.zone"]).success();
    assert_eq!(one, "b.test: right\n");
    let serve = call(&files, &["serve"]).failure(1);
    assert!(serve.contains("a.test.zone:5: ") && serve.contains("c.test.zone:5: "), "{serve}");
}

#[test]
fn a_generated_zone_needs_a_master_file() {
    let files = [("zones/a.test.zone", ZONE), ("tandem.toml", "peers_zone = \"peers.a.test\"\n")];
    let output = call(&files, &["check-config"]);
    assert!(output.stdout.contains("no master file for peers.a.test"), "{output}");
    output.failure(1);
}

#[test]
fn the_zones_of_this_repository_are_right() {
    let zones = repository().join("zones");
    let output = call(&[], &["check-config", "--zones", zones.to_str().unwrap()]).success();
    assert!(
        output.contains("4 zones") && output.contains("peers zone: peers.ostn.test; number zone: e164.ostn.test"),
        "{output}"
    );
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    fs::write(&file, "[log]\nformat = \"json\"\nlevel = \"error\"\n[dns]\nlisten = [\"127.0.0.1:1\"]\n").unwrap();
    // --dns (from the harness) wins over the file; TANDEM_LOG over the file's level; the file's format stays.
    let service = Setup::new()
        .args(["--config", file.to_str().unwrap()])
        .env("TANDEM_LOG", "info")
        .env("TANDEM_DNS", "127.0.0.1:2")
        .start();
    assert_ne!(service.dns_addr().port(), 1);
    assert!(service.log().lines().next().unwrap().starts_with('{'), "{}", service.log());
    // A flag for the same wins over both.
    let quiet = Setup::new()
        .args(["--config", file.to_str().unwrap(), "--log-level", "error"])
        .env("TANDEM_LOG", "info")
        .start();
    assert_eq!(quiet.log(), "");
}

#[test]
fn several_dns_addresses_from_flags_or_environment() {
    let service = Setup::new().args(["--dns", "127.0.0.1:0", "--dns", "127.0.0.2:0"]).start();
    let hosts: Vec<String> = service.dns_addrs().iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(hosts, ["127.0.0.1", "127.0.0.2"]);
}

#[test]
fn a_taken_port_or_folder_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dns = Setup::new().args(["--dns", &address]).start_fails().failure(1);
    assert!(dns.contains(&address) && dns.contains("--dns"), "{dns}");
    let api = Setup::new().args(["--api", &address]).start_fails().failure(1);
    assert!(api.contains(&address), "{api}");

    let service = Service::start();
    let data = service.data_dir();
    let same = Setup::new().args(["--data-dir", data.to_str().unwrap()]);
    let busy = same.start_fails().failure(1);
    assert!(busy.contains("in use by another process"), "{busy}");
    assert!(data.join("run.json").exists(), "the living service keeps its file");
}

#[test]
fn what_is_missing_is_named() {
    let zones = call(&[], &["serve", "--zones", "nowhere"]).failure(1);
    assert!(zones.contains("nowhere: ") && zones.contains("--zones"), "{zones}");
    let config = call(&[], &["serve", "--config", "nowhere.toml"]).failure(1);
    assert!(config.contains("nowhere.toml: cannot be read"), "{config}");
    let store = call(&[("zones/a.test.zone", ZONE)], &["serve", "--store", "etcd://127.0.0.1:2379"]).failure(1);
    assert!(store.contains("--store: ") && store.contains("only the embedded store is built"), "{store}");
    let data = call(
        &[("zones/a.test.zone", ZONE), ("data", "a file")],
        &["serve", "--dns", "127.0.0.1:0", "--api", "127.0.0.1:0"],
    );
    assert!(data.clone().failure(1).contains("--data-dir"), "{data}");
}

#[test]
fn a_file_without_flags_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("z")).unwrap();
    fs::write(folder.path().join("z/a.test.zone"), ZONE).unwrap();
    let file = folder.path().join("tandem.toml");
    fs::write(&file, "version = 1\nzones = \"z\"\n").unwrap();
    let checked = call(&[], &["check-config", "--config", file.to_str().unwrap()]).success();
    assert!(checked.contains("1 zone in "), "{checked}");
}
