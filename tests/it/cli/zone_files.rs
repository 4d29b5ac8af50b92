//! The zones folder as an admin fills it: many zones, one inside another, `$INCLUDE`, other files beside them.

use std::fs;

use tandem_testkit::Setup;

use super::{dig, node};

/// Zones in one folder: "hundreds of zones may be in the folder".
const MANY: usize = 300;

const ZONE: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";

#[test]
fn hundreds_of_zones_one_inside_another() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..MANY {
        fs::write(folder.path().join(format!("z{index}.test.zone")), ZONE).unwrap();
        fs::write(folder.path().join(format!("sub.z{index}.test.zone")), format!("{ZONE}x IN A 192.0.2.2\n")).unwrap();
    }
    fs::write(folder.path().join("README.md"), "# not a zone").unwrap();
    let service = Setup::new().zones(folder.path()).start();
    assert_eq!(dig(&service, &["A", "x.sub.z299.test", "+short"]), "192.0.2.2\n");
    assert!(dig(&service, &["A", "x.z299.test"]).contains("status: NXDOMAIN"));
    let zones = service.tandem(["zone", "show"]).success();
    assert_eq!(zones.lines().count(), 2 * MANY + 1, "every page is read");
}

#[test]
fn included_records_are_served() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shared")).unwrap();
    fs::write(folder.path().join("shared/hosts"), "www IN A 192.0.2.80\n").unwrap();
    fs::write(folder.path().join("a.test.zone"), format!("{ZONE}$INCLUDE shared/hosts\n$INCLUDE shared/hosts sub\n"))
        .unwrap();
    let service = Setup::new().zones(folder.path()).start();
    assert_eq!(dig(&service, &["A", "www.a.test", "+short"]), "192.0.2.80\n");
    assert_eq!(dig(&service, &["A", "www.sub.a.test", "+short"]), "192.0.2.80\n");
}

#[test]
fn without_peers_and_number_zones_nodes_are_in_their_own_zone_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.test.zone"), ZONE).unwrap();
    let service = Setup::new().zones(folder.path()).start();
    let published =
        service.tandem(["publish", "n.a.test", "--target", "sip.n.a.test:5061", "--address", "192.0.2.7"]).success();
    assert_eq!(published.lines().count(), 4, "{published}");
    let number = service
        .tandem([
            "publish",
            "n.a.test",
            "--target",
            "sip.n.a.test:5061",
            "--address",
            "192.0.2.7",
            "--number",
            "+15550101",
        ])
        .failure(1);
    assert!(number.contains("--number +15550101: "), "{number}");
}

/// DNS-78: the catalog says to secondaries which zones there are; a node's names in it would speak to them, too.
#[test]
fn nobody_registers_in_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tandem.toml");
    fs::write(&file, "[dns]\ncatalog = \"catalog.ostn.test\"\n").unwrap();
    let service = Setup::new().args(["--config", file.to_str().unwrap()]).start();
    for domain in ["catalog.ostn.test", "zones.catalog.ostn.test", "x.version.catalog.ostn.test"] {
        let refused = service.put_node(domain, &node(domain, "192.0.2.7"));
        assert_eq!(refused.status, 422, "{}", refused.text);
        let told = format!("{domain} holds generated records only");
        assert!(refused.text.contains(&told), "{}", refused.text);
    }
    assert_eq!(service.put_node("acatalog.ostn.test", &node("acatalog.ostn.test", "192.0.2.7")).status, 201);
    assert!(dig(&service, &["TXT", "version.catalog.ostn.test", "+short"]).contains('2'));
}

/// RFC 5890 2.3.1: a label with hyphens in its third and fourth place is reserved, but for `xn--`.
#[test]
fn reserved_labels_are_refused() {
    let service = Setup::new().start();
    for (domain, status) in [
        ("ab--cd.ostn.test", 422),
        ("x.zz--top.example", 422),
        ("xn--bcher-kva.ostn.test", 201),
        ("a--b.ostn.test", 201),
    ] {
        let response = service.put_node(domain, &node(domain, "192.0.2.7"));
        assert_eq!(response.status, status, "{domain}: {}", response.text);
        assert!(status == 201 || response.text.contains("third and fourth place"), "{}", response.text);
    }
}
