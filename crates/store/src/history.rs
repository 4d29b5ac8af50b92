//! The versions before the current one, from the journal: after a restart secondaries still get differences (DNS-72).

use std::time::{Duration, Instant};

use tandem_model::DomainName;
use tandem_zone::{History, MAX_VERSIONS, PastStep, Zones};

use crate::backend::{Backend, JournalEntry, JournalKind};
use crate::serial::soa_serial;

/// Longest time that it may take at the start; what is not reached then is no history, and costs a secondary that is so far
/// behind a whole transfer.
const LONGEST: Duration = Duration::from_millis(500);

/// Goes back from `current`, step by step, as far as the journal leads and versions are kept.
pub(crate) fn rebuild(backend: &dyn Backend, current: Zones) -> History {
    let until = Instant::now() + LONGEST;
    let mut history = History::new(current);
    let read = backend.journal_back(&mut |entry| {
        undo(&mut history, &entry) && history.len() < MAX_VERSIONS && Instant::now() < until
    });
    if let Err(error) = read {
        tracing::warn!(%error, versions = history.len(), "the journal cannot be read further back");
    }
    history
}

/// Takes one entry back; whether the history may go on.
fn undo(history: &mut History, entry: &JournalEntry) -> bool {
    let subject = || DomainName::parse(&entry.subject).ok();
    match entry.kind {
        JournalKind::Register | JournalKind::Deregister | JournalKind::ChangeState | JournalKind::Probe => {
            let (before, after) = (entry.shown_before(), entry.shown_after());
            let is_note = entry.kind == JournalKind::Probe;
            if before.is_none() && after.is_none() || is_note && before == after {
                // DNS showed nothing of it.
                return true;
            }
            let (Some(domain), Some(serials)) = (subject(), &entry.zones) else { return false };
            let (before, after) = (before.as_ref(), after.as_ref());
            history.undo(&PastStep { serial: soa_serial(entry.serial), domain: &domain, before, after, serials })
        }
        JournalKind::ServeZone | JournalKind::DropZone => {
            let Some(apex) = subject() else { return false };
            history.zone_changed(&apex);
            true
        }
        // Neither credentials nor rights are served, nor is a warning.
        JournalKind::ResetKey
        | JournalKind::LeaseEnding
        | JournalKind::IssueToken
        | JournalKind::RotateToken
        | JournalKind::DropToken
        | JournalKind::Invite
        | JournalKind::DropInvitation
        | JournalKind::RedeemInvitation
        | JournalKind::ProofBegun
        | JournalKind::ProofValid
        | JournalKind::ProofInvalid
        | JournalKind::ProofLapsing
        | JournalKind::ProofExpired
        | JournalKind::ProofRevoked
        | JournalKind::DropProof => true,
        JournalKind::ClaimNumber
        | JournalKind::ApproveNumber
        | JournalKind::RejectNumber
        | JournalKind::DelegateNumber
        | JournalKind::RevokeNumber => true,
    }
}
