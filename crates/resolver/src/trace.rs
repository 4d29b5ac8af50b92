//! What was asked and what came back, kept for people: off unless [`Settings::trace`](crate::Settings::trace) is set.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tandem_model::locate::{Dnssec, Question, Reply};

/// Most questions that are kept; one URI causes fewer.
pub const MAX_TRACED: usize = 256;

/// A list of the questions that name servers were asked. Cheap to clone; clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<Asked>>>);

/// One question, and what became of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// The reply and what a trusted validator says of it; `None`: there was none while anybody waited.
    pub told: Option<(Reply, Dnssec)>,
    /// From the question to the reply, all name servers that were tried together.
    pub took: Duration,
}

impl Trace {
    /// A new, empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was asked so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a question that is on its way; `None` when the list is full.
    pub(crate) fn ask(&self, question: &Question) -> Option<usize> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MAX_TRACED {
            return None;
        }
        asked.push(Asked { question: question.clone(), told: None, took: Duration::ZERO });
        Some(asked.len() - 1)
    }

    /// Notes its reply.
    pub(crate) fn tell(&self, at: Option<usize>, told: &(Reply, Dnssec), since: Instant) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = at.and_then(|at| asked.get_mut(at)) {
            (asked.told, asked.took) = (Some(told.clone()), since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::DomainName;
    use tandem_model::locate::Kind;

    use super::*;

    #[test]
    fn bounded_and_in_order() {
        let trace = Trace::new();
        let question = Question { name: DomainName::parse("a.test").unwrap(), kind: Kind::A };
        let (first, second) = (trace.ask(&question), trace.ask(&question));
        trace.tell(second, &(Reply::NoData { ttl: 3 }, Dnssec::Secure), Instant::now());
        let asked = trace.clone().asked();
        assert_eq!((first, asked.len()), (Some(0), 2));
        assert!(asked[0].told.is_none());
        assert_eq!(asked[1].told, Some((Reply::NoData { ttl: 3 }, Dnssec::Secure)));
        assert!((2..MAX_TRACED).all(|_| trace.ask(&question).is_some()));
        let last = trace.ask(&question);
        assert_eq!((last, trace.asked().len()), (None, MAX_TRACED));
        trace.tell(last, &(Reply::NoData { ttl: 3 }, Dnssec::Secure), Instant::now());
    }
}
