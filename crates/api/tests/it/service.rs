//! A running API on port 0 over the repository's own zones, and a client that checks what every answer must have.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use serde_json::Value;
use tandem_api::{ApiConfig, ApiServer, Check, HostAnswer, HostCheck, Readiness};
use tandem_model::DomainName;
use tandem_store::Directory;
use tandem_zone::Settings;
use tandem_zone::master::StaticZone;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::schema;

/// Hosts outside our zones: the first label says what DNS answers.
#[derive(Debug)]
struct ByLabel;

impl HostCheck for ByLabel {
    fn check<'a>(&'a self, host: &'a DomainName) -> Pin<Box<dyn Future<Output = HostAnswer> + Send + 'a>> {
        let answer = match host.labels().next() {
            Some(b"alias") => HostAnswer::Alias,
            Some(b"empty") => HostAnswer::NoAddress,
            Some(b"nowhere") => HostAnswer::NoSuchName,
            Some(b"broken") => HostAnswer::Failed("SERVFAIL".into()),
            _ => HostAnswer::Addresses,
        };
        Box::pin(async move { answer })
    }
}

pub(crate) struct Service {
    pub(crate) runtime: Runtime,
    pub(crate) server: Option<ApiServer>,
    pub(crate) directory: Directory,
    pub(crate) readiness: Readiness,
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) admin: String,
    agent: ureq::Agent,
}

/// The repository's zones, as the service itself loads them.
fn statics() -> Vec<StaticZone> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../zones"));
    ["ostn.test", "ostel.me", "peers.ostn.test", "e164.ostn.test"]
        .iter()
        .map(|apex| {
            let file = format!("{apex}.zone");
            let text = std::fs::read(folder.join(&file)).unwrap();
            StaticZone::read(&apex.parse().unwrap(), &file, &text, &mut |_| Err("no includes".into())).unwrap()
        })
        .collect()
}

/// The repository's zones again, for a reload.
#[derive(Debug)]
pub(crate) struct Repository;

impl tandem_api::ZoneFiles for Repository {
    fn read(&self) -> tandem_api::Reading<'_> {
        Box::pin(async { Ok(statics()) })
    }
}

pub(crate) fn open(dir: &Path) -> Directory {
    let name = |text: &str| Some(text.parse().unwrap());
    let settings =
        Settings { peers_zone: name("peers.ostn.test"), policy_zone: None, number_zone: name("e164.ostn.test") };
    Directory::open(dir, settings, statics()).unwrap()
}

pub(crate) fn host_check() -> Box<dyn HostCheck> {
    Box::new(ByLabel)
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::start_with(|dir| ApiConfig {
            zone_files: Some(std::sync::Arc::new(Repository)),
            ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
        })
    }

    pub(crate) fn start_with(config: impl FnOnce(&Path) -> ApiConfig) -> Self {
        let runtime = Runtime::new().unwrap();
        let guard = runtime.enter();
        let dir = tempfile::tempdir().unwrap();
        let directory = open(dir.path());
        directory.ensure_admin_token(dir.path()).unwrap();
        let admin = std::fs::read_to_string(dir.path().join("admin.token")).unwrap().trim().to_owned();
        let readiness = Readiness::new();
        readiness.set(Check::Zones, true);
        readiness.set(Check::Dns, true);
        let start = ApiServer::start(config(dir.path()), directory.clone(), readiness.clone(), host_check());
        let server = runtime.block_on(start).unwrap();
        let url = server.url();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        drop(guard);
        Self { runtime, server: Some(server), directory, readiness, dir, url, admin, agent }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.server.as_ref().unwrap().local_addr()
    }

    /// How many follow the changes now.
    pub(crate) fn listeners(&self) -> usize {
        self.server.as_ref().unwrap().listener_count()
    }

    /// Sends with the admin's token.
    pub(crate) fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Option<&str>) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(fields);
        self.send_raw(method, path, &all, body)
    }

    /// Sends with another token.
    pub(crate) fn send_as(&self, token: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.send_raw(method, path, &[("authorization", &format!("Bearer {token}"))], body)
    }

    /// Sends these fields only; a body is JSON unless a field says otherwise.
    pub(crate) fn send_raw(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Option<&str>) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => {
                if !fields.iter().any(|(name, _)| *name == "content-type") {
                    request = request.header("content-type", "application/json");
                }
                self.agent.run(request.body(body).unwrap()).unwrap()
            }
            None => self.agent.run(request.body(()).unwrap()).unwrap(),
        };
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        let answer = Answer { status: response.status().as_u16(), headers: response.headers().clone(), text };
        answer.check(method, path);
        answer
    }

    /// Registers a node with one target below its domain.
    pub(crate) fn register(&self, domain: &str) -> Answer {
        let answer = self.send("PUT", &format!("/v1/nodes/{domain}"), &[], Some(&document(domain)));
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
        answer
    }

    /// Makes a token for these names.
    pub(crate) fn token(&self, names: &[&str]) -> String {
        let body = serde_json::json!({"names": names, "label": "test"}).to_string();
        let answer = self.send("POST", "/v1/tokens", &[], Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["secret"].as_str().unwrap().into()
    }
}

/// The least document for a domain.
pub(crate) fn document(domain: &str) -> String {
    document_with(domain, "")
}

/// The same with more members: `, "ttl": 5`.
pub(crate) fn document_with(domain: &str, more: &str) -> String {
    format!(r#"{{"targets":[{{"host":"sip.{domain}","port":5061,"addresses":["203.0.113.7"]}}]{more}}}"#)
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:tandem:problem:").into()
    }

    pub(crate) fn pointers(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().into_iter().flatten();
        errors.map(|error| error["pointer"].as_str().unwrap().into()).collect()
    }

    pub(crate) fn etag(&self) -> String {
        self.json()["etag"].as_str().unwrap().into()
    }

    /// What holds for every answer.
    fn check(&self, method: &str, path: &str) {
        let at = format!("{method} {path} {}", self.status);
        assert_eq!(self.field("cache-control"), Some("no-store"), "API-19 {at}");
        assert_eq!(self.field("x-content-type-options"), Some("nosniff"), "API-85 {at}");
        assert!(self.field("x-request-id").is_some_and(|id| !id.is_empty()), "API-83 {at}");
        assert_eq!(self.field("access-control-allow-origin"), None, "API-85 {at}");
        let media = self.field("content-type").unwrap_or_default();
        if self.status >= 400 {
            assert_eq!(media, "application/problem+json", "API-20 {at}");
            let problem = self.json();
            assert_eq!(problem["status"], self.status, "API-20 {at}");
            for member in ["type", "title", "detail", "instance"] {
                assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "API-20 {at}: {member}");
            }
            assert!(problem["instance"].as_str().unwrap().starts_with("urn:uuid:"), "API-23 {at}");
            assert_eq!(self.status == 401, self.field("www-authenticate").is_some(), "{at}");
            assert_eq!(matches!(self.status, 429 | 503), self.field("retry-after").is_some(), "API-30 {at}");
        }
        if !path.starts_with("http") {
            schema::check(method, path, self.status, media, &self.text);
        }
    }
}
