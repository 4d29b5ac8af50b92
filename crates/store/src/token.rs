//! Tokens: who may call the API, what it allows, and for which names.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tandem_model::{DomainName, Network};

/// What every secret begins with, so that scanners for leaked secrets can know it.
pub const SECRET_PREFIX: &str = "tandem_";
/// Most tokens at a time: all of them are held in memory.
pub const MAX_TOKENS: usize = 10_000;
/// Most tokens that strangers made for themselves at a time: the rest stay for admins and those they invite.
pub const MAX_SELF_MADE: usize = 5_000;
/// Most names in one token's scope.
pub const MAX_SCOPE_NAMES: usize = 100;
/// Most source networks of one token.
pub const MAX_TOKEN_SOURCES: usize = 16;
/// Longest label, in octets.
pub const MAX_TOKEN_LABEL: usize = 100;
/// Longest time that an old secret stays valid beside the new one, in seconds: 30 days.
pub const MAX_OVERLAP: u64 = 30 * 86_400;
/// Random octets of a secret (API-70).
const SECRET_LEN: usize = 32;
/// Random octets of a token's id: public, and looked up among [`MAX_TOKENS`] at most.
const ID_LEN: usize = 9;

/// Which registrations a token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything there is.
    Admin,
    /// Every registration and zone, to be read only.
    Read,
    /// Registrations of these domains, and of names below them.
    Nodes(Vec<DomainName>),
}

impl Scope {
    /// Whether `domain` may be seen. What may be done there is a question for [`Actor::may`].
    #[must_use]
    pub fn covers(&self, domain: &DomainName) -> bool {
        match self {
            Self::Admin | Self::Read => true,
            Self::Nodes(names) => names.iter().any(|name| domain.is_at_or_below(name)),
        }
    }

    /// The word for it: `admin`, `read`, `node`.
    #[must_use]
    pub const fn role(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Read => "read",
            Self::Nodes(_) => "node",
        }
    }

    /// The names that it is limited to; none for the roles without.
    #[must_use]
    pub fn names(&self) -> &[DomainName] {
        match self {
            Self::Admin | Self::Read => &[],
            Self::Nodes(names) => names,
        }
    }
}

