//! What ties a proof of a domain to a key: token, key authorisation, digest (RFC 8555 8.1; API-60 to API-62).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::base64url;
use crate::public::Thumbprint;

/// Octets of randomness of a token that we make: twice the 128 bits of RFC 8555 11.3.
const TOKEN_OCTETS: usize = 32;
/// Fewest octets of any token (RFC 8555 8.3).
const MIN_TOKEN_OCTETS: usize = 16;
/// Most octets of a token that we take from elsewhere.
const MAX_TOKEN_OCTETS: usize = 64;

/// What the directory gives to the one who has to prove something: random, used once (API-60).
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeToken(Box<str>);

impl ChallengeToken {
    /// Makes one of `random`, which comes from a secure generator.
    #[must_use]
    pub fn new(random: &[u8; TOKEN_OCTETS]) -> Self {
        Self(base64url().encode(random).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChallengeToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let octets = base64url().decode(text).map_err(|_| InvalidToken)?;
        if !(MIN_TOKEN_OCTETS..=MAX_TOKEN_OCTETS).contains(&octets.len()) {
            return Err(InvalidToken);
        }
        Ok(Self(text.into()))
    }
}

/// Not the text: a token is nobody else's business until it is used (API-84).
impl fmt::Debug for ChallengeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeToken(..)")
    }
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a challenge token is 16 to 64 octets in base64url, without padding")]
pub struct InvalidToken;

/// The token and the key's thumbprint together: who shows it has both (API-61, RFC 8555 8.1).
#[derive(Clone, PartialEq, Eq)]
pub struct KeyAuthorization(String);

impl KeyAuthorization {
    /// `token` `.` `thumbprint`.
    #[must_use]
    pub fn new(token: &ChallengeToken, key: Thumbprint) -> Self {
        Self(format!("{}.{key}", token.0))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the text: what the certificate of the TLS challenge carries (API-64, RFC 8737 3).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The digest in base64url: what a TXT record carries (API-62, RFC 8555 8.4).
    #[must_use]
    pub fn txt_value(&self) -> String {
        base64url().encode(self.digest())
    }
}

impl fmt::Debug for KeyAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyAuthorization(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of API-61 and API-62: the token of RFC 8555 8.3 and the key of RFC 7638 3.1.
    #[test]
    fn vector_api_61_api_62() {
        let token: ChallengeToken = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA".parse().unwrap();
        let key: Thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".parse().unwrap();
        let authorization = KeyAuthorization::new(&token, key);
        let text = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(authorization.as_str(), text);
        assert_eq!(authorization.txt_value(), "ZTRx1Ckl1-tM05o5zaizTTA0yUy5AGereMgSNWC6Ll8");
        assert_eq!(base64url().encode(authorization.digest()), authorization.txt_value());
    }

    #[test]
    fn tokens_api_60() {
        let token = ChallengeToken::new(&[7; 32]);
        assert_eq!(token.as_str().parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("BwcH"));
        for text in ["", "short", &"A".repeat(87), "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA=", "a.b"] {
            assert_eq!(text.parse::<ChallengeToken>(), Err(InvalidToken), "{text}");
        }
    }
}
