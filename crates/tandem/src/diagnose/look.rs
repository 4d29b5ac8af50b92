//! One address of a domain, looked at from here: TCP, TLS, certificate, TLSA, SIP OPTIONS; and what is wrong with it.

mod fault;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tandem_model::DomainName;
use tandem_model::locate::NextHop;
use tandem_probe::sip::Life;
use tandem_probe::{Leaf, Portrait};
use tandem_resolver::{Connector, Examination, Proof, TlsaLook, VerifiedBy};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::{milliseconds, status, tlsa_text};
use super::fault::Fault;
use super::text::{Mark, Page};

/// Most addresses that are looked at; what is behind them no caller tries in time.
pub(crate) const MAX_LOOKS: usize = 16;
/// Addresses that are looked at at the same time.
const AT_ONCE: usize = 8;
/// With less time than this left, silence says nothing of a server.
const HURRY: Duration = Duration::from_millis(500);
/// Most TLSA records of one address that are shown.
const MAX_TLSA: usize = 8;
/// What we call ourselves in SIP; nobody can be reached there (RFC 6761 6.4).
const FROM: &str = "tandem.invalid";
const DAY: i64 = 86_400;

/// What was seen at one address.
#[derive(Debug)]
pub(crate) struct Look {
    hop: NextHop,
    seen: Examination,
    leaf: Option<Leaf>,
    portrait: Option<Portrait>,
    /// There was hardly any time left for it.
    hurried: bool,
    /// Since 1970, in seconds.
    now: i64,
    /// What is wrong, the gravest first.
    pub(crate) faults: Vec<Fault>,
    /// This machine cannot get there at all, as one without IPv6: that says nothing of the server.
    pub(crate) no_route: bool,
}

