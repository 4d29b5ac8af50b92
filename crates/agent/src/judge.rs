//! Whom to believe: what the directory says of a member becomes a [`Member`], or is refused and the old one kept.
//!
//! The directory is trusted to say who is a member and in which state; what a member says it is not trusted to alter. A
//! member's first key is believed (or the operator's pin, and no other); from then on documents count only when that key
//! signed them, with serials that grow, until it names a successor. A key that nobody named is *held back* for as long as
//! the directory itself delays a reset ([`HOLD_SECONDS`]): shown in the status, logged, and believed only after that, so
//! that a directory in wrong hands cannot move calls unseen (decision 37). A pin ends the matter at once, either way.
//!
//! Pure: no clock, no IO.

use std::fmt;

use sha2::{Digest as _, Sha256};
use tandem_identity::{CLOCK_SKEW, SignedDocument, Thumbprint};
use tandem_model::{DomainName, Found, Node};

use crate::clock;
use crate::config::{KeyTrust, TrustConfig, UnsignedPolicy};
use crate::directory::MemberBody;
use crate::document::NodeDocument;
use crate::member::{KnownKey, Member, MemberState};

/// Seconds that an unannounced key is held back: the directory's own delay of a reset.
pub const HOLD_SECONDS: u64 = 3 * 86_400;

/// What is known of a domain before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory<'a> {
    /// The member.
    pub(crate) member: Option<&'a Member>,
    /// The key of one that is gone.
    pub(crate) former: Option<&'a KnownKey>,
    /// Which newcomer is held back, and since when.
    pub(crate) held: Option<(Newcomer, u64)>,
}

/// Who claims to speak for a domain now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomer {
    /// This key.
    Key(Thumbprint),
    /// Nobody signed.
    Unsigned,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Believed.
    Take(Member),
    /// Not believed; the member, if there is one, is as before, but for its state.
    Keep(Option<Member>, Refusal),
}

/// Why what the directory said of a member does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The signature is not good, or covers something else.
    Forged(Box<str>),
    /// An older document than the one that is known, or another with the same serial.
    RolledBack {
        /// What came.
        serial: u64,
        /// What is known.
        known: u64,
    },
    /// A newcomer that nobody announced; it counts from `until` on, in seconds since 1970.
    Held {
        /// Who.
        newcomer: Newcomer,
        /// Since when it was seen.
        since: u64,
        /// From when it counts.
        until: u64,
    },
    /// Not the key that the operator pinned.
    OtherThanPinned(Newcomer),
    /// Only pinned keys count, and there is no pin.
    NotPinned,
    /// Nobody signed, and that does not count here.
    Unsigned,
    /// It makes no node.
    Unreadable(Box<str>),
}

