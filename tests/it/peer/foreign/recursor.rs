//! Resolvers of a member that hold a policy zone, set up by `docs/guides/unbound.md` and `docs/guides/bind.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::super::process::{self, Process};
use super::super::{guide, wait_for};

/// The guides' examples, which become the scenario's own values.
const GUIDE_DIRECTORY: &str = "203.0.113.53";
const GUIDE_SIP_SERVER: &str = "203.0.113.7";
const GUIDE_SECRET: &str = "c2VjcmV0IG9mIHRoZSBtZW1iZXIsIGZyb20gdGhlIGRpcmVjdG9yeQ==";
const GUIDE_KNOT: &str = "127.0.0.1@5353";
const GUIDE_TOLD: &str = "203.0.113.7@5353";
const GUIDE_UNBOUND: &str = "127.0.0.1@53";

/// Which zone is applied to whose questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// SRV records only, for everybody.
    PolicyZone,
    /// The peers zone, for SIP servers alone.
    PeersZone,
}

impl Policy {
    /// The zones that are transferred, the one that is applied first.
    pub(super) const fn zones(self) -> &'static [&'static str] {
        match self {
            Self::PolicyZone => &["policy.ostn.test", "peers.ostn.test"],
            Self::PeersZone => &["peers.ostn.test"],
        }
    }
}

/// What a resolver of the scenario is told.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) policy: Policy,
    /// Port 53 of this address is the resolver's.
    pub(super) address: Ipv4Addr,
    /// On port 53, like `world`: BIND's stub zones know no other.
    pub(super) directory: Ipv4Addr,
    /// The secret of the key `member`, in base64.
    pub(super) secret: &'a str,
    /// Who answers for `domains`, in place of the public DNS.
    pub(super) world: Ipv4Addr,
    pub(super) domains: &'a [&'a str],
    /// The address that SIP servers on this host ask from.
    pub(super) sip_server: Ipv4Addr,
    pub(super) folder: &'a Path,
}

/// A running resolver, and what it needs to run.
#[derive(Debug)]
pub(super) struct Recursor {
    _processes: Vec<Process>,
    _interface: Option<OnInterface>,
}

impl Recursor {
    /// Starts unbound, with Knot at `knot` between it and the directory, which tells it of changes at `told`.
    pub(super) fn unbound(setup: &Setup<'_>, knot: SocketAddr, told: SocketAddr) -> Self {
        let folder = made(setup.folder);
        let at = |address: SocketAddr| format!("{}@{}", address.ip(), address.port());
        let front = guide::snippet("unbound.md", "knot.conf")
            .replace(GUIDE_KNOT, &at(knot))
            .replace(GUIDE_TOLD, &at(told))
            .replace(GUIDE_UNBOUND, &format!("{}@53", setup.address))
            .replace(GUIDE_DIRECTORY, &setup.directory.to_string())
            .replace(GUIDE_SECRET, setup.secret)
            .replace("server:\n", &format!("server:\n    rundir: \"{folder}\"\n"));
        let front = match setup.policy {
            Policy::PolicyZone => front,
            Policy::PeersZone => without_zone(&front, "policy.ostn.test"),
        };
        let front = format!(
            "{front}\ndatabase:\n    storage: \"{folder}\"\ntemplate:\n  - id: default\n    storage: \"{folder}\"\n\
             log:\n  - target: stderr\n    any: info\n"
        );
        let front_file = written(setup.folder, "knot.conf", &front);
        let mut knotd = Process::start("knotd", &["-c", &front_file], &setup.folder.join("knot.log"));
        wait_for("Knot has the zones", || {
            knotd.assert_running();
            let has = |zone: &&str| !ask(knot, None, zone, "SOA").records.is_empty();
            setup.policy.zones().iter().all(has).then_some(())
        });

        written(setup.folder, "root", &format!(". 60 NS root.\nroot. 60 A {}\n", setup.world));
        let name = if setup.policy == Policy::PolicyZone { "policy" } else { "peers" };
        let snippet = guide::snippet("unbound.md", name)
            .replace(GUIDE_KNOT, &at(knot))
            .replace(GUIDE_DIRECTORY, &setup.directory.to_string())
            .replace(GUIDE_SIP_SERVER, &setup.sip_server.to_string());
        // No chroot, no other user, nothing outside the folder.
        let mut text = format!(
            "server:\n    interface: {address}\n    port: 53\n    access-control: 127.0.0.0/8 allow\n    \
             chroot: \"\"\n    username: \"\"\n    directory: \"{folder}\"\n    pidfile: \"\"\n    use-syslog: no\n    \
             logfile: \"\"\n    num-threads: 1\n    verbosity: 1\n    root-hints: root\n    log-queries: yes\nremote-control:\n    control-enable: no\n",
            address = setup.address,
        );
        for domain in setup.domains {
            text.push_str(&format!("stub-zone:\n    name: \"{domain}\"\n    stub-addr: {}\n", setup.world));
        }
        let file = written(setup.folder, "unbound.conf", &(text + &snippet));
        process::read("unbound-checkconf", &[&file]);
        let unbound = Process::start("unbound", &["-d", "-c", &file], &setup.folder.join("unbound.log"));
        Self { _processes: vec![unbound, knotd], _interface: None }
    }

