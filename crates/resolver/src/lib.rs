//! Finds the next hops of a SIP URI by DNS, and says why they are those.
//!
//! What RFC 3263 says is decided by [`tandem_model::locate`]; this crate puts its questions to name servers, within
//! limits of time and number, and holds no other opinion. Nothing of the DNS library shows in the interface.
//! Start at [`Resolver`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tandem_resolver::{NameServers, Outcome, Resolver, Settings};
//!
//! let resolver = Resolver::new(Settings { servers: NameServers::System, ..Settings::default() })?;
//! match &resolver.resolve(&"alice@debug.ostel.me".parse()?).await.resolution.outcome {
//!     Outcome::Found(hops) => println!("first {} as {:?}", hops[0].address, hops[0].tls_name),
//!     other => println!("no way there: {other:?}"),
//! }
//! # Ok(())
//! # }
//! ```

mod answers;
mod bounded;
mod convert;
mod host;
mod lenient;
mod members;
mod order;
mod resolution;
mod resolver;
mod results;
mod settings;
mod sips;
mod targets;
mod trace;
mod upstream;
mod verify;

pub use host::HostAnswer;
pub use members::{Member, MemberState, Members};
pub use resolution::{Outcome, Resolution, Resolved};
pub use resolver::{CacheUsage, Resolver};
pub use settings::{
    CacheSettings, DnssecTrust, MAX_PARALLEL, MAX_SERVERS, NameServers, Numbers, Own, QUESTION_TIMEOUT, Settings,
    SettingsError, TOTAL_TIMEOUT, local_families,
};
pub use targets::{MAX_RETRY_AFTER, Report};
pub use trace::{Asked, MAX_TRACED, Trace};
pub use verify::{
    CONNECT_TIMEOUT, ConnectError, Connected, Connector, Examination, HANDSHAKE_TIMEOUT, Inbound, InboundBy,
    NotVerified, Proof, Session, TlsaLook, Untrusted, VerifiedBy,
};
