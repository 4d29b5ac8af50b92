#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tandem_dns::harness::tsig(octets));
