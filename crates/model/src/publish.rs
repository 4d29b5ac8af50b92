//! From a node to its records: the one place that says what a node publishes (design, PUB-1 to PUB-9).
//!
//! The same chain (NAPTR → SRV → addresses, TLSA) stands at the node's own name when that lies in a zone we serve, and
//! below the peers zone always; its numbers stand in the ENUM zone. Start at [`records`].

use crate::name::{DomainName, InvalidName, MAX_WIRE_LEN};
use crate::node::{Node, NumberClaim, Target};
use crate::record::{Naptr, OwnerName, Record, RecordData, Srv, Tlsa};

/// The service and protocol labels of SIP over TLS (RFC 3263 4.1).
pub const SIPS_TCP: [&str; 2] = ["_sips", "_tcp"];
/// ORDER and PREFERENCE of a node's one NAPTR: SIPS+D2T and no other (PUB-2, PUB-3).
pub const SIP_NAPTR_RANK: (u16, u16) = (10, 10);
/// ORDER and PREFERENCE of a number's one NAPTR (ENUM-70).
pub const ENUM_NAPTR_RANK: (u16, u16) = (100, 10);
/// Largest answer that every SIP server can read: sofia-sip and baresip send no EDNS and never retry over TCP.
pub const MAX_ANSWER: usize = 512;

/// Which records a node makes: raised with every change of [`records`] that shows for some node. The zones of a program with
/// another version take new serials and begin a new history, else secondaries would keep records that nobody publishes.
pub const RECORDS_VERSION: u64 = 0;

/// Where a node's records go.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Whether the node's domain lies in a zone that we serve: its records then stand at its own name.
    pub own_zone: bool,
    /// The peers zone's apex: every node's records stand below it too.
    pub peers_zone: Option<&'a DomainName>,
    /// The policy zone's apex: every node's SRV records stand below it too, and nothing else (decisions 10).
    pub policy_zone: Option<&'a DomainName>,
    /// The ENUM zone's apex.
    pub number_zone: Option<&'a DomainName>,
}

/// All records of `node` (addresses at the domain itself only if that is a target: PUB-8), in the order NAPTR, SRV, addresses, TLSA, then the peers zone's, then the numbers'.
///
/// Numbers are left out when there is no ENUM zone.
///
/// # Errors
///
/// [`RecordSetError`] when a name gets too long or an answer too large: use shorter names or fewer targets.
pub fn records(node: &Node, places: &Places<'_>) -> Result<Vec<Record>, RecordSetError> {
    let mut records = Vec::with_capacity(16);
    if places.own_zone {
        push_chain(&mut records, node, None, true)?;
    }
    if let Some(peers) = places.peers_zone {
        push_chain(&mut records, node, Some(peers), !places.own_zone)?;
    }
    if let Some(apex) = places.policy_zone {
        let hosts = places.peers_zone.filter(|_| !places.own_zone);
        push_service(&mut records, node, Some(apex), hosts)?;
    }
    if let Some(apex) = places.number_zone {
        for claim in &node.numbers {
            let (digits, wildcard) = match claim {
                NumberClaim::Number { number, .. } => (number.digits(), false),
                NumberClaim::Block(block) => (block.digits(), true),
            };
            let name = digits.owner_name(apex).map_err(RecordSetError::Name)?;
            let data = RecordData::Naptr(number_naptr(node.domain(), claim));
            records.push(Record { owner: OwnerName { name, wildcard }, ttl: node.ttl, data });
        }
    }
    check_sizes(&records)?;
    Ok(records)
}

/// What [`records`] would refuse, mostly without making a record: names far from every limit need no closer look.
///
/// # Errors
///
/// As [`records`].
pub fn check(node: &Node, places: &Places<'_>) -> Result<(), RecordSetError> {
    if is_small(node, places) { Ok(()) } else { records(node, places).map(drop) }
}

