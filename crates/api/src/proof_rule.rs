//! Who has to show that a foreign domain is theirs before they publish it.
//!
//! Foreign is what is in none of the zones served here: nobody here gave the name out, so only its own zone can say whose
//! it is. A proof names a key, and only what that key signed is published by it (decision 27).

use std::sync::Arc;

use axum::http::Extensions;
use rustls_pki_types::CertificateDer;
use tandem_model::DomainName;
use tandem_store::{Origin, Signature};
use tandem_zone::Zones;

use crate::problem::{Kind, Problem};
use crate::request::Caller;
use crate::state::Api;

/// Who has to prove foreign domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProofRule {
    /// Nobody can: strangers get no token for foreign domains.
    Off,
    /// Who got the token by asking. For whoever was invited, or has a token of an admin's, that admin vouches.
    #[default]
    Strangers,
    /// Everybody but admins.
    Everybody,
}

/// The certificates that the other side of a TLS connection showed, its own first; it has the key of that one.
#[derive(Clone)]
pub(crate) struct ClientChain(pub(crate) Arc<[CertificateDer<'static>]>);

impl ClientChain {
    /// Those of a request, if there are any.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }
}

/// Whether `name` is in none of the zones served here.
pub(crate) fn is_foreign(zones: &Zones, name: &DomainName) -> bool {
    zones.zone_of(name).is_none()
}

/// Refuses to publish a foreign domain for who has not shown that it is theirs, by the key that signs (API-69).
///
/// # Errors
///
/// 403 that says what to do.
pub(crate) fn demand(
    api: &Api,
    caller: &Caller,
    domain: &DomainName,
    signature: Option<&Signature>,
) -> Result<(), Problem> {
    let must = match api.proofs {
        _ if caller.is_admin() => false,
        ProofRule::Off => false,
        ProofRule::Strangers => caller.0.origin == Origin::Registration && !caller.0.moderated,
        ProofRule::Everybody => true,
    };
    if !must || !is_foreign(&api.directory.live().load(), domain) {
        return Ok(());
    }
    let Some(signature) = signature else {
        return Err(Problem::new(
            Kind::DomainNotProved,
            format!(
                "{domain} is in no zone served here: it is published when its owner has named your key, and that key \
                 signs the document. `tandem prove {domain}` (POST /v1/proofs), then `tandem publish … --node-key FILE`."
            ),
        ));
    };
    if api.directory.is_proved(domain, &signature.thumbprint) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::DomainNotProved,
        format!(
            "The owner of {domain} has not named the key {} that signed this, or not lately enough. `tandem prove {domain} \
             --node-key FILE`, with that key (POST /v1/proofs), says what to put in its zone.",
            signature.thumbprint
        ),
    ))
}
