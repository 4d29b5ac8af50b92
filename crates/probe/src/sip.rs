//! As much of SIP as a probe needs: an OPTIONS request, and the framing of what comes back (RFC 3261 7, 11, 18.3).

mod exchange;
mod message;
mod request;

pub(crate) use exchange::ask;
pub use exchange::{EXCHANGE_TIMEOUT, Life, SipError, ask_options};
pub use message::{MAX_HEADERS, MAX_MESSAGE, Malformed, Message, Start};
pub use request::{Options, RequestIds};
