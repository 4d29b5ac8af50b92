//! DNS over UDP, TCP, TLS, HTTPS and QUIC: messages in, answers out, from the current version of the zones.
//!
//! One query: `udp` or `tcp` receives it, `respond` takes it to `request` (the hot path's parser) and, what that does
//! not read, to `full` (everything rare); `answer` looks up, `writer` writes. The answer replaces the query in its
//! buffer. `tls`, `https` and `quic` put the same behind encryption, and `padding` hides lengths there. [`overlay`] is another
//! server: it answers for members, and forwards the rest. Start reading at [`DnsServer`], for transports, or at `answer`, for contents.

mod access;
mod answer;
mod batch;
mod chaos;
mod client;
mod config;
mod cookie;
mod full;
#[cfg(any(test, feature = "fuzzing"))]
pub mod harness;
#[cfg(feature = "measuring")]
pub mod hot_path;
mod https;
mod kinds;
mod limit;
mod notify;
mod options;
pub mod overlay;
mod padding;
mod query_log;
mod quic;
mod redirect;
mod request;
mod respond;
mod scan;
mod server;
mod stats;
mod sys;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod transfer;
mod tsig;
mod udp;
mod visit;
mod wire;
mod writer;

pub use access::{Network, TransferRule};
pub use chaos::Identity;
pub use config::{CertificateFiles, Config, Encrypted, TcpLimits, UdpLimit};
pub use cookie::{CookieSecrets, Cookies, InvalidSecrets};
pub use kinds::KindCounts;
pub use limit::RateLimit;
pub use notify::Secondary;
pub use server::{DnsServer, StartError};
pub use stats::{Stats, TransportStats};
pub use tls::CertificateError;
pub use transfer::{TransferConfig, TransferLimits, TransferStats};
pub use tsig::{LEAST_SECRET, TsigAlgorithm, TsigKey};
