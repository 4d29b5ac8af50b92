//! What `tandem serve` runs with: [`Config`], complete and checked; made from a [`Spec`] (what an operator types)
//! and [`Overrides`] (flags and environment). Defaults stand here and nowhere else; `template.toml` explains them.

mod access;
mod agent;
mod lease;
mod mail;
mod policy;
mod probe;
mod problem;
mod proof;
mod spec;
mod transfer;
mod webhook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tandem_api::{LimitConfig, RegistrationMode};
use tandem_model::DomainName;
use tandem_store::{ClaimPolicy, LeaseTimes};

pub use agent::{AgentConfig, TEMPLATE as AGENT_TEMPLATE};
pub use mail::MailConfig;
pub use policy::PolicyConfig;
pub use probe::ProbeConfig;
pub use problem::{ConfigError, Problem};
pub use proof::ProofConfig;
pub use spec::Spec;
pub use webhook::WebhookConfig;

/// A `tandem.toml` in which every key stands with its default and its meaning.
pub const TEMPLATE: &str = include_str!("template.toml");

/// The file that is read when `--config` names none; it need not exist.
pub const DEFAULT_FILE: &str = "tandem.toml";

/// Everything that a service needs to know, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder of the database, the admin token and a self-signed certificate.
    pub data_dir: PathBuf,
    /// The folder of master files.
    pub zones_dir: PathBuf,
    /// Which store holds the registrations.
    pub store: Store,
    /// Days that journal entries are kept.
    pub journal_days: u64,
    /// The zone in which every node appears.
    pub peers_zone: GeneratedZone,
    /// The zone in which every node's SRV records appear, and nothing else.
    pub policy_zone: GeneratedZone,
    /// The zone in which numbers appear.
    pub number_zone: GeneratedZone,
    /// DNS listeners.
    pub dns: DnsConfig,
    /// The HTTP listener.
    pub api: ApiConfig,
    /// How long registrations live.
    pub leases: LeaseTimes,
    /// How nodes are looked at.
    pub probes: ProbeConfig,
    /// Where changes are sent.
    pub webhooks: Vec<WebhookConfig>,
    /// Name servers for names outside our zones; empty: those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// Where metrics are served; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How to log.
    pub log: LogConfig,
    /// Who may have a token without an admin.
    pub registration: RegistrationMode,
    /// Where mail to contacts goes out; none: nowhere.
    pub mail: Option<MailConfig>,
    /// Proofs of foreign domains.
    pub proofs: ProofConfig,
    /// Seconds from the reset of a node's key until another may sign.
    pub key_reset_seconds: u32,
    /// What nodes' tokens may add to their numbers.
    pub number_claims: ClaimPolicy,
    /// Who may ask the API how often, and have how much.
    pub limits: LimitConfig,
}

/// Which store holds the registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// SQLite in the data folder.
    Embedded,
}

/// Which zone is made from nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeneratedZone {
    /// The first zone, in canonical order, that begins with the usual label; none if there is no such zone.
    Auto,
    /// None.
    None,
    /// This one: it must have a master file.
    Named(DomainName),
}

impl GeneratedZone {
    /// Decides for the zones that are there. `label` is the usual first label: `peers`, `policy`, `e164`.
    #[must_use]
    pub fn choose<'a>(&self, label: &str, apexes: impl IntoIterator<Item = &'a DomainName>) -> Option<DomainName> {
        match self {
            Self::Auto => {
                apexes.into_iter().filter(|apex| apex.labels().next() == Some(label.as_bytes())).min().cloned()
            }
            Self::None => None,
            Self::Named(apex) => Some(apex.clone()),
        }
    }
}

/// DNS listeners and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Addresses for UDP and TCP; never empty.
    pub listen: Vec<SocketAddr>,
    /// Addresses for DNS over TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// Addresses for DNS over HTTPS.
    pub https_listen: Vec<SocketAddr>,
    /// Addresses for DNS over QUIC; no port 53.
    pub quic_listen: Vec<SocketAddr>,
    /// Certificate chain and key (PEM) of these three; `None`: those of the API.
    pub tls: Option<CertificateFiles>,
    /// UDP threads for each address; 0: one for each core.
    pub udp_threads: usize,
    /// Most octets of an answer over UDP, whatever the client says that it can take (DNS-44).
    pub udp_answer_octets: u16,
    /// Most TCP connections at a time.
    pub tcp_connections: usize,
    /// Most TCP connections at a time from one client network (IPv4 /24, IPv6 /48).
    pub tcp_connections_per_network: usize,
    /// Seconds that a TCP connection may be idle.
    pub tcp_idle_seconds: u64,
    /// How clients are treated that the server does not know.
    pub policy: PolicyConfig,
    /// The name of the catalog zone (RFC 9432); none: there is no catalog.
    pub catalog: Option<DomainName>,
    /// Keys, transfers and secondaries.
    pub transfers: tandem_dns::TransferConfig,
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Its address; plain HTTP only if that is a loopback one and there is no certificate.
    pub listen: SocketAddr,
    /// Certificate chain and key, PEM.
    pub certificate: Option<CertificateFiles>,
    /// Host names for a certificate that is made at first start.
    pub names: Vec<DomainName>,
    /// The URL that callers use, when they do not see the listener itself.
    pub public_url: Option<String>,
    /// Most connections at a time.
    pub connections: usize,
    /// Most of them from one client network (IPv4 /24, IPv6 /48).
    pub connections_per_network: usize,
}

