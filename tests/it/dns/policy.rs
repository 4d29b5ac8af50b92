//! Cookies, NSID, keepalive, CHAOS and the response rate limit of `tandem serve`, as dig, kdig and BIND see them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tandem_testkit::{Service, Setup, wait_until};

use super::dig;
use crate::peer::process::{self, Process};
use crate::peer::require;

/// A zone that every service here has.
const ZONE: &str = "ostn.test";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Silence after which no answer is on its way any more: this is loopback.
const QUIET: Duration = Duration::from_millis(500);

/// Below the ports that the system hands out, above those of other tests.
const BIND_PORT: u16 = 30_100;
const BIND_PORTS: u16 = 2_000;

/// A service with these lines in the section `[dns]`.
fn service(folder: &Path, lines: &str) -> Service {
    let file = folder.join("tandem.toml");
    fs::write(&file, format!("[dns]\n{lines}\n")).unwrap();
    Setup::new().args(["--config", file.to_str().unwrap()]).start()
}

/// What dig prints behind `; COOKIE: `: the cookie and what dig thinks of it.
fn cookie(printed: &str) -> (String, String) {
    let line = printed.lines().find_map(|line| line.strip_prefix("; COOKIE: "));
    let (cookie, verdict) = line.and_then(|line| line.split_once(' ')).unwrap_or_else(|| panic!("{printed}"));
    (cookie.to_owned(), verdict.to_owned())
}

/// What the server gives back for `shown`.
fn exchange(address: SocketAddr, shown: &str) -> String {
    let printed = dig(address, &format!("+nobadcookie +cookie={shown} soa {ZONE}"));
    assert!(printed.contains("status: NOERROR"), "{printed}");
    cookie(&printed).0
}

#[test]
fn dig_gets_a_good_cookie_and_shows_it_again_dns_58() {
    let service = Service::start();
    let printed = dig(service.dns_addr(), &format!("+cookie soa {ZONE}"));
    let (first, verdict) = cookie(&printed);
    assert_eq!((first.len(), verdict.as_str()), (48, "(good)"), "{printed}");
    // A good young cookie comes back as it is; any other is replaced.
    assert_eq!(exchange(service.dns_addr(), &first), first);
    let made_up = format!("{}{}", &first[..16], "0".repeat(32));
    let second = exchange(service.dns_addr(), &made_up);
    assert_eq!(exchange(service.dns_addr(), &second), second);
    let over_tcp = dig(service.dns_addr(), &format!("+tcp +cookie={first} soa {ZONE}"));
    assert_eq!(cookie(&over_tcp), (first, "(good)".to_owned()));
    let file = service.data_dir().join("cookie.secret");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!service.log().contains(fs::read_to_string(&file).unwrap().trim()), "no secret in the log");
}

/// Two replicas share a file; the secret is rolled while both serve (RFC 9018 5, DNS-57).
#[test]
fn replicas_share_and_roll_a_secret_dns_57() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = ("e5e973e5a6b2a43f48e7dc849e37bfcf", "445536bcd2513298075a5d379663c962");
    let file = folder.path().join("shared.secret");
    let lines = format!("cookie_secret = \"{}\"", file.display());
    fs::write(&file, format!("{one}\n")).unwrap();
    let replicas = [service(folder.path(), &lines), service(folder.path(), &lines)];
    let [here, there] = [replicas[0].dns_addr(), replicas[1].dns_addr()];
    let old = exchange(here, "2464c4abcf10c957");
    assert_eq!(exchange(there, &old), old, "good at the other replica");

    fs::write(&file, format!("{two}\n{one}\n")).unwrap();
    replicas[0].signal("HUP");
    wait_until(PATIENCE, "the new secret", || exchange(here, &old) != old);
    let new = exchange(here, &old);
    assert_eq!(exchange(here, &new), new);
    assert_ne!(exchange(there, &new), new, "the other replica has not read it yet");
    replicas[1].signal("HUP");
    wait_until(PATIENCE, "the new secret at the other replica", || exchange(there, &new) == new);

    // A broken file changes nothing.
    fs::write(&file, "secret\n").unwrap();
    replicas[0].signal("HUP");
    wait_until(PATIENCE, "the complaint", || replicas[0].log().contains("cookie secrets not taken over"));
    assert_eq!(exchange(here, &new), new);
}

