//! Walks a JSON tree and collects everything that is wrong with it, each with its JSON Pointer (API-3, API-22).

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use tandem_model::DomainName;

use super::answer::Normalised;
use crate::json::Value;
use crate::problem::{Fault, MAX_FAULTS};

/// Most steps of a place: `#/targets/0/addresses/0` has four.
const MAX_STEPS: usize = 4;

/// A place in the body, as a JSON Pointer in a URI fragment (RFC 6901 6): `#/targets/0/port`. Making one allocates
/// nothing: most of them never become a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pointer {
    steps: [Step; MAX_STEPS],
    len: usize,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Member(&'static str),
    Item(usize),
}

impl Pointer {
    /// The whole body.
    pub(crate) const fn root() -> Self {
        Self { steps: [Step::Item(0); MAX_STEPS], len: 0 }
    }

    /// The member `name` of this object.
    pub(crate) const fn member(&self, name: &'static str) -> Self {
        self.step(Step::Member(name))
    }

    /// The item `index` of this list, from 0.
    pub(crate) const fn item(&self, index: usize) -> Self {
        self.step(Step::Item(index))
    }

    const fn step(&self, step: Step) -> Self {
        let mut longer = *self;
        // Nothing that is read lies deeper; a place above a fault is better than none.
        if self.len < MAX_STEPS {
            longer.steps[self.len] = step;
            longer.len += 1;
        }
        longer
    }
}

impl Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("#")?;
        self.steps[..self.len].iter().try_for_each(|step| match step {
            Step::Member(name) => write!(f, "/{}", Escaped(name)),
            Step::Item(index) => write!(f, "/{index}"),
        })
    }
}

/// A member's name as a step of a pointer (RFC 6901 3 and 6).
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|octet| match octet {
            b'~' => f.write_str("~0"),
            b'/' => f.write_str("~1"),
            octet if octet.is_ascii_alphanumeric() || b"-._!$&'()*+,;=:@?".contains(&octet) => {
                f.write_char(char::from(octet))
            }
            octet => write!(f, "%{octet:02X}"),
        })
    }
}

/// What the walk found: faults, and values that are kept in another spelling.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    faults: Vec<Fault>,
    normalised: Vec<Normalised>,
}

impl Reader {
    /// Notes a broken rule; past [`MAX_FAULTS`] nothing is kept.
    pub(crate) fn fault(&mut self, at: &Pointer, detail: impl Display) {
        self.fault_at(format_args!("{at}"), detail);
    }

