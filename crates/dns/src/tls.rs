//! TLS for DoT (DNS-64), DoH and DoQ: the certificate that handshakes use now, and the handshake itself with its limits.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::config::CertificateFiles;
use crate::tcp::Shared;
use crate::tcp::room::Guest;

/// The protocol's name in the handshake of DoT (RFC 7858 3.2, RFC 9103 7.1).
pub(crate) const ALPN: [&[u8]; 1] = [b"dot"];

/// What is wrong with the certificate of the encrypted transports: the files stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{file} cannot be read")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is no PEM text, or has not what it must have.
    #[error("{file} has no {what} in PEM")]
    Pem {
        /// The file.
        file: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with the text.
        #[source]
        source: pem::Error,
    },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("the certificate in {chain} and the key in {key} cannot be used together")]
    Unusable {
        /// The certificate.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
}

/// The certificate that handshakes use now, and where it came from.
pub(crate) struct Certificate {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Loads `files`.
    pub(crate) fn load(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = ArcSwap::from_pointee(read(&files, &provider)?);
        Ok(Arc::new(Self { files, provider, current }))
    }

    /// Loads the files again; on any error the old certificate stays. Connections that are open go on.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        self.current.store(Arc::new(read(&self.files, &self.provider)?));
        Ok(())
    }

    /// TLS 1.3, and 1.2 where the transport is TCP, for one of the protocols in `alpn`; no early data, since nobody can
    /// tell a replay from a query (DNS-66). The provider's suites are ECDHE with AEAD only (RFC 9325 4.2).
    pub(crate) fn server_config(self: &Arc<Self>, alpn: &[&[u8]], quic: bool) -> Result<ServerConfig, rustls::Error> {
        let versions: &[_] = if quic { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let wrong = |file: &PathBuf, what| {
        let file = file.clone();
        move |source| match source {
            pem::Error::Io(source) => CertificateError::Io { file, source },
            source => CertificateError::Pem { file, what, source },
        }
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(wrong(&files.chain, "certificate"))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(wrong(&files.key, "private key"))?;
    // Also checks that the two belong together.
    CertifiedKey::from_der(chain, key, provider).map_err(|source| CertificateError::Unusable {
        chain: files.chain.clone(),
        key: files.key.clone(),
        source,
    })
}

/// The handshake on `stream`; `None` if it fails, takes too long, has to make room, or the server stops.
pub(crate) async fn accept(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    guest: &Guest,
    shared: &Shared,
) -> Option<TlsStream<TcpStream>> {
    let mut stop = shared.stop.clone();
    let shaken = tokio::select! {
        shaken = timeout(shared.limits.handshake, acceptor.accept(stream)) => shaken,
        () = guest.dismissed() => return None,
        _ = stop.wait_for(|stop| *stop) => return None,
    };
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => {
            debug!("TLS handshake too slow");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn make(folder: &tempfile::TempDir) -> CertificateFiles {
        let made = rcgen::generate_simple_self_signed(["ns.node.test".to_owned()]).unwrap();
        let files = CertificateFiles { chain: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        fs::write(&files.chain, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn reload_keeps_the_old_one_on_errors() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let certificate = Certificate::load(make(&folder)).unwrap();
        let theirs = make(&other);
        let before = certificate.current.load_full();

        fs::write(&certificate.files.chain, "no certificate").unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Pem { what: "certificate", .. })));
        fs::copy(&theirs.chain, &certificate.files.chain).unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Unusable { .. })), "key of another certificate");
        assert!(Arc::ptr_eq(&before, &certificate.current.load_full()));

        fs::copy(&theirs.key, &certificate.files.key).unwrap();
        certificate.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &certificate.current.load_full()));
        fs::remove_file(&certificate.files.key).unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Io { .. })));
    }

    #[test]
    fn no_early_data_dns_66() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::load(make(&folder)).unwrap();
        let config = certificate.server_config(&[b"doq"], true).unwrap();
        assert_eq!((config.max_early_data_size, config.alpn_protocols.as_slice()), (0, &[b"doq".to_vec()][..]));
    }
}
