//! What is wrong with a zone as it is served: checks that need look-ups across zones, for people who run one.
//!
//! [`verify`] looks at every RRset of the zone once. Names outside the zones given are not judged: nobody is asked.

use std::collections::BTreeSet;
use std::fmt;

use tandem_model::DomainName;

use crate::lookup::Lookup;
use crate::name::QueryName;
use crate::print::Presented;
use crate::rrset::{RrType, Rrset};
use crate::zones::{Zone, Zones};

/// Octets of the longest answer that a client without EDNS takes (RFC 1035 4.2.1).
const PLAIN_UDP: usize = 512;
/// Octets of a header.
const HEADER: usize = 12;
/// Octets of a record before its data when the owner is a pointer (RFC 1035 4.1.3, 4.1.4).
const RECORD_HEAD: usize = 2 + 10;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Some clients will fail.
    Fault,
    /// It works, and is probably not meant so.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The owner and type of the records, as a master file writes them.
    pub at: String,
    /// What is wrong, and the rule.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fault => "fault",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}: {}", self.at, self.text)
    }
}

/// Checks `zone` as it is served among `zones`; faults first.
#[must_use]
pub fn verify(zones: &Zones, zone: &Zone) -> Vec<Finding> {
    let mut check = Check { zones, zone, findings: BTreeSet::new() };
    check.apex();
    let mut sets = Vec::new();
    zones.walk(zone, |owner, set| {
        sets.push((owner.to_vec(), set));
        true
    });
    for (owner, set) in sets {
        check.set(&owner, &set);
    }
    check.findings.into_iter().collect()
}

struct Check<'z> {
    zones: &'z Zones,
    zone: &'z Zone,
    findings: BTreeSet<Finding>,
}

impl<'z> Check<'z> {
    fn find(&mut self, severity: Severity, owner: &[u8], kind: RrType, text: String) {
        let at = format!("{} {}", Presented(owner), type_name(kind));
        self.findings.insert(Finding { severity, at, text });
    }

    /// RFC 1034 4.1: a zone wants two servers or more; its NS set is that of the delegation.
    fn apex(&mut self) {
        let apex = self.zone.apex();
        let name = QueryName::of(apex);
        let Lookup::Records(_, own) = self.zones.lookup(&name, RrType::NS) else { return };
        if own.len() < 2 {
            self.find(Severity::Warning, apex.as_wire(), RrType::NS, "only one name server: name two or more".into());
        }
        let Some(delegation) = self.delegation(&name) else { return };
        if names_of(&own) != names_of(&delegation) {
            let text = "the delegation in the zone above names other servers: make both sets equal".into();
            self.find(Severity::Warning, apex.as_wire(), RrType::NS, text);
        }
    }

