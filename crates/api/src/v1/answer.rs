//! The bodies of answers about nodes and zones, and the node document that both directions share.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{Node, NumberClaim, Probe, Record, Target};
use tandem_store::{Actor, Effect, NodeIdentity, NodeState, Receipt, Registered};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::life::StateBody;
use crate::precondition::etag;

/// What a node publishes: the body of `PUT /v1/nodes/{domain}`. Only `targets` is required.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeDocument, example = json!({
    "targets": [{"host": "sip.debug.ostn.test", "port": 5061, "addresses": ["203.0.113.7"]}],
    "numbers": [{"e164": "+15550101", "uri": "sip:alice@debug.ostn.test"}, {"block": "+155502"}],
    "contact": "ops@debug.ostn.test"
}))]
pub(crate) struct NodeBody {
    /// Where the domain is served, 1 to 8: one SRV record each.
    #[schema(min_items = 1, max_items = 8)]
    targets: Vec<TargetBody>,
    /// Telephone numbers and blocks that lead to this domain.
    #[schema(required = false, max_items = 100)]
    numbers: Vec<NumberBody>,
    /// Seconds that resolvers may keep the records; 60 when not given.
    #[schema(required = false, minimum = 1, maximum = 86_400)]
    ttl: u32,
    /// Pins of the public keys that the node's certificates carry: they become TLSA records.
    #[schema(required = false, max_items = 4)]
    keys: Vec<KeyBody>,
    /// Networks that the node's calls come from, as `192.0.2.0/24`; never in DNS.
    #[schema(required = false, max_items = 16)]
    sources: Vec<String>,
    /// How to reach the operator; shown only to those who may change the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, min_length = 1, max_length = 254)]
    contact: Option<String>,
    /// The lease that the node asks for, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u32, minimum = 60, maximum = 2_592_000)]
    lease_seconds: Option<u32>,
    /// How the node wants its targets looked at; not at all when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = ProbeBody)]
    probe: Option<ProbeBody>,
}

/// How a node wants its targets looked at: TLS and the certificate's name always.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Probe)]
pub(crate) struct ProbeBody {
    /// Each must answer SIP OPTIONS, too; `true` when not given.
    #[schema(required = false)]
    options: bool,
    /// The keys of valid certificates become TLSA records; `false` when not given.
    #[schema(required = false)]
    tlsa: bool,
}

/// One host and port that serves the domain.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Target)]
pub(crate) struct TargetBody {
    /// The host's name, never an address or an alias.
    #[schema(example = "sip.debug.ostn.test")]
    host: String,
    /// Where it listens for SIP over TLS.
    #[schema(example = 5061, minimum = 1)]
    port: u16,
    /// Lower is tried first; 10 when not given.
    #[schema(required = false)]
    priority: u16,
    /// Share among targets of one priority; 0 when not given.
    #[schema(required = false)]
    weight: u16,
    /// The host's addresses, for hosts at or below the node's own domain.
    #[schema(required = false, max_items = 8)]
    addresses: Vec<String>,
}

/// A number, with the URI that it maps to, or a block of numbers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = NumberClaim)]
pub(crate) enum NumberBody {
    /// One number.
    Number(OneNumberBody),
    /// A block.
    Block(BlockBody),
}

/// One number.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Number)]
pub(crate) struct OneNumberBody {
    /// The number: `+` and up to 15 digits.
    #[schema(example = "+15550101")]
    e164: String,
    /// What it maps to; `sip:<number>@<domain>` when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "sip:alice@debug.ostn.test")]
    uri: Option<String>,
}

/// All numbers that begin with these digits and are longer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Block)]
pub(crate) struct BlockBody {
    /// `+` and the first digits.
    #[schema(example = "+155502")]
    block: String,
}

/// A pinned public key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyPin)]
pub(crate) struct KeyBody {
    /// `node` for the certificate's own key, `authority` for the key of the node's own CA.
    holder: HolderBody,
    /// SHA-256 of the SubjectPublicKeyInfo in DER, in hexadecimal.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: String,
}

