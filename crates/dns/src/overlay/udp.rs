//! UDP clients: threads that answer for members themselves, a batch at a time, and hand the rest to tasks.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use socket2::{SockAddr, Socket};
use tokio::runtime::Handle;
use tracing::{debug, error};

use super::Shared;
use super::forward::Over;
use super::local::{self, Asked, Source, Step};
use super::members::Reader;
use super::message::{Why, rcode, short, why};
use super::stats::count;
use crate::answer::Transport;
use crate::batch::Messages;
use crate::request::Request;
use crate::respond::LEAST_BUFFER;
use crate::sys::Batch;
use crate::wire::{ADVERTISED, PLAIN_UDP};

/// Most octets of a forwarded answer over UDP, whatever the client says that it takes.
const MOST_UDP: u16 = 4096;

/// Pause after an error of the socket that is no time-out, so that a lasting one does not become a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Room for what [`short`] adds to a question.
const ROOM: usize = 100;

/// One UDP thread.
pub(super) struct Worker {
    pub(super) socket: Arc<Socket>,
    pub(super) reader: Reader,
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Handle,
}

impl Worker {
    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        let mut batch = Batch::new();
        let mut request = Request::default();
        // A fault in an answer loses a batch, not the thread: else one packet could silence the overlay (threat 3).
        while catch_unwind(AssertUnwindSafe(|| self.serve(&mut batch, &mut request))).is_err() {
            error!("an answer failed unexpectedly; its batch is lost");
        }
    }

    fn serve(&mut self, batch: &mut Batch, request: &mut Request) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if let Err(error) = self.serve_batch(batch, request)
                && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            {
                debug!(%error, "receiving failed");
                thread::sleep(ERROR_PAUSE);
            }
        }
    }

    fn serve_batch(&mut self, batch: &mut Batch, request: &mut Request) -> io::Result<()> {
        let received = batch.receive(&*self.socket, true);
        // Loaded in quiet times, too, so that an idle thread does not keep an old version alive.
        let members = Arc::clone(self.reader.load());
        let mut answered = Answered::default();
        for index in 0..received? {
            let sender = batch.sender_address(index);
            let (buffer, len) = batch.message(index);
            if len == LEAST_BUFFER {
                // Cut off on the way in: no question is so long.
                answered.ignored += 1;
                continue;
            }
            if !self.shared.settings.lets_ask(sender.ip()) {
                answered.refused += 1;
                if let Some(len) = turn_away(request, buffer, len) {
                    batch.reply(index, len);
                }
                continue;
            }
            let transport = Transport::Udp { limit: ADVERTISED };
            let suffixes = &self.shared.settings.suffixes;
            match local::answer(&members, suffixes, request, transport, buffer, len) {
                Step::Silence => answered.ignored += 1,
                Step::Answered(len, source) => {
                    answered.count(source);
                    batch.reply(index, len);
                }
                Step::Forward(asked) => {
                    if let Some(len) = self.forward(&asked, sender, buffer, len) {
                        batch.reply(index, len);
                    }
                }
            }
        }
        let not_sent = batch.send(&*self.socket);
        answered.add_to(&self.shared);
        count(&self.shared.counters.not_sent, not_sent);
        Ok(())
    }

    /// Has an upstream asked. If too many questions wait already, the answer to this one stands in the buffer: its length.
    fn forward(&self, asked: &Asked, client: SocketAddr, buffer: &mut [u8], len: usize) -> Option<usize> {
        let Some(place) = self.shared.forwarder.place() else {
            count(&self.shared.counters.crowded_out, 1);
            let why = Some(Why(why::NOT_READY, "too many questions wait for upstreams"));
            return Some(short(buffer, asked.question_end, asked.edns.as_ref(), rcode::SERV_FAIL, why));
        };
        let (asked, query) = (*asked, buffer[..len].to_vec());
        let (socket, shared) = (Arc::clone(&self.socket), Arc::clone(&self.shared));
        self.runtime.spawn(async move {
            let answer = shared.forward(&query, &asked, Over::Udp(limit(&asked))).await;
            // The socket waits for room by default: a task must not.
            let sent = socket.send_to_with_flags(&answer, &SockAddr::from(client), libc::MSG_DONTWAIT);
            count(&shared.counters.not_sent, u64::from(sent.is_err()));
            drop(place);
        });
        None
    }
}

/// How long an answer the client takes. What an odd message says is not known: as much as any.
fn limit(asked: &Asked) -> usize {
    let said = match asked.edns {
        Some(edns) => edns.size.clamp(PLAIN_UDP, MOST_UDP),
        None if asked.is_common => PLAIN_UDP,
        None => MOST_UDP,
    };
    said.into()
}

/// REFUSED to a client that may not ask: no longer than its query, which may be forged (threat 2).
fn turn_away(request: &mut Request, buffer: &mut [u8], len: usize) -> Option<usize> {
    request
        .read(&buffer[..len])
        .then(|| short(buffer, request.question_end, request.edns.as_ref(), rcode::REFUSED, None))
}

impl Shared {
    /// The answer of an upstream to `query`, or that there is none.
    pub(super) async fn forward(&self, query: &[u8], asked: &Asked, over: Over) -> Vec<u8> {
        if let Ok(answer) = self.forwarder.ask(query, over).await {
            count(&self.counters.forwarded, 1);
            return answer;
        }
        count(&self.counters.failed, 1);
        let mut answer = query[..asked.question_end].to_vec();
        answer.resize(asked.question_end + ROOM, 0);
        let why = Some(Why(why::NO_REACHABLE, "no upstream answered in time"));
        let len = short(&mut answer, asked.question_end, asked.edns.as_ref(), rcode::SERV_FAIL, why);
        answer.truncate(len);
        answer
    }
}

/// What was answered in one go, to be counted at its end.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) members: u64,
    pub(super) blocked: u64,
    pub(super) errors: u64,
    pub(super) ignored: u64,
    pub(super) refused: u64,
}

impl Answered {
    pub(super) const fn count(&mut self, source: Source) {
        match source {
            Source::Member => self.members += 1,
            Source::Block => self.blocked += 1,
            Source::Error => self.errors += 1,
        }
    }

    pub(super) fn add_to(&self, shared: &Shared) {
        let counters = &shared.counters;
        for (counter, more) in [
            (&counters.members, self.members),
            (&counters.blocked, self.blocked),
            (&counters.errors, self.errors),
            (&counters.ignored, self.ignored),
            (&counters.refused, self.refused),
        ] {
            count(counter, more);
        }
    }
}
