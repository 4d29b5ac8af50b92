//! TCP clients (RFC 7766): many questions on one connection, answered as the answers come; forwarded ones by TCP.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::Shared;
use super::forward::Over;
use super::local::{self, Asked, Step};
use super::message::{Why, rcode, short, why};
use super::stats::count;
use super::udp::Answered;
use crate::answer::Transport;
use crate::request::Request;
use crate::tcp::room::{Admission, Guest, Room};
use crate::tcp::{ACCEPT_PAUSE, is_of_one_client, with_scratch};
use crate::wire::LENGTH;

/// Questions of one connection that wait for upstreams at a time; past that it is not read from.
const MOST_WAITING: usize = 16;

/// Octets read at a time; a connection's buffer grows only when a message is longer.
const FIRST_BUFFER: usize = 2048;

/// Takes connections until told to stop, and ends when all of them have.
pub(super) async fn listen(listener: TcpListener, room: Arc<Room>, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((_, peer)) if !shared.settings.lets_ask(peer.ip()) => count(&shared.counters.refused, 1),
            Ok((stream, peer)) => {
                if let Admission::Free(guest) | Admission::InsteadOf(guest) = room.admit(peer.ip()) {
                    connections.spawn(serve(stream, guest, Arc::clone(&shared), stop.clone()));
                }
            }
            // The client has gone again: nobody's fault.
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                let closed_one = room.dismiss_idlest();
                debug!(%error, closed_one, "accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends, is idle too long, has to make room, or the overlay stops.
async fn serve(mut stream: TcpStream, guest: Guest, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    // Answers are written whole, so waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let limits = shared.settings.tcp;
    let mut deadline = Instant::now() + limits.idle;
    let mut input = Vec::with_capacity(FIRST_BUFFER);
    let mut output = Vec::new();
    let mut waiting: JoinSet<Vec<u8>> = JoinSet::new();
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        let is_idle = waiting.is_empty();
        tokio::select! {
            read = stream.read_buf(&mut input), if is_open && waiting.len() < MOST_WAITING => match read {
                Ok(1..) => {}
                // The client may have closed its half only: what it asked is still answered.
                Ok(0) => is_open = false,
                Err(_) => return,
            },
            Some(answer) = waiting.join_next(), if !is_idle => {
                if let Ok(answer) = answer {
                    append(&mut output, &answer);
                }
            }
            () = sleep_until(deadline), if is_idle => return,
            () = guest.dismissed(), if is_idle => return,
            _ = stop.wait_for(|stop| *stop), if is_open => is_open = false,
        }
        let since = guest.busy();
        let taken = take(&mut input, &mut output, &mut waiting, &shared);
        if !output.is_empty() && !matches!(timeout(limits.write, stream.write_all(&output)).await, Ok(Ok(()))) {
            count(&shared.counters.not_sent, 1);
            return;
        }
        let has_written = !std::mem::take(&mut output).is_empty();
        // Only a whole message earns more time (RFC 7766 6.2.3), so that a drip of octets does not hold a place.
        if taken > 0 || has_written {
            deadline = Instant::now() + limits.idle;
        }
        if waiting.is_empty() {
            if taken > 0 || has_written { guest.idle() } else { guest.idle_as_before(since) }
        }
    }
    let _: Result<io::Result<()>, _> = timeout(limits.write, stream.shutdown()).await;
}

/// Takes the whole messages at the front of `input`, as many as may wait; how many they were.
fn take(input: &mut Vec<u8>, output: &mut Vec<u8>, waiting: &mut JoinSet<Vec<u8>>, shared: &Arc<Shared>) -> usize {
    let (mut at, mut taken) = (0, 0);
    let members = shared.members.load();
    let mut answered = Answered::default();
    while waiting.len() < MOST_WAITING
        && let Some((len, rest)) = input[at..].split_first_chunk::<LENGTH>()
        && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*len)))
    {
        at += LENGTH + message.len();
        taken += 1;
        let mut request = Request::default();
        with_scratch(|scratch| {
            scratch[..message.len()].copy_from_slice(message);
            let suffixes = &shared.settings.suffixes;
            match local::answer(&members, suffixes, &mut request, Transport::Tcp, &mut scratch[..], message.len()) {
                Step::Silence => answered.ignored += 1,
                Step::Answered(len, source) => {
                    answered.count(source);
                    append(output, &scratch[..len]);
                }
                Step::Forward(asked) => match shared.forwarder.place() {
                    Some(place) => {
                        let (shared, query) = (Arc::clone(shared), message.to_vec());
                        waiting.spawn(async move {
                            let answer = shared.forward(&query, &asked, Over::Tcp).await;
                            drop(place);
                            answer
                        });
                    }
                    None => {
                        let len = crowded_out(shared, &asked, &mut scratch[..]);
                        append(output, &scratch[..len]);
                    }
                },
            }
        });
    }
    answered.add_to(shared);
    input.drain(..at);
    // What begins the next message says how long that is.
    let wanted = input.first_chunk().map_or(LENGTH, |len| LENGTH + usize::from(u16::from_be_bytes(*len)));
    input.reserve(wanted.max(FIRST_BUFFER).saturating_sub(input.len()).max(1));
    taken
}

/// SERVFAIL because too many questions wait already.
fn crowded_out(shared: &Shared, asked: &Asked, buffer: &mut [u8]) -> usize {
    count(&shared.counters.crowded_out, 1);
    let why = Some(Why(why::NOT_READY, "too many questions wait for upstreams"));
    short(buffer, asked.question_end, asked.edns.as_ref(), rcode::SERV_FAIL, why)
}

/// Appends a message behind its length (RFC 7766 8).
fn append(output: &mut Vec<u8>, message: &[u8]) {
    // No message is longer: both ways in have that limit.
    let Ok(len) = u16::try_from(message.len()) else { return };
    output.extend(len.to_be_bytes());
    output.extend_from_slice(message);
}
