//! The shape of `tandem.toml`: what an operator types. It becomes a [`Config`] in one place, [`Spec::apply`].

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tandem_model::DomainName;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::{CertificateFiles, Config, GeneratedZone, LogFormat, Problem, Store};

/// The file format's version.
const VERSION: u32 = 1;
/// Most problems reported at once: a file that is not ours at all should not fill the screen.
const MAX_PROBLEMS: usize = 50;
/// Most TCP connections that may be asked for: each takes a file descriptor.
const MAX_TCP_CONNECTIONS: u64 = 1_000_000;
/// Longest idle time that may be asked for, in seconds.
const MAX_TCP_IDLE: u64 = 3600;
/// Most UDP threads for one address.
const MAX_UDP_THREADS: u64 = 256;

/// `tandem.toml`, format 1. Unknown keys are refused; every key may be left out.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    version: Option<Spanned<u32>>,
    data_dir: Option<PathBuf>,
    zones: Option<PathBuf>,
    store: Option<Spanned<String>>,
    peers_zone: Option<Spanned<String>>,
    number_zone: Option<Spanned<String>>,
    dns: DnsSpec,
    api: ApiSpec,
    resolver: ResolverSpec,
    log: LogSpec,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct DnsSpec {
    listen: Option<Vec<Spanned<String>>>,
    udp_threads: Option<Spanned<u64>>,
    udp_answer_octets: Option<Spanned<u64>>,
    tcp_connections: Option<Spanned<u64>>,
    tcp_connections_per_network: Option<Spanned<u64>>,
    tcp_idle_seconds: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ApiSpec {
    listen: Option<Spanned<String>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    names: Option<Vec<Spanned<String>>>,
    public_url: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ResolverSpec {
    name_servers: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LogSpec {
    format: Option<Spanned<String>>,
    level: Option<Spanned<String>>,
}

impl Spec {
    /// Reads `text` and lays what it says over `config`; whatever is wrong goes to `problems`, in the order of lines.
    ///
    /// `file` names the text in problems; relative paths in it count from that file's folder.
    pub fn apply(text: &str, file: &Path, config: &mut Config, problems: &mut Vec<Problem>) {
        let mut faults = Faults { found: Vec::new() };
        let spec = Self::parse(text, &mut faults);
        spec.check_into(file, config, &mut faults);
        faults.found.sort_by_key(|(at, _)| *at);
        problems.extend(faults.found.into_iter().map(|(at, reason)| Problem {
            file: Some(file.into()),
            line: text[..at.min(text.len())].matches('\n').count() + 1,
            reason,
        }));
    }

    /// Reads as much as can be read: a value that does not fit is reported, taken out, and the rest is tried again.
    fn parse(text: &str, faults: &mut Faults) -> Self {
        let (mut document, errors) = DeTable::parse_recoverable(text);
        if let Some(error) = errors.first() {
            faults.add(error.span(), error.message());
            return Self::default();
        }
        for _ in 0..MAX_PROBLEMS {
            match Self::deserialize(Deserializer::from(document.clone())) {
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
        Self::default()
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
        faults.set(self.peers_zone, |text| parse_generated_zone(&text), &mut config.peers_zone);
        faults.set(self.number_zone, |text| parse_generated_zone(&text), &mut config.number_zone);

        if let Some(list) = self.dns.listen {
            let addresses: Vec<SocketAddr> =
                list.into_iter().filter_map(|item| faults.check(Some(item), |text| parse_address(&text))).collect();
            if !addresses.is_empty() {
                config.dns.listen = addresses;
            }
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

        faults.set(self.api.listen, |text| parse_address(&text), &mut config.api.listen);
        if let Some(list) = self.api.names {
            config.api.names =
                list.into_iter().filter_map(|item| faults.check(Some(item), |text| parse_name(&text))).collect();
        }
        faults.set(self.api.public_url, |text| parse_url(&text), &mut config.api.public_url);
        let given = |path: Option<Spanned<PathBuf>>| path.filter(|p| !p.get_ref().as_os_str().is_empty());
        match (given(self.api.certificate), given(self.api.key)) {
            (Some(certificate), Some(key)) => {
                config.api.certificate = Some(CertificateFiles {
                    certificate: folder.join(certificate.get_ref()),
                    key: folder.join(key.get_ref()),
                });
            }
            (None, None) => {}
            (Some(lonely), None) => faults.add(Some(lonely.span()), "api.certificate needs api.key beside it"),
            (None, Some(lonely)) => faults.add(Some(lonely.span()), "api.key needs api.certificate beside it"),
        }

        if let Some(list) = self.resolver.name_servers {
            config.name_servers =
                list.into_iter().filter_map(|item| faults.check(Some(item), |text| parse_server(&text))).collect();
        }
        faults.set(self.log.format, |text| parse_log_format(&text), &mut config.log.format);
        faults.set(self.log.level, |text| parse_log_level(&text), &mut config.log.level);
    }
}

/// Problems with the octet at which each stands.
struct Faults {
    found: Vec<(usize, String)>,
}

impl Faults {
    fn add(&mut self, span: Option<Range<usize>>, reason: impl Into<String>) {
        // The message of a syntax error may have several lines.
        let reason = reason.into().replace('\n', "; ");
        self.found.push((span.map_or(0, |span| span.start), reason));
    }

    fn check<T, U>(&mut self, value: Option<Spanned<T>>, read: impl Fn(T) -> Result<U, String>) -> Option<U> {
        let value = value?;
        let span = value.span();
        read(value.into_inner()).map_err(|reason| self.add(Some(span), reason)).ok()
    }

    fn set<T, U>(&mut self, value: Option<Spanned<T>>, read: impl Fn(T) -> Result<U, String>, place: &mut U) {
        if let Some(value) = self.check(value, read) {
            *place = value;
        }
    }
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

fn parse_name(text: &str) -> Result<DomainName, String> {
    text.parse().map_err(|error| format!("`{text}` is not a host name: {error}"))
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address and port: write 127.0.0.1:5300 or [::1]:5300"))
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
fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)));
    with_port.ok_or_else(|| format!("`{text}` is not an address: write 192.0.2.53 or 192.0.2.53:53"))
}

fn to_count<T: TryFrom<u64>>(value: u64, least: u64, most: u64) -> Result<T, String> {
    let in_range = (least..=most).contains(&value).then(|| T::try_from(value).ok()).flatten();
    in_range.ok_or_else(|| format!("{value} is out of range: {least} to {most}"))
}

fn to_udp_limit(value: u64) -> Result<u16, String> {
    let limit = u16::try_from(value).ok().and_then(tandem_dns::UdpLimit::new);
    limit
        .map(tandem_dns::UdpLimit::octets)
        .ok_or_else(|| format!("{value} is out of range: 512 to {}", tandem_dns::UdpLimit::MAX))
}
