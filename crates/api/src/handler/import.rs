//! `POST /v1/import`: many nodes, for admins. Lines are read while the chunk before them is written, so that the
//! directory is never idle and memory stays small; each chunk is durable and visible in DNS before the next is taken.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use tandem_model::{DomainName, Serial};
use tandem_store::{DirectoryError, Effect, ImportNode, ImportRehearsal, MAX_IMPORT};
use tandem_zone::{Conflict, Zones};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::node::{conflict_fault, host_faults};
use super::{JSON, json};
use crate::idempotency;
use crate::lines::{Chunk, Lines};
use crate::problem::{Fault, Kind, MAX_FAULTS, Problem};
use crate::request::{Caller, demand_accepts, media_type_is, query};
use crate::state::Api;
use crate::v1::import::{ImportBody, RefusedLine, read_line};

/// The media type of lines of JSON.
const NDJSON: &str = "application/x-ndjson";
/// Most octets of one import; a larger one is sent in parts.
const MAX_OCTETS: u64 = 64 << 20;
/// Refused lines after which no further chunk is taken: somebody sent the wrong file.
const MAX_REFUSED: usize = 1000;
/// Time after which no further chunk is taken, so that the answer comes in time.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the next piece of the body.
const PIECE_LIMIT: Duration = Duration::from_secs(15);
/// Chunks that are read or parsed ahead of the one being written.
const CHUNKS_AHEAD: usize = 2;

