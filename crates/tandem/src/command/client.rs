//! The API's client: finds the service and the token, sends, and turns error answers into [`Problem`]s.

mod error;
mod trust;
mod wallet;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Request, Response, Uri};
use ureq::tls::{ClientCert, TlsConfig};
use ureq::{Agent, Body};

pub(super) use self::error::ClientError;
pub(super) use self::trust::client_certificate;
use self::trust::{Place, read_token, roots, token_variable};
pub(super) use self::wallet::{Entry, Wallet, replace};
use super::here::Here;
use super::problem::Problem;
use crate::runtime_file::{Running, RuntimeFile};

/// Where the API is when nothing says otherwise.
const DEFAULT_API: &str = "http://127.0.0.1:5380";
/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for the beginning of an answer: the service itself gives up on a change before this.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Longest wait for the answer to an import's part.
const IMPORT_WAIT: Duration = Duration::from_secs(90);
/// Longest wait for the beginning of a backup: the service copies its database first.
const BACKUP_WAIT: Duration = Duration::from_secs(90);
/// Largest answer that is read into memory, in octets; a zone is streamed instead.
const MAX_ANSWER: u64 = 16 << 20;
/// Entries of a list that are asked for at a time (API-40).
const PAGE: usize = 200;
/// The file that the service writes on first start.
const ADMIN_TOKEN: &str = "admin.token";
/// The certificate that the service makes for itself.
const OWN_CERTIFICATE: &str = "api.crt";

/// How to reach the API.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ApiArgs {
    /// URL of the API [default: the service running with --data-dir, or http://127.0.0.1:5380]
    #[arg(long, value_name = "URL", env = "TANDEM_API", help_heading = "API")]
    pub(super) api: Option<String>,
    /// File that holds the token [default: TANDEM_TOKEN, DIR/admin.token for a service on this machine, or what
    /// `tandem join` kept]
    #[arg(long, value_name = "FILE", help_heading = "API")]
    pub(super) token_file: Option<PathBuf>,
    /// Of the tokens that `tandem join` and `tandem register` kept, take that of this domain [default: that of the domain the
    /// command is about, or the only one]
    #[arg(long = "as", value_name = "DOMAIN", help_heading = "API")]
    pub(super) as_domain: Option<String>,
    /// Certificate (PEM) to trust for https [default: what `tandem join` was given; else DIR/api.crt and those of the system]
    #[arg(long, value_name = "FILE", help_heading = "API")]
    pub(super) ca: Option<PathBuf>,
    #[command(flatten, next_help_heading = "API")]
    pub(super) here: Here,
}

impl ApiArgs {
    /// The service that runs on this machine.
    pub(super) fn running(&self) -> Result<Option<Running>, ClientError> {
        Ok(RuntimeFile::read(&self.here.data_dir()?))
    }

    /// The data folder of this machine's service, unless an API was named.
    pub(super) fn local_data_dir(&self) -> Result<Option<PathBuf>, ClientError> {
        if self.api.is_some() { Ok(None) } else { Ok(Some(self.here.data_dir()?)) }
    }

    /// The flags that a command typed after this one needs to reach the same API in the same way, a space before each.
    pub(super) fn flags(&self) -> String {
        let file = |name: &str, file: &Option<PathBuf>| match file {
            Some(file) => format!(" --{name} {}", file.display()),
            None => String::new(),
        };
        let api = self.api.as_ref().map(|api| format!(" --api {api}")).unwrap_or_default();
        api + &file("token-file", &self.token_file) + &file("ca", &self.ca)
    }

    /// The file of the certificate to trust, if one was named, from any folder.
    pub(super) fn absolute_ca(&self) -> Result<Option<PathBuf>, io::Error> {
        self.ca.as_deref().map(std::path::absolute).transpose()
    }

    /// The certificate that this machine's service made for itself, if that is what `base` shows.
    pub(super) fn own_certificate(&self, base: &str) -> Result<Option<PathBuf>, ClientError> {
        let data_dir = self.here.data_dir()?;
        let running = RuntimeFile::read(&data_dir);
        let is_here = running.is_some_and(|running| running.api == base) && self.here.makes_certificate();
        let file = data_dir.join(OWN_CERTIFICATE);
        Ok(Some(file).filter(|file| is_here && base.starts_with("https://") && file.exists()))
    }

    /// The file that the token was said to be in.
    pub(super) fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }
}

/// A way to one API.
pub(super) struct Client {
    agent: Agent,
    base: String,
    token: Option<Token>,
}

/// A token, and where it was found.
pub(super) struct Token {
    secret: String,
    place: TokenPlace,
    /// The file of the key that signs, where that is known with it.
    key: Option<PathBuf>,
}

