//! From the body of a PUT to a [`Node`]: every member checked, all that is wrong said at once (API-3, API-22).

use std::net::IpAddr;
use std::num::NonZeroU16;

use tandem_model::lint::Quirk;
use tandem_model::node::{
    InvalidNode, KeyHolder, KeyPin, LEASE_RANGE, MAX_ADDRESSES, MAX_KEYS, MAX_NUMBERS, MAX_SOURCES, MAX_TARGETS,
    Network, TTL_RANGE,
};
use tandem_model::number::NumberBlock;
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberClaim, Probe, SipUri, Target};
use tandem_zone::Part;

use super::answer::Normalised;
use super::reader::{Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// Tried after targets with a lower number, before those with a higher one: room on both sides.
const DEFAULT_PRIORITY: u16 = 10;

/// The place of the domain, which stands in the path.
pub(crate) fn domain_pointer() -> Pointer {
    Pointer::root().member("domain")
}

/// Where a conflict lies that the zone found.
pub(crate) fn part_pointer(part: Part) -> Pointer {
    match part {
        Part::Domain => domain_pointer(),
        Part::TargetHost(index) => targets().item(index).member("host"),
        Part::Number(index) => Pointer::root().member("numbers").item(index),
    }
}

/// The place of a target's host.
pub(crate) fn host_pointer(index: usize) -> Pointer {
    part_pointer(Part::TargetHost(index))
}

/// Reads the domain from the path, as it was sent.
///
/// # Errors
///
/// One fault: what is wrong with the name.
pub(crate) fn read_domain(text: &str) -> Result<(DomainName, Vec<Normalised>), Vec<Fault>> {
    let mut reader = Reader::default();
    let name = reader.name(text, &domain_pointer());
    let (faults, normalised) = reader.finish();
    name.map(|name| (name, normalised)).ok_or(faults)
}

/// Reads a node document for `domain`.
///
/// # Errors
///
/// Every fault, at most 50.
pub(crate) fn read_node(domain: DomainName, body: &Value<'_>) -> Result<(Node, Vec<Normalised>), Vec<Fault>> {
    let mut reader = Reader::default();
    let draft = Draft::read(&mut reader, domain, body);
    let node = draft.and_then(|draft| draft.build(&mut reader));
    let (faults, normalised) = reader.finish();
    match node {
        Some(node) if faults.is_empty() => Ok((node, normalised)),
        _ => Err(faults),
    }
}

fn targets() -> Pointer {
    Pointer::root().member("targets")
}

/// The parts that could be read, each with its index in the document: what is wrong with one part does not hide what
/// several parts break together.
struct Draft {
    parts: NodeParts,
    target_places: Vec<Pointer>,
    number_places: Vec<Pointer>,
    key_places: Vec<Pointer>,
    source_places: Vec<Pointer>,
    address_places: Vec<Vec<Pointer>>,
}

impl Draft {
    fn read(reader: &mut Reader, domain: DomainName, body: &Value<'_>) -> Option<Self> {
        const KNOWN: [&str; 8] = ["targets", "numbers", "ttl", "keys", "sources", "contact", "lease_seconds", "probe"];
        let root = Pointer::root();
        let members = reader.object(body, &root, &KNOWN)?;
        let mut draft = Self {
            parts: NodeParts::new(domain, Vec::new()),
            target_places: Vec::new(),
            number_places: Vec::new(),
            key_places: Vec::new(),
            source_places: Vec::new(),
            address_places: Vec::new(),
        };
        if let Some((at, value)) = members.demand(reader, "targets") {
            let items = reader.list(value, &at, MAX_TARGETS);
            if matches!(value, Value::List(all) if all.len() > items.len()) {
                reader.name_rule(&at, Quirk::ManyTargets.id());
            }
            for (at, item) in items {
                if let Some((target, places)) = read_target(reader, item, &at) {
                    draft.parts.targets.push(target);
                    draft.target_places.push(at);
                    draft.address_places.push(places);
                }
            }
        }
        if let Some((at, value)) = members.find("numbers") {
            for (at, item) in reader.list(value, &at, MAX_NUMBERS) {
                if let Some(claim) = read_claim(reader, item, &at) {
                    draft.parts.numbers.push(claim);
                    draft.number_places.push(at);
                }
            }
        }
        if let Some((at, value)) = members.find("keys") {
            for (at, item) in reader.list(value, &at, MAX_KEYS) {
                if let Some(key) = read_key(reader, item, &at) {
                    draft.parts.keys.push(key);
                    draft.key_places.push(at);
                }
            }
        }
        if let Some((at, value)) = members.find("sources") {
            for (at, item) in reader.list(value, &at, MAX_SOURCES) {
                if let Some(network) = reader.parsed(item, &at, Network::parse) {
                    draft.parts.sources.push(network);
                    draft.source_places.push(at);
                }
            }
        }
        if let Some((at, value)) = members.find("ttl") {
            draft.parts.ttl = read_seconds(reader, value, &at, &TTL_RANGE);
        }
        if let Some((at, value)) = members.find("lease_seconds") {
            draft.parts.lease_seconds = read_seconds(reader, value, &at, &LEASE_RANGE);
        }
        if let Some((at, value)) = members.find("probe") {
            draft.parts.probe = read_probe(reader, value, &at);
        }
        if let Some((at, value)) = members.find("contact") {
            draft.parts.contact = reader.text(value, &at).map(Into::into);
        }
        Some(draft)
    }

    fn build(self, reader: &mut Reader) -> Option<Node> {
        let (target_places, number_places) = (self.target_places, self.number_places);
        let (key_places, source_places) = (self.key_places, self.source_places);
        let address_places = self.address_places;
        match Node::new(self.parts) {
            Ok(node) => Some(node),
            Err(errors) => {
                for error in errors {
                    let at = match error {
                        InvalidNode::NoTarget => targets(),
                        InvalidNode::TooMany { what, .. } => Pointer::root().member(what),
                        InvalidNode::DomainNotHost => domain_pointer(),
                        InvalidNode::TargetNotHost(index) => target_places[index].member("host"),
                        InvalidNode::TooManyAddresses(index)
                        | InvalidNode::ForeignAddresses(index)
                        | InvalidNode::AddressesDiffer(index) => target_places[index].member("addresses"),
                        InvalidNode::UnusableAddress(index, at) | InvalidNode::AddressTwice(index, at) => {
                            address_places[index][at]
                        }
                        InvalidNode::TargetTwice(index) => target_places[index],
                        InvalidNode::NumberUri(index) => number_places[index].member("uri"),
                        InvalidNode::NumberTwice(index) => number_places[index].member("e164"),
                        InvalidNode::BlocksOverlap(index) => number_places[index].member("block"),
                        InvalidNode::KeyTwice(index) => key_places[index],
                        InvalidNode::SourceTwice(index) => source_places[index],
                        InvalidNode::Ttl => Pointer::root().member("ttl"),
                        InvalidNode::Lease => Pointer::root().member("lease_seconds"),
                        InvalidNode::Contact => Pointer::root().member("contact"),
                    };
                    // Counted by the document's own lists already, or a consequence of a target that was not read.
                    let said = match error {
                        InvalidNode::TooMany { .. } | InvalidNode::TooManyAddresses(_) => reader.has_fault_at(&at),
                        InvalidNode::NoTarget => reader.has_faults(),
                        _ => false,
                    };
                    let quirk = Quirk::behind_node(&error);
                    if !said {
                        reader.fault(&at, error);
                    }
                    if let Some(quirk) = quirk {
                        reader.name_rule(&at, quirk.id());
                    }
                }
                None
            }
        }
    }
}

fn read_target(reader: &mut Reader, value: &Value<'_>, at: &Pointer) -> Option<(Target, Vec<Pointer>)> {
    let members = reader.object(value, at, &["host", "port", "priority", "weight", "addresses"])?;
    let host = members
        .demand(reader, "host")
        .and_then(|(at, value)| reader.text(value, &at).and_then(|text| reader.name(text, &at)));
    let port = members
        .demand(reader, "port")
        .and_then(|(at, value)| reader.whole(value, &at, 1..=u64::from(u16::MAX)))
        .and_then(|port| u16::try_from(port).ok().and_then(NonZeroU16::new));
    let mut rank = |name: &'static str, default: u16| match members.find(name) {
        None => Some(default),
        Some((at, value)) => {
            reader.whole(value, &at, 0..=u64::from(u16::MAX)).and_then(|rank| u16::try_from(rank).ok())
        }
    };
    let (priority, weight) = (rank("priority", DEFAULT_PRIORITY), rank("weight", 0));
    let mut addresses = Vec::new();
    let mut places = Vec::new();
    if let Some((at, value)) = members.find("addresses") {
        for (at, item) in reader.list(value, &at, MAX_ADDRESSES) {
            let address = reader.parsed(item, &at, |text| {
                text.parse::<IpAddr>().map_err(|_| format!("must be an IPv4 or IPv6 address; found {text:?}"))
            });
            if let Some(address) = address {
                addresses.push(address);
                places.push(at);
            }
        }
    }
    Some((Target { host: host?, port: port?, priority: priority?, weight: weight?, addresses }, places))
}

