//! Zones as text that other servers load (RFC 1035 5.1), record by record.

use std::fmt;

use domain::base::iana::Rtype;
use domain::base::wire::ParseError;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{ParseRecordData, ParsedName};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;

use crate::rrset::{RrType, Rrset};
use crate::zones::{Zone, Zones};

/// A name in wire form, shown absolute with escapes where needed: `a\.b.example.`.
pub(crate) struct Presented<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;
        for label in crate::name::labels_of(self.0) {
            any = true;
            for &octet in &label[1..] {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(octet))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        if any { Ok(()) } else { f.write_str(".") }
    }
}

/// Writes one zone.
pub(crate) fn zone(zones: &Zones, zone: &Zone, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut result = write_set(out, zone.apex().as_wire(), &zone.soa());
    zones.walk_sorted(zone, |owner, set| {
        if result.is_ok() {
            result = write_set(out, owner, &set);
        }
        result.is_ok()
    });
    result
}

/// Writes an RRset, a record a line.
pub(crate) fn write_set(out: &mut dyn fmt::Write, owner: &[u8], set: &Rrset<'_>) -> fmt::Result {
    let mut rdata = Vec::with_capacity(64);
    for data in set.rdatas() {
        rdata.clear();
        data.write(&mut rdata);
        write_record(out, owner, set.ttl(), set.kind(), &rdata)?;
        out.write_str("\n")?;
    }
    Ok(())
}

/// Writes one record, without the end of the line.
pub(crate) fn write_record(
    out: &mut dyn fmt::Write,
    owner: &[u8],
    ttl: u32,
    kind: RrType,
    rdata: &[u8],
) -> fmt::Result {
    write!(out, "{} {ttl} IN ", Presented(owner))?;
    let rtype = Rtype::from_int(kind.0);
    match parsed(rtype, rdata) {
        Ok(Some(data)) => write!(out, "{rtype} {}", data.display_zonefile(DisplayKind::Simple)),
        // RFC 3597 5, DNS-8: any record can be written by its octets.
        Ok(None) | Err(_) => {
            write!(out, "TYPE{} \\# {}", kind.0, rdata.len())?;
            if !rdata.is_empty() {
                out.write_str(" ")?;
            }
            rdata.iter().try_for_each(|octet| write!(out, "{octet:02x}"))
        }
    }
}

pub(crate) type Parsed<'r> = ZoneRecordData<&'r [u8], ParsedName<&'r [u8]>>;

/// The data as a type that prints itself; `None` for types that only octets can show.
pub(crate) fn parsed(kind: Rtype, rdata: &[u8]) -> Result<Option<Parsed<'_>>, ParseError> {
    let mut parser = Parser::from_ref(rdata);
    let data = ZoneRecordData::parse_rdata(kind, &mut parser)?;
    Ok(data.filter(|data| !matches!(data, ZoneRecordData::Unknown(_)) && parser.remaining() == 0))
}
