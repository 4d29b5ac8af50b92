//! One connection to the directory, opened when needed and kept; requests on it one after the other.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, Error as TlsError};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Directory;
use super::error::{DirectoryError, words};
use super::events::{Parser, Signal};

pub(crate) use hyper::Method;

/// Longest wait for a connection, TLS included, to one URL.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Longest silence of the feed: it has a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// Largest answer: a page of 200 members, each with the longest document.
const MAX_ANSWER: usize = 32 << 20;
/// Largest token file.
const MAX_TOKEN: usize = 1024;
/// Longest time that the directory may ask to be left alone.
const MAX_RETRY_AFTER: u64 = 3600;

/// What an operator is told whose agent does not believe the directory's certificate.
const UNTRUSTED: &str = "nobody whom this agent trusts vouches for its certificate; name the certificate to trust in ca_file: \
                         for one that `tandem serve` made, api.crt of its data folder";

/// A way to the directory for one user of it.
pub(crate) struct Link {
    directory: Arc<Directory>,
    token_file: Option<PathBuf>,
    open: Option<Open>,
}

/// A connection.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    /// Its place among the directory's URLs.
    at: usize,
    token: Option<HeaderValue>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    /// The path of the next page.
    pub(crate) next: Option<String>,
}

/// The change feed.
pub(crate) struct Feed {
    body: Incoming,
    parser: Parser,
    url: String,
    _open: Open,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("directory", &self.directory.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) const fn new(directory: Arc<Directory>, token_file: Option<PathBuf>) -> Self {
        Self { directory, token_file, open: None }
    }

    /// Asks for JSON.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, DirectoryError> {
        self.ask(Method::GET, path, "application/json", None).await
    }

    /// Sends a request that does no harm when it is sent twice, and reads the whole answer.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, String)>,
    ) -> Result<Answer, DirectoryError> {
        let is_kept = self.open.as_ref().is_some_and(|open| !open.sender.is_closed());
        let body = body.map(|(media, text)| (media, Bytes::from(text)));
        let answer = self.try_ask(&method, path, accept, body.clone()).await;
        match answer {
            // The other side may have closed a kept connection at this moment.
            Err(DirectoryError::Unreachable { .. }) if is_kept => self.try_ask(&method, path, accept, body).await,
            answer => answer,
        }
    }

    async fn try_ask(
        &mut self,
        method: &Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Answer, DirectoryError> {
        let mut open = self.connection().await?;
        let url = self.directory.urls[open.at].to_string();
        let exchange = async {
            let response = self.send(&mut open, method, path, accept, body, None).await?;
            let next = response.headers().get("link").and_then(|link| link.to_str().ok()).and_then(next_link);
            let body = checked(&url, response).await?;
            Ok(Answer { body, next })
        };
        let answer = timeout(ANSWER_WAIT, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(unreachable(&url, "no answer in time")));
        match &answer {
            Err(DirectoryError::Unreachable { .. }) => self.pass_on(open.at),
            // The token may have been changed: it is read anew.
            Err(error) if error.status() == Some(401) => {}
            Err(error) if error.status().is_some_and(|status| status >= 500) => self.pass_on(open.at),
            Ok(_) | Err(_) => self.open = Some(open),
        }
        answer
    }

    /// Follows the changes behind `last`, on a connection of its own.
    pub(crate) async fn follow(&mut self, last: u64) -> Result<Feed, DirectoryError> {
        self.open = None;
        let mut open = self.connection().await?;
        let url = self.directory.urls[open.at].to_string();
        let begin = async {
            let path = "/v1/changes";
            let response = self.send(&mut open, &Method::GET, path, "text/event-stream", None, Some(last)).await?;
            if response.status().is_success() { Ok(response) } else { Err(refusal(&url, response).await) }
        };
        let response = timeout(ANSWER_WAIT, begin).await;
        let response = response.unwrap_or_else(|_| Err(unreachable(&url, "no answer in time")));
        if response.as_ref().is_err_and(|error| error.status().is_none_or(|status| status >= 500)) {
            self.pass_on(open.at);
        }
        Ok(Feed { body: response?.into_body(), parser: Parser::default(), url, _open: open })
    }

    /// The next connection goes to the next URL.
    fn pass_on(&self, at: usize) {
        let next = (at + 1) % self.directory.urls.len();
        // Somebody else may have found one that answers.
        let _ = self.directory.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn connection(&mut self) -> Result<Open, DirectoryError> {
        if let Some(open) = self.open.take().filter(|open| !open.sender.is_closed()) {
            return Ok(open);
        }
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let count = self.directory.urls.len();
        let first = self.directory.preferred.load(Ordering::Relaxed);
        let mut failure = None;
        for step in 0..count {
            let at = (first + step) % count;
            match timeout(CONNECT_WAIT, self.directory.open(at)).await {
                Ok(Ok((sender, driver))) => {
                    self.directory.preferred.store(at, Ordering::Relaxed);
                    return Ok(Open { sender, driver, at, token });
                }
                Ok(Err(error)) => failure = Some(unreachable(&self.directory.urls[at], error)),
                Err(_) => failure = Some(unreachable(&self.directory.urls[at], "no connection in time")),
            }
        }
        Err(failure.unwrap_or_else(|| DirectoryError::Answer("no directory is configured".into())))
    }

    async fn send(
        &self,
        open: &mut Open,
        method: &Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Bytes)>,
        last_event: Option<u64>,
    ) -> Result<Response<Incoming>, DirectoryError> {
        let url = &self.directory.urls[open.at];
        let mut request = Request::builder().method(method).uri(format!("{}{path}", url.prefix));
        request = request.header(HOST, &url.authority).header(ACCEPT, accept);
        request = request.header(USER_AGENT, concat!("tandem-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &open.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(last) = last_event {
            request = request.header("last-event-id", last);
        }
        let body = match body {
            None => Bytes::new(),
            Some((media, body)) => {
                request = request.header(CONTENT_TYPE, media);
                body
            }
        };
        let request = request.body(Full::new(body)).map_err(|error| DirectoryError::Answer(error.to_string()))?;
        open.sender.ready().await.map_err(|error| unreachable(url, error))?;
        open.sender.send_request(request).await.map_err(|error| unreachable(url, error))
    }
}

impl Feed {
    /// What comes next; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Signal>, DirectoryError> {
        loop {
            if let Some(signal) = self.parser.next() {
                return Ok(Some(signal));
            }
            let frame = timeout(SILENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| unreachable(&self.url, "the feed fell silent"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| unreachable(&self.url, error))?;
            if let Some(octets) = frame.data_ref() {
                let pushed = self.parser.push(octets);
                pushed.map_err(|_| DirectoryError::Answer("an event of the feed is too long".into()))?;
            }
        }
    }
}

impl Directory {
    async fn open(&self, at: usize) -> io::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)> {
        let url = &self.urls[at];
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        stream.set_nodelay(true)?;
        match self.trust().filter(|_| url.is_tls) {
            None => drive(TokioIo::new(stream)).await,
            Some(tls) => {
                let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
                match TlsConnector::from(tls).connect(name, stream).await {
                    Ok(stream) => drive(TokioIo::new(stream)).await,
                    Err(error) if is_untrusted(&error) => {
                        // For the next attempt: the file may have another certificate by now.
                        self.renew_trust();
                        Err(io::Error::other(UNTRUSTED))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Whether a certificate was refused because nobody who is trusted here vouches for it.
fn is_untrusted(error: &io::Error) -> bool {
    let fault = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        fault,
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
    )
}

/// Begins HTTP/1.1 on a stream, with a task that moves its octets.
async fn drive<S>(stream: S) -> io::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(async move {
        // Whoever waits for an answer is told the error.
        let _ = connection.await;
    });
    Ok((sender, driver))
}

async fn checked(url: &str, response: Response<Incoming>) -> Result<Bytes, DirectoryError> {
    if response.status().is_success() { collect(url, response).await } else { Err(refusal(url, response).await) }
}

async fn refusal(url: &str, response: Response<Incoming>) -> DirectoryError {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    match collect(url, response).await {
        Ok(body) => DirectoryError::Refused { status, words: words(&body), retry_after },
        Err(error) => error,
    }
}

async fn collect(url: &str, response: Response<Incoming>) -> Result<Bytes, DirectoryError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| unreachable(url, error))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, MAX_RETRY_AFTER)))
}

