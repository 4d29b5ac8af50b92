//! An export of the API, read as the zone that it is.

use std::io::Read;

use tandem_model::DomainName;
use tandem_zone::master::StaticZone;

use super::super::Failure;

/// Reads the text of an export.
pub(super) fn static_zone(apex: &DomainName, mut text: impl Read) -> Result<StaticZone, Failure> {
    let mut octets = Vec::new();
    text.read_to_end(&mut octets)?;
    let none = &mut |_: &str| Err("an export includes nothing".to_owned());
    Ok(StaticZone::read(apex, &format!("the export of {apex}"), &octets, none)?)
}
