//! Signed documents in requests: `application/jose+json`, a JWS over canonical JSON (RFC 7515, RFC 8785).

use tandem_identity::{SignedDocument, Thumbprint, VerifyError};
use tandem_model::DomainName;
use tandem_store::{KeyError, Signature};

use crate::problem::{Fault, Kind, Problem};

/// The media type of a JWS in JSON (RFC 7515 9.2.1).
pub(crate) const JOSE_JSON: &str = "application/jose+json";

/// Checks a signed document for `domain` at `now` (seconds since 1970): the node document in it, and what the store has
/// to know of its key.
///
/// Whether that key may sign for the domain is the store's to say. Pointers into the node document are as those into an
/// unsigned one.
///
/// # Errors
///
/// 422 that says what is wrong with the signature or with what it covers.
pub(crate) fn open(body: &[u8], domain: &DomainName, now: u64) -> Result<(String, Signature), Problem> {
    let read = SignedDocument::verify(body).map_err(|error| refused(&error))?;
    read.check_domain(domain).map_err(|error| refused(&error))?;
    read.check_time(now).map_err(|error| refused(&error))?;
    let signature = Signature {
        thumbprint: text(read.key().thumbprint()),
        serial: read.document().serial,
        next: read.document().next_key.map(text),
        signed: body.into(),
    };
    Ok((read.document().document.as_str().to_owned(), signature))
}

fn text(key: Thumbprint) -> Box<str> {
    key.to_string().into()
}

fn refused(error: &VerifyError) -> Problem {
    Problem::invalid(vec![Fault { detail: with_causes(error), pointer: "#".into(), rule: None }])
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut detail = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        detail.push_str(": ");
        detail.push_str(&cause.to_string());
        next = cause.source();
    }
    detail
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unsigned | KeyError::OtherKey => Self::new(Kind::KeyRefused, error.to_string()),
            KeyError::OldSerial { .. } => Self::new(Kind::OldSerial, error.to_string()),
        }
    }
}
