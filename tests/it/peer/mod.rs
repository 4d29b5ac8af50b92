//! Tests that talk to other people's programs: SIP servers, telephones, resolvers and DNS tools, as Debian ships them.
//!
//! A missing program skips its tests with a line that says so; where the environment has `CI=true` it fails them.
//! Start at `kamailio` (a whole call), `agent` (the same with an agent beside the caller), `strangers` (two operators on hosts of
//! their own, from invitation to call) or `tools` (what `dig` and its like read).
//!
//! Debian 12's packages: baresip-core bind9 bind9-dnsutils bind9-utils curl iproute2 kamailio kamailio-extra-modules
//! kamailio-tls-modules kamailio-utils-modules knot knot-dnsutils ldnsutils nftables nsd openssl python3-aiosmtpd sip-tester
//! unbound util-linux zonemaster-cli. The SIP servers and Zonemaster need root, or a container with CAP_SYS_ADMIN (see `network`,
//! `netns`); no test needs a network beyond the loopback interface, a sound card, or a service that is started already.

mod agent;
mod certificate;
mod configured;
mod differential;
mod directory;
mod dns_tool;
mod foreign;
pub(crate) mod guide;
mod kamailio;
mod mail;
mod netns;
mod network;
mod overlay;
mod phone;
pub(crate) mod process;
mod recursor;
mod sip_server;
mod strangers;
mod tools;
mod zonemaster;

use std::time::{Duration, Instant};

/// Longest wait for one condition: programs start in a second or two, and a busy CI machine takes ten times that.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Looks until `probe` gives a value.
///
/// # Panics
///
/// When [`PATIENCE`] ends before; the message says what was awaited.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(POLL);
    }
}

/// Whether every one of `programs` can be run; otherwise prints that the test is skipped.
///
/// # Panics
///
/// In CI (environment `CI=true`), where a skipped test must not pass for a good one.
pub(crate) fn require(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !process::exists(program)).collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}

/// Says that a test is not run and why.
///
/// # Panics
///
/// In CI.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
pub(crate) fn skip(reason: &str) {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci, "must run in CI, but {reason}");
    eprintln!("skipped: {reason}");
}
