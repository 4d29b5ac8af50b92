//! Whether DNS has what the directory has of a domain.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use serde_json::{Value, json};
use tandem_model::DomainName;
use tandem_model::locate::{Data, Failure, Kind, Question, Reply};
use tandem_model::publish::SIPS_TCP;
use tandem_resolver::Resolver;
use tokio::time::timeout_at;

use super::owner::Own;
use super::registration::Expected;
use crate::diagnose::{Fault, Mark, Page, answer};

/// Most RRsets that are compared; a node with many numbers has more.
const MAX_COMPARED: usize = 64;

/// One RRset that the directory has, and what DNS has at its name.
#[derive(Debug)]
pub(super) struct Difference {
    owner: DomainName,
    kind: Kind,
    expected: BTreeSet<String>,
    /// `None`: nobody knows.
    found: Option<BTreeSet<String>>,
}

/// Asks for each RRset that the directory has; wildcards of number blocks have no one name to ask for.
pub(super) async fn compare(resolver: &Resolver, expected: &[Expected], until: Instant) -> Vec<Difference> {
    let mut sets: BTreeMap<(DomainName, Kind), BTreeSet<String>> = BTreeMap::new();
    for record in expected {
        let (Ok(owner), Some(kind)) = (DomainName::parse(&record.owner), kind(&record.r#type)) else { continue };
        sets.entry((owner, kind)).or_default().insert(record.data.to_ascii_lowercase());
    }
    let mut differences = Vec::new();
    for ((owner, kind), expected) in sets.into_iter().take(MAX_COMPARED) {
        let question = Question { name: owner.clone(), kind };
        let reply = timeout_at(until.into(), resolver.ask(&question)).await;
        let found = match reply.map_or(Reply::Failed(Failure::Timeout), |(reply, _)| reply) {
            Reply::Records(answer) => {
                let of_kind = answer.records.iter().filter(|found| found.data.kind() == Some(kind));
                Some(of_kind.map(|found| answer::data(&found.data).1.to_ascii_lowercase()).collect())
            }
            Reply::NoData { .. } | Reply::NxDomain { .. } => Some(BTreeSet::new()),
            Reply::Failed(_) => None,
        };
        differences.push(Difference { owner, kind, expected, found });
    }
    differences
}

fn kind(text: &str) -> Option<Kind> {
    [Kind::Naptr, Kind::Srv, Kind::A, Kind::Aaaa, Kind::Tlsa].into_iter().find(|kind| kind.to_string() == text)
}

impl Difference {
    fn state(&self) -> &'static str {
        match &self.found {
            None => "unknown",
            Some(found) if *found == self.expected => "same",
            Some(found) if found.is_empty() => "missing",
            Some(_) => "differs",
        }
    }

    pub(super) fn tell(&self, page: &Page) -> io::Result<()> {
        let (owner, kind) = (&self.owner, self.kind.to_string());
        let mark = match self.state() {
            "same" => Mark::Good,
            "unknown" => Mark::None,
            _ => Mark::Doubtful,
        };
        page.step(mark, &kind, &format!("{owner}: {}", self.word()))?;
        let Some(found) = self.found.as_ref().filter(|_| mark == Mark::Doubtful) else { return Ok(()) };
        let lines = |head: &str, only: Vec<&String>| {
            only.into_iter().try_for_each(|data| page.line(&format!("            {head} {data}")))
        };
        lines("the directory alone:", self.expected.difference(found).collect())?;
        lines("DNS alone:", found.difference(&self.expected).collect())
    }

    fn word(&self) -> &'static str {
        match self.state() {
            "same" => "DNS has the same",
            "missing" => "DNS has nothing",
            "differs" => "DNS has something else",
            _ => "DNS gave no answer",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"owner": self.owner.to_string(), "type": self.kind.to_string(), "state": self.state(),
               "expected": self.expected, "found": self.found})
    }
}

/// Says what is wrong, and which lines are missing in the owner's zone.
pub(super) fn judge(
    domain: &DomainName,
    own: &Own,
    expected: &[Expected],
    differences: &[Difference],
    faults: &mut Vec<Fault>,
    paste: &mut Vec<String>,
) {
    for difference in differences.iter().filter(|difference| matches!(difference.state(), "missing" | "differs")) {
        let (owner, kind) = (&difference.owner, difference.kind);
        let text = format!("{kind} {owner}: {}, not what the directory has", difference.word());
        let mend = format!(
            "Wait for the TTL to end; then compare `dig {owner} {kind}` at the zone's own servers with the directory: a \
             secondary may be behind, or the zone not be delegated to it."
        );
        let grave = owner.is_at_or_below(domain);
        faults.push(Fault { grave, ..Fault::grave("drift", "PUB-4", text, mend) });
    }
    let Ok(service) = domain.prefixed(&SIPS_TCP) else { return };
    let is_own = expected.iter().any(|record| record.owner == service.to_string());
    if expected.is_empty() || is_own {
        return;
    }
    // A foreign domain: one CNAME in its own zone leads to the directory (docs/guides/foreign-domains.md).
    let below = format!("{service}.");
    let Some(there) = expected.iter().find(|record| record.r#type == "SRV" && record.owner.starts_with(&below)) else {
        return;
    };
    let leads =
        own.at_service.iter().any(|found| matches!(&found.data, Data::Cname(name) if name.to_string() == there.owner));
    let wanted: BTreeSet<String> = expected
        .iter()
        .filter(|record| record.owner == there.owner)
        .map(|record| record.data.to_ascii_lowercase())
        .collect();
    let found: BTreeSet<String> = own
        .at_service
        .iter()
        .filter(|found| matches!(found.data, Data::Srv(_)))
        .map(|found| answer::data(&found.data).1.to_ascii_lowercase())
        .collect();
    if leads || (!found.is_empty() && found == wanted) {
        return;
    }
    let line = format!("{service}. {} IN CNAME {}.", there.ttl, there.owner);
    let text = if found.is_empty() {
        format!("{service} leads nowhere: only members that use the directory's suffix or zone find {domain}")
    } else {
        format!("{service} has SRV records of its own that are not the directory's")
    };
    let mend = format!("Put this one record in the place of what is there: `{line}`.");
    faults.push(Fault { grave: !found.is_empty(), ..Fault::grave("foreign-domain", "QUIRK-04", text, mend) });
    paste.push(line);
}
