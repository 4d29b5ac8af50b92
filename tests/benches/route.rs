//! What a route costs that a SIP server asks for over HTTP: `cargo bench -p tandem-tests --bench route` (build the release
//! program first). `-- --nodes 10000 --requests 20000 --rate 500` change the run.
//!
//! A real agent beside a real directory; one connection that stays open, as SIP servers keep it. First at a rate at which a
//! busy server makes calls (latency), then as fast as answers come (CPU a request).
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tandem_testkit::{AgentProcess, Setup};

/// Clock ticks a second in `/proc` (USER_HZ): 100 on every Linux.
const TICKS: f64 = 100.0;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str, default: u64| {
        args.iter().position(|arg| arg == flag).map_or(default, |at| args[at + 1].parse().unwrap())
    };
    let (nodes, requests, rate) = (value("--nodes", 10_000), value("--requests", 20_000), value("--rate", 500));
    let service = Setup::new().start();
    let lines: String = (0..nodes)
        .map(|node| {
            format!(
                "{{\"domain\":\"n{node}.ostn.test\",\"targets\":[{{\"host\":\"sip.n{node}.ostn.test\",\"port\":5061,\
                 \"addresses\":[\"203.0.113.7\",\"2001:db8::7\"]}}]}}\n"
            )
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nodes.jsonl");
    std::fs::write(&file, lines).unwrap();
    let _ = service.tandem(["import", file.to_str().unwrap()]).success();
    std::fs::write(folder.path().join("token"), service.admin_token()).unwrap();
    let settings = format!(
        "directory = \"{}\"\ntoken_file = \"token\"\n[http]\nlisten = \"127.0.0.1:0\"\n[route]\nmembers_only = true\n",
        service.api_url()
    );
    let agent = AgentProcess::start(folder.path(), &settings);
    agent.wait_in_step();
    assert_eq!(agent.status()["replica"]["callable"], nodes, "every node is a member");

    let mut client = Client::new(agent.printed("http").trim_start_matches("http://"));
    let (pause, begin) = (Duration::from_secs_f64(1.0 / rate as f64), Instant::now());
    let mut times: Vec<Duration> = (0..requests)
        .map(|turn| {
            let due = begin + pause * u32::try_from(turn).unwrap();
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            client.ask(turn * 7919 % nodes)
        })
        .collect();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let (median, p99, p999) = (at(0.5), at(0.99), at(0.999));
    let (before, begin) = (cpu_seconds(agent.pid()), Instant::now());
    for turn in 0..requests {
        client.ask(turn * 7919 % nodes);
    }
    let cpu = (cpu_seconds(agent.pid()) - before) / requests as f64 * 1e6;
    let fast = requests as f64 / begin.elapsed().as_secs_f64();
    println!(
        "| members | requests | median µs | p99 µs | p99.9 µs | CPU µs a request | requests/s on one connection |"
    );
    println!("|--|--|--|--|--|--|--|");
    println!("| {nodes} | {requests} | {median:.0} | {p99:.0} | {p999:.0} | {cpu:.0} | {fast:.0} |");
}

/// One connection that stays open.
struct Client {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Client {
    fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), body: Vec::new() }
    }

    /// Asks for the node's route; gives the time to the last octet of the answer.
    fn ask(&mut self, node: u64) -> Duration {
        let request = format!("GET /v1/route?uri=sip:alice%40n{node}.ostn.test HTTP/1.1\r\nHost: a\r\n\r\n");
        let begin = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut len, mut status) = (String::new(), 0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        self.body.resize(len, 0);
        self.stream.read_exact(&mut self.body).unwrap();
        let time = begin.elapsed();
        assert!(status.contains(" 200 "), "{status}{}", String::from_utf8_lossy(&self.body));
        time
    }
}

/// CPU time that a process has used, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}
