//! Programs under test as values: started with their output in a file, killed when dropped or when the test dies.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Where daemons are, which an ordinary user's PATH may lack.
const DAEMON_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Lines of a program's output that a failed test prints.
const LINES_SHOWN: usize = 40;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `log`.
    ///
    /// `setpriv` has the kernel kill it when the test's thread ends, however it ends.
    pub(crate) fn start<A: AsRef<OsStr>>(program: &'static str, arguments: &[A], log: &Path) -> Self {
        let output = File::create(log).expect("the scratch folder is writable");
        let errors = output.try_clone().expect("a file handle can be doubled");
        let child = command("setpriv")
            .args(["--pdeathsig", "KILL", "--", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("setpriv (util-linux) starts");
        Self { name: program, child, log: log.to_owned() }
    }

    /// All it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with its output when it has ended.
    pub(crate) fn assert_running(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended with {status}:\n{}", self.name, self.output());
        }
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "shown with the failure of the test")]
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
            eprintln!("--- end of {}'s output ({})\n{shown}", self.name, self.log.display());
        }
    }
}

/// Whether `program` is there to be run.
pub(crate) fn exists(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|folder| folder.join(program).is_file())
}

/// Runs `program` to its end.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Output {
    command(program).args(arguments).stdin(Stdio::null()).output().expect("checked by `require`")
}

/// Runs `program` to its end, which must be a good one, and gives what it printed.
pub(crate) fn read<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let output = run(program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path()).env("LC_ALL", "C");
    command
}

fn search_path() -> std::ffi::OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&inherited).chain(DAEMON_FOLDERS.iter().map(PathBuf::from));
    std::env::join_paths(folders).unwrap_or(inherited)
}
