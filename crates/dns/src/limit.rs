//! Response rate limiting (DNS-67, threat 1): whoever has not proved its address gets so many answers a second for its
//! network, and the rest cut short or not at all. A forged source then draws little traffic onto its victim.
//!
//! One [`Limiter`] belongs to one UDP thread: no lock, no allocation. It holds no address, only hashes of networks under
//! a salt that nobody knows and that is drawn anew every [`SALT_LIFE`]. Its table has a fixed size. Networks with the
//! same hash share one account, which is only stricter; a network for which a full set has no place takes the account of
//! the one that was quiet longest, which starts anew when it comes back.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::access::Network;
use crate::answer::Reply;
use crate::wire::{Rcode, flag};

/// How long a salt is used: hashes of networks mean nothing after that. Times in the table count from its drawing, in
/// microseconds, and must fit 32 bits.
const SALT_LIFE: Duration = Duration::from_secs(15 * 60);

/// Sets of accounts in the table: a power of two, so that bits of the hash choose.
const SETS: usize = 4096;

/// Accounts in a set: 393,216 octets in all.
const WAYS: usize = 4;

/// Answers that a network may have at once after a rest, in microseconds of its rate: one second's.
const BURST: u32 = 1_000_000;

/// Bits of an address that make a source network: what one site has.
const PREFIX_V4: u32 = 24;
/// The same for IPv6.
const PREFIX_V6: u32 = 56;

/// Settings of the response rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers a second for one source network (IPv4 /24, IPv6 /56) and kind of answer (found, not found, error), from
    /// one UDP thread; at most [`MAX_RATE`](Self::MAX_RATE).
    pub per_second: NonZeroU32,
    /// Of the answers over the rate, one in so many goes out cut short, so that a real client asks again by TCP; the
    /// others are not sent. 1: all go out cut short. 0: none.
    pub slip: u32,
    /// Networks that are not limited.
    pub exempt: Vec<Network>,
}

impl RateLimit {
    /// The highest rate: above it the clock is too coarse.
    pub const MAX_RATE: u32 = 1_000_000;
}

/// What kind of answer it is: each kind has its own account, so that a flood of one does not hide the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Found = 0,
    NotFound = 1,
    Error = 2,
}

/// Kinds of answers.
const KINDS: usize = 3;

/// What happens to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sentence {
    /// It is sent as it is.
    Free,
    /// It is over the rate, and goes out cut short.
    Slip,
    /// It is over the rate, and is not sent.
    Silence,
}

/// One network's account.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// The network, salted and hashed; which set it is in says more bits.
    tag: u64,
    /// When each kind will have been paid for, in microseconds since the salt was drawn (a leaky bucket).
    paid_at: [u32; KINDS],
    /// Answers over the rate.
    over: u32,
}

impl Account {
    /// When it was used last, nearly: what it owes lasts at most a burst longer.
    fn last_used(&self) -> u32 {
        self.paid_at.into_iter().max().unwrap_or_default()
    }
}

/// The rate limiter of one UDP thread.
pub(crate) struct Limiter {
    settings: RateLimit,
    /// What one answer costs, in microseconds.
    cost: u32,
    /// Draws a salt.
    draw: fn() -> [u8; 16],
    salt: [u8; 16],
    /// When the salt was drawn.
    drawn_at: Duration,
    /// Now, in microseconds since then.
    now: u32,
    table: Box<[[Account; WAYS]]>,
}

impl Limiter {
    /// A limiter whose clock stands at `now`, since any fixed moment. `draw` gives an unpredictable salt.
    pub(crate) fn new(settings: RateLimit, now: Duration, draw: fn() -> [u8; 16]) -> Self {
        let cost = (BURST / settings.per_second).max(1);
        let table = vec![[Account::default(); WAYS]; SETS].into_boxed_slice();
        Self { settings, cost, draw, salt: draw(), drawn_at: now, now: BURST, table }
    }

    /// Sets the clock, once a batch; draws a new salt when it is time, and forgets everything then.
    pub(crate) fn set_clock(&mut self, now: Duration) {
        let since = now.saturating_sub(self.drawn_at);
        if since >= SALT_LIFE {
            (self.salt, self.drawn_at) = ((self.draw)(), now);
            self.table.fill([Account::default(); WAYS]);
            self.now = BURST;
        } else {
            // An empty account, all zero, has long paid: the clock begins a burst later. 15 minutes fit 32 bits.
            self.now = BURST + since.as_micros() as u32;
        }
    }

