//! JSON as requests bring it: a tree that keeps every member, so that nothing is lost without a word.
//!
//! `serde_json` keeps the last of two members with one name; [`parse`] refuses them (API-3), and nesting beyond
//! [`MAX_NESTING`] (API-5). What the members mean is for the reader of the tree: `v1::document`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Most objects and lists inside one another (API-5).
pub(crate) const MAX_NESTING: usize = 16;
/// Members of an object that are compared one by one; more of them are hashed, so that many cost no more each.
const FEW: usize = 16;

/// One JSON value; the members of an object in the order of the text. Strings without escapes are those of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Whole(u64),
    /// Any other number.
    Other(serde_json::Number),
    /// A string.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Self>),
    /// An object; names are unique.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl Value<'_> {
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
pub(crate) fn parse(text: &[u8]) -> Result<Value<'_>, serde_json::Error> {
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
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(u64::try_from(value).map_or_else(|_| Value::Other(value.into()), Value::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Value::Null, Value::Other))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.into())))
    }

    fn visit_string<E>(self, value: String) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut object: Vec<(Cow<'de, str>, Value<'de>)> = Vec::with_capacity(4);
        let mut seen = HashSet::new();
        while let Some(Name(name)) = members.next_key::<Name<'de>>()? {
            let is_twice = if object.len() < FEW {
                object.iter().any(|(known, _)| *known == name)
            } else {
                if seen.is_empty() {
                    seen.extend(object.iter().map(|(known, _)| known.clone()));
                }
                !seen.insert(name.clone())
            };
            if is_twice {
                // API-3: which of the two was meant is not for us to guess.
                return Err(de::Error::custom(format_args!("the member {name:?} is given twice in one object")));
            }
            object.push((name, members.next_value_seed(inner)?));
        }
        Ok(Value::Object(object))
    }
}

/// A member's name, borrowed from the text where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.into())))
            }
        }
        deserializer.deserialize_str(Reader)
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
        for count in [FEW, FEW + 1, FEW + 9] {
            let many: Vec<_> = (0..count).map(|index| format!(r#""m{index}":0"#)).collect();
            assert!(parse(format!("{{{}}}", many.join(",")).as_bytes()).is_ok(), "{count}");
            for twice in ["m0".to_owned(), format!("m{}", count - 1)] {
                let text = format!(r#"{{{},"{twice}":1}}"#, many.join(","));
                assert!(parse(text.as_bytes()).is_err(), "{count} {twice}");
            }
        }
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