/// Whether names and answers stay below their limits even if every name stood below the longest suffix.
fn is_small(node: &Node, places: &Places<'_>) -> bool {
    // Labels in front of a name: `_sips._tcp` or `_65535._tcp`, each with its length octet.
    const SERVICE: usize = 12;
    // Header, question without its name; one record without its data, its owner compressed (RFC 1035 4.1).
    const FIXED: usize = 16;
    const RECORD: usize = 12;
    let suffix = [places.peers_zone, places.policy_zone].into_iter().flatten().map(|apex| apex.as_wire().len()).max();
    let suffix = suffix.unwrap_or(0);
    let domain = node.domain().as_wire().len();
    let host = node.targets().iter().map(|target| target.host.as_wire().len()).max().unwrap_or(0);
    let owner = domain.max(host) + suffix + SERVICE;
    let srv = node.targets().len() * (RECORD + 6 + host + suffix);
    // ORDER, PREFERENCE, the three strings and the name of the service.
    let naptr = RECORD + 16 + owner;
    let addresses = node.targets().iter().map(|target| target.addresses.len()).max().unwrap_or(0) * (RECORD + 16);
    let keys = node.keys.len() * (RECORD + 35);
    if owner > MAX_WIRE_LEN || FIXED + owner + srv.max(naptr).max(addresses).max(keys) > MAX_ANSWER {
        return false;
    }
    let Some(apex) = places.number_zone else { return true };
    node.numbers.iter().all(|claim| {
        let (digits, uri) = match claim {
            NumberClaim::Number { number, uri } => (number.digits(), uri.as_ref().map(|uri| uri.to_string().len())),
            NumberClaim::Block(block) => (block.digits(), None),
        };
        let count = digits.as_slice().len();
        // `!^(.*)$!sip:\1@` has as many octets as `!^.*$!sip:+` with four digits and `@`: 16.
        let regexp = uri.map_or(16 + count + domain, |uri| uri + 8);
        // A wildcard's label, and one of two octets for each digit.
        let owner = 2 + 2 * count + apex.as_wire().len();
        owner <= MAX_WIRE_LEN && regexp <= 255 && FIXED + owner + RECORD + 16 + regexp <= MAX_ANSWER
    })
}

/// The NAPTR that maps a claim's numbers to a URI at `domain` (RFC 6116 3.4; ENUM-71 to ENUM-75): terminal, in the
/// present syntax (ENUM-72, ENUM-73), without a flag behind the regexp (ENUM-61), never to a `tel:` URI (ENUM-74); below a
/// block's wildcard it sees the whole number (ENUM-83).
#[must_use]
pub fn number_naptr(domain: &DomainName, claim: &NumberClaim) -> Naptr {
    let regexp = match claim {
        NumberClaim::Number { uri: Some(uri), .. } => format!("!^.*$!{uri}!"),
        NumberClaim::Number { number, uri: None } => format!("!^.*$!sip:{number}@{domain}!"),
        // The group hands the whole number on, plus included, so that one record serves the block.
        NumberClaim::Block(_) => format!(r"!^(.*)$!sip:\1@{domain}!"),
    };
    Naptr {
        order: ENUM_NAPTR_RANK.0,
        preference: ENUM_NAPTR_RANK.1,
        flags: "u".into(),
        services: "E2U+sip".into(),
        regexp: regexp.into(),
        replacement: None,
    }
}

/// The name of a target's host in the records below `suffix`: foreign hosts whose addresses we publish move below
/// the suffix, because nobody else may have records for them; all others keep their own name.
fn host_name(target: &Target, suffix: Option<&DomainName>, moved: bool) -> Result<DomainName, RecordSetError> {
    match suffix {
        Some(suffix) if moved && !target.addresses.is_empty() => {
            target.host.under(suffix).map_err(RecordSetError::Name)
        }
        _ => Ok(target.host.clone()),
    }
}

