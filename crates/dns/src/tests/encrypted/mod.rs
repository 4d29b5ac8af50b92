//! DNS over TLS, HTTPS and QUIC against clients of other people's making: whole servers, on port 0. Helpers.

mod https;
mod quic;
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tandem_zone::Live;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Query, zones};
use crate::config::{CertificateFiles, Encrypted};
use crate::{Config, DnsServer, TcpLimits};

/// Longer than anything here takes on a busy machine; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The name in the certificate.
const NAME: &str = "ns.node.test";

/// Asks for padding (RFC 7830 3): an OPT record with the option, eight octets long.
const PADDING_ASKED: [u8; 12] = [0, 12, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];

/// A server of all three, and the folder of its certificate.
struct Fixture {
    server: DnsServer,
    files: CertificateFiles,
    _folder: TempDir,
}

impl Fixture {
    fn start() -> Self {
        Self::with(TcpLimits::default())
    }

    fn with(limits: TcpLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles { chain: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        make_certificate(&files);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(vec![any]);
        config.tcp = limits;
        config.encrypted =
            Encrypted { tls: vec![any], https: vec![any], quic: vec![any], certificate: Some(files.clone()) };
        let server = DnsServer::start(&config, &Live::new(zones())).unwrap();
        Self { server, files, _folder: folder }
    }

    /// Trusts the certificate that is in the file now.
    fn client(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.files.chain).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    async fn tls(&self, address: SocketAddr, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(self.client(alpn)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    async fn dot(&self) -> TlsStream<TcpStream> {
        self.tls(self.server.tls_addrs()[0], b"dot").await.unwrap()
    }
}

fn make_certificate(files: &CertificateFiles) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    fs::write(&files.chain, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
}

/// The query with ID 0, as DoH and DoQ want it.
fn id_0(mut query: Query) -> Vec<u8> {
    query.0[..2].fill(0);
    query.0
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let len = stream.read_u16().await.unwrap();
        let mut answer = vec![0; len.into()];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, read).await.expect("an answer in time")
}

/// Waits until the server has closed the connection; what it sent before.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset closes as well as an end does.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
    rest
}

/// Octets of the padding option in an answer, if it has one.
fn padding_of(answer: &[u8]) -> Option<usize> {
    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    let message = Message::from_vec(answer).expect("hickory-proto decodes what we send");
    match message.edns?.option(EdnsCode::Padding)? {
        EdnsOption::Unknown(12, octets) => {
            assert!(octets.iter().all(|octet| *octet == 0));
            Some(octets.len())
        }
        other => panic!("{other:?}"),
    }
}
