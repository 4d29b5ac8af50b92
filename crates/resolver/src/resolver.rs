//! What a SIP element asks: from a URI or a number to next hops, by what is kept and by the name servers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tandem_model::locate::{
    Dnssec, Failure, Locate, LocateError, Located, NextHop, Question, Reason, Refusal, Reply, Request, SentBy, Step,
};
use tandem_model::numbering::{self, Enumerate, Enumerated};
use tandem_model::{Called, DomainName, E164Number, Host, SipUri};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tracing::{debug, warn};

use crate::answers::{Answers, Told};
use crate::host::{self, HostAnswer};
use crate::members::{MemberState, Members};
use crate::order;
use crate::resolution::{Outcome, Resolution, Resolved};
use crate::results::{Key, Known, Results};
use crate::settings::{Settings, SettingsError, TOTAL_TIMEOUT};
use crate::sips::SipsMemory;
use crate::targets::{Report, Targets};
use crate::upstream::Upstream;

/// How long a caller waits for a fresh result while a stale one is at hand (RFC 8767 5, client response timer).
const STALE_ANSWER_AFTER: Duration = Duration::from_millis(1800);

/// Finds the servers of SIP URIs and numbers. Cheap to clone; clones share caches, connections, memory and limits.
///
/// Needs a tokio runtime with time and IO. A result that is kept comes without a question, an allocation or a wait. A
/// future that is dropped leaves its questions to others who may wait for the same; each ends in its own time.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    upstream: Arc<Upstream>,
    answers: Arc<Answers>,
    results: Results,
    targets: Targets,
    sips: Mutex<SipsMemory>,
    members: ArcSwap<Members>,
    settings: Settings,
}

/// How much the caches hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUsage {
    /// Whole results.
    pub results: usize,
    /// Answers of name servers.
    pub answers: usize,
    /// Octets of both, roughly.
    pub octets: usize,
}

