//! How canonical JSON writes a number: as ECMAScript does (RFC 8785 3.2.2.3, ECMA-262 "Number::toString").

/// Appends the shortest text that reads back as `value`, which must be finite.
pub(crate) fn push_number(text: &mut String, value: f64) {
    if value == 0.0 {
        // Minus zero too.
        text.push('0');
        return;
    }
    let (sign, digits, point) = decimal(value);
    text.push_str(sign);
    match usize::try_from(point) {
        Ok(point) if point <= 21 && point > 0 => {
            if let Some(zeros) = point.checked_sub(digits.len()) {
                text.push_str(&digits);
                text.extend(std::iter::repeat_n('0', zeros));
            } else {
                text.push_str(&digits[..point]);
                text.push('.');
                text.push_str(&digits[point..]);
            }
        }
        _ if (-5..=0).contains(&point) => {
            text.push_str("0.");
            text.extend((point..0).map(|_| '0'));
            text.push_str(&digits);
        }
        _ => {
            text.push_str(&digits[..1]);
            if digits.len() > 1 {
                text.push('.');
                text.push_str(&digits[1..]);
            }
            let exponent = point - 1;
            text.push('e');
            text.push(if exponent < 0 { '-' } else { '+' });
            text.push_str(&exponent.unsigned_abs().to_string());
        }
    }
}

/// Sign, digits and the place of the point before them (ECMA-262 calls them s and n): 1.5e3 is "15" and 4.
///
/// The fewest digits that identify the value, nearest to it, an even last one where two are as near (note 2 there).
/// The JSON library's digits are those; the standard library's round the last case up.
fn decimal(value: f64) -> (&'static str, String, i32) {
    let text = serde_json::to_string(&value).expect("a number");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("the exponent of a double is a small integer");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let place = |len: usize| i32::try_from(len).expect("a double has at most 325 places");
    let point = exponent + place(whole.len()) - place(zeros);
    (sign, digits.trim_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8785 appendix B, all finite rows.
    #[test]
    fn samples_of_rfc_8785() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let mut text = String::new();
            push_number(&mut text, f64::from_bits(bits));
            assert_eq!(text, expected, "{bits:016x}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let mut text = String::new();
                push_number(&mut text, value);
                proptest::prop_assert_eq!(text.parse::<f64>().unwrap().to_bits() << 1, bits << 1);
            }
        }
    }
}
