//! Which serial the zones take when their master files, or the set of them, change (DNS-70; RFC 1982).
//!
//! One counter of 64 bits serves the whole directory; a SOA carries its low 32 bits. Every change takes the next
//! value, and the zones it touches take it too, so a serial is never used twice. Nodes' changes are counted by the
//! writer; what happens when zones come, change or go is decided here, by [`plan`].

use std::collections::HashMap;

use tandem_model::publish::RECORDS_VERSION;
use tandem_model::{DomainName, Serial};
use tandem_zone::master::StaticZone;
use tandem_zone::{Settings, Zones};

use crate::backend::{Act, Step, ZoneRole, ZoneState};
use crate::directory::ReloadReport;

/// A zone that lags further behind the counter than this takes its serial, though nothing in it changed: its next
/// step could be too far for secondaries otherwise (DNS-70: at most 2^31 - 1). Looked at on each start and reload.
const MAX_LAG: u64 = 1 << 30;
/// The longest step that a secondary takes for one forward.
const MAX_STEP: u64 = (1 << 31) - 1;

/// What is asked to be served: the facts of one master file.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) apex: DomainName,
    pub(crate) digest: u64,
    pub(crate) file_serial: u32,
    pub(crate) role: ZoneRole,
}

/// What has to be written down before the zones are served.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The counter afterwards.
    pub(crate) serial: u64,
    /// Every zone, with the serial to serve.
    pub(crate) states: Vec<ZoneState>,
    /// What changed; empty when nothing did.
    pub(crate) steps: Vec<Step>,
    /// What changed, for people.
    pub(crate) report: ReloadReport,
    /// Whether nodes that fitted before may not fit now.
    pub(crate) recheck: bool,
}

impl Plan {
    /// The serial to serve for `apex`.
    pub(crate) fn serial_of(&self, apex: &DomainName) -> Option<Serial> {
        self.states.iter().find(|state| state.apex == *apex).map(|state| soa_serial(state.serial))
    }
}

/// What a SOA carries of a serial.
#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is wanted")]
pub(crate) const fn soa_serial(serial: u64) -> Serial {
    Serial::new(serial as u32)
}

/// The zones that differ between two versions with the same zones, and their serials of 64 bits; `last` is the last
/// one taken.
pub(crate) fn touched(before: &Zones, after: &Zones, last: u64) -> Vec<(DomainName, u64)> {
    let pairs = before.iter().zip(after.iter()).filter(|(before, after)| before.serial() != after.serial());
    pairs.map(|(_, after)| (after.apex().clone(), whole(after.serial(), last))).collect()
}

/// A SOA's serial in 64 bits: it has the low 32 bits of a serial at, or not far below, the last one.
pub(crate) fn whole(soa: Serial, last: u64) -> u64 {
    last - u64::from(soa_serial(last).value().wrapping_sub(soa.value()))
}

/// The facts of `statics` under `settings`.
pub(crate) fn offers(settings: &Settings, statics: &[StaticZone]) -> Vec<Offer> {
    let role = |apex: &DomainName| {
        if settings.peers_zone.as_ref() == Some(apex) {
            ZoneRole::Peers
        } else if settings.policy_zone.as_ref() == Some(apex) {
            ZoneRole::Policy
        } else if settings.number_zone.as_ref() == Some(apex) {
            ZoneRole::Numbers
        } else {
            ZoneRole::Own
        }
    };
    statics
        .iter()
        .map(|zone| Offer {
            apex: zone.apex().clone(),
            // What nodes make is part of every zone: a program that makes other records of them serves other zones.
            digest: zone.digest().wrapping_add(RECORDS_VERSION),
            file_serial: zone.file_serial(),
            role: role(zone.apex()),
        })
        .collect()
}

