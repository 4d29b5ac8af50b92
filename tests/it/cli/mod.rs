//! The `tandem` command as its users run it: the real program, real ports, its files and exit statuses.

mod backup;
mod client;
mod configure;
mod disk_full;
mod durability;
mod explain;
mod first_minutes;
mod help;
mod import;
mod keys;
mod life;
mod limits;
mod logs;
mod membership;
mod numbers;
mod proofs;
mod settings;
mod signals;
mod tokens;
mod webhook;
mod zone_check;
mod zone_commands;
mod zone_files;

use std::process::Command;

use serde_json::{Value, json};
use tandem_testkit::{Service, run};

/// Asks the service with `dig`.
fn dig(service: &Service, args: &[&str]) -> String {
    let address = service.dns_addr();
    let server = format!("@{}", address.ip());
    let port = address.port().to_string();
    run(Command::new("dig").args([&server, "-p", &port, "+time=5", "+tries=1"]).args(args)).success()
}

/// A node document with one target below `domain`.
fn node(domain: &str, address: &str) -> Value {
    json!({"targets": [{"host": format!("sip.{domain}"), "port": 5061, "addresses": [address]}]})
}
