//! What the fuzzer of master files calls (fuzz/README.md), and what a test calls with its seeds.
//!
//! Built for tests and with the feature `fuzzing` only.

use tandem_model::{DomainName, Serial};

use crate::master::StaticZone;
use crate::zones::{Settings, Zones};

/// Any octets as a master file: an error, or a zone that prints and reads again to the same records.
///
/// # Panics
///
/// When it does not: that is a finding.
pub fn zone_file(octets: &[u8]) {
    let apex: DomainName = "z.test".parse().expect("a name");
    let read =
        |text: &[u8]| StaticZone::read(&apex, "z.test.zone", text, &mut |_| Ok(b"inside A 192.0.2.9\n".to_vec()));
    let Ok(zone) = read(octets) else { return };
    // The owner of the SOA names the zone, whatever the file is called.
    let (apex, digest) = (zone.apex().clone(), zone.digest());
    let zones = Zones::new(Settings::default(), vec![zone], Serial::new(1)).expect("one zone fits with itself");
    let mut text = String::new();
    let served = zones.zone(&apex).expect("it was just put there");
    zones.print(served, &mut text).expect("a string takes everything");
    match read(text.as_bytes()) {
        Ok(again) => assert_eq!(again.digest(), digest, "the print has other records:\n{text}"),
        Err(error) => panic!("the print does not load: {error}\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [&[u8]; 6] = [
        include_bytes!("../../../fuzz/corpus/zone_file/small"),
        include_bytes!("../../../fuzz/corpus/zone_file/types"),
        include_bytes!("../../../fuzz/corpus/zone_file/directives"),
        include_bytes!("../../../fuzz/corpus/zone_file/cut"),
        include_bytes!("../../../fuzz/corpus/zone_file/redirect"),
        include_bytes!("../../../fuzz/corpus/zone_file/empty-label"),
    ];

    /// Mutations of each seed.
    const MUTATIONS: u64 = 3000;

    /// Changes a few octets, always the same ones for the same `round`; mostly to what means something in a master file.
    fn mutate(seed: &[u8], round: u64) -> Vec<u8> {
        const MEANING: &[u8] = b"\"\\;()@$*. \n\t\r0179aAZ\x00\xff";
        let mut state = (0x7a6e_0031 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |below: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
        };
        let mut octets = seed.to_vec();
        for _ in 0..=roll(3) {
            let at = roll(octets.len() + 1);
            match roll(6) {
                0 => octets.truncate(at),
                1 | 2 => octets.insert(at, MEANING[roll(MEANING.len())]),
                3 => octets.extend_from_within(at..),
                _ if at < octets.len() => octets[at] = MEANING[roll(MEANING.len())],
                _ => {}
            }
        }
        octets
    }

    #[test]
    fn seeds_and_mutations_of_them() {
        for seed in SEEDS {
            zone_file(seed);
            (0..MUTATIONS).for_each(|round| zone_file(&mutate(seed, round)));
        }
    }
}
