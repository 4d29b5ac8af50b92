//! Messages in, answers out, whatever they come by: what is known is answered at once, the rest when it is known.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_model::Called;
use tandem_probe::sip::{Message, Start};
use tokio::sync::oneshot;

use super::decide::{Decision, answer_to, decide};
use super::request::{Envelope, Request, Wrong, method};
use super::response::{Extra, Response};
use crate::route::Routes;

/// Most requests that wait for name servers at a time.
const MAX_WAITING: usize = 256;
/// Seconds after which to come back when there are more.
const RETRY_AFTER: u32 = 1;

/// What all listeners share.
#[derive(Debug)]
pub(super) struct Core {
    routes: Routes,
    /// Makes tags that nobody can guess.
    secret: [u8; 32],
    /// Requests that wait, by their transaction, and how to tell them that they were cancelled.
    waiting: Mutex<HashMap<[u8; 32], oneshot::Sender<()>>>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Framed {
    Whole(Message),
    /// The head of what cannot be framed: its sender is told so, if he can be.
    Broken(Message),
}

/// What comes of a message.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing is sent.
    Nothing,
    /// This is sent back.
    Answer(String),
    /// It takes time.
    Wait(Box<Waiting>),
}

/// A request whose answer is not known yet.
#[derive(Debug)]
pub(super) struct Waiting {
    core: Arc<Core>,
    called: Called,
    envelope: Envelope,
    transaction: [u8; 32],
    cancelled: oneshot::Receiver<()>,
}

impl Core {
    pub(super) fn new(routes: Routes) -> Self {
        let mut secret = [0; 32];
        // Without chance tags can be guessed, which helps nobody: no dialog begins here.
        let _ = getrandom::fill(&mut secret);
        Self { routes, secret, waiting: Mutex::default() }
    }

    /// Takes a message, or the head of one that could not be framed.
    pub(super) fn take(self: &Arc<Self>, framed: &Framed, source: SocketAddr) -> Next {
        let message = framed.message();
        // Nobody answers to answers, or to ACK (RFC 3261 17.2.1); so no two servers can keep each other busy.
        if matches!(message.start, Start::Status { .. }) || method(message) == "ACK" {
            return Next::Nothing;
        }
        let Some(envelope) = Envelope::read(message, source) else { return Next::Nothing };
        let request = match Request::read(message) {
            // Nothing else is left that a frame hangs on.
            Ok(_) if framed.is_broken() => return self.answer(&Wrong::Malformed("Content-Length").into(), &envelope),
            Ok(request) => request,
            Err(wrong) => return self.answer(&wrong.into(), &envelope),
        };
        match decide(&request, &self.routes) {
            Decision::Nothing => Next::Nothing,
            Decision::Answer(response) => self.answer(&response, &envelope),
            Decision::Cancel => {
                if let Some(waiting) = self.lock().remove(&envelope.transaction(&self.secret, request.cseq)) {
                    // It may have been answered in this moment.
                    let _ = waiting.send(());
                }
                // RFC 3261 8.3: a redirect server says 200 to every CANCEL.
                self.answer(&Response::new(200), &envelope)
            }
            Decision::Ask(called) => match self.routes.at_once(&called) {
                Some(route) => self.answer(&answer_to(&route), &envelope),
                None => self.wait(called, envelope, request.cseq),
            },
        }
    }

    fn wait(self: &Arc<Self>, called: Called, envelope: Envelope, cseq: u32) -> Next {
        let transaction = envelope.transaction(&self.secret, cseq);
        let mut waiting = self.lock();
        if waiting.contains_key(&transaction) {
            // A retransmission: the answer comes.
            return Next::Nothing;
        }
        if waiting.len() >= MAX_WAITING {
            drop(waiting);
            return self.answer(&Response::with(503, Extra::RetryAfter(RETRY_AFTER)), &envelope);
        }
        let (cancel, cancelled) = oneshot::channel();
        waiting.insert(transaction, cancel);
        drop(waiting);
        Next::Wait(Box::new(Waiting { core: Arc::clone(self), called, envelope, transaction, cancelled }))
    }

    fn answer(&self, response: &Response, envelope: &Envelope) -> Next {
        Next::Answer(response.text(envelope, &envelope.tag(&self.secret)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], oneshot::Sender<()>>> {
        // Whole between any two statements that could panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Framed {
    /// What a datagram holds; `None` if nobody can be answered.
    pub(super) fn datagram(octets: &[u8]) -> Option<Self> {
        Message::datagram(octets).map(Self::Whole).or_else(|_| Message::head(octets).map(Self::Broken)).ok()
    }

    pub(super) const fn message(&self) -> &Message {
        match self {
            Self::Whole(message) | Self::Broken(message) => message,
        }
    }

    pub(super) const fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }
}

impl Waiting {
    /// The answer, when it is known or the request was cancelled (487).
    pub(super) async fn answer(mut self) -> String {
        let response = tokio::select! {
            route = self.core.routes.find(&self.called) => answer_to(&route),
            Ok(()) = &mut self.cancelled => Response::new(487),
        };
        response.text(&self.envelope, &self.envelope.tag(&self.core.secret))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.core.lock().remove(&self.transaction);
    }
}
