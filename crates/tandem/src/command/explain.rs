//! `tandem explain`: why a call to a SIP URI or a number works, or does not, and what to mend.

mod known;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tandem_model::lint::PLAIN_SERVICES;
use tandem_model::locate::{Data, Families, Found, Kind, Question, Reply};
use tandem_model::{Called, DomainName};
use tandem_resolver::{Connector, DnssecTrust, Numbers, Resolved, Resolver, Settings, Trace};

use tokio::time::timeout_at;

use self::known::{Known, Source};
use self::report::Report;
use super::agent::RunningAgent;
use super::client::ApiArgs;
use super::here::Here;
use super::resolve::Asking;
use super::{Failure, Told, output};
use crate::diagnose::{Fault, look, text};

/// Longest time for everything, unless it is set, in seconds.
const TIMEOUT: u64 = 20;
/// Longest time that can be set, in seconds.
const MAX_TIMEOUT: u64 = 120;
/// Most records of plain SIP that are named.
const MAX_PLAIN: usize = 4;

/// Show why a call to a SIP URI or a number works, or does not: every record, every address tried, and what to mend
///
/// Looks the domain up as `resolve` does, for both address families, then connects to each address: TCP, TLS, the
/// certificate's names and who must be named there, TLSA records, SIP OPTIONS. Works for any SIP domain, member or not.
/// Only who has proved to be the domain is spoken to in SIP.
///
/// With --agent it looks as the agent on this host does: by its name service, by the keys that members published, and it
/// says whom the agent holds back, and why.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem explain alice@debug.ostn.test
  tandem explain alice@debug.ostn.test --agent /etc/tandem/agent.toml
  tandem explain example.org --server 192.0.2.53 --ca federation-ca.pem
  tandem explain +44-20-7946-0148 --enum-suffix e164.ostn.test
  tandem explain debug.ostn.test --json | jq -r '.faults[].mend'

Exit status: 0 if a call gets through, 1 if not, 2 usage.")]
pub(super) struct Explain {
    /// alice@domain, domain, sip:…, sips:…, tel:+… or +number
    #[arg(value_name = "URI", value_parser = Called::parse)]
    called: Called,
    #[command(flatten)]
    asking: Asking,
    /// Look numbers up under this ENUM suffix; may be given several times, the first that has a usable URI counts
    #[arg(long = "enum-suffix", value_name = "DOMAIN", value_parser = DomainName::parse)]
    enum_suffixes: Vec<DomainName>,
    #[command(flatten)]
    looking: Looking,
    /// Settings file of the agent that runs on this host: ask its name service, use what it knows of members
    #[arg(long, value_name = "FILE", env = "TANDEM_AGENT_CONFIG")]
    agent: Option<PathBuf>,
    /// URL of a directory's API: use what it has of members, and no agent
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// How a command looks at servers.
#[derive(Debug, clap::Args)]
pub(super) struct Looking {
    /// Believe the name servers' word on DNSSEC: they must all be on this machine, and validate
    #[arg(long)]
    dnssec: bool,
    /// Certificates of authorities (PEM) to believe in SIP servers [default: the agent's, or those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Look at DNS alone, connect to nobody
    #[arg(long)]
    no_connect: bool,
    /// Longest time for everything, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT,
          value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    timeout: u64,
}

/// How a command that looks at servers is let in at the directory: there `--ca` is for the servers.
#[derive(Debug, clap::Args)]
pub(super) struct Access {
    /// File that holds the token for the directory
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificate (PEM) to trust for the directory's API [default: DIR/api.crt and those of the system]
    #[arg(long, value_name = "FILE")]
    api_ca: Option<PathBuf>,
}

impl Access {
    /// For the API at this URL, or where it is found.
    pub(super) fn args(&self, api: Option<String>, here: &Here) -> ApiArgs {
        let (token_file, ca) = (self.token_file.clone(), self.api_ca.clone());
        ApiArgs { api, token_file, as_domain: None, ca, here: here.clone() }
    }
}

impl Looking {
    /// When it has to be over.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.timeout)
    }

