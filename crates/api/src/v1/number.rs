//! The bodies of `/v1/numbers`: who has which number, who asks for one, and what is given and taken away.

use serde::Serialize;
use tandem_model::{DomainName, E164Number, NumberBlock, NumberRange};
use tandem_store::number::MAX_CLAIM_REASON;
use tandem_store::{Delegation, NumberEntry, PendingClaim, Revoked};
use utoipa::ToSchema;

use super::answer::rfc3339;
use super::reader::{Members, Pointer, Reader};
use crate::json::Value;
use crate::problem::Fault;

/// A number or block and a domain: what is claimed or delegated. One of `e164` and `block`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NumberRequest, example = json!({"domain": "debug.ostn.test", "block": "+155502"}))]
pub(crate) struct NumberRequestBody {
    /// Whose it is to be; names below it have it too.
    domain: String,
    /// One number.
    #[schema(required = false, example = "+15550101")]
    e164: String,
    /// The first digits of a block.
    #[schema(required = false, example = "+155502")]
    block: String,
    /// An admin's: also out of a block that another domain holds. Not for claims.
    #[schema(required = false)]
    over_holder: bool,
}

/// How a claim is approved.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NumberApproval, example = json!({"over_holder": true}))]
pub(crate) struct NumberApprovalBody {
    /// Also out of a block that another domain holds.
    #[schema(required = false)]
    over_holder: bool,
}

/// Why a claim is refused. May be left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NumberRefusal, example = json!({"reason": "not yours"}))]
pub(crate) struct NumberRefusalBody {
    /// Shown in the audit trail.
    #[schema(required = false, min_length = 1, max_length = 200)]
    reason: String,
}

/// Reads the body of a claim, or with `gives` of a delegation: what, to whom, and whether over a holder's head.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_request(body: &Value<'_>, gives: bool) -> Result<(NumberRange, DomainName, bool), Vec<Fault>> {
    let mut reader = Reader::default();
    let known: &[&str] = if gives { &["domain", "e164", "block", "over_holder"] } else { &["domain", "e164", "block"] };
    let read = reader.object(body, &Pointer::root(), known).and_then(|members| {
        let domain = members.demand(&mut reader, "domain").and_then(|(at, value)| {
            let text = reader.text(value, &at)?;
            reader.name(text, &at)
        });
        let range = read_range(&mut reader, &members);
        let over_holder = read_flag(&mut reader, &members);
        Some((range?, domain?, over_holder))
    });
    let (faults, _) = reader.finish();
    read.filter(|_| faults.is_empty()).ok_or(faults)
}

fn read_range(reader: &mut Reader, members: &Members<'_>) -> Option<NumberRange> {
    match (members.find("e164"), members.find("block")) {
        (Some((at, value)), None) => reader.parsed(value, &at, E164Number::parse).map(Into::into),
        (None, Some((at, value))) => reader.parsed(value, &at, NumberBlock::parse).map(Into::into),
        (Some(_), Some(_)) | (None, None) => {
            reader.fault(&Pointer::root(), "must have `e164` (one number) or `block` (the first digits of many)");
            None
        }
    }
}

fn read_flag(reader: &mut Reader, members: &Members<'_>) -> bool {
    match members.find("over_holder") {
        None | Some((_, Value::Bool(false))) => false,
        Some((_, Value::Bool(true))) => true,
        Some((at, other)) => {
            reader.fault(&at, format_args!("must be true or false; found {}", other.kind()));
            false
        }
    }
}

/// Reads the body of an approval.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_approval(body: &Value<'_>) -> Result<bool, Vec<Fault>> {
    let mut reader = Reader::default();
    let members = reader.object(body, &Pointer::root(), &["over_holder"]);
    let over_holder = members.is_some_and(|members| read_flag(&mut reader, &members));
    let (faults, _) = reader.finish();
    if faults.is_empty() { Ok(over_holder) } else { Err(faults) }
}