/// Files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The shape of a line.
    pub format: LogFormat,
    /// A filter as `tracing-subscriber`'s `EnvFilter` reads it.
    pub level: String,
    /// Most lines a second about queries; 0: none.
    pub queries: u32,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What flags and environment variables say: each wins over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--zones`.
    pub zones: Option<PathBuf>,
    /// `--dns`, any number of times; empty: not given.
    pub dns: Vec<SocketAddr>,
    /// `--api`.
    pub api: Option<SocketAddr>,
    /// `--store`.
    pub store: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

impl DnsConfig {
    /// What the DNS server is started with, but for the certificate of the encrypted transports.
    ///
    /// # Panics
    ///
    /// If `udp_answer_octets` is out of the server's range, which no checked configuration is.
    pub(crate) fn to_server(&self) -> tandem_dns::Config {
        let mut config = tandem_dns::Config::new(self.listen.clone());
        config.udp_threads = std::num::NonZeroUsize::new(self.udp_threads);
        config.udp_limit =
            tandem_dns::UdpLimit::new(self.udp_answer_octets).expect("checked when the setting was read");
        config.tcp.connections = self.tcp_connections;
        config.tcp.connections_per_network = self.tcp_connections_per_network;
        config.tcp.idle = std::time::Duration::from_secs(self.tcp_idle_seconds);
        config.encrypted.tls.clone_from(&self.tls_listen);
        config.encrypted.https.clone_from(&self.https_listen);
        config.encrypted.quic.clone_from(&self.quic_listen);
        config.transfers = self.transfers.clone();
        self.policy.apply(&mut config);
        config
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            zones_dir: "zones".into(),
            store: Store::Embedded,
            journal_days: 90,
            peers_zone: GeneratedZone::Auto,
            policy_zone: GeneratedZone::Auto,
            number_zone: GeneratedZone::Auto,
            dns: DnsConfig {
                listen: vec![SocketAddr::from(([127, 0, 0, 1], 5300))],
                tls_listen: Vec::new(),
                https_listen: Vec::new(),
                quic_listen: Vec::new(),
                tls: None,
                udp_threads: 0,
                udp_answer_octets: 1232,
                tcp_connections: 1000,
                tcp_connections_per_network: 100,
                tcp_idle_seconds: 10,
                policy: PolicyConfig::default(),
                catalog: None,
                transfers: tandem_dns::TransferConfig::default(),
            },
            api: ApiConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 5380)),
                certificate: None,
                names: Vec::new(),
                public_url: None,
                connections: 2048,
                connections_per_network: 128,
            },
            leases: LeaseTimes::default(),
            probes: ProbeConfig::default(),
            webhooks: Vec::new(),
            name_servers: Vec::new(),
            metrics: None,
            log: LogConfig { format: LogFormat::Text, level: "info".into(), queries: 0 },
            registration: RegistrationMode::Closed,
            mail: None,
            proofs: ProofConfig::default(),
            key_reset_seconds: proof::DEFAULT_RESET_DELAY,
            number_claims: ClaimPolicy::Approved,
            limits: LimitConfig::default(),
        }
    }
}

impl Config {
    /// Reads `file`, or `./tandem.toml` if that exists, and lays `overrides` over it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found and its line: the operator corrects the file or the flag.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let (config, problems) = Self::read(file, overrides);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }

    /// As [`load`](Self::load), with the defaults for what is not right.
    pub(crate) fn read(file: Option<&Path>, overrides: Overrides) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut config = Self::default();
        let default_file = Path::new(DEFAULT_FILE);
        let path = file.or_else(|| default_file.exists().then_some(default_file));
        if let Some(path) = path {
            match std::fs::read_to_string(path) {
                Ok(text) => Spec::apply(&text, path, &mut config, &mut problems),
                Err(error) => problems.push(Problem::of_file(path, format!("cannot be read: {error}"))),
            }
        }
        config.lay_over(overrides, &mut problems);
        (config, problems)
    }

    fn lay_over(&mut self, overrides: Overrides, problems: &mut Vec<Problem>) {
        if let Some(dir) = overrides.data_dir {
            self.data_dir = dir;
        }
        if let Some(dir) = overrides.zones {
            self.zones_dir = dir;
        }
        if !overrides.dns.is_empty() {
            self.dns.listen = overrides.dns;
        }
        if let Some(address) = overrides.api {
            self.api.listen = address;
        }
        let mut set = |flag: &str, result: Result<(), String>| {
            if let Err(reason) = result {
                problems.push(Problem::of_flag(flag, reason));
            }
        };
        if let Some(text) = overrides.store {
            set("--store", spec::parse_store(&text).map(|store| self.store = store));
        }
        if let Some(text) = overrides.log_format {
            set("--log-format", spec::parse_log_format(&text).map(|format| self.log.format = format));
        }
        if let Some(text) = overrides.log_level {
            set("--log-level", spec::parse_log_level(&text).map(|level| self.log.level = level));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), Overrides::default()).map_err(|error| {
            let prefix = format!("{}/", dir.path().display());
            error.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        })
    }

    #[test]
    fn defaults_of_dns_are_the_servers_own() {
        let (ours, theirs) = (Config::default().dns.to_server(), tandem_dns::Config::new(Vec::new()));
        assert_eq!((ours.udp_threads, ours.udp_limit, ours.tcp), (theirs.udp_threads, theirs.udp_limit, theirs.tcp));
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
        let text = template_in_force();
        let mut config =
            Config { data_dir: "x".into(), name_servers: vec![([192, 0, 2, 1], 53).into()], ..Config::default() };
        let mut problems = Vec::new();
        Spec::apply(&text, Path::new(DEFAULT_FILE), &mut config, &mut problems);
        assert_eq!(problems, []);
        assert_eq!(config, Config::default());
        // An absent key would read as null.
        let spec: Spec = toml::from_str(&text).unwrap();
        let json = serde_json::to_string(&spec).unwrap();
        assert!(!json.contains("null"), "a key is not in the template: {json}");
        // And as it stands it changes nothing.
        assert_eq!(load(TEMPLATE).unwrap().dns, Config::default().dns);
    }

    #[test]
    fn paths_count_from_the_folder_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tandem.toml");
        std::fs::write(&file, "zones = \"z\"\ndata_dir = \"/var/lib/tandem\"\n").unwrap();
        let config = Config::load(Some(&file), Overrides::default()).unwrap();
        assert_eq!(config.zones_dir, dir.path().join("z"));
        assert_eq!(config.data_dir, Path::new("/var/lib/tandem"));
    }

    #[test]
    fn every_problem_is_told_with_its_line() {
        let problems = load(
            "version = 2\nzone = \"x\"\nstore = \"etcd://a\"\npeers_zone = \"a..b\"\n[dns]\nlisten = [\"x\", \"127.0.0.1:0\"]\nudp_threads = \"two\"\n\
             [api]\nlisten = \"localhost\"\ncertificate = \"c.pem\"\n[log]\nformat = \"xml\"\nlevel = \"loud,=\"\n[metric]\n",
        )
        .unwrap_err();
        let lines: Vec<&str> = problems.iter().map(|p| p.split(": ").next().unwrap()).collect();
        assert_eq!(
            lines,
            [
                "t.toml:1",
                "t.toml:2",
                "t.toml:3",
                "t.toml:4",
                "t.toml:6",
                "t.toml:7",
                "t.toml:9",
                "t.toml:10",
                "t.toml:12",
                "t.toml:13",
                "t.toml:14"
            ],
            "{problems:#?}"
        );
        assert!(problems[1].contains("unknown field `zone`"), "{}", problems[1]);
        assert!(problems[2].contains("only the embedded store"), "{}", problems[2]);
    }

    #[test]
    fn syntax_errors_have_a_line() {
        let problems = load("zones = \"a\"\ndata_dir = \n").unwrap_err();
        assert!(problems[0].starts_with("t.toml:2: "), "{problems:?}");
    }

    #[test]
    fn a_level_is_a_level() {
        for (text, right) in
            [("info", true), ("info,tandem_api=debug", true), ("tandem=off", true), ("loud", false), ("info,", false)]
        {
            assert_eq!(spec::parse_log_level(text).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tandem.toml");
        std::fs::write(&file, "[dns]\nlisten = [\"127.0.0.1:1\"]\n[api]\nlisten = \"127.0.0.1:2\"\n").unwrap();
        let dns: SocketAddr = "127.0.0.1:3".parse().unwrap();
        let overrides = Overrides { dns: vec![dns], ..Overrides::default() };
        let config = Config::load(Some(&file), overrides).unwrap();
        assert_eq!((config.dns.listen, config.api.listen.port()), (vec![dns], 2));
    }

    #[test]
    fn generated_zones_are_found_by_their_label() {
        let names: Vec<DomainName> =
            ["peers.z.test", "peersx.a.test", "peers.a.test", "a.test"].iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(GeneratedZone::Auto.choose("peers", &names), Some("peers.a.test".parse().unwrap()));
        assert_eq!(GeneratedZone::Auto.choose("e164", &names), None);
        assert_eq!(GeneratedZone::None.choose("peers", &names), None);
    }
}
