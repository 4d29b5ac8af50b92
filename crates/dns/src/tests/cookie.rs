//! Cookies: the vectors of RFC 9018, what is accepted for how long, and what a client gets (DNS-55 to DNS-58).

use std::net::IpAddr;

use super::*;
use crate::cookie::{Cookie, CookieSecrets, Cookies, InvalidSecrets, Standing};
use crate::request::Request;

const SECRET: [u8; 16] = 0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes();
const CLIENT: &str = "2464c4abcf10c957";
const GOOD: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
const ISSUED: u32 = 1_559_731_985;

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn address() -> IpAddr {
    "198.51.100.100".parse().unwrap()
}

fn judge(secrets: &CookieSecrets, shown: &str, address: &str, now: u32) -> (Standing, String) {
    let cookie = Cookie::read(&octets(shown)).unwrap();
    let (standing, fresh) = secrets.judge(cookie, address.parse().unwrap(), now);
    (standing, hex(&fresh))
}

/// A query with these octets as COOKIE option.
fn with_cookie(query: Query, data: &[u8]) -> Query {
    let mut option = vec![0, 10, 0, u8::try_from(data.len()).unwrap()];
    option.extend(data);
    query.record("", 41, 1232, 0, &option)
}

fn soa() -> Query {
    Query::new("node.test", "SOA")
}

fn policy() -> Policy {
    let cookies = Cookies::new(CookieSecrets::new(SECRET, None));
    Policy::new(&Config { cookies: Some(cookies), ..Config::new(Vec::new()) })
}

/// The rcode and the cookie of the answer to `query` at `now`.
fn ask(policy: &Policy, query: &Query, transport: Transport, now: u32) -> (String, Option<String>, Standing) {
    let client = policy.client(transport, address(), now);
    let (answer, reply) = query.ask_as(&zones(), &client).unwrap();
    let words = shown(&answer);
    let status = words.split([';', ' ']).next().unwrap().to_owned();
    let marker = [0, 10, 0, 24];
    let cookie = answer.windows(4).position(|window| window == marker).map(|at| hex(&answer[at + 4..at + 28]));
    (status, cookie, reply.cut.standing)
}

#[test]
fn vectors_of_rfc_9018_dns_t50() {
    // DNS-56
    let first = CookieSecrets::new(SECRET, None);
    let old = 0xdd3b_df93_44b6_78b1_85a6_f5cb_60fc_a715_u128.to_be_bytes();
    let new = 0x4455_36bc_d251_3298_075a_5d37_9663_c962_u128.to_be_bytes();
    let rolled = CookieSecrets::new(new, Some(old));
    let v6 = "2001:db8:220:1:59de:d0f4:8769:82b8";
    let reserved = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
    let from_old = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
    let rows = [
        ("A.1", &first, CLIENT, "198.51.100.100", ISSUED, Standing::New, GOOD),
        (
            "A.2: renewed after 40 minutes",
            &first,
            GOOD,
            "198.51.100.100",
            1_559_734_385,
            Standing::Good,
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        ),
        (
            // The cookie is 112 minutes old: beyond the hour of section 4.3, so a fresh one is all that it earns.
            "A.3",
            &first,
            reserved,
            "203.0.113.203",
            1_559_734_700,
            Standing::Bad,
            "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
        ),
        (
            "A.4: rolled secret",
            &rolled,
            from_old,
            v6,
            1_559_741_961,
            Standing::Good,
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        ),
    ];
    for (id, secrets, shown, address, now, standing, fresh) in rows {
        assert_eq!(judge(secrets, shown, address, now), (standing, fresh.to_owned()), "{id}");
    }
    // A.3 within its hour: the reserved octets are hashed as they came, and are zero in the fresh cookie.
    let (standing, fresh) = judge(&first, reserved, "203.0.113.203", 1_559_727_985 + 10);
    assert_eq!(standing, Standing::Good, "A.3");
    assert!(fresh.starts_with("fc93fc62807ddb8601000000"), "{fresh}");
    // A.4 after the roll is over.
    let after = CookieSecrets::new(new, None);
    assert_eq!(judge(&after, from_old, v6, 1_559_741_961).0, Standing::Bad);
}

