//! Any octets: no panic, bounded answers, well formed, and the same from both paths (DNS-T60, threats 1 to 3).

use super::*;
use crate::full;
use crate::request::Request;
use crate::wire::Rcode;

/// Messages of each kind: a million in all. Cargo.toml has this crate optimised in debug builds, too, for their sake.
const MESSAGES: usize = 500_000;

/// Answers that both paths must have made alike (issue B 6); about every third mutated query takes the hot path.
const AGREEMENTS: usize = 1_000_000;

/// xorshift64*, seeded: a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    fn octet(&mut self) -> u8 {
        self.roll(256) as u8
    }
}

/// A server that tells all it can.
static RICH: LazyLock<Policy> = LazyLock::new(|| {
    let mut config = Config::new(Vec::new());
    config.identity = crate::Identity::new("ams-1", "Tandem").unwrap();
    config.cookies = Some(crate::Cookies::new(crate::CookieSecrets::new([7; 16], None)));
    Policy::new(&config)
});

/// Options for the mutations: COOKIE, NSID, keepalive, padding, and half of one.
const OPTIONS: [&[u8]; 5] =
    [&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 3, 0, 0], &[0, 11, 0, 0], &[0, 12, 0, 1, 0], &[0, 10, 0]];

/// Asks over both transports and checks what must hold for any message. Gives how many answers both paths made.
fn check(zones: &Zones, message: &Query) -> usize {
    let mut compared = 0;
    for transport in [UDP, Transport::Tcp] {
        let octets = &message.0;
        let Some(answer) = message.ask(zones, transport) else {
            assert!(octets.len() < 12 || octets[2] & 0x80 != 0, "silence: {octets:02x?}");
            continue;
        };
        assert!(answer[..2] == octets[..2] && answer[2] & 0x80 != 0, "{octets:02x?}");
        let in_words = shown(&answer);
        if transport == UDP {
            assert!(answer.len() <= 1232, "{octets:02x?}");
            let is_error = !["NOERROR", "NXDOMAIN", "YXDOMAIN"].iter().any(|status| in_words.starts_with(status));
            assert!(!is_error || answer.len() <= octets.len(), "threat 2: {octets:02x?} {in_words}");
        }
        let rich = RICH.client(transport, [192, 0, 2, 1].into(), 1_700_000_000);
        let (told, _) = message.ask_as(zones, &rich).expect("as above");
        let words = shown(&told);
        // Threat 1: only a well-formed query gets more than it sent; where we refuse, a cookie and our name.
        let (is_sound, is_refused) = (["NOERROR", "NXDOMAIN", "YXDOMAIN", "RCODE23"], words.starts_with("REFUSED"));
        let is_sound = is_sound.iter().any(|status| words.starts_with(status));
        let most = if is_refused { octets.len() + 16 + 5 } else { octets.len() };
        assert!(transport != UDP || is_sound || told.len() <= most, "{octets:02x?} {words}");
        if Request::parse(octets).is_some() {
            let mut buffer = vec![0; MAX_MESSAGE];
            buffer[..octets.len()].copy_from_slice(octets);
            compared += 2;
            let reply = full::respond(zones, &NO_TRANSFERS, &rich, &mut buffer, octets.len());
            assert_eq!(buffer[..reply.len], told, "both paths give the same octets: {octets:02x?}");
        }
        if Request::parse(octets).is_some() {
            let mut buffer = vec![0; MAX_MESSAGE];
            buffer[..octets.len()].copy_from_slice(octets);
            let reply = full::respond(zones, &NO_TRANSFERS, &client(transport), &mut buffer, octets.len());
            assert_eq!(buffer[..reply.len], answer, "both paths give the same octets: {octets:02x?}");
        }
    }
    compared
}

#[test]
fn random_octets_dns_t60() {
    let zones = zones();
    let mut dice = Dice(0x7a6e_0001);
    for _ in 0..MESSAGES {
        let len = 13 + dice.roll(500);
        let mut message: Vec<u8> = (0..len).map(|_| dice.octet()).collect();
        // Most random headers are nonsense at once: let some pass.
        if dice.roll(2) == 0 {
            message[2] &= 0x07;
            message[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, dice.octet() & 1]);
            message[12] &= 0x1f;
        }
        check(&zones, &Query(message));
    }
}

#[test]
fn mutated_queries_dns_t60() {
    const NAMES: [&str; 21] = [
        "node.test",
        "debug.node.test",
        "_sips._tcp.debug.node.test",
        "sip1.debug.node.test",
        "two.node.test",
        "loop-a.node.test",
        "out.node.test",
        "www.sub.node.test",
        "x.y.example",
        "sub.*.example",
        "many.big.test",
        "c0.big.test",
        "x.sub.big.test",
        "eight.big.test",
        "old.dname.test",
        "host.old.dname.test",
        "www.cut.dname.test",
        "x.grow.dname.test",
        "123456789012345678901.long.dname.test",
        "elsewhere.test",
        "",
    ];
    const KINDS: [&str; 13] =
        ["A", "DNAME", "NS", "SOA", "SRV", "NAPTR", "TXT", "ANY", "AAAA", "DS", "CNAME", "AXFR", "TYPE65280"];
    let zones = zones();
    let mut dice = Dice(0x7a6e_0002);
    let (mut messages, mut compared) = (0, 0);
    while messages < MESSAGES || compared < AGREEMENTS {
        messages += 1;
        let mut query = Query::new(NAMES[dice.roll(NAMES.len())], KINDS[dice.roll(KINDS.len())]);
        for _ in 0..dice.roll(3) {
            let size = dice.roll(5000) as u16;
            query = match dice.roll(5) {
                0 | 1 => query.edns(size),
                4 => query.record("", 41, size, 0, &OPTIONS[..dice.roll(5)].concat()),
                2 => query.record(NAMES[dice.roll(NAMES.len())], size % 256, 1, 0, &[0; 7]),
                _ => query.question(NAMES[dice.roll(NAMES.len())], size % 256, 1),
            };
        }
        for _ in 0..dice.roll(4) {
            let at = dice.roll(query.0.len());
            match dice.roll(8) {
                0 => query.0.truncate(at),
                1 => query.0.insert(at, dice.octet()),
                2 => query.0[at] = 0xc0,
                3 => query.0[at] ^= 1 << dice.roll(8),
                4 => query.0.extend_from_within(at..),
                _ => query.0[at] = dice.octet(),
            }
            if query.0.is_empty() {
                break;
            }
        }
        query.0.truncate(LEAST_BUFFER);
        compared += check(&zones, &query);
    }
}

#[test]
fn rcodes_keep_their_numbers() {
    for (rcode, low, high) in [(Rcode::Refused, 5, 0), (Rcode::NotAuth, 9, 0), (Rcode::BadVers, 0, 1)] {
        assert_eq!((rcode.low(), rcode.high()), (low, high), "{rcode:?}");
    }
}
