//! The bodies of `/v1/proofs`: who has a domain, and how far showing it has come (API-60 to API-68).

use serde::Serialize;
use tandem_identity::{PublicKey, Thumbprint};
use tandem_model::DomainName;
use tandem_store::proof::CHALLENGE_LIFE;
use tandem_store::{Proof, ProofMethod, ProofProgress, ProofState};
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::reader::{Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// A proof to be begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProof, example = json!({"domain": "example.org", "method": "dns", "key": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}))]
pub(crate) struct NewProofBody {
    /// The domain, as it is registered with its owner's registrar, or a name below that.
    domain: String,
    /// How it is shown.
    method: MethodWord,
    /// The node's public key, which the domain's owner names: its thumbprint (RFC 7638), or the key as a JWK (RFC 8037).
    #[schema(value_type = KeyReference)]
    key: String,
}

/// A key: its thumbprint, or the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = KeyReference)]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(crate) enum KeyReference {
    /// 43 characters of base64url.
    Thumbprint(String),
    /// The key.
    Jwk(JwkBody),
}

/// An Ed25519 public key (RFC 8037 2).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Jwk)]
pub(crate) struct JwkBody {
    /// `OKP`.
    kty: String,
    /// `Ed25519`.
    crv: String,
    /// The key in base64url.
    x: String,
}

/// How a domain is shown to be somebody's.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProofMethod)]
pub(crate) enum MethodWord {
    /// A TXT record that stays.
    Dns,
    /// A certificate at a SIPS target.
    Tls,
    /// The client certificate of this call.
    Mtls,
}

impl From<ProofMethod> for MethodWord {
    fn from(method: ProofMethod) -> Self {
        match method {
            ProofMethod::Dns => Self::Dns,
            ProofMethod::Tls => Self::Tls,
            ProofMethod::Mtls => Self::Mtls,
        }
    }
}

/// Where a proof is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProofState)]
pub(crate) enum ProofStateWord {
    /// Not seen yet.
    Pending,
    /// It holds.
    Valid,
    /// It was looked for often enough, or something else was found.
    Invalid,
    /// It held, and was not seen again in time.
    Expired,
    /// An admin took it back.
    Revoked,
}

impl From<ProofState> for ProofStateWord {
    fn from(state: ProofState) -> Self {
        match state {
            ProofState::Pending => Self::Pending,
            ProofState::Valid => Self::Valid,
            ProofState::Invalid => Self::Invalid,
            ProofState::Expired => Self::Expired,
            ProofState::Revoked => Self::Revoked,
        }
    }
}

/// Where looking at a challenge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ChallengeState)]
pub(crate) enum ChallengeState {
    /// Nobody has looked yet.
    Pending,
    /// It was not there, and is looked for again.
    Processing,
    /// It was seen, and holds.
    Valid,
    /// Nobody looks any more: correct what is wrong, and ask for another look.
    Invalid,
}

/// Whose key speaks for a domain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Proof)]
pub(crate) struct ProofBody {
    /// The domain; names below it are covered.
    #[schema(example = "example.org")]
    domain: String,
    /// The thumbprint (RFC 7638) of the key.
    #[schema(example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    key: String,
    /// The best of its challenges.
    pub(crate) state: ProofStateWord,
    /// Until when it holds, or held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2026-04-30T12:00:00Z")]
    valid_until: Option<String>,
    /// One for each method that was begun.
    challenges: Vec<ChallengeBody>,
}

