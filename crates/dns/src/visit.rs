//! One connection of DoH or DoQ: queries come on streams of their own, and share the limits of the connection.
//!
//! A connection lives for as long as whole queries come, as one of TCP does (DNS-62). Octets that become no query, and what
//! HTTP/2 and QUIC do to keep a connection alive, earn no time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};

use crate::answer::Transport;
use crate::stats::TransportStats;
use crate::tcp::room::Guest;
use crate::tcp::{Shared, with_scratch};

/// What the streams of one connection share.
pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    /// Kept no longer than the connection.
    client: IpAddr,
    guest: Guest,
    /// When the connection ends if no whole query comes.
    deadline: Mutex<Instant>,
}

/// Why a connection has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// No whole query came for too long.
    Idle,
    /// Another client needs the place.
    Crowded,
}

impl Visit {
    /// A connection that begins now.
    pub(crate) fn new(shared: Arc<Shared>, client: IpAddr, guest: Guest) -> Arc<Self> {
        let deadline = Mutex::new(Instant::now() + shared.limits.idle);
        Arc::new(Self { shared, client, guest, deadline })
    }

    /// Answers `query`, at most a longest message: what `copy` makes of the answer. `None` if in DNS it gets none.
    pub(crate) fn answer<T>(&self, query: &[u8], copy: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.guest.idle();
        *self.deadline() = Instant::now() + self.shared.limits.idle;
        let zones = self.shared.live.load();
        let mut counted = TransportStats::default();
        let answer = with_scratch(|scratch| {
            scratch[..query.len()].copy_from_slice(query);
            let reply = self.shared.answer(&zones, Transport::Exchange, self.client, &mut scratch[..], query.len());
            counted.count(reply.as_ref(), &scratch[..]);
            reply.map(|reply| copy(&scratch[..reply.len]))
        });
        self.shared.counters.add(counted);
        answer
    }

    /// Waits until the connection has to go.
    pub(crate) async fn over(&self) -> Farewell {
        let idle = async {
            loop {
                let deadline = *self.deadline();
                if deadline <= Instant::now() {
                    return;
                }
                sleep_until(deadline).await;
            }
        };
        tokio::select! {
            () = idle => Farewell::Idle,
            () = self.guest.dismissed() => Farewell::Crowded,
        }
    }

    /// Waits until the server stops.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.shared.stop.clone();
        // An error means that the server was dropped.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    fn deadline(&self) -> MutexGuard<'_, Instant> {
        // Nothing panics while it is locked.
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
