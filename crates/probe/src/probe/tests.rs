//! Probes of real TLS servers on loopback.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tandem_model::node::KeyHolder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::address::AddressRule;

/// A TLS server that takes one connection and says `answer`; the task's value is what it heard, if TLS came about.
struct Peer {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    heard: JoinHandle<Option<String>>,
}

async fn peer(names: &[&str], versions: &[&'static rustls::SupportedProtocolVersion], answer: &'static str) -> Peer {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
        assert_eq!(stream.get_ref().1.server_name(), Some("a.test"), "CERT-22");
        let (mut text, mut octets) = (String::new(), [0; 2048]);
        while !text.contains("\r\n\r\n") {
            match stream.read(&mut octets).await {
                Ok(0) | Err(_) => return Some(text),
                Ok(len) => text.push_str(std::str::from_utf8(&octets[..len]).unwrap()),
            }
        }
        let branch = text.split("branch=").nth(1).unwrap().split(';').next().unwrap();
        let answer = answer.replace("{branch}", branch).replace('\n', "\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
        Some(text)
    });
    Peer { address, certificate, heard }
}

const OK: &str = "SIP/2.0 200 OK\nVia: SIP/2.0/TLS probe.test;branch={branch}\nCSeq: 1 OPTIONS\nl: 0\n\n";
const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn prober(authorities: &[&Peer]) -> Prober {
    let connector = SafeConnector::new(AddressRule::global([]).with_loopback());
    let (trust, unreadable) = Trust::new(authorities.iter().map(|peer| peer.certificate.clone()));
    assert_eq!(unreadable, 0);
    Prober::new(connector, trust, DomainName::parse("probe.test").unwrap())
}

async fn look(prober: &Prober, peer: &Peer, keys: &[KeyPin]) -> Result<Sound, ProbeError> {
    let domain = DomainName::parse("a.test").unwrap();
    let target = ProbeTarget { domain: &domain, addresses: &[peer.address], keys, options: true };
    prober.probe(target, UnixTime::now()).await
}

fn pin(peer: &Peer) -> KeyPin {
    KeyPin { holder: KeyHolder::Node, sha256: crate::name::spki_digest(&peer.certificate).unwrap() }
}

/// CERT-61: over TLS 1.3, and over 1.2.
#[tokio::test]
async fn a_sound_target() {
    for versions in [BOTH, &[&rustls::version::TLS12]] {
        let peer = peer(&["a.test"], versions, OK).await;
        let sound = look(&prober(&[]), &peer, &[pin(&peer)]).await.unwrap();
        assert_eq!((sound.trusted, sound.life), (Trusted::NodeKey, Some(Life::Alive { code: 200 })));
        assert_eq!(sound.leaf.identities, ["a.test".into()]);
        let heard = peer.heard.await.unwrap().unwrap();
        assert!(heard.starts_with("OPTIONS sip:a.test SIP/2.0\r\n"), "{heard}");
    }
}

#[tokio::test]
async fn without_a_match_nothing_is_said() {
    let peer = peer(&["a.test"], BOTH, OK).await;
    let Err(ProbeError::Distrust { leaf, reason: Distrust::Chain(_) }) = look(&prober(&[]), &peer, &[]).await else {
        panic!("trusted")
    };
    assert_eq!(leaf.identities, ["a.test".into()]);
    assert_eq!(peer.heard.await.unwrap(), Some(String::new()), "CERT-20");
}

#[tokio::test]
async fn other_failures_have_names() {
    let silent = peer(&["a.test"], BOTH, "").await;
    let keys = [pin(&silent)];
    let closed = look(&prober(&[]), &silent, &keys).await;
    assert!(matches!(closed, Err(ProbeError::Sip { reason: SipError::Closed, .. })), "{closed:?}");
    // A server without TLS.
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = plain.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n").await.unwrap();
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets).await;
    });
    let domain = DomainName::parse("a.test").unwrap();
    let target = ProbeTarget { domain: &domain, addresses: &[address], keys: &[], options: true };
    let result = prober(&[]).probe(target, UnixTime::now()).await;
    assert!(matches!(result, Err(ProbeError::Tls(TlsError::Handshake(_)))), "{result:?}");
    server.await.unwrap();
    // Nobody there any more.
    let result = prober(&[]).probe(target, UnixTime::now()).await;
    assert!(matches!(result, Err(ProbeError::Connect(ConnectError::Io { .. }))), "{result:?}");
    // An address that is not to be probed: the strict prober never gets there (API-67).
    let strict = Prober::new(
        SafeConnector::new(AddressRule::global([])),
        Trust::new([]).0,
        DomainName::parse("probe.test").unwrap(),
    );
    let result = strict.probe(target, UnixTime::now()).await;
    assert!(matches!(result, Err(ProbeError::Connect(ConnectError::Refused(_)))), "{result:?}");
}

/// Whoever sends an octet now and then, or none, holds a probe up no longer than its own limit (threat 19).
#[tokio::test]
async fn a_tarpit_costs_no_more_than_the_limit() {
    let limit = Duration::from_millis(300);
    for drips in [false, true] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The head of a TLS record that promises 16 KiB, and then nothing or crumbs.
            stream.write_all(&[22, 3, 3, 64, 0]).await.unwrap();
            while drips && stream.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut octets = Vec::new();
            let _ = stream.read_to_end(&mut octets).await;
        });
        let domain = DomainName::parse("a.test").unwrap();
        let target = ProbeTarget { domain: &domain, addresses: &[address], keys: &[], options: true };
        let begun = std::time::Instant::now();
        let result = prober(&[]).with_timeout(limit).probe(target, UnixTime::now()).await;
        assert!(matches!(result, Err(ProbeError::Timeout(_))), "{result:?}");
        assert!(begun.elapsed() >= limit && begun.elapsed() < limit * 10, "{:?}", begun.elapsed());
        server.await.unwrap();
    }
}