fn read_claim(reader: &mut Reader, value: &Value<'_>, at: &Pointer) -> Option<NumberClaim> {
    let members = reader.object(value, at, &["e164", "uri", "block"])?;
    match (members.find("e164"), members.find("block")) {
        (Some((at, value)), None) => {
            let number = reader.parsed(value, &at, E164Number::parse);
            let uri = match members.find("uri") {
                None => Some(None),
                Some((at, value)) => reader.parsed(value, &at, SipUri::parse).map(Some),
            };
            Some(NumberClaim::Number { number: number?, uri: uri? })
        }
        (None, Some((at, value))) => {
            if let Some((at, _)) = members.find("uri") {
                reader.fault(&at, "a block has no uri: each of its numbers maps to sip:<number>@<domain>");
                return None;
            }
            reader.parsed(value, &at, NumberBlock::parse).map(NumberClaim::Block)
        }
        (Some(_), Some(_)) => {
            reader.fault(at, "must have `e164` or `block`, not both");
            None
        }
        (None, None) => {
            reader.fault(at, "must have `e164` (one number) or `block` (the first digits of many)");
            None
        }
    }
}

fn read_key(reader: &mut Reader, value: &Value<'_>, at: &Pointer) -> Option<KeyPin> {
    let members = reader.object(value, at, &["holder", "sha256"])?;
    let holder = members.demand(reader, "holder").and_then(|(at, value)| match reader.text(value, &at)? {
        "node" => Some(KeyHolder::Node),
        "authority" => Some(KeyHolder::Authority),
        other => {
            reader.fault(&at, format_args!("must be \"node\" or \"authority\"; found {other:?}"));
            None
        }
    });
    let sha256 = members.demand(reader, "sha256").and_then(|(at, value)| {
        let text = reader.text(value, &at)?;
        let octets = sha256_from_hex(text);
        match octets {
            Some(_) => reader.kept_as(&at, text, &text.to_ascii_lowercase()),
            None => reader.fault(&at, "must be 64 hexadecimal digits: the SHA-256 of the SubjectPublicKeyInfo"),
        }
        octets
    });
    Some(KeyPin { holder: holder?, sha256: sha256? })
}

