//! A node's secret key, and the text that it is kept as.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::{self, PemObject as _};

use crate::public::PublicKey;

/// Characters of one line of PEM (RFC 7468 2).
const PEM_LINE: usize = 64;
/// Most octets of a file that can be a key: some text before the PEM block is allowed (RFC 7468 2).
const MAX_PEM: usize = 16 * 1024;

/// An Ed25519 key pair: who holds it is the node. Never shown by `Debug`.
pub struct NodeKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl NodeKey {
    /// Makes a new key with the system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`]: the system gave none.
    pub fn generate() -> Result<Self, KeyError> {
        Self::new(Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?)
    }

    /// Reads a PKCS #8 file as [`to_pem`](Self::to_pem) and `openssl genpkey -algorithm ed25519` write it (RFC 8410 7,
    /// RFC 7468 10).
    ///
    /// # Errors
    ///
    /// [`KeyError::Pem`] or [`KeyError::Kind`]: the file is not such a key, and stays as it is.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > MAX_PEM {
            return Err(KeyError::Pem(None));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|error| KeyError::Pem(Some(error)))?;
        Self::new(Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::Kind)?)
    }

    fn new(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let octets = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Kind)?;
        Ok(Self { public: PublicKey::from_octets(octets), pair })
    }

    /// The key as PKCS #8 in PEM: a secret, to be kept in a file that nobody else can read.
    ///
    /// # Errors
    ///
    /// [`KeyError::Write`]: the library cannot write it.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        // Version 1, without the public key: OpenSSL before 3.5 reads no other.
        let der = self.pair.to_pkcs8v1().map_err(|_| KeyError::Write)?;
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let mut pem = String::with_capacity(text.len() + 64);
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(PEM_LINE));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// The half that everybody may know.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The 64 octets of RFC 8032 5.1.6.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// The thumbprint alone.
impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeKey").field(&self.public.thumbprint()).finish()
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No random numbers: nothing was made.
    #[error("the system gave no random numbers for a key")]
    Random,
    /// Not the text of a key.
    #[error("it is no private key in PEM (PKCS #8: \"BEGIN PRIVATE KEY\")")]
    Pem(#[source] Option<pem::Error>),
    /// A key of another kind, or damaged.
    #[error("it is no Ed25519 private key: make one with `openssl genpkey -algorithm ed25519`")]
    Kind,
    /// The library refused to give the key out.
    #[error("the key cannot be written")]
    Write,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 10.3, the first key; the public half is the one of its section 10.1.
    const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn key_of_rfc_8410() {
        let key = NodeKey::from_pem(RFC_8410.as_bytes()).unwrap();
        assert_eq!(key.public_key().x(), "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert_eq!(key.to_pem().unwrap(), RFC_8410);
    }

    #[test]
    fn new_keys_survive_their_file() {
        let key = NodeKey::generate().unwrap();
        let pem = key.to_pem().unwrap();
        let again = NodeKey::from_pem(format!("my node\n{pem}").as_bytes()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_ne!(NodeKey::generate().unwrap().public_key(), key.public_key());
        assert!(key.public_key().has_signed(b"text", &again.sign(b"text")));
        assert!(!format!("{key:?}").contains(&pem[28..60]));
    }

    #[test]
    fn other_files_are_refused() {
        let x25519 = RFC_8410.replace("BQYDK2Vw", "BQYDK2Vu");
        for text in ["", "garbage", &RFC_8410.replace("PRIVATE KEY", "EC PRIVATE KEY"), &"x".repeat(MAX_PEM + 1)] {
            assert!(matches!(NodeKey::from_pem(text.as_bytes()), Err(KeyError::Pem(_))), "{text:.40}");
        }
        // Keys of other kinds.
        let p256 = "-----BEGIN PRIVATE KEY-----\n\
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAAAAAAAAAAAAAAAA\n\
            AAAAAAAAAAAAAAAAAAAAAAAAAAGhRANCAARrF9Hy4SxCR/i85uVjpEDydwN9gS3r\n\
            M6D0oTlF2JjClk/jQuL+Gn+bjufrSnwPnhYrzjNXazFezsu2QGg3v1H1\n\
            -----END PRIVATE KEY-----\n";
        for text in [&x25519, p256] {
            assert!(matches!(NodeKey::from_pem(text.as_bytes()), Err(KeyError::Kind)), "{text}");
        }
    }
}
