//! Knot as an authoritative server of master files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::super::network::Loopback;
use super::super::process::{self, Process};
use super::super::wait_for;

/// Its port, on an address that nobody else uses; not 5300, which a secondary under test may hold on every address.
const PORT: u16 = 5400;

/// A running Knot.
#[derive(Debug)]
pub(super) struct Knot {
    _process: Process,
    address: SocketAddr,
}

impl Knot {
    /// Starts one on a loopback address of its own with `zones` (apex and master file), its files in `folder`.
    pub(super) fn start(zones: &BTreeMap<&str, String>, folder: &Path) -> Self {
        std::fs::create_dir(folder).expect("the scratch folder is writable");
        let address = SocketAddr::from((Loopback::take().address(), PORT));
        let mut configuration = format!(
            "server:\n  rundir: \"{folder}\"\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\nlog:\n  - target: stderr\n    any: warning\ndatabase:\n  storage: \"{folder}\"\n\
             template:\n  - id: default\n    storage: \"{folder}\"\n    semantic-checks: off\n    zonefile-sync: -1\n    \
             journal-content: none\nzone:\n",
            folder = folder.display(),
            ip = address.ip(),
            port = address.port()
        );
        for (apex, text) in zones {
            let file = format!("{apex}.zone");
            std::fs::write(folder.join(&file), text).expect("the scratch folder is writable");
            writeln!(configuration, "  - domain: \"{apex}.\"\n    file: \"{file}\"").expect("a string takes all");
        }
        let file = folder.join("knot.conf");
        std::fs::write(&file, configuration).expect("the scratch folder is writable");
        let arguments = ["-c".as_ref(), file.as_os_str()];
        let mut running = Process::start("knotd", &arguments, &folder.join("log"));
        let (server, port) = (format!("@{}", address.ip()), address.port().to_string());
        for apex in zones.keys() {
            wait_for("Knot serves every zone", || {
                running.assert_running();
                let question = [&server, "-p", &port, apex, "SOA", "+retry=0", "+timeout=1"];
                let output = process::run("kdig", &question);
                String::from_utf8_lossy(&output.stdout).contains("status: NOERROR").then_some(())
            });
        }
        Self { _process: running, address }
    }

    /// Where it answers, by UDP and TCP.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}
