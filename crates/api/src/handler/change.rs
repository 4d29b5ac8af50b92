//! `/v1/changes`: what happens to nodes, as it happens (API-50, API-51).

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
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
use tandem_store::Right;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout_at};

use super::{JSON, json};
use crate::connection::drained;
use crate::feed::{Behind, PAGE, event};
use crate::problem::{Kind, Problem};
use crate::request::{Caller, accepts, demand_accepts, query};
use crate::state::Api;
use crate::v1::change::{NodeChangeBody, NodeChangesBody};

/// The media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// Events that may wait for a listener; past it the listener is cut off (API-51).
const MAX_WAITING: usize = 256;
/// Between two comments on a quiet stream (API-50): proxies and the other side see that it lives.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// Shortest time after which a listener that was cut off should come again, in milliseconds; up to four times as long, so
/// that not all come at once.
const RETRY: u64 = 1_000;
/// Longest wait of a long poll, in seconds: below the limit of an answer.
const MAX_WAIT: u64 = 50;
/// Most changes in the answer to a long poll.
const MAX_CHANGES: usize = 200;

/// Tells what happens to nodes, as it happens.
///
/// By default server-sent events: first `ready` with the id of the last change, then `register`, `deregister`,
/// `change-state`, `reset-key`, `lease-ending` and `probe`, each with its id, and a comment every 15 seconds. `Last-Event-ID`
/// goes on behind that change; 410 means that the journal does not reach back so far: list the nodes again, and begin anew.
/// A listener for whom 256 events wait is cut off. With `wait` or `after`, and without `text/event-stream` in `Accept`, one
/// JSON answer: at once when there is something behind `after`, else when something happens, at the latest after `wait` seconds.
///
/// Members are public: every token sees the same, and never a contact or a number.
#[utoipa::path(
    get, path = "/v1/changes", operation_id = "followChanges", tag = "changes",
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event that was seen."),
        ("after" = Option<u64>, Query, description = "The same for a long poll; 0 for all that is kept.", example = 12),
        ("wait" = Option<u64>, Query, description = "Longest wait in seconds, 0 to 50; 0 when not given.", example = 30),
    ),
    responses((status = 200, description = "The changes.", content(
        (NodeChangesBody = "application/json"),
        (String = "text/event-stream"),
    ))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Read)?;
    let query = query(&uri, &["after", "wait"])?;
    let wants_events =
        headers.contains_key(header::ACCEPT) && accepts(&headers, EVENT_STREAM) && !accepts_all(&headers);
    let polls = query.find("after").or_else(|| query.find("wait")).is_some() && !wants_events;
    demand_accepts(&headers, if polls { JSON } else { EVENT_STREAM })?;
    let sent = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default()).or_else(|| query.find("after"));
    let after = match sent {
        None => None,
        Some(text) => Some(number(text, u64::MAX, "after and Last-Event-ID are the id of a change")?),
    };
    let wait = number(query.find("wait").unwrap_or("0"), MAX_WAIT, "wait must be a whole number from 0 to 50")?;
    let permit = api.feed.admit()?;
    if let Some(after) = after {
        check_age(&api, after).await?;
    }
    if polls {
        let last = *api.directory.changes().borrow();
        return poll(&api, after.unwrap_or(last), Duration::from_secs(wait)).await;
    }
    Ok(stream(api, after, permit))
}

fn number(text: &str, most: u64, rule: &'static str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|number| *number <= most).ok_or_else(|| Problem::new(Kind::Malformed, format!("{rule}.")))
}

/// Whether `Accept` is what a client sends that does not care, as curl does.
fn accepts_all(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|field| field.as_bytes() == b"*/*")
}

/// 410 when the journal does not reach back to `after`, or never had it.
async fn check_age(api: &Api, after: u64) -> Result<(), Problem> {
    let last = *api.directory.changes().borrow();
    let oldest = api.directory.oldest_entry().await?.unwrap_or(last);
    // 0 asks for what there is; and what is told last need not be an entry.
    if after == 0 || after == last || (after < last && after + 1 == oldest) {
        return Ok(());
    }
    // Every id that was told since is an entry: one that is not was told before the directory was restored from a backup.
    let is_entry = async || {
        Ok::<_, Problem>(api.directory.journal(after - 1, 1).await?.first().is_some_and(|e| e.serial == after))
    };
    if after < last && after >= oldest && is_entry().await? {
        return Ok(());
    }
    Err(Problem::new(Kind::TooOld, "The changes behind that one are not kept: list the nodes again, and begin anew."))
}

