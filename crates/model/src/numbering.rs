//! ENUM (RFC 6116): from a telephone number to a URI, as a machine that asks questions and takes answers.
//!
//! [`Enumerate::start`] gives a first [`Step`]; each reply goes to [`Enumerate::answer`] until a step is
//! [`Step::Done`]. No IO and no clock. What strangers publish is judged record by record, and a bad one never ends the
//! search (ENUM-30). Start reading at [`Enumerate`]; `rule` judges a record, `expression` applies its regexp.

mod expression;
mod rule;

use std::collections::HashSet;

pub use expression::{MAX_RESULT, Substitution};
pub use rule::{Rule, Wanted};
use rule::{Said, has_known_flags, judge};

use crate::locate::{Answer, Data, Dnssec, Failure, Kind, MAX_ALIASES, Question, Reply};
use crate::name::DomainName;
use crate::number::E164Number;
use crate::record::Naptr;

/// Most non-terminal steps under one suffix (ENUM-43).
pub const MAX_STEPS: usize = 5;
/// Most records of one RRset that are judged, the best by ORDER and PREFERENCE.
pub const MAX_RULES: usize = 32;
/// Most suffixes that are tried.
pub const MAX_SUFFIXES: usize = 8;
/// Most questions that one number can cause, all suffixes and aliases together: a tree of non-terminal records that fan
/// out ends here.
pub const MAX_QUESTIONS: usize = 32;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put this question to DNS and give the reply to [`Enumerate::answer`].
    Ask(Question),
    /// Finished.
    Done(Enumerated),
}

/// What became of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enumerated {
    /// The number.
    pub number: E164Number,
    /// The one rule that won (ENUM-35), or why there is none.
    pub outcome: Result<Rule, EnumError>,
    /// Seconds that this may be kept: the least TTL of all answers that it builds on; 0 after a failed look-up.
    pub ttl: u32,
    /// The least DNSSEC status of the answers that led to the rule.
    pub dnssec: Dnssec,
    /// The records that were passed over, in the order in which they were met, each with the name it is at.
    pub discarded: Vec<(DomainName, Discard)>,
}

/// The search for one number's URI.
#[derive(Debug)]
pub struct Enumerate {
    number: E164Number,
    aus: String,
    wanted: Wanted,
    /// Suffixes still to try, the next one last.
    suffixes: Vec<DomainName>,
    levels: Vec<Level>,
    /// ENUM-42: no name is asked for twice under one suffix.
    visited: HashSet<DomainName>,
    asked: Option<Asked>,
    questions: usize,
    /// A look-up below a non-terminal record failed: nobody can say what stands there.
    failed: Option<(Question, Failure)>,
    looped: bool,
    /// The most telling "no" so far.
    worst: EnumError,
    ttl: Option<u32>,
    discarded: Vec<(DomainName, Discard)>,
}

/// One RRset that is being worked through.
#[derive(Debug)]
struct Level {
    name: DomainName,
    /// In the order of trying, the next one last.
    rules: Vec<Naptr>,
    dnssec: Dnssec,
}

/// The question under way, and how many aliases led to it.
#[derive(Debug)]
struct Asked {
    question: Question,
    aliases: usize,
    dnssec: Dnssec,
}

