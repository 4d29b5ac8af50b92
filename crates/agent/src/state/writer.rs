//! Writes the log: a thread of its own, so that a slow disk holds up nobody who needs the copy.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::reader::{Lines, Loaded};
use super::record::{Record, Subject};
use super::{FILE, HEADER};
use crate::clock;
use crate::status::Board;

/// Batches that may wait for the disk.
const WAITING: usize = 256;
/// Most octets that are written before the disk is asked to keep them.
const GROUP: usize = 4 << 20;
/// Records that may be void before the log is made short, at least; else as many as were live the last time.
const LEAST_VOID: usize = 4096;
/// Only the owner may read it: it is nobody else's concern who the members are.
const MODE: u32 = 0o600;

/// What the thread is told.
enum Order {
    Append(Vec<Record>),
    /// Says when all before it is on disk.
    Flush(oneshot::Sender<()>),
}

/// The way to the log.
#[derive(Debug)]
pub(crate) struct StateWriter {
    orders: mpsc::Sender<Order>,
}

impl StateWriter {
    /// Opens the log in `folder` behind what was `loaded` from it, and begins to write.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn open(folder: &Path, loaded: &Loaded, board: Arc<Board>) -> io::Result<Self> {
        let mut log = Log::open(folder, loaded)?;
        let (orders, mut waiting) = mpsc::channel(WAITING);
        let builder = thread::Builder::new().name("agent-state".into());
        builder.spawn(move || {
            let mut text = String::new();
            while let Some(order) = waiting.blocking_recv() {
                let mut done = Vec::new();
                let mut records = 0;
                let mut next = Some(order);
                while let Some(order) = next.take() {
                    match order {
                        Order::Append(batch) => {
                            records += batch.len();
                            batch.iter().for_each(|record| text.push_str(&record.line()));
                        }
                        Order::Flush(sender) => done.push(sender),
                    }
                    if text.len() < GROUP {
                        next = waiting.try_recv().ok();
                    }
                }
                log.append(&text, records, &board);
                text.clear();
                for sender in done {
                    // Whoever waits no more does not mind.
                    let _ = sender.send(());
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Has records written, after all before them.
    pub(crate) async fn append(&self, records: Vec<Record>) {
        // The thread ends with the last sender only.
        let _ = self.orders.send(Order::Append(records)).await;
    }

    /// Waits until everything is on disk.
    pub(crate) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        let _ = self.orders.send(Order::Flush(sender)).await;
        let _ = done.await;
    }
}

/// The open log.
#[derive(Debug)]
struct Log {
    folder: PathBuf,
    file: File,
    /// Octets of it that are good.
    len: u64,
    records: usize,
    /// How many were live when it was made short last.
    live: usize,
    /// Nothing is written any more: the disk refused, and what is there is as it was before.
    is_broken: bool,
}

impl Log {
    fn open(folder: &Path, loaded: &Loaded) -> io::Result<Self> {
        let path = folder.join(FILE);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(&path)?;
        let mut log = Self {
            folder: folder.to_owned(),
            file,
            len: loaded.good_len,
            records: loaded.records + loaded.damaged,
            live: loaded.members.len(),
            is_broken: false,
        };
        if loaded.has_header && loaded.damaged == 0 {
            // What was cut off inside a line would spoil the next one.
            log.file.set_len(log.len)?;
        } else {
            log.shorten()?;
        }
        Ok(log)
    }

    fn append(&mut self, text: &str, records: usize, board: &Board) {
        if self.is_broken || text.is_empty() {
            return;
        }
        let mut written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_ok() {
            self.len += text.len() as u64;
            self.records += records;
            if self.records > self.live + self.live.max(LEAST_VOID) {
                written = self.shorten();
            }
        }
        if let Err(error) = written {
            // What is on disk stays one whole older version: the next start asks for what came since.
            self.is_broken = true;
            let _ = self.file.set_len(self.len);
            tracing::error!(%error, "the copy of the members cannot be written: the next start begins with an older one");
            board.replica(|status| status.disk_error = Some(error.to_string()));
        }
    }

    /// Writes the log anew without what is void, in the place of the old one.
    fn shorten(&mut self) -> io::Result<()> {
        let path = self.folder.join(FILE);
        let new_path = self.folder.join(format!("{FILE}.new"));
        let now = clock::now();
        let mut last: HashMap<Subject, usize> = HashMap::new();
        each_record(&path, |at, record, _| {
            last.insert(record.subject(now).0, at);
            Ok(())
        })?;
        match fs::remove_file(&new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let new = OpenOptions::new().read(true).append(true).create_new(true).mode(MODE).open(&new_path)?;
        let mut out = BufWriter::new(new);
        let (mut len, mut live) = (HEADER.len() as u64, 0);
        out.write_all(HEADER.as_bytes())?;
        each_record(&path, |at, record, line| {
            let (subject, is_kept) = record.subject(now);
            if is_kept && last.get(&subject) == Some(&at) {
                out.write_all(line)?;
                out.write_all(b"\n")?;
                len += line.len() as u64 + 1;
                live += 1;
            }
            Ok(())
        })?;
        let new = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        new.sync_all()?;
        fs::rename(&new_path, &path)?;
        File::open(&self.folder)?.sync_all()?;
        (self.file, self.len, self.records, self.live) = (new, len, live, live);
        Ok(())
    }
}

/// Calls `take` with each good record: its place among the lines, itself, and its line.
fn each_record(path: &Path, mut take: impl FnMut(usize, &Record, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut lines = Lines { reader: BufReader::with_capacity(1 << 16, File::open(path)?), line: Vec::new() };
    let mut at = 0;
    while let Some((line, _)) = lines.next()? {
        at += 1;
        if let Some(record) = Record::parse(line) {
            take(at, &record, line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
