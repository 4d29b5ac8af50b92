//! Fields of living types that no other type has.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::utils::{base16, base64};

use super::data::Data;
use super::kind::number_of;
use super::token::Fault;

/// CERT's kind of certificate (RFC 4398 2.1).
pub(super) fn cert_kind(data: &mut Data<'_>) -> Result<(), Fault> {
    const KINDS: [(&str, u16); 10] = [
        ("PKIX", 1),
        ("SPKI", 2),
        ("PGP", 3),
        ("IPKIX", 4),
        ("ISPKI", 5),
        ("IPGP", 6),
        ("ACPKIX", 7),
        ("IACPKIX", 8),
        ("URI", 253),
        ("OID", 254),
    ];
    let value = data.take("a kind of certificate, by name (PKIX, ..) or number", |word| {
        let known = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        known.map(|(_, value)| *value).or_else(|| word.parse().ok())
    })?;
    data.out.extend(value.to_be_bytes());
    Ok(())
}

/// KEY's key, which a "no key" record leaves out (RFC 2535 3.1.2).
pub(super) fn key(data: &mut Data<'_>) -> Result<(), Fault> {
    let no_key = data.out[0] & 0xc0 == 0xc0;
    if no_key && data.peek().is_none() {
        return Ok(());
    }
    data.octets_to_end("base64", |text| base64::decode(text).ok())
}

/// URI's target: not empty, and without a length (RFC 7553 4.4).
pub(super) fn uri_target(data: &mut Data<'_>) -> Result<(), Fault> {
    let octets = data.octets("a URI in quotes")?;
    if octets.is_empty() {
        return Err(data.expected("a URI in quotes"));
    }
    data.out.extend_from_slice(&octets);
    Ok(())
}

/// DOA's data; a hyphen says that there is none.
pub(super) fn base64_or_dash(data: &mut Data<'_>) -> Result<(), Fault> {
    if data.next_is("-") {
        return data.take("-", |_| Some(()));
    }
    data.octets_to_end("base64, or - for nothing", |text| base64::decode(text).ok())
}

/// Items of an address prefix list, to the end (RFC 3123 4).
pub(super) fn apl(data: &mut Data<'_>) -> Result<(), Fault> {
    while data.peek().is_some() {
        let item = data.take("an item as 1:192.0.2.0/24 or !2:2001:db8::/32", prefix)?;
        data.out.extend(item);
    }
    Ok(())
}

fn prefix(word: &str) -> Option<Vec<u8>> {
    let (negated, word) = word.strip_prefix('!').map_or((0, word), |word| (0x80, word));
    let (family, word) = word.split_once(':')?;
    let (address, length) = word.split_once('/')?;
    let (family, address, most) = match family {
        "1" => (1_u8, address.parse::<Ipv4Addr>().ok()?.octets().to_vec(), 32),
        "2" => (2, address.parse::<Ipv6Addr>().ok()?.octets().to_vec(), 128),
        _ => return None,
    };
    let length = length.parse::<u8>().ok().filter(|value| *value <= most && !length.starts_with('+'))?;
    // RFC 3123 4: zero octets at the end are left out.
    let used = address.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    let mut item = vec![0, family, length, negated | u8::try_from(used).ok()?];
    item.extend_from_slice(&address[..used]);
    Some(item)
}

/// HIP: algorithm, tag, key, and the rendezvous servers (RFC 8005 5, 6).
pub(super) fn hip(data: &mut Data<'_>) -> Result<(), Fault> {
    let algorithm = data.number::<u8>("a key algorithm from 0 to 255")?;
    let tag = data.take("a host identity tag: hex digits, two an octet", |word| base16::decode_vec(word).ok())?;
    let tag_length = u8::try_from(tag.len()).map_err(|_| data.expected("a tag of at most 255 octets"))?;
    let key = data.take("a public key: one word of base64", |word| base64::decode::<Vec<u8>>(word).ok())?;
    let key_length = u16::try_from(key.len()).map_err(|_| data.expected("a key of at most 65535 octets"))?;
    data.out.extend([tag_length, algorithm]);
    data.out.extend(key_length.to_be_bytes());
    data.out.extend(tag);
    data.out.extend(key);
    while data.peek().is_some() {
        data.name("a rendezvous server's name")?;
    }
    Ok(())
}

/// DSYNC's type and scheme (RFC 9859 2.2).
pub(super) fn dsync(data: &mut Data<'_>) -> Result<(), Fault> {
    let kind = data.take("a record type", |word| number_of(word.as_bytes()))?;
    let scheme = data.take("a scheme: NOTIFY, or a number from 0 to 255", |word| match word {
        _ if word.eq_ignore_ascii_case("NOTIFY") => Some(1),
        _ => word.parse::<u8>().ok(),
    })?;
    data.out.extend(kind.to_be_bytes());
    data.out.push(scheme);
    Ok(())
}

/// AMTRELAY's discovery bit, type and relay (RFC 8777 4.3).
pub(super) fn relay(data: &mut Data<'_>) -> Result<(), Fault> {
    let optional = data.take("a discovery-optional bit, 0 or 1", |word| match word {
        "0" => Some(0),
        "1" => Some(0x80),
        _ => None,
    })?;
    let what = "a relay type: 0 for none, 1 for IPv4, 2 for IPv6, 3 for a name";
    let kind = data.take(what, |word| word.parse::<u8>().ok().filter(|kind| *kind <= 3))?;
    data.out.push(optional | kind);
    match kind {
        0 => data.take(". for no relay", |word| (word == ".").then_some(())),
        1 => data.take("an IPv4 address", |word| word.parse().ok()).map(|address: Ipv4Addr| {
            data.out.extend(address.octets());
        }),
        2 => data.take("an IPv6 address", |word| word.parse().ok()).map(|address: Ipv6Addr| {
            data.out.extend(address.octets());
        }),
        _ => data.name("the relay's name"),
    }
}