/// Whose key a pin names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = KeyHolder)]
pub(crate) enum HolderBody {
    /// The certificate's own.
    Node,
    /// The node's own CA's.
    Authority,
}

impl From<&Node> for NodeBody {
    fn from(node: &Node) -> Self {
        Self {
            targets: node.targets().iter().map(TargetBody::from).collect(),
            numbers: node.numbers.iter().map(NumberBody::from).collect(),
            ttl: node.ttl,
            keys: node.keys.iter().map(KeyBody::from).collect(),
            sources: node.sources.iter().map(ToString::to_string).collect(),
            contact: node.contact.as_deref().map(Into::into),
            lease_seconds: node.lease_seconds,
            probe: node.probe.map(|Probe { options, tlsa }| ProbeBody { options, tlsa }),
        }
    }
}

impl From<&Target> for TargetBody {
    fn from(target: &Target) -> Self {
        Self {
            host: target.host.to_string(),
            port: target.port.get(),
            priority: target.priority,
            weight: target.weight,
            addresses: target.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&NumberClaim> for NumberBody {
    fn from(claim: &NumberClaim) -> Self {
        match claim {
            NumberClaim::Number { number, uri } => {
                Self::Number(OneNumberBody { e164: number.to_string(), uri: uri.as_ref().map(ToString::to_string) })
            }
            NumberClaim::Block(block) => Self::Block(BlockBody { block: block.to_string() }),
        }
    }
}

impl From<&KeyPin> for KeyBody {
    fn from(key: &KeyPin) -> Self {
        Self {
            holder: match key.holder {
                KeyHolder::Node => HolderBody::Node,
                KeyHolder::Authority => HolderBody::Authority,
            },
            sha256: hex(&key.sha256),
        }
    }
}

/// Octets in hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A registration as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Registration)]
pub(crate) struct RegistrationBody {
    /// The node's SIP domain.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// The entity tag for `If-Match`.
    #[schema(example = "\"7\"")]
    etag: String,
    /// When the domain was first registered.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    created: String,
    /// When it was last changed.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    updated: String,
    /// Where it is in its life.
    state: StateBody,
    /// When it got there.
    #[schema(format = DateTime, example = "2026-01-31T12:00:00Z")]
    since: String,
    /// What was said when it was put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    reason: Option<String>,
    /// When its lease ends, or ended. Renewals move it, and do not change the entity tag.
    #[schema(format = DateTime, example = "2026-02-07T12:00:00Z")]
    lease_until: String,
    /// What the node says, normalised, defaults filled in; may be sent back as it is. Of a tombstone it is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = NodeBody)]
    node: Option<NodeBody>,
    /// The key that signs for the node, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = NodeKeyBody)]
    key: Option<NodeKeyBody>,
    /// True when the node has numbers that this token may not see: `numbers` is empty then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    numbers_hidden: bool,
}

impl RegistrationBody {
    /// A registration as `actor` may see it (ENUM-85).
    pub(crate) fn seen_by(registered: &Registered, actor: &Actor) -> Self {
        let mut body = Self::from(registered);
        if let Some(node) = body.node.as_mut().filter(|node| !node.numbers.is_empty() && !actor.sees_numbers()) {
            node.numbers.clear();
            body.numbers_hidden = true;
        }
        body
    }
}

/// The key that signs for a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeKey)]
pub(crate) struct NodeKeyBody {
    /// Its thumbprint (RFC 7638).
    #[schema(example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    thumbprint: Box<str>,
    /// The serial of the last signed document: the next one must be higher.
    serial: u64,
    /// The thumbprint of the key that may follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    next: Option<Box<str>>,
    /// From when any key may follow, because an admin has asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime)]
    reset_at: Option<String>,
}

/// A signed document: a JWS in flattened JSON (RFC 7515 7.2.2), Ed25519 (RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignedDocument, example = json!({
    "payload": "eyJkb2N1…", "protected": "eyJhbGci…", "signature": "W_KPhUBB…"
}))]
pub(crate) struct SignedBody {
    /// Canonical JSON (RFC 8785) of `domain`, `serial`, `issued`, `expires`, `document`, `next_key`; in base64url.
    payload: String,
    /// The header: `alg` EdDSA, `jwk`, `kid`, `typ` tandem-document+json; in base64url.
    protected: String,
    /// The signature in base64url.
    signature: String,
}

