//! From a message to its answer, in one buffer: the one entry for all transports.

use tandem_zone::Zones;

use crate::answer::{Reply, answer};
use crate::client::Client;
use crate::full;
use crate::request::Request;
use crate::transfer::Transfers;
use crate::wire::{HEADER, flag};

/// Least octets of a buffer that [`respond`] may be given: the longest UDP answer, and the longest echo.
pub(crate) const LEAST_BUFFER: usize = 2048;

/// Answers the message in the first `len` octets of `buffer` there; `None` if it gets no answer (DNS-1).
///
/// Allocates nothing for common questions. `buffer` has [`LEAST_BUFFER`] octets or more.
pub(crate) fn respond(
    zones: &Zones,
    transfers: &Transfers,
    client: &Client<'_>,
    buffer: &mut [u8],
    len: usize,
) -> Option<Reply> {
    respond_to(zones, transfers, client, Request::parse(&buffer[..len]).as_ref(), buffer, len)
}

/// [`respond`] to a message that has been read: `request` is what [`Request::read`] made of it, if it is of the common kind.
pub(crate) fn respond_to(
    zones: &Zones,
    transfers: &Transfers,
    client: &Client<'_>,
    request: Option<&Request>,
    buffer: &mut [u8],
    len: usize,
) -> Option<Reply> {
    debug_assert!(buffer.len() >= LEAST_BUFFER && len <= buffer.len());
    if let Some(request) = request {
        return Some(answer(zones, request, client, buffer, len));
    }
    // Answering responses would let two servers play ping-pong (threat 2, DNS-T47).
    if len < HEADER || buffer[2] & flag::QR != 0 {
        return None;
    }
    Some(full::respond(zones, transfers, client, buffer, len))
}
