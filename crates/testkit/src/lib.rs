//! A whole service for tests: the real `tandem` program on free ports, with a temporary data folder.
//!
//! [`Service`] starts `tandem serve` as its users do and reads the lines it prints; tests ask over the wire. The program
//! is the one beside the test's own executable (`target/debug/tandem`); `cargo test --workspace` builds it first.

mod agent;
mod client;
mod program;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use agent::AgentProcess;
pub use client::{Client, Response};
pub use program::{Output, repository, run, tandem};

/// Longest wait for the service to say `ready`: a debug build on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the service to end after SIGTERM: its own limit and some room.
const STOP_WAIT: Duration = Duration::from_secs(40);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How a service is to be started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    zones: Option<PathBuf>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    disk: Option<u32>,
}

impl Setup {
    /// The repository's `zones/`, one DNS address and the API on loopback.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves this folder instead of the repository's `zones/`.
    #[must_use]
    pub fn zones(mut self, folder: impl Into<PathBuf>) -> Self {
        self.zones = Some(folder.into());
        self
    }

    /// Adds arguments of `tandem serve`. A flag given here replaces the one that is
    /// given otherwise: `--dns 127.0.0.1:0 --api 127.0.0.1:0`, the zones and the data folder.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets an environment variable of the service.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Keeps the data on a disk of its own, in memory, with so many KiB; [`Service::data_dir`] leads there. Needs root, or a
    /// system that gives users namespaces. What is on it ends with the service.
    #[must_use]
    pub fn small_disk(mut self, kib: u32) -> Self {
        self.disk = Some(kib);
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready; the message has its log.
    #[must_use]
    pub fn start(self) -> Service {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        Service::launch(home, self).unwrap_or_else(|failure| panic!("the service did not start: {failure}"))
    }

    /// Starts it and gives its log when it ends instead of becoming ready.
    ///
    /// # Panics
    ///
    /// If it becomes ready after all.
    #[must_use]
    pub fn start_fails(self) -> Output {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        match Service::launch(home, self) {
            Ok(_) => panic!("the service started"),
            Err(output) => output,
        }
    }
}

/// A running `tandem serve`. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Service {
    child: Child,
    home: TempDir,
    setup: Setup,
    dns: Vec<SocketAddr>,
    api: String,
    /// All lines that it printed, as word and rest.
    lines: Vec<(String, String)>,
    agent: ureq::Agent,
}

impl Service {
    /// Starts one with the repository's zones; see [`Setup`] for more.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    #[must_use]
    pub fn start() -> Self {
        Setup::new().start()
    }