/// Reads the body of a refusal.
///
/// # Errors
///
/// Every fault.
pub(crate) fn read_refusal(body: &Value<'_>) -> Result<Option<Box<str>>, Vec<Fault>> {
    let mut reader = Reader::default();
    let reason = reader.object(body, &Pointer::root(), &["reason"]).and_then(|members| {
        let (at, value) = members.find("reason")?;
        let text = reader.text(value, &at)?;
        if text.is_empty() || text.len() > MAX_CLAIM_REASON || text.chars().any(char::is_control) {
            reader.fault(&at, format_args!("must have 1 to {MAX_CLAIM_REASON} octets and no control characters"));
        }
        Some(text.into())
    });
    let (faults, _) = reader.finish();
    if faults.is_empty() { Ok(reason) } else { Err(faults) }
}

/// One number or one block.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberRange)]
pub(crate) struct RangeBody {
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "+15550101")]
    e164: Option<String>,
    /// Or the first digits of the block.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "+155502")]
    block: Option<String>,
}

impl From<NumberRange> for RangeBody {
    fn from(range: NumberRange) -> Self {
        let digits = Some(format!("+{}", range.digits()));
        if range.is_block() { Self { e164: None, block: digits } } else { Self { e164: digits, block: None } }
    }
}

/// A number or block that is delegated.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberDelegation)]
pub(crate) struct DelegationBody {
    /// What.
    #[serde(flatten)]
    range: RangeBody,
    /// Whose nodes may publish it, at the domain and below.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// The domain that gave it out of its block; missing when an admin did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "ostn.test")]
    from: Option<String>,
    /// When.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    created: String,
}

impl From<&Delegation> for DelegationBody {
    fn from(delegation: &Delegation) -> Self {
        Self {
            range: delegation.range.into(),
            domain: delegation.domain.to_string(),
            from: delegation.from.as_ref().map(ToString::to_string),
            created: rfc3339(delegation.created),
        }
    }
}

/// A number or block that somebody has, by a delegation or in a registration or both.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberEntry)]
pub(crate) struct NumberEntryBody {
    /// What.
    #[serde(flatten)]
    range: RangeBody,
    /// Who has it: the domain that it is delegated to, else the node that published it.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// Whether it is delegated. If not, it is the node's as long as that is registered with it.
    delegated: bool,
    /// The domain that gave it out of its block; missing when an admin did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "ostn.test")]
    from: Option<String>,
    /// The node that is registered with it; missing when none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "debug.ostn.test")]
    node: Option<String>,
}

impl From<&NumberEntry> for NumberEntryBody {
    fn from(entry: &NumberEntry) -> Self {
        let given = entry.delegation.as_ref();
        let domain = given.map(|given| &given.domain).or(entry.node.as_ref());
        Self {
            range: entry.range.into(),
            domain: domain.map(ToString::to_string).unwrap_or_default(),
            delegated: given.is_some(),
            from: given.and_then(|given| given.from.as_ref()).map(ToString::to_string),
            node: entry.node.as_ref().map(ToString::to_string),
        }
    }
}

/// One page of numbers, in the order of their digits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Numbers)]
pub(crate) struct NumbersBody {
    /// Those that the token may see.
    pub(crate) numbers: Vec<NumberEntryBody>,
}

/// Who has one number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberHolder)]
pub(crate) struct NumberHolderBody {
    /// The number that was asked for.
    #[schema(example = "+15550201")]
    pub(crate) e164: String,
    /// The longest delegation at or around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = DelegationBody)]
    pub(crate) delegation: Option<DelegationBody>,
    /// What answers for it in DNS, or would: the number, or the longest block around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = PublishedBody)]
    pub(crate) published: Option<PublishedBody>,
}

/// What a node is registered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublishedNumber)]
pub(crate) struct PublishedBody {
    /// What.
    #[serde(flatten)]
    range: RangeBody,
    /// The node's SIP domain.
    #[schema(example = "debug.ostn.test")]
    node: String,
}

