//! NOTIFY (RFC 1996): tells the listed secondaries of every change, until they have heard it (DNS-73).
//!
//! [`Plan`] decides what to say to whom and when; it has no clock and no socket. [`run`] lends it both. For each zone
//! and secondary at most one message is on its way; changes that come meanwhile are told together in the next.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_model::{DomainName, Serial};
use tandem_zone::{Live, Zones};
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use crate::full::tsig_of;
use crate::transfer::Transfers;
use crate::tsig::{Session, TsigKey};
use crate::wire::{CLASS_IN, HEADER, flag, u16_at};

/// How often the zones and answers are looked at while there is something to say: changes within it become one message.
const LOOK: Duration = Duration::from_millis(200);

/// Longest wait for an answer to the first message; doubled for each one after it, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// As RFC 1996 3.6 suggests.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Messages about one change to one secondary: about three minutes. After them, its own refresh timer has to do.
const MAX_TRIES: u32 = 8;

/// Messages on their way at a time, to all secondaries: many zones at the start are no burst.
const MAX_UNDER_WAY: usize = 100;

/// The opcode, in its place in the header (RFC 1996 3.1).
const OPCODE_NOTIFY: u8 = 4 << 3;

/// The longest answer that is read: a header, a question, a SOA and a signature.
const LONGEST_ANSWER: usize = 2048;

/// A server that is told of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secondary {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key that signs what we tell it, and its answers; `None`: unsigned.
    pub key: Option<DomainName>,
    /// The zones that it has; empty: all.
    pub zones: Vec<DomainName>,
}

impl Secondary {
    fn has(&self, apex: &DomainName) -> bool {
        self.zones.is_empty() || self.zones.contains(apex)
    }
}

/// What one secondary is to hear about one zone.
#[derive(Debug)]
struct Topic {
    /// The newest serial.
    serial: Serial,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has heard, or we have given up.
    Quiet,
    /// To be said, by a message that is the `tries`th.
    Due { tries: u32 },
    /// Said, and not answered yet.
    UnderWay { id: u16, said: Serial, session: Option<Session>, until: Instant, tries: u32 },
}

/// A message to be sent.
#[derive(Debug, PartialEq, Eq)]
struct Letter {
    to: SocketAddr,
    message: Vec<u8>,
}

/// What to say to whom and when.
#[derive(Debug)]
struct Plan {
    secondaries: Vec<(Secondary, Option<Arc<TsigKey>>)>,
    topics: BTreeMap<(usize, DomainName), Topic>,
    random: RandomState,
    sent: u64,
}

impl Plan {
    /// A plan for these secondaries; a key that is not among `keys` leaves its secondary without messages.
    fn new(secondaries: &[Secondary], keys: &[Arc<TsigKey>]) -> Self {
        let secondaries = secondaries.iter().filter_map(|secondary| {
            let key = match &secondary.key {
                Some(name) => Some(Arc::clone(keys.iter().find(|key| key.name() == name)?)),
                None => None,
            };
            Some((secondary.clone(), key))
        });
        Self { secondaries: secondaries.collect(), topics: BTreeMap::new(), random: RandomState::new(), sent: 0 }
    }

    /// Takes note of every zone whose serial is not the one that was seen last, and of zones that are new or gone.
    fn look(&mut self, zones: &Zones) {
        self.topics.retain(|(_, apex), _| zones.zone(apex).is_some());
        for (index, (secondary, _)) in self.secondaries.iter().enumerate() {
            for zone in zones.iter().filter(|zone| secondary.has(zone.apex())) {
                let due = || Topic { serial: zone.serial(), state: State::Due { tries: 1 } };
                let topic = self.topics.entry((index, zone.apex().clone())).or_insert_with(due);
                if topic.serial != zone.serial() {
                    topic.serial = zone.serial();
                    if matches!(topic.state, State::Quiet) {
                        topic.state = State::Due { tries: 1 };
                    }
                }
            }
        }
    }

    /// Whether there is nothing to say, and no answer to wait for.
    fn is_quiet(&self) -> bool {
        self.topics.values().all(|topic| matches!(topic.state, State::Quiet))
    }

