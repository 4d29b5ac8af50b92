//! The description of the API (OpenAPI 3.1; API-80, API-81): made from the handlers' and bodies' own types, then
//! given what is the same everywhere: problems, examples, limits. `docs/openapi.json` is its checked-in copy.

use std::sync::LazyLock;

use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::handler::{
    audit, backup, change, health, import, invitation, key, life, member, node, number, probe, proof, registration,
    reload, token, zone,
};
use crate::problem::{Kind, PROBLEM_JSON, ProblemBody, TYPE_PREFIX};

/// The description as JSON text; made once.
#[must_use]
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&document()).expect("a JSON value has a text");
        text.push('\n');
        text
    });
    &TEXT
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tandem",
        version = "1",
        description = "The directory of a SIP federation: nodes publish themselves, DNS shows them.\n\nLimits: a body \
            has at most 65536 octets, an import 64 MiB, and nests 16 deep; a node has at most 8 targets with 8 addresses each, 100 \
            numbers, 4 keys and 16 sources; a page has at most 200 entries; a problem lists at most 50 errors. Unknown \
            members and query parameters are refused. Refusals are `application/problem+json` (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        node::put, node::get, node::delete, node::records, node::list, import::import, key::document, key::reset,
        probe::get, probe::post,
        life::renew, life::drain, life::suspend, life::compromised, life::restore, life::approve, life::reject, change::get, audit::list,
        member::list, member::get,
        backup::get, number::list, number::get, number::claim, number::claims, number::approve, number::reject, number::delegate, number::revoke,
        zone::list, zone::export, reload::reload,
        token::post,
        token::list, token::delete, token::rotate, invitation::post, invitation::list, invitation::delete,
        invitation::redeem, registration::post, proof::post, proof::get, proof::check, proof::delete, proof::list, health::livez, health::readyz, health::openapi
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "nodes", description = "What is registered."),
        (name = "numbers", description = "Who may have which number."),
        (name = "changes", description = "What happens, as it happens, and what happened."),
        (name = "zones", description = "What is served; for admins."),
        (name = "tokens", description = "Who may call; for admins, but for a token's own rotation."),
        (name = "invitations", description = "Codes that make a domain's first token."),
        (name = "registrations", description = "Tokens for whoever asks, where that is allowed."),
        (name = "operation", description = "Keeping a directory; for admins."),
        (name = "proofs", description = "Showing that a domain in no zone served here is one's own."),
        (name = "health", description = "Open to everybody."),
    ),
)]
struct Description;

