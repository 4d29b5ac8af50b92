//! What the tests of this crate share: a small directory, and nodes for it.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use proptest::prelude::*;
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::number::Digits;
use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberBlock, NumberClaim, NumberRange, Serial, Target};
use tandem_zone::master::{MasterFileError, StaticZone};
use tandem_zone::{Holders, Rrset, Settings, Zones};

pub(crate) fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

pub(crate) fn read(apex: &str, text: &str) -> Result<StaticZone, MasterFileError> {
    StaticZone::read(&name(apex), &format!("{apex}.zone"), text.as_bytes(), &mut |_| Err("no includes here".into()))
}

pub(crate) fn with_head(rest: &str) -> String {
    format!("$TTL 3600\n@ SOA ns1.ostn.test. hostmaster.ostn.test. 7 3600 600 604800 30\n@ NS ns1.ostn.test.\n{rest}")
}

/// The zones of a small directory, with some static names in them.
pub(crate) fn directory() -> Zones {
    let statics = vec![
        read(
            "ostn.test",
            &with_head(
                "ns1 A 192.0.2.53\nwww CNAME ns1\npeers NS ns1\ne164 NS ns1\nsub NS ns.sub\nns.sub A 192.0.2.54\nx.static A 192.0.2.1\n",
            ),
        ),
        read("ostel.me", &with_head("mail A 192.0.2.25\n*.wild TXT any\n")),
        read("peers.ostn.test", &with_head("")),
        read("policy.ostn.test", &with_head("")),
        read("e164.ostn.test", &with_head("9.9.9 NAPTR 1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y!\" .\n")),
    ];
    let settings = Settings {
        peers_zone: Some(name("peers.ostn.test")),
        policy_zone: Some(name("policy.ostn.test")),
        number_zone: Some(name("e164.ostn.test")),
    };
    Zones::new(settings, statics.into_iter().map(Result::unwrap).collect(), Serial::new(7)).unwrap()
}

pub(crate) fn rdatas(set: &Rrset<'_>) -> BTreeSet<Vec<u8>> {
    set.rdatas()
        .map(|data| {
            let mut rdata = Vec::new();
            data.write(&mut rdata);
            rdata
        })
        .collect()
}

pub(crate) fn any_host(domain: &'static str) -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "sip.", "a.b.", "sip2."]).prop_map(move |prefix| format!("{prefix}{domain}"))
}

/// Delegations of numbers to the domains of [`any_node`], so that numbers of one node lie in blocks of another.
pub(crate) fn any_holders() -> impl Strategy<Value = Holders> {
    let domains = vec!["ostn.test", "b.a.ostn.test", "ostel.me", "example.org"];
    let range = (prop::collection::vec(0_u8..2, 1..5), any::<bool>())
        .prop_map(|(digits, block)| NumberRange::new(Digits::new(&digits).unwrap(), block));
    prop::collection::vec((range, prop::sample::select(domains)), 0..6).prop_map(|delegations| {
        let holders = Holders::default();
        delegations.into_iter().for_each(|(range, domain)| holders.set(range, name(domain)));
        holders
    })
}

pub(crate) fn any_node() -> impl Strategy<Value = Node> {
    let domains = vec![
        "a.ostn.test",
        "b.a.ostn.test",
        "x.y.ostn.test",
        "ostel.me",
        "n.ostel.me",
        "example.org",
        "sub.example.org",
    ];
    prop::sample::select(domains)
        .prop_flat_map(|domain| {
            let target = (any_host(domain), 5060_u16..5063, 0_u16..3, 0_u16..3, 0_usize..3, 0_usize..3);
            let targets = prop::collection::vec(target, 1..4);
            let claims = prop::collection::vec((prop::collection::vec(0_u8..2, 1..5), prop::bool::weighted(0.2)), 0..9);
            (Just(domain), targets, claims, 0_usize..3, 1_u32..1000)
        })
        .prop_filter_map("rules between parts", |(domain, targets, claims, keys, ttl)| {
            let targets = targets.into_iter().map(|(host, port, priority, weight, v4, v6)| Target {
                host: name(&host),
                port: NonZeroU16::new(port).unwrap(),
                priority,
                weight,
                addresses: ["192.0.2.1", "192.0.2.2"][..v4]
                    .iter()
                    .chain(&["2001:db8::1", "2001:db8::2"][..v6])
                    .map(|a| a.parse().unwrap())
                    .collect(),
            });
            let mut parts = NodeParts::new(name(domain), targets.collect());
            parts.ttl = Some(ttl);
            parts.keys =
                (0..keys).map(|k| KeyPin { holder: KeyHolder::Node, sha256: [u8::try_from(k).unwrap(); 32] }).collect();
            parts.numbers = claims
                .into_iter()
                .map(|(digits, block)| {
                    let text: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
                    if block {
                        NumberClaim::Block(NumberBlock::parse(&format!("+{text}")).unwrap())
                    } else {
                        NumberClaim::Number { number: E164Number::parse(&format!("+{text}")).unwrap(), uri: None }
                    }
                })
                .collect();
            Node::new(parts).ok()
        })
}