impl Enumerate {
    /// Begins to look for the URI of `number` under each suffix in turn (ENUM-8): private trees first, `e164.arpa` last
    /// and only if the caller lists it.
    ///
    /// ```
    /// use tandem_model::locate::Reply;
    /// use tandem_model::numbering::{EnumError, Enumerate, Step, Wanted};
    /// use tandem_model::{DomainName, E164Number};
    ///
    /// let number = E164Number::parse("+44-20-7946-0148")?;
    /// let suffix = DomainName::parse("e164.ostn.test")?;
    /// let (mut search, step) = Enumerate::start(number, vec![suffix], Wanted::default());
    /// let Step::Ask(question) = step else { panic!("one suffix, one question") };
    /// assert_eq!(question.name.to_string(), "8.4.1.0.6.4.9.7.0.2.4.4.e164.ostn.test");
    /// let Step::Done(found) = search.answer(Reply::NxDomain { ttl: 30 }, Default::default()) else { panic!() };
    /// assert_eq!(found.outcome, Err(EnumError::NoSuchNumber));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn start(number: E164Number, mut suffixes: Vec<DomainName>, wanted: Wanted) -> (Self, Step) {
        suffixes.truncate(MAX_SUFFIXES);
        suffixes.reverse();
        let mut this = Self {
            number,
            // ENUM-2: the plus is part of what the regexp sees.
            aus: number.to_string(),
            wanted,
            suffixes,
            levels: Vec::new(),
            visited: HashSet::new(),
            asked: None,
            questions: 0,
            failed: None,
            looped: false,
            worst: EnumError::NoSuchNumber,
            ttl: None,
            discarded: Vec::new(),
        };
        let step = this.next_suffix();
        (this, step)
    }

    /// Takes the reply to the question of the last step.
    pub fn answer(&mut self, reply: Reply, dnssec: Dnssec) -> Step {
        let Some(Asked { question, aliases, dnssec: before }) = self.asked.take() else { return self.go_on() };
        let dnssec = before.and(dnssec);
        match reply {
            Reply::Records(answer) => self.records(question, aliases, &answer, dnssec),
            Reply::NoData { ttl } => self.nothing(ttl, EnumError::NoRecords),
            Reply::NxDomain { ttl } => self.nothing(ttl, EnumError::NoSuchNumber),
            Reply::Failed(failure) => self.failure(question, failure),
        }
    }

    fn next_suffix(&mut self) -> Step {
        self.visited.clear();
        self.looped = false;
        let Some(suffix) = self.suffixes.pop() else { return self.done(Err(self.worst.clone()), Dnssec::default()) };
        // ENUM-6. A suffix without room for the digits holds no number.
        match self.number.digits().owner_name(&suffix) {
            Ok(name) => self.ask(name, 0, Dnssec::Secure),
            Err(_) => self.next_suffix(),
        }
    }

    fn ask(&mut self, name: DomainName, aliases: usize, dnssec: Dnssec) -> Step {
        self.visited.insert(name.clone());
        self.questions += 1;
        let question = Question { name, kind: Kind::Naptr };
        self.asked = Some(Asked { question: question.clone(), aliases, dnssec });
        Step::Ask(question)
    }

    /// An RRset, or aliases that lead out of the answer.
    fn records(&mut self, question: Question, aliases: usize, answer: &Answer, dnssec: Dnssec) -> Step {
        let mut name = question.name.clone();
        for hop in aliases..=MAX_ALIASES {
            let here: Vec<_> = answer.records.iter().filter(|record| record.owner == name).collect();
            self.ttl = here.iter().map(|record| record.ttl).chain(self.ttl).min();
            let naptrs: Vec<_> = here.iter().filter(|record| record.data.kind() == Some(Kind::Naptr)).collect();
            if !naptrs.is_empty() {
                let data = naptrs.into_iter().map(|record| record.data.clone());
                let level = self.level(name, data, dnssec);
                self.levels.push(level);
                return self.go_on();
            }
            let alias = here.iter().find_map(|record| match &record.data {
                Data::Cname(target) => Some(target.clone()),
                _ => None,
            });
            match alias {
                // ENUM-84: a number may be handed over by an alias; the number itself stays.
                Some(target) => name = target,
                None if name == question.name => return self.failure(question, Failure::Unreadable),
                None if self.questions >= MAX_QUESTIONS || self.visited.contains(&name) => break,
                None => return self.ask(name, hop, dnssec),
            }
        }
        self.failure(question, Failure::Aliases)
    }

    /// ENUM-20: by ORDER, then PREFERENCE; equals in the order of the reply. ENUM-22: inside one RRset alone.
    fn level(&mut self, name: DomainName, data: impl Iterator<Item = Data>, dnssec: Dnssec) -> Level {
        let mut rules: Vec<Naptr> = Vec::new();
        for data in data {
            match data {
                Data::Naptr(naptr) if has_known_flags(&naptr) => rules.push(naptr),
                Data::Naptr(naptr) if !naptr.flags.is_ascii() => self.discard(&name, Discard::NonAscii),
                Data::Naptr(_) => self.discard(&name, Discard::UnknownFlag),
                _ => self.discard(&name, Discard::NonAscii),
            }
        }
        rules.sort_by_key(|naptr| (naptr.order, naptr.preference));
        rules.truncate(MAX_RULES);
        rules.reverse();
        Level { name, rules, dnssec }
    }

    /// The next record, wherever that stands; non-terminal ones are followed (ENUM-40; ENUM-21, ENUM-44: every record stays until one is accepted).
    fn go_on(&mut self) -> Step {
        while let Some(level) = self.levels.last_mut() {
            let Some(naptr) = level.rules.pop() else {
                self.levels.pop();
                continue;
            };
            let (name, dnssec) = (level.name.clone(), level.dnssec);
            match judge(&naptr, &self.aus, &self.wanted) {
                Ok(Said::Uri(rule)) => return self.done(Ok(rule), dnssec),
                // ENUM-42, ENUM-43: refused without a question.
                Ok(Said::Next(next))
                    if self.visited.contains(&next)
                        || self.levels.len() > MAX_STEPS
                        || self.questions >= MAX_QUESTIONS =>
                {
                    self.looped = true;
                    self.discard(&name, Discard::LoopRefused);
                }
                Ok(Said::Next(next)) => return self.ask(next, 0, dnssec),
                Err(why) => self.discard(&name, why),
            }
        }
        // A look-up that failed somewhere below: no other suffix may answer in its place.
        if let Some((question, failure)) = self.failed.take() {
            return self.done(Err(EnumError::TemporaryFailure { question, failure }), Dnssec::default());
        }
        let loops = self.discarded.iter().all(|(_, why)| *why == Discard::LoopRefused);
        self.worst = if self.looped && loops { EnumError::Loop } else { EnumError::NoUsableRecord };
        self.next_suffix()
    }

    fn nothing(&mut self, ttl: u32, why: EnumError) -> Step {
        self.ttl = Some(self.ttl.map_or(ttl, |least| least.min(ttl)));
        if !self.levels.is_empty() {
            return self.go_on(); // ENUM-44
        }
        // What an earlier suffix had says more than that this one has nothing.
        if self.worst == EnumError::NoSuchNumber {
            self.worst = why;
        }
        self.next_suffix()
    }

    fn failure(&mut self, question: Question, failure: Failure) -> Step {
        if self.levels.is_empty() {
            return self.done(Err(EnumError::TemporaryFailure { question, failure }), Dnssec::default());
        }
        self.failed.get_or_insert((question, failure));
        self.go_on()
    }

    fn discard(&mut self, name: &DomainName, why: Discard) {
        self.discarded.push((name.clone(), why));
    }

    fn done(&mut self, outcome: Result<Rule, EnumError>, dnssec: Dnssec) -> Step {
        let failed = matches!(outcome, Err(EnumError::TemporaryFailure { .. }));
        let ttl = if failed { 0 } else { self.ttl.unwrap_or(0) };
        let discarded = std::mem::take(&mut self.discarded);
        Step::Done(Enumerated { number: self.number, outcome, ttl, dnssec, discarded })
    }
}