/// Which problems an operation may answer with; 405 comes from every path and is left out.
fn problems(operation: &str) -> Vec<Kind> {
    use Kind::{
        Conflict, DomainNotProved, Forbidden, Internal, InvalidRequest, KeyRefused, KeyReused, Malformed,
        NotAcceptable, NotFound, OldSerial, PreconditionRequired, QuotaExceeded, RateLimited, RegistrationClosed,
        RequestInProgress, Stale, TooLarge, TooOld, TooSlow, Unauthenticated, Unavailable, UnsupportedType, WrongState,
    };
    let own: &[Kind] = match operation {
        "putNode" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            DomainNotProved,
            QuotaExceeded,
            NotFound,
            NotAcceptable,
            TooSlow,
            KeyRefused,
            Conflict,
            OldSerial,
            Stale,
            TooLarge,
            UnsupportedType,
            InvalidRequest,
        ],
        "resetNodeKey" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            NotFound,
            NotAcceptable,
            TooSlow,
            Stale,
            TooLarge,
            UnsupportedType,
            InvalidRequest,
            PreconditionRequired,
        ],
        "deleteNode" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            NotFound,
            NotAcceptable,
            Stale,
            InvalidRequest,
            PreconditionRequired,
        ],
        "getNode" | "getNodeRecords" | "getNodeDocument" => {
            &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, Stale, InvalidRequest]
        }
        "getMember" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, InvalidRequest],
        "renewNode" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, Conflict, InvalidRequest],
        "drainNode" | "suspendNode" | "compromiseNode" | "restoreNode" | "approveNode" | "rejectNode" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            NotFound,
            NotAcceptable,
            TooSlow,
            WrongState,
            RequestInProgress,
            Conflict,
            Stale,
            TooLarge,
            UnsupportedType,
            KeyReused,
            InvalidRequest,
            PreconditionRequired,
        ],
        "getNodeProbes" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, InvalidRequest],
        "probeNode" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, WrongState, InvalidRequest],
        "listNodes" | "listMembers" | "backUp" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable],
        "listNumbers" | "listNumberClaims" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable],
        "getNumber" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable],
        "revokeNumber" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, Conflict],
        "claimNumber" | "delegateNumber" | "approveNumberClaim" | "rejectNumberClaim" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            NotFound,
            NotAcceptable,
            TooSlow,
            RequestInProgress,
            Conflict,
            TooLarge,
            UnsupportedType,
            KeyReused,
            InvalidRequest,
        ],
        "importNodes" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable, TooSlow, TooLarge, UnsupportedType],
        "listAudit" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable],
        "followChanges" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable, TooOld],
        "createToken" | "createInvitation" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            NotAcceptable,
            TooSlow,
            RequestInProgress,
            TooLarge,
            UnsupportedType,
            KeyReused,
            InvalidRequest,
        ],
        "rotateToken" => &[
            Malformed,
            Unauthenticated,
            NotFound,
            NotAcceptable,
            TooSlow,
            RequestInProgress,
            TooLarge,
            UnsupportedType,
            KeyReused,
            InvalidRequest,
        ],
        "redeemInvitation" => &[
            Malformed,
            NotFound,
            NotAcceptable,
            TooSlow,
            RequestInProgress,
            TooLarge,
            UnsupportedType,
            KeyReused,
            InvalidRequest,
        ],
        "createRegistration" => &[
            Malformed,
            DomainNotProved,
            RegistrationClosed,
            NotAcceptable,
            TooSlow,
            RequestInProgress,
            Conflict,
            TooLarge,
            UnsupportedType,
            KeyReused,
            InvalidRequest,
        ],
        "createProof" => &[
            Malformed,
            Unauthenticated,
            Forbidden,
            RegistrationClosed,
            DomainNotProved,
            NotFound,
            NotAcceptable,
            TooSlow,
            TooLarge,
            UnsupportedType,
            InvalidRequest,
        ],
        "getProof" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, InvalidRequest],
        "checkProof" => {
            &[Malformed, Unauthenticated, Forbidden, RegistrationClosed, NotFound, NotAcceptable, InvalidRequest]
        }
        "deleteProof" => &[Malformed, Unauthenticated, Forbidden, NotFound, InvalidRequest],
        "listProofs" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable],
        "listTokens" | "listInvitations" | "listZones" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable],
        "deleteToken" | "deleteInvitation" => &[Malformed, Unauthenticated, Forbidden, NotFound],
        "reloadZones" => &[Malformed, Unauthenticated, Forbidden, NotAcceptable, InvalidRequest],
        "exportZone" => &[Malformed, Unauthenticated, Forbidden, NotFound, NotAcceptable, Stale, InvalidRequest],
        // Open to everybody, and not limited (API-82).
        _ => return vec![Internal, Unavailable],
    };
    own.iter().copied().chain([RateLimited, Internal, Unavailable]).collect()
}

