//! TSIG (RFC 8945): keys that two servers share, and the MACs by which they know each other's messages (DNS-75, DNS-76).
//!
//! No clock, no IO: the time is an argument. [`check`] is the whole judgement over a request, in the order of
//! RFC 8945 5.2; a [`Session`] signs what is sent in answer, one message or many. [`TsigKey`] never shows its secret.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use tandem_model::DomainName;

use crate::wire::{name_len, u16_at};

/// Seconds that clocks may differ: what RFC 8945 10 recommends.
pub(crate) const FUDGE: u16 = 300;

/// The type of a TSIG record.
const TSIG: u16 = 250;

/// Class ANY, which every TSIG record has.
const CLASS_ANY: u16 = 255;

/// Octets of a truncated MAC below which no MAC is one (RFC 8945 5.2.2.1).
const LEAST_MAC: usize = 10;

/// The fewest octets of a secret: RFC 8945 8 wants as many as the hash has, and 16 is what a person may still type.
pub const LEAST_SECRET: usize = 16;

/// Which hash makes the MACs of a key. hmac-md5 is not among them (DNS-76).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha1`: only for old peers, NOT RECOMMENDED by RFC 8945 6.
    HmacSha1,
    /// `hmac-sha256`: the one that everybody has.
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

impl TsigAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HmacSha1, Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The name, as RFC 8945 6 and every server's configuration have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// The algorithm with this name; `None` if it is not one of ours.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Octets of a whole MAC, and of a good secret.
    #[must_use]
    pub const fn mac_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The name in wire form: one label and the root.
    fn wire(self) -> Vec<u8> {
        let name = self.name().as_bytes();
        let mut wire = vec![u8::try_from(name.len()).unwrap_or_default()];
        wire.extend(name);
        wire.push(0);
        wire
    }
}

/// A secret that we share with another server, and its name.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    name: DomainName,
    algorithm: TsigAlgorithm,
    secret: Box<[u8]>,
}

impl TsigKey {
    /// The key `name` with this secret; `None` if that is shorter than [`LEAST_SECRET`] octets.
    #[must_use]
    pub fn new(name: DomainName, algorithm: TsigAlgorithm, secret: &[u8]) -> Option<Self> {
        (secret.len() >= LEAST_SECRET).then(|| Self { name, algorithm, secret: secret.into() })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &DomainName {
        &self.name
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> TsigAlgorithm {
        self.algorithm
    }

    fn mac(&self) -> AnyMac {
        AnyMac::new(self.algorithm, &self.secret)
    }
}

/// Without the secret: a key is logged by its name.
impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({}, {})", self.name, self.algorithm.name())
    }
}

/// A MAC being computed with one of the hashes.
enum AnyMac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl AnyMac {
    fn new(algorithm: TsigAlgorithm, secret: &[u8]) -> Self {
        const ANY: &str = "HMAC takes a key of any length (RFC 2104 2)";
        match algorithm {
            TsigAlgorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(secret).expect(ANY)),
            TsigAlgorithm::HmacSha256 => Self::Sha256(Hmac::new_from_slice(secret).expect(ANY)),
            TsigAlgorithm::HmacSha384 => Self::Sha384(Hmac::new_from_slice(secret).expect(ANY)),
            TsigAlgorithm::HmacSha512 => Self::Sha512(Hmac::new_from_slice(secret).expect(ANY)),
        }
    }

    fn update(&mut self, octets: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(octets),
            Self::Sha256(mac) => mac.update(octets),
            Self::Sha384(mac) => mac.update(octets),
            Self::Sha512(mac) => mac.update(octets),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }

    /// Whether `mac` is the beginning of ours; takes the same time wherever they differ.
    fn begins_with(self, mac: &[u8]) -> bool {
        match self {
            Self::Sha1(ours) => ours.verify_truncated_left(mac).is_ok(),
            Self::Sha256(ours) => ours.verify_truncated_left(mac).is_ok(),
            Self::Sha384(ours) => ours.verify_truncated_left(mac).is_ok(),
            Self::Sha512(ours) => ours.verify_truncated_left(mac).is_ok(),
        }
    }
}

/// A TSIG record as it was sent (RFC 8945 4.2). Nothing in it is believed before [`check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TsigRecord {
    /// The key's name in wire form, folded (RFC 8945 4.3.3: canonical).
    key: Vec<u8>,
    /// The algorithm's name, likewise.
    algorithm: Vec<u8>,
    /// Seconds since 1970, 48 bits.
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
    /// Where the record begins in its message.
    start: usize,
}