/// Registers many nodes: a line of NDJSON is a node document with its `domain`.
///
/// Each line is decided as a PUT would be; those that are refused are listed, and the others stand. The lines are made
/// durable in chunks, in order. The same lines again change nothing, so an import that broke off is simply sent again. At
/// most 64 MiB; after 1000 refused lines or half a minute the rest is left alone, and `complete` is false.
#[utoipa::path(
    post, path = "/v1/import", operation_id = "importNodes", tag = "nodes",
    params(
        ("dry_run" = Option<bool>, Query, description = "Counts and checks; writes nothing."),
        ("look_up" = Option<bool>, Query, description = "`false`: target hosts outside our zones are not looked up."),
    ),
    request_body(content = crate::v1::import::NodeLine, content_type = "application/x-ndjson"),
    responses((status = 200, description = "What became of the lines.", body = ImportBody)),
)]
pub(crate) async fn import(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    let parameters = query(&uri, &["dry_run", "look_up"])?;
    let flag = |name: &str, default: bool| match parameters.find(name) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        None => Ok(default),
        Some(_) => Err(Problem::new(Kind::Malformed, format!("{name} must be `true` or `false`."))),
    };
    let (dry_run, look_up) = (flag("dry_run", false)?, flag("look_up", true)?);
    demand_accepts(&headers, JSON)?;
    idempotency::check(&headers)?;
    if !media_type_is(&headers, NDJSON) {
        let detail = "Send lines of JSON in UTF-8 with `Content-Type: application/x-ndjson`.";
        return Err(Problem::new(Kind::UnsupportedType, detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_OCTETS) {
        let detail = format!("An import may have {MAX_OCTETS} octets: send it in parts, at line breaks.");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    // One at a time: two would only take turns, and their lines would mix.
    let _turn = api.importing.try_lock().map_err(|_| Problem::unavailable("Another import runs: try again."))?;

    let (chunks, to_parse) = mpsc::channel(CHUNKS_AHEAD);
    let (parsed, to_write) = mpsc::channel(CHUNKS_AHEAD);
    let mut rehearsal = dry_run.then(|| api.directory.begin_rehearsal());
    let import = Import { api: &api, caller: &caller, look_up, body: ImportBody { dry_run, ..ImportBody::default() } };
    let (ended, (), written) =
        tokio::join!(take(body, chunks), parse(&api, to_parse, parsed), import.write(to_write, &mut rehearsal));
    let (body, took_all) = written?;
    match ended {
        Ok(()) => json(StatusCode::OK, &ImportBody { complete: took_all, ..body }),
        // Nothing was done: the fault of the body is all there is to say.
        Err(problem) if body.lines == 0 => Err(problem),
        Err(_) => json(StatusCode::OK, &body),
    }
}

/// Hands the body on in chunks; what nobody takes any more is read and thrown away, so that the answer arrives.
async fn take(mut body: Body, chunks: mpsc::Sender<Chunk>) -> Result<(), Problem> {
    let mut lines = Lines::new(MAX_IMPORT);
    let mut octets = 0_u64;
    let ended = loop {
        let frame = match timeout(PIECE_LIMIT, body.frame()).await {
            Ok(None) => break Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => break Err(Problem::new(Kind::Malformed, "The body ended before it was whole.")),
            Err(_) => break Err(Problem::new(Kind::TooSlow, "The body did not arrive in time.")),
        };
        let Ok(data) = frame.into_data() else { continue };
        octets += data.len() as u64;
        if octets > MAX_OCTETS {
            break Err(Problem::new(Kind::TooLarge, format!("An import may have {MAX_OCTETS} octets.")));
        }
        if chunks.is_closed() {
            continue;
        }
        lines.push(&data);
        loop {
            match lines.next() {
                Ok(Some(chunk)) => _ = chunks.send(chunk).await,
                Ok(None) => break,
                Err(_) => {
                    // The lines before it count; where the next line begins is not worth finding.
                    let detail = "A line is longer than a node document may be (65536 octets).";
                    if let Some(chunk) = lines.rest(false) {
                        let _ = chunks.send(chunk).await;
                    }
                    return Err(Problem::new(Kind::TooLarge, detail));
                }
            }
        }
    };
    // Whoever takes the chunks may have stopped: then it says how far it got.
    if let Some(chunk) = lines.rest(ended.is_ok()) {
        let _ = chunks.send(chunk).await;
    }
    ended
}

/// A chunk as nodes and refusals.
struct Parsed {
    /// Each node with the number of its line.
    nodes: Vec<(u64, ImportNode)>,
    refused: Vec<RefusedLine>,
    lines: u64,
}

/// Parses chunks on a thread that may take its time.
async fn parse(api: &Arc<Api>, mut chunks: mpsc::Receiver<Chunk>, parsed: mpsc::Sender<Parsed>) {
    while let Some(chunk) = chunks.recv().await {
        let zones = Arc::clone(&api.directory.live().load());
        let Ok(done) = tokio::task::spawn_blocking(move || parse_chunk(&chunk, &zones)).await else { return };
        if parsed.send(done).await.is_err() {
            return;
        }
    }
}

fn parse_chunk(chunk: &Chunk, zones: &Zones) -> Parsed {
    let mut parsed = Parsed { nodes: Vec::with_capacity(MAX_IMPORT), refused: Vec::new(), lines: chunk.lines };
    for (line, text) in (chunk.first..).zip(chunk.text.split(|octet| *octet == b'\n')) {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match read_line(text) {
            Ok(node) => parsed.nodes.push((line, ImportNode::new(node, zones))),
            Err((domain, errors)) => parsed.refused.push(RefusedLine { line, domain, errors }),
        }
    }
    parsed
}

/// An import on its way.
struct Import<'a> {
    api: &'a Arc<Api>,
    caller: &'a Caller,
    look_up: bool,
    body: ImportBody,
}

impl Import<'_> {
    /// Makes each chunk durable; whether it took all of them. Two are with the directory at a time: while one is being
    /// written the next one waits already.
    async fn write(
        mut self,
        mut chunks: mpsc::Receiver<Parsed>,
        rehearsal: &mut Option<ImportRehearsal>,
    ) -> Result<(ImportBody, bool), Problem> {
        let begin = Instant::now();
        let mut sent = VecDeque::new();
        let mut took_all = true;
        while let Some(chunk) = chunks.recv().await {
            sent.push_back(self.send_chunk(chunk, rehearsal).await?);
            if sent.len() > 1
                && let Some(earlier) = sent.pop_front()
            {
                self.count(earlier).await?;
            }
            if self.body.refused.len() >= MAX_REFUSED || begin.elapsed() > TIME_LIMIT {
                // What is being read or parsed is not taken any more.
                chunks.close();
                took_all = false;
                break;
            }
        }
        for last in sent {
            self.count(last).await?;
        }
        if rehearsal.is_none() {
            self.api.directory.settle().await?;
        }
        self.body.refused.sort_by_key(|refused| refused.line);
        Ok((self.body, took_all))
    }

    async fn send_chunk(&mut self, chunk: Parsed, rehearsal: &mut Option<ImportRehearsal>) -> Result<Sent, Problem> {
        let Parsed { mut nodes, refused, lines } = chunk;
        self.body.refused.extend(refused);
        if self.look_up {
            let faults = host_faults(self.api, nodes.iter().map(|(_, node)| node.node())).await?;
            for (index, errors) in faults.into_iter().rev() {
                let (line, node) = nodes.remove(index);
                self.body.refused.push(RefusedLine { line, domain: Some(node.node().domain().to_string()), errors });
            }
        }
        let places = nodes.iter().map(|(line, node)| (*line, node.node().domain().clone())).collect();
        let nodes: Vec<ImportNode> = nodes.into_iter().map(|(_, node)| node).collect();
        let outcomes: Pending = match rehearsal.take() {
            Some(begun) => {
                let (after, outcomes) = self.api.directory.rehearse_import(begun, nodes).await?;
                *rehearsal = Some(after);
                Box::pin(async { Ok((None, outcomes)) })
            }
            None => {
                let importing = self.api.directory.import(nodes, &self.caller.0);
                Box::pin(async {
                    let imported = importing.await?;
                    Ok((Some(imported.serial), imported.outcomes))
                })
            }
        };
        Ok(Sent { outcomes, places, lines })
    }

    /// Waits until a chunk is durable, and counts it.
    async fn count(&mut self, sent: Sent) -> Result<(), Problem> {
        let (serial, outcomes) = sent.outcomes.await?;
        let body = &mut self.body;
        for ((line, domain), outcome) in sent.places.into_iter().zip(outcomes) {
            match outcome {
                Ok(Effect::Created) => body.created += 1,
                Ok(Effect::Replaced) => body.replaced += 1,
                Ok(Effect::Unchanged | Effect::Removed | Effect::Moved) => body.unchanged += 1,
                Err(conflicts) => {
                    let conflicts = conflicts.iter().take(MAX_FAULTS);
                    let errors: Vec<Fault> = conflicts.map(|conflict| conflict_fault(conflict, self.caller)).collect();
                    body.refused.push(RefusedLine { line, domain: Some(domain.to_string()), errors });
                }
            }
        }
        body.serial = serial.map(Serial::value).or(body.serial);
        body.lines += sent.lines;
        Ok(())
    }
}

/// What the directory will have done with a chunk, and the serial that has it.
type Pending = Pin<Box<dyn Future<Output = Result<(Option<Serial>, Outcomes), DirectoryError>> + Send>>;
type Outcomes = Vec<Result<Effect, Vec<Conflict>>>;

/// A chunk that the directory has.
struct Sent {
    outcomes: Pending,
    /// For each node the number of its line, and its domain.
    places: Vec<(u64, DomainName)>,
    lines: u64,
}
