//! The one question that HTTP, FreeSWITCH and the redirect server ask: where does this call go?
//!
//! A member's calls go to the targets of its own document, and no question leaves this host for them. The name servers are
//! asked only for hosts whose addresses a member leaves to others, for numbers that no member has, and for domains that are
//! no members. Start at [`Routes::find`].

mod answer;
mod checked;
mod freeswitch;
mod http;
mod number;
mod target;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tandem_model::called::InvalidCalled;
use tandem_model::locate::{Client, Dnssec, LocateError, Reach, Reason};
use tandem_model::numbering::{EnumError, Rule};
use tandem_model::uri::InvalidUri;
use tandem_model::{Called, DomainName, E164Number, Host, Node, SipUri};
use tandem_resolver::{DnssecTrust, NameServers, Numbers, Own, Resolution, Resolver, Settings, SettingsError};
use tokio::sync::Semaphore;

pub(crate) use self::answer::RETRY_AFTER_DOWN;
pub(crate) use self::http::{Paths, router};
use self::number::NumberIndex;
pub(crate) use self::number::holder;
pub use self::target::RouteTarget;
use crate::check::Verdicts;
use crate::config::Config;
use crate::member::{Member, MemberState};
use crate::snapshot::{Snapshot, Snapshots};
use crate::status::Board;

/// Most calls that wait for name servers at a time, all services together; further ones are told to come back.
const MAX_LOOKUPS: usize = 256;
/// Seconds after which to come back when there are more.
const RETRY_AFTER_BUSY: u32 = 1;
/// Seconds after which to come back when name servers failed, or the members are not known yet.
const RETRY_AFTER_FAILURE: u32 = 5;

/// Tells where calls go. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Routes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshots: Snapshots,
    board: Arc<Board>,
    verdicts: Verdicts,
    numbers: RwLock<NumberIndex>,
    resolver: Resolver,
    /// Domains that the SIP server beside us answers for.
    own: Vec<DomainName>,
    members_only: bool,
    lookups: Semaphore,
}

/// Where one call goes, or why it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which kind of "yes" or "no" it is.
    pub outcome: Outcome,
    /// What is called: the URI that was asked for, or the one that the number led to.
    pub called: Option<SipUri>,
    /// Where to send the call, best first; empty unless it was found.
    pub targets: Vec<RouteTarget>,
    /// The state of the member whose domain it is; `None`: no member's.
    pub member: Option<MemberState>,
    /// Whether that member's own key signed what it says.
    pub is_signed: bool,
    /// Seconds that this may be kept; 0 for one that must be asked for again.
    pub ttl: u32,
    /// What DNSSEC says of the way to the first target; `None` if DNS was not asked.
    pub dnssec: Option<Dnssec>,
    /// Seconds after which to come back, if that is known.
    pub retry_after: Option<u32>,
    /// Each step, in order.
    pub why: Vec<Reason>,
}

/// Which kind of "yes" or "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a way.
    Found,
    /// No such member, domain or number (SIP 404).
    NotAMember,
    /// It is a member, but has no server that can be called now: its operator has to act (480).
    Down,
    /// Nobody knows now (503).
    TryLater,
    /// There may be a way, but it must not be gone (403).
    Refused(Refused),
    /// What was asked for cannot be called (400, 416).
    Invalid(Invalid),
}

/// Why a call must not go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is for our own domain: deliver it here.
    OwnDomain,
    /// The member's key or host is in wrong hands.
    Compromised,
    /// The directory's admin took the member out.
    Suspended,
    /// Settings, or the rules of finding servers, forbid it.
    Policy,
}

/// What is wrong with what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// A URI of another scheme than `sip`, `sips` or `tel`.
    Scheme,
    /// A number that is not in its international form.
    Number,
    /// No URI.
    Syntax,
}

