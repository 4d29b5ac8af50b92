//! How a node is written down: a JSON text with a version, apart from `model`'s types.
//!
//! A renamed field in `model` changes nothing here; a new version of the document is a new module beside [`v1`], and
//! [`read`] goes on understanding the old ones.

mod found;

use tandem_model::{DomainName, InvalidName, InvalidNode, Node};

/// The newest version that [`read`] reads. [`write()`] takes the lowest that has all that there is to say: version 2 is
/// version 1 with `probe` and `found`.
pub(crate) const VERSION: u32 = 2;

/// The document of `node`, its domain left out: that is the key it is kept under.
pub(crate) fn write(node: &Node) -> String {
    let mut text = Vec::with_capacity(USUAL_LEN);
    serde_json::to_writer(&mut text, &v1::Document::from_node(node))
        .expect("a document is maps with text keys, lists and values");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Octets that most documents stay below: two targets with two addresses each, a key and a number take 500.
const USUAL_LEN: usize = 640;

/// Reads a document that this version or an earlier one wrote.
///
/// # Errors
///
/// [`DocumentError`]: it is newer, or no document of ours.
pub(crate) fn read(domain: DomainName, text: &str) -> Result<Node, DocumentError> {
    match serde_json::from_str::<v1::Document<'_>>(text) {
        Ok(document) if (1..=VERSION).contains(&document.version) => document.into_node(domain),
        Ok(document) => Err(DocumentError::Version(document.version)),
        // A newer document may have other members: look at the version alone before complaining about them.
        Err(error) => match serde_json::from_str::<Head>(text) {
            Ok(head) if !(1..=VERSION).contains(&head.version) => Err(DocumentError::Version(head.version)),
            Ok(_) | Err(_) => Err(DocumentError::Json(error)),
        },
    }
}

/// The one member that every version has.
#[derive(serde::Deserialize)]
struct Head {
    version: u32,
}

/// Versions 1 and 2.
mod v1 {
    use std::borrow::Cow;
    use std::net::IpAddr;
    use std::num::NonZeroU16;

    use serde::{Deserialize, Serialize};
    use tandem_model::node::{KeyHolder, KeyPin};
    use tandem_model::{
        DomainName, E164Number, Found, Network, Node, NodeParts, NumberBlock, NumberClaim, Probe, SipUri, Target,
    };

    use super::found::{FoundEntry, ProbeEntry};
    use super::{DocumentError, VERSION};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Document<'a> {
        pub(super) version: u32,
        #[serde(borrow)]
        targets: Vec<TargetEntry<'a>>,
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        numbers: Vec<NumberEntry<'a>>,
        ttl: u32,
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        keys: Vec<KeyEntry<'a>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sources: Vec<String>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        contact: Option<Cow<'a, str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_seconds: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe: Option<ProbeEntry>,
        /// What the directory found; the rest is what the node said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<FoundEntry>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct TargetEntry<'a> {
        #[serde(borrow)]
        host: Cow<'a, str>,
        port: NonZeroU16,
        priority: u16,
        weight: u16,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<IpAddr>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NumberEntry<'a> {
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        e164: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        uri: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        block: Option<Cow<'a, str>>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeyEntry<'a> {
        holder: Holder,
        #[serde(borrow)]
        sha256: Cow<'a, str>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Holder {
        Node,
        Authority,
    }

    impl<'a> Document<'a> {
        pub(super) fn from_node(node: &'a Node) -> Self {
            Self {
                version: if node.probe.is_none() && node.found.is_empty() { 1 } else { VERSION },
                targets: node.targets().iter().map(TargetEntry::from_target).collect(),
                numbers: node.numbers.iter().map(NumberEntry::from_claim).collect(),
                ttl: node.ttl,
                keys: node.keys.iter().map(KeyEntry::from_pin).collect(),
                sources: node.sources.iter().map(ToString::to_string).collect(),
                contact: node.contact.as_deref().map(Cow::Borrowed),
                lease_seconds: node.lease_seconds,
                probe: node.probe.map(ProbeEntry::from),
                found: (!node.found.is_empty()).then(|| FoundEntry::from_found(&node.found)),
            }
        }

