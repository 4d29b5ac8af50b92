//! Record types by their mnemonics, and what their data is made of: for those that the `domain` crate does not read.

use std::str::FromStr;

use domain::base::iana::Rtype;

use super::data::Field::{
    self, Algorithm, Base64, Custom, Eui, Hex, Locator, Name, Text, Texts, Types, U8, U16, U32, V4,
};
use super::{historic, loc, odd};
use crate::rrset::RrType;

/// How a type's data is read.
pub(super) enum Shape {
    /// By the `domain` crate; names stand at these places.
    Theirs(&'static [usize]),
    /// By this module.
    Ours(&'static [Field]),
    /// It has no form of its own: RFC 3597 5 is left.
    OctetsOnly,
}

/// The type that a word names; also `TYPEnnn`.
pub(super) fn number_of(word: &[u8]) -> Option<u16> {
    match word {
        b"A" => Some(1),
        b"NS" => Some(2),
        b"CNAME" => Some(5),
        b"PTR" => Some(12),
        b"MX" => Some(15),
        b"TXT" => Some(16),
        b"AAAA" => Some(28),
        b"SRV" => Some(33),
        b"NAPTR" => Some(35),
        _ if word.eq_ignore_ascii_case(b"NSAP-PTR") => Some(23),
        _ => Rtype::from_str(std::str::from_utf8(word).ok()?).ok().map(Rtype::to_int),
    }
}

/// How the data of a type is read.
pub(super) const fn shape_of(kind: u16) -> Shape {
    Shape::Ours(match kind {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME, NSEC: one name, in front.
        2..=5 | 7..=9 | 12 | 39 | 47 => return Shape::Theirs(&[0]),
        // SOA, MINFO, RP
        6 | 14 | 17 => return Shape::Theirs(&[0, 1]),
        // MX, SVCB, HTTPS
        15 | 64 | 65 => return Shape::Theirs(&[1]),
        // SRV, IPSECKEY
        33 | 45 => return Shape::Theirs(&[3]),
        // NAPTR
        35 => return Shape::Theirs(&[5]),
        // RRSIG
        46 => return Shape::Theirs(&[7]),
        // A, HINFO, TXT, AAAA, DS, SSHFP, DNSKEY, NSEC3, NSEC3PARAM, TLSA, CDS, CDNSKEY, OPENPGPKEY, ZONEMD, CAA
        1 | 13 | 16 | 28 | 43 | 44 | 48 | 50..=52 | 59..=61 | 63 | 257 => return Shape::Theirs(&[]),
        // WKS, RFC 1035 3.4.2
        11 => &[V4("an IPv4 address"), Custom(historic::wks)],
        // AFSDB, RT, RFC 1183
        18 => &[U16("a subtype from 0 to 65535"), Name("the server's name")],
        21 => &[U16("a preference from 0 to 65535"), Name("the intermediate host's name")],
        // X25, ISDN, RFC 1183
        19 => &[Custom(historic::psdn)],
        20 => &[Text("an ISDN address"), Custom(historic::isdn_subaddress)],
        // NSAP, RFC 1706; NSAP-PTR, RFC 1348
        22 => &[Custom(historic::nsap)],
        23 => &[Name("a name")],
        // SIG, KEY, RFC 2535; NXT, RFC 2535 5
        24 => &[Custom(historic::sig)],
        25 | 57 => &[U16("flags from 0 to 65535"), U8("a protocol from 0 to 255"), Algorithm, Custom(odd::key)],
        30 => &[Name("the next name"), Custom(historic::nxt_types)],
        // PX, RFC 2163
        26 => &[U16("a preference from 0 to 65535"), Name("an RFC 822 domain"), Name("an X.400 domain")],
        // GPOS, RFC 1712
        27 => &[Text("a longitude"), Text("a latitude"), Text("an altitude")],
        // LOC, RFC 1876
        29 => &[Custom(loc::loc)],
        // EID, NIMLOC: octets
        31 | 32 => &[Hex],
        // ATMA
        34 => &[Custom(historic::atma)],
        // KX, RFC 2230
        36 => &[U16("a preference from 0 to 65535"), Name("the exchanger's name")],
        // CERT, RFC 4398
        37 => &[Custom(odd::cert_kind), U16("a key tag from 0 to 65535"), Algorithm, Base64],
        // A6, RFC 2874
        38 => &[Custom(historic::a6)],
        // SINK
        40 => &[U8("a meaning from 0 to 255"), U8("a coding from 0 to 255"), U8("a subcoding from 0 to 255"), Base64],
        // APL, RFC 3123
        42 => &[Custom(odd::apl)],
        // DHCID, RFC 4701; HHIT, BRID, RFC 9886
        49 | 67 | 68 => &[Base64],
        // SMIMEA, RFC 8162
        53 => &[U8("a usage from 0 to 255"), U8("a selector from 0 to 255"), U8("a matching type from 0 to 255"), Hex],
        // HIP, RFC 8005
        55 => &[Custom(odd::hip)],
        // NINFO, SPF (RFC 4408), AVC, RESINFO (RFC 9606), WALLET, CLA: like TXT
        56 | 99 | 258 | 261 | 262 | 263 => &[Texts],
        // TALINK
        58 => &[Name("the name before"), Name("the name behind")],
        // CSYNC, RFC 7477
        62 => &[U32("a serial from 0 to 4294967295"), U16("flags from 0 to 65535"), Types],
        // DSYNC, RFC 9859
        66 => &[Custom(odd::dsync), U16("a port from 0 to 65535"), Name("the target's name")],
        // NID, L32, L64, LP, RFC 6742
        104 | 106 => &[U16("a preference from 0 to 65535"), Locator],
        105 => &[U16("a preference from 0 to 65535"), V4("a locator in the form of an IPv4 address")],
        107 => &[U16("a preference from 0 to 65535"), Name("a name with locators")],
        // EUI48, EUI64, RFC 7043
        108 => &[Eui(6)],
        109 => &[Eui(8)],
        // URI, RFC 7553
        256 => &[U16("a priority from 0 to 65535"), U16("a weight from 0 to 65535"), Custom(odd::uri_target)],
        // DOA
        259 => &[
            U32("an enterprise from 0 to 4294967295"),
            U32("a type from 0 to 4294967295"),
            U8("a location from 0 to 255"),
            Text("a media type"),
            Custom(odd::base64_or_dash),
        ],
        // AMTRELAY, RFC 8777
        260 => &[U8("a precedence from 0 to 255"), Custom(odd::relay)],
        // TA, DLV (RFC 4431): like DS
        32768 | 32769 => &[U16("a key tag from 0 to 65535"), Algorithm, U8("a digest type from 0 to 255"), Hex],
        _ => return Shape::OctetsOnly,
    })
}

/// Whether the `domain` crate knows what the data of a type is made of.
pub(super) const fn is_known(kind: RrType) -> bool {
    matches!(shape_of(kind.0), Shape::Theirs(_))
}

/// Where an algorithm stands in data that the `domain` crate reads: there it knows numbers only.
pub(super) const fn algorithm_at(kind: u16) -> Option<usize> {
    match kind {
        // DNSKEY, CDNSKEY
        48 | 60 => Some(2),
        // DS, CDS, RRSIG
        43 | 59 | 46 => Some(1),
        _ => None,
    }
}

/// Seconds, or numbers with the units w, d, h, m and s, as in `1h30m`; `None` if it is no time.
pub(super) fn ttl_of(word: &[u8]) -> Result<Option<u32>, String> {
    if !word.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    let (mut total, mut number) = (0_u64, None::<u64>);
    for octet in word {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let grown = number.unwrap_or(0).saturating_mul(10).saturating_add(u64::from(digit - b'0'));
                number = Some(grown);
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return Ok(None),
        };
        let Some(count) = number.take() else { return Ok(None) };
        total = total.saturating_add(count.saturating_mul(unit));
    }
    match number {
        Some(number) if word.iter().all(u8::is_ascii_digit) => total = number,
        // `1h30`: what is 30?
        Some(_) => return Ok(None),
        None => {}
    }
    let shown = String::from_utf8_lossy(word);
    u32::try_from(total).map(Some).map_err(|_| format!("{shown} is over 4294967295 seconds"))
}
