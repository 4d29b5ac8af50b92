use tandem_identity::{CanonicalJson, NodeKey};

use super::*;
use crate::directory::parse_body;

const NOW: u64 = 1_790_000_000;
const DAY: u64 = 86_400;

fn domain() -> DomainName {
    DomainName::parse("a.test").unwrap()
}

fn jws(key: &NodeKey, serial: u64, host: &str, next: Option<&NodeKey>) -> String {
    let text = format!(r#"{{"contact":"me","targets":[{{"host":"{host}","port":5061}}]}}"#);
    let document = SignedDocument {
        domain: domain(),
        serial,
        issued: NOW - 10,
        expires: NOW + 30 * DAY,
        document: CanonicalJson::parse_object(text.as_bytes()).unwrap(),
        next_key: next.map(|key| key.public_key().thumbprint()),
    };
    document.sign(key).unwrap()
}

/// What the directory says: its own words name a host that no key ever signed.
fn body(state: &str, signed: Option<String>, reset_at: Option<&str>) -> MemberBody {
    let mut value = serde_json::json!({
        "domain": "a.test", "state": state, "lease_until": "2026-10-01T00:00:00Z",
        "node": {"targets": [{"host": "words.example", "port": 5061}], "ttl": 60, "keys": [], "sources": []},
    });
    if let Some(text) = signed {
        value["signed"] = text.into();
    }
    if let Some(at) = reset_at {
        value["key"] = serde_json::json!({"thumbprint": "x", "serial": 1, "reset_at": at});
    }
    parse_body(value.to_string().as_bytes()).unwrap()
}

fn host(member: &Member) -> String {
    member.node.as_ref().unwrap().targets()[0].host.to_string()
}

fn take(verdict: Verdict) -> Member {
    match verdict {
        Verdict::Take(member) => member,
        Verdict::Keep(_, refusal) => panic!("refused: {refusal}"),
    }
}

fn keep(verdict: Verdict) -> (Option<Member>, Refusal) {
    match verdict {
        Verdict::Take(member) => panic!("believed: {member:?}"),
        Verdict::Keep(member, refusal) => (member, refusal),
    }
}

fn with(member: &Member) -> Memory<'_> {
    Memory { member: Some(member), ..Memory::default() }
}

#[test]
fn a_key_keeps_its_domain() {
    let trust = TrustConfig::default();
    let decide = |signed: Option<String>, memory: Memory<'_>, now| {
        judge(&trust, &domain(), body("active", signed, None), memory, now)
    };
    let (key, next, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let first = take(decide(Some(jws(&key, 5, "one.test", Some(&next))), Memory::default(), NOW));
    assert_eq!(host(&first), "one.test", "what the key signed counts, not what the directory says");
    assert!(first.node.as_ref().unwrap().contact.is_none());
    // The same key, and the one that it named.
    assert_eq!(host(&take(decide(Some(jws(&key, 6, "two.test", None)), with(&first), NOW))), "two.test");
    let moved = take(decide(Some(jws(&next, 7, "three.test", None)), with(&first), NOW));
    // The old key has no say any more.
    let (kept, refusal) = keep(decide(Some(jws(&key, 8, "four.test", None)), with(&moved), NOW));
    assert!(matches!(refusal, Refusal::Held { .. }), "{refusal}");
    assert_eq!(host(&kept.unwrap()), "three.test");
    // A roll-back, another text with the same serial, and the same text again.
    let (kept, refusal) = keep(decide(Some(jws(&key, 4, "old.test", None)), with(&first), NOW));
    assert_eq!((refusal, host(&kept.unwrap()).as_str()), (Refusal::RolledBack { serial: 4, known: 5 }, "one.test"));
    let (_, refusal) = keep(decide(Some(jws(&key, 5, "fork.test", Some(&next))), with(&first), NOW));
    assert_eq!(refusal, Refusal::RolledBack { serial: 5, known: 5 });
    assert_eq!(host(&take(decide(Some(jws(&key, 5, "one.test", Some(&next))), with(&first), NOW))), "one.test");
    // Forged, expired, for another domain.
    let good = jws(&key, 9, "nine.test", None);
    let forged = good.replacen("\"payload\":\"e", "\"payload\":\"f", 1);
    assert!(matches!(keep(decide(Some(forged), with(&first), NOW)).1, Refusal::Forged(_)));
    assert!(matches!(keep(decide(Some(good.clone()), with(&first), NOW + 31 * DAY)).1, Refusal::Forged(_)));
    let elsewhere = DomainName::parse("b.test").unwrap();
    let verdict = judge(&trust, &elsewhere, body("active", Some(good), None), Memory::default(), NOW);
    let (nobody, refusal) = keep(verdict);
    assert!(nobody.is_none() && matches!(refusal, Refusal::Forged(_)));
    // Another key: held back, for three days and not less, and anew when it is yet another.
    let stranger = || Some(jws(&other, 10, "other.test", None));
    let (kept, refusal) = keep(decide(stranger(), with(&first), NOW));
    let Refusal::Held { newcomer, since, until } = refusal else { panic!("{refusal}") };
    assert_eq!((since, until, host(&kept.unwrap()).as_str()), (NOW, NOW + 3 * DAY, "one.test"));
    let held = |who| Memory { held: Some((who, NOW)), ..with(&first) };
    assert!(matches!(keep(decide(stranger(), held(newcomer), NOW + 3 * DAY - 1)).1, Refusal::Held { .. }));
    assert!(matches!(keep(decide(stranger(), held(Newcomer::Unsigned), NOW + 3 * DAY)).1, Refusal::Held { .. }));
    assert_eq!(host(&take(decide(stranger(), held(newcomer), NOW + 3 * DAY))), "other.test");
    // Nor does anybody get rid of the key by signing nothing, or by leaving.
    let (kept, refusal) = keep(decide(None, with(&first), NOW));
    assert!(matches!(refusal, Refusal::Held { newcomer: Newcomer::Unsigned, .. }));
    assert_eq!(host(&kept.unwrap()), "one.test");
    let former = Memory { former: first.key.as_deref(), ..Memory::default() };
    let (nobody, refusal) = keep(decide(stranger(), former, NOW));
    assert!(nobody.is_none() && matches!(refusal, Refusal::Held { .. }));
}

