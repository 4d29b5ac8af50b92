//! Answers of name servers, kept as long as they may be, and questions under way, asked once for all who wait.
//!
//! Positive and negative answers alike (RFC 2308), never a failure as if it were an answer: a failure is remembered for
//! [`FAILURE_TTL`] only, so that a dead server is not asked by every call (RFC 9520 3.2).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tandem_model::locate::{Answer, Data, Dnssec, Failure, Found, Question, Reply};
use tokio::sync::watch;

use crate::bounded::Bounded;
use crate::settings::CacheSettings;
use crate::upstream::Upstream;

/// How long a failure speaks for the questions after it.
pub(crate) const FAILURE_TTL: Duration = Duration::from_secs(1);
/// Most different questions under way or waiting for a slot; more fail at once instead of piling up.
const MAX_UNDER_WAY: usize = 4096;

/// What became of a question: the reply and what a validator said of it.
pub(crate) type Told = (Reply, Dnssec);
/// Where those who wait for a question hear of it.
type Flight = watch::Receiver<Option<Arc<Told>>>;

/// The cache of answers and the questions under way.
#[derive(Debug)]
pub(crate) struct Answers {
    kept: Mutex<Bounded<Kept>>,
    under_way: Mutex<HashMap<Question, Flight>>,
    hasher: RandomState,
    settings: CacheSettings,
}

#[derive(Debug)]
struct Kept {
    question: Question,
    told: Arc<Told>,
    since: Instant,
    until: Instant,
}

impl Answers {
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let kept = Mutex::new(Bounded::new(settings.max_entries, settings.max_octets));
        let under_way = Mutex::new(HashMap::new());
        Self { kept, under_way, hasher: RandomState::new(), settings: settings.clone() }
    }

    /// The answer, from here if it is kept for at least `fresh_for` more, else from the name servers. Everybody who asks
    /// the same meanwhile waits for the same exchange, which goes on if one of them leaves: another may need it.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        question: &Question,
        fresh_for: Duration,
    ) -> Told {
        if let Some(told) = self.kept(question, Instant::now(), fresh_for) {
            return told;
        }
        let mut flight = {
            let mut under_way = lock(&self.under_way);
            match under_way.get(question) {
                Some(flight) => flight.clone(),
                None if under_way.len() >= MAX_UNDER_WAY => {
                    return (Reply::Failed(Failure::Unreachable), Dnssec::Indeterminate);
                }
                None => {
                    let (sender, flight) = watch::channel(None);
                    under_way.insert(question.clone(), flight.clone());
                    let landing = Landing { answers: Arc::clone(self), question: question.clone() };
                    let upstream = Arc::clone(upstream);
                    tokio::spawn(async move {
                        let told = Arc::new(upstream.ask(&landing.question).await);
                        landing.answers.keep(&landing.question, &told, Instant::now());
                        drop(landing);
                        // Nobody may be left who waits.
                        let _ = sender.send(Some(told));
                    });
                    flight
                }
            }
        };
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(told)) => told.as_ref().clone(),
            // The task died, or the runtime ends.
            _ => (Reply::Failed(Failure::Unreachable), Dnssec::Indeterminate),
        }
    }

    fn kept(&self, question: &Question, now: Instant, fresh_for: Duration) -> Option<Told> {
        let key = self.hasher.hash_one(question);
        let (told, age) = {
            let mut kept = lock(&self.kept);
            let kept = kept.get(key).filter(|kept| kept.question == *question)?;
            let enough =
                kept.until.checked_duration_since(now).is_some_and(|left| !left.is_zero() && left >= fresh_for);
            (enough.then(|| Arc::clone(&kept.told))?, now.saturating_duration_since(kept.since))
        };
        Some((aged(&told.0, u32::try_from(age.as_secs()).unwrap_or(u32::MAX)), told.1))
    }

    fn keep(&self, question: &Question, told: &Arc<Told>, now: Instant) {
        let Some(lifetime) = self.lifetime(&told.0) else { return };
        let octets = octets(question, &told.0);
        let kept = Kept { question: question.clone(), told: Arc::clone(told), since: now, until: now + lifetime };
        lock(&self.kept).put(self.hasher.hash_one(question), kept, octets, |_| ());
    }

    /// How long a reply may be kept; `None`: not at all.
    fn lifetime(&self, reply: &Reply) -> Option<Duration> {
        let seconds = match reply {
            Reply::Records(answer) => {
                answer.records.iter().map(|record| record.ttl).min().unwrap_or(0).min(self.settings.max_ttl)
            }
            Reply::NoData { ttl } | Reply::NxDomain { ttl } => (*ttl).min(self.settings.max_negative_ttl),
            Reply::Failed(_) => return Some(FAILURE_TTL),
        };
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    pub(crate) fn usage(&self) -> (usize, usize) {
        let kept = lock(&self.kept);
        (kept.len(), kept.octets())
    }
}

