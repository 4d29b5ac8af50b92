//! Canonical JSON (RFC 8785): one text for one value, so that a signature over it can be checked by anybody.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::number::push_number;

/// Most octets of a text: what an API body may have (API-5).
pub const MAX_TEXT: usize = 64 * 1024;
/// Most objects and lists inside one another: those of an API body (API-5), and the two of the envelope around it.
pub const MAX_NESTING: usize = 18;

/// A JSON value as its canonical text.
///
/// Members are sorted by the UTF-16 code units of their names (RFC 8785 3.2.3), numbers are written as ECMAScript does
/// (3.2.2.3), strings with the fewest escapes (3.2.2.2), and there is no white space.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalJson(Box<str>);

impl CanonicalJson {
    /// Reads any JSON text (RFC 8259) and makes it canonical.
    ///
    /// # Errors
    ///
    /// [`CanonicalError`]: the text is no JSON, too large or too deep, or means different things to different readers.
    pub fn parse(text: &[u8]) -> Result<Self, CanonicalError> {
        Ok(Self::write(&Value::read(text)?))
    }

    /// Reads a JSON text that must be an object.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and [`CanonicalError::NoObject`].
    pub fn parse_object(text: &[u8]) -> Result<Self, CanonicalError> {
        match Value::read(text)? {
            value @ Value::Object(_) => Ok(Self::write(&value)),
            _ => Err(CanonicalError::NoObject),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn write(value: &Value) -> Self {
        let mut text = String::new();
        value.push(&mut text);
        Self(text.into())
    }
}

impl fmt::Display for CanonicalJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CanonicalJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text has no canonical form: whoever wrote it has to change it.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// More than [`MAX_TEXT`] octets.
    #[error("the JSON text is longer than {MAX_TEXT} octets")]
    TooLong,
    /// No JSON; the source says where. A member twice, a number that doubles cannot hold, and nesting beyond
    /// [`MAX_NESTING`] are refused as such.
    #[error("not JSON that everybody reads alike")]
    Json(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("the JSON text is not an object")]
    NoObject,
}

/// A JSON value; the members of an object by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<Name, Self>),
}

/// A member's name, in the order of its UTF-16 code units (RFC 8785 3.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.encode_utf16().cmp(other.0.encode_utf16())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Value {
    pub(crate) fn read(text: &[u8]) -> Result<Self, CanonicalError> {
        if text.len() > MAX_TEXT {
            return Err(CanonicalError::TooLong);
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Reader { room: MAX_NESTING }.deserialize(&mut reader).map_err(CanonicalError::Json)?;
        reader.end().map_err(CanonicalError::Json)?;
        Ok(value)
    }

    /// An object of these members.
    pub(crate) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (Name(name.to_owned()), value)).collect())
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Takes the members out of an object; `None` if it is none.
    pub(crate) fn into_members(self) -> Option<BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Some(members.into_iter().map(|(name, value)| (name.0, value)).collect()),
            _ => None,
        }
    }

    /// A whole number from 0 to 2^53 - 1 (RFC 7493 2.2).
    pub(crate) fn as_whole(&self) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in range")]
        match self {
            Self::Number(number) if number.fract() == 0.0 && (0.0..=MAX_WHOLE as f64).contains(number) => {
                Some(*number as u64)
            }
            _ => None,
        }
    }

    fn push(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(true) => text.push_str("true"),
            Self::Bool(false) => text.push_str("false"),
            Self::Number(number) => push_number(text, *number),
            Self::Text(string) => push_string(text, string),
            Self::List(values) => {
                text.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    value.push(text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    push_string(text, &name.0);
                    text.push(':');
                    value.push(text);
                }
                text.push('}');
            }
        }
    }
}

/// The largest whole number whose neighbours are whole numbers of their own as doubles (RFC 7493 2.2).
pub(crate) const MAX_WHOLE: u64 = (1 << 53) - 1;

/// RFC 8785 3.2.2.2.
fn push_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            c if c < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Reads one value with room for so many levels.
struct Reader {
    room: usize,
}

