//! DNS over UDP and TCP: messages in, answers out, from the current version of the zones.
//!
//! One query: `udp` or `tcp` receives it, `respond` takes it to `request` (the hot path's parser) and, what that does
//! not read, to `full` (everything rare); `answer` looks up, `writer` writes. The answer replaces the query in its
//! buffer. Start reading at [`DnsServer`], for transports, or at `answer`, for contents.

mod answer;
mod config;
mod full;
mod request;
mod respond;
mod server;
mod stats;
mod sys;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod wire;
mod writer;

pub use config::{Config, TcpLimits, UdpLimit};
pub use server::{DnsServer, StartError};
pub use stats::{Stats, TransportStats};