/// What may be done with a registration. The API calls it an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Register, replace, withdraw.
    Publish,
    /// Renew the lease.
    Renew,
    /// Say that the node drains, is compromised, or is back.
    Operate,
    /// Read it.
    Read,
    /// See the numbers of all nodes: only for tokens that read everything.
    Numbers,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Publish, Self::Renew, Self::Operate, Self::Read, Self::Numbers];
    /// What a node's token can have: it sees the numbers of its own nodes anyway.
    pub const OF_NODES: [Self; 4] = [Self::Publish, Self::Renew, Self::Operate, Self::Read];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Renew => "renew",
            Self::Operate => "operate",
            Self::Read => "read",
            Self::Numbers => "numbers",
        }
    }

    /// The right with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == word)
    }
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// All that a node's token can have.
    pub const ALL: Self = Self((1 << Right::OF_NODES.len()) - 1);

    /// Whether `right` is one of them.
    #[must_use]
    pub const fn contains(self, right: Right) -> bool {
        self.0 & 1 << right as u8 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in it, in the order of [`Right::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.contains(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().fold(0, |bits, right| bits | 1 << right as u8))
    }
}

/// How a token came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An admin made it, or the directory itself for its admin.
    Admin,
    /// Its holder had an invitation.
    Invitation,
    /// Its holder asked, and the mode of registration lets anybody ask.
    Registration,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Invitation, Self::Registration];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Invitation => "invitation",
            Self::Registration => "registration",
        }
    }
}

/// Who is behind a request: the token's public id and what it allows. Never an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The token's id, as lists and the journal show it.
    pub token_id: String,
    /// Which registrations it is about.
    pub scope: Scope,
    /// What it may do there; without meaning for an admin.
    pub rights: Rights,
    /// Whether what it publishes at a new name waits for an admin's approval.
    pub moderated: bool,
    /// How its token came to be.
    pub origin: Origin,
}

impl Actor {
    /// Who may do all that `scope` lets it.
    #[must_use]
    pub fn new(token_id: impl Into<String>, scope: Scope) -> Self {
        Self { token_id: token_id.into(), scope, rights: Rights::ALL, moderated: false, origin: Origin::Admin }
    }

    /// The directory itself, for what it does by rule: nobody is named in the journal.
    #[must_use]
    pub fn directory() -> Self {
        Self::new("", Scope::Admin)
    }

    /// Whether it has `right` to registrations that it covers.
    #[must_use]
    pub const fn may(&self, right: Right) -> bool {
        match self.scope {
            Scope::Admin => true,
            // What was made before there was this right does not have it.
            Scope::Read => {
                matches!(right, Right::Read) || matches!(right, Right::Numbers) && self.rights.contains(right)
            }
            Scope::Nodes(_) => self.rights.contains(right),
        }
    }

    /// Whether it may see the numbers of the nodes that it may see.
    #[must_use]
    pub const fn sees_numbers(&self) -> bool {
        matches!(self.scope, Scope::Nodes(_)) || self.may(Right::Numbers)
    }
}

impl Actor {
    /// Whether it may do everything.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        matches!(self.scope, Scope::Admin)
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Which registrations it is about.
    pub scope: Scope,
    /// What a node's token may do there; all rights for the others.
    pub rights: Rights,
    /// Networks that its holder calls from; empty: any.
    pub sources: Vec<Network>,
    /// Seconds until it expires; `None` never.
    pub expires_in: Option<u64>,
    /// A word for lists: `debug node`.
    pub label: Option<String>,
}

impl NewToken {
    /// One with all rights, from anywhere, for ever, without a label.
    #[must_use]
    pub const fn new(scope: Scope) -> Self {
        Self { scope, rights: Rights::ALL, sources: Vec::new(), expires_in: None, label: None }
    }
}

/// A token as lists show it: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Public id.
    pub id: String,
    /// Which registrations it is about.
    pub scope: Scope,
    /// What it may do there.
    pub rights: Rights,
    /// Networks that its holder calls from; empty: any.
    pub sources: Vec<Network>,
    /// A word for lists.
    pub label: Option<String>,
    /// How it came to be.
    pub origin: Origin,
    /// Whether what it publishes at a new name waits for an admin's approval.
    pub moderated: bool,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; `None` never.
    pub expires: Option<u64>,
    /// Until when the secret before the last rotation is valid too, in seconds since 1970.
    pub previous_until: Option<u64>,
}

impl TokenInfo {
    /// Whether it is valid at `now`.
    #[must_use]
    pub fn is_valid(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether its holder may call from `source`. An address that is not known is in no network.
    pub(crate) fn admits(&self, source: Option<IpAddr>) -> bool {
        self.sources.is_empty()
            || source.is_some_and(|source| self.sources.iter().any(|network| network.contains(source)))
    }

    /// Its holder.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            token_id: self.id.clone(),
            scope: self.scope.clone(),
            rights: self.rights,
            moderated: self.moderated,
            origin: self.origin,
        }
    }
}

/// The secret of a token, shown once: `tandem_` and 256 random bits in base64url (API-70). `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(String);

impl TokenSecret {
    /// A new secret.
    ///
    /// # Errors
    ///
    /// When the system has no random octets to give.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        random_secret(SECRET_PREFIX).map(Self)
    }

    /// The hash under which it is kept.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text to hand to its holder.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// `prefix` and 256 random bits in base64url.
pub(crate) fn random_secret(prefix: &str) -> Result<String, getrandom::Error> {
    let mut octets = [0; SECRET_LEN];
    getrandom::fill(&mut octets)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(octets)))
}

/// The hash of a text that may be a token's secret; `None` when its form alone says that it is none.
pub(crate) fn hash_of_claimed(secret: &str) -> Option<[u8; 32]> {
    hash_with_prefix(secret, SECRET_PREFIX)
}

/// The hash of a text that may be `prefix` and a secret; `None` when its form alone says that it is none.
pub(crate) fn hash_with_prefix(text: &str, prefix: &str) -> Option<[u8; 32]> {
    // 32 octets are 43 characters of base64 without padding.
    let plausible = text.len() == prefix.len() + (SECRET_LEN * 8).div_ceil(6) && text.starts_with(prefix);
    plausible.then(|| Sha256::digest(text.as_bytes()).into())
}