/// One way in which the domain is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Challenge)]
pub(crate) struct ChallengeBody {
    /// How.
    method: MethodWord,
    /// Where looking at it is.
    state: ChallengeState,
    /// Random: what the certificate of `tls`, and the claim on a token, are made with (API-60).
    #[schema(example = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA")]
    token: String,
    /// Until when that may be used.
    #[schema(format = DateTime, example = "2026-02-07T12:00:00Z")]
    token_until: String,
    /// What to publish, with the method `dns`; it stays as long as the domain takes part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = TxtRecordBody)]
    record: Option<TxtRecordBody>,
    /// When it was seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2026-01-31T12:00:00Z")]
    seen: Option<String>,
    /// Until when it holds, or held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2026-04-30T12:00:00Z")]
    valid_until: Option<String>,
    /// Looks in a row that did not find it.
    tries: u32,
    /// When the next look is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2026-01-31T12:00:10Z")]
    next_look: Option<String>,
    /// What stood in the way at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "there is no TXT record with \"tandem-key=…\" at _tandem under the domain")]
    error: Option<String>,
}

/// A TXT record to publish.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TxtRecord)]
pub(crate) struct TxtRecordBody {
    /// Where.
    #[schema(example = "_tandem.example.org")]
    name: String,
    /// What.
    #[schema(example = "tandem-key=kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    value: String,
    /// Both, as a line of a master file.
    #[schema(example = "_tandem.example.org. 3600 IN TXT \"tandem-key=kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\"")]
    line: String,
}

/// Proofs, one page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Proofs)]
pub(crate) struct ProofsBody {
    /// In the order of domain and key.
    pub(crate) proofs: Vec<ProofBody>,
}

impl ProofBody {
    /// Of all challenges of one domain and key; `None` if there are none.
    pub(crate) fn of(challenges: &[(Proof, ProofProgress)], now: u64) -> Option<Self> {
        let (first, _) = challenges.first()?;
        let rank = |proof: &Proof| match proof.state {
            ProofState::Valid if proof.holds(now) => 0,
            ProofState::Pending => 1,
            // Its time is over, and nobody has noted it yet.
            ProofState::Valid | ProofState::Expired => 2,
            ProofState::Revoked => 3,
            ProofState::Invalid => 4,
        };
        let best = challenges.iter().map(|(proof, _)| proof).min_by_key(|proof| rank(proof)).unwrap_or(first);
        let state = match best.state {
            ProofState::Valid if !best.holds(now) => ProofState::Expired,
            state => state,
        };
        Some(Self {
            domain: first.id.domain.to_string(),
            key: first.id.key.to_string(),
            state: state.into(),
            valid_until: best.valid_until.map(rfc3339),
            challenges: challenges.iter().map(|(proof, progress)| ChallengeBody::of(proof, progress, now)).collect(),
        })
    }

    /// Whether somebody has to look again before it is settled.
    pub(crate) fn is_open(&self) -> bool {
        let open = |one: &ChallengeBody| matches!(one.state, ChallengeState::Pending | ChallengeState::Processing);
        self.challenges.iter().any(open)
    }
}

impl ChallengeBody {
    fn of(proof: &Proof, progress: &ProofProgress, now: u64) -> Self {
        let state = match proof.state {
            ProofState::Pending if progress.tries == 0 => ChallengeState::Pending,
            ProofState::Pending => ChallengeState::Processing,
            ProofState::Valid if proof.holds(now) => ChallengeState::Valid,
            ProofState::Valid | ProofState::Invalid | ProofState::Expired | ProofState::Revoked => {
                ChallengeState::Invalid
            }
        };
        let record = (proof.id.method == ProofMethod::Dns).then(|| {
            let (name, value) = (format!("_tandem.{}", proof.id.domain), format!("tandem-key={}", proof.id.key));
            TxtRecordBody { line: format!("{name}. 3600 IN TXT \"{value}\""), name, value }
        });
        Self {
            method: proof.id.method.into(),
            state,
            token: proof.token.to_string(),
            token_until: rfc3339(proof.begun.saturating_add(CHALLENGE_LIFE)),
            record,
            seen: proof.seen.map(rfc3339),
            valid_until: proof.valid_until.map(rfc3339),
            tries: progress.tries,
            // What is in the past is as soon as there is a turn.
            next_look: progress.next.filter(|next| *next > now).map(rfc3339),
            error: progress.failure.as_ref().or(proof.failure.as_ref()).map(ToString::to_string),
        }
    }
}