/// Where a token was found.
#[derive(Debug, Clone)]
pub(super) enum TokenPlace {
    /// A file with the token alone.
    File(PathBuf),
    /// The environment.
    Variable,
    /// What `tandem join` kept, for this domain.
    Wallet(String),
}

impl Client {
    /// Finds the service and the token.
    pub(super) fn open(args: &ApiArgs) -> Result<Self, ClientError> {
        Self::find(args, true, None, None)
    }

    /// The same, to do something about `domain`: whoever has joined with several has a token for each.
    pub(super) fn open_for(args: &ApiArgs, domain: &str) -> Result<Self, ClientError> {
        Self::find(args, true, Some(domain), None)
    }

    /// The same, with a certificate that says who calls.
    pub(super) fn open_showing(args: &ApiArgs, domain: &str, own: ClientCert) -> Result<Self, ClientError> {
        let client = Self::find(args, true, Some(domain), Some(own))?;
        if client.base.starts_with("https:") { Ok(client) } else { Err(ClientError::NoTls(client.base)) }
    }

    /// Finds the service, for what needs no token. What is sent instead is a secret too.
    pub(super) fn open_without_token(args: &ApiArgs) -> Result<Self, ClientError> {
        Self::find(args, false, None, None)
    }

    fn find(
        args: &ApiArgs,
        with_token: bool,
        domain: Option<&str>,
        own: Option<ClientCert>,
    ) -> Result<Self, ClientError> {
        let data_dir = args.here.data_dir()?;
        let running = RuntimeFile::read(&data_dir);
        let wallet = if with_token { Wallet::open()? } else { Wallet::default() };
        let base = args.api.clone().or_else(|| running.as_ref().map(|r| r.api.clone()));
        let base = base.or_else(|| wallet.only_api().map(str::to_owned));
        let base = base.unwrap_or_else(|| DEFAULT_API.to_owned()).trim_end_matches('/').to_owned();
        let here = Place::of(&base, running.as_ref())?;
        let domain = args.as_domain.as_deref().or(domain);
        let in_file = |file: &Path| {
            read_token(file).map(|secret| Token { secret, place: TokenPlace::File(file.to_owned()), key: None })
        };
        let kept = || match wallet.find(&base, domain) {
            Some(entry) => {
                let place = TokenPlace::Wallet(entry.domain.clone());
                Ok(Some(Token { secret: entry.token.clone(), place, key: entry.key.clone() }))
            }
            None if domain.is_none() => match wallet.domains(&base) {
                domains if domains.is_empty() => Ok(None),
                domains => Err(ClientError::SeveralFit { api: base.clone(), domains }),
            },
            // Who is a stranger there may do what strangers may.
            None => Ok(None),
        };
        let token = match (&args.token_file, token_variable()?) {
            _ if !with_token => None,
            (Some(file), _) => Some(in_file(file)?),
            (None, Some(secret)) => Some(Token { secret, place: TokenPlace::Variable, key: None }),
            // The admin token of this machine's service goes to no other machine.
            (None, None) if here.is_local => match in_file(&data_dir.join(ADMIN_TOKEN)) {
                Ok(token) => Some(token),
                Err(ClientError::Token { source, .. }) if source.kind() == io::ErrorKind::NotFound => kept()?,
                Err(error) => return Err(error),
            },
            (None, None) => kept()?,
        };
        if (token.is_some() || !with_token) && here.is_clear_text {
            return Err(ClientError::ClearText(base));
        }
        let ca = args.ca.as_deref().or_else(|| wallet.ca(&base));
        let roots = roots(ca, &data_dir.join(OWN_CERTIFICATE))?;
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(roots)
            .client_cert(own)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // A redirect would carry the token to another place (API-6).
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_WAIT))
            .timeout_recv_response(Some(ANSWER_WAIT))
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: agent.into(), base, token })
    }

    /// Asks for JSON.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, ClientError> {
        self.answer(self.run(Request::get(self.url(path)), "application/json", None, &[])?)
    }

    /// Asks for text that may be long: the caller streams it.
    pub(super) fn get_text(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let response = self.run(Request::get(self.url(path)), "text/dns", None, &[])?;
        Ok(checked(response)?.into_body().into_reader())
    }

    /// Asks for a backup; the caller streams it. Its length, if the service says.
    pub(super) fn get_backup(&self, path: &str) -> Result<(Option<u64>, impl Read + use<>), ClientError> {
        let request = self.head(Request::get(self.url(path)), "application/vnd.sqlite3", &[]);
        let no_answer = |error| ClientError::no_answer(&self.base, error);
        let request = request.body(()).map_err(|error| no_answer(ureq::Error::from(error)))?;
        let request = self.agent.configure_request(request).timeout_recv_response(Some(BACKUP_WAIT)).build();
        let body = checked(self.agent.run(request).map_err(no_answer)?)?.into_body();
        Ok((body.content_length(), body.into_reader()))
    }

    /// Asks for server-sent events behind `last`: the caller reads until they end.
    pub(super) fn follow(&self, path: &str, last: Option<u64>) -> Result<impl Read + use<>, ClientError> {
        let last = last.map(|id| id.to_string());
        let resume: Vec<_> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let response = self.run(Request::get(self.url(path)), "text/event-stream", None, &resume)?;
        Ok(checked(response)?.into_body().into_reader())
    }

    /// Sends a whole document.
    pub(super) fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
        headers: &[(&str, &str)],
    ) -> Result<Answer<T>, ClientError> {
        self.answer(self.run(Request::put(self.url(path)), "application/json", Some(body), headers)?)
    }

    /// Sends a text of another type that is JSON.
    pub(super) fn put_text<T: DeserializeOwned>(
        &self,
        path: &str,
        media: &str,
        body: &str,
    ) -> Result<Answer<T>, ClientError> {
        self.answer(self.send(Request::put(self.url(path)), "application/json", Some((media, body)), &[])?)
    }

    /// Asks for a text of any type; `None` when there is none.
    pub(super) fn get_optional(&self, path: &str, accept: &str) -> Result<Option<String>, ClientError> {
        let response = self.send(Request::get(self.url(path)), accept, None, &[])?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        let mut response = checked(response)?;
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        text.map(Some).map_err(|error| self.broken(error))
    }

    /// Makes something new.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
        headers: &[(&str, &str)],
    ) -> Result<Answer<T>, ClientError> {
        self.answer(self.run(Request::post(self.url(path)), "application/json", Some(body), headers)?)
    }

    /// The URL of the API.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Where the token was found.
    pub(super) fn token_place(&self) -> Option<&TokenPlace> {
        self.token.as_ref().map(|token| &token.place)
    }

    /// Sends a text of another type than JSON.
    pub(super) fn post_text<T: DeserializeOwned>(
        &self,
        path: &str,
        media: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer<T>, ClientError> {
        self.answer(self.send(Request::post(self.url(path)), "application/json", Some((media, body)), headers)?)
    }

    /// The file of the key that signs for the token's domain, as `tandem join` or `tandem register` kept it.
    pub(super) fn kept_key(&self) -> Option<PathBuf> {
        self.token.as_ref()?.key.clone()
    }

    /// Does something to what is there.
    pub(super) fn act<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
        headers: &[(&str, &str)],
    ) -> Result<Answer<T>, ClientError> {
        self.answer(self.run(Request::post(self.url(path)), "application/json", Some(body), headers)?)
    }

    /// Sends lines of JSON.
    pub(super) fn post_lines<T: DeserializeOwned>(&self, path: &str, lines: &[u8]) -> Result<Answer<T>, ClientError> {
        let request = self.head(Request::post(self.url(path)), "application/json", &[]);
        let request = request.header("content-type", "application/x-ndjson");
        let no_answer = |error| ClientError::no_answer(&self.base, error);
        let request = request.body(lines).map_err(|error| no_answer(ureq::Error::from(error)))?;
        // The service works on the lines before it answers, and has a limit of its own.
        let request = self.agent.configure_request(request).timeout_recv_response(Some(IMPORT_WAIT)).build();
        self.answer(self.agent.run(request).map_err(no_answer)?)
    }

    /// Ends something; an answer without a body is well.
    pub(super) fn delete(&self, path: &str, headers: &[(&str, &str)]) -> Result<(), ClientError> {
        checked(self.run(Request::delete(self.url(path)), "application/json", None, headers)?).map(drop)
    }

    /// Removes what is there; the answer tells what that was.
    pub(super) fn remove<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, ClientError> {
        self.answer(self.run(Request::delete(self.url(path)), "application/json", None, &[])?)
    }

    /// Every page of a list, one after the other: the values of `member`.
    pub(super) fn list<T: DeserializeOwned>(&self, path: &str, member: &str) -> Result<Vec<T>, ClientError> {
        self.list_at_most(path, member, usize::MAX)
    }

    /// [`list`](Self::list) until there are `most`.
    pub(super) fn list_at_most<T: DeserializeOwned>(
        &self,
        path: &str,
        member: &str,
        most: usize,
    ) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        let limit = most.clamp(1, PAGE);
        let mut path = format!("{path}{}limit={limit}", if path.contains('?') { '&' } else { '?' });
        loop {
            let mut answer = self.get::<serde_json::Value>(&path)?;
            let page: Vec<T> = serde_json::from_value(answer.body[member].take()).map_err(|e| self.broken(e))?;
            all.extend(page);
            match answer.next {
                Some(next) if all.len() < most => path = next,
                Some(_) | None => {
                    all.truncate(most);
                    return Ok(all);
                }
            }
        }
    }

    /// [`list`](Self::list) for a list that is too long to be held: hands each page to `take`.
    pub(super) fn each_page<T: DeserializeOwned, E: From<ClientError>>(
        &self,
        path: &str,
        member: &str,
        mut take: impl FnMut(Vec<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut path = format!("{path}{}limit={PAGE}", if path.contains('?') { '&' } else { '?' });
        loop {
            let mut answer = self.get::<serde_json::Value>(&path)?;
            take(serde_json::from_value(answer.body[member].take()).map_err(|e| self.broken(e))?)?;
            match answer.next {
                Some(next) => path = next,
                None => return Ok(()),
            }
        }
    }

    fn broken(&self, source: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::Answer { api: self.base.clone(), source: Box::new(source) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn run(
        &self,
        request: ureq::http::request::Builder,
        accept: &str,
        body: Option<&serde_json::Value>,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, ClientError> {
        let text = body.map(ToString::to_string);
        self.send(request, accept, text.as_deref().map(|text| ("application/json", text)), headers)
    }

    /// Sends a request; a body comes with its media type.
    fn send(
        &self,
        request: ureq::http::request::Builder,
        accept: &str,
        body: Option<(&str, &str)>,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, ClientError> {
        let request = self.head(request, accept, headers);
        let no_answer = |error| ClientError::no_answer(&self.base, error);
        let invalid = |error: ureq::http::Error| no_answer(ureq::Error::from(error));
        match body {
            Some((media, body)) => {
                let request = request.header("content-type", media).body(body.to_owned()).map_err(invalid)?;
                self.agent.run(request).map_err(no_answer)
            }
            None => self.agent.run(request.body(()).map_err(invalid)?).map_err(no_answer),
        }
    }

    /// Adds what every request carries, and `headers`.
    fn head(
        &self,
        mut request: ureq::http::request::Builder,
        accept: &str,
        headers: &[(&str, &str)],
    ) -> ureq::http::request::Builder {
        request = request.header("accept", accept);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.secret));
        }
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    fn answer<T: DeserializeOwned>(&self, response: Response<Body>) -> Result<Answer<T>, ClientError> {
        let mut response = checked(response)?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let next = header("link").and_then(next_link);
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(|e| self.broken(e))?;
        Ok(Answer { next, body: serde_json::from_str(&text).map_err(|e| self.broken(e))? })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// Where the next page is.
    pub(super) next: Option<String>,
    /// The body.
    pub(super) body: T,
}

/// One step of a path, escaped (RFC 3986 3.3): a name that somebody mistyped must not become another path.
pub(super) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'*') {
            escaped.push(char::from(octet));
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    escaped
}

/// Reads an argument that becomes one step of a path: an empty one would make it the path of the whole list.
pub(super) fn parse_step(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("it is empty: write the name itself, such as debug.ostn.test"),
        "." | ".." => Err("that is no name here: write one such as debug.ostn.test"),
        _ => Ok(text.to_owned()),
    }
}

/// Turns an error status into its problem.
fn checked(mut response: Response<Body>) -> Result<Response<Body>, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().unwrap_or_default();
    Err(ClientError::Problem(Problem::read(status, &text)))
}

