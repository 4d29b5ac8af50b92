//! Invitations: a code that makes, once, the first token of one domain.

use sha2::{Digest as _, Sha256};
use tandem_model::DomainName;

use crate::token::{TokenError, check_label, hash_with_prefix, random_secret};

/// What every code begins with: tells it from a token.
pub const CODE_PREFIX: &str = "tandem_invite_";
/// Most invitations that are open at a time: all of them are held in memory.
pub const MAX_INVITATIONS: usize = 10_000;

/// An invitation to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// The domain of the token that it makes.
    pub domain: DomainName,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// Seconds that the token will live; `None` for ever.
    pub token_expires_in: Option<u64>,
    /// A word for lists; the token inherits it.
    pub label: Option<String>,
}

impl NewInvitation {
    /// Whether it keeps the limits on one invitation.
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        check_label(self.label.as_ref())
    }
}

/// An invitation as lists show it: never the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationInfo {
    /// Public id.
    pub id: String,
    /// The domain of the token that it makes.
    pub domain: DomainName,
    /// A word for lists.
    pub label: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub expires: u64,
    /// Seconds that the token will live; `None` for ever.
    pub token_expires_in: Option<u64>,
}

/// The code of an invitation, shown once: `tandem_invite_` and 256 random bits in base64url. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationCode(String);

impl InvitationCode {
    /// A new code.
    ///
    /// # Errors
    ///
    /// When the system has no random octets to give.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        random_secret(CODE_PREFIX).map(Self)
    }

    /// The hash under which it is kept.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text to hand to whoever is invited.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for InvitationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InvitationCode(..)")
    }
}

/// The hash of a text that may be a code; `None` when its form alone says that it is none.
pub(crate) fn hash_of_claimed(code: &str) -> Option<[u8; 32]> {
    hash_with_prefix(code, CODE_PREFIX)
}
