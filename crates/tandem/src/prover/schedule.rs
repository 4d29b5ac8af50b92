//! When a proof is looked at, and what time alone does to it. Pure: the time is an argument.

use tandem_store::{Proof, ProofMethod, ProofOutcome, ProofProgress, ProofState};

use super::FORGET_ATTEMPT;

/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;
/// Looks at an attempt before it is given up (API-66): with the pauses between, for about an hour and a half.
pub(super) const MAX_TRIES: u32 = 12;
/// Pause after the first look that found nothing, in seconds; each next one is twice as long (API-66).
const FIRST_PAUSE: u64 = 10;
/// Longest pause of these, in seconds.
const LONGEST_PAUSE: u64 = 900;
/// Seconds before the end of a proof at which it begins to be looked for again: 30 days.
const LOOK_BEFORE: u64 = 30 * DAY;
/// Seconds before the end of a proof at which warnings are given.
const WARN_BEFORE: [u64; 2] = [14 * DAY, 3 * DAY];
/// Seconds after the end of a proof at which its nodes are demoted.
pub(super) const DEMOTE_AFTER: u64 = 7 * DAY;
/// Seconds after the end of a proof at which its nodes leave the zones (API-68): 30 days.
pub(super) const WITHDRAW_AFTER: u64 = 30 * DAY;
/// Seconds after its end when a proof is forgotten; by then nothing rests on it.
const FORGET_ENDED: u64 = 90 * DAY;

/// When to look at a proof, in seconds since 1970; `None`: not by ourselves.
pub(super) fn next_look(proof: &Proof, progress: &ProofProgress) -> Option<u64> {
    if progress.next.is_some() {
        return progress.next;
    }
    match (proof.state, proof.id.method) {
        // What needs its owner's hand is looked at when asked for.
        (ProofState::Pending, ProofMethod::Dns | ProofMethod::Tls) => Some(0),
        (ProofState::Valid, ProofMethod::Dns) => {
            Some(proof.valid_until?.saturating_sub(LOOK_BEFORE).saturating_sub(spread(proof, DAY)))
        }
        // Whoever puts the record back is found again.
        (ProofState::Expired, ProofMethod::Dns) => Some(proof.since + DAY),
        (ProofState::Pending, ProofMethod::Mtls)
        | (ProofState::Valid | ProofState::Expired, ProofMethod::Tls | ProofMethod::Mtls)
        | (ProofState::Invalid | ProofState::Revoked, ProofMethod::Dns | ProofMethod::Tls | ProofMethod::Mtls) => None,
    }
}

/// When to look again after `tries` in a row that found nothing, the last at `now`.
pub(super) fn after_miss(proof: &Proof, tries: u32, now: u64) -> u64 {
    let pause = FIRST_PAUSE.checked_shl(tries.saturating_sub(1)).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
    match proof.id.method {
        _ if proof.state == ProofState::Pending => now + pause,
        // Asked for anew by its owner: a few times soon. By ourselves once a day, because nothing is urgent.
        ProofMethod::Tls if tries < MAX_TRIES => now + pause,
        ProofMethod::Tls | ProofMethod::Mtls => u64::MAX,
        ProofMethod::Dns => now + DAY + spread(proof, DAY / 24),
    }
}

/// What time alone does to a proof at `now`.
pub(super) fn by_time(proof: &Proof, progress: &ProofProgress, now: u64) -> Option<ProofOutcome> {
    let age = now.saturating_sub(proof.since);
    match proof.state {
        ProofState::Pending => (!proof.is_open(now)).then_some(ProofOutcome::Forgotten),
        ProofState::Invalid => (age >= FORGET_ATTEMPT).then_some(ProofOutcome::Forgotten),
        ProofState::Expired | ProofState::Revoked => (age >= FORGET_ENDED).then_some(ProofOutcome::Forgotten),
        ProofState::Valid if !proof.holds(now) => Some(ProofOutcome::Expired),
        ProofState::Valid => {
            let left = proof.valid_until?.saturating_sub(now);
            let passed = WARN_BEFORE.iter().filter(|before| left <= **before).count();
            let why = || progress.failure.clone().unwrap_or_else(|| "not seen again yet".into());
            (usize::from(proof.warnings) < passed).then(|| ProofOutcome::Lapsing(why()))
        }
    }
}

/// A number below `range`, the same for one proof each time: so that not all are looked at in one moment.
fn spread(proof: &Proof, range: u64) -> u64 {
    // FNV-1a; nobody gains anything by choosing it.
    let text = proof.id.domain.to_string();
    let octets = text.bytes().chain(proof.id.key.bytes());
    octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
        % range
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_store::ProofId;

    const NOW: u64 = 1_790_000_000;

    fn proof(method: ProofMethod, state: ProofState) -> Proof {
        let id = ProofId { domain: "example.org".parse().unwrap(), key: "k".into(), method };
        let valid_until = (state != ProofState::Pending).then_some(NOW + 90 * DAY);
        let token = "t".into();
        Proof { id, state, token, begun: NOW, since: NOW, seen: None, valid_until, warnings: 0, failure: None }
    }

    #[test]
    fn retries_api_66() {
        let pending = proof(ProofMethod::Dns, ProofState::Pending);
        let pauses: Vec<u64> = (1..=MAX_TRIES).map(|tries| after_miss(&pending, tries, NOW) - NOW).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900, 900]);
        let valid = proof(ProofMethod::Dns, ProofState::Valid);
        assert!((DAY..2 * DAY).contains(&(after_miss(&valid, 1, NOW) - NOW)));
    }

    #[test]
    fn a_record_is_read_again_before_the_end_api_68() {
        let none = ProofProgress::default();
        let at = next_look(&proof(ProofMethod::Dns, ProofState::Valid), &none).unwrap();
        assert!((NOW + 59 * DAY..=NOW + 60 * DAY).contains(&at));
        assert_eq!(next_look(&proof(ProofMethod::Tls, ProofState::Valid), &none), None);
        assert_eq!(next_look(&proof(ProofMethod::Dns, ProofState::Pending), &none), Some(0));
        let asked = ProofProgress { next: Some(5), ..none };
        assert_eq!(next_look(&proof(ProofMethod::Tls, ProofState::Expired), &asked), Some(5));
    }

    #[test]
    fn what_time_does_api_68() {
        let none = ProofProgress::default();
        let valid = |warnings| Proof { warnings, ..proof(ProofMethod::Dns, ProofState::Valid) };
        let lapsing = Some(ProofOutcome::Lapsing("not seen again yet".into()));
        for (proof, days, outcome) in [
            (valid(0), 75, None),
            (valid(0), 76, lapsing.clone()),
            (valid(1), 76, None),
            (valid(1), 87, lapsing),
            (valid(2), 87, None),
            (valid(2), 90, Some(ProofOutcome::Expired)),
            (proof(ProofMethod::Dns, ProofState::Pending), 6, None),
            (proof(ProofMethod::Dns, ProofState::Pending), 7, Some(ProofOutcome::Forgotten)),
            (proof(ProofMethod::Dns, ProofState::Invalid), 7, Some(ProofOutcome::Forgotten)),
            (proof(ProofMethod::Dns, ProofState::Expired), 89, None),
            (proof(ProofMethod::Dns, ProofState::Expired), 90, Some(ProofOutcome::Forgotten)),
        ] {
            assert_eq!(by_time(&proof, &none, NOW + days * DAY), outcome, "{proof:?} {days}");
        }
    }
}
