//! The certificate of the redirect server: read anew when its files change, so that renewing it needs no restart.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// The certificate that handshakes use now.
#[derive(Debug)]
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    pub(super) fn load(chain: PathBuf, key: PathBuf) -> io::Result<Arc<Self>> {
        let current = RwLock::new(Arc::new(read(&chain, &key)?));
        Ok(Arc::new(Self { chain, key, current }))
    }

    /// TLS 1.2 and 1.3, no client certificates, no early data; what a client offers of ALPN does not matter (CERT-64).
    pub(super) fn acceptor(self: &Arc<Self>) -> io::Result<TlsAcceptor> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files whenever they changed. Ones that do not fit together, as in the middle of a change, are tried again.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut seen = self.changed();
        loop {
            sleep(LOOK).await;
            let now = self.changed();
            if now == seen {
                continue;
            }
            match read(&self.chain, &self.key) {
                Ok(certificate) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
                    seen = now;
                    tracing::info!("the certificate for SIP was read anew");
                }
                Err(error) => tracing::warn!(%error, "the new certificate for SIP cannot be used: the old one stays"),
            }
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.chain, &self.key].map(|file| fs::metadata(file).and_then(|data| data.modified()).ok())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(chain: &PathBuf, key: &PathBuf) -> io::Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    // Also checks that the two belong together.
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(io::Error::other)
}
