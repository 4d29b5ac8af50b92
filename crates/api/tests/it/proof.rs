//! Proofs of foreign domains over the API: who begins them, what they open, what stays shut. Nobody looks at DNS here: what a
//! look comes to is told to the store, as the prover does.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};
use tandem_api::{ApiConfig, LimitConfig, ProofRule, RegistrationMode};
use tandem_identity::{CanonicalJson, Claim, NodeKey, SignedDocument};
use tandem_probe::Trust;
use tandem_store::proof::PROOF_LIFE;
use tandem_store::{ProofId, ProofMethod, ProofOutcome};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::service::{Answer, Service, document};

fn start(registration: RegistrationMode, proofs: ProofRule) -> Service {
    // As over the network: every stranger comes from one source.
    let limits = LimitConfig { registrations_per_hour: 0, looks_per_hour: 5, ..LimitConfig::default() };
    Service::start_with(|dir| ApiConfig {
        registration,
        proofs,
        limits,
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    })
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn thumbprint(key: &NodeKey) -> String {
    key.public_key().thumbprint().to_string()
}

fn new_proof(domain: &str, key: &NodeKey) -> String {
    json!({"domain": domain, "method": "dns", "key": thumbprint(key)}).to_string()
}

impl Service {
    /// What the prover does when it has looked.
    fn look(&self, domain: &str, key: &NodeKey, outcome: ProofOutcome) {
        let id = ProofId { domain: domain.parse().unwrap(), key: thumbprint(key).into(), method: ProofMethod::Dns };
        self.runtime.block_on(self.directory.settle_proof(&id, outcome, None)).unwrap().unwrap();
    }

    fn see(&self, domain: &str, key: &NodeKey) {
        self.look(domain, key, ProofOutcome::Seen { valid_until: now() + PROOF_LIFE });
    }

    fn put_signed(&self, token: &str, domain: &str, key: &NodeKey, serial: u64) -> Answer {
        let signed = SignedDocument {
            domain: domain.parse().unwrap(),
            serial,
            issued: now(),
            expires: now() + 3600,
            document: CanonicalJson::parse_object(document(domain).as_bytes()).unwrap(),
            next_key: None,
        };
        let fields = [("authorization", format!("Bearer {token}")), ("content-type", "application/jose+json".into())];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.send_raw("PUT", &format!("/v1/nodes/{domain}"), &fields, Some(&signed.sign(key).unwrap()))
    }

    fn claim(&self, domain: &str, token: &str, key: &NodeKey) -> Answer {
        let (domain, token) = (domain.parse().unwrap(), token.parse().unwrap());
        let claim = Claim { domain, token, issued: now(), expires: now() + 60 }.sign(key);
        self.send_raw("POST", "/v1/registrations", &[("content-type", "application/jose+json")], Some(&claim))
    }
}

/// From nothing to a published node, as a stranger with a domain does it.
#[test]
fn a_stranger_with_a_domain_becomes_a_member() {
    let service = start(RegistrationMode::Open, ProofRule::Strangers);
    let key = NodeKey::generate().unwrap();
    let ask = json!({"domain": "example.org"}).to_string();
    let refused = service.send_raw("POST", "/v1/registrations", &[], Some(&ask));
    assert_eq!((refused.status, refused.problem().as_str()), (403, "domain-not-proved"));
    assert!(refused.text.contains("tandem prove"), "{}", refused.text);

    let begun = service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof("Example.ORG", &key)));
    assert_eq!((begun.status, begun.field("retry-after")), (202, Some("5")), "API-43 {}", begun.text);
    let place = begun.field("location").unwrap().to_owned();
    assert_eq!(place, format!("/v1/proofs/example.org/{}", thumbprint(&key)));
    let challenge = begun.json()["challenges"][0].clone();
    let line = format!("_tandem.example.org. 3600 IN TXT \"tandem-key={}\"", thumbprint(&key));
    assert_eq!((&challenge["state"], &challenge["record"]["line"]), (&json!("pending"), &json!(line)));
    let token = challenge["token"].as_str().unwrap().to_owned();
    // API-60: 256 bits. The same again while it is open is the same challenge.
    assert_eq!(token.len(), 43);
    let again = service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof("example.org", &key)));
    assert_eq!(again.json()["challenges"][0]["token"], token.as_str());
    let early = service.claim("example.org", &token, &key);
    assert_eq!((early.status, early.problem().as_str()), (403, "domain-not-proved"));

    service.see("example.org", &key);
    let proof = service.send_raw("GET", &place, &[], None);
    assert_eq!((proof.status, proof.field("retry-after"), &proof.json()["state"]), (200, None, &json!("valid")));
    // That there is a proof is no secret; only who has the key gets a token.
    let thief = NodeKey::generate().unwrap();
    assert_eq!(service.claim("example.org", &token, &thief).status, 403);
    let other_directory = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    assert_eq!(service.claim("example.org", other_directory, &key).status, 422, "a claim for another challenge");
    let made = service.claim("example.org", &token, &key);
    assert_eq!(made.status, 201, "{}", made.text);
    let first = made.json()["secret"].as_str().unwrap().to_owned();

    let unsigned = service.send_as(&first, "PUT", "/v1/nodes/example.org", Some(&document("example.org")));
    assert_eq!((unsigned.status, unsigned.problem().as_str()), (403, "domain-not-proved"), "the key has to sign");
    assert_eq!(service.put_signed(&first, "example.org", &thief, 1).status, 403);
    assert_eq!(service.put_signed(&first, "example.org", &key, 1).status, 201);
    assert_eq!(service.put_signed(&first, "pbx.example.org", &key, 1).status, 201, "API-69");

    // Whoever lost the token shows the key again; the old one ends.
    let second = service.claim("example.org", &token, &key).json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(service.put_signed(&first, "example.org", &key, 2).status, 401);
    assert_eq!(service.put_signed(&second, "example.org", &key, 2).status, 200);

    // API-68: a lapse stops changes first; the node stays, and may still be withdrawn.
    service.look("example.org", &key, ProofOutcome::Revoked(None));
    let stopped = service.put_signed(&second, "example.org", &key, 3);
    assert_eq!((stopped.status, stopped.problem().as_str()), (403, "domain-not-proved"));
    assert_eq!(service.send("GET", "/v1/nodes/example.org", &[], None).json()["state"], "active");
    assert_eq!(service.send_as(&second, "POST", "/v1/nodes/example.org/renew", None).status, 200);
    assert_eq!(service.send_as(&second, "DELETE", "/v1/nodes/pbx.example.org", None).status, 200);
}

