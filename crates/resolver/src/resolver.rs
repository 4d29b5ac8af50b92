//! The loop between the machine and the name servers.

use std::sync::Arc;

use tandem_model::locate::{Failure, Locate, Located, Question, Reply, Request, Step};
use tandem_model::{DomainName, SipUri};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::host::{self, HostAnswer};
use crate::resolution::Resolution;
use crate::settings::{Settings, SettingsError, TOTAL_TIMEOUT};
use crate::upstream::Upstream;

/// Finds the servers of SIP URIs. Cheap to clone; clones share connections and limits.
///
/// Needs a tokio runtime with time and IO. Dropping a future given by it stops its questions.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    upstream: Upstream,
    settings: Settings,
}

impl Resolver {
    /// Reads the system's name servers where the settings ask for them; sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] says what to change.
    pub fn new(mut settings: Settings) -> Result<Self, SettingsError> {
        settings.total_timeout = settings.total_timeout.min(TOTAL_TIMEOUT); // LOC-90
        let upstream = Upstream::new(&settings)?;
        Ok(Self(Arc::new(Inner { upstream, settings })))
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The next hops of `uri`, or which kind of "no" it is. Takes at most [`Settings::total_timeout`].
    pub async fn locate(&self, uri: &SipUri) -> Resolution {
        self.locate_request(uri, Request::default()).await
    }

    /// As [`locate`](Self::locate), for a request of which more is known: a `sips:` Request-URI behind a Route, its size.
    pub async fn locate_request(&self, uri: &SipUri, request: Request) -> Resolution {
        let deadline = Instant::now() + self.0.settings.total_timeout;
        let (mut locate, mut step) = Locate::start(uri, request, self.0.settings.client.clone(), draw);
        let mut under_way = UnderWay::default();
        loop {
            match step {
                Step::Done(located) => return done(uri, located),
                Step::Ask(questions) => questions.into_iter().for_each(|question| under_way.ask(&self.0, question)),
                Step::Wait => {}
            }
            let (question, reply) = under_way.next(deadline).await;
            step = locate.answer(&question, reply);
        }
    }

    /// Whether `name` is a host that others can reach by its own addresses: what an SRV target has to be (RFC 2782).
    ///
    /// Takes at most [`Settings::total_timeout`]. Asks for both families, whatever [`Settings::client`] has.
    pub async fn lookup_host(&self, name: &DomainName) -> HostAnswer {
        let deadline = Instant::now() + self.0.settings.total_timeout;
        let mut under_way = UnderWay::default();
        let questions = host::questions(name);
        questions.into_iter().for_each(|question| under_way.ask(&self.0, question));
        let mut replies = Vec::new();
        while !under_way.is_empty() {
            replies.push(under_way.next(deadline).await.1);
        }
        HostAnswer::new(name, replies, self.0.settings.client.reach)
    }
}

/// Questions that were asked and have no reply yet.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<(Question, Reply)>,
    questions: Vec<Question>,
}

impl UnderWay {
    fn ask(&mut self, inner: &Arc<Inner>, question: Question) {
        let inner = Arc::clone(inner);
        self.questions.push(question.clone());
        self.tasks.spawn(async move {
            let reply = inner.upstream.ask(&question).await;
            (question, reply)
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
    async fn next(&mut self, deadline: Instant) -> (Question, Reply) {
        match timeout_at(deadline, self.tasks.join_next()).await {
            Ok(Some(Ok((question, reply)))) => {
                self.questions.retain(|q| *q != question);
                (question, reply)
            }
            // A task that died, or time that is over: the question stays without an answer.
            Ok(Some(Err(_)) | None) | Err(_) => {
                let question = self.questions.pop().expect("the machine waits only for what it asked");
                (question, Reply::Failed(Failure::Timeout))
            }
        }
    }
}

fn done(uri: &SipUri, located: Located) -> Resolution {
    let rule = located.reasons.last().map_or("LOC-1", |reason| reason.rule);
    let hops = located.outcome.as_ref().map_or(0, Vec::len);
    // The domain alone: who was called is nobody's business.
    debug!(domain = %uri.host(), rule, hops, "located");
    located.into()
}

/// A uniform integer in `0..=sum`. The remainder favours nobody by more than one in 2^32.
fn draw(sum: u32) -> u32 {
    // Without chance the order is still a right one by priority: only the balance suffers.
    let random = getrandom::u64().unwrap_or(0);
    let drawn = random % (u64::from(sum) + 1);
    u32::try_from(drawn).expect("not above sum, which is a u32")
}
