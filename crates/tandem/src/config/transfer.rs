//! The settings of transfers: `[[dns.tsig]]`, `[[dns.transfer]]`, `[[dns.secondary]]`, as they are typed and as they count.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tandem_dns::{LEAST_SECRET, Network, Secondary, TransferConfig, TransferRule, TsigAlgorithm, TsigKey};
use tandem_model::DomainName;
use toml::Spanned;

use super::spec::{Faults, parse_server};

/// Largest secret file, in octets: far more than any secret has.
const MAX_SECRET_FILE: u64 = 4096;

/// Mode bits of a secret file that must not be set: others may do nothing, the group may not write.
const FORBIDDEN_MODE: u32 = 0o027;

/// How a key is made.
const MAKE: &str = "make one with `tandem tsig new`";

/// How "every zone" is written.
const EVERY_ZONE: &str = "*";

/// A key that we share with another server.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TsigSpec {
    name: Spanned<String>,
    algorithm: Option<Spanned<String>>,
    secret_file: Spanned<PathBuf>,
}

/// Who may transfer a zone.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferSpec {
    zone: Spanned<String>,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
    #[serde(default)]
    networks: Vec<Spanned<String>>,
}

/// Who is told of changes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecondarySpec {
    address: Spanned<String>,
    key: Option<Spanned<String>>,
    #[serde(default)]
    zones: Vec<Spanned<String>>,
}

/// Checks the three lists into `config`; paths count from `folder`.
pub(super) fn check_into(
    tsig: Vec<TsigSpec>,
    transfers: Vec<TransferSpec>,
    secondaries: Vec<SecondarySpec>,
    folder: &Path,
    config: &mut TransferConfig,
    faults: &mut Faults,
) {
    for spec in tsig {
        let span = spec.name.span();
        let name = faults.check(Some(spec.name), |text| parse_key_name(&text));
        if name.as_ref().is_some_and(|name| config.keys.iter().any(|key| key.name() == name)) {
            faults.add(Some(span), "there is another key with this name: remove one");
            continue;
        }
        let algorithm = match spec.algorithm {
            Some(text) => faults.check(Some(text), |text| parse_algorithm(&text)),
            None => Some(TsigAlgorithm::HmacSha256),
        };
        let secret = faults.check(Some(spec.secret_file), |file| read_secret(&folder.join(file), MAKE));
        if let (Some(name), Some(algorithm), Some(secret)) = (name, algorithm, secret) {
            config.keys.extend(TsigKey::new(name, algorithm, &secret));
        }
    }
    let keys: Vec<DomainName> = config.keys.iter().map(|key| key.name().clone()).collect();
    let known_key = |text: String| {
        let name = parse_key_name(&text)?;
        let known = keys.contains(&name);
        known.then_some(name).ok_or_else(|| format!("there is no usable key `{text}` in [[dns.tsig]]"))
    };
    for spec in transfers {
        let span = spec.zone.span();
        if spec.keys.is_empty() && spec.networks.is_empty() {
            faults.add(Some(span), "this would give the zone to everybody: name `keys`, `networks` or both");
            continue;
        }
        let named = (spec.keys.len(), spec.networks.len());
        let zone = faults.check(Some(spec.zone), |text| parse_zone(&text));
        let keys: Vec<_> = spec.keys.into_iter().filter_map(|key| faults.check(Some(key), known_key)).collect();
        let networks: Vec<_> = spec
            .networks
            .into_iter()
            .filter_map(|text| faults.check(Some(text), |text| parse_network(&text)))
            .collect();
        // A rule from which something wrong was left out could allow more than what was written.
        if let Some(zone) = zone.filter(|_| named == (keys.len(), networks.len())) {
            config.rules.push(TransferRule { zone, keys, networks });
        }
    }
    for spec in secondaries {
        let named = spec.zones.len();
        let key = spec.key.map(|key| faults.check(Some(key), known_key));
        let zones: Vec<_> =
            spec.zones.into_iter().filter_map(|zone| faults.check(Some(zone), |text| parse_zone(&text))).collect();
        let every = zones.iter().any(Option::is_none);
        let zones: Vec<DomainName> = if every { Vec::new() } else { zones.into_iter().flatten().collect() };
        let address = faults.check(Some(spec.address), |text| parse_server(&text));
        if let (Some(address), None | Some(Some(_)), true) = (address, &key, every || zones.len() == named) {
            config.secondaries.push(Secondary { address, key: key.flatten(), zones });
        }
    }
}

fn parse_key_name(text: &str) -> Result<DomainName, String> {
    text.trim_end_matches('.').parse().map_err(|error| format!("`{text}` is not a key's name: {error}"))
}

fn parse_algorithm(text: &str) -> Result<TsigAlgorithm, String> {
    let names = TsigAlgorithm::ALL.map(TsigAlgorithm::name).join(", ");
    TsigAlgorithm::from_name(text).ok_or_else(|| format!("the algorithm `{text}` is not known: write one of {names}"))
}

/// A zone's name; `None` for every zone.
fn parse_zone(text: &str) -> Result<Option<DomainName>, String> {
    if text == EVERY_ZONE {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| format!("`{text}` is not a zone's name, nor \"*\" for every zone: {error}"))
}

