//! Durable publishes a second over HTTP: `cargo bench -p tandem-tests --bench publish` (build the release program first).
//!
//! Starts the real service in a temporary folder and has 1, then 64 writers PUT nodes over connections that they keep.
//! Beside the rate it prints what one `fdatasync` costs in the same folder, and the service's CPU time for each PUT: that
//! is the figure to trust on a noisy machine. `-- --sizes 1000,100000,1000000` measures with so many nodes imported first,
//! `--writers 64 --seconds 10` change the run, `--json FILE` writes the figures down for `benches/plot.py`.
//! `-- --over-sync 8` measures what a PUT takes beyond its sync: in each of 8 rounds one writer's PUTs and syncs of as much
//! data in the same folder alternate, so that both meet the same disk, and the difference of the two medians counts.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tandem_testkit::Service;

/// What the command line asks for.
struct Plan {
    writers: Vec<usize>,
    seconds: u64,
    /// Nodes registered before measuring: the cost must not depend on it.
    sizes: Vec<u64>,
    json: Option<String>,
    /// Rounds that compare PUTs with syncs; 0 measures rates.
    over_sync: usize,
}

/// Lines of one import.
const IMPORT: u64 = 50_000;

fn main() {
    let plan = plan();
    if plan.over_sync > 0 {
        return compare_with_sync(&plan);
    }
    let mut rows = Vec::new();
    println!(
        "| nodes | writers | PUTs | PUTs/s | fdatasync ms | median ms | p99 ms | CPU ms a PUT | RSS MiB |\n\
         |--|--|--|--|--|--|--|--|--|"
    );
    for size in &plan.sizes {
        let service = Service::start();
        let next = Arc::new(AtomicU64::new(0));
        import(&service, &next, *size);
        for writers in &plan.writers {
            rows.push(measure(&service, &next, *size, *writers, plan.seconds));
        }
    }
    if let Some(file) = plan.json {
        std::fs::write(file, format!("[\n  {}\n]\n", rows.join(",\n  "))).unwrap();
    }
}

/// Registers nodes up to `size` at once.
fn import(service: &Service, next: &AtomicU64, size: u64) {
    let (address, token) = (service.api_url().trim_start_matches("http://").to_owned(), service.admin_token());
    let mut connection = BufReader::new(TcpStream::connect(&address).unwrap());
    while next.load(Ordering::Relaxed) < size {
        let begin = next.fetch_add(IMPORT, Ordering::Relaxed);
        let lines: Vec<String> = (begin..size.min(begin + IMPORT))
            .map(|number| format!(r#"{{"domain":"{}",{}"#, domain(number), &document(number)[1..]))
            .collect();
        let head = "POST /v1/import HTTP/1.1\r\nContent-Type: application/x-ndjson\r\n";
        send(&mut connection, &address, &token, head, &lines.join("\n"));
    }
    next.store(size, Ordering::Relaxed);
}

/// Has `writers` PUT for some seconds; prints a row, and gives it as JSON.
fn measure(service: &Service, next: &AtomicU64, size: u64, writers: usize, seconds: u64) -> String {
    let sync = fdatasync_ms(&service.data_dir());
    let (cpu, began) = (cpu_seconds(service.pid()), Instant::now());
    let end = began + Duration::from_secs(seconds);
    let mut times = run(service, writers, next, &|_| Instant::now() >= end);
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(service.pid()) - cpu);
    let sync = (sync + fdatasync_ms(&service.data_dir())) / 2.0;
    times.sort_unstable();
    let count = times.len();
    let at = |share: usize| times[(count * share / 100).min(count - 1)].as_secs_f64() * 1e3;
    let (rate, each, rss) = (count as f64 / elapsed, cpu * 1e3 / count as f64, resident_mib(service.pid()));
    let (median, p99) = (at(50), at(99));
    println!(
        "| {size} | {writers} | {count} | {rate:.0} | {sync:.2} | {median:.2} | {p99:.2} | {each:.3} | {rss:.0} |"
    );
    format!(
        r#"{{"nodes": {size}, "writers": {writers}, "puts_a_second": {rate:.0}, "fdatasync_ms": {sync:.3}, "median_ms": {median:.3}, "p99_ms": {p99:.3}, "cpu_ms": {each:.4}, "rss_mib": {rss:.0}}}"#
    )
}

fn plan() -> Plan {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| args[at + 1].clone());
    let numbers = |text: String| text.split(',').map(|number| number.parse::<u64>().unwrap()).collect::<Vec<_>>();
    let writers = value("--writers").map_or_else(|| vec![1, 64], numbers);
    Plan {
        writers: writers.into_iter().map(|count| usize::try_from(count).unwrap()).collect(),
        seconds: value("--seconds").map_or(5, |seconds| seconds.parse().unwrap()),
        sizes: value("--sizes").map_or_else(|| vec![0], numbers),
        json: value("--json"),
        over_sync: value("--over-sync").map_or(0, |rounds| rounds.parse().unwrap()),
    }
}