impl Routes {
    /// For the members in `snapshots`.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]: the name servers of the system are wanted and cannot be found out.
    pub fn new(
        config: &Config,
        snapshots: Snapshots,
        board: Arc<Board>,
        verdicts: Verdicts,
    ) -> Result<Self, SettingsError> {
        let own: Vec<DomainName> =
            config.node.iter().map(|node| &node.domain).chain(&config.route.own_domains).cloned().collect();
        let resolver = Resolver::new(Settings {
            servers: NameServers::only_or_system(config.route.name_servers.clone()),
            client: Client {
                reach: if config.route.private_addresses { Reach::Any } else { Reach::Public },
                families: tandem_resolver::local_families(),
                ..Client::default()
            },
            dnssec: if config.route.validating { DnssecTrust::Loopback } else { DnssecTrust::Nobody },
            own: Own { domains: own.clone(), addresses: Vec::new() },
            numbers: Numbers { suffixes: config.route.enum_suffixes.clone(), ..Numbers::default() },
            ..Settings::default()
        })?;
        let mut numbers = NumberIndex::default();
        numbers.update(&snapshots.borrow().members);
        Ok(Self(Arc::new(Inner {
            snapshots,
            board,
            verdicts,
            numbers: RwLock::new(numbers),
            resolver,
            own,
            members_only: config.route.members_only,
            lookups: Semaphore::new(MAX_LOOKUPS),
        })))
    }