        pub(super) fn into_node(self, domain: DomainName) -> Result<Node, DocumentError> {
            let mut parts = NodeParts::new(domain, Vec::with_capacity(self.targets.len()));
            for target in self.targets {
                parts.targets.push(target.into_target()?);
            }
            for number in self.numbers {
                parts.numbers.push(number.into_claim()?);
            }
            parts.ttl = Some(self.ttl);
            for key in self.keys {
                parts.keys.push(key.into_pin()?);
            }
            for source in self.sources {
                parts.sources.push(Network::parse(&source).map_err(|e| DocumentError::member("sources", e))?);
            }
            parts.contact = self.contact.map(|text| text.into());
            parts.lease_seconds = self.lease_seconds;
            parts.probe = self.probe.map(Probe::from);
            let mut node = Node::new(parts).map_err(DocumentError::Node)?;
            node.found = self.found.map_or_else(|| Ok(Found::default()), FoundEntry::into_found)?;
            Ok(node)
        }
    }

    impl<'a> TargetEntry<'a> {
        fn from_target(target: &'a Target) -> Self {
            Self {
                host: target.host.to_string().into(),
                port: target.port,
                priority: target.priority,
                weight: target.weight,
                addresses: target.addresses.clone(),
            }
        }

        fn into_target(self) -> Result<Target, DocumentError> {
            Ok(Target {
                host: DomainName::parse(&self.host).map_err(DocumentError::Name)?,
                port: self.port,
                priority: self.priority,
                weight: self.weight,
                addresses: self.addresses,
            })
        }
    }

    impl NumberEntry<'_> {
        fn from_claim(claim: &NumberClaim) -> Self {
            match claim {
                NumberClaim::Number { number, uri } => Self {
                    e164: Some(number.to_string().into()),
                    uri: uri.as_ref().map(|uri| uri.to_string().into()),
                    block: None,
                },
                NumberClaim::Block(block) => Self { e164: None, uri: None, block: Some(block.to_string().into()) },
            }
        }

