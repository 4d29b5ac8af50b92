//! What was found by looking at a node: it changes how the node is shown, and nothing of what the node said.

use tandem_model::{DomainName, Found};

use super::{Answer, Staged, Writer, reply};
use crate::backend::{Act, Backend, Step};
use crate::directory::Registered;
use crate::error::NoteError;
use crate::state::MAX_REASON;

/// Who the journal says it was; ids of tokens look otherwise.
const BY: &str = "prober";

/// What was found.
#[derive(Debug)]
pub(crate) struct NoteCommand {
    pub(crate) domain: DomainName,
    /// Of the registration that was looked at.
    pub(crate) revision: u64,
    pub(crate) found: Found,
    pub(crate) reason: Box<str>,
    pub(crate) answer: Answer<bool, NoteError>,
}

impl<B: Backend + ?Sized> Writer<B> {
    /// Stages it, unless it is known.
    pub(super) fn note(&self, staged: &mut Staged, command: NoteCommand) {
        let NoteCommand { domain, revision, found, reason, answer } = command;
        if answer.is_closed() {
            return;
        }
        let result = self.find(staged, &domain, revision, found, reason);
        staged.replies.push(reply(answer, result));
    }

    fn find(
        &self,
        staged: &mut Staged,
        domain: &DomainName,
        revision: u64,
        found: Found,
        mut reason: Box<str>,
    ) -> Result<bool, NoteError> {
        let current = self.current(staged, domain)?.ok_or(NoteError::NotFound)?;
        // Who does not want to be looked at is shown as it says.
        if current.revision != revision || current.node.probe.is_none() && !found.is_empty() {
            return Err(NoteError::Stale);
        }
        if current.node.found == found {
            return Ok(false);
        }
        if reason.len() > MAX_REASON {
            let end = reason.floor_char_boundary(MAX_REASON);
            reason = reason[..end].into();
        }
        let lease_until = self.leases.until(domain).unwrap_or(current.standing.lease_until);
        let mut now = Registered { standing: current.standing.clone(), ..current.clone() };
        now.node.found = found;
        // The lease is in memory; what is written must not set it back.
        now.standing.lease_until = lease_until;
        let act = Act::Note { before: current.node.clone(), now: now.clone(), reason };
        let by = Some(BY.to_owned());
        if current.shown() == now.shown() {
            // DNS has nothing to do with it: no zone needs another serial.
            staged.serial += 1;
            staged.nodes.insert(domain.clone(), Some(now));
            staged.steps.push(Step { serial: staged.serial, by, act, zones: Vec::new() });
        } else {
            let lease = self.leases.times.lease_of(&now.node);
            staged.take(Some(&current), Some(&now), act, by, lease);
        }
        Ok(true)
    }
}
