//! A domain of one's own in an open directory: proved by its zone, which another server has, registered, published.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::Value;
use tandem_testkit::{Output, Service, Setup, run, tandem, wait_until};
use tempfile::TempDir;

const DOMAIN: &str = "ostn-member.org";
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// The zone of the domain, as its owner has it, on the owner's own name server.
struct Owner {
    service: Service,
    zones: TempDir,
}

impl Owner {
    fn start() -> Self {
        let zones = tempfile::tempdir().unwrap();
        write_zone(zones.path(), "");
        let service = Setup::new().zones(zones.path()).start();
        Self { service, zones }
    }

    /// Puts records into the zone.
    fn publish(&self, records: &str) {
        write_zone(self.zones.path(), records);
        let reloaded = self.service.tandem(["zone", "reload"]);
        reloaded.success();
    }
}

fn write_zone(folder: &Path, records: &str) {
    let text = format!(
        "$ORIGIN {DOMAIN}.\n$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 604800 30\n@ IN NS ns1\nns1 IN A 127.0.0.1\n\
         sip IN A 127.0.0.1\n{records}"
    );
    std::fs::write(folder.join(format!("{DOMAIN}.zone")), text).unwrap();
}

/// A directory that anybody may join, and that looks for domains at the owner's server.
fn directory(owner: &Service, folder: &Path) -> Service {
    Setup::new().args(["--config", settings(owner, folder, "").to_str().unwrap()]).start()
}

/// The settings of such a directory, with `more` of `[proofs]`.
fn settings(owner: &Service, folder: &Path, more: &str) -> PathBuf {
    let port = owner.dns_addr().port();
    let config = format!(
        "[registration]\nmode = \"open\"\n[resolver]\nname_servers = [\"127.0.0.1:{port}\"]\n\
         [proofs]\nallow_loopback = true\nauthority_port = {port}\n{more}"
    );
    let file = folder.join("directory.toml");
    std::fs::write(&file, config).unwrap();
    file
}

/// The member's machine.
fn at_home(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(tandem());
    run(command.args(args).current_dir(home).env("HOME", home).env_remove("XDG_CONFIG_HOME"))
}

fn srv(directory: &Service) -> Option<String> {
    let records = directory.get(&format!("/v1/nodes/{DOMAIN}/records")).json();
    Some(records["records"].as_array()?.iter().find(|record| record.to_string().contains("SRV"))?.to_string())
}

#[test]
fn a_domain_of_ones_own_is_proved_and_published() {
    let (owner, folder) = (Owner::start(), tempfile::tempdir().unwrap());
    let mut directory = directory(&owner.service, folder.path());
    let home = tempfile::tempdir().unwrap();
    let api = directory.api_url().to_owned();

    // Nobody gets somebody's domain by asking; the answer says what to do.
    let refused = at_home(home.path(), &["register", DOMAIN, "--api", &api]).failure(1);
    assert!(refused.contains("tandem prove"), "{refused}");
    let begun = at_home(home.path(), &["prove", DOMAIN, "--api", &api]).success();
    assert!(begun.contains("new key: ") && begun.contains("tandem prove ostn-member.org --wait"), "{begun}");
    let record = begun.lines().find(|line| line.contains("IN TXT")).unwrap().trim();
    assert!(record.starts_with("_tandem.ostn-member.org. 3600 IN TXT \"tandem-key="), "{record}");
    let early = at_home(home.path(), &["register", DOMAIN, "--api", &api]).failure(1);
    assert!(early.contains("not proved yet"), "{early}");

    // A record for somebody else's key is no proof, and is told as what it is.
    owner.publish("_tandem IN TXT \"tandem-key=kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\"\n");
    let answer = at_home(home.path(), &["prove", DOMAIN, "--api", &api, "--wait", "20s", "--json"]);
    assert_eq!(answer.status.code(), Some(1));
    let failed: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(failed["state"], "invalid", "{failed}");

    // The directory restarts in the middle; what was begun is there.
    directory.kill();
    directory = directory.restart();
    let api = directory.api_url().to_owned();
    owner.publish(&format!("{record}\n"));
    let proved = at_home(home.path(), &["prove", DOMAIN, "--api", &api, "--wait", "1m"]).success();
    assert!(proved.contains("proved until") && proved.contains("tandem register ostn-member.org"), "{proved}");
    // The command that it names is whole.
    let next: Vec<&str> = proved.lines().last().unwrap().strip_prefix("Next: tandem ").unwrap().split(' ').collect();
    let registered = at_home(home.path(), &next).success();
    assert!(registered.contains("tokens.json") && !registered.contains("tandem_"), "{registered}");
    let publish = ["publish", DOMAIN, "--target", "sip.ostn-member.org:5061", "--address", "203.0.113.7"];
    let unsigned: Vec<&str> = publish.iter().copied().chain(["--unsigned"]).collect();
    let refused = at_home(home.path(), &unsigned).failure(1);
    assert!(refused.contains("The domain is not proved") && refused.contains("--node-key"), "{refused}");
    // The key is known with the token.
    let published = at_home(home.path(), &publish).success();
    assert!(published.contains("created") && published.contains("signed by"), "{published}");
    assert!(srv(&directory).is_some());
    // Another restart: the proof, the token and the key hold.
    directory.stop();
    directory = directory.restart();
    let api = directory.api_url().to_owned();
    let again = at_home(home.path(), &["prove", DOMAIN, "--api", &api]).success();
    assert!(again.contains("proved until"), "{again}");
    // An admin takes it back; it is in the audit trail, with no change of the node yet.
    let key = record.split("tandem-key=").nth(1).unwrap().trim_end_matches('"');
    assert_eq!(directory.delete(&format!("/v1/proofs/{DOMAIN}/{key}")).status, 204);
    wait_until(LIMIT, "the audit trail", || directory.tandem(["audit"]).success().contains("proof-revoked"));
    assert_eq!(directory.get(&format!("/v1/nodes/{DOMAIN}")).json()["state"], "active");
}