/// API-T24: with a proof of `example.com`.
#[test]
fn what_a_proof_opens_api_t24() {
    let service = start(RegistrationMode::Closed, ProofRule::Everybody);
    let key = NodeKey::generate().unwrap();
    let token = service.token(&["example.com", "com", "example.org"]);
    let begun = service.send_as(&token, "POST", "/v1/proofs", Some(&new_proof("example.com", &key)));
    assert_eq!(begun.status, 202, "{}", begun.text);
    service.see("example.com", &key);
    for (domain, status) in [("a.example.com", 201), ("example.com", 201), ("com", 403), ("example.org", 403)] {
        let answer = service.put_signed(&token, domain, &key, 1);
        assert_eq!(answer.status, status, "{domain}: {}", answer.text);
    }
    // An admin may publish anything, and names in our zones need no proof.
    assert_eq!(service.send("PUT", "/v1/nodes/example.org", &[], Some(&document("example.org"))).status, 201);
    let ours = service.token(&["debug.ostn.test"]);
    let put = service.send_as(&ours, "PUT", "/v1/nodes/debug.ostn.test", Some(&document("debug.ostn.test")));
    assert_eq!(put.status, 201);
    // Where only strangers have to prove, an admin's token is enough.
    let lenient = start(RegistrationMode::Closed, ProofRule::Strangers);
    let token = lenient.token(&["example.org"]);
    let put = lenient.send_as(&token, "PUT", "/v1/nodes/example.org", Some(&document("example.org")));
    assert_eq!(put.status, 201, "{}", put.text);
}

