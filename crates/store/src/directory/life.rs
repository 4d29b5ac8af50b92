//! What callers do to registrations besides writing them: renewing, acting, walking the leases; and what tells of it.

use std::sync::atomic::Ordering;

use tandem_model::{DomainName, Node};
use tokio::sync::watch;

use super::{COMMIT_WAIT, Directory, Precondition, Receipt, Registered};
use crate::backend::{AuditEntry, Backend, JournalEntry};
use crate::error::{ActError, DirectoryError, ReadError, RegisterError, RenewError, ResetKeyError};
use crate::identity::Signature;
use crate::keep::Keep;
use crate::lease::{Lease, Renewal};
use crate::state::{Action, MAX_REASON, NodeState};
use crate::token::Actor;
use crate::writer::{ActRequest, Command, RegisterRequest, ResetRequest};

/// Entries of the journal that one look at the audit trail reads: what a caller wants may be rare.
const MAX_LOOKED: usize = 10_000;

impl Directory {
    /// [`register`](Self::register), with the state that a domain which is new begins in: `Pending` waits for approval.
    ///
    /// A registration that is there keeps its state, except that one which lost its lease comes back. With a `signature`
    /// the node is what the signed document says, and the key must be one that may sign for it ([`crate::identity`]).
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub async fn register_in(
        &self,
        start: NodeState,
        node: Node,
        signature: Option<Signature>,
        must: Precondition,
        by: &Actor,
    ) -> Result<Receipt, RegisterError> {
        // A stranger's token shows nothing that no admin has looked at.
        let start = if by.moderated { NodeState::Pending } else { start };
        let request = Box::new(RegisterRequest { node, signature, start, must, by: by.clone() });
        self.inner.ask(COMMIT_WAIT, |answer| Command::Register { request, answer }).await
    }

    /// Lets any key follow the key of `domain`, after a delay in which its holder can notice; if that key signs again
    /// before, nothing comes of it. Everybody who follows the changes is told at once.
    ///
    /// # Errors
    ///
    /// [`ResetKeyError`]; nothing changed, except that after `Directory(Timeout)` the change may yet happen.
    pub async fn reset_key(
        &self,
        domain: &DomainName,
        reason: Option<Box<str>>,
        must: Precondition,
        by: &Actor,
    ) -> Result<Receipt, ResetKeyError> {
        let request = Box::new(ResetRequest { domain: domain.clone(), reason, must, by: by.token_id.clone() });
        self.inner.ask(COMMIT_WAIT, |answer| Command::ResetKey { request, answer }).await
    }

    /// Seconds since 1970, by the directory's clock.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.inner.clock)()
    }

    /// Begins the lease of `domain` anew. Costs no write while the node has its lease; a node that lost it comes back.
    ///
    /// # Errors
    ///
    /// [`RenewError`]; nothing changed, except that after `Directory(Timeout)` the change may yet happen.
    pub async fn renew(&self, domain: &DomainName, by: &Actor) -> Result<Lease, RenewError> {
        if self.inner.closing.load(Ordering::Relaxed) {
            return Err(DirectoryError::ShuttingDown.into());
        }
        match self.inner.leases.renew(domain, (self.inner.clock)()) {
            Renewal::Done(lease) => Ok(lease),
            Renewal::Unknown => Err(RenewError::NotFound),
            Renewal::Returns => {
                let (domain, by) = (domain.clone(), by.token_id.clone());
                self.inner.ask(COMMIT_WAIT, |answer| Command::Return { domain, by, answer }).await
            }
        }
    }

    /// Does `action` to the registration of `domain`. Returns when it is durable and DNS shows it.
    ///
    /// # Errors
    ///
    /// [`ActError`]; nothing changed, except that after `Directory(Timeout)` the change may yet happen.
    pub async fn act(
        &self,
        domain: &DomainName,
        action: Action,
        reason: Option<Box<str>>,
        must: Precondition,
        by: &Actor,
    ) -> Result<Receipt, ActError> {
        self.act_once(domain, action, reason, must, by, None).await
    }

    /// [`act`](Self::act), with the answer to keep if it changes anything.
    ///
    /// # Errors
    ///
    /// As [`act`](Self::act).
    pub async fn act_once(
        &self,
        domain: &DomainName,
        action: Action,
        reason: Option<Box<str>>,
        must: Precondition,
        by: &Actor,
        keep: Option<Keep<Receipt>>,
    ) -> Result<Receipt, ActError> {
        let is_text = |reason: &str| (1..=MAX_REASON).contains(&reason.len()) && !reason.chars().any(char::is_control);
        if reason.as_deref().is_some_and(|reason| !is_text(reason)) {
            return Err(ActError::Reason);
        }
        let (domain, by) = (domain.clone(), by.clone());
        let request = ActRequest { domain, action, reason, must, by, keep };
        self.inner.ask(COMMIT_WAIT, |answer| Command::Act { request: Box::new(request), answer }).await
    }

    /// Looks at the leases once, as happens every second by itself: moves what is due, writes down what was renewed.
    /// Whether there is more to do at once.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`] when the store could not be written: it is tried again with the next walk.
    pub async fn walk_leases(&self) -> Result<bool, DirectoryError> {
        self.inner.ask(COMMIT_WAIT, |answer| Command::Walk { answer: Some(answer) }).await
    }

    /// The last serial that is durable, for whoever waits for changes; what they are tells [`journal`](Self::journal).
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.clone()
    }

    /// Journal entries with serials above `after`, oldest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn journal(&self, after: u64, limit: usize) -> Result<Vec<JournalEntry>, ReadError> {
        self.inner.read(move |backend| backend.journal(after, limit)).await
    }

    /// Who did what, newest first, from the first entry before `before`: at most `limit` of those that `wanted` chooses.
    /// Looks at a bounded number of entries: also gives the place to go on from, if the journal may have more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn audit(
        &self,
        before: Option<(u64, String)>,
        limit: usize,
        wanted: impl Fn(&AuditEntry) -> bool + Send + 'static,
    ) -> Result<(Vec<AuditEntry>, Option<(u64, String)>), ReadError> {
        let look = move |backend: &dyn Backend| {
            let (mut found, mut looked, mut next) = (Vec::new(), 0, None);
            backend.audit(before.as_ref(), &mut |entry| {
                // There is one more: the page ends before it.
                if found.len() == limit || looked == MAX_LOOKED {
                    return false;
                }
                looked += 1;
                next = Some((entry.serial, entry.subject.clone()));
                if wanted(&entry) {
                    found.push(entry);
                }
                true
            })?;
            let is_end = found.len() < limit && looked < MAX_LOOKED;
            Ok((found, next.filter(|_| !is_end)))
        };
        self.inner.read(look).await
    }

    /// The serial of the oldest journal entry that is kept.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn oldest_entry(&self) -> Result<Option<u64>, ReadError> {
        self.inner.read(Backend::oldest_entry).await
    }

    /// [`list`](Self::list) of those in one state, or of all but tombstones.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn list_in(
        &self,
        state: Option<NodeState>,
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<Registered>, ReadError> {
        let after = after.cloned();
        let mut found = self.inner.read(move |backend| backend.list(after.as_ref(), state, limit)).await?;
        found.iter_mut().for_each(|registered| self.with_lease(registered));
        Ok(found)
    }

    /// What is written down of a lease may lag.
    pub(super) fn with_lease(&self, registered: &mut Registered) {
        if let Some(until) = self.inner.leases.until(registered.node.domain()) {
            registered.standing.lease_until = until;
        }
    }
}