fn push_chain(
    records: &mut Vec<Record>,
    node: &Node,
    suffix: Option<&DomainName>,
    with_hosts: bool,
) -> Result<(), RecordSetError> {
    let domain = match suffix {
        Some(suffix) => node.domain().under(suffix).map_err(RecordSetError::Name)?,
        None => node.domain().clone(),
    };
    let service = domain.prefixed(&SIPS_TCP).map_err(RecordSetError::Name)?;
    let mut push = |owner: DomainName, data| records.push(Record { owner: owner.into(), ttl: node.ttl, data });
    push(
        domain,
        RecordData::Naptr(Naptr {
            order: SIP_NAPTR_RANK.0,
            preference: SIP_NAPTR_RANK.1,
            flags: "s".into(),
            services: "SIPS+D2T".into(),
            regexp: "".into(),
            replacement: Some(service.clone()),
        }),
    );
    push_service(records, node, suffix, suffix.filter(|_| with_hosts))?;
    let mut push = |owner: DomainName, data| records.push(Record { owner: owner.into(), ttl: node.ttl, data });
    if !with_hosts {
        return Ok(());
    }
    for (index, target) in node.targets().iter().enumerate() {
        if target.addresses.is_empty() {
            continue;
        }
        let host = host_name(target, suffix, with_hosts)?;
        // Two targets on one host share its addresses (Node::new saw to it that they agree).
        if node.targets()[..index].iter().all(|earlier| earlier.host != target.host) {
            for address in &target.addresses {
                let data = match address {
                    std::net::IpAddr::V4(v4) => RecordData::A(*v4),
                    std::net::IpAddr::V6(v6) => RecordData::Aaaa(*v6),
                };
                push(host.clone(), data);
            }
        }
        let port_label = format!("_{}", target.port);
        for key in &node.keys {
            let owner = host.prefixed(&[&port_label, "_tcp"]).map_err(RecordSetError::Name)?;
            push(owner, RecordData::Tlsa(Tlsa { usage: key.holder.tlsa_usage(), sha256: key.sha256 }));
        }
    }
    Ok(())
}

/// The SRV records of `node` below `suffix`; hosts whose addresses we publish move below `hosts`, if given.
fn push_service(
    records: &mut Vec<Record>,
    node: &Node,
    suffix: Option<&DomainName>,
    hosts: Option<&DomainName>,
) -> Result<(), RecordSetError> {
    let domain = match suffix {
        Some(suffix) => node.domain().under(suffix).map_err(RecordSetError::Name)?,
        None => node.domain().clone(),
    };
    let service = domain.prefixed(&SIPS_TCP).map_err(RecordSetError::Name)?;
    for target in node.targets() {
        let data = RecordData::Srv(Srv {
            priority: target.priority,
            weight: target.weight,
            port: target.port.get(),
            target: Some(host_name(target, hosts, hosts.is_some())?),
        });
        records.push(Record { owner: service.clone().into(), ttl: node.ttl, data });
    }
    Ok(())
}

/// Header, question, and each record of one RRset with its owner compressed to two octets (RFC 1035 4.1.4).
fn check_sizes(records: &[Record]) -> Result<(), RecordSetError> {
    for (index, first) in records.iter().enumerate() {
        let same_set =
            |record: &&Record| record.owner == first.owner && record.data.type_name() == first.data.type_name();
        if records[..index].iter().any(|earlier| same_set(&earlier)) {
            continue;
        }
        let answers: usize = records[index..].iter().filter(same_set).map(|r| 12 + r.data.wire_len()).sum();
        let size = 12 + first.owner.wire_len() + 4 + answers;
        if size > MAX_ANSWER {
            return Err(RecordSetError::TooLarge { owner: first.owner.clone(), kind: first.data.type_name(), size });
        }
        // A character string is at most 255 octets (ENUM-76).
        if let RecordData::Naptr(naptr) = &first.data
            && naptr.regexp.len() > 255
        {
            return Err(RecordSetError::LongRegexp { owner: first.owner.clone(), size: naptr.regexp.len() });
        }
    }
    Ok(())
}

