//! Who may have a TCP connection: limits in total and by client network, and who makes room (threat 6).
//!
//! A client's network is known by a salted hash only, in memory, for as long as its connection is open.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Marks a connection that is answering: it is not closed to make room.
const BUSY: u64 = u64::MAX;

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Room {
    salt: RandomState,
    start: Instant,
    total: usize,
    per_network: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
}

/// One open connection; dropping it frees its place.
#[derive(Debug)]
pub(crate) struct Guest {
    room: Arc<Room>,
    key: u64,
    seat: Arc<Seat>,
}

#[derive(Debug)]
struct Seat {
    network: u64,
    /// Microseconds from the room's start to the last whole message, or [`BUSY`].
    idle_since: AtomicU64,
    leave: Notify,
}

/// What it took to let a connection in.
#[derive(Debug)]
pub(crate) enum Admission {
    /// There was room.
    Free(Guest),
    /// The connection idle longest had to go.
    InsteadOf(Guest),
    /// All others are busy.
    Full,
}

impl Room {
    /// Room for `total` connections, `per_network` of them from one network.
    pub(crate) fn new(total: usize, per_network: usize) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { salt: RandomState::new(), start: Instant::now(), total, per_network, open })
    }

    /// Lets a connection from `address` in, if need be instead of the one that is idle longest: of the same network if
    /// that has its share, else of all.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Admission {
        let network = self.network(address);
        let mut open = self.open();
        let crowded = self.crowded(&open, network);
        if let Some(among) = crowded
            && !open.dismiss_idlest(among)
        {
            return Admission::Full;
        }
        let seat = Arc::new(Seat { network, idle_since: AtomicU64::new(self.now()), leave: Notify::new() });
        let key = open.next;
        open.next += 1;
        open.seats.insert(key, Arc::clone(&seat));
        let guest = Guest { room: Arc::clone(self), key, seat };
        if crowded.is_some() { Admission::InsteadOf(guest) } else { Admission::Free(guest) }
    }

    /// Whether letting a connection from `address` in would cost another its place: not for an address that may be forged.
    pub(crate) fn is_crowded(&self, address: IpAddr) -> bool {
        self.crowded(&self.open(), self.network(address)).is_some()
    }

    /// Among whom somebody has to go to let one of `network` in: of one network, or of all. `None`: nobody has to.
    fn crowded(&self, open: &Open, network: u64) -> Option<Option<u64>> {
        let of_network = open.seats.values().filter(|seat| seat.network == network).count();
        if of_network >= self.per_network {
            Some(Some(network))
        } else if open.seats.len() >= self.total {
            Some(None)
        } else {
            None
        }
    }

    /// Closes the connection that is idle longest, because descriptors have run out; whether there was one.
    pub(crate) fn dismiss_idlest(&self) -> bool {
        self.open().dismiss_idlest(None)
    }

    /// A salted hash of the client's network: IPv4 /24, IPv6 /48.
    fn network(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(address) => self.salt.hash_one(&address.octets()[..3]),
            IpAddr::V6(address) => self.salt.hash_one(&address.octets()[..6]),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(BUSY - 1)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while it is locked, and the map is whole in between.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn dismiss_idlest(&mut self, network: Option<u64>) -> bool {
        let idle_since = |seat: &Seat| seat.idle_since.load(Ordering::Relaxed);
        let idlest = self
            .seats
            .iter()
            .filter(|(_, seat)| network.is_none_or(|network| seat.network == network))
            .map(|(key, seat)| (idle_since(seat), *key))
            .filter(|(since, _)| *since != BUSY)
            .min();
        let Some(seat) = idlest.and_then(|(_, key)| self.seats.remove(&key)) else { return false };
        seat.leave.notify_one();
        true
    }
}

impl Guest {
    /// Says that what came is being read and answered; since when there was nothing before.
    pub(crate) fn busy(&self) -> u64 {
        self.seat.idle_since.swap(BUSY, Ordering::Relaxed)
    }

    /// Says that what came was no whole message: [`busy`](Self::busy) gave `since`.
    pub(crate) fn idle_as_before(&self, since: u64) {
        self.seat.idle_since.store(since, Ordering::Relaxed);
    }

    /// Says that a message came, and all is answered.
    pub(crate) fn idle(&self) {
        self.seat.idle_since.store(self.room.now(), Ordering::Relaxed);
    }

    /// Waits until this connection has to make room.
    pub(crate) async fn dismissed(&self) {
        self.seat.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.room.open().seats.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(admission: Admission) -> Guest {
        match admission {
            Admission::Free(guest) | Admission::InsteadOf(guest) => guest,
            Admission::Full => panic!("there should be room"),
        }
    }

    async fn is_dismissed(guest: &Guest) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(1), guest.dismissed()).await.is_ok()
    }

    #[tokio::test]
    async fn the_idlest_makes_room_threat_6() {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let room = Room::new(2, 2);
        let first = guest(room.admit(address(1)));
        let second = guest(room.admit(IpAddr::from([198, 51, 100, 1])));
        first.busy();
        assert!(matches!(room.admit(address(2)), Admission::InsteadOf(_)), "the second is idle");
        assert!(is_dismissed(&second).await && !is_dismissed(&first).await);
        let third = guest(room.admit(address(3)));
        third.busy();
        assert!(matches!(room.admit(address(4)), Admission::Full), "all are busy");
        assert!(room.is_crowded(address(4)));
        drop(third);
        assert!(!room.is_crowded(address(4)));
        assert!(matches!(room.admit(address(5)), Admission::Free(_)), "a place is free");
    }

    #[tokio::test]
    async fn a_drip_of_octets_is_no_sign_of_life_dns_62() {
        let room = Room::new(2, 2);
        let dripping = guest(room.admit(IpAddr::from([192, 0, 2, 1])));
        let asking = guest(room.admit(IpAddr::from([198, 51, 100, 1])));
        asking.busy();
        asking.idle();
        let since = dripping.busy();
        dripping.idle_as_before(since);
        assert!(matches!(room.admit(IpAddr::from([203, 0, 113, 1])), Admission::InsteadOf(_)));
        assert!(is_dismissed(&dripping).await && !is_dismissed(&asking).await);
    }

    #[tokio::test]
    async fn one_network_has_its_share_dns_62() {
        let room = Room::new(10, 1);
        let other = guest(room.admit("2001:db8:2::1".parse().unwrap()));
        let first = guest(room.admit("2001:db8:1::1".parse().unwrap()));
        let second = guest(room.admit("2001:db8:1:ffff::1".parse().unwrap()));
        assert!(is_dismissed(&first).await, "its own network's idlest goes");
        assert!(!is_dismissed(&other).await, "nobody else's");
        second.busy();
        assert!(matches!(room.admit("2001:db8:1::2".parse().unwrap()), Admission::Full));
    }
}
