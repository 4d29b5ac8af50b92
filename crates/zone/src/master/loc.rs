//! LOC: a place on earth (RFC 1876).

use super::data::Data;
use super::token::Fault;

/// Thousandths of a second of arc in a degree.
const DEGREE: u32 = 3_600_000;
/// What the equator and the prime meridian count as.
const ZERO_ANGLE: u32 = 1 << 31;
/// What altitude 0 counts as: the base is 100 km below.
const ZERO_ALTITUDE: i64 = 10_000_000;

/// Latitude, longitude, altitude, and if given size, horizontal and vertical precision (RFC 1876 3).
pub(super) fn loc(data: &mut Data<'_>) -> Result<(), Fault> {
    let latitude = angle(data, "latitude", 90, ["N", "S"])?;
    let longitude = angle(data, "longitude", 180, ["E", "W"])?;
    let altitude = data.take("an altitude from -100000.00m to 42849672.95m", |word| {
        u32::try_from(metres(word)?.checked_add(ZERO_ALTITUDE)?).ok()
    })?;
    // Defaults: 1 m, 10 km, 10 m.
    let mut sizes = [0x12, 0x16, 0x13];
    for (octet, what) in sizes.iter_mut().zip(["size", "horizontal precision", "vertical precision"]) {
        if data.peek().is_some() {
            *octet = data.take(&format!("a {what} from 0.00m to 90000000.00m"), |word| size(metres(word)?))?;
        }
    }
    data.out.push(0);
    data.out.extend(sizes);
    [latitude, longitude, altitude].iter().for_each(|value| data.out.extend(value.to_be_bytes()));
    Ok(())
}

/// Degrees, minutes and seconds if given, and one of two letters: the first counts upwards.
fn angle(data: &mut Data<'_>, what: &str, most: u32, letters: [&str; 2]) -> Result<u32, Fault> {
    let [up, down] = letters;
    let degrees = format!("degrees of {what} from 0 to {most}");
    let mut value = data.take(&degrees, |word| whole(word).filter(|value| *value <= most))? * DEGREE;
    let here = |data: &Data<'_>| data.next_is(up) || data.next_is(down);
    if !here(data) {
        let minutes = format!("minutes from 0 to 59, {up} or {down}");
        value += data.take(&minutes, |word| whole(word).filter(|value| *value <= 59))? * 60_000;
    }
    if !here(data) {
        value += data.take(&format!("seconds from 0 to 59.999, {up} or {down}"), |word| {
            u32::try_from(decimal(word, 3)?).ok().filter(|value| *value < 60_000)
        })?;
    }
    if value > most * DEGREE {
        return Err(data.fault(format!("a {what} is at most {most} degrees")));
    }
    data.take(&format!("{up} or {down}"), |word| match word {
        _ if word.eq_ignore_ascii_case(up) => Some(ZERO_ANGLE + value),
        _ if word.eq_ignore_ascii_case(down) => Some(ZERO_ANGLE - value),
        _ => None,
    })
}

fn whole(word: &str) -> Option<u32> {
    word.parse().ok().filter(|_| word.bytes().all(|octet| octet.is_ascii_digit()))
}

/// Centimetres.
fn metres(word: &str) -> Option<i64> {
    decimal(word.strip_suffix(['m', 'M']).unwrap_or(word), 2)
}

/// A number with up to `places` digits behind the point, as a count of the smallest.
fn decimal(word: &str, places: usize) -> Option<i64> {
    let (negative, word) = word.strip_prefix('-').map_or((false, word), |word| (true, word));
    let (before, behind) = word.split_once('.').unwrap_or((word, ""));
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if before.len() + behind.len() == 0
        || before.len() > 10
        || behind.len() > places
        || !digits(before)
        || !digits(behind)
    {
        return None;
    }
    let value = format!("0{before}{behind:0<places$}").parse::<i64>().ok()?;
    Some(if negative { -value } else { value })
}

/// Four bits of the first digit, four of the power of ten.
fn size(centimetres: i64) -> Option<u8> {
    if !(0..=9_000_000_000).contains(&centimetres) {
        return None;
    }
    let (mut digit, mut power) = (centimetres, 0);
    while digit > 9 {
        (digit, power) = (digit / 10, power + 1);
    }
    Some(u8::try_from(digit).ok()? << 4 | power)
}