/// Why a number gives no URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnumError {
    /// No tree has the number: route it otherwise.
    #[error("no ENUM tree has this number")]
    NoSuchNumber,
    /// The number's name is there, without NAPTR records.
    #[error("an ENUM tree knows the number and has no records for it")]
    NoRecords,
    /// There are records, but none can be used; `Enumerated::discarded` says why for each.
    #[error("the number has ENUM records, but none that can be used here")]
    NoUsableRecord,
    /// The records only point to each other.
    #[error("the number's ENUM records only point to each other")]
    Loop,
    /// Nobody knows now: try again later (REFUSED counts as that). Never the same as "no such number".
    #[error("the ENUM lookup of {question} failed: try again later")]
    TemporaryFailure {
        /// The question that failed.
        question: Question,
        /// How.
        #[source]
        failure: Failure,
    },
}

/// Why a record was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// Neither `u` nor empty (ENUM-23).
    #[error("unknown flag")]
    UnknownFlag,
    /// No `E2U` (ENUM-27).
    #[error("not for ENUM")]
    OtherApplication,
    /// The service field breaks its grammar (ENUM-25).
    #[error("malformed service")]
    BadService,
    /// Nothing that the client wants (ENUM-28).
    #[error("no service that is wanted here")]
    NoWantedService,
    /// `P-` or `X-`, and not configured (ENUM-29).
    #[error("a private or experimental service")]
    PrivateService,
    /// The substitution expression is malformed or not allowed.
    #[error("malformed or forbidden regular expression")]
    BadRegexp,
    /// It refers to a group that is not there (ENUM-55).
    #[error("a back-reference to no group")]
    BadBackReference,
    /// It does not match the number (ENUM-57).
    #[error("the expression does not match the number")]
    NoMatch,
    /// It gives nothing.
    #[error("the result is empty")]
    EmptyResult,
    /// It gives no absolute URI, or one that is too long.
    #[error("the result is no URI")]
    BadUri,
    /// It gives a URI of a scheme that the service does not have (ENUM-32).
    #[error("the URI's scheme does not fit the service")]
    WrongScheme,
    /// Regexp and replacement both (ENUM-36).
    #[error("both regexp and replacement")]
    BothFields,
    /// A non-terminal record without a name to go on with (ENUM-41).
    #[error("no usable replacement")]
    BadReplacement,
    /// It leads back, or too far (ENUM-42, ENUM-43).
    #[error("a loop")]
    LoopRefused,
    /// Octets above 0x7F, or a name that no SIP domain can have (ENUM-31).
    #[error("octets that are not ASCII")]
    NonAscii,
}

#[cfg(test)]
mod tests;
