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
//! match resolver.locate(&"sip:alice@debug.ostel.me".parse()?).await.outcome {
//!     Outcome::Found(hops) => println!("first {} as {:?}", hops[0].address, hops[0].tls_name),
//!     other => println!("no way there: {other:?}"),
//! }
//! # Ok(())
//! # }
//! ```

mod convert;
mod host;
mod resolution;
mod resolver;
mod settings;
mod upstream;

pub use host::HostAnswer;
pub use resolution::{Outcome, Resolution};
pub use resolver::Resolver;
pub use settings::{
    MAX_PARALLEL, MAX_SERVERS, NameServers, QUESTION_TIMEOUT, Settings, SettingsError, TOTAL_TIMEOUT, local_families,
};
