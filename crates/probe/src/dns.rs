//! Questions to name servers: the recursor that the directory is set up with, and a domain's own servers.

mod ask;
mod txt;

pub use ask::AskError;
pub use txt::{LABEL, MAX_ALIASES, TXT_TIMEOUT, TxtError, TxtProver, VALUE_PREFIX};
