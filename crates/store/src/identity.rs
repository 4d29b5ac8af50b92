//! Which key may sign for a node: the rules that keep a name with the key that it has.
//!
//! A node begins without a key, or with the first one that signs for it. From then on only that key signs, with serials
//! that grow, until it names another, or until an admin's reset has come into force. The name remembers its key for as
//! long as it is held, also when the registration is withdrawn.

use crate::state::NodeIdentity;

/// Seconds from an admin's reset of a key until another key may sign: time for its holder to notice.
pub const KEY_RESET_SECONDS: u32 = 3 * 86_400;

/// A signed document whose signature has been checked: what it says of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key's thumbprint (RFC 7638).
    pub thumbprint: Box<str>,
    /// The serial in it.
    pub serial: u64,
    /// The thumbprint of the key that it names as the next.
    pub next: Option<Box<str>>,
    /// The signed document, octet for octet as it came.
    pub signed: Box<[u8]>,
}

/// What a registration brings along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// The signature; `None` for a document that nobody signed.
    pub(crate) signature: Option<&'a Signature>,
    /// Whether an admin registers.
    pub(crate) by_admin: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

impl Claim<'_> {
    /// The identity that the registration has afterwards, if it may follow `current`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says what the caller has to do.
    pub(crate) fn follow(&self, current: Option<&NodeIdentity>) -> Result<Option<NodeIdentity>, KeyError> {
        let Some(offered) = self.signature else {
            let Some(current) = current else { return Ok(None) };
            if !self.by_admin {
                return Err(KeyError::Unsigned);
            }
            // What is served now is no longer what the key signed; the key stays, and its serial.
            return Ok(Some(NodeIdentity { signed: Box::default(), ..current.clone() }));
        };
        let identity = |reset_at| NodeIdentity {
            thumbprint: offered.thumbprint.clone(),
            serial: offered.serial,
            next: offered.next.clone(),
            signed: offered.signed.clone(),
            reset_at,
        };
        let Some(current) = current else { return Ok(Some(identity(None))) };
        let is_reset = current.reset_at.is_some_and(|at| at <= self.now);
        if offered.thumbprint != current.thumbprint && current.next.as_ref() != Some(&offered.thumbprint) && !is_reset {
            return Err(KeyError::OtherKey);
        }
        // The same octets again are no news; anything else with an old serial is a replay.
        if offered.serial <= current.serial && offered.signed != current.signed {
            return Err(KeyError::OldSerial { last: current.serial });
        }
        // A key that still signs needs no reset, and its holder has noticed.
        Ok(Some(identity(None)))
    }
}

/// Why a key may not sign for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The node has a key: sign with it.
    #[error("this node's document is signed with its key: an unsigned one is refused")]
    Unsigned,
    /// Another key signs for this node.
    #[error("another key signs for this node: only that key, or an admin, can name a new one")]
    OtherKey,
    /// Not newer than what is known.
    #[error("the signed serial is not above {last}, the last one")]
    OldSerial {
        /// The last one.
        last: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn signature(key: &str, serial: u64) -> Signature {
        let signed = format!("{key} {serial}").into_bytes().into();
        Signature { thumbprint: key.into(), serial, next: None, signed }
    }

    fn identity(next: Option<&str>, reset_at: Option<u64>) -> NodeIdentity {
        let Signature { thumbprint, serial, signed, .. } = signature("a", 5);
        NodeIdentity { thumbprint, serial, next: next.map(Into::into), signed, reset_at }
    }

    #[test]
    fn keys_follow_one_another() {
        let plain = || identity(None, None);
        let named = || identity(Some("b"), None);
        for (id, current, offered, expected) in [
            ("the first key", None, signature("a", 0), Ok(0)),
            ("the same key", Some(plain()), signature("a", 6), Ok(6)),
            ("the same octets", Some(plain()), signature("a", 5), Ok(5)),
            ("a replay", Some(plain()), signature("a", 4), Err(KeyError::OldSerial { last: 5 })),
            ("another key", Some(plain()), signature("b", 6), Err(KeyError::OtherKey)),
            ("the named key", Some(named()), signature("b", 6), Ok(6)),
            ("the old key, after it named one", Some(named()), signature("a", 6), Ok(6)),
            (
                "the named key with an old serial",
                Some(named()),
                signature("b", 5),
                Err(KeyError::OldSerial { last: 5 }),
            ),
            ("a third key", Some(named()), signature("c", 6), Err(KeyError::OtherKey)),
            ("before the reset holds", Some(identity(None, Some(NOW + 1))), signature("b", 6), Err(KeyError::OtherKey)),
            ("the reset holds", Some(identity(None, Some(NOW))), signature("b", 6), Ok(6)),
            (
                "the reset holds, an old serial",
                Some(identity(None, Some(NOW))),
                signature("b", 5),
                Err(KeyError::OldSerial { last: 5 }),
            ),
        ] {
            for by_admin in [false, true] {
                // An admin stands above tokens, not above keys.
                let claim = Claim { signature: Some(&offered), by_admin, now: NOW };
                let followed = claim.follow(current.as_ref());
                assert_eq!(
                    followed.as_ref().map(|found| found.as_ref().unwrap().serial),
                    expected.as_ref().copied(),
                    "{id}"
                );
                if let Ok(Some(found)) = followed {
                    assert_eq!((&found.signed, found.reset_at), (&offered.signed, None), "{id}");
                }
            }
        }
    }

    #[test]
    fn unsigned_documents() {
        let claim = |by_admin| Claim { signature: None, by_admin, now: NOW };
        assert_eq!(claim(false).follow(None), Ok(None));
        assert_eq!(claim(false).follow(Some(&identity(None, None))), Err(KeyError::Unsigned));
        let kept = claim(true).follow(Some(&identity(Some("b"), Some(7)))).unwrap().unwrap();
        assert_eq!(kept, NodeIdentity { signed: Box::default(), ..identity(Some("b"), Some(7)) });
        // The signed document of before brings nothing back: its serial is old, and its octets are gone.
        let old = signature("a", 5);
        let replay = Claim { signature: Some(&old), by_admin: false, now: NOW };
        assert_eq!(replay.follow(Some(&kept)), Err(KeyError::OldSerial { last: 5 }));
    }
}
