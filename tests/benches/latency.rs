//! How long queries wait while nodes are registered: `cargo bench -p tandem-tests --bench latency` (build the release
//! program first).
//!
//! Asks the real service over UDP at a moderate rate, in phases in turn: quiet ones, ones with thousands of changes a second,
//! and ones in which the same changes go to a second service that nobody asks. The last tell what sharing the machine costs:
//! its cores, caches and disk do the same work, but what is asked publishes nothing. Medians of the phases' percentiles count,
//! because a machine that does other work has bad seconds. The writers begin evenly spread, as those of a directory are.
//! `-- --queries 2000 --changes 5000 --phases 10 --nodes 100000` change the run.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tandem_testkit::Service;

/// Connections that write.
const WRITERS: u64 = 64;
/// Length of one phase.
const PHASE: Duration = Duration::from_secs(2);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str, default: u64| {
        args.iter().position(|arg| arg == flag).map_or(default, |at| args[at + 1].parse().unwrap())
    };
    let (queries, changes) = (value("--queries", 2_000), value("--changes", 5_000));
    let (phases, nodes) = (value("--phases", 10), value("--nodes", 100_000));
    let services = [filled(nodes), filled(nodes)];
    let targets = services
        .each_ref()
        .map(|service| (service.api_url().trim_start_matches("http://").to_owned(), service.admin_token()));
    // What the writers change: nothing, or the service at this place less one.
    let (busy, ended, made) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let mut phases_of = [const { Vec::new() }; 3];
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (targets, busy, ended, made) = (&targets, &busy, &ended, &made);
            scope.spawn(move || write(targets, writer, changes, nodes, &Shared { busy, ended, made }));
        }
        for _ in 0..phases {
            for (whom, of) in phases_of.iter_mut().enumerate() {
                busy.store(whom, Ordering::Relaxed);
                let (before, begin) = (made.load(Ordering::Relaxed), Instant::now());
                let cpu = cpu_seconds(&services);
                let times = ask(&services[0], queries, nodes);
                let seconds = begin.elapsed().as_secs_f64();
                of.push(Phase {
                    times,
                    changes: (made.load(Ordering::Relaxed) - before) as f64 / seconds,
                    cpu: (cpu_seconds(&services) - cpu) / seconds,
                });
                busy.store(0, Ordering::Relaxed);
                // What is on its way ends before the next phase begins.
                thread::sleep(Duration::from_millis(200));
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    println!(
        "| | queries/s | changes/s | cores of both services | median µs | p99 µs | p99 ÷ quiet |\n|--|--|--|--|--|--|--|"
    );
    let quiet = middle(&phases_of[0], |phase| at(&phase.times, 99));
    for (name, of) in ["quiet", "changes", "changes elsewhere"].into_iter().zip(&phases_of) {
        let p99 = middle(of, |phase| at(&phase.times, 99));
        println!(
            "| {name} | {queries} | {:.0} | {:.2} | {:.0} | {p99:.0} | {:.2} |",
            middle(of, |phase| phase.changes),
            middle(of, |phase| phase.cpu),
            middle(of, |phase| at(&phase.times, 50)),
            p99 / quiet
        );
    }
}

/// What one phase showed.
struct Phase {
    /// Of the answers in microseconds, sorted.
    times: Vec<f64>,
    /// A second.
    changes: f64,
    /// CPU seconds of the services a second.
    cpu: f64,
}

/// What the writers share with who lets them.
struct Shared<'a> {
    busy: &'a AtomicUsize,
    ended: &'a AtomicBool,
    made: &'a AtomicU64,
}

