//! What the agent answers on this host: HTTP on a loopback address if that is configured, and always on a socket in its
//! state folder, for `tandem agent status`.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::status::{Board, SOCKET};

/// Most connections at a time on each listener: a SIP server keeps a pool of them.
const MAX_CONNECTIONS: usize = 256;
/// Longest wait for a request's head, and for the next one on a connection.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// Pause after the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The media type of the text format of metrics, version 0.0.4.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The paths that every agent answers.
pub(crate) fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .with_state(board)
}

async fn status(State(board): State<Arc<Board>>) -> Response {
    let text = serde_json::to_vec(&board.read()).expect("strings, numbers and lists are JSON");
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn metrics(State(board): State<Arc<Board>>) -> Response {
    ([(header::CONTENT_TYPE, METRICS), (header::CACHE_CONTROL, "no-store")], board.read().metrics()).into_response()
}

/// Ready when there are members to answer from, whether or not the directory is in reach.
async fn ready(State(board): State<Arc<Board>>) -> Response {
    let replica = board.read().replica;
    match replica.in_step || replica.members > 0 {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the members are not known yet\n").into_response(),
    }
}

/// Serves `router` on `listen`; gives the address.
pub(crate) async fn serve_tcp(listen: SocketAddr, router: Router, tasks: &mut JoinSet<()>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        accept(listener, router).await;
    });
    Ok(address)
}

/// Serves `router` on the socket in `folder`, for this user alone.
pub(crate) fn serve_socket(folder: &Path, router: Router, tasks: &mut JoinSet<()>) -> io::Result<()> {
    let path = folder.join(SOCKET);
    // One that an agent which was killed left behind; a living one holds the folder's lock.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    tasks.spawn(async move {
        accept(listener, router).await;
    });
    Ok(())
}

/// Where connections come from.
trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Takes connections and serves them, as long as the task lives.
async fn accept(listener: impl Listener, router: Router) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Connections belong to this task: they end with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "no connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let _permit = permit;
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // A client that breaks off or is too slow harms only itself.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
