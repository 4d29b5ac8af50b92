//! The response rate limit, with a clock that the test moves (DNS-67, threat 1).

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::Network;

use crate::cookie::{CookieSecrets, Cookies};
use crate::limit::{Limiter, RateLimit, Sentence, random_salt};

const RATE: u32 = 10;

fn settings(slip: u32) -> RateLimit {
    RateLimit { per_second: NonZeroU32::new(RATE).unwrap(), slip, exempt: Vec::new() }
}

fn limiter(slip: u32) -> Limiter {
    Limiter::new(settings(slip), Duration::ZERO, || [7; 16])
}

fn policy() -> Policy {
    let cookies = Cookies::new(CookieSecrets::new([7; 16], None));
    Policy::new(&Config { cookies: Some(cookies), ..Config::new(Vec::new()) })
}

/// Asks as `address` and has the answer judged; the octets that would go out.
fn ask(limiter: &mut Limiter, zones: &Zones, address: &str, query: &Query) -> (Sentence, Vec<u8>) {
    let policy = policy();
    let address = address.parse().unwrap();
    let (mut answer, mut reply) = query.ask_as(zones, &policy.client(UDP, address, 1_700_000_000)).unwrap();
    let sentence = limiter.judge(address, &mut reply, &mut answer);
    answer.truncate(reply.len);
    (sentence, answer)
}

/// How many of `count` answers are sent whole.
fn free(limiter: &mut Limiter, zones: &Zones, address: &str, query: &Query, count: usize) -> usize {
    (0..count).filter(|_| ask(limiter, zones, address, query).0 == Sentence::Free).count()
}

fn soa() -> Query {
    Query::new("node.test", "SOA")
}

fn nobody() -> Query {
    Query::new("nobody.node.test", "A")
}

#[test]
fn so_many_a_second() {
    let zones = zones();
    let mut limiter = limiter(2);
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 50), 10, "a second's worth at once");
    limiter.set_clock(Duration::from_millis(99));
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 5), 0);
    limiter.set_clock(Duration::from_millis(100));
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 5), 1, "and one more each tenth of a second");
    limiter.set_clock(Duration::from_millis(1100));
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 50), 10);
    // A flood that goes on for a minute.
    let mut sent = 0;
    for millis in 1101..=61_100 {
        limiter.set_clock(Duration::from_millis(millis));
        sent += free(&mut limiter, &zones, "192.0.2.1", &soa(), 1);
    }
    assert_eq!(sent, 600, "ten a second");
}

#[test]
fn networks_and_kinds_have_accounts_of_their_own() {
    let zones = zones();
    let mut limiter = limiter(2);
    let sources = [
        ("192.0.2.1", 10),
        ("192.0.2.254", 0),
        ("::ffff:192.0.2.7", 0),
        ("192.0.3.1", 10),
        ("2001:db8:0:ff::1", 10),
        ("2001:db8:0:1::2", 0),
        ("2001:db8:0:100::1", 10),
    ];
    for (source, expected) in sources {
        assert_eq!(free(&mut limiter, &zones, source, &soa(), 20), expected, "{source}: IPv4 /24, IPv6 /56");
    }
    let kinds = [
        ("no such name", nobody(), 10),
        ("NODATA counts with it", Query::new("node.test", "SRV"), 0),
        ("REFUSED", Query::new("elsewhere.test", "A"), 10),
        ("FORMERR counts with it", Query::header(), 0),
        ("a referral is an answer", Query::new("www.sub.node.test", "A"), 0),
        ("a truncated answer is one", Query::new("many.big.test", "NAPTR"), 0),
    ];
    for (what, query, expected) in kinds {
        assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &query, 20), expected, "{what}");
    }
}

#[test]
fn slip() {
    let zones = zones();
    for (slip, expected) in [(0, 0), (1, 30), (2, 15), (3, 10)] {
        let mut limiter = limiter(slip);
        free(&mut limiter, &zones, "192.0.2.1", &nobody(), 10);
        let slipped = |_: &usize| ask(&mut limiter, &zones, "192.0.2.1", &nobody()).0 == Sentence::Slip;
        assert_eq!((0..30).filter(slipped).count(), expected, "slip {slip}");
    }
}