/// The TLS challenge by command: the domain's SRV records lead to where the command listens.
#[test]
fn a_domain_is_proved_at_its_own_target() {
    let (owner, folder) = (Owner::start(), tempfile::tempdir().unwrap());
    let directory = directory(&owner.service, folder.path());
    let home = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    owner.publish(&format!("_sips._tcp IN SRV 0 0 {port} sip\n"));
    let listen = format!("127.0.0.1:{port}");
    let args = ["prove", DOMAIN, "--api", directory.api_url(), "--method", "tls", "--listen", &listen, "--wait", "1m"];
    let proved = at_home(home.path(), &args).success();
    assert!(proved.contains("answering at") && proved.contains("proved until"), "{proved}");
    at_home(home.path(), &["register", DOMAIN, "--api", directory.api_url()]).success();
}

/// API-65 by command: the certificate of the domain's server, which is for servers only, is shown to the directory.
#[test]
fn a_domain_is_proved_by_its_servers_certificate_api_65() {
    let (owner, folder, home) = (Owner::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.as_ref().pem()).unwrap();
    for (name, domain) in [("ours", DOMAIN), ("other", "other.org")] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![domain.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let made = params.signed_by(&key, &authority).unwrap();
        std::fs::write(home.path().join(format!("{name}.pem")), made.pem()).unwrap();
        std::fs::write(home.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let more = "client_certificates = true\nca_file = \"ca.pem\"\n";
    let file = settings(&owner.service, folder.path(), more);
    let directory = Setup::new().args(["--config", file.to_str().unwrap(), "--api", "0.0.0.0:0"]).start();
    let api = directory.api_url().replace("0.0.0.0", "127.0.0.1");
    let trusted = directory.data_dir().join("api.crt");
    let prove = |name: &str, key: &str, api: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{key}.key"));
        let args = ["prove", DOMAIN, "--method", "mtls", "--certificate", &certificate, "--certificate-key", &key];
        let more = ["--api", api, "--ca", trusted.to_str().unwrap()];
        at_home(home.path(), &args.into_iter().chain(more).collect::<Vec<_>>())
    };
    for (certificate, key, api, words) in [
        ("other", "other", api.as_str(), "does not name ostn-member.org"),
        ("ours", "other", api.as_str(), "the private key in other.key cannot be used"), // another certificate's
        ("none", "ours", api.as_str(), "no certificate can be read from none.pem"),
        ("ours", "none", api.as_str(), "the private key in none.key cannot be used"),
        ("ours", "ours", owner.service.api_url(), "has no TLS"),
    ] {
        let refused = prove(certificate, key, api).failure(1);
        assert!(refused.contains(words) && !refused.contains("proved until"), "{certificate} {key}: {refused}");
    }
    let missing = at_home(home.path(), &["prove", DOMAIN, "--method", "mtls", "--api", &api]).failure(2);
    assert!(missing.contains("--certificate"), "{missing}");
    let proved = prove("ours", "ours", &api).success();
    assert!(proved.contains("proved until") && proved.contains("tandem register"), "{proved}");
    at_home(home.path(), &["register", DOMAIN, "--api", &api, "--ca", trusted.to_str().unwrap()]).success();
}
