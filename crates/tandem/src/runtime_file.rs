//! `DIR/run.json`: where a running service listens, so that the commands beside it find it without being told.
//!
//! The service holds a lock on the file for as long as it lives. The lock, not the pid, tells a living service from
//! one that was killed: the system releases it with the process, and pids are used again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name in the data folder.
const NAME: &str = "run.json";
/// Largest file that is read, in octets.
const MAX_SIZE: u64 = 64 << 10;

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: u32,
    /// Its DNS addresses.
    pub(crate) dns: Vec<SocketAddr>,
    /// Its API: `http://127.0.0.1:5380`.
    pub(crate) api: String,
}

impl Running {
    /// Its DNS addresses for somebody on the same machine: "every address" includes loopback.
    pub(crate) fn dns_to_ask(&self) -> Vec<SocketAddr> {
        self.dns.iter().copied().map(to_ask).collect()
    }

    /// Where the API is for somebody on the same machine. `url` is as the listener has it.
    pub(crate) fn api_to_ask(listener: &str) -> String {
        match listener.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.parse::<SocketAddr>().ok()?))) {
            Some((scheme, address)) => format!("{scheme}://{}", to_ask(address)),
            None => listener.to_owned(),
        }
    }
}

fn to_ask(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// The file of this process; removed when dropped.
#[derive(Debug)]
pub(crate) struct RuntimeFile {
    path: PathBuf,
    _locked: File,
}

impl RuntimeFile {
    /// Writes the file and locks it.
    ///
    /// # Errors
    ///
    /// What the system says; `WouldBlock` when another service holds the file.
    pub(crate) fn create(data_dir: &Path, running: &Running) -> io::Result<Self> {
        let path = data_dir.join(NAME);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        // A reader holds its shared lock for an instant only, so waiting is right; another service's database lock
        // was met before this.
        file.lock()?;
        file.set_len(0)?;
        file.rewind()?;
        let mut text = serde_json::to_vec(running).map_err(io::Error::other)?;
        text.push(b'\n');
        file.write_all(&text)?;
        Ok(Self { path, _locked: file })
    }

    /// What the living service of `data_dir` wrote; none if there is no such service.
    #[must_use]
    pub(crate) fn read(data_dir: &Path) -> Option<Running> {
        let file = File::open(data_dir.join(NAME)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) | Err(TryLockError::Error(_)) => return None,
        }
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Drop for RuntimeFile {
    fn drop(&mut self) {
        // A file that stays behind is ignored: nobody holds its lock.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_loopback() {
        assert_eq!(Running::api_to_ask("https://0.0.0.0:5380"), "https://127.0.0.1:5380");
        assert_eq!(Running::api_to_ask("https://[::]:5380"), "https://[::1]:5380");
        assert_eq!(Running::api_to_ask("https://192.0.2.1:5380"), "https://192.0.2.1:5380");
    }

    #[test]
    fn only_a_living_service_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let running =
            Running { pid: 1, dns: vec!["127.0.0.1:5300".parse().unwrap()], api: "http://127.0.0.1:5380".into() };
        assert_eq!(RuntimeFile::read(dir.path()), None);
        // What a killed service leaves behind.
        fs::write(dir.path().join(NAME), serde_json::to_vec(&running).unwrap()).unwrap();
        assert_eq!(RuntimeFile::read(dir.path()), None);
        let file = RuntimeFile::create(dir.path(), &running).unwrap();
        assert_eq!(RuntimeFile::read(dir.path()), Some(running));
        drop(file);
        assert!(!dir.path().join(NAME).exists());
    }
}