#[test]
fn what_is_refused() {
    let service = start(RegistrationMode::Open, ProofRule::Strangers);
    let key = NodeKey::generate().unwrap();
    for (domain, part) in [
        ("com", "public suffix"),
        ("github.io", "public suffix"),
        ("debug.ostn.test", "zone served here"),
        ("192.0.2.1", "IP address"),
    ] {
        let answer = service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof(domain, &key)));
        assert_eq!((answer.status, answer.pointers()), (422, vec!["#/domain".to_owned()]), "{}", answer.text);
        assert!(answer.text.contains(part), "{domain}: {}", answer.text);
    }
    let place = format!("/v1/proofs/example.org/{}", thumbprint(&key));
    for (method, path) in [("GET", place.clone()), ("POST", format!("{place}/check"))] {
        assert_eq!(service.send_raw(method, &path, &[], None).status, 404, "nothing was begun");
    }
    assert_eq!(service.send_raw("GET", "/v1/proofs/example.org/short", &[], None).status, 404);
    assert_eq!(service.send_raw("GET", "/v1/proofs", &[], None).status, 401);
    assert_eq!(service.send_raw("DELETE", &place, &[], None).status, 401);
    // A token for another name sees nothing of it (API-24).
    let other = service.token(&["other.org"]);
    assert_eq!(service.send_as(&other, "POST", "/v1/proofs", Some(&new_proof("example.org", &key))).status, 404);
    // API-31: looks have a limit of their own, for one domain and key.
    let statuses: Vec<u16> = (0..7)
        .map(|_| service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof("example.org", &key))).status)
        .collect();
    assert_eq!(statuses, [202, 202, 202, 202, 202, 429, 429]);
    let another = NodeKey::generate().unwrap();
    assert_eq!(service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof("example.org", &another))).status, 202);
    // Without a certificate nothing is proved by one.
    let mtls = json!({"domain": "a.example.org", "method": "mtls", "key": thumbprint(&key)}).to_string();
    assert_eq!(service.send_raw("POST", "/v1/proofs", &[], Some(&mtls)).problem(), "domain-not-proved");
    for (mode, rule, status) in [
        (RegistrationMode::Closed, ProofRule::Strangers, 401),
        (RegistrationMode::Moderated, ProofRule::Strangers, 401),
        (RegistrationMode::Open, ProofRule::Off, 403),
    ] {
        let service = start(mode, rule);
        let answer = service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof("example.org", &key)));
        assert_eq!(answer.status, status, "{mode:?} {rule:?}");
    }
}

