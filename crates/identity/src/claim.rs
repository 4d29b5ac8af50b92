//! What the holder of a key says to get a token for a domain: signed, for one challenge, and not for long.
//!
//! A proof in DNS is for everybody to see; only the key's holder can make this. It names the challenge's token, which each
//! directory draws for itself, so that what was said to one says nothing to another.

use tandem_model::DomainName;

use crate::canonical::{CanonicalError, CanonicalJson, Value};
use crate::challenge::ChallengeToken;
use crate::document::CLOCK_SKEW;
use crate::jws::{self, InvalidJws};
use crate::key::NodeKey;
use crate::public::{PublicKey, Thumbprint};

/// Longest time between `issued` and `expires`, in seconds.
pub const MAX_CLAIM_TERM: u64 = 600;

/// A claim on a domain's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The domain.
    pub domain: DomainName,
    /// The token of the domain's challenge.
    pub token: ChallengeToken,
    /// When it was signed, in seconds since 1970.
    pub issued: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

impl Claim {
    /// Signs it: the text of a flattened JWS, as documents are signed, with a type of its own.
    #[must_use]
    pub fn sign(&self, key: &NodeKey) -> String {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay below 2^53")]
        let number = |whole: u64| Value::Number(whole as f64);
        let payload = Value::object([
            ("domain", Value::text(self.domain.to_string())),
            ("expires", number(self.expires)),
            ("issued", number(self.issued)),
            ("token", Value::text(self.token.as_str())),
        ]);
        jws::sign(&CanonicalJson::write(&payload), jws::CLAIM, key)
    }

    /// Reads a signed claim and checks its signature, nothing else.
    ///
    /// # Errors
    ///
    /// [`ClaimError`]: it is none, or somebody altered it.
    pub fn verify(text: &[u8]) -> Result<UncheckedClaim, ClaimError> {
        let signed = jws::verify(text, jws::CLAIM).map_err(ClaimError::Jws)?;
        let value = Value::read(&signed.payload).map_err(ClaimError::Payload)?;
        if CanonicalJson::write(&value).as_str().as_bytes() != signed.payload {
            return Err(ClaimError::NotCanonical);
        }
        let mut members = value.into_members().ok_or(ClaimError::Payload(CanonicalError::NoObject))?;
        let mut text = |name| match members.remove(name) {
            Some(Value::Text(text)) => Ok(text),
            Some(_) | None => Err(ClaimError::Member(name)),
        };
        let (domain, token) = (text("domain")?, text("token")?);
        let mut whole = |name| members.remove(name).and_then(|value| value.as_whole()).ok_or(ClaimError::Member(name));
        let (issued, expires) = (whole("issued")?, whole("expires")?);
        if !members.is_empty() {
            return Err(ClaimError::Unknown);
        }
        let name = DomainName::parse(&domain).ok().filter(|name| name.to_string() == domain);
        let claim = Self {
            domain: name.ok_or(ClaimError::Member("domain"))?,
            token: token.parse().map_err(|_| ClaimError::Member("token"))?,
            issued,
            expires,
        };
        Ok(UncheckedClaim { claim, key: signed.key })
    }
}

/// A claim whose signature is good; for when, and for which challenge, is not looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a good signature alone says nothing: check time and token"]
pub struct UncheckedClaim {
    claim: Claim,
    key: PublicKey,
}

impl UncheckedClaim {
    /// The domain that it names.
    #[must_use]
    pub const fn domain(&self) -> &DomainName {
        &self.claim.domain
    }

    /// The key that signed it.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.key.thumbprint()
    }

    /// Checks that it is for the challenge with `token` and made for the time `now`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Time`], [`ClaimError::OtherChallenge`].
    pub fn check(&self, token: &str, now: u64) -> Result<(), ClaimError> {
        let Claim { issued, expires, .. } = self.claim;
        let is_term = expires.checked_sub(issued).is_some_and(|term| term <= MAX_CLAIM_TERM);
        if !is_term || issued > now.saturating_add(CLOCK_SKEW) || expires.saturating_add(CLOCK_SKEW) <= now {
            return Err(ClaimError::Time);
        }
        if self.claim.token.as_str() != token {
            return Err(ClaimError::OtherChallenge);
        }
        Ok(())
    }
}

/// Why a claim is refused.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The signature is not good, or not that of a claim.
    #[error("the signature is not good")]
    Jws(#[source] InvalidJws),
    /// What is signed cannot be read.
    #[error("what is signed is no JSON object")]
    Payload(#[source] CanonicalError),
    /// What is signed could be written in another way.
    #[error("what is signed is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// A member is missing, or is not what it has to be.
    #[error("the signed member {0:?} is missing or wrong")]
    Member(&'static str),
    /// There is a member that is not known.
    #[error("the claim has a member that is not known here")]
    Unknown,
    /// It is for another time.
    #[error("the claim is not of this moment: it holds for at most {MAX_CLAIM_TERM} s; look at the clocks")]
    Time,
    /// It is for another challenge.
    #[error("the claim is for another challenge: begin the proof anew and sign the token of that one")]
    OtherChallenge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::SignedDocument;

    const NOW: u64 = 1_790_000_000;

    fn claim() -> Claim {
        let token = ChallengeToken::new(&[7; 32]);
        Claim { domain: "example.org".parse().unwrap(), token, issued: NOW, expires: NOW + 60 }
    }

    #[test]
    fn a_claim_is_for_one_challenge_and_one_moment() {
        let key = NodeKey::generate().unwrap();
        let text = claim().sign(&key);
        let read = Claim::verify(text.as_bytes()).unwrap();
        assert_eq!(
            (read.domain().to_string().as_str(), read.thumbprint()),
            ("example.org", key.public_key().thumbprint())
        );
        let token = claim().token;
        for (now, good) in [
            (NOW, true),
            (NOW - CLOCK_SKEW, true),
            (NOW - CLOCK_SKEW - 1, false),
            (NOW + 60 + CLOCK_SKEW - 1, true),
            (NOW + 60 + CLOCK_SKEW, false),
        ] {
            assert_eq!(read.check(token.as_str(), now).is_ok(), good, "{now}");
        }
        let other = ChallengeToken::new(&[8; 32]);
        assert!(matches!(read.check(other.as_str(), NOW), Err(ClaimError::OtherChallenge)));
        let long = Claim { expires: NOW + MAX_CLAIM_TERM + 1, ..claim() }.sign(&key);
        assert!(matches!(Claim::verify(long.as_bytes()).unwrap().check(token.as_str(), NOW), Err(ClaimError::Time)));
    }

    /// Decision 13: a signature that the key made for something else is none here, and the other way round.
    #[test]
    fn a_claim_is_no_document() {
        let key = NodeKey::generate().unwrap();
        let document = SignedDocument {
            domain: "example.org".parse().unwrap(),
            serial: 1,
            issued: NOW,
            expires: NOW + 60,
            document: CanonicalJson::parse_object(b"{}").unwrap(),
            next_key: None,
        };
        let document = document.sign(&key).unwrap();
        assert!(matches!(Claim::verify(document.as_bytes()), Err(ClaimError::Jws(InvalidJws::Type(_)))));
        assert!(SignedDocument::verify(claim().sign(&key).as_bytes()).is_err());
        let altered = claim().sign(&key).replace("\"signature\":\"", "\"signature\":\"A");
        assert!(Claim::verify(altered.as_bytes()).is_err());
        assert!(Claim::verify(b"{}").is_err());
    }
}
