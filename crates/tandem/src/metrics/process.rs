//! What the system says about this process; nothing where it has no `/proc`.

use std::fs;

/// Clock ticks a second in `/proc`: part of Linux' interface to programs, the same on every machine.
const TICKS: f64 = 100.0;

/// Numbers about this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// Resident memory, in octets.
    pub(super) resident: Option<u64>,
    /// CPU time used, user and system, in seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub(super) descriptors: Option<usize>,
}

impl Process {
    /// The numbers now.
    pub(super) fn read() -> Self {
        Self {
            resident: fs::read_to_string("/proc/self/status").ok().and_then(|text| resident(&text)),
            cpu_seconds: fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_seconds(&text)),
            // The list itself is one of them.
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1)),
        }
    }
}

/// `VmRSS:    1234 kB` (proc(5)).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Fields 14 and 15, counted behind the program's name, which may hold anything (proc(5)).
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   2048 kB\nVmLck: 0 kB\n"), Some(2048 * 1024));
        assert_eq!(cpu_seconds("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0"), Some(2.0));
        assert_eq!((resident(""), cpu_seconds("")), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_numbers() {
        let process = Process::read();
        assert!(process.resident > Some(1 << 20) && process.cpu_seconds.is_some(), "{process:?}");
        assert!(process.descriptors > Some(2), "{process:?}");
    }
}
