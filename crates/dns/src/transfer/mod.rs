//! Transfers out: whole zones (AXFR, RFC 5936), differences (IXFR, RFC 1995), and who may have them (DNS-71 to DNS-74).
//!
//! [`Transfers`] is what a server knows about that: keys, rules, limits. The full path asks it about signed messages
//! and about transfers; a transfer that is granted becomes [`Granted`], which a thread of the blocking pool writes, chunk by
//! chunk, as fast as the client reads. One version is served from the first record to the last (DNS-79, DNS-T57).

mod messages;
mod replay;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tandem_model::{DomainName, Serial};
use tandem_zone::{Live, QueryName, RdataSink, RrType, Rrset, Zone, Zones};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, info, warn};

use crate::access::TransferRule;
use crate::notify::Secondary;
use crate::tsig::{Session, TsigKey};
use crate::wire::{HEADER, LENGTH, flag, name_len, u16_at};
pub(crate) use messages::Frame;
use messages::{Messages, Sink, Stop};
use replay::Replays;

/// Chunks that wait for the client while the next is made; with the two in hand, some 320 KiB a transfer.
const CHUNKS: usize = 2;

/// Records of the longest difference that is sent; past it the whole zone is the better answer, and memory is bounded.
const MAX_DIFFERENCE: usize = 100_000;

/// Records of the longest difference that is tried over UDP: no more fit (DNS-72).
const MAX_UDP_DIFFERENCE: usize = 64;

/// Type IXFR (RFC 1995 2).
pub(crate) const IXFR: u16 = 251;

/// Type AXFR (RFC 1035 3.2.3).
pub(crate) const AXFR: u16 = 252;

/// What bounds transfers: they are long and cost bandwidth, so they are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Transfers at a time; others wait for their turn.
    pub at_a_time: usize,
    /// Longest wait for a turn; past it the connection is closed and the secondary tries again by itself.
    pub turn: Duration,
    /// How long a client may take to read 64 KiB.
    pub read: Duration,
    /// Longest duration of one transfer.
    pub total: Duration,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            at_a_time: 10,
            turn: Duration::from_secs(30),
            read: Duration::from_secs(30),
            total: Duration::from_secs(3600),
        }
    }
}

/// Which transfers a server gives, to whom; by default none to nobody (DNS-74).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransferConfig {
    /// The keys that we know; names are unique.
    pub keys: Vec<TsigKey>,
    /// Who may transfer what; one rule that allows it is enough.
    pub rules: Vec<TransferRule>,
    /// Whom to tell of changes.
    pub secondaries: Vec<Secondary>,
    /// The limits.
    pub limits: TransferLimits,
}

/// What was transferred since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferStats {
    /// Whole zones sent to the end, also in answer to IXFR.
    pub axfr: u64,
    /// Differences sent to the end.
    pub ixfr: u64,
    /// IXFR answered with our SOA alone: the client is up to date, or asked over UDP for more than fits.
    pub soa: u64,
    /// Refused: no rule allows it.
    pub refused: u64,
    /// Not sent to the end: the client went away, was too slow, or there was no turn for it.
    pub broken_off: u64,
    /// Messages whose signature was not good (TSIG).
    pub bad_signatures: u64,
}

/// The shared form of [`TransferStats`].
#[derive(Debug, Default)]
pub(crate) struct TransferCounters {
    pub(crate) axfr: AtomicU64,
    pub(crate) ixfr: AtomicU64,
    pub(crate) soa: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) broken_off: AtomicU64,
    pub(crate) bad_signatures: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Seconds since 1970: the clock of signatures.
pub(crate) fn system_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a server knows about keys and transfers.
#[derive(Debug)]
pub(crate) struct Transfers {
    /// Seconds since 1970.
    pub(crate) clock: fn() -> u64,
    pub(crate) counters: TransferCounters,
    pub(crate) limits: TransferLimits,
    /// Says that there is another version, or that the permissions were exchanged.
    pub(crate) news: Notify,
    permissions: ArcSwap<Permissions>,
    replays: Replays,
    live: Live,
    turns: Arc<Semaphore>,
}

/// What may be exchanged for other settings while the server runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// The keys that we know.
    pub(crate) keys: Vec<Arc<TsigKey>>,
    /// Whom to tell of changes.
    pub(crate) secondaries: Vec<Secondary>,
    rules: Vec<TransferRule>,
}

