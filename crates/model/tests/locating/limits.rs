//! LOC-90: whatever DNS says, one URI costs a bounded number of lookups and gives a bounded result.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use tandem_model::DomainName;
use tandem_model::locate::{
    Answer, Client, Data, Failure, Found, Kind, LocateError, MAX_ALIASES, MAX_NAPTRS, MAX_NEXT_HOPS, MAX_QUESTIONS,
    MAX_SRV_QUESTIONS, MAX_SRVS, Question, Reply, Request,
};
use tandem_model::record::{Naptr, Srv};

use crate::zone::{ZoneFile, found};
use crate::{client, run, shown, uri};

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn srv(priority: u16, port: u16, target: &str) -> Data {
    Data::Srv(Srv { priority, weight: 0, port, target: Some(name(target)) })
}

fn naptr(order: u16, services: &str, replacement: &str) -> Data {
    let (flags, services) = ("s".into(), services.into());
    let replacement = Some(name(replacement));
    Data::Naptr(Naptr { order, preference: 0, flags, services, regexp: "".into(), replacement })
}

/// A chain of aliases from `a0.<domain>`, `len` long, with an address at its end.
fn chain(zone: &mut ZoneFile, domain: &str, len: usize) {
    for step in 0..len {
        zone.add(name(&format!("a{step}.{domain}")), Data::Cname(name(&format!("a{}.{domain}", step + 1))));
    }
    zone.add(name(&format!("a{len}.{domain}")), Data::A(Ipv4Addr::new(203, 0, 113, 1)));
}

#[test]
fn aliases() {
    let mut zone =
        ZoneFile::parse("loop.test. CNAME loop2.test.\nloop2.test. CNAME loop.test.\nself.test. CNAME self.test.\n");
    chain(&mut zone, "eight.test", MAX_ALIASES);
    chain(&mut zone, "nine.test", MAX_ALIASES + 1);
    // A server that gives one alias at a time, and one that gives the whole chain.
    let one_by_one = |question: &Question| match zone.reply(question) {
        Reply::Records(mut answer) => {
            answer.records.truncate(1);
            Reply::Records(answer)
        }
        other => other,
    };
    for (id, text, expected) in [
        ("8 are followed", "sips:b@a0.eight.test:5061", "TLS 203.0.113.1:5061 as a0.eight.test"),
        ("9 are not", "sips:b@a0.nine.test:5061", "TemporaryFailure"),
        ("a circle", "sips:b@loop.test", "TemporaryFailure"),
        ("a circle of one", "sips:b@self.test", "TemporaryFailure"),
    ] {
        for whole in [false, true] {
            let reply = |question: &Question| if whole { zone.reply(question) } else { one_by_one(question) };
            let (located, asked) = run(&uri(text), Request::default(), client("FULL"), &[], reply);
            assert_eq!(shown(&located), expected, "LOC-90 {id}, whole chain {whole}");
            assert!(asked.len() <= 2 + 2 * MAX_ALIASES, "LOC-90 {id}: {} questions", asked.len());
            if let Err(LocateError::TemporaryFailure { failure, .. }) = located.outcome {
                assert_eq!(failure, Failure::Aliases, "{id}");
            }
        }
    }
}

/// Targets that are all aliases: the limit is one for the whole URI.
#[test]
fn aliases_of_many_targets() {
    let mut zone = ZoneFile::default();
    for host in 0..20 {
        let host_name = format!("h{host}.many.test");
        zone.add(name("_sips._tcp.many.test"), srv(host, 5061, &host_name));
        zone.add(name(&host_name), Data::Cname(name(&format!("real.{host_name}"))));
        zone.add(
            name(&format!("real.{host_name}")),
            Data::A(Ipv4Addr::new(203, 0, 113, 1 + u8::try_from(host).unwrap())),
        );
    }
    let (located, asked) = run(&uri("sips:b@many.test"), Request::default(), client("FULL"), &[], |q| zone.reply(q));
    assert_eq!(located.outcome.unwrap().len(), MAX_ALIASES);
    assert_eq!(located.ttl, Some(0), "LOC-88: targets are missing, so nobody keeps it");
    assert!(asked.len() <= MAX_QUESTIONS, "{} questions", asked.len());
}

#[test]
fn huge_record_sets() {
    let mut zone = ZoneFile::default();
    // ORDER falls as the reply goes on: the first ten by ORDER are useless, the eleventh is not looked at.
    for order in (0..1000_u16).rev() {
        let service = if usize::from(order) < MAX_NAPTRS { "SIPS+D2X" } else { "SIPS+D2T" };
        zone.add(name("naptrs.test"), naptr(order, service, "_sips._tcp.srvs.test"));
    }
    for number in (0..1000_u16).rev() {
        let host = format!("h{number}.srvs.test");
        zone.add(name("_sips._tcp.srvs.test"), srv(number, 5061, &host));
        for last in 1..=3 {
            zone.add(name(&host), Data::A(Ipv4Addr::from_bits(0xcb00_0000 + u32::from(number) * 4 + last)));
        }
    }
    for number in 0..1000_u16 {
        zone.add(name("addresses.test"), Data::Aaaa(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number + 1)));
    }
    let target = |text: &str| run(&uri(text), Request::default(), client("FULL"), &[], |q| zone.reply(q));

    let (located, asked) = target("sips:b@naptrs.test");
    assert_eq!(shown(&located), "NoUsableAddress", "LOC-90: {MAX_NAPTRS} NAPTRs; {:?}", located.reasons);
    assert_eq!(asked.len(), 4, "{asked:?}");

    let (located, asked) = target("sips:b@srvs.test");
    let hops = located.outcome.unwrap();
    assert_eq!(hops.len(), MAX_NEXT_HOPS, "LOC-90");
    assert_eq!(hops[0].srv_target, Some(name("h0.srvs.test")), "LOC-57: the best priorities are kept");
    assert_eq!(asked.iter().filter(|q| q.kind == Kind::A).count(), MAX_SRVS, "LOC-90");
    assert!(asked.len() <= MAX_QUESTIONS);

    let (located, _) = target("sips:b@addresses.test:5061");
    assert_eq!(located.outcome.unwrap().len(), MAX_NEXT_HOPS, "LOC-90");
}

