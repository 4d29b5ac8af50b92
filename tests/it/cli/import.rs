//! `tandem import` and `tandem export`: a directory goes through a file into another one.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use tandem_testkit::Service;

use super::dig;

fn line(domain: &str, host: &str, addresses: &str) -> String {
    format!(r#"{{"domain":"{domain}","targets":[{{"host":"{host}","port":5061{addresses}}}]}}"#)
}

#[test]
fn a_directory_moves_through_a_file() {
    let service = Service::start();
    let file = service.home().join("nodes.ndjson");
    let own = r#","addresses":["203.0.113.7","2001:db8::7"]"#;
    let mut text = String::new();
    // The first node names a host that a later line brings.
    writeln!(text, "{}", line("a.ostn.test", "sip.z.ostn.test", "")).unwrap();
    for n in 0..3000 {
        writeln!(text, "{}", line(&format!("n{n}.ostn.test"), &format!("sip.n{n}.ostn.test"), own)).unwrap();
    }
    writeln!(text, "{}", line("z.ostn.test", "sip.z.ostn.test", own)).unwrap();
    fs::write(&file, &text).unwrap();
    let path = file.to_str().unwrap();

    let dry = service.tandem(["import", "--dry-run", path]).failure(1);
    assert!(dry.contains("nodes.ndjson:1: a.ostn.test: targets[0].host: "), "{dry}");
    let told = service.tandem(["import", path]).success();
    assert!(told.starts_with("3002 lines: 3002 created, 0 replaced, 0 unchanged, 0 refused\nserial "), "{told}");
    assert_eq!(dig(&service, &["A", "sip.n2999.ostn.test", "+short"]), "203.0.113.7\n");

    let exported = service.tandem(["export"]).success();
    assert_eq!(exported.lines().count(), 3002);
    fs::write(&file, &exported).unwrap();
    let again: Value = serde_json::from_str(&service.tandem(["import", "--json", path]).success()).unwrap();
    assert_eq!((again["unchanged"].as_u64(), again["created"].as_u64()), (Some(3002), Some(0)));

    let other = Service::start();
    fs::write(other.home().join("all.ndjson"), &exported).unwrap();
    let told = other.tandem(["import", "all.ndjson"]).success();
    assert!(told.starts_with("3002 lines: 3002 created"), "{told}");
    assert_eq!(other.tandem(["export"]).success(), exported, "the same file comes out");
}

#[test]
fn what_is_wrong_is_told_by_line() {
    let service = Service::start();
    let file = service.home().join("nodes.ndjson");
    let good = line("a.ostn.test", "sip.a.ostn.test", r#","addresses":["203.0.113.7"]"#);
    fs::write(&file, format!("{good}\nnot json\n{}\n", good.replace("5061", "0"))).unwrap();
    let output = service.tandem(["import", "nodes.ndjson"]);
    assert!(output.stdout.starts_with("3 lines: 1 created, 0 replaced, 0 unchanged, 2 refused\n"), "{output}");
    let told = output.failure(1);
    assert!(told.contains("nodes.ndjson:2: no domain: "), "{told}");
    assert!(told.contains("nodes.ndjson:3: a.ostn.test: targets[0].port: must be a whole number"), "{told}");
    assert!(told.contains("error: 2 of 3 lines were refused"), "{told}");
    let missing = service.tandem(["import", "nowhere.ndjson"]).failure(1);
    assert!(missing.contains("nowhere.ndjson cannot be read"), "{missing}");
}
