//! A batch of UDP messages to its answers: reads all questions, asks for the memory that their answers need, then answers.
//! HOT PATH: between two batches nothing is cleared, and nothing is allocated.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tandem_zone::Zones;

use crate::answer::Transport;
use crate::client::Policy;
use crate::limit::{Limiter, RateLimit, Sentence, random_salt};
use crate::request::Request;
use crate::respond::respond_to;
use crate::stats::TransportStats;
use crate::sys::BATCH;
use crate::transfer::Transfers;

/// The messages of a batch, each in a buffer where its answer takes its place.
pub(crate) trait Messages {
    /// How many there are, at most [`BATCH`].
    fn count(&self) -> usize;
    /// Who sent message `index`.
    fn sender(&self, index: usize) -> IpAddr;
    /// The buffer of message `index`, and how many octets came.
    fn message(&mut self, index: usize) -> (&mut [u8], usize);
    /// The first `len` octets of buffer `index` are the answer to its message.
    fn reply(&mut self, index: usize, len: usize);
}

/// What answers the batches of one UDP thread.
#[derive(Debug)]
pub(crate) struct Answerer {
    requests: Box<[Request]>,
    /// Which of the requests could be read.
    is_common: [bool; BATCH],
    limiter: Option<(Limiter, Instant)>,
}

/// What answers depend on, and is the same for the whole batch.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) zones: &'a Zones,
    pub(crate) transfers: &'a Transfers,
    pub(crate) policy: &'a Policy,
    /// Our limit for answers, in octets.
    pub(crate) limit: u16,
    /// The time of [`Policy::client`].
    pub(crate) now: u32,
}

impl Answerer {
    /// With the limit for answers to one network, if there is one.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        let limiter = limit.map(|limit| (Limiter::new(limit, Duration::ZERO, random_salt), Instant::now()));
        Self { requests: vec![Request::default(); BATCH].into(), is_common: [false; BATCH], limiter }
    }

    /// Answers all messages, and counts them.
    pub(crate) fn answer(&mut self, setting: Setting<'_>, messages: &mut impl Messages) -> TransportStats {
        let Setting { zones, transfers, policy, limit, now } = setting;
        let count = messages.count().min(BATCH);
        for index in 0..count {
            let (buffer, len) = messages.message(index);
            self.is_common[index] = self.requests[index].read(&buffer[..len]);
        }
        let requests = &self.requests[..count];
        if count > 1 {
            let common = requests.iter().zip(&self.is_common).filter(|(_, is_common)| **is_common);
            zones.look_ahead(common.map(|(request, _)| &request.name));
        }
        if let Some((limiter, began)) = &mut self.limiter {
            limiter.set_clock(began.elapsed());
        }
        let mut counted = TransportStats::default();
        for (index, request) in requests.iter().enumerate() {
            let address = messages.sender(index);
            let (buffer, len) = messages.message(index);
            let client = policy.client(Transport::Udp { limit }, address, now);
            let request = self.is_common[index].then_some(request);
            let mut reply = respond_to(zones, transfers, &client, request, buffer, len);
            if let Some(log) = &policy.query_log {
                log.note("udp", buffer, reply.as_ref());
            }
            if let (Some((limiter, _)), Some(reply)) = (&mut self.limiter, &mut reply) {
                let sentence = limiter.judge(address, reply, buffer);
                counted.count_limited(sentence, reply.cut.standing);
                if sentence == Sentence::Silence {
                    continue;
                }
            }
            counted.count(reply.as_ref(), buffer);
            if let Some(reply) = reply {
                messages.reply(index, reply.len);
            }
        }
        counted
    }
}
