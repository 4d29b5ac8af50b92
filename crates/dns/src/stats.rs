//! Counters of what was answered: numbers only, never who asked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::answer::Reply;
use crate::wire::Rcode;

/// What one transport, or one thread of it, has done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// Answers with NOERROR.
    pub no_error: u64,
    /// Answers with FORMERR.
    pub form_err: u64,
    /// Answers with NXDOMAIN.
    pub nx_domain: u64,
    /// Answers with NOTIMP.
    pub not_imp: u64,
    /// Answers with REFUSED.
    pub refused: u64,
    /// Answers with NOTAUTH.
    pub not_auth: u64,
    /// Answers with BADVERS.
    pub bad_vers: u64,
    /// Answers with TC set, among those above.
    pub truncated: u64,
    /// Messages that got no answer: responses, and what is shorter than a header.
    pub ignored: u64,
    /// Answers that the system did not take, or the client did not read in time.
    pub not_sent: u64,
    /// TCP connections accepted.
    pub accepted: u64,
    /// TCP connections closed to make room for others, or refused for want of room.
    pub crowded_out: u64,
}

impl TransportStats {
    /// Messages that came in.
    #[must_use]
    pub const fn queries(&self) -> u64 {
        self.no_error
            + self.form_err
            + self.nx_domain
            + self.not_imp
            + self.refused
            + self.not_auth
            + self.bad_vers
            + self.ignored
    }

    /// Counts one message and its answer.
    pub(crate) fn count(&mut self, reply: Option<&Reply>) {
        let Some(reply) = reply else {
            self.ignored += 1;
            return;
        };
        self.truncated += u64::from(reply.truncated);
        *match reply.rcode {
            Rcode::NoError => &mut self.no_error,
            Rcode::FormErr => &mut self.form_err,
            Rcode::NxDomain => &mut self.nx_domain,
            Rcode::NotImp => &mut self.not_imp,
            Rcode::Refused => &mut self.refused,
            Rcode::NotAuth => &mut self.not_auth,
            Rcode::BadVers => &mut self.bad_vers,
        } += 1;
    }

    fn fields(&mut self) -> [&mut u64; FIELDS] {
        [
            &mut self.no_error,
            &mut self.form_err,
            &mut self.nx_domain,
            &mut self.not_imp,
            &mut self.refused,
            &mut self.not_auth,
            &mut self.bad_vers,
            &mut self.truncated,
            &mut self.ignored,
            &mut self.not_sent,
            &mut self.accepted,
            &mut self.crowded_out,
        ]
    }
}

/// What a server has done since its start, by transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Over UDP.
    pub udp: TransportStats,
    /// Over TCP.
    pub tcp: TransportStats,
}

/// Counters in [`TransportStats`].
const FIELDS: usize = 12;

/// The shared form of [`TransportStats`]: each UDP thread has its own, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters([AtomicU64; FIELDS]);

impl Counters {
    /// Adds what a batch counted.
    pub(crate) fn add(&self, mut counted: TransportStats) {
        for (shared, counted) in self.0.iter().zip(counted.fields()) {
            if *counted > 0 {
                shared.fetch_add(*counted, Ordering::Relaxed);
            }
        }
    }

    /// Adds these counters to `sum`.
    pub(crate) fn add_to(&self, sum: &mut TransportStats) {
        for (shared, sum) in self.0.iter().zip(sum.fields()) {
            *sum += shared.load(Ordering::Relaxed);
        }
    }
}