async fn poll(api: &Api, mut after: u64, wait: Duration) -> Result<Response, Problem> {
    let until = Instant::now() + wait;
    let (mut told, mut closing) = (api.feed.told(), api.feed.closing());
    loop {
        told.mark_unchanged();
        let entries = api.directory.journal(after, MAX_CHANGES).await?;
        after = entries.last().map_or(after, |entry| entry.serial);
        let changes: Vec<_> = entries.iter().filter_map(NodeChangeBody::public).collect();
        let is_over = Instant::now() >= until || *closing.borrow();
        if !changes.is_empty() || (is_over && entries.len() < MAX_CHANGES) {
            return json(StatusCode::OK, &NodeChangesBody { changes, last: after });
        }
        if entries.len() < MAX_CHANGES {
            let something = async {
                tokio::select! {
                    () = drained(&mut closing) => {}
                    _ = told.changed() => {}
                }
            };
            // Either way it is looked once more.
            let _ = timeout_at(until, something).await;
        }
    }
}

fn stream(api: Arc<Api>, after: Option<u64>, permit: OwnedSemaphorePermit) -> Response {
    let (events, waiting) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        let listener = Listener { api, events, _permit: permit };
        listener.follow(after).await;
    });
    let mut response = Body::new(Events(waiting)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    response
}

/// One who follows the changes.
struct Listener {
    api: Arc<Api>,
    events: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
}

/// Why a listener's stream ends: it has gone, is too slow, the store cannot be read, or the API ends.
struct Ended;

impl Listener {
    async fn follow(self, after: Option<u64>) {
        let mut told = self.api.feed.told();
        let mut closing = self.api.feed.closing();
        let last = *self.api.directory.changes().borrow();
        let spread = RandomState::new().hash_one(0) % (3 * RETRY);
        let mut hello = format!("retry: {}\n\n", RETRY + spread);
        if after.is_none() {
            hello.push_str(&format!("id: {last}\nevent: ready\ndata: {{}}\n\n"));
        }
        let mut place = after.unwrap_or(last);
        let follow = async {
            self.offer(hello.into())?;
            loop {
                told.mark_unchanged();
                place = match self.api.feed.behind(place) {
                    Behind::Changes(events, to) => {
                        events.into_iter().try_for_each(|event| self.offer(event))?;
                        to
                    }
                    Behind::InTheJournal => self.catch_up(place).await?,
                    Behind::Nothing => {
                        tokio::select! {
                            changed = told.changed() => changed.map_err(|_| Ended)?,
                            () = self.events.closed() => return Err(Ended),
                            () = sleep(COMMENT_EVERY) => self.offer(Bytes::from_static(b":\n\n"))?,
                        }
                        place
                    }
                };
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            Ok::<(), Ended>(())
        };
        tokio::select! {
            () = drained(&mut closing) => {}
            _ = follow => {}
        }
    }

    /// Sends a page of the journal, as fast as the listener reads; gives its new place.
    async fn catch_up(&self, place: u64) -> Result<u64, Ended> {
        let entries = self.api.directory.journal(place, PAGE).await.map_err(|error| {
            tracing::warn!(%error, "the journal could not be read for a listener");
            Ended
        })?;
        let Some(last) = entries.last() else { return Ok(*self.api.directory.changes().borrow()) };
        for event in entries.iter().filter_map(event) {
            self.events.send(event).await.map_err(|_| Ended)?;
        }
        Ok(last.serial)
    }

    /// Lets an event wait for the listener; cuts off one for whom too many wait already (API-51).
    fn offer(&self, event: Bytes) -> Result<(), Ended> {
        self.events.try_send(event).map_err(|error| {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::debug!(waiting = MAX_WAITING, "a listener is too slow and was cut off");
            }
            Ended
        })
    }
}

/// The events as the body of an answer; it ends when the listener's task does.
struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