/// Reads the body of `POST /v1/proofs`.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_new_proof(body: &Value<'_>) -> Result<(DomainName, ProofMethod, Thumbprint), Vec<Fault>> {
    let mut reader = Reader::default();
    let mut read = || {
        let members = reader.object(body, &Pointer::root(), &["domain", "method", "key"])?;
        let domain = members
            .demand(&mut reader, "domain")
            .and_then(|(at, value)| reader.text(value, &at).and_then(|text| reader.name(text, &at)));
        let method = members.demand(&mut reader, "method").and_then(|(at, value)| {
            let word = reader.text(value, &at)?;
            let method = ProofMethod::parse(word);
            if method.is_none() {
                let words = ProofMethod::ALL.map(ProofMethod::as_str).join(", ");
                reader.fault(&at, format_args!("must be one of {words}; found {word:?}"));
            }
            method
        });
        let key = members.demand(&mut reader, "key").and_then(|(at, value)| read_key(&mut reader, value, &at));
        Some((domain?, method?, key?))
    };
    let found = read();
    let (faults, _) = reader.finish();
    found.filter(|_| faults.is_empty()).ok_or(faults)
}

/// A thumbprint, or the thumbprint of a JWK.
fn read_key(reader: &mut Reader, value: &Value<'_>, at: &Pointer) -> Option<Thumbprint> {
    if !matches!(value, Value::Object(_)) {
        let text = reader.text(value, at)?;
        return text.parse().map_err(|error| reader.fault(at, error)).ok();
    }
    let members = reader.object(value, at, &["kty", "crv", "x"])?;
    let mut text = |name| members.demand(reader, name).and_then(|(at, value)| Some((reader.text(value, &at)?, at)));
    let (kty, crv, x) = (text("kty"), text("crv"), text("x"));
    for ((found, at), wanted) in [(kty?, "OKP"), (crv?, "Ed25519")] {
        if found != wanted {
            reader.fault(&at, format_args!("must be {wanted:?}: a node's key is an Ed25519 key (RFC 8037)"));
            return None;
        }
    }
    let (x, at) = x?;
    PublicKey::from_x(x).map(|key| key.thumbprint()).map_err(|error| reader.fault(&at, error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        let jwk = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for (body, faults) in [
            (format!(r#"{{"domain":"Example.org","method":"dns","key":"{thumbprint}"}}"#), vec![]),
            (format!(r#"{{"domain":"example.org","method":"tls","key":{jwk}}}"#), vec![]),
            ("{}".to_owned(), vec!["#/domain", "#/method", "#/key"]),
            (
                r#"{"domain":"1.2.3.4","method":"http","key":"x","more":1}"#.to_owned(),
                vec!["#/more", "#/domain", "#/method", "#/key"],
            ),
            (format!(r#"{{"domain":"a.org","method":"dns","key":{}}}"#, jwk.replace("OKP", "EC")), vec!["#/key/kty"]),
            (
                format!(r#"{{"domain":"a.org","method":"dns","key":{}}}"#, jwk.replace("\"x\"", "\"d\"")),
                vec!["#/key/d", "#/key/x"],
            ),
            ("[]".to_owned(), vec!["#"]),
        ] {
            let value = crate::json::parse(body.as_bytes()).unwrap();
            match read_new_proof(&value) {
                Ok((domain, _, key)) => {
                    assert!(faults.is_empty(), "{body}");
                    assert_eq!((domain.to_string().as_str(), key.to_string().as_str()), ("example.org", thumbprint));
                }
                Err(found) => {
                    let pointers: Vec<_> = found.iter().map(|fault| fault.pointer.as_str()).collect();
                    assert_eq!(pointers, faults, "{body}");
                }
            }
        }
    }
}