/// BIND insists on a cookie, and takes the one that we made with the same secret (RFC 9018 4.4).
#[test]
fn bind_takes_our_cookies_dns_56() {
    if !require(&["named", "setpriv"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let secret = "dd3bdf9344b678b185a6f5cb60fca715";
    let file = folder.path().join("shared.secret");
    fs::write(&file, format!("{secret}\n")).unwrap();
    let service = service(folder.path(), &format!("cookie_secret = \"{}\"", file.display()));

    let port = BIND_PORT + (std::process::id() % u32::from(BIND_PORTS)) as u16;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let text = format!(
        "controls {{ }};\noptions {{\n    directory \"{}\";\n    pid-file none;\n    session-keyfile none;\n    \
         listen-on port {port} {{ 127.0.0.1; }};\n    listen-on-v6 {{ none; }};\n    recursion no;\n    \
         cookie-algorithm siphash24;\n    cookie-secret \"{secret}\";\n    require-server-cookie yes;\n}};\n",
        folder.path().display()
    );
    let conf = folder.path().join("named.conf");
    fs::write(&conf, text).unwrap();
    let arguments = ["-g", "-c", conf.to_str().unwrap()];
    let mut named = Process::start("named", &arguments, &folder.path().join("log"));
    let ask = |cookie: &str| dig(address, &format!("+nobadcookie +time=1 +cookie={cookie} +norec soa example.test"));
    wait_until(PATIENCE, "BIND", || {
        named.assert_running();
        ask("2464c4abcf10c957").contains("status:")
    });
    assert!(ask("2464c4abcf10c957").contains("status: BADCOOKIE"), "{}", ask("2464c4abcf10c957"));
    let ours = exchange(service.dns_addr(), "2464c4abcf10c957");
    assert!(ask(&ours).contains("status: REFUSED"), "past the cookie: {}", ask(&ours));
    // And the other way round.
    let theirs = cookie(&ask("2464c4abcf10c957")).0;
    assert_eq!(exchange(service.dns_addr(), &theirs), theirs);
}

#[test]
fn the_server_tells_what_it_is_told_to_dns_14_dns_47_dns_63() {
    if !require(&["kdig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let talkative = service(folder.path(), "nsid = \"ams-1\"\nchaos_version = \"Tandem\"\ntcp_idle_seconds = 7");
    let (told, silent) = (talkative.dns_addr(), Service::start());
    let chaos = |name: &str| format!("+nocookie ch txt {name}");
    for name in ["version.bind", "version.server", "id.server", "hostname.bind"] {
        let text = if name.starts_with("version") { "\"Tandem\"" } else { "\"ams-1\"" };
        let printed = dig(told, &chaos(name));
        assert!(printed.contains("status: NOERROR") && printed.contains(text), "DNS-14: {name}\n{printed}");
        let printed = dig(silent.dns_addr(), &chaos(name));
        assert!(printed.contains("status: REFUSED") && !printed.contains("TXT\t"), "DNS-14: {name}\n{printed}");
    }
    let nsid = |address: SocketAddr, word: &str| {
        let (server, port) = (format!("@{}", address.ip()), address.port().to_string());
        process::read("kdig", &[&*server, "-p", &port, "+edns", word, ZONE, "SOA"])
    };
    assert!(nsid(told, "+nsid").contains("\"ams-1\""), "DNS-47: {}", nsid(told, "+nsid"));
    assert!(!nsid(told, "+nonsid").contains("ams-1"), "DNS-47: {}", nsid(told, "+nonsid"));
    assert!(!nsid(silent.dns_addr(), "+nsid").contains("NSID"), "DNS-47");

    let keepalive = format!("+nocookie +keepalive soa {ZONE}");
    let printed = dig(told, &format!("+tcp {keepalive}"));
    assert!(printed.contains("TCP KEEPALIVE: 7.0 secs"), "DNS-63: {printed}");
    assert!(!dig(told, &keepalive).contains("KEEPALIVE"), "DNS-T52");
    let printed = dig(told, &format!("+tcp +nocookie soa {ZONE}"));
    assert!(!printed.contains("KEEPALIVE"), "{printed}");
    let printed = dig(told, "+tcp a www.elsewhere.example");
    assert!(printed.contains("EDE: 20 (Not Authoritative)"), "DNS-48: {printed}");
    let printed = dig(told, &format!("+tcp axfr {ZONE}"));
    assert!(printed.contains("Transfer failed"), "DNS-74: {printed}");
}

/// A question for the SOA of [`ZONE`], with this cookie if there is one.
fn query(cookie: &[u8]) -> Vec<u8> {
    let mut query = vec![0x42, 0x42, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(b"\x04ostn\x04test\0\0\x06\0\x01");
    query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    let option = if cookie.is_empty() { 0 } else { 4 + cookie.len() as u16 };
    query.extend(option.to_be_bytes());
    if option > 0 {
        query.extend([0, 10, 0, cookie.len() as u8]);
        query.extend(cookie);
    }
    query
}

/// Sends `count` times `query`, and gives the answers that come back.
fn flood(socket: &UdpSocket, query: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut buffer = [0; 2048];
    for _ in 0..count {
        socket.send(query).unwrap();
    }
    while let Ok(len) = socket.recv(&mut buffer) {
        answers.push(buffer[..len].to_vec());
    }
    answers
}

#[test]
fn a_flood_is_cut_short_and_a_cookie_frees_from_it_dns_67() {
    const RATE: usize = 20;
    const FLOOD: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let limited = service(folder.path(), &format!("rrl_per_second = {RATE}\nrrl_exempt = []"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(limited.dns_addr()).unwrap();
    socket.set_read_timeout(Some(QUIET)).unwrap();

    let start = Instant::now();
    let answers = flood(&socket, &query(&[]), FLOOD);
    let seconds = start.elapsed().as_secs_f64();
    let is_cut = |answer: &&Vec<u8>| answer[2] & 2 != 0;
    let cut = answers.iter().filter(is_cut).count();
    let whole = answers.len() - cut;
    let most = RATE + (seconds * RATE as f64) as usize + 1;
    assert!((RATE..=most).contains(&whole), "{whole} whole answers, {cut} cut, in {seconds} s");
    assert_eq!(cut, (FLOOD - whole) / 2, "each second one of the others");
    for answer in answers.iter().filter(is_cut) {
        assert_eq!(answer[4..12], [0, 1, 0, 0, 0, 0, 0, 1], "question and OPT");
        assert!(answer.len() <= query(&[]).len(), "threat 1");
    }

    // A client with a cookie of its own learns the server's from BADCOOKIE, and then all its queries are answered.
    let answers = flood(&socket, &query(&[7; 8]), FLOOD);
    let bad = answers.iter().find(|answer| answer[3] & 15 == 7).expect("BADCOOKIE among the answers");
    let good = &bad[bad.len() - 24..];
    let answers = flood(&socket, &query(good), FLOOD);
    let found = answers.iter().filter(|answer| answer[7] == 1).count();
    assert_eq!(found, FLOOD, "DNS-58, DNS-67");
    // TCP is never limited.
    for _ in 0..RATE + 5 {
        let printed = dig(limited.dns_addr(), &format!("+tcp +nocookie soa {ZONE}"));
        assert!(printed.contains("status: NOERROR"), "{printed}");
    }
    // By default loopback is exempt, so that one machine can measure and test.
    let free = Service::start();
    socket.connect(free.dns_addr()).unwrap();
    let found = (0..5).map(|_| flood(&socket, &query(&[]), FLOOD).len()).sum::<usize>();
    assert_eq!(found, 5 * FLOOD);
}
