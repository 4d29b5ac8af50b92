#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tandem_zone::harness::zone_file(octets));
