//! Whether servers are who they should be, found out before a call is sent there.
//!
//! A `Checker` looks at the targets of all members again and again: connection, TLS, and the certificate by the keys in the
//! member's document, else by an authority and the domain's name (CERT-20, CERT-44). What it saw last is in [`Verdicts`],
//! which other services ask; nothing is kept on disk. Reading order: `results` (what is known, and how it is asked), `look`
//! (one look), `checker` (when), `pace` (how often).

mod authorities;
mod checker;
mod look;
mod pace;
mod results;

pub(crate) use authorities::Authorities;
pub use authorities::UnusableAuthorities;
pub(crate) use checker::Checker;
pub(crate) use look::BadKind;
pub use results::{Verdict, Verdicts};

#[cfg(test)]
mod tests;