        fn into_claim(self) -> Result<NumberClaim, DocumentError> {
            let wrong = |e| DocumentError::member("numbers", e);
            match self {
                Self { e164: Some(number), uri, block: None } => Ok(NumberClaim::Number {
                    number: E164Number::parse(&number).map_err(wrong)?,
                    uri: uri
                        .map(|uri| SipUri::parse(&uri).map_err(|e| DocumentError::member("numbers", e)))
                        .transpose()?,
                }),
                Self { e164: None, uri: None, block: Some(block) } => {
                    Ok(NumberClaim::Block(NumberBlock::parse(&block).map_err(wrong)?))
                }
                Self { .. } => Err(DocumentError::member("numbers", "neither a number nor a block")),
            }
        }
    }

    impl KeyEntry<'_> {
        fn from_pin(pin: &KeyPin) -> Self {
            let holder = match pin.holder {
                KeyHolder::Node => Holder::Node,
                KeyHolder::Authority => Holder::Authority,
            };
            Self { holder, sha256: to_hex(&pin.sha256).into() }
        }

        fn into_pin(self) -> Result<KeyPin, DocumentError> {
            let holder = match self.holder {
                Holder::Node => KeyHolder::Node,
                Holder::Authority => KeyHolder::Authority,
            };
            let sha256 = from_hex(&self.sha256).ok_or_else(|| DocumentError::member("keys", "not 64 hex digits"))?;
            Ok(KeyPin { holder, sha256 })
        }
    }

    pub(super) fn to_hex(octets: &[u8; 32]) -> String {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0xf)]);
        let mut text = String::with_capacity(64);
        text.extend(octets.iter().flat_map(|octet| [digit(octet >> 4), digit(*octet)]));
        text
    }

    pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
        let mut octets = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *octet = u8::try_from(high * 16 + low).ok()?;
        }
        Some(octets)
    }
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A later program wrote it.
    #[error("it has document version {0}, this program knows up to {VERSION}: use a newer tandem")]
    Version(u32),
    /// Not the JSON of a document.
    #[error("it is not a document of this version")]
    Json(#[source] serde_json::Error),
    /// A name in it is none.
    #[error("a host in it is no name")]
    Name(#[source] InvalidName),
    /// Another value in it is wrong.
    #[error("its member {member} is wrong")]
    Member {
        /// Which.
        member: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its parts make no node together.
    #[error("its parts make no node: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Node(Vec<InvalidNode>),
}

impl DocumentError {
    fn member(member: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Member { member, source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;
    use tandem_model::node::{KeyHolder, KeyPin};
    use tandem_model::{E164Number, Network, NodeParts, NumberBlock, NumberClaim, SipUri, Target};

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn full() -> Node {
        let target = |host: &str, addresses: &[&str]| Target {
            host: name(host),
            port: NonZeroU16::new(5061).unwrap(),
            priority: 10,
            weight: 3,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        let mut parts = NodeParts::new(
            name("debug.ostel.me"),
            vec![target("sip.debug.ostel.me", &["192.0.2.1", "2001:db8::1"]), target("sip.provider.example", &[])],
        );
        parts.numbers = vec![
            NumberClaim::Number { number: E164Number::parse("+15550100").unwrap(), uri: None },
            NumberClaim::Number {
                number: E164Number::parse("+15550101").unwrap(),
                uri: Some(SipUri::parse("sip:alice@debug.ostel.me").unwrap()),
            },
            NumberClaim::Block(NumberBlock::parse("+155502").unwrap()),
        ];
        parts.keys = vec![
            KeyPin { holder: KeyHolder::Node, sha256: [0xab; 32] },
            KeyPin { holder: KeyHolder::Authority, sha256: [1; 32] },
        ];
        parts.sources = vec![Network::parse("192.0.2.0/24").unwrap(), Network::parse("2001:db8::/32").unwrap()];
        parts.contact = Some("\"ops\" <ops@ostel.me>".into());
        parts.ttl = Some(300);
        parts.lease_seconds = Some(3600);
        Node::new(parts).unwrap()
    }

    /// What is on disk today: a change here is a change of the format, and needs a new version.
    #[test]
    fn snapshot_v1() {
        let ab = "ab".repeat(32);
        let one = "01".repeat(32);
        let expected = format!(
            concat!(
                r#"{{"version":1,"targets":[{{"host":"sip.debug.ostel.me","port":5061,"priority":10,"weight":3,"#,
                r#""addresses":["192.0.2.1","2001:db8::1"]}},{{"host":"sip.provider.example","port":5061,"#,
                r#""priority":10,"weight":3}}],"numbers":[{{"e164":"+15550100"}},{{"e164":"+15550101","#,
                r#""uri":"sip:alice@debug.ostel.me"}},{{"block":"+155502"}}],"ttl":300,"keys":[{{"holder":"node","#,
                r#""sha256":"{}"}},{{"holder":"authority","sha256":"{}"}}],"sources":["192.0.2.0/24","2001:db8::/32"],"#,
                r#""contact":"\"ops\" <ops@ostel.me>","lease_seconds":3600}}"#
            ),
            ab, one
        );
        assert_eq!(write(&full()), expected);
        assert_eq!(read(name("debug.ostel.me"), &expected).unwrap(), full());
    }

    #[test]
    fn snapshot_v2() {
        let key = "07".repeat(32);
        let expected = format!(
            concat!(
                r#"{{"version":2,"targets":[{{"host":"a.test","port":5061,"priority":0,"weight":0}}],"ttl":60,"#,
                r#""probe":{{"options":true,"tlsa":false}},"found":{{"down":[0],"keys":[{{"sha256":"{0}"}},"#,
                r#"{{"sha256":"{0}","until":9}}]}}}}"#
            ),
            key
        );
        let node = read(name("a.test"), &expected).unwrap();
        assert!(node.found.is_down(0));
        assert_eq!((node.found.keys[1].until, node.probe.unwrap().options), (Some(9), true));
        assert_eq!(write(&node), expected);
    }

    #[test]
    fn least_document() {
        let least = r#"{"version":1,"targets":[{"host":"a.test","port":5061,"priority":0,"weight":0}],"ttl":60}"#;
        assert_eq!(write(&read(name("a.test"), least).unwrap()), least);
    }

    #[test]
    fn unreadable_documents_say_why() {
        for (text, why) in [
            (r#"{"version":3,"targets":[],"ttl":60}"#, "version 3"),
            (
                r#"{"version":2,"targets":[{"host":"a","port":1,"priority":0,"weight":0}],"ttl":60,"found":{"keys":[{"sha256":"0"}]}}"#,
                "found",
            ),
            (r#"{"version":7,"elsewhere":true}"#, "version 7"),
            (r#"{"version":1,"targets":[],"ttl":60,"more":1}"#, "not a document"),
            (r#"{"version":1,"targets":[],"ttl":60}"#, "at least one target"),
            (r#"{"version":1,"targets":[{"host":"..","port":1,"priority":0,"weight":0}],"ttl":60}"#, "no name"),
            (
                r#"{"version":1,"targets":[{"host":"a","port":1,"priority":0,"weight":0}],"ttl":60,"numbers":[{}]}"#,
                "numbers",
            ),
            ("", "not a document"),
        ] {
            let error = read(name("a.test"), text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
