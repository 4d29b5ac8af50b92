//! The DNS server as other programs see it.

mod bad_input;
mod connections;
mod encrypted;
mod policy;
mod query_log;
mod rfc8906;
mod secondary;
mod transfer;

use std::net::SocketAddr;
use std::process::Command;

use tandem_dns::{Config, DnsServer};
use tandem_model::{DomainName, Serial};
use tandem_zone::master::StaticZone;
use tandem_zone::{Live, Settings, Zones};

/// The zone that [`server`] serves.
pub(crate) const ZONE: &str = "probe.test";

const ZONE_TEXT: &str = "$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 86400 300\n@ IN NS ns1\nns1 IN A 192.0.2.53\n";

/// A server of [`ZONE`] on a port of its own, and its address.
pub(crate) fn server() -> (DnsServer, SocketAddr) {
    let apex = DomainName::parse(ZONE).unwrap();
    let zone =
        StaticZone::read(&apex, "probe.test.zone", ZONE_TEXT.as_bytes(), &mut |_| Err("none".to_owned())).unwrap();
    let zones = Zones::new(Settings::default(), vec![zone], Serial::new(1)).unwrap();
    let config = Config::new(vec!["127.0.0.1:0".parse().unwrap()]);
    let server = DnsServer::start(&config, &Live::new(zones)).unwrap();
    let address = server.local_addrs()[0];
    (server, address)
}

/// What `dig` prints for these words.
pub(crate) fn dig(address: SocketAddr, words: &str) -> String {
    let output = Command::new("dig")
        .args([format!("@{}", address.ip()), format!("-p{}", address.port()), "+tries=3".into(), "+time=5".into()])
        .args(words.split_whitespace())
        .output()
        .expect("dig is installed (Debian: bind9-dnsutils)");
    String::from_utf8(output.stdout).unwrap()
}
