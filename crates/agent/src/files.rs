//! Files for SIP servers and firewalls, written anew whenever members change, and the command that makes them count.
//!
//! A file is replaced by a rename, so that a reader sees the old one or the new one, and only when its text differs. Who must
//! not be called is in none of them: a member that is compromised leaves within two seconds, or the board says why not.

mod bundle;
mod render;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::check::{Authorities, Verdicts};
use crate::config::FilesConfig;
use crate::map::MemberMap;
use crate::service::Parts;
use crate::status::{Board, FilesStatus};
use crate::{clock, snapshot::Snapshots};

/// Changes that come within this time are written together.
const GATHER: Duration = Duration::from_millis(200);
/// Pause before the next try after a fault.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest time of the reload command.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);
/// Everybody may read: no secret is in them, and SIP servers run as other users.
const MODE: u32 = 0o644;

/// What makes a file's text.
type Render = fn(&Sight<'_>) -> String;

/// What a file's text is made from.
struct Sight<'a> {
    members: &'a MemberMap,
    verdicts: &'a Verdicts,
    authorities: &'a [CertificateDer<'static>],
    /// Seconds since 1970.
    now: u64,
    /// The file as it is.
    old: &'a str,
}

/// The task that keeps the files.
#[derive(Debug)]
pub(crate) struct Files {
    wanted: Vec<Wanted>,
    reload: Vec<String>,
    snapshots: Snapshots,
    verdicts: Verdicts,
    authorities: Authorities,
    board: Arc<Board>,
    closing: watch::Receiver<bool>,
    /// Whether a file changed that no successful run of the command has followed.
    reload_due: bool,
}

/// One file.
#[derive(Debug)]
struct Wanted {
    path: PathBuf,
    render: Render,
}

/// Why the files are not as they should be.
#[derive(Debug, thiserror::Error)]
enum FilesError {
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the reload command cannot be run: {0}")]
    Run(io::Error),
    #[error("the reload command ended with {0}: run it by hand to see why")]
    Failed(std::process::ExitStatus),
    #[error("the reload command took longer than {} s and was ended", RELOAD_LIMIT.as_secs())]
    Slow,
}

impl Files {
    /// For the files that `config` names; `authorities` are those that looks at targets believe.
    pub(crate) fn new(config: &FilesConfig, parts: &Parts, authorities: Authorities) -> Self {
        let files: [(&Option<PathBuf>, Render); 5] = [
            (&config.ca_bundle, bundle::text),
            (&config.kamailio_addresses, |sight| render::kamailio_addresses(sight.members)),
            (&config.kamailio_dispatchers, render::kamailio_dispatchers),
            (&config.freeswitch_acl, |sight| render::freeswitch_acl(sight.members)),
            (&config.nftables, |sight| render::nftables(sight.members)),
        ];
        let wanted = files.into_iter().filter_map(|(path, render)| Some(Wanted { path: path.clone()?, render }));
        Self {
            wanted: wanted.collect(),
            reload: config.reload.clone(),
            snapshots: parts.snapshots.clone(),
            verdicts: parts.verdicts.clone(),
            authorities: if config.public_authorities { authorities } else { Authorities::default() },
            board: Arc::clone(&parts.board),
            closing: parts.closing.clone(),
            reload_due: false,
        }
    }

    /// Keeps the files until the agent ends.
    pub(crate) async fn run(mut self) {
        self.board
            .files(|status| status.files = self.wanted.iter().map(|file| file.path.display().to_string()).collect());
        let mut verdicts = self.verdicts.changes();
        loop {
            verdicts.borrow_and_update();
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            // Nothing is known yet: empty files would shut everybody out.
            let done = if snapshot.version == 0 { Ok(()) } else { self.bring_up_to_date(&snapshot.members).await };
            let failed = done.is_err();
            self.tell(done);
            tokio::select! {
                changed = self.snapshots.changed() => if changed.is_err() { return },
                changed = verdicts.changed() => if changed.is_err() { return },
                () = sleep(PAUSE), if failed => {}
                _ = self.closing.changed() => return,
            }
            sleep(GATHER).await;
        }
    }

    async fn bring_up_to_date(&mut self, members: &MemberMap) -> Result<(), FilesError> {
        // All files first: one that cannot be written keeps no compromised member in the others.
        let mut fault = None;
        for file in &self.wanted {
            // One that cannot be read cannot be replaced either, or is not there yet.
            let old = fs::read_to_string(&file.path).unwrap_or_default();
            let (verdicts, authorities) = (&self.verdicts, &*self.authorities);
            let text = (file.render)(&Sight { members, verdicts, authorities, now: clock::now(), old: &old });
            match replace(&file.path, &text) {
                Ok(changed) => self.reload_due |= changed,
                Err(source) => fault = Some(FilesError::Write { path: file.path.clone(), source }),
            }
        }
        if self.reload_due && !self.reload.is_empty() {
            run(&self.reload).await?;
        }
        self.reload_due = false;
        fault.map_or(Ok(()), Err)
    }

    fn tell(&self, done: Result<(), FilesError>) {
        let error = done.err().map(|error| error.to_string());
        let now = clock::text(clock::now());
        self.board.files(|status: &mut FilesStatus| {
            match &error {
                // Tried again every few seconds, and said once.
                Some(error) if status.error.as_ref() != Some(error) => {
                    tracing::error!(error, "the files for the SIP server are not up to date");
                }
                Some(_) => {}
                None => status.up_to_date = Some(now),
            }
            status.error = error;
        });
    }
}

/// Writes `text` to `path` unless that is what it has; says whether it did.
fn replace(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    let unfinished = folder.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()?;
    Ok(true)
}

/// Runs the command to its end; what it prints is not ours to keep.
async fn run(command: &[String]) -> Result<(), FilesError> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(FilesError::Run)?;
    match timeout(RELOAD_LIMIT, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(FilesError::Failed(status)),
        Ok(Err(error)) => Err(FilesError::Run(error)),
        Err(_) => Err(FilesError::Slow),
    }
}

#[cfg(test)]
mod tests;