impl PublishedBody {
    /// `range` in the registration of `node`.
    pub(crate) fn new(range: NumberRange, node: &DomainName) -> Self {
        Self { range: range.into(), node: node.to_string() }
    }
}

/// A claim that waits for an admin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberClaimRequest)]
pub(crate) struct ClaimBody {
    /// Its public id.
    #[schema(example = "k7Qd0c2n4xZa")]
    id: String,
    /// What.
    #[serde(flatten)]
    range: RangeBody,
    /// Who asks.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// When.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    created: String,
    /// Until when it waits; then it is forgotten, and can be made again.
    #[schema(format = DateTime, example = "2026-03-02T12:00:00Z")]
    expires: String,
    /// `pending` always: what is approved becomes a delegation, what is refused is gone.
    #[schema(example = "pending")]
    state: &'static str,
}

impl From<&PendingClaim> for ClaimBody {
    fn from(claim: &PendingClaim) -> Self {
        Self {
            id: claim.id.clone(),
            range: claim.range.into(),
            domain: claim.domain.to_string(),
            created: rfc3339(claim.created),
            expires: rfc3339(claim.expires()),
            state: "pending",
        }
    }
}

/// One page of claims that wait, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberClaims)]
pub(crate) struct ClaimsBody {
    /// Those that the token may see.
    pub(crate) claims: Vec<ClaimBody>,
}

/// What a revocation took away.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberRevocation)]
pub(crate) struct RevokedBody {
    /// What.
    #[serde(flatten)]
    range: RangeBody,
    /// Who had it.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// The nodes whose registrations lost numbers.
    #[schema(example = json!(["debug.ostn.test"]))]
    nodes: Vec<String>,
}

impl From<&Revoked> for RevokedBody {
    fn from(revoked: &Revoked) -> Self {
        Self {
            range: revoked.range.into(),
            domain: revoked.domain.to_string(),
            nodes: revoked.nodes.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn requests() {
        let read = |text: &str, gives| read_request(&json::parse(text.as_bytes()).unwrap(), gives);
        let (range, domain, over) = read(r#"{"domain":"A.test","block":"+1 555-02"}"#, false).unwrap();
        assert_eq!((range.to_string().as_str(), domain.to_string().as_str(), over), ("+155502*", "a.test", false));
        assert!(read(r#"{"domain":"a.test","e164":"+15550101","over_holder":true}"#, true).unwrap().2);
        for (text, gives, pointer) in [
            (r#"{"block":"+1"}"#, true, "#/domain"),
            (r#"{"domain":"a..b","block":"+1"}"#, true, "#/domain"),
            (r#"{"domain":"a.test"}"#, true, "#"),
            (r#"{"domain":"a.test","block":"+1","e164":"+2"}"#, true, "#"),
            (r#"{"domain":"a.test","block":"1"}"#, true, "#/block"),
            (r#"{"domain":"a.test","e164":"+1x"}"#, true, "#/e164"),
            (r#"{"domain":"a.test","e164":"+1","over_holder":1}"#, true, "#/over_holder"),
            (r#"{"domain":"a.test","e164":"+1","over_holder":true}"#, false, "#/over_holder"),
        ] {
            assert_eq!(read(text, gives).unwrap_err()[0].pointer, pointer, "{text}");
        }
        let refusal = |text: &str| read_refusal(&json::parse(text.as_bytes()).unwrap());
        assert_eq!(refusal("{}").unwrap(), None);
        assert_eq!(refusal(r#"{"reason":"no"}"#).unwrap().as_deref(), Some("no"));
        assert_eq!(refusal(r#"{"reason":""}"#).unwrap_err()[0].pointer, "#/reason");
        assert!(read_approval(&json::parse(br#"{"over_holder":true}"#).unwrap()).unwrap());
    }
}