impl Permissions {
    fn new(config: TransferConfig) -> Arc<Self> {
        let keys = config.keys.into_iter().map(Arc::new).collect();
        Arc::new(Self { keys, secondaries: config.secondaries, rules: config.rules })
    }
}

/// A request for a transfer whose form is right, and whose signature, if any, is good.
#[derive(Debug)]
pub(crate) struct TransferRequest {
    /// What was asked for: the name, which is a zone's apex if we have it.
    pub(crate) name: QueryName,
    /// For IXFR, the serial that the client has.
    pub(crate) from: Option<Serial>,
    /// How the answer looks.
    pub(crate) frame: Frame,
}

/// A transfer that may go out.
#[derive(Debug)]
pub(crate) struct Granted {
    transfers: Arc<Transfers>,
    zones: Arc<Zones>,
    apex: DomainName,
    from: Option<Serial>,
    frame: Frame,
}

/// What a client over UDP gets for its IXFR.
#[derive(Debug)]
pub(crate) enum OverUdp {
    /// This message.
    Message(Vec<u8>),
    /// REFUSED.
    Refused(Frame),
}

impl Transfers {
    /// Serves what `config` says, from `live`; `clock` gives seconds since 1970.
    pub(crate) fn new(config: TransferConfig, live: Live, clock: fn() -> u64) -> Arc<Self> {
        let limits = config.limits;
        let transfers = Arc::new(Self {
            clock,
            counters: TransferCounters::default(),
            limits,
            permissions: ArcSwap::new(Permissions::new(config)),
            news: Notify::new(),
            replays: Replays::default(),
            live,
            turns: Arc::new(Semaphore::new(limits.at_a_time)),
        });
        let weak = Arc::downgrade(&transfers);
        transfers.live.on_publish(move || weak.upgrade().map(|transfers| transfers.news.notify_one()).is_some());
        transfers
    }

    /// Serves the keys, rules and secondaries of `config` from now on; whether any of them differs. Transfers that have begun
    /// go on, and the limits stay.
    pub(crate) fn replace(&self, config: TransferConfig) -> bool {
        let permissions = Permissions::new(config);
        if *permissions == **self.permissions.load() {
            return false;
        }
        self.permissions.store(permissions);
        self.news.notify_one();
        true
    }

    /// The keys, rules and secondaries of this moment.
    pub(crate) fn permissions(&self) -> Arc<Permissions> {
        self.permissions.load_full()
    }

    /// Whether a signed request for a transfer over a connection comes for the first time.
    pub(crate) fn is_new(&self, session: &Session, now: u64) -> bool {
        self.replays.is_new(session.prior_mac(), now)
    }

