//! Counters of what was answered: numbers only, never who asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::answer::Reply;
use crate::cookie::Standing;
use crate::kinds::{KINDS, KindCounts};
use crate::limit::Sentence;
use crate::transfer::TransferStats;
use crate::wire::{HEADER, Rcode, u16_at};

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
    /// Answers with YXDOMAIN: what a DNAME makes of the name is too long.
    pub yx_domain: u64,
    /// Answers with NOTAUTH.
    pub not_auth: u64,
    /// Answers with BADVERS.
    pub bad_vers: u64,
    /// Answers with BADCOOKIE.
    pub bad_cookie: u64,
    /// Answers with TC set, among those above.
    pub truncated: u64,
    /// Queries with a server cookie that is ours and good.
    pub cookies_good: u64,
    /// Queries with a server cookie that is not ours, or no longer good.
    pub cookies_bad: u64,
    /// Queries with a client cookie alone: a client that asks for its first server cookie.
    pub cookies_new: u64,
    /// Answers over the rate of their source (DNS-67): not sent, or cut short.
    pub limited: u64,
    /// Those of them that went out cut short; they are counted above by their rcode, too.
    pub slipped: u64,
    /// Messages that got no answer: responses, and what is shorter than a header.
    pub ignored: u64,
    /// Answers that the system did not take, or the client did not read in time.
    pub not_sent: u64,
    /// Connections accepted; those whose handshake failed, too.
    pub accepted: u64,
    /// Connections closed to make room for others, or refused for want of room.
    pub crowded_out: u64,
    /// Connections open now, those in their handshake, too.
    pub open: u64,
    /// Answers by the type that was asked for.
    pub by_type: KindCounts,
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
            + self.yx_domain
            + self.not_auth
            + self.bad_vers
            + self.bad_cookie
            + self.ignored
            + self.limited
            - self.slipped
    }

    /// Counts one message and its answer, which stands at the front of `answer`.
    pub(crate) fn count(&mut self, reply: Option<&Reply>, answer: &[u8]) {
        let Some(reply) = reply else {
            self.ignored += 1;
            return;
        };
        self.truncated += u64::from(reply.truncated);
        // An answer without a question ends it where it would begin.
        if let (HEADER.., Some(kind)) = (reply.cut.question_end - 4, u16_at(answer, reply.cut.question_end - 4)) {
            self.by_type.count(kind);
        }
        self.count_cookie(reply.cut.standing);
        *match reply.rcode {
            Rcode::NoError => &mut self.no_error,
            Rcode::FormErr => &mut self.form_err,
            Rcode::NxDomain => &mut self.nx_domain,
            Rcode::NotImp => &mut self.not_imp,
            Rcode::Refused => &mut self.refused,
            Rcode::YxDomain => &mut self.yx_domain,
            Rcode::NotAuth => &mut self.not_auth,
            Rcode::BadVers => &mut self.bad_vers,
            Rcode::BadCookie => &mut self.bad_cookie,
        } += 1;
    }

    /// Counts an answer that was over its source's rate; [`count`](Self::count) comes first if it goes out all the same.
    pub(crate) fn count_limited(&mut self, sentence: Sentence, standing: Standing) {
        match sentence {
            Sentence::Free => {}
            Sentence::Slip => {
                self.limited += 1;
                self.slipped += 1;
            }
            Sentence::Silence => {
                self.limited += 1;
                self.count_cookie(standing);
            }
        }
    }

    fn count_cookie(&mut self, standing: Standing) {
        match standing {
            Standing::Unproven | Standing::Signed => {}
            Standing::New => self.cookies_new += 1,
            Standing::Bad => self.cookies_bad += 1,
            Standing::Good => self.cookies_good += 1,
        }
    }

    fn fields(&mut self) -> [&mut u64; FIELDS] {
        [
            &mut self.no_error,
            &mut self.form_err,
            &mut self.nx_domain,
            &mut self.not_imp,
            &mut self.refused,
            &mut self.yx_domain,
            &mut self.not_auth,
            &mut self.bad_vers,
            &mut self.bad_cookie,
            &mut self.cookies_good,
            &mut self.cookies_bad,
            &mut self.cookies_new,
            &mut self.limited,
            &mut self.slipped,
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
    /// Over TLS (DoT).
    pub tls: TransportStats,
    /// Over HTTPS (DoH).
    pub https: TransportStats,
    /// Over QUIC (DoQ).
    pub quic: TransportStats,
    /// Transfers, over whatever they went.
    pub transfers: TransferStats,
}

/// Counters in [`TransportStats`].
const FIELDS: usize = 19;

/// The shared form of [`TransportStats`]: each UDP thread has its own, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters([AtomicU64; FIELDS], [AtomicU64; KINDS], AtomicU64);

/// A connection that is counted as open for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Counters>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.2.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// Adds what a batch counted.
    pub(crate) fn add(&self, mut counted: TransportStats) {
        for (shared, counted) in self.0.iter().zip(counted.fields()) {
            if *counted > 0 {
                shared.fetch_add(*counted, Ordering::Relaxed);
            }
        }
        for (shared, counted) in self.1.iter().zip(counted.by_type.0) {
            if counted > 0 {
                shared.fetch_add(counted, Ordering::Relaxed);
            }
        }
    }

    /// Counts a connection that has been opened.
    pub(crate) fn open(self: &Arc<Self>) -> OpenConnection {
        self.2.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Adds these counters to `sum`.
    pub(crate) fn add_to(&self, sum: &mut TransportStats) {
        sum.open += self.2.load(Ordering::Relaxed);
        for (shared, sum) in self.0.iter().zip(sum.fields()) {
            *sum += shared.load(Ordering::Relaxed);
        }
        for (shared, sum) in self.1.iter().zip(&mut sum.by_type.0) {
            *sum += shared.load(Ordering::Relaxed);
        }
    }
}
