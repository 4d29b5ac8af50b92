//! The shape of `tandem.toml`: what an operator types. It becomes a [`Config`] in one place, [`Spec::apply`].

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tandem_dns::RateLimit;
use tandem_model::DomainName;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::access::{LimitSpec, NumberSpec, RegistrationSpec};
use super::lease::{self, LeaseSpec};
use super::mail::MailSpec;
use super::policy;
use super::probe::{self, ProbeSpec};
use super::proof::{KeySpec, ProofSpec};
use super::transfer::{self, SecondarySpec, TransferSpec, TsigSpec};
use super::webhook::{self, WebhookSpec};
use super::{CertificateFiles, Config, GeneratedZone, LogFormat, Problem, Store};

/// The file format's version.
const VERSION: u32 = 1;
/// Most problems reported at once: a file that is not ours at all should not fill the screen.
const MAX_PROBLEMS: usize = 50;
/// Most TCP connections that may be asked for: each takes a file descriptor.
const MAX_TCP_CONNECTIONS: u64 = 1_000_000;
/// Most connections of the API that may be asked for: each takes a file descriptor.
const MAX_API_CONNECTIONS: u64 = 100_000;
/// Longest idle time that may be asked for, in seconds.
const MAX_TCP_IDLE: u64 = 3600;
/// Most transfers at a time that may be asked for: each takes a thread.
const MAX_TRANSFERS: u64 = 100;
/// Longest time that journal entries may be kept, in days: a century is for ever.
const MAX_JOURNAL_DAYS: u64 = 36_500;
/// Most UDP threads for one address.
const MAX_UDP_THREADS: u64 = 256;
/// Most lines a second of the query log: no disk should have to take more.
const MAX_QUERY_LINES: u64 = 10_000;

