//! Addresses of its own for each scenario, and a `/etc/resolv.conf` of its own for a program.
//!
//! SIP servers take their name server from `/etc/resolv.conf`, always on port 53. So every scenario has a handful of
//! loopback addresses (each may use ports 53, 5060 and 5061 without meeting another scenario, another run of the tests,
//! or a service of the host), and SIP servers run in a mount namespace where `/etc/resolv.conf` is the scenario's.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use super::process::{self, Process};
use super::skip;

/// Addresses that one scenario may use.
const ADDRESSES: u8 = 16;
/// Scenarios that one process may have.
const SCENARIOS: u8 = 32;
/// The next scenario of this process.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// Sixteen loopback addresses that nobody else uses.
#[derive(Debug)]
pub(super) struct Loopback {
    first: Ipv4Addr,
    used: AtomicU8,
}

impl Loopback {
    /// Takes the next sixteen addresses; from the process id, so that runs beside each other do not meet.
    pub(super) fn take() -> Self {
        let scenario = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(scenario < SCENARIOS, "too many scenarios for one process: widen Loopback");
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // 127.64.0.0/10: far from 127.0.0.x, where the host's own services are. Sixteen scenarios fill the last octet, one
        // bit of the second tells two such groups apart.
        let (group, place) = (scenario / 16, scenario % 16);
        let first = Ipv4Addr::new(127, 64 | (group << 5) | (high & 0x1f), low, place * ADDRESSES);
        Self { first, used: AtomicU8::new(1) }
    }

    /// The next address of the scenario.
    pub(super) fn address(&self) -> Ipv4Addr {
        let index = self.used.fetch_add(1, Ordering::Relaxed);
        assert!(index < ADDRESSES, "too many addresses for one scenario: raise ADDRESSES");
        Ipv4Addr::from(u32::from(self.first) + u32::from(index))
    }
}

/// Whether a program can be given its own `/etc/resolv.conf` and a server can listen on port 53 here: both need root.
/// Prints that the test is skipped, or fails in CI, if not.
pub(super) fn can_set_resolver(network: &Loopback) -> bool {
    let namespaces = process::exists("unshare") && process::run("unshare", &["--mount", "true"]).status.success();
    let port_53 = UdpSocket::bind((network.address(), 53)).is_ok();
    if !namespaces {
        skip("`unshare --mount` does not work here: run as root (in a container with CAP_SYS_ADMIN)");
    } else if !port_53 {
        skip("cannot listen on port 53 of a loopback address: run as root, or grant CAP_NET_BIND_SERVICE");
    }
    namespaces && port_53
}

/// Starts `program` in `folder` so that it asks `resolver` on port 53, with its output in `folder/log`.
///
/// A process namespace sees to it that its children end with it.
pub(super) fn start_with_resolver(
    program: &'static str,
    arguments: &[OsString],
    resolver: IpAddr,
    folder: &Path,
) -> Process {
    let resolv_conf: PathBuf = folder.join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {resolver}\n")).expect("the scratch folder is writable");
    let mount = r#"mount --bind "$1" /etc/resolv.conf && shift && exec "$@""#;
    let mut all: Vec<OsString> = ["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", mount, "sh"]
        .iter()
        .map(OsString::from)
        .collect();
    all.push(resolv_conf.into());
    all.push(program.into());
    all.extend_from_slice(arguments);
    Process::start("unshare", &all, &folder.join("log"))
}