impl Resolver {
    /// Reads the system's name servers where the settings ask for them; sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] says what to change.
    pub fn new(mut settings: Settings) -> Result<Self, SettingsError> {
        settings.total_timeout = settings.total_timeout.min(TOTAL_TIMEOUT); // LOC-90
        settings.client.asks_ahead = settings.ask_ahead;
        let upstream = Arc::new(Upstream::new(&settings)?);
        Ok(Self(Arc::new(Inner {
            upstream,
            answers: Arc::new(Answers::new(&settings.cache)),
            results: Results::new(&settings.cache),
            targets: Targets::new(),
            sips: Mutex::new(SipsMemory::new()),
            members: ArcSwap::default(),
            settings,
        })))
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The next hops of `uri`, or which kind of "no" it is. Takes at most [`Settings::total_timeout`].
    pub async fn locate(&self, uri: &SipUri) -> Arc<Resolution> {
        self.locate_request(uri, Request::default()).await
    }

    /// As [`locate`](Self::locate), for a request of which more is known: a `sips:` Request-URI behind a Route, its size.
    pub async fn locate_request(&self, uri: &SipUri, request: Request) -> Arc<Resolution> {
        let now = Instant::now();
        if let Some(refused) = self.refused(uri) {
            return refused;
        }
        let key = Key::new(uri, request);
        match self.0.results.get(key, now, true) {
            Known::Fresh(kept) => self.for_call(kept, uri, now),
            Known::Hot(kept, fresh_for) => {
                self.ask_again(uri, request, fresh_for);
                self.for_call(kept, uri, now)
            }
            // On the heap, so that what is kept is given from a small future.
            Known::Stale(kept) => Box::pin(self.search_or_stale(uri, request, kept)).await,
            Known::Nothing => {
                let found = Box::pin(self.search(uri, request, Duration::ZERO)).await;
                self.without_unwell(found, uri)
            }
        }
    }

    /// The result of an earlier call that still holds, as [`locate`](Self::locate) gives it, without any wait. Outside of
    /// a runtime no hot name is asked for again.
    #[must_use]
    pub fn kept(&self, uri: &SipUri) -> Option<Arc<Resolution>> {
        let now = Instant::now();
        if let Some(refused) = self.refused(uri) {
            return Some(refused);
        }
        let request = Request::default();
        let can_ask = tokio::runtime::Handle::try_current().is_ok();
        match self.0.results.get(Key::new(uri, request), now, can_ask) {
            Known::Fresh(kept) => Some(self.for_call(kept, uri, now)),
            Known::Hot(kept, fresh_for) => {
                self.ask_again(uri, request, fresh_for);
                Some(self.for_call(kept, uri, now))
            }
            Known::Stale(_) | Known::Nothing => None,
        }
    }

    /// From what a caller gives to next hops in one call: a number by ENUM to its URI first, under the suffixes of
    /// [`Settings::numbers`]. ENUM is never run on a URI that ENUM gave (ENUM-34).
    pub async fn resolve(&self, called: &Called) -> Resolved {
        let number = match called {
            Called::Uri(uri) => {
                return Resolved { number: None, uri: Some(uri.clone()), resolution: self.locate(uri).await };
            }
            Called::Number(number) => *number,
        };
        let enumerated = self.look_up_number(number).await;
        let (uri, resolution) = match &enumerated.outcome {
            Ok(numbering::Rule { sip: Some(uri), .. }) => (Some(uri.clone()), self.locate(uri).await),
            // A URI of another scheme is no SIP server's.
            Ok(_) => (None, self.number_failed(&enumerated, numbering::EnumError::NoUsableRecord)),
            Err(error) => (None, self.number_failed(&enumerated, error.clone())),
        };
        Resolved { number: Some(enumerated), uri, resolution }
    }

    /// What ENUM says of a number, under the suffixes of [`Settings::numbers`]. Takes at most
    /// [`Settings::total_timeout`].
    pub async fn look_up_number(&self, number: E164Number) -> Enumerated {
        let deadline = tokio::time::Instant::now() + self.0.settings.total_timeout;
        let numbers = &self.0.settings.numbers;
        let (mut search, mut step) = Enumerate::start(number, numbers.suffixes.clone(), numbers.wanted.clone());
        loop {
            match step {
                numbering::Step::Done(enumerated) => {
                    // The number alone would tell who was called: it is not logged.
                    debug!(rule = "ENUM-35", found = enumerated.outcome.is_ok(), "number looked up");
                    return enumerated;
                }
                numbering::Step::Ask(question) => {
                    let asking = self.0.answers.ask(&self.0.upstream, &question, Duration::ZERO);
                    let (reply, dnssec) = timeout_at(deadline, asking)
                        .await
                        .unwrap_or((Reply::Failed(Failure::Timeout), Dnssec::Indeterminate));
                    step = search.answer(reply, dnssec);
                }
            }
        }
    }

    /// Where a response goes whose request came over a connection that is gone (RFC 3263 5, RFC 3261 18.2.2). While the
    /// connection is open, it goes there and nowhere else (LOC-100). `received` is the address that the request came
    /// from: it is tried first, at the port of `sent-by` (LOC-101).
    pub async fn locate_response(&self, sent_by: &SentBy, received: Option<IpAddr>) -> Arc<Resolution> {
        let client = self.0.settings.client.clone();
        let mut located = self.drive(Locate::start_response(sent_by, client, draw), Duration::ZERO).await;
        if let (Ok(hops), Some(received)) = (&mut located.outcome, received) {
            let port = sent_by.port.map_or_else(|| sent_by.service.default_port(), Into::into);
            let address = SocketAddr::new(received, port);
            let tls_name = sent_by.host.as_name().cloned().filter(|_| sent_by.service.is_secure());
            let service = sent_by.service;
            hops.retain(|hop| hop.address != address);
            let (srv_target, canonical, rank, dnssec, ttl) = (None, None, None, Default::default(), None);
            hops.insert(0, NextHop { service, address, tls_name, srv_target, canonical, rank, dnssec, ttl });
            located.reasons.push(Reason::new("LOC-101", format!("first to {address}, where the request came from")));
        }
        Arc::new(located.into())
    }

    /// Tells what came of trying a next hop; later results are ordered by it (LOC-81, LOC-83). Never waits.
    pub fn report(&self, hop: &NextHop, report: Report) {
        self.0.targets.report(hop, report, Instant::now());
    }

    /// Puts a new snapshot of a directory's members in place of the old one; calls from now on go by it.
    pub fn set_members(&self, members: Members) {
        self.0.members.store(Arc::new(members));
    }

    /// The snapshot in force.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.0.members.load_full()
    }

    /// How much the caches hold now.
    #[must_use]
    pub fn cache_usage(&self) -> CacheUsage {
        let ((results, of_results), (answers, of_answers)) = (self.0.results.usage(), self.0.answers.usage());
        CacheUsage { results, answers, octets: of_results + of_answers }
    }

    /// Whether `name` is a host that others can reach by its own addresses: what an SRV target has to be (RFC 2782).
    ///
    /// Takes at most [`Settings::total_timeout`]. Asks anew each time, for both families, whatever [`Settings::client`]
    /// has: who mends a name wants to see it mended.
    pub async fn lookup_host(&self, name: &DomainName) -> HostAnswer {
        let deadline = tokio::time::Instant::now() + self.0.settings.total_timeout;
        let mut under_way = UnderWay::default();
        for question in host::questions(name) {
            under_way.ask(&self.0, question, Duration::MAX);
        }
        let mut replies = Vec::new();
        while !under_way.is_empty() {
            replies.push(under_way.next(deadline).await.1.0);
        }
        HostAnswer::new(name, replies, self.0.settings.client.reach)
    }

