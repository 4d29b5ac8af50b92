//! Signed documents: put, refused, shown and checked again; and keys that are lost.

use tandem_identity::{CanonicalJson, NodeKey, SignedDocument, Thumbprint};

use crate::service::{Answer, Service, document, document_with};

const DOMAIN: &str = "debug.ostel.me";
const PATH: &str = "/v1/nodes/debug.ostel.me";

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A document for the domain as `key` signs it, changed by `change`.
fn signed(key: &NodeKey, serial: u64, change: impl FnOnce(&mut SignedDocument)) -> String {
    let mut signed = SignedDocument {
        domain: DOMAIN.parse().unwrap(),
        serial,
        issued: now(),
        expires: now() + 3600,
        document: CanonicalJson::parse_object(document(DOMAIN).as_bytes()).unwrap(),
        next_key: None,
    };
    change(&mut signed);
    signed.sign(key).unwrap()
}

fn put(service: &Service, token: &str, body: &str) -> Answer {
    let fields = [("authorization", format!("Bearer {token}")), ("content-type", "application/jose+json".into())];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    service.send_raw("PUT", PATH, &fields, Some(body))
}

fn thumbprint(key: &NodeKey) -> Thumbprint {
    key.public_key().thumbprint()
}

#[test]
fn a_signed_document_is_kept_and_shown() {
    let service = Service::start();
    let token = service.token(&[DOMAIN]);
    let key = NodeKey::generate().unwrap();
    let document_path = format!("{PATH}/document");
    assert_eq!(service.send("GET", &document_path, &[], None).status, 404);
    service.register(DOMAIN);
    assert_eq!(service.send("GET", &document_path, &[], None).status, 404, "it is not signed");

    let first = signed(&key, 1, |_| ());
    let answer = put(&service, &token, &first);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["effect"], "replaced");
    assert_eq!(put(&service, &token, &first).json()["effect"], "unchanged");
    // What the directory shows is what the node signed, and anybody can check it.
    let shown = service.send_as(&token, "GET", &document_path, None);
    assert_eq!(shown.field("content-type"), Some("application/jose+json"));
    assert_eq!(shown.text, first);
    let read = SignedDocument::verify(shown.text.as_bytes()).unwrap();
    read.check(&DOMAIN.parse().unwrap(), thumbprint(&key), now()).unwrap();
    let tag = shown.field("etag").unwrap().to_owned();
    assert_eq!(service.send("GET", &document_path, &[("if-none-match", &tag)], None).status, 304);
    assert_eq!(service.send("GET", &document_path, &[("accept", "text/plain")], None).status, 406);
    let registration = service.send("GET", PATH, &[], None).json();
    assert_eq!(registration["key"]["thumbprint"], thumbprint(&key).to_string());
    assert_eq!(registration["key"]["serial"], 1);
    // API-24: not for others.
    let stranger = service.token(&["other.ostel.me"]);
    assert_eq!(service.send_as(&stranger, "GET", &document_path, None).status, 404);
    assert_eq!(put(&service, &stranger, &signed(&key, 2, |_| ())).status, 404);
    // An admin may replace it by something unsigned: then nothing signed is shown.
    let changed = document_with(DOMAIN, r#","ttl":5"#);
    assert_eq!(service.send("PUT", PATH, &[], Some(&changed)).status, 200);
    assert_eq!(service.send("GET", &document_path, &[], None).status, 404);
    assert_eq!(put(&service, &token, &signed(&key, 2, |_| ())).status, 200);
}

