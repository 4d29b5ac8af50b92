//! The smallest HTTP client that tests need.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

/// Longest wait for an answer: longer than any limit of the service itself.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// What the API answered, good or bad.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub text: String,
}

impl Response {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A client that hands over error answers like all others.
pub(crate) fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(ANSWER_WAIT)).build().into()
}

/// Asks one API as its admin.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) agent: Agent,
    pub(crate) api: String,
    pub(crate) token: String,
}

impl Client {
    /// Asks with another token from now on.
    pub fn set_token(&mut self, token: &str) {
        self.token = token.into();
    }

    /// Sends lines of JSON; an error when no answer came.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    pub fn try_send_lines(&self, path: &str, lines: &str) -> Result<Response, Box<ureq::Error>> {
        let request = Request::builder().method("POST").uri(format!("{}{path}", self.api));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let request = request.header("content-type", "application/x-ndjson").body(lines);
        Self::read(self.agent.run(request.map_err(ureq::Error::from)?)?)
    }

    /// Sends a request; an error when no answer came.
    ///
    /// # Errors
    ///
    /// What the client says: the service is gone, or went while it should have answered.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response, Box<ureq::Error>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.api));
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::read(match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.map_err(ureq::Error::from)?)
            }
            None => self.agent.run(request.body(()).map_err(ureq::Error::from)?),
        }?)
    }

    fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Response, Box<ureq::Error>> {
        let fields = response.headers().iter();
        let headers =
            fields.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        Ok(Response { status, headers, text: response.body_mut().read_to_string()? })
    }
}