    /// One question, as a search would ask it: from what is kept, else from the name servers. Takes at most
    /// [`Settings::total_timeout`]. The second is what a trusted validator says of the reply.
    pub async fn ask(&self, question: &Question) -> (Reply, Dnssec) {
        let asking = self.0.answers.ask(&self.0.upstream, question, Duration::ZERO);
        let told = timeout(self.0.settings.total_timeout, asking).await;
        told.unwrap_or((Reply::Failed(Failure::Timeout), Dnssec::Indeterminate))
    }

    /// What is decided before any look-up: our own domains, and members in wrong hands.
    fn refused(&self, uri: &SipUri) -> Option<Arc<Resolution>> {
        let refuse = |rule, text: String, error| {
            let reasons = vec![Reason::new(rule, text)];
            Some(Arc::new(Located { outcome: Err(error), ttl: None, naptr_offered_sips: None, reasons }.into()))
        };
        let domain = uri.host().as_name()?;
        if self.0.settings.own.domains.contains(domain) {
            return refuse("LOC-80", format!("{domain} is our own"), LocateError::Ourselves(uri.host().clone()));
        }
        let members = self.0.members.load();
        let compromised = members.get(domain).is_some_and(|member| member.state == MemberState::Compromised);
        if !compromised {
            return None;
        }
        let error = LocateError::PolicyRefused(Refusal::Compromised);
        refuse("CERT-20", format!("the directory says that {domain} is compromised"), error)
    }

    /// A number without a URI, in the form of every other outcome.
    fn number_failed(&self, enumerated: &Enumerated, error: numbering::EnumError) -> Arc<Resolution> {
        let none = self.0.settings.numbers.suffixes.is_empty();
        let none = none.then(|| Reason::new("ENUM-8", "no ENUM suffix is set: nothing was asked".to_owned()));
        let passed = enumerated.discarded.iter().map(|(name, why)| Reason::new("ENUM-30", format!("{name}: {why}")));
        let reasons = none.into_iter().chain(passed).chain([Reason::new("ENUM-35", error.to_string())]).collect();
        let outcome = Err(LocateError::Number(error));
        Arc::new(Located { outcome, ttl: Some(enumerated.ttl), naptr_offered_sips: None, reasons }.into())
    }

    /// Asks behind the caller's back; one such search a result, and its questions are bounded as all are.
    fn ask_again(&self, uri: &SipUri, request: Request, fresh_for: Duration) {
        let (this, uri) = (self.clone(), uri.clone());
        tokio::spawn(async move { this.search(&uri, request, fresh_for).await });
    }

    /// A kept result, in the order for this call.
    fn for_call(&self, kept: Arc<Resolution>, uri: &SipUri, now: Instant) -> Arc<Resolution> {
        let redraw = kept.has_choice;
        if !redraw && self.0.targets.all_well() {
            return kept;
        }
        self.ordered(&kept, redraw, uri, now)
    }

    /// A result that chance has ordered already.
    fn without_unwell(&self, found: Arc<Resolution>, uri: &SipUri) -> Arc<Resolution> {
        if self.0.targets.all_well() { found } else { self.ordered(&found, false, uri, Instant::now()) }
    }

    fn ordered(&self, resolution: &Arc<Resolution>, redraw: bool, uri: &SipUri, now: Instant) -> Arc<Resolution> {
        let Outcome::Found(hops) = &resolution.outcome else { return Arc::clone(resolution) };
        let outcome = match order::for_call(hops, redraw, &self.0.targets, uri.host(), now, draw) {
            Ok(hops) => Outcome::Found(hops),
            Err(error) => error.into(),
        };
        let mut ordered = resolution.with_outcome(outcome);
        // What no server can take now must not be kept by anybody.
        ordered.ttl = if ordered.is_found() { ordered.ttl } else { Some(0) };
        Arc::new(ordered)
    }

    /// A fresh result if it comes soon, else the one whose time is over (RFC 8767). The search goes on by itself.
    async fn search_or_stale(&self, uri: &SipUri, request: Request, kept: Arc<Resolution>) -> Arc<Resolution> {
        let (this, uri_again) = (self.clone(), uri.clone());
        let search = tokio::spawn(async move { this.search(&uri_again, request, Duration::ZERO).await });
        match timeout(STALE_ANSWER_AFTER, search).await {
            // A forged answer is an answer, too: it must not be covered up.
            Ok(Ok(found)) if !matches!(found.outcome, Outcome::TryLater(_)) => self.without_unwell(found, uri),
            _ => {
                let mut stale = kept.with_outcome(kept.outcome.clone());
                (stale.stale, stale.ttl) = (true, Some(0));
                let stale = Arc::new(stale);
                self.0.results.serve_stale(Key::new(uri, request), &stale, Instant::now());
                self.without_unwell(stale, uri)
            }
        }
    }

