//! Whole results, found again by what decided them: a call to a domain that was called lately costs one look-up here.
//!
//! What decides a result is the host, port, transport and maddr of the URI, its scheme, and what is known of the
//! request; never the user. The key is made without allocation and compared field by field.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tandem_model::locate::Request;
use tandem_model::{Host, SipUri};

use crate::bounded::Bounded;
use crate::resolution::Resolution;
use crate::settings::CacheSettings;

/// A result that was asked for so often since it was made is worth asking for again before it ends.
const HOT_USES: u32 = 2;
/// In the last part of its life, one over this, a hot result is asked for again.
const PREFETCH_PART: u32 = 10;
/// How long a stale result stands before the next try (RFC 8767 5).
const STALE_TTL: Duration = Duration::from_secs(30);

/// What decides a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    host: &'a Host,
    port: Option<NonZeroU16>,
    transport: Option<Option<&'a str>>,
    maddr: Option<Option<&'a str>>,
    as_sips: bool,
    large: bool,
}

impl<'a> Key<'a> {
    pub(crate) fn new(uri: &'a SipUri, request: Request) -> Self {
        let (transport, maddr) = match uri.has_parameters() {
            true => (uri.parameter("transport"), uri.parameter("maddr")),
            false => (None, None),
        };
        let as_sips = uri.is_sips() || request.request_uri_is_sips;
        Self { host: uri.host(), port: uri.port(), transport, maddr, as_sips, large: request.is_large() }
    }
}

/// The same, kept.
#[derive(Debug)]
struct OwnedKey {
    host: Host,
    port: Option<NonZeroU16>,
    transport: Option<Option<Box<str>>>,
    maddr: Option<Option<Box<str>>>,
    as_sips: bool,
    large: bool,
}

impl OwnedKey {
    fn new(key: Key<'_>) -> Self {
        let owned = |value: Option<Option<&str>>| value.map(|value| value.map(Into::into));
        let Key { host, port, transport, maddr, as_sips, large } = key;
        Self { host: host.clone(), port, transport: owned(transport), maddr: owned(maddr), as_sips, large }
    }

    fn as_key(&self) -> Key<'_> {
        Key {
            host: &self.host,
            port: self.port,
            transport: self.transport.as_ref().map(Option::as_deref),
            maddr: self.maddr.as_ref().map(Option::as_deref),
            as_sips: self.as_sips,
            large: self.large,
        }
    }
}

#[derive(Debug)]
struct Kept {
    key: OwnedKey,
    resolution: Arc<Resolution>,
    since: Instant,
    until: Instant,
    uses: u32,
    /// Somebody asks again already.
    refreshing: bool,
    /// Until when it serves stale without another try.
    stale_until: Option<Instant>,
}

/// What is known of a URI.
#[derive(Debug)]
pub(crate) enum Known {
    /// A result that still holds.
    Fresh(Arc<Resolution>),
    /// The same; and the caller is the one who should ask again behind its back, for answers that outlive it.
    Hot(Arc<Resolution>, Duration),
    /// One that held until not long ago.
    Stale(Arc<Resolution>),
    /// Nothing.
    Nothing,
}

/// The cache of results.
#[derive(Debug)]
pub(crate) struct Results {
    kept: Mutex<Bounded<Kept>>,
    hasher: RandomState,
    prefetch: bool,
    serve_stale: Option<Duration>,
    max_ttl: u32,
    max_negative_ttl: u32,
}

