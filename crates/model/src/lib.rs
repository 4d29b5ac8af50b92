//! What a node, a number and a record are; which records a node makes; how a SIP server is found (RFC 3263).
//!
//! No IO, no clock, no chance: those are arguments. Reading order: [`name`], [`node`], [`found`], [`publish`], [`uri`],
//! [`locate`], [`numbering`].

pub mod called;
pub mod demote;
pub mod found;
pub mod lint;
pub mod locate;
pub mod name;
mod network;
pub mod node;
pub mod number;
pub mod numbering;
pub mod publish;
pub mod record;
pub mod select;
pub mod serial;
pub mod uri;

pub use called::Called;
pub use found::{Found, Probe, SeenKey};
pub use name::{DomainName, InvalidName};
pub use node::{InvalidNode, Network, Node, NodeParts, NumberClaim, Target};
pub use number::{E164Number, NumberBlock, NumberRange};
pub use record::{Record, RecordData};
pub use serial::Serial;
pub use uri::{Host, SipUri};
