//! `tandem check`: the owner's side of a domain: its records, its servers, and what to put into its zone.

mod drift;
mod owner;
mod registration;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use clap::Parser;
use serde_json::json;
use tandem_agent::node_key;
use tandem_model::locate::NextHop;
use tandem_model::{Called, DomainName};
use tandem_resolver::{Asked, Numbers};

use self::drift::Difference;
use self::owner::Own;
use self::registration::Registration;
use super::client::Wallet;
use super::explain::{Access, Looking};
use super::resolve::Asking;
use super::{Failure, Told, output};
use crate::diagnose::{Fault, Look, Mark, Page, answer, look, text};

/// Check your own domain: its records against the directory's, its servers' certificates, and what to put into its zone
///
/// Asks DNS for everything that SIP servers look for, and for what makes some of them call in clear; compares it with
/// what the directory has of the domain, if it can be asked; connects to each address as `explain` does. Prints the
/// records that are missing, ready to paste.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem check debug.ostn.test
  tandem check example.org --api https://directory.example
  tandem check example.org --api https://192.0.2.1:5380 --api-ca api.crt
  tandem check example.org --server 192.0.2.53 --no-connect
  tandem check example.org --json | jq -r '.paste[]'

Exit status: 0 if calls get through and nothing is missing, 1 if not, 2 usage.")]
pub(super) struct Check {
    /// The domain
    #[arg(value_name = "DOMAIN", value_parser = DomainName::parse)]
    domain: DomainName,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    looking: Looking,
    /// URL of the directory's API [default: the service running with --data-dir, or where `tandem join` got a token]
    #[arg(long, value_name = "URL", env = "TANDEM_API")]
    api: Option<String>,
    #[command(flatten)]
    access: Access,
    /// The node's key, for the record that proves the domain [default: DOMAIN.key where `tandem join` keeps tokens]
    #[arg(long, value_name = "FILE", env = "TANDEM_NODE_KEY")]
    node_key: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
#[derive(Debug)]
struct Report {
    domain: DomainName,
    registration: Registration,
    asked: Vec<Asked>,
    differences: Vec<Difference>,
    looks: Vec<Look>,
    looked: bool,
    faults: Vec<Fault>,
    /// Lines for the domain's zone.
    paste: Vec<String>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let until = self.looking.until();
        let api = self.access.args(self.api.clone(), self.asking.here());
        let registration = registration::read(api, &self.domain, until);
        let proof = self.proof_record()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(self.check(registration, proof, until))?;
        runtime.shutdown_background();
        if self.json {
            let mut value = report.to_json();
            text::plain_json(&mut value);
            output::json(&value)?;
        } else {
            report.tell()?;
        }
        if report.is_well() { Ok(()) } else { Err(Told.into()) }
    }

    /// The TXT record that names the node's key, if there is a key.
    fn proof_record(&self) -> Result<Option<String>, Failure> {
        let file = match &self.node_key {
            Some(file) => file.clone(),
            None => Wallet::open()?.key_file(&self.domain.to_string()),
        };
        let key = node_key::load(&file)?;
        let (label, prefix) = (tandem_probe::dns::LABEL, tandem_probe::dns::VALUE_PREFIX);
        Ok(key.map(|key| format!("{label}.{}. 3600 IN TXT \"{prefix}{}\"", self.domain, key.public_key().thumbprint())))
    }

    async fn check(
        &self,
        registration: Registration,
        proof: Option<String>,
        until: std::time::Instant,
    ) -> Result<Report, Failure> {
        let (resolver, trace) = self.looking.resolver(&self.asking, Numbers::default())?;
        let connector = self.looking.connector(resolver.clone(), None)?;
        let called = Called::parse(&self.domain.to_string())?;
        let resolved = resolver.resolve(&called).await;
        let resolution = &resolved.resolution;
        let own = Own::look_up(&resolver, &self.domain, until).await;
        let mut faults: Vec<Fault> = resolution.outcome.error().map(Fault::of_search).into_iter().collect();
        own.judge(&mut faults);
        let expected = registration.records();
        let differences = drift::compare(&resolver, expected, until).await;
        let mut paste = Vec::new();
        drift::judge(&self.domain, &own, expected, &differences, &mut faults, &mut paste);
        let hops: Vec<NextHop> = resolution.next_hops().to_vec();
        let looked = self.looking.connects();
        let looks = if looked { look::at_all(&connector, &hops, until).await } else { Vec::new() };
        if expected.is_empty() {
            own.missing(&mut paste);
        }
        // Who has a key has named it in the zone, or has to.
        paste.extend(proof.filter(|_| registration.is_foreign(&self.domain)));
        Looking::settle(&resolver, &trace, until).await;
        let asked = trace.asked();
        Ok(Report { domain: self.domain.clone(), registration, asked, differences, looks, looked, faults, paste })
    }
}

impl Report {
    fn faults(&self) -> Vec<&Fault> {
        let mut seen = BTreeSet::new();
        let all = self.faults.iter().chain(self.looks.iter().flat_map(|look| &look.faults));
        all.filter(|fault| seen.insert((fault.code, fault.text.as_str()))).collect()
    }

    fn is_well(&self) -> bool {
        let reached = !self.looked || self.looks.iter().any(Look::takes_calls);
        reached && !self.faults().iter().any(|fault| fault.grave)
    }

    fn summary(&self) -> String {
        let (grave, doubts): (Vec<&Fault>, Vec<&Fault>) = self.faults().into_iter().partition(|fault| fault.grave);
        let domain = &self.domain;
        match (self.is_well(), grave.len(), doubts.len()) {
            (true, _, 0) => format!("{domain} is as it should be"),
            (true, _, doubts) => format!("{domain} can be called; to look at: {doubts}"),
            (false, 0, _) => format!("{domain}: no server could be reached from here"),
            (false, grave, _) => format!("{domain} is not as it should be; to mend: {grave}"),
        }
    }

    fn tell(&self) -> io::Result<()> {
        let page = Page::new();
        page.line(&self.domain.to_string())?;
        page.line(&format!("  {}", self.registration))?;
        page.heading("DNS")?;
        for asked in &self.asked {
            answer::tell(asked, &page)?;
        }
        if !self.differences.is_empty() {
            page.heading("What the directory has")?;
        }
        for difference in &self.differences {
            difference.tell(&page)?;
        }
        if !self.looks.is_empty() {
            page.heading("Who answers there, in the order of trying")?;
        }
        for look in &self.looks {
            look.tell(&page)?;
        }
        let faults = self.faults();
        if !faults.is_empty() {
            page.heading("What to mend")?;
        }
        for fault in faults {
            let mark = if fault.grave { Mark::Bad } else { Mark::Doubtful };
            page.step(mark, fault.rule, &fault.text)?;
            page.line(&format!("                      {}", fault.mend))?;
        }
        if !self.paste.is_empty() {
            page.heading("Records to paste")?;
        }
        self.paste.iter().try_for_each(|line| page.line(line))?;
        page.verdict(if self.is_well() { Mark::Good } else { Mark::Bad }, &self.summary())
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "domain": self.domain.to_string(),
            "ok": self.is_well(),
            "summary": self.summary(),
            "registration": self.registration.to_json(),
            "questions": self.asked.iter().map(answer::to_json).collect::<Vec<_>>(),
            "records": self.differences.iter().map(Difference::to_json).collect::<Vec<_>>(),
            "addresses": self.looks.iter().map(Look::to_json).collect::<Vec<_>>(),
            "faults": self.faults().into_iter().map(Fault::to_json).collect::<Vec<_>>(),
            "paste": self.paste,
        })
    }
}
