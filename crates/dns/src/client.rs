//! What an answer depends on beside the message and the zones: who asks and how ([`Client`]), and what the operator
//! wants ([`Policy`]).

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::answer::Transport;
use crate::chaos::Identity;
use crate::config::Config;
use crate::cookie::{Cookies, Standing};
use crate::options::Opt;
use crate::query_log::QueryLog;
use crate::request::Edns;

/// What is the same for all messages.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Makes and checks cookies; `None`: the option is ignored.
    pub(crate) cookies: Option<Cookies>,
    /// What the server tells about itself.
    pub(crate) identity: Identity,
    /// How long a TCP connection may be idle, in units of 100 ms (RFC 7828 3.1).
    pub(crate) keepalive: u16,
    /// Says what was asked; `None`: nobody wants to know.
    pub(crate) query_log: Option<QueryLog>,
}

impl Policy {
    /// What `config` says.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            cookies: config.cookies.clone(),
            identity: config.identity.clone(),
            keepalive: tenths(config.tcp.idle),
            query_log: config.queries_logged.map(QueryLog::new),
        }
    }

    /// A message that comes from `address` by `transport` at `now`, as [`now`] gives it.
    pub(crate) const fn client(&self, transport: Transport, address: IpAddr, now: u32) -> Client<'_> {
        Client { transport, address, now, policy: self }
    }
}

/// Who sent one message, how, and when. Has no `Debug`: an address must not reach a log.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    /// How the message came.
    pub(crate) transport: Transport,
    /// Where the answer goes.
    pub(crate) address: IpAddr,
    /// Seconds since 1970, the low 32 bits (RFC 9018 4.3).
    pub(crate) now: u32,
    /// What the operator wants.
    pub(crate) policy: &'a Policy,
}

impl<'a> Client<'a> {
    /// The OPT record that answers `edns`, if that is there, and what the cookie proves. Costs a hash or two with a
    /// cookie, nothing without.
    pub(crate) fn opt_for(&self, edns: Option<&Edns>) -> (Option<Opt<'a>>, Standing) {
        let Some(edns) = edns else { return (None, Standing::Unproven) };
        let asked = &edns.asked;
        let mut opt = Opt { dnssec_ok: edns.dnssec_ok, ..Opt::default() };
        let mut standing = Standing::Unproven;
        if let (Some(shown), Some(cookies)) = (asked.cookie, &self.policy.cookies) {
            let (found, cookie) = cookies.judge(shown, self.address, self.now);
            (standing, opt.cookie) = (found, Some(cookie));
        }
        if asked.nsid {
            opt.nsid = self.policy.identity.nsid();
        }
        // DNS-63, DNS-T52: never over UDP, and not to clients that would not know it.
        if asked.keepalive && self.transport == Transport::Tcp {
            opt.keepalive = Some(self.policy.keepalive);
        }
        (Some(opt), standing)
    }
}

/// The time for [`Policy::client`]: once a batch, without a system call on the usual systems (vDSO).
pub(crate) fn now() -> u32 {
    // A clock before 1970 is wrong anyway; cookies are then only good for as long as it stays so.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

/// `limit` in units of 100 ms, as long as the option can say.
fn tenths(limit: Duration) -> u16 {
    u16::try_from(limit.as_millis() / 100).unwrap_or(u16::MAX)
}
