//! Many TCP connections, and too few descriptors: UDP and newcomers are served all the same (threat 6, DNS-62).

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tandem_testkit::{Service, run, wait_until};

use super::encrypted::service;
use crate::peer::require;

/// Idle connections that must not be felt.
const IDLE: usize = 2000;

/// Longest answer time while they are open: far more than it takes, far less than any limit of the server.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Most memory that an idle connection may cost the server, in octets, the kernel's part not counted.
const MOST_PER_CONNECTION: usize = 16 * 1024;

/// Longest wait for the server to notice something.
const EFFECT: Duration = Duration::from_secs(20);

/// How long a service is watched for a busy loop.
const WATCH: Duration = Duration::from_secs(2);

/// Most processor time that it may use meanwhile, in ticks of 10 ms: a loop would take all of 200.
const MOST_TICKS: u64 = 100;

/// Connections to each listener that are reset: fewer than any of them keeps waiting.
const RESETS: usize = 100;

/// SOA of ostn.test, and its length before it.
const QUERY: &[u8] = b"\0\x1b\x42\x42\x01\0\0\x01\0\0\0\0\0\0\x04ostn\x04test\0\0\x06\0\x01";

/// Asks by TCP on an open connection.
fn ask(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(EFFECT))?;
    stream.write_all(QUERY)?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut answer)?;
    assert_eq!((&answer[..2], answer[3] & 0x0f), (&QUERY[2..4], 0), "NOERROR");
    Ok(answer)
}

/// Asks by TCP on a new connection; how long that took.
fn ask_tcp(address: SocketAddr) -> std::io::Result<Duration> {
    let start = Instant::now();
    ask(&mut TcpStream::connect(address)?)?;
    Ok(start.elapsed())
}

/// What the API answers on an open connection, which it closes then.
fn ask_api(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(EFFECT)).unwrap();
    stream.write_all(b"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ask_udp(address: SocketAddr) -> Duration {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(EFFECT)).unwrap();
    let start = Instant::now();
    socket.send(&QUERY[2..]).unwrap();
    let mut answer = [0; 1500];
    socket.recv(&mut answer).unwrap();
    start.elapsed()
}

/// Resident memory of the service, in octets.
pub(super) fn memory(service: &Service) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Open descriptors of the service.
fn descriptors(service: &Service) -> usize {
    fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count()
}

/// The lowest that is free: the next one to be given out.
fn next_descriptor(service: &Service) -> usize {
    (0..).find(|number| !Path::new(&format!("/proc/{}/fd/{number}", service.pid())).exists()).unwrap()
}

/// Whether the service has no connection open, on any listener.
fn no_connection(service: &Service) -> bool {
    let output = run(Command::new("ss").args(["-Htnp", "state", "connected"])).success();
    let own = format!("pid={},", service.pid());
    !output.lines().any(|line| line.contains(&own))
}

/// Processor time that the service has used, in ticks of 10 ms.
fn cpu_ticks(service: &Service) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Sets the soft limit of descriptors of a process.
fn limit_descriptors(pid: u32, limit: usize) {
    run(Command::new("prlimit").args([format!("--pid={pid}"), format!("--nofile={limit}:")])).success();
}

#[test]
#[expect(clippy::print_stderr, reason = "the figure is worth seeing")]
fn two_thousand_idle_connections_disturb_nobody_dns_62() {
    if !require(&["prlimit"]) {
        return;
    }
    limit_descriptors(std::process::id(), 8192);
    let (service, _folder) = service(
        "[dns]\ntcp_connections = 3000\ntcp_connections_per_network = 3000\ntcp_idle_seconds = 3600\nudp_threads = 1\n",
    );
    limit_descriptors(service.pid(), 8192);
    let address = service.dns_addr();
    ask_tcp(address).unwrap();
    let before = memory(&service);
    let mut idle: Vec<TcpStream> = (0..IDLE).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Half of them have asked something.
    for stream in idle.iter_mut().step_by(2) {
        ask(stream).unwrap();
    }
    wait_until(EFFECT, "all connections to be accepted", || descriptors(&service) > IDLE);
    let each = memory(&service).saturating_sub(before) / IDLE;
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        udp.push(ask_udp(address));
        tcp.push(ask_tcp(address).unwrap());
    }
    let (udp, tcp) = (udp.into_iter().max().unwrap(), tcp.into_iter().max().unwrap());
    eprintln!(
        "{IDLE} idle connections: {each} octets each, {} KiB in all; slowest of 20: UDP {udp:?}, new TCP {tcp:?}",
        memory(&service) / 1024
    );
    assert!(udp < AT_ONCE && tcp < AT_ONCE, "UDP {udp:?}, TCP {tcp:?}");
    assert!(each <= MOST_PER_CONNECTION, "{each} octets for a connection");
    for stream in &mut idle {
        ask(stream).expect("none of them was closed");
    }
}

