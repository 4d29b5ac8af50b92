//! Threat 20: no address of a client stays anywhere. Every listener is used from marked addresses, in every way that comes to
//! mind, with all that can be logged switched on; then logs, files, metrics, backups, exports and the memory of the process
//! are searched for the marks.
//!
//! It runs in a network namespace of its own, where the loopback interface can have the marked IPv6 address.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_testkit::{Output, Service, Setup, repository, run, tandem, wait_until};
use tempfile::TempDir;

use crate::peer::{require, skip};

/// Set for the test inside the namespace.
const INSIDE: &str = "TANDEM_TEST_PRIVACY";
/// The clients' addresses: nothing else in the test has anything of the kind.
const CLIENTS: [&str; 2] = ["127.77.66.55", "fd77:6d61:726b:73::55"];
/// What any text form of them has in it.
const MARKS: [&str; 3] = ["127.77.66.", "fd77:6d61:726b", "FD77:6D61:726B"];
/// What a client says its address is, in fields of its requests. That it lingers in memory is its own doing.
const CLAIMED: &str = "127.88.99.77";
/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);
/// Queries to reach the rate limit with.
const FLOOD: usize = 400;
/// Octets of memory that are looked at at a time.
const WINDOW: usize = 1 << 20;

#[test]
fn no_address_of_a_client_stays_anywhere_threat_20() {
    if !require(&["curl", "ip", "kdig", "unshare"]) {
        return;
    }
    let namespace = ["--user", "--map-root-user", "--net", "--"];
    if !run(Command::new("unshare").args(namespace).arg("true")).status.success() {
        skip("`unshare --user --net` does not work here: run as root, or allow users namespaces");
        return;
    }
    let script = r#"ip link set lo up && ip address add "$1"/128 dev lo && shift && exec "$@""#;
    let mut inside = Command::new("unshare");
    inside.args(namespace).args(["sh", "-c", script, "sh", CLIENTS[1]]).arg(std::env::current_exe().unwrap());
    inside.args(["privacy::inside", "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output = run(&mut inside);
    assert!(output.status.success() && output.stdout.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "the test above runs it in a namespace"]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    for (client, format) in CLIENTS.into_iter().zip(["text", "json"]) {
        let mut scene = Scene::start(client, format);
        scene.ask_dns();
        scene.ask_api();
        scene.end_connections();
        scene.search();
    }
}

/// A service with everything on, and a client at one marked address.
struct Scene {
    client: IpAddr,
    service: Service,
    folder: TempDir,
    key: String,
    /// The services' addresses, by the word that is printed; of the client's family.
    places: BTreeMap<&'static str, SocketAddr>,
}

impl Scene {
    fn start(client: &str, format: &str) -> Self {
        let client: IpAddr = client.parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        let mut new_key = Command::new(tandem());
        new_key.args(["tsig", "new", "k", "--json"]).current_dir(folder.path());
        let key: Value = serde_json::from_str(&run(&mut new_key).success()).unwrap();
        write("hook.secret", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let hooks = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = if client.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let settings = format!(
            "[dns]\nlisten = [\"{here}\"]\ntls_listen = [\"{here}\"]\nhttps_listen = [\"{here}\"]\nquic_listen = [\"{here}\"]\n\
             rrl_per_second = 20\nrrl_exempt = []\n\
             [[dns.tsig]]\nname = \"k\"\nsecret_file = \"k.secret\"\n\
             [[dns.transfer]]\nzone = \"ostn.test\"\nkeys = [\"k\"]\n\
             [limits]\nsource_exempt = []\nfailures_per_minute = 5\n\
             [registration]\nmode = \"open\"\n\
             [metrics]\nlisten = \"{here}\"\n\
             [log]\nlevel = \"trace\"\nformat = \"{format}\"\nqueries = 10000\n\
             [[webhook]]\nurl = \"http://{}/hook\"\nsecret_file = \"hook.secret\"\nprivate = true\n",
            hooks.local_addr().unwrap()
        );
        write("tandem.toml", &settings);
        thread::spawn(move || take_hooks(&hooks));
        let file = folder.path().join("tandem.toml");
        let service = Setup::new().args(["--config", file.to_str().unwrap(), "--dns", here, "--api", here]).start();
        let secret = key["secret"].as_str().unwrap();
        let key = format!("{}:k:{secret}", key["algorithm"].as_str().unwrap());
        let address = |text: &str| -> SocketAddr {
            let text = text.split_once("://").map_or(text, |(_, rest)| rest);
            text.split_once('/').map_or(text, |(address, _)| address).parse().unwrap()
        };
        let places = ["dns", "api", "dot", "doh", "doq", "metrics"].map(|word| (word, address(service.printed(word))));
        Self { client, service, folder, key, places: places.into() }
    }

    /// `kdig` from the client's address to what listens behind `word`.
    fn kdig(&self, word: &str, words: &[&str]) -> Output {
        let place = self.places[word];
        let ca = format!("+tls-ca={}", self.service.data_dir().join("api.crt").display());
        let mut command = Command::new("kdig");
        command.args([&format!("@{}", place.ip()), "-b", &self.client.to_string(), &format!("-p{}", place.port())]);
        command.args(["+time=10", "+retry=0"]);
        if word != "dns" {
            command.args([&ca, "+tls-hostname=localhost"]);
        }
        run(command.args(words))
    }

    /// `curl` from the client's address to what listens behind `word`; the status.
    fn curl(&self, word: &str, path: &str, words: &[&str]) -> String {
        let url = format!("http://{}{path}", self.places[word]);
        let mut command = Command::new("curl");
        command.args(["-s", "--noproxy", "*", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
        command.args(["-H", &format!("X-Forwarded-For: {CLAIMED}"), "-H", &format!("Forwarded: for={CLAIMED}")]);
        run(command.args(["--interface", &self.client.to_string()]).args(words).arg(url)).stdout
    }

    /// Every transport of DNS: good questions, odd ones, transfers, garbage, and far too many.
    fn ask_dns(&self) {
        for (word, options) in [
            ("dns", &["+notcp"][..]),
            ("dns", &["+tcp"]),
            ("dns", &["+notcp", "+cookie", "+nsid", "+subnet=192.0.2.0/24"]),
            ("dot", &["+tls"]),
            ("doh", &["+https=localhost/dns-query"]),
            ("doh", &["+https=localhost/dns-query", "+https-get"]),
            ("doq", &["+quic"]),
        ] {
            for question in [["ostn.test", "SOA"], ["no.ostn.test", "NAPTR"], ["example.org", "TYPE65280"]] {
                let output = self.kdig(word, &[options, &question].concat());
                assert!(output.stdout.contains("status: "), "{output}");
            }
        }
        let signed = format!("-y{}", self.key);
        for (words, is_good) in [
            (vec!["+tcp", "ostn.test", "AXFR", &signed], true),
            (vec!["+tcp", "ostn.test", "IXFR=1", &signed], true),
            (vec!["+tcp", "ostn.test", "AXFR"], false),
            (vec!["+tcp", "ostn.test", "AXFR", "-yhmac-sha256:nobody:AAAA"], false),
        ] {
            let output = self.kdig("dns", &words);
            assert_eq!(output.stdout.contains("ns1.ostn.test."), is_good, "{output}");
        }
        // Handshakes that fail: a client that trusts somebody else, and those that speak something else.
        for (word, option) in [("dot", "+tls"), ("doh", "+https"), ("doq", "+quic")] {
            let output = self.kdig(word, &["+tls-hostname=somebody.test", option, "ostn.test", "SOA"]);
            assert!(!output.stdout.contains("NOERROR"), "{output}");
            self.curl(word, "/", &["--max-time", "2"]);
        }
        let socket = UdpSocket::bind((self.client, 0)).unwrap();
        for word in ["dns", "doq"] {
            for octets in [&[0xc5_u8; 1200][..], &[0; 12], &[0; 3]] {
                socket.send_to(octets, self.places[word]).unwrap();
            }
        }
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
        query.extend(b"ostn\x04test\x00\x00\x06\x00\x01");
        for _ in 0..FLOOD {
            socket.send_to(&query, self.places["dns"]).unwrap();
        }
        wait_until(PATIENCE, "the rate limit is reached", || {
            self.metrics().lines().any(|line| {
                line.strip_prefix("tandem_dns_rate_limited_total{transport=\"udp\"} ").is_some_and(|count| count != "0")
            })
        });
    }

    /// The API with good and bad tokens, good and bad bodies, and everything that it sends by itself.
    fn ask_api(&self) {
        let admin = format!("Authorization: Bearer {}", self.service.admin_token());
        let body = r#"{"targets":[{"host":"sip.p.ostn.test","port":5061,"addresses":["192.0.2.7"]}]}"#;
        let json = "Content-Type: application/json";
        let put = ["-X", "PUT", "-H", json, "-d", body];
        assert_eq!(self.curl("api", "/v1/nodes/p.ostn.test", &[&put[..], &["-H", &admin]].concat()), "201");
        // A token that works from the client's network only.
        let network = if self.client.is_ipv4() { "127.64.0.0/10" } else { "fd00::/8" };
        let token = json!({"role": "node", "names": ["p.ostn.test"], "sources": [network]});
        let token = self.service.send("POST", "/v1/tokens", &[], Some(&token)).json();
        let token = format!("Authorization: Bearer {}", token["secret"].as_str().unwrap());
        for (path, words, expected) in [
            ("/v1/nodes/p.ostn.test", &[&put[..], &["-H", &token]].concat()[..], "200"),
            ("/v1/nodes/p.ostn.test/renew", &["-X", "POST", "-H", &token], "200"),
            ("/v1/nodes/p.ostn.test/drain", &["-X", "POST", "-H", &token], "200"),
            ("/v1/nodes/p.ostn.test", &["-X", "PUT", "-H", json, "-d", "{", "-H", &token], "400"),
            ("/v1/nodes/q.ostn.test", &[&put[..], &["-H", &token]].concat(), "403"),
            ("/v1/nodes?limit=9", &["-H", &admin], "200"),
            ("/v1/nodes?no=1", &["-H", &admin], "400"),
            ("/v1/changes?after=0", &["-H", &admin, "-H", "Accept: application/json"], "200"),
            ("/v1/audit", &["-H", &admin], "200"),
            ("/v1/zones/ostn.test", &["-H", &admin], "200"),
            ("/v1/backup", &["-H", &admin], "200"),
            ("/v1/nothing", &["-H", &admin], "404"),
            ("/readyz", &[], "200"),
            ("/openapi.json", &[], "200"),
            ("/v1/nodes/p.ostn.test", &["-X", "DELETE", "-H", &token], "200"),
        ] {
            let status = self.curl("api", path, words);
            // A question without right may be answered as if there were nothing.
            let is_refusal = expected == "403" && status == "404";
            assert!(status == expected || is_refusal, "{path} {words:?}: {status}");
        }
        // Events, until the client goes.
        self.curl("api", "/v1/changes", &["-N", "--max-time", "1", "-H", &admin, "-H", "Accept: text/event-stream"]);
        let statuses: Vec<String> =
            (0..8).map(|_| self.curl("api", "/v1/nodes", &["-H", "Authorization: Bearer tandem_wrong"])).collect();
        assert!(statuses.contains(&"401".to_owned()) && statuses.contains(&"429".to_owned()), "{statuses:?}");
        assert_eq!(self.curl("metrics", "/metrics", &[]), "200");
        assert_eq!(self.curl("metrics", "/nothing", &[]), "404");
    }

    /// What the metrics say, asked from an address without mark.
    fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.places["metrics"]);
        run(Command::new("curl").args(["-sS", "--noproxy", "*", &url])).success()
    }

    /// Waits until the system has no connection with the client any more: what is open has the address somewhere.
    fn end_connections(&self) {
        let octets = match self.client {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // As /proc/net/tcp writes them: words of four octets, the last octet first.
        let hex: String =
            octets.chunks(4).flat_map(|word| word.iter().rev()).map(|octet| format!("{octet:02X}")).collect();
        wait_until(PATIENCE, "all connections have ended", || {
            ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().all(|table| {
                let text = fs::read_to_string(table).unwrap();
                // 06 is TIME_WAIT: the system alone knows of it.
                !text.lines().any(|line| line.contains(&hex) && line.split_whitespace().nth(3) != Some("06"))
            })
        });
        let open = |line: &str| line.starts_with("tandem_dns_connections_open{") && !line.ends_with(" 0");
        wait_until(PATIENCE, "DNS has no connection left", || !self.metrics().lines().any(open));
    }

    /// Looks everywhere.
    fn search(&mut self) {
        let service = &self.service;
        let log = service.log();
        assert!(["TRACE", "DEBUG", "tandem::query"].iter().all(|word| log.contains(word)), "the log has all levels");
        assert!(log.contains("rate limit") || self.metrics().contains("rate_limited"), "the limit was met");
        service.tandem(["backup", "b.tandem"]).success();
        let told = [
            ("the log", log),
            ("metrics", self.metrics()),
            ("the export", service.tandem(["export"]).success()),
            ("the audit", service.get("/v1/audit?limit=200").text),
            ("the changes", service.get("/v1/changes?after=0").text),
            ("the tokens", service.get("/v1/tokens").text),
            ("the zones", service.tandem(["zone", "export", "ostn.test"]).success()),
        ];
        for (what, text) in &told {
            refuse(what, text.as_bytes());
            assert!(!text.contains(CLAIMED), "{what} has what a client said of itself");
        }
        let mut files = 0;
        for folder in [service.data_dir(), service.home().to_owned(), self.folder.path().to_owned()] {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_file() {
                    let octets = fs::read(&entry).unwrap();
                    refuse(&entry.display().to_string(), &octets);
                    assert!(!has(&octets, CLAIMED.as_bytes()), "{}", entry.display());
                    files += 1;
                }
            }
        }
        let names: Vec<_> = fs::read_dir(service.data_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(files > 6 && names.iter().any(|name| name == OsStr::new("tandem.db-wal")), "{names:?}");
        let limits = fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().next(), Some("0"), "no core dumps");
        // All that a core dump would have. That it is searched at all shows what must be there.
        let memory = Memory::of(service.pid());
        assert!(memory.count(repository().join("zones").to_str().unwrap().as_bytes()) > 0, "memory cannot be read");
        for mark in MARKS {
            assert_eq!(memory.count(mark.as_bytes()), 0, "{mark} is in memory as text");
        }
        assert!(self.service.stop().success());
        refuse("the log of the end", self.service.log().as_bytes());
    }
}

/// Answers the calls of the webhook.
fn take_hooks(listener: &TcpListener) {
    while let Ok((mut socket, _)) = listener.accept() {
        let mut lines = BufReader::new(socket.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        while lines.read_line(&mut line).is_ok_and(|read| read > 2) {
            if let Some((name, value)) = line.trim_end().split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        let _ = lines.read_exact(&mut body);
        let _ = write!(socket, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    }
}

fn has(octets: &[u8], needle: &[u8]) -> bool {
    octets.windows(needle.len()).any(|window| window == needle)
}

/// Fails if a mark is in `octets`; shows what is around it.
fn refuse(what: &str, octets: &[u8]) {
    for mark in MARKS {
        if let Some(at) = octets.windows(mark.len()).position(|window| window == mark.as_bytes()) {
            let around = &octets[at.saturating_sub(300)..octets.len().min(at + 100)];
            panic!("{what} has {mark}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// The memory of a process.
struct Memory {
    mem: File,
    /// First octet and length of each part that can be read.
    parts: Vec<(u64, usize)>,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let folder = Path::new("/proc").join(pid.to_string());
        let maps = fs::read_to_string(folder.join("maps")).unwrap();
        let part = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let hex = |text: &str| u64::from_str_radix(text, 16).ok();
            let is_ours = rest.starts_with('r') && !rest.contains("[v");
            is_ours.then_some((hex(from)?, usize::try_from(hex(to)? - hex(from)?).ok()?))
        };
        let parts: Vec<_> = maps.lines().filter_map(part).collect();
        Self { mem: File::open(folder.join("mem")).unwrap(), parts }
    }

    /// How often `needle` is in it.
    fn count(&self, needle: &[u8]) -> usize {
        let mut window = vec![0; WINDOW];
        let mut count = 0;
        for &(from, length) in &self.parts {
            let mut at = 0;
            while at < length {
                let size = WINDOW.min(length - at);
                // Pages that were given back meanwhile cannot be read.
                if let Ok(read) = self.mem.read_at(&mut window[..size], from + at as u64) {
                    count += memchr_count(&window[..read], needle);
                }
                // What lies across two windows is in the next one.
                at += if at + size < length { size - needle.len() + 1 } else { size };
            }
        }
        count
    }
}

/// How often `needle` is in `octets`; looks for its first octet before all else, so that a debug build is quick enough.
fn memchr_count(octets: &[u8], needle: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = octets;
    while let Some(at) = rest.iter().position(|octet| *octet == needle[0]) {
        count += usize::from(rest[at..].starts_with(needle));
        rest = &rest[at + 1..];
    }
    count
}