    /// The messages to be sent at `now`, which is `clock` seconds after 1970.
    fn letters(&mut self, zones: &Zones, now: Instant, clock: u64) -> Vec<Letter> {
        let mut under_way = 0;
        for ((index, apex), topic) in &mut self.topics {
            if let State::UnderWay { until, tries, .. } = topic.state {
                if now < until {
                    under_way += 1;
                } else if tries < MAX_TRIES {
                    topic.state = State::Due { tries: tries + 1 };
                } else {
                    let secondary = self.secondaries[*index].0.address;
                    warn!(zone = %apex, %secondary, serial = %topic.serial, "a secondary does not answer NOTIFY");
                    topic.state = State::Quiet;
                }
            }
        }
        let mut letters = Vec::new();
        for ((index, apex), topic) in &mut self.topics {
            let State::Due { tries } = topic.state else { continue };
            if under_way + letters.len() >= MAX_UNDER_WAY {
                break;
            }
            let (secondary, key) = &self.secondaries[*index];
            let Some(zone) = zones.zone(apex) else { continue };
            self.sent += 1;
            let [id_0, id_1, ..] = self.random.hash_one(self.sent).to_be_bytes();
            let id = u16::from_be_bytes([id_0, id_1]);
            let mut message = notify(id, zone);
            let mut session = key.clone().map(Session::new);
            if let Some(session) = &mut session {
                let record = session.sign(&message, clock);
                message.extend(record);
                message[11] += 1;
            }
            let wait = FIRST_WAIT.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_WAIT);
            topic.state = State::UnderWay { id, said: zone.serial(), session, until: now + wait, tries };
            letters.push(Letter { to: secondary.address, message });
        }
        letters
    }

    /// Takes an answer from `from`; whether it was one. `clock` is in seconds since 1970.
    fn answered(&mut self, from: SocketAddr, message: &[u8], clock: u64) -> bool {
        let Some(answer_id) = u16_at(message, 0) else { return false };
        let is_answer = message.len() >= HEADER && message[2] & (flag::QR | flag::OPCODE) == flag::QR | OPCODE_NOTIFY;
        let topic = self.topics.iter_mut().find(|((index, _), topic)| {
            matches!(topic.state, State::UnderWay { id, .. } if id == answer_id)
                && self.secondaries[*index].0.address == from
        });
        let Some(((_, apex), topic)) = topic.filter(|_| is_answer) else { return false };
        let State::UnderWay { said, session, .. } = &topic.state else { return false };
        // RFC 8945 5.4: an answer without the right signature is none.
        let is_signed = session
            .as_ref()
            .is_none_or(|session| tsig_of(message).is_some_and(|record| session.answered_by(message, &record, clock)));
        if !is_signed {
            return false;
        }
        let rcode = message[3] & 0x0f;
        if rcode != 0 {
            // It may not know the zone yet: the catalog tells it in a moment. The next message comes in its time.
            debug!(zone = %apex, rcode, "a secondary refuses NOTIFY");
            return true;
        }
        topic.state = if *said == topic.serial { State::Quiet } else { State::Due { tries: 1 } };
        true
    }
}