impl Reader {
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        let room = self.room.checked_sub(1);
        room.map(|room| Self { room }).ok_or_else(|| E::custom(format_args!("more than {MAX_NESTING} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        whole(value, false)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        whole(value.unsigned_abs(), value < 0)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let room = self.inner::<A::Error>()?.room;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self { room })? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let room = self.inner::<A::Error>()?.room;
        let mut members = BTreeMap::new();
        while let Some(name) = object.next_key::<String>()? {
            let value = object.next_value_seed(Self { room })?;
            // RFC 8785 3.1 (RFC 7493 2.3): readers differ in which of two members with one name they take.
            if let Some(name) = match members.entry(Name(name)) {
                std::collections::btree_map::Entry::Occupied(entry) => Some(entry.key().0.clone()),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(value);
                    None
                }
            } {
                return Err(de::Error::custom(format_args!("the member {name:?} stands twice")));
            }
        }
        Ok(Value::Object(members))
    }
}

/// A whole number, if it is written again as it is: rounding would sign something else than was said (RFC 7493 2.2).
fn whole<E: de::Error>(magnitude: u64, negative: bool) -> Result<Value, E> {
    #[expect(clippy::cast_precision_loss, reason = "that is what the next lines look for")]
    let double = magnitude as f64;
    if magnitude > MAX_WHOLE {
        let mut text = String::new();
        push_number(&mut text, double);
        if text != magnitude.to_string() {
            return Err(E::custom(format_args!("{magnitude} is not exact as a double: write it as a string")));
        }
    }
    Ok(Value::Number(if negative { -double } else { double }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        CanonicalJson::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}")).to_string()
    }

    /// RFC 8785 3.2.2 to 3.2.4: the sample, and the octets that it must give.
    #[test]
    fn sample_of_rfc_8785() {
        let input = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
            \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(input), expected);
    }

    /// RFC 8785 3.2.3: by UTF-16 code units, so the emoji's surrogates come before U+FB33.
    #[test]
    fn order_of_rfc_8785() {
        let input = r#"{
            "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
        }"#;
        let Ok(Value::Object(members)) = Value::read(canonical(input).as_bytes()) else { panic!("no object") };
        let names: Vec<_> = members.keys().map(|name| name.0.as_str()).collect();
        assert_eq!(names, ["\r", "1", "\u{80}", "ö", "€", "😀", "\u{fb33}"]);
        assert!(canonical(input).find("Emoji") < canonical(input).find("Hebrew"));
    }

    #[test]
    fn forms() {
        for (text, expected) in [
            (" [ ] ", "[]"),
            ("{}", "{}"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1.0", "1"),
            ("9007199254740991", "9007199254740991"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740992", "-9007199254740992"),
            ("295147905179352830000", "295147905179352830000"),
            ("1e21", "1e+21"),
            (r#""\u2028\u007f""#, "\"\u{2028}\u{7f}\""),
            (r#"{"b":1,"a":{"d":1,"c":2}}"#, r#"{"a":{"c":2,"d":1},"b":1}"#),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn refused() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let long = format!("[{}]", "1,".repeat(MAX_TEXT));
        for (text, why) in [
            (r#"{"a":1,"a":2}"#, "stands twice"),
            (r#"{"a":1,"\u0061":2}"#, "stands twice"),
            ("9007199254740993", "not exact"),
            ("-9007199254740993", "not exact"),
            ("18446744073709551615", "not exact"),
            ("1e400", "out of range"),
            (r#""\ud800""#, "hex escape"),
            ("NaN", "expected"),
            ("01", "number"),
            ("1 2", "trailing"),
            ("", "EOF"),
            (&deep(MAX_NESTING + 1), "levels"),
            (&deep(1000), "levels"),
            (&long, "longer"),
        ] {
            let error = CanonicalJson::parse(text.as_bytes()).unwrap_err();
            let said = match &error {
                CanonicalError::Json(source) => source.to_string(),
                CanonicalError::TooLong | CanonicalError::NoObject => error.to_string(),
            };
            assert!(said.contains(why), "{text:.40}: {said}");
        }
        assert_eq!(canonical(&deep(MAX_NESTING)), deep(MAX_NESTING));
        assert!(CanonicalJson::parse(b"\"\xff\"").is_err());
        assert!(matches!(CanonicalJson::parse_object(b"[]"), Err(CanonicalError::NoObject)));
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-(1i64 << 53)..1 << 53).prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// However it is written, the same value gives the same text, and that text is its own canonical form.
        #[test]
        fn one_text_for_one_value(value in any_value()) {
            let plain = CanonicalJson::parse(value.to_string().as_bytes()).unwrap();
            let pretty = CanonicalJson::parse(serde_json::to_string_pretty(&value).unwrap().as_bytes()).unwrap();
            prop_assert_eq!(&plain, &pretty);
            prop_assert_eq!(&CanonicalJson::parse(plain.as_str().as_bytes()).unwrap(), &plain);
            // What it says has not changed: numbers may be written differently, so compare by value.
            prop_assert_eq!(Value::read(value.to_string().as_bytes()).unwrap(), Value::read(plain.as_str().as_bytes()).unwrap());
        }

        #[test]
        fn any_octets_do_not_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CanonicalJson::parse(&text);
        }

        #[test]
        fn any_text_like_json_does_not_panic(text in r#"[\[\]{}",:0-9eE.+\-a-f\\u ]{0,80}"#) {
            let _ = CanonicalJson::parse(text.as_bytes());
        }
    }
}