    /// Whether servers are connected to.
    pub(super) const fn connects(&self) -> bool {
        !self.no_connect
    }

    /// A resolver that notes what it asks, for both address families whatever this machine has.
    pub(super) fn resolver(&self, asking: &Asking, numbers: Numbers) -> Result<(Resolver, Trace), Failure> {
        let (dnssec, trace) = (if self.dnssec { DnssecTrust::Loopback } else { DnssecTrust::Nobody }, Trace::new());
        let settings = Settings { numbers, dnssec, trace: Some(trace.clone()), ..Settings::default() };
        // Questions get no more than half of the time, so that some is left for connections.
        let total_timeout = settings.total_timeout.min(Duration::from_millis(self.timeout * 500));
        let settings = Settings { total_timeout, ..settings };
        Ok((asking.resolver_with(&settings, Families::V6ThenV4)?, trace))
    }

    /// Waits for questions that were asked ahead and not needed in the end, so that their answers can be shown, too.
    pub(super) async fn settle(resolver: &Resolver, trace: &Trace, until: Instant) {
        for asked in trace.asked().iter().filter(|asked| asked.told.is_none()) {
            // It is under way already: this waits for the same exchange.
            if timeout_at(until.into(), resolver.ask(&asked.question)).await.is_err() {
                return;
            }
        }
    }

    /// With the authorities that are believed: those that were given, else those in this file, else the system's.
    pub(super) fn connector(&self, resolver: Resolver, otherwise: Option<&Path>) -> Result<Connector, Failure> {
        let authorities = match self.ca.as_deref().or(otherwise) {
            Some(file) => read_authorities(file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        Ok(Connector::new(resolver, authorities).0)
    }
}

fn read_authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| format!("authorities in {}: {error}", file.display()))?;
    if certificates.is_empty() {
        return Err(format!("authorities in {}: it holds no certificate in PEM", file.display()).into());
    }
    Ok(certificates)
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(self.explain())?;
        // A question that nobody waits for any more must not hold the end up.
        runtime.shutdown_background();
        if self.json {
            let mut value = report.to_json();
            text::plain_json(&mut value);
            output::json(&value)?;
        } else {
            report.tell()?;
        }
        if report.is_callable() { Ok(()) } else { Err(Told.into()) }
    }

    async fn explain(&self) -> Result<Report, Failure> {
        let until = self.looking.until();
        let source = match (&self.api, &self.agent) {
            (Some(api), _) => Some(Source::Directory(self.access.args(Some(api.clone()), self.asking.here()))),
            (None, Some(file)) => Some(Source::agent(RunningAgent::find(file)?)?),
            (None, None) => None,
        };
        let asking = source.as_ref().map_or_else(|| self.asking.clone(), |source| source.asking(&self.asking));
        let mut suffixes = self.enum_suffixes.clone();
        if suffixes.is_empty() {
            suffixes.extend(source.iter().flat_map(Source::enum_suffixes));
        }
        let (resolver, trace) = self.looking.resolver(&asking, Numbers { suffixes, ..Numbers::default() })?;
        let connector = self.looking.connector(resolver.clone(), source.as_ref().and_then(Source::authorities))?;
        let mut known = source.as_ref().and_then(|source| source.look_up(&self.called, until));
        known.iter().for_each(|known| known.tell(&resolver));
        let resolved = resolver.resolve(&self.called).await;
        if let (Some(source), None, Some(uri)) = (&source, &known, &resolved.uri) {
            // Only now it is known whose number it is.
            known = source.look_up(&Called::Uri(uri.clone()), until);
            known.iter().for_each(|known| known.tell(&resolver));
        }
        let mut faults: Vec<Fault> = known.iter().flat_map(Known::faults).collect();
        let is_blocked = known.as_ref().is_some_and(Known::is_blocked);
        // Who blocks says so in DNS by "no such name": that is no other fault.
        if !is_blocked {
            if let Some(domain) = domain_without_service(&resolved) {
                // It is the reason of what follows.
                faults.extend(plain_services(&resolver, &domain, until).await);
            }
            let mut of_search = resolved.resolution.outcome.error().map(Fault::of_search);
            let is_no = |fault: &&mut Fault| ["no-such-domain", "no-address", "no-such-number"].contains(&fault.code);
            if let Some(fault) = of_search.as_mut().filter(is_no)
                && source.is_none()
                && asking.asks_this_machine()
            {
                fault
                    .mend
                    .push_str(" If an agent is your name server: it may hold the member back, --agent FILE tells.");
            }
            faults.extend(of_search);
        }
        let mut hops = resolved.resolution.next_hops().to_vec();
        if let Some(known) = known.as_ref().filter(|_| hops.is_empty()) {
            hops = known.hops(asking.reach());
        }
        let looked = self.looking.connects();
        let looks = if looked { look::at_all(&connector, &hops, until).await } else { Vec::new() };
        Looking::settle(&resolver, &trace, until).await;
        let (called, asked, hops) = (self.called.clone(), trace.asked(), hops.len());
        Ok(Report { called, resolved, known, is_blocked, asked, hops, looks, looked, faults })
    }
}