#[test]
fn states_count_whoever_signed() {
    let trust = TrustConfig::default();
    let key = NodeKey::generate().unwrap();
    let first = take(judge(
        &trust,
        &domain(),
        body("active", Some(jws(&key, 5, "a.test", None)), None),
        Memory::default(),
        NOW,
    ));
    for state in ["compromised", "suspended", "withdrawn", "some-new-state"] {
        let gone = take(judge(&trust, &domain(), body(state, None, None), with(&first), NOW));
        assert!(gone.node.is_none() && gone.shown().is_none(), "{state}");
        assert_eq!(gone.key, first.key, "{state}: the key is remembered");
    }
    let draining = body("draining", Some(jws(&key, 5, "a.test", None)), None);
    let draining = take(judge(&trust, &domain(), draining, with(&first), NOW));
    assert_eq!(draining.shown().unwrap().targets()[0].priority, 10_010);
    // A refused document does not keep a member from draining.
    let other = NodeKey::generate().unwrap();
    let (kept, _) =
        keep(judge(&trust, &domain(), body("draining", Some(jws(&other, 6, "b.test", None)), None), with(&first), NOW));
    assert_eq!(kept.unwrap().state, MemberState::Draining);
}

#[test]
fn a_reset_counts_only_when_it_was_seen_before() {
    let trust = TrustConfig::default();
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let document = || Some(jws(&key, 5, "a.test", None));
    let first = take(judge(&trust, &domain(), body("active", document(), None), Memory::default(), NOW));
    // The directory says that another key may follow since long ago.
    let past = clock::text(NOW - DAY);
    let told = take(judge(&trust, &domain(), body("active", document(), Some(&past)), with(&first), NOW));
    let at = told.key.as_ref().unwrap().reset_at.unwrap();
    assert_eq!(at, NOW + HOLD_SECONDS - CLOCK_SKEW);
    // Said again, it does not move.
    let again = take(judge(&trust, &domain(), body("active", document(), Some(&past)), with(&told), NOW + DAY));
    assert_eq!(again.key.as_ref().unwrap().reset_at, Some(at));
    let stranger = || body("active", Some(jws(&other, 6, "b.test", None)), None);
    assert!(matches!(keep(judge(&trust, &domain(), stranger(), with(&again), at - 1)).1, Refusal::Held { .. }));
    assert_eq!(host(&take(judge(&trust, &domain(), stranger(), with(&again), at))), "b.test");
}

#[test]
fn pins_and_the_unsigned() {
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let signed = |key: &NodeKey| body("active", Some(jws(key, 5, "a.test", None)), None);
    let none = Memory::default();
    let first_use = TrustConfig::default();
    let plain = take(judge(&first_use, &domain(), body("active", None, None), none, NOW));
    assert!(!plain.is_signed() && host(&plain) == "words.example");
    let refuse = TrustConfig { unsigned: UnsignedPolicy::Refuse, ..TrustConfig::default() };
    assert_eq!(keep(judge(&refuse, &domain(), body("active", None, None), none, NOW)).1, Refusal::Unsigned);
    let pinned = TrustConfig { keys: KeyTrust::Pinned, ..TrustConfig::default() };
    assert_eq!(keep(judge(&pinned, &domain(), signed(&key), none, NOW)).1, Refusal::NotPinned);
    assert_eq!(keep(judge(&pinned, &domain(), body("active", None, None), none, NOW)).1, Refusal::NotPinned);
    let pins = [(domain(), key.public_key().thumbprint())].into();
    let pin = TrustConfig { pins, ..TrustConfig::default() };
    let refused = keep(judge(&pin, &domain(), signed(&other), none, NOW)).1;
    assert!(matches!(refused, Refusal::OtherThanPinned(Newcomer::Key(_))));
    let refused = keep(judge(&pin, &domain(), body("active", None, None), none, NOW)).1;
    assert_eq!(refused, Refusal::OtherThanPinned(Newcomer::Unsigned));
    // A pin is the operator's word: nothing is held back.
    let theirs = take(judge(&first_use, &domain(), signed(&other), none, NOW));
    assert_eq!(host(&take(judge(&pin, &domain(), signed(&key), with(&theirs), NOW))), "a.test");
}
