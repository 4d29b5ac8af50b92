//! Node documents as they come from others: JSON to [`Node`] and back.
//!
//! The directory has checked them; here they are read again, because it may be newer (unknown members are ignored) and
//! because what a key signed is as its operator wrote it, before the directory put it in order.

use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::number::NumberBlock;
use tandem_model::{DomainName, E164Number, Network, Node, NodeParts, NumberClaim, SipUri, Target};

/// Tried after targets with a lower number: what the API fills in.
const DEFAULT_PRIORITY: u16 = 10;

/// A node document, as far as others need it: the contact is left out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct NodeDocument {
    targets: Vec<TargetDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<NumberDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TargetDocument {
    host: String,
    port: NonZeroU16,
    #[serde(default = "default_priority")]
    priority: u16,
    #[serde(default)]
    weight: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
}

/// A number or a block, as the API writes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NumberDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e164: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyDocument {
    holder: String,
    sha256: String,
}

const fn default_priority() -> u16 {
    DEFAULT_PRIORITY
}

/// Why a document makes no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document cannot be read: {0}")]
pub struct UnreadableDocument(Box<str>);

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn wrong(error: impl ToString) -> UnreadableDocument {
    UnreadableDocument(error.to_string().into())
}

impl NodeDocument {
    /// Reads a document's text.
    ///
    /// # Errors
    ///
    /// [`UnreadableDocument`]: the member is left as it was.
    pub fn parse(text: &str) -> Result<Self, UnreadableDocument> {
        serde_json::from_str(text).map_err(wrong)
    }

    /// The same with other numbers: the API tells them apart from what is public.
    pub(crate) fn with_numbers(self, numbers: Vec<NumberDocument>) -> Self {
        Self { numbers, ..self }
    }

    /// The node of `domain` that says this.
    ///
    /// # Errors
    ///
    /// [`UnreadableDocument`] with the first rule that is broken.
    pub fn into_node(self, domain: DomainName) -> Result<Node, UnreadableDocument> {
        // Lists of just their length: there may be very many members.
        let mut parts = NodeParts::new(domain, Vec::with_capacity(self.targets.len()));
        parts.numbers.reserve_exact(self.numbers.len());
        parts.keys.reserve_exact(self.keys.len());
        parts.sources.reserve_exact(self.sources.len());
        for TargetDocument { host, port, priority, weight, mut addresses } in self.targets {
            addresses.shrink_to_fit();
            let host = DomainName::parse(&host).map_err(wrong)?;
            parts.targets.push(Target { host, port, priority, weight, addresses });
        }
        for claim in self.numbers {
            parts.numbers.push(claim.into_claim()?);
        }
        for KeyDocument { holder, sha256 } in self.keys {
            let holder = match holder.as_str() {
                "node" => KeyHolder::Node,
                "authority" => KeyHolder::Authority,
                _ => return Err(wrong("a key's holder is \"node\" or \"authority\"")),
            };
            let sha256 = from_hex(&sha256).ok_or_else(|| wrong("a key is 64 hexadecimal digits"))?;
            parts.keys.push(KeyPin { holder, sha256 });
        }
        for network in self.sources {
            parts.sources.push(Network::parse(&network).map_err(wrong)?);
        }
        parts.ttl = self.ttl;
        Node::new(parts).map_err(|errors| wrong(errors.first().map_or_else(String::new, ToString::to_string)))
    }

    /// What `node` says, without its contact and the lease that it asks for.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let targets = node.targets().iter().map(|target| TargetDocument {
            host: target.host.to_string(),
            port: target.port,
            priority: target.priority,
            weight: target.weight,
            addresses: target.addresses.clone(),
        });
        let numbers = node.numbers.iter().map(NumberDocument::of);
        let keys = node.keys.iter().map(|key| KeyDocument {
            holder: match key.holder {
                KeyHolder::Node => "node",
                KeyHolder::Authority => "authority",
            }
            .into(),
            sha256: to_hex(&key.sha256),
        });
        Self {
            targets: targets.collect(),
            numbers: numbers.collect(),
            ttl: Some(node.ttl),
            keys: keys.collect(),
            sources: node.sources.iter().map(ToString::to_string).collect(),
        }
    }
}

impl NumberDocument {
    /// The number or block.
    ///
    /// # Errors
    ///
    /// [`UnreadableDocument`] if it is neither.
    pub(crate) fn into_claim(self) -> Result<NumberClaim, UnreadableDocument> {
        Ok(match self {
            Self { e164: Some(number), uri, block: None } => NumberClaim::Number {
                number: E164Number::parse(&number).map_err(wrong)?,
                uri: uri.map(|uri| SipUri::parse(&uri)).transpose().map_err(wrong)?,
            },
            Self { e164: None, uri: None, block: Some(block) } => {
                NumberClaim::Block(NumberBlock::parse(&block).map_err(wrong)?)
            }
            _ => return Err(wrong("a number has `e164`, or `block` alone")),
        })
    }

    /// What `claim` says.
    pub(crate) fn of(claim: &NumberClaim) -> Self {
        match claim {
            NumberClaim::Number { number, uri } => {
                Self { e164: Some(number.to_string()), uri: uri.as_ref().map(ToString::to_string), block: None }
            }
            NumberClaim::Block(block) => Self { e164: None, uri: None, block: Some(block.to_string()) },
        }
    }
}

/// Octets as two lower-case digits each.
pub(crate) fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// 64 hexadecimal digits as octets.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *octet = digit(0)? << 4 | digit(1)?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive() {
        let key = "ab".repeat(32);
        let text = format!(
            r#"{{"targets":[{{"host":"SIP.a.test","port":5061,"addresses":["192.0.2.1","2001:db8::1"]}},
                {{"host":"p.example","port":5081,"priority":20,"weight":5,"later":1}}],
                "numbers":[{{"e164":"+1 555 0101","uri":"sip:alice@a.test"}},{{"e164":"+1555"}},{{"block":"+15502"}}],
                "keys":[{{"holder":"node","sha256":"{key}"}}],"sources":["192.0.2.0/24"],"contact":"me","unknown":[]}}"#
        );
        let domain = DomainName::parse("a.test").unwrap();
        let node = NodeDocument::parse(&text).unwrap().into_node(domain.clone()).unwrap();
        assert_eq!((node.targets()[0].priority, node.targets()[1].weight, node.contact.clone()), (10, 5, None));
        let again = serde_json::to_string(&NodeDocument::of(&node)).unwrap();
        assert_eq!(NodeDocument::parse(&again).unwrap().into_node(domain).unwrap(), node);
    }

    #[test]
    fn wrong_documents() {
        for text in [
            "[]",
            "{}",
            r#"{"targets":[]}"#,
            r#"{"targets":[{"host":"a..b","port":1}]}"#,
            r#"{"targets":[{"host":"b.test","port":0}]}"#,
            r#"{"targets":[{"host":"b.test","port":1}],"keys":[{"holder":"x","sha256":""}]}"#,
            r#"{"targets":[{"host":"b.test","port":1}],"numbers":[{}]}"#,
            r#"{"targets":[{"host":"b.test","port":1}],"sources":["192.0.2.1/24"]}"#,
        ] {
            let domain = DomainName::parse("a.test").unwrap();
            assert!(NodeDocument::parse(text).and_then(|document| document.into_node(domain)).is_err(), "{text}");
        }
    }
}
