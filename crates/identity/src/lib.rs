//! Who a node is: its key, the documents that the key signs, and the tokens that tie a proof of a domain to it.
//!
//! A node has one Ed25519 key, known by its thumbprint (RFC 7638). What it publishes is a [`SignedDocument`]: canonical
//! JSON (RFC 8785) in a JSON Web Signature (RFC 7515, RFC 8037), so that anybody who has the bytes and the thumbprint can
//! check who said it, for which domain, in which order and until when. A [`KeyAuthorization`] is what a challenge makes
//! a domain's owner show.
//!
//! No IO and no clock: keys come and go as PEM text, times are seconds since 1970 and arguments. Start at
//! [`SignedDocument::verify`].
//!
//! ```
//! use tandem_identity::{CanonicalJson, NodeKey, SignedDocument};
//!
//! let key = NodeKey::generate()?;
//! let document = SignedDocument {
//!     domain: "debug.ostel.me".parse()?,
//!     serial: 1,
//!     issued: 1_790_000_000,
//!     expires: 1_797_000_000,
//!     document: CanonicalJson::parse_object(br#"{"targets":[{"host":"sip.ostel.me","port":5061}]}"#)?,
//!     next_key: None,
//! };
//! let bytes = document.sign(&key)?;
//! let verified = SignedDocument::verify(bytes.as_bytes())?;
//! verified.check_domain(&"debug.ostel.me".parse()?)?;
//! verified.check_key(key.public_key().thumbprint())?;
//! verified.check_time(1_790_000_100)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod canonical;
mod challenge;
mod claim;
mod document;
mod jws;
mod key;
mod number;
mod public;

pub use canonical::{CanonicalError, CanonicalJson, MAX_NESTING, MAX_TEXT};
pub use challenge::{ChallengeToken, InvalidToken, KeyAuthorization};
pub use claim::{Claim, ClaimError, MAX_CLAIM_TERM, UncheckedClaim};
pub use document::{
    CLOCK_SKEW, MAX_SERIAL, MAX_VALIDITY, SignError, SignedDocument, UntrustedDocument, VerifiedDocument, VerifyError,
};
pub use jws::{InvalidJws, MAX_JWS};
pub use key::{KeyError, NodeKey};
pub use public::{InvalidPublicKey, InvalidThumbprint, PublicKey, Thumbprint};

/// base64url without padding (RFC 7515 2); one text for each octet string: odd final bits are refused.
fn base64url() -> base64::engine::GeneralPurpose {
    use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false);
    base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, config)
}