/// NOTIFY with the new SOA in answer, as a hint (RFC 1996 3.7).
fn notify(id: u16, zone: &tandem_zone::Zone) -> Vec<u8> {
    let [id_0, id_1] = id.to_be_bytes();
    let mut message = vec![id_0, id_1, OPCODE_NOTIFY | flag::AA, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let soa = zone.soa();
    message.extend(zone.apex().as_wire());
    message.extend(soa.kind().0.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message.extend([0xc0, 12]);
    message.extend(soa.kind().0.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message.extend(soa.ttl().to_be_bytes());
    let mut rdata = Vec::new();
    soa.rdatas().for_each(|data| data.write(&mut rdata));
    message.extend(u16::try_from(rdata.len()).unwrap_or_default().to_be_bytes());
    message.extend(rdata);
    message
}

/// What [`run`] needs to know.
pub(crate) struct Notifier {
    /// Has the secondaries and their keys.
    pub(crate) transfers: Arc<Transfers>,
    /// Our own addresses: messages come from one of them where that is possible, for secondaries check the sender.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) live: Live,
}

/// Tells of changes until the task is aborted. Sleeps for as long as there is nothing to say and nothing to wait for.
pub(crate) async fn run(notifier: Notifier) {
    let Notifier { transfers, addresses, live } = notifier;
    let clock = transfers.clock;
    let mut permissions = transfers.permissions();
    let mut plan = Plan::new(&permissions.secondaries, &permissions.keys);
    let mut sockets: BTreeMap<IpAddr, UdpSocket> = BTreeMap::new();
    let mut seen = None;
    let mut buffer = [0; LONGEST_ANSWER];
    let mut pause = tokio::time::interval(LOOK);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        for socket in sockets.values() {
            while let Ok((len, from)) = socket.try_recv_from(&mut buffer) {
                let known = plan.answered(from, &buffer[..len], clock());
                debug!(known, "an answer to NOTIFY");
            }
        }
        let current = transfers.permissions();
        if !Arc::ptr_eq(&current, &permissions) {
            // Everybody hears everything again: who they are may have changed, and what they may have.
            plan = Plan::new(&current.secondaries, &current.keys);
            permissions = current;
            seen = None;
        }
        // In this order: a version that comes between is looked at the next time.
        let count = live.version_count();
        let zones = live.load();
        if seen != Some(count) {
            seen = Some(count);
            plan.look(&zones);
        }
        for Letter { to, message } in plan.letters(&zones, Instant::now(), clock()) {
            let source = source(to.ip(), &addresses);
            let sent = match open(&mut sockets, source).await {
                Ok(socket) => socket.send_to(&message, to).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                debug!(%error, "NOTIFY was not sent; it is tried again");
            }
        }
        if plan.is_quiet() {
            transfers.news.notified().await;
        }
    }
}

/// The address that messages to `to` come from: the first of ours of its family that may reach it.
fn source(to: IpAddr, ours: &[SocketAddr]) -> IpAddr {
    let any = match to {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let mut of_family = ours.iter().map(SocketAddr::ip).filter(|ip| ip.is_ipv4() == to.is_ipv4());
    of_family.find(|ip| ip.is_loopback() == to.is_loopback() || ip.is_unspecified()).unwrap_or(any)
}

async fn open(sockets: &mut BTreeMap<IpAddr, UdpSocket>, source: IpAddr) -> io::Result<&UdpSocket> {
    use std::collections::btree_map::Entry;
    match sockets.entry(source) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => Ok(entry.insert(UdpSocket::bind((source, 0)).await?)),
    }
}

#[cfg(test)]
mod tests {
    use tandem_zone::Change;

    use super::*;
    use crate::tests::zones;
    use crate::tsig::TsigAlgorithm;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn secondary(key: Option<&str>) -> Secondary {
        Secondary { address: "192.0.2.1:53".parse().unwrap(), key: key.map(name), zones: vec![name("node.test")] }
    }

    /// The answer that a secondary gives: the message as it came, QR set, signature and answer left out.
    fn answer_to(letter: &Letter, rcode: u8) -> Vec<u8> {
        let end = crate::wire::question_end(&letter.message).unwrap();
        let mut answer = letter.message[..end].to_vec();
        answer[2] |= flag::QR;
        answer[3] = rcode;
        answer[6..12].fill(0);
        answer
    }

    #[test]
    fn told_until_heard_dns_73() {
        let zones = zones();
        let mut plan = Plan::new(&[secondary(None)], &[]);
        let start = Instant::now();
        plan.look(&zones);
        let letters = plan.letters(&zones, start, 0);
        assert_eq!(letters.len(), 1, "one zone, one secondary");
        let message = &letters[0].message;
        assert_eq!(message[2..12], [0x24, 0, 0, 1, 0, 1, 0, 0, 0, 0], "opcode 4, AA, a question and the SOA");
        assert_eq!(plan.letters(&zones, start, 0), [], "one is on its way");

        // Not answered: again, each time later, and not for ever.
        let mut now = start;
        let mut waits = Vec::new();
        for second in 1..1000 {
            let at = start + Duration::from_secs(second);
            if !plan.letters(&zones, at, 0).is_empty() {
                waits.push((at - now).as_secs());
                now = at;
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);

        // A change makes it start anew.
        let zones = zones.with(&[Change::Remove(name("debug.node.test"))], Serial::new(9));
        plan.look(&zones);
        let at = start + Duration::from_secs(1000);
        let letters = plan.letters(&zones, at, 0);
        let answer = answer_to(&letters[0], 0);
        assert!(!plan.answered("192.0.2.2:53".parse().unwrap(), &answer, 0), "from somebody else");
        let mut wrong_id = answer.clone();
        wrong_id[0] ^= 1;
        assert!(!plan.answered(letters[0].to, &wrong_id, 0));
        assert!(!plan.answered(letters[0].to, &letters[0].message, 0), "no response");
        assert!(plan.answered(letters[0].to, &answer, 0));
        assert_eq!(plan.letters(&zones, at + LONGEST_WAIT * 2, 0), [], "it has heard");
    }

    #[test]
    fn changes_meanwhile_are_told_in_one_message_dns_73() {
        let mut zones = zones();
        let mut plan = Plan::new(&[secondary(None)], &[]);
        let now = Instant::now();
        plan.look(&zones);
        let first = plan.letters(&zones, now, 0);
        for serial in 10..20 {
            zones = zones.with_serials(|_| Some(Serial::new(serial)));
            plan.look(&zones);
            assert_eq!(plan.letters(&zones, now, 0), []);
        }
        assert!(plan.answered(first[0].to, &answer_to(&first[0], 0), 0));
        let second = plan.letters(&zones, now, 0);
        assert_eq!(second.len(), 1);
        assert!(plan.answered(second[0].to, &answer_to(&second[0], 5), 0), "it does not know the zone yet");
        assert_eq!(plan.letters(&zones, now, 0), []);
        let third = plan.letters(&zones, now + FIRST_WAIT, 0);
        assert!(plan.answered(third[0].to, &answer_to(&third[0], 0), 0));
        assert_eq!(plan.letters(&zones, now + LONGEST_WAIT, 0), []);
    }

    #[test]
    fn with_a_key_only_a_signed_answer_counts_dns_75() {
        let zones = zones();
        let key = Arc::new(TsigKey::new(name("k"), TsigAlgorithm::HmacSha256, &[7; 32]).unwrap());
        let mut plan = Plan::new(&[secondary(Some("k")), secondary(Some("unknown"))], &[Arc::clone(&key)]);
        plan.look(&zones);
        let letters = plan.letters(&zones, Instant::now(), 1000);
        assert_eq!(letters.len(), 1, "none without its key");
        let message = &letters[0].message;
        let record = tsig_of(message).expect("signed");
        let crate::tsig::Checked::Good(mut session) = crate::tsig::check(&[key], message, &record, 1000) else {
            panic!("not a good signature")
        };
        let mut answer = answer_to(&letters[0], 0);
        assert!(!plan.answered(letters[0].to, &answer, 1000), "unsigned");
        let record = session.sign(&answer, 1000);
        answer.extend(record);
        answer[11] = 1;
        assert!(!plan.answered(letters[0].to, &answer, 5000), "long ago");
        assert!(plan.answered(letters[0].to, &answer, 1010));
    }

    #[test]
    fn many_zones_are_no_burst() {
        let zones = zones();
        let all: Vec<Secondary> = (1..=200)
            .map(|last| Secondary { address: SocketAddr::from(([192, 0, 2, last], 53)), ..secondary(None) })
            .collect();
        let mut plan = Plan::new(&all, &[]);
        plan.look(&zones);
        let now = Instant::now();
        assert_eq!(plan.letters(&zones, now, 0).len(), MAX_UNDER_WAY);
        assert_eq!(plan.letters(&zones, now, 0), []);
    }

    #[test]
    fn from_our_own_address() {
        let ours: Vec<SocketAddr> = ["127.0.0.5:53", "192.0.2.53:53", "[::]:53"].map(|a| a.parse().unwrap()).into();
        for (to, from) in [("127.0.0.9", "127.0.0.5"), ("198.51.100.1", "192.0.2.53"), ("2001:db8::1", "::")] {
            assert_eq!(source(to.parse().unwrap(), &ours), from.parse::<IpAddr>().unwrap(), "{to}");
        }
        assert_eq!(source("198.51.100.1".parse().unwrap(), &ours[..1]), IpAddr::from([0; 4]));
    }
}
