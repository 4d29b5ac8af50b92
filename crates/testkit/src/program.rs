//! The programs that tests run: `tandem` itself, and `dig` and its like.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Its standard output, if it succeeded.
    ///
    /// # Panics
    ///
    /// If it failed.
    pub fn success(self) -> String {
        assert!(self.status.success(), "{self}");
        self.stdout
    }

    /// Its standard error, if it ended with `code`.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    pub fn failure(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self.stderr
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nstandard output:\n{}\nstandard error:\n{}", self.status, self.stdout, self.stderr)
    }
}

/// The `tandem` program that belongs to the running test.
///
/// # Panics
///
/// If it was not built.
#[must_use]
pub fn tandem() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/it-0123 and target/debug/tandem
    let folder = test.ancestors().find(|folder| folder.ends_with("deps")).and_then(Path::parent);
    let program = folder.expect("tests lie in target/<profile>/deps").join("tandem");
    assert!(
        program.exists(),
        "{} is missing: build it with `cargo build -p tandem`, or run `cargo test --workspace`, which does",
        program.display()
    );
    program
}

/// The root of the repository.
///
/// # Panics
///
/// If this crate was moved.
#[must_use]
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("this crate lies two folders below the root").to_owned()
}

/// Runs a program to its end, without the TANDEM_… variables of whoever runs the tests.
///
/// # Panics
///
/// If it cannot be started: the message names it.
#[must_use]
pub fn run(command: &mut Command) -> Output {
    clear_environment(command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", command.get_program()));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Output { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

pub(crate) fn clear_environment(command: &mut Command) {
    let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TANDEM_") && !given.contains(&name) {
            command.env_remove(name);
        }
    }
}
