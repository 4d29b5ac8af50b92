//! The API over real HTTP, with a real directory in a temporary folder. Each case carries its requirement's id.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

mod audit;
mod change;
mod condition;
mod connection;
mod credential;
mod hostile;
mod import;
mod life;
mod limit;
mod list;
mod log;
mod node;
mod number;
mod proof;
mod refusal;
mod schema;
mod service;
mod signed;
mod token;
mod zone;
