//! The public half of a node's key, and the name that it goes by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::base64url;

/// Octets of an Ed25519 public key (RFC 8032 5.1.5).
const KEY_LEN: usize = 32;

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Takes the 32 octets of RFC 8032 5.1.2.
    #[must_use]
    pub const fn from_octets(octets: [u8; KEY_LEN]) -> Self {
        Self(octets)
    }

    /// Reads the member `x` of a JWK (RFC 8037 2): base64url without padding.
    ///
    /// # Errors
    ///
    /// [`InvalidPublicKey`]: the text is not 32 octets.
    pub fn from_x(text: &str) -> Result<Self, InvalidPublicKey> {
        let octets = base64url().decode(text).map_err(|_| InvalidPublicKey)?;
        Ok(Self(octets.try_into().map_err(|_| InvalidPublicKey)?))
    }

    /// The 32 octets.
    #[must_use]
    pub const fn as_octets(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The member `x` of the key's JWK.
    #[must_use]
    pub fn x(&self) -> String {
        base64url().encode(self.0)
    }

    /// The key as a JWK: the required members of an octet key pair in the order of RFC 7638 3.2, so canonical too.
    #[must_use]
    pub fn to_jwk(&self) -> String {
        format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x())
    }

    /// The name of the key (RFC 7638 3, RFC 8037 appendix A.3).
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint(Sha256::digest(self.to_jwk()).into())
    }

    /// Whether `signature` is this key's over `message` (RFC 8032 5.1.7).
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

/// Its JWK.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_jwk())
    }
}

/// A text that is no Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an Ed25519 public key is 32 octets, written as 43 characters of base64url")]
pub struct InvalidPublicKey;

/// The SHA-256 thumbprint of a public key (RFC 7638), written as 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The 32 octets of the digest.
    #[must_use]
    pub const fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Thumbprint {
    type Err = InvalidThumbprint;

    fn from_str(text: &str) -> Result<Self, InvalidThumbprint> {
        let octets = base64url().decode(text).map_err(|_| InvalidThumbprint)?;
        Ok(Self(octets.try_into().map_err(|_| InvalidThumbprint)?))
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url().encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is no thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's thumbprint is 43 characters of base64url (letters, digits, '-', '_'), without padding")]
pub struct InvalidThumbprint;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2 and A.3.
    #[test]
    fn thumbprint_of_rfc_8037() {
        let key = PublicKey::from_x("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let jwk = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(key.to_jwk(), jwk);
        assert_eq!(key.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.thumbprint().to_string().parse(), Ok(key.thumbprint()));
    }

    #[test]
    fn one_text_for_each_key() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for (why, text) in [
            ("short", x[1..].to_owned()),
            ("long", format!("{x}AA")),
            ("padded", format!("{x}=")),
            ("odd final bits", x.replace("URo", "URp")),
            ("the other alphabet", x.replace('_', "/")),
            ("a space", format!(" {x}")),
            ("empty", String::new()),
        ] {
            assert_eq!(PublicKey::from_x(&text), Err(InvalidPublicKey), "{why}");
            assert_eq!(text.parse::<Thumbprint>(), Err(InvalidThumbprint), "{why}");
        }
    }
}
