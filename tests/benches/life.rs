//! Renewals a second over HTTP, and what a thousand listeners cost: `cargo bench -p tandem-tests --bench life` (build the
//! release program first).
//!
//! Starts the real service in a temporary folder. Renewals: 64 connections that they keep, no commit. Listeners: the time of
//! a PUT with none and with all of them, each reading; then how long `compromised` takes to reach the last one.
//! `-- --listeners 1000 --seconds 5` change the run.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tandem_testkit::{Service, Setup, wait_until};

/// Nodes that are renewed.
const NODES: u64 = 1_000;
/// Connections that renew.
const RENEWERS: usize = 64;
/// Stack of a thread that reads one stream.
const STACK: usize = 128 << 10;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| args[at + 1].parse::<u64>().unwrap());
    let end = Duration::from_secs(value("--seconds").unwrap_or(5));
    let listeners = usize::try_from(value("--listeners").unwrap_or(1_000)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bench.toml");
    std::fs::write(&config, "[api]\nconnections = 4000\nconnections_per_network = 3000\n").unwrap();
    let service = Setup::new().args(["--config", config.to_str().unwrap()]).start();
    let mut connection = Connection::open(&service);
    for number in 0..NODES {
        connection.put(number, 60);
    }
    renewals(&service, end);
    following(&service, &mut connection, listeners, end);
}

fn renewals(service: &Service, end: Duration) {
    let (cpu, began, next) = (cpu_seconds(service.pid()), Instant::now(), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..RENEWERS {
            scope.spawn(|| {
                let mut connection = Connection::open(service);
                while began.elapsed() < end {
                    let number = next.fetch_add(1, Ordering::Relaxed) % NODES;
                    connection.send("POST", &format!("/v1/nodes/n{number}.ostn.test/renew"), "");
                }
            });
        }
    });
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(service.pid()) - cpu);
    let count = next.into_inner() as f64;
    println!(
        "renewals over HTTP, {RENEWERS} connections: {:.0}/s, {:.1} us CPU each",
        count / elapsed,
        cpu * 1e6 / count
    );
}

fn following(service: &Service, connection: &mut Connection, listeners: usize, end: Duration) {
    println!("PUTs by one writer, no listener: {}", puts(connection, end, 0));
    let (ready, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let reached = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..listeners {
            let read = || {
                let mut connection = Connection::open(service);
                connection.ask("GET", "/v1/changes", "Accept: text/event-stream\r\n", "");
                let mut line = String::new();
                while connection.stream.read_line(&mut line).unwrap_or(0) > 0 {
                    if line.starts_with("event: ready") {
                        ready.fetch_add(1, Ordering::Relaxed);
                    }
                    if line.contains("\"compromised\"") {
                        reached.lock().unwrap().push(Instant::now());
                        break;
                    }
                    line.clear();
                }
                ended.fetch_add(1, Ordering::Relaxed);
            };
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read).unwrap();
        }
        wait_until(Duration::from_secs(60), "all listeners", || ready.load(Ordering::Relaxed) == listeners);
        let cpu = cpu_seconds(service.pid());
        // Paced: each change goes to all of them, and all of them are read on the same machine.
        let told = puts(connection, end, 20);
        println!("PUTs by one writer, 20 a second, {listeners} listeners: {told}");
        let cpu = cpu_seconds(service.pid()) - cpu;
        println!("CPU of the service meanwhile: {:.0} %", cpu * 100.0 / end.as_secs_f64());
        println!("listeners cut off: {}", ended.load(Ordering::Relaxed));
        let began = Instant::now();
        connection.send("POST", "/v1/nodes/n7.ostn.test/compromised", "");
        let answered = began.elapsed();
        wait_until(Duration::from_secs(60), "all told", || ended.load(Ordering::Relaxed) == listeners);
        let reached = reached.lock().unwrap();
        let last = reached.iter().max().unwrap().duration_since(began);
        println!(
            "compromised: answered after {:.1} ms, at the last of {} listeners after {:.1} ms",
            answered.as_secs_f64() * 1e3,
            reached.len(),
            last.as_secs_f64() * 1e3
        );
    });
}

/// Publishes for `end`, `pace` times a second or without a pause; the times in words.
fn puts(connection: &mut Connection, end: Duration, pace: u32) -> String {
    let (began, mut times, mut ttl) = (Instant::now(), Vec::new(), 100);
    while began.elapsed() < end {
        if pace > 0 {
            let next = Duration::from_secs(1) / pace * u32::try_from(times.len()).unwrap();
            thread::sleep(next.saturating_sub(began.elapsed()));
        }
        ttl = if ttl == 80_000 { 100 } else { ttl + 1 };
        let one = Instant::now();
        connection.put(3, ttl);
        times.push(one.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    format!("{} PUTs, median {:.2} ms, p99 {:.2} ms", times.len(), at(50), at(99))
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
    token: String,
}

impl Connection {
    fn open(service: &Service) -> Self {
        let address = service.api_url().trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::with_capacity(4096, stream), address, token: service.admin_token() }
    }

    fn put(&mut self, number: u64, ttl: u32) {
        let domain = format!("n{number}.ostn.test");
        let target = format!(r#"{{"host":"sip.{domain}","port":5061,"addresses":["203.0.113.7"]}}"#);
        self.send("PUT", &format!("/v1/nodes/{domain}"), &format!(r#"{{"targets":[{target}],"ttl":{ttl}}}"#));
    }

    fn ask(&mut self, method: &str, path: &str, fields: &str, body: &str) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        let fields = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        self.ask(method, path, fields, body);
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 2"), "{line}");
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).unwrap();
    }
}

/// User and system seconds of a process so far (`/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
