//! What was found, for people and for programs.

use std::io;

use serde_json::{Value, json};
use tandem_model::Called;
use tandem_resolver::{Asked, Resolved};

use super::super::resolve::outcome_name;
use super::known::Known;
use crate::diagnose::{Fault, Look, Mark, Page, answer};

/// Everything that `tandem explain` found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) called: Called,
    pub(super) resolved: Resolved,
    /// What an agent or a directory knows of the domain.
    pub(super) known: Option<Known>,
    /// Whether that keeps calls from it.
    pub(super) is_blocked: bool,
    /// The questions, in order.
    pub(super) asked: Vec<Asked>,
    /// How many addresses there are.
    pub(super) hops: usize,
    /// The addresses that were looked at, in the order in which callers try them.
    pub(super) looks: Vec<Look>,
    /// Whether addresses were to be looked at.
    pub(super) looked: bool,
    /// What is wrong beyond single addresses.
    pub(super) faults: Vec<Fault>,
}

impl Report {
    /// Whether a call gets through; without a look at servers, whether there is one to try.
    pub(super) fn is_callable(&self) -> bool {
        let is_there =
            if self.looked { self.looks.iter().any(Look::takes_calls) } else { self.resolved.resolution.is_found() };
        is_there && !self.is_blocked
    }

    /// All that is wrong: what stands at the front, callers meet first.
    fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().chain(self.looks.iter().flat_map(|look| &look.faults))
    }

    /// A word for programs.
    fn verdict(&self) -> &'static str {
        match (self.is_callable(), self.looked) {
            (true, false) => "found",
            (false, _) => "not-callable",
            (true, true) if self.looks.iter().all(|look| look.takes_calls() || look.no_route) => "callable",
            (true, true) => "callable-in-part",
        }
    }

    /// The verdict in one line.
    pub(super) fn summary(&self) -> String {
        let called = &self.called;
        let well = self.looks.iter().filter(|look| look.takes_calls()).count();
        match self.verdict() {
            "found" => format!("{called} has a server in DNS; nobody was connected to"),
            "callable" => format!("{called} can be called"),
            "callable-in-part" => {
                format!("{called} can be called, but only {well} of {} addresses take calls", self.looks.len())
            }
            _ => match self.faults().find(|fault| fault.grave) {
                Some(fault) => format!("{called} cannot be called: {}", fault.text),
                None => format!("{called} cannot be called from here"),
            },
        }
    }

    pub(super) fn tell(&self) -> io::Result<()> {
        let page = Page::new();
        page.line(&self.called.to_string())?;
        if let (Some(number), Some(uri)) = (&self.resolved.number, &self.resolved.uri) {
            page.line(&format!("  the number {} is {uri} (ENUM-35)", number.number))?;
        }
        if let Some(known) = &self.known {
            page.line(&format!("  {known}"))?;
        }
        page.heading("DNS")?;
        for asked in &self.asked {
            answer::tell(asked, &page)?;
        }
        if self.asked.is_empty() {
            page.line("    nothing was asked")?;
        }
        page.heading("What follows from it")?;
        let resolution = &self.resolved.resolution;
        for reason in &*resolution.reasons {
            let dnssec = reason.dnssec.map(|dnssec| format!(", DNSSEC {}", answer::status(dnssec))).unwrap_or_default();
            page.line(&format!("    {:9} {}{dnssec}", reason.rule, reason.text))?;
        }
        if self.looked {
            self.tell_looks(&page)?;
        }
        let faults: Vec<&Fault> = self.faults().collect();
        if !faults.is_empty() {
            page.heading("What to mend")?;
        }
        for fault in faults {
            let mark = if fault.grave { Mark::Bad } else { Mark::Doubtful };
            page.step(mark, fault.rule, &fault.text)?;
            page.line(&format!("                      {}", fault.mend))?;
        }
        let mark = match self.verdict() {
            "callable" => Mark::Good,
            "not-callable" => Mark::Bad,
            _ => Mark::Doubtful,
        };
        page.verdict(mark, &self.summary())
    }

    fn tell_looks(&self, page: &Page) -> io::Result<()> {
        if self.hops == 0 {
            return Ok(());
        }
        page.heading("Who answers there, in the order of trying")?;
        if !self.resolved.resolution.is_found() {
            page.line("  as the member's document has it: DNS does not lead there")?;
        }
        for look in &self.looks {
            look.tell(page)?;
        }
        match self.hops.checked_sub(self.looks.len()) {
            Some(more @ 1..) => page.line(&format!("  {more} more addresses were not looked at")),
            Some(0) | None => Ok(()),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let resolution = &self.resolved.resolution;
        let steps = resolution.reasons.iter().map(|reason| {
            json!({"rule": reason.rule, "text": reason.text, "dnssec": reason.dnssec.map(|dnssec| dnssec.to_string())})
        });
        let number = self.resolved.number.as_ref().map(|number| {
            let passed =
                number.discarded.iter().map(|(name, why)| json!({"name": name.to_string(), "why": why.to_string()}));
            json!({"number": number.number.to_string(), "ttl": number.ttl, "dnssec": number.dnssec.to_string(),
                   "passed_over": passed.collect::<Vec<_>>()})
        });
        json!({
            "called": self.called.to_string(),
            "member": self.known.as_ref().map(Known::to_json),
            "verdict": self.verdict(),
            "callable": self.is_callable(),
            "summary": self.summary(),
            "number": number,
            "uri": self.resolved.uri.as_ref().map(ToString::to_string),
            "outcome": outcome_name(&resolution.outcome),
            "ttl": resolution.ttl,
            "dnssec": resolution.dnssec.to_string(),
            "questions": self.asked.iter().map(answer::to_json).collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
            "addresses": self.looks.iter().map(Look::to_json).collect::<Vec<_>>(),
            "faults": self.faults().map(Fault::to_json).collect::<Vec<_>>(),
        })
    }
}
