//! Many nodes in one request: a line of NDJSON is a node document with its domain; the answer counts, and lists the lines
//! that were refused.

use serde::Serialize;
use tandem_model::Node;
use utoipa::ToSchema;

use super::answer::NodeBody;
use super::document::{domain_pointer, read_domain, read_node};
use super::reader::{Pointer, Reader};
use crate::json::{self, Value};
use crate::problem::Fault;

/// One line of an import or an export: the node document, and the domain that a PUT has in its path.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeLine, example = json!({
    "domain": "debug.ostn.test",
    "targets": [{"host": "sip.debug.ostn.test", "port": 5061, "addresses": ["203.0.113.7"]}]
}))]
pub(crate) struct NodeLine {
    /// The node's SIP domain.
    domain: String,
    /// What it publishes.
    #[serde(flatten)]
    node: NodeBody,
}

/// What an import did.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Import)]
pub(crate) struct ImportBody {
    /// Whether this only shows what would happen.
    pub(crate) dry_run: bool,
    /// How many lines were dealt with, empty ones included.
    #[schema(example = 4)]
    pub(crate) lines: u64,
    /// Whether these are all lines of the body; else send the others again.
    pub(crate) complete: bool,
    /// Domains that are new.
    #[schema(example = 2)]
    pub(crate) created: u64,
    /// Registrations that were replaced.
    #[schema(example = 0)]
    pub(crate) replaced: u64,
    /// Nodes that were registered like this already.
    #[schema(example = 1)]
    pub(crate) unchanged: u64,
    /// Lines that were refused, with all that is wrong with each.
    pub(crate) refused: Vec<RefusedLine>,
    /// The zone serial that contains all of it; not with `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u64, example = 12)]
    pub(crate) serial: Option<u32>,
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RefusedLine {
    /// Its number in the body, from 1.
    #[schema(example = 3)]
    pub(crate) line: u64,
    /// Its domain, if that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "other.ostn.test")]
    pub(crate) domain: Option<String>,
    /// Every rule broken, at most 50.
    pub(crate) errors: Vec<Fault>,
}

/// Reads one line.
///
/// # Errors
///
/// Every fault, at most 50, and the domain if there is one.
pub(crate) fn read_line(text: &[u8]) -> Result<Node, (Option<String>, Vec<Fault>)> {
    let one = |at: Pointer, detail: &dyn std::fmt::Display| {
        let mut reader = Reader::default();
        reader.fault(&at, detail);
        (None, reader.finish().0)
    };
    let mut value = json::parse(text).map_err(|error| one(Pointer::root(), &error))?;
    let Value::Object(members) = &mut value else {
        return Err(one(Pointer::root(), &format_args!("must be an object; found {}", value.kind())));
    };
    let domain = members.iter().position(|(name, _)| name == "domain").map(|at| members.remove(at).1);
    let domain = match domain {
        Some(Value::Text(domain)) => domain,
        Some(other) => {
            return Err(one(domain_pointer(), &format_args!("must be a string; found {}", other.kind())));
        }
        None => return Err(one(domain_pointer(), &"is required")),
    };
    let read = read_domain(&domain).and_then(|(name, _)| read_node(name, &value));
    read.map(|(node, _)| node).map_err(|faults| (Some(domain.into_owned()), faults))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let target = r#""targets":[{"host":"sip.a.test","port":5061}]"#;
        let node = read_line(format!(r#"{{{target},"domain":"A.test"}}"#).as_bytes()).unwrap();
        assert_eq!(node.domain().to_string(), "a.test");
        for (text, domain, pointer) in [
            ("{", None, "#"),
            ("[]", None, "#"),
            ("{}", None, "#/domain"),
            (r#"{"domain":7}"#, None, "#/domain"),
            (r#"{"domain":"a..test"}"#, Some("a..test"), "#/domain"),
            (r#"{"domain":"a.test"}"#, Some("a.test"), "#/targets"),
            (r#"{"domain":"a.test","domain":"a.test"}"#, None, "#"),
            (r#"{"domain":"a.test","targets":[{"host":"x.test","port":1}],"x":1}"#, Some("a.test"), "#/x"),
        ] {
            let (found, faults) = read_line(text.as_bytes()).unwrap_err();
            assert_eq!((found.as_deref(), faults[0].pointer.as_str()), (domain, pointer), "{text}");
        }
    }
}
