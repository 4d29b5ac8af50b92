//! DNS over HTTPS (RFC 8484; DNS-65): one query a request, GET or POST at `/dns-query`, over HTTP/2 or HTTP/1.1.
//!
//! [`serve`] keeps a connection within the same limits as plain TCP: it lives for as long as whole queries come. That
//! bounds slow senders, and slow readers too: who does not read soon has no stream left to ask on.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::scan::least_ttl;
use crate::tcp::room::Guest;
use crate::tcp::{LAST_READ, Shared};
use crate::visit::Visit;
use crate::wire::MAX_MESSAGE;

/// The protocols that a client can choose from, in our order.
pub(crate) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The one resource (RFC 8484 4.1 leaves the name to the server; this is everybody's default).
const PATH: &str = "/dns-query";

/// The one media type (RFC 8484 6).
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/dns-message");

/// Most octets of path and query: what is longer goes by POST. Queries have hardly ever more than 300.
const MAX_URI: usize = 4096;

/// Most octets of a request's head.
const MAX_HEAD: u32 = 16 * 1024;

/// Most fields of a request's head.
const MAX_FIELDS: usize = 64;

/// Queries in progress on one connection: what RFC 9113 6.5.2 wants at least, since clients begin before they know. Also
/// bounds what a client that does not read makes us keep.
const MAX_STREAMS: u32 = 100;

/// Octets of requests on the way, a stream and a connection: a longest message, and two of them.
const STREAM_WINDOW: u32 = 1 << 16;

/// As [`STREAM_WINDOW`], for all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 17;

/// Octets of an answer that wait for the client, a stream.
const SEND_BUFFER: usize = 1 << 16;

/// Serves one connection until it ends, is idle too long, has to make room, or the server stops.
pub(crate) async fn serve(stream: TlsStream<TcpStream>, client: IpAddr, guest: Guest, shared: Arc<Shared>) {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN[0]);
    let visit = Visit::new(shared, client, guest);
    let for_requests = Arc::clone(&visit);
    let service = service_fn(move |request| {
        let visit = Arc::clone(&for_requests);
        async move { Ok::<_, Infallible>(respond(&visit, request).await) }
    });
    let stream = TokioIo::new(stream);
    if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(stream, service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            _ = visit.over() => return,
            () = visit.stopped() => {}
        }
        connection.as_mut().graceful_shutdown();
        drain(&visit, connection).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(visit.shared.limits.idle)
            .max_buf_size(MAX_HEAD as usize)
            .max_headers(MAX_FIELDS)
            .serve_connection(stream, service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            _ = visit.over() => return,
            () = visit.stopped() => {}
        }
        // What has arrived is still answered; only then is an idle connection closed.
        if timeout(LAST_READ, connection.as_mut()).await.is_ok() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        drain(&visit, connection).await;
    }
}

/// Lets the connection end by itself, as long as a drain may take.
async fn drain(visit: &Visit, connection: impl Future<Output = hyper::Result<()>>) {
    if let Ok(ended) = timeout(visit.shared.limits.drain, connection).await {
        log(ended);
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "HTTP connection ended");
    }
}

/// The status of a request that brings no query.
type Refusal = StatusCode;

async fn respond(visit: &Visit, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let head = request.method() == Method::HEAD;
    let answered = match read(request).await {
        Ok(query) => answer(visit, &query, head),
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        response
    })
}

/// The DNS query in `request`.
async fn read(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let uri = request.uri();
    if uri.path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    if uri.path_and_query().is_some_and(|text| text.as_str().len() > MAX_URI) {
        return Err(StatusCode::URI_TOO_LONG);
    }
    match *request.method() {
        Method::GET | Method::HEAD => from_parameter(uri.query().unwrap_or_default()),
        Method::POST => from_body(request).await,
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// Answers `query`, for a HEAD without a body; a message that gets no answer in DNS is a bad request here.
fn answer(visit: &Visit, query: &[u8], head: bool) -> Result<Response<Full<Bytes>>, Refusal> {
    let answer = visit.answer(query, Bytes::copy_from_slice).ok_or(StatusCode::BAD_REQUEST)?;
    // RFC 8484 5.1: never fresh for longer than a record in it is; the SOA of a negative has its least TTL already
    // (DNS-23). An error is not kept at all.
    let max_age = least_ttl(&answer).unwrap_or(0);
    let len = answer.len();
    // HTTP/2 does not leave out the body of a HEAD by itself.
    let mut response = Response::new(if head { Full::default() } else { Full::new(answer) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(CONTENT_LENGTH, len.into());
    if let Ok(value) = HeaderValue::from_str(&format!("max-age={max_age}")) {
        headers.insert(CACHE_CONTROL, value);
    }
    Ok(response)
}

/// The query in the parameter `dns` of a GET: base64url without padding (RFC 8484 4.1, 6).
fn from_parameter(query: &str) -> Result<Bytes, Refusal> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("dns="));
    let (Some(text), None) = (values.next(), values.next()) else { return Err(StatusCode::BAD_REQUEST) };
    URL_SAFE_NO_PAD.decode(text).map(Bytes::from).map_err(|_| StatusCode::BAD_REQUEST)
}

/// The query in the body of a POST.
async fn from_body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let media_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !media_type.is_some_and(|found| found.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let body = request.into_body();
    if body.size_hint().lower() > MAX_MESSAGE as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match Limited::new(body, MAX_MESSAGE).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        // The client has gone: nobody reads the answer.
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}
