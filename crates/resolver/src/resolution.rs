//! What a caller is told: next hops, or which kind of "no" it is.

use tandem_model::locate::{Failure, LocateError, Located, NextHop, Reason};

/// What [`Resolver::locate`](crate::Resolver::locate) came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolution {
    /// Next hops, or the kind of "no".
    pub outcome: Outcome,
    /// Seconds that this may be kept (LOC-88); `None` if DNS was not asked, 0 if a lookup failed.
    pub ttl: Option<u32>,
    /// Whether the domain's NAPTR records offered SIPS; `None` if they were not asked for (LOC-89).
    pub naptr_offered_sips: Option<bool>,
    /// Each step and its rule, in order.
    pub reasons: Vec<Reason>,
}

/// Next hops, or the kind of "no": what a proxy does next differs for each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Next hops, best first, never empty: try them in order (LOC-80 to LOC-85).
    Found(Vec<NextHop>),
    /// No such domain, or it says that it has no such service: answer 404 or 604, do not try again soon.
    NotAMember(LocateError),
    /// The domain is there, but no server of it has an address: answer 480, its operator has to act.
    Down(LocateError),
    /// DNS gave no answer now: answer 503 or try again. Nothing weaker was tried (LOC-39).
    TryLater(LocateError),
    /// DNSSEC says that the answer is forged or broken: do not call, tell an operator.
    Bogus(LocateError),
    /// There is a way, but not one that we may go: answer 403, or change the settings.
    Refused(LocateError),
    /// The URI is wrong: answer 416 or ask the person again.
    Invalid(LocateError),
}

impl Outcome {
    /// The error, unless next hops were found.
    #[must_use]
    pub const fn error(&self) -> Option<&LocateError> {
        match self {
            Self::Found(_) => None,
            Self::NotAMember(error)
            | Self::Down(error)
            | Self::TryLater(error)
            | Self::Bogus(error)
            | Self::Refused(error)
            | Self::Invalid(error) => Some(error),
        }
    }
}

impl From<Located> for Resolution {
    fn from(located: Located) -> Self {
        let outcome = match located.outcome {
            Ok(hops) => Outcome::Found(hops),
            Err(error) => Outcome::from(error),
        };
        let Located { ttl, naptr_offered_sips, reasons, .. } = located;
        Self { outcome, ttl, naptr_offered_sips, reasons }
    }
}

impl From<LocateError> for Outcome {
    fn from(error: LocateError) -> Self {
        match error {
            LocateError::InvalidUri(_) => Self::Invalid(error),
            LocateError::NoSuchDomain(_) | LocateError::ServiceNotAvailable(_) => Self::NotAMember(error),
            LocateError::NoUsableAddress(_) => Self::Down(error),
            LocateError::TemporaryFailure { failure: Failure::Bogus, .. } => Self::Bogus(error),
            LocateError::TemporaryFailure { .. } => Self::TryLater(error),
            LocateError::UnsupportedTransport(_)
            | LocateError::NoCommonTransport(_)
            | LocateError::PolicyRefused(_) => Self::Refused(error),
        }
    }
}