    /// What was done since the start.
    pub(crate) fn stats(&self) -> TransferStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        TransferStats {
            axfr: of(&counters.axfr),
            ixfr: of(&counters.ixfr),
            soa: of(&counters.soa),
            refused: of(&counters.refused),
            broken_off: of(&counters.broken_off),
            bad_signatures: of(&counters.bad_signatures),
        }
    }

    /// Lets a transfer over TCP begin, or gives the frame back: refused, or not our zone (DNS-T54).
    ///
    /// `zones` is the version that will be sent. `client` is used for the decision and forgotten.
    pub(crate) fn grant(
        self: &Arc<Self>,
        zones: &Arc<Zones>,
        request: TransferRequest,
        client: IpAddr,
    ) -> Result<Granted, Box<Frame>> {
        let TransferRequest { name, from, frame } = request;
        let Some(zone) = zone_at(zones, &name) else {
            count(&self.counters.refused);
            return Err(Box::new(frame));
        };
        let key = frame.session.as_ref().map(Session::key);
        if !self.permissions.load().rules.iter().any(|rule| rule.allows(zone.apex(), key, client)) {
            count(&self.counters.refused);
            debug!(zone = %zone.apex(), key = key.map(tracing::field::display), rule = "DNS-74", "transfer refused");
            return Err(Box::new(frame));
        }
        let apex = zone.apex().clone();
        Ok(Granted { transfers: Arc::clone(self), zones: Arc::clone(zones), apex, from, frame })
    }

    /// Answers an IXFR over UDP: with the difference if it has no more than `limit` octets, else with our SOA alone,
    /// which sends the client to TCP (RFC 1995 2, DNS-72).
    ///
    /// The sender of a datagram can be forged, so only a key counts here. Where a network alone has the permission, the
    /// answer is the SOA, which everybody may ask for.
    pub(crate) fn over_udp(&self, request: TransferRequest, limit: usize) -> OverUdp {
        let TransferRequest { name, from, frame } = request;
        let zones = self.live.load();
        let (Some(zone), Some(from)) = (zone_at(&zones, &name), from) else {
            count(&self.counters.refused);
            return OverUdp::Refused(frame);
        };
        let key = frame.session.as_ref().map(Session::key);
        let of_zone = |rule: &&TransferRule| rule.zone.as_ref().is_none_or(|apex| apex == zone.apex());
        let permissions = self.permissions();
        let mut rules = permissions.rules.iter().filter(of_zone);
        let by_key = rules.clone().any(|rule| {
            rule.networks.is_empty() && !rule.keys.is_empty() && key.is_some_and(|key| rule.keys.contains(key))
        });
        let elsewhere = rules.any(|rule| {
            !rule.networks.is_empty() && (rule.keys.is_empty() || key.is_some_and(|key| rule.keys.contains(key)))
        });
        if !by_key && !elsewhere {
            count(&self.counters.refused);
            return OverUdp::Refused(frame);
        }
        let difference = (by_key && is_behind(from, zone))
            .then(|| self.live.difference(&zones, zone.apex(), from, MAX_UDP_DIFFERENCE))
            .flatten();
        let one = |frame: Frame, write: &dyn Fn(&mut Messages<'_>) -> Result<(), Stop>| {
            let mut message = Vec::new();
            let mut sink = |chunk: Vec<u8>| {
                message = chunk;
                true
            };
            let mut messages = Messages::new(frame, self.clock, &mut sink);
            let written = write(&mut messages).and_then(|()| messages.finish());
            message.drain(..LENGTH.min(message.len()));
            (written.is_ok() && message.len() <= limit).then_some(message)
        };
        if let Some((old_soa, old_ttl, difference)) = difference {
            let whole =
                |messages: &mut Messages<'_>| write_difference(messages, zone, (&old_soa, old_ttl), &difference);
            if let Some(message) = one(frame.clone(), &whole) {
                count(&self.counters.ixfr);
                return OverUdp::Message(message);
            }
        }
        count(&self.counters.soa);
        let refused = frame.clone();
        one(frame, &|messages| soa(messages, zone)).map_or(OverUdp::Refused(refused), OverUdp::Message)
    }
}

/// Whether `message` asks for a transfer, as far as its header and question say.
pub(crate) fn is_wanted(message: &[u8]) -> bool {
    let is_query = message.get(2).is_some_and(|bits| bits & (flag::QR | flag::OPCODE) == 0);
    let kind = message.get(HEADER..).and_then(name_len).and_then(|len| u16_at(message, HEADER + len));
    is_query && matches!(kind, Some(IXFR | AXFR))
}

impl Granted {
    /// Waits for a turn, then writes on a thread of the blocking pool. Without a turn in time the chunks end broken off.
    ///
    /// Whoever takes the chunks sets the pace; dropping them ends the transfer.
    pub(crate) fn begin(self) -> Chunks {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        tokio::spawn(async move {
            let transfers = Arc::clone(&self.transfers);
            let turn = tokio::time::timeout(transfers.limits.turn, Arc::clone(&transfers.turns).acquire_owned());
            let turn = tokio::select! {
                turn = turn => turn,
                () = sender.closed() => return count(&transfers.counters.broken_off),
            };
            let Ok(Ok(turn)) = turn else {
                count(&transfers.counters.broken_off);
                let limit = transfers.limits.at_a_time;
                return warn!(zone = %self.apex, limit, "a transfer found no turn: too many at a time");
            };
            tokio::task::spawn_blocking(move || {
                if self.run(&turn, &mut |chunk| sender.blocking_send(Some(chunk)).is_ok()) {
                    // Nobody waits for it if this fails.
                    let _ = sender.blocking_send(None);
                }
            });
        });
        Chunks(chunks)
    }

