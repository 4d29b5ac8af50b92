//! Fields of types that are history, yet still stand in files.

use std::net::Ipv6Addr;
use std::str::FromStr;

use domain::base::Rtype;
use domain::rdata::dnssec::Timestamp;
use domain::utils::{base16, base64};

use super::data::{Data, algorithm};
use super::kind::{number_of, ttl_of};
use super::token::Fault;

/// WKS: a protocol and its ports (RFC 1035 3.4.2).
pub(super) fn wks(data: &mut Data<'_>) -> Result<(), Fault> {
    let protocol = data.take("a protocol: TCP, UDP or a number from 0 to 255", |word| match word {
        _ if word.eq_ignore_ascii_case("TCP") => Some(6),
        _ if word.eq_ignore_ascii_case("UDP") => Some(17),
        _ => word.parse().ok(),
    })?;
    data.out.push(protocol);
    let mut bits = Vec::new();
    while data.peek().is_some() {
        let port = data.take("a port from 0 to 65535, or the name of a common service", port)?;
        set_bit(&mut bits, usize::from(port));
    }
    data.out.extend(bits);
    Ok(())
}

fn port(word: &str) -> Option<u16> {
    const PORTS: [(&str, u16); 22] = [
        ("echo", 7),
        ("discard", 9),
        ("daytime", 13),
        ("ftp-data", 20),
        ("ftp", 21),
        ("ssh", 22),
        ("telnet", 23),
        ("smtp", 25),
        ("time", 37),
        ("whois", 43),
        ("domain", 53),
        ("tftp", 69),
        ("gopher", 70),
        ("finger", 79),
        ("http", 80),
        ("pop2", 109),
        ("pop3", 110),
        ("sunrpc", 111),
        ("nntp", 119),
        ("ntp", 123),
        ("imap", 143),
        ("https", 443),
    ];
    let known = PORTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, port)| *port).or_else(|| word.parse().ok())
}

/// Bit 0 is the highest of the first octet.
fn set_bit(bits: &mut Vec<u8>, bit: usize) {
    if bits.len() <= bit / 8 {
        bits.resize(bit / 8 + 1, 0);
    }
    bits[bit / 8] |= 0x80 >> (bit % 8);
}

/// X25's address: digits, of which four name the network (RFC 1183 3.1).
pub(super) fn psdn(data: &mut Data<'_>) -> Result<(), Fault> {
    let digits = data.take("a PSDN address: 4 to 255 digits", |word| {
        let fits = (4..=255).contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_digit());
        fits.then(|| word.as_bytes().to_vec())
    })?;
    data.out.push(u8::try_from(digits.len()).map_err(|_| data.fault("a PSDN address is at most 255 digits"))?);
    data.out.extend(digits);
    Ok(())
}

/// ISDN's subaddress, which may be left out (RFC 1183 3.2).
pub(super) fn isdn_subaddress(data: &mut Data<'_>) -> Result<(), Fault> {
    if data.peek().is_some() { data.string("an ISDN subaddress") } else { Ok(()) }
}

/// NSAP: `0x` and hex digits; dots mean nothing (RFC 1706 5).
pub(super) fn nsap(data: &mut Data<'_>) -> Result<(), Fault> {
    let octets = data.take("0x and hex digits, two an octet, with dots where they help", |word| {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
        base16::decode_vec(&digits.replace('.', "")).ok().filter(|octets| !octets.is_empty())
    })?;
    data.out.extend(octets);
    Ok(())
}

/// ATMA: `+` and digits of E.164, or hex digits of an end system address.
pub(super) fn atma(data: &mut Data<'_>) -> Result<(), Fault> {
    let octets = data.take("+ and digits, or hex digits with dots where they help", |word| {
        let packed = word.replace('.', "");
        if let Some(digits) = packed.strip_prefix('+') {
            let all_digits = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
            return all_digits.then(|| [b"\x01", digits.as_bytes()].concat());
        }
        let octets = base16::decode_vec(&packed).ok().filter(|octets| !octets.is_empty())?;
        Some([&[0], &octets[..]].concat())
    })?;
    data.out.extend(octets);
    Ok(())
}

/// SIG: as RRSIG, RFC 2535 4.1 and 4.3.
pub(super) fn sig(data: &mut Data<'_>) -> Result<(), Fault> {
    let covered = data.take("a record type", |word| number_of(word.as_bytes()))?;
    let algorithm = data.take("a DNSSEC algorithm, by name or number", algorithm)?;
    let labels = data.number::<u8>("a count of labels from 0 to 255")?;
    let ttl = data.take("a TTL", |word| ttl_of(word.as_bytes()).ok().flatten())?;
    data.out.extend(covered.to_be_bytes());
    data.out.extend([algorithm, labels]);
    data.out.extend(ttl.to_be_bytes());
    for what in ["an expiration as YYYYMMDDHHMMSS", "an inception as YYYYMMDDHHMMSS"] {
        let time = data.take(what, |word| Timestamp::from_str(word).ok())?;
        data.out.extend(time.into_int().to_be_bytes());
    }
    let tag = data.number::<u16>("a key tag from 0 to 65535")?;
    data.out.extend(tag.to_be_bytes());
    data.name("the signer's name")?;
    data.octets_to_end("base64", |text| base64::decode(text).ok())
}

/// NXT's types: bits, none above 127 (RFC 2535 5.2).
pub(super) fn nxt_types(data: &mut Data<'_>) -> Result<(), Fault> {
    let mut bits = Vec::new();
    while data.peek().is_some() {
        let kind = data.take("a record type from 1 to 127", |word| {
            number_of(word.as_bytes()).filter(|kind| (1..=127).contains(kind))
        })?;
        set_bit(&mut bits, usize::from(Rtype::from_int(kind).to_int()));
    }
    data.out.extend(bits);
    Ok(())
}

/// A6: how many bits come from elsewhere, the bits that do not, and the name where the others are (RFC 2874 3.1, 3.2).
pub(super) fn a6(data: &mut Data<'_>) -> Result<(), Fault> {
    let what = "a prefix length from 0 to 128";
    let length = data.take(what, |word| word.parse::<u8>().ok().filter(|length| *length <= 128))?;
    data.out.push(length);
    if length < 128 {
        let address =
            data.take("an address suffix in the form of an IPv6 address", |word| Ipv6Addr::from_str(word).ok())?;
        let suffix = u128::from(address) & (u128::MAX >> length);
        data.out.extend_from_slice(&suffix.to_be_bytes()[usize::from(length) / 8..]);
    }
    if length > 0 { data.name("the prefix's name") } else { Ok(()) }
}
