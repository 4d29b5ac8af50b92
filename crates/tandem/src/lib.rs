//! Tandem: the command, and the service as a library.
//!
//! Reading order: [`config`] (what a service is told), `zone_folder` (what it serves), [`service`] (the wiring:
//! store, DNS, API), `command` (one file a subcommand).

pub mod catalog;
pub mod command;
pub mod config;
mod contact;
pub mod cookie_secret;
mod diagnose;
mod file_limit;
mod host_lookup;
mod mailer;
mod metrics;
pub mod prober;
mod prover;
mod runtime_file;
pub mod service;
pub mod telemetry;
mod webhook;
mod zone_files;
pub mod zone_folder;

pub use config::Config;
pub use service::{Service, StartError};