impl Results {
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let kept = Mutex::new(Bounded::new(settings.max_entries, settings.max_octets));
        let CacheSettings { prefetch, serve_stale, max_ttl, max_negative_ttl, .. } = *settings;
        Self { kept, hasher: RandomState::new(), prefetch, serve_stale, max_ttl, max_negative_ttl }
    }

    /// What is known at `now`; never [`Known::Hot`] for who cannot ask again.
    pub(crate) fn get(&self, key: Key<'_>, now: Instant, can_ask: bool) -> Known {
        let hash = self.hasher.hash_one(key);
        let mut kept = self.lock();
        let Some(kept) = kept.get(hash).filter(|kept| kept.key.as_key() == key) else { return Known::Nothing };
        let resolution = Arc::clone(&kept.resolution);
        match kept.until.checked_duration_since(now) {
            Some(left) if !left.is_zero() => {
                kept.uses = kept.uses.saturating_add(1);
                let near = left < (kept.until - kept.since) / PREFETCH_PART;
                if self.prefetch && can_ask && near && kept.uses >= HOT_USES && !kept.refreshing {
                    kept.refreshing = true;
                    return Known::Hot(resolution, left + Duration::from_secs(1));
                }
                Known::Fresh(resolution)
            }
            _ => match self.serve_stale {
                Some(limit) if now < kept.until + limit && resolution.is_found() => match kept.stale_until {
                    Some(until) if now < until => Known::Fresh(resolution),
                    _ => Known::Stale(resolution),
                },
                _ => Known::Nothing,
            },
        }
    }

    /// Keeps a result for as long as its TTL says. One that must not be kept takes nothing away: what was there may be
    /// served stale.
    pub(crate) fn put(&self, key: Key<'_>, resolution: &Arc<Resolution>, now: Instant) {
        let lifetime = match resolution.ttl {
            Some(ttl) if ttl > 0 => {
                let cap = if resolution.is_found() { self.max_ttl } else { self.max_negative_ttl };
                Duration::from_secs(ttl.min(cap).into())
            }
            _ => {
                if let Some(kept) = self.lock().get(self.hasher.hash_one(key)) {
                    kept.refreshing = false;
                }
                return;
            }
        };
        let owned = OwnedKey::new(key);
        let octets = size_of::<Kept>() + resolution.octets();
        let resolution = Arc::clone(resolution);
        let kept = Kept {
            key: owned,
            resolution,
            since: now,
            until: now + lifetime,
            uses: 0,
            refreshing: false,
            stale_until: None,
        };
        self.lock().put(self.hasher.hash_one(key), kept, octets, |_| ());
    }

    /// Keeps the stale form of what is kept: it serves for a while before name servers are tried again (RFC 8767 5). Its
    /// end stays where it was.
    pub(crate) fn serve_stale(&self, key: Key<'_>, stale: &Arc<Resolution>, now: Instant) {
        if let Some(kept) = self.lock().get(self.hasher.hash_one(key)).filter(|kept| kept.key.as_key() == key) {
            kept.resolution = Arc::clone(stale);
            kept.stale_until = Some(now + STALE_TTL);
        }
    }

    pub(crate) fn usage(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.len(), kept.octets())
    }

    fn lock(&self) -> MutexGuard<'_, Bounded<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::locate::{LocateError, Located};

    use super::*;
    use crate::resolution::Outcome;

    fn resolution(ttl: u32) -> Arc<Resolution> {
        let located = Located { outcome: Ok(vec![]), ttl: Some(ttl), naptr_offered_sips: None, reasons: vec![] };
        Arc::new(Resolution::from(located))
    }

    fn uri(text: &str) -> SipUri {
        SipUri::parse(text).unwrap()
    }

    #[test]
    fn found_by_what_decides() {
        let results = Results::new(&CacheSettings::default());
        let now = Instant::now();
        let key = uri("sip:alice@a.test;transport=tcp");
        results.put(Key::new(&key, Request::default()), &resolution(60), now);
        let known =
            |text: &str| !matches!(results.get(Key::new(&uri(text), Request::default()), now, true), Known::Nothing);
        assert!(known("sip:bob@a.test;transport=tcp"), "the user decides nothing");
        for text in [
            "sip:a.test",
            "sips:a.test;transport=tcp",
            "sip:a.test:5061;transport=tcp",
            "sip:a.test;transport=tcp;maddr=b.test",
            "sip:b.test;transport=tcp",
        ] {
            assert!(!known(text), "{text}");
        }
    }

    #[test]
    fn ends_prefetch_and_stale() {
        let results =
            Results::new(&CacheSettings { serve_stale: Some(Duration::from_secs(3600)), ..CacheSettings::default() });
        let (uri, now) = (uri("sip:a.test"), Instant::now());
        let key = Key::new(&uri, Request::default());
        let at = |seconds| results.get(key, now + Duration::from_secs(seconds), true);
        assert!(matches!(at(0), Known::Nothing));
        results.put(key, &resolution(100), now);
        assert!(matches!(at(95), Known::Fresh(_)), "used once: not hot");
        assert!(matches!(at(96), Known::Hot(_, left) if left == Duration::from_secs(5)));
        assert!(matches!(at(97), Known::Fresh(_)), "one asks again, not all");
        assert!(matches!(at(100), Known::Stale(_)), "RFC 8767");
        assert!(matches!(at(100 + 3600), Known::Nothing));
        // A failure in between takes nothing away.
        let failed = LocateError::Busy { domain: uri.host().clone(), seconds: 1 };
        let failed = Located { outcome: Err(failed), ttl: Some(0), naptr_offered_sips: None, reasons: vec![] };
        let failed = Arc::new(Resolution::from(failed));
        assert!(matches!(failed.outcome, Outcome::TryLater(_)));
        results.put(key, &failed, now);
        assert!(matches!(at(101), Known::Stale(_)));
        results.serve_stale(key, &resolution(100), now + Duration::from_secs(101));
        assert!(matches!(at(130), Known::Fresh(_)), "no try for half a minute");
        assert!(matches!(at(131), Known::Stale(_)) && matches!(at(100 + 3600), Known::Nothing), "its end stays");
        let off = Results::new(&CacheSettings::off());
        off.put(key, &resolution(100), now);
        assert!(matches!(off.get(key, now, true), Known::Nothing));
        let strict = Results::new(&CacheSettings::default());
        strict.put(key, &resolution(100), now);
        assert!(matches!(strict.get(key, now + Duration::from_secs(100), true), Known::Nothing), "only by setting");
    }
}