impl fmt::Display for Newcomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "a document signed by another key, {key}"),
            Self::Unsigned => f.write_str("a document that nobody signed, although its key had"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forged(why) => write!(f, "forged: {why}"),
            Self::RolledBack { serial, known } => write!(f, "an old document (serial {serial}) instead of {known}"),
            Self::Held { newcomer, until, .. } => {
                write!(f, "{newcomer}: unannounced, held back until {}", clock::text(*until))
            }
            Self::OtherThanPinned(newcomer) => write!(f, "{newcomer}: not the pinned one"),
            Self::NotPinned => f.write_str("only pinned keys are believed, and it has no pin"),
            Self::Unsigned => f.write_str("nobody signed it, and only signed documents are believed"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

/// Judges what the directory says of `domain` at `now`, in seconds since 1970.
pub(crate) fn judge(
    trust: &TrustConfig,
    domain: &DomainName,
    body: MemberBody,
    memory: Memory<'_>,
    now: u64,
) -> Verdict {
    let known_key = memory.member.and_then(|member| member.key.as_deref()).or(memory.former);
    // A state that is not known here is nobody to be called.
    let state = MemberState::parse(&body.state).unwrap_or(MemberState::Suspended);
    let reset_at = body.key.as_ref().and_then(|key| key.reset_at.as_deref()).and_then(clock::parse);
    let reset_at = reset_at.map(|at| {
        // However early the directory says that it may follow: from now on there is time to notice.
        let seen = known_key.and_then(|key| key.reset_at);
        seen.unwrap_or_else(|| at.max((now + HOLD_SECONDS).saturating_sub(CLOCK_SKEW)))
    });
    let member = |node: Option<Box<Node>>, key: Option<KnownKey>| Member {
        domain: domain.clone(),
        state,
        reason: body.reason.as_deref().map(Into::into),
        lease_until: clock::parse(&body.lease_until).unwrap_or(now),
        node,
        withheld: Box::default(),
        key: key.map(|key| Box::new(KnownKey { reset_at, ..key })),
    };
    if !state.is_served() {
        return Verdict::Take(member(None, known_key.cloned()));
    }
    let believed = match &body.signed {
        Some(text) => signed(trust, domain, text, known_key, memory.held, now),
        None => unsigned(trust, domain, known_key, memory.held, now).and_then(|()| {
            let document = body.node.ok_or_else(|| Refusal::Unreadable("the directory sent no document".into()))?;
            let document = document.with_numbers(body.numbers.unwrap_or_default());
            Ok((read(document, domain)?, None))
        }),
    };
    match believed {
        Ok((mut node, key)) => {
            // Of the document that is believed here: in the old one the places may be others'.
            node.found = Found::new(body.down, Vec::new());
            Verdict::Take(member(Some(Box::new(node)), key))
        }
        Err(refusal) => {
            let old = memory.member.filter(|old| old.node.is_some());
            Verdict::Keep(old.map(|old| member(old.node.clone(), known_key.cloned())), refusal)
        }
    }
}

fn read(document: NodeDocument, domain: &DomainName) -> Result<Node, Refusal> {
    document.into_node(domain.clone()).map_err(|error| Refusal::Unreadable(error.to_string().into()))
}

/// Judges a signed document.
fn signed(
    trust: &TrustConfig,
    domain: &DomainName,
    text: &str,
    known: Option<&KnownKey>,
    held: Option<(Newcomer, u64)>,
    now: u64,
) -> Result<(Node, Option<KnownKey>), Refusal> {
    let forged = |error: tandem_identity::VerifyError| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Refusal::Forged(format!("{error}{cause}").into())
    };
    let read_text = SignedDocument::verify(text.as_bytes()).map_err(forged)?;
    read_text.check_domain(domain).map_err(forged)?;
    read_text.check_time(now).map_err(forged)?;
    let document = read_text.document();
    let thumbprint = read_text.key().thumbprint();
    let newcomer = Newcomer::Key(thumbprint);
    let is_pinned = match (trust.pins.get(domain), trust.keys) {
        (Some(pin), _) if *pin == thumbprint => true,
        (Some(_), _) => return Err(Refusal::OtherThanPinned(newcomer)),
        (None, KeyTrust::Pinned) => return Err(Refusal::NotPinned),
        (None, KeyTrust::FirstUse) => false,
    };
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    if let Some(known) = known {
        let follows = known.thumbprint == thumbprint || known.next == Some(thumbprint);
        // A key that lost its domain and got it back begins anew only where somebody vouches for it.
        if follows && (document.serial < known.serial || (document.serial == known.serial && digest != known.digest)) {
            return Err(Refusal::RolledBack { serial: document.serial, known: known.serial });
        }
        let may_follow = follows || is_pinned || known.reset_at.is_some_and(|at| at <= now);
        if !may_follow {
            wait(newcomer, held, now)?;
        }
    }
    let node = NodeDocument::parse(document.document.as_str());
    let node = node.map_err(|error| Refusal::Unreadable(error.to_string().into()))?;
    let key = KnownKey { thumbprint, serial: document.serial, next: document.next_key, digest, reset_at: None };
    Ok((read(node, domain)?, Some(key)))
}

/// Judges that nobody signed.
fn unsigned(
    trust: &TrustConfig,
    domain: &DomainName,
    known: Option<&KnownKey>,
    held: Option<(Newcomer, u64)>,
    now: u64,
) -> Result<(), Refusal> {
    if trust.pins.contains_key(domain) {
        return Err(Refusal::OtherThanPinned(Newcomer::Unsigned));
    }
    match (trust.keys, trust.unsigned) {
        (KeyTrust::Pinned, _) => return Err(Refusal::NotPinned),
        (KeyTrust::FirstUse, UnsignedPolicy::Refuse) => return Err(Refusal::Unsigned),
        (KeyTrust::FirstUse, UnsignedPolicy::Accept) => {}
    }
    if known.is_some() { wait(Newcomer::Unsigned, held, now) } else { Ok(()) }
}

/// Lets a newcomer in only when it was seen long enough.
fn wait(newcomer: Newcomer, held: Option<(Newcomer, u64)>, now: u64) -> Result<(), Refusal> {
    let since = held.filter(|(who, _)| *who == newcomer).map_or(now, |(_, since)| since);
    let until = since + HOLD_SECONDS;
    if until <= now { Ok(()) } else { Err(Refusal::Held { newcomer, since, until }) }
}

#[cfg(test)]
mod tests;
