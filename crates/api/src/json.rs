//! JSON as requests bring it: a tree that keeps every member, so that nothing is lost without a word.
//!
//! `serde_json` keeps the last of two members with one name; [`parse`] refuses them (API-3), and nesting beyond
//! [`MAX_NESTING`] (API-5). What the members mean is for the reader of the tree: `v1::document`.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Most objects and lists inside one another (API-5).
pub(crate) const MAX_NESTING: usize = 16;

/// One JSON value; the members of an object in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Whole(u64),
    /// Any other number.
    Other(serde_json::Number),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// An object; names are unique.
    Object(Vec<(String, Self)>),
}

impl Value {
    /// What it is, for a sentence: "found a list".
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Whole(value) => value.to_string(),
            Self::Other(value) => value.to_string(),
            Self::Text(_) => "a string".into(),
            Self::List(_) => "a list".into(),
            Self::Object(_) => "an object".into(),
        }
    }
}

/// Reads one JSON text (RFC 8259).
///
/// # Errors
///
/// What is wrong, with line and column: not JSON, a member twice, or nested too deep.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Level(0).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Builds a [`Value`] inside so many objects and lists.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.0 == MAX_NESTING {
            return Err(E::custom(format_args!("objects and lists may be nested {MAX_NESTING} deep, not deeper")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or_else(|_| Value::Other(value.into()), Value::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Value::Null, Value::Other))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object: Vec<(String, Value)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                // API-3: which of the two was meant is not for us to guess.
                return Err(de::Error::custom(format_args!("the member {name:?} is given twice in one object")));
            }
            object.push((name, members.next_value_seed(inner)?));
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_t17_duplicate_members() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"b":0,"a":1}]}"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("\"a\" is given twice") && error.contains("line 1"), "{text}: {error}");
        }
        assert!(parse(br#"{"a":{"a":1},"b":{"a":2}}"#).is_ok(), "one name in two objects");
    }

    #[test]
    fn api_5_nesting() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_NESTING).as_bytes()).is_ok());
        assert!(parse(nested(MAX_NESTING + 1).as_bytes()).is_err());
        assert!(parse(nested(100_000).as_bytes()).is_err(), "no stack overflow");
        let objects = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
        assert!(parse(objects.as_bytes()).is_err());
    }

    #[test]
    fn api_t34_not_json() {
        for text in
            [r#"{"a":"\1"}"#, "", "{", "{}x", "{a:1}", "[1,]", "\u{feff}{}", "'a'", "01", "1e999", "\"\\ud800\""]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn values() {
        let value = parse(br#"{"t":"x","n":[null,true,7,-1,0.5]}"#).unwrap();
        let Value::Object(members) = value else { panic!("no object") };
        assert_eq!(members[0], ("t".into(), Value::Text("x".into())));
        let Value::List(list) = &members[1].1 else { panic!("no list") };
        let kinds: Vec<_> = list.iter().map(Value::kind).collect();
        assert_eq!(kinds, ["null", "true", "7", "-1", "0.5"]);
    }
}