#[test]
fn without_descriptors_udp_goes_on_and_tcp_comes_back_threat_6() {
    if !require(&["prlimit"]) {
        return;
    }
    let (mut service, _folder) =
        service("[dns]\ntcp_connections = 3000\ntcp_connections_per_network = 3000\ntcp_idle_seconds = 3600\n");
    let address = service.dns_addr();
    ask_tcp(address).unwrap();
    // Room for a few connections, then EMFILE. The connection before may still be open: it takes one place less then.
    let room = 8;
    limit_descriptors(service.pid(), descriptors(&service) + room);
    let mut clients: Vec<TcpStream> = (0..4 * room).map(|_| TcpStream::connect(address).unwrap()).collect();
    // The newest are served in the place of the idlest, which are closed; none of it is felt by UDP.
    for client in clients.iter_mut().rev().take(room / 2) {
        ask(client).expect("a newcomer is served");
        assert!(ask_udp(address) < AT_ONCE);
    }
    wait_until(EFFECT, "an idle connection to be closed", || {
        clients.iter().any(|client| {
            client.set_nonblocking(true).unwrap();
            let read = (&*client).read(&mut [0]);
            client.set_nonblocking(false).unwrap();
            matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        })
    });
    for client in &clients {
        let _ = client.shutdown(Shutdown::Both);
    }
    drop(clients);
    wait_until(EFFECT, "TCP to recover", || ask_tcp(address).is_ok_and(|time| time < AT_ONCE));
    // No busy loop, and no flood of lines about it.
    assert!(service.log().lines().count() < 100, "{}", service.log());
    assert!(service.stop().success(), "{}", service.log());
}

/// Not one descriptor to spare: TCP and the API wait, UDP does not, nothing spins or floods the log, and all comes back.
#[test]
fn not_one_descriptor_left_threat_6() {
    if !require(&["prlimit"]) {
        return;
    }
    let (service, _folder) = service("[dns]\ntcp_idle_seconds = 3600\n");
    let address = service.dns_addr();
    ask_tcp(address).unwrap();
    wait_until(EFFECT, "the connection to be closed", || no_connection(&service));
    let lines = service.log().lines().count();
    limit_descriptors(service.pid(), next_descriptor(&service));
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.write_all(QUERY).unwrap();
    let api: SocketAddr = service.api_url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut request = TcpStream::connect(api).unwrap();
    let (start, ticks) = (Instant::now(), cpu_ticks(&service));
    for _ in 0..100 {
        assert!(ask_udp(address) < AT_ONCE);
    }
    wait_until(EFFECT, "the end of the watch", || start.elapsed() >= WATCH);
    waiting.set_nonblocking(true).unwrap();
    let early = waiting.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock), "nobody can be served now");
    waiting.set_nonblocking(false).unwrap();
    let busy = cpu_ticks(&service) - ticks;
    assert!(busy < MOST_TICKS, "{busy} ticks of processor time in {WATCH:?}");
    limit_descriptors(service.pid(), 4096);
    assert!(ask_api(&mut request).starts_with("HTTP/1.1 "));
    let mut len = [0; 2];
    waiting.set_read_timeout(Some(EFFECT)).unwrap();
    waiting.read_exact(&mut len).expect("who waited is served");
    wait_until(EFFECT, "TCP to recover", || ask_tcp(address).is_ok_and(|time| time < AT_ONCE));
    assert!(service.log().lines().count() < lines + 20, "{}", service.log());
}

/// Clients that are gone again, with a reset, before they are accepted (ECONNABORTED on some systems).
#[test]
fn clients_that_reset_before_they_are_accepted_threat_6() {
    let (service, _folder) = service("[dns]\ntls_listen = [\"127.0.0.1:0\"]\nhttps_listen = [\"127.0.0.1:0\"]\n");
    let address = service.dns_addr();
    ask_tcp(address).unwrap();
    let doh = service.printed("doh").strip_prefix("https://").unwrap().strip_suffix("/dns-query").unwrap();
    let api = service.api_url().strip_prefix("http://").unwrap();
    let listeners: [SocketAddr; 4] =
        [address, service.printed("dot").parse().unwrap(), doh.parse().unwrap(), api.parse().unwrap()];
    wait_until(EFFECT, "the connection to be closed", || no_connection(&service));
    let (lines, before) = (service.log().lines().count(), descriptors(&service));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It sleeps while they come and go, so that it finds a queue of corpses.
    service.signal("STOP");
    runtime.block_on(async {
        for listener in listeners {
            for _ in 0..RESETS {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.set_zero_linger().unwrap();
                drop(socket.connect(listener).await.unwrap());
            }
        }
    });
    let (start, ticks) = (Instant::now(), cpu_ticks(&service));
    service.signal("CONT");
    assert!(ask_udp(address) < EFFECT);
    assert!(ask_tcp(address).unwrap() < EFFECT);
    assert!(ask_api(&mut TcpStream::connect(api).unwrap()).starts_with("HTTP/1.1 "));
    for listener in &listeners[1..3] {
        TcpStream::connect(listener).unwrap();
    }
    wait_until(EFFECT, "all of them to be forgotten", || no_connection(&service) && descriptors(&service) <= before);
    wait_until(EFFECT, "the end of the watch", || start.elapsed() >= WATCH);
    let busy = cpu_ticks(&service) - ticks;
    assert!(busy < MOST_TICKS, "{busy} ticks of processor time in {WATCH:?}");
    assert_eq!(service.log().lines().count(), lines, "{}", service.log());
}

#[test]
fn sigterm_answers_what_has_arrived_by_tcp() {
    let (mut service, _folder) = service("[dns]\ntcp_idle_seconds = 3600\n");
    let address = service.dns_addr();
    let mut stream = TcpStream::connect(address).unwrap();
    ask(&mut stream).unwrap();
    let _idle = TcpStream::connect(address).unwrap();
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(&QUERY[..10]).unwrap();
    service.signal("TERM");
    stream.write_all(QUERY).unwrap();
    assert!(service.wait().success(), "{}", service.log());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!((&rest[2..4], rest[5] & 0x0f), (&QUERY[2..4], 0), "the query that came with the signal");
}
