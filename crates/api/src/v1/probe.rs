//! The bodies about probes: what was seen of a node's targets, and the keys that are published because of it.

use serde::Serialize;
use tandem_store::Registered;
use utoipa::ToSchema;

use super::answer::{hex, rfc3339};
use crate::probe::{Look, ProbeReport, SeenCertificate, TargetReport};

/// What the directory saw of a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Probes)]
pub(crate) struct ProbesBody {
    /// The node's SIP domain.
    #[schema(example = "debug.ostn.test")]
    domain: String,
    /// Whether this directory looks at anybody (its setting `probes.enabled`).
    enabled: bool,
    /// Whether this node asks to be looked at (`probe` in its document).
    asked: bool,
    /// Whether so many targets fail at once that the fault seems to be the directory's own: nobody is demoted then.
    held: bool,
    /// The targets looked at, in the order of the document. Kept in memory: after a start it is empty for a while.
    targets: Vec<ProbedTargetBody>,
    /// The keys that were seen in certificates and are published in TLSA records (`probe.tlsa`).
    keys: Vec<SeenKeyBody>,
}

/// One target, as it was seen.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbedTarget)]
struct ProbedTargetBody {
    /// The host.
    #[schema(example = "sip.debug.ostn.test")]
    host: String,
    /// The port.
    #[schema(example = 5061)]
    port: u16,
    /// Whether it failed so often that it counts as down.
    down: bool,
    /// Whether DNS has it behind the other targets because of that; not when all are down.
    demoted: bool,
    /// Looks in a row that failed.
    failures: u32,
    /// About when it is looked at next; absent while somebody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime)]
    next: Option<String>,
    /// The last look at each address family: one address of IPv4, one of IPv6.
    looks: Vec<LookBody>,
}

/// One look at one address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Look)]
struct LookBody {
    /// Where; absent when the host has no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "203.0.113.7")]
    address: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// `ok`, or a word for what is wrong.
    #[schema(example = "certificate-other-name")]
    result: &'static str,
    /// The rule that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "CERT-20")]
    rule: Option<&'static str>,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    detail: Option<Box<str>>,
    /// Looks at this address family that failed, in a row.
    failures: u32,
    /// What the certificate says, if one was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = CertificateBody)]
    certificate: Option<CertificateBody>,
}

/// What a certificate says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeenCertificate)]
struct CertificateBody {
    /// The SIP domains that it names (RFC 5922 7.1), at most 8.
    identities: Vec<Box<str>>,
    /// When it ends.
    #[schema(format = DateTime)]
    not_after: String,
    /// SHA-256 of its SubjectPublicKeyInfo: what `keys` of the node document takes.
    sha256: String,
}

/// A key that was seen.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeenKey)]
struct SeenKeyBody {
    /// SHA-256 of its SubjectPublicKeyInfo.
    sha256: String,
    /// Until when it is published although no target shows it any more; absent while one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = DateTime)]
    until: Option<String>,
}

impl ProbesBody {
    /// Of `registered`, with what is remembered of it.
    pub(crate) fn new(registered: &Registered, enabled: bool, report: Option<ProbeReport>) -> Self {
        let node = &registered.node;
        let (held, seen) = report.map_or((false, Vec::new()), |report| (report.held, report.targets));
        // What DNS shows is in the store; that in memory may be a moment ahead of it.
        let all_down = (0..node.targets().len()).all(|at| node.found.is_down(at));
        let targets = seen.into_iter().map(|target| {
            let place = node.targets().iter().position(|t| t.host == target.host && t.port == target.port);
            let demoted = !all_down && place.is_some_and(|at| node.found.is_down(at));
            ProbedTargetBody::new(target, demoted)
        });
        let key = |key: &tandem_model::SeenKey| SeenKeyBody { sha256: hex(&key.sha256), until: key.until.map(rfc3339) };
        Self {
            domain: node.domain().to_string(),
            enabled,
            asked: node.probe.is_some(),
            held,
            targets: targets.collect(),
            keys: node.found.keys.iter().map(key).collect(),
        }
    }
}

impl ProbedTargetBody {
    fn new(target: TargetReport, demoted: bool) -> Self {
        let TargetReport { host, port, is_down, failures, next, looks } = target;
        Self {
            host: host.to_string(),
            port: port.get(),
            down: is_down,
            demoted,
            failures,
            next: next.map(rfc3339),
            looks: looks.into_iter().map(LookBody::from).collect(),
        }
    }
}

impl From<Look> for LookBody {
    fn from(look: Look) -> Self {
        let Look { address, at, result, rule, detail, failures, certificate } = look;
        let certificate = certificate.map(|seen| CertificateBody::from(*seen));
        let address = address.map(|address| address.to_string());
        Self { address, at: rfc3339(at), result, rule, detail, failures, certificate }
    }
}

impl From<SeenCertificate> for CertificateBody {
    fn from(seen: SeenCertificate) -> Self {
        let SeenCertificate { identities, not_after, sha256 } = seen;
        Self { identities, not_after: rfc3339(not_after.try_into().unwrap_or(0)), sha256: hex(&sha256) }
    }
}
