//! Unbound as an operator's recursive resolver, with the directory's zones as stub zones.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::process::{self, Process};
use super::{guide, wait_for};

/// The name server of the guide's example.
const GUIDE_SERVER: &str = "203.0.113.53";

/// A running unbound.
#[derive(Debug)]
pub(super) struct Recursor {
    _process: Process,
    address: IpAddr,
}

impl Recursor {
    /// Starts one on port 53 of `address` that asks `directory` for the guide's zones.
    pub(super) fn start(address: IpAddr, directory: SocketAddr, folder: &Path) -> Self {
        std::fs::create_dir(folder).expect("the scratch folder is writable");
        let stubs = guide::snippet("kamailio.md", "unbound")
            .replace(GUIDE_SERVER, &format!("{}@{}", directory.ip(), directory.port()));
        // No chroot, no other user, no validator (there is no chain of trust to `test.`), nothing outside the folder.
        let own = format!(
            "server:\n    interface: {address}\n    port: 53\n    access-control: 127.0.0.0/8 allow\n    \
             chroot: \"\"\n    username: \"\"\n    directory: \"{folder}\"\n    pidfile: \"\"\n    use-syslog: no\n    \
             logfile: \"\"\n    module-config: \"iterator\"\n    num-threads: 1\n    verbosity: 1\n\
             remote-control:\n    control-enable: no\n",
            folder = folder.display()
        );
        let configuration = folder.join("unbound.conf");
        std::fs::write(&configuration, own + &stubs).expect("the scratch folder is writable");
        process::read("unbound-checkconf", &[&configuration]);
        let arguments = ["-d".as_ref(), "-c".as_ref(), configuration.as_os_str()];
        let mut running = Process::start("unbound", &arguments, &folder.join("log"));
        let server = format!("@{address}");
        // unbound answers for its own version from the moment on that it serves.
        let question = [&server, "version.bind", "CH", "TXT", "+tries=1", "+timeout=1"];
        wait_for("unbound answers", || {
            running.assert_running();
            process::run("dig", &question).status.success().then_some(())
        });
        Self { _process: running, address }
    }

    /// Where it listens, on port 53.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }
}