/// Publishes ever new nodes from `writers` connections until `enough` of the number published; the time of each PUT.
fn run(service: &Service, writers: usize, next: &AtomicU64, enough: &(dyn Fn(u64) -> bool + Sync)) -> Vec<Duration> {
    let times = Mutex::new(Vec::new());
    let (address, token) = (service.api_url().trim_start_matches("http://").to_owned(), service.admin_token());
    thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                let mut connection = BufReader::new(TcpStream::connect(&address).unwrap());
                connection.get_ref().set_nodelay(true).unwrap();
                let mut own = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if enough(number) {
                        break;
                    }
                    let began = Instant::now();
                    put(&mut connection, &address, &token, number);
                    own.push(began.elapsed());
                }
                times.lock().unwrap().extend(own);
            });
        }
    });
    times.into_inner().unwrap()
}

fn domain(number: u64) -> String {
    format!("n{number}.ostn.test")
}

fn document(number: u64) -> String {
    let (domain, ip) = (domain(number), format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255));
    let v6 = format!("2001:db8:{:x}::{:x}", number >> 16, number & 0xffff);
    format!(
        r#"{{"targets":[{{"host":"sip1.{domain}","port":5061,"addresses":["{ip}","{v6}"]}},{{"host":"sip2.{domain}","port":5061,"priority":20,"addresses":["{ip}","{v6}"]}}],"keys":[{{"holder":"node","sha256":"{number:064x}"}}],"numbers":[{{"e164":"+88{number:010}"}}]}}"#
    )
}

fn put(connection: &mut BufReader<TcpStream>, address: &str, token: &str, number: u64) {
    let head = format!("PUT /v1/nodes/{} HTTP/1.1\r\nContent-Type: application/json\r\n", domain(number));
    send(connection, address, token, &head, &document(number));
}

/// Sends a request whose first fields are `head`, and reads the answer, which must be good.
fn send(connection: &mut BufReader<TcpStream>, address: &str, token: &str, head: &str, body: &str) {
    let length = body.len();
    let request =
        format!("{head}Host: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 201") || line.starts_with("HTTP/1.1 200"), "{line}");
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
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).unwrap();
}

/// Prints for each size and round the medians of PUTs and of syncs in turn, and the median of the differences.
fn compare_with_sync(plan: &Plan) {
    println!("| nodes | round | PUTs | PUT ms | sync ms | over it ms |\n|--|--|--|--|--|--|");
    for size in &plan.sizes {
        let service = Service::start();
        let next = AtomicU64::new(0);
        import(&service, &next, *size);
        let (address, token) = (service.api_url().trim_start_matches("http://").to_owned(), service.admin_token());
        let mut connection = BufReader::new(TcpStream::connect(&address).unwrap());
        connection.get_ref().set_nodelay(true).unwrap();
        let mut probe = SyncProbe::new(&service.data_dir());
        let mut differences = Vec::new();
        for round in 1..=plan.over_sync {
            let end = Instant::now() + Duration::from_secs(plan.seconds);
            let (mut puts, mut syncs) = (Vec::new(), Vec::new());
            while Instant::now() < end {
                let began = Instant::now();
                put(&mut connection, &address, &token, next.fetch_add(1, Ordering::Relaxed));
                puts.push(began.elapsed().as_secs_f64() * 1e3);
                syncs.push(probe.run().as_secs_f64() * 1e3);
            }
            let (put, sync) = (median(&mut puts), median(&mut syncs));
            differences.push(put - sync);
            println!("| {size} | {round} | {} | {put:.3} | {sync:.3} | {:.3} |", puts.len(), put - sync);
        }
        let (middle, count) = (median(&mut differences), differences.len());
        println!("| {size} | all | | | | {middle:.3} ({:.3}–{:.3}) |", differences[0], differences[count - 1]);
    }
}

/// The middle one; sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A file beside the service's log that is written and synced as that is: some pages behind the last ones, in blocks that it
/// has already, and from the beginning again.
struct SyncProbe {
    file: std::fs::File,
    path: std::path::PathBuf,
    written: usize,
}

impl SyncProbe {
    /// Pages that the log gets for a PUT: the node, the journal, the serial and the zones.
    const PAGES: usize = 4 * 4096;
    /// Length of the file: as the log's between two moves to the database.
    const LENGTH: usize = 256 * Self::PAGES;

    fn new(folder: &Path) -> Self {
        let path = folder.join("fdatasync.probe");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&vec![1; Self::LENGTH]).unwrap();
        file.sync_all().unwrap();
        file.rewind().unwrap();
        Self { file, path, written: 0 }
    }

    /// Writes, and gives the time of the sync.
    fn run(&mut self) -> Duration {
        if self.written == Self::LENGTH {
            self.file.rewind().unwrap();
            self.written = 0;
        }
        self.file.write_all(&[2; Self::PAGES]).unwrap();
        self.written += Self::PAGES;
        let began = Instant::now();
        self.file.sync_data().unwrap();
        began.elapsed()
    }
}

impl Drop for SyncProbe {
    fn drop(&mut self) {
        // Whatever is left goes with the service's folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What one sync costs before and after a run, in blocks that the file has already, as in a log that has started anew. On a
/// disk that others use it may differ from what the run itself met: do not subtract it from a PUT's time.
fn fdatasync_ms(folder: &Path) -> f64 {
    const WRITES: usize = 200;
    let path = folder.join("fdatasync.probe");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&vec![1; WRITES * 4096]).unwrap();
    file.sync_all().unwrap();
    file.rewind().unwrap();
    let mut times: Vec<Duration> = (0..WRITES)
        .map(|_| {
            file.write_all(&[0; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// User and system seconds of a process so far (`/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}