    /// The NS set of a served zone above that delegates this one.
    fn delegation(&self, apex: &QueryName) -> Option<Rrset<'z>> {
        let (parent, _) = self.zones.zone_above(apex, 1)?;
        parent.statics().statics.get(apex, 0)?.set(RrType::NS)
    }

    fn set(&mut self, owner: &[u8], set: &Rrset<'z>) {
        let Some(name) = QueryName::parse(owner) else { return };
        let apex = self.zone.apex().as_wire().len();
        // Glue and what lies below a cut is somebody else's, but for the cut itself (DNS-29).
        let is_cut = set.kind() == RrType::NS && owner.len() > apex;
        if !is_cut && matches!(self.zones.lookup(&name, set.kind()), Lookup::Referral { .. }) {
            return;
        }
        self.size(owner, set);
        for data in set.rdatas() {
            let mut rdata = Vec::new();
            data.write(&mut rdata);
            let kind = set.kind();
            match kind {
                RrType::NS if is_cut => self.cut_server(owner, &rdata),
                RrType::NS => self.host(owner, kind, &rdata, set.ttl()),
                RrType::MX => self.host(owner, kind, rdata.get(2..).unwrap_or_default(), set.ttl()),
                RrType::SRV => self.host(owner, kind, rdata.get(6..).unwrap_or_default(), set.ttl()),
                RrType::NAPTR => self.naptr(owner, &rdata, set.ttl()),
                RrType::CNAME | RrType::DNAME => self.alias(owner, kind, &rdata),
                _ => {}
            }
        }
    }

    /// RFC 2782 "Target", RFC 2181 10.3, PUB-5: a target is no alias and has addresses.
    fn host(&mut self, owner: &[u8], kind: RrType, target: &[u8], ttl: u32) {
        let Some(name) = QueryName::parse(target).filter(|name| name.label_count() > 0) else {
            // RFC 2782, RFC 7505: a lone "." says that the service is not offered here.
            return;
        };
        let shown = Presented(target).to_string();
        let mut found = None;
        for family in [RrType::A, RrType::AAAA] {
            match self.zones.lookup(&name, family) {
                Lookup::NotOurs | Lookup::Referral { .. } => return,
                Lookup::Cname(..) | Lookup::Redirect { .. } => {
                    let text = format!("the target {shown} is an alias: name the host itself (DNS-11)");
                    return self.find(Severity::Fault, owner, kind, text);
                }
                Lookup::Records(_, set) => found = found.max(Some(set.ttl())),
                Lookup::NoData(_) | Lookup::NxDomain(_) => {}
            }
        }
        match found {
            None => self.find(Severity::Fault, owner, kind, format!("the target {shown} has no address")),
            Some(address_ttl) if kind == RrType::SRV && address_ttl < ttl => {
                let text = format!(
                    "kept for {ttl} s, but the addresses of {shown} for {address_ttl} s: a resolver asks again for a part \
                     of the chain"
                );
                self.find(Severity::Warning, owner, kind, text);
            }
            Some(_) => {}
        }
    }

    /// A name server of a delegation: below the cut it needs glue (RFC 9471 3.1), elsewhere in our zones an address.
    fn cut_server(&mut self, owner: &[u8], server: &[u8]) {
        if !ends_with_name(server, owner) {
            return self.host(owner, RrType::NS, server, 0);
        }
        let Some(name) = QueryName::parse(server) else { return };
        let glue = self.zone.statics().statics.get(&name, 0);
        let has = |kind| glue.is_some_and(|glue| glue.set(kind).is_some());
        if !has(RrType::A) && !has(RrType::AAAA) {
            let text = format!("{} lies below the delegation and has no glue", Presented(server));
            self.find(Severity::Fault, owner, RrType::NS, text);
        }
    }

    /// RFC 3403 4.1, PUB-4, PUB-9: the replacement of an "s" NAPTR has SRV records.
    fn naptr(&mut self, owner: &[u8], rdata: &[u8], ttl: u32) {
        let Some((flags, replacement)) = naptr_parts(rdata) else { return };
        let Some(name) = QueryName::parse(replacement) else { return };
        let shown = Presented(replacement).to_string();
        if flags.eq_ignore_ascii_case(b"a") {
            return self.host(owner, RrType::NAPTR, replacement, ttl);
        }
        if !flags.eq_ignore_ascii_case(b"s") {
            return;
        }
        match self.zones.lookup(&name, RrType::SRV) {
            Lookup::NotOurs | Lookup::Referral { .. } | Lookup::Redirect { .. } | Lookup::Cname(..) => {}
            Lookup::Records(_, set) if set.ttl() < ttl => {
                let text = format!("kept for {ttl} s, but the SRV records of {shown} for {} s", set.ttl());
                self.find(Severity::Warning, owner, RrType::NAPTR, text);
            }
            Lookup::Records(..) => {}
            Lookup::NoData(_) | Lookup::NxDomain(_) => {
                self.find(Severity::Fault, owner, RrType::NAPTR, format!("{shown} has no SRV record"));
            }
        }
    }

    fn alias(&mut self, owner: &[u8], kind: RrType, target: &[u8]) {
        let Some(name) = QueryName::parse(target) else { return };
        if matches!(self.zones.lookup(&name, RrType::CNAME), Lookup::NxDomain(_)) {
            let text = format!("leads to {}, which does not exist", Presented(target));
            self.find(Severity::Warning, owner, kind, text);
        }
    }

    /// Stacks without EDNS and without TCP get nothing of what is longer (FreeSWITCH: sofia-sip).
    fn size(&mut self, owner: &[u8], set: &Rrset<'z>) {
        let mut octets = HEADER + owner.len() + 4;
        for data in set.rdatas() {
            let mut rdata = Vec::new();
            data.write(&mut rdata);
            octets += RECORD_HEAD + rdata.len();
        }
        if octets > PLAIN_UDP {
            let text = format!(
                "the answer has {octets} octets: without EDNS ({PLAIN_UDP}) it is cut, and clients that never use TCP fail"
            );
            self.find(Severity::Warning, owner, set.kind(), text);
        }
    }
}

/// The names that an NS set points to, in lower case.
fn names_of(set: &Rrset<'_>) -> BTreeSet<Vec<u8>> {
    set.rdatas()
        .map(|data| {
            let mut rdata = Vec::new();
            data.write(&mut rdata);
            rdata.make_ascii_lowercase();
            rdata
        })
        .collect()
}

/// Flags and replacement of a NAPTR record's data (RFC 3403 4.1).
fn naptr_parts(rdata: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = rdata.get(4..)?;
    let mut flags = None;
    for _ in 0..3 {
        let (len, tail) = rest.split_first()?;
        let (text, tail) = tail.split_at_checked(usize::from(*len))?;
        flags = flags.or(Some(text));
        rest = tail;
    }
    Some((flags?, rest))
}

/// Whether the name `inner` is `outer` or below it.
fn ends_with_name(inner: &[u8], outer: &[u8]) -> bool {
    let mut rest = inner;
    loop {
        if rest.eq_ignore_ascii_case(outer) {
            return true;
        }
        match rest.split_first() {
            Some((len @ 1..=63, tail)) if tail.len() > usize::from(*len) => rest = &tail[usize::from(*len)..],
            _ => return false,
        }
    }
}

