//! Echoes UDP messages: the floor that `benches/dns/compare.py` measures servers against.
//!
//! `cargo run --release -p tandem-dns --features measuring --example echo -- 127.0.0.1:5300 160`

use std::net::SocketAddr;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address: SocketAddr = args.next().ok_or("which address?")?.parse()?;
    let octets = args.next().ok_or("how many octets has an answer at least?")?.parse()?;
    Ok(tandem_dns::hot_path::echo(address, octets)?)
}
