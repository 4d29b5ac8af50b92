//! The shape of `agent.toml`, what the operator of a SIP server types for `tandem agent`; it becomes a
//! [`tandem_agent::Config`] in one place. `agent.toml` beside this file explains every key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tandem_agent::config::{
    CheckConfig, Config, DnsConfig, FilesConfig, HttpConfig, KeyTrust, OwnNode, RouteConfig, SipConfig, UnsignedPolicy,
};
use tandem_agent::{DirectoryUrl, node_key};
use tandem_identity::Thumbprint;
use toml::Spanned;

use super::spec::{
    Faults, parse, parse_address, parse_log_format, parse_log_level, parse_name, parse_server, to_count,
};
use super::{ConfigError, LogConfig, LogFormat, Problem};

/// An `agent.toml` in which every key stands with its default and its meaning.
pub const TEMPLATE: &str = include_str!("agent.toml");

/// The file format's version.
const VERSION: u32 = 1;
/// Longest grace that may be asked for, in seconds: a year.
const MAX_GRACE: u64 = 31_536_000;
/// Longest time of one look at a target, in seconds.
const MAX_CHECK_TIME: u64 = 60;
/// Longest time that such a result counts, in seconds: a week.
const MAX_CHECK_AGE: u64 = 604_800;

/// Everything that `tandem agent` runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// What the agent is told.
    pub agent: Config,
    /// How to log.
    pub log: LogConfig,
}

