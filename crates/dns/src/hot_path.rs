//! What a UDP thread does between its two system calls, and those two calls alone: for the benches that measure them, and
//! for the guard on the cost. Built with the feature `measuring` only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tandem_zone::{Live, Zones};

use crate::batch::{Answerer, Messages, Setting};
use crate::client::Policy;
use crate::config::Config;
use crate::respond::LEAST_BUFFER;
use crate::sys::{BATCH, Batch};
use crate::transfer::{TransferConfig, Transfers};
use crate::udp;
use crate::wire::{HEADER, flag};

/// Our limit for UDP answers.
const LIMIT: u16 = 1232;

/// A time that stands still.
const NOW: u32 = 1_700_000_000;

/// The UDP hot path without sockets.
#[derive(Debug)]
pub struct HotPath {
    zones: Zones,
    transfers: Arc<Transfers>,
    policy: Policy,
    answerer: Answerer,
    messages: Buffers,
}

#[derive(Debug)]
struct Buffers {
    buffers: Vec<[u8; LEAST_BUFFER]>,
    /// Octets of each query.
    queries: Vec<usize>,
    /// Octets of each answer, 0 for none.
    answers: Vec<usize>,
}

impl Messages for Buffers {
    fn count(&self) -> usize {
        self.queries.len()
    }

    fn sender(&self, _index: usize) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn message(&mut self, index: usize) -> (&mut [u8], usize) {
        (&mut self.buffers[index], self.queries[index])
    }

    fn reply(&mut self, index: usize, len: usize) {
        self.answers[index] = len;
    }
}

impl HotPath {
    /// Most queries at a time.
    pub const BATCH: usize = BATCH;

    /// A hot path that serves `zones`, without cookies and rate limits.
    #[must_use]
    pub fn new(zones: Zones) -> Self {
        let transfers = Transfers::new(TransferConfig::default(), Live::new(zones.clone()), || u64::from(NOW));
        let policy = Policy::new(&Config::new(Vec::new()));
        let buffers = vec![[0; LEAST_BUFFER]; BATCH];
        let messages = Buffers { buffers, queries: Vec::with_capacity(BATCH), answers: vec![0; BATCH] };
        Self { zones, transfers, policy, answerer: Answerer::new(None), messages }
    }

    /// Takes queries in, as the kernel would; at most [`BATCH`](Self::BATCH) of at most 512 octets.
    ///
    /// # Panics
    ///
    /// If they are more or longer.
    pub fn receive<'q>(&mut self, queries: impl IntoIterator<Item = &'q [u8]>) {
        self.messages.queries.clear();
        self.messages.answers.fill(0);
        for query in queries {
            let index = self.messages.queries.len();
            self.messages.buffers[index][..query.len()].copy_from_slice(query);
            self.messages.queries.push(query.len());
        }
    }

    /// Answers them all.
    #[inline(never)]
    pub fn answer_measured(&mut self) {
        let (zones, transfers, policy) = (&self.zones, &*self.transfers, &self.policy);
        let setting = Setting { zones, transfers, policy, limit: LIMIT, now: NOW };
        let counted = self.answerer.answer(setting, &mut self.messages);
        std::hint::black_box(counted);
    }

    /// The answers, in the order of the queries; empty where there is none.
    pub fn answers(&self) -> impl Iterator<Item = &[u8]> {
        let messages = &self.messages;
        (0..messages.queries.len()).map(|index| &messages.buffers[index][..messages.answers[index]])
    }
}

/// The floor under every UDP server on this machine: sends each message back, marked as an answer and filled up to `octets`,
/// with our two system calls and nothing between them. Never returns while the socket works.
///
/// # Errors
///
/// What the system says to the bind, or to receiving.
pub fn echo(address: SocketAddr, octets: usize) -> io::Result<()> {
    let socket = udp::bind(address, true)?;
    let mut batch = Batch::new();
    loop {
        match batch.receive(&socket, true) {
            Ok(received) => {
                for index in 0..received {
                    let (buffer, len) = batch.message(index);
                    if len >= HEADER {
                        buffer[2] |= flag::QR | flag::AA;
                        batch.reply(index, len.max(octets).min(LEAST_BUFFER));
                    }
                }
                batch.send(&socket);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}
