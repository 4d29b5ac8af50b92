//! Metrics for Prometheus on a listener of their own (API-84): plain HTTP, `GET /metrics`, numbers only.
//!
//! [`MetricsServer`] serves; `sample` collects from DNS, store and process; `text` writes the exposition format. No label
//! has a client's address or a name that a client chose: the number of series is bounded by the settings.

mod process;
mod sample;
mod text;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tandem_dns::DnsServer;
use tandem_store::Directory;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::prober::ProbeStatsSource;

/// Most connections at a time: one scraper, its replica, and a person.
const MAX_CONNECTIONS: usize = 8;
/// Longest wait for a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Longest life of a connection: scrapers ask every 10 to 60 seconds and may keep theirs.
const CONNECTION_LIMIT: Duration = Duration::from_secs(120);
/// Pause after the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The media type of the text format, version 0.0.4.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The only path.
const PATH: &str = "/metrics";

/// What is measured.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) dns: Arc<DnsServer>,
    pub(crate) directory: Directory,
    pub(crate) probes: Option<ProbeStatsSource>,
}

/// The running listener. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct MetricsServer {
    local_addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl MetricsServer {
    /// Binds `listen` and serves what `sources` say at each request.
    ///
    /// # Errors
    ///
    /// What the system says to the bind.
    pub(crate) async fn start(listen: SocketAddr, sources: Sources) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local_addr = listener.local_addr()?;
        Ok(Self { local_addr, accepting: tokio::spawn(accept(listener, Arc::new(sources))) })
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{PATH}", self.local_addr)
    }

    /// Stops, and lets go of what it measures. A scrape in progress is cut: the next one will not find us either.
    pub(crate) async fn shutdown(mut self) {
        self.accepting.abort();
        // An error says that it was stopped: what is wanted.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, sources: Arc<Sources>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Connections belong to this task: they end with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "no connection for metrics");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let sources = Arc::clone(&sources);
        connections.spawn(async move {
            let _permit = permit;
            let answer = service_fn(|request: Request<Incoming>| {
                let response = respond(&request, &sources);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // A client that breaks off or is too slow harms only itself.
            let _ = timeout(CONNECTION_LIMIT, server.serve_connection(TokioIo::new(stream), answer)).await;
        });
    }
}

fn respond(request: &Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    let (status, body) = match (request.uri().path(), request.method()) {
        (PATH, &Method::GET | &Method::HEAD) => (StatusCode::OK, sample::render(sources)),
        (PATH, _) => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "look at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TEXT));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