/// `tandem.toml`, format 1. Unknown keys are refused; every key may be left out.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    version: Option<Spanned<u32>>,
    data_dir: Option<PathBuf>,
    zones: Option<PathBuf>,
    store: Option<Spanned<String>>,
    journal_days: Option<Spanned<u64>>,
    peers_zone: Option<Spanned<String>>,
    policy_zone: Option<Spanned<String>>,
    number_zone: Option<Spanned<String>>,
    dns: DnsSpec,
    api: ApiSpec,
    leases: LeaseSpec,
    probes: ProbeSpec,
    webhook: Vec<WebhookSpec>,
    resolver: ResolverSpec,
    metrics: MetricsSpec,
    log: LogSpec,
    registration: RegistrationSpec,
    mail: MailSpec,
    proofs: ProofSpec,
    keys: KeySpec,
    numbers: NumberSpec,
    limits: LimitSpec,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct DnsSpec {
    listen: Option<Vec<Spanned<String>>>,
    tls_listen: Option<Vec<Spanned<String>>>,
    https_listen: Option<Vec<Spanned<String>>>,
    quic_listen: Option<Vec<Spanned<String>>>,
    tls: TlsSpec,
    udp_threads: Option<Spanned<u64>>,
    udp_answer_octets: Option<Spanned<u64>>,
    tcp_connections: Option<Spanned<u64>>,
    tcp_connections_per_network: Option<Spanned<u64>>,
    tcp_idle_seconds: Option<Spanned<u64>>,
    cookie_secret: Option<PathBuf>,
    nsid: Option<Spanned<String>>,
    chaos_version: Option<Spanned<String>>,
    rrl_per_second: Option<Spanned<u64>>,
    rrl_slip: Option<Spanned<u64>>,
    rrl_exempt: Option<Vec<Spanned<String>>>,
    catalog: Option<Spanned<String>>,
    transfers_at_a_time: Option<Spanned<u64>>,
    tsig: Vec<TsigSpec>,
    transfer: Vec<TransferSpec>,
    secondary: Vec<SecondarySpec>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct TlsSpec {
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ApiSpec {
    listen: Option<Spanned<String>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    names: Option<Vec<Spanned<String>>>,
    public_url: Option<Spanned<String>>,
    connections: Option<Spanned<u64>>,
    connections_per_network: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ResolverSpec {
    name_servers: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct MetricsSpec {
    listen: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LogSpec {
    format: Option<Spanned<String>>,
    level: Option<Spanned<String>>,
    queries: Option<Spanned<u64>>,
}

impl Spec {
    /// Reads `text` and lays what it says over `config`; whatever is wrong goes to `problems`, in the order of lines.
    ///
    /// `file` names the text in problems; relative paths in it count from that file's folder.
    pub fn apply(text: &str, file: &Path, config: &mut Config, problems: &mut Vec<Problem>) {
        let mut faults = Faults::default();
        let spec: Self = parse(text, &mut faults);
        spec.check_into(file, config, &mut faults);
        problems.extend(faults.into_problems(text, file));
    }

    fn check_into(self, file: &Path, config: &mut Config, faults: &mut Faults) {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        faults.check(self.version, |version| match version {
            VERSION => Ok(()),
            other => Err(format!("version {other} is not known here: this tandem reads version {VERSION}")),
        });
        if let Some(dir) = self.data_dir {
            config.data_dir = folder.join(dir);
        }
        if let Some(dir) = self.zones {
            config.zones_dir = folder.join(dir);
        }
        faults.set(self.store, |text| parse_store(&text), &mut config.store);
        faults.set(self.journal_days, |days| to_count(days, 1, MAX_JOURNAL_DAYS), &mut config.journal_days);
        faults.set(self.peers_zone, |text| parse_generated_zone(&text), &mut config.peers_zone);
        faults.set(self.policy_zone, |text| parse_generated_zone(&text), &mut config.policy_zone);
        faults.set(self.number_zone, |text| parse_generated_zone(&text), &mut config.number_zone);

        let addresses = faults.list(self.dns.listen, |text| parse_address(&text)).filter(|list| !list.is_empty());
        config.dns.listen = addresses.unwrap_or_else(|| std::mem::take(&mut config.dns.listen));
        for (list, place) in
            [(self.dns.tls_listen, &mut config.dns.tls_listen), (self.dns.https_listen, &mut config.dns.https_listen)]
        {
            if let Some(list) = faults.list(list, |text| parse_address(&text)) {
                *place = list;
            }
        }
        if let Some(list) = faults.list(self.dns.quic_listen, |text| parse_quic_address(&text)) {
            config.dns.quic_listen = list;
        }
        let TlsSpec { certificate, key } = self.dns.tls;
        if let Some(files) = certificate_files(certificate, key, "dns.tls", folder, faults) {
            config.dns.tls = Some(files);
        }
        faults.set(self.dns.udp_threads, |n| to_count(n, 0, MAX_UDP_THREADS), &mut config.dns.udp_threads);
        faults.set(self.dns.udp_answer_octets, to_udp_limit, &mut config.dns.udp_answer_octets);
        faults.set(self.dns.tcp_connections, |n| to_count(n, 1, MAX_TCP_CONNECTIONS), &mut config.dns.tcp_connections);
        faults.set(
            self.dns.tcp_connections_per_network,
            |n| to_count(n, 1, MAX_TCP_CONNECTIONS),
            &mut config.dns.tcp_connections_per_network,
        );
        faults.set(self.dns.tcp_idle_seconds, |n| to_count(n, 1, MAX_TCP_IDLE), &mut config.dns.tcp_idle_seconds);
        let policy = &mut config.dns.policy;
        if let Some(file) = self.dns.cookie_secret.filter(|file| !file.as_os_str().is_empty()) {
            policy.cookie_secret = Some(folder.join(file));
        }
        faults.set(self.dns.nsid, |text| policy::parse_told(&text), &mut policy.nsid);
        faults.set(self.dns.chaos_version, |text| policy::parse_told(&text), &mut policy.chaos_version);
        let most = u64::from(RateLimit::MAX_RATE);
        faults.set(self.dns.rrl_per_second, |n| to_count(n, 0, most), &mut policy.rrl_per_second);
        faults.set(self.dns.rrl_slip, |n| to_count(n, 0, policy::MAX_SLIP), &mut policy.rrl_slip);
        if let Some(networks) = faults.list(self.dns.rrl_exempt, |text| policy::parse_network(&text)) {
            policy.rrl_exempt = networks;
        }
        faults.set(self.dns.catalog, |text| parse_catalog(&text), &mut config.dns.catalog);
        let transfers = &mut config.dns.transfers;
        faults.set(self.dns.transfers_at_a_time, |n| to_count(n, 1, MAX_TRANSFERS), &mut transfers.limits.at_a_time);
        transfer::check_into(self.dns.tsig, self.dns.transfer, self.dns.secondary, folder, transfers, faults);

        faults.set(self.api.listen, |text| parse_address(&text), &mut config.api.listen);
        if let Some(list) = self.api.names {
            config.api.names =
                list.into_iter().filter_map(|item| faults.check(Some(item), |text| parse_name(&text))).collect();
        }
        faults.set(self.api.public_url, |text| parse_url(&text), &mut config.api.public_url);
        let most = MAX_API_CONNECTIONS;
        faults.set(self.api.connections, |n| to_count(n, 4, most), &mut config.api.connections);
        let per_network = &mut config.api.connections_per_network;
        faults.set(self.api.connections_per_network, |n| to_count(n, 1, most), per_network);
        if let Some(files) = certificate_files(self.api.certificate, self.api.key, "api", folder, faults) {
            config.api.certificate = Some(files);
        }

        lease::check_into(self.leases, &mut config.leases, faults);
        probe::check_into(self.probes, folder, &mut config.probes, faults);
        webhook::check_into(self.webhook, folder, &mut config.webhooks, faults);

        if let Some(list) = self.resolver.name_servers {
            config.name_servers =
                list.into_iter().filter_map(|item| faults.check(Some(item), |text| parse_server(&text))).collect();
        }
        faults.set(self.metrics.listen, |text| parse_optional_address(&text), &mut config.metrics);
        faults.set(self.log.format, |text| parse_log_format(&text), &mut config.log.format);
        faults.set(self.log.level, |text| parse_log_level(&text), &mut config.log.level);
        self.registration.check_into(&mut config.registration, faults);
        self.mail.check_into(folder, &mut config.mail, faults);
        self.proofs.check_into(folder, &mut config.proofs, faults);
        self.keys.check_into(&mut config.key_reset_seconds, faults);
        self.numbers.check_into(&mut config.number_claims, faults);
        self.limits.check_into(&mut config.limits, faults);
        faults.set(self.log.queries, |n| to_count(n, 0, MAX_QUERY_LINES), &mut config.log.queries);
    }
}

/// Reads as much as can be read: a value that does not fit is reported, taken out, and the rest is tried again.
pub(super) fn parse<T: DeserializeOwned + Default>(text: &str, faults: &mut Faults) -> T {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        faults.add(error.span(), error.message());
        return T::default();
    }
    for _ in 0..MAX_PROBLEMS {
        match T::deserialize(Deserializer::from(document.clone())) {
            Ok(spec) => return spec,
            Err(error) => {
                faults.add(error.span(), error.message());
                let Some(span) = error.span() else { break };
                if !take_out(document.get_mut(), &span) {
                    break;
                }
            }
        }
    }
    T::default()
}

/// Problems with the octet at which each stands.
#[derive(Default)]
pub(super) struct Faults {
    found: Vec<(usize, String)>,
}

impl Faults {
    /// All of them, in the order of lines of `file`, which has `text`.
    pub(super) fn into_problems(mut self, text: &str, file: &Path) -> impl Iterator<Item = Problem> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(at, reason)| Problem {
            file: Some(file.into()),
            line: text[..at.min(text.len())].matches('\n').count() + 1,
            reason,
        })
    }

    pub(super) fn add(&mut self, span: Option<Range<usize>>, reason: impl Into<String>) {
        // The message of a syntax error may have several lines.
        let reason = reason.into().replace('\n', "; ");
        self.found.push((span.map_or(0, |span| span.start), reason));
    }

    pub(super) fn check<T, U>(
        &mut self,
        value: Option<Spanned<T>>,
        read: impl Fn(T) -> Result<U, String>,
    ) -> Option<U> {
        let value = value?;
        let span = value.span();
        read(value.into_inner()).map_err(|reason| self.add(Some(span), reason)).ok()
    }

    pub(super) fn list<T, U>(
        &mut self,
        list: Option<Vec<Spanned<T>>>,
        read: impl Fn(T) -> Result<U, String>,
    ) -> Option<Vec<U>> {
        Some(list?.into_iter().filter_map(|item| self.check(Some(item), &read)).collect())
    }

    pub(super) fn set<T, U>(
        &mut self,
        value: Option<Spanned<T>>,
        read: impl Fn(T) -> Result<U, String>,
        place: &mut U,
    ) {
        if let Some(value) = self.check(value, read) {
            *place = value;
        }
    }
}

/// A certificate and its key, of the settings that begin with `section`; both or none. `""`: not given.
fn certificate_files(
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    section: &str,
    folder: &Path,
    faults: &mut Faults,
) -> Option<CertificateFiles> {
    let given = |path: Option<Spanned<PathBuf>>| path.filter(|p| !p.get_ref().as_os_str().is_empty());
    let lonely = match (given(certificate), given(key)) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (folder.join(certificate.get_ref()), folder.join(key.get_ref()));
            return Some(CertificateFiles { certificate, key });
        }
        (None, None) => return None,
        (Some(lonely), None) => (lonely.span(), format!("{section}.certificate needs {section}.key beside it")),
        (None, Some(lonely)) => (lonely.span(), format!("{section}.key needs {section}.certificate beside it")),
    };
    faults.add(Some(lonely.0), lonely.1);
    None
}

