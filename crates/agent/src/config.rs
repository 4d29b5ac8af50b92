//! What an agent is told: complete and checked. Made from `agent.toml` by the command; defaults stand here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use tandem_identity::Thumbprint;
use tandem_model::DomainName;

use crate::directory::DirectoryUrl;

/// Everything that an agent needs to know. A service whose part is `None` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory's API, in the order in which they are tried; never empty.
    pub directories: Vec<DirectoryUrl>,
    /// Certificates (PEM) to trust for the directory, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The file of the token that publishes the node, and reads the members if there is no other for that.
    pub token_file: Option<PathBuf>,
    /// The file of the token that reads the members: a read-only one gets numbers and signed documents too.
    pub read_token_file: Option<PathBuf>,
    /// The folder of the copy of the members; made with mode 0700.
    pub state_dir: PathBuf,
    /// The node that this agent publishes and renews; `None`: it only follows.
    pub node: Option<OwnNode>,
    /// Which keys are believed.
    pub trust: TrustConfig,
    /// Seconds that members stay usable after their lease, while the directory cannot be asked.
    pub grace_seconds: u64,
    /// Name service on this host.
    pub dns: Option<DnsConfig>,
    /// HTTP on this host: status, metrics, routes.
    pub http: Option<HttpConfig>,
    /// A SIP redirect server.
    pub sip: Option<SipConfig>,
    /// How routes are found, for HTTP and SIP alike.
    pub route: RouteConfig,
    /// Files for SIP servers and firewalls.
    pub files: FilesConfig,
    /// Whether targets are looked at before they are given out.
    pub check: CheckConfig,
}

/// The node of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNode {
    /// Its SIP domain.
    pub domain: DomainName,
    /// The file of its document (JSON); `None`: it is published by other means, and only renewed here.
    pub document: Option<PathBuf>,
    /// The file of its key, made if there is none; `None`: its documents are not signed.
    pub key_file: Option<PathBuf>,
    /// Whether it is drained when the agent is told to end, and restored at the next start.
    pub drain_on_stop: bool,
}

/// Which documents are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustConfig {
    /// Where the first key of a member comes from.
    pub keys: KeyTrust,
    /// Keys that the operator knows: each is the only one believed for its domain.
    pub pins: BTreeMap<DomainName, Thumbprint>,
    /// What happens to members that sign nothing.
    pub unsigned: UnsignedPolicy,
}

/// Where the first key of a member comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyTrust {
    /// The first one that the directory shows; from then on it stays that one.
    #[default]
    FirstUse,
    /// The operator's pins only: who has none is no member here.
    Pinned,
}

/// What happens to members that sign nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsignedPolicy {
    /// They are members, on the directory's word.
    #[default]
    Accept,
    /// They are no members here.
    Refuse,
}

/// Name service on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Addresses for UDP and TCP; never empty.
    pub listen: Vec<SocketAddr>,
    /// Name servers for everything that no member makes; empty: those of the system.
    pub forward: Vec<SocketAddr>,
}

/// HTTP on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Its address, a loopback one: whoever reaches it may ask.
    pub listen: SocketAddr,
}

/// A SIP redirect server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SipConfig {
    /// Addresses for UDP.
    pub udp: Vec<SocketAddr>,
    /// Addresses for TCP.
    pub tcp: Vec<SocketAddr>,
    /// Addresses for TLS.
    pub tls: Vec<SocketAddr>,
    /// Certificate chain (PEM) for TLS.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
}

/// How routes are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// Whether domains that are no members are never called; else DNS is asked for them.
    pub members_only: bool,
    /// Name servers for what the copy does not know; empty: those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// Domains that the SIP server of this host answers for, besides the node's.
    pub own_domains: Vec<DomainName>,
    /// ENUM trees for numbers that no member has, in the order in which they are tried.
    pub enum_suffixes: Vec<DomainName>,
    /// Whether DNS may lead to addresses that are not public.
    pub private_addresses: bool,
    /// Whether the name servers are all on loopback and validate, so that their word on DNSSEC counts.
    pub validating: bool,
    /// The Sofia profile that FreeSWITCH calls members by.
    pub freeswitch_profile: String,
    /// The contexts of FreeSWITCH whose calls go to members: those that strangers reach are none of them.
    pub freeswitch_contexts: Vec<String>,
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            members_only: false,
            name_servers: Vec::new(),
            own_domains: Vec::new(),
            enum_suffixes: Vec::new(),
            private_addresses: false,
            validating: false,
            freeswitch_profile: "external".into(),
            freeswitch_contexts: vec!["default".into()],
        }
    }
}

/// Files that are written anew whenever members change; each is off without a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesConfig {
    /// Certificates of the members' own authorities.
    pub ca_bundle: Option<PathBuf>,
    /// Kamailio's module permissions: addresses that calls come from.
    pub kamailio_addresses: Option<PathBuf>,
    /// Kamailio's module dispatcher: targets.
    pub kamailio_dispatchers: Option<PathBuf>,
    /// FreeSWITCH's access control list.
    pub freeswitch_acl: Option<PathBuf>,
    /// A set of nftables.
    pub nftables: Option<PathBuf>,
    /// The command, with its arguments, that is run after files changed; empty: none.
    pub reload: Vec<String>,
}

/// Whether targets are looked at before they are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckConfig {
    /// Only targets whose certificate was good are given out.
    pub certificates: bool,
    /// Longest time of one look, in seconds.
    pub timeout_seconds: u64,
    /// Seconds that a result counts.
    pub max_age_seconds: u64,
}

/// Seven days: a directory that is away for a week stops no call.
pub const DEFAULT_GRACE_SECONDS: u64 = 7 * 86_400;

impl Default for Config {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            ca_file: None,
            token_file: None,
            read_token_file: None,
            state_dir: "agent".into(),
            node: None,
            trust: TrustConfig::default(),
            grace_seconds: DEFAULT_GRACE_SECONDS,
            dns: None,
            http: None,
            sip: None,
            route: RouteConfig::default(),
            files: FilesConfig::default(),
            check: CheckConfig { certificates: false, timeout_seconds: 5, max_age_seconds: 3600 },
        }
    }
}

impl FilesConfig {
    /// Whether any file is wanted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let Self { ca_bundle, kamailio_addresses, kamailio_dispatchers, freeswitch_acl, nftables, reload: _ } = self;
        [ca_bundle, kamailio_addresses, kamailio_dispatchers, freeswitch_acl, nftables]
            .iter()
            .any(|file| file.is_some())
    }
}