/// Takes the question off the list of those under way, also when its task dies.
struct Landing {
    answers: Arc<Answers>,
    question: Question,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.answers.under_way).remove(&self.question);
    }
}

/// The reply with `age` seconds off each TTL; additional records whose time is over are left out.
fn aged(reply: &Reply, age: u32) -> Reply {
    let older = |found: &Found| Found { ttl: found.ttl.saturating_sub(age), ..found.clone() };
    match reply {
        Reply::Records(answer) => Reply::Records(Answer {
            records: answer.records.iter().map(older).collect(),
            additional: answer.additional.iter().filter(|found| found.ttl > age || age == 0).map(older).collect(),
        }),
        Reply::NoData { ttl } => Reply::NoData { ttl: ttl.saturating_sub(age) },
        Reply::NxDomain { ttl } => Reply::NxDomain { ttl: ttl.saturating_sub(age) },
        Reply::Failed(failure) => Reply::Failed(*failure),
    }
}

/// About what a reply costs to keep.
fn octets(question: &Question, reply: &Reply) -> usize {
    let own = size_of::<Kept>() + size_of::<Told>() + question.name.as_wire().len();
    let found = |found: &Found| {
        let data = match &found.data {
            Data::A(_) | Data::Aaaa(_) | Data::Unusable(_) => 0,
            Data::Cname(name) => name.as_wire().len(),
            Data::Srv(srv) => srv.target.as_ref().map_or(0, |name| name.as_wire().len()),
            Data::Naptr(naptr) => {
                let replacement = naptr.replacement.as_ref().map_or(0, |name| name.as_wire().len());
                naptr.flags.len() + naptr.services.len() + naptr.regexp.len() + replacement
            }
            Data::Tlsa(tlsa) => tlsa.data.len(),
        };
        size_of::<Found>() + found.owner.as_wire().len() + data
    };
    match reply {
        Reply::Records(answer) => own + answer.records.iter().chain(&answer.additional).map(found).sum::<usize>(),
        Reply::NoData { .. } | Reply::NxDomain { .. } | Reply::Failed(_) => own,
    }
}

/// A lock whose holder died guards a cache: what it holds is still whole, entry by entry.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tandem_model::DomainName;
    use tandem_model::locate::Kind;

    use super::*;

    fn question(name: &str) -> Question {
        Question { name: DomainName::parse(name).unwrap(), kind: Kind::A }
    }

    fn record(ttl: u32) -> Found {
        Found { owner: DomainName::parse("a.test").unwrap(), ttl, data: Data::A([203, 0, 113, 1].into()) }
    }

    #[test]
    fn lifetimes() {
        let settings = CacheSettings { max_ttl: 100, max_negative_ttl: 20, ..CacheSettings::default() };
        let answers = Answers::new(&settings);
        let records =
            |ttl| Reply::Records(Answer { records: vec![record(ttl), record(1000)], additional: vec![record(5)] });
        let now = Instant::now();
        for (id, reply, lives) in [
            ("LOC-88", records(60), 60),
            ("cap", records(90_000), 100),
            ("TTL 0", records(0), 0),
            ("RFC 2308 5", Reply::NoData { ttl: 10 }, 10),
            ("RFC 2308 5, cap", Reply::NxDomain { ttl: 3600 }, 20),
            ("without SOA", Reply::NoData { ttl: 0 }, 0),
            ("RFC 9520", Reply::Failed(Failure::ServerFailure), 1),
        ] {
            let question = question(&format!("n{}.test", id.len()));
            answers.keep(&question, &Arc::new((reply, Dnssec::Secure)), now);
            let at = |seconds| answers.kept(&question, now + Duration::from_secs(seconds), Duration::ZERO);
            assert_eq!(at(0).is_some(), lives > 0, "{id}");
            if lives > 0 {
                assert!(at(lives - 1).is_some() && at(lives).is_none(), "{id}");
                let fresh = answers.kept(&question, now, Duration::from_secs(lives + 1));
                assert!(fresh.is_none(), "{id}: not fresh enough for who asks ahead");
            }
        }
        let (reply, dnssec) = (aged(&records(60), 7), Dnssec::Secure);
        let Reply::Records(answer) = reply else { panic!() };
        assert_eq!((answer.records[0].ttl, answer.additional.len(), dnssec), (53, 0, Dnssec::Secure));
    }

    #[test]
    fn bounded() {
        let settings = CacheSettings { max_entries: 10, max_octets: 4000, ..CacheSettings::default() };
        let answers = Answers::new(&settings);
        for number in 0..1000 {
            answers.keep(
                &question(&format!("n{number}.test")),
                &Arc::new((Reply::NoData { ttl: 9 }, Dnssec::Insecure)),
                Instant::now(),
            );
            let (entries, octets) = answers.usage();
            assert!(entries <= 10 && octets <= 4000);
        }
    }
}
