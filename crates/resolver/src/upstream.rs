//! The name servers: one question in, one named reply out, within a limit of time and number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, system_conf};
use tandem_model::locate::{Dnssec, Failure, Question, Reply};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::answers::Told;
use crate::convert;
use crate::lenient::Lenient;
use crate::settings::{DnssecTrust, MAX_PARALLEL, MAX_SERVERS, NameServers, Settings, SettingsError};
use crate::trace::Trace;

/// What UDP may carry towards us without fragments (RFC 9715 3.2, DNS flag day 2020).
const EDNS_PAYLOAD: u16 = 1232;
/// Servers of one list that are asked at the same time; the first answer counts.
const SERVERS_AT_ONCE: usize = 2;

type Pool = NameServerPool<Lenient>;

/// All name servers, in the groups in which they are asked.
pub(crate) struct Upstream {
    /// The next group is asked when one says that the name is not its own.
    groups: Vec<Group>,
    question_timeout: Duration,
    /// A connection carries a limited number of questions; more wait here instead of failing.
    slots: Semaphore,
    trace: Option<Trace>,
}

/// Name servers that are equals.
struct Group {
    /// All of them: the quickest to answer counts.
    all: Pool,
    /// Each alone, if there are several: one that is ill must not speak for the others.
    each: Vec<Pool>,
    /// Their AD bit counts (CERT-57).
    trusted: bool,
}

impl Upstream {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let parallel = settings.max_parallel.clamp(1, MAX_PARALLEL);
        let named = |servers: &[SocketAddr]| {
            if servers.is_empty() { Err(SettingsError::NoServers) } else { Ok(servers.iter().map(server).collect()) }
        };
        let groups: Vec<Vec<NameServerConfig>> = match &settings.servers {
            NameServers::System => vec![system()?],
            NameServers::Only(servers) => vec![named(servers)?],
            NameServers::First(servers) => vec![named(servers)?, system()?],
            NameServers::FirstThen(servers, others) => vec![named(servers)?, named(others)?],
        };
        let options = options(settings.question_timeout, parallel);
        let trust = settings.dnssec;
        let groups = groups.into_iter().map(|servers| Group::new(servers, &options, trust));
        let groups: Vec<Group> = groups
            .collect::<Result<_, NetError>>()
            .map_err(|error| SettingsError::System(std::io::Error::other(error)))?;
        if trust != DnssecTrust::Nobody && !groups.iter().any(|group| group.trusted) {
            return Err(SettingsError::NotLoopback);
        }
        let (question_timeout, trace) = (settings.question_timeout, settings.trace.clone());
        Ok(Self { groups, question_timeout, slots: Semaphore::new(parallel), trace })
    }

    /// Puts one question, and notes it where that is wanted.
    pub(crate) async fn ask(&self, question: &Question) -> Told {
        let Some(trace) = &self.trace else { return self.put(question).await };
        let (at, since) = (trace.ask(question), Instant::now());
        let told = self.put(question).await;
        trace.tell(at, &told, since);
        told
    }

    /// Puts one question. Each exchange takes at most the question timeout; the caller's own limit bounds them all, and
    /// the wait for a free slot.
    async fn put(&self, question: &Question) -> Told {
        let failed = |failure| (Reply::Failed(failure), Dnssec::Indeterminate);
        let Ok(query) = convert::query(question) else { return failed(Failure::Unreadable) };
        let Ok(_slot) = self.slots.acquire().await else { return failed(Failure::Unreachable) };
        let (mut reply, mut dnssec) = failed(Failure::Unreachable);
        for (group, servers) in self.groups.iter().enumerate() {
            (reply, dnssec) = self.exchange(&servers.all, &query, servers.trusted).await;
            for server in &servers.each {
                if !is_no_help(&reply) {
                    break;
                }
                (reply, dnssec) = self.exchange(server, &query, servers.trusted).await;
            }
            debug!(%question, group, outcome = outcome(&reply), "asked");
            if !matches!(reply, Reply::Failed(Failure::Refused | Failure::Referral)) {
                break;
            }
        }
        (reply, dnssec)
    }

    async fn exchange(&self, servers: &Pool, query: &Query, trusted: bool) -> Told {
        let mut request = DnsRequestOptions::default();
        request.use_edns = true;
        request.edns_payload_len = EDNS_PAYLOAD;
        request.recursion_desired = true;
        request.edns_set_dnssec_ok = trusted;
        let answer = servers.lookup(query.clone(), request).first_answer();
        match tokio::time::timeout(self.question_timeout, answer).await {
            Ok(result) => {
                let dnssec = if trusted { convert::dnssec(&result) } else { Dnssec::Indeterminate };
                (convert::reply(result), dnssec)
            }
            Err(_) => (Reply::Failed(Failure::Timeout), Dnssec::Indeterminate),
        }
    }
}

impl Group {
    fn new(mut servers: Vec<NameServerConfig>, options: &ResolverOpts, trust: DnssecTrust) -> Result<Self, NetError> {
        servers.truncate(MAX_SERVERS);
        let trusted = trust == DnssecTrust::Loopback && servers.iter().all(|server| server.ip.is_loopback());
        let each = if servers.len() > 1 { servers.clone() } else { Vec::new() };
        let each = each.into_iter().map(|server| pool(vec![server], options)).collect::<Result<_, _>>()?;
        Ok(Self { all: pool(servers, options)?, each, trusted })
    }
}

/// A server that cannot say, though its neighbour may.
const fn is_no_help(reply: &Reply) -> bool {
    matches!(reply, Reply::Failed(Failure::ServerFailure | Failure::Refused | Failure::Referral))
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

fn outcome(reply: &Reply) -> &'static str {
    match reply {
        Reply::Records(_) => "records",
        Reply::NoData { .. } => "no data",
        Reply::NxDomain { .. } => "no such name",
        Reply::Failed(_) => "failed",
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// The name servers of `/etc/resolv.conf`, and nothing else of it: no search list, no options.
fn system() -> Result<Vec<NameServerConfig>, SettingsError> {
    let (config, _) =
        system_conf::read_system_conf().map_err(|error| SettingsError::System(std::io::Error::other(error)))?;
    match config.name_servers() {
        [] => Err(SettingsError::NoServers),
        servers => Ok(servers.to_vec()),
    }
}

fn options(timeout: Duration, parallel: usize) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.edns0 = true;
    options.edns_payload_len = EDNS_PAYLOAD;
    options.num_concurrent_reqs = SERVERS_AT_ONCE;
    options.max_active_requests = parallel;
    // Threat 10: random port and id are the library's own; random case makes forging harder still.
    options.case_randomization = true;
    options.try_tcp_on_error = true;
    options
}

fn pool(servers: Vec<NameServerConfig>, options: &ResolverOpts) -> Result<Pool, NetError> {
    let context = Arc::new(PoolContext::new(options.clone(), TlsConfig::new()?));
    Ok(NameServerPool::from_config(servers, context, Lenient::default()))
}