#[test]
fn a_cookie_has_its_time_dns_57() {
    let secrets = CookieSecrets::new(SECRET, None);
    for (age, standing, kept) in [
        (0, Standing::Good, true),
        (1799, Standing::Good, true),
        (1800, Standing::Good, false),
        (3600, Standing::Good, false),
        (3601, Standing::Bad, false),
        (-300, Standing::Good, false),
        (-301, Standing::Bad, false),
        (i64::from(u32::MAX) / 2, Standing::Bad, false),
    ] {
        let now = (i64::from(ISSUED) + age) as u32;
        let (found, fresh) = judge(&secrets, GOOD, "198.51.100.100", now);
        assert_eq!((found, fresh == GOOD), (standing, kept), "{age} s");
        let wanted = if kept { ISSUED } else { now };
        assert!(fresh[24..].starts_with(&format!("{wanted:08x}")), "{age} s: {fresh}");
    }
    // Over the end of the 32 bits: serial arithmetic (RFC 9018 4.3).
    let (_, made) = judge(&secrets, CLIENT, "198.51.100.100", u32::MAX - 5);
    assert_eq!(judge(&secrets, &made, "198.51.100.100", 100), (Standing::Good, made.clone()));
}

#[test]
fn a_cookie_of_somebody_else_is_bad_dns_56() {
    let secrets = CookieSecrets::new(SECRET, None);
    let flipped = |at: usize| {
        let mut octets = octets(GOOD);
        octets[at] ^= 1;
        hex(&octets)
    };
    for (what, shown, address) in [
        ("another address", GOOD.to_owned(), "198.51.100.101"),
        ("the same number in IPv6", GOOD.to_owned(), "::198.51.100.100"),
        ("client cookie", flipped(0), "198.51.100.100"),
        ("version", flipped(8), "198.51.100.100"),
        ("reserved", flipped(9), "198.51.100.100"),
        ("time", flipped(15), "198.51.100.100"),
        ("hash", flipped(23), "198.51.100.100"),
        ("shorter", GOOD[..32].to_owned(), "198.51.100.100"),
        ("longer", format!("{GOOD}00"), "198.51.100.100"),
        ("longest", format!("{GOOD}{}", "00".repeat(16)), "198.51.100.100"),
    ] {
        let (standing, fresh) = judge(&secrets, &shown, address, ISSUED);
        assert_eq!(standing, Standing::Bad, "{what}");
        assert_ne!(fresh, shown, "{what}");
    }
}

#[test]
fn lengths_dns_55_dns_t51() {
    for len in 0..=48_usize {
        let legal = matches!(len, 8 | 16..=40);
        let query = with_cookie(soa(), &vec![7; len]);
        assert_eq!(Request::parse(&query.0).is_some(), legal, "{len}: legal ones stay on the hot path");
        for transport in [UDP, Transport::Tcp] {
            let (status, cookie, _) = ask(&policy(), &query, transport, ISSUED);
            let expected = if legal { ("NOERROR", true) } else { ("FORMERR", false) };
            assert_eq!((status.as_str(), cookie.is_some()), expected, "DNS-T51: {len} {transport:?}");
        }
    }
    // Only the first one counts.
    let mut two = vec![0, 10, 0, 8];
    two.extend(octets(CLIENT));
    two.extend([0, 10, 0, 3, 1, 2, 3]);
    let (status, cookie, _) = ask(&policy(), &soa().record("", 41, 1232, 0, &two), UDP, ISSUED);
    assert_eq!((status.as_str(), cookie.as_deref()), ("NOERROR", Some(GOOD)));
}

