//! Clients with certificates of all kinds, over real handshakes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

type Chain = Vec<CertificateDer<'static>>;

struct World {
    authority: CertifiedIssuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
}

impl World {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { authority, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    fn certificate(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (Chain, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// The chain that a server with our verifier sees of a client; `None` if the handshake fails.
    async fn seen(&self, client: Option<(Chain, PrivateKeyDer<'static>)>) -> Option<Chain> {
        let (chain, key) = self.certificate("directory.test", ExtendedKeyUsagePurpose::ServerAuth);
        let server = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(AnyClientCertificate::new())
            .with_single_cert(chain, key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.as_ref().der().clone()).unwrap();
        let ours = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let ours = match client {
            None => ours.with_no_client_auth(),
            Some((chain, key)) => {
                // Not `with_client_auth_cert`: that looks whether the key fits.
                let key = self.provider.key_provider.load_private_key(key).unwrap();
                let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
                ours.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("directory.test").unwrap();
            TlsConnector::from(Arc::new(ours)).connect(name, stream).await.ok()
        });
        let (stream, _) = listener.accept().await.unwrap();
        let accepted = TlsAcceptor::from(Arc::new(server)).accept(stream).await.ok();
        let _stream = client.await.unwrap();
        accepted.map(|stream| stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec())
    }

    fn possession(&self) -> Possession {
        Possession::new(Trust::new([self.authority.as_ref().der().clone()]).0)
    }
}

/// API-65: a certificate for servers only is accepted; the usual verifier would end the handshake.
#[tokio::test]
async fn certificates_for_servers_prove_their_domain_api_65() {
    let world = World::new();
    let client = world.certificate("example.org", ExtendedKeyUsagePurpose::ServerAuth);
    let chain = world.seen(Some(client)).await.unwrap();
    let leaf = world.possession().identities(&chain, UnixTime::now()).unwrap();
    assert_eq!(leaf.identities, ["example.org".into()]);
    // The same chain, where its authority is nobody.
    let strangers = Possession::new(Trust::new([]).0);
    assert!(matches!(strangers.identities(&chain, UnixTime::now()), Err(Distrust::Chain(_))));
}

#[tokio::test]
async fn who_has_not_the_key_has_nothing() {
    let world = World::new();
    // CERT-23: no certificate is fine, and proves nothing.
    let none = world.seen(None).await.unwrap();
    assert!(none.is_empty());
    assert!(world.possession().identities(&none, UnixTime::now()).is_err());
    // Another's certificate, which everybody can fetch, with a key of one's own.
    let (chain, _) = world.certificate("example.org", ExtendedKeyUsagePurpose::ServerAuth);
    let (_, key) = world.certificate("evil.test", ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(world.seen(Some((chain, key))).await, None);
    // For something else altogether.
    let client = world.certificate("example.org", ExtendedKeyUsagePurpose::CodeSigning);
    let chain = world.seen(Some(client)).await.unwrap();
    assert!(matches!(world.possession().identities(&chain, UnixTime::now()), Err(Distrust::Chain(_))));
    // No name in it.
    let key = KeyPair::generate().unwrap();
    let nameless = CertificateParams::default().signed_by(&key, &world.authority).unwrap();
    let client = (vec![nameless.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    let chain = world.seen(Some(client)).await.unwrap();
    assert_eq!(world.possession().identities(&chain, UnixTime::now()), Err(Distrust::NoIdentity));
}
