//! The limit of open files: raised as far as the settings need, and said when the system does not let it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tandem_testkit::{repository, tandem};
use tempfile::TempDir;

/// A service that a shell started under limits of its own.
struct Limited {
    child: Child,
    home: TempDir,
}

impl Limited {
    /// Starts one and waits until it is ready. `limits` are commands of the shell.
    fn start(limits: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")]).arg(tandem());
        command.args(["serve", "--dns", "127.0.0.1:0", "--api", "127.0.0.1:0", "--zones"]);
        command.arg(repository().join("zones")).current_dir(home.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let service = Self { child, home };
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "{}", service.log());
        service
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// The soft limit that the kernel has for it.
    fn soft_limit(&self) -> u64 {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_soft_limit_is_raised_to_what_connections_need() {
    let service = Limited::start("ulimit -Sn 256");
    // 1000 for DNS by TCP, 2048 for the API.
    assert!(service.soft_limit() > 3048, "{}", service.soft_limit());
    assert!(!service.log().contains("too low"), "{}", service.log());
}

#[test]
fn a_hard_limit_that_is_too_low_is_said() {
    let service = Limited::start("ulimit -Sn 256 && ulimit -Hn 512");
    assert_eq!(service.soft_limit(), 512);
    let log = service.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("limit of open files is too low")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("limit=512 needed="), "{log}");
}