#[test]
fn what_slips_is_short() {
    let zones = zones();
    let mut limiter = limiter(1);
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let with_cookie = |query: Query| query.record("", 41, 1232, 0x8000, &cookie);
    let elsewhere = || Query::new("elsewhere.test", "A");
    for query in [soa(), nobody(), elsewhere()] {
        free(&mut limiter, &zones, "192.0.2.1", &query, 10);
    }
    for (query, expected) in [
        (soa(), "NOERROR aa tc"),
        (soa().edns(1232), "NOERROR aa tc; opt 1232"),
        (Query::new("debug.node.test", "NAPTR").edns(1232), "NOERROR aa tc; opt 1232"),
        (nobody().edns(1232), "NOERROR aa tc; opt 1232"),
        (Query::new("many.big.test", "NAPTR").edns(1232), "NOERROR aa tc; opt 1232"),
        (with_cookie(soa()), "RCODE23; opt 1232 do"),
        (with_cookie(nobody()), "RCODE23; opt 1232 do"),
        (with_cookie(Query::new("many.big.test", "NAPTR")), "RCODE23; opt 1232 do"),
        (elsewhere().edns(1232), "REFUSED; opt 1232"),
        (Query::header(), "FORMERR qd=0"),
    ] {
        let (sentence, answer) = ask(&mut limiter, &zones, "192.0.2.1", &query);
        assert_eq!((sentence, shown(&answer).as_str()), (Sentence::Slip, expected), "{:02x?}", query.0);
        // BADCOOKIE brings a server cookie of 16 octets, and nothing brings more.
        let more = if expected.starts_with("RCODE23") { 16 } else { 0 };
        assert!(answer.len() <= query.0.len() + more, "{} octets to {}", answer.len(), query.0.len());
        assert_eq!(answer[12..query.0.len().min(answer.len()).min(12)], query.0[12..12], "the question is echoed");
    }
}

/// A client learns its cookie from the BADCOOKIE answer, and is free from then on (DNS-58, DNS-67).
#[test]
fn holders_of_a_good_cookie_are_not_limited() {
    let zones = zones();
    let mut limiter = limiter(1);
    free(&mut limiter, &zones, "192.0.2.1", &soa(), 10);
    let with = |data: &[u8]| {
        let option = [&[0, 10, 0, u8::try_from(data.len()).unwrap()][..], data].concat();
        soa().record("", 41, 1232, 0, &option)
    };
    let (sentence, answer) = ask(&mut limiter, &zones, "192.0.2.1", &with(&[1; 8]));
    assert_eq!(sentence, Sentence::Slip);
    let cookie = &answer[answer.len() - 24..];
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &with(cookie), 100), 100);
    assert_eq!(free(&mut limiter, &zones, "192.0.2.2", &with(cookie), 100), 0, "the cookie is of another address");
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &with(&[1; 24]), 100), 0, "made up");
}

#[test]
fn exempt_networks_are_not_limited() {
    let zones = zones();
    let exempt = ["127.0.0.0/8", "::1/128", "198.51.100.0/24"].map(|text| Network::parse(text).unwrap());
    let mut limiter = Limiter::new(RateLimit { exempt: exempt.to_vec(), ..settings(2) }, Duration::ZERO, || [7; 16]);
    for (source, expected) in [("127.0.0.1", 50), ("::1", 50), ("198.51.100.9", 50), ("198.51.101.9", 10), ("::2", 10)]
    {
        assert_eq!(free(&mut limiter, &zones, source, &soa(), 50), expected, "{source}");
    }
}

/// A million sources: the table stays as it is, and one that keeps asking stays limited.
#[test]
fn memory_is_bounded_and_a_flood_stays_limited() {
    let zones = zones();
    let mut limiter = limiter(0);
    let (answer, reply) = soa().ask_as(&zones, &client(UDP)).unwrap();
    let mut sent = 0;
    for number in 0..1_000_000_u32 {
        limiter.set_clock(Duration::from_micros(number.into()));
        let mut judged = |address: IpAddr| {
            let (mut answer, mut reply) = (answer.clone(), reply);
            limiter.judge(address, &mut reply, &mut answer) == Sentence::Free
        };
        judged(Ipv4Addr::from(number << 8).into());
        sent += u32::from(judged([203, 0, 113, 7].into()));
    }
    // A burst and a second of the rate; places that others took from it add little.
    assert!((19..=60).contains(&sent), "{sent}");
}

#[test]
fn a_new_salt_forgets_everybody() {
    use std::sync::atomic::{AtomicU8, Ordering};
    static DRAWN: AtomicU8 = AtomicU8::new(0);
    let zones = zones();
    let mut limiter = Limiter::new(settings(0), Duration::from_secs(5), || [DRAWN.fetch_add(1, Ordering::Relaxed); 16]);
    assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 50), 10);
    // Just before the end the clock still counts; then a new salt, and a new account.
    for (seconds, salts, expected) in [(904, 1, 10), (905, 2, 10), (905, 2, 0), (1804, 2, 10), (1806, 3, 10)] {
        limiter.set_clock(Duration::from_secs(seconds));
        assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 50), expected, "{seconds} s");
        assert_eq!(DRAWN.load(Ordering::Relaxed), salts, "{seconds} s");
    }
    assert_ne!(random_salt(), random_salt());
}

#[test]
fn the_highest_rate_and_the_lowest() {
    let zones = zones();
    for (rate, expected) in [(1, 1), (7, 7), (1000, 1000)] {
        let settings = RateLimit { per_second: NonZeroU32::new(rate).unwrap(), ..settings(0) };
        let mut limiter = Limiter::new(settings, Duration::ZERO, || [7; 16]);
        assert_eq!(free(&mut limiter, &zones, "192.0.2.1", &soa(), 2000), expected, "{rate} a second");
    }
}
