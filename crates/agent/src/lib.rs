//! What stands beside an unmodified SIP server: publishes its node, keeps a verified copy of all members that outlives the
//! directory, and offers what SIP servers understand, made from that copy.
//!
//! Reading order: [`config`] (what it is told), [`directory`](crate::Directory) (how the directory is asked), [`judge`]
//! (whom to believe), [`replica`] (the copy and how it follows), [`snapshot`] (what services see of it), [`check`] (whether
//! servers are who they should be), [`route`] (where a call goes, by all that), `redirect` (the same in SIP), `service` (where
//! they are started). Start at [`Agent`].

pub mod check;
mod clock;
pub mod config;
mod directory;
pub mod document;
mod files;
pub mod judge;
mod known;
mod local;
pub mod map;
pub mod member;
mod name_service;
pub mod node_key;
mod own;
mod redirect;
pub mod replica;
pub mod route;
mod service;
pub mod signing;
pub mod snapshot;
mod state;
pub mod status;

pub use check::{Verdict, Verdicts};
pub use config::Config;
pub use directory::{Directory, DirectoryError, DirectoryUrl, InvalidUrl};
pub use map::MemberMap;
pub use member::{KnownKey, Member, MemberState};
#[cfg(any(test, feature = "fuzzing"))]
pub use redirect::harness;
pub use route::{Route, Routes};
pub use service::{Agent, Parts, StartError};
pub use snapshot::Snapshot;
pub use status::{Board, SOCKET, Status};
