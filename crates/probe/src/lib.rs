//! Looks at a node from outside: does its server answer, is it who it says it is, and does its operator have the domain.
//!
//! Everything here is told to connect to what strangers published. So each connection goes through a [`SafeConnector`],
//! each wait and each size has a limit, and what a peer says is data, never an instruction.

mod address;
mod challenge;
mod connect;
pub mod dns;
mod judge;
mod name;
mod portrait;
mod possession;
mod probe;
pub mod schedule;
pub mod sip;
mod suffix;
mod tls;

pub use address::{AddressRefusal, AddressRule, is_global};
pub use challenge::{ChallengeError, PROTOCOL, Responder, ResponderError, TlsChallenger};
pub use connect::{CONNECT_TIMEOUT, ConnectError, MAX_ADDRESSES, SafeConnector};
pub use judge::{Distrust, Judgement, MAX_CHAIN, Role, Trust, Trusted};
pub use name::{Leaf, UnreadableCertificate, is_self_issued, spki, spki_digest};
pub use portrait::{MAX_ENTRIES, MAX_TEXT, Portrait};
pub use possession::{AnyClientCertificate, Possession};
pub use probe::{PROBE_TIMEOUT, ProbeError, ProbeTarget, Prober, Sound};
pub use suffix::{covers, is_public_suffix};
pub use tls::{HANDSHAKE_TIMEOUT, TlsError, handshake};