#[test]
fn srv_questions() {
    let mut everything = client("ALL");
    everything.services = everything.services.repeat(3);
    let nothing = |_: &Question| Reply::NoData { ttl: 30 };
    for text in ["sip:b@d.test", "sips:b@d.test"] {
        let (_, asked) = run(&uri(text), Request::default(), everything.clone(), &[], nothing);
        let count = |kind| asked.iter().filter(|q| q.kind == kind).count();
        assert!(count(Kind::Srv) <= MAX_SRV_QUESTIONS && count(Kind::Naptr) == 1, "LOC-90 {text}: {asked:?}");
    }
}

/// Servers that say nonsense: an end within the limits, and never a panic.
#[test]
fn nonsense() {
    let other = name("other.test");
    for (id, records) in [
        ("an empty answer", vec![]),
        (
            "about somebody else",
            vec![found(&other, &srv(0, 5061, "x.test")), found(&other, &naptr(0, "SIPS+D2T", "x.test"))],
        ),
    ] {
        let reply = |_: &Question| Reply::Records(Answer { records: records.clone(), additional: records.clone() });
        let (located, asked) = run(&uri("sips:b@d.test"), Request::default(), client("FULL"), &[], reply);
        assert_eq!(shown(&located), "TemporaryFailure", "{id}");
        assert!(asked.len() <= MAX_QUESTIONS, "{id}");
    }
    // Every answer leads to ever new names.
    let endless = |question: &Question| {
        let next = question.name.prefixed(&["x"]).unwrap_or_else(|_| other.clone());
        Reply::Records(Answer { records: vec![found(&question.name, &Data::Cname(next))], additional: vec![] })
    };
    let (located, asked) = run(&uri("sips:b@d.test"), Request::default(), client("FULL"), &[], endless);
    assert_eq!(shown(&located), "TemporaryFailure");
    assert!(asked.len() <= 1 + MAX_ALIASES, "{asked:?}");
    // No room for `_sips._tcp.` in front of the longest name (RFC 1035 3.1).
    let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(59));
    let nothing = |_: &Question| Reply::NxDomain { ttl: 30 };
    let (located, _) = run(&uri(&format!("sips:b@{long}")), Request::default(), client("FULL"), &[], nothing);
    assert_eq!(shown(&located), "NoSuchDomain");
}

/// Records about a handful of names, so that what one reply says meets what another asked.
fn any_record() -> impl Strategy<Value = Found> {
    let names = ["d.test", "_sips._tcp.d.test", "a.d.test", "b.d.test", "x.test", "_sips._tcp.x.test"];
    let any_name = proptest::sample::select(names.map(name).to_vec());
    let target = proptest::option::of(any_name.clone());
    let data =
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| Data::A(octets.into())),
            any::<[u8; 16]>().prop_map(|octets| Data::Aaaa(octets.into())),
            any_name.clone().prop_map(Data::Cname),
            (0..3_u16, 0..3_u16, 0..3_u16, target.clone())
                .prop_map(|(priority, weight, port, target)| Data::Srv(Srv { priority, weight, port, target })),
            (0..3_u16, "[sSau]?", "(SIPS?|sips)\\+D2[TUSX]|E2U\\+sip", "|!a!b!", target).prop_map(
                |(order, flags, services, regexp, replacement)| Data::Naptr(Naptr {
                    order,
                    preference: 0,
                    flags: flags.into(),
                    services: services.into(),
                    regexp: regexp.into(),
                    replacement
                })
            ),
            Just(Data::Unusable(Kind::Srv)),
        ];
    (any_name, 0..100_u32, data).prop_map(|(owner, ttl, data)| Found { owner, ttl, data })
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let records = || proptest::collection::vec(any_record(), 0..12);
    prop_oneof![
        6 => (records(), records()).prop_map(|(records, additional)| Reply::Records(Answer { records, additional })),
        1 => Just(Reply::NoData { ttl: 1 }),
        1 => Just(Reply::NxDomain { ttl: 1 }),
        1 => Just(Reply::Failed(Failure::Timeout)),
    ]
}

proptest! {
    /// LOC-66, LOC-85, LOC-90, threats 4, 11, 13 and 14: DNS may say what it likes.
    #[test]
    fn any_replies(replies in proptest::collection::vec(any_reply(), 1..8), secure in any::<bool>()) {
        let client = if secure { Client::default() } else { client("ALL") };
        let next = std::cell::Cell::new(0);
        let (located, asked) = run(&uri("sip:a@d.test"), Request::default(), client, &[3, 1, 4, 1, 5], |_| {
            next.set(next.get() + 1);
            replies[next.get() % replies.len()].clone()
        });
        prop_assert!(asked.len() <= MAX_QUESTIONS);
        for (at, hop) in located.outcome.iter().flatten().enumerate() {
            prop_assert!(at < MAX_NEXT_HOPS && hop.address.port() != 0);
            prop_assert!(hop.service.is_secure() || !secure);
            prop_assert_eq!(&hop.tls_name, &hop.service.is_secure().then(|| name("d.test")));
            prop_assert!(tandem_model::locate::is_public(hop.address.ip()));
            prop_assert!(located.ttl <= hop.ttl);
        }
        prop_assert!(located.outcome.map_or(true, |hops| !hops.is_empty()));
    }
}