    fn launch(home: TempDir, setup: Setup) -> Result<Self, Output> {
        let log = fs::File::options().create(true).append(true).open(log_file(&home)).expect("the log can be made");
        let zones = setup.zones.clone().unwrap_or_else(|| repository().join("zones"));
        let mut command = match setup.disk {
            Some(kib) => on_small_disk(&home.path().join("data"), kib),
            None => Command::new(tandem()),
        };
        command.arg("serve");
        let mut default = |flag: &str, value: &OsStr| {
            if !setup.args.iter().any(|arg| arg == flag) {
                command.arg(flag).arg(value);
            }
        };
        default("--zones", zones.as_os_str());
        default("--data-dir", home.path().join("data").as_os_str());
        default("--dns", "127.0.0.1:0".as_ref());
        default("--api", "127.0.0.1:0".as_ref());
        command.args(&setup.args).current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        program::clear_environment(&mut command);
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the program can be started");
        let lines = read_lines(&mut child);
        let mut service =
            Self { child, home, setup, dns: Vec::new(), api: String::new(), lines: Vec::new(), agent: client::agent() };
        let deadline = Instant::now() + START_WAIT;
        let mut printed = String::new();
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    printed.push_str(&line);
                    printed.push('\n');
                    if let Some((word, rest)) = line.split_once(' ') {
                        service.lines.push((word.to_owned(), rest.to_owned()));
                    }
                    match line.split_once(' ') {
                        Some(("dns", address)) => service.dns.push(address.parse().expect("dns ADDR:PORT")),
                        Some(("api", url)) => service.api = url.to_owned(),
                        _ if line == "ready" => return Ok(service),
                        _ => {}
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("not ready within {START_WAIT:?}; log:\n{}", service.log()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = service.wait();
                    return Err(Output { status, stdout: printed, stderr: service.log() });
                }
            }
        }
    }

    /// Starts again on the same data after [`stop`](Self::stop) or [`kill`](Self::kill); ports are new.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.end();
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().expect("a temporary folder can be made"));
        let setup = std::mem::take(&mut self.setup);
        Self::launch(home, setup).unwrap_or_else(|failure| panic!("the service did not start again: {failure}"))
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn kill(&mut self) {
        self.end();
    }

    /// Sends a signal by its name: `HUP`.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &self.child.id().to_string()]).status();
        assert!(status.expect("sh can be started").success(), "kill -{name}");
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// If it takes longer than a service may.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until(STOP_WAIT, "the end of the service", || {
            ended = self.child.try_wait().expect("a child can be waited for");
            ended.is_some()
        });
        ended.expect("the wait ended with a status")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first DNS address.
    #[must_use]
    pub fn dns_addr(&self) -> SocketAddr {
        self.dns[0]
    }

    /// All DNS addresses, in the order of `--dns`.
    #[must_use]
    pub fn dns_addrs(&self) -> &[SocketAddr] {
        &self.dns
    }

    /// What stands behind `word` in the lines that it printed: `dot` for DNS over TLS, `doh`, `doq`, …
    ///
    /// # Panics
    ///
    /// If there is no such line.
    #[must_use]
    pub fn printed(&self, word: &str) -> &str {
        let found = self.lines.iter().find(|(first, _)| first == word);
        found.map(|(_, rest)| rest.as_str()).unwrap_or_else(|| panic!("no line `{word} …` was printed"))
    }

    /// The API's URL, without a slash at the end.
    #[must_use]
    pub fn api_url(&self) -> &str {
        &self.api
    }

    /// The admin token.
    ///
    /// # Panics
    ///
    /// If its file cannot be read.
    #[must_use]
    pub fn admin_token(&self) -> String {
        let file = self.data_dir().join("admin.token");
        fs::read_to_string(file).expect("the service wrote its admin token").trim().to_owned()
    }

    /// The data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let dir = self.home.path().join("data");
        match self.setup.disk {
            // As the process sees it: only there the disk is mounted.
            Some(_) => {
                let root = Path::new("/proc").join(self.pid().to_string()).join("root");
                root.join(dir.strip_prefix("/").unwrap_or(&dir))
            }
            None => dir,
        }
    }

    /// The folder that the service was started in; tests may put files there.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Everything that it logged so far, restarts included.
    ///
    /// # Panics
    ///
    /// If the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(&self.home)).expect("the log can be read")
    }

    /// Runs `tandem` with `args` in the service's folder, with its data folder, as its admin would.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    #[must_use]
    pub fn tandem<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        let mut command = Command::new(tandem());
        if self.setup.disk.is_some() {
            // Where its disk is.
            command = Command::new("nsenter");
            command.args(["--target", &self.pid().to_string(), "--user", "--mount", "--", "sh", "-c"]);
            command.args([r#"cd "$1" && shift && exec "$@""#, "sh"]).arg(self.home.path()).arg(tandem());
        }
        command.args(args).current_dir(self.home.path());
        run(&mut command)
    }

    /// `PUT /v1/nodes/{domain}` as admin.
    ///
    /// # Panics
    ///
    /// If the API does not answer.
    #[must_use]
    pub fn put_node(&self, domain: &str, document: &Value) -> Response {
        self.put(&format!("/v1/nodes/{domain}"), document)
    }

    /// GET as admin.
    ///
    /// # Panics
    ///
    /// If the API does not answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], None)
    }

    /// PUT as admin.
    ///
    /// # Panics
    ///
    /// If the API does not answer.
    #[must_use]
    pub fn put(&self, path: &str, body: &Value) -> Response {
        self.send("PUT", path, &[], Some(body))
    }

    /// DELETE as admin, whatever the entity tag is.
    ///
    /// # Panics
    ///
    /// If the API does not answer.
    #[must_use]
    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[("if-match", "*")], None)
    }

    /// Any request as admin.
    ///
    /// # Panics
    ///
    /// If the API does not answer.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        let answer = self.client().try_send(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// An admin's client that outlives the service: for tests that end it while they ask.
    ///
    /// # Panics
    ///
    /// If the admin token cannot be read.
    #[must_use]
    pub fn client(&self) -> Client {
        Client { agent: self.agent.clone(), api: self.api.clone(), token: self.admin_token() }
    }

    fn end(&mut self) {
        // Fails when it has ended already: what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program in a mount namespace of its own, where `data` is a file system of `kib` KiB in memory.
fn on_small_disk(data: &Path, kib: u32) -> Command {
    fs::create_dir_all(data).expect("a temporary folder is writable");
    let script = r#"mount -t tmpfs -o mode=0700,size="$1"k tandem "$2" && shift 2 && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", script, "sh"]);
    command.arg(kib.to_string()).arg(data).arg(tandem());
    command
}

fn log_file(home: &TempDir) -> PathBuf {
    home.path().join("log")
}

/// The lines of the child's standard output, read by a thread that ends with the child.
fn read_lines(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Looks at `condition` until it holds.
///
/// # Panics
///
/// If it does not hold within `limit`; the message says `what` was awaited.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        thread::sleep(POLL);
    }
}
