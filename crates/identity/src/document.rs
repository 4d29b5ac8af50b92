//! What a node says about itself, signed by its key: for which domain, in which order, until when.

use tandem_model::DomainName;

use crate::canonical::{CanonicalError, CanonicalJson, MAX_TEXT, MAX_WHOLE, Value};
use crate::jws::{self, InvalidJws, MAX_JWS};
use crate::key::NodeKey;
use crate::public::{PublicKey, Thumbprint};

/// The largest serial: the largest whole number that JSON carries safely (RFC 7493 2.2).
pub const MAX_SERIAL: u64 = MAX_WHOLE;
/// How far the clocks of signer and reader may be apart, in seconds.
pub const CLOCK_SKEW: u64 = 300;
/// Longest time from `issued` to `expires`, in seconds: 400 days. A key that is lost or leaks ends by itself.
pub const MAX_VALIDITY: u64 = 400 * 86_400;

/// A node's document, with what makes it this node's and this moment's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// The node's domain.
    pub domain: DomainName,
    /// Grows with each document of this domain, whatever the key; at most [`MAX_SERIAL`].
    pub serial: u64,
    /// When it was signed, in seconds since 1970 UTC.
    pub issued: u64,
    /// When it ends, in seconds since 1970 UTC: after `issued`, by at most [`MAX_VALIDITY`].
    pub expires: u64,
    /// The node document, an object as the API takes it.
    pub document: CanonicalJson,
    /// The key that may sign from now on too: how a node changes its key.
    pub next_key: Option<Thumbprint>,
}

impl SignedDocument {
    /// Signs the document: a flattened JWS (RFC 7515 7.2.2) whose payload is canonical JSON (RFC 8785).
    ///
    /// # Errors
    ///
    /// [`SignError`]: a reader would refuse it.
    pub fn sign(&self, key: &NodeKey) -> Result<String, SignError> {
        if !is_term(self.issued, self.expires) {
            return Err(SignError::Term);
        }
        if self.serial > MAX_SERIAL {
            return Err(SignError::Serial);
        }
        let text = jws::sign(&CanonicalJson::write(&self.to_value()?), jws::DOCUMENT, key);
        if text.len() > MAX_JWS { Err(SignError::TooLong) } else { Ok(text) }
    }

    /// Checks the signature with the key that the text names itself, and takes the text apart.
    ///
    /// Whose key that is, which domain is meant and what time it is are the caller's to check, with the methods of
    /// [`UntrustedDocument`]: nothing is believed before.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Jws`] for the signature, [`VerifyError::Payload`] and [`VerifyError::Member`] for what it covers.
    pub fn verify(text: &[u8]) -> Result<UntrustedDocument, VerifyError> {
        let signed = jws::verify(text, jws::DOCUMENT).map_err(VerifyError::Jws)?;
        let value = Value::read(&signed.payload).map_err(VerifyError::Payload)?;
        // One document has one text, so that two directories keep and compare the same octets.
        if CanonicalJson::write(&value).as_str().as_bytes() != signed.payload {
            return Err(VerifyError::NotCanonical);
        }
        Ok(UntrustedDocument { document: Self::from_value(value)?, key: signed.key })
    }

    fn to_value(&self) -> Result<Value, SignError> {
        #[expect(clippy::cast_precision_loss, reason = "at most 2^53 - 1: checked by the caller")]
        let number = |whole: u64| Value::Number(whole as f64);
        let document = Value::read(self.document.as_str().as_bytes()).map_err(SignError::Document)?;
        if !matches!(document, Value::Object(_)) {
            return Err(SignError::Document(CanonicalError::NoObject));
        }
        let members = [
            ("document", document),
            ("domain", Value::text(self.domain.to_string())),
            ("expires", number(self.expires)),
            ("issued", number(self.issued)),
            ("serial", number(self.serial)),
        ];
        let next = self.next_key.map(|key| Value::text(key.to_string()));
        Ok(match next {
            None => Value::object(members),
            Some(next) => {
                let [a, b, c, d, e] = members;
                Value::object([a, b, c, d, e, ("next_key", next)])
            }
        })
    }

    fn from_value(value: Value) -> Result<Self, VerifyError> {
        let mut members = value.into_members().ok_or(VerifyError::Payload(CanonicalError::NoObject))?;
        let domain = match members.remove("domain") {
            Some(Value::Text(text)) => {
                // The name as everybody writes it, so that it needs no reading to be compared.
                DomainName::parse(&text).ok().filter(|domain| domain.to_string() == text)
            }
            _ => None,
        };
        let mut whole = |name| members.remove(name).and_then(|value| value.as_whole()).ok_or(VerifyError::Member(name));
        let (serial, issued, expires) = (whole("serial")?, whole("issued")?, whole("expires")?);
        if !is_term(issued, expires) {
            return Err(VerifyError::Member("expires"));
        }
        let document = match members.remove("document") {
            Some(value @ Value::Object(_)) => CanonicalJson::write(&value),
            _ => return Err(VerifyError::Member("document")),
        };
        let next_key = match members.remove("next_key") {
            None => None,
            Some(Value::Text(text)) => Some(text.parse().map_err(|_| VerifyError::Member("next_key"))?),
            Some(_) => return Err(VerifyError::Member("next_key")),
        };
        if let Some(name) = members.keys().next() {
            return Err(VerifyError::Unknown(name.chars().take(32).collect::<String>().into()));
        }
        Ok(Self { domain: domain.ok_or(VerifyError::Member("domain"))?, serial, issued, expires, document, next_key })
    }
}