    /// Keeps the members' numbers in step with their documents, until the agent ends.
    pub async fn follow(self) {
        let mut snapshots = self.0.snapshots.clone();
        loop {
            let members = snapshots.borrow_and_update().members.clone();
            self.0.numbers.write().unwrap_or_else(PoisonError::into_inner).update(&members);
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where the call goes. Waits for name servers if they have to be asked, at most for five seconds twice, and for looks at
    /// targets if settings want them.
    pub async fn find(&self, called: &Called) -> Route {
        if let Some(route) = self.at_once(called) {
            return route;
        }
        let route = self.find_unchecked(called).await;
        self.checked(route).await
    }

    async fn find_unchecked(&self, called: &Called) -> Route {
        if let Some(route) = self.unchecked_at_once(called) {
            return route;
        }
        let Ok(_permit) = self.0.lookups.try_acquire() else {
            let mut route = Route::new(Outcome::TryLater, "limit", "too many calls wait for name servers".into());
            route.retry_after = Some(RETRY_AFTER_BUSY);
            return route;
        };
        match self.meant(called) {
            Called::Uri(uri) => self.find_uri(&uri).await,
            Called::Number(number) => self.find_number(number).await,
        }
    }

    /// Where the call goes, if that is known without asking anybody: so it is for members whose documents have addresses,
    /// and for what was asked lately.
    #[must_use]
    pub fn at_once(&self, called: &Called) -> Option<Route> {
        self.checked_at_once(self.unchecked_at_once(called)?)
    }

    fn unchecked_at_once(&self, called: &Called) -> Option<Route> {
        match self.meant(called) {
            Called::Uri(uri) => self.uri_at_once(&uri),
            Called::Number(number) => {
                let snapshot = Arc::clone(&self.0.snapshots.borrow());
                match self.members_number(number, &snapshot) {
                    Some(uri) => Some(with_number(self.uri_at_once(&uri)?, number, &uri)),
                    None if self.0.resolver.settings().numbers.suffixes.is_empty() => Some(self.stranger_number()),
                    None => None,
                }
            }
        }
    }

    /// Reads what a protocol carries or a person types, and says what is wrong with it in the form of every other answer.
    ///
    /// # Errors
    ///
    /// The answer to give.
    pub fn read(text: &str) -> Result<Called, Box<Route>> {
        Called::parse(text).map_err(|error| {
            let kind = match &error {
                InvalidCalled::Uri(InvalidUri::Scheme) => Invalid::Scheme,
                InvalidCalled::NotE164(_) | InvalidCalled::Uri(InvalidUri::Number) => Invalid::Number,
                InvalidCalled::Uri(_) => Invalid::Syntax,
            };
            Box::new(Route::new(Outcome::Invalid(kind), "request", chain(&error)))
        })
    }

    /// Whether the SIP server beside us answers for `domain`.
    #[must_use]
    pub fn is_own(&self, domain: &DomainName) -> bool {
        self.0.own.contains(domain)
    }

    /// A number that is dialled at our own server (`sip:+15550101@own.example`, or at its bare address) is a number: only
    /// at another domain it is that domain's user.
    fn meant(&self, called: &Called) -> Called {
        if let Called::Uri(uri) = called {
            let is_here = match uri.host() {
                Host::Name(domain) => self.is_own(domain),
                Host::Ip(_) => true,
            };
            if is_here
                && let Some(user) = uri.user()
                && user.starts_with('+')
                && let Ok(number) = E164Number::parse(user)
            {
                return Called::Number(number);
            }
        }
        called.clone()
    }

    fn uri_at_once(&self, uri: &SipUri) -> Option<Route> {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        match self.judge(uri, &snapshot) {
            Judged::Done(route) => Some(*route),
            Judged::Member(member, node) => {
                let ways = self.targets(&node, &snapshot, |uri| self.0.resolver.kept(uri))?;
                Some(ways.into_route(uri, &member))
            }
            Judged::Stranger(plain) => Some(self.stranger(uri, &*self.0.resolver.kept(&plain)?)),
        }
    }

    async fn find_uri(&self, uri: &SipUri) -> Route {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        match self.judge(uri, &snapshot) {
            Judged::Done(route) => *route,
            Judged::Member(member, node) => {
                let asked = self.ask_for_hosts(&node).await;
                let found = |uri: &SipUri| asked.iter().find(|(of, _)| of == uri).map(|(_, found)| Arc::clone(found));
                // Every host was asked for, so that nothing is left out.
                let ways = self.targets(&node, &snapshot, found);
                ways.map_or_else(|| self.later("a host was not asked for"), |ways| ways.into_route(uri, &member))
            }
            Judged::Stranger(plain) => {
                let found = self.0.resolver.locate(&plain).await;
                self.stranger(uri, &found)
            }
        }
    }

    async fn find_number(&self, number: E164Number) -> Route {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        if let Some(uri) = self.members_number(number, &snapshot) {
            return with_number(self.find_uri(&uri).await, number, &uri);
        }
        if self.0.resolver.settings().numbers.suffixes.is_empty() {
            return self.stranger_number();
        }
        let enumerated = self.0.resolver.look_up_number(number).await;
        let error = match enumerated.outcome {
            // ENUM-34: ENUM is never run on what ENUM gave; find_uri takes the user part for a user.
            Ok(Rule { sip: Some(uri), .. }) => {
                let mut route = with_number(self.find_uri(&uri).await, number, &uri);
                route.ttl = route.ttl.min(enumerated.ttl);
                route.dnssec = Some(route.dnssec.map_or(enumerated.dnssec, |dnssec| dnssec.and(enumerated.dnssec)));
                return route;
            }
            Ok(_) => EnumError::NoUsableRecord,
            Err(error) => error,
        };
        let text = chain(&error);
        let outcome = self.outcome(&LocateError::Number(error).into());
        let mut route = Route::new(outcome, "ENUM-35", text);
        route.ttl = enumerated.ttl;
        route.dnssec = Some(enumerated.dnssec);
        route.retry_after = (outcome == Outcome::TryLater).then_some(RETRY_AFTER_FAILURE);
        route
    }

    fn members_number(&self, number: E164Number, snapshot: &Snapshot) -> Option<SipUri> {
        self.0.numbers.read().unwrap_or_else(PoisonError::into_inner).find(&number, &snapshot.members)
    }

    /// What the members say of a URI, before any target is looked at.
    fn judge(&self, uri: &SipUri, snapshot: &Snapshot) -> Judged {
        let done = |outcome, rule, text: String| {
            let mut route = Route::new(outcome, rule, text);
            route.called = Some(uri.clone());
            route
        };
        let refused = |kind, rule, text| Judged::Done(Box::new(done(Outcome::Refused(kind), rule, text)));
        let Host::Name(domain) = uri.host() else {
            return refused(
                Refused::Policy,
                "LOC-67",
                "the URI has an address and no domain: nobody can be verified".into(),
            );
        };
        if self.is_own(domain) {
            return refused(Refused::OwnDomain, "loop", format!("{domain} is our own"));
        }
        let Some(member) = snapshot.members.get(domain) else {
            if !self.0.board.knows_members() {
                return Judged::Done(Box::new(self.later("the members are not known yet")));
            }
            if self.0.members_only {
                let text = format!("{domain} is no member, and others are not called");
                return Judged::Done(Box::new(done(Outcome::NotAMember, "settings", text)));
            }
            // A port or a transport that somebody typed is not used, for members and for others alike.
            let scheme = if uri.is_sips() { "sips" } else { "sip" };
            return match SipUri::parse(&format!("{scheme}:{domain}")) {
                Ok(plain) => Judged::Stranger(Box::new(plain)),
                Err(error) => Judged::Done(Box::new(done(Outcome::Invalid(Invalid::Syntax), "request", chain(&error)))),
            };
        };
        let (outcome, rule) = match member.state {
            MemberState::Active | MemberState::Stale | MemberState::Draining => match member.shown() {
                Some(node) => return Judged::Member(Arc::clone(member), Box::new(node.into_owned())),
                None => (Outcome::Down, "directory"),
            },
            MemberState::Withdrawn => (Outcome::Down, "directory"),
            MemberState::Suspended => (Outcome::Refused(Refused::Suspended), "directory"),
            MemberState::Compromised => (Outcome::Refused(Refused::Compromised), "directory"),
        };
        let reason = member.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut route = done(outcome, rule, format!("{domain} is {}{reason}", member.state.as_str()));
        (route.member, route.is_signed) = (Some(member.state), member.is_signed());
        Judged::Done(Box::new(route))
    }

    /// The answer for a domain that is no member's.
    fn stranger(&self, uri: &SipUri, found: &Resolution) -> Route {
        let outcome = self.outcome(&found.outcome);
        let mut route = Route::new(outcome, "directory", "the domain is no member's: DNS was asked".into());
        route.called = Some(uri.clone());
        route.why.extend(found.reasons.iter().cloned());
        if let Some(error) = found.outcome.error() {
            route.why.push(Reason::new("outcome", chain(error)));
        }
        route.targets = found.next_hops().iter().filter_map(RouteTarget::of_hop).collect();
        route.ttl = found.remaining(Instant::now()).map_or(0, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX));
        route.dnssec = Some(found.dnssec);
        route.retry_after = match &found.outcome {
            tandem_resolver::Outcome::TryLater(LocateError::Busy { seconds, .. }) => Some(*seconds),
            _ => (outcome == Outcome::TryLater).then_some(RETRY_AFTER_FAILURE),
        };
        route
    }

    fn stranger_number(&self) -> Route {
        match self.0.board.knows_members() {
            true => Route::new(Outcome::NotAMember, "directory", "no member has this number".into()),
            false => self.later("the members are not known yet"),
        }
    }

    fn later(&self, why: &str) -> Route {
        let mut route = Route::new(Outcome::TryLater, "directory", why.to_owned());
        route.retry_after = Some(RETRY_AFTER_FAILURE);
        route
    }

    fn outcome(&self, outcome: &tandem_resolver::Outcome) -> Outcome {
        use tandem_resolver::Outcome as Found;
        match outcome {
            Found::Found(_) => Outcome::Found,
            Found::NotAMember(_) => Outcome::NotAMember,
            Found::Down(_) => Outcome::Down,
            // What DNSSEC says is forged may be mended soon; it is never called until then.
            Found::TryLater(_) | Found::Bogus(_) => Outcome::TryLater,
            Found::Loop(_) => Outcome::Refused(Refused::OwnDomain),
            Found::Invalid(_) => Outcome::Invalid(Invalid::Syntax),
            // Refused; and the library may learn to say "no" in other ways.
            _ => Outcome::Refused(Refused::Policy),
        }
    }
}

/// What the members say of a URI.
enum Judged {
    Done(Box<Route>),
    /// A member to be called, and what it shows.
    Member(Arc<Member>, Box<Node>),
    /// No member: the URI to ask DNS for.
    Stranger(Box<SipUri>),
}

impl Route {
    /// A "no", or a beginning.
    fn new(outcome: Outcome, rule: &'static str, text: String) -> Self {
        let why = vec![Reason::new(rule, text)];
        Self {
            outcome,
            called: None,
            targets: Vec::new(),
            member: None,
            is_signed: false,
            ttl: 0,
            dnssec: None,
            retry_after: None,
            why,
        }
    }

    /// What a SIP server puts into a Contact or calls: the domain, over TLS, without port or address, so that it finds the
    /// servers itself and knows which name to verify. `None` unless there is a way.
    #[must_use]
    pub fn uri(&self) -> Option<String> {
        let called = self.called.as_ref().filter(|_| self.outcome == Outcome::Found)?;
        let user = called.user().map(|user| format!("{user}@")).unwrap_or_default();
        let host = called.host();
        // RFC 3261 8.1.3.4: what was asked for as SIPS is given as SIPS; 26.2.2: its transport goes without saying.
        Some(if called.is_sips() { format!("sips:{user}{host}") } else { format!("sip:{user}{host};transport=tls") })
    }
}

/// Whether `text` can be the name of a Sofia profile in a dial string: what settings and queries may say.
#[must_use]
pub fn is_profile(text: &str) -> bool {
    freeswitch::is_profile(text)
}

fn with_number(mut route: Route, number: E164Number, uri: &SipUri) -> Route {
    route.why.insert(0, Reason::new("number", format!("{number} is {uri}")));
    route
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
