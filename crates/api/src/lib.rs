//! The HTTP API of the directory: versioned bodies, who may write, problems. axum is named only here and in `tandem-agent`.
//!
//! [`ApiServer`] is the way in. A request goes `connection` → `router` → a file of `handler`; `request` takes it
//! apart in the order that RFC 9110 13.2.1 demands, `v1` reads and writes bodies, `problem` is every refusal.
//! docs/http-api.md says how it looks from outside.

mod connection;
mod feed;
mod handler;
mod host_check;
mod idempotency;
mod json;
mod leftover;
mod limit;
mod lines;
mod openapi;
mod page;
mod precondition;
mod probe;
mod problem;
mod proof_rule;
mod quota;
mod readiness;
mod registration_mode;
mod request;
mod room;
mod router;
mod seldom;
mod server;
mod signed;
mod source;
mod state;
mod tls;
mod v1;
mod warning;
mod zone_files;

pub use host_check::{HostAnswer, HostCheck};
pub use limit::LimitConfig;
pub use openapi::text as openapi_text;
pub use probe::{Look, NotNow, ProbeReport, Probes, SeenCertificate, TargetReport};
pub use proof_rule::ProofRule;
pub use readiness::{Check, Readiness};
pub use registration_mode::RegistrationMode;
pub use server::{ApiConfig, ApiServer, StartError};
pub use tls::{CertificateError, CertificateFiles, self_signed};
pub use v1::change::webhook_body;
pub use zone_files::{Reading, ZoneFiles};