    /// Judges the answer `reply` in `buffer` to `address`, cuts it short if that is the sentence.
    pub(crate) fn judge(&mut self, address: IpAddr, reply: &mut Reply, buffer: &mut [u8]) -> Sentence {
        // DNS-67: a good cookie or signature proves that the source is not forged.
        if reply.cut.standing.is_proved() || self.settings.exempt.iter().any(|network| network.contains(address)) {
            return Sentence::Free;
        }
        let kind = kind_of(reply, buffer);
        let sentence = self.charge(address, kind);
        if sentence == Sentence::Slip {
            cut_short(kind, reply, buffer);
        }
        sentence
    }

    fn charge(&mut self, address: IpAddr, kind: Kind) -> Sentence {
        let hash = SipHasher13::new_with_key(&self.salt).hash(&network_of(address));
        let set = &mut self.table[hash as usize % SETS];
        let place = set.iter().position(|account| account.tag == hash).unwrap_or_else(|| {
            let quiet = set.iter().enumerate().min_by_key(|(_, account)| account.last_used());
            let place = quiet.map_or(0, |(place, _)| place);
            set[place] = Account { tag: hash, ..Account::default() };
            place
        });
        let account = &mut set[place];
        let paid_at = &mut account.paid_at[kind as usize];
        let owed_until = (*paid_at).max(self.now - BURST) + self.cost;
        if owed_until <= self.now {
            *paid_at = owed_until;
            return Sentence::Free;
        }
        account.over = account.over.wrapping_add(1);
        let slips = self.settings.slip > 0 && account.over.is_multiple_of(self.settings.slip);
        if slips { Sentence::Slip } else { Sentence::Silence }
    }
}

/// Shows neither salt nor table.
impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A salt from the randomness that the standard library draws for its hash tables.
pub(crate) fn random_salt() -> [u8; 16] {
    let half = |number: u64| RandomState::new().hash_one(number).to_ne_bytes();
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&half(0));
    salt[8..].copy_from_slice(&half(1));
    salt
}

/// The network of a source. Networks of both families differ: an IPv6 one has more octets.
fn network_of(address: IpAddr) -> [u8; 9] {
    let mut network = [0; 9];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let masked = address.to_bits() & (u32::MAX << (32 - PREFIX_V4));
            network[..4].copy_from_slice(&masked.to_be_bytes());
            network[8] = 4;
        }
        IpAddr::V6(address) => {
            let masked = address.to_bits() & (u128::MAX << (128 - PREFIX_V6));
            network[..8].copy_from_slice(&((masked >> 64) as u64).to_be_bytes());
            network[8] = 6;
        }
    }
    network
}

fn kind_of(reply: &Reply, buffer: &[u8]) -> Kind {
    let is_empty = buffer[6..8] == [0, 0];
    match reply.rcode {
        Rcode::NoError if is_empty && !reply.truncated && buffer[2] & flag::AA != 0 => Kind::NotFound,
        Rcode::NoError => Kind::Found,
        Rcode::NxDomain | Rcode::YxDomain => Kind::NotFound,
        Rcode::FormErr | Rcode::NotImp | Rcode::Refused | Rcode::NotAuth | Rcode::BadVers | Rcode::BadCookie => {
            Kind::Error
        }
    }
}

/// Leaves the question and the OPT record: with TC, or, for a client that knows cookies, with BADCOOKIE and the cookie
/// that frees it from the limit (DNS-58). An error is short already, and goes as it is.
fn cut_short(kind: Kind, reply: &mut Reply, buffer: &mut [u8]) {
    if kind == Kind::Error {
        return;
    }
    let cut = reply.cut;
    let opt_at = reply.len - cut.opt_len;
    buffer.copy_within(opt_at..reply.len, cut.question_end);
    reply.len = cut.question_end + cut.opt_len;
    if cut.standing.has_cookie() {
        reply.rcode = Rcode::BadCookie;
        reply.truncated = false;
        buffer[2] &= !(flag::AA | flag::TC);
        // The upper bits of the rcode are in the TTL of OPT (RFC 6891 6.1.3).
        buffer[cut.question_end + 5] = Rcode::BadCookie.high();
    } else {
        reply.rcode = Rcode::NoError;
        reply.truncated = true;
        buffer[2] |= flag::TC;
    }
    buffer[3] = reply.rcode.low();
    buffer[6..10].fill(0);
    buffer[10..12].copy_from_slice(&u16::from(cut.opt_len > 0).to_be_bytes());
}