/// Removes the innermost entry whose key or value holds `span`; whether there was one.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut found = None;
    for (key, value) in table.iter_mut() {
        if let DeValue::Table(inner) = value.get_mut()
            && !holds(key.span())
            && take_out(inner, span)
        {
            return true;
        }
        if holds(key.span()) || holds(value.span()) {
            found = Some(key.clone());
        }
    }
    found.is_some_and(|key| table.remove(&key).is_some())
}

pub(super) fn parse_store(text: &str) -> Result<Store, String> {
    match text {
        "sqlite:" | "sqlite" => Ok(Store::Embedded),
        other => {
            Err(format!("the store `{other}` is not available: only the embedded store is built now; write `sqlite:`"))
        }
    }
}

pub(super) fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("the log format `{other}` is not known: write `text` or `json`")),
    }
}

pub(super) fn parse_log_level(text: &str) -> Result<String, String> {
    const SHAPE: &str = "write error, warn, info, debug or trace, or by module: info,tandem_api=debug";
    // The filter would take a word that is no level for a module's name, and then log nothing.
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.trim());
    if !text.split(',').all(|part| is_level(part.rsplit('=').next().unwrap_or_default())) {
        return Err(format!("the log level `{text}` is not known: {SHAPE}"));
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("the log level `{text}` is not valid ({error}): {SHAPE}")),
    }
}