impl TsigRecord {
    /// Reads the record that begins at `start` of `message`, with `key` as its owner in uncompressed wire form and
    /// `data`; `None` if it cannot be interpreted: FORMERR (RFC 8945 5.2).
    pub(crate) fn read(key: &[u8], class: u16, ttl: u32, data: &[u8], start: usize) -> Option<Self> {
        if class != CLASS_ANY || ttl != 0 || name_len(key) != Some(key.len()) {
            return None;
        }
        let (algorithm, rest) = data.split_at_checked(name_len(data)?)?;
        let (time, rest) = rest.split_first_chunk::<6>()?;
        let [t0, t1, t2, t3, t4, t5] = *time;
        let fudge = u16_at(rest, 0)?;
        let (mac, rest) = rest.get(4..)?.split_at_checked(usize::from(u16_at(rest, 2)?))?;
        let (original_id, error) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
        let other = rest.get(6..)?;
        (usize::from(u16_at(rest, 4)?) == other.len()).then(|| Self {
            key: key.to_ascii_lowercase(),
            algorithm: algorithm.to_ascii_lowercase(),
            time: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
            fudge,
            mac: mac.to_vec(),
            original_id,
            error,
            other: other.to_vec(),
            start,
        })
    }

    /// This record with `error` and no MAC: what an unsigned error answer carries (RFC 8945 5.3.2).
    fn unsigned(&self, error: u16, id: u16) -> Vec<u8> {
        let head = Variables { time: self.time, fudge: self.fudge, error, other: &[] };
        head.record(&self.key, &self.algorithm, &[], id)
    }
}

/// What a MAC covers beside the message, and a record says (RFC 8945 4.3.3).
struct Variables<'a> {
    time: u64,
    fudge: u16,
    error: u16,
    other: &'a [u8],
}

impl Variables<'_> {
    /// Time and fudge: all that a message after the first covers (RFC 8945 5.3.1).
    fn timers(&self) -> [u8; 8] {
        let [_, _, t0, t1, t2, t3, t4, t5] = self.time.to_be_bytes();
        let [f0, f1] = self.fudge.to_be_bytes();
        [t0, t1, t2, t3, t4, t5, f0, f1]
    }

    fn digest(&self, key: &[u8], algorithm: &[u8], mac: &mut AnyMac) {
        mac.update(key);
        mac.update(&CLASS_ANY.to_be_bytes());
        mac.update(&[0; 4]);
        mac.update(algorithm);
        mac.update(&self.timers());
        mac.update(&self.error.to_be_bytes());
        mac.update(&len_of(self.other));
        mac.update(self.other);
    }

    fn record(&self, key: &[u8], algorithm: &[u8], mac: &[u8], id: u16) -> Vec<u8> {
        let mut record = Vec::with_capacity(record_len(key, algorithm, mac.len() + self.other.len()));
        record.extend(key);
        record.extend(TSIG.to_be_bytes());
        record.extend(CLASS_ANY.to_be_bytes());
        record.extend([0; 4]);
        let data = algorithm.len() + 16 + mac.len() + self.other.len();
        record.extend(u16::try_from(data).unwrap_or_default().to_be_bytes());
        record.extend(algorithm);
        record.extend(self.timers());
        record.extend(len_of(mac));
        record.extend(mac);
        record.extend(id.to_be_bytes());
        record.extend(self.error.to_be_bytes());
        record.extend(len_of(self.other));
        record.extend(self.other);
        record
    }
}

/// Octets of a TSIG record whose MAC and other data have `more`.
const fn record_len(key: &[u8], algorithm: &[u8], more: usize) -> usize {
    key.len() + 10 + algorithm.len() + 16 + more
}

fn len_of(octets: &[u8]) -> [u8; 2] {
    u16::try_from(octets.len()).unwrap_or_default().to_be_bytes()
}

/// TSIG's errors (RFC 8945 3).
mod error {
    pub(super) const BAD_SIG: u16 = 16;
    pub(super) const BAD_KEY: u16 = 17;
    pub(super) const BAD_TIME: u16 = 18;
    pub(super) const BAD_TRUNC: u16 = 22;
}

/// What [`check`] found.
#[derive(Debug)]
pub(crate) enum Checked {
    /// The holder of the key sent this, now. The session signs the answer.
    Good(Session),
    /// The MAC has an impossible length: FORMERR (RFC 8945 5.2.2.1).
    Malformed,
    /// Not to be believed: NOTAUTH, with what the session, or `record`, says.
    Bad(Refusal),
}

/// How a message that is not to be believed is refused, with rcode NOTAUTH.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// BADKEY, BADSIG: with this record, unsigned (RFC 8945 5.3.2).
    Unsigned(Vec<u8>),
    /// BADTIME, BADTRUNC: signed by the session.
    Signed(Session),
}