/// A service with so many nodes.
fn filled(nodes: u64) -> Service {
    let service = Service::start();
    let (address, token) = (service.api_url().trim_start_matches("http://").to_owned(), service.admin_token());
    for begin in (0..nodes).step_by(50_000) {
        let lines: Vec<String> = (begin..nodes.min(begin + 50_000))
            .map(|number| format!(r#"{{"domain":"n{number}.ostn.test",{}"#, &document(number, 0)[1..]))
            .collect();
        let mut connection = BufReader::new(TcpStream::connect(&address).unwrap());
        let head = "POST /v1/import HTTP/1.1\r\nContent-Type: application/x-ndjson\r\n";
        send(&mut connection, &address, &token, head, &lines.join("\n"));
    }
    service
}

/// Changes nodes of the service that `shared` names, this writer's part of `changes` a second.
fn write(targets: &[(String, String); 2], writer: u64, changes: u64, nodes: u64, shared: &Shared<'_>) {
    let mut connections = targets.each_ref().map(|(address, _)| {
        let connection = BufReader::new(TcpStream::connect(address).unwrap());
        connection.get_ref().set_nodelay(true).unwrap();
        connection
    });
    let pause = Duration::from_secs_f64(WRITERS as f64 / changes as f64);
    let (mut due, mut round) = (None, 0);
    while !shared.ended.load(Ordering::Relaxed) {
        let Some(whom) = shared.busy.load(Ordering::Relaxed).checked_sub(1) else {
            thread::sleep(Duration::from_millis(1));
            due = None;
            continue;
        };
        let at = due.unwrap_or_else(|| Instant::now() + pause.mul_f64(writer as f64 / WRITERS as f64));
        thread::sleep(at.saturating_duration_since(Instant::now()));
        due = Some(at + pause);
        round += 1;
        let number = (writer + round * WRITERS) % nodes;
        let head = format!("PUT /v1/nodes/n{number}.ostn.test HTTP/1.1\r\nContent-Type: application/json\r\n");
        let (address, token) = &targets[whom];
        send(&mut connections[whom], address, token, &head, &document(number, round));
        shared.made.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks for one phase; the answers' times in microseconds, sorted.
fn ask(service: &Service, rate: u64, nodes: u64) -> Vec<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(service.dns_addr()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut times = Vec::new();
    let (begin, mut number) = (Instant::now(), 1);
    let mut due = begin;
    while begin.elapsed() < PHASE {
        due += Duration::from_secs_f64(1.0 / rate as f64);
        number = (number * 2_654_435_761_u64 + 1) % nodes;
        let label = format!("n{number}");
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(label.len()).unwrap()];
        query.extend(label.as_bytes());
        query.extend(b"\x04ostn\x04test\x00\x00\x23\x00\x01");
        let asked = Instant::now();
        socket.send(&query).unwrap();
        let mut answer = [0; 1500];
        if socket.recv(&mut answer).is_ok() {
            assert_eq!(answer[3] & 0xf, 0, "n{number} is served");
        }
        times.push(asked.elapsed().as_secs_f64() * 1e6);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    times.sort_by(f64::total_cmp);
    times
}

/// What so many percent of sorted times stay below.
fn at(times: &[f64], percent: usize) -> f64 {
    times[times.len() * percent / 100]
}

/// The median of what phases showed.
fn middle(phases: &[Phase], value: impl Fn(&Phase) -> f64) -> f64 {
    let mut values: Vec<f64> = phases.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// User and system seconds of the services so far (`/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds(services: &[Service; 2]) -> f64 {
    let of = |service: &Service| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    services.iter().map(of).sum()
}

fn document(number: u64, round: u64) -> String {
    let ip = format!("10.{}.{}.{}", (number >> 8) & 255, number & 255, round & 255);
    format!(
        r#"{{"targets":[{{"host":"sip1.n{number}.ostn.test","port":5061,"addresses":["{ip}"]}}],"numbers":[{{"e164":"+88{number:010}"}}]}}"#
    )
}

/// Sends a request whose first fields are `head`, and reads the answer, which must be good.
fn send(connection: &mut BufReader<TcpStream>, address: &str, token: &str, head: &str, body: &str) {
    let length = body.len();
    let request =
        format!("{head}Host: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 2"), "{line}");
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    connection.read_exact(&mut vec![0; length]).unwrap();
}