fn parse_generated_zone(text: &str) -> Result<GeneratedZone, String> {
    match text {
        "auto" => Ok(GeneratedZone::Auto),
        "none" => Ok(GeneratedZone::None),
        name => match name.parse() {
            Ok(apex) => Ok(GeneratedZone::Named(apex)),
            Err(error) => Err(format!("`{name}` is not a zone's name: {error}")),
        },
    }
}

pub(super) fn parse_name(text: &str) -> Result<DomainName, String> {
    text.parse().map_err(|error| format!("`{text}` is not a host name: {error}"))
}

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address and port: write 127.0.0.1:5300 or [::1]:5300"))
}

/// The catalog's name; `""`: no catalog.
fn parse_catalog(text: &str) -> Result<Option<DomainName>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| format!("`{text}` is no name for a catalog: {error}"))
}

/// As [`parse_address`]; DoQ is never served on port 53 (DNS-66).
fn parse_quic_address(text: &str) -> Result<SocketAddr, String> {
    let address = parse_address(text)?;
    if address.port() == 53 {
        return Err(format!("`{text}`: DNS over QUIC is never served on port 53: take 853"));
    }
    Ok(address)
}

/// As [`parse_address`]; `""`: none.
pub(super) fn parse_optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() { Ok(None) } else { parse_address(text).map(Some) }
}

/// Scheme, host and port, nothing behind them; `""`: none.
fn parse_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = text.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        return Err(format!("`{text}` is not the URL of an API: write https://directory.example"));
    }
    Ok(Some(url.to_owned()))
}

/// A name server: the port may be left out.
pub(super) fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)));
    with_port.ok_or_else(|| format!("`{text}` is not an address: write 192.0.2.53 or 192.0.2.53:53"))
}

pub(super) fn to_count<T: TryFrom<u64>>(value: u64, least: u64, most: u64) -> Result<T, String> {
    let in_range = (least..=most).contains(&value).then(|| T::try_from(value).ok()).flatten();
    in_range.ok_or_else(|| format!("{value} is out of range: {least} to {most}"))
}

fn to_udp_limit(value: u64) -> Result<u16, String> {
    let limit = u16::try_from(value).ok().and_then(tandem_dns::UdpLimit::new);
    limit
        .map(tandem_dns::UdpLimit::octets)
        .ok_or_else(|| format!("{value} is out of range: 512 to {}", tandem_dns::UdpLimit::MAX))
}
