//! The catalog zone (RFC 9432): the list of our zones, which secondaries transfer to learn of new ones (DNS-78).

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use tandem_model::DomainName;
use tandem_zone::master::StaticZone;

use crate::config::{Config, Problem};
use crate::zone_folder::{self, ZoneFile, ZoneFolderError};

/// Octets of the hash that names a member: 32 hex digits, one label.
const ID_OCTETS: usize = 16;

/// Reads the zone files of `config`, and adds the catalog of them if there is to be one.
///
/// # Errors
///
/// [`ZoneFolderError`] with a problem for each file that cannot be served, or with the catalog's.
pub fn read_zones(config: &Config) -> Result<Vec<ZoneFile>, ZoneFolderError> {
    let mut zones = zone_folder::read(&config.zones_dir)?;
    if let Some(catalog) = &config.dns.catalog {
        add(catalog, &mut zones).map_err(|problem| ZoneFolderError { problems: vec![problem] })?;
    }
    Ok(zones)
}

/// Adds the catalog to `zones`: every one of them is its member.
///
/// # Errors
///
/// What is wrong with the catalog's name: it is that of a zone, or too long.
fn add(catalog: &DomainName, zones: &mut Vec<ZoneFile>) -> Result<(), Problem> {
    let problem = |reason: String| Problem::of_flag("dns.catalog", reason);
    if zones.iter().any(|file| file.zone.apex() == catalog) {
        return Err(problem(format!("{catalog} has a master file: choose a name that no zone has")));
    }
    let text = text(zones.iter().map(|file| file.zone.apex()));
    let include = &mut |_: &str| Err("a catalog includes nothing".to_owned());
    let zone = StaticZone::read(catalog, "dns.catalog", text.as_bytes(), include);
    let zone = zone.map_err(|error| problem(error.reason))?;
    // A node in it would be a member, or make the whole list void, at every secondary.
    zones.push(ZoneFile { path: "dns.catalog".into(), zone: zone.without_nodes() });
    Ok(())
}

/// The catalog as a master file. Its SOA's serial is set by the store, as those of all zones are.
fn text<'a>(members: impl Iterator<Item = &'a DomainName>) -> String {
    // RFC 9432 4.1, 4.2.1: NS `invalid.`, the version in a TXT record; nobody resolves these names.
    let mut text =
        "$TTL 0\n@ IN SOA invalid. invalid. 1 60 30 604800 0\n@ IN NS invalid.\nversion IN TXT \"2\"\n".to_owned();
    for apex in members {
        // RFC 9432 4.1: unique, and the same for as long as the zone is a member. A new id would reset its state.
        let hash = Sha256::digest(apex.as_wire());
        hash[..ID_OCTETS].iter().for_each(|octet| write!(text, "{octet:02x}").expect("a String takes everything"));
        writeln!(text, ".zones IN PTR {apex}.").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn zone(apex: &str) -> ZoneFile {
        let text = b"$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";
        let zone = StaticZone::read(&name(apex), apex, text, &mut |_| Err(String::new())).unwrap();
        ZoneFile { path: apex.into(), zone }
    }

    #[test]
    fn members_have_stable_ids_dns_78() {
        let lines = |members: &[DomainName]| text(members.iter()).lines().map(str::to_owned).collect::<Vec<_>>();
        let one = lines(&[name("a.test")]);
        let two = lines(&[name("b.test"), name("a.test")]);
        assert_eq!(two.len(), one.len() + 1);
        let member = one.last().unwrap();
        assert!(member.ends_with(".zones IN PTR a.test."), "{member}");
        assert_eq!(member.find('.'), Some(2 * ID_OCTETS));
        assert!(two.contains(member), "its id does not depend on other members");
    }

    #[test]
    fn is_a_zone_beside_the_others() {
        let mut zones = vec![zone("a.test"), zone("b.test")];
        add(&name("catalog.invalid"), &mut zones).unwrap();
        let catalog = &zones.last().unwrap().zone;
        assert_eq!(catalog.apex(), &name("catalog.invalid"));
        assert_eq!(catalog.warnings(), [""; 0], "as it should be");
        let mut fewer = vec![zone("a.test")];
        add(&name("catalog.invalid"), &mut fewer).unwrap();
        assert_ne!(fewer[1].zone.digest(), zones[2].zone.digest(), "a member less gives a new serial");
        assert!(add(&name("a.test"), &mut zones).unwrap_err().reason.contains("master file"));
    }
}
