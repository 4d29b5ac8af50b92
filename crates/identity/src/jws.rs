//! JSON Web Signatures as documents use them: flattened JSON, Ed25519, one header, nothing optional (RFC 7515, 8037).
//!
//! Most faults found in JWS libraries come from choices that the signed text makes for its reader: the algorithm, the
//! key's place, extensions. There is nothing to choose here: any other header is refused.

use std::collections::BTreeMap;

use base64::Engine as _;

use crate::base64url;
use crate::canonical::{CanonicalError, CanonicalJson, MAX_TEXT, Value};
use crate::key::NodeKey;
use crate::public::PublicKey;

/// Most octets of a signature with its payload: base64url makes a third more of it, and the header comes on top.
pub const MAX_JWS: usize = MAX_TEXT;
/// The one algorithm (RFC 8037 3.1); with an Ed25519 key it is Ed25519.
const ALGORITHM: &str = "EdDSA";
/// What is signed (RFC 7515 4.1.9): the same key's signature over anything else never passes for a document.
pub(crate) const DOCUMENT: &str = "tandem-document+json";
/// The type of a claim on a token, which is not to be kept.
pub(crate) const CLAIM: &str = "tandem-claim+json";

/// What a good signature covers, and the key that made it.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) payload: Vec<u8>,
    pub(crate) key: PublicKey,
}

/// Signs `payload`: the text of a flattened JWS (RFC 7515 7.2.2), canonical itself.
pub(crate) fn sign(payload: &CanonicalJson, kind: &str, key: &NodeKey) -> String {
    let public = key.public_key();
    let jwk = [("crv", Value::text("Ed25519")), ("kty", Value::text("OKP")), ("x", Value::text(public.x()))];
    let header = CanonicalJson::write(&Value::object([
        ("alg", Value::text(ALGORITHM)),
        ("jwk", Value::object(jwk)),
        ("kid", Value::text(public.thumbprint().to_string())),
        ("typ", Value::text(kind)),
    ]));
    let (protected, payload) = (base64url().encode(header.as_str()), base64url().encode(payload.as_str()));
    // RFC 7515 5.1 step 5.
    let signature = key.sign(format!("{protected}.{payload}").as_bytes());
    let members = [
        ("payload", Value::text(payload)),
        ("protected", Value::text(protected)),
        ("signature", Value::text(base64url().encode(signature))),
    ];
    CanonicalJson::write(&Value::object(members)).to_string()
}

/// Checks a signature with the key that it names itself: whose that is, is for the caller to know.
///
/// # Errors
///
/// [`InvalidJws`] says what is wrong.
pub(crate) fn verify(text: &[u8], kind: &'static str) -> Result<Signed, InvalidJws> {
    if text.len() > MAX_JWS {
        return Err(InvalidJws::Json(CanonicalError::TooLong));
    }
    let value = Value::read(text).map_err(InvalidJws::Json)?;
    let mut members = value.into_members().ok_or(InvalidJws::Json(CanonicalError::NoObject))?;
    let protected = take_text(&mut members, "protected")?;
    let payload = take_text(&mut members, "payload")?;
    let signature = take_text(&mut members, "signature")?;
    // `header`, which nobody signs, and the `signatures` of the general form too.
    nothing_left(&members)?;
    let decode = |member, text: &str| base64url().decode(text).map_err(|_| InvalidJws::NoBase64(member));
    let key = header(&decode("protected", &protected)?, kind)?;
    let signature = decode("signature", &signature)?;
    if !key.has_signed(format!("{protected}.{payload}").as_bytes(), &signature) {
        return Err(InvalidJws::Signature);
    }
    Ok(Signed { payload: decode("payload", &payload)?, key })
}

