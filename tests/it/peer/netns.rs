//! Hosts with a network of their own, for scenarios whose addresses must count as public ones.
//!
//! A test runs itself again ([`run_inside`]) as the first process of namespaces of its own: a network without anybody else's
//! addresses, mounts with its own `/etc/resolv.conf`, and processes, all of which end with it, however it ends. There the
//! test's own network is the router, and each [`Host`] a further network behind it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{self, Process};
use super::{skip, wait_for};

/// Set in the run inside, to the folder of the scenario.
const INSIDE: &str = "TANDEM_TEST_IN_NAMESPACE";
/// Namespaces that end with the first process in them, which ends with `unshare`.
const UNSHARE: [&str; 6] = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// The last number of a host's first address: 1 is the router's.
const FIRST: u8 = 5;

/// The scenario's folder, in the run inside.
pub(super) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs the test `path` (`module_path!()` and its name) inside namespaces of its own with `variables` set, where `folder` is the
/// scenario's and `name_server` all that is in `/etc/resolv.conf`. Gives what it printed; `None` when this machine cannot do
/// it, which has been said then.
///
/// # Panics
///
/// When the test fails there.
pub(super) fn run_inside(
    path: &str,
    folder: &Path,
    name_server: IpAddr,
    variables: &[(&str, &Path)],
) -> Option<String> {
    let probe = [&UNSHARE[..], &["ip", "link", "set", "lo", "up"]].concat();
    if !process::run("unshare", &probe).status.success() {
        skip("`unshare --net --pid` does not work here: run as root (in a container with CAP_SYS_ADMIN)");
        return None;
    }
    let resolv_conf = folder.join("resolv.conf");
    fs::write(&resolv_conf, format!("nameserver {name_server}\n")).expect("the scratch folder is writable");
    let (_, name) = path.split_once("::").expect("a path begins with its crate");
    let mount = r#"mount --bind "$1" /etc/resolv.conf && shift && exec "$@""#;
    let mut arguments: Vec<OsString> = ["--pdeathsig", "KILL", "--", "unshare"].map(OsString::from).into();
    arguments.extend(UNSHARE.map(OsString::from));
    arguments.extend(["sh", "-c", mount, "sh"].map(OsString::from));
    arguments.push(resolv_conf.into());
    arguments.push("env".into());
    for (variable, value) in [(INSIDE, folder)].iter().chain(variables) {
        let mut setting = OsString::from(format!("{variable}="));
        setting.push(value);
        arguments.push(setting);
    }
    arguments.push(std::env::current_exe().expect("a test knows its program").into());
    arguments.extend([name, "--exact", "--nocapture"].map(OsString::from));
    let report = process::read("setpriv", &arguments);
    assert!(report.contains("1 passed"), "it ran there:\n{report}");
    Some(report)
}

/// Makes the test's own network, inside, the router between hosts, with these addresses of its own.
pub(super) fn become_router(addresses: &[Ipv4Addr]) {
    ip("link set lo up");
    for address in addresses {
        ip(&format!("address add {address}/32 dev lo"));
    }
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(Path::new("/proc/sys/net").join(switch), "1").expect("root may route in a network of its own");
    }
}

/// A host behind the router: all who work in its network reach the others through that alone.
#[derive(Debug)]
pub(super) struct Host {
    network: File,
    router: File,
    number: u8,
    /// Whose network it is.
    holder: Process,
}

impl Host {
    /// Makes host `number`, with so many IPv4 addresses and one IPv6 address.
    pub(super) fn new(number: u8, addresses: u8, folder: &Path) -> Self {
        let log = folder.join(format!("host-{number}.log"));
        let mut holder = Process::start("unshare", &["--net", "--", "sleep", "infinity"], &log);
        let router = File::open("/proc/thread-self/ns/net").expect("there is /proc");
        let place = format!("/proc/{}/ns/net", holder.id());
        // It is one and the same process that becomes setpriv, unshare, and sleep in a network of its own.
        let network = wait_for("another network", || {
            holder.assert_running();
            let network = File::open(&place).ok()?;
            (inode(&network) != inode(&router)).then_some(network)
        });
        let host = Self { network, router, number, holder };
        let link = format!("host{number}");
        ip(&format!("link add {link} type veth peer name eth0 netns {}", host.holder.id()));
        let router = (Ipv4Addr::new(11, number, 0, 1), ipv6(number, 1));
        plug(&link, &[router.0], router.1);
        host.within(|| {
            ip("link set lo up");
            plug("eth0", &(0..addresses).map(|index| host.address(index)).collect::<Vec<_>>(), host.ipv6());
            ip(&format!("route add default via {}", router.0));
            ip(&format!("-6 route add default via {}", router.1));
        });
        host
    }

    /// One of its IPv4 addresses, from 0 on: a global unicast one.
    pub(super) const fn address(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(11, self.number, 0, FIRST + index)
    }

    /// Its IPv6 address: a global unicast one.
    pub(super) const fn ipv6(&self) -> Ipv6Addr {
        ipv6(self.number, FIRST)
    }

    /// Does `work` in its network: sockets that are opened and programs that are started there stay there.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        enter(&self.network);
        let _back = Back(&self.router);
        work()
    }
}

/// The way out of a host's network, also when something failed there.
struct Back<'a>(&'a File);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        enter(self.0);
    }
}

/// Moves this thread, and no other.
fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may change networks");
}

fn plug(device: &str, addresses: &[Ipv4Addr], ipv6: Ipv6Addr) {
    for address in addresses {
        ip(&format!("address add {address}/24 dev {device}"));
    }
    ip(&format!("address add {ipv6}/64 dev {device} nodad"));
    ip(&format!("link set {device} up"));
}

fn ip(words: &str) {
    process::read("ip", &words.split(' ').collect::<Vec<_>>());
}

const fn ipv6(network: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2600, 0xdb8, network as u16, 0, 0, 0, 0, host as u16)
}

fn inode(file: &File) -> u64 {
    file.metadata().expect("an open file has it").ino()
}
