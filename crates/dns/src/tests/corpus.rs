//! The seeds of the fuzz targets, and mutations of them, through what the fuzzers call (issue B 6, threat 3).

use std::path::Path;

use crate::harness;

/// Mutations of each seed.
const MUTATIONS: usize = 2000;

/// Changes a few octets, always the same ones for the same `round`.
fn mutate(seed: &[u8], round: usize) -> Vec<u8> {
    let mut state = 0x7a6e_0030_u64.wrapping_add(round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut roll = |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    let mut octets = seed.to_vec();
    for _ in 0..=roll(3) {
        let at = roll(octets.len() + 1);
        match roll(5) {
            0 => octets.truncate(at),
            1 => octets.insert(at, roll(256) as u8),
            2 => octets.extend_from_within(at..),
            _ if at < octets.len() => octets[at] = roll(256) as u8,
            _ => {}
        }
    }
    octets
}

fn run(target: &str, harness: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        harness(&seed);
        (0..MUTATIONS).for_each(|round| harness(&mutate(&seed, round)));
        seeds += 1;
    }
    assert!(seeds >= 4, "{target}: only {seeds} seeds");
}

#[test]
fn messages_dns_t60() {
    run("message", harness::message);
}

#[test]
fn edns_options() {
    run("options", harness::options);
}

#[test]
fn tsig_data() {
    run("tsig", harness::tsig);
}

/// The queries that the harness builds are sound: else it would only ever test the first check.
#[test]
fn the_harness_reaches_what_it_is_for() {
    let plain = harness::with_options(&[]);
    assert!(crate::request::Request::parse(&plain).is_some(), "an OPT record without options takes the hot path");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tsig/wrong-mac");
    let signed = hickory_proto::op::Message::from_vec(&harness::with_tsig(&std::fs::read(folder).unwrap())).unwrap();
    assert_eq!(signed.queries[0].name().to_string(), "debug.node.test.");
}
