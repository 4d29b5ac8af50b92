//! Who may have a token without an admin (setting `registration.mode`).

/// How strangers come to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegistrationMode {
    /// Not at all: an admin makes it, or invites.
    #[default]
    Closed,
    /// Anybody may ask; what the token publishes first waits until an admin approves it.
    Moderated,
    /// Names in zones served here: first come, first served. Other domains need a proof.
    Open,
}