/// What an operation answers when all goes well, by its status.
fn example(operation: &str, status: &str) -> Option<Value> {
    let node = json!({
        "targets": [{
            "host": "sip.debug.ostn.test", "port": 5061, "priority": 10, "weight": 0, "addresses": ["203.0.113.7"]
        }],
        "numbers": [], "ttl": 60, "keys": [], "sources": []
    });
    let records = json!([
        {"owner": "debug.ostn.test", "ttl": 60, "type": "NAPTR",
         "data": "10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.debug.ostn.test."},
        {"owner": "_sips._tcp.debug.ostn.test", "ttl": 60, "type": "SRV", "data": "10 0 5061 sip.debug.ostn.test."},
        {"owner": "sip.debug.ostn.test", "ttl": 60, "type": "A", "data": "203.0.113.7"}
    ]);
    let registration = json!({
        "domain": "debug.ostn.test", "etag": "\"12\"", "created": "2026-01-31T12:00:00Z",
        "updated": "2026-01-31T12:00:00Z", "state": "active", "since": "2026-01-31T12:00:00Z",
        "lease_until": "2026-02-07T12:00:00Z", "node": node
    });
    let member = json!({
        "domain": "debug.ostn.test", "state": "active", "lease_until": "2026-02-07T12:00:00Z",
        "node": {
            "targets": [{
                "host": "sip.debug.ostn.test", "port": 5061, "priority": 10, "weight": 0, "addresses": ["203.0.113.7"]
            }],
            "ttl": 60, "keys": [], "sources": []
        },
        "numbers": []
    });
    let mut reset = registration.clone();
    reset["key"] = json!({
        "thumbprint": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "serial": 7, "reset_at": "2026-02-03T12:00:00Z"
    });
    let change = |effect: &str| {
        json!({
            "domain": "debug.ostn.test", "effect": effect, "dry_run": false, "serial": 12, "etag": "\"12\"",
            "state": "active", "lease_until": "2026-02-07T12:00:00Z", "node": node, "records": records, "normalised": [], "warnings": []
        })
    };
    let token = json!({
        "id": "k7Qd0c2n", "role": "node", "admin": false, "names": ["debug.ostn.test"],
        "actions": ["publish", "renew", "operate", "read"], "label": "debug node", "origin": "admin", "moderated": false,
        "created": "2026-01-31T12:00:00Z", "expires": "2027-01-31T12:00:00Z"
    });
    let proof = json!({
        "domain": "example.org", "key": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "state": "pending", "challenges": [{
            "method": "dns", "state": "pending", "token": "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
            "token_until": "2026-02-07T12:00:00Z", "tries": 0, "record": {
                "name": "_tandem.example.org", "value": "tandem-key=kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                "line": "_tandem.example.org. 3600 IN TXT \"tandem-key=kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\""
            }
        }]
    });
    let invitation = json!({
        "id": "k7Qd0c2n4xZa", "domain": "example.org", "label": "example", "created": "2026-01-31T12:00:00Z",
        "expires": "2026-02-07T12:00:00Z"
    });
    let claim = json!({
        "id": "k7Qd0c2n4xZa", "block": "+155502", "domain": "debug.ostn.test", "created": "2026-01-31T12:00:00Z",
        "expires": "2026-03-02T12:00:00Z", "state": "pending"
    });
    Some(match (operation, status) {
        ("putNode", "200") => change("replaced"),
        ("putNode", "201") => change("created"),
        ("renewNode", "200") => json!({
            "domain": "debug.ostn.test", "state": "active", "lease_seconds": 604_800,
            "lease_until": "2026-02-07T12:00:00Z"
        }),
        ("drainNode" | "suspendNode" | "compromiseNode", "200") => {
            let mut moved = change("moved");
            let state = match operation {
                "drainNode" => "draining",
                "suspendNode" => "suspended",
                _ => "compromised",
            };
            moved["state"] = json!(state);
            moved["records"] = json!([]);
            moved
        }
        ("restoreNode" | "approveNode", "200") => change("moved"),
        ("deleteNode" | "rejectNode", "200") => json!({
            "domain": "debug.ostn.test", "effect": "removed", "dry_run": false, "serial": 13, "node": node,
            "records": [], "normalised": [], "warnings": []
        }),
        ("getNode", "200") => registration,
        ("getNodeRecords", "200") => json!({
            "domain": "debug.ostn.test", "records": [records[2]],
            "text": ["sip.debug.ostn.test. 60 IN A 203.0.113.7"]
        }),
        ("getNodeDocument", "200") => {
            json!({"payload": "eyJkb2N1…", "protected": "eyJhbGci…", "signature": "W_KPhUBB…"})
        }
        ("resetNodeKey", "200") => reset,
        ("getNodeProbes", "200") | ("probeNode", "202") => json!({
            "domain": "debug.ostn.test", "enabled": true, "asked": true, "held": false,
            "targets": [{
                "host": "sip.debug.ostn.test", "port": 5061, "down": true, "demoted": true, "failures": 3,
                "next": "2026-01-31T12:05:00Z",
                "looks": [{
                    "address": "203.0.113.7", "at": "2026-01-31T12:00:00Z", "result": "certificate-other-name",
                    "rule": "CERT-20", "detail": "not authenticated: the certificate names other domains, not this one",
                    "failures": 3,
                    "certificate": {
                        "identities": ["other.example"], "not_after": "2026-04-30T00:00:00Z", "sha256": "5a".repeat(32)
                    }
                }]
            }],
            "keys": []
        }),
        ("listNodes", "200") => json!({"nodes": [registration]}),
        ("importNodes", "200") => json!({
            "dry_run": false, "lines": 4, "complete": true, "created": 2, "replaced": 0, "unchanged": 1,
            "refused": [{
                "line": 3, "domain": "other.ostn.test",
                "errors": [{"detail": "the number is claimed by the node debug.ostn.test", "pointer": "#/numbers/0"}]
            }],
            "serial": 12
        }),
        ("followChanges", "200") => json!({
            "changes": [{
                "id": 12, "kind": "change-state", "time": "2026-01-31T12:00:00Z", "domain": "debug.ostn.test",
                "old_state": "active", "state": "compromised", "reason": "host broken into", "serial": 12
            }],
            "last": 12
        }),
        ("listMembers", "200") => json!({"members": [member]}),
        ("getMember", "200") => member,
        ("listAudit", "200") => json!({"entries": [{
            "id": 12, "time": "2026-01-31T12:00:00Z", "kind": "change-state", "subject": "debug.ostn.test",
            "by": "k7Qd0c2n", "old_state": "active", "state": "suspended", "reason": "calls everybody at night"
        }]}),
        ("listNumbers", "200") => json!({"numbers": [
            {"block": "+155502", "domain": "debug.ostn.test", "delegated": true, "node": "debug.ostn.test"}
        ]}),
        ("getNumber", "200") => json!({
            "e164": "+15550201",
            "delegation": {"block": "+155502", "domain": "debug.ostn.test", "created": "2026-01-31T12:00:00Z"},
            "published": {"block": "+155502", "node": "debug.ostn.test"}
        }),
        ("listNumberClaims", "200") => json!({"claims": [claim]}),
        ("claimNumber", "201") | ("rejectNumberClaim", "200") => claim,
        ("approveNumberClaim" | "delegateNumber", "200") => json!({
            "block": "+155502", "domain": "debug.ostn.test", "created": "2026-01-31T12:00:00Z"
        }),
        ("revokeNumber", "200") => json!({
            "block": "+155502", "domain": "debug.ostn.test", "nodes": ["debug.ostn.test"]
        }),
        ("listZones", "200") => json!({"zones": [{"apex": "ostn.test", "serial": 12}]}),
        ("reloadZones", "200") => json!({
            "zones": [{"apex": "ostn.test", "change": "changed", "added": 2, "removed": 1, "serial": 13}], "served": 4
        }),
        ("exportZone", "200") => {
            json!("ostn.test. 3600 IN SOA ns1.ostn.test. hostmaster.ostn.test. 12 3600 600 604800 30\n")
        }
        ("createToken" | "redeemInvitation" | "createRegistration", "201") | ("rotateToken", "200") => {
            let mut issued = token;
            issued["secret"] = json!("tandem_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            issued
        }
        ("createInvitation", "201") => {
            let mut made = invitation;
            made["code"] = json!("tandem_invite_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            made
        }
        ("createProof", "200" | "202") | ("checkProof", "202") | ("getProof", "200") => proof,
        ("listProofs", "200") => json!({"proofs": [proof]}),
        ("listInvitations", "200") => json!({"invitations": [invitation]}),
        ("listTokens", "200") => json!({"tokens": [token]}),
        ("livez", "200") => json!({"status": "live"}),
        ("readyz", "200") => json!({"status": "ready"}),
        ("openapi", "200") => json!({"openapi": "3.1.0"}),
        _ => return None,
    })
}

fn problem_response(kind: Kind) -> Value {
    let (status, suffix, title) = kind.facts();
    let mut example = json!({
        "type": format!("{TYPE_PREFIX}{suffix}"), "title": title, "status": status.as_u16(),
        "detail": "What happened this time, for people.",
        "instance": "urn:uuid:8e03978e-40d5-43dd-bc93-6894a57f9324"
    });
    match kind {
        Kind::InvalidRequest => {
            let detail = "must be a whole number from 1 to 65535; found 70000";
            example["errors"] = json!([{"detail": detail, "pointer": "#/targets/0/port"}]);
        }
        Kind::Conflict => {
            let detail = "the number is claimed by another node";
            example["errors"] = json!([{"detail": detail, "pointer": "#/numbers/0"}]);
        }
        Kind::Stale => example["current"] = json!("\"12\""),
        Kind::QuotaExceeded => example["limit"] = json!(100),
        Kind::RateLimited => {
            example["limit"] = json!(600);
            example["window_seconds"] = json!(60);
            example["retry_after"] = json!(1);
        }
        Kind::Malformed
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::RegistrationClosed
        | Kind::DomainNotProved
        | Kind::NotFound
        | Kind::MethodNotAllowed
        | Kind::RequestInProgress
        | Kind::KeyReused
        | Kind::NotAcceptable
        | Kind::TooSlow
        | Kind::WrongState
        | Kind::KeyRefused
        | Kind::OldSerial
        | Kind::TooOld
        | Kind::TooLarge
        | Kind::UnsupportedType
        | Kind::PreconditionRequired
        | Kind::Internal
        | Kind::Unavailable => {}
    }
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    let mut content = serde_json::Map::new();
    content.insert(PROBLEM_JSON.into(), json!({"schema": schema, "example": example}));
    json!({"description": format!("{suffix}: {title}."), "content": content})
}

fn document() -> Value {
    let mut document = serde_json::to_value(Description::openapi()).expect("a description is JSON");
    document["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
    document["security"] = json!([{"token": []}]);
    let paths = document["paths"].as_object_mut().expect("a description has paths");
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(serde_json::Map::values_mut) {
        let Some(id) = operation["operationId"].as_str().map(String::from) else { continue };
        let Some(responses) = operation["responses"].as_object_mut() else { continue };
        for (status, response) in responses.iter_mut() {
            // `response["content"]` would put a null there.
            let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { continue };
            if let Some(example) = example(&id, status) {
                content.values_mut().for_each(|media| media["example"] = example.clone());
            }
        }
        for kind in problems(&id) {
            responses.insert(kind.facts().0.as_u16().to_string(), problem_response(kind));
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn api_80_the_copy_in_docs_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os("TANDEM_UPDATE_DOCS").is_some() {
            std::fs::write(&file, text()).unwrap();
        }
        let copy: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert!(copy == document(), "docs/openapi.json is old: run TANDEM_UPDATE_DOCS=1 cargo test -p tandem-api");
    }

    #[test]
    fn api_81_every_operation_is_whole() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut ids = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let at = format!("{method} {path}");
                ids.push(operation["operationId"].as_str().expect(&at));
                assert!(operation["summary"].is_string(), "{at}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
                assert!(responses.contains_key("500"), "{at}");
                for (status, response) in responses {
                    assert!(response.get("content") != Some(&Value::Null), "{at} {status}: a body or none");
                    let Some(content) = response["content"].as_object() else {
                        assert!(["204", "304"].contains(&status.as_str()), "{at} {status}");
                        continue;
                    };
                    for media in content.values() {
                        assert!(media["example"] != Value::Null, "{at} {status}");
                    }
                }
                let body = &operation["requestBody"];
                if let Some(reference) = body["content"]["application/json"]["schema"]["$ref"].as_str() {
                    let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
                    assert!(schema["example"].is_object() || schema["examples"].is_array(), "{at}: {reference}");
                    assert_eq!(schema["additionalProperties"], json!(false), "{at}: API-3");
                }
            }
        }
        let count = ids.len();
        assert!(count >= 20);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "operation ids are unique");
    }

    #[test]
    fn only_targets_is_required() {
        let document = document();
        assert_eq!(document["components"]["schemas"]["NodeDocument"]["required"], json!(["targets"]));
        assert_eq!(document["components"]["schemas"]["Target"]["required"], json!(["host", "port"]));
    }
}