    /// Starts BIND.
    pub(super) fn bind(setup: &Setup<'_>) -> Self {
        let folder = made(setup.folder);
        let fill = |name: &str| {
            guide::snippet("bind.md", name)
                .replace("/etc/bind/", &format!("{folder}/"))
                .replace(GUIDE_DIRECTORY, &setup.directory.to_string())
                .replace(GUIDE_SIP_SERVER, &setup.sip_server.to_string())
                .replace(GUIDE_SECRET, setup.secret)
        };
        // The public DNS stands in for the root too, and is not signed.
        written(setup.folder, "root", &format!(". 60 NS root.\nroot. 60 A {}\n", setup.world));
        let mut zones = fill("stub") + "zone \".\" { type hint; file \"root\"; };\n";
        let unsigned: String = setup.domains.iter().map(|domain| format!("\"{domain}\"; ")).collect();
        let validation = fill("options").replace("validate-except { ", &format!("validate-except {{ {unsigned}"));
        for domain in setup.domains {
            let world = setup.world;
            zones.push_str(&format!("zone \"{domain}\" {{ type static-stub; server-addresses {{ {world}; }}; }};\n"));
        }
        let (options, rest) = match setup.policy {
            Policy::PolicyZone => (fill("policy-options"), fill("policy") + &zones),
            Policy::PeersZone => {
                written(setup.folder, "zones-of-all-views.conf", &zones);
                (String::new(), fill("views"))
            }
        };
        let text = format!(
            "options {{\n    directory \"{folder}\"; pid-file none; session-keyfile \"{folder}/session.key\";\n    \
             listen-on {{ {address}; }}; listen-on-v6 {{ none; }}; recursion yes; allow-query {{ 127.0.0.0/8; }};\n\
             {validation}{options}}};\ncontrols {{ }};\n{key}{rest}",
            address = setup.address,
            key = fill("key"),
        );
        let file = written(setup.folder, "named.conf", &text);
        process::read("named-checkconf", &[&file]);
        let interface = OnInterface::add(setup.address);
        let named = Process::start("named", &["-g", "-n", "1", "-c", &file], &setup.folder.join("named.log"));
        Self { _processes: vec![named], _interface: Some(interface) }
    }
}

/// An address on the loopback interface: BIND listens on addresses that an interface has, and on no others.
#[derive(Debug)]
struct OnInterface(Ipv4Addr);

impl OnInterface {
    fn add(address: Ipv4Addr) -> Self {
        process::read("ip", &["address", "replace", &format!("{address}/32"), "dev", "lo"]);
        Self(address)
    }
}

impl Drop for OnInterface {
    fn drop(&mut self) {
        // Nothing can be done about a failure; the address is the scenario's own and does no harm.
        process::run("ip", &["address", "del", &format!("{}/32", self.0), "dev", "lo"]);
    }
}

/// Whether addresses can be put on the loopback interface here.
pub(super) fn can_add_address(address: Ipv4Addr) -> bool {
    let added = process::run("ip", &["address", "replace", &format!("{address}/32"), "dev", "lo"]).status.success();
    if added {
        drop(OnInterface(address));
    }
    added
}

/// What a resolver answered: `NOERROR` or another status, and the records' data, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) records: Vec<String>,
}

impl Answer {
    /// One good answer with this data.
    pub(super) fn of(record: &str) -> Self {
        Self { status: "NOERROR".into(), records: vec![record.into()] }
    }

    /// The name exists, or seems to, and has no such record.
    pub(super) fn nothing() -> Self {
        Self { status: "NOERROR".into(), records: Vec::new() }
    }
}

/// Asks `server`, from the address `source` if given; an empty status when no answer comes.
pub(super) fn ask(server: SocketAddr, source: Option<Ipv4Addr>, name: &str, kind: &str) -> Answer {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut arguments = vec![&*at, "-p", &port, name, kind, "+noall", "+comments", "+answer", "+tries=1", "+time=3"];
    let source = source.map(|source| source.to_string());
    if let Some(source) = &source {
        arguments.extend(["-b", source]);
    }
    let output = String::from_utf8_lossy(&process::run("dig", &arguments).stdout).into_owned();
    let status = output.split_once("status: ").and_then(|(_, after)| after.split(',').next()).unwrap_or_default();
    // Owner, TTL, class and type stand before the data.
    let data = |line: &str| line.split_whitespace().skip(4).collect::<Vec<_>>().join(" ");
    let records = output.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).map(data);
    let mut records: Vec<String> = records.collect();
    records.sort();
    Answer { status: status.to_owned(), records }
}

/// The configuration of Knot without the entry of one zone.
fn without_zone(configuration: &str, zone: &str) -> String {
    let entry = format!("  - domain: {zone}\n");
    let (before, after) = configuration.split_once(&entry).expect("the guide has the zone");
    let next = after.find("  - domain: ").expect("the guide has another zone behind it");
    format!("{before}{}", &after[next..])
}

fn made(folder: &Path) -> std::path::Display<'_> {
    std::fs::create_dir(folder).expect("the scratch folder is writable");
    folder.display()
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the scratch folder is writable");
    path.into_os_string().into_string().expect("a temporary folder's name is text")
}