#[test]
fn proofs_are_listed_corrected_and_taken_back() {
    let service = start(RegistrationMode::Open, ProofRule::Strangers);
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    for (domain, key) in [("b.org", &key), ("a.org", &other), ("a.org", &key)] {
        assert_eq!(service.send_raw("POST", "/v1/proofs", &[], Some(&new_proof(domain, key))).status, 202);
    }
    service.see("b.org", &key);
    service.look("a.org", &key, ProofOutcome::Failed("2 different keys are named".into()));
    let list = service.send("GET", "/v1/proofs?limit=2", &[], None);
    assert_eq!(list.json()["proofs"].as_array().unwrap().len(), 2);
    let link = list.field("link").unwrap();
    let next = link.split(", ").find(|link| link.contains("rel=\"next\"")).unwrap();
    let next = next.split(['<', '>']).nth(1).unwrap();
    let rest: Value = service.send("GET", next, &[], None).json();
    assert_eq!(rest["proofs"][0]["domain"], "b.org");
    let own = service.token(&["a.org"]);
    assert_eq!(service.send_as(&own, "GET", "/v1/proofs", None).json()["proofs"].as_array().unwrap().len(), 2);

    let place = format!("/v1/proofs/a.org/{}", thumbprint(&key));
    let failed = service.send_raw("GET", &place, &[], None).json();
    assert_eq!((&failed["state"], &failed["challenges"][0]["state"]), (&json!("invalid"), &json!("invalid")));
    assert_eq!(failed["challenges"][0]["error"], "2 different keys are named");
    // Corrected: it is looked for again, by a new challenge (API-60).
    let again = service.send_raw("POST", &format!("{place}/check"), &[], None);
    assert_eq!((again.status, &again.json()["state"]), (202, &json!("pending")));
    assert_ne!(again.json()["challenges"][0]["token"], failed["challenges"][0]["token"]);
    service.see("a.org", &key);

    assert_eq!(service.send_as(&own, "DELETE", &place, None).status, 403);
    assert_eq!(service.send("DELETE", &place, &[], None).status, 204);
    assert_eq!(service.send("DELETE", &place, &[], None).status, 404);
    assert_eq!(service.send("GET", &place, &[], None).json()["state"], "revoked");
    let audit = service.send("GET", "/v1/audit?domain=a.org", &[], None).json();
    let kinds: Vec<&str> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["proof-revoked", "proof-valid", "proof-begun", "proof-invalid", "proof-begun", "proof-begun"]);
    assert!(!audit.to_string().contains(again.json()["challenges"][0]["token"].as_str().unwrap()), "API-84");
}

/// API-65: the certificate of the domain's server, which is for servers only, shows that its holder has the domain.
#[test]
fn a_client_certificate_proves_its_domain_api_65() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = |params| CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (ours, stranger) = (authority(params.clone()), authority(params));
    let (trust, unreadable) = Trust::new([ours.as_ref().der().clone()]);
    assert_eq!(unreadable, 0);
    let service = Service::start_with(|dir| ApiConfig {
        registration: RegistrationMode::Open,
        client_trust: Some(trust),
        certificate: Some(tandem_api::self_signed(dir, &[], &[]).unwrap()),
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    let chain = std::fs::read(service.dir.path().join("api.crt")).unwrap();
    let server = Certificate::from_pem(&chain).unwrap();
    let key = NodeKey::generate().unwrap();
    let send = |client: Option<ClientCert>, domain: &str| {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::from(vec![server.clone()]))
            .client_cert(client)
            .build();
        let agent = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().new_agent();
        let body = json!({"domain": domain, "method": "mtls", "key": thumbprint(&key)}).to_string();
        let sent = agent.post(format!("{}/v1/proofs", service.url)).content_type("application/json").send(&body);
        let mut response = sent.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str::<Value>(&text).unwrap())
    };
    let certificate = |name: &str, issuer: &CertifiedIssuer<'_, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let made = params.signed_by(&key, issuer).unwrap();
        let chain = [Certificate::from_der(made.der()).to_owned()];
        ClientCert::new_with_certs(&chain, PrivateKey::from_pem(key.serialize_pem().as_bytes()).unwrap())
    };
    for (id, client, domain, status) in [
        ("no certificate", None, "example.org", 403),
        ("of a stranger's authority", Some(certificate("example.org", &stranger)), "example.org", 403),
        ("of another name", Some(certificate("other.org", &ours)), "example.org", 403),
        ("of a name below", Some(certificate("sip.example.org", &ours)), "example.org", 403),
        ("of a name above", Some(certificate("example.org", &ours)), "sip.example.org", 403),
        ("the domain's", Some(certificate("example.org", &ours)), "example.org", 200),
    ] {
        let (found, body) = send(client, domain);
        assert_eq!(found, status, "{id}: {body}");
        let is_proved = service.directory.is_proved(&"example.org".parse().unwrap(), &thumbprint(&key));
        assert_eq!(is_proved, status == 200, "{id}");
        if status == 200 {
            assert_eq!((&body["state"], &body["challenges"][0]["method"]), (&json!("valid"), &json!("mtls")));
        }
    }
}
