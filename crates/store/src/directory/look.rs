//! What those need who look at nodes from outside: whom to look at, and where to say what was found.

use std::collections::BTreeMap;

use tandem_model::{DomainName, Found};

use super::{COMMIT_WAIT, Directory};
use crate::error::NoteError;
use crate::writer::{Command, note::NoteCommand};

impl Directory {
    /// The nodes that DNS shows and that want to be looked at, each with its revision; at most
    /// [`MAX_WATCHED`](crate::MAX_WATCHED).
    #[must_use]
    pub fn watched(&self) -> BTreeMap<DomainName, u64> {
        self.inner.watched.list()
    }

    /// Another number whenever [`watched`](Self::watched) has changed.
    #[must_use]
    pub fn watched_version(&self) -> u64 {
        self.inner.watched.version()
    }

    /// Keeps what was found by looking at `domain` as it was at `revision`; `reason` goes to the journal. Returns when DNS
    /// shows it; whether anything changed. The node's own word, its entity tag and its lease stay as they are.
    ///
    /// # Errors
    ///
    /// [`NoteError`]; nothing changed, except that after `Directory(Timeout)` the change may yet happen.
    pub async fn note(
        &self,
        domain: &DomainName,
        revision: u64,
        found: Found,
        reason: Box<str>,
    ) -> Result<bool, NoteError> {
        let domain = domain.clone();
        let command = |answer| Command::Note(NoteCommand { domain, revision, found, reason, answer });
        self.inner.ask(COMMIT_WAIT, command).await
    }
}
