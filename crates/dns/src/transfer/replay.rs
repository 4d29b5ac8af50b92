//! Signed requests for transfers that came already: a copy of one, sent by somebody who saw it, opens nothing (threat 7).
//!
//! RFC 8945 5.2.3 would have the newest time of each key remembered, and everything signed before it refused. Secondaries
//! that share a key, or ask on several connections, break under that; so requests themselves are remembered (decisions 12).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::tsig::FUDGE;

/// Requests that are remembered; past it the oldest is forgotten. Only who has a key adds one, and it takes
/// seven a second to get there.
const MOST: usize = 4096;

/// Seconds for which a request could be sent again: its time may lie a fudge after ours, and then a fudge before it. Who signs with
/// a longer fudge than the usual one is remembered no longer.
const LASTS: u64 = 2 * FUDGE as u64;

/// The requests that came in the last minutes.
#[derive(Debug, Default)]
pub(super) struct Replays {
    salt: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: HashSet<u64>,
    /// When each came, oldest first.
    order: VecDeque<(u64, u64)>,
}

impl Replays {
    /// Whether a request with this MAC has not come before; it is remembered now. `now` is in seconds since 1970.
    pub(super) fn is_new(&self, mac: &[u8], now: u64) -> bool {
        let request = self.salt.hash_one(mac);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, oldest)) = seen.order.front().copied()
            && (seen.order.len() >= MOST || now.saturating_sub(at) > LASTS)
        {
            seen.order.pop_front();
            seen.requests.remove(&oldest);
        }
        let is_new = seen.requests.insert(request);
        if is_new {
            seen.order.push_back((now, request));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_once_rfc_8945_5_2_3() {
        let replays = Replays::default();
        assert!(replays.is_new(b"one", 1000) && replays.is_new(b"two", 900), "clocks may differ");
        assert!(!replays.is_new(b"one", 1000) && !replays.is_new(b"two", 1000 + LASTS - 101));
        assert!(replays.is_new(b"one", 1001 + LASTS), "its time is over: the check of times refuses it");
        for index in 0..MOST {
            assert!(replays.is_new(&index.to_be_bytes(), 2000));
        }
        let seen = replays.seen.lock().unwrap();
        assert_eq!((seen.order.len(), seen.requests.len()), (MOST, MOST), "bounded");
    }
}