    /// Asks, judges, and keeps the result. Answers count that live for at least `fresh_for` more.
    async fn search(&self, uri: &SipUri, request: Request, fresh_for: Duration) -> Arc<Resolution> {
        let started = Locate::start(uri, request, self.0.settings.client.clone(), draw);
        let mut located = self.drive(started, fresh_for).await;
        self.guard(uri, &mut located);
        let rule = located.reasons.last().map_or("LOC-1", |reason| reason.rule);
        let hops = located.outcome.as_ref().map_or(0, Vec::len);
        // The domain alone: who was called is nobody's business.
        debug!(domain = %uri.host(), rule, hops, "located");
        let mut resolution = Resolution::from(located);
        resolution.has_choice = order::has_choice(resolution.next_hops(), self.0.settings.client.order);
        let resolution = Arc::new(resolution);
        self.0.results.put(Key::new(uri, request), &resolution, Instant::now());
        resolution
    }

    /// Puts the machine's questions until it is done.
    async fn drive<D: FnMut(u32) -> u32>(&self, started: (Locate<D>, Step), fresh_for: Duration) -> Located {
        let deadline = tokio::time::Instant::now() + self.0.settings.total_timeout;
        let (mut locate, mut step) = started;
        let mut under_way = UnderWay::default();
        loop {
            match step {
                Step::Done(located) => return located,
                Step::Ask(questions) => {
                    questions.into_iter().for_each(|question| under_way.ask(&self.0, question, fresh_for));
                }
                Step::Wait => {}
            }
            let (question, (reply, dnssec)) = under_way.next(deadline).await;
            step = locate.answer_with(&question, reply, dnssec);
        }
    }

    /// What the machine cannot know: our own addresses, and what the domain offered before.
    fn guard(&self, uri: &SipUri, located: &mut Located) {
        let own = &self.0.settings.own.addresses;
        let mut note = None;
        if let Ok(hops) = &mut located.outcome {
            let before = hops.len();
            hops.retain(|hop| !own.contains(&hop.address));
            if hops.is_empty() {
                note = Some(Reason::new("LOC-80", "every address is our own".to_owned()));
                located.outcome = Err(LocateError::Ourselves(uri.host().clone()));
            } else if hops.len() < before {
                note = Some(Reason::new("LOC-80", "our own address is left out".to_owned()));
            }
        }
        located.reasons.extend(note);
        let Host::Name(domain) = uri.host() else { return };
        let mut sips = self.0.sips.lock().unwrap_or_else(PoisonError::into_inner);
        if sips.vanished(domain, located, Instant::now()) {
            let plain = located.outcome.as_ref().is_ok_and(|hops| hops.iter().any(|hop| !hop.service.is_secure()));
            warn!(%domain, rule = "LOC-89", refused = plain, "SIP over TLS was on offer before and is not now");
            located.reasons.push(Reason::new("LOC-89", format!("{domain} offered SIPS before and does not now")));
            if plain {
                located.outcome = Err(LocateError::SipsVanished(domain.clone()));
            }
        }
    }
}

/// Questions that were asked and have no reply yet.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<(Question, Told)>,
    questions: Vec<Question>,
}

impl UnderWay {
    fn ask(&mut self, inner: &Arc<Inner>, question: Question, fresh_for: Duration) {
        let inner = Arc::clone(inner);
        self.questions.push(question.clone());
        self.tasks.spawn(async move {
            let told = inner.answers.ask(&inner.upstream, &question, fresh_for).await;
            (question, told)
        });
    }

    fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The next reply; once the deadline is over, "timeout" for each question that is left.
    ///
    /// # Panics
    ///
    /// If nothing is under way: the machine waits only for what it asked.
    async fn next(&mut self, deadline: tokio::time::Instant) -> (Question, Told) {
        match timeout_at(deadline, self.tasks.join_next()).await {
            Ok(Some(Ok((question, told)))) => {
                self.questions.retain(|q| *q != question);
                (question, told)
            }
            // A task that died, or time that is over: the question stays without an answer.
            Ok(Some(Err(_)) | None) | Err(_) => {
                let question = self.questions.pop().expect("the machine waits only for what it asked");
                (question, (Reply::Failed(Failure::Timeout), Dnssec::Indeterminate))
            }
        }
    }
}

/// A uniform integer in `0..=sum`. The remainder favours nobody by more than one in 2^32.
fn draw(sum: u32) -> u32 {
    // Without chance the order is still a right one by priority: only the balance suffers.
    let random = getrandom::u64().unwrap_or(0);
    let drawn = random % (u64::from(sum) + 1);
    u32::try_from(drawn).expect("not above sum, which is a u32")
}