fn unreachable(url: impl fmt::Display, what: impl fmt::Display) -> DirectoryError {
    DirectoryError::Unreachable { url: url.to_string(), what: what.to_string() }
}

/// Reads the token and makes the field of it, which is never shown.
fn read_token(file: &Path) -> Result<HeaderValue, DirectoryError> {
    let failed = |source| DirectoryError::Token { file: file.to_owned(), source };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || token.len() > MAX_TOKEN || token.contains(char::is_whitespace) {
        return Err(failed(io::Error::other("it does not hold one token")));
    }
    let field = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut field = field.map_err(|_| failed(io::Error::other("it does not hold a token")))?;
    field.set_sensitive(true);
    Ok(field)
}

/// The path of the next page in a `Link` field (RFC 8288 3).
fn next_link(field: &str) -> Option<String> {
    let url = field.split('<').skip(1).find_map(|link| {
        let (url, parameters) = link.split_once('>')?;
        parameters.contains("rel=\"next\"").then_some(url)
    })?;
    let path = match url.split_once("://") {
        None => url,
        Some((_, rest)) => &rest[rest.find('/')?..],
    };
    // A directory behind a prefix names itself with it; the path is below it.
    path.find("/v1/").map(|at| path[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page() {
        let field = r#"<http://a/v1/members?limit=1>; rel="first", <http://a/x/v1/members?cursor=c>; rel="next""#;
        assert_eq!(next_link(field).as_deref(), Some("/v1/members?cursor=c"));
        assert_eq!(next_link(r#"</v1/members?cursor=y>; rel="next""#).as_deref(), Some("/v1/members?cursor=y"));
        assert_eq!(next_link(r#"<http://a/v1/members>; rel="first""#), None);
    }

    #[test]
    fn token_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(read_token(&file).unwrap_err().in_words().contains("token"));
        for (text, is_good) in [("tandem_x\n", true), ("", false), ("a b", false), ("a\u{7f}", false)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_token(&file).is_ok(), is_good, "{text:?}");
        }
        assert!(
            !format!("{:?}", {
                std::fs::write(&file, "secret").unwrap();
                read_token(&file).unwrap()
            })
            .contains("secret")
        );
    }
}
