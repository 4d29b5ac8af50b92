//! `/v1/zones`: what is served, whole. For admins: whoever can read a zone can walk it (threat 8).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body::Frame;
use tandem_model::DomainName;
use tandem_zone::Zones;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{JSON, json, tagged, with_header};
use crate::page::Page;
use crate::problem::{Kind, Problem};
use crate::request::{Caller, PathDomain, demand_accepts, query};
use crate::state::Api;
use crate::v1::answer::{ZoneBody, ZonesBody};

/// The path of the list.
const LIST: &str = "/v1/zones";
/// The media type of a master file (RFC 4027).
const TEXT_DNS: &str = "text/dns";
/// Octets in one piece of an export.
const PIECE: usize = 64 * 1024;
/// Pieces made ahead of the reader.
const PIECES_AHEAD: usize = 4;
/// Longest wait for the reader to take one piece; then the export breaks off.
const READER_LIMIT: Duration = Duration::from_secs(30);

/// Lists the zones served, with their serials.
#[utoipa::path(
    get, path = "/v1/zones", operation_id = "listZones", tag = "zones",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
    ),
    responses((status = 200, description = "One page.", body = ZonesBody,
        headers(("Link" = String, description = "rel=first, and rel=next unless this is the end (RFC 8288).")))),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_reader()?;
    demand_accepts(&headers, JSON)?;
    let page = Page::new(LIST, &uri)?;
    let zones = api.directory.live().load();
    let after = match &page.after {
        None => None,
        Some(apex) => Some(DomainName::parse(apex).map_err(Problem::internal)?),
    };
    let mut found: Vec<_> = zones
        .iter()
        .filter(|zone| after.as_ref().is_none_or(|after| zone.apex() > after))
        .take(page.limit + 1)
        .map(|zone| ZoneBody { apex: zone.apex().to_string(), serial: zone.serial().value() })
        .collect();
    let next = page.cut(&mut found, |zone| zone.apex.clone());
    let body = ZonesBody { zones: found };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// Exports a zone as a master file that other servers load; one version, whole (DNS-79).
#[utoipa::path(
    get, path = "/v1/zones/{zone}", operation_id = "exportZone", tag = "zones",
    params(
        ("zone" = String, Path, description = "The zone's name.", example = "ostn.test"),
        ("records" = Option<String>, Query, description = "`all`, or `static`: without what nodes made; `all` when not given."),
        ("If-None-Match" = Option<String>, Header, description = "Entity tags that the caller has already."),
    ),
    responses(
        (status = 200, description = "The master file (RFC 1035 5).", body = String, content_type = "text/dns",
            headers(("ETag" = String, description = "Strong: the zone's serial."))),
        (status = 304, description = "The caller has it already."),
    ),
)]
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    apex: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_reader()?;
    let zones = api.directory.live().load();
    let serial = zones.zone(&apex.name).ok_or_else(Problem::not_found)?.serial();
    if zones.settings().number_zone.as_ref() == Some(&apex.name) {
        super::number::demand_numbers(&caller)?;
    }
    let records = Records::asked(query(&uri, &["records"])?.find("records"))?;
    demand_accepts(&headers, TEXT_DNS)?;
    tagged(&headers, serial.value().into(), || print(&api, zones, apex.name, records))
}

/// Prints a zone of `zones` into an answer, as fast as its reader reads.
fn print(api: &Api, zones: Arc<Zones>, apex: DomainName, records: Records) -> Result<Response, Problem> {
    let permit = Arc::clone(&api.exports)
        .try_acquire_owned()
        .map_err(|_| Problem::unavailable("As many zones as possible are being exported: try again."))?;

    let (pieces, reader) = mpsc::channel(PIECES_AHEAD);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut out = Pieces { text: String::with_capacity(PIECE), pieces, runtime };
        let printed = zones.zone(&apex).ok_or(fmt::Error).and_then(|zone| match records {
            Records::All => zones.print(zone, &mut out),
            Records::Static => zones.print_static(zone, &mut out),
        });
        if printed.and_then(|()| out.send()).and_then(|()| out.hand_on(Piece::End)).is_err() {
            tracing::debug!(zone = %apex, "the reader of an export was too slow or has gone");
        }
    });
    let mut response = Body::new(PieceBody::new(reader)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT_DNS));
    Ok(response)
}

/// Which records of a zone.
#[derive(Debug, Clone, Copy)]
enum Records {
    /// All that is served.
    All,
    /// Those of the master file.
    Static,
}

impl Records {
    /// What the query parameter asks for.
    fn asked(parameter: Option<&str>) -> Result<Self, Problem> {
        match parameter {
            None | Some("all") => Ok(Self::All),
            Some("static") => Ok(Self::Static),
            Some(_) => Err(Problem::new(Kind::Malformed, "The query parameter records must be `all` or `static`.")),
        }
    }
}

/// A part of an export on its way.
#[derive(Debug)]
pub(super) enum Piece {
    /// Octets of it.
    Data(Bytes),
    /// It is whole. Without this the body ends in an error, so that nobody takes a part for all of it.
    End,
}

/// Takes the zone's text and hands it on in pieces, as fast as the reader takes them.
struct Pieces {
    text: String,
    pieces: mpsc::Sender<Piece>,
    runtime: Handle,
}

impl Pieces {
    fn send(&mut self) -> fmt::Result {
        let text = std::mem::replace(&mut self.text, String::with_capacity(PIECE));
        self.hand_on(Piece::Data(text.into()))
    }

    fn hand_on(&self, piece: Piece) -> fmt::Result {
        self.runtime.block_on(self.pieces.send_timeout(piece, READER_LIMIT)).map_err(|_| fmt::Error)
    }
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        if self.text.len() >= PIECE { self.send() } else { Ok(()) }
    }
}

/// A body made of those pieces.
pub(super) struct PieceBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl PieceBody {
    /// Takes the pieces from where they are put.
    pub(super) const fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, ended: false }
    }
}

/// The export broke off.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
pub(super) struct BrokenOff;

impl http_body::Body for PieceBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Piece::Data(text)) => Some(Ok(Frame::data(text))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(BrokenOff))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_part_is_never_taken_for_a_zone() {
        for (id, end) in [("whole", true), ("broken off", false)] {
            let (pieces, reader) = mpsc::channel(PIECES_AHEAD);
            pieces.send(Piece::Data("a".into())).await.unwrap();
            if end {
                pieces.send(Piece::End).await.unwrap();
            }
            drop(pieces);
            let body = PieceBody::new(reader).collect().await;
            assert_eq!(body.is_ok(), end, "{id}");
        }
    }

    #[tokio::test]
    async fn pieces_have_a_size() {
        let (pieces, mut reader) = mpsc::channel(PIECES_AHEAD);
        let runtime = Handle::current();
        let printing = tokio::task::spawn_blocking(move || {
            let mut out = Pieces { text: String::new(), pieces, runtime };
            (0..PIECE).try_for_each(|_| fmt::Write::write_str(&mut out, "abc")).and_then(|()| out.send())
        });
        let mut len = 0;
        while let Some(Piece::Data(text)) = reader.recv().await {
            assert!(text.len() < PIECE + 3);
            len += text.len();
        }
        printing.await.unwrap().unwrap();
        assert_eq!(len, 3 * PIECE);
    }
}
