//! Scenarios against the real program, conformance, golden data and real peers: one binary, so that it links once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod agent;
mod cli;
mod dns;
mod docs;
mod metrics;
mod peer;
mod privacy;
mod probe;
mod requirements;