/// A new public id.
pub(crate) fn random_id() -> Result<String, getrandom::Error> {
    let mut octets = [0; ID_LEN];
    getrandom::fill(&mut octets)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

/// Whether a label keeps its limits.
pub(crate) fn check_label(label: Option<&String>) -> Result<(), TokenError> {
    if label.is_some_and(|label| label.len() > MAX_TOKEN_LABEL || label.chars().any(char::is_control)) {
        return Err(TokenError::Limit("a label has at most 100 octets and no control characters"));
    }
    Ok(())
}

impl NewToken {
    /// Whether it keeps the limits on one token.
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        if let Scope::Nodes(names) = &self.scope
            && (names.is_empty() || names.len() > MAX_SCOPE_NAMES)
        {
            return Err(TokenError::Limit("a token has 1 to 100 names"));
        }
        if self.rights.is_empty() {
            return Err(TokenError::Limit("a token has at least one action"));
        }
        if self.sources.len() > MAX_TOKEN_SOURCES {
            return Err(TokenError::Limit("a token has at most 16 source networks"));
        }
        check_label(self.label.as_ref())
    }
}

/// Why a token or an invitation was not made, changed or ended.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It would break a limit: this one. Ask for less, or revoke others first.
    #[error("{0}")]
    Limit(&'static str),
    /// No token or invitation has this id, or this code.
    #[error("no token or invitation has this id or code")]
    Unknown,
    /// The name is somebody's already, or touches somebody's.
    #[error("the name belongs to somebody already")]
    Taken,
    /// Strangers made as many tokens as they may: an admin can invite.
    #[error("no more tokens are given to whoever asks")]
    Full,
    /// The same request was made already, under the same key: its answer is kept.
    #[error("this request was made already")]
    Repeated,
    /// The store failed; nothing changed.
    #[error(transparent)]
    Directory(#[from] crate::DirectoryError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_70_secrets() {
        let secret = TokenSecret::random().unwrap();
        assert_eq!(secret.expose().len(), 50);
        assert_eq!(URL_SAFE_NO_PAD.decode(&secret.expose()[7..]).unwrap().len(), 32, "256 bits");
        assert_ne!(secret, TokenSecret::random().unwrap());
        assert_eq!(hash_of_claimed(secret.expose()), Some(secret.hash()));
        assert_eq!(format!("{secret:?}"), "TokenSecret(..)");
        for text in ["", "tandem_", "tandem_x", &secret.expose()[1..], &format!("{}x", secret.expose())] {
            assert_eq!(hash_of_claimed(text), None, "{text}");
        }
    }

    #[test]
    fn ids_begin_with_anything_but_differ() {
        let ids: std::collections::HashSet<_> = (0..100).map(|_| random_id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 12));
    }

    #[test]
    fn rights_are_a_set() {
        let some: Rights = [Right::Read, Right::Publish, Right::Read].into_iter().collect();
        assert_eq!(some.iter().map(Right::as_str).collect::<Vec<_>>(), ["publish", "read"]);
        assert!(some.contains(Right::Read) && !some.contains(Right::Renew));
        assert_eq!(Right::OF_NODES.into_iter().collect::<Rights>(), Rights::ALL);
        assert!(Rights::from_iter([]).is_empty());
        assert!(Right::ALL.into_iter().all(|right| Right::parse(right.as_str()) == Some(right)));
    }

    #[test]
    fn what_each_role_may() {
        let name = DomainName::parse("a.test").unwrap();
        let limited = |rights: &[Right]| Actor {
            rights: rights.iter().copied().collect(),
            ..Actor::new("t", Scope::Nodes(vec![name.clone()]))
        };
        for (id, actor, may) in [
            ("admin", Actor::new("t", Scope::Admin), [true; 5]),
            ("read", Actor::new("t", Scope::Read), [false, false, false, true, false]),
            (
                "read, with numbers",
                Actor { rights: [Right::Numbers].into_iter().collect(), ..Actor::new("t", Scope::Read) },
                [false, false, false, true, true],
            ),
            ("node", limited(&Right::OF_NODES), [true, true, true, true, false]),
            ("node that renews", limited(&[Right::Renew]), [false, true, false, false, false]),
        ] {
            assert_eq!(Right::ALL.map(|right| actor.may(right)), may, "{id}");
        }
    }
}
