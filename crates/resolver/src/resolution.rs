//! What a caller is told: next hops, or which kind of "no" it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_model::SipUri;
use tandem_model::locate::{Dnssec, Failure, LocateError, Located, NextHop, Reason};
use tandem_model::numbering::{EnumError, Enumerated};

/// What [`Resolver::locate`](crate::Resolver::locate) came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolution {
    /// Next hops, or the kind of "no".
    pub outcome: Outcome,
    /// Seconds that this may be kept from the moment it was made (LOC-88); `None` if DNS was not asked, 0 if a lookup
    /// failed. [`remaining`](Self::remaining) counts down.
    pub ttl: Option<u32>,
    /// Whether the domain's NAPTR records offered SIPS; `None` if they were not asked for (LOC-89).
    pub naptr_offered_sips: Option<bool>,
    /// The least DNSSEC status on the way to the first next hop; each hop has its own.
    pub dnssec: Dnssec,
    /// Its time is over, and it serves because name servers fail now (RFC 8767).
    pub stale: bool,
    /// When it was made.
    pub made: Instant,
    /// Chance decides between some of the hops: each call draws anew.
    pub(crate) has_choice: bool,
    /// Each step and its rule, in order.
    pub reasons: Arc<[Reason]>,
}

impl Resolution {
    /// Whether there is a next hop.
    #[must_use]
    pub const fn is_found(&self) -> bool {
        matches!(self.outcome, Outcome::Found(_))
    }

    /// The next hops in order; none unless the outcome is [`Outcome::Found`].
    #[must_use]
    pub fn next_hops(&self) -> &[NextHop] {
        match &self.outcome {
            Outcome::Found(hops) => hops,
            _ => &[],
        }
    }

    /// How long this may still be kept at `now`; `None` if DNS was not asked.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        let life = Duration::from_secs(self.ttl?.into());
        Some(life.saturating_sub(now.saturating_duration_since(self.made)))
    }

    /// The same with other next hops.
    pub(crate) fn with_outcome(&self, outcome: Outcome) -> Self {
        Self { outcome, reasons: Arc::clone(&self.reasons), ..*self }
    }

    /// About what it costs to keep.
    pub(crate) fn octets(&self) -> usize {
        let name = |name: &Option<tandem_model::DomainName>| name.as_ref().map_or(0, |name| name.as_wire().len());
        let hop =
            |hop: &NextHop| size_of::<NextHop>() + name(&hop.tls_name) + name(&hop.srv_target) + name(&hop.canonical);
        let reasons: usize = self.reasons.iter().map(|reason| size_of::<Reason>() + reason.text.len()).sum();
        size_of::<Self>() + reasons + self.next_hops().iter().map(hop).sum::<usize>()
    }
}

/// What [`Resolver::resolve`](crate::Resolver::resolve) came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// What ENUM said, if a number was called.
    pub number: Option<Enumerated>,
    /// The URI that was located; `None` if the number has none.
    pub uri: Option<SipUri>,
    /// Where the call goes, or why it does not.
    pub resolution: Arc<Resolution>,
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
    /// The call leads back to this element: deliver it here, or answer 482.
    Loop(LocateError),
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
            | Self::Loop(error)
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
        let dnssec = match &outcome {
            Outcome::Found(hops) => hops.first().map(|hop| hop.dnssec.chain.and(hop.dnssec.address)),
            _ => None,
        };
        let (dnssec, made) = (dnssec.unwrap_or_default(), Instant::now());
        Self {
            outcome,
            ttl,
            naptr_offered_sips,
            dnssec,
            stale: false,
            made,
            has_choice: false,
            reasons: reasons.into(),
        }
    }
}

impl From<LocateError> for Outcome {
    fn from(error: LocateError) -> Self {
        match error {
            LocateError::InvalidUri(_) => Self::Invalid(error),
            LocateError::NoSuchDomain(_) | LocateError::ServiceNotAvailable(_) => Self::NotAMember(error),
            LocateError::NoUsableAddress(_) => Self::Down(error),
            LocateError::TemporaryFailure { failure: Failure::Bogus, .. }
            | LocateError::Number(EnumError::TemporaryFailure { failure: Failure::Bogus, .. }) => Self::Bogus(error),
            LocateError::TemporaryFailure { .. }
            | LocateError::Number(EnumError::TemporaryFailure { .. })
            | LocateError::Busy { .. } => Self::TryLater(error),
            LocateError::Number(
                EnumError::NoSuchNumber | EnumError::NoRecords | EnumError::NoUsableRecord | EnumError::Loop,
            ) => Self::NotAMember(error),
            LocateError::Ourselves(_) => Self::Loop(error),
            LocateError::UnsupportedTransport(_)
            | LocateError::NoCommonTransport(_)
            | LocateError::SipsVanished(_)
            | LocateError::PolicyRefused(_) => Self::Refused(error),
        }
    }
}