/// Looks at the first [`MAX_LOOKS`] of these, in order, until `until` at most.
pub(crate) async fn at_all(connector: &Connector, hops: &[NextHop], until: Instant) -> Vec<Look> {
    let from = DomainName::parse(FROM).ok();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut looking = JoinSet::new();
    for (index, hop) in hops.iter().take(MAX_LOOKS).cloned().enumerate() {
        let (connector, slots, from) = (connector.clone(), Arc::clone(&slots), from.clone());
        looking.spawn(async move {
            // Never closed; without a slot there would be no limit, and no harm.
            let _slot = slots.acquire().await;
            let hurried = until.saturating_duration_since(Instant::now()) < HURRY;
            let seen = connector.examine(&hop, from.as_ref(), until).await;
            (index, Look::new(hop, seen, hurried, now()))
        });
    }
    let mut looks = Vec::new();
    while let Some(result) = looking.join_next().await {
        looks.extend(result);
    }
    looks.sort_by_key(|(index, _)| *index);
    looks.into_iter().map(|(_, look)| look).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A moment as a day: `2026-11-23`.
fn day(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(|_| "?".to_owned(), |moment| moment.date().to_string())
}

impl Look {
    fn new(hop: NextHop, seen: Examination, hurried: bool, now: i64) -> Self {
        let end = seen.session.as_ref().and_then(|session| session.chain.first());
        let leaf = end.and_then(|end| Leaf::read(end).ok());
        let portrait = end.and_then(|end| Portrait::read(end).ok());
        let mut look = Self { hop, seen, leaf, portrait, hurried, now, faults: Vec::new(), no_route: false };
        look.judge();
        look
    }

    /// Whether a call that comes here is taken.
    pub(crate) fn takes_calls(&self) -> bool {
        self.seen.verdict.is_ok() && !self.faults.iter().any(|fault| fault.grave)
    }

    fn days_left(&self) -> Option<i64> {
        self.leaf.as_ref().map(|leaf| (leaf.not_after - self.now).div_euclid(DAY))
    }

    /// `203.0.113.7:5061 (sip.debug.ostn.test)`.
    pub(crate) fn place(&self) -> String {
        match &self.hop.srv_target {
            Some(target) => format!("{} ({target})", self.hop.address),
            None => self.hop.address.to_string(),
        }
    }

    /// Shows every step.
    pub(crate) fn tell(&self, page: &Page) -> io::Result<()> {
        let rank = self.hop.rank.map(|rank| format!(", priority {} weight {}", rank.priority, rank.weight));
        page.line(&format!("  {}{}", self.place(), rank.unwrap_or_default()))?;
        let fault = self.faults.first();
        let first_fault = || fault.map(|fault| format!("{} ({})", fault.text, fault.rule)).unwrap_or_default();
        let bad = if self.no_route { Mark::None } else { Mark::Bad };
        let Some(connected) = self.seen.connected else {
            return page.step(bad, "connect", &first_fault());
        };
        page.step(Mark::Good, "connect", &format!("TCP in {} ms", milliseconds(connected)))?;
        let Some(session) = &self.seen.session else {
            return page.step(bad, "TLS", &first_fault());
        };
        let asked_for = self.seen.server_name.as_ref().map(|name| format!(", asked for {name}")).unwrap_or_default();
        let text = format!("{}, {}, in {} ms{asked_for}", session.version, session.suite, milliseconds(session.took));
        page.step(Mark::Good, "TLS", &text)?;
        self.tell_certificate(page)?;
        if let Some(tlsa) = &self.seen.tlsa {
            self.tell_tlsa(tlsa, page)?;
        }
        match &self.seen.verdict {
            Ok(by) => page.step(Mark::Good, "identity", by_text(*by))?,
            Err(_) => page.step(bad, "identity", &first_fault())?,
        }
        match &self.seen.options {
            None => Ok(()),
            Some(Ok(Life::Alive { code })) => page.step(Mark::Good, "OPTIONS", &format!("answered with {code}")),
            Some(_) => page.step(bad, "OPTIONS", &first_fault()),
        }
    }

    fn tell_certificate(&self, page: &Page) -> io::Result<()> {
        if let Some(proof) = &self.seen.proof {
            page.step(Mark::None, "must be", &proof_text(proof))?;
        }
        let (Some(leaf), Some(portrait)) = (&self.leaf, &self.portrait) else { return Ok(()) };
        let left = self.days_left().unwrap_or_default();
        let lasts = match left {
            ..0 => format!("ended {}", day(leaf.not_after)),
            _ => format!("until {} ({left} days)", day(leaf.not_after)),
        };
        let mut entries = portrait.entries.join(", ");
        if portrait.entry_count > portrait.entries.len() {
            entries.push_str(&format!(" and {} more", portrait.entry_count - portrait.entries.len()));
        }
        let entries = if entries.is_empty() { "no subjectAltName".to_owned() } else { entries };
        page.step(Mark::None, "certificate", &entries)?;
        page.step(Mark::None, "", &format!("by \"{}\", from {} {lasts}", portrait.issuer, day(leaf.not_before)))
    }

    fn tell_tlsa(&self, tlsa: &TlsaLook, page: &Page) -> io::Result<()> {
        let counts = if tlsa.dnssec.is_secure() { "counts" } else { "does not count (CERT-43)" };
        for (record, usable, fits) in tlsa.records.iter().take(MAX_TLSA) {
            let (mark, word) = match (usable, fits) {
                (false, _) => (Mark::Doubtful, "cannot be used"),
                (true, true) => (Mark::Good, "fits"),
                (true, false) => (Mark::Doubtful, "does not fit"),
            };
            // CERT-56: whose it is says itself, unless the target is an alias.
            let at = if self.hop.srv_target.as_ref() == Some(&tlsa.host) {
                String::new()
            } else {
                format!(" at {}", tlsa.host)
            };
            let text = format!("{}{at} {word}; DNSSEC {}: it {counts}", tlsa_text(record), status(tlsa.dnssec));
            page.step(mark, "TLSA", &text)?;
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Value {
        let hop = &self.hop;
        let result = match self.faults.first() {
            Some(fault) if !self.takes_calls() => fault.code,
            Some(_) | None => "ok",
        };
        let session = self.seen.session.as_ref().map(|session| {
            json!({"version": session.version, "suite": session.suite, "milliseconds": milliseconds(session.took),
                   "certificates": session.chain.len()})
        });
        let certificate = self.leaf.as_ref().zip(self.portrait.as_ref()).map(|(leaf, portrait)| {
            json!({"names": portrait.entries, "name_count": portrait.entry_count, "identities":
                   leaf.identities.iter().take(tandem_probe::MAX_ENTRIES).collect::<Vec<_>>(),
                   "subject": portrait.subject, "issuer": portrait.issuer, "not_before": day(leaf.not_before),
                   "not_after": day(leaf.not_after), "days_left": self.days_left(), "sha256": hex(&leaf.spki_sha256)})
        });
        let tlsa = self.seen.tlsa.as_ref().map(|tlsa| {
            let record = |(record, usable, fits): &(_, bool, bool)| {
                json!({"data": tlsa_text(record), "usable": usable, "fits": fits})
            };
            json!({"dnssec": tlsa.dnssec.to_string(), "failure": tlsa.failure.map(|failure| failure.to_string()),
                   "records": tlsa.records.iter().take(MAX_TLSA).map(record).collect::<Vec<_>>()})
        });
        let options = self.seen.options.as_ref().map(|options| match options {
            Ok(Life::Alive { code }) => json!({"status": code}),
            Ok(Life::Busy { retry_after }) => json!({"status": 503, "retry_after": retry_after}),
            Err(error) => json!({"error": error.to_string()}),
        });
        json!({
            "address": hop.address.ip().to_string(),
            "port": hop.address.port(),
            "family": if hop.address.is_ipv4() { "ipv4" } else { "ipv6" },
            "target": hop.srv_target.as_ref().map(ToString::to_string),
            "priority": hop.rank.map(|rank| rank.priority),
            "weight": hop.rank.map(|rank| rank.weight),
            "result": result,
            "connect_milliseconds": self.seen.connected.map(milliseconds),
            "server_name": self.seen.server_name.as_ref().map(ToString::to_string),
            "must_be": self.seen.proof.as_ref().map(proof_json),
            "tls": session,
            "certificate": certificate,
            "tlsa": tlsa,
            "verified_by": self.seen.verdict.as_ref().ok().map(|by| by_word(*by)),
            "options": options,
            "faults": self.faults.iter().map(Fault::to_json).collect::<Vec<_>>(),
        })
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Which name the server has to have, and why that.
fn proof_text(proof: &Proof) -> String {
    match proof {
        Proof::Pins => {
            "the holder of a key in the member's document, which comes before TLSA and authorities (CERT-44, CERT-49)"
                .to_owned()
        }
        Proof::Dane(names) => format!(
            "the holder of a key in the TLSA records, which DNSSEC proves (CERT-44); with an authority's key also {}",
            either(names)
        ),
        Proof::Authorities(names) => {
            format!("{}: the domain that is called, not the SRV target (CERT-20, CERT-21)", either(names))
        }
    }
}

fn either(names: &[DomainName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn proof_json(proof: &Proof) -> Value {
    let (by, names, rule): (_, &[DomainName], _) = match proof {
        Proof::Pins => ("pins", &[], "CERT-49"),
        Proof::Dane(names) => ("dane", names, "CERT-44"),
        Proof::Authorities(names) => ("authorities", names, "CERT-20"),
    };
    json!({"by": by, "names": names.iter().map(ToString::to_string).collect::<Vec<_>>(), "rule": rule})
}

const fn by_word(by: VerifiedBy) -> &'static str {
    match by {
        VerifiedBy::PinnedKey => "pinned-key",
        VerifiedBy::PinnedAuthority => "pinned-authority",
        VerifiedBy::DaneKey => "dane-key",
        VerifiedBy::DaneAuthority => "dane-authority",
        VerifiedBy::Authority => "authority",
    }
}

const fn by_text(by: VerifiedBy) -> &'static str {
    match by {
        VerifiedBy::PinnedKey => "its own key, from the member's document; names and dates do not matter (CERT-49)",
        VerifiedBy::PinnedAuthority => "an authority from the member's document, and the name (CERT-50)",
        VerifiedBy::DaneKey => "its own key, from a TLSA record that DNSSEC proves (CERT-49)",
        VerifiedBy::DaneAuthority => "an authority from a TLSA record that DNSSEC proves, and the name (CERT-50)",
        VerifiedBy::Authority => "a trusted authority, and the name (CERT-1, CERT-20)",
    }
}

#[cfg(test)]
mod tests;