/// Why a node cannot be published although each of its parts is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordSetError {
    /// A name made from the node's would pass 255 octets.
    #[error("a name made from the node's names is too long: use a shorter domain or host name")]
    Name(#[source] InvalidName),
    /// An answer that many SIP servers could not read.
    #[error(
        "the {kind} answer at {owner} would take {size} octets; SIP servers that send no EDNS read at most \
         {MAX_ANSWER}: use fewer targets or addresses, or shorter host names"
    )]
    TooLarge {
        /// Where.
        owner: OwnerName,
        /// The record type.
        kind: &'static str,
        /// Octets that the answer would take.
        size: usize,
    },
    /// A substitution expression over 255 octets.
    #[error("the regexp at {owner} would take {size} octets, at most 255 fit: use a shorter uri or domain")]
    LongRegexp {
        /// Where.
        owner: OwnerName,
        /// Octets that it would take.
        size: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{KeyHolder, KeyPin, NodeParts};
    use crate::number::{E164Number, NumberBlock};
    use crate::uri::SipUri;
    use std::num::NonZeroU16;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn target(host: &str, addresses: &[&str]) -> Target {
        Target {
            host: name(host),
            port: NonZeroU16::new(5061).unwrap(),
            priority: 10,
            weight: 0,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn lines(parts: NodeParts, own_zone: bool) -> Vec<String> {
        let peers = name("peers.ostn.test");
        let numbers = name("e164.ostn.test");
        let places = Places { own_zone, peers_zone: Some(&peers), policy_zone: None, number_zone: Some(&numbers) };
        records(&Node::new(parts).unwrap(), &places).unwrap().iter().map(ToString::to_string).collect()
    }

    /// PUB-1, PUB-2, PUB-3, PUB-4, PUB-8; ENUM-70, ENUM-71, ENUM-72, ENUM-73, ENUM-75, ENUM-83.
    #[test]
    fn node_in_our_zone() {
        let mut parts = NodeParts::new(
            name("debug.ostel.me"),
            vec![target("sip.debug.ostel.me", &["192.0.2.1", "2001:db8::1"]), target("sip.provider.example", &[])],
        );
        parts.keys.push(KeyPin { holder: KeyHolder::Node, sha256: [1; 32] });
        parts.numbers = vec![
            NumberClaim::Number { number: E164Number::parse("+15550101").unwrap(), uri: None },
            NumberClaim::Block(NumberBlock::parse("+155502").unwrap()),
        ];
        let pin = "01".repeat(32);
        assert_eq!(
            lines(parts, true),
            [
                r#"debug.ostel.me. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.debug.ostel.me."#.to_owned(),
                "_sips._tcp.debug.ostel.me. 60 IN SRV 10 0 5061 sip.debug.ostel.me.".into(),
                "_sips._tcp.debug.ostel.me. 60 IN SRV 10 0 5061 sip.provider.example.".into(),
                "sip.debug.ostel.me. 60 IN A 192.0.2.1".into(),
                "sip.debug.ostel.me. 60 IN AAAA 2001:db8::1".into(),
                format!("_5061._tcp.sip.debug.ostel.me. 60 IN TLSA 3 1 1 {pin}"),
                r#"debug.ostel.me.peers.ostn.test. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.debug.ostel.me.peers.ostn.test."#.into(),
                "_sips._tcp.debug.ostel.me.peers.ostn.test. 60 IN SRV 10 0 5061 sip.debug.ostel.me.".into(),
                "_sips._tcp.debug.ostel.me.peers.ostn.test. 60 IN SRV 10 0 5061 sip.provider.example.".into(),
                r#"1.0.1.0.5.5.5.1.e164.ostn.test. 60 IN NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:+15550101@debug.ostel.me!" ."#.into(),
                r#"*.2.0.5.5.5.1.e164.ostn.test. 60 IN NAPTR 100 10 "u" "E2U+sip" "!^(.*)$!sip:\\1@debug.ostel.me!" ."#.into(),
            ]
        );
    }

    /// RFC 6116 5.1, what a publisher keeps: ENUM-70, ENUM-71, ENUM-72, ENUM-73, ENUM-74, ENUM-75, ENUM-76, ENUM-83.
    #[test]
    fn enum_70_to_76() {
        let number = |uri: Option<&str>| NumberClaim::Number {
            number: E164Number::parse("+441632960083").unwrap(),
            uri: uri.map(|text| SipUri::parse(text).unwrap()),
        };
        let block = NumberClaim::Block(NumberBlock::parse("+4420").unwrap());
        for claim in
            [number(None), number(Some("sip:a.b_c@debug.ostel.me")), number(Some("sips:x@debug.ostel.me")), block]
        {
            let record = number_naptr(&name("debug.ostel.me"), &claim);
            assert_eq!((record.order, record.preference), (100, 10), "ENUM-70: {claim:?}");
            let text = &record.regexp;
            let delimiters = text.matches('!').count();
            assert!(text.is_ascii() && text.starts_with("!^") && delimiters == 3, "ENUM-71, ENUM-T16: {text}");
            assert_eq!((&*record.flags, &record.replacement), ("u", &None), "ENUM-72: terminal, no replacement");
            assert_eq!(&*record.services, "E2U+sip", "ENUM-73");
            let uri = text.rsplit('!').nth(1).unwrap();
            assert!(uri.starts_with("sip:") || uri.starts_with("sips:"), "ENUM-74: no `tel:` is published: {uri}");
            assert!(uri.ends_with("@debug.ostel.me"), "ENUM-75: at the node's own domain: {uri}");
            assert!(!text.ends_with("!i") && !text.contains('|'), "ENUM-60, ENUM-61: {text}");
            // ENUM-83, ENUM-59: the whole number, plus included, whatever its length.
            let ere = text.split('!').nth(1).unwrap();
            assert!(["^.*$", "^(.*)$"].contains(&ere), "{ere}");
            assert_eq!(ere.contains('('), uri.contains(r"\1"), "ENUM-55: a group for each that is named");
        }
        let mut parts = NodeParts::new(name("a.test"), vec![target("sip.a.test", &["192.0.2.1"])]);
        let user = "u".repeat(238);
        parts.numbers = vec![number(Some(&format!("sip:{user}@a.test")))];
        let places =
            Places { number_zone: Some(&name("e164.test")), peers_zone: None, policy_zone: None, own_zone: true };
        let fits = |parts: NodeParts| records(&Node::new(parts).unwrap(), &places).map(|records| records.len());
        // `!^.*$!` is 6 octets, `sip:` 4, `@a.test` 7, the last `!` 1: 238 octets of user make 256.
        assert!(matches!(fits(parts.clone()), Err(RecordSetError::LongRegexp { size: 256, .. })), "ENUM-76");
        parts.numbers = vec![number(Some(&format!("sip:{}@a.test", &user[1..])))];
        assert_eq!(fits(parts.clone()), Ok(4), "ENUM-76, ENUM-75: one record a number");
        for odd in ["sip:a@b.test", "sip:a@a.test:5061", "sip:a@a.test;transport=udp", "sip:a!b@a.test"] {
            parts.numbers = vec![number(Some(odd))];
            assert!(Node::new(parts.clone()).is_err(), "ENUM-75: {odd}");
        }
    }

    #[test]
    fn foreign_node_hosts_move_below_the_peers_zone() {
        let parts = NodeParts::new(name("example.org"), vec![target("sip.example.org", &["192.0.2.7"])]);
        assert_eq!(
            lines(parts, false),
            [
                r#"example.org.peers.ostn.test. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.example.org.peers.ostn.test."#,
                "_sips._tcp.example.org.peers.ostn.test. 60 IN SRV 10 0 5061 sip.example.org.peers.ostn.test.",
                "sip.example.org.peers.ostn.test. 60 IN A 192.0.2.7",
            ]
        );
    }

    #[test]
    fn policy_zone_has_the_service_and_nothing_else() {
        let parts = NodeParts::new(
            name("example.org"),
            vec![target("sip.example.org", &["192.0.2.7"]), target("sip.provider.example", &[])],
        );
        let (peers, policy) = (name("peers.ostn.test"), name("policy.ostn.test"));
        let places =
            Places { own_zone: false, peers_zone: Some(&peers), policy_zone: Some(&policy), number_zone: None };
        let records = records(&Node::new(parts).unwrap(), &places).unwrap();
        let below = records.iter().map(ToString::to_string).filter(|line| line.contains(".policy.ostn.test. "));
        assert_eq!(
            below.collect::<Vec<_>>(),
            [
                "_sips._tcp.example.org.policy.ostn.test. 60 IN SRV 10 0 5061 sip.example.org.peers.ostn.test.",
                "_sips._tcp.example.org.policy.ostn.test. 60 IN SRV 10 0 5061 sip.provider.example.",
            ]
        );
    }

    proptest::proptest! {
        /// The quick look never lets a node pass that the records themselves would not.
        #[test]
        fn check_agrees_with_the_records(
            labels in proptest::collection::vec(1..=63_usize, 1..5),
            hosts in proptest::collection::vec((1..=63_usize, 0..=8_u8), 1..8),
            keys in 0..=4_u8,
            numbers in proptest::collection::vec((1..=15_usize, 0..=120_usize), 0..4),
            apex in proptest::collection::vec(1..=63_usize, 1..4),
            own_zone: bool,
        ) {
            let dotted = |labels: &[usize]| labels.iter().map(|len| "a".repeat(*len)).collect::<Vec<_>>().join(".");
            let Ok(domain) = DomainName::parse(&dotted(&labels)) else { return Ok(()) };
            let mut targets = Vec::new();
            for (index, (len, addresses)) in hosts.iter().enumerate() {
                let label = format!("{index}{}", "h".repeat(len - 1));
                let Ok(host) = domain.prefixed(&[&label]) else { return Ok(()) };
                let mut target = target("x.test", &[]);
                target.host = host;
                target.addresses = (0..*addresses).map(|i| std::net::Ipv4Addr::new(192, 0, 2, i + 1).into()).collect();
                targets.push(target);
            }
            let mut parts = NodeParts::new(domain.clone(), targets);
            parts.keys = (0..keys).map(|key| KeyPin { holder: KeyHolder::Node, sha256: [key; 32] }).collect();
            for (index, (digits, user)) in numbers.iter().enumerate() {
                let digits = format!("+{}{}", index + 1, "5".repeat(digits - 1));
                let number = E164Number::parse(&digits).unwrap();
                let uri = (*user > 0).then(|| format!("sip:{}@{domain}", "u".repeat(*user)));
                let uri = uri.and_then(|uri| SipUri::parse(&uri).ok());
                parts.numbers.push(NumberClaim::Number { number, uri });
            }
            parts.numbers.push(NumberClaim::Block(NumberBlock::parse("+999").unwrap()));
            let Ok(node) = Node::new(parts) else { return Ok(()) };
            let Ok(peers) = DomainName::parse(&dotted(&apex)) else { return Ok(()) };
            let policy = DomainName::parse(&format!("p.{}", dotted(&apex[1..]))).unwrap_or_else(|_| name("p"));
            let places =
                Places { own_zone, peers_zone: Some(&peers), policy_zone: Some(&policy), number_zone: Some(&peers) };
            proptest::prop_assert_eq!(check(&node, &places), records(&node, &places).map(drop));
        }
    }

    #[test]
    fn too_large_for_512_octets() {
        let long = format!("{}.{}", "a".repeat(60), "b".repeat(60));
        let domain = name(&format!("{long}.ostel.me"));
        let targets = (0..4).map(|i| target(&format!("h{i}.{long}.ostel.me"), &["192.0.2.1"])).collect();
        let node = Node::new(NodeParts::new(domain, targets)).unwrap();
        let places = Places { own_zone: true, peers_zone: None, policy_zone: None, number_zone: None };
        let error = records(&node, &places).unwrap_err();
        assert!(matches!(error, RecordSetError::TooLarge { kind: "SRV", size: 771, .. }), "{error}");
    }
}
