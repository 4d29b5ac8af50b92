//! Challenges met and missed, over real handshakes on loopback.

use std::net::Ipv4Addr;

use tandem_identity::{ChallengeToken, NodeKey};

use super::*;
use crate::address::AddressRule;

fn domain() -> DomainName {
    DomainName::parse("example.org").unwrap()
}

fn authorization(random: u8) -> KeyAuthorization {
    use std::sync::LazyLock;
    static KEY: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::generate().unwrap());
    KeyAuthorization::new(&ChallengeToken::new(&[random; 32]), KEY.public_key().thumbprint())
}

fn challenger() -> TlsChallenger {
    TlsChallenger::new(SafeConnector::new(AddressRule::global([]).with_loopback()))
}

/// What the challenger says of a server with such a certificate and these protocols.
async fn judged(params: &CertificateParams, protocols: &[&[u8]]) -> Result<(), ChallengeError> {
    let (certificate, key) = certificate(params).unwrap();
    let mut config = config(certificate, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(answer(listener, TlsAcceptor::from(Arc::new(config))));
    let result = challenger().prove(&domain(), &[address], &authorization(1)).await;
    task.abort();
    result
}

fn params(names: Vec<SanType>, extensions: Vec<CustomExtension>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.custom_extensions = extensions;
    params
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.to_owned().try_into().unwrap())
}

#[tokio::test]
async fn certificates_api_t26() {
    let digest = authorization(1).digest();
    let right = || CustomExtension::new_acme_identifier(&digest);
    let octets = [&[4, 32][..], &digest].concat();
    let weak = CustomExtension::from_oid_content(EXTENSION, octets.clone());
    let mut longer = CustomExtension::from_oid_content(EXTENSION, [&octets[..], &[0]].concat());
    longer.set_criticality(true);
    let mut bare = CustomExtension::from_oid_content(EXTENSION, digest.to_vec());
    bare.set_criticality(true);
    let wrong = CustomExtension::new_acme_identifier(&authorization(2).digest());
    let own = || dns("example.org");
    let uri = SanType::URI("sip:example.org".to_owned().try_into().unwrap());
    for (id, names, extensions, expected) in [
        ("right", vec![own()], vec![right()], "met"),
        ("right, upper case", vec![dns("EXAMPLE.ORG")], vec![right()], "met"),
        ("two names", vec![own(), dns("b.example.org")], vec![right()], "alternative name"),
        ("the same name twice", vec![own(), own()], vec![right()], "alternative name"),
        ("a URI beside it", vec![own(), uri], vec![right()], "alternative name"),
        ("another name", vec![dns("a.example.org")], vec![right()], "alternative name"),
        ("a wildcard", vec![dns("*.org")], vec![right()], "alternative name"),
        ("no name", vec![], vec![right()], "alternative name"),
        ("not critical", vec![own()], vec![weak], "no critical extension"),
        ("no extension", vec![own()], vec![], "no critical extension"),
        ("octets behind it", vec![own()], vec![longer], "no critical extension"),
        ("no OCTET STRING", vec![own()], vec![bare], "no critical extension"),
        ("wrong digest", vec![own()], vec![wrong], "digest differs"),
    ] {
        let result = judged(&params(names, extensions), &[PROTOCOL]).await;
        let said = result.map_or_else(|error| error.to_string(), |()| "met".to_owned());
        assert!(said.contains(expected), "{id}: {said}");
    }
}

#[tokio::test]
async fn a_usual_server_does_not_answer() {
    let right =
        params(vec![dns("example.org")], vec![CustomExtension::new_acme_identifier(&authorization(1).digest())]);
    // No ALPN at all: the handshake goes through, and counts for nothing.
    assert!(matches!(judged(&right, &[]).await, Err(ChallengeError::Protocol)));
    // ACME's own protocol: a certificate authority's challenge is not ours.
    assert!(matches!(judged(&right, &[b"acme-tls/1", b"h2"]).await, Err(ChallengeError::Tls(_))));
}

#[tokio::test]
async fn the_responder_answers_for_its_domain() {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let responder = Responder::start(here, &domain(), &authorization(1)).await.unwrap();
    let challenger = challenger();
    for _ in 0..2 {
        challenger.prove(&domain(), &[responder.address()], &authorization(1)).await.unwrap();
    }
    let other = DomainName::parse("other.example.org").unwrap();
    let result = challenger.prove(&other, &[responder.address()], &authorization(1)).await;
    assert!(matches!(result, Err(ChallengeError::Names)), "{result:?}");
    let result = challenger.prove(&domain(), &[responder.address()], &authorization(2)).await;
    assert!(matches!(result, Err(ChallengeError::Digest)), "{result:?}");
    assert!(matches!(
        Responder::start(responder.address(), &domain(), &authorization(1)).await,
        Err(ResponderError::Bind { .. })
    ));
    // API-67, API-69: where nobody is asked at all.
    let strict = TlsChallenger::new(SafeConnector::new(AddressRule::global([])));
    let result = strict.prove(&domain(), &[responder.address()], &authorization(1)).await;
    assert!(matches!(result, Err(ChallengeError::Connect(ConnectError::Refused(_)))), "{result:?}");
    let suffix = DomainName::parse("co.uk").unwrap();
    let result = challenger.prove(&suffix, &[responder.address()], &authorization(1)).await;
    assert!(matches!(result, Err(ChallengeError::PublicSuffix)), "{result:?}");
    // Dropped, it is gone.
    let address = responder.address();
    drop(responder);
    let gone = async {
        while challenger.prove(&domain(), &[address], &authorization(1)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(HANDSHAKE_TIMEOUT, gone).await.unwrap();
}
