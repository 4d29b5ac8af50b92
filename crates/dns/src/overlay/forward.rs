//! Asks upstreams: each try from a port and with an ID of its own that nobody can guess (RFC 5452 9.2), and nothing is taken for
//! an answer but what answers just that query.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::debug;

use super::message::{Verdict, cut, judge};
use super::stats::{Counters, count};
use crate::wire::{HEADER, question_end};

/// Tries of one question, at the least.
const LEAST_TRIES: usize = 3;

/// Tries of one question, at the most.
const MOST_TRIES: usize = 6;

/// Questions that may wait at the most, whatever the settings say: each has a port of its own.
const MOST_OUTSTANDING: usize = 16_384;

/// Foreign messages to one port after which the question goes over TCP, where nobody can put answers in from the side.
const MOST_FOREIGN: usize = 16;

/// Failures in a row after which an upstream is asked after the others.
const REST_AFTER: u32 = 2;

/// Longest time for which it is.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The upstreams, and what waits for them.
#[derive(Debug)]
pub(super) struct Forwarder {
    upstreams: Vec<Upstream>,
    places: Arc<Semaphore>,
    /// How many places there are.
    most: usize,
    patience: Duration,
    start: Instant,
    counters: Arc<Counters>,
}

/// A resolver that is asked.
#[derive(Debug)]
struct Upstream {
    address: SocketAddr,
    /// How often it has failed in a row.
    failures: AtomicU32,
    /// Milliseconds from the start on when it is among the first again.
    rests_until: AtomicU64,
}

/// How a question goes to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// By UDP, for a client that takes answers of so many octets.
    Udp(usize),
    /// By TCP.
    Tcp,
}

/// No upstream answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

impl Forwarder {
    /// Asks `upstreams`, of which there is one at least, for at most `outstanding` questions at a time.
    pub(super) fn new(
        upstreams: &[SocketAddr],
        outstanding: usize,
        patience: Duration,
        counters: Arc<Counters>,
    ) -> Self {
        let upstreams = upstreams.iter().map(|&address| Upstream {
            address,
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
        });
        let most = outstanding.min(MOST_OUTSTANDING);
        let places = Arc::new(Semaphore::new(most));
        Self { upstreams: upstreams.collect(), places, most, patience, start: Instant::now(), counters }
    }

    /// A place for one question; `None` if all are taken.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits until no question waits any more.
    pub(super) async fn wait_for_all(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _all = self.places.acquire_many(all).await;
    }

    /// Asks until there is an answer (DNS-124), which has the ID of `query`. An upstream that cannot answer gives way to the next; when none
    /// can, what the last of them said is the answer.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when the time or the tries are over.
    pub(super) async fn ask(&self, query: &[u8], over: Over) -> Result<Vec<u8>, NoAnswer> {
        let asked = timeout(self.patience, self.try_all(query, over)).await;
        let mut answer = asked.unwrap_or(Err(NoAnswer))?;
        if let (Some(to), Some(id)) = (answer.first_chunk_mut::<2>(), query.first_chunk::<2>()) {
            *to = *id;
        }
        Ok(answer)
    }

    async fn try_all(&self, query: &[u8], over: Over) -> Result<Vec<u8>, NoAnswer> {
        let mut queue = self.order();
        let tries = (2 * queue.len()).clamp(LEAST_TRIES, MOST_TRIES);
        let longest = self.patience / u32::try_from(tries).unwrap_or(1);
        let mut unable = None;
        for number in 0..tries {
            let Some(index) = queue.pop_front() else { break };
            let upstream = &self.upstreams[index];
            count(&self.counters.retried, u64::from(number > 0));
            let verdict = timeout(longest, self.exchange(upstream.address, query, over)).await;
            match verdict.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok((Verdict::Good, answer)) => {
                    upstream.works();
                    return Ok(answer);
                }
                Ok((_, answer)) => {
                    upstream.works();
                    unable = Some(answer);
                }
                Err(error) => {
                    debug!(upstream = %upstream.address, %error, "an upstream did not answer");
                    upstream.fails(self.start.elapsed());
                    queue.push_back(index);
                }
            }
        }
        unable.ok_or(NoAnswer)
    }

    /// The upstreams in the order in which they are asked: those that rest come last.
    fn order(&self) -> VecDeque<usize> {
        let now = millis(self.start.elapsed());
        let rests = |index: &usize| self.upstreams[*index].rests_until.load(Ordering::Relaxed) > now;
        let mut order: Vec<usize> = (0..self.upstreams.len()).collect();
        order.sort_by_key(rests);
        order.into()
    }

    async fn exchange(&self, upstream: SocketAddr, query: &[u8], over: Over) -> io::Result<(Verdict, Vec<u8>)> {
        let mut sent = query.to_vec();
        let id = sent.first_chunk_mut::<2>().ok_or(io::ErrorKind::InvalidInput)?;
        getrandom::fill(id).map_err(|error| io::Error::other(error.to_string()))?;
        let Over::Udp(limit) = over else { return self.exchange_tcp(upstream, &sent).await };
        // The system draws the port at random when an unbound socket is connected, and takes nothing from others then.
        let socket = Socket::new(Domain::for_address(upstream), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.connect(&upstream.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.send(&sent).await?;
        let mut answer = vec![0; limit + 1];
        for _ in 0..MOST_FOREIGN {
            let len = socket.recv(&mut answer).await?;
            if let Some(verdict) = take(&sent, &mut answer, len, limit) {
                return Ok((verdict, answer));
            }
            count(&self.counters.foreign, 1);
        }
        let (verdict, mut answer) = self.exchange_tcp(upstream, &sent).await?;
        if answer.len() > limit {
            cut(&mut answer);
        }
        Ok((verdict, answer))
    }

    async fn exchange_tcp(&self, upstream: SocketAddr, sent: &[u8]) -> io::Result<(Verdict, Vec<u8>)> {
        let mut stream = TcpStream::connect(upstream).await?;
        let len = u16::try_from(sent.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        stream.write_all(&[&len.to_be_bytes(), sent].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        match judge(sent, &answer) {
            Verdict::Foreign => {
                count(&self.counters.foreign, 1);
                Err(io::ErrorKind::InvalidData.into())
            }
            verdict => Ok((verdict, answer)),
        }
    }
}

/// Takes what came as `len` octets, of which `answer` has at most `limit` and one, if it answers `sent`. An answer that is longer
/// than the client takes is cut.
fn take(sent: &[u8], answer: &mut Vec<u8>, len: usize, limit: usize) -> Option<Verdict> {
    let full = answer.len();
    answer.truncate(len);
    if len > limit {
        // Its records are not all there: head and question have to do.
        let question = question_end(answer).filter(|end| *end <= limit);
        let head = question.map(|end| {
            let mut head = answer[..end].to_vec();
            head[6..HEADER].fill(0);
            head
        });
        if let Some(head) = head.filter(|head| judge(sent, head) != Verdict::Foreign) {
            *answer = head;
            cut(answer);
            return Some(Verdict::Good);
        }
    } else {
        let verdict = judge(sent, answer);
        if verdict != Verdict::Foreign {
            return Some(verdict);
        }
    }
    answer.resize(full, 0);
    None
}

impl Upstream {
    fn works(&self) {
        // Not written to while nothing changes: all threads read it.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.rests_until.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a failure at `now` after the start: each one in a row doubles the rest.
    fn fails(&self, now: Duration) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= REST_AFTER {
            let rest = Duration::from_secs(1 << (failures - REST_AFTER).min(5)).min(LONGEST_REST);
            self.rests_until.store(millis(now + rest), Ordering::Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