/// Compares what was served with what is offered.
///
/// `last` is the last serial taken, `None` at the very first start. All zones that change take one serial, the next;
/// it lies above the file serials of zones that are new or changed, if secondaries can take the step, because they may
/// know those serials from the server before us.
pub(crate) fn plan(last: Option<u64>, known: &[ZoneState], offers: &[Offer], has_nodes: bool) -> Plan {
    let before: HashMap<&DomainName, &ZoneState> = known.iter().map(|state| (&state.apex, state)).collect();
    let mut report = ReloadReport { changed: Vec::new(), added: Vec::new(), removed: Vec::new() };
    for offer in offers {
        match before.get(&offer.apex) {
            None => report.added.push(offer.apex.clone()),
            Some(state) if state.digest != offer.digest || state.role != offer.role => {
                report.changed.push(offer.apex.clone());
            }
            Some(_) => {}
        }
    }
    for state in known {
        if offers.iter().all(|offer| offer.apex != state.apex) {
            report.removed.push(state.apex.clone());
        }
    }
    report.changed.sort();
    report.added.sort();
    report.removed.sort();

    let mut touched: Vec<&DomainName> = report.changed.iter().chain(&report.added).collect();
    if has_nodes {
        touched.extend(moved_nodes(offers, &report));
    }
    let recheck = !(report.changed.is_empty() && report.added.is_empty() && report.removed.is_empty());
    let next = match last {
        None => offers.iter().map(|offer| u64::from(offer.file_serial)).max().unwrap_or(0).max(1),
        Some(last) => above_files(last + 1, known, offers, &touched),
    };
    let lags =
        |state: &&ZoneState| next.saturating_sub(state.serial) > MAX_LAG && !report.removed.contains(&state.apex);
    touched.extend(known.iter().filter(lags).map(|state| &state.apex));

    let mut steps = Vec::new();
    let mut states = Vec::with_capacity(offers.len());
    for offer in offers {
        let kept = before.get(&offer.apex).filter(|_| !touched.contains(&&offer.apex));
        let serial = kept.map_or(next, |state| state.serial);
        let state = ZoneState { apex: offer.apex.clone(), digest: offer.digest, role: offer.role, serial };
        if kept.is_none() {
            steps.push(Step { serial: next, by: None, act: Act::ServeZone(state.clone()), zones: Vec::new() });
        }
        states.push(state);
    }
    for apex in &report.removed {
        steps.push(Step { serial: next, by: None, act: Act::DropZone(apex.clone()), zones: Vec::new() });
    }
    let serial = if steps.is_empty() { last.unwrap_or(next) } else { next };
    Plan { serial, states, steps, report, recheck }
}

/// Zones whose master files stayed as they are, but whose nodes' records may not: a zone that comes takes nodes' names
/// from the zone around it, one that goes leaves them to it, and the peers and policy zones hold other records of
/// foreign nodes.
fn moved_nodes<'a>(offers: &'a [Offer], report: &ReloadReport) -> Vec<&'a DomainName> {
    let mut moved = Vec::new();
    for apex in report.added.iter().chain(&report.removed) {
        let around = offers.iter().filter(|offer| apex.is_below(&offer.apex));
        moved.extend(around.max_by_key(|offer| offer.apex.label_count()).map(|offer| &offer.apex));
    }
    // Roles are digested here too: a zone that begins or ends to be generated changes what nodes may be in it.
    if !(report.added.is_empty() && report.removed.is_empty() && report.changed.is_empty()) {
        let shows_foreign = |offer: &&Offer| matches!(offer.role, ZoneRole::Peers | ZoneRole::Policy);
        moved.extend(offers.iter().filter(shows_foreign).map(|offer| &offer.apex));
    }
    moved
}

