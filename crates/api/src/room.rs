//! Who may have a connection: limits in total and by client network, and which idle one goes for a new one (threat 6).
//!
//! A client's network is known by a salted hash only, in memory, while its connection is open.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Room {
    total: usize,
    per_network: usize,
    salt: RandomState,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    network: u64,
    /// Since when there is no request to answer; `None` while there is one.
    idle_since: Option<Instant>,
    /// Dropped together with the seat: that tells the connection to end.
    _stay: oneshot::Sender<Infallible>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    key: u64,
}

/// Tells a connection that its place was given to another.
#[derive(Debug)]
pub(crate) struct Notice(oneshot::Receiver<Infallible>);

/// A request being answered: until it is dropped, its connection keeps its place.
#[derive(Debug)]
pub(crate) struct Work(Arc<Place>);

impl Room {
    /// Room for `total` connections, `per_network` of them from one network.
    pub(crate) fn new(total: usize, per_network: usize) -> Arc<Self> {
        Arc::new(Self { total, per_network, salt: RandomState::new(), seats: Mutex::default() })
    }

    /// A place for a connection from `peer`. Where none is free, the connection that is idle longest ends: of the same
    /// network when that has its share, else of all. `None` when every one of them is being answered.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<(Arc<Place>, Notice)> {
        let network = match peer.to_canonical() {
            IpAddr::V4(v4) => self.salt.hash_one(v4.to_bits() >> 8),
            IpAddr::V6(v6) => self.salt.hash_one(v6.to_bits() >> 80),
        };
        let mut seats = self.seats();
        let neighbours = seats.taken.values().filter(|seat| seat.network == network).count();
        let is_free = if neighbours >= self.per_network {
            seats.free_idlest(|seat| seat.network == network)
        } else {
            seats.taken.len() < self.total || seats.free_idlest(|_| true)
        };
        if !is_free {
            return None;
        }
        let key = seats.next;
        seats.next += 1;
        let (stay, notice) = oneshot::channel();
        seats.taken.insert(key, Seat { network, idle_since: Some(Instant::now()), _stay: stay });
        Some((Arc::new(Place { room: Arc::clone(self), key }), Notice(notice)))
    }

    /// Ends the connection that is idle longest, if any is: the system has run out of descriptors.
    pub(crate) fn free_one(&self) {
        self.seats().free_idlest(|_| true);
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Whole between any two statements that could panic.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    /// Frees the seat that is idle longest among those that `may_go`; whether there was one.
    fn free_idlest(&mut self, may_go: impl Fn(&Seat) -> bool) -> bool {
        let idle = self.taken.iter().filter(|(_, seat)| may_go(seat));
        let idlest = idle.filter_map(|(key, seat)| Some((seat.idle_since?, *key))).min();
        idlest.is_some_and(|(_, key)| self.taken.remove(&key).is_some())
    }
}

impl Work {
    /// Begins to answer a request; `None` when the place has just gone, so that no change is made for nobody.
    pub(crate) fn begin(place: &Arc<Place>) -> Option<Self> {
        place.room.seats().taken.get_mut(&place.key)?.idle_since = None;
        Some(Self(Arc::clone(place)))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(seat) = self.0.room.seats().taken.get_mut(&self.0.key) {
            seat.idle_since = Some(Instant::now());
        }
    }
}

impl Notice {
    /// Ends when the place was given to another.
    pub(crate) async fn given(&mut self) {
        let Err(_dropped) = (&mut self.0).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.seats().taken.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_given(notice: &mut Notice) -> bool {
        notice.0.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    fn admit(room: &Arc<Room>, peer: &str) -> Option<(Arc<Place>, Notice)> {
        room.admit(peer.parse().unwrap())
    }

    #[test]
    fn the_idlest_of_all_goes() {
        let room = Room::new(3, 2);
        let (first, mut first_notice) = admit(&room, "192.0.2.1").unwrap();
        let (second, mut second_notice) = admit(&room, "198.51.100.1").unwrap();
        let (_third, mut third_notice) = admit(&room, "2001:db8::1").unwrap();
        let work = Work::begin(&first).unwrap();
        let (_fourth, _notice) = admit(&room, "203.0.113.1").unwrap();
        assert!(is_given(&mut second_notice), "the first is older, but is being answered");
        assert!(!is_given(&mut first_notice) && !is_given(&mut third_notice));
        assert!(Work::begin(&second).is_none(), "no request begins on a place that has gone");
        drop(work);
        let (_fifth, _notice) = admit(&room, "203.0.113.2").unwrap();
        assert!(is_given(&mut third_notice) && !is_given(&mut first_notice), "the first was idle last");
    }

    #[test]
    fn one_network_has_its_share() {
        for (peers, neighbour, stranger) in [
            (["192.0.2.1", "192.0.2.255"], "192.0.2.7", "192.0.3.1"),
            (["127.0.0.1", "::ffff:127.0.0.1"], "127.0.0.2", "127.0.1.1"),
            (["2001:db8:1::1", "2001:db8:1:ffff::1"], "2001:db8:1:2::", "2001:db8:2::1"),
        ] {
            let room = Room::new(100, 2);
            let (_other, mut other) = admit(&room, "203.0.113.1").unwrap();
            let (first, mut notice) = admit(&room, peers[0]).unwrap();
            let (second, _second) = admit(&room, peers[1]).unwrap();
            let work = [Work::begin(&first), Work::begin(&second)];
            assert!(admit(&room, neighbour).is_none(), "{neighbour}: all of its network are being answered");
            assert!(admit(&room, stranger).is_some(), "{stranger} is of another network");
            drop(work);
            assert!(admit(&room, neighbour).is_some(), "{neighbour}");
            assert!(is_given(&mut notice) && !is_given(&mut other), "{neighbour}: one of its own goes");
        }
    }

    #[test]
    fn places_come_back() {
        let room = Room::new(1, 1);
        let (place, _notice) = admit(&room, "192.0.2.1").unwrap();
        let work = Work::begin(&place);
        assert!(admit(&room, "198.51.100.1").is_none(), "full");
        drop((place, work));
        let (_place, mut notice) = admit(&room, "198.51.100.1").unwrap();
        assert!(!is_given(&mut notice));
        room.free_one();
        assert!(is_given(&mut notice), "no descriptors left");
    }
}
