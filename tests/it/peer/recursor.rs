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
    process: Process,
    address: IpAddr,
}

impl Recursor {
    /// Starts one on port 53 of `address` that asks `directory` for the guide's zones.
    pub(super) fn start(address: IpAddr, directory: SocketAddr, folder: &Path) -> Self {
        Self::start_with_stubs(address, directory, &[], folder)
    }

    /// The same with more stub zones: each name with the server that answers for it.
    pub(super) fn start_with_stubs(
        address: IpAddr,
        directory: SocketAddr,
        more: &[(&str, SocketAddr)],
        folder: &Path,
    ) -> Self {
        let mut stubs = guide::snippet("kamailio.md", "unbound")
            .replace(GUIDE_SERVER, &format!("{}@{}", directory.ip(), directory.port()));
        for (name, server) in more {
            let at = format!("{}@{}", server.ip(), server.port());
            stubs.push_str(&format!("stub-zone:\n    name: \"{name}\"\n    stub-addr: {at}\n"));
        }
        Self::start_configured(address, &stubs, folder)
    }

    /// The same with other settings for the directory's zones.
    pub(super) fn start_configured(address: IpAddr, stubs: &str, folder: &Path) -> Self {
        std::fs::create_dir(folder).expect("the scratch folder is writable");
        // No chroot, no other user, no validator (there is no chain of trust to `test.`), nothing outside the folder.
        let own = format!(
            "server:\n    interface: {address}\n    port: 53\n    access-control: 127.0.0.0/8 allow\n    \
             chroot: \"\"\n    username: \"\"\n    directory: \"{folder}\"\n    pidfile: \"\"\n    use-syslog: no\n    \
             logfile: \"\"\n    module-config: \"iterator\"\n    num-threads: 1\n    verbosity: 1\n    log-queries: yes\n\
             remote-control:\n    control-enable: no\n",
            folder = folder.display()
        );
        let configuration = folder.join("unbound.conf");
        std::fs::write(&configuration, own + stubs).expect("the scratch folder is writable");
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
        Self { process: running, address }
    }

    /// The questions that clients have asked so far, as `name type`.
    pub(super) fn asked(&self) -> Vec<String> {
        let output = self.process.output();
        // "[time] unbound[id:thread] info: 127.0.0.1 example.org. A IN"
        let question = |line: &str| {
            let mut words = line.split_once(" info: 127.")?.1.split(' ').skip(1);
            let (name, kind, class) = (words.next()?, words.next()?, words.next()?);
            (class == "IN").then(|| format!("{name} {kind}"))
        };
        output.lines().filter_map(question).collect()
    }

    /// Where it listens, on port 53.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }
}