/// `next`, or the first serial above it that is newer than the file serials of the zones touched.
fn above_files(next: u64, known: &[ZoneState], offers: &[Offer], touched: &[&DomainName]) -> u64 {
    let mut serial = next;
    for offer in offers.iter().filter(|offer| touched.contains(&&offer.apex)) {
        let ahead = u64::from(offer.file_serial.wrapping_sub(soa_serial(serial).value()));
        // The file's serial is older, or 2^31 away, which RFC 1982 3.2 leaves undefined.
        if ahead > MAX_STEP {
            continue;
        }
        let jump = serial + ahead + 1;
        if known.iter().all(|state| jump.saturating_sub(state.serial) <= MAX_STEP) {
            serial = jump;
        } else {
            tracing::warn!(
                zone = %offer.apex, file_serial = offer.file_serial, rule = "RFC 1982 3.1",
                "the serial of this master file is too far ahead of the zones served: secondaries that know it will \
                 not take this zone's next versions; set them up anew"
            );
        }
    }
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn offer(apex: &str, digest: u64, file_serial: u32) -> Offer {
        let role = if apex.starts_with("peers.") { ZoneRole::Peers } else { ZoneRole::Own };
        Offer { apex: name(apex), digest, file_serial, role }
    }

    fn serials(plan: &Plan) -> Vec<(String, u64)> {
        plan.states.iter().map(|state| (state.apex.to_string(), state.serial)).collect()
    }

    fn shown(names: &[DomainName]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dns_70_first_start_begins_at_the_files() {
        for (id, files, begin) in
            [("no zone", vec![], 1), ("serial 0", vec![0], 1), ("several", vec![7, 2_026_010_100], 2_026_010_100)]
        {
            let offers: Vec<_> =
                files.iter().enumerate().map(|(i, serial)| offer(&format!("z{i}.test"), 1, *serial)).collect();
            let plan = plan(None, &[], &offers, false);
            assert_eq!((plan.serial, plan.steps.len()), (begin, offers.len()), "{id}");
            assert!(plan.states.iter().all(|state| state.serial == begin), "{id}");
        }
    }

    #[test]
    fn unchanged_zones_keep_their_serials() {
        let first = plan(None, &[], &[offer("a.test", 1, 5), offer("b.test", 1, 5)], false);
        let again = plan(Some(9), &first.states, &[offer("a.test", 1, 5), offer("b.test", 1, 5)], true);
        assert!(again.steps.is_empty() && !again.recheck);
        assert_eq!((again.serial, serials(&again)), (9, vec![("a.test".into(), 5), ("b.test".into(), 5)]));

        let changed = plan(Some(9), &first.states, &[offer("a.test", 2, 5), offer("b.test", 1, 5)], true);
        assert_eq!((changed.serial, serials(&changed)), (10, vec![("a.test".into(), 10), ("b.test".into(), 5)]));
        assert!(changed.recheck && shown(&changed.report.changed) == ["a.test"]);
        assert_eq!(changed.steps.len(), 1);
    }

    #[test]
    fn dns_70_a_zone_that_joins_later_is_above_its_file() {
        let known = plan(None, &[], &[offer("a.test", 1, 5)], false).states;
        let joined = plan(Some(8), &known, &[offer("a.test", 1, 5), offer("b.test", 1, 2_026_010_100)], false);
        assert_eq!(joined.serial, 2_026_010_101);
        // a.test would be left too far behind for later steps, so it goes along.
        assert_eq!(serials(&joined), [("a.test".into(), 2_026_010_101), ("b.test".into(), 2_026_010_101)]);

        let older = plan(Some(2_026_010_101), &joined.states, &[offer("a.test", 2, 7), offer("b.test", 1, 1)], false);
        assert_eq!(older.serial, 2_026_010_102, "a file serial behind us changes nothing");
        // The counter's high half counts on when the low one wraps.
        let wrapped = plan(Some((1 << 32) + 3), &[], &[offer("c.test", 1, 10)], false);
        assert_eq!(wrapped.serial, (1 << 32) + 11);
    }

    #[test]
    fn dns_70_no_step_is_longer_than_secondaries_take() {
        let known = [ZoneState { apex: name("a.test"), digest: 1, role: ZoneRole::Own, serial: 10 }];
        let far = plan(Some(100), &known, &[offer("a.test", 1, 1), offer("b.test", 1, 0x8000_0020)], false);
        assert_eq!(far.serial, 101, "2^31 + 22 behind for a.test: no jump");
        let lagging = plan(Some(10 + MAX_LAG + 1), &known, &[offer("a.test", 1, 1)], false);
        assert_eq!(serials(&lagging), [("a.test".into(), 10 + MAX_LAG + 2)]);
        assert!(lagging.report.changed.is_empty() && !lagging.recheck);
    }

    #[test]
    fn zones_that_come_and_go_touch_those_around_them() {
        let all = [offer("ostel.me", 1, 1), offer("peers.test", 1, 1), offer("x.test", 1, 1)];
        let known = plan(None, &[], &all, false).states;
        let mut more = all.to_vec();
        more.push(offer("sub.ostel.me", 1, 1));
        let added = plan(Some(5), &known, &more, true);
        let expected = [("ostel.me", 6), ("peers.test", 6), ("x.test", 1), ("sub.ostel.me", 6)];
        assert_eq!(serials(&added), expected.map(|(apex, serial)| (apex.to_owned(), serial)));
        assert_eq!((shown(&added.report.added), added.report.changed.len()), (vec!["sub.ostel.me".into()], 0));

        let gone = plan(Some(6), &added.states, &all, true);
        assert_eq!(serials(&gone), [("ostel.me".into(), 7), ("peers.test".into(), 7), ("x.test".into(), 1)]);
        assert_eq!(shown(&gone.report.removed), ["sub.ostel.me"]);
        assert!(
            gone.steps.iter().any(|step| matches!(&step.act, Act::DropZone(apex) if *apex == name("sub.ostel.me")))
        );
        // Back again it never takes a serial that it had.
        assert_eq!(plan(Some(7), &gone.states, &more, true).states[3].serial, 8);
    }
}
