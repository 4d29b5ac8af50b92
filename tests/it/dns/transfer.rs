//! Transfers to real secondaries (DNS-71 to DNS-78): they follow, keep up, survive our restart, and hold the same records.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tandem_testkit::{Service, Setup, repository, run, tandem, wait_until};

use super::secondary::{Key, Kind, PORT, Secondary, address, serial, transferred};
use crate::peer::{guide, process, require};

/// Changes that the secondaries follow.
const CHANGES: usize = 1000;

/// Longest wait for all secondaries to have what we have, on a busy machine.
const CATCH_UP: Duration = Duration::from_secs(90);

/// The zones of `zones/` that nodes change.
const ZONES: [&str; 4] = ["ostn.test", "peers.ostn.test", "e164.ostn.test", "ostel.me"];

/// A directory with a key for each secondary, on an address that it keeps when it is started again.
fn directory(folder: &Path, keys: &[&Key]) -> Service {
    let guide = guide::snippet("secondaries.md", "tandem");
    let (head, lines) = guide.split_at(guide.find("[[dns.tsig]]").unwrap());
    let (permission, notify) = lines.split_at(lines.find("[[dns.secondary]]").unwrap());
    let mut settings = head.to_owned();
    for Key { name, algorithm, .. } in keys {
        settings += &permission.replace("ns2-key", name).replace("hmac-sha256", algorithm);
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) {
            settings += &notify.replace("ns2-key", name).replace("198.51.100.53", &kind.address().to_string());
        }
    }
    let file = folder.join("tandem.toml");
    fs::write(&file, settings).unwrap();
    let zones = folder.join("zones");
    fs::create_dir(&zones).unwrap();
    for zone in ZONES {
        let name = format!("{zone}.zone");
        fs::copy(repository().join("zones").join(&name), zones.join(&name)).unwrap();
    }
    let listen = format!("{}:{PORT}", address(1));
    Setup::new()
        .zones(zones)
        .args(["--config", file.to_str().unwrap(), "--dns", &listen, "--log-level", "info,tandem_dns::transfer=debug"])
        .start()
}

/// Makes a key as an operator does, with `tandem tsig new`.
fn new_key(folder: &Path, name: &str, algorithm: &str) -> Key {
    let mut command = std::process::Command::new(tandem());
    command.args(["tsig", "new", name, "--algorithm", algorithm, "--json"]).current_dir(folder);
    let key: serde_json::Value = serde_json::from_str(&run(&mut command).success()).unwrap();
    let text = |field: &str| key[field].as_str().unwrap().to_owned();
    Key { name: text("name"), algorithm: text("algorithm"), secret: text("secret") }
}

fn put(service: &Service, index: usize, round: usize) {
    let domain = if index.is_multiple_of(5) { format!("n{index}.ostel.me") } else { format!("n{index}.ostn.test") };
    let address = format!("192.0.2.{}", 1 + (index + round) % 250);
    let mut document = json!({
        "targets": [{ "host": format!("sip.{domain}"), "port": 5061, "addresses": [address] }],
        "numbers": [{ "e164": format!("+1555{:06}", index * 10 + round % 7) }],
        "ttl": 60 + round,
    });
    if index.is_multiple_of(40) {
        document["numbers"] = json!([{ "block": format!("+1556{index:04}") }]);
    }
    let answer = service.put_node(&domain, &document);
    assert!([200, 201].contains(&answer.status), "{domain}: {answer:?}");
}

/// Waits until every secondary has our serial of every zone, then compares every record.
fn assert_same(service: &Service, secondaries: &mut [Secondary], key: &Key, zones: &[&str]) {
    for zone in zones {
        let ours = serial(service.dns_addr(), zone).expect("we serve it");
        for secondary in &mut *secondaries {
            let name = secondary.kind.name();
            wait_until(CATCH_UP, &format!("{name} has serial {ours} of {zone}"), || {
                secondary.process.assert_running();
                serial(secondary.address(), zone) == Some(ours)
            });
        }
        let expected = transferred(service.dns_addr(), zone, Some(key));
        assert!(expected.len() > 3, "{zone}: {expected:?}");
        for secondary in &*secondaries {
            let found = transferred(secondary.address(), zone, None);
            let missing: Vec<_> = expected.iter().filter(|record| !found.contains(record)).collect();
            let surplus: Vec<_> = found.iter().filter(|record| !expected.contains(record)).collect();
            assert_eq!((missing, surplus), (vec![], vec![]), "{} {zone}", secondary.kind.name());
            assert_eq!(found, expected, "{} {zone}", secondary.kind.name());
        }
    }
}