impl From<&NodeIdentity> for NodeKeyBody {
    fn from(identity: &NodeIdentity) -> Self {
        Self {
            thumbprint: identity.thumbprint.clone(),
            serial: identity.serial,
            next: identity.next.clone(),
            reset_at: identity.reset_at.map(rfc3339),
        }
    }
}

impl From<&Registered> for RegistrationBody {
    fn from(registered: &Registered) -> Self {
        let standing = &registered.standing;
        Self {
            domain: registered.node.domain().to_string(),
            etag: etag(registered.revision),
            created: rfc3339(registered.created),
            updated: rfc3339(registered.updated),
            state: standing.state.into(),
            since: rfc3339(standing.since),
            reason: standing.reason.as_deref().map(Into::into),
            lease_until: rfc3339(standing.lease_until),
            node: (standing.state != NodeState::Tombstone).then(|| NodeBody::from(&registered.node)),
            key: registered.identity.as_deref().map(NodeKeyBody::from),
            numbers_hidden: false,
        }
    }
}

/// One page of registrations, in canonical name order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Registrations)]
pub(crate) struct RegistrationsBody {
    /// The registrations that the token may see.
    pub(crate) nodes: Vec<RegistrationBody>,
}

/// What a change did, or with `dry_run` would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
pub(crate) struct ChangeBody {
    /// The node's SIP domain.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// What happened.
    effect: EffectBody,
    /// Whether this only shows what would happen.
    dry_run: bool,
    /// The zone serial that contains the change (API-44); not with `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = u64, example = 12)]
    serial: Option<u32>,
    /// The value for the next `If-Match` (API-18); not with `dry_run`, not when removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "\"12\"")]
    etag: Option<String>,
    /// Where the registration is in its life now; not with `dry_run`, not when removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = StateBody)]
    state: Option<StateBody>,
    /// When its lease ends; not with `dry_run`, not when removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime, example = "2026-02-07T12:00:00Z")]
    lease_until: Option<String>,
    /// The node as it is kept; of a removed one, as it was.
    node: NodeBody,
    /// The records that DNS serves for it; none when removed, or in a state that is not served.
    records: Vec<RecordBody>,
    /// Values that are kept in another spelling than they were sent in.
    normalised: Vec<Normalised>,
    /// What works but may not be meant.
    warnings: Vec<Warning>,
}

impl ChangeBody {
    /// Of a change that was made.
    pub(crate) fn made(receipt: &Receipt, records: &[Record], notes: Notes) -> Self {
        let removed = receipt.effect == Effect::Removed;
        let standing = &receipt.registered.standing;
        Self {
            state: (!removed).then(|| standing.state.into()),
            lease_until: (!removed).then(|| rfc3339(standing.lease_until)),
            serial: Some(receipt.serial.value()),
            etag: (!removed).then(|| etag(receipt.registered.revision)),
            dry_run: false,
            ..Self::rehearsed(&receipt.registered.node, receipt.effect, records, notes)
        }
    }

    /// Of a change that was only looked at.
    pub(crate) fn rehearsed(node: &Node, effect: Effect, records: &[Record], notes: Notes) -> Self {
        Self {
            domain: node.domain().to_string(),
            effect: effect.into(),
            dry_run: true,
            serial: None,
            etag: None,
            state: None,
            lease_until: None,
            node: NodeBody::from(node),
            records: records.iter().map(RecordBody::from).collect(),
            normalised: notes.normalised,
            warnings: notes.warnings,
        }
    }
}

/// What the caller should know besides the effect.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// See [`ChangeBody`].
    pub(crate) normalised: Vec<Normalised>,
    /// See [`ChangeBody`].
    pub(crate) warnings: Vec<Warning>,
}

