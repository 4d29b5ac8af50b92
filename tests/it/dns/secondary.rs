//! NSD, Knot and BIND as secondaries of a directory: each on a loopback address of its own, in a temporary folder, without
//! privileges, killed when dropped.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::peer::guide;
use crate::peer::process::{self, Process};

/// The port of every server in these tests: free on addresses that nobody else uses.
pub(super) const PORT: u16 = 5300;

/// BIND's port is one of these: below those that the system hands out.
const BIND_PORT: u16 = 20_000;
const BIND_PORTS: u16 = 10_000;

/// The guide's primary, and its key.
const GUIDE_PRIMARY: &str = "203.0.113.53";
const GUIDE_KEY: &str = "ns2-key";

/// Address `host` of the running test process: no two processes that run together share one.
pub(super) fn address(host: u8) -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    // 127.64.0.0/10: other tests use lower addresses.
    Ipv4Addr::new(127, 64 | high & 0x3f, low, host).into()
}

/// A TSIG key as the other side knows it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) algorithm: String,
    pub(super) secret: String,
}

impl Key {
    /// As `dig -y` and `kdig -y` take it.
    pub(super) fn argument(&self) -> String {
        format!("{}:{}:{}", self.algorithm, self.name, self.secret)
    }
}

/// Which program serves as secondary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has no catalog zones in Debian 12: its zones are configured.
    Nsd,
    Knot,
    Bind,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Nsd, Self::Knot, Self::Bind];

    /// The name of its key, and of its folder.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nsd => "nsd",
            Self::Knot => "knot",
            Self::Bind => "bind",
        }
    }

    /// Where it listens. BIND takes only addresses that an interface has, so it has a port of its own on 127.0.0.1.
    pub(super) fn address(self) -> SocketAddr {
        match self {
            Self::Nsd => SocketAddr::new(address(2), PORT),
            Self::Knot => SocketAddr::new(address(3), PORT),
            Self::Bind => {
                let port = BIND_PORT + (std::process::id() % u32::from(BIND_PORTS)) as u16;
                SocketAddr::from((Ipv4Addr::LOCALHOST, port))
            }
        }
    }

    /// Whether it takes its zones from the catalog.
    pub(super) const fn follows_catalog(self) -> bool {
        !matches!(self, Self::Nsd)
    }
}

/// A running secondary.
#[derive(Debug)]
pub(super) struct Secondary {
    pub(super) kind: Kind,
    pub(super) process: Process,
}

impl Secondary {
    /// Starts one in `folder` that follows `primary` with `key`; NSD gets `zones`, the others the catalog.
    pub(super) fn start(kind: Kind, primary: SocketAddr, key: &Key, zones: &[&str], folder: &Path) -> Self {
        let folder = folder.join(kind.name());
        fs::create_dir(&folder).unwrap();
        let text = match kind {
            Kind::Nsd => nsd(primary, key, zones, &folder),
            Kind::Knot => knot(primary, key, &folder),
            Kind::Bind => bind(primary, key, &folder),
        };
        let file = folder.join("conf");
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let log = folder.join("log");
        let process = match kind {
            Kind::Nsd => Process::start("nsd", &["-d", "-c", file], &log),
            Kind::Knot => Process::start("knotd", &["-c", file], &log),
            Kind::Bind => Process::start("named", &["-g", "-c", file], &log),
        };
        Self { kind, process }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.kind.address()
    }
}

/// The serial that `server` has for `zone`, when it answers with authority.
pub(super) fn serial(server: SocketAddr, zone: &str) -> Option<u32> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let words = [&at, "-p", &port, zone, "SOA", "+norecurse", "+short", "+tries=1", "+time=2"];
    let output = process::run("dig", &words);
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(2)?.parse().ok()
}

/// Every record of `zone` as `server` transfers it, sorted; the SOA once. With `key` if it wants one.
pub(super) fn transferred(server: SocketAddr, zone: &str, key: Option<&Key>) -> Vec<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut words: Vec<String> =
        [&at, "-p", &port, "AXFR", zone, "+onesoa", "+nocomments", "+nocmd", "+nostats"].map(str::to_owned).into();
    words.extend(key.iter().flat_map(|key| ["-y".to_owned(), key.argument()]));
    let text = process::read("dig", &words);
    let mut records: Vec<String> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(';') && !line.contains("\tTSIG\t"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    records.sort();
    records
}

