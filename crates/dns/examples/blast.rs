//! Sends UDP queries as fast as it can, or at a rate, and never reads an answer: the load of `benches/dns/compare.py
//! --overload`. Prints how many it sent.
//!
//! `cargo run --release -p tandem-dns --features measuring --example blast -- 127.0.0.1:5300 QUERIES SECONDS RATE`, where
//! QUERIES is a file as dnsperf takes it, and RATE is in queries a second, 0 for no limit.
#![expect(clippy::print_stdout, reason = "a load generator reports on stdout")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tandem_model::DomainName;

/// Sockets, so that the answers spread over as many small queues.
const SOCKETS: usize = 4;

/// Queries between two looks at the clock.
const BURST: u32 = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, file, seconds, rate] = &args[..] else { return Err("ADDRESS QUERIES SECONDS RATE".into()) };
    let (address, rate): (SocketAddr, f64) = (address.parse()?, rate.parse()?);
    let lasts = Duration::from_secs_f64(seconds.parse()?);
    let text = std::fs::read_to_string(file)?;
    let queries = text.lines().map(query).collect::<Result<Vec<_>, _>>()?;
    let sockets = (0..SOCKETS).map(|_| connected(address)).collect::<Result<Vec<_>, _>>()?;
    let (began, mut sent) = (Instant::now(), 0_u32);
    while began.elapsed() < lasts {
        if rate > 0.0 && f64::from(sent) > began.elapsed().as_secs_f64() * rate {
            std::hint::spin_loop();
            continue;
        }
        for _ in 0..BURST {
            let at = sent as usize;
            // A full queue refuses some: they are not counted.
            if sockets[at % SOCKETS].send(&queries[at % queries.len()]).is_ok() {
                sent += 1;
            }
        }
    }
    println!("{sent}");
    Ok(())
}

fn connected(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    Ok(socket)
}

/// A query for `name TYPE`.
fn query(line: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (name, kind) = line.split_once(' ').ok_or("a line is a name and a type")?;
    let kind = match kind {
        "A" => 1,
        "AAAA" => 28,
        "SRV" => 33,
        "NAPTR" => 35,
        other => return Err(format!("no type of the mix: {other}").into()),
    };
    let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(DomainName::parse(name.trim_end_matches('.'))?.as_wire());
    message.extend([0, kind, 0, 1]);
    Ok(message)
}