    /// Writes all of it; whether it came to its end. Holds its turn meanwhile.
    fn run(self, _turn: &OwnedSemaphorePermit, sink: Sink<'_>) -> bool {
        let Self { transfers, zones, apex, from, frame } = self;
        let Some(zone) = zones.zone(&apex) else { return false };
        let key = frame.session.as_ref().map(|session| session.key().to_string());
        let mut messages = Messages::new(frame, transfers.clock, sink);
        let (written, kind, counter) = match from {
            // RFC 1995 2: who is up to date, or ahead, gets our SOA and sees that.
            Some(from) if !is_behind(from, zone) => (soa(&mut messages, zone), "SOA", &transfers.counters.soa),
            Some(from) => match transfers.live.difference(&zones, &apex, from, MAX_DIFFERENCE) {
                Some((old_soa, old_ttl, difference)) => (
                    write_difference(&mut messages, zone, (&old_soa, old_ttl), &difference),
                    "IXFR",
                    &transfers.counters.ixfr,
                ),
                // RFC 1995 4: no history, so the whole zone.
                None => (whole_zone(&mut messages, &zones, zone), "AXFR for IXFR", &transfers.counters.axfr),
            },
            None => (whole_zone(&mut messages, &zones, zone), "AXFR", &transfers.counters.axfr),
        };
        let serial = zone.serial();
        let ended = written.and_then(|()| messages.finish());
        match ended {
            Ok(()) => {
                count(counter);
                // Whole zones are rare; differences may go out several times a second, to each secondary.
                if kind.starts_with("AXFR") {
                    info!(zone = %apex, %serial, kind, key, "transferred");
                } else {
                    debug!(zone = %apex, %serial, kind, key, "transferred");
                }
            }
            Err(Stop::Gone) => {
                count(&transfers.counters.broken_off);
                debug!(zone = %apex, %serial, kind, key, "the transfer ended early");
            }
            Err(Stop::RecordTooLong) => {
                count(&transfers.counters.broken_off);
                warn!(zone = %apex, "a record is too long for any message: the zone cannot be transferred");
            }
        }
        ended.is_ok()
    }
}

/// The chunks of a transfer, in order; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Chunks(mpsc::Receiver<Option<Vec<u8>>>);

/// A transfer that did not come to its end: the connection must not look as if it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenOff;

impl Chunks {
    /// The next chunk: whole messages, each behind its length; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, BrokenOff> {
        self.0.recv().await.ok_or(BrokenOff)
    }
}

/// The zone whose apex is exactly `name`.
fn zone_at<'z>(zones: &'z Zones, name: &QueryName) -> Option<&'z Zone> {
    zones.zone(&DomainName::from_wire(name.as_wire()).ok()?)
}

/// Whether a client with `serial` lacks something. Two serials without an order count as such: the whole zone mends it
/// (DNS-T53).
fn is_behind(serial: Serial, zone: &Zone) -> bool {
    !matches!(serial.partial_cmp(&zone.serial()), Some(std::cmp::Ordering::Equal | std::cmp::Ordering::Greater))
}

fn rrset(messages: &mut Messages<'_>, owner: &[u8], set: &Rrset<'_>) -> Result<(), Stop> {
    set.rdatas().try_for_each(|rdata| messages.record(owner, set.kind(), set.ttl(), |data| rdata.write(data)))
}

fn soa(messages: &mut Messages<'_>, zone: &Zone) -> Result<(), Stop> {
    rrset(messages, zone.apex().as_wire(), &zone.soa())
}

/// SOA, everything else once, SOA (RFC 5936 2.2).
fn whole_zone(messages: &mut Messages<'_>, zones: &Zones, zone: &Zone) -> Result<(), Stop> {
    soa(messages, zone)?;
    let mut written = Ok(());
    zones.walk(zone, |owner, set| {
        written = rrset(messages, owner, &set);
        written.is_ok()
    });
    written?;
    soa(messages, zone)
}

/// New SOA, old SOA, what went, new SOA, what came, new SOA: one condensed step (RFC 1995 4, 5).
fn write_difference(
    messages: &mut Messages<'_>,
    zone: &Zone,
    (old_soa, old_ttl): (&[u8], u32),
    difference: &tandem_zone::Difference,
) -> Result<(), Stop> {
    soa(messages, zone)?;
    messages.record(zone.apex().as_wire(), RrType::SOA, old_ttl, |data| data.put(old_soa))?;
    for change in &difference.removed {
        messages.record(&change.owner, change.kind, change.ttl, |data| data.put(&change.rdata))?;
    }
    soa(messages, zone)?;
    for change in &difference.added {
        messages.record(&change.owner, change.kind, change.ttl, |data| data.put(&change.rdata))?;
    }
    soa(messages, zone)
}
