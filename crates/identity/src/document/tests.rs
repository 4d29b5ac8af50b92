//! Documents: signed, read again, and refused for each fault alone.

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::base64url;

const NOW: u64 = 1_790_000_000;

fn domain() -> DomainName {
    DomainName::parse("debug.ostel.me").unwrap()
}

fn document() -> SignedDocument {
    SignedDocument {
        domain: domain(),
        serial: 7,
        issued: NOW,
        expires: NOW + 86_400,
        document: CanonicalJson::parse(br#"{ "targets": [ {"port": 5061, "host": "sip.ostel.me"} ] }"#).unwrap(),
        next_key: None,
    }
}

/// RFC 8037 appendix A.1: a key that everybody knows.
fn key() -> NodeKey {
    let der = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
    NodeKey::from_pem(format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n").as_bytes()).unwrap()
}

/// The octets of one document: a change here makes every signature out there unreadable.
#[test]
fn snapshot() {
    let text = document().sign(&key()).unwrap();
    let members = Value::read(text.as_bytes()).unwrap().into_members().unwrap();
    let part = |name: &str| match &members[name] {
        Value::Text(text) => String::from_utf8_lossy(&base64url().decode(text).unwrap()).into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        part("protected"),
        r#"{"alg":"EdDSA","jwk":{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},"#
            .to_owned()
            + r#""kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","typ":"tandem-document+json"}"#
    );
    assert_eq!(
        part("payload"),
        r#"{"document":{"targets":[{"host":"sip.ostel.me","port":5061}]},"domain":"debug.ostel.me","#.to_owned()
            + r#""expires":1790086400,"issued":1790000000,"serial":7}"#
    );
    let Value::Text(signature) = &members["signature"] else { panic!("no text") };
    // Ed25519 signatures are a function of key and text (RFC 8032 5.1.6).
    assert_eq!(signature, SIGNATURE);
}

const SIGNATURE: &str = "W_KPhUBBVVX5UrL70UfWaB0lRcjHatp7qX3Blkqa-rjEHgJoHCmraKwuEAskwyeJgE1P7UDEPcKpChazmkyYAg";

#[test]
fn good_documents_come_back() {
    for next_key in [None, Some(NodeKey::generate().unwrap().public_key().thumbprint())] {
        let document = SignedDocument { next_key, ..document() };
        let text = document.sign(&key()).unwrap();
        let read = SignedDocument::verify(text.as_bytes()).unwrap();
        let checked = read.check(&domain(), key().public_key().thumbprint(), NOW).unwrap();
        assert_eq!(checked.document, document);
        assert_eq!(checked.key, *key().public_key());
    }
}

#[test]
fn what_is_signed_does_not_fit() {
    let read = || SignedDocument::verify(document().sign(&key()).unwrap().as_bytes()).unwrap();
    let ours = key().public_key().thumbprint();
    let other = DomainName::parse("other.ostel.me").unwrap();
    assert!(matches!(read().check(&other, ours, NOW), Err(VerifyError::OtherDomain { .. })));
    let stranger = NodeKey::generate().unwrap().public_key().thumbprint();
    assert!(matches!(read().check(&domain(), stranger, NOW), Err(VerifyError::OtherKey { .. })));
    for (now, holds) in [
        (NOW - CLOCK_SKEW - 1, false),
        (NOW - CLOCK_SKEW, true),
        (NOW, true),
        (NOW + 86_399, true),
        (NOW + 86_400, false),
        (u64::MAX, false),
        (0, false),
    ] {
        assert_eq!(read().check(&domain(), ours, now).is_ok(), holds, "{now}");
    }
    assert!(matches!(read().check_time(0), Err(VerifyError::NotYet { issued: NOW })));
    assert!(matches!(read().check_time(NOW + 90_000), Err(VerifyError::Expired { .. })));
}

#[test]
fn unsignable() {
    for (issued, expires) in [(NOW, NOW), (NOW, NOW - 1), (NOW, NOW + MAX_VALIDITY + 1), (0, u64::MAX), (u64::MAX, 0)] {
        let document = SignedDocument { issued, expires, ..document() };
        assert!(matches!(document.sign(&key()), Err(SignError::Term)), "{issued} {expires}");
    }
    let late = SignedDocument { serial: MAX_SERIAL + 1, ..document() };
    assert!(matches!(late.sign(&key()), Err(SignError::Serial)));
    let list = SignedDocument { document: CanonicalJson::parse(b"[]").unwrap(), ..document() };
    assert!(matches!(list.sign(&key()), Err(SignError::Document(CanonicalError::NoObject))));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_TEXT - 100));
    let long = SignedDocument { document: CanonicalJson::parse(long.as_bytes()).unwrap(), ..document() };
    assert!(matches!(long.sign(&key()), Err(SignError::TooLong)));
}

