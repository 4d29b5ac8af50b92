#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tandem_agent::harness::redirect(octets));