#[test]
fn what_the_key_does_not_allow() {
    let service = Service::start();
    let token = service.token(&[DOMAIN]);
    let (key, next, stranger) =
        (NodeKey::generate().unwrap(), NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let refused = |body: &str, status, problem: &str| {
        let answer = put(&service, &token, body);
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{}", answer.text);
    };
    assert_eq!(put(&service, &token, &signed(&key, 5, |_| ())).status, 201);
    let unsigned = service.send_as(&token, "PUT", PATH, Some(&document(DOMAIN)));
    assert_eq!((unsigned.status, unsigned.problem().as_str()), (403, "key-refused"));
    refused(&signed(&stranger, 6, |_| ()), 403, "key-refused");
    refused(&signed(&key, 4, |_| ()), 409, "old-serial");
    refused(&signed(&key, 5, |signed| signed.expires += 1), 409, "old-serial");
    let dry = format!("{PATH}?dry_run=true");
    let fields = [("content-type", "application/jose+json")];
    let rehearsed = service.send("PUT", &dry, &fields, Some(&signed(&stranger, 6, |_| ())));
    assert_eq!(rehearsed.problem(), "key-refused", "an admin stands above tokens, not above keys");
    assert_eq!(service.send("PUT", &dry, &fields, Some(&signed(&key, 6, |_| ()))).json()["effect"], "replaced");
    // The key names its successor.
    let named = signed(&key, 6, |signed| signed.next_key = Some(thumbprint(&next)));
    assert_eq!(put(&service, &token, &named).status, 200);
    assert_eq!(put(&service, &token, &signed(&next, 7, |_| ())).status, 200);
    refused(&signed(&key, 8, |_| ()), 403, "key-refused");
}

#[test]
fn signatures_that_are_not_good() {
    let service = Service::start();
    let key = NodeKey::generate().unwrap();
    let put = |body: &str| service.send("PUT", PATH, &[("content-type", "application/jose+json")], Some(body));
    let good = signed(&key, 1, |_| ());
    for (id, body, words) in [
        ("altered", good.replacen("\"payload\":\"e", "\"payload\":\"f", 1), "does not fit"),
        ("another domain", signed(&key, 1, |signed| signed.domain = "x.ostel.me".parse().unwrap()), "not for debug"),
        ("expired", signed(&key, 1, |signed| (signed.issued, signed.expires) = (1, 2)), "expired"),
        ("not yet", signed(&key, 1, |signed| signed.issued = now() + 1000), "future"),
        ("unsigned", document(DOMAIN), "missing"),
        ("no JSON", "x".into(), "no flattened JWS"),
    ] {
        let answer = put(&body);
        assert_eq!((answer.status, answer.pointers()), (422, vec!["#".into()]), "{id}: {}", answer.text);
        assert!(answer.text.contains(words), "{id}: {}", answer.text);
    }
    // What is wrong inside is told as in an unsigned one.
    let wrong = CanonicalJson::parse(br#"{"targets":[{"host":"a.debug.ostel.me","port":70000}],"more":1}"#).unwrap();
    let answer = put(&signed(&key, 1, |signed| signed.document = wrong));
    assert_eq!(answer.status, 422);
    assert!(answer.pointers().contains(&"#/targets/0/port".to_owned()), "{}", answer.text);
    assert_eq!(service.send("GET", PATH, &[], None).status, 404, "nothing was registered");
    // A signature that claims to be a plain document is none.
    assert_eq!(service.send("PUT", PATH, &[], Some(&good)).status, 422);
    assert_eq!(service.send("PUT", PATH, &[("content-type", "application/jose")], Some(&good)).status, 415);
}

#[test]
fn a_lost_key_is_reset_by_an_admin() {
    let service = Service::start();
    let token = service.token(&[DOMAIN]);
    let key = NodeKey::generate().unwrap();
    let reset = format!("{PATH}/reset-key");
    assert_eq!(service.send("POST", &reset, &[("if-match", "*")], None).status, 404);
    assert_eq!(put(&service, &token, &signed(&key, 5, |_| ())).status, 201);
    assert_eq!(service.send_as(&token, "POST", &reset, None).status, 403);
    assert_eq!(service.send("POST", &reset, &[], None).status, 428);
    assert_eq!(service.send("POST", &reset, &[("if-match", "\"1\"")], None).status, 412);
    let tag = service.send("GET", PATH, &[], None).etag();
    let answer = service.send("POST", &reset, &[("if-match", &tag)], None);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.json()["key"]["reset_at"].is_string());
    // Not yet: and as the key still signs, nothing comes of it.
    let other = NodeKey::generate().unwrap();
    assert_eq!(put(&service, &token, &signed(&other, 6, |_| ())).problem(), "key-refused");
    assert_eq!(put(&service, &token, &signed(&key, 6, |_| ())).status, 200);
    assert!(service.send("GET", PATH, &[], None).json()["key"]["reset_at"].is_null());
}
