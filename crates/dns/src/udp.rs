//! UDP: threads of our own, each with a socket of its own on the same port, each in a loop of two system calls a batch.
//!
//! The version served is loaded once a batch; nothing is allocated, locked or waited for in between (design.md 5).

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tandem_zone::Reader;
use tracing::{debug, error};

use crate::batch::{Answerer, Setting};
use crate::client::{self, Policy};
use crate::limit::RateLimit;
use crate::stats::Counters;
use crate::sys::{BATCH, Batch, set_option};
use crate::transfer::Transfers;

/// Receive buffer: at the system's default, bursts of a few hundred queries are lost.
const RECEIVE_BUFFER: i32 = 4 << 20;

/// Longest wait in one system call; a thread sees within it that it is to stop.
const WAIT: Duration = Duration::from_millis(200);

/// Pause after an error of the socket that is no time-out, so that a lasting one does not become a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Batches that are still answered after the order to stop: what was in the queue, but no endless stream.
const LAST_BATCHES: usize = 64;

/// A UDP socket bound to `address`; with `shared`, other threads bind to the same.
///
/// # Errors
///
/// What the system says to the bind. Options that only improve things are tried and not insisted on.
pub(crate) fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    tune(&socket, address);
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    if address.ip().is_unspecified() {
        // The answer must come from the address that was asked.
        match address {
            SocketAddr::V4(_) => set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            SocketAddr::V6(_) => set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn tune(socket: &Socket, address: SocketAddr) {
    // Beyond the system's limit only with privileges; up to it always.
    let forced = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER);
    if forced.is_err() && socket.set_recv_buffer_size(RECEIVE_BUFFER as usize).is_err() {
        debug!("the receive buffer keeps its default size");
    }
    // DNS-44: DF set, no fragments, and no belief in ICMP messages that anyone can forge.
    let no_fragments = match address {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
    };
    if let Err(error) = no_fragments {
        debug!(%error, "answers may be fragmented");
    }
}

/// One UDP thread.
pub(crate) struct Worker {
    pub(crate) socket: Socket,
    pub(crate) reader: Reader,
    /// Our limit for answers, in octets.
    pub(crate) limit: u16,
    pub(crate) counters: Arc<Counters>,
    /// For what is signed, and for IXFR.
    pub(crate) transfers: Arc<Transfers>,
    /// Cookies, and what the server tells about itself.
    pub(crate) policy: Arc<Policy>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Serves until told to stop.
    pub(crate) fn run(mut self) {
        let mut batch = Batch::new();
        let mut answerer = Answerer::new(self.rate_limit.take());
        // A fault in an answer loses a batch, not the thread: else one packet could silence the server (threat 3).
        while catch_unwind(AssertUnwindSafe(|| self.serve(&mut batch, &mut answerer))).is_err() {
            error!("an answer failed unexpectedly; its batch is lost");
        }
    }

    fn serve(&mut self, batch: &mut Batch, answerer: &mut Answerer) {
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(error) = self.serve_batch(batch, answerer, true)
                && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            {
                debug!(%error, "receiving failed");
                thread::sleep(ERROR_PAUSE);
            }
        }
        for _ in 0..LAST_BATCHES {
            match self.serve_batch(batch, answerer, false) {
                Ok(BATCH) => {}
                _ => break,
            }
        }
    }

    fn serve_batch(&mut self, batch: &mut Batch, answerer: &mut Answerer, wait: bool) -> io::Result<usize> {
        let received = batch.receive(&self.socket, wait);
        // Loaded in quiet times, too, so that an idle thread does not keep an old version alive.
        let zones = self.reader.load();
        let received = received?;
        let (transfers, policy, limit) = (&*self.transfers, &*self.policy, self.limit);
        let setting = Setting { zones, transfers, policy, limit, now: client::now() };
        let mut counted = answerer.answer(setting, batch);
        counted.not_sent = batch.send(&self.socket);
        self.counters.add(counted);
        Ok(received)
    }
}
