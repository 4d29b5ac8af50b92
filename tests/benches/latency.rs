//! How long queries wait while nodes are registered: `cargo bench -p tandem-tests --bench latency` (build the release
//! program first).
//!
//! Asks the real service over UDP at a moderate rate, in phases that are quiet and phases with thousands of changes a
//! second in turn, and compares the 99th percentiles. Phases alternate and their medians count, because a machine that
//! does other work has bad seconds. `-- --queries 2000 --changes 5000 --phases 10 --nodes 100000` change the run.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    let (busy, ended, made) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let (mut quiet_p99, mut busy_p99, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (address, token, busy, ended, made) = (&address, &token, &busy, &ended, &made);
            scope.spawn(move || {
                let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
                connection.get_ref().set_nodelay(true).unwrap();
                let pause = Duration::from_secs_f64(WRITERS as f64 / changes as f64);
                let (mut due, mut round) = (Instant::now(), 0);
                while !ended.load(Ordering::Relaxed) {
                    if !busy.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                        due = Instant::now();
                        continue;
                    }
                    round += 1;
                    let number = (writer + round * WRITERS) % nodes;
                    let head =
                        format!("PUT /v1/nodes/n{number}.ostn.test HTTP/1.1\r\nContent-Type: application/json\r\n");
                    send(&mut connection, address, token, &head, &document(number, round));
                    made.fetch_add(1, Ordering::Relaxed);
                    due += pause;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            });
        }
        for _ in 0..phases {
            quiet_p99.push(ask(&service, queries, nodes));
            busy.store(true, Ordering::Relaxed);
            let before = made.load(Ordering::Relaxed);
            let begin = Instant::now();
            busy_p99.push(ask(&service, queries, nodes));
            rates.push((made.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64());
            busy.store(false, Ordering::Relaxed);
            // What is on its way ends before the quiet phase begins.
            thread::sleep(Duration::from_millis(200));
        }
        ended.store(true, Ordering::Relaxed);
    });
    let (quiet, busy, rate) = (median(&mut quiet_p99), median(&mut busy_p99), median(&mut rates));
    println!("| queries/s | changes/s | quiet p99 µs | busy p99 µs | ratio |\n|--|--|--|--|--|");
    println!("| {queries} | {rate:.0} | {quiet:.0} | {busy:.0} | {:.2} |", busy / quiet);
}

/// Asks for one phase; the 99th percentile of the answers' times in microseconds.
fn ask(service: &Service, rate: u64, nodes: u64) -> f64 {
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
    times[times.len() * 99 / 100]
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