    fn fault_at(&mut self, at: fmt::Arguments<'_>, detail: impl Display) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { detail: detail.to_string(), pointer: at.to_string(), rule: None });
        }
    }

    /// Says which rule is behind the faults at `at`.
    pub(crate) fn name_rule(&mut self, at: &Pointer, rule: &'static str) {
        let at = at.to_string();
        self.faults.iter_mut().filter(|fault| fault.pointer == at).for_each(|fault| fault.rule = Some(rule));
    }

    /// Whether a fault stands at `at` already.
    pub(crate) fn has_fault_at(&self, at: &Pointer) -> bool {
        let at = at.to_string();
        self.faults.iter().any(|fault| fault.pointer == at)
    }

    /// Whether anything is wrong so far.
    pub(crate) const fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Notes that `from` is kept as `to`, when they differ.
    pub(crate) fn kept_as(&mut self, at: &Pointer, from: &str, to: &str) {
        if from != to {
            self.normalised.push(Normalised { pointer: at.to_string(), from: from.into(), to: to.into() });
        }
    }

    /// Everything found.
    pub(crate) fn finish(self) -> (Vec<Fault>, Vec<Normalised>) {
        (self.faults, self.normalised)
    }

    /// The members of the object at `at`; others than `known` are faults (API-3).
    pub(crate) fn object<'v>(&mut self, value: &'v Value<'v>, at: &Pointer, known: &[&str]) -> Option<Members<'v>> {
        let Value::Object(members) = value else {
            self.fault(at, format_args!("must be an object; found {}", value.kind()));
            return None;
        };
        for (name, _) in members {
            if !known.contains(&&**name) {
                self.fault_at(
                    format_args!("{at}/{}", Escaped(name)),
                    format_args!("unknown member; known here: {}", known.join(", ")),
                );
            }
        }
        Some(Members { members, at: *at })
    }

    /// The first `limit` items of a list, each with its place; a fault when there are more.
    pub(crate) fn list<'v>(
        &mut self,
        value: &'v Value<'v>,
        at: &Pointer,
        limit: usize,
    ) -> Vec<(Pointer, &'v Value<'v>)> {
        let Value::List(items) = value else {
            self.fault(at, format_args!("must be a list; found {}", value.kind()));
            return Vec::new();
        };
        if items.len() > limit {
            self.fault(at, format_args!("at most {limit} entries; found {}", items.len()));
        }
        items.iter().take(limit).enumerate().map(|(index, item)| (at.item(index), item)).collect()
    }

    /// A string.
    pub(crate) fn text<'v>(&mut self, value: &'v Value<'v>, at: &Pointer) -> Option<&'v str> {
        match value {
            Value::Text(text) => Some(text),
            other => {
                self.fault(at, format_args!("must be a string; found {}", other.kind()));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn choice(&mut self, value: &Value<'_>, at: &Pointer) -> Option<bool> {
        match value {
            Value::Bool(choice) => Some(*choice),
            other => {
                self.fault(at, format_args!("must be true or false; found {}", other.kind()));
                None
            }
        }
    }

    /// A whole number in `range`.
    pub(crate) fn whole(&mut self, value: &Value<'_>, at: &Pointer, range: RangeInclusive<u64>) -> Option<u64> {
        match value {
            Value::Whole(number) if range.contains(number) => Some(*number),
            other => {
                let (first, last) = range.into_inner();
                self.fault(at, format_args!("must be a whole number from {first} to {last}; found {}", other.kind()));
                None
            }
        }
    }

    /// A string that `parse` understands; noted when it is kept in another spelling.
    pub(crate) fn parsed<T: Display, E: Display>(
        &mut self,
        value: &Value<'_>,
        at: &Pointer,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(value, at)?;
        match parse(text) {
            Ok(parsed) => {
                self.kept_as(at, text, &parsed.to_string());
                Some(parsed)
            }
            Err(error) => {
                self.fault(at, error);
                None
            }
        }
    }

    /// The name of a host or domain: no address, in lower case, as A-labels (API-4).
    pub(crate) fn name(&mut self, text: &str, at: &Pointer) -> Option<DomainName> {
        match host_name(text) {
            Ok(name) => {
                self.kept_as(at, text, &name.to_string());
                Some(name)
            }
            Err(detail) => {
                self.fault(at, detail);
                None
            }
        }
    }
}

/// The members of one object.
#[derive(Debug)]
pub(crate) struct Members<'v> {
    members: &'v [(Cow<'v, str>, Value<'v>)],
    at: Pointer,
}

impl<'v> Members<'v> {
    /// The member `name` and its place, if it is there.
    pub(crate) fn find(&self, name: &'static str) -> Option<(Pointer, &'v Value<'v>)> {
        let (_, value) = self.members.iter().find(|(known, _)| known == name)?;
        Some((self.at.member(name), value))
    }

    /// The member `name`; a fault when it is not there.
    pub(crate) fn demand(&self, reader: &mut Reader, name: &'static str) -> Option<(Pointer, &'v Value<'v>)> {
        let found = self.find(name);
        if found.is_none() {
            reader.fault(&self.at.member(name), "is required");
        }
        found
    }
}

/// Reads a name where an address must not stand (RFC 2782 "Target"; RFC 3696 2: no top-level name of digits).
fn host_name(text: &str) -> Result<DomainName, String> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if literal.parse::<IpAddr>().is_ok() {
        return Err(format!(
            "an IP address cannot stand here: give a host name such as sip.example.org, and {text} in its `addresses`"
        ));
    }
    let name = DomainName::parse(text).map_err(|error| format!("{error}; found {text:?}"))?;
    let last = name.labels().last().unwrap_or_default();
    if last.iter().all(u8::is_ascii_digit) {
        return Err(format!("the last label must not be digits only, it would be read as an address; found {text:?}"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        let at = Pointer::root().member("targets").item(0);
        assert_eq!(at.member("port").to_string(), "#/targets/0/port", "API-22");
        assert_eq!(at.member("a/b~c d%é").to_string(), "#/targets/0/a~1b~0c%20d%25%C3%A9", "RFC 6901 6");
    }

    #[test]
    fn names() {
        for (text, part) in [
            ("192.0.2.1", "an IP address cannot stand here"),
            ("2001:db8::1", "an IP address cannot stand here"),
            ("[2001:db8::1]", "an IP address cannot stand here"),
            ("sip.300", "digits only"),
            ("sip.test.", "without a trailing dot"),
            ("sip..test", "empty label"),
            ("*.test", "'*'"),
            ("sip test", "' '"),
            (" sip.test", "' '"),
            ("", "at least one label"),
        ] {
            let error = host_name(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let mut reader = Reader::default();
        assert_eq!(reader.name("SIP.Bücher.Test", &Pointer::root()).unwrap().to_string(), "sip.xn--bcher-kva.test");
        let (faults, normalised) = reader.finish();
        assert!(faults.is_empty());
        assert_eq!(normalised[0].to, "sip.xn--bcher-kva.test");
    }

    #[test]
    fn api_22_at_most_fifty_faults() {
        let mut reader = Reader::default();
        (0..60).for_each(|index| reader.fault(&Pointer::root().item(index), "no"));
        assert_eq!(reader.finish().0.len(), MAX_FAULTS);
    }
}