/// The guide's lines for a program, with this key; the rest of its configuration is ours.
fn from_guide(program: &str, key: &Key) -> String {
    let text = guide::snippet("secondaries.md", program);
    text.replace(GUIDE_KEY, &key.name).replace("hmac-sha256", &key.algorithm).replace("SECRET", &key.secret)
}

fn nsd(primary: SocketAddr, key: &Key, zones: &[&str], folder: &Path) -> String {
    let (folder, own) = (folder.display(), Kind::Nsd.address());
    let mut text = format!(
        "server:\n    ip-address: {ip}@{port}\n    username: \"\"\n    chroot: \"\"\n    zonesdir: \"{folder}\"\n    \
         database: \"\"\n    pidfile: \"{folder}/pid\"\n    xfrdfile: \"{folder}/xfrd.state\"\n    xfrdir: \"{folder}\"\n    \
         zonelistfile: \"{folder}/zone.list\"\n    server-count: 1\n    xfrd-reload-timeout: 0\n    verbosity: 2\n\
         remote-control:\n    control-enable: no\n",
        ip = own.ip(),
        port = own.port(),
    );
    let (keys, zone) = from_guide("nsd", key).split_once("zone:\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // A port in `allow-notify` would be the sender's.
    let zone = zone
        .replace(&format!("request-xfr: {GUIDE_PRIMARY}"), &format!("request-xfr: {}@{}", primary.ip(), primary.port()))
        .replace(GUIDE_PRIMARY, &primary.ip().to_string());
    text += &keys;
    for name in zones {
        let zone = zone.replace("ostn.test", name);
        text += &format!(
            "zone:\n{zone}    outgoing-interface: {ip}\n    provide-xfr: 127.0.0.0/8 NOKEY\n    \
             max-refresh-time: 5\n    max-retry-time: 2\n",
            ip = own.ip(),
        );
    }
    text
}

fn knot(primary: SocketAddr, key: &Key, folder: &Path) -> String {
    let (folder, own) = (folder.display(), Kind::Knot.address());
    // What the test adds to the guide's sections: places, and that it may look at the result.
    let added = format!(
        "    storage: \"{folder}\"\n    refresh-max-interval: 5\n    retry-max-interval: 2\n    \
         acl: [news, compare]\n"
    );
    let lines = from_guide("knot", key)
        .replace(GUIDE_PRIMARY, &format!("{}@{}\n    via: {}", primary.ip(), primary.port(), own.ip()))
        .replace("    acl: news\n", &added)
        .replace(
            "acl:\n  - id: news",
            "acl:\n  - id: compare\n    address: 127.0.0.0/8\n    action: transfer\n  - id: news",
        );
    format!(
        "server:\n    rundir: \"{folder}\"\n    listen: {ip}@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\nlog:\n  - target: stdout\n    any: info\n\
         database:\n    storage: \"{folder}\"\n{lines}",
        ip = own.ip(),
        port = own.port(),
    )
}

fn bind(primary: SocketAddr, key: &Key, folder: &Path) -> String {
    let (folder, own) = (folder.display(), Kind::Bind.address());
    let lines = from_guide("bind", key)
        .replace(GUIDE_PRIMARY, &format!("{} port {}", primary.ip(), primary.port()))
        .replace("; };\n    };\n};\nzone", &format!("; }} zone-directory \"{folder}\" min-update-interval 1;\n    }};\n}};\nzone"))
        .replace(
            "options {\n",
            &format!(
                "controls {{ }};\noptions {{\n    directory \"{folder}\";\n    pid-file none;\n    session-keyfile none;\n    \
                 listen-on port {port} {{ {ip}; }};\n    listen-on-v6 {{ none; }};\n    recursion no;\n    \
                 dnssec-validation no;\n    notify no;\n    allow-transfer {{ any; }};\n    max-refresh-time 5;\n    \
                 max-retry-time 2;\n    min-refresh-time 1;\n    min-retry-time 1;\n",
                ip = own.ip(),
                port = own.port(),
            ),
        );
    assert!(lines.contains("min-update-interval"), "the guide's lines have another form now:\n{lines}");
    lines
}
