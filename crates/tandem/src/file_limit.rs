//! How many files and sockets the process may have open: as many as the settings allow connections, if the system
//! lets it.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::Config;

/// Beside connections and DNS sockets: the store, the log, files that are read, look-ups of hosts, the runtime's own.
const RESERVE: u64 = 128;

/// Most files that a service with these settings has open.
fn needed(config: &Config) -> u64 {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if config.dns.udp_threads == 0 { cores() } else { config.dns.udp_threads };
    // For each address a socket a UDP thread, and the one that accepts TCP.
    let sockets = config.dns.listen.len() as u64 * (threads as u64 + 1);
    config.dns.tcp_connections as u64 + config.api.connections as u64 + sockets + RESERVE
}

/// The soft limit that serves `needed` best; none if the present one is right.
fn better(limit: &Rlimit, needed: u64) -> Option<u64> {
    let soft = limit.current?;
    let wanted = limit.maximum.map_or(needed, |hard| hard.min(needed));
    (wanted > soft).then_some(wanted)
}

/// Lets the process make no core dumps, as far as the soft limit goes: a dump would have tokens, keys, and the addresses of the
/// last clients (threat 20).
pub(crate) fn forbid_core_dumps() {
    let limit = getrlimit(Resource::Core);
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit }) {
        warn!(%error, "core dumps cannot be switched off");
    }
}

/// Raises the process's soft limit of open files (RLIMIT_NOFILE) to what `config` needs, as far as the hard limit lets
/// it; says in the log when that is too low. Past the limit a service would take no new connections.
pub(crate) fn raise(config: &Config) {
    let needed = needed(config);
    let mut limit = getrlimit(Resource::Nofile);
    if let Some(soft) = better(&limit, needed) {
        match set(soft, &limit) {
            Ok(()) => {
                info!(from = limit.current, to = soft, "limit of open files raised");
                limit.current = Some(soft);
            }
            Err(error) => warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    if let Some(limit) = limit.current.filter(|soft| *soft < needed) {
        warn!(
            limit,
            needed,
            "the limit of open files is too low for the connections in the settings: raise it (ulimit -Hn, \
             LimitNOFILE), or lower dns.tcp_connections"
        );
    }
}

fn set(soft: u64, limit: &Rlimit) -> io::Result<()> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum }).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_as_far_as_needed_and_allowed() {
        for (soft, hard, wanted) in [
            (Some(256), Some(1_000_000), Some(3000)),
            (Some(256), None, Some(3000)),
            (Some(256), Some(1000), Some(1000)),
            (Some(1000), Some(1000), None),
            (Some(4000), Some(1_000_000), None),
            (None, None, None),
        ] {
            assert_eq!(better(&Rlimit { current: soft, maximum: hard }, 3000), wanted, "{soft:?} {hard:?}");
        }
    }

    #[test]
    fn every_connection_and_socket_counts() {
        let mut config = Config::default();
        config.dns.udp_threads = 4;
        let before = needed(&config);
        config.dns.tcp_connections += 500;
        config.dns.listen.push(([127, 0, 0, 1], 5301).into());
        assert_eq!(needed(&config), before + 500 + 5);
    }
}