fn type_name(kind: RrType) -> String {
    domain::base::iana::Rtype::from_int(kind.0).to_string()
}

/// The zone at `apex` checked, or `None` if there is none.
#[must_use]
pub fn verify_at(zones: &Zones, apex: &DomainName) -> Option<Vec<Finding>> {
    zones.zone(apex).map(|zone| verify(zones, zone))
}

#[cfg(test)]
mod tests {
    use tandem_model::Serial;

    use super::*;
    use crate::master::StaticZone;
    use crate::zones::Settings;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let statics = files.iter().map(|(apex, text)| {
            let text = format!("$TTL 300\n@ SOA ns.a.test. h.a.test. 1 2 3 4 30\n{text}");
            let apex = apex.parse().unwrap();
            StaticZone::read(&apex, "z", text.as_bytes(), &mut |_| Err("no includes".into())).unwrap()
        });
        let zones = Zones::new(Settings::default(), statics.collect(), Serial::new(1)).unwrap();
        let apex = files[0].0.parse().unwrap();
        verify_at(&zones, &apex).unwrap().iter().map(ToString::to_string).collect()
    }

    const NS: &str = "@ NS ns\n@ NS ns2.other.invalid.\nns A 192.0.2.1\n";

    #[test]
    fn a_sound_zone_has_no_findings() {
        let sound = "d NAPTR 1 1 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.d\n_sips._tcp.d SRV 0 0 5061 sip.d\nsip.d A 192.0.2.9\n\
                     off SRV 0 0 0 .\nsub NS ns.sub\nns.sub A 192.0.2.3\nx.sub SRV 0 0 1 nowhere\nwww CNAME sip.d\n";
        assert_eq!(findings(&[("a.test", &format!("{NS}{sound}"))]), [""; 0]);
    }

    #[test]
    fn each_rule_finds_its_fault() {
        let long = (0..20).map(|n| format!("long TXT \"{n}{}\"\n", "x".repeat(30))).collect::<String>();
        for (id, text, wanted) in [
            (
                "PUB-5 no address",
                "s SRV 0 0 5061 nothing\n",
                "fault: s.a.test. SRV: the target nothing.a.test. has no address",
            ),
            (
                "DNS-11 alias",
                "s SRV 0 0 5061 w\nw CNAME ns\n",
                "fault: s.a.test. SRV: the target w.a.test. is an alias",
            ),
            ("DNS-11 MX alias", "s MX 5 w\nw CNAME ns\n", "fault: s.a.test. MX: the target w.a.test. is an alias"),
            (
                "PUB-9 no SRV",
                "d NAPTR 1 1 \"s\" \"SIPS+D2T\" \"\" nothing\n",
                "fault: d.a.test. NAPTR: nothing.a.test. has no SRV",
            ),
            ("DNS-27 glue", "sub NS ns.sub\n", "fault: sub.a.test. NS: ns.sub.a.test. lies below the delegation"),
            ("DNS-43 size", &long, "warning: long.a.test. TXT: the answer has"),
            ("alias to nothing", "w CNAME nothing\n", "warning: w.a.test. CNAME: leads to nothing.a.test."),
            ("DNAME to nothing", "w DNAME nothing\n", "warning: w.a.test. DNAME: leads to nothing.a.test."),
            ("TTL", "s 600 SRV 0 0 5061 ns\n", "warning: s.a.test. SRV: kept for 600 s"),
        ] {
            let found = findings(&[("a.test", &format!("{NS}{text}"))]);
            assert!(found.len() == 1 && found[0].starts_with(wanted), "{id}: {found:#?}");
        }
        let one = findings(&[("a.test", "@ NS ns\nns A 192.0.2.1\n")]);
        assert!(one.len() == 1 && one[0].contains("only one name server"), "{one:?}");
    }

    #[test]
    fn names_in_other_zones_of_ours_are_looked_up() {
        let other = ("b.test", "@ NS ns.a.test.\nhost A 192.0.2.7\n");
        for (target, faults) in [("host.b.test.", 0), ("gone.b.test.", 1), ("gone.c.test.", 0)] {
            let text = format!("{NS}s SRV 0 0 5061 {target}\n");
            assert_eq!(findings(&[("a.test", &text), other]).len(), faults, "{target}");
        }
    }

    #[test]
    fn a_delegation_agrees_with_the_zone_below() {
        let child = "@ NS ns.a.test.\n@ NS ns2.a.test.\n";
        for (parent, warnings) in [("b NS ns\nb NS ns2\n", 0), ("b NS ns\n", 1)] {
            let parent = format!("{NS}ns2 A 192.0.2.2\n{parent}");
            let found = findings(&[("b.a.test", child), ("a.test", &parent)]);
            assert_eq!(found.len(), warnings, "{found:?}");
        }
    }
}