/// Whether these can be a document's two times.
fn is_term(issued: u64, expires: u64) -> bool {
    expires <= MAX_WHOLE && expires.checked_sub(issued).is_some_and(|term| (1..=MAX_VALIDITY).contains(&term))
}

/// A document whose signature is good, by a key of which nothing else is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a good signature alone says nothing: check domain, key and time"]
pub struct UntrustedDocument {
    document: SignedDocument,
    key: PublicKey,
}

impl UntrustedDocument {
    /// Checks that the document speaks for `domain`.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherDomain`].
    pub fn check_domain(&self, domain: &DomainName) -> Result<(), VerifyError> {
        if self.document.domain == *domain {
            return Ok(());
        }
        Err(VerifyError::OtherDomain { signed: self.document.domain.clone(), asked: domain.clone() })
    }

    /// Checks that the key with this thumbprint signed it.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherKey`].
    pub fn check_key(&self, key: Thumbprint) -> Result<(), VerifyError> {
        let signed = self.key.thumbprint();
        if signed == key { Ok(()) } else { Err(VerifyError::OtherKey { signed, known: key }) }
    }

    /// Checks that it holds at `now`, in seconds since 1970 UTC; clocks may differ by [`CLOCK_SKEW`] at its begin.
    ///
    /// # Errors
    ///
    /// [`VerifyError::NotYet`], [`VerifyError::Expired`].
    pub fn check_time(&self, now: u64) -> Result<(), VerifyError> {
        if self.document.issued > now.saturating_add(CLOCK_SKEW) {
            return Err(VerifyError::NotYet { issued: self.document.issued });
        }
        if self.document.expires <= now {
            return Err(VerifyError::Expired { expires: self.document.expires });
        }
        Ok(())
    }

    /// All three checks: the document is `domain`'s, by the key `key`, and holds at `now`.
    ///
    /// # Errors
    ///
    /// Those of the three.
    pub fn check(self, domain: &DomainName, key: Thumbprint, now: u64) -> Result<VerifiedDocument, VerifyError> {
        self.check_domain(domain)?;
        self.check_key(key)?;
        self.check_time(now)?;
        Ok(VerifiedDocument { document: self.document, key: self.key })
    }

    /// What it says.
    #[must_use]
    pub const fn document(&self) -> &SignedDocument {
        &self.document
    }

    /// The key that signed it.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// A document that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDocument {
    /// What it says.
    pub document: SignedDocument,
    /// The key that signed it.
    pub key: PublicKey,
}

/// Why a document cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It ends before it begins, or too late.
    #[error("a document ends after it was issued, by at most {} days", MAX_VALIDITY / 86_400)]
    Term,
    /// The serial is too large.
    #[error("the serial is more than {MAX_SERIAL}")]
    Serial,
    /// The node document is no object.
    #[error("the node document is no JSON object")]
    Document(#[source] CanonicalError),
    /// Signed it would be longer than the API takes.
    #[error("the signed document is longer than {MAX_TEXT} octets")]
    TooLong,
}

/// Why a signed document is refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The signature, or what is around it: sign again.
    #[error("the signature is not good")]
    Jws(#[source] InvalidJws),
    /// What is signed is no JSON object.
    #[error("what is signed is no JSON object")]
    Payload(#[source] CanonicalError),
    /// What is signed is written in another way than RFC 8785 has it.
    #[error("what is signed is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// A member is missing or wrong.
    #[error("the signed member {0:?} is missing or wrong")]
    Member(&'static str),
    /// A member that nobody knows.
    #[error("the signed member {0:?} is not known")]
    Unknown(Box<str>),
    /// It speaks for another domain.
    #[error("the document is for {signed}, not for {asked}")]
    OtherDomain {
        /// The one that it names.
        signed: DomainName,
        /// The one that was asked for.
        asked: DomainName,
    },
    /// Another key made it.
    #[error("the document is signed by key {signed}, not by the domain's key {known}")]
    OtherKey {
        /// The one that made it.
        signed: Thumbprint,
        /// The one that is known.
        known: Thumbprint,
    },
    /// It begins in the future: set the signer's clock.
    #[error("the document is issued in the future (at {issued} seconds since 1970): look at the clocks")]
    NotYet {
        /// When it begins.
        issued: u64,
    },
    /// It has ended: sign a new one.
    #[error("the document has expired (at {expires} seconds since 1970)")]
    Expired {
        /// When it ended.
        expires: u64,
    },
}

#[cfg(test)]
mod tests;