/// `agent.toml`, format 1. Unknown keys are refused; every key but `directory` may be left out.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Spec {
    version: Option<Spanned<u32>>,
    directory: Option<Spanned<OneOrMore>>,
    domain: Option<Spanned<String>>,
    document: Option<Spanned<PathBuf>>,
    key_file: Option<Spanned<PathBuf>>,
    signed: Option<bool>,
    drain_on_stop: Option<bool>,
    token_file: Option<PathBuf>,
    read_token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    trust: Option<Spanned<String>>,
    unsigned: Option<Spanned<String>>,
    pins: Option<BTreeMap<String, Spanned<String>>>,
    grace_seconds: Option<Spanned<u64>>,
    dns: DnsSpec,
    http: HttpSpec,
    sip: SipSpec,
    route: RouteSpec,
    files: FilesSpec,
    check: CheckSpec,
    log: LogSpec,
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct DnsSpec {
    listen: Option<Vec<Spanned<String>>>,
    forward: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSpec {
    listen: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct SipSpec {
    udp: Option<Vec<Spanned<String>>>,
    tcp: Option<Vec<Spanned<String>>>,
    tls: Option<Vec<Spanned<String>>>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RouteSpec {
    members_only: Option<bool>,
    own_domains: Option<Vec<Spanned<String>>>,
    enum_suffixes: Option<Vec<Spanned<String>>>,
    private_addresses: Option<bool>,
    validating: Option<Spanned<bool>>,
    freeswitch_profile: Option<Spanned<String>>,
    freeswitch_contexts: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct FilesSpec {
    ca_bundle: Option<PathBuf>,
    kamailio_addresses: Option<PathBuf>,
    kamailio_dispatchers: Option<PathBuf>,
    freeswitch_acl: Option<PathBuf>,
    nftables: Option<PathBuf>,
    reload: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct CheckSpec {
    certificates: Option<bool>,
    timeout_seconds: Option<Spanned<u64>>,
    max_age_seconds: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LogSpec {
    format: Option<Spanned<String>>,
    level: Option<Spanned<String>>,
}

impl AgentConfig {
    /// Reads `file`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found and its line: the operator corrects the file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) => {
                Err(ConfigError { problems: vec![Problem::of_file(file, format!("cannot be read: {error}"))] })
            }
        }
    }

    /// Reads `text`, which is in `file`; relative paths count from that file's folder.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let spec: Spec = parse(text, &mut faults);
        let config = spec.check(file, &mut faults);
        let problems: Vec<Problem> = faults.into_problems(text, file).collect();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }
}

impl Spec {
    fn check(self, file: &Path, faults: &mut Faults) -> AgentConfig {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        // `""`: not given.
        let path =
            |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty()).map(|path| folder.join(path));
        let spanned = |path: Option<Spanned<PathBuf>>| path.filter(|path| !path.get_ref().as_os_str().is_empty());
        let mut config = Config::default();
        faults.check(self.version, |version| match version {
            VERSION => Ok(()),
            other => Err(format!("version {other} is not known here: this tandem reads version {VERSION}")),
        });
        match self.directory {
            None => faults.add(None, "`directory` is missing: write directory = \"https://dir.example\""),
            Some(list) => config.directories = faults.check(Some(list), read_directories).unwrap_or_default(),
        }
        config.token_file = path(self.token_file);
        config.read_token_file = path(self.read_token_file);
        config.ca_file = path(self.ca_file);
        config.state_dir = folder.join(self.state_dir.unwrap_or_else(|| config.state_dir.clone()));

        let domain = self.domain.filter(|domain| !domain.get_ref().is_empty());
        let (document, key_file) = (spanned(self.document), spanned(self.key_file));
        match domain {
            Some(domain) => {
                let beside_token = config.token_file.as_deref().map(node_key::beside);
                let key_file = key_file.map(|key| folder.join(key.get_ref())).or(beside_token);
                let domain = faults.check(Some(domain), |text| parse_name(&text));
                config.node = domain.map(|domain| OwnNode {
                    domain,
                    document: document.map(|document| folder.join(document.get_ref())),
                    key_file: key_file.filter(|_| self.signed.unwrap_or(true)),
                    drain_on_stop: self.drain_on_stop.unwrap_or(false),
                });
            }
            None => {
                for lonely in document.into_iter().chain(key_file) {
                    faults.add(Some(lonely.span()), "this needs `domain`: the node that is published");
                }
            }
        }

        faults.set(self.trust, |text| read_trust(&text), &mut config.trust.keys);
        faults.set(self.unsigned, |text| read_unsigned(&text), &mut config.trust.unsigned);
        for (name, key) in self.pins.unwrap_or_default() {
            let pin = faults.check(Some(key), |key| {
                let key: Thumbprint = key.parse().map_err(|error| format!("{error}"))?;
                Ok((parse_name(&name)?, key))
            });
            config.trust.pins.extend(pin);
        }
        faults.set(self.grace_seconds, |n| to_count(n, 0, MAX_GRACE), &mut config.grace_seconds);

        let forward = faults.list(self.dns.forward, |text| parse_server(&text)).unwrap_or_default();
        config.dns = addresses(self.dns.listen, faults).map(|listen| DnsConfig { listen, forward: forward.clone() });
        let listen = self.http.listen.filter(|listen| !listen.get_ref().is_empty());
        config.http = faults.check(listen, |text| read_loopback(&text)).map(|listen| HttpConfig { listen });
        let SipSpec { udp, tcp, tls, certificate, key } = self.sip;
        let sip = SipConfig {
            udp: addresses(udp, faults).unwrap_or_default(),
            tcp: addresses(tcp, faults).unwrap_or_default(),
            tls: addresses(tls, faults).unwrap_or_default(),
            certificate: path(certificate),
            key: path(key),
        };
        if !sip.tls.is_empty() && (sip.certificate.is_none() || sip.key.is_none()) {
            faults.add(None, "sip.tls needs sip.certificate and sip.key");
        }
        config.sip = Some(sip).filter(|sip| !(sip.udp.is_empty() && sip.tcp.is_empty() && sip.tls.is_empty()));
        config.route = self.route.check(forward, faults);
        let FilesSpec { ca_bundle, kamailio_addresses, kamailio_dispatchers, freeswitch_acl, nftables, reload } =
            self.files;
        config.files = FilesConfig {
            ca_bundle: path(ca_bundle),
            kamailio_addresses: path(kamailio_addresses),
            kamailio_dispatchers: path(kamailio_dispatchers),
            freeswitch_acl: path(freeswitch_acl),
            nftables: path(nftables),
            reload: reload.unwrap_or_default(),
        };
        let CheckConfig { certificates, timeout_seconds, max_age_seconds } = &mut config.check;
        *certificates = self.check.certificates.unwrap_or(*certificates);
        faults.set(self.check.timeout_seconds, |n| to_count(n, 1, MAX_CHECK_TIME), timeout_seconds);
        faults.set(self.check.max_age_seconds, |n| to_count(n, 60, MAX_CHECK_AGE), max_age_seconds);

        let mut log = LogConfig { format: LogFormat::Text, level: "info".into(), queries: 0 };
        faults.set(self.log.format, |text| parse_log_format(&text), &mut log.format);
        faults.set(self.log.level, |text| parse_log_level(&text), &mut log.level);
        AgentConfig { agent: config, log }
    }
}

impl RouteSpec {
    fn check(self, forward: Vec<SocketAddr>, faults: &mut Faults) -> RouteConfig {
        let mut route = RouteConfig::default();
        route.members_only = self.members_only.unwrap_or(route.members_only);
        route.own_domains = faults.list(self.own_domains, |text| parse_name(&text)).unwrap_or_default();
        route.enum_suffixes = faults.list(self.enum_suffixes, |text| parse_name(&text)).unwrap_or_default();
        route.private_addresses = self.private_addresses.unwrap_or(route.private_addresses);
        let is_validating = |wanted: bool| match wanted {
            true if forward.is_empty() || !forward.iter().all(|server| server.ip().is_loopback()) => {
                Err("`validating` needs dns.forward with name servers on loopback alone".to_owned())
            }
            wanted => Ok(wanted),
        };
        faults.set(self.validating, is_validating, &mut route.validating);
        route.name_servers = forward;
        faults.set(self.freeswitch_profile, read_profile, &mut route.freeswitch_profile);
        route.freeswitch_contexts = self.freeswitch_contexts.unwrap_or(route.freeswitch_contexts);
        route
    }
}

fn read_profile(text: String) -> Result<String, String> {
    match tandem_agent::route::is_profile(&text) {
        true => Ok(text),
        false => Err(format!("`{text}` is no name of a profile: letters, digits, `-`, `_` and `.`")),
    }
}

fn read_directories(list: OneOrMore) -> Result<Vec<DirectoryUrl>, String> {
    let list = match list {
        OneOrMore::One(url) => vec![url],
        OneOrMore::More(urls) if urls.is_empty() => return Err("name at least one directory".into()),
        OneOrMore::More(urls) => urls,
    };
    list.iter().map(|url| url.parse().map_err(|error| format!("`{url}`: {error}"))).collect()
}

/// Addresses; none given, or an empty list: off.
fn addresses(list: Option<Vec<Spanned<String>>>, faults: &mut Faults) -> Option<Vec<SocketAddr>> {
    faults.list(list, |text| parse_address(&text)).filter(|list| !list.is_empty())
}

fn read_loopback(text: &str) -> Result<SocketAddr, String> {
    let address = parse_address(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!("`{text}`: whoever reaches it may ask, so that it must be a loopback address: write 127.0.0.1:5381"))
}

fn read_trust(text: &str) -> Result<KeyTrust, String> {
    match text {
        "first-use" => Ok(KeyTrust::FirstUse),
        "pinned" => Ok(KeyTrust::Pinned),
        other => Err(format!("`{other}` is not known: write `first-use` or `pinned`")),
    }
}

fn read_unsigned(text: &str) -> Result<UnsignedPolicy, String> {
    match text {
        "accept" => Ok(UnsignedPolicy::Accept),
        "refuse" => Ok(UnsignedPolicy::Refuse),
        other => Err(format!("`{other}` is not known: write `accept` or `refuse`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<AgentConfig, Vec<String>> {
        AgentConfig::parse(text, Path::new("/etc/tandem/agent.toml"))
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    /// The template with every default switched on.
    fn template_in_force() -> String {
        let key = |line: &str| {
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned)
        };
        TEMPLATE.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
    }

    #[test]
    fn template_shows_every_key_with_its_default() {
        let least = load("directory = \"https://dir.example\"").unwrap();
        assert_eq!(load(TEMPLATE).unwrap(), least, "as it stands it changes nothing");
        let text = template_in_force();
        assert_eq!(load(&text).unwrap(), least);
        // An absent key would read as null.
        let spec: Spec = toml::from_str(&text).unwrap();
        let json = serde_json::to_string(&spec).unwrap();
        assert!(!json.contains("null"), "a key is not in the template: {json}");
    }

    #[test]
    fn a_whole_file() {
        let key = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        let config = load(&format!(
            "directory = [\"https://a.example\", \"https://b.example\"]\ndomain = \"Ostel.me\"\n\
             token_file = \"node.token\"\ndocument = \"node.json\"\nstate_dir = \"/var/lib/tandem-agent\"\n\
             trust = \"pinned\"\nunsigned = \"refuse\"\ngrace_seconds = 60\n[pins]\n\"d.example\" = \"{key}\"\n\
             [dns]\nlisten = [\"127.0.0.1:5353\"]\nforward = [\"9.9.9.9\"]\n[http]\nlisten = \"127.0.0.1:5381\"\n\
             [sip]\nudp = [\"127.0.0.1:5070\"]\n[files]\nca_bundle = \"/run/ca.pem\"\nreload = [\"kamcmd\", \"tls.reload\"]\n\
             [route]\nmembers_only = true\nenum_suffixes = [\"e164.ostn.test\"]\nfreeswitch_profile = \"internal\"\n\
             [check]\ncertificates = true\n[log]\nlevel = \"debug\"\n"
        ))
        .unwrap();
        let agent = config.agent;
        let node = agent.node.unwrap();
        assert_eq!((node.domain.to_string().as_str(), agent.directories.len()), ("ostel.me", 2));
        assert_eq!(node.key_file.as_deref(), Some(Path::new("/etc/tandem/node.key")), "beside the token");
        assert_eq!(node.document.as_deref(), Some(Path::new("/etc/tandem/node.json")));
        assert_eq!(agent.dns.unwrap().forward, ["9.9.9.9:53".parse().unwrap()]);
        let route = agent.route;
        assert_eq!((route.members_only, route.enum_suffixes.len(), route.name_servers.len()), (true, 1, 1));
        assert_eq!(
            (route.freeswitch_profile.as_str(), &*route.freeswitch_contexts),
            ("internal", &["default".into()][..])
        );
        assert_eq!((agent.trust.pins.len(), agent.trust.keys), (1, KeyTrust::Pinned));
        assert!(agent.files.is_on() && agent.check.certificates && agent.sip.is_some());
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn every_problem_is_told_with_its_line() {
        let problems = load(
            "directory = \"http://dir.example\"\ndocument = \"x\"\nno_such_key = 1\ntrust = \"blind\"\nunsigned = \"x\"\n\
             [pins]\n\"d\" = \"short\"\n[http]\nlisten = \"0.0.0.0:5381\"\n[dns]\nlisten = [\"x\"]\n[check]\ntimeout_seconds = 0\n\
             [route]\nvalidating = true\nfreeswitch_profile = \"a/b\"\n",
        )
        .unwrap_err();
        let lines: Vec<&str> = problems.iter().map(|p| p.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["1", "2", "3", "4", "5", "7", "9", "11", "13", "15", "16"], "{problems:#?}");
        assert!(problems[0].contains("loopback"), "{}", problems[0]);
        assert!(load("").unwrap_err()[0].contains("`directory` is missing"));
    }
}