/// Reads the protected header: the key, if everything else is as it must be.
fn header(text: &[u8], kind: &'static str) -> Result<PublicKey, InvalidJws> {
    let value = Value::read(text).map_err(InvalidJws::Header)?;
    let mut members = value.into_members().ok_or(InvalidJws::Header(CanonicalError::NoObject))?;
    let algorithm = take_text(&mut members, "alg")?;
    if algorithm != ALGORITHM {
        return Err(InvalidJws::Algorithm(shortened(&algorithm)));
    }
    // RFC 7515 4.1.11: what is critical is not known here; RFC 7797: the payload is always encoded.
    if let Some(&member) = ["crit", "b64"].iter().find(|&&member| members.contains_key(member)) {
        return Err(InvalidJws::Extension(member));
    }
    if take_text(&mut members, "typ")? != kind {
        return Err(InvalidJws::Type(kind));
    }
    let jwk = members.remove("jwk").ok_or(InvalidJws::Missing("jwk"))?;
    let mut jwk = jwk.into_members().ok_or(InvalidJws::Key)?;
    let key = PublicKey::from_x(&take_text(&mut jwk, "x")?).map_err(|_| InvalidJws::Key)?;
    // RFC 8037 2. A JWK with any other member, above all the secret "d", is refused.
    if take_text(&mut jwk, "kty")? != "OKP" || take_text(&mut jwk, "crv")? != "Ed25519" || !jwk.is_empty() {
        return Err(InvalidJws::Key);
    }
    if take_text(&mut members, "kid")? != key.thumbprint().to_string() {
        return Err(InvalidJws::KeyId);
    }
    nothing_left(&members)?;
    Ok(key)
}

fn take_text(members: &mut BTreeMap<String, Value>, name: &'static str) -> Result<String, InvalidJws> {
    match members.remove(name) {
        Some(Value::Text(text)) => Ok(text),
        Some(_) => Err(InvalidJws::NoText(name)),
        None => Err(InvalidJws::Missing(name)),
    }
}

fn nothing_left(members: &BTreeMap<String, Value>) -> Result<(), InvalidJws> {
    members.keys().next().map_or(Ok(()), |name| Err(InvalidJws::Unknown(shortened(name))))
}

/// As much of a stranger's text as an error repeats.
fn shortened(text: &str) -> Box<str> {
    text.chars().take(32).collect::<String>().into()
}

/// Why a text is no good signature: whoever signed it has to do it again.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJws {
    /// Not a JSON object, or too large.
    #[error("the signed document is no flattened JWS (RFC 7515 7.2.2)")]
    Json(#[source] CanonicalError),
    /// The protected header is no JSON object.
    #[error("the protected header is no JSON object")]
    Header(#[source] CanonicalError),
    /// A member is not there.
    #[error("the member {0:?} is missing")]
    Missing(&'static str),
    /// A member is not a string.
    #[error("the member {0:?} is not a string")]
    NoText(&'static str),
    /// A member is not base64url without padding.
    #[error("the member {0:?} is not base64url without padding")]
    NoBase64(&'static str),
    /// A member that has no place here.
    #[error("the member {0:?} is not known here")]
    Unknown(Box<str>),
    /// Another algorithm.
    #[error("the algorithm is {0:?}, only \"EdDSA\" is taken")]
    Algorithm(Box<str>),
    /// `crit` or `b64`.
    #[error("the header has {0:?}: extensions are not taken")]
    Extension(&'static str),
    /// A signature over something that is no document of ours.
    #[error("the header's \"typ\" is not {0:?}: this signs something else")]
    Type(&'static str),
    /// The key is of another kind, or has members that it must not have.
    #[error("the \"jwk\" is no Ed25519 public key with \"crv\", \"kty\" and \"x\" alone (RFC 8037 2)")]
    Key,
    /// The key and its name differ.
    #[error("the \"kid\" is not the thumbprint of the \"jwk\" (RFC 7638)")]
    KeyId,
    /// The signature is another key's, or the text was changed after signing.
    #[error("the signature does not fit: the text was altered, or another key made it")]
    Signature,
}