/// Judges the signed request `message`, whose last record is `record`, in the order that RFC 8945 5.2 gives: key, MAC,
/// time, truncation. `now` is in seconds since 1970.
pub(crate) fn check(keys: &[Arc<TsigKey>], message: &[u8], record: &TsigRecord, now: u64) -> Checked {
    let id = u16_at(message, 0).unwrap_or_default();
    let known = keys.iter().find(|key| key.name.as_wire() == record.key && key.algorithm.wire() == record.algorithm);
    let Some(key) = known else {
        return Checked::Bad(Refusal::Unsigned(record.unsigned(error::BAD_KEY, id)));
    };
    let full = key.algorithm.mac_len();
    if record.mac.len() > full || record.mac.len() < LEAST_MAC.max(full / 2) {
        return Checked::Malformed;
    }
    let mut mac = key.mac();
    digest_received(&mut mac, message, record);
    let variables = Variables { time: record.time, fudge: record.fudge, error: record.error, other: &record.other };
    variables.digest(&record.key, &record.algorithm, &mut mac);
    if !mac.begins_with(&record.mac) {
        return Checked::Bad(Refusal::Unsigned(record.unsigned(error::BAD_SIG, id)));
    }
    let mut session = Session::new(Arc::clone(key));
    session.prior.clone_from(&record.mac);
    if now.abs_diff(record.time) > u64::from(record.fudge) {
        return Checked::Bad(Refusal::Signed(session.with_bad_time(record, now)));
    }
    if record.mac.len() < full {
        // Our policy: whole MACs only. No server that we know of sends others unasked.
        session.error = error::BAD_TRUNC;
        return Checked::Bad(Refusal::Signed(session));
    }
    Checked::Good(session)
}

/// The message as its sender signed it: the original ID, one record less, without that record (RFC 8945 4.3.2).
fn digest_received(mac: &mut AnyMac, message: &[u8], record: &TsigRecord) {
    let additionals = u16_at(message, 10).unwrap_or_default().wrapping_sub(1);
    mac.update(&record.original_id.to_be_bytes());
    mac.update(&message[2..10]);
    mac.update(&additionals.to_be_bytes());
    mac.update(&message[12..record.start]);
}

/// Signs the messages of one exchange, each with the MAC before it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    key: Arc<TsigKey>,
    /// The MAC that the next one covers: the request's, then the last answer's. Empty: the next is a request.
    prior: Vec<u8>,
    /// Whether the next message is the first one that we sign.
    first: bool,
    /// Time and fudge to be said instead of ours.
    time: Option<(u64, u16)>,
    error: u16,
    other: Vec<u8>,
}

impl Session {
    /// Signs a request of ours with `key`, first of all.
    pub(crate) const fn new(key: Arc<TsigKey>) -> Self {
        Self { key, prior: Vec::new(), first: true, time: None, error: 0, other: Vec::new() }
    }

    /// Refuses the request that has `record`: BADTIME, with the client's time, so that it believes us, and ours, so that it
    /// learns (RFC 8945 5.2.3).
    pub(crate) fn with_bad_time(self, record: &TsigRecord, now: u64) -> Self {
        let other = now.to_be_bytes()[2..].to_vec();
        Self { error: error::BAD_TIME, time: Some((record.time, record.fudge)), other, ..self }
    }

    /// The MAC that the next message covers: before the first answer, the request's.
    pub(crate) fn prior_mac(&self) -> &[u8] {
        &self.prior
    }

    /// The key's name.
    pub(crate) fn key(&self) -> &DomainName {
        &self.key.name
    }

    /// Octets of the record that [`sign`](Self::sign) makes.
    pub(crate) fn record_len(&self) -> usize {
        let algorithm = self.key.algorithm;
        record_len(self.key.name.as_wire(), &algorithm.wire(), algorithm.mac_len() + self.other.len())
    }

    /// The TSIG record for `message`, which is whole but for that record; the caller appends it and counts it in
    /// ARCOUNT. `now` is in seconds since 1970.
    pub(crate) fn sign(&mut self, message: &[u8], now: u64) -> Vec<u8> {
        let (key, algorithm) = (self.key.name.as_wire(), self.key.algorithm.wire());
        let mut mac = self.key.mac();
        if !self.prior.is_empty() {
            mac.update(&len_of(&self.prior));
            mac.update(&self.prior);
        }
        mac.update(message);
        let (time, fudge) = self.time.unwrap_or((now, FUDGE));
        let variables = Variables { time, fudge, error: self.error, other: &self.other };
        if self.first {
            variables.digest(key, &algorithm, &mut mac);
        } else {
            mac.update(&variables.timers());
        }
        self.first = false;
        self.prior = mac.finish();
        variables.record(key, &algorithm, &self.prior, u16_at(message, 0).unwrap_or_default())
    }

    /// Whether `message`, whose last record is `record`, is the answer to the request that this session signed last.
    /// `now` is in seconds since 1970.
    pub(crate) fn answered_by(&self, message: &[u8], record: &TsigRecord, now: u64) -> bool {
        let algorithm = self.key.algorithm.wire();
        if record.key != self.key.name.as_wire()
            || record.algorithm != algorithm
            || record.mac.len() != self.key.algorithm.mac_len()
            || record.error != 0
        {
            return false;
        }
        let mut mac = self.key.mac();
        mac.update(&len_of(&self.prior));
        mac.update(&self.prior);
        digest_received(&mut mac, message, record);
        let variables = Variables { time: record.time, fudge: record.fudge, error: record.error, other: &record.other };
        variables.digest(&record.key, &algorithm, &mut mac);
        mac.begins_with(&record.mac) && now.abs_diff(record.time) <= u64::from(record.fudge)
    }
}