/// What a change did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Effect)]
pub(crate) enum EffectBody {
    /// The domain is new.
    Created,
    /// The registration was replaced.
    Replaced,
    /// It was like this already: nothing was written.
    Unchanged,
    /// The registration is gone.
    Removed,
    /// Its state is another.
    Moved,
}

impl From<Effect> for EffectBody {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Created => Self::Created,
            Effect::Replaced => Self::Replaced,
            Effect::Unchanged => Self::Unchanged,
            Effect::Removed => Self::Removed,
            Effect::Moved => Self::Moved,
        }
    }
}

/// A value that is kept in another spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Normalised {
    /// The place in the body; `#/domain` is the domain in the path.
    #[schema(example = "#/targets/0/host")]
    pub(crate) pointer: String,
    /// As it was sent.
    #[schema(example = "SIP.Debug.ostn.test")]
    pub(crate) from: String,
    /// As it is kept.
    #[schema(example = "sip.debug.ostn.test")]
    pub(crate) to: String,
}

/// Something that works but may not be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Warning {
    /// The rule, as docs/quirks.md lists it.
    #[schema(example = "QUIRK-08")]
    pub(crate) rule: &'static str,
    /// What it is, and what to do.
    pub(crate) detail: String,
    /// The place in the body; `#/domain` is the domain in the path.
    #[schema(example = "#/targets/0/addresses/0")]
    pub(crate) pointer: String,
}

/// One DNS record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Record)]
pub(crate) struct RecordBody {
    /// Where it is, without a trailing dot; `*.` in front for a block of numbers.
    #[schema(example = "_sips._tcp.debug.ostn.test")]
    owner: String,
    /// Seconds that it may be kept.
    #[schema(example = 60)]
    ttl: u32,
    /// The type.
    #[schema(example = "SRV")]
    r#type: &'static str,
    /// The data as a master file has it.
    #[schema(example = "10 0 5061 sip.debug.ostn.test.")]
    data: String,
}

impl From<&Record> for RecordBody {
    fn from(record: &Record) -> Self {
        Self {
            owner: record.owner.to_string(),
            ttl: record.ttl,
            r#type: record.data.type_name(),
            data: record.data.to_string(),
        }
    }
}

/// The records that a node makes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Records)]
pub(crate) struct RecordsBody {
    /// The node's SIP domain.
    domain: String,
    /// The records, in the order of the chain: NAPTR, SRV, addresses, TLSA, peers zone, numbers.
    records: Vec<RecordBody>,
    /// The same as lines of a master file.
    text: Vec<String>,
}

impl RecordsBody {
    /// The records of `node`.
    pub(crate) fn new(node: &Node, records: &[Record]) -> Self {
        Self {
            domain: node.domain().to_string(),
            records: records.iter().map(RecordBody::from).collect(),
            text: records.iter().map(ToString::to_string).collect(),
        }
    }

    /// What their entity tag is made of. Not the registration's revision: a zone that is served from now on can change
    /// a node's records too (API-10).
    pub(crate) fn tag(&self) -> u64 {
        let mut hash = Sha256::new_with_prefix(&self.domain);
        self.text.iter().for_each(|line| hash.update(format!("\n{line}")));
        hash.finalize().iter().take(8).fold(0, |tag, octet| tag << 8 | u64::from(*octet))
    }
}

/// One zone that is served.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Zone)]
pub(crate) struct ZoneBody {
    /// The zone's name.
    #[schema(example = "ostn.test")]
    pub(crate) apex: String,
    /// Its version.
    #[schema(value_type = u64, example = 12)]
    pub(crate) serial: u32,
}

/// One page of zones, in canonical name order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Zones)]
pub(crate) struct ZonesBody {
    /// The zones.
    pub(crate) zones: Vec<ZoneBody>,
}

/// `/livez` and `/readyz` when all is well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    /// `live` or `ready`.
    #[schema(example = "ready")]
    pub(crate) status: &'static str,
}

/// Seconds since 1970 as API-4 writes times.
pub(crate) fn rfc3339(seconds: u64) -> String {
    // Past the year 9999 the format has no text; the last second that it has stands for all of them.
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(253_402_300_799);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .expect("0 to the end of year 9999 is in range for both")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_4_times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
