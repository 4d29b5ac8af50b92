//! Reads the log at start.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_model::DomainName;

use super::record::Record;
use super::{FILE, HEADER, MAX_LINE};
use crate::judge::Newcomer;
use crate::map::MemberMap;
use crate::member::KnownKey;

/// What the log says.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) members: MemberMap,
    /// Keys of those that are gone, and when they went.
    pub(crate) former: HashMap<DomainName, (KnownKey, u64)>,
    pub(crate) held: HashMap<DomainName, (Newcomer, u64)>,
    /// The place in the journal; none: the list must be read.
    pub(crate) position: Option<u64>,
    /// Whose journal.
    pub(crate) directory: String,
    /// When the directory was last heard, in seconds since 1970.
    pub(crate) heard: u64,
    /// Records that were read.
    pub(crate) records: usize,
    /// Octets up to the end of the last whole line.
    pub(crate) good_len: u64,
    /// Octets behind that.
    pub(crate) cut: u64,
    /// Lines that were altered.
    pub(crate) damaged: usize,
    /// Whether the file begins as it should.
    pub(crate) has_header: bool,
}

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The system refuses.
    #[error("{} cannot be read or written", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Written by a newer agent.
    #[error("{} is of a newer version: run the newer agent, or move the file away", file.display())]
    Newer { file: PathBuf },
}

/// Reads the log in `folder`; empty if there is none.
///
/// # Errors
///
/// [`StateError`]: what is there is left as it is. A damaged file is no error.
pub(crate) fn load(folder: &Path) -> Result<Loaded, StateError> {
    let path = folder.join(FILE);
    let failed = |source| StateError::Io { file: path.clone(), source };
    let mut loaded = Loaded::default();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(loaded),
        Err(error) => return Err(failed(error)),
    };
    let mut lines = Lines { reader: BufReader::with_capacity(1 << 16, file), line: Vec::new() };
    let mut is_first = true;
    while let Some((line, len)) = lines.next().map_err(failed)? {
        loaded.good_len += len;
        if std::mem::take(&mut is_first) {
            loaded.has_header = line == HEADER.trim_end().as_bytes();
            if loaded.has_header {
                continue;
            }
            if line.starts_with(b"tandem-agent members ") {
                return Err(StateError::Newer { file: path });
            }
        }
        match Record::parse(line) {
            Some(record) => match loaded.apply(record) {
                true => loaded.records += 1,
                false => loaded.damaged += 1,
            },
            None => loaded.damaged += 1,
        }
    }
    loaded.cut = lines.line.len() as u64;
    if loaded.damaged > 0 {
        // What the lost records said is not known: all is asked again.
        loaded.position = None;
    }
    Ok(loaded)
}

impl Loaded {
    /// Takes a record over; whether it made sense.
    fn apply(&mut self, record: Record) -> bool {
        let name = |text: &str| DomainName::parse(text).ok();
        match record {
            Record::Member(member) => {
                let Some(member) = member.read() else { return false };
                self.former.remove(&member.domain);
                self.members.insert(Arc::new(member));
            }
            Record::Gone { domain, at, key } => {
                let Some(domain) = name(&domain) else { return false };
                self.members.remove(&domain);
                match key.as_ref().map(|key| key.read()) {
                    None => drop(self.former.remove(&domain)),
                    Some(Some(key)) => drop(self.former.insert(domain, (key, at))),
                    Some(None) => return false,
                }
            }
            Record::Held { domain, since, key } => {
                let (Some(domain), Some(newcomer)) = (name(&domain), Record::newcomer(key.as_deref())) else {
                    return false;
                };
                self.held.insert(domain, (newcomer, since));
            }
            Record::Released { domain } => {
                let Some(domain) = name(&domain) else { return false };
                self.held.remove(&domain);
            }
            Record::Place { id, directory, at } => {
                (self.position, self.directory, self.heard) = (id, directory, at);
            }
        }
        true
    }
}

/// The lines of a log; what is left in `line` at the end is no whole line.
pub(super) struct Lines<R> {
    pub(super) reader: R,
    pub(super) line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end, and how many octets it has with it. One that is too long counts as damaged: empty.
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], u64)>> {
        self.line.clear();
        let mut len = 0;
        let mut is_too_long = false;
        loop {
            let octets = self.reader.fill_buf()?;
            if octets.is_empty() {
                return Ok(None);
            }
            let end = octets.iter().position(|octet| *octet == b'\n');
            let part = &octets[..end.unwrap_or(octets.len())];
            if self.line.len() + part.len() > MAX_LINE {
                is_too_long = true;
                self.line.clear();
            }
            if !is_too_long {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            len += used as u64;
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some((&self.line, len)));
            }
        }
    }
}
