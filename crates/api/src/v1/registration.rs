//! The body of `POST /v1/registrations`.

use serde::Serialize;
use tandem_model::DomainName;
use utoipa::ToSchema;

use super::reader::{Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// Which domain a token is asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RegistrationRequest, example = json!({"domain": "new.ostn.test"}))]
pub(crate) struct RegistrationRequestBody {
    /// The SIP domain.
    domain: String,
}

/// Reads it.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_registration(body: &Value<'_>) -> Result<DomainName, Vec<Fault>> {
    let mut reader = Reader::default();
    let domain = reader.object(body, &Pointer::root(), &["domain"]).and_then(|members| {
        let (at, value) = members.demand(&mut reader, "domain")?;
        let text = reader.text(value, &at)?;
        reader.name(text, &at)
    });
    let (faults, _) = reader.finish();
    domain.filter(|_| faults.is_empty()).ok_or(faults)
}