#[test]
fn answers_carry_a_cookie_dns_58() {
    let policy = policy();
    let found = |query: &Query, transport| ask(&policy, query, transport, ISSUED);
    let (empty, bad) = (octets(CLIENT), [&octets(CLIENT)[..], &[9; 16]].concat());
    for transport in [UDP, Transport::Tcp, Transport::Exchange] {
        for (id, query, status, standing) in [
            ("first contact", with_cookie(soa(), &empty), "NOERROR", Standing::New),
            ("bad cookie", with_cookie(soa(), &bad), "NOERROR", Standing::Bad),
            ("good cookie", with_cookie(soa(), &octets(GOOD)), "NOERROR", Standing::Good),
            ("NXDOMAIN", with_cookie(Query::new("x.node.test", "A"), &empty), "NXDOMAIN", Standing::New),
            ("not ours", with_cookie(Query::new("elsewhere.test", "A"), &empty), "REFUSED", Standing::New),
            ("UPDATE", with_cookie(soa().opcode(5), &empty), "REFUSED", Standing::New),
            ("DNS-2", with_cookie(Query::header(), &empty), "NOERROR", Standing::New),
            ("DNS-2: bad", with_cookie(Query::header(), &bad), "RCODE23", Standing::Bad),
            ("DNS-2: good", with_cookie(Query::header(), &octets(GOOD)), "NOERROR", Standing::Good),
        ] {
            let expected = (status.to_owned(), Some(GOOD.to_owned()), standing);
            assert_eq!(found(&query, transport), expected, "{id}, {transport:?}");
        }
    }
    // What is not a well-formed query earns nothing.
    for query in [with_cookie(soa().question("x", 1, 1), &empty), with_cookie(soa().opcode(15), &empty)] {
        assert_eq!(found(&query, UDP).1, None);
    }
    // A truncated answer has its cookie, too.
    let many = with_cookie(Query::new("many.big.test", "NAPTR"), &empty);
    let (answer, reply) = many.ask_as(&zones(), &policy.client(UDP, address(), ISSUED)).unwrap();
    assert!(reply.truncated);
    assert_eq!(answer.len(), 12 + 15 + 4 + 11 + 28);
}

#[test]
fn a_server_without_secrets_ignores_cookies() {
    let query = with_cookie(soa(), &octets(CLIENT));
    let plain = soa().edns(1232);
    assert_eq!(query.ask(&zones(), UDP), plain.ask(&zones(), UDP));
}

#[test]
fn secrets_are_replaced_while_serving() {
    let cookies = Cookies::new(CookieSecrets::new([1; 16], None));
    let policy = Policy::new(&Config { cookies: Some(cookies.clone()), ..Config::new(Vec::new()) });
    let made = |policy: &Policy, data: &[u8]| ask(policy, &with_cookie(soa(), data), UDP, ISSUED);
    let first = octets(&made(&policy, &octets(CLIENT)).1.unwrap());
    cookies.replace(CookieSecrets::new([2; 16], Some([1; 16])));
    let (_, second, standing) = made(&policy, &first);
    assert_eq!(standing, Standing::Good, "the previous secret is good");
    let second = octets(&second.unwrap());
    assert_ne!(second, first, "and gives way to the current one");
    cookies.replace(CookieSecrets::new([2; 16], None));
    assert_eq!(made(&policy, &first).2, Standing::Bad);
    assert_eq!(made(&policy, &second).2, Standing::Good);
}

#[test]
fn files_of_secrets() {
    let (one, two) = ("e5e973e5a6b2a43f48e7dc849e37bfcf", "445536BCD2513298075A5D379663C962");
    let second = 0x4455_36bc_d251_3298_075a_5d37_9663_c962_u128.to_be_bytes();
    for (text, expected) in [
        (format!("{one}\n"), Ok(CookieSecrets::new(SECRET, None))),
        (format!("# now\n{one}\n\n  {two}\r\n"), Ok(CookieSecrets::new(SECRET, Some(second)))),
        (String::new(), Err(InvalidSecrets::Empty)),
        ("# none\n".to_owned(), Err(InvalidSecrets::Empty)),
        (format!("{one}0"), Err(InvalidSecrets::Digits { line: 1 })),
        (format!("{one}\n+{}", &two[1..]), Err(InvalidSecrets::Digits { line: 2 })),
        (format!("{one}\n{two}\n\n{one}"), Err(InvalidSecrets::TooMany { line: 4 })),
    ] {
        assert_eq!(CookieSecrets::parse(&text), expected, "{text}");
    }
    let shown = format!("{:?}", CookieSecrets::new(SECRET, Some(second)));
    assert_eq!(shown, "CookieSecrets { has_other: true, .. }", "no secret in a log");
}