/// The path and query that `rel="next"` in a `Link` field names (RFC 8288 3). The place is the one we asked already:
/// behind a proxy the service may not know its own name, and the token goes nowhere else.
fn next_link(field: &str) -> Option<String> {
    field.split(", ").find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        if !parameters.split(';').any(|parameter| parameter.trim().eq_ignore_ascii_case("rel=\"next\"")) {
            return None;
        }
        Some(target.parse::<Uri>().ok()?.path_and_query()?.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page() {
        let field = r#"<http://a/v1/nodes?cursor=1,2>; rel="prev", <http://a/v1/nodes?cursor=x>; rel="next""#;
        assert_eq!(next_link(field).as_deref(), Some("/v1/nodes?cursor=x"));
        assert_eq!(next_link(r#"</v1/nodes?cursor=y>; rel="next""#).as_deref(), Some("/v1/nodes?cursor=y"));
        assert_eq!(next_link(r#"<http://a>; rel="first""#), None);
    }

    #[test]
    fn names_stay_one_step_of_the_path() {
        assert_eq!(segment("debug.ostn.test"), "debug.ostn.test");
        assert_eq!(segment("a/../b?c ü"), "a%2F..%2Fb%3Fc%20%C3%BC");
    }

    #[test]
    fn a_step_is_never_another_path() {
        assert_eq!(parse_step("Debug.ostn.test").as_deref(), Ok("Debug.ostn.test"));
        for text in ["", " ", ".", ".."] {
            assert!(parse_step(text).is_err(), "{text:?}");
        }
    }
}