fn parse_network(text: &str) -> Result<Network, String> {
    Network::parse(text)
        .ok_or_else(|| format!("`{text}` is not a network: write 192.0.2.0/24, 2001:db8::/32 or one address"))
}

/// The secret in a file of base64, which others must not be able to read; `make` says how to make one.
pub(super) fn read_secret(file: &Path, make: &str) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let cannot = |error: std::io::Error| format!("the secret in {shown} cannot be read ({error}): {make}");
    let metadata = fs::metadata(file).map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a plain file"));
    }
    if metadata.mode() & FORBIDDEN_MODE != 0 {
        return Err(format!("others can read the secret in {shown}: chmod 600 {shown}"));
    }
    let mut text = String::new();
    File::open(file).and_then(|file| file.take(MAX_SECRET_FILE).read_to_string(&mut text)).map_err(cannot)?;
    let secret = STANDARD.decode(text.trim()).map_err(|_| format!("{shown} does not hold a secret in base64"))?;
    if secret.len() < LEAST_SECRET {
        return Err(format!("the secret in {shown} has {} octets, fewer than {LEAST_SECRET}: {make}", secret.len()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Config, Overrides};
    use super::*;

    /// What a settings file with this text gives, beside a secret `good` and files that are none.
    fn load(text: &str) -> Result<TransferConfig, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, mode) in [
            ("good", STANDARD.encode([7; 32]) + "\n", 0o600),
            ("open", STANDARD.encode([7; 32]), 0o644),
            ("short", STANDARD.encode([7; 15]), 0o600),
            ("text", "not base64!".to_owned(), 0o600),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let file = dir.path().join("t.toml");
        fs::write(&file, text).unwrap();
        Config::load(Some(&file), Overrides::default()).map(|config| config.dns.transfers).map_err(|error| {
            let prefix = format!("{}/", dir.path().display());
            error.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        })
    }

    #[test]
    fn keys_rules_and_secondaries() {
        let config = load(
            "[[dns.tsig]]\nname = \"K1.\"\nsecret_file = \"good\"\n\
             [[dns.tsig]]\nname = \"k2\"\nalgorithm = \"hmac-sha512\"\nsecret_file = \"good\"\n\
             [[dns.transfer]]\nzone = \"*\"\nkeys = [\"k1\", \"k2\"]\n\
             [[dns.transfer]]\nzone = \"a.test\"\nnetworks = [\"192.0.2.0/24\"]\n\
             [[dns.secondary]]\naddress = \"192.0.2.1\"\nkey = \"k1\"\n\
             [[dns.secondary]]\naddress = \"[2001:db8::1]:5353\"\nzones = [\"a.test\"]\n",
        )
        .unwrap();
        let name = |text: &str| DomainName::parse(text).unwrap();
        let algorithms: Vec<_> = config.keys.iter().map(TsigKey::algorithm).collect();
        assert_eq!(algorithms, [TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha512]);
        assert_eq!(config.rules[0], TransferRule { zone: None, keys: vec![name("k1"), name("k2")], networks: vec![] });
        assert_eq!(config.rules[1].zone, Some(name("a.test")));
        assert_eq!((config.secondaries[0].address.port(), &config.secondaries[0].zones[..]), (53, &[][..]));
        assert_eq!(config.secondaries[1].zones, [name("a.test")]);
        assert!(!format!("{config:?}").contains("7, 7"), "no secret in a log: {config:?}");
    }

    #[test]
    fn nothing_is_allowed_by_mistake_dns_74() {
        let tsig = |file: &str| format!("[[dns.tsig]]\nname = \"k\"\nsecret_file = \"{file}\"\n");
        let good = tsig("good");
        for (text, line, what) in [
            (tsig("missing"), 3, "tandem tsig new"),
            (tsig("open"), 3, "others can read"),
            (tsig("short"), 3, "fewer than 16"),
            (tsig("text"), 3, "base64"),
            (format!("{good}{good}"), 5, "another key"),
            (format!("{good}algorithm = \"hmac-md5\"\n"), 4, "not known"),
            (format!("{good}[[dns.transfer]]\nzone = \"*\"\n"), 5, "everybody"),
            (format!("{good}[[dns.transfer]]\nzone = \"*\"\nkeys = [\"other\"]\n"), 6, "no usable key"),
            (format!("{good}[[dns.transfer]]\nzone = \"a..b\"\nkeys = [\"k\"]\n"), 5, "not a zone's name"),
            (format!("{good}[[dns.transfer]]\nkeys = [\"k\"]\n"), 4, "zone"),
            (format!("{good}[[dns.transfer]]\nzone = \"*\"\nnetworks = [\"192.0.2.1/24\"]\n"), 6, "not a network"),
            (format!("{good}[[dns.secondary]]\naddress = \"ns2\"\n"), 5, "not an address"),
            (format!("{good}[[dns.secondary]]\naddress = \"192.0.2.1\"\nkey = \"x\"\n"), 6, "no usable key"),
            ("[dns]\ncatalog = \"a..b\"\n".to_owned(), 2, "catalog"),
        ] {
            let problems = load(&text).unwrap_err();
            assert!(problems[0].starts_with(&format!("t.toml:{line}: ")), "{text}\n{problems:?}");
            assert!(problems[0].contains(what), "{text}\n{problems:?}");
        }
    }
}
