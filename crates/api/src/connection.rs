//! One connection: what is between the socket and the router, and what it may cost.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::proof_rule::ClientChain;
use crate::room::{Notice, Place, Work};
use crate::source::Source;

/// Longest wait for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for a whole request head, and for the next request on an idle connection (slow-loris).
const HEAD_LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for the reader to take anything of an answer.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Most octets of a request head.
const MAX_HEAD: usize = 16 * 1024;
/// Most fields of a request head.
const MAX_FIELDS: usize = 64;

/// Serves one connection until it ends, or until `draining` turns true and its last answer is out.
pub(crate) async fn serve(
    socket: TcpStream,
    source: Source,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: Arc<Place>,
    draining: watch::Receiver<bool>,
) {
    // Answers are written whole: waiting to fill a segment only delays them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "the connection has gone");
        return;
    }
    let socket = StallGuard::new(socket, STALL_LIMIT);
    let Some(tls) = tls else {
        return serve_http(socket, source, None, router, place, draining).await;
    };
    match timeout(HANDSHAKE_LIMIT, tls.accept(socket)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let chain = chain.map(|chain| ClientChain(chain.iter().cloned().map(CertificateDer::into_owned).collect()));
            serve_http(stream, source, chain, router, place, draining).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake too slow"),
    }
}

/// Runs `serve` until it ends, or until its place is given to another connection: that happens between requests only.
pub(crate) async fn unless_given(mut notice: Notice, serve: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = notice.given() => tracing::debug!("an idle connection makes room"),
        () = serve => {}
    }
}

async fn serve_http<S>(
    stream: S,
    source: Source,
    chain: Option<ClientChain>,
    router: Router,
    place: Arc<Place>,
    mut draining: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(source);
        if let Some(chain) = &chain {
            request.extensions_mut().insert(chain.clone());
        }
        let answer = Work::begin(&place).map(|work| (work, router.call(request)));
        async move {
            let (work, answer) = answer.ok_or(PlaceGiven)?;
            let response = answer.await.unwrap_or_else(|never| match never {});
            Ok::<_, PlaceGiven>(response.map(|body| Answer { body, _work: work }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drained(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// The place was given to another connection before this request began.
#[derive(Debug, thiserror::Error)]
#[error("the connection had to make room")]
struct PlaceGiven;

/// The body of an answer; the connection is at work until it is out.
struct Answer {
    body: Body,
    _work: Work,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when the drain begins, or when whoever could begin it has gone.
pub(crate) async fn drained(draining: &mut watch::Receiver<bool>) {
    // The value is of no more use; an error means that the sender was dropped.
    drop(draining.wait_for(|draining| *draining).await);
}

/// A socket whose writes fail when the other side takes nothing for `limit`: a reader that never reads must
/// not keep an answer, and a place among the connections, for ever.
struct StallGuard {
    socket: TcpStream,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    fn new(socket: TcpStream, limit: Duration) -> Self {
        Self { socket, limit, stalled: None }
    }

    /// Hands `result` on; starts the clock when nothing moved, stops it when something did.
    fn watch<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let limit = self.limit;
        let clock = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match clock.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing is being read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, out)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(context, octets);
        self.watch(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(context, octets);
        self.watch(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(context);
        self.watch(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_shutdown(context);
        self.watch(context, result)
    }
}

/// What turns a socket into TLS.
pub(crate) fn acceptor(config: rustls::ServerConfig) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_never_reads_is_cut_off() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut guard = StallGuard::new(listener.accept().await.unwrap().0, Duration::from_millis(50));
        let piece = vec![0_u8; 1 << 20];
        // Fills the socket's buffers; then only the clock ends it. The limit here ends a test that would hang.
        let fill = async {
            loop {
                if let Err(error) = poll_fn(|context| Pin::new(&mut guard).poll_write(context, &piece)).await {
                    break error;
                }
            }
        };
        let error = timeout(Duration::from_secs(20), fill).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
