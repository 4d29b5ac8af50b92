//! What is wrong with a SIP domain, and what mends it: shared by `tandem explain` and `tandem check`.
//!
//! Everything shown here was said by strangers: by name servers, certificates, servers. It is bounded, and no control
//! character of it reaches a terminal ([`text::plain`]). Start at [`fault`] (what is told) and [`look`] (one address).

pub(crate) mod answer;
pub(crate) mod fault;
pub(crate) mod look;
pub(crate) mod text;

pub(crate) use fault::Fault;
pub(crate) use look::Look;
pub(crate) use text::{Mark, Page};