/// Transfers of `kind` that the log has for a secondary's key.
fn count(service: &Service, kind: &str, key: &str) -> usize {
    let (kind, key) = (format!("kind=\"{kind}\""), format!("key=\"{key}\""));
    let log = service.log();
    log.lines().filter(|line| line.contains("transferred") && line.contains(&kind) && line.contains(&key)).count()
}

#[test]
fn three_secondaries_follow_a_thousand_changes_dns_71_72_73_76_78() {
    if !require(&["nsd", "knotd", "named", "dig", "setpriv"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = [("nsd", "hmac-sha256"), ("knot", "hmac-sha512"), ("bind", "hmac-sha256"), ("compare", "hmac-sha384")]
        .map(|(name, algorithm)| new_key(folder.path(), name, algorithm));
    let compare = keys[3].clone();
    let mut service = directory(folder.path(), &keys.each_ref());
    put(&service, 0, 0);
    let mut secondaries: Vec<Secondary> = Kind::ALL
        .into_iter()
        .zip(&keys)
        .map(|(kind, key)| Secondary::start(kind, service.dns_addr(), key, &ZONES, folder.path()))
        .collect();
    assert_same(&service, &mut secondaries, &compare, &ZONES);
    let whole = |service: &Service| Kind::ALL.map(|kind| count(service, "AXFR", kind.name()));
    let at_first = whole(&service);

    // New nodes, changed ones, and ones that go.
    for change in 0..CHANGES {
        match change % 4 {
            3 => {
                let index = change / 4 * 4 + 1;
                let domain = if index.is_multiple_of(5) { "ostel.me" } else { "ostn.test" };
                let answer = service.delete(&format!("/v1/nodes/n{index}.{domain}"));
                assert!([200, 204].contains(&answer.status), "{answer:?}");
            }
            2 => put(&service, change / 4 * 4, change),
            _ => put(&service, change / 4 * 4 + change % 4, change),
        }
    }
    assert_same(&service, &mut secondaries, &compare, &ZONES);
    for kind in Kind::ALL {
        let differences = count(&service, "IXFR", kind.name());
        assert!(differences >= ZONES.len(), "{}: {differences} differences\n{}", kind.name(), service.log());
    }
    assert_eq!(whole(&service), at_first, "no whole zone was needed");
    assert!(!service.log().contains("AXFR for IXFR"), "nor because of missing history");

    // We are gone for a moment; what comes after it reaches everybody.
    let before = Kind::ALL.map(|kind| count(&service, "IXFR", kind.name()));
    service.stop();
    let mut service = service.restart();
    for index in 0..20 {
        put(&service, index, CHANGES + index);
    }
    assert_same(&service, &mut secondaries, &compare, &ZONES);
    // What they had before we went is known to us: differences, as if nothing had been.
    for (kind, before) in Kind::ALL.into_iter().zip(before) {
        let differences = count(&service, "IXFR", kind.name()) - before;
        assert!(differences >= ZONES.len(), "{}: {differences} after the restart\n{}", kind.name(), service.log());
    }
    assert_eq!(whole(&service), at_first, "still no whole zone was needed");
    assert!(!service.log().contains("AXFR for IXFR"), "nor because of missing history");

    // A new zone: whoever follows the catalog has it soon, and loses it when it goes.
    let new_zone = folder.path().join("zones/new.test.zone");
    fs::write(&new_zone, "$TTL 60\n@ IN SOA ns h 1 60 30 600 5\n@ IN NS ns\nns IN A 192.0.2.1\nx IN TXT \"new\"\n")
        .unwrap();
    service.signal("HUP");
    wait_until(CATCH_UP, "we serve the new zone", || serial(service.dns_addr(), "new.test").is_some());
    secondaries.retain(|secondary| secondary.kind.follows_catalog());
    assert_same(&service, &mut secondaries, &compare, &["new.test", "ostn.test"]);
    // This time while we are away: the catalog's serial says so at the start.
    service.stop();
    fs::remove_file(&new_zone).unwrap();
    let mut service = service.restart();
    wait_until(CATCH_UP, "nobody serves the zone that went", || {
        secondaries.iter().all(|secondary| serial(secondary.address(), "new.test").is_none())
    });
    let log = service.log();
    assert!(!log.contains("panicked") && !log.contains(" WARN ") && !log.contains("ERROR"), "{log}");
    assert!(keys.iter().all(|key| !log.contains(&key.secret)), "no secret in the log");
    assert!(service.stop().success());
}

#[test]
fn nobody_transfers_without_permission_dns_t54_t56() {
    if !require(&["dig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path(), "good", "hmac-sha256");
    let other = Key { name: "other".into(), ..key.clone() };
    let forged = Key { secret: new_key(folder.path(), "forged", "hmac-sha256").secret, ..key.clone() };
    let weaker = Key { algorithm: "hmac-sha1".into(), ..key.clone() };
    let settings = "[[dns.tsig]]\nname = \"good\"\nsecret_file = \"good.secret\"\n\
         [[dns.tsig]]\nname = \"forged\"\nsecret_file = \"forged.secret\"\n\
         [[dns.transfer]]\nzone = \"ostn.test\"\nkeys = [\"good\"]\n";
    let file = folder.path().join("tandem.toml");
    fs::write(&file, settings).unwrap();
    let service = Setup::new().args(["--config", file.to_str().unwrap()]).start();
    let dig = |words: &[&str], key: Option<&Key>| {
        let (at, port) = (format!("@{}", service.dns_addr().ip()), service.dns_addr().port().to_string());
        let mut all: Vec<String> = [&at, "-p", &port, "+tries=1", "+time=5"].map(str::to_owned).into();
        all.extend(key.iter().flat_map(|key| ["-y".to_owned(), key.argument()]));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let output = process::run("dig", &all);
        assert_eq!(output.status.signal(), None);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // dig shows the header of a failed transfer only with +besteffort or as "Transfer failed."; kdig tells the rcode.
    let failed = |text: &str| text.contains("Transfer failed") || text.contains("REFUSED") || text.contains("NOTAUTH");
    let right = Key { name: "forged".into(), ..forged.clone() };
    for (what, key, zone) in [
        ("a stranger", None, "ostn.test"),
        ("an unknown key", Some(&other), "ostn.test"),
        ("a wrong MAC", Some(&forged), "ostn.test"),
        ("a wrong algorithm", Some(&weaker), "ostn.test"),
        ("a key for nothing", Some(&right), "ostn.test"),
        ("another zone", Some(&key), "ostel.me"),
        ("no zone", Some(&key), "www.ostn.test"),
    ] {
        for kind in ["AXFR", "IXFR=1"] {
            let text = dig(&["+tcp", kind, zone], key);
            assert!(failed(&text), "{what}, {kind}: {text}");
            assert!(!text.contains("hostmaster"), "{what}, {kind}: {text}");
        }
    }
    let whole = dig(&["+tcp", "AXFR", "ostn.test"], Some(&key));
    assert!(whole.contains("XFR size: ") && whole.contains("directory.ostn.test."), "{whole}");
    // The rcodes, as an ordinary signed question shows them (DNS-T56).
    for (what, key, expected) in [
        ("good", &key, "status: NOERROR"),
        ("unknown key", &other, "BADKEY"),
        ("wrong MAC", &forged, "BADSIG"),
        ("wrong algorithm", &weaker, "BADKEY"),
    ] {
        for transport in ["+notcp", "+tcp"] {
            let text = dig(&[transport, "SOA", "ostn.test", "+norecurse"], Some(key));
            assert!(text.contains(expected), "{what}: {text}");
            assert_eq!(text.contains("hostmaster"), what == "good", "{what}: {text}");
            assert_eq!(text.contains("status: NOTAUTH"), what != "good", "{what}: {text}");
        }
    }
    let unsigned = service.log();
    assert!(!unsigned.contains(&key.secret), "no secret in the log");
}

/// Keys, rules and secondaries as the settings file has them now; a file with a fault changes nothing.
#[test]
fn sighup_takes_over_who_may_transfer_dns_74_75() {
    if !require(&["dig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (new_key(folder.path(), "old", "hmac-sha256"), new_key(folder.path(), "new", "hmac-sha512"));
    let file = folder.path().join("tandem.toml");
    let settings = |key: &Key, more: &str| {
        let Key { name, algorithm, .. } = key;
        let text = format!(
            "[[dns.tsig]]\nname = \"{name}\"\nalgorithm = \"{algorithm}\"\nsecret_file = \"{name}.secret\"\n\
             [[dns.transfer]]\nzone = \"ostn.test\"\nkeys = [\"{name}\"]\n{more}"
        );
        fs::write(&file, text).unwrap();
    };
    settings(&old, "");
    let service = Setup::new().args(["--config", file.to_str().unwrap()]).start();
    let may = |key: &Key| {
        let (at, port) = (format!("@{}", service.dns_addr().ip()), service.dns_addr().port().to_string());
        let output = process::run("dig", &[&at, "-p", &port, "AXFR", "ostn.test", "-y", &key.argument(), "+tries=1"]);
        String::from_utf8_lossy(&output.stdout).contains("XFR size: ")
    };
    assert!(may(&old) && !may(&new));
    let told = |words: &str| service.log().lines().filter(|line| line.contains(words)).count();

    for (faults, broken) in
        ["keys = 7\n", "[[dns.secondary]]\naddress = \"192.0.2.1\"\nkey = \"gone\"\n", "[dns"].iter().enumerate()
    {
        settings(&new, broken);
        service.signal("HUP");
        wait_until(CATCH_UP, "the fault in the log", || told("settings not taken over") == faults + 1);
        assert!(may(&old) && !may(&new), "{broken}");
    }

    // A secondary that is new hears of the zone at once.
    let secondary = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    secondary.set_read_timeout(Some(CATCH_UP)).unwrap();
    let address = secondary.local_addr().unwrap();
    settings(&new, &format!("[[dns.secondary]]\naddress = \"{address}\"\nkey = \"new\"\nzones = [\"ostn.test\"]\n"));
    service.signal("HUP");
    let mut notify = [0; 512];
    let (len, _) = secondary.recv_from(&mut notify).unwrap();
    assert!(len > 12 && notify[2] == 0x24 && notify[12..].starts_with(b"\x04ostn\x04test\0"), "{notify:?}");
    assert!(may(&new) && !may(&old));
    assert_eq!((told("secondaries taken over"), told("count from the next start")), (1, 0));

    // What counts at the start only is said to.
    settings(&new, "[log]\nformat = \"json\"\n");
    service.signal("HUP");
    wait_until(CATCH_UP, "the warning", || told("count from the next start") == 1);
    assert!([&old, &new].iter().all(|key| !service.log().contains(&key.secret)), "no secret in the log");
}

/// What `tandem tsig new` prints is taken by Tandem and by the three other programs, and the secret is for nobody else.
#[test]
fn a_new_key_is_right_for_both_sides_dns_76() {
    if !require(&["nsd-checkconf", "knotc", "named-checkconf"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| run(std::process::Command::new(tandem()).args(args).current_dir(folder.path()));
    for algorithm in ["hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1"] {
        let name = format!("key-{algorithm}");
        let text = call(&["tsig", "new", &name, "--algorithm", algorithm]).success();
        let parts: Vec<&str> = text.split("\n# ").collect();
        let file = folder.path().join(format!("{name}.secret"));
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
        let secret = fs::read_to_string(&file).unwrap();
        assert!(!parts[0].contains(secret.trim()), "the settings name the file");

        let settings = parts[0].replace("ADDRESS OF THE SECONDARY", "198.51.100.53");
        fs::write(folder.path().join("t.toml"), &settings).unwrap();
        let zones = repository().join("zones");
        call(&["check-config", "--config", "t.toml", "--zones", zones.to_str().unwrap()]).success();
        for (part, program, before, words) in [
            (1, "named-checkconf", "", &["CONF"][..]),
            (2, "nsd-checkconf", "server:\n    zonesdir: \"/\"\n", &["CONF"][..]),
            (3, "knotc", "", &["-c", "CONF", "conf-check"][..]),
        ] {
            // The first line is the heading.
            let lines = format!("{before}{}\n", parts[part].split_once('\n').unwrap().1);
            assert!(lines.contains(secret.trim()), "{program}: {lines}");
            let file = folder.path().join(program);
            fs::write(&file, lines).unwrap();
            let file = file.to_str().unwrap();
            let words: Vec<&str> = words.iter().map(|word| if *word == "CONF" { file } else { word }).collect();
            process::read(program, &words);
        }
        // A secret that a secondary may rely on is not written over.
        let again = call(&["tsig", "new", &name]).failure(1);
        assert!(again.contains("--secret-file"), "{again}");
        assert_eq!(fs::read_to_string(&file).unwrap(), secret);
    }
    let wrong = call(&["tsig", "new", "k", "--algorithm", "hmac-md5"]).failure(2);
    assert!(wrong.contains("hmac-sha256"), "{wrong}");
}
