//! `tandem backup`: the directory at one moment, in one file, while the service works.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde_json::{Value, json};
use tandem_store::Manifest;
use tandem_store::sqlite::backup::{back_up, put_in_place, unfinished_name, verify};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::client::{ApiArgs, Client};
use super::progress::Progress;
use super::{Failure, output};

/// The database in the data folder.
const DATABASE: &str = "tandem.db";
/// How often it is looked how far a backup has come.
const LOOK: Duration = Duration::from_millis(200);

/// Write the directory at this moment into one file, which `tandem restore` takes; the service goes on meanwhile
///
/// The file holds registrations, journal, and tokens and invitations as hashes. It holds no zone files, settings,
/// certificates, keys or secrets: keep those yourself. It appears whole and checked or not at all, with mode 0600.
#[derive(Debug, Parser)]
#[command(after_help = "\
Beside the data folder the file is made from the database itself, whether or
not the service runs; else, and with --api, the service makes and sends it.

Examples:
  tandem backup /backup/tandem-$(date +%F).tandem
  tandem backup --json --force latest.tandem | jq .serial
  tandem backup b.tandem --api https://directory.example --token-file t
  tandem restore --check latest.tandem")]
pub(super) struct Backup {
    /// The file to write
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print what the file holds as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.force && self.file.try_exists()? {
            return Err(
                format!("{} exists: choose another name, or replace it with --force", self.file.display()).into()
            );
        }
        let local = self.api.local_data_dir()?.filter(|dir| dir.join(DATABASE).exists());
        let manifest = match local {
            Some(data_dir) => here(&data_dir, &self.file)?,
            None => {
                let unfinished = unfinished_name(&self.file);
                fetch(&Client::open(&self.api)?, &unfinished, &self.file).inspect_err(|_| {
                    // What stays of it is overwritten the next time.
                    let _ = std::fs::remove_file(&unfinished);
                })?
            }
        };
        if self.json {
            return output::json(&as_json(&manifest));
        }
        Ok(output::line(format_args!("{}: {}", self.file.display(), describe(&manifest)))?)
    }
}

/// Makes it from the database of this machine.
fn here(data_dir: &Path, file: &Path) -> Result<Manifest, Failure> {
    let size = std::fs::metadata(data_dir.join(DATABASE))?.len();
    let mut progress = Progress::start(false, Some(size), "MiB");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let unfinished = unfinished_name(file);
    let made = std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let work = scope.spawn(move || {
            let made = back_up(data_dir, file, now);
            drop(ended);
            made
        });
        while matches!(end.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
            progress.at(std::fs::metadata(&unfinished).map_or(0, |file| file.len()));
        }
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    progress.end();
    Ok(made?)
}

/// Has the service make it, and looks at what came.
fn fetch(client: &Client, unfinished: &Path, file: &Path) -> Result<Manifest, Failure> {
    let (length, mut body) = client.get_backup("/v1/backup")?;
    match std::fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let target: File = OpenOptions::new().create_new(true).write(true).mode(0o600).open(unfinished)?;
    let mut target = BufWriter::new(target);
    let mut progress = Progress::start(!io::stderr().is_terminal() && length.is_none(), length, "MiB");
    let mut piece = vec![0; 64 << 10];
    let mut octets = 0;
    loop {
        let read = body.read(&mut piece)?;
        if read == 0 {
            break;
        }
        target.write_all(&piece[..read])?;
        octets += read as u64;
        progress.at(octets);
    }
    target.flush()?;
    drop(target);
    progress.end();
    let manifest = verify(unfinished)?;
    put_in_place(unfinished, file)?;
    Ok(manifest)
}

/// What a backup holds, for scripts.
pub(super) fn as_json(manifest: &Manifest) -> Value {
    json!({
        "taken": taken(manifest),
        "program": manifest.program,
        "schema": manifest.schema,
        "serial": manifest.serial,
        "nodes": manifest.nodes,
        "tokens": manifest.tokens,
        "invitations": manifest.invitations,
        "journal": manifest.journal,
        "digest": manifest.digest,
    })
}

/// What a backup holds, for people.
pub(super) fn describe(manifest: &Manifest) -> String {
    format!(
        "directory of {} at serial {}: {} registrations, {} tokens, {} invitations, {} journal entries",
        taken(manifest),
        manifest.serial.map_or_else(|| "-".to_owned(), |serial| serial.to_string()),
        manifest.nodes,
        manifest.tokens,
        manifest.invitations,
        manifest.journal
    )
}

/// When it was made, as the API writes times.
fn taken(manifest: &Manifest) -> String {
    let time = i64::try_from(manifest.taken).ok().and_then(|taken| OffsetDateTime::from_unix_timestamp(taken).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| manifest.taken.to_string())
}