/// The domain that was called, if no SRV record of SIP over TLS led anywhere.
fn domain_without_service(resolved: &Resolved) -> Option<DomainName> {
    let uri = resolved.uri.as_ref()?;
    let asked = uri.port().is_none() && uri.host().as_name().is_some();
    let by_service = resolved.resolution.next_hops().iter().any(|hop| hop.srv_target.is_some());
    let denied = resolved.resolution.outcome.error().is_some_and(|error| {
        use tandem_model::locate::LocateError as E;
        !matches!(error, E::NoUsableAddress(_) | E::NoCommonTransport(_))
    });
    if asked && !by_service && !denied { uri.host().as_name().cloned() } else { None }
}

/// What a domain offers that has no SIP over TLS in DNS.
async fn plain_services(resolver: &Resolver, domain: &DomainName, until: Instant) -> Option<Fault> {
    let mut plain = Vec::new();
    for found in records(resolver, domain, Kind::Naptr, until).await {
        if let Data::Naptr(naptr) = &found.data
            && naptr.services.to_ascii_uppercase().starts_with("SIP+")
        {
            plain.push(format!("NAPTR {}", naptr.services));
        }
    }
    for labels in PLAIN_SERVICES {
        let Ok(name) = domain.prefixed(&labels) else { continue };
        if !records(resolver, &name, Kind::Srv, until).await.is_empty() {
            plain.push(format!("SRV {name}"));
        }
    }
    plain.truncate(MAX_PLAIN);
    let mend = format!("Publish `_sips._tcp.{domain}. SRV 10 0 5061 sip.{domain}.`, and listen there with TLS.");
    Some(if plain.is_empty() {
        let text = format!("{domain} has no SRV record for SIP over TLS: only its own address can be tried");
        Fault::doubt("no-sips-record", "LOC-37", text, mend)
    } else {
        let text = format!("{domain} offers SIP without TLS only ({}): it is not used", plain.join(", "));
        Fault::grave("plaintext-only", "LOC-36", text, mend)
    })
}

/// What stands at a name; nothing, if nobody knows.
async fn records(resolver: &Resolver, name: &DomainName, kind: Kind, until: Instant) -> Vec<Found> {
    let question = Question { name: name.clone(), kind };
    match timeout_at(until.into(), resolver.ask(&question)).await {
        Ok((Reply::Records(answer), _)) => answer.records,
        Ok((Reply::NoData { .. } | Reply::NxDomain { .. } | Reply::Failed(_), _)) | Err(_) => Vec::new(),
    }
}