fn read_probe(reader: &mut Reader, value: &Value<'_>, at: &Pointer) -> Option<Probe> {
    let members = reader.object(value, at, &["options", "tlsa"])?;
    let mut choice = |name: &'static str, default: bool| match members.find(name) {
        None => Some(default),
        Some((at, value)) => reader.choice(value, &at),
    };
    let (options, tlsa) = (choice("options", true), choice("tlsa", false));
    Some(Probe { options: options?, tlsa: tlsa? })
}

fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *octet = digit(0)? << 4 | digit(1)?;
    }
    Some(octets)
}

fn read_seconds(
    reader: &mut Reader,
    value: &Value<'_>,
    at: &Pointer,
    range: &std::ops::RangeInclusive<u32>,
) -> Option<u32> {
    let seconds = reader.whole(value, at, u64::from(*range.start())..=u64::from(*range.end()))?;
    u32::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    fn read(text: &str) -> Result<(Node, Vec<Normalised>), Vec<Fault>> {
        read_node(DomainName::parse("debug.ostn.test").unwrap(), &json::parse(text.as_bytes()).unwrap())
    }

    fn faults(text: &str) -> Vec<(String, String)> {
        read(text).unwrap_err().into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn whole_document() {
        let (node, normalised) = read(&format!(
            r#"{{"targets":[{{"host":"SIP.debug.ostn.test","port":5061,"addresses":["203.0.113.7","2001:DB8::7"]}},
                {{"host":"sip2.example.org","port":5081,"priority":20,"weight":5}}],
               "numbers":[{{"e164":"+1 555 0101","uri":"sip:alice@debug.ostn.test"}},{{"block":"+155502"}}],
               "ttl":300,"keys":[{{"holder":"authority","sha256":"{}"}}],"sources":["192.0.2.0/24"],
               "contact":"ops@debug.ostn.test","lease_seconds":3600,"probe":{{"tlsa":true}}}}"#,
            "AB".repeat(32)
        ))
        .unwrap();
        assert_eq!((node.targets()[0].priority, node.targets()[0].weight), (10, 0), "defaults");
        assert_eq!((node.targets()[1].priority, node.targets()[1].weight), (20, 5));
        assert_eq!((node.ttl, node.lease_seconds, node.numbers.len()), (300, Some(3600), 2));
        assert_eq!(node.probe, Some(Probe { options: true, tlsa: true }), "defaults");
        assert_eq!((node.keys[0].holder, node.keys[0].sha256), (KeyHolder::Authority, [0xab; 32]));
        let kept: Vec<_> = normalised.iter().map(|n| (n.pointer.as_str(), n.to.as_str())).collect();
        let key = "ab".repeat(32);
        assert_eq!(
            kept,
            [
                ("#/targets/0/host", "sip.debug.ostn.test"),
                ("#/targets/0/addresses/1", "2001:db8::7"),
                ("#/numbers/0/e164", "+15550101"),
                ("#/keys/0/sha256", key.as_str()),
            ]
        );
    }

    #[test]
    fn api_t16_all_at_once() {
        let found = faults(r#"{"prioritty":1,"targets":[{"host":"sip.debug.ostn.test","port":70000,"weight":-1}]}"#);
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["#/prioritty", "#/targets/0/port", "#/targets/0/weight"]);
        assert!(found[1].1.contains("1 to 65535; found 70000"), "{found:?}");
    }

    #[test]
    fn refused() {
        let target = r#"{"host":"sip.debug.ostn.test","port":5061}"#;
        let with = |more: &str| format!(r#"{{"targets":[{target}],{more}}}"#);
        let host = |host: &str| format!(r#"{{"targets":[{{"host":"{host}","port":5061}}]}}"#);
        let key = format!(r#"{{"holder":"node","sha256":"{}"}}"#, "ab".repeat(32));
        let nine: Vec<_> =
            (0..9).map(|port| format!(r#"{{"host":"a.debug.ostn.test","port":{}}}"#, 5061 + port)).collect();
        let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62));
        for (text, pointer, part) in [
            ("[]".to_owned(), "#", "must be an object"),
            ("{}".into(), "#/targets", "is required"),
            (r#"{"targets":[]}"#.into(), "#/targets", "at least one target"),
            (r#"{"targets":{}}"#.into(), "#/targets", "must be a list; found an object"),
            (r#"{"targets":[7]}"#.into(), "#/targets/0", "must be an object; found 7"),
            (r#"{"targets":[{"port":5061}]}"#.into(), "#/targets/0/host", "is required"),
            (r#"{"targets":[{"host":"a.debug.ostn.test"}]}"#.into(), "#/targets/0/port", "is required"),
            (r#"{"targets":[{"host":"a.debug.ostn.test","port":0}]}"#.into(), "#/targets/0/port", "found 0"),
            (
                r#"{"targets":[{"host":"a.debug.ostn.test","port":"5061"}]}"#.into(),
                "#/targets/0/port",
                "found a string",
            ),
            (r#"{"targets":[{"host":"a.debug.ostn.test","port":5061.5}]}"#.into(), "#/targets/0/port", "found 5061.5"),
            (format!(r#"{{"targets":[{}]}}"#, nine.join(",")), "#/targets", "at most 8 entries; found 9"),
            (format!(r#"{{"targets":[{target},{target}]}}"#), "#/targets/1", "given twice"),
            (host("192.0.2.1"), "#/targets/0/host", "IP address"),
            (host("sip.debug.ostn.test."), "#/targets/0/host", "trailing dot"),
            (host("sip..ostn.test"), "#/targets/0/host", "empty label"),
            (host("*.ostn.test"), "#/targets/0/host", "'*'"),
            (host("s p.ostn.test"), "#/targets/0/host", "' '"),
            (host(&"a".repeat(64)), "#/targets/0/host", "63 octets"),
            (host(&long), "#/targets/0/host", "253 characters"),
            (host("_sip.debug.ostn.test"), "#/targets/0/host", "host name"),
            (
                r#"{"targets":[{"host":"a.debug.ostn.test","port":1,"addresses":["x","0.0.0.0"]}]}"#.into(),
                "#/targets/0/addresses/0",
                "found \"x\"",
            ),
            (
                r#"{"targets":[{"host":"sip.example.org","port":1,"addresses":["192.0.2.1"]}]}"#.into(),
                "#/targets/0/addresses",
                "at or below the node's own domain",
            ),
            (with(r#""ttl":0"#), "#/ttl", "1 to 86400"),
            (with(r#""lease_seconds":59"#), "#/lease_seconds", "60 to 2592000"),
            (with(r#""contact":"""#), "#/contact", "1 to 254 octets"),
            (with(r#""probe":true"#), "#/probe", "must be an object"),
            (with(r#""probe":{"options":1}"#), "#/probe/options", "must be true or false; found 1"),
            (with(r#""probe":{"ping":true}"#), "#/probe/ping", "unknown member"),
            (with(r#""contact":null"#), "#/contact", "found null"),
            (with(r#""sources":["192.0.2.1/24"]"#), "#/sources/0", "behind the prefix"),
            (with(r#""keys":[{"holder":"me","sha256":"00"}]"#), "#/keys/0/holder", "found \"me\""),
            (with(r#""keys":[{"holder":"node","sha256":"00"}]"#), "#/keys/0/sha256", "64 hexadecimal"),
            (with(r#""sources":["192.0.2.0/24","192.0.2.0/24"]"#), "#/sources/1", "twice"),
            (with(&format!(r#""keys":[{key},{key}]"#)), "#/keys/1", "twice"),
            (with(r#""numbers":[{"e164":"15550101"}]"#), "#/numbers/0/e164", "begins with '+'"),
            (with(r#""numbers":[{}]"#), "#/numbers/0", "`e164`"),
            (with(r#""numbers":[{"e164":"+1","block":"+1"}]"#), "#/numbers/0", "not both"),
            (with(r#""numbers":[{"block":"+1","uri":"sip:a@debug.ostn.test"}]"#), "#/numbers/0/uri", "no uri"),
            (with(r#""numbers":[{"e164":"+1555","uri":"sip:a@b.test"}]"#), "#/numbers/0/uri", "sip:user@"),
            (with(r#""numbers":[{"e164":"+1555"},{"e164":"+1-555"}]"#), "#/numbers/1/e164", "twice"),
            (with(r#""numbers":[{"block":"+15"},{"block":"+155"}]"#), "#/numbers/1/block", "overlaps"),
        ] {
            let found = faults(&text);
            assert!(found[0].0 == pointer && found[0].1.contains(part), "{text}: {found:?}");
        }
    }

    #[test]
    fn places_survive_what_could_not_be_read() {
        let found = faults(
            r#"{"targets":[{"host":"a.debug.ostn.test"},
                {"host":"b.debug.ostn.test","port":1,"addresses":["x","0.0.0.0"]}]}"#,
        );
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["#/targets/0/port", "#/targets/1/addresses/0", "#/targets/1/addresses/1"]);
    }

    #[test]
    fn domains() {
        let (name, normalised) = read_domain("Debug.OSTN.test").unwrap();
        assert_eq!(name.to_string(), "debug.ostn.test");
        assert_eq!((normalised[0].pointer.as_str(), normalised[0].from.as_str()), ("#/domain", "Debug.OSTN.test"));
        assert_eq!(read_domain("a.test.").unwrap_err()[0].pointer, "#/domain");
    }

    /// A document with every member, to be mutated.
    fn full() -> String {
        let key = "ab".repeat(32);
        format!(
            r#"{{"targets":[{{"host":"sip.debug.ostn.test","port":5061,"priority":1,"weight":2,"addresses":["192.0.2.1"]}}],
            "numbers":[{{"e164":"+15550101","uri":"sip:alice@debug.ostn.test"}},{{"block":"+155502"}}],"ttl":60,
            "keys":[{{"holder":"node","sha256":"{key}"}}],"sources":["192.0.2.0/24"],"contact":"x","lease_seconds":60}}"#
        )
    }

    proptest! {
        /// Any body is a node or a list of faults, never a panic; what is kept reads back as the same node.
        #[test]
        fn any_body(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..4)) {
            let mut text = full().into_bytes();
            for (at, octet, kind) in cuts {
                let at = at.index(text.len());
                match kind {
                    0 => text[at] = octet,
                    1 => text.insert(at, octet),
                    _ => drop(text.remove(at)),
                }
            }
            let Ok(value) = json::parse(&text) else { return Ok(()) };
            let domain = DomainName::parse("debug.ostn.test").unwrap();
            match read_node(domain.clone(), &value) {
                Ok((node, _)) => {
                    let shown = serde_json::to_vec(&super::super::answer::NodeBody::from(&node)).unwrap();
                    let (again, normalised) = read_node(domain, &json::parse(&shown).unwrap()).unwrap();
                    prop_assert_eq!(again, node);
                    prop_assert!(normalised.is_empty(), "what we show is normal: {:?}", normalised);
                }
                Err(faults) => prop_assert!((1..=50).contains(&faults.len())),
            }
        }

        #[test]
        fn any_octets(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = json::parse(&text) {
                prop_assert!(read_node(DomainName::parse("a.test").unwrap(), &value).is_err());
            }
        }
    }
}
