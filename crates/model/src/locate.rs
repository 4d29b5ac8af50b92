//! How the servers of a SIP domain are found (RFC 3263), as a machine: it asks questions and takes answers.
//!
//! [`Locate::start`] reads the URI and gives a first [`Step`]; the caller puts the questions to DNS, all at the same
//! time, and hands each reply to [`Locate::answer`] until a step is [`Step::Done`]. No IO, no clock; chance is an
//! argument. The rules are those of spec LOC-1 to LOC-90: each line that obeys one names it.
//! What follows from the shape of the machine stands here: it generates no URI (LOC-5), keeps the scheme (LOC-12), lets no
//! hop of a sips request leave TLS (LOC-13, LOC-14), and gives one list in order, not a race (LOC-64).
//!
//! Reading order: [`client`](Client) (what we can do), `plan` (what the URI alone decides), `run` (the procedure over
//! the facts known so far), `facts` (what replies add).

mod client;
mod facts;
mod outcome;
mod plan;
mod question;
mod run;
mod service;

use std::collections::HashSet;

pub use client::{
    Client, Families, MAX_UDP_REQUEST, Mode, PATH_MTU_MARGIN, Reach, Request, RequestSize, SentBy, is_public,
};
pub use outcome::{HopDnssec, LocateError, Located, NextHop, Rank, Reason, Refusal};
pub use question::{Answer, Data, Dnssec, Failure, Found, Kind, Question, Reply, TlsaData};
pub use service::Service;

pub use crate::select::Order;
use crate::uri::SipUri;
use facts::Facts;
use plan::Plan;
use run::{Memo, Run, Stop};

/// Most NAPTR records of a domain that are looked at, the best by ORDER and PREFERENCE (LOC-90).
pub const MAX_NAPTRS: usize = 10;
/// Most SRV questions, aliases not counted: one a service (LOC-90).
pub const MAX_SRV_QUESTIONS: usize = 7;
/// Most SRV records that are used, the best by priority (LOC-90).
pub const MAX_SRVS: usize = 32;
/// Most next hops in a result (LOC-90).
pub const MAX_NEXT_HOPS: usize = 64;
/// Most aliases that are followed for one URI, all its lookups together (LOC-90).
pub const MAX_ALIASES: usize = 8;
/// Most questions that one URI can cause: NAPTR, SRV, two families for each target, and every alias for two families.
pub const MAX_QUESTIONS: usize = 1 + MAX_SRV_QUESTIONS + 2 * MAX_SRVS + 2 * MAX_ALIASES;
/// Most additional records that are read from one reply: room for the chain of a domain with many targets.
pub const MAX_ADDITIONAL: usize = 256;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put these questions to DNS, all at once, and give each reply to [`Locate::answer`].
    Ask(Vec<Question>),
    /// Nothing new to ask: wait for the replies that are under way.
    Wait,
    /// Finished; replies still under way do not matter.
    Done(Located),
}

/// The search for one URI's next hops.
///
/// `D` is the source of chance for weighted selection: `draw(sum)` gives a uniform integer in `0..=sum`.
#[derive(Debug)]
pub struct Locate<D> {
    client: Client,
    plan: Plan,
    facts: Facts,
    asked: HashSet<Question>,
    memo: Option<Memo>,
    draw: D,
}

impl<D: FnMut(u32) -> u32> Locate<D> {
    /// Begins to look for the next hops of `uri`: the topmost Route, else the Request-URI (LOC-2).
    ///
    /// An error in the URI or against policy comes as [`Step::Done`] too, like every outcome.
    ///
    /// ```
    /// use tandem_model::locate::{Client, Locate, Reply, Request, Step};
    ///
    /// let uri = "sip:alice@debug.ostel.me".parse()?;
    /// let (mut locate, mut step) = Locate::start(&uri, Request::default(), Client::default(), |sum| sum / 2);
    /// let mut under_way = Vec::new();
    /// let located = loop {
    ///     match step {
    ///         Step::Ask(questions) => under_way.extend(questions),
    ///         Step::Wait => {}
    ///         Step::Done(located) => break located,
    ///     }
    ///     // A real caller asks DNS; this one hears that nothing exists.
    ///     let question = under_way.pop().expect("no step waits when nothing is under way");
    ///     step = locate.answer(&question, Reply::NxDomain { ttl: 30 });
    /// };
    /// assert_eq!(located.outcome.unwrap_err().to_string(), "there is no domain debug.ostel.me: check the spelling");
    /// # Ok::<(), tandem_model::uri::InvalidUri>(())
    /// ```
    pub fn start(uri: &SipUri, request: Request, client: Client, draw: D) -> (Self, Step) {
        let plan = Plan::new(uri, request, &client);
        Self::begin(plan, client, draw)
    }

    /// Begins to look for where a response goes once the connection of its request is gone, and the `received` address
    /// did not take it (RFC 3263 5; LOC-102 to LOC-104).
    pub fn start_response(sent_by: &SentBy, client: Client, draw: D) -> (Self, Step) {
        let plan = Plan::for_response(sent_by, &client);
        Self::begin(plan, client, draw)
    }

    fn begin(plan: Plan, client: Client, draw: D) -> (Self, Step) {
        let mut locate = Self { client, plan, facts: Facts::default(), asked: HashSet::new(), memo: None, draw };
        let step = locate.step();
        (locate, step)
    }

    /// Takes the reply to one question. What was not asked, or was answered before, changes nothing.
    pub fn answer(&mut self, question: &Question, reply: Reply) -> Step {
        self.answer_with(question, reply, Dnssec::Indeterminate)
    }

    /// As [`answer`](Self::answer), with what a trusted validator says of the reply. The additional section of a secure
    /// reply is not taken: no signature check covers it.
    pub fn answer_with(&mut self, question: &Question, reply: Reply, dnssec: Dnssec) -> Step {
        if self.asked.contains(question) {
            self.facts.learn(question, reply, dnssec);
        }
        self.step()
    }

    /// Runs the procedure over the facts at hand, from its start: it ends, or at the first facts that are missing.
    fn step(&mut self) -> Step {
        let mut run = Run::new(&self.client, &self.facts, &mut self.memo, &mut self.draw);
        match run.procedure(&self.plan) {
            Err(Stop::Missing(questions)) => {
                let new: Vec<_> = questions.into_iter().filter(|q| self.asked.insert(q.clone())).collect();
                if new.is_empty() { Step::Wait } else { Step::Ask(new) }
            }
            Err(Stop::Failed(error)) => Step::Done(run.finish(Err(error))),
            Ok(hops) => Step::Done(run.finish(Ok(hops))),
        }
    }
}