/// Signs `header` and `payload` as they are, whatever they say.
fn forge(header: &str, payload: &str) -> String {
    let (protected, payload) = (base64url().encode(header), base64url().encode(payload));
    let signature = base64url().encode(key().sign(format!("{protected}.{payload}").as_bytes()));
    format!(r#"{{"payload":"{payload}","protected":"{protected}","signature":"{signature}"}}"#)
}

fn good_header() -> String {
    let (jwk, kid) = (key().public_key().to_jwk(), key().public_key().thumbprint());
    format!(r#"{{"alg":"EdDSA","jwk":{jwk},"kid":"{kid}","typ":"tandem-document+json"}}"#)
}

const GOOD_PAYLOAD: &str = r#"{"document":{},"domain":"debug.ostel.me","expires":2,"issued":1,"serial":0}"#;

/// The whole chain of an error's messages.
fn said(error: &VerifyError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn refused(id: &str, text: &str, why: &str) {
    let error = SignedDocument::verify(text.as_bytes()).expect_err(id);
    assert!(said(&error).contains(why), "{id}: {}", said(&error));
}

#[test]
fn headers() {
    assert!(SignedDocument::verify(forge(&good_header(), GOOD_PAYLOAD).as_bytes()).is_ok());
    let other = NodeKey::generate().unwrap();
    for (id, from, to, why) in [
        ("no algorithm", r#""alg":"EdDSA","#, "", r#""alg" is missing"#),
        ("none", "EdDSA", "none", r#"algorithm is "none""#),
        ("HS256 with the public key", "EdDSA", "HS256", r#"algorithm is "HS256""#),
        ("RFC 9864 name", "EdDSA", "Ed25519", "algorithm is"),
        ("algorithm in another case", "EdDSA", "eddsa", "algorithm is"),
        ("crit", r#"{"alg""#, r#"{"crit":["b64"],"alg""#, r#"has "crit""#),
        ("b64", r#"{"alg""#, r#"{"b64":false,"alg""#, r#"has "b64""#),
        ("jku", r#"{"alg""#, r#"{"jku":"https://evil.test/","alg""#, r#""jku" is not known"#),
        ("other purpose", "tandem-document+json", "JWT", "signs something else"),
        ("no type", r#","typ":"tandem-document+json""#, "", r#""typ" is missing"#),
        ("a secret in the header", r#""kty""#, r#""d":"AA","kty""#, "no Ed25519 public key"),
        ("X25519", r#""crv":"Ed25519""#, r#""crv":"X25519""#, "no Ed25519 public key"),
        ("EC", "OKP", "EC", "no Ed25519 public key"),
        (
            "kid of another",
            &key().public_key().thumbprint().to_string(),
            &other.public_key().thumbprint().to_string(),
            "kid",
        ),
        ("key of another", &key().public_key().x(), &other.public_key().x(), "kid"),
        ("alg twice", r#""alg":"EdDSA""#, r#""alg":"none","alg":"EdDSA""#, "twice"),
        ("alg no text", r#""EdDSA""#, "1", "not a string"),
    ] {
        let header = good_header().replacen(from, to, 1);
        assert_ne!(header, good_header(), "{id} changes nothing");
        refused(id, &forge(&header, GOOD_PAYLOAD), why);
    }
    // With key and name of another both, the header holds together, and the signature does not.
    let header = good_header()
        .replace(&key().public_key().x(), &other.public_key().x())
        .replace(&key().public_key().thumbprint().to_string(), &other.public_key().thumbprint().to_string());
    refused("wrong key", &forge(&header, GOOD_PAYLOAD), "does not fit");
}

#[test]
fn envelopes() {
    let good = forge(&good_header(), GOOD_PAYLOAD);
    for (id, text, why) in [
        ("unprotected header", good.replacen('{', r#"{"header":{"alg":"EdDSA"},"#, 1), "not known"),
        ("general form", good.replacen('{', r#"{"signatures":[],"#, 1), "not known"),
        ("no signature", good.replace("signature", "sig"), "missing"),
        ("padded", good.replace("\"}", "==\"}"), "not base64url"),
        ("compact form", "a.b.c".to_owned(), "no flattened JWS"),
        ("list", format!("[{good}]"), "not an object"),
        ("two texts", format!("{good}{good}"), "no flattened JWS"),
        ("too large", format!("{good}{}", " ".repeat(MAX_JWS)), "longer"),
        ("empty", String::new(), "no flattened JWS"),
    ] {
        refused(id, &text, why);
    }
}

#[test]
fn payloads() {
    for (id, payload, why) in [
        ("white space", GOOD_PAYLOAD.replacen(':', ": ", 1), "canonical"),
        ("order", GOOD_PAYLOAD.replace(r#""document":{},"#, "").replace('}', r#","document":{}}"#), "canonical"),
        ("upper case", GOOD_PAYLOAD.replace("debug", "DEBUG"), "\"domain\""),
        ("U-label", GOOD_PAYLOAD.replace("debug", "bücher"), "\"domain\""),
        ("final dot", GOOD_PAYLOAD.replace("ostel.me", "ostel.me."), "\"domain\""),
        ("no domain", GOOD_PAYLOAD.replace(r#""domain":"debug.ostel.me","#, ""), "\"domain\""),
        ("no document", GOOD_PAYLOAD.replace(r#""document":{},"#, ""), "\"document\""),
        ("document a list", GOOD_PAYLOAD.replace("{},", "[],"), "\"document\""),
        ("serial below zero", GOOD_PAYLOAD.replace(r#""serial":0"#, r#""serial":-1"#), "\"serial\""),
        ("serial a fraction", GOOD_PAYLOAD.replace(r#""serial":0"#, r#""serial":0.5"#), "\"serial\""),
        ("serial too large", GOOD_PAYLOAD.replace(r#""serial":0"#, r#""serial":9007199254740992"#), "\"serial\""),
        ("serial text", GOOD_PAYLOAD.replace(r#""serial":0"#, r#""serial":"0""#), "\"serial\""),
        ("ends before it begins", GOOD_PAYLOAD.replace(r#""issued":1"#, r#""issued":3"#), "\"expires\""),
        ("holds for ever", GOOD_PAYLOAD.replace(r#""expires":2"#, r#""expires":9007199254740991"#), "\"expires\""),
        ("next key no thumbprint", GOOD_PAYLOAD.replace(r#","serial""#, r#","next_key":"x","serial""#), "\"next_key\""),
        ("next key null", GOOD_PAYLOAD.replace(r#","serial""#, r#","next_key":null,"serial""#), "\"next_key\""),
        ("another member", GOOD_PAYLOAD.replace(r#"{"doc"#, r#"{"a":1,"doc"#), "not known"),
        ("list", "[]".to_owned(), "not an object"),
        ("no JSON", "x".to_owned(), "no JSON object"),
    ] {
        assert_ne!(payload, GOOD_PAYLOAD, "{id} changes nothing");
        refused(id, &forge(&good_header(), &payload), why);
    }
}

/// No octet of a signed document can be changed, whatever it becomes.
#[test]
fn altered_octets() {
    let good = document().sign(&key()).unwrap().into_bytes();
    for at in 0..good.len() {
        for change in [1, 2, 0x20, 0x80] {
            let mut text = good.clone();
            text[at] ^= change;
            assert!(SignedDocument::verify(&text).is_err(), "octet {at} by {change:#x}");
        }
        let mut shorter = good.clone();
        shorter.remove(at);
        assert!(SignedDocument::verify(&shorter).is_err(), "without octet {at}");
    }
}

proptest! {
    #[test]
    fn any_document_comes_back(
        serial in 0..=MAX_SERIAL,
        issued in 0..MAX_WHOLE / 2,
        term in 1..=MAX_VALIDITY,
        member in any::<String>(),
        value in any::<String>(),
        next in any::<bool>(),
    ) {
        let inside = Value::object([(member.as_str(), Value::text(value))]);
        let document = SignedDocument {
            domain: domain(),
            serial,
            issued,
            expires: issued + term,
            document: CanonicalJson::write(&inside),
            next_key: next.then(|| key().public_key().thumbprint()),
        };
        let read = SignedDocument::verify(document.sign(&key()).unwrap().as_bytes()).unwrap();
        prop_assert_eq!(read.document(), &document);
    }

    #[test]
    fn mutated_octets_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let good = document().sign(&key()).unwrap().into_bytes();
        let mut text = good.clone();
        for (at, octet) in changes {
            let at = at.index(text.len());
            text[at] = octet;
        }
        prop_assert!(text == good || SignedDocument::verify(&text).is_err());
    }
}
