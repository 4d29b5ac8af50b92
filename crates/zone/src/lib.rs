//! One version of everything that DNS serves: build it, look names up in it, print it, swap it for the next.
//!
//! No IO, no clock. [`Zones`] is immutable; a change makes the next one, which shares all that did not change, and
//! [`Live`] hands it to readers that never wait. Reading order: [`zones`], [`lookup`], [`name`], [`master`].

mod above;
mod additional;
mod ahead;
mod conflict;
pub mod diff;
pub mod draft;
mod hamt;
#[cfg(any(test, feature = "fuzzing"))]
pub mod harness;
mod history;
mod holders;
mod index;
pub mod live;
pub mod lookup;
pub mod master;
mod member;
pub mod name;
mod numbers;
mod packed;
mod prefetch;
mod print;
mod records;
pub mod rrset;
mod static_diff;
mod statics;
pub mod verify;
mod walk;
pub mod zones;

pub use additional::{Owner, Target};
pub use conflict::{Conflict, ConflictKind, Part};
pub use diff::{Difference, RecordChange};
pub use draft::{Draft, ReadyNode};
pub use history::{History, PastStep};
pub use holders::Holders;
pub use live::{Live, MAX_VERSIONS, Reader};
pub use lookup::Lookup;
pub use member::{Held, Suffixes};
pub use name::QueryName;
pub use rrset::{Rdata, RdataSink, RrType, Rrset};
pub use zones::{BuildError, Change, Settings, Zone, Zones};
